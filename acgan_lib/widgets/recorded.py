"""Recorded pictures under a slider: widgets that need no kernel."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from acgan_lib.widgets.base import Face, bundle, png


class Scrubber(Face):
    """A slider and a play button over saved pictures, such as ``SampleGrid.frames``.

    All pictures travel in one PNG inside the widget (``nbytes``), so that it is alive on a static
    page too; 20 frames of 40 FashionMNIST pictures are about 0.5 MB.

    Args:
        frames: pairs of a step and uint8 images (n, 1 or 3, H, W), all of one shape.
        labels: names of the columns.
        columns: how many there are; by default as many as labels, or as makes the grid about
            square.
        title: name of the slider.
        captions: what each frame is, where frames are not training steps.

    Raises:
        ValueError: frames is empty or not of that kind, or the names do not fit their number.
    """

    _esm = bundle("ui", "scrubber")

    def __init__(
        self,
        frames: Sequence[tuple[int, Tensor]],
        labels: Sequence[str] | None = None,
        *,
        columns: int | None = None,
        title: str = "Training",
        captions: Sequence[str] | None = None,
    ) -> None:
        steps, pictures = _checked(frames)
        count, n = pictures.shape[:2]
        if columns is None:
            columns = len(labels) if labels else math.ceil(math.sqrt(n))
        if not 1 <= columns <= n:
            raise ValueError(f"columns must lie in 1..{n} (the pictures in a frame), not {columns}")
        if labels and len(labels) != columns:
            raise ValueError(f"labels must name the {columns} columns, not {len(labels)}")
        if captions and len(captions) != count:
            raise ValueError(f"captions must name the {count} frames, not {len(captions)}")
        across = math.ceil(math.sqrt(count * n))  # near square: browsers limit a picture's side
        spec = {
            "kind": "scrubber",
            "steps": steps,
            "n": n,
            "columns": columns,
            "labels": list(labels or []),
            "title": title,
            "captions": list(captions or []),
            "size": list(pictures.shape[-2:]),
            "across": across,
        }
        self.steps = steps
        still = png(pictures.flatten(0, 1), across)
        self.nbytes = len(still)
        about = f"frames={count}, pictures={n}, steps={steps[0]}..{steps[-1]}"
        super().__init__(spec, still, about)


class Scoreboard(Scrubber):
    """A Scrubber that shows, under the pictures of each frame, a table of its scores.

    Args:
        scores: one mapping for each frame, all with the same names: what to print, and a verdict,
            "worse", "better" or "" for neither.
        captions: short names of the frames.
        frames, labels, columns, title: as Scrubber's.

    Raises:
        ValueError: as Scrubber's; or the scores are not of that kind.
    """

    _esm = bundle("ui", "scrubber", "scoreboard")

    def __init__(
        self,
        frames: Sequence[tuple[int, Tensor]],
        scores: Sequence[Mapping[str, tuple[str, str]]],
        captions: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        columns: int | None = None,
        title: str,
    ) -> None:
        if len(scores) != len(frames) or any(row.keys() != scores[0].keys() for row in scores):
            raise ValueError(
                f"scores must have the same names for each of the {len(frames)} frames"
            )
        known = ("worse", "better", "")
        wrong = [v for row in scores for _, v in row.values() if v not in known]
        if wrong:
            raise ValueError(f"a verdict must be one of {known}, not {wrong[0]!r}")
        super().__init__(frames, labels, columns=columns, title=title, captions=captions)
        names = list(scores[0])
        rows = [[list(row[name]) for name in names] for row in scores]
        self.spec = {**self.spec, "scores": {"names": names, "rows": rows}}


def _checked(frames: Sequence[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
    """Steps, and pictures uint8 (frames, n, C, H, W)."""
    if not frames:
        raise ValueError("frames is empty: was the SampleGrid passed to fit as a callback?")
    steps = [int(step) for step, _ in frames]
    shapes = {tuple(images.shape) for _, images in frames}
    if len(shapes) != 1:
        raise ValueError(f"frames must all be of one shape, not {sorted(shapes)}")
    shape = shapes.pop()
    if len(shape) != 4 or shape[1] not in (1, 3) or any(i.dtype != torch.uint8 for _, i in frames):
        raise ValueError(f"frames must hold uint8 images (n, 1 or 3, height, width), got {shape}")
    return steps, torch.stack([images.cpu() for _, images in frames])
