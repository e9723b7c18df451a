"""Neighbours, manifolds, scores, class swaps, resolutions and the collapse alarm.

Each is compared with its definition written out slowly, a closed form, or another library.
"""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from scipy import stats
from torch import Tensor, nn
from torch_fidelity import metric_fid, metric_isc, metric_kid, metric_prc

from acgan_lib import metrics
from acgan_lib.judge import Judge
from acgan_lib.metrics import Estimate
from acgan_lib.metrics.alarm import Look
from acgan_lib.metrics.manifold import kth_distance
from acgan_lib.metrics.swap import without_floor
from acgan_lib.nets import Generator
from acgan_lib.train import History, Progress, StopTraining


def points(n: int, d: int = 3, seed: int = 0) -> Tensor:
    return torch.randn(n, d, generator=torch.Generator().manual_seed(seed))


# --- nearest neighbours and memorisation -------------------------------------------------------


@pytest.mark.parametrize("p", [1.0, 2.0])
def test_neighbours_are_those_of_a_plain_loop(p: float) -> None:
    queries, references = points(7).view(7, 1, 3), points(11, seed=1).view(11, 1, 3)
    found = metrics.nearest_neighbours(queries, references, k=2, p=p, chunk=3)
    for i, query in enumerate(queries):
        distances = [float((query - r).abs().pow(p).sum() ** (1 / p)) for r in references]
        order = sorted(range(11), key=distances.__getitem__)[:2]
        assert found.rows[i].tolist() == order
        assert found.distance[i].tolist() == pytest.approx([distances[j] for j in order], rel=1e-5)


def test_neighbours_refuse_what_cannot_be_compared() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        metrics.nearest_neighbours(points(3), points(3, d=2))
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.3"):
        metrics.nearest_neighbours(points(3), points(3), k=4)


def test_memorisation_tells_a_copyist_from_a_painter() -> None:
    train, held_out = points(400), points(300, seed=1)
    painter = metrics.memorisation(points(500, seed=2), train, held_out)
    assert painter.low < 0.5 < painter.high
    copies = train[:300] + 0.01 * points(300, seed=3)
    copyist = metrics.memorisation(copies, train[:300], held_out)
    assert copyist.value == 1
    assert copyist.n == 300
    same = metrics.memorisation(points(100, seed=2), train, train[:200])
    assert same.value > 0.5  # the reference sets share images: the cut sets do not
    assert metrics.memorisation(points(100, seed=4), held_out, held_out).value == 0.5


# --- precision, recall, density, coverage ------------------------------------------------------


def slow_manifold(real: Tensor, fake: Tensor, k: int) -> tuple[float, float, float, float]:
    """The four definitions, point by point."""

    def radius(x: Tensor) -> list[float]:
        return [sorted(float((a - b).norm()) for b in x)[k] for a in x]

    real_radius, fake_radius = radius(real), radius(fake)
    inside = [[float((f - r).norm()) <= real_radius[j] for j, r in enumerate(real)] for f in fake]
    reached = [[float((f - r).norm()) <= fake_radius[i] for i, f in enumerate(fake)] for r in real]
    precision = sum(any(row) for row in inside) / len(fake)
    density = sum(sum(row) for row in inside) / (k * len(fake))
    recall = sum(any(row) for row in reached) / len(real)
    coverage = sum(any(row[j] for row in inside) for j in range(len(real))) / len(real)
    return precision, density, recall, coverage


def test_manifold_is_its_definition() -> None:
    real, fake = points(40), 0.7 * points(30, seed=1) + 0.3
    found = metrics.manifold(real, fake, k=3, chunk=7)
    assert [e.value for e in found] == pytest.approx(list(slow_manifold(real, fake, 3)), abs=1e-6)
    assert [e.n for e in found] == [30, 30, 40, 40]
    brute = [sorted(float((a - b).norm()) for b in real)[3] for a in real]
    assert kth_distance(real, 3, chunk=7).tolist() == pytest.approx(brute, rel=1e-5)


