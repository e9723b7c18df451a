"""The split experiments of chapter 14: ``python -m acgan_lib.experiments.ch14_splits --seed S``.

Each row of ``data/results/splits.json`` is one generator of all classes, or of the first few; its
name is the setting's, a hyphen, and what follows here. ``--data`` chooses the setting:

- ``glyphs`` (the default): 26 letters, 1,820 steps of 25 images for all members of a row together.
  ``alphabetical-M`` for M = 1, 2, 5, 13 and 26 members; ``alike-5``, ``unlike-5`` and ``random-5``,
  other groupings; ``large-1``, one model with the weights of five members, and ``small-5``, five
  members with the weights of one model; ``steps-5`` and ``steps-13``, the paper's own design: one
  model of the first 5 or 13 letters with *all* the steps.
- ``glyphs-long``: the same letters with four times the steps, 7,280; ``alphabetical-M`` for M = 1,
  5, 13 and 26.
- ``fashion``: FashionMNIST, 1,000 steps of 25 images; ``alphabetical-M`` for M = 1, 2, 5 and 10.

So the rows of one setting all see the same number of images, whatever the number of members. Each
row has judge accuracy, MS-SSIM and Frechet judge distance of 200 samples a class, and the seconds
of the training. ``glyphs-real`` and ``fashion-real`` are real images under the same measures. Rows
that are there already are not made again.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acgan_lib import metrics, zoo
from acgan_lib.data import LabelledImages, fashion_mnist
from acgan_lib.experiments.ch06_fashion import RESULTS, record
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.scale import splits
from acgan_lib.train import TrainConfig

SPLIT_RESULTS = RESULTS.with_name("splits.json")
PER_CLASS = 200  # images drawn of each class
PAIRS = 100  # pairs of each class for MS-SSIM
BATCH = 25


@dataclass(frozen=True)
class Setting:
    """One data set with its judge and budget."""

    name: str  # of its rows
    data: str
    judge: str
    steps: int
    members: tuple[int, ...]  # of the curve
    together: int  # members where groupings are compared
    first: tuple[int, ...]  # the paper's design: numbers of classes, smallest first

    def images(self, split: Any) -> LabelledImages:
        """Return one split of the data."""
        return fashion_mnist(split) if self.data == "fashion" else glyphs(split, LETTERS)


SETTINGS = (
    Setting("glyphs", "glyphs", "judge_glyphs32", 1820, (1, 2, 5, 13, 26), 5, (5, 13)),
    Setting("glyphs-long", "glyphs", "judge_glyphs32", 7280, (1, 5, 13, 26), 0, ()),
    Setting("fashion", "fashion", "judge_fashion", 1000, (1, 2, 5, 10), 0, ()),
)


def weights_of(num_classes: int, width: int) -> int:
    """Return how many weights G and D have together."""
    networks = splits.pair(num_classes, width=width)
    return sum(p.numel() for network in networks for p in network.parameters())


def width_for(num_classes: int, weights: float) -> int:
    """Return the even width whose pair comes closest to that many weights."""
    return min(range(2, 100, 2), key=lambda w: abs(weights_of(num_classes, w) - weights))


def settings(setting: Setting, seed: int) -> dict[str, tuple[splits.Groups, int]]:
    """Return each row's groups and width, by its name."""
    classes = setting.images("test").num_classes
    rows = {
        f"alphabetical-{m}": (splits.alphabetical(classes, m), splits.WIDTH)
        for m in setting.members
    }
    if setting.together:
        m = setting.together
        confusions = splits.judge_confusions(zoo.load(setting.judge), setting.images("train"))
        share = classes // m
        whole = m * weights_of(share, splits.WIDTH)
        large = width_for(classes, whole)
        small = width_for(share, weights_of(classes, splits.WIDTH) / m)
        rows |= {
            "large-1": (splits.alphabetical(classes, 1), large),
            f"small-{m}": (splits.alphabetical(classes, m), small),
            f"alike-{m}": (splits.alike(confusions, m), splits.WIDTH),
            f"unlike-{m}": (splits.unlike(confusions, m), splits.WIDTH),
            f"random-{m}": (splits.at_random(classes, m, seed), splits.WIDTH),
        }
    for k in setting.first:
        rows[f"steps-{k}"] = (splits.alphabetical(k, 1), splits.WIDTH)
    return rows


