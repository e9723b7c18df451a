"""Time the book's training steps on this machine's accelerator: python tools/gpu_report.py

Prints and, with ``--out``, records with the card's name: the measured peak of a large matrix
product in each precision; for each pair of networks, batch size and precision the seconds of a
step as `acgan_lib.train.fit` takes it, images a second, the share of the peak and the memory; and
the seconds of the same step captured as one CUDA graph, alone and with others beside it. Nothing
but the card's own work is in the figures: the clock is read after the device has caught up.

``--tiny`` runs the same code on small sizes in seconds, also on a CPU (where nothing is captured).
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from functools import partial
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from acgan_lib import _files, objectives, runtime, train
from acgan_lib.data import LabelledImages
from acgan_lib.experiments.ch17_paper_nets import cifar10_pair, imagenet_pair
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Batch

Make = Callable[[], tuple[nn.Module, nn.Module]]
PRECISIONS = ("fp32", "tf32", "bf16")


def fast_pair(size: int) -> tuple[nn.Module, nn.Module]:
    """Return the book's G and D for grey images of ten classes."""
    return Generator(image_size=size), Discriminator(class_head=10, image_size=size)


# name, networks, channels, side, batch sizes
PAIRS: tuple[tuple[str, Make, int, int, tuple[int, ...]], ...] = (
    ("fast pair, 32 px", partial(fast_pair, 32), 1, 32, (50, 100, 400)),
    ("fast pair, 64 px", partial(fast_pair, 64), 1, 64, (100,)),
    ("paper, CIFAR-10", cifar10_pair, 3, 32, (100,)),
    ("paper, ImageNet", imagenet_pair, 3, 128, (100,)),
)