def test_manifold_separates_fidelity_from_diversity() -> None:
    real = points(500)
    tight = metrics.manifold(real, 0.1 * points(500, seed=1))
    wide = metrics.manifold(real, 3 * points(500, seed=1))
    assert tight.precision.value == 1
    assert tight.coverage.value < 0.3
    assert tight.recall.value < 0.1
    assert wide.precision.value < 0.7
    assert wide.recall.value > 0.9


def test_manifold_refuses_too_few_or_unlike_features() -> None:
    with pytest.raises(ValueError, match="generated needs shape"):
        metrics.manifold(points(20), points(5))
    with pytest.raises(ValueError, match="generated needs shape"):
        metrics.manifold(points(20), points(20, d=2))
    with pytest.raises(ValueError, match="not finite"):
        metrics.manifold(points(20) / 0, points(20))


# --- scores ------------------------------------------------------------------------------------


def test_the_formulas_agree_with_torch_fidelity() -> None:
    a, b = points(300, 5), 0.5 * points(300, 5, seed=1) + 1
    theirs = metric_isc.isc_features_to_metric(a, splits=1)["inception_score_mean"]
    ours = metrics.classifier_score(a)
    assert ours.value == pytest.approx(theirs, rel=1e-6)
    assert ours.low < ours.value < ours.high
    statistics = (metric_fid.fid_features_to_statistics(x.double()) for x in (a, b))
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert metrics.frechet_distance(a, b) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-6
    )
    found = metrics.manifold(a, b, k=3)
    theirs = metric_prc.prc_features_to_metric(
        b, a, prc_neighborhood=3, prc_batch_size=100, save_cpu_ram=False, verbose=False
    )
    assert found.precision.value == pytest.approx(theirs["precision"], abs=1e-6)
    assert found.recall.value == pytest.approx(theirs["recall"], abs=1e-6)


def test_classifier_scores_interval_is_as_wide_as_the_scores_spread() -> None:
    found = [metrics.classifier_score(2 * points(150, 5, seed=s), resamples=60) for s in range(60)]
    spread = 2 * 1.96 * np.std([e.value for e in found], ddof=1)
    assert 0.8 < np.mean([e.high - e.low for e in found]) / spread < 1.25


def test_classifier_score_has_its_two_ends() -> None:
    sure = torch.eye(4).repeat(25, 1) * 200
    assert metrics.classifier_score(sure).value == pytest.approx(4)
    assert metrics.classifier_score(sure[:1].repeat(50, 1)) == Estimate(1.0, 1.0, 1.0, 50)
    with pytest.raises(ValueError, match="logits"):
        metrics.classifier_score(sure[:, :1])


def test_frechet_by_class_sees_swapped_classes() -> None:
    x = torch.cat([points(200), points(150, seed=1) + 10])
    y = torch.arange(2).repeat_interleave(200)[:350]
    right = metrics.frechet_by_class(x, y, x, y)
    assert [e.value for e in right] == pytest.approx([0, 0], abs=1e-9)
    assert [e.n for e in right] == [200, 150]
    swapped = metrics.frechet_by_class(x, 1 - y, x, y)
    assert min(e.low for e in swapped) > 100
    assert all(e.low < e.value < e.high for e in swapped)
    assert metrics.frechet_distance(x, x) == pytest.approx(0, abs=1e-9)
    with pytest.raises(ValueError, match=r"y_a must be int64 \(350,\)"):
        metrics.frechet_by_class(x, y[:-1], x, y)
    with pytest.raises(ValueError, match="class 1 has 150 and 0 images"):
        metrics.frechet_by_class(x, y, x, torch.zeros_like(y))


