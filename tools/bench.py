"""Images a second of a training step, against the textbook step: ``make bench``.

Ratios hold where figures do not, so every variant runs in this one process, in turns, and the
median over the rounds is printed. The step is the library's own (``train._step``) with one lever
taken away at a time; the textbook step is written out below.

    python tools/bench.py [--rounds 5] [--threads N]
        [--only fast|paper|members|widget|browser|gpu|metrics]

The section on metrics has each one's cost curve (tools/metric_costs.py), and that on members what a
class split costs (tools/member_costs.py); ``--record`` stores both.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import member_costs
import metric_costs

from acgan_lib import nets, objectives, runtime, train, viz
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import ch17_paper_nets

N = 100  # images in a batch
DEVICE = runtime.pick_device()
Pair = tuple[nets.ConditionalGenerator, nn.Module]
Step = Callable[[], Any]


def noise_images(channels: int, size: int) -> LabelledImages:
    """Random images of ten classes: what they show does not change the time."""
    images = torch.randint(0, 256, (20 * N, channels, size, size), dtype=torch.uint8)
    return LabelledImages(images, torch.arange(20 * N) % 10, tuple("0123456789"), "").to(DEVICE)


def textbook(pair: Pair, data: LabelledImages) -> Step:
    """The step as one writes it first: float32, a DataLoader, fakes drawn anew for G."""
    G, D = pair[0].to(DEVICE).train(), pair[1].to(DEVICE).train()
    opt_g = torch.optim.Adam(G.parameters(), 2e-4, (0.5, 0.999))
    opt_d = torch.optim.Adam(D.parameters(), 2e-4, (0.5, 0.999))
    floats = TensorDataset(data.normalised().cpu(), data.labels.cpu())
    loader = DataLoader(floats, batch_size=N, shuffle=True)
    batches = (batch for _ in iter(int, 1) for batch in loader)  # epoch after epoch
    source, category = nn.BCEWithLogitsLoss(), nn.CrossEntropyLoss()
    ones, zeros = torch.ones(N, device=DEVICE), torch.zeros(N, device=DEVICE)

    def step() -> None:
        x, y = (part.to(DEVICE) for part in next(batches))
        z = torch.randn(N, G.latent_dim, device=DEVICE)
        y_fake = torch.randint(0, 10, (N,), device=DEVICE)
        opt_g.zero_grad()
        on_fake = D(G(z, y_fake))
        loss = source(on_fake.source_logit, ones) + category(on_fake.class_logits, y_fake)
        loss.backward()
        opt_g.step()

        opt_d.zero_grad()
        on_real, on_fake = D(x), D(G(z, y_fake).detach())
        loss = source(on_real.source_logit, ones) + category(on_real.class_logits, y)
        loss = loss + source(on_fake.source_logit, zeros) + category(on_fake.class_logits, y_fake)
        loss.backward()
        opt_d.step()

    return step


def ours(
    pair: Pair, data: LabelledImages, without: str = "", *, precision: str = "auto",
    compile: bool = False, batch: int = N,
) -> Step:  # fmt: skip
    """The library's step; ``without`` names the one lever to take away."""
    precision = "fp32" if without == "bf16" else precision
    config = train.TrainConfig(batch, precision=precision, compile=compile)  # type: ignore[arg-type]
    G, D = pair[0].to(DEVICE), pair[1].to(DEVICE)
    state = train._State(G, D, config, steps=10**6)
    objective = objectives.acgan()
    patches: list[Any] = []
    if without == "channels_last":
        for module in (G, D, state.G_ema):
            module.to(memory_format=torch.contiguous_format)
        patches.append(mock.patch.object(torch, "channels_last", torch.contiguous_format))
    if without == "freezing D":
        patches.append(mock.patch.object(train, "frozen", contextlib.nullcontext))
    if without == "fused Adam":
        state.opt_g = torch.optim.Adam(G.parameters(), 2e-4, config.betas)
        state.opt_d = torch.optim.Adam(D.parameters(), 2e-4, config.betas)
    if without == "reuse of fakes":

        def draw_again(D: nn.Module, fake: objectives.Batch) -> objectives.Terms:
            z, y = train.draw_latents(G, N, 0, state.step, DEVICE)
            return objectives.acgan().g_loss(D, objectives.Batch(G(z, y), y))

        objective = objective._replace(g_loss=draw_again)

    def step() -> None:
        with contextlib.ExitStack() as stack:
            for patch in patches:
                stack.enter_context(patch)
            train._step(state, data, objective, config, DEVICE, train.draw_latents)
            state.step += 1

    return step


