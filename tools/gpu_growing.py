"""Grow avatars on a GPU beside the control: python tools/gpu_growing.py OUT --size 32 --seed 0 1 2

The recipe is that of `acgan_lib.experiments.ch19_growing`. A step is one CUDA graph that draws its
own batch on the device, captured anew for each stage. The trainings of an arm take their steps side
by side, each on a stream of its own; with both arms in one process, the arms take turns of a
second. What is equal is the seconds of the arm's own turns. Captures and looks do not count.

Each network is saved into OUT with its record, and the pictures on the way of seed 0 as NAME.npz.
`python -m acgan_lib.experiments adopt_growing` measures them. Without a CUDA device the same steps
run one by one, to try it.
"""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch

from acgan_lib import zoo
from acgan_lib.avatars import KINDS, drawn
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import ch19_growing as ch19
from acgan_lib.experiments.ch10_avatars import PER_KIND
from acgan_lib.experiments.ch19_growing import Arm, Look
from acgan_lib.families.progressive import faded, shrunk
from acgan_lib.objectives import Batch, Terms
from acgan_lib.train import frozen

START = time.monotonic()
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
TURN = 1.0  # seconds
EAGER = not CUDA  # without a graph


def since_start() -> float:
    """Return the seconds since this process began."""
    return time.monotonic() - START


def wait() -> None:
    """Wait until the device has done what it was asked."""
    if CUDA:
        torch.cuda.synchronize()


class Training:
    """One training whose step can be captured: all that a step reads lies on the device."""

    def __init__(self, size: int, seed: int) -> None:
        torch.manual_seed(seed)
        G, D = ch19.networks(size, seed)
        self.G, self.D = G.to(DEVICE).train(), D.to(DEVICE).train()
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        self.seed, self.steps = seed, 0
        self.alpha = torch.zeros((), device=DEVICE)
        self.objective = faded(ch19.objective())
        self.images, self.labels = torch.empty(0), torch.empty(0)
        self.adams: list[torch.optim.Adam] = []
        self.replay: Callable[[], None] = self.step
        self.stream: Any = torch.cuda.Stream() if CUDA else None

    def enter(self, data: LabelledImages, fading: bool, fresh: bool) -> None:
        """Go on with other images or another way of fading; fresh: with new optimisers too."""
        self.images, self.labels = data.images, data.labels
        for network in (self.G, self.D, self.G_ema):
            network.grow_to(data.size, self.alpha if fading else 1.0)
        kind: Any = {} if EAGER else {"fused": True, "capturable": True}
        if fresh:
            self.adams = [
                torch.optim.Adam(m.parameters(), ch19.RATE, ch19.BETAS, **kind)
                for m in (self.G, self.D)
            ]
        self.replay = self.step
        if not EAGER:
            self.capture()

    def step(self) -> None:
        """Update D, then G, then G's average, as `acgan_lib.train.fit` does."""
        n = ch19.BATCH["gpu"]
        rows = torch.randint(0, len(self.labels), (n,), device=DEVICE)
        z = torch.randn(n, self.G.latent_dim, device=DEVICE)
        y = torch.randint(0, self.G.num_classes, (n,), device=DEVICE)
        x = self.images.index_select(0, rows).float().div(127.5).sub(1)
        real, fake = Batch(x, self.labels.index_select(0, rows)), Batch(self.G(z, y), y, z)
        apart = fake._replace(images=fake.images.detach())
        self.descend(self.objective.d_loss(self.D, real, apart), self.adams[1])
        with frozen(self.D):
            self.descend(self.objective.g_loss(self.D, fake), self.adams[0])
        with torch.no_grad():
            ema, now = list(self.G_ema.parameters()), list(self.G.parameters())
            torch._foreach_lerp_(ema, now, 1 - ch19.EMA)

    def descend(self, terms: Terms, adam: torch.optim.Optimizer) -> None:
        """Follow the gradient of the terms' sum."""
        adam.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()

    def capture(self) -> None:
        """Make the step a CUDA graph; three steps are taken before, so that all state is there."""
        graph, stream = torch.cuda.CUDAGraph(), self.stream
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(3):
                self.step()
        self.steps += 3
        wait()
        with torch.cuda.graph(graph, stream=stream):
            self.step()

        def replay() -> None:
            with torch.cuda.stream(stream):
                graph.replay()

        self.replay = replay