def test_frechet_distance_of_few_rows_in_many_dimensions_is_the_same_in_their_span() -> None:
    a, b = points(6, 40), points(5, 40, seed=1) + 0.5
    statistics = [metric_fid.fid_features_to_statistics(x.double()) for x in (a, b)]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    assert metrics.frechet_distance(a, b) == pytest.approx(
        theirs["frechet_inception_distance"], rel=1e-4
    )


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_frechet_limit_takes_the_bias_off(shift: float) -> None:
    """Two Gaussians of 16 dimensions, whose true distance is 16 shift^2."""
    plain, limits = [], []
    for seed in range(8):
        a, b = points(800, 16, seed=2 * seed), points(1000, 16, seed=2 * seed + 1) + shift
        plain.append(metrics.frechet_distance(a, b[:800]))
        limits.append(metrics.frechet_limit(a, b, seed=seed))
    truth = 16 * shift**2
    assert np.mean(plain) - truth > 0.1  # the bias that is to go
    assert abs(np.mean([e.value for e in limits]) - truth) < 0.04
    assert sum(e.low <= truth <= e.high for e in limits) >= 6
    assert limits[0].n == 800
    with pytest.raises(ValueError, match="halvings"):
        metrics.frechet_limit(a, b, halvings=9)


def test_frechet_estimate_refuses_labels_that_do_not_fit() -> None:
    a = points(20)
    with pytest.raises(ValueError, match=r"\(20,\)"):
        metrics.frechet_estimate(a, a, y_b=torch.zeros(9, dtype=torch.int64))
    with pytest.raises(ValueError, match="resamples"):
        metrics.frechet_estimate(a, a, resamples=1)


# --- the kernel distance -----------------------------------------------------------------------


def slow_kid(a: Tensor, b: Tensor) -> float:
    """The unbiased estimate, pair by pair."""

    def k(p: Tensor, q: Tensor) -> float:
        return (float(p @ q) / len(p) + 1) ** 3

    def within(x: Tensor) -> float:
        pairs = [k(x[i], x[j]) for i in range(len(x)) for j in range(len(x)) if i != j]
        return sum(pairs) / len(pairs)

    return within(a) + within(b) - 2 * sum(k(p, q) for p in a for q in b) / (len(a) * len(b))


def test_kid_is_its_definition_and_torch_fidelitys(monkeypatch) -> None:
    a, b = points(17, 5).double(), points(12, 5, seed=1).double() + 0.5
    assert metrics.kid(a, b).value == pytest.approx(slow_kid(a, b), rel=1e-12)
    assert metrics.kid(b, a) == pytest.approx(metrics.kid(a, b))
    assert metrics.kid(a, b).n == 12
    monkeypatch.setattr(importlib.import_module("acgan_lib.metrics.kid"), "CHUNK", 5)
    assert metrics.kid(a, b).value == pytest.approx(slow_kid(a, b), rel=1e-12)
    a, b = a[:12].float(), b.float()  # torch-fidelity takes sets of one size
    theirs = metric_kid.kid_features_to_metric(
        a.double(), b.double(), kid_subsets=1, kid_subset_size=12, verbose=False
    )
    assert metrics.kid(a, b).value == pytest.approx(
        theirs["kernel_inception_distance_mean"], rel=1e-12
    )


def jackknife(a: Tensor, b: Tensor) -> float:
    """The standard error of `kid`, each row left out in turn."""
    total = 0.0
    for x, of in ((a, lambda part: slow_kid(part, b)), (b, lambda part: slow_kid(a, part))):
        n = len(x)
        left_out = [of(torch.cat([x[:i], x[i + 1 :]])) for i in range(n)]
        total += float(np.var(left_out)) * (n - 1)
    return float(total**0.5)


def test_kids_interval_is_the_jackknifes() -> None:
    a, b = points(16, 3).double(), points(14, 3, seed=1).double() + 1
    e = metrics.kid(a, b)
    assert (e.high - e.low) / (2 * 1.96) == pytest.approx(jackknife(a, b), rel=0.1)
    assert (e.high + e.low) / 2 == pytest.approx(e.value)


