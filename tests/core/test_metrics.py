"""The metrics against slow references, hand cases, and the failures they exist to catch."""

from __future__ import annotations

import importlib
import math

import numpy as np
import pytest
import scipy.linalg
import scipy.stats
import torch
from checks import batch_norms_keep_torchs_defaults
from torch import Tensor, nn

from acgan_lib import judge as judge_module
from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.judge import Judge, default_steps, fit_supervised, random_shift, train_judge
from acgan_lib.metrics import Estimate, ssim
from acgan_lib.runtime import evaluating, supports_bf16


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    """Smoothed noise in [-1, 1]: pairs of it have contrast terms of either sign."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(*shape, generator=generator, dtype=torch.float64)
    return (x.cumsum(-1) % 1 * 2 - 1).to(dtype)


# --- estimates ---------------------------------------------------------------------------------


def test_wilson_interval_matches_published_values() -> None:
    # Newcombe 1998, table I, method 3 (score without continuity correction), and 10 of 10.
    for successes, n, low, high in [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (20, 20, 0.8389, 1.0),
    ]:
        e = metrics.proportion(successes, n)
        assert e.value == successes / n
        assert e.n == n
        assert e.low == pytest.approx(low, abs=5e-5)
        assert e.high == pytest.approx(high, abs=5e-5)


def test_wilson_interval_is_its_formula_and_keeps_its_coverage() -> None:
    z = 1.959963984540054  # the standard normal's 0.975 quantile
    for successes, n in [(0, 1), (1, 1), (3, 7), (9_500, 10_000), (1, 10**7)]:
        p = successes / n
        centre = (p + z * z / (2 * n)) / (1 + z * z / n)
        half = z / (1 + z * z / n) * math.sqrt(p * (1 - p) / n + z * z / (4 * n * n))
        e = metrics.proportion(successes, n)
        assert e.low == pytest.approx(max(centre - half, 0), abs=1e-12)
        assert e.high == pytest.approx(min(centre + half, 1), abs=1e-12)
        assert 0 <= e.low <= e.value <= e.high <= 1
    intervals = [metrics.proportion(k, 60) for k in range(61)]
    for p in (0.02, 0.1, 0.5, 0.97):  # exactly, by the binomial distribution
        chance = scipy.stats.binom.pmf(range(61), 60, p)
        held = sum(c for c, e in zip(chance, intervals, strict=True) if e.low <= p <= e.high)
        assert 0.93 < held < 0.98


@pytest.mark.parametrize(("successes", "n"), [(0, 0), (3, 2), (-1, 5)])
def test_proportion_refuses_impossible_counts(successes: int, n: int) -> None:
    with pytest.raises(ValueError, match="successes"):
        metrics.proportion(successes, n)


def test_estimate_prints_value_interval_and_n() -> None:
    assert str(Estimate(0.9578, 0.9537, 0.9616, 10_000)) == "0.958 [0.954, 0.962] (n=10,000)"


def test_bootstrap_interval_is_about_the_normal_one_and_repeats() -> None:
    values = torch.randn(400, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    e = metrics.bootstrap_mean(values)
    half = 1.96 * float(values.std()) / 20
    assert e.value == pytest.approx(float(values.mean()))
    assert e.low == pytest.approx(e.value - half, abs=0.15 * half)
    assert e.high == pytest.approx(e.value + half, abs=0.15 * half)
    assert e.n == 400
    assert metrics.bootstrap_mean(values) == e


def test_bootstrap_interval_keeps_its_coverage() -> None:
    samples = torch.rand(200, 60, generator=torch.Generator().manual_seed(0)) ** 2
    found = [metrics.bootstrap_mean(v, resamples=200) for v in samples]
    assert 180 <= sum(e.low <= 1 / 3 <= e.high for e in found) <= 198


def test_over_seeds_is_student_t() -> None:
    e = metrics.over_seeds([0.90, 0.92, 0.97])
    mean, half = 0.93, 4.302652729911275 * math.sqrt(0.0013 / 3)  # t(2) = 4.3027, s^2 = 0.0013
    assert e == pytest.approx((mean, mean - half, mean + half, 3))
    with pytest.raises(ValueError, match="at least 2 seeds"):
        metrics.over_seeds([0.9])


def test_over_seeds_holds_the_mean_of_trainings_and_not_the_next_one() -> None:
    rng = np.random.default_rng(0)
    found = [metrics.over_seeds(rng.normal(5, 2, 3).tolist()) for _ in range(2_000)]
    assert np.mean([e.low <= 5 <= e.high for e in found]) == pytest.approx(0.95, abs=0.015)
    new = rng.normal(5, 2, 2_000)
    held = np.mean([e.low <= v <= e.high for e, v in zip(found, new, strict=True)])
    assert held == pytest.approx(0.836, abs=0.025)
    assert metrics.over_seeds([0.5, 0.5, 0.5]) == (0.5, 0.5, 0.5, 3)


def test_over_seeds_ends_where_the_scale_does() -> None:
    high = [0.96, 0.90, 0.98]
    free, cut = metrics.over_seeds(high), metrics.over_seeds(high, within=(0, 1))
    assert free.high > 1
    assert cut == (free.value, free.low, 1, 3)
    low = metrics.over_seeds([1 - v for v in high], within=(0, 1))
    assert low == pytest.approx((1 - cut.value, 0, 1 - cut.low, 3))
    inside = [0.5, 0.51, 0.52]
    assert metrics.over_seeds(inside, within=(0, 1)) == metrics.over_seeds(inside)
    with pytest.raises(ValueError, match=r"0\.\.1"):
        metrics.over_seeds([0.9, 1.1], within=(0, 1))


def test_mean_of_classes_adds_errors_in_quadrature() -> None:
    e = metrics.mean_of_classes([Estimate(0.4, 0.37, 0.44, 5), Estimate(0.6, 0.56, 0.63, 7)])
    assert e == pytest.approx((0.5, 0.475, 0.525, 12))
    drawn = np.random.default_rng(0).normal(0, [1, 2, 3], (2_000, 3))  # around 0, known deviations
    found = [
        metrics.mean_of_classes(
            [Estimate(v, v - 2 * s, v + 2 * s, 1) for v, s in zip(row, (1, 2, 3), strict=True)]
        )
        for row in drawn.tolist()
    ]
    assert np.mean([e.low <= 0 <= e.high for e in found]) == pytest.approx(0.954, abs=0.015)


# --- MS-SSIM -----------------------------------------------------------------------------------


def slow_ms_ssim(a: np.ndarray, b: np.ndarray) -> float:
    """One grey image pair (H, H) in [0, 1], float64, straight from Wang et al., by loops."""
    weights, product = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333), 1.0
    for scale, power in enumerate(weights):
        side = a.shape[0]
        size = min(11, side)
        at = np.arange(size) - (size - 1) / 2
        g = np.exp(-(at[:, None] ** 2 + at[None, :] ** 2) / (2 * (1.5 * size / 11) ** 2))
        g /= g.sum()
        total, count = 0.0, 0
        for i in range(side - size + 1):
            for j in range(side - size + 1):
                p, q = a[i : i + size, j : j + size], b[i : i + size, j : j + size]
                mp, mq = (g * p).sum(), (g * q).sum()
                vp, vq = (g * (p - mp) ** 2).sum(), (g * (q - mq) ** 2).sum()
                cov = (g * (p - mp) * (q - mq)).sum()
                term = (2 * cov + 0.0009) / (vp + vq + 0.0009)
                if scale == 4:
                    term *= (2 * mp * mq + 0.0001) / (mp**2 + mq**2 + 0.0001)
                total, count = total + term, count + 1
        product *= max(total / count, 0.0) ** power
        if side % 2:
            a, b = np.pad(a, 1), np.pad(b, 1)
        half = a.shape[0] // 2
        a = a[: 2 * half, : 2 * half].reshape(half, 2, half, 2).mean((1, 3))
        b = b[: 2 * half, : 2 * half].reshape(half, 2, half, 2).mean((1, 3))
    return product


@pytest.mark.parametrize("side", [16, 28, 32, 37])
def test_ms_ssim_equals_a_slow_float64_reference(side: int) -> None:
    a = noise(4, 1, side, side, seed=1, dtype=torch.float64)
    b = (0.8 * a + 0.3 * noise(4, 1, side, side, seed=2, dtype=torch.float64)).clamp(-1, 1)
    want = [slow_ms_ssim(*pair) for pair in ((torch.cat([a, b], 1) + 1) / 2).numpy()]
    got = metrics.ms_ssim(a, b)
    assert min(want) > 0.05
    assert max(want) < 0.999
    assert got.dtype == torch.float64
    np.testing.assert_allclose(got.numpy(), want, rtol=1e-10)
    np.testing.assert_allclose(metrics.ms_ssim(a.float(), b.float()).numpy(), want, atol=1e-5)


@pytest.mark.parametrize(("side", "channels"), [(161, 1), (176, 3), (177, 1), (190, 1)])
def test_ms_ssim_equals_pytorch_msssim_where_that_is_defined(side: int, channels: int) -> None:
    reference = importlib.import_module("pytorch_msssim")
    a = noise(2, channels, side, side, seed=3)
    b = (0.7 * a + 0.4 * noise(2, channels, side, side, seed=4)).clamp(-1, 1)
    want = reference.ms_ssim((a + 1) / 2, (b + 1) / 2, data_range=1, size_average=False)
    assert float(want.max()) < 0.99
    torch.testing.assert_close(metrics.ms_ssim(a, b), want, atol=1e-5, rtol=0)


def test_ms_ssim_hand_cases() -> None:
    x = noise(3, 1, 32, 32)
    assert torch.equal(metrics.ms_ssim(x, x), torch.ones(3))
    y = noise(3, 1, 32, 32, seed=9)
    torch.testing.assert_close(metrics.ms_ssim(x, y), metrics.ms_ssim(y, x))
    levels = [
        metrics.ms_ssim(x, (x + s * torch.randn_like(x)).clamp(-1, 1)).mean() for s in (0.1, 0.5)
    ]
    assert 1 > levels[0] > levels[1] + 0.1
    # The negative has contrast terms below 0, whose powers would be NaN.
    assert torch.equal(metrics.ms_ssim(x, -x), torch.zeros(3))
    # Constants c and d: only the luminance is left, by hand (2cd + C1) / (c^2 + d^2 + C1).
    black, grey = torch.full((1, 1, 32, 32), -0.5), torch.zeros(1, 1, 32, 32)
    luminance = (2 * 0.25 * 0.5 + 1e-4) / (0.25**2 + 0.5**2 + 1e-4)
    assert float(metrics.ms_ssim(black, grey)) == pytest.approx(luminance**0.1333, abs=1e-5)


def test_ms_ssim_is_per_image_and_per_channel() -> None:
    a, b = noise(3, 3, 32, 32, seed=5), noise(3, 3, 32, 32, seed=6)
    b = (a + b) / 2
    together = metrics.ms_ssim(a, b)
    alone = torch.cat([metrics.ms_ssim(a[i : i + 1], b[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone)
    channels = torch.stack([metrics.ms_ssim(a[:, [c]], b[:, [c]]) for c in range(3)])
    torch.testing.assert_close(together, channels.mean(0))


def test_ms_ssim_refuses_what_it_cannot_compare() -> None:
    with pytest.raises(ValueError, match="at least 16"):
        metrics.ms_ssim(torch.zeros(1, 1, 15, 15), torch.zeros(1, 1, 15, 15))
    with pytest.raises(ValueError, match="equal shapes"):
        metrics.ms_ssim(torch.zeros(2, 1, 32, 32), torch.zeros(1, 1, 32, 32))


@pytest.mark.parametrize("n", [3, 7, 40])
def test_pairs_are_distinct_and_never_an_image_with_itself(n: int) -> None:
    pairs = ssim.random_pairs(n, 300, seed=0)
    assert len({frozenset(p) for p in pairs.tolist()}) == len(pairs) == min(300, n * (n - 1) // 2)
    assert bool((pairs[:, 0] > pairs[:, 1]).all())
    assert 0 <= int(pairs.min()) <= int(pairs.max()) < n
    if n < 40:
        return
    assert len(pairs.unique()) == n  # 300 pairs reach every one of 40 images
    assert not torch.equal(pairs, ssim.random_pairs(n, 300, seed=1))


def test_a_collapsed_class_is_detected_and_the_other_is_not() -> None:
    x = noise(80, 1, 32, 32)
    x[:40] = x[0]  # class 0: one image, forty times
    collapsed, healthy = metrics.ms_ssim_diversity(x, torch.arange(2).repeat_interleave(40), 50)
    assert collapsed == (1.0, 1.0, 1.0, 50)
    assert healthy.high < 0.5
    assert healthy.low < healthy.value < healthy.high
    mean = metrics.ms_ssim_mean([collapsed, healthy])
    assert mean.value == pytest.approx((1 + healthy.value) / 2)
    assert mean.n == 100


def test_diversity_pairs_within_a_class_only() -> None:
    """Two classes of one image each, in turns: any pair across them would lower the figure."""
    x = noise(2, 1, 32, 32).repeat(10, 1, 1, 1)
    y = torch.tensor([0, 1]).repeat(10)
    assert [e.value for e in metrics.ms_ssim_diversity(x, y, pairs=30)] == [1.0, 1.0]
    with pytest.raises(ValueError, match="class 1 has 2"):
        metrics.ms_ssim_diversity(x[:6], torch.tensor([0, 1, 0, 0, 0, 1]))


# --- judge accuracy and sampling ---------------------------------------------------------------


class Table(nn.Module):
    """Logits read off the first pixels; batch norm and dropout punish train mode and mixing."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.classes = classes
        self.norm = nn.BatchNorm1d(classes, affine=False)
        self.drop = nn.Dropout(0.5)
        self.modes: list[bool] = []

    def forward(self, x: Tensor) -> Tensor:
        self.modes.append(self.training or torch.is_grad_enabled())
        return self.drop(self.norm(x.flatten(1)[:, : self.classes]))


