"""What part III measured over several trainings.

``python -m acgan_lib.experiments.ch09_resolution NAME --seed S``.

NAME is ``resolution`` (chapter 9), or one of ``diversity``, ``healthy`` and
``starved`` (chapter 10). The glyph generators of seed 0 ship; those of another seed must be
trained first, by ``python -m acgan_lib.experiments.ch06_fashion acgan_glyphs32 --seed S`` and the
same for 64 px, which leave them in ``runs/``. Each command puts its rows into a file of
``data/results``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import metrics, objectives, zoo
from acgan_lib._files import data_dir
from acgan_lib.data import LabelledImages, fashion_mini
from acgan_lib.experiments.ch06_fashion import record, the_judge
from acgan_lib.experiments.ch09_glyphs import TEN, Size, model_name, networks
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.judge import Judge, train_judge
from acgan_lib.metrics import Estimate
from acgan_lib.metrics.alarm import Alarm, Look
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

RESOLUTION = data_dir() / "results" / "resolution.json"
DIVERSITY = data_dir() / "results" / "diversity.json"
ALARM = data_dir() / "results" / "alarm.json"
SIZES: tuple[Size, ...] = (32, 64)
SIDES = (64, 32, 16, 8)
PER_CLASS = 300
BLUR_STEPS = 400
STARVED = (5, 8)  # sandal and bag: classes that vary much, and so have much to lose
ALARM_STEPS, LOOK_EVERY, LOOK_FROM = 1_000, 100, 500
# The least of .15, .20, .25, ... at which the runs of seed 0 name no class that was not starved.
MARGIN = 0.40


def trained(size: Size, seed: int, letters: str = TEN) -> ConditionalGenerator:
    """Return a glyph generator: seed 0 as it ships, another as its training left it in ``runs/``.

    Raises:
        FileNotFoundError: that seed was not trained here.
    """
    name = model_name(letters, size)
    if seed == 0:
        G = zoo.load(name)
        assert isinstance(G, ConditionalGenerator)
        return G
    path = Path("runs") / f"{name}-{seed}" / "last.pt"
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} is missing: train it by "
            f"`python -m acgan_lib.experiments.ch06_fashion {name} --seed {seed}`"
        )
    G, _ = networks(len(letters), size)
    G.load_state_dict(torch.load(path, map_location="cpu", weights_only=True)["G_ema"])
    return G.eval().requires_grad_(False)


def enlarged(x: Tensor, side: int = 64) -> Tensor:
    """Return images (n, C, H, W) enlarged bilinearly to `side` pixels."""
    return F.interpolate(x, side, mode="bilinear", align_corners=False)


def resolution(seed: int) -> None:
    """Measure the 64 px model, the enlarged 32 px one and real letters at each resolution.

    The judge that ships learned from sharp letters. Beside it, for each lower resolution, one
    that learned from letters of that resolution, with `seed`. n is the number of images a class;
    ``right`` counts, class by class, those that the judge named as asked.
    """
    sharp = zoo.load("judge_glyphs64")
    assert isinstance(sharp, Judge)
    judges = {side: blurred_judge(side, seed) for side in SIDES[1:]}
    test, train = glyphs("test", TEN, 64), glyphs("train", TEN, 64).per_class(PER_CLASS, seed)
    x64, y = metrics.sample(trained(64, seed), PER_CLASS, seed=seed)
    x32, _ = metrics.sample(trained(32, seed), PER_CLASS, seed=seed)
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
            )._asdict()
            for side in (64, 32)
        }  # fmt: skip
        record(row, RESOLUTION)
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


def diversity(seed: int) -> None:
    """Measure each letter's MS-SSIM and accuracy, at 32 and at 64 px, for a training's `seed`."""
    for size in SIZES:
        judge = zoo.load(f"judge_glyphs{size}")
        x, y = metrics.sample(trained(size, seed), PER_CLASS, seed=seed)
        _record_classes(f"acgan_glyphs{size}", seed, judge, x, y)
        part = glyphs("train", TEN, size).per_class(PER_CLASS, seed)
        _record_classes(f"real_glyphs{size}", seed, judge, part.normalised(), part.labels)


def _record_classes(name: str, seed: int, judge: nn.Module, x: Tensor, y: Tensor) -> None:
    measured = {
        "ms_ssim": metrics.ms_ssim_diversity(x, y, seed=seed),
        "accuracy": metrics.judge_accuracy_by_class(judge, x, y),
    }
    row: dict[str, Any] = {"model": name, "seed": seed}
    for key, by_class in measured.items():
        row[key] = metrics.mean_of_classes(by_class)
        row[f"{key} by class"] = [e._asdict() for e in by_class]
        print(f"{name}, seed {seed}: {key} {row[key]}")
    record(row, DIVERSITY)


def watched(kind: str, seed: int, steps: int = ALARM_STEPS) -> None:
    """Train a small AC-GAN under the collapse alarm and record what the alarm saw.

    "healthy" trains on ``fashion_mini``. "starved" does too, but of the classes in STARVED it
    shows two photographs alone, each 500 times, so that class shares stay equal. The lower ends
    of the intervals are kept, so that the alarm's rule can be played again with another margin.
    """
    mini = fashion_mini("train")
    real = metrics.ms_ssim_diversity(mini.normalised(), mini.labels)
    alarm = metrics.CollapseAlarm(
        real, every=LOOK_EVERY, after=LOOK_FROM, margin=MARGIN, judge=the_judge()
    )
    seed_everything(seed)
    fit(
        Generator(width=16), Discriminator(width=16, class_head=10),
        starved(mini) if kind == "starved" else mini, objectives.acgan(),
        steps=steps, config=TrainConfig(seed=seed, batch_size=50, lr_g=1e-3, lr_d=1e-3),
        callbacks=[alarm],
    )  # fmt: skip
    row: dict[str, Any] = {
        "model": kind,
        "seed": seed,
        "steps": steps,
        "looks": [look.step for look in alarm.looks],
        "real": [e._asdict() for e in real],
        "low": [[round(e.low, 4) for e in look.ms_ssim] for look in alarm.looks],
        "ms_ssim": [[round(e.value, 3) for e in look.ms_ssim] for look in alarm.looks],
        "accuracy": [[round(e.value, 3) for e in look.accuracy] for look in alarm.looks],
    }
    found = replayed(row)
    row["alarms"] = [{"step": a.step, "label": a.label} for a in found]
    row["starved classes named"] = sum(a.label in STARVED for a in found)
    row["other classes named"] = sum(a.label not in STARVED for a in found)
    for each in found:
        print(f"{kind}, seed {seed}: {each}")
    record(row, ALARM)


def replayed(row: dict[str, Any], margin: float | None = None) -> list[Alarm]:
    """Return the alarms of a recorded run under another margin (MARGIN if none is given)."""
    alarm = metrics.CollapseAlarm(
        [Estimate(**e) for e in row["real"]],
        every=1, after=LOOK_FROM, margin=MARGIN if margin is None else margin,
    )  # fmt: skip
    for step, values, lows in zip(row["looks"], row["ms_ssim"], row["low"], strict=True):
        seen = [Estimate(v, low, 2 * v - low, 0) for v, low in zip(values, lows, strict=True)]
        alarm.consider(Look(step, seen, []))
    return alarm.alarms


def starved(data: LabelledImages, classes: Sequence[int] = STARVED, of: int = 2) -> LabelledImages:
    """Return the set with the first `of` images of some classes repeated in the others' place."""
    rows = torch.arange(len(data))
    for k in classes:
        own = torch.nonzero(data.labels == k).flatten()
        rows[own] = own[torch.arange(len(own)) % of]
    return data.subset(rows)


COMMANDS: dict[str, Callable[[int], None]] = {
    "resolution": resolution,
    "diversity": diversity,
    **{k: partial(watched, k) for k in ("healthy", "starved")},
}


def main() -> None:
    """Run one measurement from the command line, for one seed or more."""
    parser = argparse.ArgumentParser(
        prog="python -m acgan_lib.experiments.ch09_resolution", description=__doc__
    )
    parser.add_argument("name", choices=COMMANDS)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one or more")
    arguments = parser.parse_args()
    for seed in arguments.seed:
        COMMANDS[arguments.name](seed)


if __name__ == "__main__":
    main()
