"""What helps when there are 300 images.

AC-GAN of half width on 30 FashionMNIST images of each class, plain and with the small functions
of :mod:`acgan_lib.regularise`. Chapter 17 shows what each seed measured, kept in
``data/results/few_images.json``; seed 0's pictures on the way are in ``few_images.npz``.
A variant that is recorded already is not trained again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from acgan_lib import metrics, objectives
from acgan_lib.callbacks import SampleGrid
from acgan_lib.data import LabelledImages
from acgan_lib.experiments._common import head_accuracy, is_whole, the_judge
from acgan_lib.experiments._results import done, keep_arrays, record
from acgan_lib.experiments.ch06_fashion import measure
from acgan_lib.fashion import fashion_mini, fashion_mnist
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.regularise import diff_augment, r1, two_time_scales
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import Progress, TrainConfig, fit

PER_CLASS, STEPS, LOOK_EVERY = 30, 1_500, 250
GAMMA = 1.0  # a penalty of about 0.2 beside losses of about 0.3; set before any sample was measured


class Variant(NamedTuple):
    """What one training changes: its objective, its settings, its images of each class."""

    change: Callable[[objectives.Objective], objectives.Objective] = lambda objective: objective
    settings: Callable[[TrainConfig], TrainConfig] = lambda config: config
    per_class: int = PER_CLASS


VARIANTS: dict[str, Variant] = {
    "plain": Variant(),
    "diff_augment": Variant(diff_augment),
    "r1": Variant(lambda objective: r1(objective, GAMMA)),
    "diff_augment+r1": Variant(lambda objective: r1(diff_augment(objective), GAMMA)),
    "two_time_scales": Variant(settings=two_time_scales),
    "plain, 1,000 a class": Variant(per_class=1_000),
}


class Look:
    """A callback that measures on the way.

    Frechet judge distance of 2,000 samples to the test images; D's mean source logit on 300
    images it trains on, on 300 test images, and on 300 of G's. D is asked in training mode, in
    which BatchNorm uses the batch's own statistics, as when G learns from it.
    """

    def __init__(self, D: Discriminator, train: LabelledImages, test: LabelledImages) -> None:
        self.D, self.test, self.judge = D, test, the_judge()
        self.real_train = train.per_class(PER_CLASS, 1).normalised()
        self.real_test = test.per_class(PER_CLASS, 1).normalised()
        self.features = metrics.in_batches(self.judge, self.judge.features, test.normalised())
        self.rows: list[dict[str, float]] = []

    def __call__(self, progress: Progress) -> None:
        """Measure, if it is time."""
        if progress.step % LOOK_EVERY and progress.step != progress.steps:
            return
        row = {"step": progress.step, "distance": self.distance(progress.G_ema)}
        x, _ = metrics.sample(progress.G, PER_CLASS, seed=7)
        for name, images in (("train", self.real_train), ("test", self.real_test), ("fake", x)):
            row[f"logit_{name}"] = self.logit(images)
        self.rows.append({k: round(v, 3) for k, v in row.items()})

    def distance(self, G: ConditionalGenerator) -> float:
        """Return the Frechet judge distance of 2,000 samples to all test images."""
        x, _ = metrics.sample(G, 200, seed=11)
        return metrics.frechet_distance(
            metrics.in_batches(self.judge, self.judge.features, x), self.features
        )

    def logit(self, images: Tensor) -> float:
        """Return D's mean source logit; D is left as it was."""
        kept = {k: v.clone() for k, v in self.D.state_dict().items()}
        with torch.no_grad():
            mean = self.D(images.to(next(self.D.parameters()).device)).source_logit.mean()
        self.D.load_state_dict(kept)
        return float(mean)


def train_one(name: str, seed: int, steps: int = STEPS) -> tuple[dict[str, Any], SampleGrid]:
    """Train and measure one of VARIANTS; the same seed gives the same images and first weights."""
    variant = VARIANTS[name]
    images, test = fashion_mini("train").per_class(variant.per_class, seed), fashion_mnist("test")
    objective = variant.change(objectives.acgan())
    config = variant.settings(TrainConfig(seed=seed, batch_size=50, lr_g=7e-4, lr_d=7e-4))
    seed_everything(seed)
    G, D = Generator(width=16).to(pick_device()), Discriminator(width=16, class_head=10)
    D = D.to(pick_device())
    look = Look(D, images, test)
    z = torch.randn(10, G.latent_dim, generator=torch.Generator().manual_seed(0))
    grid = SampleGrid(z, torch.arange(10), LOOK_EVERY)
    result = fit(G, D, images, objective, steps=steps, config=config, callbacks=[look, grid])
    row: dict[str, Any] = {"model": name, "seed": seed, "steps": steps, "images": len(images)}
    row |= {"objective": objective.name, "lr_g": config.lr_g, "lr_d": config.lr_d}
    row |= measure(result.G_ema.cpu(), seed, None, with_cas=False)
    raw = measure(result.G.cpu(), seed, None, with_cas=False)
    row["frechet_judge_distance_raw"] = raw["frechet_judge_distance"]
    row["judge_accuracy_raw"] = raw["judge_accuracy"]
    row["head_accuracy_test"] = head_accuracy(D.cpu(), test.normalised(), test.labels)
    return {**row, "way": look.rows}, grid


def few_images(seed: int, steps: int = STEPS) -> None:
    """Train AC-GAN on 30 images of each class, with and without what helps."""
    for name in VARIANTS:
        if done("few_images", name, seed):
            continue
        row, grid = train_one(name, seed, steps)
        print({k: v for k, v in row.items() if k != "way"}, flush=True)
        if is_whole(steps, STEPS):
            record("few_images", row)
            if seed == 0:  # uint8 (looks, 10, 32, 32)
                frames = torch.stack([images[:, 0] for _, images in grid.frames])
                at = np.array([step for step, _ in grid.frames])
                keep_arrays("few_images", {name: frames.numpy(), "steps": at})


RUNS = {"few_images": few_images}