def one_hot_images(labels: Tensor, side: int = 4) -> Tensor:
    x = torch.full((len(labels), side * side), -1.0)
    x[torch.arange(len(labels)), labels] = 1.0
    return x.view(-1, 1, side, side)


def test_judge_accuracy_counts_right_answers_in_eval_mode() -> None:
    said = torch.tensor([0] * 600 + [1] * 300 + [2] * 300)
    asked = said.clone()
    asked[:60] = 1  # 60 of 1,200 wrong, all asked as class 1
    judge = Table(3)
    judge.drop.eval()  # one part frozen, as in transfer learning
    e = metrics.judge_accuracy(judge, one_hot_images(said), asked)
    assert e == metrics.proportion(1140, 1200)
    by_class = metrics.judge_accuracy_by_class(judge, one_hot_images(said), asked)
    assert by_class == [metrics.proportion(*c) for c in [(540, 540), (300, 360), (300, 300)]]
    assert len(judge.modes) == 6  # 1,200 images in batches of 500, twice
    assert not any(judge.modes)
    assert judge.training
    assert judge.norm.training
    assert not judge.drop.training
    assert int(judge.norm.num_batches_tracked) == 0


def test_judge_accuracy_refuses_labels_that_do_not_fit() -> None:
    x = one_hot_images(torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="one label an image"):
        metrics.judge_accuracy(Table(3), x, torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"0\.\.1"):
        metrics.judge_accuracy(Table(2), x, torch.tensor([0, 1, 2]))
    with pytest.raises(ValueError, match="empty"):
        metrics.judge_accuracy(Table(2), x[:0], torch.tensor([], dtype=torch.int64))
    with pytest.raises(ValueError, match="class 1 has no image, but y goes up to class 2"):
        metrics.judge_accuracy_by_class(Table(3), x, torch.tensor([0, 2, 2]))
    for y in (torch.tensor([0.0, 1.0, 2.0]), torch.eye(3).long(), [0, 1, 2]):
        with pytest.raises(ValueError, match=r"y must be int64 \(3,\)"):
            metrics.judge_accuracy(Table(3), x, y)
    with pytest.raises(ValueError, match="classes from 0, but holds -1"):
        metrics.judge_accuracy(Table(3), x, torch.tensor([0, 1, -1]))


