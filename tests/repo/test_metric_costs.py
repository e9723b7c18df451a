"""The curves of what the metrics cost, and the bars that they show while they work."""

from __future__ import annotations

import inspect
import re

import metric_costs
import torch
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.experiments import _results
from acgan_lib.metrics import Estimate
from acgan_lib.metrics.alarm import Alarm


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
    # of a handful of trainings
    "Difference", "difference", "holm", "prediction",
    # all figures in one
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
    monkeypatch.setattr(_results, "data_dir", lambda: tmp_path)
    metric_costs.measure(rounds=1, record=True)
    assert asked == [100, 1_000]  # 10,000 would take 50 s
    [curve] = _results.stored("metric_costs")["curves"]
    assert curve == {"metric": "slow", "n counts": "images", "seconds": {"100": 0.5, "1000": 5.0}}
    assert "slow" in capsys.readouterr().out
