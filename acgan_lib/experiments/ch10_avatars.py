"""Judges of avatars: one names the kind, one reads ground, skin, hair and glasses.

Both learn from drawn pictures (`make avatars N=3000`) and are tested on the shipped test split,
by kind: where a factor is hard to see, the figure says so. The ground is also read by an exact
rule, `avatars.read_ground`, so that one judge can be held against something that is no network.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.avatars import (
    FACTORS,
    KINDS,
    LEVELS,
    NO_FACTOR,
    Avatars,
    avatars,
    drawn,
    read_ground,
)
from acgan_lib.judge import BATCH_SIZE, Judge, random_shift, train_judge
from acgan_lib.runtime import pick_device

KIND_STEPS, FACTOR_STEPS = 400, 1_000
PER_KIND = 3_000  # pictures to learn from


def factor_loss(logits: Tensor, factors: Tensor) -> Tensor:
    """Return the sum of the factors' mean cross-entropies.

    Args:
        logits: (n, 20), a block of columns for each of FACTORS.
        factors: int64 (n, 4). NO_FACTOR, in kinds without glasses, does not count.
    """
    parts = torch.split(logits.float(), list(LEVELS.values()), dim=1)
    losses = [
        F.cross_entropy(part, factors[:, i], ignore_index=NO_FACTOR) for i, part in enumerate(parts)
    ]
    return torch.stack(losses).sum()


def train_factor_judge(
    data: Avatars, *, steps: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Judge:
    """Train a fresh judge to read all four factors and return it in eval mode.

    One network with 20 logits, trained on `factor_loss` with the optimiser, the learning rate and
    the shifts of `train_judge`. Its features then hold what the factors and not the kind need.

    Raises:
        ValueError: if `steps` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    data = data.to(device)
    draws = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng(), torch.enable_grad():
        torch.manual_seed(seed)
        judge = Judge(sum(LEVELS.values()), data.channels).to(device)
        judge.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        optimiser = torch.optim.AdamW(judge.parameters(), lr=2e-3, weight_decay=0.02, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, max_lr=2e-3, total_steps=max(steps, 6), pct_start=0.2, cycle_momentum=False
        )
        for _ in range(steps):
            rows = torch.randint(len(data), (BATCH_SIZE,), generator=draws).to(device)
            x = random_shift(data.normalised(rows), draws)
            x = x.contiguous(memory_format=torch.channels_last)
            loss = factor_loss(judge(x), data.factors[rows])
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            schedule.step()
    judge.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    return judge.eval()


def read_factors(judge: Judge, images: Tensor) -> Tensor:
    """Return what a factor judge reads from images (n, 3, H, W) in [-1, 1]: int64 (n, 4).

    It says something of glasses for every picture; leave them out where the kind has none.
    """
    logits = metrics.in_batches(judge, judge, images)
    parts = torch.split(logits, list(LEVELS.values()), dim=1)
    return torch.stack([part.argmax(1) for part in parts], dim=1)


def accuracy_by_kind(read: Tensor, data: Avatars) -> dict[str, dict[str, metrics.Estimate]]:
    """Return for each factor how often it is read right, by the name of the kind and for "all".

    Kinds without glasses are left out of that factor.

    Args:
        read: int64 (N, 4), the reading of all of `data`.
    """
    found = {}
    for i, factor in enumerate(FACTORS):
        truth = data.factor(factor)
        known, right = truth != NO_FACTOR, read[:, i] == truth
        groups = {"all": known} | {
            name: known & (data.labels == k) for k, name in enumerate(data.class_names)
        }
        found[factor] = {
            name: metrics.proportion(int(right[group].sum()), int(group.sum()))
            for name, group in groups.items()
            if group.any()
        }
    return found


def judges(
    size: Literal[32, 64] = 64, seed: int = 0, root: str | Path | None = None
) -> tuple[Judge, Judge]:
    """Train both judges on drawn pictures and print what they reach on the shipped test split.

    Args:
        size: side of the pictures in pixels.
        seed: of both trainings.
        root: folder of the drawn sets, as in `avatars.drawn`.

    Raises:
        FileNotFoundError: no drawn set; the message has the command.
    """
    train, test = drawn(PER_KIND, size, folder=root), avatars("test", size)
    x, device = test.normalised(), pick_device()
    kind = train_judge(train, steps=KIND_STEPS, seed=seed, device=device).cpu()
    print(f"kind: {metrics.judge_accuracy(kind, x, test.labels)}")
    by_class = metrics.judge_accuracy_by_class(kind, x, test.labels)
    print(*(f"  {name:12}{share}" for name, share in zip(KINDS, by_class, strict=True)), sep="\n")
    reader = train_factor_judge(train, steps=FACTOR_STEPS, seed=seed, device=device).cpu()
    read = read_factors(reader, x)
    for factor, shares in accuracy_by_kind(read, test).items():
        print(f"{factor}:", *(f"  {name:12}{share}" for name, share in shares.items()), sep="\n")
    agree = read[:, 0] == read_ground(test.images)[0]
    print(f"ground as by the exact rule: {metrics.proportion(int(agree.sum()), len(agree))}")
    return kind, reader


RUNS = {f"judges_avatars{size}": partial(judges, size) for size in (32, 64)}