class ToyG(nn.Module):
    """A generator with batch norm, so that train mode shows."""

    def __init__(self, num_classes: int = 3) -> None:
        super().__init__()
        self.latent_dim, self.num_classes = 5, num_classes
        self.norm = nn.BatchNorm1d(5)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return torch.tanh(self.norm(z) + y[:, None]).view(-1, 1, 1, 5)


def test_sample_is_balanced_seeded_and_free_of_the_batch_size() -> None:
    G = ToyG()
    x, y = metrics.sample(G, 11, seed=4)
    assert x.shape == (33, 1, 1, 5)
    assert torch.bincount(y).tolist() == [11, 11, 11]
    assert G.training
    assert G.norm.training
    assert int(G.norm.num_batches_tracked) == 0
    assert not x.requires_grad
    again, _ = metrics.sample(G, 11, seed=4, batch_size=7)
    torch.testing.assert_close(x, again)
    other, _ = metrics.sample(G, 11, seed=5)
    assert not torch.equal(x, other)
    state = torch.random.get_rng_state()
    metrics.sample(G, 2, seed=6)
    assert torch.equal(state, torch.random.get_rng_state())
    z = torch.randn(33, 5, generator=torch.Generator().manual_seed(4))
    with torch.no_grad():
        torch.testing.assert_close(x, G.eval()(z, y))  # all of it, in order, nothing ranked


