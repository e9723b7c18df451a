"""Generators and discriminators: a fast pair for 32x32, and the paper's pairs layer by layer.

Shapes: ``z`` float (n, latent_dim), ``y`` int64 (n,), images float (n, C, H, W) in [-1, 1].
All weights start from N(0, 0.02) and all biases from 0, as in the paper's tables 1 and 2 (and
Radford et al. 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm


class DiscriminatorOutput(NamedTuple):
    """What D says of a batch: real or generated, and, if it has a class head, which class.

    ``source_logit`` is float (n,), positive for real; ``class_logits`` is float (n, K) or None.
    With a code head, ``code`` is the mean and the log variance with which D expects each of J
    continuous codes (InfoGAN's Q), both float (n, J); else None.
    """

    source_logit: Tensor
    class_logits: Tensor | None
    code: tuple[Tensor, Tensor] | None = None


class ConditionalGenerator(nn.Module):
    """What every G here shares: the checks, and the class as a one-hot vector beside z."""

    def __init__(self, latent_dim: int, num_classes: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.channels = channels
        self.image_size = image_size

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Draw one image for each latent.

        Args:
            z: float (n, latent_dim).
            y: int64 (n,) in [0, num_classes); ignored, and may be None, if num_classes is 0.

        Returns:
            float (n, channels, image_size, image_size) in [-1, 1].

        Raises:
            ValueError: if a shape or a label does not fit.
            TypeError: if ``y`` is not int64.
        """
        if self.num_classes == 0:
            return self.from_weights(z, z.new_zeros(z.shape[0], 0))
        return self.from_weights(z, one_hot(y, self.num_classes, len(z)).to(z))

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """Draw images for class *weights*, float (n, num_classes), so that classes can be mixed."""
        if z.ndim != 2 or z.shape[1] != self.latent_dim:
            raise ValueError(f"z must have shape (n, {self.latent_dim}), got {tuple(z.shape)}")
        if weights.shape != (z.shape[0], self.num_classes):
            raise ValueError(
                f"weights must have shape ({len(z)}, {self.num_classes}), "
                f"got {tuple(weights.shape)}"
            )
        return self.draw(torch.cat([z, weights], dim=1))

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (n, latent_dim + num_classes), into images."""
        raise NotImplementedError


class Generator(ConditionalGenerator):
    """The fast G for 32x32 images: a linear layer, then three blocks of upsampling.

    A block computes four maps for each it needs and lets PixelShuffle (Shi et al. 2016) deal them
    out to 2x2 neighbourhoods. That keeps the convolutions at the low resolution, and none of a
    transposed convolution's kernel overlaps unevenly, which is where checkerboards come from
    (Odena et al. 2016, "Deconvolution and checkerboard artifacts").
    """

    def __init__(
        self, latent_dim: int = 100, num_classes: int = 10, channels: int = 1, width: int = 32
    ) -> None:
        super().__init__(latent_dim, num_classes, channels, image_size=32)
        self.project = nn.Linear(latent_dim + num_classes, 4 * width * 4 * 4)
        self.norm = nn.BatchNorm2d(4 * width)
        self.blocks = nn.Sequential(
            upsample(4 * width, 2 * width),
            upsample(2 * width, width),
            upsample(width, width // 2),
        )
        self.to_image = nn.Conv2d(width // 2, channels, kernel_size=3, padding=1)
        self.apply(init_weights)

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (n, latent_dim + num_classes), into images (n, C, 32, 32)."""
        h = self.project(code).unflatten(1, (-1, 4, 4))
        h = self.blocks(F.relu(self.norm(h)))
        return torch.tanh(self.to_image(h))


def upsample(c_in: int, c_out: int) -> nn.Sequential:
    """Return a block from (n, c_in, h, w) to (n, c_out, 2h, 2w)."""
    return nn.Sequential(
        nn.Conv2d(c_in, 4 * c_out, kernel_size=3, padding=1, bias=False),
        nn.PixelShuffle(2),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    )


class Discriminator(nn.Module):
    """The fast D for 32x32 images, with up to three heads on one trunk.

    Spectral norm (Miyato et al. 2018) keeps each layer's largest singular value at 1.

    Args:
        channels: image channels.
        width: maps in the first layer.
        label_input: number of classes D is *told* (CGAN): the label enters as constant one-hot
            maps beside the image. 0: D sees the image alone.
        class_head: number of logits with which D *names* the class (AC-GAN). 0: no class head.
        code_head: number of continuous codes that D *reads off* the image (InfoGAN). 0: no code
            head.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        label_input: int = 0,
        class_head: int = 0,
        code_head: int = 0,
    ) -> None:
        super().__init__()
        self.label_input = label_input
        self.trunk = nn.Sequential(
            downsample(channels + label_input, width, norm=False),
            downsample(width, 2 * width),
            downsample(2 * width, 4 * width),
            nn.Flatten(),
        )
        features = 4 * width * 4 * 4
        self.source_head = normed(nn.Linear(features, 1))
        self.class_head = normed(nn.Linear(features, class_head)) if class_head else None
        self.code_head = normed(nn.Linear(features, 2 * code_head)) if code_head else None

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Judge images ``x``, float (n, C, 32, 32); ``y`` int64 (n,) only if label_input > 0.

        Raises:
            ValueError: if a label is missing or out of range.
            TypeError: if ``y`` is not int64.
        """
        if self.label_input:
            maps = one_hot(y, self.label_input, len(x)).to(x)[:, :, None, None]
            x = torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], dim=1)
        h = self.trunk(x)
        class_logits = self.class_head(h) if self.class_head is not None else None
        code = self.code_head(h).chunk(2, dim=1) if self.code_head is not None else None
        return DiscriminatorOutput(self.source_head(h).squeeze(1), class_logits, code)


