"""Diversity of each class, and trainings under the alarm: which images they are measured on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, Reader, images
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.avatars import KINDS, avatars
from acgan_lib.experiments import ch10_diversity, stored
from acgan_lib.experiments.ch09_glyphs import TEN
from acgan_lib.fashion import fashion_mini
from acgan_lib.metrics import Estimate, truth


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


def test_the_vendi_score_counts_equal_groups_and_no_zeros() -> None:
    for groups in (1, 2, 7):
        rows = torch.eye(10)[:groups].repeat(6, 1) * torch.rand(6 * groups, 1).add(0.1)
        assert ch10_diversity.vendi(rows) == pytest.approx(groups)
    # Two unit rows with cosine c: eigenvalues (1 + c) / 2 and (1 - c) / 2 of K / 2.
    c = 0.6
    pair = torch.tensor([[1.0, 0.0], [c, 0.8]])
    entropy = -sum(p * torch.tensor(p).log() for p in ((1 + c) / 2, (1 - c) / 2))
    assert ch10_diversity.vendi(pair) == pytest.approx(float(entropy.exp()), abs=1e-6)


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_lost_green_hair_leaves_each_kinds_number_and_the_rest_as_they_are(share) -> None:
    data = avatars("train", 16)
    green = data.factor("hair") == ch10_diversity.GREEN
    for fold in range(ch10_diversity.FOLDS):
        whole, less = ch10_diversity.lost(data, fold, 0), ch10_diversity.lost(data, fold, share)
        assert len(less.unique()) == 2_000
        assert data.labels[less].bincount().tolist() == [200] * len(KINDS)
        assert torch.equal(whole, torch.nonzero(torch.arange(8000) % 800 // 200 == fold).flatten())
        changed = whole != less
        assert bool(green[whole[changed]].all())
        assert not bool(green[less[changed]].any())
        assert int(changed.sum()) == pytest.approx(share * int(green[whole].sum()), abs=5)


class Means(nn.Module):
    """A judge that sees the mean of each channel, `times` as large, and always says class 0."""

    def __init__(self, times: float) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor(times))

    def features(self, x: Tensor) -> Tensor:
        return x.mean((2, 3)) * self.weight.detach()

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.one_hot(torch.zeros(len(x), dtype=torch.int64), 10).float()


def test_each_score_of_lost_hair_is_of_the_faces_that_are_left(results, monkeypatch) -> None:
    train, test = avatars("train", 32).per_class(40, seed=0), avatars("test", 32).per_class(10, 0)
    judges = {"judge_avatars32": Means(1.0), "factors_avatars32": Means(3.0)}
    sets = {("train", 32): train, ("test", 32): test}
    monkeypatch.setattr(ch10_diversity, "avatars", lambda split, size: sets[split, size])
    monkeypatch.setattr(ch10_diversity, "the_judge", judges.get)
    monkeypatch.setattr(ch10_diversity, "read_factors", lambda judge, x: train.factors)
    monkeypatch.setattr(ch10_diversity, "SHARES", (0.0, 1.0))
    ch10_diversity.lost_hair()
    rows = stored("lost_hair")
    assert [(r["share"], r["seed"]) for r in rows] == [(s, f) for s in (0, 1) for f in range(4)]
    for row in rows:
        left = ch10_diversity.lost(train, row["seed"], row["share"])
        x, y, factors = train.normalised(left), train.labels[left], train.factors[left]
        cover = truth.coverage(factors[:, :3], (6, 4, 8), y, 10, simulations=1)
        assert row["combinations met"] == cover.met.value
        hair = truth.coverage(factors[:, 2:3], (8,), simulations=1)
        assert (row["hair KL"], row["hair chi2"]) == (hair.kl.value, hair.chi2.value)
        assert row["green"] == float((factors[:, 2] == ch10_diversity.GREEN).double().mean())
        assert (row["green"] == 0) == (row["share"] == 1)
        assert row["kind"].value == 0.1
        similar = metrics.ms_ssim_diversity(x, y, pairs=200)
        assert row["MS-SSIM"] == metrics.ms_ssim_mean(similar)
        for name, judge in zip(("kind", "factors"), judges.values(), strict=True):
            seen, other = judge.features(x), judge.features(test.normalised())
            assert row[f"Frechet, {name}"] == pytest.approx(metrics.frechet_distance(seen, other))
            assert row[f"Vendi, {name}"] == pytest.approx(ch10_diversity.vendi(seen))
            assert row[f"recall, {name}"] == metrics.manifold(other, seen).recall