@pytest.mark.parametrize(("shift", "narrowest", "widest"), [(0.0, 1.1, 1.7), (1.0, 0.85, 1.3)])
def test_kid_is_unbiased_and_its_interval_keeps_its_coverage(
    shift: float, narrowest: float, widest: float
) -> None:
    """Two normal distributions: E (a.b / F + 1)^3 has a closed form in their means."""
    dims = 4

    def expected(m: Tensor, m2: Tensor) -> float:
        # a.b is a sum of products of independent normals; its moments, with c = m.m2:
        c, spread = float(m @ m2), float(m @ m + m2 @ m2) + dims
        third = c**3 + 3 * c * spread + 6 * c
        return third / dims**3 + 3 * (c**2 + spread) / dims**2 + 3 * c / dims + 1

    zero, moved = torch.zeros(dims), torch.full((dims,), shift)
    truth = expected(zero, zero) + expected(moved, moved) - 2 * expected(zero, moved)
    a, b = points(400 * 90, dims).split(90), (points(400 * 70, dims, seed=1) + shift).split(70)
    found = [metrics.kid(*pair) for pair in zip(a, b, strict=True)]
    values = np.array([e.value for e in found])
    error = values.std(ddof=1) / len(values) ** 0.5
    assert abs(values.mean() - truth) < 3 * error
    assert np.mean([e.low <= truth <= e.high for e in found]) > 0.9
    assert narrowest < np.mean([e.high - e.low for e in found]) / (3.92 * values.std()) < widest


def test_kid_allows_for_classes_whose_numbers_were_fixed() -> None:
    """Six images of each of four classes: two rows share a class less often than by chance."""
    centres, y = 2 * points(4, 6), torch.arange(24) % 4
    found, plain = [], []
    for noise in points(150 * 48, 6, seed=1).split(48):
        a, b = centres[y] + noise[:24], centres[y] + noise[24:]
        found.append(metrics.kid(a, b, y_a=y, y_b=y))
        plain.append(metrics.kid(a, b))
    values = np.array([e.value for e in found])
    error = values.std(ddof=1) / len(values) ** 0.5
    assert abs(values.mean()) < 3 * error, "the two sets are drawn alike"
    assert np.mean([e.value for e in plain]) < -20 * error
    assert np.mean([e.low <= 0 <= e.high for e in found]) > 0.93
    widths = [np.mean([e.high - e.low for e in es]) for es in (found, plain)]
    assert 1.5 * widths[0] < widths[1]


def test_kid_refuses() -> None:
    a = points(9, 4)
    with pytest.raises(ValueError, match="dimension: 4 and 3"):
        metrics.kid(a, points(9, 3))
    with pytest.raises(ValueError, match="features_b must be float"):
        metrics.kid(a, a[:1])
    with pytest.raises(ValueError, match="features_a holds 4 values that are not finite"):
        metrics.kid(torch.cat([a, torch.full((1, 4), torch.inf)]), a)
    with pytest.raises(ValueError, match=r"y_b must be int64 \(9,\)"):
        metrics.kid(a, a, y_b=torch.zeros(3).long())
    with pytest.raises(ValueError, match="y_a: class 5 has 1 image"):
        metrics.kid(a, a, y_a=torch.tensor([0] * 8 + [5]))


def test_bars_show_where_it_takes_long(capfd: pytest.CaptureFixture[str]) -> None:
    a, b = points(30), points(40, seed=1)
    judge = Judge(num_classes=2)
    calls = {
        "neighbours": lambda **kw: metrics.nearest_neighbours(a, b, **kw),
        "manifold": lambda **kw: metrics.manifold(a, b, **kw),
        "bootstrap": lambda **kw: metrics.frechet_estimate(a, b, resamples=2, **kw),
        "second set": lambda **kw: metrics.kid(a, b, **kw),
        "judge": lambda **kw: metrics.cas(
            torch.zeros(8, 1, 32, 32), torch.arange(8) % 2,
            torch.zeros(2, 1, 32, 32), torch.arange(2), seed=0, epochs=1, **kw,
        ),
        "pictures": lambda progress=False: metrics.in_batches(
            judge, judge, torch.zeros(2, 1, 32, 32), progress="pictures" if progress else None
        ),
    }  # fmt: skip
    copies = {"neighbours": lambda **kw: metrics.memorisation(a, b, a, **kw)}
    for name, call in [*calls.items(), *copies.items()]:
        call()
        assert capfd.readouterr().err == ""
        call(progress=True)
        assert name in capfd.readouterr().err


