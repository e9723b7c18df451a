"""CycleGAN (Zhu et al. 2017): from one set of pictures to another and back, without pairs.

Two generators and two discriminators. Each generator must please the other side's D (least
squares), undo what its twin did (cycle), and leave alone what is already on its side (identity).
Pictures are float (n, 3, H, W) in [-1, 1]; the two sets are called a and b.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.families.pix2pix import Patch, adam, descend, update


class Translator(nn.Module):
    """A ResNet that begins as the identity: it learns what to change.

    The output is ``tanh(change + atanh(0.98 x))``. The last convolution begins at 0, and so does
    the change. Its norms are those of groups of maps (Wu and He 2018): a generator here sees
    pictures of both sets, and batch statistics would mix them.

    Args:
        channels: of the pictures.
        width: maps at full size, a multiple of 8; twice and four times as many after each halving.
        blocks: residual blocks at a quarter of the sides.
        image_size: of the exported file's pictures, a multiple of 4; G takes other multiples too.
    """

    def __init__(
        self, channels: int = 3, width: int = 24, blocks: int = 3, image_size: int = 32
    ) -> None:
        super().__init__()
        self.channels, self.width, self.blocks = channels, width, blocks
        self.image_size, self.latent_dim, self.num_classes = image_size, channels * image_size**2, 0
        maps = [width, 2 * width, 4 * width]
        down = [_block(nn.Conv2d(a, b, 4, 2, 1, bias=False), b) for a, b in pairwise(maps)]
        up = [
            _block(nn.ConvTranspose2d(b, a, 4, 2, 1, bias=False), a)
            for a, b in reversed([*pairwise(maps)])
        ]
        self.change = nn.Sequential(
            _block(nn.Conv2d(channels, width, 3, padding=1, bias=False), width),
            *down,
            *(Residual(4 * width) for _ in range(blocks)),
            *up,
            nn.Conv2d(width, channels, 3, padding=1),
        )
        for value in self.change[-1].parameters():
            nn.init.zeros_(value)

    def forward(self, x: Tensor) -> Tensor:
        """Translate pictures, float (n, C, H, W) in [-1, 1]."""
        return torch.tanh(self.change(x) + torch.atanh(0.98 * x))

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """`forward` with pictures as rows (n, C H W): how exported networks are called."""
        x = z.view(-1, self.channels, self.image_size, self.image_size)
        return self.forward(x.clamp(-1, 1))


class Residual(nn.Module):
    """Two 3x3 convolutions whose result is added to their input, (n, maps, h, w)."""

    def __init__(self, maps: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            _block(nn.Conv2d(maps, maps, 3, padding=1, bias=False), maps),
            nn.Conv2d(maps, maps, 3, padding=1, bias=False),
            nn.GroupNorm(8, maps),
        )

    def forward(self, h: Tensor) -> Tensor:
        """Return h and what the convolutions add to it."""
        changed: Tensor = h + self.body(h)
        return changed


def _block(conv: nn.Module, maps: int) -> nn.Sequential:
    return nn.Sequential(conv, nn.GroupNorm(8, maps), nn.ReLU())


class Pool:
    """The last translations and some older ones, so that D does not forget (Shrivastava et al.).

    Each new picture is shown to D as it is, or, every second time, takes the place of an old one,
    which is shown instead. All is done on the pictures' device, so that a CUDA graph can hold it.

    Args:
        size: pictures kept; 0 shows D the newest alone.
        like: one batch, (n, C, H, W): its pictures fill the pool at first.
    """

    def __init__(self, size: int, like: Tensor) -> None:
        self.kept = like.detach().repeat(-(-size // len(like)), 1, 1, 1)[:size].clone()

    def swap(self, new: Tensor) -> Tensor:
        """Return what D is shown in the place of new pictures, and keep half of them."""
        if not len(self.kept):
            return new
        n = len(new)
        old = torch.rand(len(self.kept), device=new.device).argsort()[:n]  # each place once
        keep = torch.rand(n, 1, 1, 1, device=new.device) < 0.5
        before = self.kept[old]
        self.kept[old] = torch.where(keep, new, before)
        return torch.where(keep, before, new)


def d_loss(D: nn.Module, real: Tensor, fake: Tensor) -> Tensor:
    """Return D's least squares, ``mean((D(real) - 1)^2 + D(fake)^2) / 2`` (Mao et al. 2017)."""
    on_real, on_fake = D(real), D(fake)
    loss: Tensor = ((on_real - 1).square().mean() + on_fake.square().mean()) / 2
    return loss


def g_loss(D: nn.Module, fake: Tensor) -> Tensor:
    """Return G's least squares, ``mean((D(fake) - 1)^2)``: that D may call each patch a 1."""
    loss: Tensor = (D(fake) - 1).square().mean()
    return loss


def fit(
    G_ab: Translator,
    G_ba: Translator,
    D_a: Patch,
    D_b: Patch,
    draw: Callable[[], tuple[Tensor, Tensor]],
    *,
    steps: int,
    cycle_weight: float = 10.0,
    identity_weight: float = 5.0,
    pool: int = 64,
    lr: float = 1e-3,
    seconds: float = math.inf,
    graph: bool = False,
) -> list[list[float]]:
    """Train all four in place, and put the generators into eval mode.

    Args:
        draw: gives a batch of a and one of b, equally many, on the networks' device. Nothing says
            which belong together.
        pool: pictures that D is shown again, at least a batch or 0.
        lr: of all networks.
        steps, seconds, graph: as in `acgan_lib.families.pix2pix.descend`.

    Returns:
        Rows of steps, the two discriminators' loss, and the generators' GAN, cycle and identity
        terms before their weights, as in `acgan_lib.families.pix2pix.descend`.
    """
    generators, discriminators = nn.ModuleList([G_ab, G_ba]), nn.ModuleList([D_a, D_b])
    opt_g, opt_d = adam(generators, lr), adam(discriminators, lr)
    generators.train()
    a, b = draw()
    pool_a, pool_b = Pool(pool, a), Pool(pool, b)

    def step() -> tuple[Tensor, ...]:
        a, b = draw()
        fake_b, fake_a = G_ab(a), G_ba(b)
        discriminators.requires_grad_(False)
        gan = g_loss(D_b, fake_b) + g_loss(D_a, fake_a)
        cycle = identity = gan.new_zeros(())
        if cycle_weight:
            cycle = F.l1_loss(G_ba(fake_b), a) + F.l1_loss(G_ab(fake_a), b)
        if identity_weight:
            identity = F.l1_loss(G_ba(a), a) + F.l1_loss(G_ab(b), b)
        update(opt_g, gan + cycle_weight * cycle + identity_weight * identity)
        discriminators.requires_grad_(True)
        loss_d = d_loss(D_a, a, pool_a.swap(fake_a.detach()))
        loss_d = loss_d + d_loss(D_b, b, pool_b.swap(fake_b.detach()))
        update(opt_d, loss_d)
        return tuple(loss.detach() for loss in (loss_d, gan, cycle, identity))

    rows = descend(step, [opt_d, opt_g], steps=steps, seconds=seconds, graph=graph)
    generators.eval()
    return rows
