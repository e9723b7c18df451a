"""Classification accuracy score: are the samples good enough to learn the classes from?

Ravuri and Vinyals 2019. A classifier is trained on generated images alone and tested on real
ones. It falls when a class loses its variety, which judge accuracy does not see.
"""

from __future__ import annotations

import torch
from torch import Tensor

from acgan_lib.data import LabelledImages, to_uint8
from acgan_lib.judge import BATCH_SIZE, train_judge
from acgan_lib.metrics.accuracy import judge_accuracy
from acgan_lib.metrics.estimate import Estimate
from acgan_lib.metrics.sampling import checked_images, checked_labels


def cas(
    x_gen: Tensor,
    y_gen: Tensor,
    x_test: Tensor,
    y_test: Tensor,
    *,
    seed: int = 0,
    epochs: int | None = None,
    device: torch.device | str = "cpu",
    progress: bool = False,
) -> Estimate:
    """Return the accuracy on real images of a judge trained on generated ones.

    Its n is the number of *test* images: the interval leaves out that another training or
    another sample from G would give another classifier. For that, use `over_seeds`. Compare
    figures only at the same number of generated images and epochs, with the real training data
    under the same budget as the ceiling.

    Args:
        x_gen: generated images, float (n, C, H, W) in [-1, 1].
        y_gen: the classes they were asked for, int64 (n,); each class must occur.
        x_test: real images that no training saw, float (m, C, H, W) in [-1, 1].
        y_test: their classes, int64 (m,).
        seed: of the judge's training.
        epochs: passes over the generated images, in batches of 128; left out, `train_judge`
            chooses the number of batches.
        device: where to train.
        progress: show a bar over the training's steps.

    Raises:
        ValueError: if images are not float in [-1, 1] (`checked_images`) or of two shapes, a
            label does not fit, a class has no generated image, or epochs is less than 1.
    """
    if epochs is not None and epochs < 1:
        raise ValueError(f"epochs must be at least 1, got {epochs}")
    checked_labels(y_gen, len(checked_images(x_gen, "x_gen")), "y_gen")
    checked_labels(y_test, len(checked_images(x_test, "x_test")), "y_test")
    if x_gen.shape[1:] != x_test.shape[1:]:
        raise ValueError(
            f"x_gen and x_test must show images of one shape, not {tuple(x_gen.shape[1:])} and "
            f"{tuple(x_test.shape[1:])}"
        )
    num_classes = max(int(y_gen.max()), int(y_test.max())) + 1
    data = as_labelled_images(x_gen, y_gen, num_classes)
    steps = None if epochs is None else epochs * max(len(data) // BATCH_SIZE, 1)
    judge = train_judge(data, steps=steps, seed=seed, device=device, progress=progress)
    return judge_accuracy(judge, x_test, y_test)


def as_labelled_images(x: Tensor, y: Tensor, num_classes: int) -> LabelledImages:
    """Return images (n, C, H, W) in [-1, 1] as the uint8 set they would be saved as.

    Real images have 256 grey levels too, so that a classifier cannot learn from finer ones.

    Raises:
        ValueError: if x leaves [-1, 1] or the labels do not fit.
    """
    names = tuple(str(k) for k in range(num_classes))
    return LabelledImages(to_uint8(x), y.cpu(), names, "generated images")
