"""The split experiments of chapter 14.

Each row of ``data/results/splits.json`` is one generator of all classes, or of the first few; its
name is the setting's, a hyphen, and what follows here. The settings, each of them a command:

- ``glyphs`` (``splits_glyphs``): 26 letters, 1,820 steps of 25 images for all members of a row
  together. ``alphabetical-M`` for M = 1, 2, 5, 13 and 26 members; ``alike-5``, ``unlike-5`` and
  ``random-5``, other groupings; ``large-1``, one model with the weights of five members, and
  ``small-5``, five members with the weights of one model; ``steps-5`` and ``steps-13``, the paper's
  own design: one model of the first 5 or 13 letters with *all* the steps.
- ``glyphs-long`` (``splits_glyphs_long``): the same letters with four times the steps, 7,280;
  ``alphabetical-M`` for M = 1, 5, 13 and 26.
- ``fashion`` (``splits_fashion``): FashionMNIST, 1,000 steps of 25 images; ``alphabetical-M`` for
  M = 1, 2, 5 and 10.

So the rows of one setting all see the same number of images, whatever the number of members. Each
row has judge accuracy, MS-SSIM and Frechet judge distance of 200 samples a class, and the seconds
of the training. ``glyphs-real`` and ``fashion-real`` are real images under the same measures. Rows
that are there already are not made again.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch

from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import done, record
from acgan_lib.fashion import fashion_mnist
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.scale import splits
from acgan_lib.train import TrainConfig

PER_CLASS = 200  # images drawn of each class
MEASURE: dict[str, Any] = {"pairs": 100, "resamples": 20, "by_class": True}
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
    sizes = {2: weights_of(num_classes, 2)}
    while sizes[max(sizes)] < weights:
        sizes[max(sizes) + 2] = weights_of(num_classes, max(sizes) + 2)
    return min(sizes, key=lambda width: abs(sizes[width] - weights))


def settings(setting: Setting, seed: int) -> dict[str, tuple[splits.Groups, int]]:
    """Return each row's groups and width, by its name."""
    classes = setting.images("test").num_classes
    rows = {
        f"alphabetical-{m}": (splits.alphabetical(classes, m), splits.WIDTH)
        for m in setting.members
    }
    if setting.together:
        m = setting.together
        confusions = splits.judge_confusions(the_judge(setting.judge), setting.images("train"))
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


def train_and_measure(setting: Setting, seed: int) -> None:
    """Train generators of all classes by members of few, in one setting, and measure each.

    On one CPU thread, so that ``cpu_seconds`` is comparable. Rows that are there are not repeated.
    """
    torch.set_num_threads(1)
    train, test = setting.images("train"), setting.images("test")
    judge, real = the_judge(setting.judge), f"{setting.data}-real"
    if not done("splits", real, seed):
        part = train.per_class(PER_CLASS, seed)
        found = _common.measure_real(judge, part, test, **MEASURE)
        record("splits", {"model": real, "seed": seed, "classes": part.num_classes, **found})
    for name, (groups, width) in settings(setting, seed).items():
        model = f"{setting.name}-{name}"
        if done("splits", model, seed):
            continue
        classes = sum(map(len, groups))
        part = splits.of_group(train, range(classes))
        config = TrainConfig(batch_size=BATCH, lr_g=1e-3, lr_d=1e-3, seed=seed)
        began = time.process_time()
        G = splits.train_members(
            part, groups, total_steps=setting.steps, config=config, width=width,
            run_dir=_common.run_folder(f"splits-{model}", seed), progress=False,
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
        x, y = metrics.sample(G, PER_CLASS, seed=seed)
        # A generator of the first few classes is measured against the test images of those.
        row |= _common.measure(judge, x, y, splits.of_group(test, range(classes)), **MEASURE)
        record("splits", row)
        print(model, seed, row["cpu_seconds"], row["judge_accuracy"], flush=True)


RUNS: dict[str, Callable[..., None]] = {
    f"splits_{setting.name.replace('-', '_')}": partial(train_and_measure, setting)
    for setting in SETTINGS
}
