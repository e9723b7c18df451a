"""Image to image: pix2pix from edges to faces, CycleGAN between two kinds of avatar.

pix2pix learns from the edges of 30,000 drawn pictures (`make avatars N=3000`) and is tested on the
edges of the 2,000 shipped test pictures. What it is told besides, and what it is trained on, makes
the arms: L1 alone, GAN alone, both, both with a z, both with the three colours.

CycleGAN learns from 3,000 pictures of each of two kinds, without being told which belong together.
It is tested on the 192 faces that ship in every kind, whose true translations are known.

What ships was trained on a GPU, with each step a CUDA graph. ``data/results/pix2pix.json`` and
``cyclegan.json`` have what each training measured.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import cache, partial
from itertools import product
from pathlib import Path
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from acgan_lib import metrics, zoo
from acgan_lib.avatars import (
    KINDS,
    LEVELS,
    Avatars,
    avatars,
    colours,
    drawn,
    paired,
    read_ground,
)
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch10_avatars import PER_KIND, SEEN, read_factors
from acgan_lib.families import cyclegan, pix2pix
from acgan_lib.nets import one_hot
from acgan_lib.runtime import pick_device, seed_everything

Size = Literal[32, 64]
Told = Literal["", "z", "colours"]
NOISE = 8  # numbers in z
BATCH, STEPS = 64, 1_200
SMALL_STEPS = 300  # of 16 pictures at width 8: some seconds of a core for each training
# The checkpoints, their arms and the steps that a GPU shared with others did in the time it had.
SHIPPED = {
    "pix2pix_avatars64": ("colours", 2_600),
    "pix2pix_untold64": ("both", 840),
    "pix2pix_l1_64": ("l1", 1_500),
}
SIDES = ("dylan", "big-ears")  # of CycleGAN
CYCLE_BATCH, CYCLE_STEPS = 32, 600
BY = ("model", "size", "width", "seed", "on")


class Arm(NamedTuple):
    """One way to train pix2pix: the weights of both terms, and what G is told beside the kind."""

    l1_weight: float
    gan_weight: float
    told: Told = ""


ARMS = {
    "l1": Arm(50, 0),
    "gan": Arm(0, 1),
    "both": Arm(50, 1),
    "z": Arm(50, 1, "z"),
    "colours": Arm(50, 1, "colours"),
}
TOLD = {"": 10, "z": 10 + NOISE, "colours": 10 + 3 * len(SEEN)}


@cache
def learned_from(size: Size, root: str | Path | None, device: torch.device) -> Avatars:
    """Return the 30,000 pictures to learn from, on a device; read once."""
    return drawn(PER_KIND, size, folder=root).to(device)


def facts(data: Avatars, told: Told) -> Tensor:
    """Return what is known of all pictures and G is told, float (N, 10), or (N, 19) with colours.

    The kind, one-hot; then the colours of ground, skin and hair, each as red, green and blue in
    [-1, 1].
    """
    kind = one_hot(data.labels, len(KINDS), len(data)).to(data.images.device)
    if told != "colours":
        return kind
    palettes = [colours(factor).to(kind) / 127.5 - 1 for factor in SEEN]
    return torch.cat([kind, *(p[data.factors[:, i]] for i, p in enumerate(palettes))], dim=1)


def with_z(known: Tensor, told: Told) -> Tensor:
    """Put a z from N(0, 1) beside what is known, (n, 10), for the arm that takes one."""
    if told != "z":
        return known
    return torch.cat([known, torch.randn(len(known), NOISE, device=known.device)], dim=1)


def sketches(data: Avatars, batch: int, told: Told) -> pix2pix.Draw:
    """Return a function that draws batches of (edges as by hand, told, picture), half mirrored."""
    known, device = facts(data, told), data.images.device

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        rows = torch.randint(len(data), (batch,), device=device)
        real = data.normalised(rows)
        real = torch.where(torch.rand(batch, 1, 1, 1, device=device) < 0.5, real.flip(3), real)
        return pix2pix.by_hand(pix2pix.edges(real)), with_z(known[rows], told), real

    return draw


def networks(arm: Arm, size: Size, width: int, seed: int) -> tuple[pix2pix.UNet, pix2pix.Patch]:
    """Return fresh networks; the same seed gives the same weights. D sees 18 or 38 px."""
    seed_everything(seed)
    G = pix2pix.UNet(TOLD[arm.told], width=width, image_size=size)
    return G, pix2pix.Patch(3 + 1 + G.told, downs=2 if size == 32 else 3)


def train_pix2pix(
    name: str,
    seed: int = 0,
    *,
    size: Size = 32,
    width: int = 32,
    steps: int = STEPS,
    batch: int = BATCH,
    seconds: float = math.inf,
    graph: bool = False,
    root: str | Path | None = None,
    keep: bool = True,
) -> tuple[pix2pix.UNet, int, dict[str, Any]]:
    """Train one arm, measure it on the test pictures' edges and record it, unless `keep` is False.

    Returns G in eval mode on the CPU, the steps it had, and what was measured.
    """
    arm, device = ARMS[name], pick_device()
    train = learned_from(size, root, device)
    G, D = networks(arm, size, width, seed)
    rows = pix2pix.fit(
        G.to(device), D.to(device), sketches(train, batch, arm.told), steps=steps,
        l1_weight=arm.l1_weight, gan_weight=arm.gan_weight, seconds=seconds, graph=graph,
    )  # fmt: skip
    taken, G = int(rows[-1][0]), G.cpu()
    measured = measure_pix2pix(G, arm.told, size, seed)
    row = {"model": name, "size": size, "width": width, "seed": seed, "steps": taken}
    row |= {"on": device.type, "images": taken * batch}
    if keep:
        record("pix2pix", {**row, **measured}, by=BY)
    _common.show(f"{name} {size} px, {taken} steps", seed, measured)
    return G, taken, measured


def paint(G: pix2pix.UNet, data: Avatars, told: Told, seed: int = 0) -> Tensor:
    """Return what G draws for the plain edges of all pictures, float (N, 3, H, W)."""
    generator = torch.Generator().manual_seed(seed)
    known = facts(data, told)
    if told == "z":
        known = torch.cat([known, torch.randn(len(data), NOISE, generator=generator)], dim=1)
    given = pix2pix.with_maps(pix2pix.edges(data.normalised()), known)
    return metrics.in_batches(G, lambda part: G(part[:, :1], part[:, 1:, 0, 0]), given)


def measure_pix2pix(G: pix2pix.UNet, told: Told, size: Size, seed: int) -> dict[str, Any]:
    """Measure G on the edges of the 2,000 test pictures, and a second time with other z."""
    test = avatars("test", size)
    x = paint(G, test, told, seed)
    measured = measure_faces(x, test, size)
    if told == "z":
        again = read(paint(G, test, told, seed + 1), size)
        for i, factor in enumerate(SEEN):
            changed = again[:, i] != read(x, size)[:, i]
            measured[f"z_changes_{factor}"] = metrics.proportion(int(changed.sum()), len(changed))
    return measured


def measure_faces(x: Tensor, test: Avatars, size: Size) -> dict[str, Any]:
    """Measure pictures (n, 3, H, W) against the test pictures that they should be.

    ``l1`` is the mean distance in [-1, 1]; ``right_*`` the share in which the judge reads the true
    kind or factor; ``ground_on_palette`` the share whose upper corners are within 25 of 255 levels
    of a ground; ``chroma`` the mean of a pixel's largest less its smallest channel, ``*_shares``
    how often each colour is read.
    """
    kind = the_judge(f"judge_avatars{size}")
    found, near = read(x, size), read_ground(x)[1] <= 25
    true = test.normalised()
    measured: dict[str, Any] = {
        "l1": metrics.bootstrap_mean((x - true).abs().flatten(1).mean(1)),
        "right_kind": metrics.judge_accuracy(kind, x, test.labels),
        "ground_on_palette": metrics.proportion(int(near.sum()), len(near)),
        "chroma": metrics.bootstrap_mean((x.amax(1) - x.amin(1)).flatten(1).mean(1)),
        "frechet_judge_distance": metrics.frechet_judge_distance(
            kind, x, true, y_a=test.labels, y_b=test.labels, resamples=20
        ),
    }
    for i, factor in enumerate(SEEN):
        right = found[:, i] == test.factors[:, i]
        measured[f"right_{factor}"] = metrics.proportion(int(right.sum()), len(right))
        shares = torch.bincount(found[:, i], minlength=LEVELS[factor]) / len(found)
        measured[f"{factor}_shares"] = [round(v, 3) for v in shares.tolist()]
    return measured


def read(x: Tensor, size: Size) -> Tensor:
    """Return ground, skin and hair as the judge reads them, int64 (n, 3)."""
    return read_factors(the_judge(f"factors_avatars{size}"), x)[:, : len(SEEN)]


def real_faces(size: Size = 32) -> None:
    """Measure the test pictures themselves, in G's place."""
    test = avatars("test", size)
    measured = measure_faces(test.normalised(), test, size)
    row = {"model": "real", "size": size, "width": 0, "seed": 0, "steps": 0, "on": "cpu"}
    record("pix2pix", {**row, "images": 0, **measured}, by=BY)
    _common.show("real", 0, measured)


