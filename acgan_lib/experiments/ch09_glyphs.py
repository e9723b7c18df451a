"""How the glyph checkpoints were trained.

``python -m acgan_lib.experiments.ch06_fashion NAME`` runs these too.

Judges first: `judge_glyphs` names the letter and `style_glyphs` reads the style, each at 32 and at
64 px. Then AC-GAN: ten letters at 32 and at 64 px, and all 26 at 32. What each seed measured is in
``data/results/glyphs.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from acgan_lib import latent, metrics, objectives, zoo
from acgan_lib.callbacks import CsvHistory
from acgan_lib.experiments.ch06_fashion import RESULTS, record
from acgan_lib.experiments.ch13_style import STYLE, explained, train_style_judge
from acgan_lib.glyphs import LETTERS, Glyphs, glyphs
from acgan_lib.judge import BATCH_SIZE, Judge, train_judge
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

JUDGE_STEPS = 1_500
GAN_STEPS = 4_000
GLYPH_RESULTS = RESULTS.with_name("glyphs.json")
TEN = LETTERS[:10]
GRID = 300  # rows of a class-swap grid

Size = Literal[32, 64]


def judge_glyphs(size: Size, seed: int, steps: int = JUDGE_STEPS) -> None:
    """Train the judge of letters on all 26 and test it on unseen typeface families."""
    train, test = (glyphs(part, LETTERS, size) for part in ("train", "test"))
    judge = train_judge(train, steps=steps, seed=seed, device=pick_device()).cpu()
    accuracy = metrics.judge_accuracy(judge, test.normalised(), test.labels)
    print(f"judge_glyphs{size}, seed {seed}: test accuracy {accuracy}")
    _ship(f"judge_glyphs{size}", judge, train_judge, train, seed, steps, test_accuracy=accuracy)


def style_glyphs(size: Size, seed: int, steps: int = JUDGE_STEPS) -> None:
    """Train the judge of style on all 26 letters and test it on unseen typeface families."""
    train, test = (glyphs(part, LETTERS, size) for part in ("train", "test"))
    judge = train_style_judge(train, steps=steps, seed=seed, device=pick_device()).cpu()
    shares = explained(judge, test)
    print(f"style_glyphs{size}, seed {seed}: {shares}")
    _ship(
        f"style_glyphs{size}", judge, train_style_judge, train, seed, steps,
        factors=", ".join(STYLE), explained_on_test=shares,
    )  # fmt: skip


def _ship(
    name: str,
    judge: Judge,
    trainer: Callable[..., Judge],
    train: Glyphs,
    seed: int,
    steps: int,
    **measured: Any,
) -> None:
    zoo.save(
        name,
        judge,
        recipe=" ".join(str(trainer.__doc__).split("\n\n")[1].split()),
        data=train.source,
        seed=seed,
        steps=steps,
        images_seen=steps * BATCH_SIZE,
        metrics=measured,
        half=True,
    )


def acgan_glyphs(letters: str, size: Size, seed: int, steps: int = GAN_STEPS) -> None:
    """Train AC-GAN on letters, measure it, record the seed, and keep seed 0 in the zoo."""
    name = model_name(letters, size)
    train = glyphs("train", letters, size)
    config = TrainConfig(seed=seed, batch_size=50, lr_g=7e-4, lr_d=7e-4)
    seed_everything(seed)
    G, D = networks(len(letters), size)
    objective = objectives.acgan()
    run = Path("runs") / f"{name}-{seed}"
    run.mkdir(parents=True, exist_ok=True)
    result = fit(
        G.to(pick_device()), D.to(pick_device()), train, objective,
        steps=steps, config=config, callbacks=[CsvHistory(run / "history.csv")], run_dir=run,
    )  # fmt: skip
    measured = measure(result.G_ema.cpu(), letters, size, seed)
    for key, value in measured.items():
        print(f"{name}, seed {seed}: {key} {value}")
    if steps != GAN_STEPS:
        print("not the recipe's number of steps: nothing shipped was replaced")
        return
    record({"model": name, "seed": seed, "steps": steps, **measured}, GLYPH_RESULTS)
    if seed == 0:
        zoo.save(
            name,
            result.G_ema,
            recipe={"objective": objective.name, **asdict(config)},
            data=train.source,
            seed=seed,
            steps=steps,
            images_seen=steps * config.batch_size,
            metrics=measured,
            half=True,
        )


def model_name(letters: str, size: Size) -> str:
    """Return a checkpoint's name: acgan_glyphs32, acgan_glyphs64, acgan_letters32."""
    return f"acgan_{'letters' if letters == LETTERS else 'glyphs'}{size}"


