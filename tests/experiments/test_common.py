"""What the experiments share: which images are measured, by which judge, and what ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from standins import Head, Painter, Reader, images

from acgan_lib import metrics, objectives
from acgan_lib.experiments import _common
from acgan_lib.judge import Judge, train_judge
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.train import TrainConfig


def test_head_accuracy_is_the_share_of_the_k_classes_whatever_a_logit_beyond_says() -> None:
    data = images(3, 20, lying=5)
    for logits in (3, 4):  # the "n+1" variant's last logit is the largest of all
        found = _common.head_accuracy(Head(logits, 3), data.normalised(), data.labels)
        assert (found.value, found.n) == (0.75, 60)
    wrong = _common.head_accuracy(Head(4, 3, off=2), data.normalised(), data.labels)
    assert wrong.value == 0.25


def test_samples_are_judged_as_asked_for_and_compared_with_the_test_images() -> None:
    judge, test = Reader(4), images(4, 12, lying=3, seed=1)
    x, y = metrics.sample(Painter(4), 10, seed=0)
    found = _common.measure(judge, x, y, test, pairs=7, resamples=5, by_class=True)
    assert list(found) == [
        "judge_accuracy", "ms_ssim", "frechet_judge_distance", "accuracy_by_class",
        "ms_ssim_by_class",
    ]  # fmt: skip
    assert found["judge_accuracy"] == metrics.judge_accuracy(judge, x, y)
    assert found["judge_accuracy"].value == 1
    similar = metrics.ms_ssim_diversity(x, y, pairs=7)
    assert found["ms_ssim"] == metrics.ms_ssim_mean(similar)
    assert found["ms_ssim_by_class"] == [round(e.value, 3) for e in similar]
    assert found["accuracy_by_class"] == [1.0] * 4
    distance = metrics.frechet_judge_distance(
        judge, x, test.normalised(), y_a=y, y_b=test.labels, resamples=5
    )
    assert found["frechet_judge_distance"] == distance
    other, y = metrics.sample(Painter(4, off=1), 10, seed=0)
    assert _common.measure(judge, other, y, test, pairs=7)["judge_accuracy"].value == 0


def test_real_images_are_judged_on_the_test_set_and_compared_as_the_training_part() -> None:
    judge, part, test = Reader(4), images(4, 10, seed=2), images(4, 12, lying=3, seed=1)
    found = _common.measure_real(judge, part, test, pairs=7, resamples=5, by_class=True)
    assert found["judge_accuracy"].value == 0.75, "the judge has learned the training part"
    assert found["judge_accuracy"].n == 48
    x, y = part.normalised(), part.labels
    assert found["ms_ssim"] == metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y, pairs=7))
    assert found["frechet_judge_distance"] == metrics.frechet_judge_distance(
        judge, x, test.normalised(), y_a=y, y_b=test.labels, resamples=5
    )
    assert "accuracy_by_class" not in found


def test_the_judge_is_the_shipped_one(shipped) -> None:
    shipped["judge_fashion"], shipped["judge_x"] = (Judge(), {}), (Judge(), {})
    assert _common.the_judge() is shipped["judge_fashion"][0]
    assert _common.the_judge("judge_x") is shipped["judge_x"][0]


def test_a_run_has_a_folder_where_it_goes_on_and_keeps_its_losses(results: Path) -> None:
    data, config = images(2, 10), TrainConfig(seed=3, batch_size=4, log_every=1, progress=False)
    found = []
    for _ in range(2):
        torch.manual_seed(0)
        G, D = Generator(num_classes=2, width=4), Discriminator(width=4, class_head=2)
        run = _common.train("tiny", G, D, data, objectives.acgan(), config, 2)
        found.append(run.G_ema.to_image.weight)
    assert torch.equal(*found)
    folder = _common.run_folder("tiny", 3)
    assert folder == Path("runs/tiny-3")
    assert (folder / "last.pt").is_file()
    lines = (folder / "history.csv").read_text().splitlines()
    assert [line.split(",")[0] for line in lines] == ["step", "1", "2"]


def test_only_the_recipes_steps_are_recorded(capsys: pytest.CaptureFixture[str]) -> None:
    assert _common.is_whole(300, 300)
    assert capsys.readouterr().out == ""
    assert not _common.is_whole(2, 300)
    assert "not the recipe's number of steps" in capsys.readouterr().out


def test_what_ships_says_how_it_was_trained(shipped) -> None:
    config = TrainConfig(seed=2, batch_size=50, lr_g=7e-4)
    _common.ship(
        "g", Generator(width=4), recipe={"objective": "acgan"}, config=config, data="these",
        steps=30, measured={"cas": 1.0}, half=True,
    )  # fmt: skip
    facts = shipped["g"][1]
    assert facts["recipe"] == {"objective": "acgan", **vars(config)}
    assert {k: facts[k] for k in ("data", "seed", "steps", "images_seen", "metrics", "half")} == {
        "data": "these", "seed": 2, "steps": 30, "images_seen": 1500, "metrics": {"cas": 1.0},
        "half": True,
    }  # fmt: skip
    json.dumps(facts["recipe"])
    _common.ship_judge("j", Judge(), train_judge, "those", 1, 10, {"accuracy": 0.9}, half=True)
    facts = shipped["j"][1]
    assert facts["recipe"].startswith("AdamW on the cross-entropy, batches of 128")
    assert "\n" not in facts["recipe"]
    assert (facts["images_seen"], facts["seed"], facts["half"]) == (1280, 1, True)
