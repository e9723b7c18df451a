"""Measurements of generators: every figure comes with its n and a 95 % interval."""

from acgan_lib.judge import Judge, train_judge
from acgan_lib.metrics.accuracy import judge_accuracy, judge_accuracy_by_class
from acgan_lib.metrics.cas import as_labelled_images, cas
from acgan_lib.metrics.estimate import (
    Estimate,
    bootstrap_mean,
    mean_of_classes,
    over_seeds,
    proportion,
)
from acgan_lib.metrics.frechet import frechet_distance, frechet_judge_distance
from acgan_lib.metrics.sampling import evaluating, in_batches, sample
from acgan_lib.metrics.ssim import ms_ssim, ms_ssim_diversity, ms_ssim_mean

__all__ = [
    "Estimate",
    "Judge",
    "as_labelled_images",
    "bootstrap_mean",
    "cas",
    "evaluating",
    "frechet_distance",
    "frechet_judge_distance",
    "in_batches",
    "judge_accuracy",
    "judge_accuracy_by_class",
    "mean_of_classes",
    "ms_ssim",
    "ms_ssim_diversity",
    "ms_ssim_mean",
    "over_seeds",
    "proportion",
    "sample",
    "train_judge",
]
