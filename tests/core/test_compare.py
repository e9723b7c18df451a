"""Differences between trainings, many comparisons, and the next training."""

from __future__ import annotations

import math

import numpy as np
import pytest

from acgan_lib import metrics

A, B = [0.90, 0.92, 0.97], [0.80, 0.86, 0.84]


def covered(draw, cases: int = 2_000) -> float:
    """The share of intervals that hold what `draw` says is true."""
    held = [low <= true <= high for (low, high), true in (draw() for _ in range(cases))]
    return float(np.mean(held))


def test_a_difference_is_welchs() -> None:
    """Against the formulas of Welch (1947), written out."""
    d = metrics.difference(A, B[:2], paired=False)
    va, vb = np.var(A, ddof=1) / 3, np.var(B[:2], ddof=1) / 2
    df = (va + vb) ** 2 / (va**2 / 2 + vb**2 / 1)
    t = (np.mean(A) - np.mean(B[:2])) / math.sqrt(va + vb)
    from scipy.stats import t as student

    half = student.ppf(0.975, df) * math.sqrt(va + vb)
    value = 0.93 - 0.83
    p = 2 * student.sf(t, df)
    assert d == pytest.approx((value, value - half, value + half, 3, 2, p, False))
    back = metrics.difference(B[:2], A, paired=False)
    assert back == pytest.approx((-value, -value - half, -value + half, 2, 3, p, False))


def test_a_paired_difference_is_students_of_the_differences() -> None:
    d = metrics.difference(A, B, paired=True)
    inner = metrics.over_seeds([x - y for x, y in zip(A, B, strict=True)])
    assert d[:4] == pytest.approx(inner)
    # With two degrees of freedom, Student's distribution has a closed form.
    t = inner.value / ((inner.high - inner.low) / 2 / 4.302652729911275)
    assert d.p == pytest.approx(1 - t / math.sqrt(2 + t * t))
    assert (d.n_a, d.n_b, d.paired) == (3, 3, True)


@pytest.mark.parametrize(
    ("n_a", "n_b", "sd_a", "sd_b"), [(3, 3, 1, 1), (3, 3, 1, 4), (5, 5, 4, 1), (10, 5, 1, 3)]
)
def test_welchs_interval_holds_the_difference_where_spreads_differ(n_a, n_b, sd_a, sd_b) -> None:
    rng = np.random.default_rng(0)

    def draw() -> tuple[tuple[float, float], float]:
        a, b = rng.normal(7, sd_a, n_a).tolist(), rng.normal(5, sd_b, n_b).tolist()
        return metrics.difference(a, b, paired=False)[1:3], 2.0

    assert covered(draw) == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_pairing_keeps_its_coverage_and_takes_out_what_the_pair_shares(n) -> None:
    rng = np.random.default_rng(1)
    widths = []

    def draw() -> tuple[tuple[float, float], float]:
        shared = rng.normal(0, 5, n)
        a, b = shared + rng.normal(2, 1, n), shared + rng.normal(0, 1, n)
        paired = metrics.difference(a.tolist(), b.tolist(), paired=True)
        apart = metrics.difference(a.tolist(), b.tolist(), paired=False)
        widths.append((paired.high - paired.low) / (apart.high - apart.low))
        return paired[1:3], 2.0

    assert covered(draw, 1_000) == pytest.approx(0.95, abs=0.02)
    assert np.median(widths) < 0.5


@pytest.mark.parametrize("n", [3, 5, 10])
def test_a_prediction_holds_the_next_training(n) -> None:
    rng = np.random.default_rng(2)

    def draw() -> tuple[tuple[float, float], float]:
        return metrics.prediction(rng.normal(5, 2, n).tolist())[1:3], rng.normal(5, 2)

    assert covered(draw) == pytest.approx(0.95, abs=0.02)


def test_a_prediction_is_wider_than_the_mean_and_ends_where_the_scale_does() -> None:
    mean, coming = metrics.over_seeds(A), metrics.prediction(A)
    assert (coming.value, coming.n) == (mean.value, 3)
    assert coming.high - coming.low == pytest.approx(2 * (mean.high - mean.low))  # sqrt(3 + 1)
    cut = metrics.prediction(A, within=(0, 1))
    assert coming.high > 1
    assert cut == (coming.value, coming.low, 1, 3)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        metrics.prediction([0.9, 1.1], within=(0, 1))


