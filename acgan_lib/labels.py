"""Class labels in any form that a reader has them in, checked before a kernel reads them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

Labels = Tensor | np.ndarray[Any, Any] | Sequence[int] | int


def as_labels(
    y: Labels | None, n: int, num_classes: int, *, lowest: int = 0, name: str = "y"
) -> Tensor:
    """Return labels as an int64 tensor (n,), after checking them.

    Args:
        y: n whole numbers in [lowest, num_classes) as a tensor, an array or a sequence; or one
            number, for all rows.
        name: of the argument, for the error.

    Raises:
        ValueError: if ``y`` is missing, has another shape, is not of whole numbers (floats,
            truth values, one-hot rows), or has one out of range.
    """
    wanted = f"must hold one label for each of the {n} rows"
    try:
        labels = y if isinstance(y, Tensor) else torch.tensor(y)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{name} {wanted}, got {y!r}") from error
    labels = labels.expand(n) if labels.ndim == 0 else labels
    if labels.shape != (n,):
        fix = f": use {name}.argmax(1)" if labels.ndim == 2 and labels.shape[1] > 1 else ""
        raise ValueError(f"{name} {wanted}, got {tuple(labels.shape)}{fix}")
    if labels.is_floating_point() or labels.is_complex() or labels.dtype == torch.bool:
        raise ValueError(f"{name} must hold whole numbers, got {labels.dtype}: use {name}.long()")
    labels = labels.long()
    # On CUDA this look at the values would stop the host until the device has caught up. There
    # the kernels that read labels have their own check.
    if labels.device.type != "cuda" and n:
        low, high = int(labels.min()), int(labels.max())
        if not lowest <= low <= high < num_classes:
            raise ValueError(f"{name} must be in [{lowest}, {num_classes}), got {low} to {high}")
    return labels
