"""Real images, damaged in five ways, under every score of the book.

A score is known by what it notices. Here the samples are real images, so whatever a score says
against them is the damage's doing. The outcome is in ``data/results/damage.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from scipy.ndimage import gaussian_filter
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.fashion import fashion_mini
from acgan_lib.judge import Judge
from acgan_lib.metrics import Estimate
from acgan_lib.runtime import pick_device

PER_CLASS = 200
CAS_EPOCHS = 12


class Sets(NamedTuple):
    """Three disjoint sets of real images, 200 of each class.

    Attributes:
        sample: in the generator's place.
        reference: its training data, which the scores compare with.
        held_out: data that neither has seen; the classifier of CAS is tested on them.
    """

    sample: LabelledImages
    reference: LabelledImages
    held_out: LabelledImages


def sets() -> Sets:
    """Return the three sets, from ``fashion_mini``."""
    train, test = fashion_mini("train"), fashion_mini("test")
    order = [torch.nonzero(train.labels == k).flatten() for k in range(train.num_classes)]
    sample, reference = (
        torch.cat([rows[start : start + PER_CLASS] for rows in order]) for start in (0, PER_CLASS)
    )
    held_out = test.per_class(PER_CLASS, seed=0)
    return Sets(train.subset(sample), train.subset(reference), held_out)


def blur(given: Sets, sigma: float) -> tuple[Tensor, Tensor]:
    """Blur every image by a Gaussian of `sigma` pixels."""
    x = gaussian_filter(given.sample.normalised().numpy(), (0, 0, sigma, sigma), mode="nearest")
    return torch.from_numpy(x), given.sample.labels


def repeat(given: Sets, distinct: float) -> tuple[Tensor, Tensor]:
    """Keep `distinct` images of each class and repeat them to the old number."""
    x, y = given.sample.normalised(), given.sample.labels
    row = torch.arange(len(x))
    first = row - row % PER_CLASS
    return x[first + row % PER_CLASS % int(distinct)], y


def lose(given: Sets, classes: float) -> tuple[Tensor, Tensor]:
    """Lose that many classes: who asks for class 0, 1, ... gets images of class 9, 8, ...."""
    x, y = given.sample.normalised(), given.sample.labels
    row = torch.arange(len(x))
    return x[torch.where(y < classes, len(x) - 1 - row, row)], y


def mislabel(given: Sets, share: float) -> tuple[Tensor, Tensor]:
    """Give that share of the images, by chance, the next class's name; the images stay."""
    x, y = given.sample.normalised(), given.sample.labels
    chance = torch.rand(len(y), generator=torch.Generator().manual_seed(0))
    return x, torch.where(chance < share, (y + 1) % given.sample.num_classes, y)


def copy(given: Sets, share: float) -> tuple[Tensor, Tensor]:
    """Put the training image of the same row in the place of that share of the images."""
    x, y = given.sample.normalised(), given.sample.labels
    chance = torch.rand(len(y), generator=torch.Generator().manual_seed(0))
    copied = (chance < share).view(-1, 1, 1, 1)
    return torch.where(copied, given.reference.normalised(), x), y


Damage = Callable[[Sets, float], tuple[Tensor, Tensor]]
# From slight to severe. Each damage's name goes into a caption with its level.
DAMAGES: dict[str, tuple[Damage, tuple[float, ...]]] = {
    "blur, pixels": (blur, (0.5, 1.0, 1.5, 2.0)),
    "distinct images": (repeat, (100, 50, 20, 1)),
    "lost classes": (lose, (1, 2, 3, 5)),
    "wrong names": (mislabel, (0.1, 0.2, 0.5, 1.0)),
    "copied share": (copy, (0.1, 0.2, 0.5, 1.0)),
}
LEVELS = [("none", 0.0), *((kind, v) for kind, (_, levels) in DAMAGES.items() for v in levels)]


def damaged(kind: str, level: float, given: Sets) -> tuple[Tensor, Tensor]:
    """Return images (2000, 1, 32, 32) and the classes asked for; kind "none" leaves them whole.

    Raises:
        ValueError: if there is no such kind.
    """
    if kind == "none":
        return given.sample.normalised(), given.sample.labels
    if kind not in DAMAGES:
        raise ValueError(f"kind must be 'none' or one of {', '.join(DAMAGES)}, not {kind!r}")
    return DAMAGES[kind][0](given, level)


def scores(judge: Judge, x: Tensor, y: Tensor, given: Sets) -> dict[str, Estimate]:
    """Return every score of (x, y), class after class in equal numbers, but CAS.

    "frechet within classes" is the mean over the classes, "copies" the share of images nearer to
    a training image than to a held-out one, in the judge's features.
    """
    features, real, new = (
        metrics.in_batches(judge, judge.features, images)
        for images in (x, given.reference.normalised(), given.held_out.normalised())
    )
    y_real = given.reference.labels
    by_class = metrics.frechet_by_class(features, y, real, y_real, resamples=20)
    return {
        "judge accuracy": metrics.judge_accuracy(judge, x, y),
        "classifier score": metrics.classifier_score(metrics.in_batches(judge, judge, x)),
        "frechet judge distance": metrics.frechet_estimate(features, real, y_b=y_real),
        "frechet within classes": metrics.mean_of_classes(by_class),
        **metrics.manifold(real, features)._asdict(),
        "MS-SSIM": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y, pairs=200)),
        "copies": metrics.memorisation(features, real, new),
    }


def row_of(kind: str, level: float, given: Sets) -> dict[str, Any]:
    """Return a row of the results: all scores of one damaged sample, CAS among them."""
    x, y = damaged(kind, level, given)
    row: dict[str, Any] = {"model": f"{kind} {level:g}", "seed": 0, "kind": kind, "level": level}
    row |= scores(the_judge(), x, y, given)
    row["CAS"] = metrics.cas(
        x, y, given.held_out.normalised(), given.held_out.labels,
        seed=0, epochs=CAS_EPOCHS, device=pick_device(),
    )  # fmt: skip
    return row


def in_order(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the recorded rows: undamaged first, then as in DAMAGES."""
    return sorted(rows, key=lambda row: LEVELS.index((row["kind"], row["level"])))


def verdict(score: str, found: Estimate, whole: Estimate) -> str:
    """Tell what a score says of the damage: "worse", "better", or "" where intervals overlap."""
    if found.low <= whole.high and whole.low <= found.high:
        return ""
    small_is_good = score.startswith("frechet") or score in ("MS-SSIM", "copies")
    return "worse" if (found.value > whole.value) == small_is_good else "better"


def damage() -> None:
    """Score real images after each damage, at four levels of each."""
    given = sets()
    for kind, level in LEVELS:
        row = row_of(kind, level, given)
        figures = (f"{k} {v.value:.3f}" for k, v in row.items() if isinstance(v, Estimate))
        print(row["model"], *figures, flush=True)
        record("damage", row)


RUNS = {"damage": damage}
