"""What helps a GAN that has few images: small changes of an objective or of the settings.

Each takes what the loop already has and returns the same kind of thing, so that they combine:
``train.fit(G, D, data, diff_augment(acgan()), ...)``. What they draw at random comes from torch's
global generator, which the loop seeds at each step, so a resumed run draws the same.

Sources: DiffAugment, Zhao et al. 2020, "Differentiable Augmentation for Data-Efficient GAN
Training"; R1, Mescheder et al. 2018, "Which Training Methods for GANs do actually Converge?";
two time scales, Heusel et al. 2017. The running average of G's weights is the loop's own
(``TrainConfig.ema``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.objectives import Batch, Objective, Terms
from acgan_lib.train import TrainConfig


def brightness(x: Tensor) -> Tensor:
    """Add one random number in [-0.5, 0.5) to all of an image; x float (n, C, H, W)."""
    return x + torch.rand(len(x), 1, 1, 1, device=x.device, dtype=x.dtype) - 0.5


def translation(x: Tensor, share: float = 0.125) -> Tensor:
    """Shift each image by whole pixels, up to ``share`` of its side; 0 comes in at the edge."""
    n, _, h, w = x.shape
    reach = int(max(h, w) * share + 0.5)
    shift = torch.randint(-reach, reach + 1, (2, n, 1), device=x.device)
    rows = torch.arange(h, device=x.device) + reach + shift[0]
    columns = torch.arange(w, device=x.device) + reach + shift[1]
    images = torch.arange(n, device=x.device)[:, None, None]
    padded = F.pad(x, (reach,) * 4)
    # Three index tensors broadcast to (n, H, W); the channels, sliced between them, come last.
    return padded[images, :, rows[:, :, None], columns[:, None, :]].movedim(-1, 1)


def cutout(x: Tensor, share: float = 0.5) -> Tensor:
    """Put 0 into a square at a random place, its side ``share`` of the image's, cut at the edge."""
    n, _, h, w = x.shape
    side = int(h * share + 0.5)
    top = torch.randint(-(side // 2), h + 1 - side // 2, (n, 1), device=x.device)
    left = torch.randint(-(side // 2), w + 1 - side // 2, (n, 1), device=x.device)
    rows, columns = torch.arange(h, device=x.device), torch.arange(w, device=x.device)
    hit_row = (rows >= top) & (rows < top + side)
    hit_column = (columns >= left) & (columns < left + side)
    return x.masked_fill((hit_row[:, :, None] & hit_column[:, None, :])[:, None], 0.0)


AUGMENTATIONS: tuple[Callable[[Tensor], Tensor], ...] = (brightness, translation, cutout)


def augment(x: Tensor, by: Sequence[Callable[[Tensor], Tensor]] = AUGMENTATIONS) -> Tensor:
    """Return images (n, C, H, W) changed at random, differentiably, in the order given."""
    for change in by:
        x = change(x)
    return x


def diff_augment(
    objective: Objective, by: Sequence[Callable[[Tensor], Tensor]] = AUGMENTATIONS
) -> Objective:
    """Let D see changed images only, real and generated alike, in D's step and in G's.

    To change the real ones alone would teach G to draw changed images. G learns *through* the
    change, which is why it must be differentiable.
    """

    def changed(batch: Batch) -> Batch:
        return batch._replace(images=augment(batch.images, by))

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return objective.d_loss(D, changed(real), changed(fake))

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        return objective.g_loss(D, changed(fake))

    names = "+".join(change.__name__ for change in by)
    return objective._replace(name=f"{objective.name} with {names}", d_loss=d_loss, g_loss=g_loss)


def slopes(D: nn.Module, batch: Batch) -> Tensor:
    """Return grad_x s(x) for each image, float (n, C H W), s being D's source logit.

    It keeps its graph, so that a penalty on it can be minimised: that is a second derivative of D.
    If D has BatchNorm, an image's logit depends on the others of its batch. What is returned then
    is the gradient of the logits' sum.
    """
    x = batch.images.detach().requires_grad_()
    logits = D(x, batch.labels).source_logit
    (gradient,) = torch.autograd.grad(logits.float().sum(), x, create_graph=True)
    return gradient.float().flatten(1)


def r1_penalty(D: nn.Module, real: Batch) -> Tensor:
    """Return E ||grad_x s(x)||^2 on real images, a scalar; on generated ones it is called R2."""
    return slopes(D, real).square().sum(1).mean()


def r1(objective: Objective, gamma: float) -> Objective:
    """Add gamma / 2 times :func:`acgan_lib.regularise.r1_penalty` to D's loss.

    Equation 9 of Mescheder et al.

    Raises:
        ValueError: if gamma is not positive.
    """
    if not gamma > 0:
        raise ValueError(f"gamma must be positive, got {gamma}")

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return {**objective.d_loss(D, real, fake), "d_r1": gamma / 2 * r1_penalty(D, real)}

    return objective._replace(
        name=f"{objective.name} with R1, gamma {gamma:g}",
        d_loss=d_loss,
        settings={**objective.settings, "gamma": gamma},
    )


def two_time_scales(config: TrainConfig, ratio: float = 4.0) -> TrainConfig:
    """Let D learn ``ratio`` times as fast as it did relative to G; their product stays.

    Raises:
        ValueError: if the ratio is not positive.
    """
    if not ratio > 0:
        raise ValueError(f"ratio must be positive, got {ratio}")
    root = ratio**0.5
    return replace(config, lr_g=config.lr_g / root, lr_d=config.lr_d * root)
