"""The Frechet distance between two feature clouds, each taken as a Gaussian.

With Inception's features it is called FID (Heusel et al. 2017). With the judge's it is another
quantity on another scale, under its own name: the Frechet judge distance.

The distance is written out here, though torch-fidelity has it, because chapter 11 shows its code;
the tests hold it against torch-fidelity and SciPy's matrix root.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from tqdm.auto import tqdm

from acgan_lib.judge import Judge
from acgan_lib.metrics.estimate import Estimate
from acgan_lib.metrics.sampling import checked_images, checked_labels, in_batches


def frechet_distance(features_a: Tensor, features_b: Tensor) -> float:
    """Return the squared Frechet distance of two Gaussians fitted to the features.

    |m_a - m_b|^2 + tr(S_a + S_b - 2 (S_a^1/2 S_b S_a^1/2)^1/2), with means m and covariances S
    (Dowson and Landau 1982; Heusel et al. 2017, equation 6), all in float64. The matrix under the
    root is symmetric, so its eigenvalues are real: no complex part to drop, and a singular S
    does no harm.

    It is biased upwards, roughly as 1/n, more so with more dimensions (Binkowski et al. 2018;
    Chong and Forsyth 2020). Compare values of equal n alone; with n below F it is mostly bias.

    Args:
        features_a: float (n, F).
        features_b: float (m, F).

    Raises:
        ValueError: if the shapes do not fit, a set has fewer than 2 rows, or a value is not
            finite.
    """
    a, b = checked_features(features_a, "features_a"), checked_features(features_b, "features_b")
    if a.shape[1] != b.shape[1]:
        raise ValueError(f"the features differ in dimension: {a.shape[1]} and {b.shape[1]}")
    return _distance(a, b)


def checked_features(features: Tensor, name: str = "features") -> Tensor:
    """Return features float (n >= 2, F) as float64 on the CPU; ValueError if they are not that."""
    if not features.is_floating_point() or features.ndim != 2 or len(features) < 2:
        raise ValueError(
            f"{name} must be float (n, F), n >= 2, not {features.dtype} {tuple(features.shape)}"
        )
    bad = int((~features.isfinite()).sum())
    if bad:
        raise ValueError(f"{name} holds {bad:,} values that are not finite")
    return features.detach().cpu().double()


def _distance(a: Tensor, b: Tensor) -> float:
    if len(a) + len(b) < a.shape[1]:
        # Few rows span few dimensions; a rotation into their span changes no distance.
        basis = torch.linalg.qr(torch.cat([a, b]).T).Q
        a, b = a @ basis, b @ basis
    cov_a, cov_b = _covariance(a), _covariance(b)
    eigenvalues, vectors = torch.linalg.eigh(cov_a)
    root_a = vectors * eigenvalues.clamp_min(0).sqrt() @ vectors.T
    # Rounding leaves eigenvalues such as -1e-17 where the true one is 0.
    cross = torch.linalg.eigvalsh(root_a @ cov_b @ root_a).clamp_min(0).sqrt().sum()
    gap = (a.mean(0) - b.mean(0)).square().sum()
    return max(float(gap + cov_a.trace() + cov_b.trace() - 2 * cross), 0.0)


def _covariance(x: Tensor) -> Tensor:
    centred = x - x.mean(0)
    return centred.T @ centred / (len(x) - 1)


def frechet_estimate(
    features_a: Tensor,
    features_b: Tensor,
    *,
    y_a: Tensor | None = None,
    y_b: Tensor | None = None,
    resamples: int = 50,
    seed: int = 0,
    progress: bool = False,
) -> Estimate:
    """Return `frechet_distance` of any features with an interval.

    The interval says how much the figure moves when both sets are drawn anew *at this n*. Both
    are resampled with replacement. A resample repeats images, so its distance carries the bias a
    second time; the resamples' spread is therefore taken about their own mean and put around the
    value (Efron and Tibshirani 1993, chapter 10, on the bootstrap's estimate of bias). The value
    keeps its own upward bias: see `frechet_distance`, and `frechet_limit`. Where the value is
    mostly that bias, as between two halves of one data set, the interval is about 1.5 times too
    wide.

    Args:
        features_a: float (n, F).
        features_b: float (m, F).
        y_a: classes, int64 (n,), if the first set was drawn with a fixed number of images of each
            class, as `sample` and FashionMNIST's files are. Its resamples then keep those numbers;
            without it, the interval counts a chance in the classes' shares that was never taken.
        y_b: classes of the second set, likewise.
        resamples: number of bootstrap resamples, at least 2.
        seed: fixes them.
        progress: show a bar, for wide features.

    Returns:
        Estimate >= 0, in squared feature units; n is the smaller set's number of images.

    Raises:
        ValueError: as frechet_distance; if labels and features differ in number; if there are
            fewer than 2 resamples.
    """
    for name, features, y in (("y_a", features_a, y_a), ("y_b", features_b, y_b)):
        if y is not None:
            checked_labels(y, len(features), name)
    if resamples < 2:
        raise ValueError(f"resamples must be at least 2, got {resamples}")
    value = frechet_distance(features_a, features_b)
    a, b = checked_features(features_a, "features_a"), checked_features(features_b, "features_b")
    generator = torch.Generator().manual_seed(seed)
    draws = np.array(
        [
            _distance(_resample(a, y_a, generator), _resample(b, y_b, generator))
            for _ in tqdm(range(resamples), desc="bootstrap", disable=not progress)
        ]
    )
    # Half the width from the standard deviation: it needs far fewer resamples than tail quantiles.
    half = 1.96 * float(draws.std(ddof=1))
    return Estimate(value, max(value - half, 0.0), value + half, min(len(a), len(b)))


def frechet_judge_distance(
    judge: Judge,
    x_a: Tensor,
    x_b: Tensor,
    *,
    y_a: Tensor | None = None,
    y_b: Tensor | None = None,
    resamples: int = 50,
    seed: int = 0,
) -> Estimate:
    """Return `frechet_estimate` of the judge's 128 features of two image sets.

    Args:
        judge: a module with features(x) of shape (n, F).
        x_a: images, float (n, C, H, W) in [-1, 1].
        x_b: images, float (m, C, H, W) in [-1, 1].
        y_a, y_b, resamples, seed: as in `frechet_estimate`.

    Raises:
        ValueError: as frechet_estimate, or if the images are not float in [-1, 1]
            (`checked_images`).
    """
    checked_images(x_a, "x_a")
    checked_images(x_b, "x_b")
    a, b = (in_batches(judge, judge.features, x) for x in (x_a, x_b))
    return frechet_estimate(a, b, y_a=y_a, y_b=y_b, resamples=resamples, seed=seed)


def frechet_by_class(
    features_a: Tensor,
    y_a: Tensor,
    features_b: Tensor,
    y_b: Tensor,
    *,
    resamples: int = 50,
    seed: int = 0,
) -> list[Estimate]:
    """Return `frechet_estimate` within each class 0..max(y): the intra-class Frechet distance.

    A generator that draws every class well and the wrong ones when asked has a good distance of
    all classes together and bad ones here (Miyato and Koyama 2018 report its mean with Inception
    as intra FID). Each class has only its own images, so the bias is larger than of the whole.

    Raises:
        ValueError: as frechet_estimate, or if a class has fewer than 2 images in a set.
    """
    y_a = checked_labels(y_a, len(features_a), "y_a")
    y_b = checked_labels(y_b, len(features_b), "y_b")
    classes = range(int(max(y_a.max(), y_b.max())) + 1)
    for k in classes:
        counts = int((y_a == k).sum()), int((y_b == k).sum())
        if min(counts) < 2:
            raise ValueError(f"class {k} has {counts[0]} and {counts[1]} images; each set needs 2")
    return [
        frechet_estimate(features_a[y_a == k], features_b[y_b == k], resamples=resamples, seed=seed)
        for k in classes
    ]


def frechet_limit(
    features_a: Tensor, features_b: Tensor, *, halvings: int = 3, seed: int = 0
) -> Estimate:
    """Estimate the distance that infinitely many images would have (Chong and Forsyth 2020).

    The bias of `frechet_distance` falls nearly as 1/n. So the distance is measured on whole sets,
    on halves, quarters and so on, and a straight line in 1/n is continued to 1/n = 0. Each row
    counts once at each size. The interval is a jackknife's: ten estimates, each without another
    tenth of the rows (Efron and Tibshirani 1993, chapter 11). It knows nothing of what the
    straight line leaves out, so keep the smallest part well above the features' dimension.

    Args:
        features_a: float (n, F).
        features_b: float (m, F); the larger set is cut to the smaller one's number, at random.
        halvings: how often the sets are cut in two; the smallest parts have n / 2**halvings rows.
        seed: fixes which rows stand together.

    Returns:
        Estimate, which may be slightly negative; n is the smaller set's number of images.

    Raises:
        ValueError: as frechet_distance, or if halvings is less than 1 or leaves parts of fewer
            than 2 rows.
    """
    n = min(len(features_a), len(features_b))
    # A jackknifed set has nine tenths of the rows.
    if halvings < 1 or (9 * n // 10) >> halvings < 2:
        raise ValueError(f"halvings must be at least 1 and leave 2 rows of {n}, not {halvings}")
    generator = torch.Generator().manual_seed(seed)
    a, b = (
        checked_features(x)[torch.randperm(len(x), generator=generator)[:n]]
        for x in (features_a, features_b)
    )
    value = _intercept(a, b, halvings)
    tenth = torch.arange(n) % 10
    left_out = [_intercept(a[tenth != i], b[tenth != i], halvings) for i in range(10)]
    half = 1.96 * 3 * float(np.std(left_out))  # sqrt(9) times the deviation of the ten
    return Estimate(value, value - half, value + half, n)


def _intercept(a: Tensor, b: Tensor, halvings: int) -> float:
    """Continue the distance of ever larger parts to 1/n = 0, by least squares."""
    inverse, distance = [], []
    for parts in (2**i for i in range(halvings + 1)):
        size = len(a) // parts
        rows = [slice(i * size, (i + 1) * size) for i in range(parts)]
        inverse.append(1 / size)
        distance.append(float(np.mean([_distance(a[part], b[part]) for part in rows])))
    return float(np.polyfit(inverse, distance, 1)[1])


def _resample(x: Tensor, y: Tensor | None, generator: torch.Generator) -> Tensor:
    """Draw len(x) rows with replacement; within each class, if classes are given."""
    if y is None:
        return x[torch.randint(len(x), (len(x),), generator=generator)]
    strata = [torch.nonzero(y.cpu() == k).flatten() for k in sorted(set(y.tolist()))]
    rows = [r[torch.randint(len(r), (len(r),), generator=generator)] for r in strata]
    return x[torch.cat(rows)]
