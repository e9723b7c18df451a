"""Accuracy at lower resolutions: which images each judge sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, Reader, images
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.experiments import ch09_resolution, stored
from acgan_lib.experiments.ch09_glyphs import TEN
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.metrics import Estimate


def test_at_a_resolution_is_the_metric_image_by_image() -> None:
    letters = glyphs("test", "AB", 32)
    less = ch09_resolution.at(letters, 8)
    assert torch.equal(less.labels, letters.labels)
    wanted = metrics.at_resolution(letters.normalised(), 8)
    assert float((less.normalised() - wanted).abs().max()) < 1 / 127  # 256 grey levels
    assert ch09_resolution.enlarged(letters.normalised()).shape == (len(letters), 1, 64, 64)


def test_the_mean_counts_each_class_alike() -> None:
    found = ch09_resolution._summed([Estimate(0.5, 0, 1, 10), Estimate(1.0, 0, 1, 30)])
    assert found == {"mean": 0.75, "right": [5, 30]}


def test_a_judge_of_a_resolution_learns_from_letters_without_the_detail(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked, learned = [], []

    def some(split: str, letters: str, size: int) -> Any:
        asked.append((split, letters, size))
        return images(2, 4, size=64)

    def train_judge(data: Any, *, steps: int, seed: int, device: Any) -> Any:
        learned.append((data, steps, seed))
        return Reader(2)

    monkeypatch.setattr(ch09_resolution, "glyphs", some)
    monkeypatch.setattr(ch09_resolution, "train_judge", train_judge)
    ch09_resolution.blurred_judge(16, seed=3)
    assert asked == [("train", LETTERS, 64)]
    [(data, steps, seed)] = learned
    assert torch.equal(data.images, ch09_resolution.at(images(2, 4, size=64), 16).images)
    assert (steps, seed) == (400, 3)


class Bright(Reader):
    """Names class 0 whatever it sees, or, at full sharpness, the corner's."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        sharp = (x.diff(dim=3).abs().mean((1, 2, 3)) > 0.3)[:, None]
        return torch.where(sharp, super().forward(x), super().forward(0 * x - 1))


def test_each_sort_of_picture_is_measured_by_both_judges_at_each_side(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stand-in letters are noise: at full sharpness all is named, below it class 0 alone."""
    sets = {"train": images(10, 30, seed=1, size=64), "test": images(10, 9, lying=3, size=64)}
    monkeypatch.setattr(ch09_resolution, "PER_CLASS", 10)
    monkeypatch.setattr(ch09_resolution, "glyphs", lambda split, letters, size: sets[split])
    generators: list[tuple[str, int, int]] = []

    def trained(letters: str, size: int, seed: int) -> Painter:
        generators.append((letters, size, seed))
        return Painter(10, size=size)

    shipped["judge_glyphs64"] = (Bright(10), {})
    blurred: list[tuple[int, int]] = []

    def blurred_judge(side: int, seed: int) -> Bright:
        blurred.append((side, seed))
        return Bright(10)

    monkeypatch.setattr(ch09_resolution, "trained", trained)
    monkeypatch.setattr(ch09_resolution, "blurred_judge", blurred_judge)
    ch09_resolution.resolution(2)
    assert generators == [(TEN, 64, 2), (TEN, 32, 2)]
    assert blurred == [(32, 2), (16, 2), (8, 2)]
    rows = {row["model"]: row for row in stored("resolution")}
    assert {name: row["n"] for name, row in rows.items()} == {
        "acgan_glyphs32 enlarged": 10, "acgan_glyphs64": 10, "real": 9, "real, training part": 10,
    }  # fmt: skip
    first = [10] + 9 * [0]
    for name, at_64 in (
        ("real", {"mean": 6 / 9, "right": 10 * [6]}),
        ("real, training part", {"mean": 1.0, "right": 10 * [10]}),
        ("acgan_glyphs64", {"mean": 1.0, "right": 10 * [10]}),
    ):
        sharp = rows[name]["sharp judge"]
        assert list(sharp) == ["64", "32", "16", "8"]
        assert sharp["64"]["right"] == at_64["right"]
        assert sharp["64"]["mean"] == pytest.approx(at_64["mean"])
        few = [9] + 9 * [0] if name == "real" else first
        assert sharp["8"]["right"] == few
        assert rows[name]["judge of that resolution"]["8"]["right"] == few
        assert list(rows[name]["judge of that resolution"]) == ["32", "16", "8"]
        assert set(rows[name]["frechet_judge_distance"]) == {"64", "32"}
    distances = rows["real"]["frechet_judge_distance"]
    assert distances["64"].value == pytest.approx(0, abs=1e-6)  # the test letters themselves
    assert distances["32"].value > distances["64"].value