# --- class swaps -------------------------------------------------------------------------------


def test_swap_consistency_is_the_analysis_of_variance() -> None:
    v = points(6, 4).double()
    rows, columns, total = v.mean(1), v.mean(0), v.mean()
    by_row = sum(4 * (r - total) ** 2 for r in rows)
    by_column = sum(6 * (c - total) ** 2 for c in columns)
    everything = ((v - total) ** 2).sum()
    found = metrics.swap_consistency(v)
    assert found.by_class.value == pytest.approx(float(by_column / everything))
    assert found.kept.value == pytest.approx(float(by_row / (everything - by_column)))
    assert found.kept.n == 6


# The example of Shrout and Fleiss 1979, table 2: six targets, four judges.
RATINGS = torch.tensor([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9],
                        [6, 2, 4, 7]]).double()  # fmt: skip


def test_the_icc_is_that_of_shrout_and_fleiss() -> None:
    found = metrics.swap_consistency(RATINGS)
    assert round(found.icc.value, 2) == 0.71  # as printed in their table 4, ICC(3, 1)
    between, error = 11.24, 1.02  # BMS and EMS of their table 3
    assert found.icc.value == pytest.approx((between - error) / (between + 3 * error), abs=1e-3)
    assert found.icc.value == pytest.approx((4 * found.kept.value - 1) / 3)
    assert found.icc == without_floor(found.kept, 4)


def test_the_iccs_interval_is_near_the_exact_one_of_normal_rows() -> None:
    """Shrout and Fleiss's interval by the F distribution, for rows and errors that are normal."""
    n, k = 300, 6
    v = points(n, 1, seed=5).double() + 0.7 * points(n, k, seed=6).double()
    found = metrics.swap_consistency(v, resamples=400).icc
    rows, rest = v.mean(1), v - v.mean(1, keepdim=True) - v.mean(0) + v.mean()
    between = float(k * rows.var())
    error = float((rest**2).sum()) / ((n - 1) * (k - 1))
    df = (n - 1, (n - 1) * (k - 1))
    ends = [
        between / error / stats.f.ppf(0.975, *df),
        between / error * stats.f.ppf(0.975, *df[::-1]),
    ]
    exact = [(f - 1) / (f + k - 1) for f in ends]
    assert found.low == pytest.approx(exact[0], abs=0.01)
    assert found.high == pytest.approx(exact[1], abs=0.01)


def test_the_iccs_interval_keeps_its_coverage() -> None:
    covered = 0
    for i in range(300):
        v = points(60, 1, seed=2 * i) + points(60, 5, seed=2 * i + 1)
        e = metrics.swap_consistency(v, resamples=200, seed=i).icc
        covered += e.low <= 0.5 <= e.high
    assert 0.91 < covered / 300 < 0.98


def test_rows_of_one_group_are_drawn_together() -> None:
    """Each row eight times over: as rows they look like 160 observations, and they are 20."""
    v = points(20, 1) + 0.5 * points(20, 4, seed=1)
    of = torch.arange(20).repeat_interleave(8)
    many, few = (metrics.swap_consistency(v.repeat_interleave(8, 0), groups=g).icc
                 for g in (None, of))  # fmt: skip
    alone = metrics.swap_consistency(v).icc
    assert few.value == pytest.approx(many.value) == pytest.approx(alone.value)
    assert (few.n, many.n) == (20, 160)
    assert few == pytest.approx(alone)  # the same draws of the same rows
    assert (few.high - few.low) / (many.high - many.low) == pytest.approx(8**0.5, rel=0.25)
    for wrong in (torch.zeros(20).long(), torch.arange(19), torch.arange(20.0)):
        with pytest.raises(ValueError, match="groups must"):
            metrics.swap_consistency(v, groups=wrong)


