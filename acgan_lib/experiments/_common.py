"""What several chapters' experiments do alike: train in a folder, measure, ship."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from acgan_lib import metrics, zoo
from acgan_lib.callbacks import CsvHistory
from acgan_lib.data import LabelledImages
from acgan_lib.judge import BATCH_SIZE, Judge
from acgan_lib.nets import ConditionalGenerator, Discriminator, DiscriminatorOutput
from acgan_lib.objectives import Objective
from acgan_lib.runtime import pick_device
from acgan_lib.train import Callback, Result, TrainConfig, fit


def the_judge(name: str = "judge_fashion") -> Judge:
    """Return a shipped judge, of FashionMNIST or of another name."""
    judge = zoo.load(name)
    assert isinstance(judge, Judge)
    return judge


def class_logits(D: Discriminator, x: Tensor) -> Tensor:
    """Return the class head's logits, float (n, K)."""
    out: DiscriminatorOutput = D(x)
    assert out.class_logits is not None
    return out.class_logits


def head_accuracy(D: Discriminator, x: Tensor, y: Tensor) -> metrics.Estimate:
    """Return how often D's class head names the class of ``x``, with its interval.

    A logit beyond the K classes, as the "n+1" variant has, does not take part.
    """
    classes = int(y.max()) + 1
    logits = metrics.in_batches(D, lambda part: class_logits(D, part)[:, :classes], x)
    return metrics.proportion(int((logits.argmax(1) == y).sum()), len(y))


def measure(
    judge: Judge,
    x: Tensor,
    y: Tensor,
    test: LabelledImages,
    *,
    pairs: int = 300,
    resamples: int = 50,
    by_class: bool = False,
) -> dict[str, Any]:
    """Measure samples by a judge, against real test images of the same classes.

    Args:
        judge: has learned from real images; its first K classes are those of ``y``.
        x, y: samples, float (n, C, H, W) in [-1, 1], and the classes asked for, equally many each.
        test: real images that the judge has not seen.
        pairs: of each class, for MS-SSIM.
        resamples: for the interval of the Frechet judge distance.
        by_class: add each class's accuracy and MS-SSIM, as numbers of three digits.
    """
    similar = metrics.ms_ssim_diversity(x, y, pairs=pairs)
    measured: dict[str, Any] = {
        "judge_accuracy": metrics.judge_accuracy(judge, x, y),
        "ms_ssim": metrics.ms_ssim_mean(similar),
        "frechet_judge_distance": metrics.frechet_judge_distance(
            judge, x, test.normalised(), y_a=y, y_b=test.labels, resamples=resamples
        ),
    }
    if by_class:
        accuracy = metrics.judge_accuracy_by_class(judge, x, y)
        measured["accuracy_by_class"] = [round(e.value, 3) for e in accuracy]
        measured["ms_ssim_by_class"] = [round(e.value, 3) for e in similar]
    return measured


def measure_real(
    judge: Judge, part: LabelledImages, test: LabelledImages, **how: Any
) -> dict[str, Any]:
    """Put real images through `measure`: ``part``, training images, in the generator's place.

    The judge may have seen those, so its accuracy is that on the test images; there is none by
    class.
    """
    measured = measure(judge, part.normalised(), part.labels, test, **how)
    measured["judge_accuracy"] = metrics.judge_accuracy(judge, test.normalised(), test.labels)
    measured.pop("accuracy_by_class", None)
    return measured


def run_folder(name: str, seed: int) -> Path:
    """Return the folder of one training, below where the command runs."""
    return Path("runs") / f"{name}-{seed}"


def train(
    name: str,
    G: ConditionalGenerator,
    D: nn.Module,
    data: LabelledImages,
    objective: Objective,
    config: TrainConfig,
    steps: int,
    callbacks: Sequence[Callback] = (),
) -> Result:
    """Train in the run's folder, or train on there, with the losses in history.csv."""
    run, device = run_folder(name, config.seed), pick_device()
    run.mkdir(parents=True, exist_ok=True)
    return fit(
        G.to(device), D.to(device), data, objective, steps=steps, config=config,
        callbacks=[CsvHistory(run / "history.csv"), *callbacks], run_dir=run,
    )  # fmt: skip


def is_whole(steps: int, recipe: int) -> bool:
    """Tell whether a training had the recipe's steps, and is recorded; say so if it is not."""
    if steps != recipe:
        print("not the recipe's number of steps: nothing shipped was replaced")
    return steps == recipe


def show(title: str, seed: int, measured: Mapping[str, Any]) -> None:
    """Print what was measured, a line each."""
    for name, value in measured.items():
        print(f"{title}, seed {seed}: {name} {value}", flush=True)


def ship(
    name: str,
    network: nn.Module,
    *,
    recipe: Mapping[str, Any],
    config: TrainConfig,
    data: str,
    steps: int,
    measured: Mapping[str, Any],
    **more: Any,
) -> None:
    """Keep a GAN's network in the zoo; `recipe` comes before the settings of `config`."""
    zoo.ship(
        name, network, recipe={**recipe, **asdict(config)}, data=data, seed=config.seed,
        steps=steps, images_seen=steps * config.batch_size, metrics=measured, **more,
    )  # fmt: skip


def ship_judge(
    name: str,
    judge: Judge,
    trainer: Callable[..., Judge],
    data: str,
    seed: int,
    steps: int,
    measured: Mapping[str, Any],
    *,
    half: bool = False,
) -> None:
    """Keep a judge in the zoo; its recipe is the second paragraph of the trainer's docstring."""
    zoo.ship(
        name, judge, recipe=" ".join(str(trainer.__doc__).split("\n\n")[1].split()), data=data,
        seed=seed, steps=steps, images_seen=steps * BATCH_SIZE, metrics=measured, half=half,
    )  # fmt: skip
