"""What part III records over several trainings, and the curves of what its metrics cost."""

from __future__ import annotations

import inspect
import json
import re

import metric_costs
import pytest
import torch
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.data import fashion_mini
from acgan_lib.experiments import ch09_resolution
from acgan_lib.glyphs import glyphs
from acgan_lib.metrics import Estimate
from acgan_lib.metrics.alarm import Alarm


def test_a_starved_class_shows_its_first_two_images_alone() -> None:
    mini = fashion_mini("train")
    starved = ch09_resolution.starved(mini, classes=(4,), of=2)
    assert torch.equal(starved.labels, mini.labels)
    kept = mini.labels != 4
    assert torch.equal(starved.images[kept], mini.images[kept])
    own, before = starved.images[~kept], mini.images[~kept]
    assert torch.equal(own[::2], before[:1].expand_as(own[::2]))
    assert torch.equal(own[1::2], before[1:2].expand_as(own[1::2]))


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


def test_a_seed_that_was_not_trained_is_asked_for_by_its_command(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert ch09_resolution.trained(32, 0).image_size == 32
    with pytest.raises(FileNotFoundError, match="recipes acgan_glyphs64 --seed 7"):
        ch09_resolution.trained(64, 7)
    G, _ = ch09_resolution.networks(10, 32)
    (tmp_path / "runs" / "acgan_glyphs32-7").mkdir(parents=True)
    torch.save({"G_ema": G.state_dict()}, tmp_path / "runs" / "acgan_glyphs32-7" / "last.pt")
    found = ch09_resolution.trained(32, 7)
    z, y = torch.randn(2, 100), torch.tensor([1, 2])
    assert torch.equal(found(z, y), G.eval()(z, y))
    assert not found.training


def test_a_watched_training_records_what_the_alarm_saw(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(ch09_resolution, "ALARM", tmp_path / "alarm.json")
    monkeypatch.setattr(ch09_resolution, "LOOK_EVERY", 2)
    monkeypatch.setattr(ch09_resolution, "LOOK_FROM", 0)
    monkeypatch.setattr(ch09_resolution, "MARGIN", -2.0)  # everything is too uniform
    ch09_resolution.watched("starved", seed=3, steps=4)
    [row] = json.loads((tmp_path / "alarm.json").read_text())
    assert (row["model"], row["seed"], row["looks"]) == ("starved", 3, [2, 4])
    assert [a["label"] for a in row["alarms"]] == list(range(10))
    assert {a["step"] for a in row["alarms"]} == {4}
    assert (row["starved classes named"], row["other classes named"]) == (2, 8)
    for name in ("low", "ms_ssim", "accuracy"):
        assert torch.tensor(row[name]).shape == (2, 10)
    assert len(row["real"]) == 10
    assert [a.label for a in ch09_resolution.replayed(row)] == list(range(10))
    assert ch09_resolution.replayed(row, margin=2.0) == []


class Grey(nn.Module):
    """Names class 0 for a dark image and class 1 for a light one."""

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean((1, 2, 3))
        return torch.stack([-mean, mean], 1)


def test_bars_are_shown_only_where_they_are_asked_for(capsys) -> None:
    x = torch.cat([-torch.ones(4, 1, 32, 32), torch.ones(4, 1, 32, 32)])
    y = torch.arange(2).repeat_interleave(4)
    calls = {
        "judge accuracy": lambda **on: metrics.judge_accuracy(Grey(), x, y, **on),
        "judge accuracy ": lambda **on: metrics.judge_accuracy_by_class(Grey(), x, y, **on),
        "16 px": lambda **on: metrics.judge_accuracy_at(Grey(), x, y, [32, 16], **on),
        "MS-SSIM": lambda **on: metrics.ms_ssim_diversity(x, y, pairs=4, **on),
    }
    for name, call in calls.items():
        quiet = call()
        assert capsys.readouterr().err == ""
        assert call(progress=True) == quiet
        assert name.strip() in capsys.readouterr().err


def test_an_alarm_says_class_step_and_both_figures() -> None:
    text = str(Alarm(400, 3, Estimate(0.931, 0.9, 0.96, 50), Estimate(0.6, 0.5, 0.7, 50)))
    assert text == "step 400: class 3 is collapsing, MS-SSIM 0.93 [0.90, 0.96], real 0.60"


HELPERS = {
    # not measurements, or parts of one that has its curve
    "Estimate", "Judge", "Manifold", "Neighbours", "SwapShares", "as_labelled_images",
    "at_resolution", "checked_images", "in_batches", "mean_of_classes", "ms_ssim_mean",
    "over_seeds", "proportion", "sample", "shuffled", "train_judge",
    "Report", "report",
    # beside the formulas they need Inception's features, which have a curve
    "Inception", "fid", "inception_score", "load_inception",
}  # fmt: skip


def test_every_metric_has_a_cost_curve_that_runs() -> None:
    curves = {curve.metric for curve in metric_costs.CURVES}
    metric = {name for name in metrics.__all__ if callable(getattr(metrics, name))}
    assert metric - HELPERS - curves == set()
    for curve in metric_costs.CURVES:
        if "Inception" not in curve.metric:  # 24 million weights
            curve.make(100)()
        assert re.search(r"image|pair|row|value", curve.n_counts)
        assert inspect.isroutine(curve.make) or callable(curve.make)


def test_a_slow_metric_is_not_measured_where_it_would_take_too_long(
    tmp_path, monkeypatch, capsys
) -> None:
    asked: list[int] = []

    def make(n: int) -> metric_costs.Step:
        asked.append(n)
        return lambda: None

    monkeypatch.setattr(metric_costs, "CURVES", [metric_costs.Curve("slow", "images", make)])
    monkeypatch.setattr(metric_costs, "seconds", lambda step, rounds: 0.5 * asked[-1] / 100)
    monkeypatch.setattr(metric_costs, "RESULTS", tmp_path / "costs.json")
    metric_costs.measure(rounds=1, record=True)
    assert asked == [100, 1_000]  # 10,000 would take 50 s
    [curve] = json.loads((tmp_path / "costs.json").read_text())["curves"]
    assert curve == {"metric": "slow", "n counts": "images", "seconds": {"100": 0.5, "1000": 5.0}}
    assert "slow" in capsys.readouterr().out