def test_swap_consistencys_interval_is_over_rows() -> None:
    """Fresh grids give the spread that the interval must have; columns are fixed classes."""
    found = []
    for s in range(60):
        values = points(80, 1, seed=2 * s) + points(80, 4, seed=2 * s + 1) + torch.arange(4.0)
        found.append(metrics.swap_consistency(values, resamples=60))
    for which in ("kept", "by_class", "icc"):
        each = [getattr(shares, which) for shares in found]
        spread = 2 * 1.96 * np.std([e.value for e in each], ddof=1)
        assert 0.75 < np.mean([e.high - e.low for e in each]) / spread < 1.3


def test_swap_consistency_knows_both_ends() -> None:
    z, k = points(200, 1), torch.arange(10.0)
    kept = metrics.swap_consistency(z + k)
    assert kept.kept.value == pytest.approx(1)
    expected = float(k.var(correction=0) / (k.var(correction=0) + z.var(correction=0)))
    assert kept.by_class.value == pytest.approx(expected, rel=1e-5)
    # Unrelated values: rows explain 1 / K of what is left, as K of them are averaged.
    lost = metrics.swap_consistency(metrics.shuffled(z + k))
    assert lost.kept.value == pytest.approx(1 / 10, abs=0.03)
    assert lost.by_class.value == pytest.approx(kept.by_class.value, rel=1e-5)
    with pytest.raises(ValueError, match="do not vary"):
        metrics.swap_consistency(torch.ones(3, 3))
    with pytest.raises(ValueError, match="shape"):
        metrics.swap_consistency(points(5, 1))


def test_shuffling_keeps_each_column() -> None:
    v = points(50, 4)
    mixed = metrics.shuffled(v, seed=3)
    assert torch.equal(mixed.sort(0).values, v.sort(0).values)
    assert not torch.equal(mixed, v)


# --- resolutions -------------------------------------------------------------------------------


def test_shrinking_agrees_with_pillow() -> None:
    x = torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    small = Image.fromarray(x[0, 0].numpy()).resize((16, 16), Image.Resampling.BILINEAR)
    from_pillow = torch.tensor(np.asarray(small)).view(1, 1, 16, 16)
    enlarged = F.interpolate(from_pillow, 64, mode="bilinear", align_corners=False)
    assert torch.allclose(metrics.at_resolution(x, 16), enlarged, atol=1e-5)
    assert torch.equal(metrics.at_resolution(x, 64), x)


def test_shrinking_without_antialias_loses_strokes() -> None:
    x = -torch.ones(1, 1, 64, 64)
    x[..., 17] = 1  # a line one pixel wide
    seen = [metrics.at_resolution(x, 16, antialias=antialias) for antialias in (True, False)]
    ink = [float(((image + 1) / 2).sum()) for image in seen]
    assert ink[0] == pytest.approx(64, rel=0.01)
    assert abs(ink[1] - 64) > 30
    with pytest.raises(ValueError, match="side"):
        metrics.at_resolution(x, 65)


