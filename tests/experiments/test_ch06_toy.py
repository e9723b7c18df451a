"""AC-GAN of two Gaussians: the points, the measures, and that the classes come apart."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from acgan_lib.experiments import ch06_toy, stored


class Known(nn.Module):
    """In the generator's place: class k is N(2k - 1, 1), or that cut at the border."""

    def __init__(self, cut: bool) -> None:
        super().__init__()
        self.cut = cut

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        x = z[:, :1] + 2.0 * y[:, None] - 1.0
        return torch.where((x > 0).long() == y[:, None], x, -x) if self.cut else x


def test_measures_of_the_truth_and_of_cut_classes() -> None:
    truth = ch06_toy.measure(Known(cut=False))
    assert truth["border"] == pytest.approx(1, abs=0.03)
    assert truth["spread"] == pytest.approx(1, abs=0.01)
    assert truth["crossed"] == pytest.approx(0.1587, abs=0.005)
    cut = ch06_toy.measure(Known(cut=True))
    assert cut["crossed"] == 0
    assert cut["border"] == pytest.approx(1, abs=0.03)  # mirrored points stay as near to 0
    assert cut["spread"] < 0.9


def test_data_are_the_two_gaussians() -> None:
    data = ch06_toy.real(20_000, torch.Generator().manual_seed(0))
    for k in (0, 1):
        of_class = data.images[data.labels == k]
        assert float(of_class.mean()) == pytest.approx(2 * k - 1, abs=0.05)
        assert float(of_class.std()) == pytest.approx(1, abs=0.03)


def test_classes_come_apart_in_acgan_and_not_in_cgan() -> None:
    apart = {name: ch06_toy.trained(ch06_toy.GAMES[name], 0, 400) for name in ("AC-GAN", "CGAN")}
    crossed = {name: ch06_toy.measure(G)["crossed"] for name, G in apart.items()}
    assert crossed["AC-GAN"] < 0.03 < 0.08 < crossed["CGAN"]


def test_the_games_are_what_their_names_say() -> None:
    settings = {name: dict(game.settings) for name, game in ch06_toy.GAMES.items()}
    assert settings["AC-GAN, literal"]["saturating"] is True
    assert settings["AC-GAN"] == {"g_class_weight": 1.0, "saturating": False}
    assert settings["AC-GAN, weight 0.3"]["g_class_weight"] == 0.3
    assert ch06_toy.GAMES["AC-GAN, real only"].name == "acgan[real]"
    assert ch06_toy.GAMES["CGAN"].needs.d_labels


def test_a_whole_training_is_recorded(results: Path, monkeypatch, capsys) -> None:
    monkeypatch.setattr(ch06_toy, "trained", lambda objective, seed, steps: Known(cut=False))
    ch06_toy.acgan_toy(3, steps=5)
    assert "nothing shipped was replaced" in capsys.readouterr().out
    assert not (results / "acgan_toy.json").exists()
    ch06_toy.acgan_toy(3)
    rows = stored("acgan_toy")
    assert [row["model"] for row in rows] == sorted(ch06_toy.GAMES)
    assert {(row["seed"], row["steps"]) for row in rows} == {(3, 2_500)}
