"""The judge: a classifier of real images that measures generators, and how it is trained.

A generator must not be graded by its own discriminator's class head, which it was trained to
please. The judge has seen real images only. The same routine trains it on generated images for
the classification accuracy score (`acgan_lib.metrics.cas`).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from tqdm.auto import tqdm

from acgan_lib.data import LabelledImages
from acgan_lib.runtime import supports_bf16

BATCH_SIZE = 128
MAX_SHIFT = 1  # pixels


class Judge(nn.Module):
    """A convolutional classifier of about half a million weights.

    Args:
        num_classes: K.
        channels: C of the images.
    """

    def __init__(self, num_classes: int = 10, channels: int = 1) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.channels = channels
        self.trunk = nn.Sequential(
            _block(channels, 32, kernel_size=4, stride=2),
            _block(32, 64, kernel_size=4, stride=2),
            _block(64, 128, kernel_size=4, stride=2),
            _block(128, 128, kernel_size=3),
            nn.AdaptiveAvgPool2d(4),  # the identity for 32x32; lets other sizes in
            nn.Flatten(),
            nn.Linear(128 * 4 * 4, 128),
            nn.ReLU(),
        )
        self.drop = nn.Dropout(0.3)
        self.head = nn.Linear(128, num_classes)

    def features(self, x: Tensor) -> Tensor:
        """Return the layer before the logits: (n, C, H, W) in [-1, 1] to float (n, 128), >= 0.

        The Frechet judge distance compares these.
        """
        features: Tensor = self.trunk(x)
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float (n, K) for images (n, C, H, W) in [-1, 1], H and W >= 16."""
        logits: Tensor = self.head(self.drop(self.features(x)))
        return logits


def _block(c_in: int, c_out: int, kernel_size: int, stride: int = 1) -> nn.Sequential:
    """Return convolution, batch norm, ReLU. No bias: batch norm would subtract it again."""
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel_size, stride, padding=1, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    )


def train_judge(
    data: LabelledImages,
    *,
    steps: int,
    seed: int = 0,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Judge:
    """Train a fresh judge on `data` and return it in eval mode.

    AdamW on the cross-entropy, batches of 128, a learning rate that rises to 2e-3 and falls to 0
    in one cycle (Smith and Topin 2018), images shifted at random by up to 1 pixel. Images are
    not mirrored: that would be wrong for letters and digits. The caller's random state is left
    as it was, so a measurement does not change a training that goes on around it.

    Args:
        data: images and labels; generated ones for the classification accuracy score.
        steps: number of batches.
        seed: fixes the weights, the order of the images, the shifts and the dropout.
        device: where to train.
        progress: show a bar.

    Raises:
        ValueError: if `steps` is less than 1 or a class has no image.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    counts = torch.bincount(data.labels.cpu(), minlength=data.num_classes)
    if not bool((counts > 0).all()):
        raise ValueError(f"each class needs images to train on, but they have {counts.tolist()}")
    device = torch.device(device)
    cuda = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.enable_grad():
        torch.manual_seed(seed)
        judge = Judge(data.num_classes, data.channels).to(device)
        judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        _fit(judge, data.to(device), steps, seed, progress)
    judge.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return judge.eval()


def _fit(judge: Judge, data: LabelledImages, steps: int, seed: int, progress: bool) -> None:
    """Train `judge` in place."""
    optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, max_lr=2e-3, total_steps=max(steps, 2), pct_start=0.2, cycle_momentum=False
    )
    shifts = torch.Generator().manual_seed(seed)
    bf16 = supports_bf16(data.images.device)
    device_type = data.images.device.type
    batch_size = min(BATCH_SIZE, len(data))
    for step in tqdm(range(steps), desc="judge", unit="step", disable=not progress):
        x, y = data.batch(step, batch_size, seed)
        x = random_shift(x, shifts).contiguous(memory_format=torch.channels_last)
        with torch.autocast(device_type, torch.bfloat16, enabled=bf16):
            logits = judge(x)
        loss = F.cross_entropy(logits.float(), y)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        schedule.step()


def random_shift(x: Tensor, generator: torch.Generator, pixels: int = MAX_SHIFT) -> Tensor:
    """Shift each image (n, C, H, W) by up to `pixels` in each direction; the edge is repeated.

    The shifts are drawn on the CPU, so that they are the same on every device.
    """
    n, _, height, width = x.shape
    shift = torch.randint(-pixels, pixels + 1, (2, n, 1), generator=generator)
    rows = (torch.arange(height) + shift[0]).clamp_(0, height - 1).to(x.device)
    columns = (torch.arange(width) + shift[1]).clamp_(0, width - 1).to(x.device)
    images = torch.arange(n, device=x.device)[:, None, None]
    # Three index tensors broadcast to (n, H, W); the channels, sliced between them, come last.
    return x[images, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)
