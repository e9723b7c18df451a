"""Labelled image sets, held whole as one uint8 tensor and normalised per batch.

Every loader returns the same thing, a `LabelledImages`, so that training never asks where the
images came from. Sixty thousand 32x32 greyscale images take 61 MB as bytes, so the whole set
lives on the training device and a batch is one `index_select`: no worker processes, no copies.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

Split = Literal["train", "test"]

FASHION_CLASSES: tuple[str, ...] = (
    "T-shirt",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
)


@dataclass(frozen=True)
class LabelledImages:
    """A whole image set in memory.

    images: uint8 (N, C, H, W) with H == W, values 0..255.
    labels: int64 (N,), values 0..K-1.
    class_names: K names; class k is called class_names[k].
    source: one line that says where the images came from.

    Raises ValueError, naming the argument, if the parts do not fit together.
    """

    images: Tensor
    labels: Tensor
    class_names: tuple[str, ...]
    source: str

    def __post_init__(self) -> None:
        if self.images.dtype != torch.uint8:
            raise ValueError(f"images must be uint8 with values 0..255, not {self.images.dtype}")
        if self.images.ndim != 4 or self.images.shape[2] != self.images.shape[3]:
            raise ValueError(
                f"images must have shape (N, C, H, W) with H == W, not {tuple(self.images.shape)}"
            )
        if self.labels.dtype != torch.int64:
            raise ValueError(f"labels must be int64, not {self.labels.dtype}: use labels.long()")
        if self.labels.shape != (len(self.images),):
            raise ValueError(
                f"labels must have shape ({len(self.images)},), one for each image, "
                f"not {tuple(self.labels.shape)}"
            )
        if len(self.labels) and not 0 <= int(self.labels.min()) <= int(self.labels.max()) < len(
            self.class_names
        ):
            raise ValueError(
                f"labels must lie in 0..{len(self.class_names) - 1}, as class_names has "
                f"{len(self.class_names)} names, but they span "
                f"{int(self.labels.min())}..{int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.images)

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """C: 1 for greyscale, 3 for colour."""
        return self.images.shape[1]

    @property
    def size(self) -> int:
        """H, the side of the square images in pixels."""
        return self.images.shape[2]

    def to(self, device: torch.device | str) -> LabelledImages:
        """Return the same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, index: Tensor) -> LabelledImages:
        """Return the images at `index`, int64 (n,). Some classes may be empty in it."""
        index = index.to(self.images.device)
        return replace(self, images=self.images[index], labels=self.labels[index])

    def of_class(self, k: int) -> LabelledImages:
        """Return the images of class `k`, in their order here."""
        return self.subset(torch.nonzero(self.labels == k).flatten())

    def per_class(self, n: int, seed: int) -> LabelledImages:
        """Return `n` random images of each class, class after class. Same seed, same images.

        Raises ValueError if a class has fewer than `n`.
        """
        generator = torch.Generator().manual_seed(seed)
        labels = self.labels.cpu()
        chosen = []
        for k, name in enumerate(self.class_names):
            rows = torch.nonzero(labels == k).flatten()
            if len(rows) < n:
                raise ValueError(f"n = {n}, but class {k} ({name}) has only {len(rows)} images")
            chosen.append(rows[torch.randperm(len(rows), generator=generator)[:n]])
        return self.subset(torch.cat(chosen))

    def normalised(self, index: Tensor | None = None) -> Tensor:
        """Return float32 (n, C, H, W) in [-1, 1]: 0 becomes -1 and 255 becomes 1."""
        chosen = self.images if index is None else self.images[index]
        return chosen.float() / 127.5 - 1

    def batch(self, step: int, batch_size: int, seed: int) -> tuple[Tensor, Tensor]:
        """Return the batch of `step` (from 0): x float32 (n, C, H, W) in [-1, 1], y int64 (n,).

        A pure function of its arguments, so a resumed training sees the same batches. Each epoch
        is a permutation of the set, drawn on the CPU from (seed, epoch) and therefore the same on
        every device; the tail that does not fill a batch is dropped.
        Raises ValueError if `batch_size` is larger than the set.
        """
        if not 1 <= batch_size <= len(self):
            raise ValueError(f"batch_size must lie in 1..{len(self)} (the set), not {batch_size}")
        epoch, position = divmod(step, len(self) // batch_size)
        order = _epoch_order(len(self), seed, epoch, self.images.device)
        index = order[position * batch_size : (position + 1) * batch_size]
        x = self.images.index_select(0, index)
        return x.float().div_(127.5).sub_(1), self.labels.index_select(0, index)


@lru_cache(maxsize=4)
def _epoch_order(n: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """Return the permutation of 0..n-1 of one epoch, int64 (n,) on `device`."""
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.randperm(n, generator=generator).to(device)


def fashion_mnist(
    split: Split = "train",
    root: str | Path | None = None,
    download: bool = False,
    size: int = 32,
) -> LabelledImages:
    folder = Path(root or os.environ.get("ACGAN_DATA") or "/usr/share/datasets/fashion-mnist")
    prefix = {"train": "train", "test": "t10k"}[split]
    x = gzip.decompress((folder / f"{prefix}-images-idx3-ubyte.gz").read_bytes())
    y = gzip.decompress((folder / f"{prefix}-labels-idx1-ubyte.gz").read_bytes())
    images = torch.frombuffer(bytearray(x[16:]), dtype=torch.uint8).reshape(-1, 1, 28, 28)
    labels = torch.frombuffer(bytearray(y[8:]), dtype=torch.uint8).long()
    images = torch.nn.functional.pad(images, [(size - 28) // 2] * 4)
    return LabelledImages(images, labels, FASHION_CLASSES, f"FashionMNIST {split}, {folder}")
