"""What normalises D: BatchNorm and spectral norm, as in the book's D, or one of the two alone.

Networks, data, budget and rates are those of the shipped checkpoints. The trainings of one seed
start from the same stored weights and see the same images and latents in the same order, so
differences may be paired by seed. The rows of ``data/results/norms.json`` come from
``tools/gpu_mends.py``, which trains these networks side by side on one GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, cast

import torch
from torch import nn
from torch.nn.utils.parametrize import is_parametrized, remove_parametrizations

from acgan_lib import metrics
from acgan_lib.experiments import _common, ch06_fashion
from acgan_lib.experiments._results import done, record
from acgan_lib.fashion import fashion_mnist
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.objectives import Objective, acgan, gan
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

Norm = Literal["both", "spectral", "batch"]
MODELS = ("dcgan", "acgan")
NORMS: tuple[Norm, ...] = ("both", "spectral", "batch")
STEPS, BATCH_SIZE, RATE = 6_000, 50, 7e-4  # 300,000 images


def norms_d(kind: Norm, class_head: int = 0, width: int = 32) -> Discriminator:
    """Return the fast D, normalised in one of three ways.

    The stored weights are the same for all three after one seed.

    Args:
        kind: ``"both"`` is the book's D. ``"spectral"`` leaves out its BatchNorm, and gives the
            convolutions before it a bias (Miyato et al. 2018). ``"batch"`` leaves out spectral norm
            in every layer, the heads too (Radford et al. 2016): in ``"both"`` the first convolution
            and the heads are where it acts, so a D that kept it there would hardly be another one.
        class_head: number of class logits; 0 for no class head.
        width: as of `nets.Discriminator`.

    Raises:
        ValueError: kind is none of the three.
    """
    if kind not in NORMS:
        raise ValueError(f"kind must be one of {', '.join(NORMS)}, got {kind!r}")
    D = Discriminator(class_head=class_head, width=width)
    if kind == "spectral":
        for block in list(D.trunk)[1:-1]:
            layers = cast(nn.Sequential, block)
            conv = cast(nn.Conv2d, layers[0])
            conv.bias = nn.Parameter(torch.zeros(conv.out_channels))
            layers[1] = nn.Identity()
    elif kind == "batch":
        for layer in [module for module in D.modules() if is_parametrized(module, "weight")]:
            remove_parametrizations(layer, "weight", leave_parametrized=False)
    return D


def networks(model: str, norm: Norm) -> tuple[Generator, Discriminator, Objective]:
    """Return fresh networks for FashionMNIST, and the objective; seed torch before.

    Raises:
        ValueError: the model is none of MODELS, or the norm none of NORMS.
    """
    if model not in MODELS:
        raise ValueError(f"model must be one of {', '.join(MODELS)}, got {model!r}")
    classes, objective = (0, gan()) if model == "dcgan" else (10, acgan())
    return Generator(num_classes=classes), norms_d(norm, class_head=classes), objective


def norms_fashion(
    seed: int,
    root: str | None = None,
    steps: int = STEPS,
    models: Sequence[str] = MODELS,
    norms: Sequence[Norm] = NORMS,
) -> None:
    """Train DCGAN and AC-GAN against each of the three Ds, and record what the seed measured.

    Rows that are recorded already are left out, so that a stopped run goes on with the next.
    """
    train = fashion_mnist("train", root)
    config = TrainConfig(
        seed=seed, batch_size=BATCH_SIZE, lr_g=RATE, lr_d=RATE, progress=False
    )  # fmt: skip
    for model in models:
        for norm in norms:
            if steps == STEPS and done("norms", model, seed, norm=norm):
                continue
            seed_everything(seed)
            G, D, objective = networks(model, norm)
            G, D = G.to(pick_device()), D.to(pick_device())
            run = fit(G, D, train, objective, steps=steps, config=config)
            measured = measure(run.G_ema.cpu(), seed, root)
            _common.show(f"{model}, {norm}", seed, measured)
            if not _common.is_whole(steps, STEPS):
                continue
            row: dict[str, Any] = {"model": model, "norm": norm, "seed": seed, "steps": steps}
            row |= {"images": steps * BATCH_SIZE, "rate": RATE, "data": train.source}
            record("norms", {**row, **measured}, by=("model", "norm", "seed"))


def measure(G: ConditionalGenerator, seed: int, root: str | None = None) -> dict[str, Any]:
    """Measure as chapter 6's table does, without CAS; any two images' MS-SSIM for a plain GAN."""
    found = ch06_fashion.measure(G, seed, root, with_cas=False)
    if not G.num_classes:
        x, _ = metrics.sample(G, 2_000, seed=seed)
        alike = metrics.ms_ssim_diversity(x, torch.zeros(len(x), dtype=torch.int64), pairs=1_000)
        found["ms_ssim_any"] = metrics.ms_ssim_mean(alike)
    return found


RUNS = {"norms_fashion": norms_fashion}
