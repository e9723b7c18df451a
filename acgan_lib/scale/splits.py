"""One generator made of many: AC-GANs that share the classes between them.

The paper covers ImageNet's 1,000 classes with 100 models of 10 classes each, and calls them an
ensemble. Nothing is averaged: each label belongs to one member. Here the classes are parted into
groups, a member is trained for each (in turn, on several cores or on a cluster, through
`acgan_lib.scale.engine`), and a `SplitGenerator` sends each label to its member.

``python -m acgan_lib.scale.splits --workers 2`` trains such a generator of letters, with a progress
view.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform
from torch import Tensor, nn

from acgan_lib import objectives, zoo
from acgan_lib._files import expand
from acgan_lib.data import LabelledImages
from acgan_lib.glyphs import LETTERS, glyphs
from acgan_lib.metrics.sampling import in_batches
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import pick_device
from acgan_lib.scale import stacked
from acgan_lib.scale.engine import Report, run_tasks
from acgan_lib.train import Progress, TrainConfig, fit

Groups = list[list[int]]
WIDTH = 16  # half the width of the book's other networks


# -- which classes belong together ---------------------------------------------------------------


def alphabetical(num_classes: int, members: int) -> Groups:
    """Part the classes 0..K-1 in their order into groups whose sizes differ by one at most.

    Raises:
        ValueError: unless 1 <= members <= num_classes.
    """
    return _cut(range(num_classes), members)


def at_random(num_classes: int, members: int, seed: int) -> Groups:
    """Part the classes at random into groups whose sizes differ by one at most."""
    generator = torch.Generator().manual_seed(seed)
    return _cut(torch.randperm(num_classes, generator=generator).tolist(), members)


def alike(confusions: Tensor, members: int) -> Groups:
    """Put classes that the judge confuses into one group.

    Classes are joined step by step, the closest first (average linkage), and the tree's leaves
    are ordered so that neighbours are as close as the tree allows (Bar-Joseph et al. 2001). The
    row of leaves is then cut into parts whose sizes differ by one at most.

    Args:
        confusions: float (K, K), as `judge_confusions` returns.
        members: number of groups.
    """
    return _cut(leaf_order(confusions), members)


def unlike(confusions: Tensor, members: int) -> Groups:
    """Keep classes that the judge confuses apart: the row of `alike`, dealt out like cards."""
    order = leaf_order(confusions)
    _check_members(len(order), members)
    return [sorted(order[start::members]) for start in range(members)]


def leaf_order(confusions: Tensor) -> list[int]:
    """Return the K classes in a row in which classes that are confused stand close together."""
    shared = (confusions + confusions.T).double().numpy() / 2
    distance = -np.log(np.clip(shared, 1e-12, None))
    distance -= distance[~np.eye(len(distance), dtype=bool)].min()  # the closest pair: distance 0
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), "average", optimal_ordering=True)
    return [int(leaf) for leaf in leaves_list(tree)]


def judge_confusions(judge: nn.Module, data: LabelledImages) -> Tensor:
    """Return float (K, K): the mean probability of class j that the judge sees in images of i.

    Probabilities and not counts, for a good judge hardly ever errs, and hesitates more often.
    """
    seen = in_batches(judge, judge, data.normalised()).softmax(1)
    labels = data.labels.cpu()
    return torch.stack([seen[labels == k].mean(0) for k in range(data.num_classes)])


def _cut(order: Sequence[int], members: int) -> Groups:
    _check_members(len(order), members)
    parts = np.array_split(np.asarray(order), members)
    return [sorted(int(k) for k in part) for part in parts]


def _check_members(num_classes: int, members: int) -> None:
    if not 1 <= members <= num_classes:
        raise ValueError(f"members must lie in 1..{num_classes} (the classes), not {members}")


# -- many members, one generator -----------------------------------------------------------------


def pair(
    num_classes: int,
    *,
    channels: int = 1,
    image_size: int = 32,
    width: int = WIDTH,
    latent_dim: int = 100,
) -> tuple[Generator, Discriminator]:
    """Return a member's G and D.

    Raises:
        ValueError: for a size that they do not have.
    """
    return (
        Generator(latent_dim, num_classes, channels, width, image_size),
        Discriminator(channels, width, class_head=num_classes, image_size=image_size),
    )


class SplitGenerator(ConditionalGenerator):
    """Disjoint generators behind one call: each label is drawn by the member that knows it.

    ``acgan_lib.zoo`` saves and loads it as one checkpoint.

    Args:
        groups: the classes of each member; together 0..K-1, each once.
        channels, image_size, width, latent_dim: of every member, as in `pair`.

    Raises:
        ValueError: if a class is missing, comes twice, or a group is empty.
    """

    def __init__(
        self,
        groups: Sequence[Sequence[int]],
        channels: int = 1,
        image_size: int = 32,
        width: int = WIDTH,
        latent_dim: int = 100,
    ) -> None:
        self.groups = check_groups(groups)
        super().__init__(latent_dim, sum(map(len, groups)), channels, image_size)
        self.kwargs = {
            "groups": self.groups, "channels": channels, "image_size": image_size,
            "width": width, "latent_dim": latent_dim,
        }  # fmt: skip
        self.members = nn.ModuleList(
            pair(
                len(group), channels=channels, image_size=image_size, width=width,
                latent_dim=latent_dim,
            )[0]
            for group in self.groups
        )  # fmt: skip

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """Draw images for class weights, float (n, K), each row within one member's classes.

        Raises:
            ValueError: if a shape does not fit, a row is all zero, or a row mixes classes of two
                members. No network has learned what lies between those.
        """
        if z.ndim != 2 or weights.shape != (len(z), self.num_classes):
            raise ValueError(
                f"need z (n, {self.latent_dim}) and weights (n, {self.num_classes}), got "
                f"{tuple(z.shape)} and {tuple(weights.shape)}"
            )
        images = z.new_empty(len(z), self.channels, self.image_size, self.image_size)
        drawn = torch.zeros(len(z), dtype=torch.bool, device=z.device)
        for group, member in zip(self.groups, self.members, strict=True):
            assert isinstance(member, ConditionalGenerator)
            rows = torch.nonzero((weights[:, group] != 0).any(1)).flatten()
            if bool(drawn[rows].any()):
                raise ValueError("a row of weights mixes classes of two members of the split")
            drawn[rows] = True
            if len(rows):
                part = member.from_weights(z[rows], weights[rows][:, group])
                images = images.to(part.dtype).index_copy(0, rows, part)
        if not bool(drawn.all()):
            raise ValueError("a row of weights is all zero: it names no class")
        return images


def check_groups(groups: Sequence[Sequence[int]]) -> Groups:
    """Return the groups as lists, or raise ValueError unless they hold 0..K-1, each once."""
    classes = [k for group in groups for k in group]
    if sorted(classes) != list(range(len(classes))) or not all(groups) or not classes:
        raise ValueError(f"groups must hold the classes 0..K-1, each once, none empty: {groups}")
    return [list(group) for group in groups]


def of_group(data: LabelledImages, group: Sequence[int]) -> LabelledImages:
    """Return the images of some classes as a set of its own: class ``group[i]`` becomes i."""
    number = torch.full((data.num_classes,), -1)
    number[list(group)] = torch.arange(len(group))
    labels = number.to(data.labels.device)[data.labels]
    rows = torch.nonzero(labels >= 0).flatten()
    names = tuple(data.class_names[k] for k in group)
    return LabelledImages(
        data.images[rows], labels[rows], names, f"{data.source}, classes {', '.join(names)}"
    )


# -- training ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class MemberTask:
    """The training of one member, as a task of the engine: G's averaged weights come back."""

    data: LabelledImages
    steps: int
    config: TrainConfig
    width: int
    run_dir: Path | None

    def __call__(self, report: Report) -> dict[str, Tensor]:
        """Train, or train on, and return the state of G_ema on the CPU."""

        def tell(progress: Progress) -> None:
            report(progress.step, progress.steps)

        G, D = self.networks()
        device = pick_device()
        with torch.random.fork_rng(devices=[]):
            result = fit(
                G.to(device), D.to(device), self.data, objectives.acgan(), steps=self.steps,
                config=self.config, callbacks=[tell], run_dir=self.run_dir,
            )  # fmt: skip
        return {key: value.cpu() for key, value in result.G_ema.state_dict().items()}

    def networks(self) -> tuple[Generator, Discriminator]:
        """Return the member's G and D as they start, a function of its seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(self.config.seed)
            return pair(
                self.data.num_classes, channels=self.data.channels, image_size=self.data.size,
                width=self.width,
            )  # fmt: skip


@dataclass(frozen=True)
class StackTask:
    """The training of members alike in shape and steps, as one network (`scale.stacked`)."""

    tasks: tuple[MemberTask, ...]
    run_dir: Path | None

    def __call__(self, report: Report) -> list[dict[str, Tensor]]:
        """Train, or train on, and return each member's state of G_ema on the CPU."""
        first, members, device = self.tasks[0], len(self.tasks), pick_device()
        pairs = [task.networks() for task in self.tasks]
        G = stacked.StackedGenerator([G for G, _ in pairs])
        D = stacked.StackedDiscriminator([D for _, D in pairs])
        data = stacked.StackedImages(
            tuple(task.data for task in self.tasks), tuple(task.config.seed for task in self.tasks)
        )

        def tell(progress: Progress) -> None:
            report(progress.step, progress.steps)

        with torch.random.fork_rng(devices=[]):
            result = fit(
                G.to(device), D.to(device), data, stacked.summed(objectives.acgan(), members),
                steps=first.steps, config=stacked.stacked_config(first.config, members),
                callbacks=[tell], run_dir=self.run_dir, latents=data.latents,
            )  # fmt: skip
        whole = result.G_ema
        assert isinstance(whole, stacked.StackedGenerator)
        return stacked.unstack(whole.whole.cpu(), members)


