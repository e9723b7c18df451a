"""Class swaps in numbers: how much of a style factor does z hold, whatever the class?

Figure 9 of Odena et al. 2017 fixes z, changes the class, and shows that pose and background
stay. Here a factor (weight, slant, brightness) is measured on each image of such a grid, and an
analysis of variance splits what it varies by into z, class, and what neither explains. For factors
with a few known values, such as a colour of a palette, see `acgan_lib.metrics.truth.factor_swaps`.
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
        icc: ``kept`` without its floor, (K kept - 1) / (K - 1): about 0 if rows mean nothing, so
            that grids of different K compare, and 1 if a swap keeps the factor. It is the
            intraclass correlation ICC(3, 1) of Shrout and Fleiss (1979), with z as the target and
            the class as the judge; McGraw and Wong (1996) call it ICC(C, 1).

    n counts rows of the grid, or groups of rows where there are any.
    """

    kept: Estimate
    by_class: Estimate
    icc: Estimate


def swap_consistency(
    values: Tensor, *, groups: Tensor | None = None, resamples: int = 500, seed: int = 0
) -> SwapShares:
    """Split a factor's variance over a class-swap grid by an analysis of variance of two ways.

    With m the mean of all values, r_i that of row i (one z) and c_k that of column k (one
    class), the sums of squares are: rows K sum (r_i - m)^2, columns n sum (c_k - m)^2, and the
    rest sum (v_ik - r_i - c_k + m)^2; the three add up to the total. ``kept`` is rows over rows
    plus rest, ``by_class`` is columns over the total. The intervals are percentile bootstraps over
    rows. Rows that belong together are drawn together: the weights of one font family are not
    independent typefaces. With fewer than about 20 groups such an interval is too narrow.

    Shuffle each column (`shuffled`) for the value that no consistency at all would give: ``kept``
    is then near 1/K and not 0, because the mean of K unrelated values varies too. Real images of
    one style in every class give the ceiling for the tool that reads the factor. All shares depend
    on how much the rows differ, as every correlation does: compare grids whose rows vary alike.

    Args:
        values: float (n, K): the factor, measured on G(z_i, k).
        groups: int64 (n,): rows of one number are drawn together. Without it each row is by itself.
        resamples: number of bootstrap resamples.
        seed: fixes them.

    Raises:
        ValueError: if values is not of shape (n >= 2, K >= 2), is not finite, or does not vary; or
            groups is not int64 (n,) with 2 groups at least.
    """
    v = values.detach().cpu().double().numpy()
    if v.ndim != 2 or min(v.shape) < 2 or not np.isfinite(v).all():
        raise ValueError(f"values need shape (n >= 2, K >= 2), all finite, not {tuple(v.shape)}")
    if np.ptp(v) == 0:
        raise ValueError("values do not vary: there is no variance to explain")
    members = None if groups is None else _members(groups, len(v))
    n, rng = len(v if members is None else members), np.random.default_rng(seed)
    draws = []
    for _ in range(resamples):
        picked = rng.integers(0, n, n)
        rows = picked if members is None else np.concatenate([members[i] for i in picked])
        draws.append(_shares(v[rows]))
    low, high = np.nanquantile(np.array(draws), [0.025, 0.975], axis=0)
    kept, by_class = (
        Estimate(value, min(float(a), value), max(float(b), value), n)
        for value, a, b in zip(_shares(v), low, high, strict=True)
    )
    return SwapShares(kept, by_class, without_floor(kept, v.shape[1]))


def without_floor(kept: Estimate, classes: int) -> Estimate:
    """Return the intraclass correlation of a share ``kept`` of a grid of K classes, ends and all.

    It is (K kept - 1) / (K - 1): a line, so that it turns a recorded share into ``icc`` exactly.
    """
    value, low, high = ((classes * share - 1) / (classes - 1) for share in kept[:3])
    return Estimate(value, low, high, kept.n)


def _members(groups: Tensor, n: int) -> list[np.ndarray]:
    """Return the rows of each group."""
    if groups.shape != (n,) or groups.dtype != torch.int64:
        raise ValueError(f"groups must be int64 ({n},), not {groups.dtype} {tuple(groups.shape)}")
    of = groups.cpu().numpy()
    names = np.unique(of)
    if len(names) < 2:
        raise ValueError("groups must hold 2 groups at least: one alone has no interval")
    return [np.flatnonzero(of == name) for name in names]


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
