"""The recipes: which networks each model has, how results are kept, one run from end to end."""

from __future__ import annotations

import json
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from acgan_lib import metrics, train
from acgan_lib.data import LabelledImages, fashion_mini
from acgan_lib.experiments import ch06_fashion
from acgan_lib.judge import Judge
from acgan_lib.metrics import Estimate
from acgan_lib.nets import Discriminator, Generator

NAMES = [
    "judge_fashion",
    "dcgan_fashion",
    "cgan_fashion",
    "acgan_fashion",
    "infogan_fashion",
    "real_fashion",
    "variants_fashion",
]
RECIPES = ("judge_fashion", "gan_fashion", "infogan_fashion", "real_fashion", "variants_fashion")


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


def test_results_replace_the_row_of_the_same_model_and_seed(tmp_path: Path) -> None:
    path = tmp_path / "results" / "fashion.json"
    for model, seed, steps in [
        ("cgan", 1, 5), ("acgan", 0, 5), ("cgan", 0, 5), ("cgan", 1, 9),
    ]:  # fmt: skip
        estimate = Estimate(0.5, 0.4, 0.6, steps)
        ch06_fashion.record({"model": model, "seed": seed, "steps": steps, "cas": estimate}, path)
    rows = json.loads(path.read_text())
    assert [(r["model"], r["seed"], r["steps"]) for r in rows] == [
        ("acgan", 0, 5), ("cgan", 0, 5), ("cgan", 1, 9),
    ]  # fmt: skip
    assert rows[2]["cas"] == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    assert [p.name for p in path.parent.iterdir()] == ["fashion.json"]


