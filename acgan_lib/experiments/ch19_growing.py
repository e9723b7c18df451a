"""Progressive growing of avatars against the same networks trained at full size, at equal seconds.

Both arms have the same G and D, first weights, objective, batch size and rates. One grows through
4, 8, 16 and 32 px, the other has all its layers from the first step. What is equal is the time, not
the number of pictures: that small sizes are cheap is half of the idea. The time is that of the
process (`time.process_time`), so that a machine with other work to do does not spoil it. Looks at
the networks on the way do not count. ``data/results/growing.json`` holds a row for each training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from acgan_lib import latent, metrics, zoo
from acgan_lib.avatars import KINDS, avatars, drawn, read_ground
from acgan_lib.data import LabelledImages, to_uint8
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import keep_arrays, record
from acgan_lib.experiments.ch10_avatars import PER_KIND, measure, read_factors
from acgan_lib.families.progressive import (
    GrowingDiscriminator,
    GrowingGenerator,
    Stage,
    double,
    grow,
)
from acgan_lib.objectives import acgan
from acgan_lib.regularise import r1
from acgan_lib.runtime import seed_everything
from acgan_lib.train import Progress, TrainConfig

Arm = Literal["grown", "full"]
SIZE: Literal[32] = 32
WIDTH, BATCH, SECONDS = 16, 16, 60.0
RATE, BETAS, EMA, GAMMA = 6e-3, (0.0, 0.99), 0.998, 1.0
SHARES = {4: 0.10, 8: 0.15, 16: 0.25, 32: 0.50}  # of a growth's time
FRAMES, EACH = 16, 4  # pictures are kept so often, and every fourth time they are judged
SHIPPED = "growing_avatars32"
TRAINING = ("model", "seed", "seconds", "steps", "images", "curve", "times")  # of a row


def schedule(arm: Arm, seconds: float) -> list[Stage]:
    """Return an arm's stages. New layers fade in over half of a stage, the last over a quarter."""
    if arm == "full":
        return [Stage(SIZE, seconds, fade=0.0)]
    fades = {4: 0.0, SIZE: 0.25}
    return [Stage(s, share * seconds, fades.get(s, 0.5)) for s, share in SHARES.items()]


def networks(seed: int) -> tuple[GrowingGenerator, GrowingDiscriminator]:
    """Return fresh networks, the same for both arms; the same seed gives the same weights."""
    seed_everything(seed)
    G = GrowingGenerator(width=WIDTH, image_size=SIZE)
    return G, GrowingDiscriminator(width=WIDTH, class_head=len(KINDS), image_size=SIZE)


