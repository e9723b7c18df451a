"""Class swaps in numbers: how much of a style factor does z hold, whatever the class?

Figure 9 of Odena et al. 2017 fixes z, changes the class, and shows that pose and background
stay. Here a factor (weight, slant, brightness) is measured on each image of such a grid, and an
analysis of variance splits what it varies by into z, class, and what neither explains.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from acgan_lib.metrics.estimate import Estimate


class SwapShares(NamedTuple):
    """Where a factor's variance over a class-swap grid comes from.

    Attributes:
        kept: of the variance within a class, the share that z explains for all classes alike: 1 if
            a swap leaves the factor as it was, about 1/K if rows mean nothing.
        by_class: of the whole variance, the share that the class explains by itself.

    n of both counts rows of the grid.
    """

    kept: Estimate
    by_class: Estimate


def swap_consistency(values: Tensor, *, resamples: int = 500, seed: int = 0) -> SwapShares:
    """Split a factor's variance over a class-swap grid by an analysis of variance of two ways.

    With m the mean of all values, r_i that of row i (one z) and c_k that of column k (one
    class), the sums of squares are: rows K sum (r_i - m)^2, columns n sum (c_k - m)^2, and the
    rest sum (v_ik - r_i - c_k + m)^2; the three add up to the total. ``kept`` is rows over rows
    plus rest, ``by_class`` is columns over the total. The interval is a percentile bootstrap over
    rows.

    Shuffle each column (`shuffled`) for the value that no consistency at all would give: it is
    near 1/K and not 0, because the mean of K unrelated values varies too. Real images of one
    style in every class give the ceiling for the tool that reads the factor.

    Args:
        values: float (n, K): the factor, measured on G(z_i, k).
        resamples: number of bootstrap resamples.
        seed: fixes them.

    Raises:
        ValueError: if values is not of shape (n >= 2, K >= 2), is not finite, or does not vary.
    """
    v = values.detach().cpu().double().numpy()
    if v.ndim != 2 or min(v.shape) < 2 or not np.isfinite(v).all():
        raise ValueError(f"values need shape (n >= 2, K >= 2), all finite, not {tuple(v.shape)}")
    if np.ptp(v) == 0:
        raise ValueError("values do not vary: there is no variance to explain")
    rng = np.random.default_rng(seed)
    draws = [_shares(v[rng.integers(0, len(v), len(v))]) for _ in range(resamples)]
    low, high = np.nanquantile(np.array(draws), [0.025, 0.975], axis=0)
    kept, by_class = (
        Estimate(value, min(float(a), value), max(float(b), value), len(v))
        for value, a, b in zip(_shares(v), low, high, strict=True)
    )
    return SwapShares(kept, by_class)


def _shares(v: np.ndarray) -> tuple[float, float]:
    rows, columns, mean = v.mean(1, keepdims=True), v.mean(0, keepdims=True), v.mean()
    by_row = v.shape[1] * ((rows - mean) ** 2).sum()
    by_column = v.shape[0] * ((columns - mean) ** 2).sum()
    rest = ((v - rows - columns + mean) ** 2).sum()
    within = by_row + rest
    kept = float(by_row / within) if within > 0 else float("nan")
    return kept, float(by_column / max(within + by_column, np.finfo(float).tiny))


def shuffled(values: Tensor, *, seed: int = 0) -> Tensor:
    """Return the grid (n, K), each column in a random order of its own: rows mean nothing."""
    generator = torch.Generator().manual_seed(seed)
    orders = [torch.randperm(len(values), generator=generator) for _ in range(values.shape[1])]
    return torch.stack([column[order] for column, order in zip(values.T, orders, strict=True)], 1)
