"""What the members of a class split cost: stacked or in turn, and the engine around them.

python tools/bench.py --only members [--record]
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from acgan_lib import nets, objectives, runtime, train
from acgan_lib.checkpoint import Checkpoint
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _results, ch17_paper_nets
from acgan_lib.glyphs import LETTERS
from acgan_lib.scale import engine, splits, stacked
from acgan_lib.train import TrainConfig

DEVICE = runtime.pick_device()
MEMBERS = 13
SHAPES = ((16, 4), (16, 25), (16, 100), (4, 25))  # width, and a member's batch
Step = Callable[[], Any]


def measure(rounds: int, record: bool, in_turns: Callable[..., dict[str, float]]) -> None:
    """Print both tables, and store them where `record` asks for it."""
    print(f"\n{MEMBERS} members of 2 classes, a step of each: in turn, and stacked")
    ratios = [ratio(width, batch, rounds, in_turns) for width, batch in SHAPES]
    print("\nThe engine's part of a member's time, in seconds; a checkpoint of the paper's pair")
    overheads = engine_overheads(rounds)
    for name, seconds in overheads.items():
        print(f"  {name:<28}{seconds:8.3f}")
    if record:
        about = {
            "command": "python tools/bench.py --only members --record",
            "threads": torch.get_num_threads(), "on": runtime.describe(DEVICE),
            "members": MEMBERS, "stacked": ratios, "overheads": overheads,
        }  # fmt: skip
        _results.keep("members", about)


def ratio(
    width: int, batch: int, rounds: int, in_turns: Callable[..., dict[str, float]]
) -> dict[str, float]:
    """Time a step of every member, one after the other and as one network."""
    images = torch.randint(0, 256, (26 * 100, 1, 32, 32), dtype=torch.uint8)
    data = LabelledImages(images, torch.arange(26 * 100) % 26, tuple(LETTERS), "").to(DEVICE)
    parts = tuple(splits.of_group(data, group) for group in splits.alphabetical(26, MEMBERS))
    config, acgan = TrainConfig(batch_size=batch), objectives.acgan()
    pairs = [splits.pair(2, width=width) for _ in parts]
    each = [stepper(*pair, part, acgan, config) for pair, part in zip(pairs, parts, strict=True)]
    together = stacked.StackedImages(parts, tuple(range(MEMBERS)))
    one = stepper(
        stacked.StackedGenerator([G for G, _ in pairs]),
        stacked.StackedDiscriminator([D for _, D in pairs]),
        together, stacked.summed(acgan, MEMBERS), stacked.stacked_config(config, MEMBERS),
        together.latents,
    )  # fmt: skip
    seconds = in_turns({"in turn": lambda: [step() for step in each], "stacked": one}, rounds)
    gain = seconds["in turn"] / seconds["stacked"]
    figures = "  ".join(f"{name} {1e3 * s:7.1f} ms" for name, s in seconds.items())
    print(f"  width {width:2}, batch {batch:3}   {figures}   {gain:5.2f} x", flush=True)
    return {"width": width, "batch": batch, **seconds}


def stepper(
    G: nets.ConditionalGenerator,
    D: torch.nn.Module,
    data: Any,
    objective: objectives.Objective,
    config: TrainConfig,
    latents: train.Latents = train.draw_latents,
) -> Step:
    """Return the library's training step of one pair."""
    state = train._State(G.to(DEVICE), D.to(DEVICE), config, steps=10**6)

    def step() -> None:
        train._step(state, data, objective, config, DEVICE, latents)
        state.step += 1

    return step


def idle(report: engine.Report) -> None:
    """Do nothing: what is left is the engine's own time."""
    report(1, 1)


def engine_overheads(rounds: int) -> dict[str, float]:
    """Return the seconds that a member spends on anything but training."""
    import ray

    def seconds(step: Step) -> float:
        began = time.perf_counter()
        step()
        return time.perf_counter() - began

    def run(tasks: int, workers: int) -> None:
        engine.run_tasks({str(i): idle for i in range(tasks)}, workers=workers, progress=False)

    alone = statistics.median(seconds(lambda: run(40, 0)) / 40 for _ in range(rounds))
    begin = seconds(lambda: engine._begin(engine._ray(), 1, None))
    try:
        first = seconds(lambda: run(1, 1))  # a worker process starts, and imports torch
        more = statistics.median(seconds(lambda: run(40, 1)) / 40 for _ in range(rounds))
    finally:
        ray.shutdown()
    G, D = ch17_paper_nets.imagenet_pair()
    state = train._State(G, D, TrainConfig(), steps=1)
    for module, optimiser in ((G, state.opt_g), (D, state.opt_d)):
        for weight in module.parameters():
            weight.grad = torch.zeros_like(weight)
        optimiser.step()  # Adam's moments exist from its first step on
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "last.pt"
        write = statistics.median(
            seconds(lambda: Checkpoint(path, {}).write(state.snapshot())) for _ in range(rounds)
        )
        megabytes = path.stat().st_size / 1e6
        read = seconds(Checkpoint(path, {}).read)
    return {
        "task in turn": alone,
        "start of Ray": begin,
        "first task of a worker": first,
        "further task of a worker": more,
        "writing a checkpoint": write,
        "reading a checkpoint": read,
        "megabytes of it": megabytes,
    }
