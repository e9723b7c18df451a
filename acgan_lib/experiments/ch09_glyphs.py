"""How the glyph checkpoints were trained.

Judges first: `judge_glyphs` names the letter and `style_glyphs` reads the style, each at 32 and at
64 px. Then AC-GAN: ten letters at 32 and at 64 px, and all 26 at 32. What each seed measured is in
``data/results/glyphs.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import torch
from torch import Tensor

from acgan_lib import latent, metrics, objectives, zoo
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch13_style import STYLE, explained, train_style_judge
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.judge import train_judge
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig

JUDGE_STEPS = 1_500
GAN_STEPS = 4_000
# Class k of either set is letter k of the alphabet, as the judges number them.
TEN = LETTERS[:10]
PER_CLASS = 300  # images measured of each letter
GRID = 300  # rows of a class-swap grid

Size = Literal[32, 64]


def judge_glyphs(size: Size, seed: int, steps: int = JUDGE_STEPS) -> None:
    """Train the judge of letters on all 26 and test it on unseen typeface families."""
    train, test = (glyphs(part, LETTERS, size) for part in ("train", "test"))
    judge = train_judge(train, steps=steps, seed=seed, device=pick_device()).cpu()
    measured = {"test_accuracy": metrics.judge_accuracy(judge, test.normalised(), test.labels)}
    name = f"judge_glyphs{size}"
    _common.show(name, seed, measured)
    _common.ship_judge(name, judge, train_judge, train.source, seed, steps, measured, half=True)


def style_glyphs(size: Size, seed: int, steps: int = JUDGE_STEPS) -> None:
    """Train the judge of style on all 26 letters and test it on unseen typeface families."""
    train, test = (glyphs(part, LETTERS, size) for part in ("train", "test"))
    judge = train_style_judge(train, steps=steps, seed=seed, device=pick_device()).cpu()
    measured = {"factors": ", ".join(STYLE), "explained_on_test": explained(judge, test)}
    name = f"style_glyphs{size}"
    _common.show(name, seed, measured)
    _common.ship_judge(
        name, judge, train_style_judge, train.source, seed, steps, measured, half=True
    )


def acgan_glyphs(letters: str, size: Size, seed: int, steps: int = GAN_STEPS) -> None:
    """Train AC-GAN on letters, measure it, record the seed, and ship seed 0."""
    name, train = model_name(letters, size), glyphs("train", letters, size)
    config = TrainConfig(seed=seed, batch_size=50, lr_g=7e-4, lr_d=7e-4)
    seed_everything(seed)
    G, D = networks(len(letters), size)
    objective = objectives.acgan()
    G_ema = _common.train(name, G, D, train, objective, config, steps).G_ema.cpu()
    measured = measure(G_ema, letters, size, seed)
    _common.show(name, seed, measured)
    if not _common.is_whole(steps, GAN_STEPS):
        return
    record("glyphs", {"model": name, "seed": seed, "steps": steps, **measured})
    if seed == 0:
        _common.ship(
            name, G_ema, recipe={"objective": objective.name}, config=config, data=train.source,
            steps=steps, measured=measured, half=True,
        )  # fmt: skip


def model_name(letters: str, size: Size) -> str:
    """Return a checkpoint's name: acgan_glyphs32, acgan_glyphs64, acgan_letters32."""
    return f"acgan_{'letters' if letters == LETTERS else 'glyphs'}{size}"


def networks(num_classes: int, size: Size) -> tuple[Generator, Discriminator]:
    """Return a fresh pair for letters of 32 or 64 px."""
    G = Generator(num_classes=num_classes, image_size=size)
    return G, Discriminator(class_head=num_classes, image_size=size)


