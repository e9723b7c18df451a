"""Ways to bring the label into a CGAN: one-hot or class-conditional BatchNorm, and wrong pairs.

What each training measured is kept in ``data/results/conditioning.json``.
"""

from __future__ import annotations

from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import done, record
from acgan_lib.fashion import fashion_mini
from acgan_lib.losses import d_source_fake
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.objectives import Batch, Objective, Terms, cgan, gan
from acgan_lib.runtime import evaluating, pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

STEPS, WIDTH, K = 1_000, 16, 10
MODELS = ("D blind", "one-hot", "class norm", "wrong pairs")


class ClassNorm(nn.Module):
    """BatchNorm whose scale and shift are the class's own (Dumoulin et al. 2017).

    It starts as `nets.init_weights` leaves BatchNorm: scales from N(1, 0.02), shifts 0.
    """

    def __init__(self, maps: int, num_classes: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(maps, affine=False)
        self.scale = nn.Parameter(1 + 0.02 * torch.randn(num_classes, maps))
        self.shift = nn.Parameter(torch.zeros(num_classes, maps))

    def forward(self, h: Tensor, weights: Tensor) -> Tensor:
        """Normalise ``h``, float (n, maps, H, W), for class weights, float (n, num_classes)."""
        scale, shift = weights @ self.scale, weights @ self.shift
        normal: Tensor = self.norm(h)
        return normal * scale[:, :, None, None] + shift[:, :, None, None]


class ClassNormGenerator(Generator):
    """The fast G, told the class by its four BatchNorms; its first layer sees z alone.

    Args:
        num_classes: K.
        width: as of `nets.Generator`.
    """

    def __init__(self, num_classes: int = 10, width: int = 32) -> None:
        super().__init__(num_classes=0, width=width)
        self.num_classes = num_classes
        blocks: Any = self.blocks
        self.norm = ClassNorm(4 * width, num_classes)  # type: ignore[assignment]
        for i, block in enumerate(blocks):
            block[2] = ClassNorm(2 * width // 2**i, num_classes)

    def draw(self, code: Tensor) -> Tensor:
        """As Generator's."""
        z, weights = code.tensor_split([self.latent_dim], dim=1)
        h = self.project(z).unflatten(1, (-1, 4, 4))
        h, blocks = F.relu(self.norm(h, weights)), cast(Any, self.blocks)
        for conv, shuffle, norm, relu in blocks:
            h = relu(norm(shuffle(conv(h)), weights))
        return torch.tanh(self.to_image(h))


def cgan_with_wrong_pairs() -> Objective:
    """CGAN with a third kind of fake: real images under a wrong label (Reed et al. 2016).

    Each of the two kinds of fakes counts half. G's loss is CGAN's.
    """
    plain = cgan()

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        terms = plain.d_loss(D, real, fake)
        wrong = (real.labels + torch.randint_like(real.labels, 1, K)) % K
        on_wrong = d_source_fake(D(real.images, wrong).source_logit)
        return {
            "d_source_real": terms["d_source_real"],
            "d_source_fake": 0.5 * terms["d_source_fake"],
            "d_source_wrong": 0.5 * on_wrong,
        }

    name = "cgan with wrong pairs"
    return Objective(name, d_loss, plain.g_loss, plain.needs, plain.settings)


def right_label_preferred(
    D: Discriminator, x: Tensor, y: Tensor, seed: int = 0
) -> metrics.Estimate:
    """Return how often D finds a real image likelier under its own label than under a wrong one.

    A D that does not use the label is at 0.5: a tie counts as half. n is the number of images.

    Args:
        D: is told the label.
        x, y: real images, float (n, C, H, W), and their labels, int64 (n,).
        seed: of the wrong labels.
    """
    generator = torch.Generator().manual_seed(seed)
    wrong = (y + torch.randint(1, K, y.shape, generator=generator)) % K
    with evaluating(D):
        gap = D(x, y).source_logit - D(x, wrong).source_logit
    wins = int((gap > 0).sum()) + int((gap == 0).sum()) // 2
    return metrics.proportion(wins, len(y))


def networks(model: str) -> tuple[ConditionalGenerator, Discriminator, Objective]:
    """Return a model's G and D, at half the book's width, and its objective."""
    G = (ClassNormGenerator if model == "class norm" else Generator)(num_classes=K, width=WIDTH)
    D = Discriminator(width=WIDTH, label_input=0 if model == "D blind" else K)
    plain = gan() if model == "D blind" else cgan()
    return G, D, cgan_with_wrong_pairs() if model == "wrong pairs" else plain


def conditioning(seed: int, steps: int = STEPS) -> None:
    """Train CGANs that are told the label in four ways, and measure each.

    The data's order, the latents and the labels are the same for each model of a seed, so their
    differences are paired. G's first weights are not: another G draws other ones.
    """
    judge, train, test = the_judge(), fashion_mini("train"), fashion_mini("test")
    config = TrainConfig(
        seed=seed, batch_size=50, lr_g=1e-3, lr_d=1e-3, precision="fp32", progress=False
    )
    for model in MODELS:
        if steps == STEPS and done("conditioning", model, seed):
            continue
        seed_everything(seed)
        G, D, objective = networks(model)
        device = pick_device()
        run = fit(G.to(device), D.to(device), train, objective, steps=steps, config=config)
        x, y = metrics.sample(run.G_ema.cpu(), 200, seed=seed)
        measured = _common.measure(judge, x, y, test, by_class=True)
        if D.label_input:
            measured["right_label_preferred"] = right_label_preferred(
                D.cpu(), test.normalised(), test.labels
            )
        _common.show(model, seed, measured)
        if _common.is_whole(steps, STEPS):
            record("conditioning", {"model": model, "seed": seed, "steps": steps, **measured})


RUNS = {"conditioning": conditioning}