def ship_pix2pix(name: str, G: pix2pix.UNet, arm: str, **facts: Any) -> None:
    """Keep a U-Net in the zoo; `facts` as `acgan_lib.zoo.ship` takes them."""
    zoo.ship(
        name, G, recipe={"batch_size": BATCH, "lr": 5e-4, **ARMS[arm]._asdict()},
        data=f"edges of {PER_KIND} avatars a kind, train", half=True, **facts,
    )  # fmt: skip


# CycleGAN


class Game(NamedTuple):
    """The weights of one CycleGAN."""

    cycle_weight: float = 10.0
    identity_weight: float = 5.0


GAMES = {
    "full": Game(),
    "light": Game(2, 1),
    "no cycle": Game(0, 5),
    "no identity": Game(10, 0),
    "GAN alone": Game(0, 0),
}


def two_sets(a: Avatars, b: Avatars, batch: int) -> Callable[[], tuple[Tensor, Tensor]]:
    """Return a function that draws a batch of each set, independently: no pairs."""

    def draw() -> tuple[Tensor, Tensor]:
        rows = (torch.randint(len(s), (batch,), device=s.images.device) for s in (a, b))
        return a.normalised(next(rows)), b.normalised(next(rows))

    return draw


def of_kind(data: Avatars, kind: str) -> Avatars:
    """Return the pictures of one kind."""
    return data.subset(torch.nonzero(data.labels == KINDS.index(kind)).flatten())