def test_sample_draws_as_many_of_each_class_as_asked() -> None:
    x, y = metrics.sample(ToyG(), [4, 1, 3], seed=0)
    assert y.tolist() == [0, 0, 0, 0, 1, 2, 2, 2]
    assert len(x) == 8
    for wrong in (0, [1, 0, 2], [1, 1], [[1, 1, 1]]):
        with pytest.raises(ValueError, match="n_per_class must be at least 1, one number or 3"):
            metrics.sample(ToyG(), wrong, seed=0)


def test_sample_of_an_unconditional_generator_is_one_class() -> None:
    x, y = metrics.sample(ToyG(num_classes=0), 6, seed=0)
    assert len(x) == 6
    assert y.tolist() == [0] * 6


def test_mode_is_restored_after_an_error() -> None:
    G = ToyG()
    with pytest.raises(RuntimeError), evaluating(G):
        raise RuntimeError
    assert G.training
    assert torch.is_grad_enabled()


# --- Frechet distance --------------------------------------------------------------------------


def gaussian(n: int, dims: int, seed: int) -> Tensor:
    """Correlated features with a mean, float64 (n, dims)."""
    g = torch.Generator().manual_seed(seed)
    mix = torch.randn(dims, dims, generator=g, dtype=torch.float64)
    return torch.randn(n, dims, generator=g, dtype=torch.float64) @ mix + seed


