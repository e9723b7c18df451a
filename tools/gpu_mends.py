"""Train and measure what chapters 4, 7 and 18 compare, on one GPU: python tools/gpu_mends.py OUT

Five seeds of each: FashionMNIST under eight objectives (chapter 18), under three ways of
normalising D (chapter 4) and InfoGAN (chapter 7); avatars in ten kinds and in 80 classes, kind
and hair. Fifteen trainings at a time share the card (`tools/gpu_trainings.py`); meanwhile other
processes measure on the CPU what is ready. Rows go to OUT/*.json one by one, the generators
of seed 0 to OUT/*.tar. ``--only GROUP``, ``--steps N`` and ``--seeds N`` try it small.
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import tarfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
from gpu_trainings import CUDA, Recipe, Training, together
from safetensors.torch import save
from torch import nn

from acgan_lib import objectives as o
from acgan_lib.avatars import Avatars, drawn
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import ch04_norms, ch07_infogan, ch10_avatars, ch18_mends
from acgan_lib.experiments._results import encoded
from acgan_lib.fashion import fashion_mnist
from acgan_lib.runtime import evaluating, seed_everything

ABREAST = 15
SEEDS = 5
MENDS = ch18_mends.OBJECTIVES
FEWER = ch18_mends.FEWER
BOOK = Recipe(batch=100, rate=7e-4)
NORMS = Recipe(batch=ch04_norms.BATCH_SIZE, rate=ch04_norms.RATE)
FACES = Recipe(batch=64, rate=4e-4, betas=(0.0, 0.99), ema=0.9995)


@dataclass(frozen=True)
class Job:
    """One training: its group, the model's name and the seed."""

    group: str
    model: str
    seed: int


@dataclass(frozen=True)
class Group:
    """Trainings of one kind: their models, data, recipe and steps."""

    models: tuple[str, ...]
    data: Callable[[], LabelledImages]
    recipe: Recipe
    steps: int
    networks: Callable[[str, LabelledImages, int], tuple[Any, Any, o.Objective]]
    measure: Callable[[Any, Job], dict[str, Any]]


def mends(model: str, data: LabelledImages, seed: int) -> tuple[Any, Any, o.Objective]:
    """Return chapter 18's pair with the heads that the objective needs."""
    return *ch18_mends.networks(data, MENDS[model], seed), MENDS[model]


def norms(model: str, data: LabelledImages, seed: int) -> tuple[Any, Any, o.Objective]:
    """Return chapter 4's networks of "model, norm"."""
    seed_everything(seed)
    name, norm = model.split(", ")
    return ch04_norms.networks(name, norm)  # type: ignore[arg-type]


def infogan(model: str, data: LabelledImages, seed: int) -> tuple[Any, Any, o.Objective]:
    """Return chapter 7's networks."""
    return ch07_infogan.networks(seed)


@cache
def fashion(part: str) -> LabelledImages:
    """Return FashionMNIST, read once a process."""
    return fashion_mnist(part)  # type: ignore[arg-type]


def measure_norms(G: Any, job: Job) -> dict[str, Any]:
    """Measure as chapter 4 does."""
    return ch04_norms.measure(G, job.seed)


def measure_mends(G: Any, job: Job) -> dict[str, Any]:
    """Measure as chapter 18 says for the group."""
    found: dict[str, Any] = ch18_mends.measure(G, job.group, job.seed)
    return found


def nothing(G: Any, job: Job) -> dict[str, Any]:
    """Leave the measuring to the chapter."""
    return {}


@cache
def faces_data() -> Avatars:
    """Return 3,000 pictures of each kind."""
    return drawn(ch10_avatars.PER_KIND, 32)


GROUPS = {
    "fashion": Group(
        tuple(MENDS), lambda: fashion("train"), BOOK, 6_000, mends, measure_mends
    ),
    "infogan": Group(("infogan",), lambda: fashion("train"), BOOK, 6_000, infogan, nothing),
    "norms": Group(
        tuple(f"{m}, {n}" for n in ch04_norms.NORMS for m in ch04_norms.MODELS),
        lambda: fashion("train"), NORMS, ch04_norms.STEPS, norms, measure_norms,
    ),
    "kinds": Group(
        FEWER, faces_data, FACES, ch10_avatars.SHORT_STEPS, mends, measure_mends
    ),
    "kinds_hair": Group(
        FEWER, lambda: ch18_mends.kinds_and_hair(faces_data()), FACES,
        ch18_mends.STEPS["kinds_hair"],
        mends, measure_mends,
    ),
}  # fmt: skip


def waves(only: list[str], seeds: int) -> Iterator[list[Job]]:
    """Yield the jobs, ABREAST at a time and of one group."""
    for name in only:
        jobs = [Job(name, m, s) for m in GROUPS[name].models for s in range(seeds)]
        for i in range(0, len(jobs), ABREAST):
            yield jobs[i : i + ABREAST]


