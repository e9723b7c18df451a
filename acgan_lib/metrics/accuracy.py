"""Judge accuracy: does a classifier of real images see in a sample the class that was asked?

The paper measures the same with Inception. A high figure says that the classes can be told
apart; a generator with one perfect image a class scores 1, so read it beside the diversity.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acgan_lib.metrics.estimate import Estimate, proportion
from acgan_lib.metrics.sampling import in_batches


def judge_accuracy(judge: nn.Module, x: Tensor, y: Tensor) -> Estimate:
    """Return the share of images that `judge` puts in the class that was asked for.

    Args:
        judge: any module from images (n, C, H, W) in [-1, 1] to logits (n, K).
        x: images, float (n, C, H, W) in [-1, 1].
        y: the classes asked for, int64 (n,).

    Returns:
        Estimate in 0..1 with Wilson's interval; n counts images.

    Raises:
        ValueError: if x is empty, y has another length, or a label is not one of the K classes.
    """
    right = _right(judge, x, y)
    return proportion(int(right.sum()), len(right))


def judge_accuracy_by_class(judge: nn.Module, x: Tensor, y: Tensor) -> list[Estimate]:
    """Return `judge_accuracy` for each class 0..max(y); one collapsed class shows here alone.

    Raises:
        ValueError: as judge_accuracy, and if a class up to max(y) has no image.
    """
    right, labels = _right(judge, x, y), y.cpu()
    return [
        proportion(int(right[labels == k].sum()), int((labels == k).sum()))
        for k in range(int(labels.max()) + 1)
    ]


def _right(judge: nn.Module, x: Tensor, y: Tensor) -> Tensor:
    """Return bool (n,): whether the judge's first choice is y."""
    if y.shape != (len(x),):
        raise ValueError(f"y must have shape ({len(x)},), one label an image, not {tuple(y.shape)}")
    logits, labels = in_batches(judge, judge, x), y.cpu()
    if not 0 <= int(labels.min()) <= int(labels.max()) < logits.shape[1]:
        raise ValueError(
            f"the judge knows classes 0..{logits.shape[1] - 1}, but y spans "
            f"{int(labels.min())}..{int(labels.max())}"
        )
    return torch.eq(logits.argmax(1), labels)
