"""The classifier score: the Inception Score's formula with a classifier of one's own choice.

Only with Inception v3's ImageNet logits does it bear the name Inception Score (Salimans et al.
2016). The judge's score says the same kind of thing about this data set, on another scale.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from acgan_lib.metrics.estimate import Estimate


def classifier_score(logits: Tensor, *, resamples: int = 200, seed: int = 0) -> Estimate:
    """Return exp(E KL(p(y|x) || p(y))): 1 if every image looks alike, at best K.

    It asks for sure classes and for all of them; it compares with no data, so one perfect image
    a class scores K (Barratt and Sharma 2018 list what else it overlooks). p(y) is the mean over
    the given images, which makes the score rise with their number.

    The bootstrap's spread is put around the value, as in `frechet_judge_distance`.

    Args:
        logits: float (n, K), of a classifier on the images to be scored.
        resamples: number of bootstrap resamples.
        seed: fixes them.

    Returns:
        Estimate in [1, K]; n counts images.

    Raises:
        ValueError: if logits is not of shape (n >= 2, K >= 2) or not finite.
    """
    if logits.ndim != 2 or min(logits.shape) < 2 or not bool(torch.isfinite(logits).all()):
        raise ValueError(f"logits need shape (n >= 2, K >= 2), finite, not {tuple(logits.shape)}")
    log_p = torch.log_softmax(logits.detach().cpu().double(), 1)
    generator = torch.Generator().manual_seed(seed)
    value = _score(log_p)
    draws = [
        _score(log_p[torch.randint(0, len(log_p), (len(log_p),), generator=generator)])
        for _ in range(resamples)
    ]
    half = 1.96 * float(np.std(draws, ddof=1))
    k = logits.shape[1]
    return Estimate(value, max(value - half, 1.0), min(value + half, float(k)), len(log_p))


def _score(log_p: Tensor) -> float:
    p = log_p.exp()
    log_marginal = p.mean(0).clamp_min(torch.finfo(p.dtype).tiny).log()
    return float((p * (log_p - log_marginal)).sum(1).mean().exp())
