"""How the FashionMNIST checkpoints were trained: the judge, DCGAN, CGAN and AC-GAN.

A run that was stopped goes on where it was (``runs/``). The three GANs share networks, budget and
seeds, so that the table in chapter 6 compares objectives and nothing else; what each seed measured
is kept in ``data/results/fashion.json``, the variants of the class loss in
``fashion_variants.json``.
"""

from __future__ import annotations

import copy
from functools import partial
from typing import Any, get_args

from acgan_lib import metrics, objectives
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import head_accuracy, the_judge
from acgan_lib.experiments._results import record
from acgan_lib.fashion import fashion_mini, fashion_mnist
from acgan_lib.judge import train_judge
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import Callback, Progress, TrainConfig, fit

GAN_STEPS = 6_000
ON_THE_WAY = {300: "early", 1_500: "middle"}  # steps of the shipped AC-GAN's run that ship too
JUDGE_STEPS = 9_360
CAS_EPOCHS = 3
VARIANT_STEPS = 300


def judge_fashion(seed: int, root: str | None = None, steps: int = JUDGE_STEPS) -> None:
    """Train the judge on the 60,000 real training images and test it on the 10,000 others."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    judge = train_judge(train, steps=steps, seed=seed, device=pick_device()).cpu()
    measured = {"test_accuracy": metrics.judge_accuracy(judge, test.normalised(), test.labels)}
    _common.show("judge_fashion", seed, measured)
    _common.ship_judge("judge_fashion", judge, train_judge, train.source, seed, steps, measured)


def gan_fashion(model: str, seed: int, root: str | None = None, steps: int = GAN_STEPS) -> None:
    """Train a GAN on the 60,000 images, measure it, record the seed, and ship seed 0."""
    train, name = fashion_mnist("train", root), f"{model}_fashion"
    # At equal images seen, batches of 50 gave better samples than of 100: twice as many updates.
    config = TrainConfig(seed=seed, batch_size=50, lr_g=7e-4, lr_d=7e-4)
    seed_everything(seed)
    G, D, objective = networks(model, train.num_classes)
    callbacks: list[Callback] = []
    if (model, seed, steps) == ("acgan", 0, GAN_STEPS):
        callbacks.append(partial(keep_on_the_way, config=config, data=train.source, root=root))
    result = _common.train(name, G, D, train, objective, config, steps, callbacks)
    measured = measure(result.G_ema.cpu(), seed, root)
    _common.show(name, seed, measured)
    if not _common.is_whole(steps, GAN_STEPS):
        return
    record("fashion", {"model": model, "seed": seed, "steps": steps, **measured})
    if seed == 0:
        _common.ship(
            name, result.G_ema, recipe={"objective": objective.name}, config=config,
            data=train.source, steps=steps, measured=measured,
        )  # fmt: skip


def keep_on_the_way(
    progress: Progress, *, config: TrainConfig, data: str, root: str | None
) -> None:
    """Ship G_ema as it is after each step of ON_THE_WAY, as acgan_fashion_early and so on.

    With the learning rates of the whole run, for a shorter one would lower them sooner.
    """
    if progress.step not in ON_THE_WAY:
        return
    G = copy.deepcopy(progress.G_ema).cpu()
    of = f"after {progress.step:,} of the {progress.steps:,} steps of acgan_fashion's recipe"
    _common.ship(
        f"acgan_fashion_{ON_THE_WAY[progress.step]}", G, recipe={"taken": of}, config=config,
        data=data, steps=progress.step, measured=measure(G, config.seed, root, with_cas=False),
        command="make train-acgan_fashion", half=True,
    )  # fmt: skip


def networks(model: str, num_classes: int) -> tuple[Generator, Discriminator, objectives.Objective]:
    """Return fresh networks of the fast pair, and the objective, for a model of the book.

    Raises:
        ValueError: the model is none of "dcgan", "cgan" and "acgan".
    """
    if model == "dcgan":
        return Generator(num_classes=0), Discriminator(), objectives.gan()
    G = Generator(num_classes=num_classes)
    if model == "cgan":
        return G, Discriminator(label_input=num_classes), objectives.cgan()
    if model == "acgan":
        return G, Discriminator(class_head=num_classes), objectives.acgan()
    raise ValueError(f"model must be 'dcgan', 'cgan' or 'acgan', got {model!r}")


def measure(
    G: ConditionalGenerator, seed: int, root: str | None, *, with_cas: bool = True
) -> dict[str, Any]:
    """Measure a FashionMNIST generator with the shipped judge, against the 10,000 test images.

    Frechet judge distance, and, if G knows classes, judge accuracy, same-class MS-SSIM and
    CAS. 10,000 samples, unranked; 60,000 to train the classifier of CAS.
    """
    test = fashion_mnist("test", root)
    classes = max(G.num_classes, 1)
    x, y = metrics.sample(G, 10_000 // classes, seed=seed)
    if not G.num_classes:
        distance = metrics.frechet_judge_distance(
            the_judge(), x, test.normalised(), y_b=test.labels
        )
        return {"frechet_judge_distance": distance}
    measured = _common.measure(the_judge(), x, y, test)
    if with_cas:
        x_cas, y_cas = metrics.sample(G, 60_000 // classes, seed=seed + 1_000)
        measured["cas"] = metrics.cas(
            x_cas, y_cas, test.normalised(), test.labels,
            seed=seed, epochs=CAS_EPOCHS, device=pick_device(),
        )  # fmt: skip
    return measured


def real_fashion(seed: int, root: str | None = None) -> None:
    """Put real images through the same measures: training images in the generator's place."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    measured = _common.measure_real(the_judge(), train.per_class(1_000, seed), test)
    measured["cas"] = metrics.cas(
        train.normalised(), train.labels, test.normalised(), test.labels,
        seed=seed, epochs=CAS_EPOCHS, device=pick_device(),
    )  # fmt: skip
    _common.show("real images", seed, measured)
    record("fashion", {"model": "real", "seed": seed, "steps": 0, **measured})


