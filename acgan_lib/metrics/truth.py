"""Measures that need the true distribution: known factors, uniform and independent in each class.

FashionMNIST has no known distribution; `acgan_lib.avatars` has one. Here a generator's samples are
held against it, by factors that a judge or an exact rule read from them, as whole numbers 0..L-1.
Reading errs. So put the same reading of real pictures beside every figure: what it lacks of
the law is the reader's fault and not the generator's.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import stats
from torch import Tensor

from acgan_lib.metrics.estimate import Estimate, bootstrap_mean

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


class Against(NamedTuple):
    """A figure beside what as many real pictures, read without error, would give.

    value: of the samples. expected: the exact mean over sets of real pictures of that size.
    low, high: the middle 95 % of such sets, simulated.
    """

    value: float
    expected: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.4g} (real {self.expected:.4g} [{self.low:.4g}, {self.high:.4g}])"


class Coverage(NamedTuple):
    """How n samples fill the combinations of the factors, against the uniform law.

    met: combinations that occur at least once.
    chi2: Pearson's statistic, with its degrees of freedom df and p-value.
    kl: Kullback-Leibler divergence of the samples' frequencies from the law, in nats.
    counts: int64 (classes, combinations), how often each occurs; the last factor varies fastest.
    n: samples.
    """

    met: Against
    chi2: Against
    df: int
    p: float
    kl: Against
    counts: Tensor
    n: int


def coverage(
    factors: Tensor,
    levels: Sequence[int],
    classes: Tensor | None = None,
    num_classes: int = 1,
    *,
    simulations: int = 1000,
    seed: int = 0,
) -> Coverage:
    """Count the factors' combinations in each class and compare them with the uniform law.

    The law is uniform over the M combinations within each class; how many samples n_c a class has
    is taken as given, because one asks a conditional generator for it. Hence, over the classes,
    the expected number met is ``sum_c M (1 - (1 - 1/M)^n_c)``, the degrees of freedom are M - 1
    for each class with samples, and that is also the statistic's exact mean. The divergence is
    the mean of the classes' own, weighted by n_c; that of n real pictures is not 0, and its exact
    mean follows from binomial counts. The p-value takes the chi-squared distribution, which
    wants some five samples or more for each combination; with fewer, see where the value lies in
    the simulated interval.

    Args:
        factors: int64 (n, F), column f with values 0..levels[f]-1. One column for the
            frequencies of one factor.
        levels: F numbers of values.
        classes: int64 (n,), the class asked for or read; without it, all samples are one class.
        num_classes: how many classes there are.
        simulations: sets of real pictures that the intervals rest on.
        seed: fixes them.

    Raises:
        ValueError: if a shape or a value does not fit, or there is no sample.
    """
    table = factors.detach().cpu()
    if table.ndim != 2 or table.shape[1] != len(levels) or not len(table):
        raise ValueError(
            f"factors must have shape (n >= 1, {len(levels)}), not {tuple(table.shape)}"
        )
    m = math.prod(levels)
    if m < 2:
        raise ValueError(f"levels must leave 2 combinations or more, not {tuple(levels)}")
    columns = [_whole(f"factors[:, {i}]", table[:, i], L) for i, L in enumerate(levels)]
    c = (
        np.zeros(len(table), np.int64)
        if classes is None
        else _whole("classes", classes, num_classes)
    )
    if len(c) != len(table):
        raise ValueError(f"classes must have shape ({len(table)},), not {tuple(c.shape)}")
    cell = np.ravel_multi_index((c, *columns), (num_classes, *levels))
    counts = np.bincount(cell, minlength=num_classes * m).reshape(num_classes, m)
    sizes = counts.sum(1)
    rng = np.random.default_rng(seed)
    law = np.full(m, 1 / m)
    real = np.stack([rng.multinomial(size, law, simulations) for size in sizes], axis=1)
    found, like = _coverage(counts[None]), _coverage(real)  # (1, 3), (simulations, 3)
    low, high = np.quantile(like, [0.025, 0.975], axis=0)
    df = int((m - 1) * (sizes > 0).sum())
    expected = (
        float(sum(m * -math.expm1(size * math.log1p(-1 / m)) for size in sizes)),
        float(df),
        sum(size * _expected_kl(int(size), m) for size in sizes if size) / len(table),
    )
    met, chi2, kl = (
        Against(float(found[0, i]), expected[i], float(low[i]), float(high[i])) for i in range(3)
    )
    p = float(stats.chi2.sf(chi2.value, df))
    return Coverage(met, chi2, df, p, kl, torch.from_numpy(counts), len(table))


def _coverage(counts: Ints) -> Floats:
    """Return met, chi-squared and KL, (s, 3), of s sets of counts (s, classes, combinations)."""
    sizes = counts.sum(2, keepdims=True)
    mean = np.maximum(sizes, 1) / counts.shape[2]
    ratio = counts / mean  # of the frequency to the law's
    met = (counts > 0).sum((1, 2))
    chi2 = (mean * (ratio - 1) ** 2 * (sizes > 0)).sum((1, 2))
    logs = np.log(np.where(counts > 0, ratio, 1.0))
    kl = (counts * logs).sum((1, 2)) / sizes.sum((1, 2))
    return np.stack([met, chi2, kl], axis=1)


def _expected_kl(n: int, m: int) -> float:
    """Return the mean KL divergence, in nats, of n uniform draws' frequencies over m values."""
    k = np.arange(1, n + 1)
    return float(m * (stats.binom.pmf(k, n, 1 / m) * (k / n) * np.log(k * m / n)).sum())


