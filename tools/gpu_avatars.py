"""Train the shipped GANs of avatars side by side on one GPU: python tools/gpu_avatars.py OUT

A step of these small networks waits for kernel launches (`tools/gpu_report.py`). Here a step is
one CUDA graph, which also picks its own batch, and each training has a stream of its own, so that
they share the card: ten took 8.6 ms a round on an H200. The recipe is that of
`acgan_lib.experiments.ch10_avatars`; the draws are the device's, so the weights are other ones
than `fit` gives. (The shipped generators came from a draft of this file, which went through the
pictures epoch by epoch; this form has run on a CPU alone.) They are saved into OUT. It wants a set
drawn by ``make avatars N=3000 SIZE=64``; without a CUDA device the same steps run one by one, to
try it.
"""

from __future__ import annotations

import argparse
import copy
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from acgan_lib import zoo
from acgan_lib.avatars import Avatars, drawn
from acgan_lib.experiments.ch10_avatars import GAN_STEPS, OBJECTIVES, PER_KIND, Model, networks
from acgan_lib.objectives import Batch, Terms
from acgan_lib.train import frozen

BATCH, RATE, BETAS, EMA = 64, 4e-4, (0.0, 0.99), 0.9995
CHUNK = 512  # steps whose batches are drawn at once
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")


class Training:
    """One training whose state lies on the device, so that a step can be captured."""

    def __init__(self, model: Model, data: Avatars, steps: int, seed: int) -> None:
        self.objective = OBJECTIVES[model]
        G, D = networks(model, data.size, seed)
        self.G = G.to(DEVICE, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.D = D.to(DEVICE, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        kind: Any = {"fused": True, "capturable": True} if CUDA else {}
        rate: Any = torch.tensor(RATE, device=DEVICE) if CUDA else RATE
        self.adams = [
            torch.optim.Adam(m.parameters(), copy.deepcopy(rate), BETAS, **kind)
            for m in (self.G, self.D)
        ]
        self.data, self.steps = data.to(DEVICE), steps
        self.draws = torch.Generator(DEVICE).manual_seed(seed + 17)
        self.t = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        self.z = torch.empty(CHUNK, BATCH, G.latent_dim, device=DEVICE)
        self.y = torch.empty(CHUNK, BATCH, dtype=torch.int64, device=DEVICE)
        self.rows = torch.empty_like(self.y)
        ema, now = self.G_ema.state_dict(), self.G.state_dict()
        self.averaged = [(ema[k], now[k]) for k in now if now[k].is_floating_point()]
        self.draw()

    def draw(self) -> None:
        """Draw the latents, the labels and the pictures of the next CHUNK steps."""
        self.z.normal_(generator=self.draws)
        self.y.random_(0, self.data.num_classes, generator=self.draws)
        self.rows.random_(0, len(self.data), generator=self.draws)

    def step(self) -> None:
        """Update D, then G, then G's average, as `acgan_lib.train.fit` does."""
        k = self.t % CHUNK
        z, y, rows = (part.index_select(0, k)[0] for part in (self.z, self.y, self.rows))
        left = (1 - self.t / self.steps).clamp(min=0)[0]
        for adam in self.adams:
            group = adam.param_groups[0]
            group["lr"] = group["lr"].copy_(RATE * left) if CUDA else float(RATE * left)
        x = self.data.images.index_select(0, rows).float().div_(127.5).sub_(1)
        real = Batch(x.contiguous(memory_format=torch.channels_last), self.data.labels[rows])
        with torch.autocast(DEVICE.type, torch.bfloat16):
            fake = Batch(self.G(z, y), y, z)
            apart = fake._replace(images=fake.images.detach())
            d_terms = self.objective.d_loss(self.D, real, apart)
        self.descend(d_terms, self.adams[1])
        with torch.autocast(DEVICE.type, torch.bfloat16), frozen(self.D):
            self.descend(self.objective.g_loss(self.D, fake), self.adams[0])
        with torch.no_grad():
            weight = 1 - ((1 + self.t) / (10 + self.t)).clamp(max=EMA)[0]
            for average, value in self.averaged:
                average.lerp_(value, weight.to(average.dtype))
            self.t += 1

    def descend(self, terms: Terms, adam: torch.optim.Optimizer) -> None:
        """Follow the gradient of the terms' sum."""
        adam.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()

    def captured(self) -> Callable[[], None]:
        """Return a function that takes a step: a CUDA graph on a stream of its own."""
        if not CUDA:
            return self.step
        stream, graph = torch.cuda.Stream(), torch.cuda.CUDAGraph()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(4):  # the optimisers' state must be there before the capture
                self.step()
        torch.cuda.synchronize()
        with torch.cuda.graph(graph, stream=stream):
            self.step()

        def replay() -> None:
            with torch.cuda.stream(stream):
                graph.replay()

        return replay


def together(trainings: dict[str, Training], steps: int) -> None:
    """Take the steps of all trainings, round by round."""
    replays = [training.captured() for training in trainings.values()]
    wait: Callable[[], Tensor | None] = torch.cuda.synchronize if CUDA else lambda: None
    done = max(int(training.t) for training in trainings.values())
    began = time.monotonic()
    while done < steps:
        for _ in range(n := min(CHUNK - done % CHUNK, steps - done)):
            for replay in replays:
                replay()
        done += n
        wait()
        for training in trainings.values() if done % CHUNK == 0 else ():
            training.draw()
        wait()  # the graphs' streams do not wait for the draws by themselves
        print(f"{done:,} of {steps:,} steps, {time.monotonic() - began:.0f} s", flush=True)


def main() -> None:
    """Train, and save the averaged generators, from the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for the generators")
    parser.add_argument("--root", help="folder of the drawn sets, as OUT of `make avatars`")
    parser.add_argument("--steps", type=int, default=GAN_STEPS)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    sets = {size: drawn(PER_KIND, size, folder=a.root) for size in (32, 64)}
    trainings = {
        f"{model}_avatars{size}": Training(model, data, a.steps, a.seed)
        for size, data in sets.items()
        for model in ("acgan", "cgan")
    }
    together(trainings, a.steps)
    for name, training in trainings.items():
        zoo.save(training.G_ema.cpu(), a.out / f"{name}.safetensors", half=True)


if __name__ == "__main__":
    main()
