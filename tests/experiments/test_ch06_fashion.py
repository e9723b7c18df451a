"""The FashionMNIST recipes: networks, what is measured on which images, what ships."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Head, Painter, Reader, images

from acgan_lib import metrics, train
from acgan_lib.experiments import _common, ch06_fashion, stored
from acgan_lib.judge import Judge
from acgan_lib.metrics import Estimate

TRAIN, TEST = images(10, 20, seed=1), images(10, 6, lying=2, seed=2)
ACCURACY = 4 / 6  # the judge's, on the test images; on the training images it is 1


@pytest.fixture(autouse=True)
def little(results: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, Any]) -> None:
    """A little data, the judge that reads corners, and the CPU."""

    def fashion_mnist(split: str, root: str | None = None) -> Any:
        assert root == "there"
        return {"train": TRAIN, "test": TEST}[split]

    shipped["judge_fashion"] = (Reader(10), {})
    monkeypatch.setattr(ch06_fashion, "fashion_mnist", fashion_mnist)
    monkeypatch.setattr(ch06_fashion, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(_common, "pick_device", lambda: torch.device("cpu"))


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Draw 5 samples a class however many are asked for; give what was asked: (n, seed)."""
    asked: list[tuple[int, int]] = []

    def sample(G: Any, n_per_class: int, *, seed: int, **_: Any) -> Any:
        asked.append((n_per_class, seed))
        return metrics.sampling.sample(G, 5 if G.num_classes else 50, seed=seed)

    monkeypatch.setattr(metrics, "sample", sample)
    return asked


