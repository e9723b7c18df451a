"""Progressive growing (Karras et al. 2018): both networks start at 4x4 pixels and grow.

G and D hold the layers of every size; `grow_to` says up to which they are used, and `alpha` how
far the newest ones are faded in. At alpha 0 a network is exactly the smaller one, at 1 the larger
one. `grow` is a loop around `acgan_lib.train.fit`, one call for each size. Three more parts of the
paper are here: pixel norm in G, the equalised rate in both, and D's minibatch standard deviation.

The classes enter as in AC-GAN: G gets the class beside z, and D has a class head. The authors' own
code does the same for data with labels. Two things differ from the paper: the loss is any of
`acgan_lib.objectives`, where the paper has WGAN-GP, and G's images end in tanh.

Source: "Progressive Growing of GANs for Improved Quality, Stability, and Variation",
https://arxiv.org/abs/1710.10196, sections 2 to 4 and appendix A.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from acgan_lib.data import LabelledImages
from acgan_lib.labels import Labels
from acgan_lib.nets import ConditionalGenerator, DiscriminatorOutput
from acgan_lib.objectives import Batch, Objective, Terms
from acgan_lib.train import Callback, Progress, Result, StopTraining, TrainConfig, fit

SIZES = (4, 8, 16, 32, 64, 128)


def double(x: Tensor) -> Tensor:
    """Make each pixel a block of 2x2: (n, C, h, w) to (n, C, 2h, 2w)."""
    return F.interpolate(x, scale_factor=2, mode="nearest")


def halve(x: Tensor) -> Tensor:
    """Average each block of 2x2 pixels: (n, C, 2h, 2w) to (n, C, h, w)."""
    return F.avg_pool2d(x, 2)


def fade_images(small: Tensor, large: Tensor, alpha: float | Tensor) -> Tensor:
    """Fade in G: from the smaller network's images, doubled, to the larger one's.

    Args:
        small: (n, C, s, s), of the layers that G had before.
        large: (n, C, 2s, 2s), of the new layers.
        alpha: in [0, 1], a number or a tensor without dimensions.

    Returns:
        (n, C, 2s, 2s): (1 - alpha) double(small) + alpha large. It is exactly the one at alpha 0
        and exactly the other at alpha 1.
    """
    return torch.lerp(double(small), large, alpha)


def fade_maps(before: Tensor, new: Tensor, alpha: float | Tensor) -> Tensor:
    """Fade in D: from the maps that the old entry makes of a halved image to the new block's.

    Args:
        before: (n, maps, s, s), the image halved, then D's entry for the smaller size.
        new: (n, maps, s, s), D's new entry and its new block.
        alpha: as in :func:`fade_images`.
    """
    return torch.lerp(before, new, alpha)


def pixel_norm(x: Tensor, eps: float = 1e-8) -> Tensor:
    """Divide each pixel's vector, x[i, :, h, w], by its root mean square; no parameters.

    Section 4.2 of the paper. x is float (n, C) or (n, C, H, W).
    """
    return x * (x.square().mean(1, keepdim=True) + eps).rsqrt()


def minibatch_std(x: Tensor) -> Tensor:
    """Add a constant map that says how much the images of the batch differ.

    For each map and place the standard deviation over the n images (over n, not n - 1), then the
    mean of these. Section 3 of the paper, with the whole batch as one group.

    Args:
        x: float (n, maps, h, w).

    Returns:
        float (n, maps + 1, h, w).
    """
    # The 1e-8 keeps the root's gradient finite where all images agree.
    spread = (x.var(0, unbiased=False) + 1e-8).sqrt().mean()
    return torch.cat([x, spread.expand(len(x), 1, *x.shape[2:])], dim=1)


class Times(nn.Module):
    """Multiply by a constant: what `equalised` puts before a layer's weight."""

    def __init__(self, constant: float) -> None:
        super().__init__()
        self.constant = constant

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weight that the layer computes with."""
        return weight * self.constant


def equalised(layer: nn.Conv2d | nn.Linear, gain: float = math.sqrt(2)) -> nn.Module:
    """Draw a layer's weights from N(0, 1) and scale them by gain / sqrt(inputs) at each use.

    He et al.'s initialisation has the same products at the start. But Adam's steps do not depend
    on a gradient's scale, so here they are in the same proportion to the weights in every layer,
    wide or narrow. Section 4.1 of the paper.
    """
    nn.init.normal_(layer.weight)
    assert layer.bias is not None
    nn.init.zeros_(layer.bias)
    constant = gain / math.sqrt(layer.weight[0].numel())
    return parametrize.register_parametrization(layer, "weight", Times(constant))


class Growing:
    """What G and D share: the size in use, and how far its layers are faded in."""

    full_size: int
    stage: int
    alpha: float | Tensor

    def grow_to(self, size: int, alpha: float | Tensor = 1.0) -> None:
        """Use the layers up to `size` px, the newest faded in by alpha (see `fade_images`).

        Raises:
            ValueError: if the network has no such size.
        """
        if size not in SIZES or size > self.full_size:
            known = ", ".join(str(s) for s in SIZES if s <= self.full_size)
            raise ValueError(f"size must be one of {known}, not {size}")
        self.stage, self.alpha = SIZES.index(size), alpha

    @property
    def fading(self) -> bool:
        """Whether the newest layers are blended with what was there before."""
        return self.stage > 0 and (isinstance(self.alpha, Tensor) or self.alpha < 1)


def maps_at(width: int, image_size: int) -> list[int]:
    """Return the number of maps at 4, 8, 16, ... px: 4 width, twice, then half at each size."""
    stages = SIZES.index(image_size) + 1
    return [max(4 * width // 2 ** max(i - 1, 0), 1) for i in range(stages)]


class GrowingGenerator(Growing, ConditionalGenerator):
    """G of the paper, in any width, with the class beside z.

    ``image_size`` is the size in use; a new G uses all its layers.

    Args:
        latent_dim: length of z.
        num_classes: K; 0 for a G without classes.
        channels: image channels.
        width: there are 4 width maps at 4 and 8 px, half as many at 16 px, and so on.
        image_size: the largest size, one of SIZES.
    """

    def __init__(
        self,
        latent_dim: int = 64,
        num_classes: int = 10,
        channels: int = 3,
        width: int = 16,
        image_size: int = 32,
    ) -> None:
        super().__init__(latent_dim, num_classes, channels, image_size)
        self.full_size = image_size
        self.kwargs = {  # of the whole network, whatever size is in use: zoo.save keeps them
            "latent_dim": latent_dim, "num_classes": num_classes, "channels": channels,
            "width": width, "image_size": image_size,
        }  # fmt: skip
        maps = maps_at(width, image_size)
        self.project = equalised(nn.Linear(latent_dim + num_classes, maps[0] * 4 * 4))
        first = nn.ModuleList([conv(maps[0], maps[0])])
        later = [nn.ModuleList([conv(a, b), conv(b, b)]) for a, b in pairwise(maps)]
        self.blocks = nn.ModuleList([first, *later])
        self.to_image = nn.ModuleList(equalised(nn.Conv2d(m, channels, 1), 1.0) for m in maps)
        self.grow_to(image_size)

    def grow_to(self, size: int, alpha: float | Tensor = 1.0) -> None:
        """Draw images of `size` px from now on; see :meth:`Growing.grow_to`."""
        super().grow_to(size, alpha)
        self.image_size = size

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (n, latent_dim + num_classes), into images (n, C, s, s)."""
        z, weights = code[:, : self.latent_dim], code[:, self.latent_dim :]
        h = self.project(torch.cat([pixel_norm(z), weights], dim=1)).unflatten(1, (-1, 4, 4))
        h = before = pixel_norm(F.leaky_relu(h, 0.2))
        for i in range(self.stage + 1):
            before, h = h, double(h) if i else h
            for layer in self.blocks[i]:  # type: ignore[attr-defined]
                h = pixel_norm(F.leaky_relu(layer(h), 0.2))
        images = self.to_image[self.stage](h)
        if self.fading:
            images = fade_images(self.to_image[self.stage - 1](before), images, self.alpha)
        return torch.tanh(images)


