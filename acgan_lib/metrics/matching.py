"""Does an unsupervised code agree with the classes? Names do not count, only the grouping.

A code that was learned without labels calls its groups 0..M-1 in any order. Either each group is
given the class that suits it best, or the mutual information is taken, which needs no names.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from acgan_lib.metrics.estimate import Estimate, proportion


def contingency(code: Tensor, labels: Tensor, size: int) -> Tensor:
    """Count how often each code meets each class: int64 (size, size), codes down, classes across.

    Raises:
        ValueError: unless both are int64 (n,), with n >= 1 and values in 0..size-1.
    """
    for name, values in (("code", code), ("labels", labels)):
        if values.shape != code.shape or values.ndim != 1 or values.dtype != torch.int64:
            raise ValueError(f"{name} must be int64 (n,), got {values.dtype} {tuple(values.shape)}")
        if not len(values) or not 0 <= int(values.min()) <= int(values.max()) < size:
            raise ValueError(f"{name} must hold values in 0..{size - 1}")
    return torch.bincount(code * size + labels, minlength=size**2).view(size, size)


def best_match(table: Tensor) -> tuple[Tensor, Estimate]:
    """Give each code a class of its own, so that they agree as often as possible.

    The assignment is one to one (Kuhn 1955, the "Hungarian" method). Since it was chosen to suit
    these very images, it is a little better than 1 / size also for a code that knows nothing.

    Args:
        table: int64 (size, size) as from :func:`contingency`.

    Returns:
        The class of each code, int64 (size,), and the share of images in their code's class with
        Wilson's interval; n counts images.
    """
    _, classes = linear_sum_assignment(table.numpy(), maximize=True)
    found = torch.from_numpy(classes)
    agreeing = int(table[torch.arange(len(table)), found].sum())
    return found, proportion(agreeing, int(table.sum()))


def mutual_information(table: Tensor) -> float:
    """Return the mutual information of code and class in nats, from their counts.

    0 if they are independent, log(size) at most. Counts of n images overestimate it by about
    (size - 1)^2 / 2n (Miller 1955).
    """
    p = table.double() / table.sum()
    independent = p.sum(1, keepdim=True) * p.sum(0, keepdim=True)
    seen = p > 0
    return float((p[seen] * (p[seen] / independent[seen]).log()).sum())