class Watch:
    """A clock of the process's own seconds that can be stopped."""

    def __init__(self, clock: Callable[[], float] = time.process_time) -> None:
        self.clock, self.left_out = clock, 0.0

    def __call__(self) -> float:
        """Return seconds, those of the pauses left out."""
        return self.clock() - self.left_out

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Let what happens inside the with block not count."""
        began = self.clock()
        yield
        self.left_out += self.clock() - began


def at_full_size(x: Tensor, size: int = SIZE) -> Tensor:
    """Double images (n, C, s, s) until they have `size` px."""
    while x.shape[-1] < size:
        x = double(x)
    return x


class Looks:
    """The callback that looks at G on the way, while the watch stands still.

    ``frames`` get the pictures of two z in all ten kinds, uint8 (20, 3, 32, 32), and ``times`` the
    seconds and the size of each. Every fourth time ``curve`` gets a row, of 100 pictures a kind,
    unranked: the share whose kind the judge reads right; the Frechet judge distance to the test
    split; the share whose ground is within 25 levels of the palette; and the combinations met of
    kind, ground, skin and hair. Small pictures are doubled to 32 px.
    """

    def __init__(self, watch: Watch, seconds: float) -> None:
        self.watch, self.began, self.steps = watch, watch(), 0
        # More often at the start, where the sizes change.
        self.due = [seconds * ((i + 1) / FRAMES) ** 1.5 for i in range(FRAMES)]
        self.kind, self.factors = (the_judge(f"{what}_avatars32") for what in ("judge", "factors"))
        real = avatars("test", SIZE).normalised()
        self.real = metrics.in_batches(self.kind, self.kind.features, real)
        self.z = torch.randn(2, 64, generator=torch.Generator().manual_seed(0))
        self.curve: list[dict[str, float]] = []
        self.times: list[tuple[float, int]] = []
        self.frames: list[Tensor] = []

    def __call__(self, now: Progress) -> None:
        """Count the step, and look if it is time."""
        self.steps += 1
        spent = self.watch() - self.began
        if self.due and spent >= self.due[0]:
            del self.due[0]
            assert isinstance(now.G_ema, GrowingGenerator)
            with self.watch.paused():
                pictures = latent.class_swap(now.G_ema, self.z).flatten(0, 1)
                self.frames.append(to_uint8(at_full_size(pictures)))
                self.times.append((round(spent, 2), now.G_ema.image_size))
                if len(self.frames) % EACH == 0:
                    self.curve.append(self.judged(now.G_ema, spent))

    def judged(self, G: GrowingGenerator, seconds: float) -> dict[str, float]:
        """Return a row of the curve."""
        x, y = metrics.sample(G, 100, seed=7)
        x = at_full_size(x)
        read = metrics.in_batches(self.kind, self.kind, x).argmax(1)
        features = metrics.in_batches(self.kind, self.kind.features, x)
        seen = torch.cat([y[:, None], read_factors(self.factors, x)[:, :3]], dim=1)
        return {
            "seconds": round(seconds, 2),
            "size": G.image_size,
            "kind": round(float((read == y).float().mean()), 4),
            "frechet": round(metrics.frechet_distance(features, self.real), 2),
            "ground_within_25": round(float((read_ground(x)[1] <= 25).float().mean()), 4),
            "combinations": len(torch.unique(seen, dim=0)),
        }


def train_arm(
    arm: Arm, seed: int, seconds: float, data: LabelledImages
) -> tuple[GrowingGenerator, Looks]:
    """Train one arm on the CPU for so many of the process's seconds; return G's average."""
    G, D = networks(seed)
    config = TrainConfig(
        batch_size=BATCH, lr_g=RATE, lr_d=RATE, betas=BETAS, ema=EMA, precision="fp32",
        linear_decay=False, seed=seed, progress=False,
    )  # fmt: skip
    watch = Watch()
    looks = Looks(watch, seconds)
    result = grow(
        G, D, data, r1(acgan(), GAMMA), schedule(arm, seconds), config,
        clock=watch, callbacks=[looks],
    )  # fmt: skip
    assert isinstance(result.G_ema, GrowingGenerator)
    return result.G_ema, looks


def growing_avatars32(arm: Arm, seed: int = 0, root: str | Path | None = None) -> None:
    """Train an arm on a CPU for a minute of its time, and record it.

    The first seed's pictures on the way are kept, and the grown network of that seed ships.
    """
    G, looks = train_arm(arm, seed, SECONDS, drawn(PER_KIND, SIZE, folder=root))
    row: dict[str, Any] = {
        "model": arm, "seed": seed, "seconds": SECONDS, "steps": looks.steps,
        "images": looks.steps * BATCH, "curve": looks.curve,
    }  # fmt: skip
    if seed == 0:
        row |= {"times": looks.times, **measure(G, SIZE, seed, n=200)}
        keep_arrays("growing", {arm: torch.stack(looks.frames).numpy()})
        if arm == "grown":
            ship(G, row)
    _common.show(arm, seed, {"steps": looks.steps, **looks.curve[-1]})
    record("growing", row)


def ship(G: GrowingGenerator, row: dict[str, Any]) -> None:
    """Keep the generator among the checkpoints."""
    stages = ", ".join(f"{s.size} px {s.length:g} s" for s in schedule("grown", SECONDS))
    recipe = (
        f"progressive growing with AC-GAN and R1 (gamma {GAMMA:g}) on one CPU core: {stages}; "
        f"Adam {RATE:g}, betas {BETAS}, batch {BATCH}, average {EMA:g}."
    )
    measured = {k: v for k, v in row.items() if k not in TRAINING}
    zoo.ship(
        SHIPPED, G, recipe=recipe, data=f"{PER_KIND} avatars a kind, train, at 4 to 32 px",
        seed=row["seed"], steps=row["steps"], images_seen=row["images"], metrics=measured,
        class_names=KINDS,
    )  # fmt: skip


RUNS: dict[str, Callable[..., Any]] = {
    SHIPPED: partial(growing_avatars32, "grown"),
    "full_avatars32": partial(growing_avatars32, "full"),
}
