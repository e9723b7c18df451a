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
from acgan_lib.data import LabelledImages, to_uint8
from acgan_lib.experiments._results import arrays, changing, keep_arrays, path, stored
from acgan_lib.experiments.ch05_conditioning import right_label_preferred
from acgan_lib.experiments.ch08_museum.exhibits import (
    EXHIBITS,
    K,
    accuracy_on_unseen,
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
FIXED_CGAN = "fixed-cgan"  # the same of a CGAN, beside which the bugs of a CGAN are put
FIXED_FAST = "fixed-fast"  # the same of an AC-GAN at twenty times the learning rate
STEPS, FRAMES, SEEDS = 300, (75, 150, 300), (0, 1, 2, 3, 4)
FEW = 10  # images a class for exhibit 18, which asks what D knows by heart
WIDTH = 16  # half of the book's networks, to be quick
TRAINABLE = tuple(e.name for e in EXHIBITS if e.where)


WITHOUT_BUG = {"acgan": FIXED, "cgan": FIXED_CGAN, "fast acgan": FIXED_FAST}  # by what is trained


def sound(name: str) -> str:
    """Return the name of the training without a bug beside which an exhibit's is put."""
    return name if name in WITHOUT_BUG.values() else WITHOUT_BUG[exhibit(name).game]


@contextlib.contextmanager
def installed(name: str) -> Iterator[None]:
    """Put an exhibit's wrong piece in the library's place for the length of a with block.

    Raises:
        ValueError: if no training has a place for it.
    """
    if name in WITHOUT_BUG.values():
        yield
        return
    bug = exhibit(name)
    if not bug.where:
        raise ValueError(f"{name!r} is not a bug of a training; these are: {', '.join(TRAINABLE)}")
    with mock.patch(f"acgan_lib.{bug.where}", bug.wrong):
        yield


def rehearse(
    name: str = FIXED,
    *,
    steps: int = STEPS,
    seed: int = 0,
    callbacks: tuple[Callback, ...] = (),
    data: LabelledImages | None = None,
) -> Result:
    """Train an AC-GAN on FashionMNIST's small part, with an exhibit's bug or with none.

    Seed, data and settings are the same for each name. The networks are half as wide as the
    book's, in float32 on the CPU, to be quick. ``FIXED_CGAN`` and its bugs train a CGAN, and
    ``FIXED_FAST`` and its bugs have twenty times the learning rate.

    Args:
        name: an exhibit's that names a place in the library, or of a training without a bug.
        steps: of training.
        seed: of the weights, the data's order and the latents.
        callbacks: called after each step.
        data: other images than FashionMNIST's small part.
    """
    rate, is_cgan = 2e-2 if sound(name) == FIXED_FAST else 1e-3, sound(name) == FIXED_CGAN
    config = TrainConfig(
        batch_size=50, lr_g=rate, lr_d=rate, log_every=25, precision="fp32",
        seed=seed, progress=False,
    )  # fmt: skip
    head: dict[str, Any] = {"label_input": K} if is_cgan else {"class_head": K}
    torch.manual_seed(seed)
    with installed(name):
        G, D = nets.Generator(width=WIDTH), nets.Discriminator(width=WIDTH, **head)
        return train.fit(
            G, D, data or fashion_mini("train"),
            objectives.cgan() if is_cgan else objectives.acgan(),
            steps=steps, config=config, callbacks=callbacks,
        )  # fmt: skip


def shown_latents() -> tuple[Tensor, Tensor]:
    """The latents of every recorded grid: two rows, one z each, of ten classes each."""
    z = torch.randn(2, 100, generator=torch.Generator().manual_seed(8))
    return z.repeat_interleave(K, 0), torch.arange(K).repeat(2)


def measure_run(result: Result, name: str, seed: int) -> dict[str, Any]:
    """Measure a training: by the judge, by its pixels, and what D makes of images and labels.

    500 samples of G_ema, 500 test images; the judge also sees 200 samples each whose latents were
    shortened to 0, 1/4 and 1/2 of their length, or left as they are. Where the images lie in
    [0, 1] (exhibit 8), they are stretched to [-1, 1] for the judge. ``spread`` is the standard
    deviation of a pixel within a class, averaged over pixels and classes, and ``black`` the share
    of pixels below -0.95. Of an AC-GAN's D the accuracy of the class head is kept, of a CGAN's how
    often it finds the right label of a test image likelier than a wrong one.
    """
    x, y = metrics.sample(result.G_ema, 50, seed=seed)
    test = fashion_mini("test").per_class(50, seed=0)

    def seen(images: Tensor) -> Tensor:
        return (2 * images - 1).clamp(-1, 1) if name == "zero-to-one" else images

    judge = zoo.load("judge_fashion")
    by_class = metrics.judge_accuracy_by_class(judge, seen(x), y)
    z, asked = draw_latents(result.G, 200, seed, 0)
    shortened = {
        share: seen(latent.generate(result.G_ema, share * z, asked))
        for share in (0.0, 0.25, 0.5, 1.0)
    }
    measured = {
        "judge": round(sum(e.value for e in by_class) / K, 4),
        "judge_by_class": [round(e.value, 3) for e in by_class],
        "judge_shortened": {
            str(share): round(metrics.judge_accuracy(judge, images, asked).value, 4)
            for share, images in shortened.items()
        },
        "spread": round(float(torch.stack([x[y == k].std(0).mean() for k in range(K)]).mean()), 4),
        "black": round(float((x < -0.95).float().mean()), 4),
    }
    if sound(name) == FIXED_CGAN:
        D, real = result.D, test.normalised()
        assert isinstance(D, nets.Discriminator)
        measured["right_label"] = round(right_label_preferred(D, real, test.labels).value, 4)
    else:
        with installed(name):
            report = two_accuracies(result.D, Batch(test.normalised(), test.labels), Batch(x, y))
        measured["d_on_real"] = round(report["on real"], 4)
        measured["d_on_fake"] = round(report["on fake"], 4)
    return measured


def few_images(seed: int, steps: int = STEPS) -> dict[str, float]:
    """Train a sound AC-GAN on ten images a class, and report D's class accuracy on three sets."""
    few = fashion_mini("train").per_class(FEW, seed=seed)
    result = rehearse(seed=seed, steps=steps, data=few)
    test = fashion_mini("test").per_class(50, seed=0)
    report = accuracy_on_unseen(
        result.D,
        Batch(few.normalised(), few.labels),
        Batch(test.normalised(), test.labels),
        Batch(*metrics.sample(result.G_ema, 50, seed=seed)),
    )
    return {name: round(value, 4) for name, value in report.items()}


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
    """Train GANs without a bug and with each bug that a training can have, and measure each.

    A training that is recorded is not repeated; remove its entry, or the file, to do so.
    """
    numbers = {
        e.name: {"wrong": round(e.measure(e.wrong), 4), "right": round(e.measure(e.right), 4)}
        for e in EXHIBITS
    }
    empty: dict[str, Any] = {"steps": STEPS, "runs": {}, "few": {}, "after": {}, "numbers": {}}
    kept = stored("museum") if path("museum").exists() else empty
    for name in (*WITHOUT_BUG.values(), *TRAINABLE):
        if str(seed) in kept["runs"].get(name, {"seeds": {}})["seeds"]:
            continue
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
        with changing("museum", empty) as kept:
            kept["numbers"], kept["after"] = numbers, after or kept["after"]
            run = kept["runs"].setdefault(name, {"rows": [], "seeds": {}})
            run["seeds"][str(seed)] = measured
            if seed == SEEDS[0]:
                run["rows"] = [{k: round(v, 4) for k, v in row.items()}
                               for row in result.history.rows]  # fmt: skip
        if grids:
            keep_arrays("museum", grids)
    report = kept["few"].get(str(seed)) or few_images(seed)
    print("few images", seed, report, flush=True)
    with changing("museum", empty) as kept:
        kept["few"][str(seed)], kept["numbers"] = report, numbers


def recorded_grid(name: str, frame: int = -1) -> Tensor:
    """Return 20 recorded samples, uint8 (20, 1, 32, 32): two rows of the ten classes.

    Args:
        name: an exhibit's, or ``FIXED``; with ", fixed" behind it, its right half where a
            training without the bug was looked at in two ways (exhibits 10 to 12).
        frame: 0, 1 or 2, after 75, 150 or 300 steps.
    """
    return torch.from_numpy(arrays("museum")[name][frame]).unsqueeze(1)
