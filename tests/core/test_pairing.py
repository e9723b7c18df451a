"""Means over pairs, their intervals: a brute jackknife, Hoeffding's variance, simulations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from acgan_lib.metrics import Estimate, bootstrap_mean
from acgan_lib.metrics.pairing import over_pairs, random_pairs


def all_pairs(n: int) -> Tensor:
    return torch.combinations(torch.arange(n))


def test_of_all_pairs_it_is_the_jackknife_less_the_pairs_own_share() -> None:
    pairs = all_pairs(9)
    values = torch.rand(len(pairs), generator=torch.Generator().manual_seed(0)).double()
    left = torch.stack([values[(pairs != i).all(1)].mean() for i in range(9)])
    own = float((values - values.mean()).square().sum()) / len(pairs) ** 2
    variance = float((left - values.mean()).square().sum()) - own
    half = stats.t.ppf(0.975, 8) * math.sqrt(variance)
    found = over_pairs(values, pairs)
    assert found.n == 36
    want = [float(values.mean()), float(values.mean()) - half, float(values.mean()) + half]
    assert found[:3] == pytest.approx(want, abs=1e-12)


def test_of_pairs_without_a_thing_in_common_it_is_students() -> None:
    pairs = torch.arange(400).view(200, 2)
    values = torch.rand(200, generator=torch.Generator().manual_seed(1))
    found = over_pairs(values, pairs)
    want = stats.ttest_1samp(values.double().numpy(), 0.5).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((want.low, want.high), abs=1e-3)


def test_equal_values_have_a_point_and_no_end_leaves_the_scale() -> None:
    star = torch.tensor([[0, 1], [0, 2], [0, 3]])  # no pair is left without thing 0
    for pairs in (star, all_pairs(3), random_pairs(40, 50, 0)):
        assert over_pairs(torch.ones(len(pairs)), pairs) == (1.0, 1.0, 1.0, len(pairs))
        assert over_pairs(torch.zeros(len(pairs)), pairs) == (0.0, 0.0, 0.0, len(pairs))
    found = over_pairs(torch.tensor([0.0, 1.0, 1.0]), star)
    assert (found.low, found.high) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("values", "pairs"),
    [
        (torch.zeros(2), torch.tensor([[0, 1], [1, 2]])),
        (torch.zeros(3), all_pairs(4)),
        (torch.zeros(3, 1), all_pairs(3)),
        (torch.tensor([0.0, math.nan, 1.0]), all_pairs(3)),
    ],
)
def test_other_values_are_refused(values, pairs) -> None:
    with pytest.raises(ValueError, match="at least 3 pairs"):
        over_pairs(values, pairs)


def draws(n: int, pairs: int, spread: float, own: float, times: int) -> list[tuple[Tensor, Tensor]]:
    """Values 0.5 + g_i + g_j + h_ij of random pairs, g and h normal: their true mean is 0.5."""
    rng = np.random.default_rng(0)
    found = []
    for time in range(times):
        chosen = random_pairs(n, pairs, seed=time)
        g, h = rng.normal(0, spread, n), rng.normal(0, own, len(chosen))
        found.append((torch.from_numpy(0.5 + g[chosen].sum(1) + h), chosen))
    return found


def coverage(intervals: list[Estimate]) -> float:
    return float(np.mean([e.low <= 0.5 <= e.high for e in intervals]))


# Images for a look of the alarm, for a chapter's table, for one generator; the last: pairs alone.
@pytest.mark.parametrize(
    ("n", "pairs", "spread", "own"),
    [
        (60, 150, 0.1, 0.1),
        (200, 200, 0.1, 0.02),
        (1000, 300, 0.1, 0.1),
        (25, 300, 0.1, 0.1),
        (200, 200, 0.0, 0.1),
    ],
)
def test_the_interval_covers_95_of_100_and_hoeffdings_variance_is_met(n, pairs, spread, own):
    sets = draws(n, pairs, spread, own, times=1000)
    assert coverage([over_pairs(*each) for each in sets]) == pytest.approx(0.95, abs=0.02)
    degree = torch.stack([torch.bincount(chosen.flatten(), minlength=n) for _, chosen in sets])
    shared = float((degree * (degree - 1)).sum(1).double().mean())
    count = len(sets[0][1])
    variance = (2 * spread**2 + own**2 + spread**2 * shared / count) / count
    means = torch.stack([values.mean() for values, _ in sets])
    assert float(means.var()) == pytest.approx(variance, rel=0.15)
    wide = np.mean([np.square((e.high - e.low) / 3.92) for e in (over_pairs(*s) for s in sets)])
    assert wide == pytest.approx(variance, rel=0.2)


def test_pairs_taken_as_independent_cover_too_seldom() -> None:
    """What the interval was: a bootstrap over pairs, at a look of the alarm and in a table."""
    for n, pairs, most in ((60, 150, 0.75), (200, 200, 0.85)):
        sets = draws(n, pairs, 0.1, 0.1, times=200)
        assert coverage([bootstrap_mean(v, resamples=200) for v, _ in sets]) < most
