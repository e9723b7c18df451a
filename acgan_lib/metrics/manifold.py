"""Precision, recall, density and coverage: fidelity and diversity as two numbers each.

A set of features stands for the region around its points: the union of balls that reach from
each point to its k-th nearest neighbour in the same set (Kynkaanniemi et al. 2019). One number
can then say how many samples lie among the data, another how much of the data the samples reach.

The four are written out here, though torch-fidelity has two of them, because chapter 11 shows how
they work; the tests hold them against torch-fidelity.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from acgan_lib.metrics.estimate import Estimate, bootstrap_mean, proportion


class Manifold(NamedTuple):
    """Four shares that compare samples with data; n counts samples or, for the last two, data.

    precision: samples that lie in some real image's ball (Kynkaanniemi et al. 2019, equation 2).
    density: how many real balls a sample lies in, over k; 1 on average for the data themselves.
    recall: real images that lie in some sample's ball.
    coverage: real images whose own ball holds a sample.
    Density and coverage (Naeem et al. 2020) ask only for the real images' balls, so that one
    sample far from all others cannot inflate them.
    """

    precision: Estimate
    density: Estimate
    recall: Estimate
    coverage: Estimate


def manifold(
    real: Tensor,
    generated: Tensor,
    *,
    k: int = 5,
    chunk: int = 1000,
    progress: bool = False,
) -> Manifold:
    """Compare generated features with real ones.

    All four move with the number of images and the features' dimension: compare values of equal
    numbers alone. The intervals count images as independent draws and the balls as given.

    Args:
        real: float (n, F). The work is done on the device that it is on.
        generated: float (m, F).
        k: the neighbour whose distance is a ball's radius.
        chunk: rows compared at once; a matter of memory alone.
        progress: show a bar; 10,000 against 10,000 rows take half a minute on a CPU core.

    Raises:
        ValueError: if a shape does not fit, a value is not finite, or a set has k rows or fewer.
    """
    for name, x in (("real", real), ("generated", generated)):
        if x.ndim != 2 or len(x) <= k or x.shape[1] != real.shape[1]:
            raise ValueError(f"{name} needs shape (more than {k}, F), not {tuple(x.shape)}")
        bad = int((~x.isfinite()).sum())
        if bad:
            raise ValueError(f"{name} holds {bad:,} values that are not finite")
    generated = generated.to(real.device)
    real_radius, fake_radius = kth_distance(real, k, chunk), kth_distance(generated, k, chunk)
    balls = torch.zeros(len(generated), device=real.device)  # real balls that hold each sample
    recalled = torch.zeros(len(real), dtype=torch.bool, device=real.device)
    covered = torch.zeros_like(recalled)
    starts = range(0, len(generated), chunk)
    for start in tqdm(starts, desc="manifold", disable=not progress):
        part = slice(start, start + chunk)
        distance = _distances(generated[part], real)
        inside = distance <= real_radius
        balls[part] = inside.sum(1).float()
        covered |= inside.any(0)
        recalled |= (distance <= fake_radius[part, None]).any(0)
    return Manifold(
        precision=proportion(int((balls > 0).sum()), len(generated)),
        density=bootstrap_mean(balls / k),
        recall=proportion(int(recalled.sum()), len(real)),
        coverage=proportion(int(covered.sum()), len(real)),
    )


def kth_distance(x: Tensor, k: int, chunk: int = 1000) -> Tensor:
    """Return each row's distance to its k-th nearest other row, (n,)."""
    parts = [
        # The nearest of all is the row itself.
        _distances(x[start : start + chunk], x).kthvalue(k + 1).values
        for start in range(0, len(x), chunk)
    ]
    return torch.cat(parts)


def _distances(a: Tensor, b: Tensor) -> Tensor:
    # Exact differences: the faster matrix form leaves 1e-3 where equal rows should have 0.
    return torch.cdist(a.float(), b.float(), compute_mode="donot_use_mm_for_euclid_dist")
