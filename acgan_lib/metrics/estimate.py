"""A figure with what it rests on: its n and a 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit  # Student's quantile
from torch import Tensor


class Estimate(NamedTuple):
    """A measured value, its 95 % interval [low, high], and the number n of observations.

    What one observation is (an image, a pair, a seed) is for the measuring function to say.
    Printed as ``0.958 [0.954, 0.962] (n=10,000)``.
    """

    value: float
    low: float
    high: float
    n: int

    def __str__(self) -> str:
        return f"{self.value:.3f} [{self.low:.3f}, {self.high:.3f}] (n={self.n:,})"


def proportion(successes: int, n: int) -> Estimate:
    """Return ``successes / n`` with Wilson's score interval (Wilson 1927).

    Unlike value ± 1.96 standard errors, it keeps its coverage near 0 and 1, where that one
    shrinks to a point (Brown, Cai and DasGupta 2001).

    Raises:
        ValueError: unless n >= 1 and 0 <= successes <= n.
    """
    if n < 1 or not 0 <= successes <= n:
        raise ValueError(f"need n >= 1 and 0 <= successes <= n, got {successes} of {n}")
    from scipy.stats import binomtest  # here, because it takes a second to import

    interval = binomtest(successes, n).proportion_ci(confidence_level=0.95, method="wilson")
    return Estimate(successes / n, float(interval.low), float(interval.high), n)


def bootstrap_mean(values: Tensor, *, resamples: int = 1000, seed: int = 0) -> Estimate:
    """Return the mean of `values`, float (n,), with a percentile bootstrap interval.

    The means of `resamples` draws of n values with replacement are sorted; the middle 95 % of
    them is the interval (Efron and Tibshirani 1993, chapter 13). It takes the values as
    independent.

    Raises:
        ValueError: if there are fewer than 2 values, or one is not finite.
    """
    v = values.detach().cpu().double().numpy()
    if v.ndim != 1 or len(v) < 2 or not np.isfinite(v).all():
        raise ValueError(f"need at least 2 finite values in one row, got shape {v.shape}")
    rng = np.random.default_rng(seed)
    means = [v[rng.integers(0, len(v), len(v))].mean() for _ in range(resamples)]
    low, high = np.quantile(means, [0.025, 0.975])
    return Estimate(float(v.mean()), float(low), float(high), len(v))


def over_seeds(values: Sequence[float], *, within: tuple[float, float] | None = None) -> Estimate:
    """Return the mean over trainings with Student's t interval; n is the number of seeds.

    It is an interval for the *mean* over all trainings, which the interval of a single model is
    not. It does not say where the next training's value falls: with three seeds, 84 % of new
    values lie inside, with ten 49 %, and with more still fewer. It takes the values as independent
    and normal; with three seeds it reaches 4.3 standard errors to each side.

    Args:
        values: one for each seed.
        within: the ends of the scale, as (0, 1) for a share. The interval is cut there: the
            normal distribution behind it knows no ends, and beyond them no mean can lie.

    Raises:
        ValueError: if there are fewer than 2 values, or one is not finite or not within the scale.
    """
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or len(v) < 2 or not np.isfinite(v).all():
        raise ValueError(f"need the finite values of at least 2 seeds, got {values}")
    least, most = within or (-math.inf, math.inf)
    if not least <= v.min() <= v.max() <= most:
        raise ValueError(f"values must lie in {least}..{most}, got {values}")
    mean = float(v.mean())
    # scipy.stats.t.interval returns NaN where all seeds agree, and ttest_1samp warns.
    half = float(stdtrit(len(v) - 1, 0.975) * v.std(ddof=1) / math.sqrt(len(v)))
    return Estimate(mean, max(mean - half, least), min(mean + half, most), len(v))


def mean_of_classes(estimates: Sequence[Estimate]) -> Estimate:
    """Return the plain mean of independent estimates, one for each class; n adds up.

    The distances to the interval's ends are added in quadrature, as independent errors are.

    Raises:
        ValueError: if there is none.
    """
    if not estimates:
        raise ValueError("need at least one estimate")
    k = len(estimates)
    value = sum(e.value for e in estimates) / k
    below = math.hypot(*(e.value - e.low for e in estimates)) / k
    above = math.hypot(*(e.high - e.value for e in estimates)) / k
    return Estimate(value, value - below, value + above, sum(e.n for e in estimates))
