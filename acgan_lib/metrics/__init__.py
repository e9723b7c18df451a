"""Measurements of generators: every figure comes with its n and a 95 % interval."""

from acgan_lib.judge import Judge, train_judge
from acgan_lib.metrics.accuracy import (
    at_resolution,
    judge_accuracy,
    judge_accuracy_at,
    judge_accuracy_by_class,
)
from acgan_lib.metrics.alarm import CollapseAlarm
from acgan_lib.metrics.cas import as_labelled_images, cas
from acgan_lib.metrics.compare import Difference, difference, holm, prediction
from acgan_lib.metrics.estimate import (
    Estimate,
    bootstrap_mean,
    mean_of_classes,
    over_seeds,
    proportion,
)
from acgan_lib.metrics.frechet import (
    frechet_by_class,
    frechet_distance,
    frechet_estimate,
    frechet_judge_distance,
    frechet_limit,
)
from acgan_lib.metrics.inception import Inception, fid, inception_score, load_inception
from acgan_lib.metrics.kid import kid
from acgan_lib.metrics.manifold import Manifold, manifold
from acgan_lib.metrics.neighbours import Neighbours, memorisation, nearest_neighbours
from acgan_lib.metrics.report import Report, report
from acgan_lib.metrics.sampling import checked_images, in_batches, sample
from acgan_lib.metrics.score import classifier_score
from acgan_lib.metrics.ssim import ms_ssim, ms_ssim_diversity, ms_ssim_mean
from acgan_lib.metrics.swap import SwapShares, shuffled, swap_consistency

__all__ = [
    "CollapseAlarm", "Difference", "Estimate", "Inception", "Judge", "Manifold", "Neighbours",
    "Report", "SwapShares", "as_labelled_images", "at_resolution", "bootstrap_mean", "cas",
    "checked_images", "classifier_score", "difference", "fid", "frechet_by_class",
    "frechet_distance", "frechet_estimate", "frechet_judge_distance", "frechet_limit", "holm",
    "in_batches", "inception_score", "judge_accuracy", "judge_accuracy_at",
    "judge_accuracy_by_class", "kid", "load_inception", "manifold", "mean_of_classes",
    "memorisation", "ms_ssim", "ms_ssim_diversity", "ms_ssim_mean", "nearest_neighbours",
    "over_seeds", "prediction", "proportion", "report", "sample", "shuffled",
    "swap_consistency", "train_judge",
]  # fmt: skip