def test_accuracy_at_a_resolution_falls_where_the_detail_was_fine() -> None:
    stripes = torch.ones(1, 1, 32, 32)
    stripes[..., ::2] = -1
    x = torch.cat([stripes, torch.zeros(1, 1, 32, 32)]).repeat(20, 1, 1, 1)
    y = torch.tensor([0, 1]).repeat(20)

    class SeesStripes(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            roughness = x.diff(dim=3).abs().mean((1, 2, 3))
            return torch.stack([roughness - 0.5, 0.5 - roughness], 1)

    found = metrics.judge_accuracy_at(SeesStripes(), x, y, [32, 8])
    assert [e.value for e in found[32]] == [1, 1]
    assert [e.value for e in found[8]] == [0, 1]


def test_accuracy_at_a_resolution_hands_the_judge_antialiased_pictures() -> None:
    x = torch.rand(5, 1, 64, 64, generator=torch.Generator().manual_seed(0)) * 2 - 1
    seen = []

    class Looks(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            seen.append(x)
            return torch.zeros(len(x), 2)

    metrics.judge_accuracy_at(Looks(), x, torch.zeros(5, dtype=torch.int64), [64, 16])
    assert torch.equal(seen[0], x)
    assert torch.equal(seen[1], metrics.at_resolution(x, 16, antialias=True))


# --- the collapse alarm ------------------------------------------------------------------------


class Painted(Generator):
    """Draws the same picture for every z of the collapsed classes, and noise for the others."""

    collapsed: tuple[int, ...] = ()

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        assert y is not None
        x = torch.tanh(z.repeat(1, 1024 // z.shape[1]).view(-1, 1, 32, 32)).clone()
        for k in self.collapsed:
            x[y == k] = x[0].clone()
        return x


def watched(alarm: metrics.CollapseAlarm, collapses: dict[int, tuple[int, ...]]) -> list[int]:
    """Call the alarm at steps 1..60, the classes collapsing as told; return where it was called."""
    G = Painted(latent_dim=64, num_classes=3, width=4)
    seen = []
    for step in range(1, 61):
        G.collapsed = collapses.get(step, G.collapsed)
        before = len(alarm.looks)
        alarm(Progress(step, 60, G, G, G, History()))
        seen += [step] * (len(alarm.looks) - before)
    return seen


REAL = [Estimate(0.1, 0.05, 0.15, 100)] * 3


def test_the_alarm_names_the_class_and_the_step() -> None:
    alarm = metrics.CollapseAlarm(REAL, every=10, n_per_class=8, pairs=20)
    assert watched(alarm, {25: (1,)}) == [10, 20, 30, 40, 50, 60]
    [found] = alarm.alarms
    assert (found.label, found.step) == (1, 40)  # seen at 30, and again
    assert found.ms_ssim.value == pytest.approx(1)
    assert alarm.labels == [1]
    healthy = [look.ms_ssim[1].value for look in alarm.looks[:2]]
    assert max(healthy) < 0.3


def test_the_alarm_asks_for_intervals_that_are_apart_by_the_margin() -> None:
    """Each first look's value is above its real one's by more than the margin of 0.15."""
    alarm = metrics.CollapseAlarm(REAL, every=1, patience=1)
    unsure = Estimate(0.5, 0.29, 0.7, 9)  # the real interval ends at 0.15
    alarm.consider(Look(1, [unsure] * 3, []))
    assert alarm.labels == []
    alarm.consider(Look(2, [unsure, Estimate(0.5, 0.31, 0.7, 9), unsure], []))
    assert alarm.labels == [1]


def test_the_alarm_waits_for_its_first_step_and_forgives_a_single_look() -> None:
    early = metrics.CollapseAlarm(REAL, every=10, after=50, n_per_class=8, pairs=20)
    watched(early, {1: (0, 2), 45: ()})
    assert early.alarms == []
    once = metrics.CollapseAlarm(REAL, every=10, n_per_class=8, pairs=20)
    watched(once, {15: (2,), 25: ()})
    assert once.alarms == []


def test_the_alarm_hands_over_and_can_stop() -> None:
    def stop(found: object) -> None:
        raise StopTraining

    alarm = metrics.CollapseAlarm(REAL, every=10, n_per_class=8, pairs=20, on_alarm=stop)
    with pytest.raises(StopTraining):
        watched(alarm, {1: (0,)})
    assert alarm.labels == [0]
    wrong = metrics.CollapseAlarm(REAL[:2], every=10, n_per_class=8, pairs=20)
    with pytest.raises(ValueError, match="real has 2 classes, but G draws 3"):
        watched(wrong, {})
