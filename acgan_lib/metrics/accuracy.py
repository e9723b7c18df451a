"""Judge accuracy: does a classifier of real images see in a sample the class that was asked?

The paper measures the same with Inception. A high figure says that the classes can be told
apart; a generator with one perfect image a class scores 1, so read it beside the diversity.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.metrics.estimate import Estimate, proportion
from acgan_lib.metrics.sampling import checked_images, checked_labels, in_batches


def judge_accuracy(judge: nn.Module, x: Tensor, y: Tensor, *, progress: bool = False) -> Estimate:
    """Return the share of images that `judge` puts in the class that was asked for.

    Args:
        judge: any module from images (n, C, H, W) in [-1, 1] to logits (n, K).
        x: images, float (n, C, H, W) in [-1, 1].
        y: the classes asked for, int64 (n,).
        progress: show a bar over the batches.

    Returns:
        Estimate in 0..1 with Wilson's interval; n counts images.

    Raises:
        ValueError: if x is not float images in [-1, 1] (`checked_images`), y is not one int64
            label for each, or a label is not one of the K classes.
    """
    right = _right(judge, x, y, progress="judge accuracy" if progress else None)
    return proportion(int(right.sum()), len(right))


def judge_accuracy_by_class(
    judge: nn.Module, x: Tensor, y: Tensor, *, progress: bool = False
) -> list[Estimate]:
    """Return `judge_accuracy` for each class 0..max(y); one collapsed class shows here alone.

    Raises:
        ValueError: as judge_accuracy, and if a class up to max(y) has no image.
    """
    return _by_class(_right(judge, x, y, progress="judge accuracy" if progress else None), y)


def _by_class(right: Tensor, y: Tensor) -> list[Estimate]:
    of = [right[y.cpu() == k] for k in range(int(y.max()) + 1)]
    for k, each in enumerate(of):
        if not len(each):
            raise ValueError(f"class {k} has no image, but y goes up to class {len(of) - 1}")
    return [proportion(int(each.sum()), len(each)) for each in of]


def _right(
    judge: nn.Module,
    x: Tensor,
    y: Tensor,
    see: Callable[[Tensor], Tensor] = lambda x: x,
    progress: str | None = None,
) -> Tensor:
    """Return bool (n,): whether the judge's first choice for see(x) is y."""
    labels = checked_labels(y, len(checked_images(x)))
    logits = in_batches(judge, lambda x: judge(see(x)), x, progress=progress)
    if int(labels.max()) >= logits.shape[1]:
        raise ValueError(
            f"the judge knows classes 0..{logits.shape[1] - 1}, but y goes up to "
            f"{int(labels.max())}"
        )
    return torch.eq(logits.argmax(1), labels)


def at_resolution(x: Tensor, side: int, *, antialias: bool = True) -> Tensor:
    """Return images shrunk to `side` pixels and enlarged again, both bilinearly, in [-1, 1].

    This is how the paper takes detail away before it asks the classifier again (section 4.1).
    Without `antialias` the shrinking looks at four pixels and leaves the others out: a thin
    stroke may vanish, and what is left is sharper than the average would be. The accuracy then
    measures the resizing as well as the image (Parmar, Zhang and Zhu 2022).

    Args:
        x: float (n, C, H, W) in [-1, 1].
        side: pixels, 1..H; at H the images come back as they are.
        antialias: average over all pixels that shrink into one.

    Raises:
        ValueError: if x is not a batch of square images or `side` is out of range.
    """
    if x.ndim != 4 or x.shape[2] != x.shape[3] or not 1 <= side <= x.shape[2]:
        raise ValueError(f"need square images and side in 1..H, got {tuple(x.shape)}, {side}")
    if side == x.shape[2]:
        return x
    small = F.interpolate(x, side, mode="bilinear", align_corners=False, antialias=antialias)
    return F.interpolate(small, x.shape[2], mode="bilinear", align_corners=False)


def judge_accuracy_at(
    judge: nn.Module, x: Tensor, y: Tensor, sides: Sequence[int], *, progress: bool = False
) -> dict[int, list[Estimate]]:
    """Return `judge_accuracy_by_class` after `at_resolution`, for each side (the paper's figure 2).

    The judge sees every version at the same number of pixels, so only the detail differs. But it
    learned from sharp images: what it cannot name may still be there, for a judge that knows
    blur. Below some side a figure says more about the judge than about the images.

    Raises:
        ValueError: as those two.
    """
    found = {}
    for side in sides:
        see = partial(at_resolution, side=side)
        found[side] = _by_class(_right(judge, x, y, see, f"{side} px" if progress else None), y)
    return found
