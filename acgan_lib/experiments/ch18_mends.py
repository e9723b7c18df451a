"""AC-GAN and what mends it, on clothes and faces: the trainings of chapter 18.

FashionMNIST under eight objectives; the ten kinds of avatars and 80 classes of them, kind and hair
colour, under four. They were trained on one GPU (``tools/gpu_mends.py``), where the draws are the
device's own: five seeds of each on FashionMNIST, fewer of the others. `mend` repeats one of them by
`fit`: ``python -m acgan_lib.experiments mend_fashion_adc --seed 3``. What each measured is in
``data/results/mends.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib import metrics, objectives
from acgan_lib.avatars import KINDS, LEVELS, PALETTES, Avatars, avatars, drawn
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common, ch06_dose, ch10_avatars
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.fashion import fashion_mini, fashion_mnist
from acgan_lib.losses import class_loss, d2d_loss
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator, init_weights
from acgan_lib.objectives import Objective
from acgan_lib.runtime import evaluating, seed_everything
from acgan_lib.train import Progress, TrainConfig, fit

OBJECTIVES: dict[str, Objective] = {
    "acgan": objectives.acgan(),
    "acgan[real]": objectives.acgan(class_loss_on="real"),
    "acgan[n+1]": objectives.acgan(class_loss_on="n+1"),
    "cgan": objectives.cgan(),
    "projection": objectives.projection(),
    "tac": objectives.tac(),
    "adc": objectives.adc(),
    "reacgan": objectives.reacgan(),
}
FEWER = ("acgan", "projection", "tac", "adc")
MODELS = {"fashion": tuple(OBJECTIVES), "kinds": FEWER, "kinds_hair": FEWER}
STEPS = {"fashion": 6_000, "kinds": ch10_avatars.SHORT_STEPS, "kinds_hair": 2_400}
HAIR = LEVELS["hair"]
EARLY = 300  # steps in which gradients are looked at


def kinds_and_hair(data: Avatars) -> LabelledImages:
    """Return the same pictures in 80 classes: kind after kind, in each the eight hair colours."""
    names = tuple(f"{kind}, {colour} hair" for kind in KINDS for colour in PALETTES["hair"])
    labels = data.labels * HAIR + data.factor("hair")
    return LabelledImages(data.images, labels, names, f"{data.source}, kind and hair")


def pictures(group: str, root: str | None = None) -> LabelledImages:
    """Return a group's training pictures.

    Args:
        group: a key of MODELS.
        root: folder of FashionMNIST, or of the drawn avatars.
    """
    if group == "fashion":
        return fashion_mnist("train", root)
    faces = drawn(ch10_avatars.PER_KIND, 32, folder=root)
    return faces if group == "kinds" else kinds_and_hair(faces)


def networks(
    data: LabelledImages, objective: Objective, seed: int
) -> tuple[Generator, Discriminator]:
    """Return a fresh pair with the heads that the objective needs; colour gets chapter 10's."""
    seed_everything(seed)
    K = data.num_classes
    heads = objective.needs.heads(K)
    if data.channels == 1:
        return Generator(num_classes=K), Discriminator(**heads)
    width = ch10_avatars.WIDTH
    G = Generator(num_classes=K, channels=3, width=width)
    return G, Discriminator(3, width, batch_norm=False, **heads)


def config(data: LabelledImages, seed: int) -> TrainConfig:
    """Return the settings for pictures of those channels."""
    if data.channels == 1:
        return TrainConfig(seed=seed, lr_g=7e-4, lr_d=7e-4)
    betas = (0.0, 0.99)
    return TrainConfig(batch_size=64, lr_g=4e-4, lr_d=4e-4, betas=betas, ema=0.9995, seed=seed)


def measure(G: ConditionalGenerator, group: str, seed: int, root: str | None = None) -> Any:
    """Measure a generator as its chapter does: clothes 6, kinds 10; the 80 classes here."""
    if group == "fashion":
        return ch06_dose.measure(G, seed, fashion_mnist("test", root))
    if group == "kinds":
        return ch10_avatars.measure(G, 32, seed)
    return read_80(*metrics.sample(G, 125, seed=seed))