def sqrtm_reference(a: np.ndarray, b: np.ndarray) -> float:
    cov_a, cov_b = np.cov(a, rowvar=False), np.cov(b, rowvar=False)
    root = scipy.linalg.sqrtm(cov_a @ cov_b)
    gap = a.mean(0) - b.mean(0)
    return float(gap @ gap + np.trace(cov_a) + np.trace(cov_b) - 2 * np.trace(root).real)


def test_frechet_distance_equals_scipy_sqrtm() -> None:
    a, b = gaussian(300, 12, seed=1), gaussian(200, 12, seed=2)
    want = sqrtm_reference(a.numpy(), b.numpy())
    assert metrics.frechet_distance(a, b) == pytest.approx(want, rel=1e-9)
    assert metrics.frechet_distance(b, a) == pytest.approx(want, rel=1e-9)
    single = (a.float(), b.float())  # is worked on in float64 too
    want = sqrtm_reference(*(x.double().numpy() for x in single))
    assert metrics.frechet_distance(*single) == pytest.approx(want, rel=1e-9)


def test_frechet_distance_of_diagonal_gaussians_in_closed_form() -> None:
    """A cross of points has covariance diag(s^2) exactly, so the answer is known to the end."""

    def cross(scales: list[float], mean: list[float]) -> Tensor:
        d = torch.diag(torch.tensor(scales, dtype=torch.float64))
        n = 2 * len(scales)
        return torch.cat([d, -d]) * math.sqrt((n - 1) / 2) + torch.tensor(mean).double()

    a, b = cross([1, 2, 3], [0, 0, 0]), cross([2, 2, 0], [1, 0, -2])  # b's covariance is singular
    assert metrics.frechet_distance(a, b) == pytest.approx(1 + 4 + (1 + 0 + 9), rel=1e-9)
    assert metrics.frechet_distance(a, a + 3) == pytest.approx(27, rel=1e-9)
    assert metrics.frechet_distance(a, a) == pytest.approx(0, abs=1e-9)


