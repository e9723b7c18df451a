"""Diversity of each class over several trainings, trainings under the alarm, and a planted loss.

`diversity` measures the glyph generators of seed 0, which ship, and those of another seed that
`acgan_lib.experiments.ch09_glyphs` left in ``runs/``. `lost_hair` needs no training: it takes green
hair out of real avatars, whose true distribution is known, and asks which score notices. The rows
are in ``data/results/diversity.json``, ``alarm.json`` and ``lost_hair.json``.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import metrics, objectives
from acgan_lib.avatars import KINDS, LEVELS, PALETTES, Avatars, avatars
from acgan_lib.data import LabelledImages
from acgan_lib.experiments._common import is_whole, the_judge
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch09_glyphs import PER_CLASS, TEN, Size, trained
from acgan_lib.experiments.ch10_avatars import read_factors
from acgan_lib.fashion import fashion_mini
from acgan_lib.glyphs import glyphs
from acgan_lib.metrics import Estimate, truth
from acgan_lib.metrics.alarm import Alarm, Look
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.runtime import seed_everything
from acgan_lib.train import TrainConfig, fit

SIZES: tuple[Size, ...] = (32, 64)
STARVED = (5, 8)  # sandal and bag: classes that vary much, and so have much to lose
ALARM_STEPS, LOOK_EVERY, LOOK_FROM = 1_000, 100, 500
# The least of .15, .20, .25, ... at which the runs of seed 0 name no class that was not starved.
MARGIN = 0.40
FOLDS, SHARES = 4, (0.0, 0.25, 0.5, 0.75, 1.0)
GREEN = list(PALETTES["hair"]).index("green")


def diversity(seed: int) -> None:
    """Measure each letter's MS-SSIM and accuracy, at 32 and at 64 px, for a training's seed."""
    for size in SIZES:
        judge = the_judge(f"judge_glyphs{size}")
        x, y = metrics.sample(trained(TEN, size, seed), PER_CLASS, seed=seed)
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
        row[f"{key} by class"] = by_class
        print(f"{name}, seed {seed}: {key} {row[key]}")
    values = torch.tensor([[e.value for e in by_class] for by_class in measured.values()])
    r = torch.corrcoef(values)[0, 1]
    if r.isfinite():  # real letters have one accuracy, 1
        row["r"] = round(float(r), 4)
    record("diversity", row)


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
        "real": real,
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
    if is_whole(steps, ALARM_STEPS):
        record("alarm", row)


def replayed(row: dict[str, Any], margin: float | None = None) -> list[Alarm]:
    """Return the alarms of a recorded run under another margin (MARGIN if none is given)."""
    alarm = metrics.CollapseAlarm(
        row["real"], every=1, after=LOOK_FROM, margin=MARGIN if margin is None else margin
    )
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


def vendi(features: Tensor) -> float:
    """Return the effective number of different rows in features (n, F): from 1 to n.

    The Vendi score (Friedman and Dieng 2023): exp of the entropy of the eigenvalues of K / n,
    where K holds the rows' cosines. Their F x F product has the same eigenvalues but for zeros.
    """
    unit = F.normalize(features.double(), dim=1)
    share = torch.linalg.eigvalsh(unit.T @ unit / len(unit)).clamp_min(0)
    return float(torch.special.entr(share).sum().exp())


def lost(data: Avatars, fold: int, share: float) -> Tensor:
    """Return a fold's rows, a quarter of each kind, less `share` of its green hair.

    A lost face makes room for one of the same kind and another hair colour, out of the
    next fold, so the number of each kind stays and no face comes twice.
    """
    kept = []
    for k in range(data.num_classes):
        parts = torch.nonzero(data.labels == k).flatten().chunk(FOLDS)
        own, spare = parts[fold], parts[(fold + 1) % FOLDS]
        green = torch.nonzero(data.factor("hair")[own] == GREEN).flatten()
        gone = green[: round(share * len(green))]
        own = own.clone()
        own[gone] = spare[data.factor("hair")[spare] != GREEN][: len(gone)]
        kept.append(own)
    return torch.cat(kept)


def lost_hair() -> None:
    """Score 2,000 real avatars a fold at 32 px, with less and less green hair, in every way.

    What the test split's 2,000 are compared with. "kind" and "factors" tell in whose features: the
    judge that names the kind, or the one that reads ground, skin and hair. Divergences, and the
    combinations met, come from what the latter reads, as they would for a generator.
    """
    data, test = avatars("train", 32), avatars("test", 32)
    x, x_test = data.normalised(), test.normalised()
    kind, reader = the_judge("judge_avatars32"), the_judge("factors_avatars32")
    seen = {
        name: [metrics.in_batches(judge, judge.features, part) for part in (x, x_test)]
        for name, judge in (("kind", kind), ("factors", reader))
    }
    read = read_factors(reader, x)[:, :3]
    levels = [LEVELS[name] for name in ("ground", "skin", "hair")]
    for share in SHARES:
        for fold in range(FOLDS):
            rows = lost(data, fold, share)
            y, hair = data.labels[rows], read[rows][:, 2:]
            cover = truth.coverage(read[rows], levels, y, len(KINDS), simulations=200)
            alone = truth.coverage(hair, levels[2:], simulations=200)
            row: dict[str, Any] = {
                "model": f"green hair lost {share:g}", "seed": fold, "share": share,
                "green": float((hair == GREEN).double().mean()),
                "combinations met": cover.met.value, "hair KL": alone.kl.value,
                "hair chi2": alone.chi2.value, "kind": metrics.judge_accuracy(kind, x[rows], y),
                "MS-SSIM": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x[rows], y, pairs=200)),
            }  # fmt: skip
            for name, (train, other) in seen.items():
                row[f"Frechet, {name}"] = metrics.frechet_distance(train[rows], other)
                row[f"Vendi, {name}"] = vendi(train[rows])
                for score, found in metrics.manifold(other, train[rows])._asdict().items():
                    row[f"{score}, {name}"] = found
            record("lost_hair", row)
        print(f"{share:.0%} lost: last fold", {k: v for k, v in row.items() if k != "model"})


RUNS = {
    "diversity": diversity,
    "lost_hair": lost_hair,
    **{k: partial(watched, k) for k in ("healthy", "starved")},
}