class Swap(NamedTuple):
    """What a change of class at fixed z does to one factor; see `factor_swaps`.

    kept: share of swaps that leave the factor as it was.
    chance: that share, were the classes' readings independent with the frequencies they have.
        1/L for uniform ones, and 1 for a generator that knows a single value.
    bits: mutual information between the factor before and after a swap: 0 where a swap forgets
        it, log2 L where it keeps it. Its correction can carry it a little beyond both.
    pairs: float64 (K, K), the share kept between each two classes; 1 on the diagonal.
    n of the estimates counts rows, one z each.
    """

    kept: Estimate
    chance: float
    bits: Estimate
    pairs: Tensor


def factor_swaps(values: Tensor, levels: int) -> Swap:
    """Compare a factor before and after each class swap, over all pairs of classes.

    The interval of ``kept`` is a bootstrap over rows; ``bits`` is that of `dependence`, with the
    mean over pairs in a row as the unit. For the truth, read paired pictures
    (`acgan_lib.avatars.paired`) in the same way: 1 and log2 L, less what the reader errs.

    Args:
        values: int64 (n, K): the factor read on G(z_i, k). Leave out classes without the factor.
        levels: L, the number of the factor's values.

    Raises:
        ValueError: unless n >= 2, K >= 2 and the values lie in 0..L-1.
    """
    if values.ndim != 2 or min(values.shape) < 2:
        raise ValueError(f"values must have shape (n >= 2, K >= 2), not {tuple(values.shape)}")
    v = _whole("values", values.flatten(), levels).reshape(values.shape)
    n, k = v.shape
    same, chance, logs, bias = [], [], [], []
    pairs = np.eye(k)
    for a, b in combinations(range(k), 2):
        equal = v[:, a] == v[:, b]
        pairs[a, b] = pairs[b, a] = equal.mean()
        shares = [np.bincount(v[:, column], minlength=levels) / n for column in (a, b)]
        ratio, excess = _log_ratio(v[:, a], v[:, b], np.zeros(n, np.int64))
        same.append(equal)
        chance.append(float(shares[0] @ shares[1]))
        logs.append(ratio)
        bias.append(excess)
    kept = bootstrap_mean(torch.from_numpy(np.mean(same, axis=0)))
    bits = _bits(np.mean(logs, axis=0), float(np.mean(bias)))
    return Swap(kept, float(np.mean(chance)), bits, torch.from_numpy(pairs))


class Dependence(NamedTuple):
    """How much two factors tell of one another; see `dependence`.

    bits: mutual information, given the third where there is one; 0 where they are independent.
    chi2, df, p: Pearson's test of independence.
    """

    bits: Estimate
    chi2: float
    df: int
    p: float


