"""The paper's generator and discriminator, layer by layer (Odena et al. 2017, tables 1 and 2).

Shapes: ``z`` float (n, latent_dim), ``y`` int64 (n,), images float (n, C, H, W) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.nets import ConditionalGenerator, DiscriminatorOutput, init_weights


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

    Raises:
        ValueError: if image_size cannot be halved once for each of the maps.
    """

    def __init__(
        self,
        maps: Sequence[int],
        image_size: int,
        latent_dim: int = 100,
        num_classes: int = 10,
        channels: int = 3,
    ) -> None:
        if not maps or image_size < 1 or image_size % 2 ** len(maps):
            raise ValueError(
                f"image_size must be a multiple of {2 ** len(maps)}, as {len(maps)} transposed "
                f"convolutions double the side, got {image_size}"
            )
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

    Raises:
        ValueError: if image_size is no multiple of 8.
    """

    def __init__(
        self, image_size: int, class_head: int = 10, channels: int = 3, noise: float = 0.0
    ) -> None:
        if image_size < 8 or image_size % 8:
            raise ValueError(f"image_size must be a multiple of 8, got {image_size}")
        super().__init__()
        self.image_shape = (channels, image_size, image_size)
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
        """Judge images ``x``, float (n, C, image_size, image_size); ``y`` is ignored.

        Raises:
            ValueError: if the images' shape is not D's.
        """
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"D takes images (n, {self.image_shape}), got {tuple(x.shape)}")
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