class Team:
    """The trainings of an arm, one for each seed, step by step side by side."""

    def __init__(
        self, arm: Arm, size: Any, seeds: Sequence[int], seconds: float, looks: int,
        sets: dict[int, LabelledImages],
    ) -> None:  # fmt: skip
        self.arm, self.size, self.seconds, self.sets = arm, size, seconds, sets
        self.trainings = [Training(size, seed) for seed in seeds]
        self.looks = [Look(size, DEVICE) for _ in seeds]
        self.due = ch19.due(seconds, looks)
        self.spent, self.rounds = 0.0, 1
        # (begin, end, size, fading): the last stage is captured again when it has faded in.
        self.phases: list[tuple[float, float, int, bool]] = []
        begin = 0.0
        for stage in ch19.schedule(arm, size, seconds):
            faded_in, end = begin + stage.fade * stage.length, begin + stage.length
            cuts = (
                [begin, faded_in, end] if begin < faded_in and stage.size == size else [begin, end]
            )
            for a, b in pairwise(cuts):
                self.phases.append((a, b, stage.size, a < faded_in))
            begin = end
        self.fades = {s.size: s.fade * s.length for s in ch19.schedule(arm, size, seconds)}
        self.began = {s: min(a for a, _, at, _ in self.phases if at == s) for s in self.fades}
        self.phase = -1
        self.enter_next()

    @property
    def done(self) -> bool:
        """Whether the arm's seconds are over."""
        return self.spent >= self.seconds

    def enter_next(self) -> None:
        """Begin the next phase in every training."""
        before = self.phases[self.phase][2] if self.phase >= 0 else 0
        self.phase += 1
        _, _, size, fading = self.phases[self.phase]
        self.fade()
        for training in self.trainings:
            training.enter(self.sets[size], fading, fresh=size != before)
        print(f"{since_start():.0f} s: {self.arm}{self.size} at {size} px, {fading=}", flush=True)

    def fade(self) -> None:
        """Set alpha to what the seconds say."""
        size = self.phases[self.phase][2]
        length = self.fades[size]
        alpha = min((self.spent - self.began[size]) / length, 1.0) if length else 1.0
        for training in self.trainings:
            training.alpha.fill_(alpha)
        wait()  # the graphs' streams do not wait for the fill by themselves

    def turn(self, seconds: float) -> None:
        """Take steps for so many seconds, or to the end of the phase."""
        left = min(seconds, self.phases[self.phase][1] - self.spent)
        while left > 0:
            began = time.monotonic()
            for _ in range(self.rounds):
                for training in self.trainings:
                    training.replay()
            wait()
            took = time.monotonic() - began
            for training in self.trainings:
                training.steps += self.rounds
            self.spent, left = self.spent + took, left - took
            self.rounds = max(1, min(64, math.ceil(self.rounds * 0.2 / took)))
            self.fade()
        if self.due and self.spent >= self.due[0]:
            del self.due[0]
            self.look()
        if not self.done and self.spent >= self.phases[self.phase][1]:
            self.enter_next()

    def look(self) -> None:
        """Look at every network."""
        for training, look in zip(self.trainings, self.looks, strict=True):
            look(training.G_ema, self.spent)
        print(f"{since_start():.0f} s: {self.arm}{self.size} {self.looks[0].curve[-1]}", flush=True)

    def save(self, out: Path) -> None:
        """Save every network with its record, and the first one's pictures."""
        for training, look in zip(self.trainings, self.looks, strict=True):
            record = ch19.about(
                self.arm, self.size, training.seed, "gpu", round(self.spent, 1), training.steps,
                look.curve,
            )  # fmt: skip
            name = f"{self.arm}{self.size}_{training.seed}"
            training.G_ema.grow_to(self.size)  # should the deadline have come too early
            training.G_ema.class_names = KINDS  # type: ignore[assignment]
            zoo.save(training.G_ema.cpu(), out / f"{name}.safetensors", about=record, half=True)
            if training.seed == 0 and self.size == 64:
                frames = torch.stack(look.frames).numpy()
                np.savez_compressed(out / f"{name}.npz", frames=frames)


def main() -> None:
    """Train the arms asked for, from the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--arm", nargs="+", choices=("grown", "full"), default=["grown", "full"])
    parser.add_argument("--size", type=int, choices=(32, 64), default=32)
    parser.add_argument("--seed", type=int, nargs="+", default=[0])
    parser.add_argument("--seconds", type=float, default=600.0, help="of each arm")
    parser.add_argument("--deadline", type=float, default=math.inf, help="from the start, to save")
    parser.add_argument("--looks", type=int, default=16)
    parser.add_argument("--root", help="folder of the drawn sets, as OUT of `make avatars`")
    parser.add_argument("--eager", action="store_true", help="capture nothing")
    a = parser.parse_args()
    global EAGER
    EAGER = EAGER or a.eager
    torch.set_float32_matmul_precision("high")
    torch.set_num_threads(1)
    whole = drawn(PER_KIND, a.size, folder=a.root).to(DEVICE)
    sets = {4 * 2**i: shrunk(whole, 4 * 2**i) for i in range(int(math.log2(a.size // 4)) + 1)}
    print(f"{since_start():.0f} s: data on {DEVICE}", flush=True)
    teams = [Team(arm, a.size, a.seed, a.seconds, a.looks, sets) for arm in a.arm]
    while any(not team.done for team in teams) and since_start() < a.deadline:
        for team in teams:
            if not team.done:
                team.turn(TURN)
    a.out.mkdir(parents=True, exist_ok=True)
    for team in teams:
        if len(team.due) and team.due[-1] == team.seconds:
            team.look()
        team.save(a.out)
    print(f"{since_start():.0f} s: saved", flush=True)


if __name__ == "__main__":
    main()
