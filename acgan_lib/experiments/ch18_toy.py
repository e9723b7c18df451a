"""The payoff test, and the toy of chapter 18: three classes on a line under every objective.

The classes are N(-1, 1), N(1, 1) and N(5, 1): two overlap, and the third is a control, far away.
`payoff` trains D alone where G draws the truth already, and asks what G would earn elsewhere.
`predicted` computes on a grid where AC-GAN's training should end. Five seeds of each training,
about four seconds each, are in ``data/results/mends_toy.json``.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Literal

import torch
from torch import Tensor, nn

from acgan_lib import objectives
from acgan_lib.experiments import _common
from acgan_lib.experiments._results import done, record
from acgan_lib.experiments.ch06_toy import EMA, STEPS, ToyDiscriminator, real, trained
from acgan_lib.objectives import Batch, Objective
from acgan_lib.runtime import seeded
from acgan_lib.toy import _descend
from acgan_lib.train import frozen

MEANS = (-1.0, 1.0, 5.0)
OVERLAPPING = (0, 1)  # the classes on which the measures are taken; class 2 is the control
SAMPLES = 50_000  # of each class
NEAR = 0.5  # half the width of the strip about 0 in which density is compared
ALONE = 1_000  # steps of D alone
GRID = torch.linspace(-9, 13, 4_401, dtype=torch.float64)
SPACING = float(GRID[1] - GRID[0])

GAMES: dict[str, Objective] = {
    "AC-GAN": objectives.acgan(),
    "AC-GAN, weight 0.3": objectives.acgan(g_class_weight=0.3),
    "AC-GAN, weight 0.1": objectives.acgan(g_class_weight=0.1),
    "AC-GAN, real only": objectives.acgan(class_loss_on="real"),
    "AC-GAN, n+1": objectives.acgan(class_loss_on="n+1"),
    "ReACGAN": objectives.reacgan(embedding=16),
    "CGAN": objectives.cgan(),
    "projection": objectives.projection(),
    "TAC-GAN": objectives.tac(),
    "ADC-GAN": objectives.adc(),
}


# -- the payoff test -----------------------------------------------------------------------------


def at_its_best(objective: Objective, seed: int = 0, steps: int = ALONE) -> ToyDiscriminator:
    """Train D alone on N(-1, 1) and N(1, 1), where real and generated points have one law.

    Fresh points in each step, 256 of each kind; the running average of D's weights is returned.
    """
    with seeded(seed, torch.device("cpu")):
        D = ToyDiscriminator(objective.needs)
    average, draws = copy.deepcopy(D), torch.Generator().manual_seed(seed)
    adam = torch.optim.Adam(D.parameters(), 4e-3, (0.0, 0.99), fused=True)
    for step in range(steps):
        adam.param_groups[0]["lr"] = 4e-3 * (1 - step / steps)
        _descend(objective.d_loss(D, real(256, draws), real(256, draws)), adam)
        with torch.no_grad():
            torch._foreach_lerp_(list(average.parameters()), list(D.parameters()), 1 - EMA)
    return average.eval()


def payoff(
    objective: Objective, D: nn.Module, points: Tensor, label: int = 1, seed: int = 0
) -> Tensor:
    """Return what G earns for one point of a class, at each of some places, float (n,).

    It is minus the loss of G, times the number of points in the batch, so that the other points of
    the batch add a constant. They matter where a loss compares points: there are 127 of them.

    Args:
        objective: whose g_loss is asked.
        D: judges points (n, 1).
        points: float (n,).
        label: the class that G was asked for.
        seed: of the others.
    """
    others = real(127, torch.Generator().manual_seed(seed))
    y = torch.cat([torch.tensor([label]), others.labels])
    earned = []
    with torch.no_grad(), frozen(D):
        for x in points.float():
            batch = Batch(torch.cat([x.view(1, 1), others.images]), y)
            earned.append(-len(y) * torch.stack(list(objective.g_loss(D, batch).values())).sum())
    return torch.stack(earned)


def spread(objective: Objective, seed: int = 0, steps: int = ALONE) -> float:
    """Return by how much G's payoff for class 1 varies at the truth, in nats.

    The largest minus the smallest over the class's mean +- 2 standard deviations. At an
    equilibrium it would be 0.
    """
    earned = payoff(objective, at_its_best(objective, seed, steps), torch.linspace(-1, 3, 41))
    return float(earned.max() - earned.min())


# -- where training should end -------------------------------------------------------------------

Form = Literal["real+fake", "real", "n+1"]
# Where the classes end. With "real+fake" a range of borders would do, and these are where the true
# densities are equal. The other two leave no choice: at a border b the two classes' constants must
# differ by the log of the ratio of their densities there.
BORDERS = {"real+fake": (0.0, 3.0), "real": (-0.0129, 3.0440), "n+1": (-0.0097, 3.0440)}


def densities(means: Sequence[float] = MEANS) -> Tensor:
    """Return the joint densities p(x, k) on GRID, float64 (K, grid): each integrates to 1 / K."""
    offsets = GRID - torch.tensor(means, dtype=torch.float64)[:, None]
    return (-0.5 * offsets**2).exp() / (len(means) * math.sqrt(2 * math.pi))


def earned(form: Form, weight: float, own: Tensor, r: Tensor) -> Tensor:
    """Return G's payoff for a class against the best D, where G draws that class alone.

    Args:
        form, weight: of AC-GAN.
        own: P(class | x) of the real points.
        r: g(x) / p(x).
    """
    q = {"real+fake": (own + r) / (1 + r), "real": own, "n+1": own / (1 + r)}[form]
    return weight * q.log() - torch.log1p(r)


def predicted(
    form: Form = "real+fake",
    weight: float = 1.0,
    means: Sequence[float] = MEANS,
    borders: Sequence[float] | None = None,
) -> Tensor:
    """Return g(x, k) on GRID at AC-GAN's equilibrium with these borders, or with BORDERS.

    Class k lies between its borders, and there its payoff, weight x log q_k(x) + log D(x), is one
    constant C_k, such that the class keeps its mass of 1 / K. D is at its best, and the source loss
    is the non-saturating one. Two bisections: of g / p at each place, and of C_k.

    Returns:
        float64 (K, grid).
    """
    p_k = densities(means)
    p = p_k.sum(0)
    edges = (-torch.inf, *(BORDERS[form] if borders is None else borders), torch.inf)
    found = torch.zeros_like(p_k)
    for k, (left, right) in enumerate(pairwise(edges)):
        inside = (left < GRID) & (right >= GRID)
        own = (p_k[k] / p)[inside]

        low_c, high_c = -20.0, 0.0
        for _ in range(60):
            C = (low_c + high_c) / 2
            low, high = torch.full_like(own, 0.0), torch.full_like(own, 1e6)
            for _ in range(60):
                r = (low + high) / 2
                more = earned(form, weight, own, r) > C
                low, high = torch.where(more, r, low), torch.where(more, high, r)
            mass = float((p[inside] * low).sum()) * SPACING
            low_c, high_c = (C, high_c) if mass > 1 / len(p_k) else (low_c, C)
        found[k, inside] = p[inside] * low
    return found


# -- measures ------------------------------------------------------------------------------------


def quantiles(density: Tensor, n: int) -> Tensor:
    """Return n equally likely values of a density on GRID, float64 (n,), in order."""
    whole = density.cumsum(0) / density.sum()
    at = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    right = torch.searchsorted(whole, at).clamp(1, len(whole) - 1)
    share = (at - whole[right - 1]) / (whole[right] - whole[right - 1])
    return GRID[right - 1] + SPACING * share.clamp(0, 1)


def measure_points(points: list[Tensor]) -> dict[str, float]:
    """Compare n points of each class with the truth.

    Returns:
        w1: the Wasserstein distance to the true class, mean of the two classes that overlap.
        spread: the ratio of the standard deviations, mean of the same two; 1 in the truth.
        border: density within NEAR of 0, relative to the truth's.
        crossed: share of the points of the two classes beyond the border at 0; .159 in the truth.
        control: the Wasserstein distance of the third class.
    """
    truth, near = densities(), GRID.abs() < NEAR
    exact = [quantiles(p, len(x)) for p, x in zip(truth, points, strict=True)]
    apart = [
        float((x.double().sort().values - e).abs().mean())
        for x, e in zip(points, exact, strict=True)
    ]
    first, second = (points[k] for k in OVERLAPPING)
    in_strip = [float((x.abs() < NEAR).double().mean()) / len(points) for x in points]
    return {
        "w1": (apart[0] + apart[1]) / 2,
        "spread": float(first.std() + second.std()) / 2,
        "border": sum(in_strip) / (float(truth[:, near].sum()) * SPACING),
        "crossed": float((first > 0).double().mean() + (second < 0).double().mean()) / 2,
        "control": apart[2],
    }


def measure(G: nn.Module, seed: int = 0) -> dict[str, float]:
    """Measure 50,000 points of each class, as `measure_points` does."""
    draws = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        points = [
            G(torch.randn(SAMPLES, 2, generator=draws), torch.full((SAMPLES,), k)).squeeze(1)
            for k in range(len(MEANS))
        ]
    return measure_points(points)


def measure_predicted(form: Form = "real+fake", weight: float = 1.0) -> dict[str, float]:
    """Measure the predicted equilibrium, by equally likely points of each class."""
    return measure_points([quantiles(g, SAMPLES) for g in predicted(form, weight)])


def mends_toy(seed: int, steps: int = STEPS) -> None:
    """Train every objective on the three classes, and record what it draws."""
    for model, objective in GAMES.items():
        if steps == STEPS and done("mends_toy", model, seed):
            continue
        G = trained(objective, seed, steps, MEANS)
        measured = {name: round(value, 4) for name, value in measure(G).items()}
        _common.show(model, seed, measured)
        if _common.is_whole(steps, STEPS):
            record("mends_toy", {"model": model, "seed": seed, "steps": steps, **measured})


RUNS = {"mends_toy": mends_toy}
