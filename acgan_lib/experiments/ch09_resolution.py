"""What a letter keeps of its class at lower resolutions, over several trainings.

The glyph generators of seed 0 ship; those of another seed must be trained first, by ``python -m
acgan_lib.experiments acgan_glyphs32 --seed S`` and the same for 64 px, which leave them in
``runs/``. The rows are in ``data/results/resolution.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch09_glyphs import PER_CLASS, TEN, trained
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.judge import Judge, train_judge
from acgan_lib.metrics import Estimate
from acgan_lib.runtime import pick_device

SIDES = (64, 32, 16, 8)
BLUR_STEPS = 400


def enlarged(x: Tensor, side: int = 64) -> Tensor:
    """Return images (n, C, H, W) enlarged bilinearly to `side` pixels."""
    return F.interpolate(x, side, mode="bilinear", align_corners=False)


def resolution(seed: int) -> None:
    """Measure the 64 px model, the enlarged 32 px one and real letters at each resolution.

    The judge that ships learned from sharp letters. Beside it, for each lower resolution, one
    that learned from letters of that resolution, with `seed`. n is the number of images a class;
    ``right`` counts, class by class, those that the judge named as asked.
    """
    sharp = the_judge("judge_glyphs64")
    judges = {side: blurred_judge(side, seed) for side in SIDES[1:]}
    test, train = glyphs("test", TEN, 64), glyphs("train", TEN, 64).per_class(PER_CLASS, seed)
    x64, y = metrics.sample(trained(TEN, 64, seed), PER_CLASS, seed=seed)
    x32, _ = metrics.sample(trained(TEN, 32, seed), PER_CLASS, seed=seed)
    pictures = {
        "acgan_glyphs64": (x64, y),
        "acgan_glyphs32 enlarged": (enlarged(x32), y),
        "real": (test.normalised(), test.labels),
        "real, training part": (train.normalised(), train.labels),
    }
    for name, (x, labels) in pictures.items():
        row: dict[str, Any] = {"model": name, "seed": seed, "n": int((labels == 0).sum())}
        row["sharp judge"] = {
            str(side): _summed(by_class)
            for side, by_class in metrics.judge_accuracy_at(sharp, x, labels, SIDES).items()
        }
        row["judge of that resolution"] = {
            str(side): _summed(
                metrics.judge_accuracy_by_class(judge, metrics.at_resolution(x, side), labels)
            )
            for side, judge in judges.items()
        }
        row["frechet_judge_distance"] = {
            str(side): metrics.frechet_judge_distance(
                sharp, metrics.at_resolution(x, side), test.normalised(), y_a=labels,
                y_b=test.labels, resamples=20,
            )
            for side in (64, 32)
        }  # fmt: skip
        record("resolution", row)
        for key in ("sharp judge", "judge of that resolution"):
            print(f"{name}, seed {seed}, {key}:", {s: a["mean"] for s, a in row[key].items()})


def _summed(by_class: Sequence[Estimate]) -> dict[str, Any]:
    """Return the mean accuracy of the classes, and how many images of each class were right."""
    mean = sum(e.value for e in by_class) / len(by_class)
    return {"mean": mean, "right": [round(e.value * e.n) for e in by_class]}


def blurred_judge(side: int, seed: int, steps: int = BLUR_STEPS) -> Judge:
    """Train a judge of all 26 letters at 64 px from which all detail below `side` px was taken."""
    return train_judge(
        at(glyphs("train", LETTERS, 64), side), steps=steps, seed=seed, device=pick_device()
    ).cpu()


def at(data: LabelledImages, side: int) -> LabelledImages:
    """Return an image set with `metrics.at_resolution` done to each image."""
    parts = [
        metrics.at_resolution(data.normalised(rows), side)
        for rows in torch.arange(len(data)).split(2_000)  # type: ignore[no-untyped-call]
    ]
    return metrics.as_labelled_images(torch.cat(parts), data.labels, data.num_classes)


RUNS = {"resolution": resolution}