def train_cyclegan(
    name: str,
    seed: int = 0,
    *,
    steps: int = CYCLE_STEPS,
    seconds: float = math.inf,
    graph: bool = False,
    root: str | Path | None = None,
    keep: bool = True,
) -> tuple[cyclegan.Translator, cyclegan.Translator, int, dict[str, Any]]:
    """Train one game between SIDES at 32 px, measure it on paired faces and record that if `keep`.

    Returns both generators in eval mode on the CPU, the steps, and what was measured, both ways.
    """
    device = pick_device()
    train = learned_from(32, root, device)
    a, b = (of_kind(train, kind) for kind in SIDES)
    seed_everything(seed)
    G_ab, G_ba = (cyclegan.Translator().to(device) for _ in SIDES)
    D_a, D_b = (pix2pix.Patch(3).to(device) for _ in SIDES)
    rows = cyclegan.fit(
        G_ab, G_ba, D_a, D_b, two_sets(a, b, CYCLE_BATCH), steps=steps, **GAMES[name]._asdict(),
        seconds=seconds, graph=graph,
    )  # fmt: skip
    taken, G_ab, G_ba = int(rows[-1][0]), G_ab.cpu(), G_ba.cpu()
    both = {}
    for (here, there), G, back in zip(
        (SIDES, SIDES[::-1]), (G_ab, G_ba), (G_ba, G_ab), strict=True
    ):
        x, true, factors = faces(here, there)
        y = metrics.in_batches(G, G, x)
        measured = measure_translation(y, true, factors, there)
        measured |= measure_return(back, x, y, true, factors)
        row = {"model": name, "to": there, "seed": seed, "steps": taken, "on": device.type}
        if keep:
            record("cyclegan", {**row, **measured}, by=("model", "to", "seed", "on"))
        _common.show(f"{name} to {there}, {taken} steps", seed, measured)
        both[there] = measured
    return G_ab, G_ba, taken, both


def faces(here: str, there: str, size: Size = 32) -> tuple[Tensor, Tensor, Tensor]:
    """Return the 192 faces in one kind, the same in another, and their factors, int64 (192, 3)."""
    factors = torch.tensor(list(product(*(range(LEVELS[name]) for name in SEEN))))
    both = paired(factors, (here, there), size).normalised().view(len(factors), 2, 3, size, size)
    return both[:, 0].contiguous(), both[:, 1].contiguous(), factors


def measure_translation(y: Tensor, true: Tensor, factors: Tensor, kind: str) -> dict[str, Any]:
    """Measure translations (192, 3, 32, 32) against the true ones.

    ``right_kind`` and ``kept_*`` are shares of faces by the judges; ``kept`` is the share that
    keeps all three; ``l1`` the mean distance to the same face as it was drawn in that kind.
    """
    label = torch.full((len(y),), KINDS.index(kind))
    same = read(y, 32) == factors
    measured: dict[str, Any] = {
        "right_kind": metrics.judge_accuracy(the_judge("judge_avatars32"), y, label),
        "l1": metrics.bootstrap_mean((y - true).abs().flatten(1).mean(1)),
        "kept": metrics.proportion(int(same.all(1).sum()), len(same)),
    }
    for i, factor in enumerate(SEEN):
        measured[f"kept_{factor}"] = metrics.proportion(int(same[:, i].sum()), len(same))
    return measured


