"""AC-GAN on few images: does G copy them?

G never sees an image, only D's gradient, and some summaries conclude that a GAN cannot overfit.
Here the same networks are trained, with the same budget, on 20, 200 and 10,000 images, and each
run is put through the checks of chapter 12. What each seed measured is in
``data/results/memorise.json``; G of seed 0 on 20 images ships as ``acgan_few_fashion``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import latent, metrics, objectives
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.fashion import fashion_mini
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

SIZES = (20, 200, 10_000)  # training images
STEPS = 1_200
WALKS, STRIDES = 200, 32


def memorise_fashion(seed: int, steps: int = STEPS) -> None:
    """Train on 20, 200 and 10,000 images, measure, record, and ship the copyist of seed 0."""
    for size in SIZES:
        train = few(size, seed)
        config = TrainConfig(seed=seed, batch_size=20, lr_g=1e-3, lr_d=3e-4, ema=0.995)
        seed_everything(seed)
        G, D = Generator(width=16), Discriminator(width=16, class_head=10)
        objective = objectives.acgan()
        G_ema = fit(
            G.to(pick_device()), D.to(pick_device()), train, objective, steps=steps, config=config
        ).G_ema.cpu()
        measured = examine(G_ema, D.cpu(), train, seed)
        _common.show(f"{size:,} images", seed, measured)
        if not _common.is_whole(steps, STEPS):
            continue
        row = {"model": f"acgan on {size}", "seed": seed, "size": size, "steps": steps}
        record("memorise", {**row, **measured})
        if (size, seed) == (SIZES[0], 0):
            _common.ship(
                "acgan_few_fashion", G_ema, recipe={"objective": objective.name}, config=config,
                data=f"{size} images of {train.source}", steps=steps, measured=measured,
                command="make train-memorise_fashion", kwargs={"width": 16}, half=True,
            )  # fmt: skip


def few(size: int, seed: int) -> LabelledImages:
    """Return `size` training images of ``fashion_mini``, equally many of each class."""
    mini = fashion_mini("train")
    return mini if size == len(mini) else mini.per_class(size // mini.num_classes, seed)


def examine(
    G: ConditionalGenerator, D: nn.Module, train: LabelledImages, seed: int
) -> dict[str, Any]:
    """Put a trained pair through chapter 12's checks; the held-out images are the 2,000 of mini.

    copies_features, copies_pixels: `memorisation` of 1,000 samples, by the judge's features (L2)
    and by pixels (L1). d_train, d_held_out, d_generated: D's mean loss -log P(real) on each.
    longest_step: see `longest_steps`. frechet_judge_distance: to the held-out images.
    """
    judge, held_out = the_judge(), fashion_mini("test")
    x, y = metrics.sample(G, 100, seed=seed)
    sets = [x, train.normalised(), held_out.normalised()]
    features = [metrics.in_batches(judge, judge.features, images) for images in sets]
    measured: dict[str, Any] = {
        "copies_features": metrics.memorisation(*features),
        "copies_pixels": metrics.memorisation(*sets, p=1),
        "longest_step": metrics.bootstrap_mean(longest_steps(G, judge.features, seed)),
        "judge_accuracy": metrics.judge_accuracy(judge, x, y),
        "frechet_judge_distance": metrics.frechet_estimate(
            features[0], features[2], y_a=y, y_b=held_out.labels
        ),
    }
    names = ("d_generated", "d_train", "d_held_out")
    for name, images in zip(names, sets, strict=True):
        measured[name] = metrics.bootstrap_mean(real_loss(D, images))
    return measured


def real_loss(D: nn.Module, x: Tensor) -> Tensor:
    """Return D's loss -log P(S = real | x) of each image, float (n,), with D in eval mode."""
    return metrics.in_batches(D, lambda part: F.softplus(-D(part).source_logit), x)


def longest_steps(
    G: ConditionalGenerator,
    features: Callable[[Tensor], Tensor],
    seed: int,
    walks: int = WALKS,
    kind: Literal["slerp", "linear"] = "slerp",
) -> Tensor:
    """Return, for each walk, the longest of its steps over the mean step, float (walks,).

    A walk goes from one z to another in STRIDES equal parts, at a fixed class, and a step's length
    is measured between `features` of its pictures. 1 is a walk of even steps. One that rests on a
    picture and jumps to the next has few long steps, and its figure goes up.
    """
    generator = torch.Generator().manual_seed(seed + 700)
    ends = torch.randn(walks, 2, G.latent_dim, generator=generator)
    z = torch.cat([latent.walk(a, b, STRIDES + 1, kind) for a, b in ends])
    y = torch.arange(walks).remainder(G.num_classes).repeat_interleave(STRIDES + 1)
    rows = [slice(i, i + 1000) for i in range(0, len(z), 1000)]
    with torch.no_grad():
        seen = torch.cat([features(latent.generate(G, z[part], y[part]).cpu()) for part in rows])
    steps: Tensor = seen.view(walks, STRIDES + 1, -1).diff(dim=1).norm(dim=2)
    return steps.amax(1) / steps.mean(1)


RUNS = {"memorise_fashion": memorise_fashion}
