"""The report of all figures, and what every metric refuses to measure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acgan_lib import judge as judge_module
from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.judge import Judge, train_judge
from acgan_lib.metrics import Estimate
from acgan_lib.metrics.report import _halves

# --- images that are not float in [-1, 1] ------------------------------------------------------


def images(n: int = 12, channels: int = 1, side: int = 16, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, side, side, generator=generator) * 2 - 1


def with_nan() -> Tensor:
    x = images()
    x[3, 0, 0, :5], x[7, 0, 2, 2] = torch.nan, torch.inf
    return x


BAD: dict[str, tuple[Any, str]] = {
    "bytes": ((images() * 127 + 128).byte(), r"float tensor .* not torch.uint8: .*127\.5"),
    "0 to 255": (images() * 127.5 + 127.5, r"spans .*\.\.255: use x / 127\.5 - 1"),
    "0 to 1": (images() / 2 + 0.5, r"seems to lie in \[0, 1\]: no pixel of its 12 .* 2 \* x - 1"),
    "not clamped": (images() * 1.2, r"spans -1\.2\.\.1\.2: use x\.clamp"),
    "NaN": (with_nan(), "6 values that are not finite, in 2 of its 12 images"),
    "an array": (images().numpy(), "float tensor .* not ndarray"),
    "one image": (images()[0], r"shape \(n, C, H, W\), not \(1, 16, 16\)"),
    "nothing": (images(0), "is empty"),
}
GOOD = images(seed=1)
Y = torch.arange(12) % 3


class Grey(nn.Module):
    """Three classes by brightness; the features are the pixels."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3))[:, None] * torch.arange(-1.0, 2.0)

    def features(self, x: Tensor) -> Tensor:
        return x.flatten(1)


METRICS: dict[str, Callable[[Any], Any]] = {
    "ms_ssim": lambda x: metrics.ms_ssim(x, GOOD),
    "ms_ssim, the other": lambda x: metrics.ms_ssim(GOOD, x),
    "ms_ssim_diversity": lambda x: metrics.ms_ssim_diversity(x, Y),
    "judge_accuracy": lambda x: metrics.judge_accuracy(Grey(), x, Y),
    "judge_accuracy_by_class": lambda x: metrics.judge_accuracy_by_class(Grey(), x, Y),
    "judge_accuracy_at": lambda x: metrics.judge_accuracy_at(Grey(), x, Y, [8]),
    "cas": lambda x: metrics.cas(x, Y, GOOD, Y, epochs=1),
    "cas, test": lambda x: metrics.cas(GOOD, Y, x, Y, epochs=1),
    "frechet_judge_distance": lambda x: metrics.frechet_judge_distance(Grey(), x, GOOD),
    "frechet_judge_distance, the other": lambda x: metrics.frechet_judge_distance(Grey(), GOOD, x),
    "nearest_neighbours": lambda x: metrics.nearest_neighbours(x, GOOD),
    "nearest_neighbours, references": lambda x: metrics.nearest_neighbours(GOOD, x),
    "memorisation": lambda x: metrics.memorisation(x, GOOD, GOOD),
    "memorisation, train": lambda x: metrics.memorisation(GOOD, x, GOOD),
    "memorisation, held out": lambda x: metrics.memorisation(GOOD, GOOD, x),
}


@pytest.mark.parametrize("bad", BAD)
def test_checked_images_says_what_came(bad: str) -> None:
    x, message = BAD[bad]
    with pytest.raises(ValueError, match=f"^mine .*{message}"):
        metrics.checked_images(x, "mine")


@pytest.mark.parametrize("bad", ["bytes", "0 to 255", "0 to 1", "not clamped", "NaN"])
@pytest.mark.parametrize("metric", METRICS)
def test_no_metric_measures_such_images(metric: str, bad: str) -> None:
    x, message = BAD[bad]
    with pytest.raises(ValueError, match=message):
        METRICS[metric](x)


@pytest.mark.parametrize(
    "x",
    [
        images() * 1.0009,  # rounding, as of half precision
        images().half(),
        torch.zeros(20, 1, 16, 16),
        torch.ones(20, 1, 16, 16),  # all white: a collapse, to be measured
        images(7) / 2 + 0.5,  # too few to be sure
        images(50) / 4 + 0.75,  # light pictures: their darkest pixel is a light grey
        images(50, channels=3, side=4),
    ],
    ids=["rounding", "half", "grey", "white", "few", "light", "colour"],
)
def test_images_in_range_pass_as_they_are(x: Tensor) -> None:
    assert metrics.checked_images(x) is x