class GrowingDiscriminator(Growing, nn.Module):
    """D of the paper, G's mirror image, with a class head where the objective needs one.

    Args:
        channels, width, image_size: as G's.
        class_head: number of logits with which D names the class; 0 for none.
    """

    def __init__(
        self, channels: int = 3, width: int = 16, class_head: int = 0, image_size: int = 32
    ) -> None:
        super().__init__()
        self.full_size, self.channels = image_size, channels
        maps = maps_at(width, image_size)
        self.from_image = nn.ModuleList(equalised(nn.Conv2d(channels, m, 1)) for m in maps)
        last = nn.ModuleList([conv(maps[0] + 1, maps[0])])
        earlier = [nn.ModuleList([conv(b, b), conv(b, a)]) for a, b in pairwise(maps)]
        self.blocks = nn.ModuleList([last, *earlier])
        self.hidden = equalised(nn.Linear(maps[0] * 4 * 4, maps[0]))
        self.source_head = equalised(nn.Linear(maps[0], 1), 1.0)
        self.class_head = equalised(nn.Linear(maps[0], class_head), 1.0) if class_head else None
        self.grow_to(image_size)

    def forward(self, x: Tensor, y: Labels | None = None) -> DiscriminatorOutput:
        """Judge images ``x``, float (n, C, s, s) of the size in use; ``y`` is ignored.

        Raises:
            ValueError: if the images' shape is not D's.
        """
        size = SIZES[self.stage]
        if x.shape[1:] != (self.channels, size, size):
            raise ValueError(
                f"D takes images (n, {self.channels}, {size}, {size}), got {tuple(x.shape)}"
            )
        h = F.leaky_relu(self.from_image[self.stage](x), 0.2)
        for i in range(self.stage, -1, -1):
            h = h if i else minibatch_std(h)
            for layer in self.blocks[i]:  # type: ignore[attr-defined]
                h = F.leaky_relu(layer(h), 0.2)
            h = halve(h) if i else h
            if i == self.stage and self.fading:
                before = F.leaky_relu(self.from_image[i - 1](halve(x)), 0.2)
                h = fade_maps(before, h, self.alpha)
        h = F.leaky_relu(self.hidden(h.flatten(1)), 0.2)
        class_logits = self.class_head(h) if self.class_head is not None else None
        return DiscriminatorOutput(self.source_head(h).squeeze(1), class_logits)