def test_frechet_distance_survives_fewer_images_than_dimensions() -> None:
    a, b = gaussian(10, 40, seed=1), gaussian(10, 40, seed=1)
    assert metrics.frechet_distance(a, b) == pytest.approx(0, abs=1e-4)
    assert math.isfinite(metrics.frechet_distance(a, gaussian(12, 40, seed=2)))


@pytest.mark.parametrize(
    ("a", "b", "message"),
    [
        (torch.zeros(5, 3), torch.zeros(5, 4), "dimension"),
        (torch.zeros(1, 3), torch.zeros(5, 3), "n >= 2"),
        (torch.zeros(5), torch.zeros(5, 3), "n >= 2"),
        (torch.full((5, 3), math.nan), torch.zeros(5, 3), "not finite"),
    ],
)
def test_frechet_distance_refuses(a: Tensor, b: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        metrics.frechet_distance(a, b)


class Pixels(Judge):
    """A judge whose features are the pixels."""

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


@pytest.mark.parametrize(("offset", "narrowest", "widest"), [(1.0, 0.75, 1.35), (0.1, 0.9, 2.0)])
def test_frechet_judge_distance_interval_holds_the_value_expected_at_this_n(
    offset: float, narrowest: float, widest: float
) -> None:
    """Fresh sets give the sampling distribution: the intervals must mostly hold its mean and be
    about as wide as it is. Plain bootstrap quantiles, biased twice, hold it hardly ever."""
    estimates = []
    for seed in range(40):
        a, b = torch.randn(2, 150, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
        a, b = a / 8, (b + offset) / 8  # within [-1, 1]
        e = metrics.frechet_judge_distance(Pixels(), a, b[:140], resamples=20, seed=seed)
        assert e.n == 140
        assert e.value == metrics.frechet_distance(a.flatten(1), b[:140].flatten(1))
        estimates.append(e)
    values = [e.value for e in estimates]
    hits = sum(e.low <= np.mean(values) <= e.high for e in estimates)
    assert hits >= 36  # of 40; 38 expected, and 36 or more in 95 % of such experiments
    width = np.mean([e.high - e.low for e in estimates]) / (2 * 1.96 * np.std(values, ddof=1))
    assert narrowest < width < widest


def test_frechet_judge_distance_resamples_within_classes_when_told_to() -> None:
    """Sets with fixed class shares vary less; the interval must say so, and neither too much."""
    y = torch.arange(150) % 2
    values, widths, naive = [], [], []
    for seed in range(20):
        a, b = torch.randn(2, 150, 1, 4, 4, generator=torch.Generator().manual_seed(seed))
        a, b = a / 20 + y.view(-1, 1, 1, 1) / 5, (b + 1) / 20 + y.view(-1, 1, 1, 1) / 5
        e = metrics.frechet_judge_distance(Pixels(), a, b, y_a=y, y_b=y, resamples=20)
        plain = metrics.frechet_judge_distance(Pixels(), a, b, resamples=20)
        assert e.value == plain.value
        values.append(e.value)
        widths.append(e.high - e.low)
        naive.append(plain.high - plain.low)
    assert 0.7 < np.mean(widths) / (2 * 1.96 * np.std(values, ddof=1)) < 1.5
    assert np.mean(naive) > 2 * np.mean(widths)
    with pytest.raises(ValueError, match=r"\(150,\)"):
        metrics.frechet_judge_distance(Pixels(), a, b, y_a=y[:9])


# --- the judge and CAS -------------------------------------------------------------------------


def bars(n: int, seed: int, classes: int = 3) -> LabelledImages:
    """Easy classes: a bright bar at a height that is the class, on noise."""
    g = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    x = torch.randint(0, 60, (n, 1, 32, 32), generator=g, dtype=torch.uint8)
    for i, k in enumerate(y.tolist()):
        x[i, :, 6 + 9 * k : 9 + 9 * k] = 220
    return LabelledImages(x, y, tuple("abc"[:classes]), "bars")


def test_judge_shapes_and_size() -> None:
    batch_norms_keep_torchs_defaults(Judge())
    judge = Judge(num_classes=7, channels=3).eval()
    for side in (16, 28, 32, 37, 64, 128):
        x = noise(2, 3, side, side)
        assert judge(x).shape == (2, 7)
        assert judge.features(x).shape == (2, 128)
        assert float(judge.features(x).detach().min()) >= 0
    assert sum(v.numel() for v in Judge().state_dict().values()) * 4 < 3e6  # bytes in float32


def test_train_judge_learns_repeats_and_leaves_the_random_state_alone() -> None:
    data = bars(96, seed=0)
    torch.manual_seed(3)
    before = torch.random.get_rng_state()
    judge = train_judge(data, steps=8, seed=1)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not judge.training
    test = bars(60, seed=9)
    assert metrics.judge_accuracy(judge, test.normalised(), test.labels).value > 0.9
    again, other = train_judge(data, steps=2, seed=1), train_judge(data, steps=2, seed=2)
    torch.manual_seed(4)  # must not matter
    same = train_judge(data, steps=2, seed=1)
    for p, q, r in zip(again.parameters(), same.parameters(), other.parameters(), strict=True):
        assert torch.equal(p, q)
        assert p.ndim < 2 or not torch.equal(p, r)


def test_train_judge_refuses() -> None:
    data = bars(96, seed=0)
    with pytest.raises(ValueError, match="steps"):
        train_judge(data, steps=0)
    with pytest.raises(ValueError, match=r"class 1 has no image to train on.*\[32, 0, 32\]"):
        train_judge(data.subset(torch.nonzero(data.labels != 1).flatten()), steps=1)
    small = LabelledImages(data.images[..., :12, :12], data.labels, data.class_names, "small")
    with pytest.raises(ValueError, match="at least 16 pixels, not 12"):
        train_judge(small)


def test_the_judge_trains_on_any_set_and_chooses_its_steps(monkeypatch) -> None:
    assert [default_steps(n) for n in (1, 3_840, 10_000, 10**6)] == [300, 300, 781, 3_000]
    asked: list[int] = []
    monkeypatch.setattr(judge_module, "default_steps", lambda n: asked.append(n) or 2)
    for side, channels, classes, n in [(16, 3, 2, 4), (37, 1, 1, 3), (128, 3, 5, 5)]:
        images = torch.randint(0, 256, (n, channels, side, side), dtype=torch.uint8)
        names = tuple(map(str, range(classes)))
        data = LabelledImages(images, torch.arange(n) % classes, names, "noise")
        judge = train_judge(data)
        x = data.normalised().to(next(judge.parameters()).device)
        assert judge(x).shape == (n, classes)
        assert asked.pop() == n


@pytest.mark.parametrize("steps", [3, 5, 9])
def test_train_judge_is_this_loop(steps: int) -> None:
    """The library's supervised loop, written out; 5 steps made the schedule divide by 0."""
    data = bars(140, seed=0)
    with torch.random.fork_rng():
        torch.manual_seed(4)
        judge = Judge(3).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, 2e-3, max(steps, 6), pct_start=0.2, cycle_momentum=False
        )
        shifts = torch.Generator().manual_seed(4)
        for step in range(steps):
            x, y = data.batch(step, 128, seed=4)
            x = random_shift(x, shifts).contiguous(memory_format=torch.channels_last)
            with torch.autocast("cpu", torch.bfloat16, enabled=supports_bf16("cpu")):
                logits = judge(x)
            optimiser.zero_grad()
            nn.functional.cross_entropy(logits.float(), y).backward()
            optimiser.step()
            schedule.step()
    found = train_judge(data, steps=steps, seed=4, device="cpu").state_dict()
    for name, value in judge.state_dict().items():
        assert torch.equal(found[name], value), name


def test_the_supervised_loop_fits_what_it_is_given() -> None:
    """A line through points by plain gradient descent: the answer is known."""
    x = torch.linspace(-1, 1, 9).view(9, 1, 1, 1)
    seen: list[int] = []

    def batch(step: int) -> tuple[Tensor, Tensor]:
        seen.append(step)
        return x, (2 * x + 1).flatten()

    def descent(network: nn.Module, steps: int) -> judge_module.Recipe:
        optimiser = torch.optim.SGD(network.parameters(), 1.0)
        return optimiser, torch.optim.lr_scheduler.ConstantLR(optimiser, 1.0)

    line = fit_supervised(
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(1, 1)),
        batch,
        lambda read, wanted: (read.flatten().float() - wanted).square().mean() / 2,
        steps=60, seed=0, recipe=descent,
    )  # fmt: skip
    assert seen == list(range(60))
    assert [float(p.detach()) for p in line.parameters()] == pytest.approx([2, 1], abs=0.02)
    assert not line.training


