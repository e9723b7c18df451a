"""Callbacks for `train.fit`: pictures of fixed latents, and the history as a CSV file.

What they have gathered goes into the run's checkpoint (``state_dict``), and comes back from it.
"""

from __future__ import annotations

import csv
import io
import os
from typing import Any

import torch
from torch import Tensor

from acgan_lib import _files
from acgan_lib.data import to_uint8
from acgan_lib.train import Progress


class SampleGrid:
    """A callback that keeps what G_ema makes of fixed latents, to watch it learn.

    ``frames`` is a list of (step, images), images uint8 (n, C, H, W). A run that goes on from a
    checkpoint goes on with that run's latents, so that its frames show the same places.
    """

    def __init__(self, z: Tensor, y: Tensor | None, every: int) -> None:
        """Draw ``z`` (n, latent_dim) and ``y`` (n,) every ``every`` steps, and at the last.

        Raises:
            ValueError: if ``every`` is less than 1.
        """
        if every < 1:
            raise ValueError(f"every must be 1 or more, got {every}")
        self.z, self.y, self.every = z, y, every
        self.frames: list[tuple[int, Tensor]] = []

    def __call__(self, progress: Progress) -> None:
        """Draw, if it is time."""
        if progress.step % self.every and progress.step != progress.steps:
            return
        device = next(progress.G_ema.parameters()).device
        y = None if self.y is None else self.y.to(device)
        with torch.no_grad():
            images = progress.G_ema(self.z.to(device), y)
        self.frames.append((progress.step, to_uint8(images)))

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"z": self.z, "y": self.y, "frames": list(self.frames)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from what a checkpoint kept."""
        self.z, self.y, self.frames = state["z"], state["y"], list(state["frames"])


class CsvHistory:
    """A callback that keeps the history in a CSV file, whole at any moment.

    When a run goes on, the file becomes again what it was at the checkpoint, whatever happened to
    it since.

    Raises:
        OSError: at once, if the file's folder cannot be written to.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = _files.expand(path)
        _files.check_writable(self.path.parent)
        self.text = ""

    def __call__(self, progress: Progress) -> None:
        """Write the history, if a row was added."""
        if progress.terms is None:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(progress.history.rows[0]))
        writer.writeheader()
        writer.writerows(progress.history.rows)
        self.text = text.getvalue()
        _files.write(self.path, self.text.encode())

    def state_dict(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        return {"text": self.text}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Write the file as it was at a checkpoint."""
        self.text = state["text"]
        if self.text:
            _files.write(self.path, self.text.encode())