def test_features_are_any_finite_floats() -> None:
    far = 300 * images(12, side=3).flatten(1)
    assert float(metrics.nearest_neighbours(far, far).distance.max()) == 0
    assert metrics.memorisation(far, far, far + 1).value == 1
    far[2, 5] = torch.nan
    for call in (
        lambda: metrics.nearest_neighbours(GOOD.flatten(1)[:, :9], far),
        lambda: metrics.memorisation(far, far, far),
    ):
        with pytest.raises(ValueError, match="1 of 12 rows hold a value that is not finite"):
            call()
    with pytest.raises(ValueError, match="queries must be float"):
        metrics.nearest_neighbours(torch.zeros(3, 4).long(), torch.zeros(3, 4))
    with pytest.raises(ValueError, match="holds 1 values that are not finite"):
        metrics.manifold(far, far, k=2)


# --- the report --------------------------------------------------------------------------------


def bars(n: int, seed: int, classes: int = 3) -> LabelledImages:
    """A bright bar at a height that is the class, on noise. The last class is the rarest."""
    g = torch.Generator().manual_seed(seed)
    y = torch.tensor([k for k in range(classes) for _ in range(n // (k + 1))])
    x = torch.randint(0, 60, (len(y), 1, 32, 32), generator=g, dtype=torch.uint8)
    for i, k in enumerate(y.tolist()):
        x[i, :, 6 + 9 * k : 9 + 9 * k] = 220
    return LabelledImages(x, y, tuple("abcdef"[:classes]), "bars")


class Draws(nn.Module):
    """Draws such bars in the class that is asked for; without classes, in any."""

    def __init__(self, num_classes: int = 3, side: int = 32, scale: float = 1.0) -> None:
        super().__init__()
        self.latent_dim, self.num_classes, self.side, self.scale = 8, num_classes, side, scale
        self.asked: list[list[int]] = []

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        self.asked.append(torch.bincount(y, minlength=max(self.num_classes, 1)).tolist())
        y = y if self.num_classes else (z[:, 0] > 0).long()
        x = -0.8 + 0.1 * z.repeat(1, self.side**2 // 8).view(-1, 1, self.side, self.side).tanh()
        for i, k in enumerate(y.tolist()):
            x[i, :, 6 + 9 * k : 9 + 9 * k] = 0.7
        return x * self.scale


@pytest.fixture(scope="module")
def judge() -> Judge:
    return train_judge(bars(60, seed=0), steps=8, device="cpu")


@pytest.fixture
def brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judge_module, "default_steps", lambda n: 8)  # of CAS


def test_a_report_holds_each_metrics_own_figure(judge: Judge, brief: None, capfd) -> None:
    test, G = bars(24, seed=5), Draws()
    found = metrics.report(G, judge, test, n=55, seed=3)
    bar = capfd.readouterr().err
    assert "CAS: 100%" in bar
    assert "judge: 100%" in bar
    # In the shares of test, 24, 12 and 8 of 44; then as many as are in its first half.
    assert G.asked == [[1, 1, 1], [30, 15, 10], [12, 6, 4]]
    x, y = metrics.sample(G, [30, 15, 10], seed=3)
    x_test, y_test = test.normalised(), test.labels
    first, second = _halves(y_test, 3)
    x_half, y_half = metrics.sample(G, [12, 6, 4], seed=4)
    own, one, other = (
        metrics.in_batches(judge, judge.features, part)
        for part in (x_half, x_test[first], x_test[second])
    )
    y_one, y_other = y_test[first], y_test[second]
    assert found.samples == {
        "accuracy": metrics.judge_accuracy(judge, x, y),
        "MS-SSIM": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y, pairs=333, seed=3)),
        "Frechet judge distance": metrics.frechet_estimate(
            own, other, y_a=y_half, y_b=y_other, seed=3
        ),
        "KID, judge's features": metrics.kid(own, other, y_a=y_half, y_b=y_other),
        "CAS": metrics.cas(x, y, x_test, y_test, seed=3),
    }
    assert found.real == {
        "accuracy": metrics.judge_accuracy(judge, x_test, y_test),
        "MS-SSIM": metrics.ms_ssim_mean(
            metrics.ms_ssim_diversity(x_test, y_test, pairs=333, seed=3)
        ),
        "Frechet judge distance": metrics.frechet_estimate(
            one, other, y_a=y_one, y_b=y_other, seed=3
        ),
        "KID, judge's features": metrics.kid(one, other, y_a=y_one, y_b=y_other),
    }
    assert found.samples["CAS"].n == found.real["accuracy"].n == 44
    assert found.samples["accuracy"].n == 55
    assert found.samples["Frechet judge distance"].n == 22
    assert found.samples["accuracy"].value > 0.9


def test_a_report_prints_as_a_table() -> None:
    report = metrics.Report(
        {
            "accuracy": Estimate(0.96751, 0.9588, 0.97444, 2_000),
            "KID": Estimate(4.2e-5, -1e-5, 9.4e-5, 9),
            "far": Estimate(1234.5, 1000, 1500, 9),
            "CAS": Estimate(1, 1, 1, 9),
        },
        {"accuracy": Estimate(0.94, 0.929, 0.95, 50)},
        "A note.",
    )
    assert str(report) == repr(report)
    assert str(report).splitlines() == [
        "          samples                             real images",
        "accuracy  0.9675 [0.9588, 0.9744] n=2,000     0.940 [0.929, 0.950] n=50",
        "KID       0.000042 [-0.000010, 0.000094] n=9  -",
        "far       1234 [1000, 1500] n=9               -",
        "CAS       1.000 [1.000, 1.000] n=9            -",
        "A note.",
    ]


def test_a_report_of_a_generator_without_classes_has_no_labels_to_judge(
    judge: Judge, capfd
) -> None:
    test, G = bars(24, seed=5), Draws(num_classes=0)
    found = metrics.report(G, judge, test, n=40, progress=False)
    assert capfd.readouterr().err == ""
    names = ["MS-SSIM", "Frechet judge distance", "KID, judge's features"]
    assert list(found.samples) == list(found.real) == names
    assert G.asked == [[1], [40], [22]]
    x, y = metrics.sample(G, 40, seed=0)
    assert found.samples["MS-SSIM"] == metrics.ms_ssim_diversity(x, y, pairs=1_000)[0]
    one = torch.zeros_like(test.labels)
    assert found.real["MS-SSIM"] == metrics.ms_ssim_diversity(test.normalised(), one, 1_000)[0]
    assert "G has no classes" in str(found)


def test_halves_share_no_row_and_have_the_same_classes() -> None:
    y = torch.tensor([2] * 5 + [0] * 8 + [1] * 4)
    first, second = _halves(y, seed=1)
    assert sorted([*first.tolist(), *second.tolist()]) == list(range(17))
    assert torch.bincount(y[first]).tolist() == [4, 2, 3]
    assert torch.bincount(y[second]).tolist() == [4, 2, 2]
    assert not torch.equal(first, _halves(y, seed=2)[0])


@pytest.mark.parametrize(
    ("G", "n", "test", "message"),
    [
        (Draws(), 3, bars(24, 0), "n must be at least 4, got 3"),
        (Draws(2), 40, bars(24, 0), "G has 2 classes, but test has 3"),
        (Draws(4), 40, bars(24, 0, classes=4), "judge has 3 classes, but test has 4"),
        (Draws(), 40, bars(9, 0), "test has 3 images of class 'c'; it needs 4"),
        (Draws(side=64), 40, bars(24, 0), r"draws .* \(1, 64, 64\), but test .* \(1, 32, 32\)"),
        (Draws(scale=2), 40, bars(24, 0), r"G's images must lie in \[-1, 1\], but spans"),
        (Draws(scale=torch.nan), 40, bars(24, 0), "G's images holds .* not finite"),
    ],
)
def test_a_report_refuses_before_it_measures(
    judge: Judge, G: Draws, n: int, test: LabelledImages, message: str
) -> None:
    G.asked.clear()
    with pytest.raises(ValueError, match=message):
        metrics.report(G, judge, test, n=n, progress=False)
    assert sum(sum(counts) for counts in G.asked) <= 3
