"""Trainings with a bug in the library's place, and their recording."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any
from unittest import mock

import torch
from torch import Tensor

from acgan_lib import latent, metrics, nets, objectives, train, zoo
from acgan_lib.callbacks import SampleGrid
from acgan_lib.data import to_uint8
from acgan_lib.experiments._results import arrays, changing, keep_arrays
from acgan_lib.experiments.ch08_museum.exhibits import (
    EXHIBITS,
    K,
    best_by_d,
    draw_in_train_mode,
    exhibit,
    first_drawn,
    grade_by_d,
    grade_by_judge,
    two_accuracies,
)
from acgan_lib.fashion import fashion_mini
from acgan_lib.nets import Generator
from acgan_lib.objectives import Batch
from acgan_lib.train import Callback, Result, TrainConfig, draw_latents

FIXED = "fixed"  # the recording's name for the training without a bug
STEPS, FRAMES, SEEDS = 300, (75, 150, 300), (0, 1, 2)
WIDTH = 16  # half of the book's networks, to be quick
TRAINABLE = tuple(e.name for e in EXHIBITS if e.where)


@contextlib.contextmanager
def installed(name: str) -> Iterator[None]:
    """Put an exhibit's wrong piece in the library's place for the length of a with block.

    Raises:
        ValueError: if no training has a place for it.
    """
    if name == FIXED:
        yield
        return
    bug = exhibit(name)
    if not bug.where:
        raise ValueError(f"{name!r} is not a bug of a training; these are: {', '.join(TRAINABLE)}")
    with mock.patch(f"acgan_lib.{bug.where}", bug.wrong):
        yield


def rehearse(
    name: str = FIXED, *, steps: int = STEPS, seed: int = 0, callbacks: tuple[Callback, ...] = ()
) -> Result:
    """Train an AC-GAN on FashionMNIST's small part, with an exhibit's bug or with none.

    Seed, data and settings are the same for each name. The networks are half as wide as the
    book's, in float32 on the CPU, to be quick.
    """
    config = TrainConfig(
        batch_size=50, lr_g=1e-3, lr_d=1e-3, log_every=25, precision="fp32",
        seed=seed, progress=False,
    )  # fmt: skip
    torch.manual_seed(seed)
    with installed(name):
        G, D = nets.Generator(width=WIDTH), nets.Discriminator(width=WIDTH, class_head=K)
        return train.fit(
            G, D, fashion_mini("train"), objectives.acgan(),
            steps=steps, config=config, callbacks=callbacks,
        )  # fmt: skip


def shown_latents() -> tuple[Tensor, Tensor]:
    """The latents of every recorded grid: two rows, one z each, of ten classes each."""
    z = torch.randn(2, 100, generator=torch.Generator().manual_seed(8))
    return z.repeat_interleave(K, 0), torch.arange(K).repeat(2)


def measure_run(result: Result, name: str, seed: int) -> dict[str, Any]:
    """Measure a training: by the judge, and by D's class head on generated and test images.

    500 samples of G_ema, 500 test images; the judge also sees 200 samples each whose latents were
    shortened to 0, 1/4 and 1/2 of their length. Where the images lie in [0, 1] (exhibit 8), they
    are stretched to [-1, 1] for the judge.
    """
    x, y = metrics.sample(result.G_ema, 50, seed=seed)
    test = fashion_mini("test").per_class(50, seed=0)
    with installed(name):
        report = two_accuracies(result.D, Batch(test.normalised(), test.labels), Batch(x, y))

    def seen(images: Tensor) -> Tensor:
        return (2 * images - 1).clamp(-1, 1) if name == "zero-to-one" else images

    judge = zoo.load("judge_fashion")
    by_class = metrics.judge_accuracy_by_class(judge, seen(x), y)
    z, asked = draw_latents(result.G, 200, seed, 0)
    shortened = {
        share: seen(latent.generate(result.G_ema, share * z, asked)) for share in (0.0, 0.25, 0.5)
    }
    return {
        "judge": round(sum(e.value for e in by_class) / K, 4),
        "judge_by_class": [round(e.value, 3) for e in by_class],
        "judge_shortened": {
            str(share): round(metrics.judge_accuracy(judge, images, asked).value, 4)
            for share, images in shortened.items()
        },
        "d_on_real": round(report["on real"], 4),
        "d_on_fake": round(report["on fake"], 4),
    }


def after_the_fact(result: Result) -> tuple[dict[str, Tensor], dict[str, dict[str, float]]]:
    """What exhibits 11 to 13 make of one sound training: grids uint8 (20, 1, 32, 32), numbers."""
    G, D = result.G_ema, result.D
    z, y = shown_latents()
    right = latent.generate(G, z, y)
    forgetful = Generator(width=WIDTH)
    forgetful.load_state_dict({**forgetful.state_dict(), **dict(G.named_parameters())})
    forgetful.eval().requires_grad_(False)
    x, asked = metrics.sample(G, 100, seed=0)
    with torch.no_grad():
        likes = D(x).source_logit
    shown = {
        choose.__name__: torch.stack(
            [choose(x[asked == k], likes[asked == k], 2) for k in range(K)]
        )
        for choose in (best_by_d, first_drawn)
    }
    grids = {
        "average-of-parameters": latent.generate(forgetful, z, y),
        "average-of-parameters, fixed": right,
        "best-by-d": shown["best_by_d"].transpose(0, 1).flatten(0, 1),
        "best-by-d, fixed": shown["first_drawn"].transpose(0, 1).flatten(0, 1),
    }
    top = torch.cat([best_by_d(torch.arange(1_000)[asked == k], likes[asked == k], 10)
                     for k in range(K)])  # fmt: skip
    forgot, _ = metrics.sample(forgetful, 100, seed=0)
    numbers = {
        "average-of-parameters": {
            "wrong": grade_by_judge(D, forgot, asked), "right": grade_by_judge(D, x, asked)
        },
        "best-by-d": {
            "wrong": grade_by_judge(D, x[top], asked[top]), "right": grade_by_judge(D, x, asked)
        },
        "graded-by-d": {
            "wrong": grade_by_d(D, x, asked), "right": grade_by_judge(D, x, asked)
        },
    }  # fmt: skip
    return {name: to_uint8(grid) for name, grid in grids.items()}, numbers


def two_batches() -> dict[str, Tensor]:
    """Exhibit 10's grids, of the shipped AC-GAN: ten images in a mixed batch and among boots."""
    z, y = shown_latents()
    others = torch.randn(90, 100, generator=torch.Generator().manual_seed(1))
    batches = [torch.arange(90) % K, torch.full((90,), 9)]
    both: dict[str, list[Tensor]] = {"train-mode": [], "train-mode, fixed": []}
    for labels in batches:
        for name, draw in zip(both, (draw_in_train_mode, latent.generate), strict=True):
            G = zoo.load("acgan_fashion")
            images = draw(G, torch.cat([z[:K], others]), torch.cat([y[:K], labels]))
            both[name].append(images[:K])
    return {name: to_uint8(torch.cat(rows)) for name, rows in both.items()}


