"""The mean of a quantity that belongs to two things, as the likeness of two images does.

Two pairs that share an image vary together. Taken as independent, 150 pairs of 60 images give
intervals that are half as wide as they should be.
"""

from __future__ import annotations

import math
import random

import torch
from scipy.special import stdtrit  # Student's quantile
from torch import Tensor

from acgan_lib.metrics.estimate import Estimate


def random_pairs(n: int, pairs: int, seed: int) -> Tensor:
    """Return int64 (min(pairs, n (n - 1) / 2), 2): distinct pairs i > j of the numbers 0..n-1.

    Pair number p is (i, j) with p = i (i - 1) / 2 + j, so pairs are drawn as numbers, unlisted.
    """
    total = n * (n - 1) // 2
    numbers = random.Random(seed).sample(range(total), min(pairs, total))
    first = [(1 + math.isqrt(1 + 8 * p)) // 2 for p in numbers]
    return torch.tensor([(i, p - i * (i - 1) // 2) for i, p in zip(first, numbers, strict=True)])


def over_pairs(values: Tensor, pairs: Tensor) -> Estimate:
    """Return the mean of values in [0, 1] of pairs of things, with its interval; n counts pairs.

    The interval is for another draw of the things. With f the value of a pair, its mean over
    P pairs varies by Hoeffding (1948) as ``(var f + c (sum d (d - 1)) / P) / P``, where d counts a
    thing's pairs and c is the covariance of two pairs that share a thing. Here both come from a
    jackknife, which leaves one thing out at a time (Arvesen 1969). It counts twice what is a pair's
    own, once at each end, so that part is taken off once. Weights drawn for each thing, the usual
    bootstrap, count it three times: too wide where pairs are few.

    Args:
        values: float (P,), P >= 3.
        pairs: int64 (P, 2), the two things of each pair, numbered from 0; no pair comes twice.

    Raises:
        ValueError: if there are fewer than 3 values, one is not finite, or they are not the pairs'.
    """
    v = values.detach().cpu().double()
    if pairs.shape != (*v.shape, 2) or len(v) < 3 or not v.isfinite().all():
        raise ValueError(
            f"need the finite values of at least 3 pairs, got {tuple(v.shape)} for the pairs' "
            f"{tuple(pairs.shape)}"
        )
    ends, n = pairs.cpu().flatten(), len(v)
    degree, mean = ends.bincount(), float(v.mean())
    apart = v - mean
    total = ends.bincount(weights=apart.repeat_interleave(2))  # of each thing's pairs
    jackknife = float((total / (n - degree).clamp_min(1)).square().sum())
    own = float(apart.square().sum())
    # c is not negative, so the mean varies no less than that of pairs with no thing in common.
    variance = max(jackknife - own / n**2, own / (n * (n - 1)))
    half = float(stdtrit(int((degree > 0).sum()) - 1, 0.975)) * math.sqrt(variance)
    return Estimate(mean, max(mean - half, 0.0), min(mean + half, 1.0), n)