def wait() -> None:
    """Wait until the device has done what it was asked."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def use(precision: str) -> None:
    """Let float32 products use TF32 units, or not."""
    allowed = precision == "tf32"
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = allowed


def peak(precision: str, n: int, device: torch.device) -> float:
    """Return the rate of an n x n matrix product of random numbers, in TFLOP/s: median of five."""
    use(precision)
    dtype = torch.bfloat16 if precision == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device=device, dtype=dtype) for _ in range(2))
    times = []
    for _ in range(8):
        wait()
        began = time.perf_counter()
        torch.mm(a, b)
        wait()
        times.append(time.perf_counter() - began)
    return 2 * n**3 / statistics.median(times[3:]) / 1e12


def operations(make: Make, channels: int, size: int) -> float:
    """Return the floating point operations of a training step for one image.

    G runs once forward and backward (3 forward passes' worth), D on real, on generated, and once
    more for G's step, where its own weights get no gradient (3 + 3 + 2).
    """
    G, D = make()
    with FlopCounterMode(display=False) as of_g, torch.no_grad():
        G(torch.zeros(2, 100), torch.zeros(2, dtype=torch.int64))
    with FlopCounterMode(display=False) as of_d, torch.no_grad():
        D.eval()(torch.zeros(2, channels, size, size))
    return (3 * of_g.get_total_flops() + 8 * of_d.get_total_flops()) / 2


def noise(n: int, channels: int, size: int) -> LabelledImages:
    """Return random images of ten classes."""
    images = torch.randint(0, 256, (n, channels, size, size), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(n) % 10, tuple("abcdefghij"), "noise")


def step_of_fit(
    make: Make, data: LabelledImages, batch: int, precision: str, steps: int, device: torch.device
) -> tuple[float, float]:
    """Return the median seconds of a later step of `fit`, and the memory taken, in GB."""
    use(precision)
    torch.manual_seed(0)
    G, D = (network.to(device) for network in make())
    at: list[float] = []

    def clock(_: train.Progress) -> None:
        wait()
        at.append(time.perf_counter())

    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    wanted: Any = "bf16" if precision == "bf16" else "fp32"
    config = train.TrainConfig(batch_size=batch, precision=wanted, progress=False)
    train.fit(G, D, data, objectives.acgan(), steps=steps, config=config, callbacks=[clock])  # type: ignore[arg-type]
    gaps = [b - a for a, b in pairwise(at)][len(at) // 3 :]
    taken = torch.cuda.max_memory_allocated() / 1e9 if device.type == "cuda" else 0.0
    return statistics.median(gaps), taken


def captured(make: Make, data: LabelledImages, batch: int) -> Callable[[], None]:
    """Return a function that replays one bfloat16 training step, captured as a CUDA graph."""
    device = torch.device("cuda")
    torch.manual_seed(0)
    G, D = (n.to(device, memory_format=torch.channels_last).train() for n in make())  # type: ignore[call-overload]
    objective = objectives.acgan()
    kind: Any = {"fused": True, "capturable": True}
    opt_g, opt_d = (torch.optim.Adam(m.parameters(), 5e-4, (0.5, 0.999), **kind) for m in (G, D))
    x, y = data.to(device).batch(0, batch, 0)
    real = Batch(x.contiguous(memory_format=torch.channels_last), y)
    z = torch.randn(batch, 100, device=device)

    def descend(terms: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()
        optimiser.step()

    def step() -> None:
        with torch.autocast("cuda", torch.bfloat16):
            fake = Batch(G(z, y), y, z)
            d_terms = objective.d_loss(D, real, fake._replace(images=fake.images.detach()))
        descend(d_terms, opt_d)
        with torch.autocast("cuda", torch.bfloat16), train.frozen(D):
            g_terms = objective.g_loss(D, fake)
        descend(g_terms, opt_g)

    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(4):  # the optimisers' state must be there before the capture
            step()
    wait()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    wait()

    def replay() -> None:
        with torch.cuda.stream(stream):
            graph.replay()

    return replay


def seconds_a_round(replays: list[Callable[[], None]], rounds: int = 100) -> float:
    """Return the seconds in which each captured step runs once, all on streams of their own."""
    wait()
    began = time.perf_counter()
    for _ in range(rounds):
        for replay in replays:
            replay()
    wait()
    return (time.perf_counter() - began) / rounds


def report(tiny: bool, seconds: float) -> dict[str, Any]:
    """Measure everything that the time allows, and return it as the JSON file has it."""
    began, device = time.perf_counter(), runtime.pick_device()
    name = torch.cuda.get_device_name() if device.type == "cuda" else device.type
    peaks = {p: round(peak(p, 256 if tiny else 8192, device), 1) for p in PRECISIONS}
    print(f"{name}: peaks in TFLOP/s {peaks}", flush=True)
    rows: list[dict[str, Any]] = []
    for label, make, channels, size, batches in PAIRS:
        each = operations(make, channels, size)
        for batch in (2,) if tiny else batches:
            data = noise(max(200, batch), channels, size)
            for precision in PRECISIONS:
                if time.perf_counter() - began > seconds:
                    print(f"no time left for {label}, batch {batch}, {precision}")
                    continue
                steps = 6 if tiny else 60
                step, memory = step_of_fit(make, data, batch, precision, steps, device)
                row = {"pair": label, "batch": batch, "precision": precision, "how": "eager"}
                rows.append({**row, **figures(step, batch, each, peaks[precision], memory)})
                print(rows[-1], flush=True)
            if device.type == "cuda" and time.perf_counter() - began < seconds:
                step = seconds_a_round([captured(make, data, batch)])
                row = {"pair": label, "batch": batch, "precision": "bf16", "how": "CUDA graph"}
                rows.append({**row, **figures(step, batch, each, peaks["bf16"])})
                print(rows[-1], flush=True)
    return {"device": name, "torch": str(torch.__version__), "peaks_tflops": peaks, "rows": rows}


def figures(
    step: float, batch: int, each: float, of_peak: float, memory: float | None = None
) -> dict[str, float | None]:
    """Return a row's figures from the seconds of a step and the operations for one image."""
    return {
        "ms_a_step": round(1e3 * step, 3),
        "images_a_second": round(batch / step),
        "share_of_peak": round(batch / step * each / 1e12 / of_peak, 4),
        "hours_for_50000_steps": round(50_000 * step / 3600, 3),
        "memory_gb": memory if memory is None else round(memory, 3),
    }


def main() -> None:
    """Measure and print, from the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("--out", type=Path, help="where to record, as data/results/gpu.json")
    parser.add_argument("--tiny", action="store_true", help="small sizes, to try the command out")
    parser.add_argument("--seconds", type=float, default=300, help="no measurement begins later")
    a = parser.parse_args()
    about = report(a.tiny, a.seconds)
    if a.out:
        _files.write(a.out, (json.dumps(about, indent=1) + "\n").encode())


if __name__ == "__main__":
    main()