def member_steps(groups: Sequence[Sequence[int]], total_steps: int) -> list[int]:
    """Share ``total_steps`` out, so that each *class* gets the same number of images.

    Up to rounding, and each member gets one step at least.
    """
    num_classes = sum(map(len, groups))
    return [max(1, round(total_steps * len(group) / num_classes)) for group in groups]


def train_members(
    data: LabelledImages,
    groups: Sequence[Sequence[int]],
    *,
    total_steps: int,
    config: TrainConfig | None = None,
    width: int = WIDTH,
    run_dir: str | Path | None = None,
    workers: int = 0,
    address: str | None = None,
    gpus: float = 0,
    together: bool = False,
    progress: bool = True,
) -> SplitGenerator:
    """Train one AC-GAN a group and return them as one generator, frozen, in eval mode on the CPU.

    Args:
        data: real images of all classes; each member sees those of its group.
        groups: the classes of each member.
        total_steps: of all members together, shared out by `member_steps`.
        config: see TrainConfig; member m trains with seed ``1000 * config.seed + m``.
        width: of the members' networks.
        run_dir: where each member keeps its checkpoint, in a folder ``member-NNN``. With it, a
            second call goes on where the first was stopped; members that were ready are not
            trained again. On a cluster, a folder that all machines share.
        together: train members with as many classes each as one network
            (`acgan_lib.scale.stacked`). A step is the same up to rounding, and quicker where layers
            are small. The engine sees one task a size, whose checkpoint lies in a folder
            ``stack-...``. workers, address, gpus, progress: as in
            `acgan_lib.scale.engine.run_tasks`.

    Raises:
        TasksFailedError: if a member raised, or its worker died too often. The others are trained
            to their end before.
        ValueError: if the groups do not fit the data.
    """
    groups, config = check_groups(groups), config or TrainConfig()
    if sum(map(len, groups)) != data.num_classes:
        raise ValueError(f"groups hold {sum(map(len, groups))} of {data.num_classes} classes")
    tasks = {}
    for m, (group, steps) in enumerate(zip(groups, member_steps(groups, total_steps), strict=True)):
        name = f"member-{m:03d}"
        own = replace(config, seed=1000 * config.seed + m, progress=False)
        folder = expand(run_dir).resolve() / name if run_dir is not None else None
        tasks[name] = MemberTask(of_group(data, group), steps, own, width, folder)
    how: dict[str, Any] = {
        "workers": workers, "address": address, "gpus": gpus, "progress": progress
    }  # fmt: skip
    if not together:
        return assemble(groups, list(run_tasks(tasks, **how).values()), data, width)
    of_shape: dict[str, list[str]] = {}
    for name, task in tasks.items():
        shape = f"stack-{task.data.num_classes}-classes-{task.steps}-steps"
        of_shape.setdefault(shape, []).append(name)
    stacks = {}
    for shape, names in of_shape.items():
        folder = expand(run_dir).resolve() / shape if run_dir is not None else None
        stacks[shape] = StackTask(tuple(tasks[name] for name in names), folder)
    trained = run_tasks(stacks, **how)
    states = {
        name: state
        for shape, names in of_shape.items()
        for name, state in zip(names, trained[shape], strict=True)
    }
    return assemble(groups, [states[name] for name in tasks], data, width)


