"""Where an explorer stands in latent space, and where it can go: a seed's z, and directions.

`principal_directions` are those that G's first layer stretches most; they have no names.
`named_directions` are found by regression, for attributes that something can read from pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import latent
from acgan_lib.runtime import evaluating


def seeded(seed: int, latent_dim: int) -> Tensor:
    """The latent vector of a seed, float32 (latent_dim,) from N(0, 1), the same everywhere.

    torch's generators cannot be had in a browser, so a picture's seed would mean nothing there.
    Here each pair of values comes from two 32-bit hashes of the seed and the pair's number
    (MurmurHash3's finaliser, Appleby 2011) by Box and Muller's transform (1958);
    ``front/engines.js`` has the same few lines. Good for choosing a z, not for Monte Carlo.

    Raises ValueError unless 0 <= seed < 2**32.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    pairs = (latent_dim + 1) // 2
    start = _hash(np.array([seed + 0x9E3779B9 & _WORD], dtype=np.uint64))
    words = _hash(start + np.arange(2 * pairs, dtype=np.uint64) * np.uint64(0x9E3779B9))
    u, v = ((words.astype(np.float64) + 0.5) / 2**32).reshape(pairs, 2).T
    radius, angle = np.sqrt(-2 * np.log(u)), 2 * np.pi * v
    both = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return torch.from_numpy(both.flatten()[:latent_dim].astype(np.float32))


_WORD = 0xFFFFFFFF


def _hash(x: np.ndarray) -> np.ndarray:
    """MurmurHash3's 32-bit finaliser, in 64-bit words whose upper half is cleared."""
    word = np.uint64(_WORD)
    x = x & word
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor) & word
    return x ^ (x >> np.uint64(16))


def principal_directions(G: nn.Module, k: int, latent_dim: int | None = None) -> Tensor:
    """The ``k`` unit directions in z that G's first layer stretches most: (k, latent_dim).

    They are the right singular vectors of that linear layer's latent columns, in order of their
    singular values (Shen and Zhou 2021, arXiv 2007.06600, read on the first layer). Each sign is
    set so that the largest entry is positive, because a singular vector has none of its own.

    The layer is ``G.project`` or else G's first ``nn.Linear`` or ``nn.ConvTranspose2d`` (which is
    linear in z as long as z is a map of 1x1 pixels) with at least latent_dim inputs; z's are taken
    to be the first of them. latent_dim is ``G.latent_dim`` unless given. Raises TypeError where
    there is no such layer.
    """
    d = latent_dim if latent_dim is not None else getattr(G, "latent_dim", None)
    if not isinstance(d, int):
        raise TypeError("G has no latent_dim: pass latent_dim")
    with evaluating(G):  # in train mode, to read a weight under spectral norm changes its estimate
        layers = [getattr(G, "project", None), *G.modules()]
        columns = next((w for w in map(_linear_map, layers) if w is not None and len(w) >= d), None)
        if columns is None:
            raise TypeError(
                f"G ({type(G).__name__}) has no linear layer that takes {d} latent inputs"
            )
        # float64 on the CPU: the order and sign must not depend on the device's rounding.
        weight = columns[:d].T.to("cpu", torch.float64)
    most = min(weight.shape)
    if not 1 <= k <= most:
        raise ValueError(f"k must lie in 1..{most}, not {k}")
    directions = torch.linalg.svd(weight, full_matrices=False).Vh[:k]
    largest = directions.abs().argmax(dim=1, keepdim=True)
    signed: Tensor = directions * directions.gather(1, largest).sign()
    return signed.float()


def named_directions(
    G: nn.Module,
    read: Callable[[Tensor], Tensor],
    names: Sequence[str],
    n: int = 4000,
    *,
    conditioned: bool = False,
    seed: int = 0,
) -> dict[str, Tensor]:
    """Find the unit direction in z along which each attribute of G's pictures grows fastest.

    G draws n pictures, class after class in turn, `read` scores them, and least squares with an
    intercept for each class give each score's slope in z. For z from N(0, 1) that slope tends to
    the score's mean gradient, whether or not the score is linear in z (Stein 1981). InterFaceGAN
    (Shen et al. 2020, arXiv 1907.10786) takes the normal of a linear boundary instead. A score
    that rises and falls again along every line has no such direction: measure what one does.

    Args:
        G: a generator with `latent_dim` and `num_classes`.
        read: images (n, C, H, W) in [-1, 1] to scores, float (n, m), such as log-odds of a judge.
        names: m names.
        n: pictures, more than latent_dim + classes.
        conditioned: take from each direction its part along the other ones, as published, so that
            to first order the other scores stay.
        seed: fixes z.

    Returns:
        float32 (latent_dim,) on the CPU, by name.

    Raises:
        ValueError: n is too small, `read` gives another shape or a number that is not finite, or
            a score never changes.
    """
    d, k = int(G.latent_dim), max(int(G.num_classes), 1)  # type: ignore[arg-type]
    if n <= d + k:
        raise ValueError(f"n must be more than latent_dim + classes = {d + k}, not {n}")
    z = torch.randn(n, d, generator=torch.Generator().manual_seed(seed))
    y = torch.arange(n) % k
    parts = [
        read(latent.generate(G, z[s], y[s] if G.num_classes else None)).detach().cpu()
        for s in (slice(start, start + 250) for start in range(0, n, 250))
    ]
    scores = torch.cat(parts).double()
    if scores.shape != (n, len(names)) or not scores.isfinite().all():
        raise ValueError(f"read must give finite scores ({n}, {len(names)}), one a name")
    inputs = torch.cat([z.double(), F.one_hot(y, k)], dim=1)
    slopes = torch.linalg.lstsq(inputs, scores).solution[:d].T
    if still := [name for name, s in zip(names, slopes.norm(dim=1), strict=True) if s < 1e-9]:
        raise ValueError(f"z does not change {', '.join(still)}: no direction")
    rows = F.normalize(slopes)
    if conditioned:  # the rows of the pseudo-inverse are at right angles to all other slopes
        rows = F.normalize(torch.linalg.pinv(rows).T)
    return dict(zip(names, rows.float(), strict=True))


def _linear_map(layer: object) -> Tensor | None:
    """What a linear layer does to each of its inputs, (inputs, outputs); None for another layer."""
    if isinstance(layer, nn.Linear):
        return layer.weight.T
    if isinstance(layer, nn.ConvTranspose2d) and layer.groups == 1:
        return layer.weight.flatten(1)
    return None