def test_results_stay_whole_when_writing_fails(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "fashion.json"
    ch06_fashion.record({"model": "acgan", "seed": 0}, path)
    before = path.read_bytes()

    def fail(*_args: Any) -> None:
        raise OSError("disk full")

    monkeypatch.setattr(ch06_fashion.os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        ch06_fashion.record({"model": "acgan", "seed": 1}, path)
    assert path.read_bytes() == before


@pytest.fixture
def calls(monkeypatch) -> list[tuple[str, tuple[Any, ...], dict[str, Any]]]:
    """Put spies in the recipes' places."""
    made: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = []
    for name in RECIPES:
        monkeypatch.setattr(ch06_fashion, name, lambda *a, n=name, **k: made.append((n, a, k)))
    return made


@pytest.mark.parametrize("name", NAMES)
def test_command_line_runs_the_recipe_named(name: str, calls, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["recipes", name, "--seed", "2", "--root", "there"])
    ch06_fashion.main()
    ((function, arguments, _),) = calls
    if name in RECIPES:
        assert (function, arguments) == (name, (2, "there"))
    else:
        assert (function, arguments) == ("gan_fashion", (name.split("_")[0], 2, "there"))


def test_command_line_passes_fewer_steps_on(calls, monkeypatch) -> None:
    monkeypatch.setattr(sys, "argv", ["recipes", "cgan_fashion", "--steps", "7"])
    ch06_fashion.main()
    assert calls[0][1][:2] == ("cgan", 0)
    assert calls[0][2]["steps"] == 7


def test_command_line_refuses_other_names(monkeypatch, capsys) -> None:
    monkeypatch.setattr(sys, "argv", ["recipes", "biggan_fashion"])
    with pytest.raises(SystemExit):
        ch06_fashion.main()
    shown = capsys.readouterr().err
    assert all(name in shown for name in NAMES)


@pytest.mark.parametrize(("model", "seed"), [("acgan", 0), ("dcgan", 1)])
def test_a_recipe_from_end_to_end(
    model: str, seed: int, tmp_path: Path, monkeypatch, capsys
) -> None:
    """A few steps on a little data: trained, measured by the judge and kept, seed 0 in the zoo."""

    def little(split: str = "train", root: str | None = None) -> LabelledImages:
        assert root == "somewhere"
        return fashion_mini("test").per_class(20 if split == "train" else 5, seed=0)

    torch.manual_seed(0)
    judge, saved, rows, judged_by = Judge().eval(), [], [], []
    sample, accuracy = metrics.sample, metrics.judge_accuracy
    few = lambda G, n, **kw: sample(G, min(n, 30 if G.num_classes else 60), **kw)  # noqa: E731

    def judged(by: Any, *args: Any, **kwargs: Any) -> Any:
        judged_by.append(by)
        return accuracy(by, *args, **kwargs)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ch06_fashion, "fashion_mnist", little)
    monkeypatch.setattr(ch06_fashion.zoo, "load", lambda name: {"judge_fashion": judge}[name])
    monkeypatch.setattr(ch06_fashion.zoo, "save", lambda *a, **k: saved.append((a, k)))
    monkeypatch.setattr(ch06_fashion, "record", lambda row: rows.append(row))
    monkeypatch.setattr(ch06_fashion, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(metrics, "sample", few)
    monkeypatch.setattr(metrics, "judge_accuracy", judged)
    ch06_fashion.gan_fashion(model, seed, "somewhere", steps=1)
    assert (rows, saved) == ([], []), "a run to try it out replaces nothing that ships"
    (tmp_path / "runs" / f"{model}_fashion-{seed}" / "last.pt").unlink()
    monkeypatch.setattr(ch06_fashion, "GAN_STEPS", 2)
    ch06_fashion.gan_fashion(model, seed, "somewhere", steps=2)

    measures = {"frechet_judge_distance"}
    if model == "acgan":
        measures |= {"judge_accuracy", "ms_ssim", "cas"}
        assert judged_by[0] is judge, "the judge measures, and no discriminator"
    (row,) = rows
    assert (row["model"], row["seed"], row["steps"]) == (model, seed, 2)
    assert all(isinstance(row[m], Estimate) for m in measures)
    shown = capsys.readouterr().out
    assert all(f"{model}_fashion, seed {seed}: {m} " in shown for m in measures)
    assert (tmp_path / "runs" / f"{model}_fashion-{seed}" / "history.csv").is_file()
    assert len(saved) == (seed == 0)  # the first seed ships, the others are for the table
    for (name, G), fields in saved:
        assert name == f"{model}_fashion"
        assert not G.training
        assert (fields["seed"], fields["steps"]) == (0, 2)
        assert fields["images_seen"] == 2 * fields["recipe"]["batch_size"]
        assert measures <= fields["metrics"].keys()


def test_the_way_of_the_shipped_acgan_is_kept(monkeypatch) -> None:
    """Its G at two steps, without a change to the run; other seeds and models keep nothing."""
    data = fashion_mini("test").per_class(5, seed=0)
    saved: list[Any] = []
    monkeypatch.setattr(ch06_fashion, "ON_THE_WAY", {2: "early", 3: "middle"})
    monkeypatch.setattr(ch06_fashion, "measure", lambda G, seed, root, with_cas: {"cas": with_cas})
    monkeypatch.setattr(ch06_fashion.zoo, "save", lambda *a, **k: saved.append((a, k)))
    config = train.TrainConfig(batch_size=10, progress=False)
    keep = partial(ch06_fashion.keep_on_the_way, config=config, data="these", root=None)
    weights = []
    for callbacks in ([], [keep]):
        torch.manual_seed(0)
        G, D, objective = ch06_fashion.networks("acgan", 10)
        run = train.fit(G, D, data, objective, steps=4, config=config, callbacks=callbacks)
        weights.append(run.G_ema.project.weight)
    assert torch.equal(*weights)
    assert [a[0] for a, _ in saved] == ["acgan_fashion_early", "acgan_fashion_middle"]
    for step, ((_, G), fields) in zip((2, 3), saved, strict=True):
        assert not G.training
        assert (fields["steps"], fields["images_seen"], fields["half"]) == (step, 10 * step, True)
        assert fields["recipe"]["taken"] == f"after {step} of the 4 steps of acgan_fashion's recipe"
    assert not torch.equal(saved[0][0][1].project.weight, saved[1][0][1].project.weight)


def test_variants_are_trained_alike_and_recorded(monkeypatch) -> None:
    """Three rows, and the class head measured apart from the judge, on real and on generated."""
    small = fashion_mini("test").per_class(10, seed=0)
    rows, heads = [], []

    def fit(G: Any, D: Any, *args: Any, **kwargs: Any) -> Any:
        heads.append(D.class_head.out_features)
        return train.fit(G, D, *args, **kwargs)

    few = lambda G, n, **kw: metrics.sampling.sample(G, 4, **kw)  # noqa: E731
    monkeypatch.setattr(ch06_fashion, "fit", fit)
    monkeypatch.setattr(metrics, "sample", few)
    monkeypatch.setattr(ch06_fashion, "fashion_mini", lambda split: small)
    monkeypatch.setattr(ch06_fashion, "fashion_mnist", lambda split, root: small)
    monkeypatch.setattr(ch06_fashion, "measure", lambda G, seed, root, with_cas: {"cas": with_cas})
    monkeypatch.setattr(ch06_fashion, "record", lambda row, path: rows.append((row, path)))
    ch06_fashion.variants_fashion(3, None, steps=1)
    assert heads == [10, 10, 11]
    assert [row["class_loss_on"] for row, _ in rows] == ["real+fake", "real", "n+1"]
    assert {path for _, path in rows} == {ch06_fashion.VARIANT_RESULTS}
    for row, _ in rows:
        assert (row["seed"], row["steps"], row["cas"]) == (3, 1, False)
        assert (row["head_accuracy_real"].n, row["head_accuracy_fake"].n) == (100, 40)


def test_infogan_ships_g_and_d_of_seed_0_and_records_each_seed(tmp_path: Path, monkeypatch) -> None:
    little = lambda split, root: fashion_mini("test").per_class(5, seed=0)  # noqa: E731
    few = lambda G, n, **kw: metrics.sampling.sample(G, 6, **kw)  # noqa: E731
    saved, rows = {}, []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(ch06_fashion, "fashion_mnist", little)
    monkeypatch.setattr(ch06_fashion, "the_judge", lambda: Judge().eval())
    monkeypatch.setattr(metrics, "sample", few)
    monkeypatch.setattr(
        ch06_fashion.zoo, "save", lambda name, *a, **k: saved.update({name: (a, k)})
    )
    monkeypatch.setattr(ch06_fashion, "record", lambda row, path: rows.append((row, path)))
    ch06_fashion.infogan_fashion(0, None, steps=1)
    assert (rows, saved) == ([], {}), "a run to try it out replaces nothing that ships"
    monkeypatch.setattr(ch06_fashion, "INFOGAN_STEPS", 2)
    for seed in (1, 0):
        (tmp_path / "runs" / f"infogan_fashion-{seed}" / "last.pt").unlink(missing_ok=True)
        ch06_fashion.infogan_fashion(seed, None, steps=2)
        assert (len(saved) == 0) == (seed == 1)
    assert [(row["seed"], path) for row, path in rows] == [
        (1, ch06_fashion.INFOGAN_RESULTS), (0, ch06_fashion.INFOGAN_RESULTS),
    ]  # fmt: skip
    row = rows[-1][0]
    assert (row["real_match"].n, row["generated_match"].n) == (50, 60)
    assert 0 <= row["real_information"] <= 2.31
    (G,), _ = saved["infogan_fashion"]
    assert (G.latent_dim, G.num_classes) == (64, 10)
    for name, kind in (("infogan_fashion", Generator), ("infogan_fashion_d", Discriminator)):
        (model,), fields = saved[name]
        kind(**fields["kwargs"]).load_state_dict(model.state_dict())  # as zoo.load will build it
    assert not G.training
    assert fields["command"] == "make train-infogan_fashion"
