"""The paper's models at their full size: ``make train-acgan-cifar10``, ``train-acgan-imagenet``.

Networks and settings are those of the appendix of Odena et al. 2017 (tables 1 and 2): Adam with
learning rate 2e-4 and beta1 0.5, batches of 100, 50,000 iterations. On a CPU core one such
training takes days (chapter 17 counts them); the commands are for a machine with a GPU.

``python -m acgan_lib.experiments acgan-cifar10 --grid`` trains the 27 settings among which the
paper chose. ``acgan-imagenet --splits 0-99 --shards DIR --address auto`` trains its hundred models
on a cluster. Nothing goes into ``data/results``: what is trained stays in the folder of ``--out``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import torch
from torch import Tensor

from acgan_lib import objectives
from acgan_lib._files import expand
from acgan_lib.data import LabelledImages
from acgan_lib.experiments.ch17_paper_nets import (
    PaperDiscriminator,
    PaperGenerator,
    cifar10_pair,
    imagenet_pair,
)
from acgan_lib.pictures import read_all
from acgan_lib.runtime import pick_device
from acgan_lib.scale.engine import Report, run_tasks
from acgan_lib.scale.streams import FolderStream, ShardStream, write_shards
from acgan_lib.train import Images, Progress, TrainConfig, fit

Model = Literal["cifar10", "imagenet"]
STEPS, BATCH = 50_000, 100
SHARD = 500  # images of a shard
CIFAR10_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip


class Setting(NamedTuple):
    """A point of the paper's grid: learning rates of G and D, noise on D's activations."""

    lr_g: float = 2e-4
    lr_d: float = 2e-4
    noise: float = 0.0


GRID = tuple(
    Setting(*point) for point in product((1e-4, 2e-4, 3e-4), (1e-4, 2e-4, 3e-4), (0.0, 0.1, 0.2))
)


def pair(model: Model, noise: float = 0.0) -> tuple[PaperGenerator, PaperDiscriminator]:
    """Return the paper's G and D for CIFAR-10 or for ten classes of ImageNet."""
    return {"cifar10": cifar10_pair, "imagenet": imagenet_pair}[model](noise)


def cifar10(folder: str | Path, *, download: bool = False) -> LabelledImages:
    """Return CIFAR-10's 50,000 training images (Krizhevsky 2009), uint8 (n, 3, 32, 32).

    Args:
        folder: holds ``cifar-10-batches-py``, or gets it.
        download: fetch it through torchvision if it is not there (170 MB; torchvision compares
            the checksum).

    Raises:
        FileNotFoundError: if it is not there, or is damaged, and `download` is False.
    """
    from torchvision.datasets import CIFAR10

    try:
        found = CIFAR10(str(folder), train=True, download=download)
    except RuntimeError as error:
        raise FileNotFoundError(
            f"folder has no complete cifar-10-batches-py: {Path(folder)}. Put it there, or ask "
            "for the download (170 MB) with --download"
        ) from error
    images = torch.from_numpy(found.data).permute(0, 3, 1, 2).contiguous()
    return LabelledImages(images, torch.tensor(found.targets), CIFAR10_CLASSES, "CIFAR-10 train")


def ten_classes(folder: str | Path, split: int) -> list[str]:
    """Return the folder names of the ten classes of one of the paper's 100 models.

    The paper does not say which classes share a model; here they are taken in the order of the
    folders' names.

    Args:
        folder: ImageNet's training images, one folder for each of the 1,000 classes.
        split: 0 to 99.

    Raises:
        FileNotFoundError: if `folder` is not a folder.
        ValueError: if it has fewer than ``10 * split + 10`` class folders, or split is negative.
    """
    path = expand(folder)
    if not path.is_dir():
        raise FileNotFoundError(
            f"folder must hold ImageNet's class folders, but {path} is no folder: name yours with "
            "--root"
        )
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    chosen = names[10 * split : 10 * split + 10] if split >= 0 else []
    if len(chosen) < 10:
        raise ValueError(f"split must lie in 0..{len(names) // 10 - 1} for {len(names)} classes")
    return chosen


def imagenet_split(
    folder: str | Path, split: int, shards: Path | None = None
) -> FolderStream | ShardStream:
    """Return the images of `ten_classes`, streamed at 128x128.

    Larger images are cut to their central square and shrunk.

    Args:
        folder, split: as in `ten_classes`.
        shards: keeps each split's images as tar files of small pictures. A split that is not there
            yet is written first. Later trainings then decode no large image, and read few files.
    """
    place = None if shards is None else shards / f"imagenet-128px-{split}"
    if place is not None and (place / "shards.json").is_file():
        return ShardStream(place)
    stream = FolderStream(folder, 128, 3, keep=ten_classes(folder, split))
    if place is None:
        return stream
    images = read_all(stream.files, 128, 3)  # 13,000, in 640 MB
    whole = LabelledImages(images, stream.labels, stream.class_names, "ImageNet")
    order = torch.randperm(len(whole), generator=torch.Generator().manual_seed(split))
    return ShardStream(write_shards(whole.subset(order), place, SHARD))