def museum(seed: int) -> None:
    """Train AC-GAN without a bug and with each bug that a training can have, and measure each."""
    numbers = {
        e.name: {"wrong": round(e.measure(e.wrong), 4), "right": round(e.measure(e.right), 4)}
        for e in EXHIBITS
    }
    for name in (FIXED, *TRAINABLE):
        watch = SampleGrid(*shown_latents(), every=FRAMES[0])
        result = rehearse(name, seed=seed, callbacks=(watch,))
        measured = measure_run(result, name, seed)
        print(name, seed, measured, flush=True)
        grids: dict[str, Any] = {}
        after: dict[str, Any] = {}
        if seed == SEEDS[0]:
            at = dict(watch.frames)
            grids = {name: torch.stack([at[step] for step in FRAMES]).squeeze(2).numpy()}
        if (name, seed) == (FIXED, SEEDS[0]):
            pictures, after = after_the_fact(result)
            pictures |= two_batches()
            grids |= {k: v.squeeze(1)[None].numpy() for k, v in pictures.items()}
        empty: dict[str, Any] = {"steps": STEPS, "runs": {}, "after": {}, "numbers": {}}
        with changing("museum", empty) as kept:
            kept["numbers"], kept["after"] = numbers, after or kept["after"]
            run = kept["runs"].setdefault(name, {"rows": [], "seeds": {}})
            run["seeds"][str(seed)] = measured
            if seed == SEEDS[0]:
                run["rows"] = [{k: round(v, 4) for k, v in row.items()}
                               for row in result.history.rows]  # fmt: skip
        if grids:
            keep_arrays("museum", grids)


def recorded_grid(name: str, frame: int = -1) -> Tensor:
    """Return 20 recorded samples, uint8 (20, 1, 32, 32): two rows of the ten classes.

    Args:
        name: an exhibit's, or ``FIXED``; with ", fixed" behind it, its right half where a
            training without the bug was looked at in two ways (exhibits 10 to 12).
        frame: 0, 1 or 2, after 75, 150 or 300 steps.
    """
    return torch.from_numpy(arrays("museum")[name][frame]).unsqueeze(1)
