"""The split experiments: who trains on what, for how long, and on which images it is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, Reader, images

from acgan_lib import metrics
from acgan_lib.experiments import ch14_splits, stored
from acgan_lib.experiments.ch14_splits import Setting
from acgan_lib.scale import splits

TINY = Setting("tiny", "glyphs", "judge_glyphs32", 12, (1, 2), 2, (3,))
TRAIN, TEST = images(6, 9, seed=1), images(6, 8, lying=2, seed=2)
Calls = list[dict[str, Any]]

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def trained(results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> Calls:
    """Six classes and a judge of them; what each training was given, in place of the training."""
    shipped["judge_glyphs32"] = (Reader(6), {})
    sets = {"train": TRAIN, "test": TEST}
    monkeypatch.setattr(ch14_splits, "glyphs", lambda split, letters: sets[split])
    monkeypatch.setattr(ch14_splits, "PER_CLASS", 9)
    calls: Calls = []

    def train_members(data: Any, groups: splits.Groups, **how: Any) -> Painter:
        calls.append({"data": data, "groups": groups, **how})
        return Painter(data.num_classes)

    monkeypatch.setattr(splits, "train_members", train_members)
    return calls


def test_the_settings_are_those_of_the_chapter() -> None:
    stored_rows = {row["model"]: row for row in stored("splits")}
    for setting in ch14_splits.SETTINGS:
        for m in setting.members:
            row = stored_rows[f"{setting.name}-alphabetical-{m}"]
            assert (row["members"], row["images"]) == (m, 25 * setting.steps)
            assert sum(row["steps"]) == pytest.approx(setting.steps, abs=m)
    assert list(ch14_splits.RUNS) == ["splits_glyphs", "splits_glyphs_long", "splits_fashion"]


def test_every_row_of_a_setting_is_trained_and_recorded_once(trained: Calls) -> None:
    ch14_splits.train_and_measure(TINY, 3)
    names = [
        "alphabetical-1", "alphabetical-2", "large-1", "small-2", "alike-2", "unlike-2",
        "random-2", "steps-3",
    ]  # fmt: skip
    rows = {row["model"]: row for row in stored("splits")}
    assert set(rows) == {"glyphs-real", *(f"tiny-{name}" for name in names)}
    assert [str(call["run_dir"]) for call in trained] == [
        f"runs/splits-tiny-{name}-3" for name in names
    ]
    by_name = dict(zip(names, trained, strict=True))
    assert by_name["alphabetical-2"]["groups"] == [[0, 1, 2], [3, 4, 5]]
    assert by_name["random-2"]["groups"] == splits.at_random(6, 2, seed=3)
    for name, call in by_name.items():
        assert call["total_steps"] == 12, "the rows of a setting see the same number of images"
        config = call["config"]
        assert (config.seed, config.batch_size, config.lr_g, config.lr_d) == (3, 25, 1e-3, 1e-3)
        classes = 3 if name == "steps-3" else 6
        first = TRAIN.labels < classes
        assert torch.equal(call["data"].images, TRAIN.images[first])
        assert rows[f"tiny-{name}"]["classes"] == classes
        assert rows[f"tiny-{name}"]["images"] == 12 * 25
    assert rows["tiny-alphabetical-2"]["steps"] == [6, 6]
    assert rows["tiny-steps-3"]["steps"] == [12], "one model of a few classes, with all the steps"
    assert rows["tiny-alphabetical-2"]["groups"] == ["ABC", "DEF"]
    ch14_splits.train_and_measure(TINY, 3)
    assert len(trained) == len(names), "what is recorded is not trained again"
    ch14_splits.train_and_measure(TINY, 4)
    assert {call["config"].seed for call in trained[len(names) :]} == {4}


def test_samples_are_compared_with_the_test_images_of_their_classes(trained: Calls) -> None:
    ch14_splits.train_and_measure(TINY, 0)
    rows = {row["model"]: row for row in stored("splits")}
    for name, classes in (("alphabetical-2", 6), ("steps-3", 3)):
        row = rows[f"tiny-{name}"]
        x, y = metrics.sample(Painter(classes), 9, seed=0)
        of = TEST.labels < classes
        assert row["judge_accuracy"] == metrics.proportion(9 * classes, 9 * classes)
        assert row["frechet_judge_distance"] == metrics.frechet_judge_distance(
            Reader(6), x, TEST.normalised()[of], y_a=y, y_b=TEST.labels[of], resamples=20
        )
        similar = metrics.ms_ssim_diversity(x, y, pairs=100)
        assert row["ms_ssim"] == metrics.ms_ssim_mean(similar)
        assert row["ms_ssim_by_class"] == [round(e.value, 3) for e in similar]
        assert row["accuracy_by_class"] == [1.0] * classes
    real = rows["glyphs-real"]
    assert real["judge_accuracy"] == metrics.proportion(36, 48), "judged on the test images"
    part = TRAIN.per_class(9, 0)
    assert real["frechet_judge_distance"] == metrics.frechet_judge_distance(
        Reader(6), part.normalised(), TEST.normalised(), y_a=part.labels, y_b=TEST.labels,
        resamples=20,
    )  # fmt: skip


def test_groups_of_alike_classes_come_from_the_judges_view_of_the_training_images(
    trained: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def judge_confusions(judge: Any, data: Any) -> torch.Tensor:
        seen.append((judge, data))
        near = torch.full((6, 6), 0.01)
        for a, b, c in ((0, 2, 4), (1, 3, 5)):
            for i, j in ((a, b), (b, c), (a, c)):
                near[i, j] = near[j, i] = 0.4
        return near

    monkeypatch.setattr(splits, "judge_confusions", judge_confusions)
    rows = ch14_splits.settings(TINY, 0)
    [(judge, data)] = seen
    assert isinstance(judge, Reader)
    assert data is TRAIN
    assert sorted(rows["alike-2"][0]) == [[0, 2, 4], [1, 3, 5]]
    for group in rows["unlike-2"][0]:
        assert {k % 2 for k in group} == {0, 1}


def test_widths_make_one_large_model_of_as_many_weights_as_the_members_and_the_reverse(
    trained: Calls,
) -> None:
    rows = ch14_splits.settings(TINY, 0)
    members = 2 * ch14_splits.weights_of(3, splits.WIDTH)
    (_, large), (groups, small) = rows["large-1"], rows["small-2"]
    assert large > splits.WIDTH > small
    assert ch14_splits.weights_of(6, large) == pytest.approx(members, rel=0.15)
    together = sum(ch14_splits.weights_of(len(group), small) for group in groups)
    assert together == pytest.approx(ch14_splits.weights_of(6, splits.WIDTH), rel=0.2)
    exact = sum(p.numel() for network in splits.pair(6, width=6) for p in network.parameters())
    assert ch14_splits.weights_of(6, 6) == exact
    assert ch14_splits.width_for(6, exact) == 6


def test_each_setting_has_its_own_data(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ch14_splits, "glyphs", lambda split, letters: (split, len(letters)))
    monkeypatch.setattr(ch14_splits, "fashion_mnist", lambda split: (split, "clothes"))
    found = {s.name: s.images("test") for s in ch14_splits.SETTINGS}
    assert found == {
        "glyphs": ("test", 26), "glyphs-long": ("test", 26), "fashion": ("test", "clothes"),
    }  # fmt: skip
    assert {s.name: s.judge for s in ch14_splits.SETTINGS} == {
        "glyphs": "judge_glyphs32", "glyphs-long": "judge_glyphs32", "fashion": "judge_fashion",
    }  # fmt: skip