def test_values_that_agree_give_points_and_no_warning() -> None:
    same, other = [0.7] * 3, [0.6] * 4
    assert metrics.difference(same, same, paired=True)[:6] == (0, 0, 0, 3, 3, 1)
    assert metrics.difference(same, same, paired=False)[:6] == (0, 0, 0, 3, 3, 1)
    apart = metrics.difference(same, other, paired=False)
    assert apart[:6] == pytest.approx((0.1, 0.1, 0.1, 3, 4, 0))
    # One side alone agrees: Welch's interval is then Student's of the other side.
    one = metrics.difference(same, A, paired=False)
    inner = metrics.over_seeds(A)
    expected = (0.7 - inner.value, 0.7 - inner.high, 0.7 - inner.low)
    assert one[:3] == pytest.approx(expected)
    # A step that rounding makes uneven in the last digit.
    step = metrics.difference([0.8, 0.9, 1.0], [0.7, 0.8, 0.9], paired=True)
    assert step[:3] == pytest.approx((0.1, 0.1, 0.1))
    assert step.p < 1e-6


def test_a_difference_prints_what_it_rests_on() -> None:
    d = metrics.Difference(-0.02, -0.1004, 0.06, 5, 4, 0.0412, False)
    assert str(d) == "-0.020 [-0.100, 0.060] (n=5 and 4, p ≈ 0.041)"
    d = d._replace(n_b=5, paired=True, p=3.14159e-7)
    assert str(d) == "-0.020 [-0.100, 0.060] (n=5 pairs, p ≈ 3.1e-07)"


def test_zero_is_outside_the_interval_where_p_is_below_5_percent() -> None:
    rng = np.random.default_rng(3)
    for paired in (True, False):
        found = [
            metrics.difference(
                rng.normal(2, 1, 4).tolist(), rng.normal(0, 1, 4).tolist(), paired=paired
            )
            for _ in range(200)
        ]
        assert [d.p < 0.05 for d in found] == [not d.low <= 0 <= d.high for d in found]
        assert 20 < sum(d.p < 0.05 for d in found) < 180


def test_three_and_five_seeds_find_what_the_module_says() -> None:
    rng = np.random.default_rng(4)
    for n, apart in ((3, 3.5), (5, 2.1)):
        found = [
            metrics.difference(
                rng.normal(apart, 1, n).tolist(), rng.normal(0, 1, n).tolist(), paired=False
            ).p
            < 0.05
            for _ in range(2_000)
        ]
        assert np.mean(found) == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(
    ("a", "b", "paired", "message"),
    [
        ([1.0], [1.0, 2.0], False, "a must hold"),
        ([1.0, 2.0], [1.0, math.nan], False, "b must hold"),
        ([[1.0, 2.0]], [1.0, 2.0], False, "a must hold"),
        ([1.0, 2.0], [1.0, 2.0, 3.0], True, "a has 2 values, b 3: pass paired=False"),
    ],
)
def test_a_difference_names_what_is_wrong(a, b, paired, message) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.difference(a, b, paired=paired)


def test_holm_by_hand() -> None:
    # Sorted: 0.005 * 4, 0.01 * 3, 0.03 * 2, 0.04 * 1 -> 0.04 is below the one before it.
    assert metrics.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert metrics.holm([0.5, 0.9]) == [1.0, 1.0]
    assert metrics.holm([0.02]) == [0.02]
    assert metrics.holm([0.02, 0.02]) == pytest.approx([0.04, 0.04])
    for wrong in ([], [1.1], [-0.1], [math.nan]):
        with pytest.raises(ValueError, match=r"p in \[0, 1\]"):
            metrics.holm(wrong)


def test_holm_rejects_what_its_step_down_rule_rejects() -> None:
    """Holm's own statement: go up the sorted p while p_(i) <= alpha / (m - i)."""
    rng = np.random.default_rng(5)
    for _ in range(200):
        p = rng.beta(0.3, 1, rng.integers(1, 8)).tolist()
        rejected = set()
        for i, index in enumerate(sorted(range(len(p)), key=p.__getitem__)):
            if p[index] > 0.05 / (len(p) - i):
                break
            rejected.add(index)
        assert {i for i, q in enumerate(metrics.holm(p)) if q <= 0.05} == rejected


def test_holm_seldom_finds_what_is_not_there() -> None:
    rng = np.random.default_rng(6)
    p = rng.uniform(size=(2_000, 5))
    assert np.mean(p.min(axis=1) < 0.05) > 0.2  # without it
    found = [min(metrics.holm(row)) < 0.05 for row in p.tolist()]
    assert np.mean(found) == pytest.approx(0.05, abs=0.015)