def start() -> None:
    """Ready a process that measures: one thread, everything imported."""
    torch.set_num_threads(1)


def measured(job: Job, G: nn.Module) -> dict[str, Any]:
    """Measure one generator, in a process of its own."""
    began = time.process_time()
    with evaluating(G):
        found = GROUPS[job.group].measure(G, job)
    return {**found, "measured_in_s": round(time.process_time() - began)}


class Written:
    """The files of a folder: rows by group, rewritten as each comes, and tars of weights."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.rows: dict[str, list[dict[str, Any]]] = {}
        self.weights: dict[str, dict[str, bytes]] = {}

    def row(self, job: Job, row: dict[str, Any]) -> None:
        """Add a row, and write the group's file."""
        rows = self.rows.setdefault(job.group, [])
        rows.append({"model": job.model, "seed": job.seed, **row})
        rows.sort(key=lambda r: (r["model"], r["seed"]))
        (self.folder / "rows.json").write_bytes(encoded(self.rows))

    def keep(self, group: str, name: str, network: nn.Module, *, half: bool) -> None:
        """Keep a network's weights, and write the group's tar."""
        state = {
            k: (v.half() if half and v.is_floating_point() else v).cpu().contiguous().clone()
            for k, v in network.state_dict().items()
        }
        files = self.weights.setdefault(group, {})
        files[f"{name}.safetensors"] = save(state)
        with tarfile.open(self.folder / f"{group}.tar", "w") as tar:
            for file, content in files.items():
                info = tarfile.TarInfo(file)
                info.size = len(content)
                tar.addfile(info, io.BytesIO(content))


def main() -> None:
    """Train, measure and write, from the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--seconds", type=float, default=400, help="no wave begins later")
    parser.add_argument("--only", nargs="+", default=[*GROUPS], choices=[*GROUPS])
    parser.add_argument("--steps", type=int, help="instead of each group's")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--workers", type=int, default=13)
    a = parser.parse_args()
    a.out.mkdir(parents=True, exist_ok=True)
    began, written = time.monotonic(), Written(a.out)
    card = torch.cuda.get_device_name() if CUDA else "cpu"
    os.environ |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}  # of those that measure
    each = 0.7 if CUDA else 0.0  # milliseconds of a step beside others, until it is measured
    pool = ProcessPoolExecutor(
        a.workers, mp_context=multiprocessing.get_context("spawn"), initializer=start
    )
    waiting: list[tuple[Job, dict[str, Any], Future[dict[str, Any]]]] = []

    def collect(all_of_them: bool) -> None:
        for item in [w for w in waiting if all_of_them or w[2].done()]:
            job, about, future = item
            waiting.remove(item)
            try:
                written.row(job, {**about, **future.result()})
            except Exception as error:  # one that cannot be measured must not cost the others
                print(f"{job}: {error!r}", flush=True)
                written.row(job, {**about, "error": repr(error)})

    for wave in waves(a.only, a.seeds):
        group = GROUPS[wave[0].group]
        steps, names = a.steps or group.steps, [job.model for job in wave]
        clock = time.monotonic() - began
        if clock + 1e-3 * each * steps * len(wave) > a.seconds:
            print(f"{clock:.0f} s: no time for {wave[0].group} {names}", flush=True)
            continue
        data = group.data()

        trainings = {}
        for job in wave:
            try:  # one that cannot be captured must not cost the others
                networks = group.networks(job.model, data, job.seed)
                training = Training(*networks, data, group.recipe, steps, job.seed)
                training.capture()
                trainings[job] = training
            except Exception as error:
                print(f"{job}: {error!r}", flush=True)
        if not trainings:
            continue
        round_ms = together([*trainings.values()], steps)
        each = round_ms / len(trainings)
        print(
            f"{time.monotonic() - began:.0f} s: {wave[0].group} {names[0]}..{names[-1]}, "
            f"{round_ms:.2f} ms a round of {len(trainings)}", flush=True,
        )  # fmt: skip
        about = {"steps": steps, "images": steps * group.recipe.batch, "device": card}
        for job, training in trainings.items():
            G = training.G_ema.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
            G.requires_grad_(False)
            waiting.append((job, {**about, "data": data.source}, pool.submit(measured, job, G)))
            name = f"{job.model}_{job.seed}".replace(", ", "_")
            if job.group == "infogan":
                written.keep("infogan", f"{name}_g", G, half=False)
                written.keep("infogan", f"{name}_d", training.D, half=False)
            elif job.seed == 0:
                written.keep(job.group, name, G, half=True)
        del trainings
        collect(False)
    collect(True)
    pool.shutdown()
    (a.out / "about.json").write_text(
        json.dumps({"device": card, "seconds": round(time.monotonic() - began)})
    )
    print(f"{time.monotonic() - began:.0f} s: done", flush=True)


if __name__ == "__main__":
    main()