def networks(num_classes: int, size: Size) -> tuple[Generator, Discriminator]:
    """Return a fresh pair for letters of 32 or 64 px."""
    G = Generator(num_classes=num_classes, image_size=size)
    return G, Discriminator(class_head=num_classes, image_size=size)


def measure(G: ConditionalGenerator, letters: str, size: Size, seed: int) -> dict[str, Any]:
    """Measure a glyph generator: accuracy, diversity, distance, and what z keeps over a swap."""
    judge, test = _judge(f"judge_glyphs{size}"), glyphs("test", letters, size)
    # The judge knows all 26 letters; class k of the model is the alphabet's letter number `of[k]`.
    of = torch.tensor([LETTERS.index(letter) for letter in letters])
    x, y = metrics.sample(G, 300, seed=seed)
    measured: dict[str, Any] = {
        "judge_accuracy": metrics.judge_accuracy(judge, x, of[y]),
        "ms_ssim": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y)),
        "frechet_judge_distance": metrics.frechet_judge_distance(
            judge, x, test.normalised(), y_a=y, y_b=test.labels
        ),
    }
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
    judge = _judge(f"style_glyphs{size}")
    x = torch.cat(parts)
    read = metrics.in_batches(judge, judge, x).view(rows, G.num_classes, -1)
    return dict(zip(STYLE, read.unbind(2), strict=True))


def real_glyphs(letters: str, size: Size, seed: int) -> None:
    """Put real letters through the same measures: training typefaces in the generator's place.

    Real typefaces are the ceiling of ``kept_*``; their columns shuffled are the floor.
    """
    judge, style = _judge(f"judge_glyphs{size}"), _judge(f"style_glyphs{size}")
    train, test = (glyphs(part, letters, size) for part in ("train", "test"))
    of = torch.tensor([LETTERS.index(letter) for letter in letters])
    part = train.per_class(300, seed)
    x = part.normalised()
    measured: dict[str, Any] = {
        "judge_accuracy": metrics.judge_accuracy(judge, test.normalised(), of[test.labels]),
        "ms_ssim": metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, part.labels)),
        "frechet_judge_distance": metrics.frechet_judge_distance(
            judge, x, test.normalised(), y_a=part.labels, y_b=test.labels
        ),
    }
    read = metrics.in_batches(style, style, test.normalised()).view(len(letters), -1, len(STYLE))
    for factor, values in zip(STYLE, read.transpose(0, 1).unbind(2), strict=True):
        measured[f"kept_{factor}"] = metrics.swap_consistency(values).kept
        mixed = metrics.swap_consistency(metrics.shuffled(values, seed=seed))
        measured[f"shuffled_{factor}"] = mixed.kept
    name = model_name(letters, size).replace("acgan", "real")
    for key, value in measured.items():
        print(f"{name}, seed {seed}: {key} {value}")
    record({"model": name, "seed": seed, "steps": 0, **measured}, GLYPH_RESULTS)


def _judge(name: str) -> Judge:
    judge = zoo.load(name)
    assert isinstance(judge, Judge)
    return judge


RECIPES: dict[str, Callable[..., None]] = {
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
