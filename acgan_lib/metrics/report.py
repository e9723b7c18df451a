"""All figures of a generator at once, each beside the same figure of real images."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from acgan_lib.data import LabelledImages
from acgan_lib.judge import Judge
from acgan_lib.metrics.accuracy import judge_accuracy
from acgan_lib.metrics.cas import cas
from acgan_lib.metrics.estimate import Estimate
from acgan_lib.metrics.frechet import frechet_estimate
from acgan_lib.metrics.kid import kid
from acgan_lib.metrics.sampling import checked_images, in_batches, sample
from acgan_lib.metrics.ssim import ms_ssim_diversity, ms_ssim_mean

PAIRS = 1_000  # that MS-SSIM compares, over all classes
LEAST = 4  # images of a class: each half of it needs 2


@dataclass(frozen=True, repr=False)
class Report:
    """What `report` measured; printed, it is a table.

    samples: the generator's figures by name.
    real: the same figures of real images, where there is one.
    note: what stands behind the distances.
    """

    samples: dict[str, Estimate]
    real: dict[str, Estimate]
    note: str

    def __str__(self) -> str:
        rows = [("", "samples", "real images")]
        for name, e in self.samples.items():
            rows.append((name, _cell(e), _cell(self.real[name]) if name in self.real else "-"))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in rows]
        return "\n".join([*lines, self.note])

    __repr__ = __str__


def _cell(e: Estimate) -> str:
    """Write an estimate with two digits of its uncertainty: KID may be .0004, Frechet 40."""
    half = (e.high - e.low) / 2
    digits = min(max(1 - math.floor(math.log10(half)), 0), 7) if half > 0 else 3
    return f"{e.value:.{digits}f} [{e.low:.{digits}f}, {e.high:.{digits}f}] n={e.n:,}"


def report(
    G: nn.Module,
    judge: Judge,
    test: LabelledImages,
    *,
    n: int = 2_000,
    seed: int = 0,
    progress: bool = True,
) -> Report:
    """Measure a generator in every way that needs no more than a judge and held-out images.

    "accuracy" (`judge_accuracy`), "MS-SSIM" (`ms_ssim_mean`), "Frechet judge distance"
    (`frechet_estimate`), "KID, judge's features" (`kid`) and "CAS" (`cas`), each with its n and a
    95 % interval, which is about this G: for other trainings, see `over_seeds`. Higher is better
    for accuracy and CAS, lower for the others. 2,000 images of 32 px take about 15 seconds on a
    CPU core, most of them for CAS.

    Beside them stand the figures of real images. For the two distances `test` is cut into halves:
    the real figure is that of the first half against the second, and G's images stand in for the
    first half, class by class. So both have the same n, on which the Frechet distance depends. CAS
    has no real figure, because that takes another training: for its ceiling call `cas` with n of
    the real images that the judge was trained on.

    A G without classes has neither accuracy nor CAS, and its MS-SSIM is that of any two images.

    Args:
        G: a generator ``G(z, y)`` with attributes latent_dim and num_classes.
        judge: trained on real images other than `test` (`train_judge`).
        test: at least 4 real images of each class that G was not trained on.
        n: samples for accuracy, MS-SSIM and CAS, classes in the shares that they have in `test`.
        seed: fixes the samples, the pairs, the bootstrap, the halves and CAS's training.
        progress: show a bar over the figures, and one over CAS's training.

    Raises:
        ValueError: before anything is measured, if n is less than 4, a class of `test` has fewer
            than 4 images, G, judge and test differ in classes or shape, or G's images are not in
            [-1, 1].
    """
    test, classes = test.to("cpu"), int(G.num_classes)  # type: ignore[arg-type]
    counts = _class_counts(test, classes, judge, n)
    drawn, _ = sample(G, 1, seed=seed)
    if checked_images(drawn, "G's images").shape[1:] != test.images.shape[1:]:
        raise ValueError(
            f"G draws images of shape {tuple(drawn.shape[1:])}, but test holds "
            f"{tuple(test.images.shape[1:])}"
        )
    x_test, y_test = test.normalised(), test.labels
    numbers = [max(math.ceil(n * count / len(test)), LEAST) for count in counts]
    x, y = sample(G, numbers if classes else n, seed=seed)
    checked_images(x, "G's images")
    first, second = _halves(y_test, seed)
    in_first = torch.bincount(y_test[first]).tolist()
    x_half, y_half = sample(G, in_first if classes else len(first), seed=seed + 1)
    images = (x_half, x_test[first], x_test[second])
    of_G, of_first, of_second = (in_batches(judge, judge.features, part) for part in images)
    y_G = y_half if classes else None  # else the shares of what it draws were left to chance

    def alike(x: Tensor, y: Tensor) -> Estimate:
        y, pairs = (y, PAIRS // classes) if classes else (torch.zeros_like(y), PAIRS)
        return ms_ssim_mean(ms_ssim_diversity(x, y, pairs=max(pairs, 10), seed=seed))

    def figures(
        x: Tensor, y: Tensor, features: Tensor, fixed: Tensor | None
    ) -> dict[str, Callable[[], Estimate]]:
        y_b = y_test[second]
        return {
            "accuracy": lambda: judge_accuracy(judge, x, y),
            "MS-SSIM": lambda: alike(x, y),
            "Frechet judge distance": lambda: frechet_estimate(
                features, of_second, y_a=fixed, y_b=y_b, seed=seed
            ),
            "KID, judge's features": lambda: kid(features, of_second, y_a=fixed, y_b=y_b),
        }

    of_samples = figures(x, y, of_G, y_G)
    of_real = figures(x_test, y_test, of_first, y_test[first])
    device = next(judge.parameters()).device
    of_samples["CAS"] = lambda: cas(
        x, y, x_test, y_test, seed=seed, device=device, progress=progress
    )
    samples: dict[str, Estimate] = {}
    real: dict[str, Estimate] = {}
    names = [name for name in of_samples if classes or name not in ("accuracy", "CAS")]
    bar = tqdm(names, disable=not progress)
    for name in bar:
        bar.set_description(name)
        samples[name] = of_samples[name]()
        if name in of_real:
            real[name] = of_real[name]()
    note = "Distances: of G's images, and of one half of test, to the other half."
    return Report(samples, real, note if classes else f"{note} G has no classes.")


def _class_counts(test: LabelledImages, classes: int, judge: Judge, n: int) -> list[int]:
    """Return the number of test images of each class, if there are enough and all have as many."""
    if n < LEAST:
        raise ValueError(f"n must be at least {LEAST}, got {n}")
    for name, found in (("G", classes or test.num_classes), ("judge", judge.num_classes)):
        if found != test.num_classes:
            raise ValueError(f"{name} has {found} classes, but test has {test.num_classes}")
    counts: list[int] = torch.bincount(test.labels, minlength=test.num_classes).tolist()
    for name, count in zip(test.class_names, counts, strict=True):
        if count < LEAST:
            raise ValueError(f"test has {count} images of class {name!r}; it needs {LEAST}")
    return counts


def _halves(y: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Split the rows at random into two halves, each with half of each class."""
    order = torch.randperm(len(y), generator=torch.Generator().manual_seed(seed))
    of = [order[y[order] == k] for k in range(int(y.max()) + 1)]
    return torch.cat([rows[::2] for rows in of]), torch.cat([rows[1::2] for rows in of])
