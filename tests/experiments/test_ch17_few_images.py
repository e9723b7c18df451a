"""What helps with few images: what each variant changes, and what is measured on the way."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standins import Head, Painter, Reader, images
from torch import Tensor, nn

from acgan_lib import metrics, objectives
from acgan_lib.callbacks import SampleGrid
from acgan_lib.experiments import arrays, ch06_fashion, ch17_few_images, stored
from acgan_lib.nets import DiscriminatorOutput
from acgan_lib.train import History, Progress, Result, TrainConfig

TRAIN, TEST = images(10, 40, seed=1), images(10, 40, lying=10, seed=2)


@pytest.fixture(autouse=True)
def little(results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A little data and the judge that reads corners."""
    shipped["judge_fashion"] = (Reader(10), {})
    sets = {"train": TRAIN, "test": TEST}
    for module in (ch17_few_images, ch06_fashion):
        monkeypatch.setattr(module, "fashion_mnist", lambda split, root=None: sets[split])
        monkeypatch.setattr(module, "fashion_mini", lambda split: sets[split])
        monkeypatch.setattr(module, "pick_device", lambda: torch.device("cpu"))


def test_a_variant_changes_what_its_name_says_and_nothing_else() -> None:
    plain, config = objectives.acgan(), TrainConfig(lr_g=7e-4, lr_d=7e-4)
    made = {n: (v.change(plain), v.settings(config)) for n, v in ch17_few_images.VARIANTS.items()}
    assert {n: objective.name for n, (objective, _) in made.items()} == {
        "plain": "acgan[real+fake]",
        "diff_augment": ch17_few_images.diff_augment(plain).name,
        "r1": ch17_few_images.r1(plain, ch17_few_images.GAMMA).name,
        "diff_augment+r1": ch17_few_images.r1(ch17_few_images.diff_augment(plain), 1.0).name,
        "two_time_scales": "acgan[real+fake]",
        "plain, 1,000 a class": "acgan[real+fake]",
    }
    assert len({objective.name for objective, _ in made.values()}) == 4
    changed = {n for n, (_, settings) in made.items() if settings != config}
    assert changed == {"two_time_scales"}
    images_of = {n: v.per_class for n, v in ch17_few_images.VARIANTS.items()}
    assert images_of.pop("plain, 1,000 a class") == 1_000
    assert set(images_of.values()) == {30}


class Dim(Painter):
    """Draws everything at half the contrast: the running average, that one can tell it apart."""

    def draw(self, code: Tensor) -> Tensor:
        """Return images in [-0.5, 0.5]."""
        return super().draw(code) / 2


class Norm(nn.Module):
    """A D whose source logit is the brightness, seen through a BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(1)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Return 3 times the brightness; the norm only watches."""
        self.norm(x.mean((1, 2, 3))[:, None])
        return DiscriminatorOutput(3 * x.mean((1, 2, 3)), None)


def test_on_the_way_d_is_asked_of_training_test_and_generated_images_and_left_as_it_was() -> None:
    train, test = images(10, 30, seed=3), images(10, 50, seed=4)
    D = Norm().train()
    before = {k: v.clone() for k, v in D.state_dict().items()}
    look = ch17_few_images.Look(D, train, test)
    G, G_ema = Painter(10), Dim(10)
    for step in (100, 250, 500, 600):
        look(Progress(step, 600, G, D, G_ema, History()))
    assert [row["step"] for row in look.rows] == [250, 500, 600]
    x, _ = metrics.sample(G, 30, seed=7)
    wanted = {
        "train": train.per_class(30, 1).normalised(), "test": test.per_class(30, 1).normalised(),
        "fake": x,
    }  # fmt: skip
    for name, part in wanted.items():
        assert look.rows[0][f"logit_{name}"] == pytest.approx(3 * float(part.mean()), abs=6e-4)
    judge = Reader(10)
    drawn, _ = metrics.sample(G_ema, 200, seed=11)
    distance = metrics.frechet_distance(judge.features(drawn), judge.features(test.normalised()))
    assert look.rows[0]["distance"] == pytest.approx(distance, abs=6e-4)
    assert D.training
    assert all(torch.equal(v, before[k]) for k, v in D.state_dict().items())


def test_each_variant_trains_on_its_images_and_both_generators_are_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fitted: list[Any] = []

    def fit(G: Any, D: Any, data: Any, objective: Any, *, steps: int, config: Any, callbacks: Any):
        fitted.append((data, objective.name, steps, config, D.class_head.out_features))
        D.forward = Head(10, 10).forward
        return Result(Painter(10, off=1), D, Painter(10), History())

    few = lambda G, n, seed: metrics.sampling.sample(G, 5, seed=seed)  # noqa: E731
    monkeypatch.setattr(metrics, "sample", few)
    monkeypatch.setattr(ch17_few_images, "fit", fit)
    row, grid = ch17_few_images.train_one("two_time_scales", 4, steps=9)
    [(data, name, steps, config, logits)] = fitted
    assert torch.equal(data.images, TRAIN.per_class(30, 4).images)
    assert (name, steps, config.seed, logits) == ("acgan[real+fake]", 9, 4, 10)
    assert (row["images"], row["lr_g"], row["lr_d"]) == (300, config.lr_g, config.lr_d)
    assert config.lr_g != config.lr_d
    assert row["judge_accuracy"] == metrics.proportion(50, 50), "the averaged generator's"
    assert row["judge_accuracy_raw"] == metrics.proportion(0, 50), "the last one's"
    assert row["head_accuracy_test"] == metrics.proportion(300, 400)
    x, y = metrics.sampling.sample(Painter(10), 5, seed=4)
    assert row["frechet_judge_distance"] == metrics.frechet_judge_distance(
        Reader(10), x, TEST.normalised(), y_a=y, y_b=TEST.labels
    )
    assert "cas" not in row
    assert isinstance(grid, SampleGrid)


def test_a_variant_that_is_recorded_is_not_trained_again(monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[tuple[str, int, int]] = []

    class Frames:
        frames = ((250, torch.zeros(10, 1, 32, 32, dtype=torch.uint8)),
                  (500, torch.ones(10, 1, 32, 32, dtype=torch.uint8)))  # fmt: skip

    def train_one(name: str, seed: int, steps: int) -> Any:
        trained.append((name, seed, steps))
        return {"model": name, "seed": seed, "way": []}, Frames()

    monkeypatch.setattr(ch17_few_images, "train_one", train_one)
    ch17_few_images.few_images(0, steps=2)
    assert len(trained) == 6
    with pytest.raises(FileNotFoundError):
        stored("few_images")
    for seed in (0, 1, 0):
        ch17_few_images.few_images(seed)
    assert trained[6:] == [(name, seed, 1_500) for seed in (0, 1) for name in VARIANTS]
    assert len(stored("few_images")) == 12
    kept = arrays("few_images")
    assert set(kept) == {*VARIANTS, "steps"}
    assert np.array_equal(kept["steps"], [250, 500])
    assert kept["r1"].shape == (2, 10, 32, 32)
    assert kept["r1"].dtype == np.uint8
    assert kept["r1"][1].min() == 1


VARIANTS = list(ch17_few_images.VARIANTS)
