"""Recorded games in the plane, and a widget to scrub through them without a kernel.

``record`` plays :func:`acgan_lib.toy.play` and keeps what can be seen of it: where G puts fixed
latents, D's source logit on a lattice, and at each sample the way in which G's loss pushes it.
``Playground`` shows one recording, or two side by side::

    torch.manual_seed(0)
    mine = playground.record(toy.PointGenerator(), toy.PointDiscriminator(), toy.ring(),
                             objectives.gan(), steps=1000, lr_g=1e-3, lr_d=1e-3)
    playground.Playground({"mine": mine})

The recordings that ship are those of ``acgan_lib.experiments.ch02_games``.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from acgan_lib import toy
from acgan_lib.losses import d_source_fake, d_source_real
from acgan_lib.objectives import Batch, Objective
from acgan_lib.train import frozen
from acgan_lib.widgets.base import Face, bundle, style

__all__ = ["Frame", "Playground", "Recording", "record"]

MEASURED = 1000  # samples behind each number; the first of them are the points that are drawn


class Frame(NamedTuple):
    """What one moment of a recording shows, in the units of the plane.

    Attributes:
        points: float64 (n, 2), where G puts the recording's fixed latents.
        pushes: float64 (n, 2), minus the gradient of a point's own loss: where and how hard G's
            loss pushes it. (The loss of a batch is the mean, so its gradient is 1/n of this.)
        logits: float64 (side, side), D's source logit at ``lattice``, the lowest row first.
    """

    points: Tensor
    pushes: Tensor
    logits: Tensor


@dataclass(frozen=True)
class Recording:
    """A game in the plane at some of its steps, small enough for a page.

    Attributes:
        settings: what was played, by name, for people to read.
        steps: the steps recorded, the first is 0: before any training.
        means: the ring or lattice of Gaussians that G should cover.
        std: of each of them.
        reach: the lattice and the picture span [-reach, reach] in both directions.
        side: points of the lattice in each direction.
        count: the points drawn.
        scales: three numbers a frame, by which the integers of points, pushes and logits are
            multiplied. Rounding is off by half a scale at most.
        data: base64 of, frame by frame, int16 points and pushes (x, y, x, y, ...) and int8 logits.
        numbers: by name, one number a frame, over 1,000 samples and as many real points: ``modes``
            and ``high_quality`` (:func:`acgan_lib.toy.coverage`), ``V`` (the game's value),
            ``d_real`` and ``d_fake`` (D's mean probability of "real"), ``push`` (median length).
    """

    settings: dict[str, Any]
    steps: list[int]
    means: list[list[float]]
    std: float
    reach: float
    side: int
    count: int
    scales: list[list[float]]
    data: str
    numbers: dict[str, list[float]]

    def frame(self, index: int) -> Frame:
        """Return the frame of ``steps[index]``."""
        of_points, of_pushes, of_logits = self.scales[index]
        raw = np.frombuffer(base64.b64decode(self.data), np.uint8)
        parts = raw.reshape(len(self.steps), -1)[index]
        vectors = parts[: 8 * self.count].view("<i2").astype(np.float64).reshape(2, self.count, 2)
        logits = parts[8 * self.count :].view(np.int8).astype(np.float64)
        return Frame(
            torch.from_numpy(vectors[0] * of_points),
            torch.from_numpy(vectors[1] * of_pushes),
            torch.from_numpy(logits * of_logits).view(self.side, self.side),
        )


def lattice(reach: float, side: int) -> Tensor:
    """Return the points where D's field is read, (side * side, 2): row by row, the lowest first."""
    ticks = torch.linspace(-reach, reach, side)
    y, x = torch.meshgrid(ticks, ticks, indexing="ij")
    return torch.stack([x.flatten(), y.flatten()], dim=1)


def record(
    G: nn.Module,
    D: nn.Module,
    mixture: toy.Mixture,
    objective: Objective,
    *,
    steps: int,
    frames: int = 31,
    count: int = 160,
    side: int = 32,
    head_start: int = 0,
    settings: Mapping[str, Any] | None = None,
    **play: Any,
) -> Recording:
    """Play a game and record it. The game is the one that ``toy.play`` alone would play.

    Args:
        G, D, mixture, objective, steps: as for ``toy.play``; points must lie in the plane.
        frames: moments to keep, at equal distances from step 0 to the last: at least 2.
        count: points to draw, at most 1,000.
        side: the lattice's points in each direction.
        head_start: steps that D first trains alone, while G stands still.
        settings: what the page should say about the run; by default ``play`` and the like.
        play: further arguments of ``toy.play``, as ``lr_g``.

    Raises:
        ValueError: if the mixture is not in the plane, or frames or count do not fit.
    """
    if mixture.dim != 2:
        raise ValueError(f"only the plane can be drawn, not {mixture.dim} dimensions")
    if not 2 <= frames <= steps + 1:
        raise ValueError(f"frames must lie in 2..{steps + 1} (steps + 1), not {frames}")
    if not 1 <= count <= MEASURED:
        raise ValueError(f"count must lie in 1..{MEASURED}, not {count}")
    if head_start:
        toy.play(G, D, mixture, objective, steps=head_start, **{**play, "lr_g": 0.0})
    camera = _Camera(mixture, objective, int(G.latent_dim), count, side)  # type: ignore[arg-type]
    wanted = [round(steps * i / (frames - 1)) for i in range(frames)]
    camera(0, G, D)

    def callback(step: int, G: nn.Module, D: nn.Module) -> None:
        if step in wanted:
            camera(step, G, D)

    toy.play(G, D, mixture, objective, steps=steps, callback=callback, **play)
    about = {"steps": steps, "head_start": head_start, **play}
    return camera.recording(dict(settings) if settings is not None else about)


class _Camera:
    """Takes the frames: the latents and the real points it looks at are fixed from the start."""

    def __init__(
        self, mixture: toy.Mixture, objective: Objective, latent_dim: int, count: int, side: int
    ) -> None:
        generator = torch.Generator().manual_seed(0)
        self.z = torch.randn(MEASURED, latent_dim, generator=generator)
        self.real = mixture.sample(MEASURED, generator)
        self.mixture, self.objective, self.count, self.side = mixture, objective, count, side
        self.reach = float(1.5 * mixture.means.abs().max() + 4 * mixture.std)
        self.steps: list[int] = []
        self.scales: list[list[float]] = []
        self.parts: list[bytes] = []
        self.numbers: list[dict[str, float]] = []

    def __call__(self, step: int, G: nn.Module, D: nn.Module) -> None:
        with torch.no_grad():
            samples = G(self.z)
            logits = D(lattice(self.reach, self.side)).source_logit
        push = pushes(D, self.objective, samples)
        scales = []
        for values, kind in (
            (samples[: self.count], np.int16),
            (push[: self.count], np.int16),
            (logits, np.int8),
        ):
            scale, integers = quantise(values, kind)
            scales.append(scale)
            self.parts.append(integers.tobytes())
        self.steps.append(step)
        self.scales.append(scales)
        self.numbers.append(self.measure(D, samples, push))

    def measure(self, D: nn.Module, samples: Tensor, push: Tensor) -> dict[str, float]:
        """The numbers of a frame, see :class:`Recording`."""
        with torch.no_grad():
            on_real, on_fake = D(self.real).source_logit, D(samples).source_logit
        covered = toy.coverage(self.mixture, samples)
        return {
            "modes": covered.modes,
            "high_quality": covered.high_quality,
            "V": -float(d_source_real(on_real) + d_source_fake(on_fake)),
            "d_real": float(on_real.sigmoid().mean()),
            "d_fake": float(on_fake.sigmoid().mean()),
            "push": float(push.norm(dim=1).median()),
        }

    def recording(self, settings: dict[str, Any]) -> Recording:
        names = self.numbers[0]
        return Recording(
            settings=settings,
            steps=self.steps,
            means=[[round(x, 4) for x in mean] for mean in self.mixture.means.tolist()],
            std=self.mixture.std,
            reach=self.reach,
            side=self.side,
            count=self.count,
            scales=self.scales,
            data=base64.b64encode(b"".join(self.parts)).decode("ascii"),
            numbers={name: [float(f"{row[name]:.4g}") for row in self.numbers] for name in names},
        )


def pushes(D: nn.Module, objective: Objective, samples: Tensor) -> Tensor:
    """Return minus the gradient of each sample's own G loss with respect to it, (n, 2)."""
    x = samples.detach().requires_grad_()
    labels = torch.zeros(len(x), dtype=torch.int64)
    with frozen(D), torch.enable_grad():
        terms = objective.g_loss(D, Batch(x, labels))
        [gradient] = torch.autograd.grad(torch.stack(list(terms.values())).sum(), x)
    return -len(x) * gradient  # the batch's loss is a mean


def quantise(
    values: Tensor, kind: type[np.signedinteger[Any]]
) -> tuple[float, np.ndarray[Any, Any]]:
    """Return a scale and integers whose product is ``values`` to half a scale, rounded.

    The scale has five digits, so that it is short in a file.
    """
    largest = np.iinfo(kind).max
    top = float(values.abs().max())
    scale = float(f"{1.0001 * top / largest:.5g}") or 1.0
    integers = np.rint(values.double().numpy() / scale).astype(kind)
    return scale, integers.astype(integers.dtype.newbyteorder("<"))


class Playground(Face):
    """Recordings under a slider: samples, D's field, pushes and numbers; alive without a kernel.

    ``recordings`` maps names to recordings (at least one). ``show`` is the name of the one shown
    first, by default the first; ``compare`` that of one beside it; ``frame`` the first frame's
    number, from the end where negative. All data travels inside the widget (``nbytes``), about
    95 KB a recording of 31 frames.

    Raises ValueError where a name or a number does not fit.
    """

    _esm = bundle("ui", "playground")
    _css = style("widgets", "playground")

    def __init__(
        self,
        recordings: Mapping[str, Recording],
        *,
        show: str | None = None,
        compare: str | None = None,
        frame: int = -1,
    ) -> None:
        names = list(recordings)
        if not names:
            raise ValueError("recordings is empty")
        for name in (show, compare):
            if name is not None and name not in names:
                raise ValueError(f"there is no recording {name!r} among {names}")
        show = names[0] if show is None else show
        count = len(recordings[show].steps)
        if not -count <= frame < count:
            raise ValueError(f"frame must lie in {-count}..{count - 1}, not {frame}")
        spec = {
            "kind": "playground",
            "names": names,
            "runs": [asdict(recordings[name]) for name in names],
            "show": names.index(show),
            "compare": -1 if compare is None else names.index(compare),
            "frame": frame % count,
        }
        self.recordings = dict(recordings)
        self.nbytes = sum(len(run.data) for run in recordings.values())
        about = f"{', '.join(names)}; frames={count}, points={recordings[show].count}"
        super().__init__(spec, "", about)
