"""pix2pix (Isola et al. 2017): a picture becomes another one, learned from pairs.

G is a U-Net, D a PatchGAN that sees the drawing beside the picture. G's loss is
``l1_weight * L1 + gan_weight * GAN``. Shapes: ``drawing`` float (n, 1, H, W), 1 where a line is and
0 elsewhere; ``told`` float (n, K), what else G knows of the picture; pictures float (n, 3, H, W) in
[-1, 1].

`Patch` and `descend` serve `acgan_lib.families.cyclegan` too.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import Adam

from acgan_lib.nets import init_weights, normed

Draw = Callable[[], tuple[Tensor, Tensor, Tensor]]  # a batch: drawing, told, picture


def edges(images: Tensor, threshold: float = 0.25) -> Tensor:
    """Return the outlines of pictures (n, C, H, W) in [-1, 1] as 0 or 1, float (n, 1, H, W).

    A pixel is on a line if it differs by more than `threshold` from the pixel to its right or
    below, in any channel.
    """
    right = F.pad((images[..., :, 1:] - images[..., :, :-1]).abs(), (0, 1))
    below = F.pad((images[..., 1:, :] - images[..., :-1, :]).abs(), (0, 0, 0, 1))
    return (torch.maximum(right, below).amax(1, keepdim=True) > threshold).float()


def by_hand(drawing: Tensor) -> Tensor:
    """Change edges as a hand would: half of the drawings get thicker lines, half lose a rectangle.

    So G learns from lines of two widths, and from drawings that are not complete. Drawn from the
    global generator of the drawing's device, so that a CUDA graph can replay it.
    """
    n, _, height, width = drawing.shape
    share = torch.rand(6, n, 1, 1, 1, device=drawing.device)
    thick = F.max_pool2d(F.pad(drawing, (0, 1, 0, 1)), 2, stride=1)  # each line grows by a pixel
    drawing = torch.where(share[0] < 0.5, thick, drawing)
    y = torch.linspace(0, 1, height, device=drawing.device).view(1, 1, height, 1)
    x = torch.linspace(0, 1, width, device=drawing.device).view(1, 1, 1, width)
    inside = ((y - share[1]).abs() < share[2] / 3) & ((x - share[3]).abs() < share[4] / 3)
    return drawing * ~(inside & (share[5] < 0.5))


class UNet(nn.Module):
    """pix2pix's G: down to a few pixels and up again, with the way down beside the way up.

    A block halves or doubles the sides by a 4x4 convolution of stride 2. Each block upwards also
    gets the maps of its size from the way down, and the last convolution gets the drawing itself,
    so lines need not pass through the bottleneck.

    Args:
        told: K, the numbers that G is told beside the drawing; they enter as constant maps.
        channels: of the drawing.
        width: the maps are width, 2 width, 4 width, 4 width on the way down.
        image_size: of drawing and picture; a multiple of 16. G takes other multiples too.
    """

    def __init__(
        self, told: int = 0, channels: int = 1, width: int = 32, image_size: int = 64
    ) -> None:
        super().__init__()
        self.told, self.channels, self.width, self.image_size = told, channels, width, image_size
        self.latent_dim, self.num_classes = channels * image_size**2, told  # see from_weights
        maps = [channels + told, width, 2 * width, 4 * width, 4 * width]
        self.down = nn.ModuleList(halve(*pair, norm=i > 0) for i, pair in enumerate(pairwise(maps)))
        wide = [4 * width, 8 * width, 4 * width, 2 * width]  # with what comes across
        out = [4 * width, 2 * width, width, width // 2]
        self.up = nn.ModuleList(double(*pair) for pair in zip(wide, out, strict=True))
        self.to_image = nn.Conv2d(width // 2 + channels, 3, kernel_size=3, padding=1)
        self.apply(init_weights)

    def forward(self, drawing: Tensor, told: Tensor) -> Tensor:
        """Draw pictures (n, 3, H, W) for drawings (n, channels, H, W), told (n, K).

        Raises:
            ValueError: if a shape does not fit.
        """
        n, channels, height, width = drawing.shape
        if channels != self.channels or height % 16 or width % 16 or told.shape != (n, self.told):
            raise ValueError(
                f"need a drawing (n, {self.channels}, 16 i, 16 j) and told (n, {self.told}), got "
                f"{tuple(drawing.shape)} and {tuple(told.shape)}"
            )
        return self.paint(drawing, told)

    def paint(self, drawing: Tensor, told: Tensor) -> Tensor:
        """`forward` without its checks, which would fix the batch's size in an exported file."""
        h, across = with_maps(drawing, told), []
        for down in self.down:
            h = down(h)
            across.append(h)
        h = across.pop()
        for up in self.up:
            h = up(h)
            h = torch.cat([h, across.pop() if across else drawing], dim=1)
        return torch.tanh(self.to_image(h))

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """`paint` with the drawing as rows (n, channels H W): how exported networks are called."""
        return self.paint(z.view(-1, self.channels, self.image_size, self.image_size), weights)