def run(setting: Setting, seed: int, only: str = "") -> None:
    """Train and measure what is missing of one seed, of the rows whose name begins with `only`."""
    train, test = setting.images("train"), setting.images("test")
    for name, (groups, width) in settings(setting, seed).items():
        model = f"{setting.name}-{name}"
        if done(model, seed) or not name.startswith(only):
            continue
        classes = sum(map(len, groups))
        part = splits.of_group(train, range(classes))
        config = TrainConfig(batch_size=BATCH, lr_g=1e-3, lr_d=1e-3, seed=seed)
        began = time.process_time()
        G = splits.train_members(
            part, groups, total_steps=setting.steps, config=config, width=width,
            run_dir=Path("runs") / f"splits-{model}-{seed}", progress=False,
        )  # fmt: skip
        row: dict[str, Any] = {
            "model": model,
            "seed": seed,
            "members": len(groups),
            "classes": classes,
            "groups": ["".join(part.class_names[k][0] for k in group) for group in groups],
            "width": width,
            "weights": sum(weights_of(len(group), width) for group in groups),
            "steps": splits.member_steps(groups, setting.steps),
            "images": setting.steps * BATCH,
            "cpu_seconds": round(time.process_time() - began),
        }
        row |= measure(G, zoo.load(setting.judge), test, seed)
        record(row, SPLIT_RESULTS)
        print(model, seed, row["cpu_seconds"], row["judge_accuracy"], flush=True)


def measure(
    G: splits.SplitGenerator, judge: nn.Module, test: LabelledImages, seed: int
) -> dict[str, Any]:
    """Measure a generator of the first K classes, against the test images of those classes."""
    assert isinstance(judge, metrics.Judge)
    real = splits.of_group(test, range(G.num_classes))
    x, y = metrics.sample(G, PER_CLASS, seed=seed)
    accuracy = metrics.judge_accuracy_by_class(judge, x, y)
    similar = metrics.ms_ssim_diversity(x, y, pairs=PAIRS)
    distance = metrics.frechet_judge_distance(
        judge, x, real.normalised(), y_a=y, y_b=real.labels, resamples=20
    )
    return {
        "judge_accuracy": metrics.judge_accuracy(judge, x, y),
        "ms_ssim": metrics.ms_ssim_mean(similar),
        "frechet_judge_distance": distance,
        "accuracy_by_class": rounded(accuracy),
        "ms_ssim_by_class": rounded(similar),
    }


def rounded(estimates: list[metrics.Estimate]) -> list[float]:
    """Return the values to three digits, to keep the file small."""
    return [round(e.value, 3) for e in estimates]


def real_rows(setting: Setting, seed: int) -> None:
    """Put real training images through the same measures."""
    model = f"{setting.data}-real"
    if done(model, seed):
        return
    judge, test = zoo.load(setting.judge), setting.images("test")
    assert isinstance(judge, metrics.Judge)
    part = setting.images("train").per_class(PER_CLASS, seed)
    x, y = part.normalised(), part.labels
    similar = metrics.ms_ssim_diversity(x, y, pairs=PAIRS)
    row: dict[str, Any] = {"model": model, "seed": seed, "classes": part.num_classes}
    row["judge_accuracy"] = metrics.judge_accuracy(judge, test.normalised(), test.labels)
    row["ms_ssim"] = metrics.ms_ssim_mean(similar)
    row["frechet_judge_distance"] = metrics.frechet_judge_distance(
        judge, x, test.normalised(), y_a=y, y_b=test.labels, resamples=20
    )
    row["ms_ssim_by_class"] = rounded(similar)
    record(row, SPLIT_RESULTS)


def done(model: str, seed: int) -> bool:
    """Tell whether a row is there."""
    rows = json.loads(SPLIT_RESULTS.read_text()) if SPLIT_RESULTS.exists() else []
    return any((row["model"], row["seed"]) == (model, seed) for row in rows)


def main() -> None:
    """Run one seed from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m acgan_lib.experiments.ch14_splits", description=__doc__.split("\n")[0]
    )
    parser.add_argument("--seed", type=int, default=0)
    names = [setting.name for setting in SETTINGS]
    parser.add_argument("--data", choices=names, default=names[0], help="the data, and budget")
    parser.add_argument("--only", default="", help="the rows whose name begins so, as large")
    arguments = parser.parse_args()
    setting = SETTINGS[names.index(arguments.data)]
    torch.set_num_threads(1)
    real_rows(setting, arguments.seed)
    run(setting, arguments.seed, arguments.only)


if __name__ == "__main__":
    main()