def in_turns(variants: dict[str, Step], rounds: int, seconds: float = 0.8) -> dict[str, float]:
    """Return each variant's median seconds a step; the variants take turns within each round."""

    def timed(step: Step, count: int) -> float:
        start = time.perf_counter()
        for _ in range(count):
            step()
        if DEVICE.type == "cuda":
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / count

    for step in variants.values():
        timed(step, 3)  # warm up
    counts = {name: max(1, round(seconds / timed(step, 1))) for name, step in variants.items()}
    times = [{n: timed(step, counts[n]) for n, step in variants.items()} for _ in range(rounds)]
    return {name: statistics.median(row[name] for row in times) for name in variants}


def convolution(dtype: torch.dtype) -> tuple[Step, float]:
    """A forward convolution that suits the hardware, and its number of operations."""
    maps, side = (64, 32) if DEVICE.type == "cpu" else (512, 64)
    layer = nn.Conv2d(maps, maps, 3, padding=1, bias=False).to(DEVICE, dtype)
    x = torch.randn(64, maps, side, side, device=DEVICE, dtype=dtype)
    layer, x = (v.to(memory_format=torch.channels_last) for v in (layer, x))
    layer.requires_grad_(False)
    return lambda: layer(x), 2.0 * 64 * side**2 * maps * maps * 9


def operations(step: Step) -> float:
    """Return the arithmetic operations of a step's matrix products and convolutions."""
    with FlopCounterMode(display=False) as counter:
        step()
    return float(counter.get_total_flops())


def with_dropout(pair: Pair) -> Pair:
    """Put ``nn.Dropout(0.5)`` where D has HalfDropout."""
    for name, layer in list(pair[1].trunk.named_children()):
        if isinstance(layer, ch17_paper_nets.HalfDropout):
            setattr(pair[1].trunk, name, nn.Dropout(0.5))
    return pair


PEAKS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def report(title: str, seconds: dict[str, float], flops: float, peaks: dict[str, float]) -> None:
    """Print each variant's images a second, its ratio to the first, and its share of a peak.

    ``flops`` are a step's; ``peaks`` the operations of the convolution timed under that name.
    """
    print(f"\n{title}: {flops / 1e9:.1f} GFLOP a step")
    rates = {dtype: work / seconds[dtype] for dtype, work in peaks.items()}
    print(*(f"  a large {d} convolution: {r / 1e9:,.0f} GFLOP/s" for d, r in rates.items()))
    first = next(iter(seconds.values()))
    for name, each in seconds.items():
        if name not in peaks:
            of = ", ".join(f"{flops / each / rate:4.0%} of {d}" for d, rate in rates.items())
            print(f"  {name:<26} {N / each:8,.0f} images/s {first / each:5.2f} x   {of}")


def compare(title: str, make: Callable[[], Pair], data: LabelledImages, rounds: int) -> None:
    """Time the textbook step, ours, and ours with each lever taken away."""
    peak = "bf16" if runtime.supports_bf16(DEVICE) else "fp32"
    levers = ["channels_last", "reuse of fakes", "freezing D", "fused Adam"]
    variants = {
        "textbook step": textbook(with_dropout(make()), data),
        "the library's step": ours(make(), data),
        **{f"  without {x}": ours(make(), data, x) for x in ["bf16"] * (peak == "bf16") + levers},
    }
    if isinstance(make()[1], ch17_paper_nets.PaperDiscriminator):
        variants["  with nn.Dropout"] = ours(with_dropout(make()), data)
    variants[peak], work = convolution(PEAKS[peak])
    report(title, in_turns(variants, rounds), operations(ours(make(), data)), {peak: work})


def widget(rounds: int) -> None:
    """Time what the explorers draw on a slider's move: G on one latent or ten, and the PNG."""
    G = nets.Generator().eval()

    def frame(n: int) -> bytes:
        with torch.inference_mode():
            images: Tensor = G(torch.randn(n, G.latent_dim), torch.arange(n) % 10)
        file = io.BytesIO()
        Image.fromarray(viz.tile(images, columns=n)).save(file, "png", compress_level=1)
        return file.getvalue()

    seconds = in_turns({f"{n:2} images": lambda n=n: frame(n) for n in (1, 10)}, rounds, 0.3)
    print("\nA widget's frame on the CPU (G, tiling, PNG)")
    for name, each in seconds.items():
        print(f"  {name:<34} {1e3 * each:8.1f} ms")