def halve(c_in: int, c_out: int, *, norm: bool) -> nn.Sequential:
    """Return a block from (n, c_in, 2h, 2w) to (n, c_out, h, w)."""
    conv = nn.Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=not norm)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out) if norm else nn.Identity(), nn.LeakyReLU(0.2))


def double(c_in: int, c_out: int) -> nn.Sequential:
    """Return a block from (n, c_in, h, w) to (n, c_out, 2h, 2w)."""
    conv = nn.ConvTranspose2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=False)
    return nn.Sequential(conv, nn.BatchNorm2d(c_out), nn.ReLU())


def with_maps(x: Tensor, told: Tensor) -> Tensor:
    """Put numbers (n, K) beside pictures (n, C, H, W) as K constant maps."""
    return torch.cat([x, told[:, :, None, None].expand(-1, -1, *x.shape[2:])], dim=1)


class Patch(nn.Module):
    """PatchGAN: D says of every patch, and not of the whole picture, whether it is real.

    Spectral norm and no BatchNorm: batch statistics would let every pixel of a batch into each
    logit, and the patch would have no border.

    Args:
        channels: all that D sees: picture, drawing and what is told.
        width: maps after the first block; they double with each block.
        downs: blocks that halve the sides. A logit sees `field(downs)` pixels across.
    """

    def __init__(self, channels: int, width: int = 32, downs: int = 2) -> None:
        super().__init__()
        self.field = field(downs)
        maps = [channels, *(width * 2**i for i in range(downs))]
        blocks = [
            nn.Sequential(normed(nn.Conv2d(a, b, 4, stride=2, padding=1)), nn.LeakyReLU(0.2))
            for a, b in pairwise(maps)
        ]
        self.trunk = nn.Sequential(*blocks)
        self.source_head = normed(nn.Conv2d(maps[-1], 1, kernel_size=3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, float (n, 1, H / 2^downs, W / 2^downs), positive for real."""
        logits: Tensor = self.source_head(self.trunk(x))
        return logits


def field(downs: int) -> int:
    """Return how many pixels across one logit of `Patch` sees.

    The last 3x3 convolution sees 3 maps' pixels, and each 4x4 convolution of stride 2 before it
    makes f pixels 2 f + 2. Hence 5 * 2^downs - 2: 3, 8, 18, 38.
    """
    return int(5 * 2**downs - 2)


def d_loss(D: nn.Module, given: Tensor, real: Tensor, fake: Tensor) -> Tensor:
    """Return D's cross-entropy, the mean over all patches of real and of drawn pictures.

    Args:
        D: a Patch.
        given: the drawing with the told maps, (n, 1 + K, H, W): D sees them beside the picture.
        real: pictures that belong to the drawings.
        fake: what G drew, detached: D learns from it as from data.
    """
    on_real, on_fake = D(torch.cat([given, real], 1)), D(torch.cat([given, fake], 1))
    return F.softplus(-on_real).mean() + F.softplus(on_fake).mean()


def g_loss(
    D: nn.Module, given: Tensor, real: Tensor, fake: Tensor, *, l1_weight: float, gan_weight: float
) -> Tensor:
    """Return G's loss: the distance to the true picture, and D's belief in each patch.

    ``l1_weight * mean |real - fake| - gan_weight * mean log D``. Arguments as in `d_loss`; with
    gan_weight = 0, D is not called.
    """
    loss = l1_weight * (real - fake).abs().mean()
    if gan_weight:
        loss = loss + gan_weight * F.softplus(-D(torch.cat([given, fake], 1))).mean()
    return loss


def fit(
    G: UNet,
    D: Patch,
    draw: Draw,
    *,
    steps: int,
    l1_weight: float = 50.0,
    gan_weight: float = 1.0,
    lr: float = 5e-4,
    seconds: float = math.inf,
    graph: bool = False,
) -> list[list[float]]:
    """Train both in place, and put G into eval mode.

    Args:
        draw: gives a batch on the networks' device.
        steps, seconds, graph: as in `descend`.
        lr: of both networks.

    Returns:
        Rows of steps, D's loss and G's, as in `descend`.
    """
    opt_d, opt_g = adam(D, lr), adam(G, lr)
    G.train()

    def step() -> tuple[Tensor, Tensor]:
        drawing, told, real = draw()
        given, fake = with_maps(drawing, told), G(drawing, told)
        loss_d = real.new_zeros(())
        if gan_weight:
            loss_d = d_loss(D, given, real, fake.detach())
            update(opt_d, loss_d)
        D.requires_grad_(False)  # its gradients of G's loss would be of no use
        loss_g = g_loss(D, given, real, fake, l1_weight=l1_weight, gan_weight=gan_weight)
        update(opt_g, loss_g)
        D.requires_grad_(True)
        return loss_d.detach(), loss_g.detach()

    rows = descend(step, [opt_d, opt_g], steps=steps, seconds=seconds, graph=graph)
    G.eval()
    return rows


def adam(module: nn.Module, lr: float) -> Adam:
    """Return Adam with the paper's moments, whose rate a CUDA graph can see change."""
    parameters = list(module.parameters())
    on_gpu = parameters[0].is_cuda
    rate = torch.tensor(lr, device=parameters[0].device) if on_gpu else lr
    return Adam(parameters, lr=rate, betas=(0.5, 0.999), capturable=on_gpu)


def update(optimiser: Adam, loss: Tensor) -> None:
    """Go one step down a loss."""
    optimiser.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def descend(
    step: Callable[[], tuple[Tensor, ...]],
    optimisers: Sequence[Adam],
    *,
    steps: int,
    seconds: float = math.inf,
    graph: bool = False,
) -> list[list[float]]:
    """Call `step` until `steps` or `seconds` are over, whichever comes first.

    The learning rates stay for the first half and fall linearly to 0 in the second.

    Args:
        step: updates the networks with these optimisers and returns its losses, as scalars.
        steps: at most so many.
        seconds: of wall clock, from here.
        graph: capture the step as a CUDA graph: small networks then train several times faster.

    Returns:
        The number of steps and their losses, after every 20th and after the last.

    Raises:
        ValueError: if steps is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    began, rates = time.perf_counter(), [float(o.param_groups[0]["lr"]) for o in optimisers]
    if graph:
        step = captured(step)
    rows: list[list[float]] = []
    clock = 0.0  # the share of the seconds that is over
    for i in range(steps):
        left = 1 - max(i / steps, clock)
        for optimiser, rate in zip(optimisers, rates, strict=True):
            set_rate(optimiser, rate * min(1.0, 2 * left))
        losses = step()
        if (i + 1) % 20 == 0 or i + 1 == steps:
            # To read the losses waits for the device, so the clock is right.
            rows.append([i + 1, *map(float, losses)])
            clock = (time.perf_counter() - began) / seconds
            if clock >= 1:
                break
    return rows


def set_rate(optimiser: Adam, rate: float) -> None:
    """Set a learning rate, in place where it is a tensor."""
    group = optimiser.param_groups[0]
    if isinstance(group["lr"], Tensor):
        group["lr"].fill_(rate)
    else:
        group["lr"] = rate


def captured(step: Callable[[], tuple[Tensor, ...]]) -> Callable[[], tuple[Tensor, ...]]:
    """Return a function that replays a step on a CUDA device without Python in between."""
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(4):  # the optimisers' state must be there before the capture
            step()
    torch.cuda.current_stream().wait_stream(stream)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        out = step()

    def replay() -> tuple[Tensor, ...]:
        graph.replay()
        return out

    return replay