@dataclass(frozen=True)
class Training:
    """One training of a paper model, a task of `scale.engine`. It resumes in `run_dir`.

    It loads its images where it runs: nothing large travels to a worker.
    """

    model: Model
    load: Callable[[], Images]
    setting: Setting
    seed: int
    steps: int
    run_dir: Path | None
    progress: bool = False

    def __call__(self, report: Report) -> dict[str, Tensor]:
        """Train and return the state of G_ema, on the CPU."""

        def tell(now: Progress) -> None:
            report(now.step, now.steps)

        torch.manual_seed(self.seed)
        G, D = pair(self.model, self.setting.noise)
        config = TrainConfig(
            batch_size=BATCH, lr_g=self.setting.lr_g, lr_d=self.setting.lr_d,
            linear_decay=False, seed=self.seed, progress=self.progress,
        )  # fmt: skip
        device = pick_device()
        result = fit(
            G.to(device), D.to(device), self.load(), objectives.acgan(), steps=self.steps,
            config=config, callbacks=[tell], run_dir=self.run_dir,
        )  # fmt: skip
        return {key: value.cpu() for key, value in result.G_ema.state_dict().items()}


def numbers(text: str) -> list[int]:
    """Return what a range like ``0-99``, or a single number, names.

    Raises:
        ValueError: if it is neither.
    """
    first, dash, last = text.partition("-")
    found = list(range(int(first), int(last if dash else first) + 1))
    if not found:
        raise ValueError(f"{text} names no split")
    return found


def paper(
    model: Model,
    seed: int,
    steps: int = STEPS,
    root: str = "downloads",
    options: Sequence[str] = (),
) -> None:
    """Train the paper's model at full size, or its grid of settings: for a machine with a GPU.

    Args:
        model: "cifar10" or "imagenet".
        seed: of the training.
        steps: the paper's 50,000, or fewer.
        root: folder of the data.
        options: the rest of the command line, which says on which machines to train.
    """
    parser = argparse.ArgumentParser(prog=f"acgan-{model} and its own options", add_help=False)
    parser.add_argument("--download", action="store_true", help="fetch CIFAR-10 if it is missing")
    parser.add_argument("--splits", type=numbers, default=[0], help="of ImageNet: one, or 0-99")
    parser.add_argument("--shards", type=Path, help="keep each split's small pictures there")
    parser.add_argument(
        "--noise", type=float, default=0.0, help="standard deviation on D's activations"
    )
    parser.add_argument("--grid", action="store_true", help="all 27 settings")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: in turn")
    parser.add_argument("--address", help="of a Ray cluster, in place of --workers")
    parser.add_argument("--gpus", type=float, default=0, help="of a GPU, for each worker")
    parser.add_argument("--out", type=Path, default=Path("runs/paper"), help="folder of the runs")
    a = parser.parse_args(options)
    sets: dict[str, Callable[[], Images]]
    if model == "cifar10":
        cifar10(root, download=a.download)
        sets = {"": partial(cifar10, root)}
    else:
        if a.shards is None:
            ten_classes(root, max(a.splits))  # an error comes before the first training
        shards = a.shards and expand(a.shards).resolve()
        sets = {f"-{split}": partial(imagenet_split, root, split, shards) for split in a.splits}
    settings = GRID if a.grid else (Setting(noise=a.noise),)
    tasks = {}
    for (part, load), setting in product(sets.items(), settings):
        name = f"{model}{part}-{setting.lr_g:g}-{setting.lr_d:g}-{setting.noise:g}-{seed}"
        run_dir = (a.out / name).resolve()
        alone = len(sets) * len(settings) == 1
        tasks[name] = Training(model, load, setting, seed, steps, run_dir, progress=alone)
    states = run_tasks(
        tasks, workers=a.workers, address=a.address, gpus=a.gpus, progress=len(tasks) > 1
    )
    for name, state in states.items():
        size = sum(value.numel() for value in state.values())
        print(f"{name}: a generator of {size:,} numbers, in {a.out / name / 'last.pt'}")


RUNS = {f"acgan-{model}": partial(paper, model) for model in get_args(Model)}