def read_80(x: Tensor, y: Tensor) -> dict[str, Any]:
    """Read pictures of the 80 classes by the shipped judges, and compare them with the truth.

    Args:
        x, y: pictures (n, 3, 32, 32) and the classes asked for, int64 (n,).

    Returns:
        ``kind``, ``hair`` and ``both``: the shares that show what was asked for; ``both`` also by
        class. ``combinations_met``: of the 1,920 combinations of class, ground and skin, those seen
        among the pictures that show their class.
    """
    kind, hair = y // HAIR, y % HAIR
    judge, reader = the_judge("judge_avatars32"), the_judge("factors_avatars32")
    right_kind = metrics.in_batches(judge, judge, x).argmax(1) == kind
    read = ch10_avatars.read_factors(reader, x)
    right_hair = read[:, 2] == hair
    both, test, n = right_kind & right_hair, avatars("test", 32), len(x)
    by_class = torch.stack([both[y == k].float().mean() for k in range(len(KINDS) * HAIR)])
    cells = (y * LEVELS["ground"] + read[:, 0]) * LEVELS["skin"] + read[:, 1]
    return {
        "kind": metrics.proportion(int(right_kind.sum()), n),
        "hair": metrics.proportion(int(right_hair.sum()), n),
        "both": metrics.proportion(int(both.sum()), n),
        "both_by_class": [round(v, 3) for v in by_class.tolist()],
        "ms_ssim": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y, pairs=20)),
        "frechet_judge_distance": metrics.frechet_judge_distance(
            judge, x, test.normalised(), y_a=kind, y_b=test.labels, resamples=10
        ),
        "combinations_met": len(torch.unique(cells[both])),
    }


def mend(
    group: str, model: str, seed: int, root: str | None = None, steps: int | None = None
) -> None:
    """Train one network of chapter 18 by `fit`, measure it, and record the row."""
    data, objective = pictures(group, root), OBJECTIVES[model]
    steps = STEPS[group] if steps is None else steps
    G, D = networks(data, objective, seed)
    run = f"mend_{group}_{slug(model)}"
    result = _common.train(run, G, D, data, objective, config(data, seed), steps)
    measured = measure(result.G_ema.cpu(), group, seed, root)
    _common.show(run, seed, measured)
    if _common.is_whole(steps, STEPS[group]):
        row = {"group": group, "model": model, "seed": seed, "steps": steps}
        row |= {"images": steps * config(data, seed).batch_size, "device": "cpu"}
        record("mends", {**row, **measured}, by=("group", "model", "seed"))


def real_80(root: str | None = None) -> None:
    """Put drawn training pictures through the measures of the 80 classes, 125 of each class."""
    data = kinds_and_hair(drawn(ch10_avatars.PER_KIND, 32, folder=root))
    part = data.per_class(125, 0)
    measured = read_80(part.normalised(), part.labels)
    _common.show("real_80", 0, measured)
    row = {"group": "kinds_hair", "model": "real", "seed": 0, "steps": 0}
    record("mends", {**row, **measured}, by=("group", "model", "seed"))


def head_gradients(seed: int, steps: int = EARLY) -> None:
    """Record the class term's gradient early in training, without spectral norm on the class head.

    AC-GAN and ReACGAN, both with D's classifier on real images alone, half as wide, on
    ``fashion_mini``. Every ten steps, for the same 100 real images: the mean length of the features
    and the norm of the class term's gradient (at weight 1) in the class head's weights.
    """
    data = fashion_mini("train")
    x, y = data.batch(0, 100, seed=seed + 100)
    for name in ("acgan[real]", "reacgan"):
        objective = OBJECTIVES[name]
        seed_everything(seed)
        G = Generator(width=16)
        D = Discriminator(width=16, **objective.needs.heads(10))
        if D.embedding_head is None:
            D.class_head = nn.Linear(D.source_head.in_features, 10)  # type: ignore[arg-type]
            init_weights(D.class_head)
        curve: list[list[float]] = []

        def look(now: Progress, D: Discriminator = D, curve: list[list[float]] = curve) -> None:
            if now.step % 10 == 0 or now.step == 1:
                curve.append([now.step, *_pull(D, x, y)])

        how = TrainConfig(seed=seed, batch_size=50, lr_g=1e-3, lr_d=1e-3, progress=False)
        fit(G, D, data, objective, steps=steps, config=how, callbacks=[look])
        print(name, seed, [[round(v, 2) for v in row] for row in (curve[0], curve[-1])])
        if _common.is_whole(steps, EARLY):
            rounded = [[float(f"{v:.4g}") for v in row] for row in curve]
            record("head_gradients", {"model": name, "seed": seed, "curve": rounded})


def _pull(D: Discriminator, x: Tensor, y: Tensor) -> tuple[float, float]:
    """Return the features' mean length, and the class term's gradient in the class head."""
    with evaluating(D), torch.enable_grad():
        h = D.trunk(x)
        out = D.judge(h, None)
        assert D.class_head is not None
        assert out.class_logits is not None
        loss = (
            class_loss(out.class_logits, y)
            if out.embedding is None
            else d2d_loss(out.class_logits, out.embedding, y)
        )
        (pull,) = torch.autograd.grad(loss, [D.class_head.get_parameter("weight")])
    return float(h.detach().norm(dim=1).mean()), float(pull.norm())


def slug(model: str) -> str:
    """Return a model's name as a command has it: acgan[n+1] is acgan_n1."""
    return model.replace("[", "_").replace("+", "").rstrip("]")


RUNS: dict[str, Callable[..., None]] = {
    **{f"mend_{g}_{slug(m)}": partial(mend, g, m) for g, models in MODELS.items() for m in models},
    "real_80": real_80,
    "head_gradients": head_gradients,
}
