"""Conditional GANs of avatars, and the judges that read them.

One judge names the kind, one reads ground, skin, hair and glasses. Both learn from drawn pictures
(`make avatars N=3000`) and are tested on the shipped test split, by kind: where a factor is hard to
see, the figure says so. The ground is also read by an exact rule, `avatars.read_ground`, so that
one judge can be held against something that is no network.

The GANs learn from the same pictures: AC-GAN as the paper has it, and CGAN with a projection D.
What ships was trained on a GPU for 57,115 steps, each step a CUDA graph that drew its batch on the
device (``tools/gpu_report.py`` times such steps). `gan_avatars` is the same recipe by `fit`: other
draws, and so other weights. Five seeds of each at 32 px, of 300,000 pictures instead of 3.7
million, say how trainings differ. What each measured is in ``data/results/avatars.json``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import latent, metrics, zoo
from acgan_lib.avatars import (
    FACTORS,
    KINDS,
    LEVELS,
    NO_FACTOR,
    PALETTES,
    WITHOUT_GLASSES,
    Avatars,
    avatars,
    drawn,
    paired,
    read_ground,
)
from acgan_lib.directions import named_directions
from acgan_lib.experiments import _common, _results
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.judge import BATCH_SIZE, Judge, fit_supervised, random_shift, train_judge
from acgan_lib.metrics import truth
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.objectives import Objective, acgan, projection
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig

KIND_STEPS, FACTOR_STEPS = 400, 1_000
PER_KIND = 3_000  # pictures to learn from
GAN_STEPS, WIDTH = 57_115, 48
BATCH = 64
SEEN = FACTORS[:3]  # ground, skin, hair: glasses are no factor of three of the ten kinds
SHORT_STEPS = 4_688  # of 64 pictures, 300,000 in all: what a core trains in ten minutes

Model = Literal["acgan", "cgan"]
OBJECTIVES: dict[Model, Objective] = {"acgan": acgan(), "cgan": projection()}
Attribute = tuple[str, tuple[str, ...], tuple[str, ...]]
NOT_BLUE = tuple(colour for colour in PALETTES["hair"] if colour != "blue")
# A slider's name, its factor, and the factor's values at its left and at its right end.
ATTRIBUTES: dict[str, Attribute] = {
    "hair: dark \u2013 fair": ("hair", ("black", "brown"), ("blond", "grey")),
    "hair: not blue \u2013 blue": ("hair", NOT_BLUE, ("blue",)),
    "skin: light \u2013 dark": ("skin", ("light", "tan"), ("brown", "dark")),
    "ground: yellow \u2013 blue": ("ground", ("lemon", "mint"), ("sky", "lilac")),
    "glasses: off \u2013 on": ("glasses", ("off",), ("on",)),
}
# No direction does this: G lays the grounds out in another order than the colour wheel.
WARM: dict[str, Attribute] = {
    "ground: cool \u2013 warm": ("ground", ("sky", "mint", "lilac"), ("rose", "lemon", "apricot"))
}


def factor_loss(logits: Tensor, factors: Tensor) -> Tensor:
    """Return the sum of the factors' mean cross-entropies.

    Args:
        logits: (n, 20), a block of columns for each of FACTORS.
        factors: int64 (n, 4). NO_FACTOR, in kinds without glasses, does not count.
    """
    parts = torch.split(logits.float(), list(LEVELS.values()), dim=1)
    losses = [
        F.cross_entropy(part, factors[:, i], ignore_index=NO_FACTOR) for i, part in enumerate(parts)
    ]
    return torch.stack(losses).sum()


def train_factor_judge(
    data: Avatars, *, steps: int, seed: int = 0, device: torch.device | str = "cpu"
) -> Judge:
    """Train a fresh judge to read all four factors and return it in eval mode.

    One network with 20 logits, trained on `factor_loss` with the optimiser, the learning rate and
    the shifts of `train_judge`. Its features then hold what the factors and not the kind need.

    Raises:
        ValueError: if `steps` is less than 1.
    """
    data = data.to(device)
    draws = torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        rows = torch.randint(len(data), (BATCH_SIZE,), generator=draws).to(device)
        return random_shift(data.normalised(rows), draws), data.factors[rows]

    return fit_supervised(
        lambda: Judge(sum(LEVELS.values()), data.channels),
        batch, factor_loss, steps=steps, seed=seed, device=device,
    )  # fmt: skip


def read_factors(judge: Judge, images: Tensor) -> Tensor:
    """Return what a factor judge reads from images (n, 3, H, W) in [-1, 1]: int64 (n, 4).

    It says something of glasses for every picture; leave them out where the kind has none.
    """
    logits = metrics.in_batches(judge, judge, images)
    parts = torch.split(logits, list(LEVELS.values()), dim=1)
    return torch.stack([part.argmax(1) for part in parts], dim=1)


def read_swaps(G: nn.Module, z: Tensor) -> Tensor:
    """Draw every z, float (n, latent_dim), in all ten kinds and read ground, skin and hair.

    Returns:
        int64 (n, 10, 3): places in the palettes of `acgan_lib.avatars`, by the judge
        ``factors_avatars32`` or ``factors_avatars64``, whichever G's pictures suit.
    """
    judge = the_judge(f"factors_avatars{G.image_size}")
    rows = [read_factors(judge, latent.class_swap(G, part).flatten(0, 1)) for part in z.split(50)]  # type: ignore[no-untyped-call]
    return torch.cat(rows).view(len(z), len(KINDS), -1)[:, :, : len(SEEN)]


def read_paired(size: Literal[32, 64]) -> tuple[Tensor, Tensor]:
    """Read the truth in the same way: each of the 192 faces as it was drawn in all ten kinds.

    Returns:
        What the judge reads, int64 (192, 10, 3), and what was drawn, int64 (192, 3).
    """
    faces = torch.tensor(list(product(*(range(LEVELS[name]) for name in SEEN))))
    read = read_factors(the_judge(f"factors_avatars{size}"), paired(faces, size=size).normalised())
    return read.view(len(faces), len(KINDS), -1)[:, :, : len(SEEN)], faces


def accuracy_by_kind(read: Tensor, data: Avatars) -> dict[str, dict[str, metrics.Estimate]]:
    """Return for each factor how often it is read right, by the name of the kind and for "all".

    Kinds without glasses are left out of that factor.

    Args:
        read: int64 (N, 4), the reading of all of `data`.
    """
    found = {}
    for i, factor in enumerate(FACTORS):
        drawn_as = data.factor(factor)
        known, right = drawn_as != NO_FACTOR, read[:, i] == drawn_as
        groups = {"all": known} | {
            name: known & (data.labels == k) for k, name in enumerate(data.class_names)
        }
        found[factor] = {
            name: metrics.proportion(int(right[group].sum()), int(group.sum()))
            for name, group in groups.items()
            if group.any()
        }
    return found


def judges(
    size: Literal[32, 64] = 64, seed: int = 0, root: str | Path | None = None
) -> tuple[Judge, Judge]:
    """Train both judges on drawn pictures and print what they reach on the shipped test split.

    Args:
        size: side of the pictures in pixels.
        seed: of both trainings.
        root: folder of the drawn sets, as in `avatars.drawn`.

    Raises:
        FileNotFoundError: no drawn set; the message has the command.
    """
    train, test = drawn(PER_KIND, size, folder=root), avatars("test", size)
    x, device = test.normalised(), pick_device()
    kind = train_judge(train, steps=KIND_STEPS, seed=seed, device=device).cpu()
    print(f"kind: {metrics.judge_accuracy(kind, x, test.labels)}")
    by_class = metrics.judge_accuracy_by_class(kind, x, test.labels)
    print(*(f"  {name:12}{share}" for name, share in zip(KINDS, by_class, strict=True)), sep="\n")
    reader = train_factor_judge(train, steps=FACTOR_STEPS, seed=seed, device=device).cpu()
    read = read_factors(reader, x)
    for factor, shares in accuracy_by_kind(read, test).items():
        print(f"{factor}:", *(f"  {name:12}{share}" for name, share in shares.items()), sep="\n")
    agree = read[:, 0] == read_ground(test.images)[0]
    print(f"ground as by the exact rule: {metrics.proportion(int(agree.sum()), len(agree))}")
    return kind, reader


def networks(model: Model, size: int, seed: int) -> tuple[Generator, Discriminator]:
    """Return fresh networks for pictures of 32 or 64 px; the same seed gives the same weights.

    D has no BatchNorm, which undoes the spectral norm before it: with both, D won on avatars at 64
    px, where its loss fell to 1e-6 (one seed). CGAN's D is told the class by projection.
    """
    seed_everything(seed)
    G = Generator(channels=3, width=WIDTH, image_size=size)
    heads = OBJECTIVES[model].needs.heads(len(KINDS))
    return G, Discriminator(3, WIDTH, image_size=size, batch_norm=False, **heads)


def gan_avatars(
    model: Model,
    size: Literal[32, 64],
    seed: int = 0,
    steps: int = GAN_STEPS,
    root: str | Path | None = None,
) -> None:
    """Train a GAN of avatars on 30,000 drawn pictures and measure it against the known truth.

    Recorded with its steps if it has the whole recipe's or the short one's.
    """
    train = drawn(PER_KIND, size, folder=root)
    G, D = networks(model, size, seed)
    objective = OBJECTIVES[model]
    name = f"{model}_avatars{size}"
    config = TrainConfig(
        batch_size=BATCH, lr_g=4e-4, lr_d=4e-4, betas=(0.0, 0.99), ema=0.9995, seed=seed
    )
    run = name if steps == GAN_STEPS else f"{name}-{steps}"
    result = _common.train(run, G, D, train, objective, config, steps)
    measured = measure(result.G_ema.cpu(), size, seed)
    _common.show(name, seed, measured)
    if steps in (GAN_STEPS, SHORT_STEPS):
        _record(name, seed, steps, measured)


def _record(name: str, seed: int, steps: int, measured: dict[str, Any]) -> None:
    row = {"model": name, "seed": seed, "steps": steps, "images": steps * BATCH}
    record("avatars", {**row, **measured}, by=("model", "steps", "seed"))


def shipped_avatars() -> None:
    """Measure the shipped GANs of avatars, and real pictures in a generator's place."""
    for size in (32, 64):
        for name in (f"{model}_avatars{size}" for model in ("acgan", "cgan")):
            G = zoo.load(name)
            assert isinstance(G, ConditionalGenerator)
            measured = measure(G, size, seed=0)
            _common.show(name, 0, measured)
            _record(name, 0, GAN_STEPS, measured)
        measured = measure_real(size)
        _common.show(f"real_avatars{size}", 0, measured)
        _record(f"real_avatars{size}", 0, 0, measured)


