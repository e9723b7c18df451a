"""Two details of DCGAN, each against its control: joint batches for D, and ICNR for G.

Short trainings of half-width networks on ``fashion_mini``. The trainings of one seed start from the
same weights (ICNR changes some of G's) and see the same images and latents in the same order. The
rows are in ``data/results/dcgan_details.json``.
"""

from __future__ import annotations

import copy
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common
from acgan_lib.experiments._results import done, record
from acgan_lib.experiments.ch04_norms import Norm, norms_d
from acgan_lib.fashion import fashion_mini
from acgan_lib.losses import d_source_fake, d_source_real, g_source
from acgan_lib.nets import Generator
from acgan_lib.objectives import Batch, Objective, Terms, gan
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import Progress, TrainConfig, fit

STEPS, WIDTH, BATCH_SIZE, RATE = 400, 16, 50, 1e-3
SAMPLES = 2_000
LOOKS = (25, 50, 100, 200, 400)  # steps at which the weave is measured


class Detail(NamedTuple):
    """What differs between the trainings: who judges whom in one batch, D's norms, G's start."""

    joint: bool = False
    joint_in_g: bool = False
    norm: Norm = "both"
    icnr: bool = False


DETAILS = {
    "separate": Detail(),
    "joint": Detail(joint=True),
    "joint in both steps": Detail(joint=True, joint_in_g=True),
    "no BatchNorm, separate": Detail(norm="spectral"),
    "no BatchNorm, joint": Detail(joint=True, norm="spectral"),
    "ICNR": Detail(icnr=True),
}


def joint_gan(*, in_g: bool = False) -> Objective:
    """GAN whose D judges real and generated images in one batch, through one BatchNorm.

    Args:
        in_g: let G's step put the same real images beside the generated ones, too.
    """
    beside: dict[str, Tensor] = {}

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        beside["real"] = real.images
        on_real, on_fake = D(torch.cat([real.images, fake.images])).source_logit.chunk(2)
        return {"d_source_real": d_source_real(on_real), "d_source_fake": d_source_fake(on_fake)}

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        images = torch.cat([beside["real"], fake.images]) if in_g else fake.images
        return {"g_source": g_source(D(images).source_logit[-len(fake.images) :])}

    return Objective("gan, joint batches", d_loss, g_loss, settings={"in_g": in_g})


@torch.no_grad()
def icnr_(G: Generator) -> None:
    """Give the four maps that PixelShuffle deals out one and the same kernel, in every block.

    Each block then starts as an enlargement without a weave (Aitken et al. 2017).
    """
    for block in G.blocks:
        weight = next(block.parameters())  # (4 c_out, c_in, 3, 3), the four maps side by side
        weight.copy_(weight[::4].repeat_interleave(4, dim=0))


def weave(x: Tensor) -> dict[str, float]:
    """Return how strongly grey images, float (n, 1, H, W), show patterns of period 2.

    Each is a root mean square over the images: of the projection on a chequered board of +1 and
    -1, on stripes that change from column to column, and on stripes from row to row.
    """
    sign = 1.0 - 2.0 * (torch.arange(x.shape[-1]) % 2)
    columns = sign.expand(x.shape[-2:])
    patterns = {"board": columns * columns.T, "columns": columns, "rows": columns.T}
    return {
        name: float((x[:, 0] * pattern).mean((1, 2)).square().mean().sqrt())
        for name, pattern in patterns.items()
    }


def details(seed: int, steps: int = STEPS) -> None:
    """Train with joint batches, without BatchNorm in D and with ICNR, and record what came out."""
    data = fashion_mini("train")
    for name in DETAILS:
        if steps == STEPS and done("dcgan_details", name, seed):
            continue
        measured = train_one(DETAILS[name], data, seed, steps)
        _common.show(name, seed, measured)
        if _common.is_whole(steps, STEPS):
            row = {"model": name, "seed": seed, "steps": steps, "images": steps * BATCH_SIZE}
            record("dcgan_details", {**row, "data": data.source, **measured})


def train_one(detail: Detail, data: LabelledImages, seed: int, steps: int) -> dict[str, Any]:
    """Train once and measure: 2,000 samples against the 2,000 test images of ``fashion_mini``."""
    seed_everything(seed)
    G, D = Generator(num_classes=0, width=WIDTH), norms_d(detail.norm, width=WIDTH)
    if detail.icnr:
        icnr_(G)
    G, D = G.to(pick_device()), D.to(pick_device())
    seen = {"0": woven(G)}

    def look(at: Progress) -> None:
        if at.step in LOOKS:
            seen[str(at.step)] = woven(at.G)

    config = TrainConfig(
        seed=seed, batch_size=BATCH_SIZE, lr_g=RATE, lr_d=RATE, precision="fp32", progress=False
    )  # fmt: skip
    objective = joint_gan(in_g=detail.joint_in_g) if detail.joint else gan()
    run = fit(G, D, data, objective, steps=steps, config=config, callbacks=[look])
    terms = {name: round(value, 4) for name, value in run.history.rows[-1].items()}
    return {**measure(run.G_ema.cpu(), seed), "terms": terms, "weave": seen}


def woven(G: nn.Module) -> dict[str, float]:
    """Return the weave of 500 images as G's training sees them: in train mode, of a fixed seed."""
    z = torch.randn(500, 100, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # a copy, so that BatchNorm's averages do not move
        found = weave(copy.deepcopy(G).cpu().train()(z))
    return {name: round(value, 5) for name, value in found.items()}


def measure(G: nn.Module, seed: int) -> dict[str, Any]:
    """Measure samples: the Frechet judge distance, and how far apart two of them are in pixels."""
    test = fashion_mini("test")
    x, _ = metrics.sample(G, SAMPLES, seed=seed)
    return {
        "frechet_judge_distance": metrics.frechet_judge_distance(
            _common.the_judge(), x, test.normalised(), y_b=test.labels, resamples=10
        ),
        "apart": apart(x),
    }


def apart(x: Tensor) -> float:
    """Return the mean distance in pixels between two of the first 500 images."""
    return round(float(torch.pdist(x[:500].flatten(1)).mean()), 3)


RUNS = {"details": details}