def test_random_shift_moves_each_image_whole_and_repeats_the_edge() -> None:
    x = noise(50, 2, 8, 8)
    moved = random_shift(x, torch.Generator().manual_seed(0), pixels=2)
    padded = nn.functional.pad(x, (2, 2, 2, 2), mode="replicate")
    seen = set()
    for original, image in zip(padded, moved, strict=True):
        fits = [
            (i, j)
            for i in range(5)
            for j in range(5)
            if torch.equal(original[:, i : i + 8, j : j + 8], image)
        ]
        assert len(fits) == 1
        seen.add(fits[0])
    assert {i for i, _ in seen} == {j for _, j in seen} == {0, 1, 2, 3, 4}


def test_cas_is_high_for_good_samples_and_low_for_wrong_labels() -> None:
    train, test = bars(256, seed=0), bars(60, seed=9)
    x, y = train.normalised(), train.labels
    real = (test.normalised(), test.labels)
    good = metrics.cas(x, y, *real, seed=0, epochs=6)
    wrong = metrics.cas(x, (y + 1) % 3, *real, seed=0, epochs=6)
    assert good.value > 0.9
    assert wrong.value < 0.1
    assert good.n == wrong.n == 60


def test_cas_refuses() -> None:
    data = bars(9, seed=0)
    x, y = data.normalised(), data.labels
    with pytest.raises(ValueError, match="epochs"):
        metrics.cas(x, y, x, y, seed=0, epochs=0)
    with pytest.raises(ValueError, match="x_test is empty"):
        metrics.cas(x, y, x[:0], y[:0], seed=0, epochs=1)
    with pytest.raises(ValueError, match=r"\[-1, 1\]"):
        metrics.cas(x * 2, y, x, y, seed=0, epochs=1)
    with pytest.raises(ValueError, match="class 2 has no image to train on"):
        metrics.cas(x, y.clamp_max(1), x, y, seed=0, epochs=1)
    with pytest.raises(ValueError, match="y_test must be int64"):
        metrics.cas(x, y, x, y.float())
    with pytest.raises(ValueError, match=r"one shape, not \(1, 32, 32\) and \(1, 16, 16\)"):
        metrics.cas(x, y, x[:, :, ::2, ::2], y)