def assemble(
    groups: Sequence[Sequence[int]],
    states: Sequence[dict[str, Tensor]],
    data: LabelledImages,
    width: int = WIDTH,
) -> SplitGenerator:
    """Build the generator of members whose states are given, in the groups' order."""
    whole = SplitGenerator(groups, data.channels, data.size, width)
    for member, state in zip(whole.members, states, strict=True):
        member.load_state_dict(state)
    return whole.eval().requires_grad_(False)


def save(
    name: str, G: SplitGenerator, folder: Path, *, data: str, config: TrainConfig, total_steps: int
) -> Path:
    """Save a trained split as one checkpoint of `acgan_lib.zoo`: weights, and a manifest."""
    return zoo.ship(
        name,
        G,
        recipe={"objective": objectives.acgan().name, **asdict(config)},
        data=data,
        seed=config.seed,
        steps=total_steps,
        images_seen=total_steps * config.batch_size,
        metrics={},
        command="python -m acgan_lib.scale.splits",
        kwargs=G.kwargs,
        max_bytes=2**34,
        folder=folder,
    )


def main() -> None:
    """Train a split of letters from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m acgan_lib.scale.splits",
        description="Train AC-GANs that share the letters between them, and save them as one.",
    )
    parser.add_argument("--letters", default=LETTERS, help="the classes (A to Z)")
    parser.add_argument("--members", type=int, default=5, help="number of models")
    parser.add_argument("--steps", type=int, default=5_000, help="of all members together")
    parser.add_argument("--batch", type=int, default=25, help="images a step")
    parser.add_argument("--width", type=int, default=WIDTH, help="of the members' networks")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=100, help="steps between two checkpoints")
    parser.add_argument("--workers", type=int, default=0, help="processes; 0: in turn, without Ray")
    parser.add_argument("--address", help="of a Ray cluster, in place of --workers")
    parser.add_argument("--gpus", type=float, default=0, help="of a GPU, for each member")
    parser.add_argument(
        "--together", action="store_true", help="members of one size as one network"
    )
    parser.add_argument("--out", type=Path, default=Path("runs/split"), help="folder of the run")
    a = parser.parse_args()
    data = glyphs("train", a.letters)
    config = TrainConfig(
        batch_size=a.batch, lr_g=1e-3, lr_d=1e-3, seed=a.seed,
        log_every=a.every, checkpoint_every=a.every,
    )  # fmt: skip
    G = train_members(
        data, alphabetical(data.num_classes, a.members), total_steps=a.steps, config=config,
        width=a.width, run_dir=a.out, workers=a.workers, address=a.address, gpus=a.gpus,
        together=a.together,
    )  # fmt: skip
    path = save("split", G, a.out, data=data.source, config=config, total_steps=a.steps)
    print(f"one generator of {G.num_classes} classes in {len(G.groups)} members: {path}")


if __name__ == "__main__":
    # Under its own name, so that the classes are the same ones in every process.
    from acgan_lib.scale import splits

    splits.main()
