"""The judge: a classifier of real images that measures generators, and how it is trained.

A generator must not be graded by its own discriminator's class head, which it was trained to
please. The judge has seen real images only. The same routine trains it on generated images for
the classification accuracy score (`acgan_lib.metrics.cas`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler
from tqdm.auto import tqdm

from acgan_lib.data import LabelledImages
from acgan_lib.runtime import pick_device, supports_bf16

BATCH_SIZE = 128
MAX_SHIFT = 1  # pixels
MIN_SIDE = 16  # pixels that three halvings leave two of
Network = TypeVar("Network", bound=nn.Module)
Recipe = tuple[Optimizer, LRScheduler]


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
    steps: int | None = None,
    seed: int = 0,
    device: torch.device | str | None = None,
    progress: bool = False,
) -> Judge:
    """Train a fresh judge on `data` and return it in eval mode.

    AdamW on the cross-entropy, batches of 128, a learning rate that rises to 2e-3 and falls to 0
    in one cycle (Smith and Topin 2018), images shifted at random by up to 1 pixel. Images are
    not mirrored: that would be wrong for letters and digits. The caller's random state is left
    as it was, so a measurement does not change a training that goes on around it.

    Args:
        data: images of any number of channels and classes, with sides of at least 16 pixels;
            generated ones for the classification accuracy score.
        steps: number of batches; left out, `default_steps`: ten passes, within 300..3,000.
        seed: fixes the weights, the order of the images, the shifts and the dropout.
        device: where to train, and where the judge stays; left out, `pick_device` chooses.
        progress: show a bar.

    Raises:
        ValueError: if `steps` is less than 1, the images are too small or a class has none.
    """
    counts = torch.bincount(data.labels.cpu(), minlength=data.num_classes).tolist()
    if 0 in counts:
        raise ValueError(f"class {counts.index(0)} has no image to train on; counts: {counts}")
    if data.size < MIN_SIDE:
        raise ValueError(f"data needs sides of at least {MIN_SIDE} pixels, not {data.size}")
    data = data.to(device or pick_device())
    shifts = torch.Generator().manual_seed(seed)
    batch_size = min(BATCH_SIZE, len(data))

    def batch(step: int) -> tuple[Tensor, Tensor]:
        x, y = data.batch(step, batch_size, seed)
        return random_shift(x, shifts), y

    return fit_supervised(
        lambda: Judge(data.num_classes, data.channels),
        batch,
        lambda logits, y: F.cross_entropy(logits.float(), y),
        steps=default_steps(len(data)) if steps is None else steps,
        seed=seed,
        device=data.images.device,
        progress="judge" if progress else None,
    )


def default_steps(n: int) -> int:
    """Return `train_judge`'s number of batches for `n` images: ten passes, within 300..3,000."""
    return min(max(10 * n // BATCH_SIZE, 300), 3_000)


def one_cycle(network: nn.Module, steps: int) -> Recipe:
    """AdamW with a learning rate that rises to 2e-3 and falls to 0 (Smith and Topin 2018)."""
    optimiser = torch.optim.AdamW(network.parameters(), lr=2e-3, weight_decay=0.02, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=2e-3,
        total_steps=max(steps, 6),  # of fewer, it cannot make a cycle: at 5 it divides by 0
        pct_start=0.2,
        cycle_momentum=False,
    )
    return optimiser, schedule


def fit_supervised(
    make: Callable[[], Network],
    batch: Callable[[int], tuple[Tensor, Tensor]],
    loss: Callable[[Any, Tensor], Tensor],
    *,
    steps: int,
    seed: int,
    device: torch.device | str = "cpu",
    recipe: Callable[[nn.Module, int], Recipe] = one_cycle,
    progress: str | None = None,
) -> Network:
    """Train a fresh network on pairs of images and targets and return it in eval mode.

    This is the library's one supervised loop: for the judge, the judge of style and chapter 15's
    classifier. bfloat16 where the hardware has it. The caller's random state is left as it was.

    Args:
        make: returns the network; called after the seed is set.
        batch: from the step, 0..steps-1, to images (n, C, H, W) and their targets, on `device`.
        loss: from the network's output and the targets to a scalar.
        steps: number of batches.
        seed: fixes the weights and the dropout; `batch` has its own.
        device: where to train.
        recipe: from the network and `steps` to the optimiser and its learning rate's schedule.
        progress: the bar's name; None shows none.

    Raises:
        ValueError: if `steps` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    device = torch.device(device)
    bf16 = supports_bf16(device)
    cuda = [torch.cuda.current_device()] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda), torch.enable_grad():
        torch.manual_seed(seed)
        network = make().to(device)
        network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser, schedule = recipe(network, steps)
        for step in tqdm(range(steps), desc=progress, unit="step", disable=progress is None):
            x, target = batch(step)
            x = x.contiguous(memory_format=torch.channels_last)
            with torch.autocast(device.type, torch.bfloat16, enabled=bf16):
                output = network(x)
            optimiser.zero_grad(set_to_none=True)
            loss(output, target).backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    network.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return network.eval()


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