def test_cas_learns_from_the_generated_images_and_is_tested_on_the_real_ones(monkeypatch) -> None:
    generated, real = bars(12, seed=0), bars(9, seed=1)
    asked: dict[str, object] = {}

    class Remembers(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            asked["tested"] = x
            return one_hot(real.labels, 3)  # right for the real images alone

    def train(data: LabelledImages, **how: object) -> nn.Module:
        asked.update(how, trained=data)
        return Remembers()

    one_hot = nn.functional.one_hot
    monkeypatch.setattr(importlib.import_module("acgan_lib.metrics.cas"), "train_judge", train)
    x, y = generated.normalised(), generated.labels
    found = metrics.cas(x, y, real.normalised(), real.labels, seed=7, epochs=3)
    assert torch.equal(asked["trained"].images, generated.images)
    assert torch.equal(asked["trained"].labels, generated.labels)
    assert torch.equal(asked["tested"], real.normalised())
    assert (asked["seed"], asked["steps"]) == (7, 3)  # a batch holds all twelve
    assert found == metrics.proportion(9, 9)
    metrics.cas(x, y, real.normalised(), real.labels)
    assert asked["steps"] is None  # train_judge's own


def test_generated_images_take_256_grey_levels_and_come_back() -> None:
    data = bars(6, seed=0)
    x = data.normalised()
    assert torch.equal(metrics.as_labelled_images(x, data.labels, 3).images, data.images)
