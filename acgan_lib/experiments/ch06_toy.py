"""AC-GAN on two overlapping Gaussians: does training end where the equilibrium of chapter 6 is?

Class 0 is N(-1, 1) and class 1 is N(+1, 1), equally frequent. Five seeds of each objective, about
four seconds each. The rows are in ``data/results/acgan_toy.json``.
"""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn

from acgan_lib import objectives
from acgan_lib.experiments import _common
from acgan_lib.experiments._results import record
from acgan_lib.nets import DiscriminatorOutput, HeadedDiscriminator, one_hot
from acgan_lib.objectives import Batch, Needs, Objective
from acgan_lib.runtime import seeded
from acgan_lib.toy import _descend, hidden_layers
from acgan_lib.train import frozen

STEPS, BATCH_SIZE, WIDTH = 2_500, 128, 32
RATE_G, RATE_D, BETAS, EMA = 5e-4, 2e-3, (0.0, 0.99), 0.995
MEANS = (-1.0, 1.0)  # of the classes, whose standard deviations are 1
SAMPLES = 50_000  # of each class
NEAR = 0.25  # half the width of the strip about the border in which density is compared
TRUE_NEAR = 0.5 * (math.erf((1 + NEAR) / math.sqrt(2)) - math.erf((1 - NEAR) / math.sqrt(2)))

GAMES: dict[str, Objective] = {
    "AC-GAN": objectives.acgan(),
    "AC-GAN, literal": objectives.acgan(saturating=True),
    "AC-GAN, real only": objectives.acgan(class_loss_on="real"),
    "AC-GAN, real only, literal": objectives.acgan(class_loss_on="real", saturating=True),
    "AC-GAN, weight 0.3": objectives.acgan(g_class_weight=0.3),
    "AC-GAN, weight 0.1": objectives.acgan(g_class_weight=0.1),
    "CGAN": objectives.cgan(),
}


class ToyGenerator(nn.Module):
    """From z (n, 2) and y int64 (n,) in 0..K-1 to points (n, 1)."""

    def __init__(self, num_classes: int = 2) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.hidden = hidden_layers(2 + num_classes, WIDTH, 2, nn.ReLU())
        self.to_point = nn.Linear(WIDTH, 1)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        """Return a point for each latent and class."""
        code = torch.cat([z, one_hot(y, self.num_classes, len(z))], dim=1)
        return self.to_point(self.hidden(code))  # type: ignore[no-any-return]


class ToyDiscriminator(HeadedDiscriminator):
    """From points (n, 1) to what an objective needs of D; no spectral norm."""

    def __init__(self, needs: Needs, num_classes: int = 2) -> None:
        super().__init__()
        heads = needs.heads(num_classes)
        self.label_input = heads.pop("label_input")
        self.hidden = hidden_layers(1 + self.label_input, WIDTH, 2, nn.LeakyReLU(0.2))
        self.add_heads(WIDTH, **heads, normed=lambda layer: layer)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Judge the points."""
        if self.label_input:
            x = torch.cat([x, one_hot(y, self.label_input, len(x))], dim=1)
        return self.judge(self.hidden(x), y)


def real(n: int, draws: torch.Generator, means: tuple[float, ...] = MEANS) -> Batch:
    """Draw n labels, each class equally likely, and for each a point of its Gaussian."""
    y = torch.randint(len(means), (n,), generator=draws)
    return Batch(torch.randn(n, 1, generator=draws) + torch.tensor(means)[y, None], y)


def trained(
    objective: Objective, seed: int, steps: int = STEPS, means: tuple[float, ...] = MEANS
) -> ToyGenerator:
    """Train on fresh points in each step; return the running average of G's weights.

    Both rates fall linearly to 0.
    """
    K = len(means)
    with seeded(seed, torch.device("cpu")):
        G, D = ToyGenerator(K), ToyDiscriminator(objective.needs, K)
    average = copy.deepcopy(G)
    draws = torch.Generator().manual_seed(seed)
    opt_g = torch.optim.Adam(G.parameters(), RATE_G, BETAS, fused=True)
    opt_d = torch.optim.Adam(D.parameters(), RATE_D, BETAS, fused=True)
    for step in range(steps):
        for optimiser, rate in ((opt_g, RATE_G), (opt_d, RATE_D)):
            optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
        data = real(BATCH_SIZE, draws, means)
        y = torch.randint(K, (BATCH_SIZE,), generator=draws)
        z = torch.randn(BATCH_SIZE, 2, generator=draws)
        fake = Batch(G(z, y), y, z)
        d_terms = objective.d_loss(D, data, fake._replace(images=fake.images.detach()))
        _descend(d_terms, opt_d)
        with frozen(D):
            _descend(objective.g_loss(D, fake), opt_g)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(G.parameters()), 1 - EMA)
    return average


def measure(G: nn.Module, seed: int = 0) -> dict[str, float]:
    """Measure 50,000 points of each class.

    Returns:
        border: density in a strip about 0, relative to the data's; 1 in the truth.
        spread: standard deviation, mean of the two classes; 1 in the truth.
        crossed: share of the points beyond the border of their class; 0.159 in the truth.
    """
    y = torch.arange(2).repeat_interleave(SAMPLES)
    z = torch.randn(len(y), 2, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        x = G(z, y).squeeze(1)
    spread = torch.stack([x[y == k].std() for k in (0, 1)]).mean()
    return {
        "border": float((x.abs() < NEAR).float().mean()) / TRUE_NEAR,
        "spread": float(spread),
        "crossed": float(((x > 0).long() != y).float().mean()),
    }


def acgan_toy(seed: int, steps: int = STEPS) -> None:
    """Train AC-GAN, its variants and CGAN on two overlapping Gaussians, and record the density."""
    for model, objective in GAMES.items():
        measured = {k: round(v, 4) for k, v in measure(trained(objective, seed, steps)).items()}
        _common.show(model, seed, measured)
        if _common.is_whole(steps, STEPS):
            record("acgan_toy", {"model": model, "seed": seed, "steps": steps, **measured})


RUNS = {"acgan_toy": acgan_toy}