@pytest.fixture
def classified(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The arguments of each CAS, which is not trained."""
    calls: list[tuple[Any, ...]] = []

    def cas(*sets: torch.Tensor, seed: int, epochs: int, device: Any) -> Estimate:
        calls.append((*sets, seed, epochs))
        return Estimate(0.5, 0.4, 0.6, len(sets[3]))

    monkeypatch.setattr(metrics, "cas", cas)
    return calls


# -- networks ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "classes", "told", "named", "objective"),
    [
        ("dcgan", 0, 0, None, "gan"),
        ("cgan", 10, 10, None, "cgan"),
        ("acgan", 10, 0, 10, "acgan[real+fake]"),
    ],
)
def test_networks_of_each_model(model: str, classes, told, named, objective) -> None:
    G, D, loss = ch06_fashion.networks(model, 10)
    assert G.num_classes == classes
    assert D.label_input == told
    assert (D.class_head.out_features if D.class_head is not None else None) == named
    assert loss.name == objective
    # The comparison is of objectives: apart from the label's way in, the networks are the same.
    assert G.project.weight.shape == (2048, 100 + classes)
    assert D.trunk[1][0].weight.shape == (64, 32, 4, 4)


def test_networks_of_an_unknown_model() -> None:
    with pytest.raises(ValueError, match="model must be 'dcgan', 'cgan' or 'acgan', got 'wgan'"):
        ch06_fashion.networks("wgan", 10)


# -- what is measured --------------------------------------------------------------------------


def test_a_generator_is_judged_by_the_judge_and_compared_with_the_test_images(
    drawn, classified
) -> None:
    right = ch06_fashion.measure(Painter(10), 3, "there")
    assert right["judge_accuracy"] == metrics.proportion(50, 50)
    assert ch06_fashion.measure(Painter(10, off=1), 3, "there")["judge_accuracy"].value == 0
    assert drawn[:2] == [(1_000, 3), (6_000, 1_003)]
    x, y = metrics.sampling.sample(Painter(10), 5, seed=3)
    assert right["frechet_judge_distance"] == metrics.frechet_judge_distance(
        Reader(10), x, TEST.normalised(), y_a=y, y_b=TEST.labels
    )
    assert right["ms_ssim"] == metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y))
    x, y, x_test, y_test, seed, epochs = classified[0]
    own = metrics.sampling.sample(Painter(10), 5, seed=1_003)
    assert torch.equal(x, own[0])
    assert torch.equal(y, own[1])
    assert torch.equal(x_test, TEST.normalised())
    assert torch.equal(y_test, TEST.labels)
    assert (seed, epochs) == (3, 3)
    assert right["cas"] == Estimate(0.5, 0.4, 0.6, 60)
    assert "cas" not in ch06_fashion.measure(Painter(10), 3, "there", with_cas=False)


def test_a_generator_without_classes_has_its_distance_alone(drawn, classified) -> None:
    found = ch06_fashion.measure(Painter(0), 3, "there")
    assert list(found) == ["frechet_judge_distance"]
    assert drawn == [(10_000, 3)]
    assert classified == []


def test_real_images_are_the_ceiling_trained_on_the_training_set_and_judged_on_the_test_set(
    classified, monkeypatch
) -> None:
    asked = []

    def per_class(self: Any, n: int, seed: int) -> Any:
        asked.append((self, n, seed))
        return self

    monkeypatch.setattr(type(TRAIN), "per_class", per_class)
    ch06_fashion.real_fashion(0, "there")
    [row] = stored("fashion")
    assert (row["model"], row["seed"], row["steps"]) == ("real", 0, 0)
    assert row["judge_accuracy"].value == pytest.approx(ACCURACY)
    assert row["judge_accuracy"].n == len(TEST)
    x, y, x_test, y_test, *_ = classified[0]
    assert torch.equal(x, TRAIN.normalised())
    assert torch.equal(y, TRAIN.labels)
    assert torch.equal(x_test, TEST.normalised())
    assert torch.equal(y_test, TEST.labels)
    assert row["cas"].n == len(TEST)
    assert asked == [(TRAIN, 1_000, 0)]


def test_the_judge_is_tested_on_the_test_images(shipped, monkeypatch, capsys) -> None:
    seen = []

    def train_judge(data: Any, *, steps: int, seed: int, device: Any) -> Judge:
        seen.append((data, steps, seed))
        return Reader(10)

    train_judge.__doc__ = "Train.\n\nIn some\nway.\n"
    monkeypatch.setattr(ch06_fashion, "train_judge", train_judge)
    ch06_fashion.judge_fashion(4, "there", steps=7)
    assert seen == [(TRAIN, 7, 4)]
    facts = shipped["judge_fashion"][1]
    assert facts["metrics"]["test_accuracy"] == metrics.proportion(40, 60)
    assert facts["recipe"] == "In some way."
    assert "judge_fashion, seed 4: test_accuracy 0.667" in capsys.readouterr().out


# -- from end to end ---------------------------------------------------------------------------


@pytest.mark.parametrize(("model", "seed"), [("acgan", 0), ("dcgan", 1)])
def test_a_recipe_from_end_to_end(
    model: str, seed: int, drawn, classified, shipped, monkeypatch, capsys
) -> None:
    """A few steps on a little data: trained, measured and kept, seed 0 in the zoo."""
    run = Path("runs") / f"{model}_fashion-{seed}"
    ch06_fashion.gan_fashion(model, seed, "there", steps=1)
    assert list(shipped) == ["judge_fashion"], "a run to try it out replaces nothing that ships"
    (run / "last.pt").unlink()
    monkeypatch.setattr(ch06_fashion, "GAN_STEPS", 2)
    ch06_fashion.gan_fashion(model, seed, "there", steps=2)

    measures = {"frechet_judge_distance"}
    if model == "acgan":
        measures |= {"judge_accuracy", "ms_ssim", "cas"}
    [row] = stored("fashion")
    assert (row["model"], row["seed"], row["steps"]) == (model, seed, 2)
    assert all(isinstance(row[m], Estimate) for m in measures)
    out = capsys.readouterr().out
    assert all(f"{model}_fashion, seed {seed}: {m} " in out for m in measures)
    assert (run / "history.csv").is_file()
    assert (f"{model}_fashion" in shipped) == (seed == 0)  # the others are for the table
    if seed == 0:
        G, facts = shipped[f"{model}_fashion"]
        assert not G.training
        assert (facts["seed"], facts["steps"]) == (0, 2)
        assert facts["images_seen"] == 2 * facts["recipe"]["batch_size"]
        assert facts["metrics"] == {m: row[m] for m in measures}


def test_the_way_of_the_shipped_acgan_is_kept(shipped, monkeypatch) -> None:
    """Its G at two steps, without a change to the run; other seeds and models keep nothing."""
    monkeypatch.setattr(ch06_fashion, "ON_THE_WAY", {2: "early", 3: "middle"})
    monkeypatch.setattr(ch06_fashion, "measure", lambda G, seed, root, with_cas: {"cas": with_cas})
    config = train.TrainConfig(batch_size=10, progress=False)
    keep = partial(ch06_fashion.keep_on_the_way, config=config, data="these", root="there")
    weights = []
    for callbacks in ([], [keep]):
        torch.manual_seed(0)
        G, D, objective = ch06_fashion.networks("acgan", 10)
        run = train.fit(G, D, TEST, objective, steps=4, config=config, callbacks=callbacks)
        weights.append(run.G_ema.project.weight)
    assert torch.equal(*weights)
    assert list(shipped) == ["judge_fashion", "acgan_fashion_early", "acgan_fashion_middle"]
    for step, name in ((2, "early"), (3, "middle")):
        G, facts = shipped[f"acgan_fashion_{name}"]
        assert not G.training
        assert (facts["steps"], facts["images_seen"], facts["half"]) == (step, 10 * step, True)
        assert facts["recipe"]["taken"] == f"after {step} of the 4 steps of acgan_fashion's recipe"
        assert facts["metrics"] == {"cas": False}
    early, middle = (shipped[f"acgan_fashion_{n}"][0].project.weight for n in ("early", "middle"))
    assert not torch.equal(early, middle)


def test_variants_are_trained_alike_and_their_heads_measured_on_test_images_and_samples(
    drawn, monkeypatch
) -> None:
    """Three rows; of each, the class head apart from the judge: real (test) and generated."""
    heads = []

    def fit(G: Any, D: Any, *args: Any, **kwargs: Any) -> Any:
        heads.append(D.class_head.out_features)
        D.forward = Head(D.class_head.out_features, 10).forward
        return train.Result(G, D, Painter(10, off=1), train.History())

    monkeypatch.setattr(ch06_fashion, "fit", fit)
    monkeypatch.setattr(ch06_fashion, "fashion_mini", lambda split: TRAIN)
    ch06_fashion.variants_fashion(3, "there", steps=1)
    with pytest.raises(FileNotFoundError):  # a try
        stored("fashion_variants")
    monkeypatch.setattr(ch06_fashion, "VARIANT_STEPS", 1)
    ch06_fashion.variants_fashion(3, "there", steps=1)
    assert heads[:3] == [10, 10, 11]
    rows = {row["class_loss_on"]: row for row in stored("fashion_variants")}
    assert list(rows) == ["n+1", "real+fake", "real"]
    for row in rows.values():
        assert (row["seed"], row["steps"], "cas" in row) == (3, 1, False)
        assert row["head_accuracy_real"] == metrics.proportion(40, 60)
        assert row["head_accuracy_fake"] == row["judge_accuracy"] == metrics.proportion(0, 50)
