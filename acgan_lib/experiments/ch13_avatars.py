"""Class swaps of avatars, held against the truth: does a face keep ground, skin and hair?

The same face can be drawn in every kind (`acgan_lib.avatars.paired`), so a swap has a right answer.
A judge reads the three factors off every picture of a class-swap grid. `avatar_swaps` measures the
shipped generators, and real pairs in their place; chapter 13 reads what it recorded,
``data/results/avatar_swaps.json``.
"""

from __future__ import annotations

from itertools import combinations, product
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor

from acgan_lib import metrics, zoo
from acgan_lib.avatars import KINDS, LEVELS, avatars, read_ground
from acgan_lib.experiments._common import show, the_judge
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch10_avatars import SEEN, read_factors, read_paired, read_swaps
from acgan_lib.metrics import truth
from acgan_lib.nets import ConditionalGenerator

ROWS = 1_000  # z of a grid
PER_KIND = 1_000  # pictures of each kind, each with a z of its own, for `truth.dependence`
MODELS = ("acgan_avatars32", "acgan_avatars64", "cgan_avatars32", "cgan_avatars64")


def pair_bits(values: Tensor) -> Tensor:
    """Return the mutual information between each two columns in bits: float64 (K, K).

    Where a pair of kinds keeps few values and shares many bits, a swap does not forget the factor:
    it renames it. On the diagonal stands each column's entropy.

    Args:
        values: int64 (n, K), one factor on a class-swap grid.
    """
    k = values.shape[1]
    bits = torch.zeros(k, k, dtype=torch.float64)
    for a, b in product(range(k), repeat=2):
        if a <= b:
            bits[a, b] = bits[b, a] = truth.dependence(values[:, a], values[:, b]).bits.value
    return bits


class Worst(NamedTuple):
    """The two kinds between which a swap keeps a factor least often, and how often it does."""

    kinds: tuple[str, str]
    kept: metrics.Estimate


def worst_pair(values: Tensor) -> Worst:
    """Find the worst pair on the even rows, and measure it on the odd ones, by Wilson's interval.

    The lowest of 45 shares is low by chance, too. On rows that had no part in the choice it is not.

    Args:
        values: int64 (n, 10), one factor on a class-swap grid.

    Raises:
        ValueError: unless there are 2 rows and a column for each kind.
    """
    if values.ndim != 2 or len(values) < 2 or values.shape[1] != len(KINDS):
        raise ValueError(f"values must have shape (n >= 2, 10), not {tuple(values.shape)}")
    even, odd = values[::2], values[1::2]
    a, b = min(
        combinations(range(len(KINDS)), 2),
        key=lambda pair: int((even[:, pair[0]] == even[:, pair[1]]).sum()),
    )
    kept = int((odd[:, a] == odd[:, b]).sum())
    return Worst((KINDS[a], KINDS[b]), metrics.proportion(kept, len(odd)))


def measure_swaps(values: Tensor) -> dict[str, Any]:
    """Return for each factor of a grid, int64 (n, 10, 3), what a swap keeps of it."""
    found: dict[str, Any] = {}
    for i, name in enumerate(SEEN):
        swap = truth.factor_swaps(values[:, :, i], LEVELS[name])
        worst = worst_pair(values[:, :, i])
        found |= {
            f"kept_{name}": swap.kept,
            f"chance_{name}": round(swap.chance, 4),
            f"bits_{name}": swap.bits,
            f"worst_{name}": {"kinds": list(worst.kinds), "kept": worst.kept},
            f"pairs_{name}": _rounded(swap.pairs),
            f"pair_bits_{name}": _rounded(pair_bits(values[:, :, i])),
        }
    return found


def tells_kind(read: Tensor, kinds: Tensor) -> dict[str, Any]:
    """Return how much each factor tells of the kind: bits, and the test's p. In the truth: nothing.

    Args:
        read: int64 (n, 3), the factors of independent pictures.
        kinds: int64 (n,), the kinds asked for.
    """
    found: dict[str, Any] = {}
    for i, name in enumerate(SEEN):
        told = truth.dependence(read[:, i], kinds)
        found |= {f"tells_{name}": told.bits, f"tells_{name}_p": told.p}
    return found


def avatar_swaps(seed: int = 0) -> None:
    """Measure class swaps of the shipped avatar generators, and of real pairs in their place."""
    for name in MODELS:
        G = cast(ConditionalGenerator, zoo.load(name))
        z = torch.randn(ROWS, G.latent_dim, generator=torch.Generator().manual_seed(seed + 13))
        values = read_swaps(G, z)
        measured = measure_swaps(values)
        x, y = metrics.sample(G, PER_KIND, seed=seed)
        read = read_factors(the_judge(f"factors_avatars{G.image_size}"), x)[:, : len(SEEN)]
        agree = int((read[:, 0] == read_ground(x)[0]).sum())
        measured |= tells_kind(read, y) | {"ground_as_by_rule": metrics.proportion(agree, len(x))}
        _keep(name, seed, measured)
    for size in (32, 64):
        values, faces = read_paired(size)
        train = avatars("train", size)
        read = read_factors(the_judge(f"factors_avatars{size}"), train.normalised())
        right = {
            f"right_{name}": metrics.proportion(
                int((values[:, :, i] == faces[:, i, None]).sum()), values[:, :, i].numel()
            )
            for i, name in enumerate(SEEN)
        }
        told = tells_kind(read[:, : len(SEEN)], train.labels)
        _keep(f"real_avatars{size}", seed, measure_swaps(values) | right | told)


def _keep(name: str, seed: int, measured: dict[str, Any]) -> None:
    shown = {k: v for k, v in measured.items() if not isinstance(v, list | dict)}
    show(name, seed, shown)
    record("avatar_swaps", {"model": name, "seed": seed, **measured})


def _rounded(matrix: Tensor) -> list[list[float]]:
    return [[round(value, 4) for value in row] for row in matrix.tolist()]


RUNS = {"avatar_swaps": avatar_swaps}
