"""Figures, returned and not shown: grids of unranked samples, and training curves.

``viz.diagram(name)`` is :func:`acgan_lib.diagrams.diagram`.
"""

from __future__ import annotations

from collections.abc import Sequence

import matplotlib.pyplot as plt
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from torch import Tensor

from acgan_lib.data import to_uint8
from acgan_lib.diagrams import diagram as diagram
from acgan_lib.train import History


def tile(images: Tensor, columns: int, gap: int = 1) -> npt.NDArray[np.uint8]:
    """Lay images out row by row on white.

    Args:
        images: float in [-1, 1] or uint8, (n, C, H, W) with C = 1 or 3.
        columns: images in a row.
        gap: white pixels between images.

    Returns:
        uint8 (height, width, 3).
    """
    if images.ndim != 4 or images.shape[1] not in (1, 3):
        raise ValueError(f"images must be (n, 1 or 3, H, W), got {tuple(images.shape)}")
    images = to_uint8(images)
    n, _, h, w = images.shape
    rows = -(-n // columns)
    canvas = np.full((rows * (h + gap) - gap, columns * (w + gap) - gap, 3), 255, np.uint8)
    for i, image in enumerate(images.permute(0, 2, 3, 1).numpy()):
        top, left = i // columns * (h + gap), i % columns * (w + gap)
        canvas[top : top + h, left : left + w] = image
    return canvas


def grid(
    images: Tensor,
    columns: int,
    *,
    title: str = "",
    row_labels: Sequence[str] = (),
    column_labels: Sequence[str] = (),
    scale: float = 0.55,
) -> Figure:
    """Draw images, float in [-1, 1] or uint8 (n, C, H, W), in the order in which they come.

    Args:
        images: what to draw.
        columns: images in a row.
        title: printed above.
        row_labels: one for each row, or none.
        column_labels: one for each column, or none.
        scale: inches an image is wide.
    """
    canvas = tile(images, columns)
    h, w = images.shape[2] + 1, images.shape[3] + 1
    rows = -(-len(images) // columns)
    figure, ax = plt.subplots(figsize=(columns * scale, rows * scale), layout="constrained")
    ax.imshow(canvas, interpolation="nearest")
    ax.set_xticks(np.arange(len(column_labels)) * w + w / 2, column_labels, fontsize=8)
    ax.set_yticks(np.arange(len(row_labels)) * h + h / 2, row_labels, fontsize=8)
    if sum(map(len, column_labels)) > 6 * columns:
        ax.tick_params(axis="x", rotation=45)
        plt.setp(ax.get_xticklabels(), ha="left", rotation_mode="anchor")
    ax.tick_params(length=0, top=False, labeltop=True, labelbottom=False)
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title, fontsize=10)
    plt.close(figure)
    return figure


def curves(history: History, names: Sequence[str] = (), *, title: str = "") -> Figure:
    """Plot terms of a training run against the step.

    Args:
        history: the run.
        names: its columns to plot; all of them if none is named.
        title: printed above.
    """
    figure, ax = plt.subplots(figsize=(6.5, 3), layout="constrained")
    steps = history.column("step")
    styles = ["-", "--", ":", "-."]
    for i, name in enumerate(names or [n for n in history.rows[0] if n != "step"]):
        ax.plot(steps, history.column(name), styles[i % 4], label=name, linewidth=1.5)
    ax.set(xlabel="step", ylabel="loss (nats)", title=title)
    ax.legend(fontsize=8, ncols=2)
    ax.grid(alpha=0.3)
    plt.close(figure)
    return figure
