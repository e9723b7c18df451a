"""Trainings of a handful of steps, for tests of the loop: networks of width 4, 40 images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from checks import two_classes
from torch import Tensor

from acgan_lib.data import LabelledImages
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Objective, acgan
from acgan_lib.train import Progress, Result, TrainConfig, fit


class PartlyLabelled(LabelledImages):
    """Images of which some have no label."""

    lowest_label = -1


def partly(hidden: Sequence[int]) -> PartlyLabelled:
    """The images of `two_classes`, without the labels of some rows."""
    data = two_classes()
    labels = data.labels.clone()
    labels[list(hidden)] = -1
    return PartlyLabelled(data.images, labels, data.class_names, data.source)


def config(**changes: Any) -> TrainConfig:
    settings = {"batch_size": 4, "precision": "fp32", "progress": False, "log_every": 1}
    return TrainConfig(**{**settings, "checkpoint_every": 2, **changes})


def networks(seed: int = 0, width: int = 4, **heads: int) -> tuple[Generator, Discriminator]:
    torch.manual_seed(seed)
    G = Generator(latent_dim=8, num_classes=2, width=width)
    return G, Discriminator(width=width, **(heads or {"class_head": 2}))


def tiny_run(
    run_dir: Path | str | None = None,
    steps: int = 8,
    objective: Objective | None = None,
    callbacks: Any = (),
    data: Any = None,
    pair: Any = None,
    **changes: Any,
) -> Result:
    return fit(
        *(pair or networks()), data or two_classes(), objective or acgan(),
        steps=steps, config=config(**changes), callbacks=callbacks, run_dir=run_dir,
    )  # fmt: skip


def weights(result: Result) -> dict[str, Tensor]:
    """Every tensor of a result: parameters, BatchNorm's statistics, spectral norm's vectors."""
    return {
        f"{name}.{key}": value
        for name in ("G", "D", "G_ema")
        for key, value in getattr(result, name).state_dict().items()
    }


def assert_same(a: Result, b: Result) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    different = [k for k in left if not torch.equal(left[k], right[k])]
    assert not different
    assert a.history.rows == b.history.rows


class Stop(Exception):
    """Raised by a callback, in a killed run's place."""


def stop_at(step: int) -> Any:
    def callback(progress: Progress) -> None:
        if progress.step == step:
            raise Stop

    return callback
