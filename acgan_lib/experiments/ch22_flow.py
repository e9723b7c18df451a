"""Flow matching with guidance on FashionMNIST and on avatars, under the measures of AC-GAN.

Guidance w is chosen when samples are drawn, AC-GAN's class weight when G is trained. Both are
measured alike (``ch06_dose.measure``: 10,000 unranked samples, one judge), so that they share
axes; the rows are in ``data/results/flow.json`` and ``flow_avatars.json``.

What ships was trained on a GPU that others used, too, so by the clock: its steps stand in its
manifest. `flow_fashion` repeats it by steps. Five seeds of SHORT_STEPS say how trainings differ.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn

from acgan_lib import zoo
from acgan_lib.avatars import drawn
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common, ch06_dose, ch10_avatars
from acgan_lib.experiments._results import record
from acgan_lib.families.diffusion import Flow, Sampler, fit
from acgan_lib.fashion import fashion_mnist
from acgan_lib.runtime import pick_device, seed_everything

STEPS, SHORT_STEPS = 4_000, 2_000
WIDTH, BATCH = 64, 64
GUIDANCE = (1.0, 1.5, 2.0, 3.0, 5.0)
SOLVER_STEPS = 5  # of Heun's method


def trained(
    data: LabelledImages, seed: int, steps: int, share: Callable[[int], float] | None = None
) -> Flow:
    """Return a flow's running average after so many steps, or as long as `share` lets it go on."""
    seed_everything(seed)
    flow = Flow(data.num_classes, data.channels, WIDTH, data.size).to(pick_device())
    return fit(flow, data, steps=steps, seed=seed, batch_size=BATCH, share=share)


def measure(model: str, flow: Flow, seed: int, w: float, test: LabelledImages, **more: Any) -> None:
    """Record one seed's flow of FashionMNIST at one guidance, as the doses were."""
    measured = ch06_dose.measure(Sampler(flow, w, SOLVER_STEPS), seed, test)
    _common.show(f"{model}, w = {w:g}", seed, measured)
    row = {"model": model, "guidance": w, "seed": seed, "solver_steps": SOLVER_STEPS, **more}
    record("flow", {**row, **measured}, by=("model", "guidance", "seed"))


def flow_fashion(seed: int = 0, root: str | None = None, steps: int = STEPS) -> None:
    """Train the flow of FashionMNIST, ship seed 0, and measure it over guidance."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    flow = trained(train, seed, steps)
    if not _common.is_whole(steps, STEPS):
        return
    if seed == 0:
        ship("flow_fashion", flow, train.source, seed, steps)
    for w in GUIDANCE:
        measure("flow", flow, seed, w, test, steps=steps)


def flow_fashion_short(seed: int = 0, root: str | None = None, steps: int = SHORT_STEPS) -> None:
    """Train a flow of FashionMNIST for the short budget and measure it over guidance."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    flow = trained(train, seed, steps)
    for w in GUIDANCE if _common.is_whole(steps, SHORT_STEPS) else ():
        measure("short", flow, seed, w, test, steps=steps)


def flow_avatars(seed: int = 0, root: str | Path | None = None, steps: int = STEPS) -> None:
    """Train the flow of avatars at 32 px, ship seed 0, and measure it against the known truth."""
    train = drawn(ch10_avatars.PER_KIND, 32, folder=root)
    flow = trained(train, seed, steps)
    if not _common.is_whole(steps, STEPS):
        return
    if seed == 0:
        ship("flow_avatars", flow, train.source, seed, steps)
    for w in GUIDANCE:
        measure_avatars(flow, seed, w, steps)


def measure_avatars(flow: Flow, seed: int, w: float, steps: int) -> None:
    """Record a flow of avatars at one guidance, as chapter 10's GANs were."""
    measured = ch10_avatars.measure(Sampler(flow, w, SOLVER_STEPS), 32, seed)  # type: ignore[arg-type]
    _common.show(f"flow_avatars, w = {w:g}", seed, measured)
    row = {"model": "flow", "guidance": w, "seed": seed, "steps": steps, "images": steps * BATCH}
    record("flow_avatars", {**row, **measured}, by=("model", "guidance", "seed"))


def ship(
    name: str, flow: nn.Module, data: str, seed: int, steps: int, command: str | None = None,
    **facts: Any,
) -> None:  # fmt: skip
    """Keep a flow in the zoo, its matrices and kernels as float16."""
    recipe = {"loss": "flow matching", "batch_size": BATCH, "lr": 1.5e-3, "drop": 0.1, "ema": 0.999}
    zoo.ship(
        name, flow, recipe={**recipe, **facts}, data=data, seed=seed, steps=steps,
        images_seen=steps * BATCH, metrics={}, half=True, command=command,
    )  # fmt: skip


RUNS: dict[str, Callable[..., Any]] = {
    "flow_fashion": flow_fashion,
    "flow_fashion_short": flow_fashion_short,
    "flow_avatars": partial(flow_avatars),
}