class Generator64(Generator):
    """The fast G with one more block: 64x64 images."""

    def __init__(
        self, latent_dim: int = 100, num_classes: int = 10, channels: int = 1, width: int = 32
    ) -> None:
        super().__init__(latent_dim, num_classes, channels, width)
        self.image_size = 64
        self.blocks.append(upsample(width // 2, width // 4))
        self.to_image = nn.Conv2d(width // 4, channels, kernel_size=3, padding=1)
        self.blocks[-1].apply(init_weights)
        init_weights(self.to_image)


class Discriminator64(Discriminator):
    """The fast D with one more block, in front: 64x64 images."""

    def __init__(self, channels: int = 1, width: int = 32, class_head: int = 0) -> None:
        super().__init__(channels, width, class_head=class_head)
        first, half = downsample(channels, width // 2, norm=False), downsample(width // 2, width)
        self.trunk = nn.Sequential(first, half, *list(self.trunk)[1:])


def downsample(c_in: int, c_out: int, norm: bool = True) -> nn.Sequential:
    """Return a block from (n, c_in, 2h, 2w) to (n, c_out, h, w)."""
    conv = normed(nn.Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=not norm))
    return nn.Sequential(conv, nn.BatchNorm2d(c_out) if norm else nn.Identity(), nn.LeakyReLU(0.2))


def normed(layer: nn.Module) -> nn.Module:
    """Initialise a layer, then divide its weight by its largest singular value at each use."""
    init_weights(layer)
    return spectral_norm(layer)


class PaperGenerator(ConditionalGenerator):
    """The paper's G (tables 1 and 2), layer by layer.

    A linear layer with ReLU and no BatchNorm, then transposed convolutions, 5x5 with stride 2,
    with BatchNorm and ReLU except for the last, which ends in Tanh.

    The tables do not say to what the linear layer's output is reshaped. Since each transposed
    convolution doubles the side, it must start ``image_size / 2**len(maps)`` wide; the tables'
    768 and 384 are read as the number of maps there.

    Args:
        maps: the linear layer's maps and those of the transposed convolutions before the last.
        image_size: side of the images.
    """

    def __init__(
        self,
        maps: Sequence[int],
        image_size: int,
        latent_dim: int = 100,
        num_classes: int = 10,
        channels: int = 3,
    ) -> None:
        super().__init__(latent_dim, num_classes, channels, image_size)
        self.maps = tuple(maps)
        self.start = image_size // 2 ** len(maps)
        self.project = nn.Linear(latent_dim + num_classes, maps[0] * self.start**2)
        layers: list[nn.Module] = []
        for c_in, c_out in zip(maps, [*maps[1:], channels], strict=True):
            last = len(layers) == 3 * (len(maps) - 1)
            layers.append(
                nn.ConvTranspose2d(c_in, c_out, 5, 2, padding=2, output_padding=1, bias=last)
            )
            layers += [nn.Tanh()] if last else [nn.BatchNorm2d(c_out), nn.ReLU()]
        self.blocks = nn.Sequential(*layers)
        self.apply(init_weights)

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (n, latent_dim + num_classes), into images."""
        h = F.relu(self.project(code))
        out: Tensor = self.blocks(h.view(-1, self.maps[0], self.start, self.start))
        return out


class PaperDiscriminator(nn.Module):
    """The paper's D (tables 1 and 2), layer by layer.

    Six 3x3 convolutions with strides 2, 1, 2, 1, 2, 1 and 16 to 512 maps, BatchNorm in all but
    the first, each with LeakyReLU 0.2 and dropout 0.5; one linear layer gives K class logits and
    the source logit.

    Args:
        image_size: side of the images, a multiple of 8.
        class_head: K, the number of classes.
        channels: image channels.
        noise: standard deviation of the Gaussian noise added to each layer's activations in
            training. The paper tries 0, 0.1 and 0.2 and does not say where; here it comes after
            each LeakyReLU.
    """

    def __init__(
        self, image_size: int, class_head: int = 10, channels: int = 3, noise: float = 0.0
    ) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        maps = (channels, 16, 32, 64, 128, 256, 512)
        for i, (c_in, c_out) in enumerate(pairwise(maps)):
            layers.append(nn.Conv2d(c_in, c_out, 3, stride=2 - i % 2, padding=1, bias=i == 0))
            layers += [nn.BatchNorm2d(c_out)] if i else []
            layers += [nn.LeakyReLU(0.2)]
            layers += [GaussianNoise(noise)] if noise else []
            layers += [HalfDropout()]
        self.trunk = nn.Sequential(*layers, nn.Flatten())
        self.heads = nn.Linear(512 * (image_size // 8) ** 2, class_head + 1)
        self.apply(init_weights)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Judge images ``x``, float (n, C, image_size, image_size); ``y`` is ignored."""
        logits = self.heads(self.trunk(x))
        return DiscriminatorOutput(logits[:, -1], logits[:, :-1])


class GaussianNoise(nn.Module):
    """Add N(0, std) to activations in training."""

    def __init__(self, std: float) -> None:
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` of the same shape, with noise if training."""
        return x + self.std * torch.randn_like(x) if self.training else x


class HalfDropout(nn.Module):
    """Dropout with p = 0.5: each activation becomes 0 or twice itself.

    One random 64-bit word decides for 64 activations. ``nn.Dropout`` draws a number for each,
    which took a third of the time of the paper's networks on a CPU (``make bench``).
    """

    def forward(self, x: Tensor) -> Tensor:
        """Return ``x`` of the same shape, thinned if training."""
        if not self.training:
            return x
        words = torch.empty(-(-x.numel() // 64), dtype=torch.int64, device=x.device)
        octets = words.random_(-(2**63), None).view(torch.uint8)
        bits = octets[:, None] >> torch.arange(8, dtype=torch.uint8, device=x.device) & 1
        keep = bits.flatten()[: x.numel()].to(x.dtype).mul_(2)
        # as_strided gives the mask the memory layout of x (if x is a slice: of a copy of it), so
        # that the product runs in one sweep.
        return x * keep.as_strided(x.shape, torch.empty_like(x).stride())


def cifar10_pair(noise: float = 0.0) -> tuple[PaperGenerator, PaperDiscriminator]:
    """Return the paper's G and D for CIFAR-10 (its table 2): 32x32 in colour, 10 classes."""
    return PaperGenerator((384, 192, 96), 32), PaperDiscriminator(32, noise=noise)


def imagenet_pair(noise: float = 0.0) -> tuple[PaperGenerator, PaperDiscriminator]:
    """Return the paper's G and D for ten ImageNet classes (its table 1): 128x128 in colour."""
    return PaperGenerator((768, 384, 256, 192), 128), PaperDiscriminator(128, noise=noise)


def one_hot(y: Tensor | None, num_classes: int, n: int) -> Tensor:
    """Return labels as float one-hot rows (n, num_classes), after checking them.

    Raises:
        ValueError: if ``y`` is missing, not of shape (n,), or out of range.
        TypeError: if ``y`` is not int64.
    """
    if y is None or y.shape != (n,):
        got = None if y is None else tuple(y.shape)
        raise ValueError(f"y must hold one label for each of the {n} rows, got {got}")
    if y.dtype != torch.int64:
        raise TypeError(f"y must be int64, got {y.dtype}: use y.long()")
    # On CUDA this look at the values would stop the host until the device has caught up; there
    # the scatter below has its own check.
    if y.device.type == "cpu" and n and not 0 <= int(y.min()) <= int(y.max()) < num_classes:
        raise ValueError(f"y must be in [0, {num_classes}), got {int(y.min())} to {int(y.max())}")
    return F.one_hot(y, num_classes).float()


def init_weights(module: nn.Module) -> None:
    """Set a layer's weights to N(0, 0.02) and its biases to 0; norms to N(1, 0.02) and 0."""
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
        nn.init.normal_(module.weight, 0.0, 0.02)
    elif isinstance(module, nn.BatchNorm2d):
        nn.init.normal_(module.weight, 1.0, 0.02)
    else:
        return
    if module.bias is not None:
        nn.init.zeros_(module.bias)
