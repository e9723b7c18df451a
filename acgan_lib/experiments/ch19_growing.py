"""Progressive growing of avatars against the same networks trained at full size, at equal seconds.

Both arms have the same G and D, objective, batch size and rates. One grows through 4, 8, 16, ...
px, the other has all its layers from the first step. What is equal is the time, not the number of
pictures: that small sizes are cheap is half of the idea. On a CPU the time is the process's own
(`time.process_time`), which a busy machine does not spoil. Looks at the networks on the way do not
count.

On a GPU the trainings run as CUDA graphs by ``tools/gpu_growing.py``, which calls what is here;
`adopt_growing` measures what it saved. ``data/results/growing.json`` holds a row for each training.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
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
from acgan_lib.objectives import Objective, acgan
from acgan_lib.regularise import r1
from acgan_lib.runtime import seed_everything
from acgan_lib.train import Progress, TrainConfig

Arm = Literal["grown", "full"]
WIDTHS = {32: 16, 64: 40}
BATCH = {"cpu": 16, "gpu": 64}
RATE, BETAS, EMA, GAMMA = 6e-3, (0.0, 0.99), 0.998, 1.0
# Shares of a growth's time, by the final size: half of each stage fades in, of the last a quarter.
SHARES = {32: (0.05, 0.10, 0.20, 0.65), 64: (0.04, 0.06, 0.12, 0.23, 0.55)}
CPU_SECONDS, CPU_LOOKS = 45.0, 3
SHIPPED = "growing_avatars64"
ONE = ("where", "model", "seed")  # names a row of the record


def schedule(arm: Arm, size: int, seconds: float) -> list[Stage]:
    """Return the stages of an arm that ends at `size` px (32 or 64) after so many seconds."""
    if arm == "full":
        return [Stage(size, seconds, fade=0.0)]
    sizes = [4 * 2**i for i in range(len(SHARES[size]))]
    return [
        Stage(s, share * seconds, fade=0.25 if s == size else 0.5 if s > 4 else 0.0)
        for s, share in zip(sizes, SHARES[size], strict=True)
    ]


def networks(size: int, seed: int) -> tuple[GrowingGenerator, GrowingDiscriminator]:
    """Return fresh networks, the same for both arms; the same seed gives the same weights."""
    seed_everything(seed)
    G = GrowingGenerator(width=WIDTHS[size], image_size=size)
    return G, GrowingDiscriminator(width=WIDTHS[size], class_head=len(KINDS), image_size=size)


def objective() -> Objective:
    """Return what both arms minimise: AC-GAN with R1 on real images."""
    return r1(acgan(), GAMMA)


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


def at_full_size(x: Tensor, size: int) -> Tensor:
    """Double images (n, C, s, s) until they have `size` px."""
    while x.shape[-1] < size:
        x = double(x)
    return x


class Look:
    """What is seen of a training on the way: how well it draws, and some pictures.

    ``look(G, seconds)`` adds a row to ``curve``, of 200 pictures a kind, unranked: the share whose
    kind the judge reads right; the Frechet judge distance to the test split; the share whose
    ground is within 25 levels of the palette; the combinations met of kind, ground, skin and hair.
    Pictures smaller than the final size are doubled. ``frames`` get the pictures of one z in all
    ten kinds, uint8 (10, 3, size, size).
    """

    def __init__(self, size: Literal[32, 64], device: torch.device | str = "cpu") -> None:
        self.size = size
        self.judge = the_judge(f"judge_avatars{size}").to(device)
        self.reader = the_judge(f"factors_avatars{size}").to(device)
        test = avatars("test", size)
        self.real = metrics.in_batches(self.judge, self.judge.features, test.normalised())
        self.z = torch.randn(1, 64, generator=torch.Generator().manual_seed(0))
        self.curve: list[dict[str, float]] = []
        self.frames: list[Tensor] = []

    def __call__(self, G: GrowingGenerator, seconds: float) -> None:
        """Look at a generator that has learned for so many seconds."""
        x, y = metrics.sample(G, 200, seed=7)
        x = at_full_size(x, self.size)
        read = metrics.in_batches(self.judge, self.judge, x).argmax(1)
        features = metrics.in_batches(self.judge, self.judge.features, x)
        seen = torch.cat([y[:, None], read_factors(self.reader, x)[:, :3]], dim=1)
        self.curve.append(
            {
                "seconds": round(seconds, 2),
                "size": G.image_size,
                "alpha": round(float(G.alpha), 3),
                "kind": round(float((read == y).float().mean()), 4),
                "frechet": round(metrics.frechet_distance(features, self.real), 2),
                "ground_within_25": round(float((read_ground(x)[1] <= 25).float().mean()), 4),
                "combinations": len(torch.unique(seen, dim=0)),
            }
        )
        pictures = latent.class_swap(G, self.z)[0]
        self.frames.append(to_uint8(at_full_size(pictures, self.size)))


def due(seconds: float, count: int) -> list[float]:
    """Return when to look: more often at the start, where the sizes change, and at the end."""
    return [seconds * ((i + 1) / count) ** 1.5 for i in range(count)]


class Looks:
    """The callback that looks at G when a look is due, while the watch stands still."""

    def __init__(self, look: Look, watch: Watch, seconds: float, count: int) -> None:
        self.look, self.watch, self.began = look, watch, watch()
        self.due = due(seconds, count)
        self.steps = 0

    def __call__(self, now: Progress) -> None:
        """Count the step, and look if it is time."""
        self.steps += 1
        spent = self.watch() - self.began
        if self.due and spent >= self.due[0]:
            del self.due[0]
            with self.watch.paused():
                assert isinstance(now.G_ema, GrowingGenerator)
                self.look(now.G_ema, spent)


def train_avatars(
    arm: Arm, size: Literal[32, 64], seed: int, seconds: float, data: LabelledImages
) -> tuple[GrowingGenerator, dict[str, Any], list[Tensor]]:
    """Train one arm on this process's CPU for so many of its seconds.

    Returns:
        G's average, what the record says of the training, and the pictures on the way.
    """
    G, D = networks(size, seed)
    config = TrainConfig(
        batch_size=BATCH["cpu"], lr_g=RATE, lr_d=RATE, betas=BETAS, ema=EMA, precision="fp32",
        linear_decay=False, seed=seed, progress=False,
    )  # fmt: skip
    watch = Watch()
    looks = Looks(Look(size), watch, seconds, CPU_LOOKS)
    result = grow(
        G, D, data, objective(), schedule(arm, size, seconds), config,
        clock=watch, callbacks=[looks],
    )  # fmt: skip
    assert isinstance(result.G_ema, GrowingGenerator)
    row = about(arm, size, seed, "cpu", seconds, looks.steps, looks.look.curve)
    return result.G_ema, row, looks.look.frames


def about(
    arm: Arm, size: int, seed: int, where: str, seconds: float, steps: int, curve: Sequence[Any]
) -> dict[str, Any]:
    """Return what the record says of a training beside its measures."""
    return {
        "model": f"{arm}{size}", "where": where, "seed": seed, "seconds": seconds, "steps": steps,
        "images": steps * BATCH[where], "curve": list(curve),
    }  # fmt: skip


def growing_avatars32(seed: int = 0, root: str | Path | None = None) -> None:
    """Train both arms at 32 px on a CPU, each for 45 of its seconds, and record them."""
    data = drawn(PER_KIND, 32, folder=root)
    arms: tuple[Arm, Arm] = ("grown", "full")
    for arm in arms:
        _, row, _ = train_avatars(arm, 32, seed, CPU_SECONDS, data)
        _common.show(row["model"], seed, {"steps": row["steps"], **row["curve"][-1]})
        record("growing", row, by=ONE)


def growing_avatars64(seed: int = 0, root: str | Path | None = None) -> None:
    """Grow the 64 px network that ships, on a CPU: an hour of its seconds instead of a GPU's few.

    What ships was trained by ``tools/gpu_growing.py``; this is the same recipe by `grow`.
    """
    G, row, _ = train_avatars("grown", 64, seed, 3_600.0, drawn(PER_KIND, 64, folder=root))
    _common.show(SHIPPED, seed, measure(G, 64, seed))
    zoo.save(G, f"runs/{SHIPPED}-{seed}.safetensors", about=row, half=True)


def adopt_growing(root: str | Path = "runs/growing") -> None:
    """Record what `tools/gpu_growing.py` saved, measure 64 px fully, and ship the grown one."""
    for path in sorted(Path(root).glob("*.safetensors")):
        G = zoo.load(path)
        assert isinstance(G, GrowingGenerator)
        row: dict[str, Any] = G.about  # type: ignore[assignment]
        if G.full_size == 64:
            row = {**row, **measure(G, 64, row["seed"])}
            keep_arrays("growing", {row["model"]: _frames(path)})
        _common.show(f"{row['model']} ({row['where']})", row["seed"], row["curve"][-1])
        record("growing", row, by=ONE)
        if row["model"] == "grown64" and row["seed"] == 0:
            ship(G, row)


def _frames(path: Path) -> NDArray[Any]:
    with np.load(path.with_suffix(".npz")) as kept:
        return np.asarray(kept["frames"])


def ship(G: GrowingGenerator, row: dict[str, Any]) -> None:
    """Keep the generator at 64 px among the checkpoints."""
    told = about("grown", 64, 0, "gpu", 0, 0, [])
    measured = {name: value for name, value in row.items() if name not in told}
    stages = "; ".join(
        f"{s.size} px {s.length:.0f} s" for s in schedule("grown", 64, row["seconds"])
    )
    recipe = (
        f"progressive growing with AC-GAN and R1 (gamma {GAMMA:g}) by tools/gpu_growing.py, on a "
        f"shared GPU: {stages}; Adam {RATE:g}, batch {BATCH['gpu']}, average {EMA:g}."
    )
    zoo.ship(
        SHIPPED, G, recipe=recipe, data=f"{PER_KIND} avatars a kind at 4 to 64 px",
        seed=row["seed"], steps=row["steps"], images_seen=row["images"], metrics=measured,
        class_names=KINDS, half=True,
    )  # fmt: skip


RUNS: dict[str, Callable[..., Any]] = {
    "growing_avatars32": growing_avatars32,
    "growing_avatars64": growing_avatars64,
    "adopt_growing": adopt_growing,
}
