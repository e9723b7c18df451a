"""The measures of known truth against closed forms, enumeration, scipy and simulations."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from acgan_lib.avatars import FACTORS, KINDS, LEVELS, avatars
from acgan_lib.metrics.truth import coverage, dependence, factor_swaps

COLOURS = tuple(LEVELS[name] for name in FACTORS[:3])  # 6, 4, 8


def uniform(n: int, seed: int, hair: int = 8) -> tuple[Tensor, Tensor]:
    """n draws of ground, skin and hair, of which the first `hair` colours occur, and kinds."""
    generator = torch.Generator().manual_seed(seed)
    drawn = [torch.randint(L, (n,), generator=generator) for L in (6, 4, hair)]
    return torch.stack(drawn, 1), torch.arange(n) % 10


def channel(n: int, levels: int, kept: float, seed: int) -> tuple[Tensor, Tensor]:
    """A uniform factor, and what is left of it where a share `kept` stays and the rest is new."""
    generator = torch.Generator().manual_seed(seed)
    a, new = (torch.randint(levels, (n,), generator=generator) for _ in range(2))
    return a, torch.where(torch.rand(n, generator=generator) < kept, a, new)


def channel_bits(levels: int, kept: float) -> float:
    """Its mutual information: log2 L less the entropy of a row."""
    other = (1 - kept) / levels
    row = [kept + other] + [other] * (levels - 1)
    return math.log2(levels) - float(stats.entropy(row, base=2))


# -- combinations ------------------------------------------------------------------------------


def test_a_small_case_by_hand() -> None:
    factors = torch.tensor([[0, 0], [0, 0], [1, 2], [0, 1]])
    found = coverage(factors, (2, 3))
    assert found.counts.tolist() == [[2, 1, 0, 0, 0, 1]]
    assert (found.met.value, found.df, found.n) == (3, 5, 4)
    mean = 4 / 6
    assert found.chi2.value == pytest.approx(((2 - mean) ** 2 + 2 * (1 - mean) ** 2) / mean + 2)
    assert found.kl.value == pytest.approx(0.5 * math.log(3) + 0.5 * math.log(1.5))


def test_the_statistic_and_divergence_are_scipys() -> None:
    factors, kinds = uniform(3000, seed=1)
    found = coverage(factors, COLOURS, kinds, 10)
    assert found.counts.shape == (10, 192)
    assert found.counts.sum() == 3000
    each = [stats.chisquare(row) for row in found.counts.numpy()]
    assert found.chi2.value == pytest.approx(sum(e.statistic for e in each))
    assert found.p == pytest.approx(stats.chi2.sf(found.chi2.value, 10 * 191))
    entropies = [stats.entropy(row, np.ones(192)) for row in found.counts.numpy()]
    assert found.kl.value == pytest.approx(np.mean(entropies))  # equal classes: a plain mean
    one = coverage(factors[:, 2:], (8,))
    assert one.chi2.value == pytest.approx(stats.chisquare(factors[:, 2].bincount()).statistic)
    assert one.df == 7


@pytest.mark.parametrize("sizes", [(3,), (3, 1)])
def test_what_real_pictures_give_is_exact(sizes) -> None:
    # Every outcome of so few draws over three values, each as likely as the next.
    classes = torch.tensor([k for k, size in enumerate(sizes) for _ in range(size)])
    outcomes = [
        coverage(torch.tensor(draws)[:, None], (3,), classes, len(sizes), simulations=1)
        for draws in product(range(3), repeat=sum(sizes))
    ]
    for name in ("met", "chi2", "kl"):
        mean = np.mean([getattr(o, name).value for o in outcomes])
        assert getattr(outcomes[0], name).expected == pytest.approx(mean), name


def test_the_simulated_interval_holds_95_of_100_real_sets() -> None:
    inside = {"met": 0, "chi2": 0, "kl": 0}
    for seed in range(200):
        factors, kinds = uniform(500, seed)
        found = coverage(factors, (6, 4, 8), kinds, 10, simulations=300)
        for name in inside:
            figure = getattr(found, name)
            inside[name] += figure.low <= figure.value <= figure.high
            assert figure.low <= figure.expected <= figure.high
    assert all(180 <= count <= 199 for count in inside.values()), inside


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_shipped_pictures_follow_the_law(split) -> None:
    data = avatars(split)
    found = coverage(data.factors[:, :3], COLOURS, data.labels, 10)
    assert found.p > 0.01
    assert found.met.low <= found.met.value <= found.met.high
    assert found.kl.low <= found.kl.value <= found.kl.high


def test_a_generator_that_lost_green_hair_is_seen() -> None:
    n, m = 10_000, 1920
    lost = [coverage(*args(seed, hair=7), simulations=200) for seed in range(20)]
    real = coverage(*args(99, hair=8), simulations=200)
    assert real.p > 0.01
    s = 8 / 7 / 192  # the sum of squared shares within a class
    expected = 10 * (192 * (1 - s) + 192 * (n / 10) * s - n / 10)
    assert np.mean([f.chi2.value for f in lost]) == pytest.approx(expected, rel=0.02)
    for found in lost:
        assert found.met.value <= m * 7 / 8 < found.met.low
        assert found.p < 1e-50
        assert found.kl.value - found.kl.expected == pytest.approx(math.log(8 / 7), abs=0.03)
        assert (found.counts.view(10, 24, 8)[..., 7] == 0).all()
    # The frequencies of hair alone, in one class, name the colour.
    factors, kinds = uniform(n, seed=0, hair=7)
    hair = coverage(factors[kinds == 3][:, 2:], (8,))
    assert hair.met.value == 7
    assert hair.kl.value == pytest.approx(math.log(8 / 7), abs=0.01)


def args(seed: int, hair: int) -> tuple[Tensor, tuple[int, ...], Tensor, int]:
    factors, kinds = uniform(10_000, seed, hair)
    return factors, COLOURS, kinds, len(KINDS)


@pytest.mark.parametrize(
    ("factors", "levels", "classes"),
    [
        (torch.zeros(0, 2, dtype=torch.int64), (2, 2), None),
        (torch.zeros(3, 2, dtype=torch.int64), (2, 2, 2), None),
        (torch.full((3, 1), -1), (2,), None),
        (torch.full((3, 1), 2), (2,), None),
        (torch.zeros(3, 1), (2,), None),
        (torch.zeros(3, 1, dtype=torch.int64), (1,), None),
        (torch.zeros(3, 1, dtype=torch.int64), (2,), torch.tensor([0, 1])),
        (torch.zeros(3, 1, dtype=torch.int64), (2,), torch.tensor([0, 1, 2])),
    ],
)
def test_coverage_refuses_what_does_not_fit(factors, levels, classes) -> None:
    with pytest.raises(ValueError, match=r"factors|levels|classes"):
        coverage(factors, levels, classes, 2)


# -- swaps -------------------------------------------------------------------------------------


def test_a_grid_by_hand() -> None:
    found = factor_swaps(torch.tensor([[0, 0, 1], [1, 1, 1], [0, 1, 1], [0, 0, 0]]), 2)
    assert found.pairs.tolist() == [[1, 0.75, 0.5], [0.75, 1, 0.75], [0.5, 0.75, 1]]
    assert found.kept.value == pytest.approx(2 / 3)
    assert found.kept.n == 4
    # Shares of value 1: 1/4, 1/2, 3/4.
    assert found.chance == pytest.approx((0.5 + 6 / 16 + 0.5) / 3)


@pytest.mark.parametrize("kept", [0.0, 0.6, 1.0])
def test_a_swap_that_keeps_a_known_share(kept) -> None:
    levels, n = 8, 20_000
    a, b = channel(n, levels, kept, seed=2)
    found = factor_swaps(torch.stack([a, b], 1), levels)
    assert found.kept.value == pytest.approx(kept + (1 - kept) / levels, abs=0.01)
    assert found.chance == pytest.approx(1 / levels, abs=0.001)
    assert found.bits.value == pytest.approx(channel_bits(levels, kept), abs=0.02)
    assert found.kept.low <= found.kept.value <= found.kept.high


def test_the_mean_over_pairs_is_the_mean_of_the_pairs() -> None:
    a, b = channel(500, 4, 0.7, seed=3)
    c = torch.roll(b, 1)
    grid = torch.stack([a, b, c], 1)
    pairs = [factor_swaps(grid[:, list(p)], 4) for p in ((0, 1), (0, 2), (1, 2))]
    found = factor_swaps(grid, 4)
    for name in ("kept", "bits"):
        mean = np.mean([getattr(pair, name).value for pair in pairs])
        assert getattr(found, name).value == pytest.approx(mean)


def test_a_generator_that_knows_one_colour_keeps_it_by_chance() -> None:
    found = factor_swaps(torch.zeros(50, 10, dtype=torch.int64), 8)
    assert found.kept.value == found.chance == 1
    assert found.bits.value == 0


@pytest.mark.parametrize(
    "values", [torch.zeros(1, 2).long(), torch.zeros(5).long(), torch.full((5, 2), -1)]
)
def test_swaps_refuse_what_does_not_fit(values) -> None:
    with pytest.raises(ValueError, match="values must"):
        factor_swaps(values, 8)


# -- dependence --------------------------------------------------------------------------------


def test_the_test_of_independence_is_scipys() -> None:
    a, b = channel(400, 5, 0.2, seed=4)
    found = dependence(a, b)
    table = stats.contingency.crosstab(a.numpy(), b.numpy()).count
    expected = stats.chi2_contingency(table, correction=False)
    assert found.chi2 == pytest.approx(expected.statistic)
    assert (found.df, found.p) == (expected.dof, pytest.approx(expected.pvalue))
    joint = table / 400
    plain = stats.entropy(joint.sum(0)) + stats.entropy(joint.sum(1)) - stats.entropy(joint.ravel())
    seen = (table > 0).sum() - 5 - 5 + 1
    assert found.bits.value == pytest.approx((plain - seen / 800) / math.log(2))


def test_strata_add_up() -> None:
    a, b = channel(900, 3, 0.5, seed=5)
    z = torch.arange(900) % 3
    parts = [dependence(a[z == k], b[z == k]) for k in range(3)]
    found = dependence(a, b, z)
    assert found.chi2 == pytest.approx(sum(part.chi2 for part in parts))
    assert found.df == sum(part.df for part in parts) == 12
    assert found.bits.value == pytest.approx(np.mean([part.bits.value for part in parts]))


def test_what_a_common_cause_explains_is_gone_given_the_cause() -> None:
    # Hair and skin both follow the kind, and nothing else binds them.
    generator = torch.Generator().manual_seed(6)
    kind = torch.randint(2, (20_000,), generator=generator)
    hair, skin = (
        torch.where(torch.rand(20_000, generator=generator) < 0.8, kind, 1 - kind) for _ in range(2)
    )
    alone, given = dependence(hair, skin), dependence(hair, skin, kind)
    equal = 0.8**2 + 0.2**2
    assert alone.bits.value == pytest.approx(
        1 - stats.entropy([equal, 1 - equal], base=2), abs=0.01
    )
    assert alone.p < 1e-100
    assert given.bits.value == pytest.approx(0, abs=0.001)
    assert given.p > 0.01
    assert dependence(hair, kind).p < 1e-100


def test_independent_factors_give_no_bits_on_average_and_few_small_p_values() -> None:
    found = []
    for seed in range(300):
        factors, kinds = uniform(1000, seed)
        found.append(dependence(factors[:, 2], kinds))
    bits = np.array([f.bits.value for f in found])
    error = bits.std() / math.sqrt(len(bits))
    assert abs(bits.mean()) < 4 * error
    assert bits.mean() + 63 / 2000 / math.log(2) > 20 * error  # the plug-in's bias would show
    assert 3 <= sum(f.p < 0.05 for f in found) <= 30  # 15 are expected


def test_the_interval_of_the_bits_covers_the_truth() -> None:
    truth = channel_bits(4, 0.5)
    found = [dependence(*channel(1000, 4, 0.5, seed)).bits for seed in range(200)]
    assert sum(f.low <= truth <= f.high for f in found) >= 182


def test_values_that_never_occur_change_nothing() -> None:
    a, b = channel(300, 3, 0.5, seed=7)
    plain, spread = dependence(a, b), dependence(3 * a, 5 * b + 1)
    assert spread == plain
    single = dependence(torch.zeros(10).long(), torch.arange(10))
    assert (single.chi2, single.df, single.p) == (0, 0, 1)


def test_dependence_refuses_what_does_not_fit() -> None:
    a = torch.zeros(5).long()
    for wrong in (
        lambda: dependence(a, a[:4]),
        lambda: dependence(a[:1], a[:1]),
        lambda: dependence(a - 1, a),
        lambda: dependence(a.float(), a),
        lambda: dependence(a, a, a[:4]),
    ):
        with pytest.raises(ValueError, match="must"):
            wrong()