def measure(
    G: ConditionalGenerator, size: Literal[32, 64], seed: int, n: int = 1_000
) -> dict[str, Any]:
    """Measure a generator of avatars by the shipped judges, n pictures of each kind, unranked.

    ``ground_within_25`` is the share whose corners are within 25 of 255 levels of a colour of the
    palette. ``kept_*`` is the share of class swaps at fixed z that keep a factor, over 200 z.
    """
    x, y = metrics.sample(G, n, seed=seed)
    z = torch.randn(200, G.latent_dim, generator=torch.Generator().manual_seed(seed + 5))
    return _measure(x, y, read_swaps(G, z), size)


def measure_real(size: Literal[32, 64]) -> dict[str, Any]:
    """Put real pictures through `measure`: those to learn from, and each face in all ten kinds."""
    real = avatars("train", size)
    return _measure(real.normalised(), real.labels, read_paired(size)[0], size)


def _measure(x: Tensor, y: Tensor, rows: Tensor, size: Literal[32, 64]) -> dict[str, Any]:
    """Measure pictures and their kinds, and what was read on class swaps, (faces, kinds, 3)."""
    kind, reader = (the_judge(f"{what}_avatars{size}") for what in ("judge", "factors"))
    test = avatars("test", size)
    part = torch.cat([torch.nonzero(y == k).flatten()[:200] for k in range(len(KINDS))])
    read, levels = read_factors(reader, x), [LEVELS[f] for f in SEEN]
    near = read_ground(x)[1] <= 25
    measured: dict[str, Any] = {
        "kind": metrics.judge_accuracy(kind, x, y),
        "ground_within_25": metrics.proportion(int(near.sum()), len(near)),
        "frechet_judge_distance": metrics.frechet_judge_distance(
            kind, x[part], test.normalised(), y_a=y[part], y_b=test.labels
        ),
        "ms_ssim": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x[part], y[part], pairs=150)),
    }
    cover = truth.coverage(read[:, :3], levels, y, len(KINDS))
    measured["combinations_met"] = cover.met.value
    measured["combinations_met_by_real"] = cover.met.expected
    for i, factor in enumerate(SEEN):
        measured[f"kept_{factor}"] = truth.factor_swaps(rows[:, :, i], levels[i]).kept
        share = torch.bincount(read[:, i], minlength=levels[i]) / len(read)
        measured[f"{factor}_shares"] = [round(v, 3) for v in share.tolist()]
    return measured


