"""Many small trainings side by side on one GPU, each step a CUDA graph.

A step of the book's small networks waits for kernel launches (`tools/gpu_report.py`), so one
training leaves the card idle. Here a step is captured once as a graph, which picks its own batch,
and each training has a stream of its own: they share the card. The step is that of
`acgan_lib.train.fit`: D, then G on the same generated images, then G's running average. The draws
are the device's, so the weights are other ones than `fit` gives. Without a CUDA device the same
steps run one by one, to try a command.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib.data import LabelledImages
from acgan_lib.nets import ConditionalGenerator
from acgan_lib.objectives import Batch, Objective, Terms
from acgan_lib.train import frozen

CHUNK = 500  # steps whose batches are drawn at once
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
# Products of float32 through TF32 units: bfloat16 would add a cast to each of the small layers.
torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True


@dataclass(frozen=True)
class Recipe:
    """What `acgan_lib.train.TrainConfig` says of a step; both rates fall linearly to 0."""

    batch: int
    rate: float
    betas: tuple[float, float] = (0.5, 0.999)
    ema: float = 0.999


class Training:
    """One training whose state lies on the device, so that a step can be captured.

    Args:
        G, D, objective: fit for one another and for `data`, as for `acgan_lib.train.fit`.
        data: images with labels; it may lie on the device already.
        recipe: how to step.
        steps: of the whole training, for the falling rates.
        seed: of the draws.
    """

    def __init__(
        self,
        G: ConditionalGenerator,
        D: nn.Module,
        objective: Objective,
        data: LabelledImages,
        recipe: Recipe,
        steps: int,
        seed: int,
    ) -> None:
        self.objective, self.recipe, self.steps = objective, recipe, steps
        self.G = G.to(DEVICE, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.D = D.to(DEVICE, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
        self.G_ema = copy.deepcopy(self.G).eval().requires_grad_(False)
        kind: Any = {"fused": True, "capturable": True} if CUDA else {}
        rate: Any = torch.tensor(recipe.rate, device=DEVICE) if CUDA else recipe.rate
        self.adams = [
            torch.optim.Adam(m.parameters(), copy.deepcopy(rate), recipe.betas, **kind)
            for m in (self.G, self.D)
        ]
        self.data = data.to(DEVICE)
        self.draws = torch.Generator(DEVICE).manual_seed(seed + 17)
        self.t = torch.zeros(1, dtype=torch.int64, device=DEVICE)
        self.z = torch.empty(CHUNK, recipe.batch, G.latent_dim, device=DEVICE)
        self.y = torch.empty(CHUNK, recipe.batch, dtype=torch.int64, device=DEVICE)
        self.rows = torch.empty_like(self.y)
        ema, now = self.G_ema.state_dict(), self.G.state_dict()
        floats = [k for k in now if now[k].is_floating_point()]
        self.averages, self.values = [ema[k] for k in floats], [now[k] for k in floats]
        self.replay: Callable[[], None] = self.step
        self.draw()

    def draw(self) -> None:
        """Draw the latents, the labels and the pictures of the next CHUNK steps."""
        self.z.normal_(generator=self.draws)
        self.y.random_(0, self.data.num_classes, generator=self.draws)
        self.rows.random_(0, len(self.data), generator=self.draws)

    def step(self) -> None:
        """Update D, then G, then G's average."""
        k = self.t % CHUNK
        z, y, rows = (part.index_select(0, k)[0] for part in (self.z, self.y, self.rows))
        left = (1 - self.t / self.steps).clamp(min=0)[0]
        for adam in self.adams:
            group, rate = adam.param_groups[0], self.recipe.rate
            group["lr"] = group["lr"].copy_(rate * left) if CUDA else float(rate * left)
        x = self.data.images.index_select(0, rows).float().div_(127.5).sub_(1)
        real = Batch(
            x.contiguous(memory_format=torch.channels_last),
            self.data.labels.index_select(0, rows),
        )
        fake = Batch(self.G(z, y), y, z)
        for_d = fake._replace(images=fake.images.detach())
        self.descend(self.objective.d_loss(self.D, real, for_d), self.adams[1])
        with frozen(self.D):
            self.descend(self.objective.g_loss(self.D, fake), self.adams[0])
        with torch.no_grad():
            weight = 1 - ((1 + self.t) / (10 + self.t)).clamp(max=self.recipe.ema)[0]
            apart = torch._foreach_sub(self.values, self.averages)
            torch._foreach_mul_(apart, weight)  # lerp would ask the device for the weight
            torch._foreach_add_(self.averages, apart)
            self.t += 1

    def descend(self, terms: Terms, adam: torch.optim.Optimizer) -> None:
        """Follow the gradient of the terms' sum."""
        adam.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        adam.step()

    def capture(self) -> None:
        """Let `self.replay` take a step: a CUDA graph on a stream of its own."""
        if not CUDA:
            return
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

        self.replay = replay


def together(trainings: Sequence[Training], steps: int) -> float:
    """Take the steps of all trainings, round by round; return the milliseconds of a round.

    Each is to be captured before; one that is not takes its steps one kernel at a time.
    """
    wait: Callable[[], Tensor | None] = torch.cuda.synchronize if CUDA else lambda: None
    first = done = max(int(training.t) for training in trainings)
    began = time.monotonic()
    while done < steps:
        for _ in range(n := min(CHUNK - done % CHUNK, steps - done)):
            for training in trainings:
                training.replay()
        done += n
        wait()
        for training in trainings if done % CHUNK == 0 else ():
            training.draw()
        wait()  # the graphs' streams do not wait for the draws by themselves
    return 1e3 * (time.monotonic() - began) / max(steps - first, 1)