def trained(letters: str, size: Size, seed: int) -> ConditionalGenerator:
    """Return a glyph generator: seed 0 as it ships, another as its training left it in ``runs/``.

    Raises:
        FileNotFoundError: that seed was not trained here to the end.
    """
    name = model_name(letters, size)
    if seed == 0:
        shipped = zoo.load(name)
        assert isinstance(shipped, ConditionalGenerator)
        return shipped
    path = _common.run_folder(name, seed) / "last.pt"
    kept = torch.load(path, map_location="cpu", weights_only=True) if path.is_file() else None
    if kept is None or kept["step"] < GAN_STEPS:
        raise FileNotFoundError(
            f"{path} is {'missing' if kept is None else 'a training that was stopped'}: train it "
            f"by `python -m acgan_lib.experiments {name} --seed {seed}`"
        )
    G, _ = networks(len(letters), size)
    G.load_state_dict(kept["G_ema"])
    return G.eval().requires_grad_(False)


def measure(G: ConditionalGenerator, letters: str, size: Size, seed: int) -> dict[str, Any]:
    """Measure a glyph generator: accuracy, diversity, distance, and what z keeps over a swap."""
    x, y = metrics.sample(G, PER_CLASS, seed=seed)
    test = glyphs("test", letters, size)
    measured = _common.measure(the_judge(f"judge_glyphs{size}"), x, y, test)
    for factor, values in swap_grid(G, size, seed).items():
        measured[f"kept_{factor}"] = metrics.swap_consistency(values).kept
    return measured


def swap_grid(
    G: ConditionalGenerator, size: Size, seed: int, rows: int = GRID
) -> dict[str, Tensor]:
    """Return each style factor as read on a class-swap grid: float (rows, num_classes)."""
    generator = torch.Generator().manual_seed(seed + 500)
    z = torch.randn(rows, G.latent_dim, generator=generator)
    parts = [latent.class_swap(G, part).flatten(0, 1) for part in z.split(50)]  # type: ignore[no-untyped-call]
    judge = the_judge(f"style_glyphs{size}")
    read = metrics.in_batches(judge, judge, torch.cat(parts)).view(rows, G.num_classes, -1)
    return dict(zip(STYLE, read.unbind(2), strict=True))


def real_grid(letters: str, size: Size) -> dict[str, Tensor]:
    """Return each style factor as read off the test typefaces: float (typefaces, letters)."""
    judge, test = the_judge(f"style_glyphs{size}"), glyphs("test", letters, size)
    read = metrics.in_batches(judge, judge, test.normalised())
    read = read.view(len(letters), -1, len(STYLE)).transpose(0, 1)  # they come letter after letter
    return dict(zip(STYLE, read.unbind(2), strict=True))


def real_glyphs(letters: str, size: Size, seed: int) -> None:
    """Put real letters through the same measures: training typefaces in the generator's place.

    Real typefaces are the ceiling of ``kept_*``; their columns shuffled are the floor.
    """
    train, test = (glyphs(part, letters, size) for part in ("train", "test"))
    judge = the_judge(f"judge_glyphs{size}")
    measured = _common.measure_real(judge, train.per_class(PER_CLASS, seed), test)
    for factor, values in real_grid(letters, size).items():
        measured[f"kept_{factor}"] = metrics.swap_consistency(values).kept
        mixed = metrics.swap_consistency(metrics.shuffled(values, seed=seed))
        measured[f"shuffled_{factor}"] = mixed.kept
    name = model_name(letters, size).replace("acgan", "real")
    _common.show(name, seed, measured)
    record("glyphs", {"model": name, "seed": seed, "steps": 0, **measured})


RUNS: dict[str, Callable[..., None]] = {
    "judge_glyphs32": partial(judge_glyphs, 32),
    "judge_glyphs64": partial(judge_glyphs, 64),
    "style_glyphs32": partial(style_glyphs, 32),
    "style_glyphs64": partial(style_glyphs, 64),
    "acgan_glyphs32": partial(acgan_glyphs, TEN, 32),
    "acgan_glyphs64": partial(acgan_glyphs, TEN, 64),
    "acgan_letters32": partial(acgan_glyphs, LETTERS, 32),
    "real_glyphs32": partial(real_glyphs, TEN, 32),
    "real_glyphs64": partial(real_glyphs, TEN, 64),
    "real_letters32": partial(real_glyphs, LETTERS, 32),
}