def attribute_scores(
    judge: Judge, images: Tensor, attributes: Mapping[str, Attribute] = ATTRIBUTES
) -> Tensor:
    """Return the factor judge's log-odds of each attribute's right end, float (n, attributes)."""
    logits = metrics.in_batches(judge, judge, images)
    parts = dict(zip(FACTORS, torch.split(logits, list(LEVELS.values()), dim=1), strict=True))
    odds = [
        [parts[factor][:, _values(factor, end)].logsumexp(1) for end in ends]
        for factor, *ends in attributes.values()
    ]
    return torch.stack([right - left for left, right in odds], dim=1)


def attribute_directions(
    G: nn.Module, attributes: Mapping[str, Attribute] = ATTRIBUTES, *, conditioned: bool = True
) -> dict[str, Tensor]:
    """Return the direction in z of each attribute, as the shipped judge reads it at 64 px."""
    read = partial(attribute_scores, the_judge("factors_avatars64"), attributes=attributes)
    return named_directions(G, read, [*attributes], conditioned=conditioned)


def _values(factor: str, names: Sequence[str]) -> list[int]:
    return [[*PALETTES.get(factor, ("off", "on"))].index(name) for name in names]


def measure_directions(name: str = "acgan_avatars64", n: int = 300, reach: float = 2.5) -> None:
    """Measure what each named direction of avatars does, at n latents under all ten kinds.

    ``left`` and ``right`` are the shares read as that end of the slider says at -reach, 0 and
    reach; ``kept_*`` those whose other factor, or kind, is read at +-reach as at 0, and ``kept`` is
    their mean over the other factors; ``kept_more`` is what conditioning adds to it, latent by
    latent. One latent is one observation.
    """
    G, kind, judge = zoo.load(name), the_judge("judge_avatars64"), the_judge("factors_avatars64")
    z = torch.randn(n, int(G.latent_dim), generator=torch.Generator().manual_seed(5))  # type: ignore[arg-type]
    wears = torch.tensor([k not in WITHOUT_GLASSES for k in KINDS])
    among = {name: wears if name == "glasses" else wears | True for name in (*FACTORS, "kind")}

    def read(at: Tensor) -> Tensor:
        """Return factors and kind, int64 (n, kinds, 5)."""
        x = torch.cat([latent.class_swap(G, part).flatten(0, 1) for part in at.split(50)])  # type: ignore[no-untyped-call]
        named = metrics.in_batches(kind, kind, x).argmax(1, keepdim=True)
        return torch.cat([read_factors(judge, x), named], dim=1).view(n, len(KINDS), -1)

    start, rows = read(z), []
    before: dict[str, Tensor] = {}
    for conditioned, attributes in ((False, ATTRIBUTES | WARM), (True, ATTRIBUTES)):
        for label, way in attribute_directions(G, attributes, conditioned=conditioned).items():
            factor, *ends = attributes[label]
            at = torch.stack([read(z - reach * way), start, read(z + reach * way)])
            row: dict[str, Any] = {"model": name, "attribute": label, "conditioned": conditioned}
            read_as = at[..., FACTORS.index(factor)][..., among[factor]]
            for end, names in zip(("left", "right"), ends, strict=True):
                hits = torch.isin(read_as, torch.tensor(_values(factor, names)))
                row[end] = [metrics.bootstrap_mean(share) for share in hits.double().mean(2)]
            same = (at[::2] == start).double().mean(0)
            kept = {f: same[:, who, j].mean(1) for j, (f, who) in enumerate(among.items())}
            mean = torch.stack([kept[f] for f in FACTORS if f != factor]).mean(0)
            shares = {f"kept_{f}": share for f, share in kept.items() if f != factor}
            shares |= {"kept": mean} | ({"kept_more": mean - before[label]} if conditioned else {})
            row |= {key: metrics.bootstrap_mean(share) for key, share in shares.items()}
            before[label] = mean
            rows.append(row)
            print(label, "conditioned" if conditioned else "", *map(str, row["right"]), row["kept"])
    _results.keep("directions", rows)


RUNS: dict[str, Callable[..., Any]] = {
    "shipped_avatars": shipped_avatars,
    "directions_avatars64": measure_directions,
    "judges_avatars32": partial(judges, 32),
    "judges_avatars64": partial(judges, 64),
    "acgan_avatars32": partial(gan_avatars, "acgan", 32),
    "acgan_avatars64": partial(gan_avatars, "acgan", 64),
    "cgan_avatars32": partial(gan_avatars, "cgan", 32),
    "cgan_avatars64": partial(gan_avatars, "cgan", 64),
    "acgan_avatars32_short": partial(gan_avatars, "acgan", 32, steps=SHORT_STEPS),
    "cgan_avatars32_short": partial(gan_avatars, "cgan", 32, steps=SHORT_STEPS),
}
