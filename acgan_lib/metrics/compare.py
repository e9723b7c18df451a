"""Two sets of trainings against one another, many such comparisons, and the next training.

One observation is a training. "No difference detected" does not mean that there is none. With three
seeds on each side, Welch's test finds a true difference of 3.5 standard deviations in four cases
out of five; with five seeds, one of 2.1. It finds smaller ones less often.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit  # Student's quantile

from acgan_lib.metrics.estimate import Estimate, over_seeds


class Difference(NamedTuple):
    """A difference of two means, its 95 % interval [low, high], both n, and the two-sided p.

    Printed as ``0.120 [-0.031, 0.271] (n=3 and 5, p ≈ 0.088)``, or, where the trainings are
    paired, ``(n=5 pairs, p ≈ 0.088)``. Zero lies outside the interval exactly where p < 0.05.
    """

    value: float
    low: float
    high: float
    n_a: int
    n_b: int
    p: float
    paired: bool

    def __str__(self) -> str:
        n = f"{self.n_a} pairs" if self.paired else f"{self.n_a} and {self.n_b}"
        interval = f"[{self.low:.3f}, {self.high:.3f}]"
        return f"{self.value:.3f} {interval} (n={n}, p ≈ {self.p:.2g})"


def difference(a: Sequence[float], b: Sequence[float], *, paired: bool) -> Difference:
    """Return mean(a) - mean(b) over trainings, with the interval of the difference and its p.

    Two intervals that overlap do not answer whether two means differ; this one does. It takes the
    trainings as independent and normal. Where no value of a side (or no pair's difference) differs
    from another, the interval is a point.

    Args:
        a: one value for each training.
        b: the same of the other kind of training; in the order of `a` if paired.
        paired: whether a[i] and b[i] share what varies between trainings, as the data's order and
            z. Then the interval is Student's, of the mean of a[i] - b[i]. Otherwise it is Welch's
            (1947), which lets the two kinds vary differently.

    Raises:
        ValueError: fewer than 2 values, a value that is not finite, or a pair without its other.
    """
    left, right = _values("a", a), _values("b", b)
    if paired and len(left) != len(right):
        raise ValueError(f"a has {len(left)} values, b {len(right)}: pass paired=False")
    sizes = len(left), len(right)
    value = float(left.mean() - right.mean())
    varies = (np.ptp(left - right),) if paired else (np.ptp(left), np.ptp(right))
    if not any(varies):  # scipy would divide by zero
        return Difference(value, value, value, *sizes, float(value == 0), paired)
    from scipy.stats import ttest_ind, ttest_rel  # here, because it takes a second to import

    with warnings.catch_warnings():  # "precision loss", where one side's values agree
        warnings.simplefilter("ignore", RuntimeWarning)
        result = ttest_rel(left, right) if paired else ttest_ind(left, right, equal_var=False)
        interval = result.confidence_interval(0.95)
    low, high = float(interval.low), float(interval.high)
    return Difference(value, low, high, *sizes, float(result.pvalue), paired)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return the p of several comparisons, adjusted as by Holm (1979), in the order given.

    Call those below 0.05 detected: the chance that even one of them is false is then at most 5 %,
    however the comparisons depend on one another. The smallest of m is multiplied by m, the next
    by m - 1, and so on; none becomes smaller than the one before it, or larger than 1.

    Raises:
        ValueError: if there is none, or one does not lie in [0, 1].
    """
    p = np.array(p_values, dtype=np.float64)
    if p.ndim != 1 or len(p) == 0 or not ((p >= 0) & (p <= 1)).all():
        raise ValueError(f"need at least one p in [0, 1], got {p_values}")
    order = np.argsort(p)
    p[order] = np.minimum(np.maximum.accumulate(np.arange(len(p), 0, -1) * p[order]), 1)
    return [float(v) for v in p]


def prediction(values: Sequence[float], *, within: tuple[float, float] | None = None) -> Estimate:
    """Return the mean over trainings with an interval for the value of the *next* training.

    Of such intervals, 95 % hold the next value. It is wider than ``over_seeds``'s interval of the
    mean by the factor sqrt(n + 1), and it does not shrink to a point as n grows. It takes the
    values as independent and normal, and leans on that more than the interval of a mean does.
    Arguments and what is raised: as of ``over_seeds``.
    """
    value, *_, n = over_seeds(values, within=within)
    least, most = within or (-math.inf, math.inf)
    half = float(stdtrit(n - 1, 0.975) * np.std(values, ddof=1) * math.sqrt(1 + 1 / n))
    return Estimate(value, max(value - half, least), min(value + half, most), n)


def _values(name: str, values: Sequence[float]) -> npt.NDArray[np.float64]:
    v = np.asarray(values, dtype=np.float64)
    if v.ndim != 1 or len(v) < 2 or not np.isfinite(v).all():
        raise ValueError(
            f"{name} must hold the finite values of at least 2 trainings, got {values}"
        )
    return v
