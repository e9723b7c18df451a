"""Nearest training images, and whether a generator copies them.

Odena et al. 2017 look for overfitting by the nearest training images in L1 distance of pixels.
Pixels mislead: a copy shifted by one pixel is far from its original. So the same search runs on
any features, and `memorisation` turns what the eye looks for into a number.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from tqdm.auto import tqdm

from acgan_lib.metrics.estimate import Estimate, proportion
from acgan_lib.metrics.sampling import checked_images


class Neighbours(NamedTuple):
    """The nearest references of each query, nearest first.

    rows int64 (n, k), of the references; distance float (n, k).
    """

    rows: Tensor
    distance: Tensor


def nearest_neighbours(
    queries: Tensor,
    references: Tensor,
    *,
    k: int = 1,
    p: float = 1.0,
    chunk: int = 200,
    progress: bool = False,
) -> Neighbours:
    """Find each query's k nearest references.

    Args:
        queries: float (n, ...): images, or features of images.
        references: float (m, ...) of the same trailing shape. The work is done on the device that
            they are on.
        k: neighbours for each query.
        p: the norm: 1 adds up absolute differences, as the paper does with pixels; 2 is
            Euclid's, the usual one for features.
        chunk: queries compared at once; a matter of memory alone.
        progress: show a bar; 1,000 images against 10,000 take 5 seconds on a CPU core.

    Returns:
        Neighbours, on the CPU.

    Raises:
        ValueError: if a set is empty, not float or not finite, or holds images (four dimensions)
            outside [-1, 1] (`checked_images`); if the trailing shapes differ; if there are fewer
            than k references.
    """
    _check(queries, "queries")
    _check(references, "references")
    if queries.shape[1:] != references.shape[1:]:
        raise ValueError(
            f"queries and references differ in shape: {tuple(queries.shape[1:])} and "
            f"{tuple(references.shape[1:])}"
        )
    if not 1 <= k <= len(references):
        raise ValueError(f"k must lie in 1..{len(references)} (the references), not {k}")
    columns = references.flatten(1).float()
    rows = queries.flatten(1).float().to(columns.device)
    exact = "donot_use_mm_for_euclid_dist"
    found = [
        torch.cdist(rows[s : s + chunk], columns, p=p, compute_mode=exact).topk(k, largest=False)
        for s in tqdm(range(0, len(rows), chunk), desc="neighbours", disable=not progress)
    ]
    return Neighbours(
        torch.cat([f.indices for f in found]).cpu(), torch.cat([f.values for f in found]).cpu()
    )


def _check(x: Tensor, name: str) -> None:
    """Refuse what has no distance: features that are not finite floats, images of another range."""
    if x.ndim == 4:
        checked_images(x, name)
    elif not x.is_floating_point() or x.ndim < 2 or not len(x):
        raise ValueError(f"{name} must be float (n, ...), n >= 1, not {x.dtype} {tuple(x.shape)}")
    elif not bool(x.isfinite().all()):
        rows = int((~x.isfinite()).flatten(1).any(1).sum())
        raise ValueError(f"{name}: {rows:,} of {len(x):,} rows hold a value that is not finite")


def memorisation(
    generated: Tensor,
    train: Tensor,
    held_out: Tensor,
    *,
    p: float = 2.0,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Return the share of samples that lie nearer to a training image than to any held-out one.

    Both reference sets are cut to the same number of images, so a generator of *new* images
    scores 0.5, for then the two sets are alike to it. A generator that copies its training
    images scores 1. (The idea of comparing with held-out data: Meehan, Chaudhuri and Dasgupta
    2020, "A non-parametric test to detect data-copying in generative models".)

    The interval counts samples. Another choice of reference images moves the figure as well,
    by about as much when they are few, so ask for a clear distance from 0.5. A generator near
    0.5 may still copy now and then: look at the nearest pairs.

    Args:
        generated: features or images, float (n, ...).
        train: the same of images that the generator was trained on, float (m, ...).
        held_out: of images that it was not, from the same distribution.
        p: the norm, as in `nearest_neighbours`.
        seed: fixes which images are left out of the larger set.
        progress: show a bar over the samples, one for each set.

    Raises:
        ValueError: as nearest_neighbours.
    """
    for name, x in (("generated", generated), ("train", train), ("held_out", held_out)):
        _check(x, name)
    size = min(len(train), len(held_out))
    generator = torch.Generator().manual_seed(seed)
    near, far = (
        nearest_neighbours(
            generated, x[torch.randperm(len(x), generator=generator)[:size]], p=p, progress=progress
        )
        for x in (train, held_out)
    )
    nearer = near.distance[:, 0] < far.distance[:, 0]
    ties = near.distance[:, 0] == far.distance[:, 0]
    # A tie counts half: an image that is in both sets says nothing.
    return proportion(round(float(nearer.sum()) + 0.5 * float(ties.sum())), len(generated))
