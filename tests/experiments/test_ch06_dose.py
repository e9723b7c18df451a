"""The doses of AC-GAN's class term: what differs between the trainings, what is measured."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, Reader, images

from acgan_lib import metrics
from acgan_lib.experiments import ch06_dose, stored

TRAIN, TEST = images(10, 20, seed=1), images(10, 6, lying=2, seed=2)


@pytest.fixture(autouse=True)
def little(results: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, Any]) -> None:
    """A little data, the judge that reads corners, few samples, and the CPU."""
    shipped["judge_fashion"] = (Reader(10), {})
    monkeypatch.setattr(
        ch06_dose, "fashion_mnist", lambda split, root: {"train": TRAIN, "test": TEST}[split]
    )
    monkeypatch.setattr(ch06_dose, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ch06_dose, "SAMPLES", 5)
    monkeypatch.setattr(metrics, "cas", lambda *_, **__: metrics.Estimate(0.5, 0.4, 0.6, 60))


def test_a_dose_weighs_gs_class_loss_and_nothing_else(monkeypatch) -> None:
    seen: list[Any] = []

    def fit(G: Any, D: Any, data: Any, objective: Any, *, steps: int, config: Any) -> Any:
        seen.append((objective.settings, {k: v.clone() for k, v in G.state_dict().items()}, config))
        seen[-1] += ({k: v.clone() for k, v in D.state_dict().items()}, data, steps)
        return type("Result", (), {"G_ema": G})

    monkeypatch.setattr(ch06_dose, "fit", fit)
    for dose in (0.0, 3.0):
        ch06_dose.trained(TRAIN, dose, 4, 7)
    (none, G_none, config, D_none, *_), (three, G_three, other, D_three, data, steps) = seen
    assert (none["g_class_weight"], three["g_class_weight"]) == (0.0, 3.0)
    assert {**none, "g_class_weight": 3.0} == three
    assert config == other
    assert (config.seed, config.batch_size, config.lr_g, config.lr_d) == (4, 25, 1e-3, 1e-3)
    assert data is TRAIN
    assert steps == 7
    for one, two in ((G_none, G_three), (D_none, D_three)):
        assert all(torch.equal(one[key], two[key]) for key in one)


def test_a_short_training_runs_and_records_nothing(results: Path, capsys) -> None:
    ch06_dose.dose_fashion(0, steps=2, doses=(0.3,))
    assert "g_class_weight=0.3, seed 0: judge_accuracy" in capsys.readouterr().out
    assert not (results / "fashion_dose.json").exists()


def test_what_is_recorded_is_not_trained_again(monkeypatch) -> None:
    asked = []

    def trained(data: Any, dose: float, seed: int, steps: int) -> Any:
        asked.append(dose)
        return Painter(10)

    monkeypatch.setattr(ch06_dose, "trained", trained)
    ch06_dose.dose_fashion(2, doses=(1.0,))
    ch06_dose.dose_fashion(2, doses=(0.0, 1.0))
    assert asked == [1.0, 0.0]
    assert [(r["g_class_weight"], r["seed"], r["steps"]) for r in stored("fashion_dose")] == [
        (0.0, 2, 4_500),
        (1.0, 2, 4_500),
    ]


def test_samples_are_judged_and_compared_with_the_test_images() -> None:
    found = ch06_dose.measure(Painter(10), 3, TEST)
    assert found["judge_accuracy"] == metrics.proportion(50, 50)
    assert ch06_dose.measure(Painter(10, off=1), 3, TEST)["judge_accuracy"].value == 0
    x, y = metrics.sample(Painter(10), 5, seed=3)
    assert found["frechet_judge_distance"] == metrics.frechet_judge_distance(
        Reader(10), x, TEST.normalised(), y_a=y, y_b=TEST.labels, resamples=10
    )
    assert len(found["ms_ssim_by_class"]) == len(found["undecided_by_class"]) == 10


def test_undecided_is_where_no_class_gets_seven_tenths() -> None:
    logits = torch.tensor([[0.72, 0.28], [0.69, 0.31], [0.5, 0.5], [0.1, 0.9]]).log()
    y = torch.tensor([0, 0, 1, 1])
    found = ch06_dose.undecided(torch.nn.Identity(), logits, y)
    assert found["undecided"] == metrics.proportion(2, 4)
    assert found["undecided_by_class"] == [0.5, 0.5]


def test_real_images_learn_from_training_images_and_are_judged_on_test_images(monkeypatch) -> None:
    calls = []
    monkeypatch.setattr(metrics, "cas", lambda *sets, **how: calls.append((sets, how)) or 0.9)
    ch06_dose.real_dose(1)
    [row] = stored("fashion_dose")
    assert (row["model"], row["seed"], row["cas"]) == ("real", 1, 0.9)
    assert row["judge_accuracy"].n == row["undecided"].n == len(TEST)
    [((x, _, x_test, y_test), how)] = calls
    assert len(x) == 50
    assert torch.equal(x_test, TEST.normalised())
    assert torch.equal(y_test, TEST.labels)
    assert (how["seed"], how["epochs"]) == (1, ch06_dose.CAS_EPOCHS)
