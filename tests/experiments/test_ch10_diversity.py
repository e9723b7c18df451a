"""Diversity of each class, and trainings under the alarm: which images they are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, Reader, images

from acgan_lib import metrics
from acgan_lib.experiments import ch10_diversity, stored
from acgan_lib.experiments.ch09_glyphs import TEN
from acgan_lib.fashion import fashion_mini
from acgan_lib.metrics import Estimate


def test_a_starved_class_shows_its_first_two_images_alone() -> None:
    mini = fashion_mini("train")
    starved = ch10_diversity.starved(mini, classes=(4,), of=2)
    assert torch.equal(starved.labels, mini.labels)
    kept = mini.labels != 4
    assert torch.equal(starved.images[kept], mini.images[kept])
    own, before = starved.images[~kept], mini.images[~kept]
    assert torch.equal(own[::2], before[:1].expand_as(own[::2]))
    assert torch.equal(own[1::2], before[1:2].expand_as(own[1::2]))


def test_diversity_is_that_of_the_seeds_model_and_of_training_letters_at_both_sizes(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[Any, ...]] = []

    def glyphs(split: str, letters: str, size: int) -> Any:
        asked.append((split, letters, size))
        return images(10, 8, lying=2, seed=size, size=size)

    def trained(letters: str, size: int, seed: int) -> Painter:
        asked.append((letters, size, seed))
        return Painter(10, size=size)

    for size in (32, 64):
        shipped[f"judge_glyphs{size}"] = (Reader(10), {})
    monkeypatch.setattr(ch10_diversity, "PER_CLASS", 8)
    monkeypatch.setattr(ch10_diversity, "glyphs", glyphs)
    monkeypatch.setattr(ch10_diversity, "trained", trained)
    ch10_diversity.diversity(3)
    assert asked == [(TEN, 32, 3), ("train", TEN, 32), (TEN, 64, 3), ("train", TEN, 64)]
    rows = {row["model"]: row for row in stored("diversity")}
    assert list(rows) == ["acgan_glyphs32", "acgan_glyphs64", "real_glyphs32", "real_glyphs64"]
    for size in (32, 64):
        x, y = metrics.sample(Painter(10, size=size), 8, seed=3)
        by_class = metrics.ms_ssim_diversity(x, y, seed=3)
        row = rows[f"acgan_glyphs{size}"]
        assert row["ms_ssim by class"] == by_class
        assert row["ms_ssim"] == metrics.mean_of_classes(by_class)
        assert row["accuracy"].value == 1
        assert [e.value for e in rows[f"real_glyphs{size}"]["accuracy by class"]] == 10 * [0.75]


def test_a_watched_training_records_what_the_alarm_saw(results, shipped, monkeypatch) -> None:
    mini = images(10, 20)
    shipped["judge_fashion"] = (Reader(10), {})
    monkeypatch.setattr(ch10_diversity, "fashion_mini", lambda split: mini)
    monkeypatch.setattr(ch10_diversity, "LOOK_EVERY", 2)
    monkeypatch.setattr(ch10_diversity, "LOOK_FROM", 0)
    monkeypatch.setattr(ch10_diversity, "MARGIN", -2.0)  # everything is too uniform
    ch10_diversity.watched("starved", seed=3, steps=1)
    assert not (results / "alarm.json").exists(), "a try is not recorded"
    monkeypatch.setattr(ch10_diversity, "ALARM_STEPS", 4)
    ch10_diversity.watched("starved", seed=3, steps=4)
    [row] = stored("alarm")
    assert (row["model"], row["seed"], row["looks"]) == ("starved", 3, [2, 4])
    assert [a["label"] for a in row["alarms"]] == list(range(10))
    assert {a["step"] for a in row["alarms"]} == {4}
    assert (row["starved classes named"], row["other classes named"]) == (2, 8)
    for name in ("low", "ms_ssim", "accuracy"):
        assert torch.tensor(row[name]).shape == (2, 10)
    assert row["real"] == metrics.ms_ssim_diversity(mini.normalised(), mini.labels)
    assert [a.label for a in ch10_diversity.replayed(row)] == list(range(10))
    assert ch10_diversity.replayed(row, margin=2.0) == []


@pytest.mark.parametrize("kind", ["healthy", "starved"])
def test_only_the_starved_training_sees_few_photographs(kind, results, monkeypatch) -> None:
    """The alarm compares both with all of the photographs, and asks the shipped judge."""
    seen: list[Any] = []
    monkeypatch.setattr(ch10_diversity, "fit", lambda G, D, data, *_, **how: seen.append(data))
    monkeypatch.setattr(metrics, "ms_ssim_diversity", lambda x, y: [Estimate(len(x), 0, 1, 3)] * 10)
    ch10_diversity.watched(kind, seed=0)
    [data] = seen
    distinct = [len(data.images[data.labels == k].flatten(1).unique(dim=0)) for k in range(10)]
    few = [k for k, count in enumerate(distinct) if count == 2]
    assert few == {"healthy": [], "starved": [5, 8]}[kind]
    [row] = stored("alarm")
    assert [e.value for e in row["real"]] == [10_000] * 10


def test_the_stored_rows_replay_to_the_alarms_they_record() -> None:
    for row in stored("alarm"):
        found = [{"step": a.step, "label": a.label} for a in ch10_diversity.replayed(row)]
        assert found == row["alarms"]