def conv(c_in: int, c_out: int) -> nn.Module:
    """Return a 3x3 convolution with the equalised rate; the size stays."""
    return equalised(nn.Conv2d(c_in, c_out, kernel_size=3, padding=1))


def shrunk(data: LabelledImages, size: int) -> LabelledImages:
    """Return the same images at `size` px, each pixel the mean of a block.

    Raises:
        ValueError: if the images' side is no multiple of `size`.
    """
    if size < 1 or data.size % size:
        raise ValueError(f"size must divide the images' {data.size} px, not {size}")
    block = data.size // size
    parts = [
        F.avg_pool2d(part.float(), block).round().to(torch.uint8)
        for part in torch.split(data.images, 1000)
    ]
    return replace(data, images=torch.cat(parts))


def faded(objective: Objective) -> Objective:
    """Show D real images that are as far faded in as D's and G's newest layers.

    Otherwise D would tell real images by detail that G cannot draw yet.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        if isinstance(D, Growing) and D.fading:
            real = real._replace(images=fade_images(halve(real.images), real.images, D.alpha))
        return objective.d_loss(D, real, fake)

    return objective._replace(name=f"{objective.name}, growing", d_loss=d_loss)


class Stage(NamedTuple):
    """One size of a growth.

    Attributes:
        size: in pixels.
        length: in steps, or in what the clock of :func:`grow` counts.
        fade: the share of it in which the newest layers are faded in.
    """

    size: int
    length: float
    fade: float = 0.5


def grow(
    G: GrowingGenerator,
    D: GrowingDiscriminator,
    data: LabelledImages,
    objective: Objective,
    stages: Sequence[Stage],
    config: TrainConfig,
    *,
    clock: Callable[[], float] | None = None,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train G against D size by size, in place; return what `fit` returns for the last stage.

    As in the paper, the optimisers start anew with each stage, and the rates stay constant.

    Args:
        G, D: fresh, or grown so far as the stage before the first one.
        data: images whose side is a multiple of every stage's size.
        objective: its real images are faded too, see :func:`faded`.
        stages: one for each size. One stage of the full size, with ``fade=0``, is ordinary
            training: the control.
        config: of each stage; with ``linear_decay=False``. Each stage draws other batches.
        clock: counts what a stage's length is measured in, such as `time.process_time`; steps if
            None.
        callbacks: called after each step, as by `fit`, while alpha is what the step had. The count
            of steps starts anew with each stage.

    Raises:
        ValueError: if there is no stage, the rates were to decay, or as `fit`.
    """
    if not stages or config.linear_decay:
        raise ValueError("grow needs a stage or more, and a config with linear_decay=False")
    for i, stage in enumerate(stages):
        part, fade = shrunk(data, stage.size), _Fade(stage, clock)
        for network in (G, D):
            network.grow_to(stage.size, fade.alpha(0.0))
        own = replace(config, seed=config.seed * len(stages) + i)
        steps = math.ceil(stage.length) if clock is None else _NO_END
        called: list[Callback] = [*callbacks, fade]
        result = fit(G, D, part, faded(objective), steps=steps, config=own, callbacks=called)
    return result


_NO_END = 10**9  # steps of a stage that its clock ends


class _Fade:
    """The callback that fades a stage's layers in, and ends the stage when its time is over."""

    def __init__(self, stage: Stage, clock: Callable[[], float] | None) -> None:
        self.stage, self.clock = stage, clock
        self.began = clock() if clock is not None else 0.0

    def alpha(self, spent: float) -> float:
        """Return how far the layers are faded in after so much of the stage."""
        fading = self.stage.fade * self.stage.length
        return min(spent / fading, 1.0) if fading else 1.0

    def __call__(self, now: Progress) -> None:
        """Set alpha for the next step."""
        spent = now.step if self.clock is None else self.clock() - self.began
        for network in (now.G, now.D, now.G_ema):
            assert isinstance(network, Growing)
            network.alpha = self.alpha(spent)
        if spent >= self.stage.length:
            raise StopTraining
