"""The generator and the discriminator of the book, at 32, 64 and 128 px.

Shapes: ``z`` float (n, latent_dim), ``y`` int64 (n,), images float (n, C, H, W) in [-1, 1].
All weights start from N(0, 0.02) and all biases from 0, as in the paper's tables 1 and 2 (and
Radford et al. 2015).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from acgan_lib.labels import Labels, as_labels


class DiscriminatorOutput(NamedTuple):
    """What D says of a batch: real or generated, and, if it has a class head, which class.

    ``source_logit`` is float (n,), positive for real; ``class_logits`` is float (n, K) or None.
    With a code head, ``code`` is the mean and the log variance with which D expects each of J
    continuous codes (InfoGAN's Q), both float (n, J); else None. With an embedding head,
    ``embedding`` is float (n, d), of length 1, and the class logits are its cosines with the K
    class vectors (ReACGAN).
    """

    source_logit: Tensor
    class_logits: Tensor | None
    code: tuple[Tensor, Tensor] | None = None
    embedding: Tensor | None = None


class ConditionalGenerator(nn.Module):
    """What every G here shares: the checks, and the class as a one-hot vector beside z."""

    def __init__(self, latent_dim: int, num_classes: int, channels: int, image_size: int) -> None:
        super().__init__()
        self.latent_dim = latent_dim
        self.num_classes = num_classes
        self.channels = channels
        self.image_size = image_size

    def forward(self, z: Tensor, y: Labels | None = None) -> Tensor:
        """Draw one image for each latent.

        Args:
            z: float (n, latent_dim).
            y: n classes in [0, num_classes), or one class for all, in any form that
                :func:`acgan_lib.labels.as_labels` takes; ignored, and may be None, if num_classes
                is 0.

        Returns:
            float (n, channels, image_size, image_size) in [-1, 1].

        Raises:
            ValueError: if a shape or a label does not fit.
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
    """The fast G: a linear layer to 4x4 pixels, then a block of upsampling for each doubling.

    A block computes four maps for each it needs and lets PixelShuffle (Shi et al. 2016) deal them
    out to 2x2 neighbourhoods. That keeps the convolutions at the low resolution, and none of a
    transposed convolution's kernel overlaps unevenly, which is where checkerboards come from
    (Odena et al. 2016, "Deconvolution and checkerboard artifacts").

    Args:
        latent_dim: length of z.
        num_classes: K; 0 for a G without classes.
        channels: image channels.
        width: the maps are 4 width at 4x4 and halve with each doubling.
        image_size: 32, 64 or 128.

    Raises:
        ValueError: for another image_size, or a width that leaves no map for the last block.
    """

    def __init__(
        self,
        latent_dim: int = 100,
        num_classes: int = 10,
        channels: int = 1,
        width: int = 32,
        image_size: int = 32,
    ) -> None:
        super().__init__(latent_dim, num_classes, channels, image_size)
        self.width = width
        maps = [4 * width // 2**i for i in range(doublings(image_size, width) + 1)]
        self.project = nn.Linear(latent_dim + num_classes, maps[0] * 4 * 4)
        self.norm = nn.BatchNorm2d(maps[0])
        self.blocks = nn.Sequential(*[upsample(*pair) for pair in pairwise(maps)])
        self.to_image = nn.Conv2d(maps[-1], channels, kernel_size=3, padding=1)
        self.apply(init_weights)

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (n, latent_dim + num_classes), into images (n, C, H, W)."""
        h = self.project(code).unflatten(1, (-1, 4, 4))
        h = self.blocks(F.relu(self.norm(h)))
        return torch.tanh(self.to_image(h))


def doublings(image_size: int, width: int) -> int:
    """Return how often 4 pixels must double to make image_size: 3, 4 or 5 times.

    Raises:
        ValueError: if image_size is not 32, 64 or 128, or width is too small for so many halvings.
    """
    if image_size not in (32, 64, 128):
        raise ValueError(f"image_size must be 32, 64 or 128, got {image_size}")
    if width < image_size // 16:
        raise ValueError(f"width must be {image_size // 16} or more at {image_size} px: {width}")
    return int(math.log2(image_size // 4))


def upsample(c_in: int, c_out: int) -> nn.Sequential:
    """Return a block from (n, c_in, h, w) to (n, c_out, 2h, 2w)."""
    return nn.Sequential(
        nn.Conv2d(c_in, 4 * c_out, kernel_size=3, padding=1, bias=False),
        nn.PixelShuffle(2),
        nn.BatchNorm2d(c_out),
        nn.ReLU(),
    )


class HeadedDiscriminator(nn.Module):
    """What every D with these heads shares: from the features of a batch to what D says of it."""

    def add_heads(
        self,
        features: int,
        class_head: int,
        code_head: int = 0,
        projection: int = 0,
        embedding_head: int = 0,
        *,
        normed: Callable[[nn.Module], nn.Module],
    ) -> None:
        """Add the heads, of sizes as in `Discriminator`, on so many features.

        Args:
            normed: what is done to each linear layer, such as spectral norm.

        Raises:
            ValueError: for an embedding_head without a class_head.
        """
        if embedding_head and not class_head:
            raise ValueError("an embedding_head needs a class_head, to compare it with")
        self.projection = projection
        self.source_head = normed(nn.Linear(features, 1))
        self.class_head: nn.Module | None = None
        self.code_head: nn.Module | None = None
        self.class_vectors: nn.Module | None = None
        self.embedding_head: nn.Module | None = None
        if embedding_head:  # lengths cancel in a cosine, and with them what `normed` would do
            self.embedding_head = nn.Linear(features, embedding_head)
            self.class_head = nn.Linear(embedding_head, class_head, bias=False)
        elif class_head:
            self.class_head = normed(nn.Linear(features, class_head))
        if code_head:
            self.code_head = normed(nn.Linear(features, 2 * code_head))
        if projection:
            self.class_vectors = normed(nn.Linear(projection, features, bias=False))

    def judge(self, h: Tensor, y: Tensor | None) -> DiscriminatorOutput:
        """Return what the heads say of features ``h``, float (n, features).

        Raises:
            ValueError: with a projection, if a label is missing or out of range.
        """
        source = self.source_head(h).squeeze(1)
        if self.class_vectors is not None:
            told = self.class_vectors(one_hot(y, self.projection, len(h)).to(h))
            source = source + (h * told).sum(1)
        code = self.code_head(h).chunk(2, dim=1) if self.code_head is not None else None
        if self.embedding_head is None:
            class_logits = self.class_head(h) if self.class_head is not None else None
            return DiscriminatorOutput(source, class_logits, code)
        assert self.class_head is not None  # see add_heads
        embedding = F.normalize(self.embedding_head(h).float(), dim=1)
        vectors = F.normalize(self.class_head.get_parameter("weight").float(), dim=1)
        with torch.autocast(h.device.type, enabled=False):
            cosines = embedding @ vectors.T
        return DiscriminatorOutput(source, cosines, code, embedding)


class Discriminator(HeadedDiscriminator):
    """The fast D: heads on one trunk that halves the image down to 4x4 pixels.

    Spectral norm (Miyato et al. 2018) keeps the largest singular value of each layer's weight at
    1; where BatchNorm follows, it undoes that.

    Args:
        channels: image channels.
        width: the last block has 4 width maps, the block before it half as many, and so on.
        label_input: number of classes D is *told* (CGAN): the label enters as constant one-hot
            maps beside the image. 0: D sees the image alone.
        class_head: number of logits with which D *names* the class (AC-GAN). 0: no class head.
        code_head: number of continuous codes that D *reads off* the image (InfoGAN). 0: no code
            head.
        image_size: 32, 64 or 128.
        projection: number of classes D is told in its source head (Miyato and Koyama 2018): the
            features' inner product with the class's vector is added to the source logit. 0: none.
        embedding_head: d, so that the class head compares directions (Kang et al. 2021): its logits
            are the cosines of an embedding in d dimensions with the class vectors. 0: it is linear.
        batch_norm: normalise every block but the first. Without it, spectral norm bounds each
            layer.

    Raises:
        ValueError: for another image_size, a width that leaves no map for the first block, or an
            embedding_head without a class_head.
    """

    def __init__(
        self,
        channels: int = 1,
        width: int = 32,
        label_input: int = 0,
        class_head: int = 0,
        code_head: int = 0,
        image_size: int = 32,
        projection: int = 0,
        embedding_head: int = 0,
        batch_norm: bool = True,
    ) -> None:
        super().__init__()
        self.label_input, self.width, self.batch_norm = label_input, width, batch_norm
        self.image_shape = (channels, image_size, image_size)
        maps = [4 * width // 2**i for i in reversed(range(doublings(image_size, width)))]
        first = downsample(channels + label_input, maps[0], norm=False)
        later = [downsample(*pair, norm=batch_norm) for pair in pairwise(maps)]
        self.trunk = nn.Sequential(first, *later, nn.Flatten())
        heads = (class_head, code_head, projection, embedding_head)
        self.add_heads(maps[-1] * 4 * 4, *heads, normed=normed)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Judge images ``x``, float (n, C, H, W); ``y`` int64 (n,) only if D is told the class.

        Raises:
            ValueError: if the images' shape is not D's, or a label is missing or out of range.
        """
        if x.shape[1:] != self.image_shape:
            raise ValueError(f"D takes images (n, {self.image_shape}), got {tuple(x.shape)}")
        if self.label_input:
            maps = one_hot(y, self.label_input, len(x)).to(x)[:, :, None, None]
            x = torch.cat([x, maps.expand(-1, -1, *x.shape[2:])], dim=1)
        return self.judge(self.trunk(x), y)


def downsample(c_in: int, c_out: int, norm: bool = True) -> nn.Sequential:
    """Return a block from (n, c_in, 2h, 2w) to (n, c_out, h, w)."""
    conv = normed(nn.Conv2d(c_in, c_out, kernel_size=4, stride=2, padding=1, bias=not norm))
    return nn.Sequential(conv, nn.BatchNorm2d(c_out) if norm else nn.Identity(), nn.LeakyReLU(0.2))


def normed(layer: nn.Module) -> nn.Module:
    """Initialise a layer, then divide its weight by its largest singular value at each use."""
    init_weights(layer)
    return spectral_norm(layer)


def one_hot(y: Labels | None, num_classes: int, n: int) -> Tensor:
    """Return labels as float one-hot rows (n, num_classes), after checking them.

    Raises:
        ValueError: as :func:`acgan_lib.labels.as_labels`.
    """
    return F.one_hot(as_labels(y, n, num_classes), num_classes).float()


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
