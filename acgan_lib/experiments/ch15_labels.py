"""What a few labels are worth, for chapter 15.

Each run hides all but a few labels of a training set and compares two networks of one size with
the same labels: an AC-GAN's discriminator, which also sees the unlabelled images, and the same
discriminator trained as a plain classifier, which does not. What each run measured is in
``data/results/labels.json``; runs that are there already are not repeated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, get_args

import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from acgan_lib import metrics, objectives
from acgan_lib.data import UNLABELLED, LabelledImages, rows_per_class, to_uint8
from acgan_lib.experiments._common import head_accuracy, the_judge
from acgan_lib.experiments._results import done, keep_arrays, record
from acgan_lib.fashion import fashion_mnist
from acgan_lib.glyphs import glyphs
from acgan_lib.judge import Recipe, fit_supervised, random_shift
from acgan_lib.losses import class_loss
from acgan_lib.metrics.matching import best_match, contingency
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import Result, TrainConfig, fit

WIDTH = 16
STEPS = 600
SHARE = 0.2  # of labelled images in AC-GAN's batches, by repeating them
BATCH = 50
RATE = 1e-3


@dataclass(frozen=True, eq=False, repr=False)
class PartlyLabelled(LabelledImages):
    """Images of which some have no label: theirs is UNLABELLED.

    A type of its own, so that an ordinary set still refuses a -1 that came in by mistake. Train
    on it with `objectives.semi`.
    """

    lowest_label: ClassVar[int] = UNLABELLED

    def labelled(self) -> LabelledImages:
        """Return the images with a label, in their order here, as an ordinary set."""
        rows = torch.nonzero(self.labels != UNLABELLED).flatten()
        return LabelledImages(
            self.images[rows], self.labels[rows], self.class_names, f"{self.source}, those alone"
        )

    def repeated(self, share: float) -> PartlyLabelled:
        """Return the set with its labelled images repeated until they are a `share` of it.

        Ten labels among 60,000 would else be met once in an epoch. The share is met as nearly as
        whole repeats can, and a set that has it already comes back as it is.

        Raises ValueError unless 0 <= share < 1 and, for a share above 0, an image has a label.
        """
        rows = torch.nonzero(self.labels != UNLABELLED).flatten()
        if not 0 <= share < 1 or (share and not len(rows)):
            raise ValueError(
                f"share must lie in [0, 1), and {len(rows)} of {len(self)} images have a label"
            )
        hidden = len(self) - len(rows)
        times = round(share / (1 - share) * hidden / max(len(rows), 1))
        if times <= 1:
            return self
        every = torch.arange(len(self), device=rows.device)
        index = torch.cat([every, rows.repeat(times - 1)])
        return replace(self, images=self.images[index], labels=self.labels[index])


def hide_labels(data: LabelledImages, keep: int, seed: int) -> PartlyLabelled:
    """Return all of the images in their order, with the labels of `keep` random ones a class.

    The same seed keeps the same labels, and a larger `keep` keeps those and more.

    Raises ValueError if `keep` is negative or a class has fewer images.
    """
    if keep < 0:
        raise ValueError(f"keep must be 0 or more, not {keep}")
    rows = rows_per_class(data, [keep] * data.num_classes, seed).to(data.labels.device)
    labels = torch.full_like(data.labels, UNLABELLED)
    labels[rows] = data.labels[rows]
    source = f"{data.source}, labels of {keep} a class"
    return PartlyLabelled(data.images, labels, data.class_names, source)


def train_classifier(
    data: LabelledImages, *, steps: int, seed: int, shift: int = 1, width: int = WIDTH
) -> Discriminator:
    """Train a discriminator's trunk and class head as a plain classifier; return it in eval mode.

    Adam on the cross-entropy alone, with the rate, betas and decay of the GAN that it is compared
    with. Each image is shifted at random by up to `shift` pixels.

    Args:
        data: images that all have a label.
        steps: number of batches.
        seed: fixes the weights, the order of the images and the shifts.
        shift: 0 turns the shifts off.
        width: of the discriminator.
    """
    data, shifts = data.to(pick_device()), torch.Generator().manual_seed(seed)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        x, y = data.batch(step, min(BATCH, len(data)), seed)
        return random_shift(x, shifts, shift), y

    def to_zero(network: nn.Module, steps: int) -> Recipe:
        optimiser = torch.optim.Adam(network.parameters(), RATE, (0.5, 0.999), fused=True)
        return optimiser, LambdaLR(optimiser, lambda step: 1 - step / steps)

    return fit_supervised(
        lambda: Discriminator(width=width, class_head=data.num_classes),
        batch,
        lambda output, y: class_loss(output.class_logits, y),
        steps=steps,
        seed=seed,
        device=data.images.device,
        recipe=to_zero,
    )


class Task(NamedTuple):
    """A data set with the judge of its samples, and how many labels a class its runs keep."""

    train: LabelledImages
    test: LabelledImages
    judge: str
    keep: tuple[int, ...]


def task(name: str, root: str | None = None) -> Task:
    """Return "fashion", with 100 %, 10 %, 1 % and ten of the labels, or "glyphs", ten letters.

    The glyphs have about 1,200 images a letter, so that there ten a class *are* about 1 %.

    Raises ValueError for another name.
    """
    if name == "fashion":
        train, test = fashion_mnist("train", root), fashion_mnist("test", root)
        return Task(train, test, "judge_fashion", (6_000, 600, 60, 10))
    if name == "glyphs":
        train, test = glyphs("train"), glyphs("test")
        each = len(train) // train.num_classes
        return Task(train, test, "judge_glyphs32", (each, each // 10, 10))
    raise ValueError(f"name must be 'fashion' or 'glyphs', not {name!r}")


def train_gan(
    data: PartlyLabelled, *, steps: int, seed: int, variant: objectives.ClassLossOn = "real+fake"
) -> Result:
    """Train the small AC-GAN on partly labelled images, the labelled ones repeated to SHARE."""
    seed_everything(seed)
    device = pick_device()
    logits = data.num_classes + (variant == "n+1")
    G = Generator(num_classes=data.num_classes, width=WIDTH).to(device)
    D = Discriminator(width=WIDTH, class_head=logits).to(device)
    config = TrainConfig(seed=seed, batch_size=BATCH, lr_g=RATE, lr_d=RATE, progress=False)
    objective = objectives.semi(class_loss_on=variant)
    return fit(G, D, data.repeated(SHARE), objective, steps=steps, config=config)


def run_classifier(task: Task, keep: int, seed: int, shift: int) -> dict[str, Any]:
    """Train the classifier on `keep` labels a class and measure it on the test images."""
    data = hide_labels(task.train, keep, seed).labelled()
    D = train_classifier(data, steps=STEPS, seed=seed, shift=shift).cpu()
    return {"head": head_accuracy(D, task.test.normalised(), task.test.labels)}


def run_gan(task: Task, keep: int, seed: int, variant: objectives.ClassLossOn) -> dict[str, Any]:
    """Train AC-GAN on `keep` labels a class; measure D's class head and the samples.

    Beside the judge's accuracy on 3,000 samples, the same after the best renaming of the classes
    G was asked for: the two part where G draws well, but under another class's name. The first two
    samples of each class come along, uint8 (2 K, C, H, W).
    """
    result = train_gan(hide_labels(task.train, keep, seed), steps=STEPS, seed=seed, variant=variant)
    judge, D = the_judge(task.judge), result.D.cpu()
    assert isinstance(D, Discriminator)
    x, y = metrics.sample(result.G_ema.cpu(), 300, seed=seed)
    named = metrics.in_batches(judge, judge, x)[:, : task.train.num_classes].argmax(1)
    counts = contingency(y, named, task.train.num_classes)
    return {
        "head": head_accuracy(D, task.test.normalised(), task.test.labels),
        "samples": metrics.judge_accuracy(judge, x, y),
        "samples_renamed": best_match(counts)[1],
        "pictures": to_uint8(x.view(-1, 300, *x.shape[1:])[:, :2].flatten(0, 1)),
    }


def run(task: Task, keep: int, method: str, seed: int) -> dict[str, Any]:
    """Do one run: "classifier", "classifier+shift", or AC-GAN with a variant of L_C."""
    if method.startswith("classifier"):
        return run_classifier(task, keep, seed, shift=int(method.endswith("+shift")))
    variants = {variant: variant for variant in get_args(objectives.ClassLossOn)}
    return run_gan(task, keep, seed, variants[method])


def runs(tasks: Mapping[str, Task], seed: int) -> list[tuple[str, int, str]]:
    """Return each run's data set, labels a class and method.

    What only explains the comparison, the classifier without shifts and AC-GAN's other class
    losses, is run at ten labels a class; the class losses for three seeds.
    """
    plain = [(name, n, "real+fake") for name in tasks for n in sorted(tasks[name].keep)]
    plain += [(name, n, "classifier+shift") for name, n, _ in plain]
    extra = [(name, 10, "classifier") for name in tasks]
    if seed < 3:
        extra += [("fashion", 10, "real"), ("glyphs", 10, "real"), ("fashion", 10, "n+1")]
    return plain + extra


def labels(seed: int, root: str | None = None) -> None:
    """Train AC-GANs and classifiers on few labels; runs that are recorded are not repeated."""
    tasks = {name: task(name, root) for name in ("fashion", "glyphs")}
    for name, keep, method in runs(tasks, seed):
        model = f"{name}, {keep} a class, {method}"
        if done("labels", model, seed):
            continue
        measured = run(tasks[name], keep, method, seed)
        pictures = measured.pop("pictures", None)
        if seed == 0 and pictures is not None:
            keep_arrays("labels", {model: pictures.numpy()})
        row = {"model": model, "seed": seed, "data": name, "keep": keep, "method": method}
        record("labels", {**row, "steps": STEPS, **measured})
        print(model, seed, measured["head"], measured.get("samples"), flush=True)


RUNS = {"labels": labels}