def browser() -> None:
    """Time a slider's move on a built page: z, the shipped G in wasm on one thread, the canvas."""
    from engine_page import engine_page, frame_times

    from acgan_lib import widgets, zoo
    from acgan_lib.widgets import export

    models = Path(__file__).resolve().parents[1] / "book" / "_static" / "models"
    export.export_all(models)
    faces = {
        f"{name}, {n:2} images": face(zoo.load(name))
        for name in ("acgan_fashion", "acgan_avatars64")
        for n, face in ((1, widgets.LatentExplorer), (10, widgets.ClassSwap))
    }
    print("\nA widget's frame in headless Chromium, median and 95th percentile of 300")
    with engine_page(models) as page:
        for name, face in faces.items():
            times = sorted(frame_times(page, face.spec, 300))
            print(f"  {name:<34} {times[150]:8.1f} ms {times[285]:8.1f} ms")


def gpu(rounds: int) -> None:
    """Time each pair on CUDA: eager or compiled, float32 or bfloat16, with the share of peak."""
    pairs: dict[str, tuple[Callable[[], Pair], LabelledImages]] = {
        "fast pair": (acgan_pair, noise_images(1, 32)),
        "the paper's CIFAR-10 pair": (ch17_paper_nets.cifar10_pair, noise_images(3, 32)),
        "the paper's ImageNet pair": (ch17_paper_nets.imagenet_pair, noise_images(3, 128)),
    }
    for title, (make, data) in pairs.items():
        variants: dict[str, Step] = {}
        work: dict[str, float] = {}
        for precision, dtype in reversed(PEAKS.items()):
            for mode in ("eager", "compiled"):
                name, compiled = f"{mode} {precision}", mode == "compiled"
                variants[name] = ours(make(), data, precision=precision, compile=compiled)
            variants[precision], work[precision] = convolution(dtype)
        report(title, in_turns(variants, rounds), operations(ours(make(), data)), work)
        batches(make, data, rounds)


def batches(make: Callable[[], Pair], data: LabelledImages, rounds: int) -> None:
    """Print speed, peak memory and the hours to 50,000 steps against the size of a batch."""
    steps = {f"{n}": ours(make(), data, batch=n) for n in (25, 100, 400, 1600)}
    for n, each in in_turns(steps, rounds).items():
        memory = ""
        if DEVICE.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
            steps[n]()
            memory = f"{torch.cuda.max_memory_allocated() / 2**30:7.2f} GiB, all batches' networks"
        hours = 50_000 * each / 3600
        print(f"  batch {n:>5} {int(n) / each:12,.0f} images/s {hours:8.2f} h to 50,000 {memory}")


def acgan_pair() -> Pair:
    return nets.Generator(), nets.Discriminator(class_head=10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, help="CPU threads")
    sections = ["fast", "paper", "members", "widget", "browser", "gpu", "metrics"]
    parser.add_argument("--only", choices=sections)
    parser.add_argument(
        "--record", action="store_true", help="store the costs of metrics and members"
    )
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    print(f"{runtime.describe()} · {torch.get_num_threads()} threads · batch {N}")
    wanted, rounds = arguments.only, arguments.rounds
    if wanted in (None, "fast"):
        compare("Fast pair, AC-GAN", acgan_pair, noise_images(1, 32), rounds)
    if wanted in (None, "paper"):
        pair = ch17_paper_nets.cifar10_pair
        compare("The paper's CIFAR-10 pair", pair, noise_images(3, 32), rounds)
    if wanted in (None, "members"):
        member_costs.measure(rounds, arguments.record, in_turns)
    if wanted in (None, "widget"):
        widget(rounds)
    if wanted in (None, "browser"):
        browser()
    if wanted in (None, "metrics"):
        metric_costs.measure(rounds, arguments.record)
    if wanted == "gpu" or (wanted is None and DEVICE.type == "cuda"):
        gpu(rounds)


if __name__ == "__main__":
    main()