def dependence(a: Tensor, b: Tensor, given: Tensor | None = None) -> Dependence:
    """Measure whether `a` tells anything of `b`, among samples where `given` is the same.

    ``dependence(hair, kind)`` asks whether hair tells the kind; ``dependence(hair, skin, kind)``
    whether hair and skin belong together within a kind. In the avatars' truth neither does.

    The information is the plug-in value less its bias of first order, ``(cells - rows - columns +
    1) / 2n`` nats for each stratum, counted where samples fall (Miller 1955; Roulston 1999), so it
    can come out a little below 0. Its interval is the normal one of first order: 1.96 standard
    errors of the mean of ``log p(a, b) / p(a) p(b)``. Where the truth is independence the
    statistic 2n times bits times log 2 follows a chi-squared distribution instead, and the test
    decides. Its statistic and degrees of freedom are summed over strata.

    Args:
        a, b: int64 (n,), whole numbers from 0.
        given: int64 (n,), the stratum of each sample.

    Raises:
        ValueError: if the shapes differ, there are fewer than 2 samples, or a value is negative.
    """
    if a.ndim != 1 or a.shape != b.shape or len(a) < 2:
        raise ValueError(
            f"a and b must have one shape (n >= 2,), not {tuple(a.shape)} and {tuple(b.shape)}"
        )
    if given is not None and given.shape != a.shape:
        raise ValueError(f"given must have shape {tuple(a.shape)}, not {tuple(given.shape)}")
    x, y = _whole("a", a), _whole("b", b)
    z = np.zeros_like(x) if given is None else _whole("given", given)
    logs, bias = _log_ratio(x, y, z)
    chi2, df = 0.0, 0
    for stratum in np.unique(z):
        seen = stats.contingency.crosstab(x[z == stratum], y[z == stratum]).count
        expected = stats.contingency.expected_freq(seen)
        chi2 += float(((seen - expected) ** 2 / expected).sum())
        df += (seen.shape[0] - 1) * (seen.shape[1] - 1)
    p = float(stats.chi2.sf(chi2, df)) if df else 1.0
    return Dependence(_bits(logs, bias), chi2, df, p)


def _log_ratio(x: Ints, y: Ints, z: Ints) -> tuple[Floats, float]:
    """Return each sample's log of p(x, y|z) / p(x|z) p(y|z), and their mean's bias, in nats."""
    shape = (int(x.max()) + 1, int(y.max()) + 1, int(z.max()) + 1)
    counts = np.zeros(shape)
    np.add.at(counts, (x, y, z), 1)
    rows, columns, strata = counts.sum(1), counts.sum(0), counts.sum((0, 1))
    logs = np.log(counts[x, y, z] * strata[z] / (rows[x, z] * columns[y, z]))
    extra = (counts > 0).sum() - (rows > 0).sum() - (columns > 0).sum() + (strata > 0).sum()
    return logs, float(extra) / (2 * len(x))


def _bits(logs: Floats, bias: float) -> Estimate:
    """Return the mean of logs in nats, less its bias, in bits, with its normal interval."""
    value = float(logs.mean() - bias) / math.log(2)
    error = float(logs.std(ddof=1)) / math.sqrt(len(logs)) / math.log(2)
    half = float(stats.norm.ppf(0.975)) * error
    return Estimate(value, value - half, value + half, len(logs))


def _whole(name: str, values: Tensor, levels: int | None = None) -> Ints:
    """Return values as int64 (n,), or raise ValueError unless they are 0..levels-1."""
    if values.dtype != torch.int64 or values.ndim != 1:
        raise ValueError(f"{name} must be int64 (n,), not {values.dtype} {tuple(values.shape)}")
    v: Ints = values.detach().cpu().numpy()
    top = "" if levels is None else levels - 1
    if len(v) and (v.min() < 0 or (levels is not None and v.max() >= levels)):
        raise ValueError(f"{name} must lie in 0..{top}, not {v.min()}..{v.max()}")
    return v