def measure_return(
    back: nn.Module, x: Tensor, y: Tensor, true: Tensor, factors: Tensor
) -> dict[str, Any]:
    """Measure the way back: from the translation, from it with noise, and from the true picture.

    ``back_*`` is the distance to the start, ``back_kept_*`` the share with ground, skin and hair as
    at the start. A code hidden in the translation would bring back what a reader of the translation
    does not see, and noise (standard deviation 0.1) would spoil it.
    """
    noise = 0.1 * torch.randn(y.shape, generator=torch.Generator().manual_seed(0))
    measured = {}
    for name, middle in (("", y), ("_noise", (y + noise).clamp(-1, 1)), ("_true", true)):
        again = metrics.in_batches(back, back, middle)
        same = (read(again, 32) == factors).all(1)
        measured[f"back{name}"] = metrics.bootstrap_mean((again - x).abs().flatten(1).mean(1))
        measured[f"back_kept{name}"] = metrics.proportion(int(same.sum()), len(same))
    return measured


def without_learning() -> None:
    """Measure three translations that learn nothing, both ways.

    "input": the picture as it is. "nearest": of the other kind's 800 shipped training pictures, the
    one with the least L1 distance. "true": the paired picture, which says what the judges err.
    """
    for here, there in (SIDES, SIDES[::-1]):
        x, true, factors = faces(here, there)
        shelf = of_kind(avatars("train", 32), there).normalised()
        apart = torch.cdist(x.flatten(1), shelf.flatten(1), p=1)
        for name, y in (("input", x), ("nearest", shelf[apart.argmin(1)]), ("true", true)):
            measured = measure_translation(y, true, factors, there)
            row = {"model": name, "to": there, "seed": 0, "steps": 0, "on": "cpu"}
            record("cyclegan", {**row, **measured}, by=("model", "to", "seed", "on"))
            _common.show(f"{name} to {there}", 0, measured)


def ship_cyclegan(G: cyclegan.Translator, game: str, there: str, **facts: Any) -> None:
    """Keep the generator towards one of SIDES in the zoo."""
    zoo.ship(
        f"cyclegan_{game}_{there.replace('-', '_')}32", G,
        recipe={"batch_size": CYCLE_BATCH, "lr": 1e-3, "pool": 64, **GAMES[game]._asdict()},
        data=f"{PER_KIND} avatars of {SIDES[0]} and of {SIDES[1]}, train", half=True, **facts,
    )  # fmt: skip


def shipped_pix2pix(
    name: str, seed: int = 0, steps: int | None = None, root: str | Path | None = None
) -> None:
    """Train one of the networks behind chapter 20's sheet, at 64 px, and ship it."""
    arm, recipe = SHIPPED[name]
    steps = recipe if steps is None else steps
    G, taken, measured = train_pix2pix(
        arm, seed, size=64, steps=steps, root=root, keep=steps == recipe
    )
    if _common.is_whole(steps, recipe):
        ship_pix2pix(
            name, G, arm, seed=seed, steps=taken, images_seen=taken * BATCH, metrics=measured
        )


def arms(seed: int = 0, steps: int = STEPS, root: str | Path | None = None) -> None:
    """Train all five arms of pix2pix at 32 px."""
    for name in ARMS:
        train_pix2pix(name, seed, steps=steps, root=root, keep=steps == STEPS)


def small_arms(seed: int = 0, steps: int = SMALL_STEPS, root: str | Path | None = None) -> None:
    """Train pix2pix with and without the GAN term, small enough for five seeds on a CPU."""
    for name in ("l1", "both"):
        train_pix2pix(
            name, seed, width=8, steps=steps, batch=16, root=root, keep=steps == SMALL_STEPS
        )


def games(seed: int = 0, steps: int = CYCLE_STEPS, root: str | Path | None = None) -> None:
    """Train CycleGAN between two kinds with all weights that chapter 20 compares, and ship one."""
    for name in GAMES:
        G_ab, G_ba, taken, both = train_cyclegan(
            name, seed, steps=steps, root=root, keep=steps == CYCLE_STEPS
        )
        if name == "full" and _common.is_whole(steps, CYCLE_STEPS):
            for G, there in ((G_ab, SIDES[1]), (G_ba, SIDES[0])):
                facts = {"images_seen": taken * CYCLE_BATCH, "metrics": both[there]}
                ship_cyclegan(G, name, there, seed=seed, steps=taken, **facts)


def baselines() -> None:
    """Measure true pictures, and translations that learn nothing."""
    real_faces(32)
    real_faces(64)
    without_learning()


RUNS: dict[str, Callable[..., Any]] = {
    **{name: partial(shipped_pix2pix, name) for name in SHIPPED},
    "pix2pix": arms,
    "pix2pix_small": small_arms,
    "cyclegan": games,
    "cyclegan_full_big_ears32": games,
    "cyclegan_full_dylan32": games,
    "translate_baselines": baselines,
}
