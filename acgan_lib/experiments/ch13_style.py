"""A judge of style: reads a letter's factors (weight, slant, ...) off its picture.

It is the ordinary `Judge` with a number instead of a logit for each factor. Trained on real
letters of all classes, it measures generated ones, for class swaps (`metrics.swap_consistency`).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.glyphs import Glyphs
from acgan_lib.judge import BATCH_SIZE, Judge, fit_supervised, random_shift

STYLE = ("weight", "slant", "serif", "stem", "letter_width")


def train_style_judge(
    data: Glyphs,
    *,
    steps: int,
    factors: Sequence[str] = STYLE,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Judge:
    """Train a fresh judge to read `factors` and return it in eval mode.

    AdamW on the squared error of the standardised factors, in batches of 128, with the learning
    rate and the shifts of `train_judge`. The standardisation is folded into the last layer, so
    that ``judge(x)``, float (n, len(factors)), comes in the factors' own units.

    Raises:
        ValueError: if a factor is unknown, missing for some typeface, or always the same.
    """
    targets = torch.stack([data.factor(name) for name in factors], dim=1)
    mean, std = targets.mean(0), targets.std(0)
    for name, deviation in zip(factors, std.tolist(), strict=True):
        if not deviation > 0:  # NaN too, where a font has no such axis
            raise ValueError(f"factor {name!r} is not known for every typeface, or never varies")
    data, targets = data.to(device), ((targets - mean) / std).to(device)
    draws = torch.Generator().manual_seed(seed)

    def batch(_: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(0, len(data), (BATCH_SIZE,), generator=draws).to(targets.device)
        return random_shift(data.normalised(rows), draws), targets[rows]

    judge = fit_supervised(
        lambda: Judge(len(factors), data.channels),
        batch,
        lambda read, wanted: (read.float() - wanted).square().mean(),
        steps=steps,
        seed=seed,
        device=device,
    )
    with torch.no_grad():
        judge.head.weight.mul_(std.to(device)[:, None])
        judge.head.bias.mul_(std.to(device)).add_(mean.to(device))
    return judge


def explained(judge: Judge, data: Glyphs, factors: Sequence[str] = STYLE) -> dict[str, float]:
    """Return for each factor the share of its variance that the judge's reading explains (R^2).

    1 is perfect, 0 is no better than the mean, and below 0 is worse.
    """
    read = metrics.in_batches(judge, judge, data.normalised())
    truth = torch.stack([data.factor(name) for name in factors], dim=1)
    missed = (read - truth).square().mean(0) / truth.var(0, correction=0)
    return dict(zip(factors, (1 - missed).tolist(), strict=True))
