"""The payoff test against the formula, the predicted equilibria, and the measures of the toy."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from acgan_lib.experiments import ch18_toy, stored
from acgan_lib.nets import DiscriminatorOutput

EXACT = math.log((1 + math.e**2) / (1 + math.e**-6))  # of log P(1 | x) from -1 to 3


class Known(nn.Module):
    """In the generator's place: class k is N(mean, 1), or that cut at the border at 0."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        x = z[:, :1] + torch.tensor(ch18_toy.MEANS)[y, None]
        if not self.cut:
            return x
        return torch.where(y[:, None] == 0, -x.abs(), torch.where(y[:, None] == 1, x.abs(), x))


class BestHead(nn.Module):
    """AC-GAN's best D at the truth: it gives every point 1/2, and P(k | x) = softmax(-x, x)."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        return DiscriminatorOutput(0 * x[:, 0], torch.cat([-x, x], dim=1))


def test_payoff_is_the_formula_where_d_is_exact() -> None:
    points = torch.linspace(-1, 3, 41)
    u = ch18_toy.payoff(ch18_toy.GAMES["AC-GAN"], BestHead(), points)
    expected = torch.nn.functional.logsigmoid(2 * points.double())
    torch.testing.assert_close((u - u[0]).double(), expected - expected[0], rtol=0, atol=1e-3)
    assert float(u.max() - u.min()) == pytest.approx(EXACT, abs=1e-3)
    lighter = ch18_toy.payoff(ch18_toy.GAMES["AC-GAN, weight 0.3"], BestHead(), points)
    assert float(lighter.max() - lighter.min()) == pytest.approx(0.3 * EXACT, abs=1e-3)


@pytest.mark.parametrize("name", [n for n in ch18_toy.GAMES if "weight" not in n])
def test_mends_pass_the_payoff_test_and_acgan_and_reacgan_do_not(name: str) -> None:
    spread = ch18_toy.spread(ch18_toy.GAMES[name], steps=400)
    if name in ("CGAN", "projection", "TAC-GAN", "ADC-GAN"):
        assert spread < 0.25
    else:
        assert spread > 1.5


@pytest.mark.parametrize(
    ("form", "weight"), [("real+fake", 1.0), ("real+fake", 0.3), ("real", 1.0), ("n+1", 1.0)]
)
def test_at_a_predicted_equilibrium_nobody_gains_by_moving(form, weight: float) -> None:
    g_k, p_k = ch18_toy.predicted(form, weight), ch18_toy.densities()
    p, r = p_k.sum(0), g_k.sum(0) / p_k.sum(0)
    for k in range(3):
        here = g_k[k] > 0
        assert float(g_k[k].sum()) * ch18_toy.SPACING == pytest.approx(1 / 3, abs=1e-6)
        own = ch18_toy.earned(form, weight, p_k[k] / p, r)[here]
        assert float(own.max() - own.min()) < 1e-9
        q = p_k[k] / p / (1 if form == "real" else 1 + r)  # where another class is drawn
        elsewhere = (weight * q.log() - torch.log1p(r))[~here & (p > 1e-12)]
        assert float(elsewhere.max()) < float(own.min()) + 0.02


def test_prediction_for_two_classes_is_that_of_chapter_6() -> None:
    p = ch18_toy.densities((-1.0, 1.0)).sum(0)
    at = int((ch18_toy.GRID - 0.0).abs().argmin())
    for form, weight, density in (
        ("real+fake", 1.0, 0.423), ("real+fake", 0.3, 0.870), ("real", 1.0, 0.189)
    ):  # fmt: skip
        g = ch18_toy.predicted(form, weight, (-1.0, 1.0), (0.0,)).sum(0)
        assert float((g / p)[at]) == pytest.approx(density, abs=0.01)


def test_measures_of_the_truth_and_of_cut_classes() -> None:
    truth = ch18_toy.measure(Known(cut=False))
    assert truth["w1"] == pytest.approx(0, abs=0.02)
    assert truth["control"] == pytest.approx(0, abs=0.02)
    assert truth["spread"] == pytest.approx(1, abs=0.01)
    assert truth["border"] == pytest.approx(1, abs=0.03)
    assert truth["crossed"] == pytest.approx(0.1587, abs=0.005)
    cut = ch18_toy.measure(Known(cut=True))
    assert cut["crossed"] == 0
    # Mirrored points: |N(1, 1)| has mean 1.167, and W1 is the difference of the means.
    assert cut["w1"] == pytest.approx(0.1666, abs=0.01)
    assert cut["border"] == pytest.approx(1, abs=0.03)


def test_quantiles_of_a_density_have_its_mean_and_deviation() -> None:
    x = ch18_toy.quantiles(ch18_toy.densities()[2], 10_000)
    assert float(x.mean()) == pytest.approx(5, abs=0.01)
    assert float(x.std()) == pytest.approx(1, abs=0.01)


def test_a_whole_training_is_recorded_once(results: Path, monkeypatch, capsys) -> None:
    asked = []

    def trained(objective, seed: int, steps: int, means) -> Known:
        asked.append((objective.name, seed, means))
        return Known(cut=False)

    monkeypatch.setattr(ch18_toy, "trained", trained)
    monkeypatch.setattr(ch18_toy, "SAMPLES", 500)
    ch18_toy.mends_toy(3, steps=5)
    assert "nothing shipped was replaced" in capsys.readouterr().out
    assert not (results / "mends_toy.json").exists()
    ch18_toy.mends_toy(3)
    ch18_toy.mends_toy(3)  # all are there
    assert len(asked) == 2 * len(ch18_toy.GAMES)
    assert {(seed, means) for _, seed, means in asked} == {(3, ch18_toy.MEANS)}
    assert [row["model"] for row in stored("mends_toy")] == sorted(ch18_toy.GAMES)