def variants_fashion(seed: int, root: str | None = None, steps: int = VARIANT_STEPS) -> None:
    """Train AC-GAN with each variant of L_C on ``fashion_mini``, briefly, and record the outcome.

    Beside the judge's measures, D's own class accuracy on real test images and on generated ones.
    """
    mini, test = fashion_mini("train"), fashion_mnist("test", root)
    for variant in get_args(objectives.ClassLossOn):
        seed_everything(seed)
        G = Generator().to(pick_device())
        D = Discriminator(class_head=11 if variant == "n+1" else 10).to(pick_device())
        config = TrainConfig(seed=seed, lr_g=1e-3, lr_d=1e-3)
        objective = objectives.acgan(class_loss_on=variant)
        G_ema = fit(G, D, mini, objective, steps=steps, config=config).G_ema
        x, y = metrics.sample(G_ema, 1_000, seed=seed)
        measured = {
            "head_accuracy_real": head_accuracy(D, test.normalised(), test.labels),
            "head_accuracy_fake": head_accuracy(D, x, y),
            **measure(G_ema, seed, root, with_cas=False),
        }
        row = {"model": f"acgan[{variant}]", "class_loss_on": variant, "seed": seed}
        row |= {"steps": steps, "data": mini.source}
        _common.show(f"acgan[{variant}]", seed, measured)
        if _common.is_whole(steps, VARIANT_STEPS):
            record("fashion_variants", {**row, **measured})


RUNS = {
    "judge_fashion": judge_fashion,
    **{f"{model}_fashion": partial(gan_fashion, model) for model in ("dcgan", "cgan", "acgan")},
    "real_fashion": real_fashion,
    "variants_fashion": variants_fashion,
}
