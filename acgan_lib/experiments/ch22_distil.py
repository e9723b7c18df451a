"""One-step students of the chapter's own diffusion model, with and without a GAN loss.

A student has the teacher's network and first weights. It draws in one step, noise + v(noise, 0),
and learns to land where the teacher lands from the same noise (Luhman and Luhman 2021). Beside
that squared distance, the second student has a GAN loss: a discriminator that is told the class
sees real images and the student's (as Sauer et al. 2024 and Yin et al. 2024 add one, at another
scale). Both see the same pairs in the same order.

What ships was trained on a GPU for 240 steps, all the time there was. Its running average did not
start short, and held 0.995^243 = 30 % of the teacher; that share is taken out of the shipped
weights, (average - .30 teacher) / .70. The rows named "uncorrected" in
``data/results/flow_students.json`` are of three seeds before that, of 240, 60 and 340 steps.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib import metrics, zoo
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common, ch06_dose
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch22_flow import SOLVER_STEPS, ship
from acgan_lib.families.diffusion import Flow, Sampler, captured
from acgan_lib.fashion import fashion_mnist
from acgan_lib.nets import Discriminator
from acgan_lib.runtime import pick_device, seeded
from acgan_lib.train import frozen

PAIRS, STEPS, BATCH = 20_000, 300, 64
RATE, EMA, GAN_WEIGHT, TEACHER_W = 3e-4, 0.995, 0.02, 2.0
STUDENTS = {"student": 0.0, "student with a GAN loss": GAN_WEIGHT}


class Pairs(NamedTuple):
    """Noise (n, latent_dim), class (n,), and the picture that the teacher makes of them."""

    z: Tensor
    y: Tensor
    x: Tensor


def pairs(teacher: Flow, n: int, seed: int) -> Pairs:
    """Let the teacher draw n pictures, as many of each class, at guidance TEACHER_W."""
    each = n // teacher.num_classes
    G = Sampler(teacher, TEACHER_W, SOLVER_STEPS)
    x, y = metrics.sample(G, each, seed=seed)
    z = torch.randn(len(y), G.latent_dim, generator=torch.Generator().manual_seed(seed))
    device = next(teacher.parameters()).device
    return Pairs(z.to(device), y.to(device), x.to(device))


def one_step(flow: Flow) -> Sampler:
    """Return a student as a generator: one step of Euler's method, no second call for guidance."""
    return Sampler(flow, guidance=1.0, steps=1, heun=False)


def distil(
    teacher: Flow,
    taught: Pairs,
    real: LabelledImages,
    gan_weight: float,
    *,
    seed: int,
    steps: int = STEPS,
    share: Callable[[int], float] | None = None,
) -> Flow:
    """Return the running average of a student of the pairs; `share` as in `diffusion.fit`."""
    device = taught.z.device
    real, student = real.to(device), copy.deepcopy(teacher).train().requires_grad_(True)
    average = copy.deepcopy(teacher).eval()
    with seeded(seed, device):
        D = Discriminator(real.channels, label_input=real.num_classes).to(device)
        rate, decay = torch.tensor(RATE / 100, device=device), torch.tensor(0.0, device=device)
        how: Any = {"betas": (0.5, 0.99), "capturable": device.type == "cuda"}
        opt_s, opt_d = (torch.optim.Adam(m.parameters(), rate, **how) for m in (student, D))
        kept, now = ([p.detach() for p in net.parameters()] for net in (average, student))

        def descend(loss: Tensor, optimiser: torch.optim.Optimizer) -> None:
            optimiser.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()

        def step() -> None:
            rows = torch.randint(len(taught.z), (BATCH,), device=device)
            y, noise = taught.y[rows], taught.z[rows].view(-1, *taught.x.shape[1:])
            still = torch.zeros(BATCH, device=device)
            weights = F.one_hot(y, student.num_classes).float()
            x = noise + student(noise, still, weights)
            loss = (x - taught.x[rows]).square().mean()
            if gan_weight:
                at = torch.randint(len(real), (BATCH,), device=device)
                seen = real.images[at].float() / 127.5 - 1
                apart = F.softplus(-D(seen, real.labels[at]).source_logit).mean()
                apart = apart + F.softplus(D(x.detach(), y).source_logit).mean()
                descend(apart, opt_d)
                with frozen(D):
                    loss = loss + gan_weight * F.softplus(-D(x, y).source_logit).mean()
            descend(loss, opt_s)
            torch._foreach_mul_(kept, decay)
            torch._foreach_add_(kept, list(torch._foreach_mul(now, 1 - decay)))

        take = captured(step) if device.type == "cuda" else step
        for i in range(steps):
            done = i / steps if share is None else share(i)
            if done >= 1:
                break
            rate.fill_(RATE * min((i + 1) / 100, 1 - done))
            decay.fill_(min(EMA, (1 + i) / (10 + i)))  # or it would hold the teacher for long
            take()
    return average


def measure(model: str, student: Flow, seed: int, test: LabelledImages, **more: Any) -> None:
    """Record what 10,000 samples of a student measure, as the doses and the flows were."""
    measured = ch06_dose.measure(one_step(student), seed, test)
    _common.show(model, seed, measured)
    record("flow_students", {"model": model, "seed": seed, **more, **measured})


def students(seed: int = 0, root: str | None = None, steps: int = STEPS) -> None:
    """Distil both students from the shipped flow of FashionMNIST; measure them, ship seed 0."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    teacher = zoo.load("flow_fashion").to(pick_device())
    assert isinstance(teacher, Flow)
    taught = pairs(teacher, PAIRS, seed=100 + seed)
    for model, weight in STUDENTS.items():
        student = distil(teacher, taught, train, weight, seed=seed, steps=steps)
        if not _common.is_whole(steps, STEPS):
            continue
        measure(model, student, seed, test, steps=steps)
        if seed == 0:
            ship_student(student, weight, train.source, steps)


def ship_student(student: Flow, gan_weight: float, data: str, steps: int) -> None:
    """Keep seed 0's student in the zoo: flow_student, or flow_student_plain without a GAN loss."""
    name = "flow_student" if gan_weight else "flow_student_plain"
    facts = {"loss": "one step to the teacher's picture", "lr": RATE, "gan_weight": gan_weight}
    ship(name, student, data, 0, steps, "make train-flow_student", **facts)


RUNS = {"flow_student": students}
