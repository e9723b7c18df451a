"""Labelled image sets, held whole as one uint8 tensor and normalised per batch.

Every loader returns the same thing, a `LabelledImages`, so that training never asks where the
images came from. Sixty thousand 32x32 greyscale images take 61 MB as bytes, so the whole set
lives on the training device and a batch is one `index_select`: no worker processes, no copies.
"""

from __future__ import annotations

import hashlib
import operator
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from acgan_lib import pictures
from acgan_lib._files import expand

Split = Literal["train", "test"]
UNLABELLED = -1  # in a label's place where it is hidden, in the sets of `objectives.semi`


@dataclass(frozen=True, eq=False, repr=False)
class LabelledImages:
    """A whole image set in memory.

    Attributes:
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
    lowest_label: ClassVar[int] = 0

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
        if self.labels.device != self.images.device:
            raise ValueError(
                f"labels are on {self.labels.device}, images on {self.images.device}: use .to()"
            )
        if len(set(self.class_names)) != len(self.class_names):
            raise ValueError(f"class_names must differ from one another: {self.class_names}")
        low, high = self.lowest_label, len(self.class_names) - 1
        if len(self.labels) and not low <= int(self.labels.min()) <= int(self.labels.max()) <= high:
            raise ValueError(
                f"labels must lie in {low}..{high}, as class_names has "
                f"{len(self.class_names)} names, but they span "
                f"{int(self.labels.min())}..{int(self.labels.max())}"
            )

    def __len__(self) -> int:
        return len(self.images)

    def __repr__(self) -> str:
        return (
            f"LabelledImages({self.source}: {len(self):,} images of "
            f"{self.channels}x{self.size}x{self.size}, {self.num_classes} classes)"
        )

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""
        return len(self.class_names)

    @property
    def channels(self) -> int:
        """C of the images, 1 for greyscale and 3 for colour."""
        return self.images.shape[1]

    @property
    def size(self) -> int:
        """H, the side of the square images in pixels."""
        return self.images.shape[2]

    def to(self, device: torch.device | str) -> LabelledImages:
        """Return the same set with its tensors on `device`."""
        return replace(self, images=self.images.to(device), labels=self.labels.to(device))

    def subset(self, index: Tensor) -> LabelledImages:
        """Return the images at `index`, int64 (n,), in that order. Classes may be empty in it."""
        index = index.to(self.images.device)
        return replace(self, images=self.images[index], labels=self.labels[index])

    def of_class(self, k: int) -> LabelledImages:
        """Return the images of class `k`, in their order here. Raises ValueError if no such k."""
        if not 0 <= k < self.num_classes:
            raise ValueError(f"k must lie in 0..{self.num_classes - 1}, not {k}")
        return self.subset(torch.nonzero(self.labels == k).flatten())

    def per_class(self, n: int, seed: int) -> LabelledImages:
        """Return `n` random images of each class, class after class. Same seed, same images.

        Raises ValueError if a class has fewer than `n`.
        """
        return self.subset(rows_per_class(self, [n] * self.num_classes, seed))

    def split(self, share: float, seed: int) -> tuple[LabelledImages, LabelledImages]:
        """Return a `share` of each class, drawn at random, and the rest: to train on, and to test.

        Both have an image of each class at least, in their order here. Same seed, same parts.

        Raises ValueError unless 0 < share < 1, each image has a label, and each class two images.
        """
        if not 0 < share < 1:
            raise ValueError(f"share must lie between 0 and 1, not {share}")
        if len(self) and int(self.labels.min()) < 0:
            raise ValueError("split needs every label: split the set first, then hide labels")
        counts = torch.bincount(self.labels, minlength=self.num_classes).tolist()
        for name, n in zip(self.class_names, counts, strict=True):
            if n < 2:
                raise ValueError(f"class {name} has {n} of the 2 images or more that split needs")
        kept = [min(max(round(share * n), 1), n - 1) for n in counts]
        first = torch.zeros(len(self), dtype=torch.bool)
        first[rows_per_class(self, kept, seed)] = True
        train, test = (self.subset(torch.nonzero(part).flatten()) for part in (first, ~first))
        source = f"{self.source}, split at {share:g} with seed {seed}"
        return replace(train, source=f"{source}: first"), replace(test, source=f"{source}: rest")

    def normalised(self, index: Tensor | None = None) -> Tensor:
        """Return float32 (n, C, H, W) in [-1, 1]: byte 0 becomes -1, byte 255 becomes 1.

        `index`, int64 (n,), chooses images; without it all are returned, at four bytes a value.
        """
        if index is None:
            chosen = self.images
        else:
            chosen = self.images.index_select(0, index.to(self.images.device))
        return chosen.float().div_(127.5).sub_(1)

    def fingerprint(self) -> str:
        """Return a line that other images or labels would not have: SHA-256 over both."""
        digest = hashlib.sha256()
        for part in (self.images, self.labels):
            digest.update(str(tuple(part.shape)).encode())
            digest.update(part.cpu().contiguous().numpy().data)
        return f"{len(self):,} images, SHA-256 {digest.hexdigest()[:16]}"

    def batch(
        self, step: int, batch_size: int, seed: int, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Return the batch of `step`, from 0: x float32 (n, C, H, W) in [-1, 1], y int64 (n,).

        A pure function of its arguments, so that a resumed training sees the same batches. Each
        epoch is a permutation of the set, drawn on the CPU from (seed, epoch) and therefore the
        same on every device; the tail that does not fill a batch is dropped. `rows` asks for a part
        of the batch, as one of several processes does.
        Raises ValueError if `batch_size` is larger than the set, or `step` is negative.
        """
        if not 1 <= batch_size <= len(self):
            raise ValueError(f"batch_size must lie in 1..{len(self)} (the set), not {batch_size}")
        if step < 0:
            raise ValueError(f"step must be 0 or more, not {step}")
        epoch, position = divmod(step, len(self) // batch_size)
        order = _epoch_order(len(self), seed, epoch, self.images.device)
        index = order[position * batch_size : (position + 1) * batch_size][rows]
        return self.normalised(index), self.labels.index_select(0, index)


def rows_per_class(data: LabelledImages, counts: Sequence[int], seed: int) -> Tensor:
    """Return the rows of counts[k] random images of each class k, int64 (sum of counts,).

    They come class after class; a larger count keeps the rows of a smaller one, and adds some.

    Raises ValueError if a class has fewer images.
    """
    generator = torch.Generator().manual_seed(seed)
    labels = data.labels.cpu()
    chosen = []
    for k, (name, n) in enumerate(zip(data.class_names, counts, strict=True)):
        rows = torch.nonzero(labels == k).flatten()
        if len(rows) < n:
            raise ValueError(f"n = {n}, but class {k} ({name}) has only {len(rows)} images")
        chosen.append(rows[torch.randperm(len(rows), generator=generator)[:n]])
    return torch.cat(chosen)


@lru_cache(maxsize=4)
def _epoch_order(n: int, seed: int, epoch: int, device: torch.device) -> Tensor:
    """Return the permutation of 0..n-1 of one epoch, int64 (n,) on `device`.

    The cache saves drawing it anew for each batch. It holds nothing that the arguments do not
    determine, so it cannot be seen from outside; callers only read from the tensor.
    """
    digest = hashlib.sha256(f"{seed} {epoch}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:8], "big", signed=True))
    return torch.randperm(n, generator=generator).to(device)


def to_uint8(images: Tensor) -> Tensor:
    """Return images in [-1, 1] as uint8 in [0, 255], rounded, on the CPU; uint8 passes.

    Raises:
        ValueError: if a value is outside [-1, 1] (by more than rounding) or NaN.
    """
    if images.dtype == torch.uint8:
        return images.cpu()
    images = images.detach().float().cpu()
    if images.numel() and not bool((images.abs() <= 1 + 1e-3).all()):
        raise ValueError("images must lie in [-1, 1]; divide pixel values by 127.5, minus 1")
    return ((images + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)


def image_folder(path: str | Path, size: int = 32, channels: Literal[1, 3] = 3) -> LabelledImages:
    """Return your own images: each subfolder of `path` is a class, named after the folder.

    Classes are numbered in natural order of their names: "2" comes before "10". Files in folders
    further down count too, and links are followed. Each image is turned as its EXIF or XMP data
    says, laid on white where it is transparent, cut to its central square and resized with
    antialiasing. Of an animation the first frame counts. Hidden files are ignored; other files
    that are no images, broken links and images beside the class folders are counted in one
    warning. Another warns if no class folder has an image of its own: `path` may then be one
    level too high. See `from_torchvision` for a data set of torchvision.

    Args:
        path: the folder.
        size: side of the images in pixels. The networks take 32, 64 and 128.
        channels: 1 for greyscale, 3 for RGB.

    Raises:
        FileNotFoundError: `path` is not a folder.
        ValueError: no class, a class without an image, an image that cannot be read (its name is
            in the message), or a wrong argument.
    """
    _check_form(size, channels)
    found = pictures.class_folders(path)
    images = pictures.read_all([file for files in found.values() for file in files], size, channels)
    counts = torch.tensor([len(files) for files in found.values()])
    labels = torch.arange(len(found)).repeat_interleave(counts)
    return LabelledImages(images, labels, tuple(found), f"folder {expand(path).resolve().name}")


def from_torchvision(dataset: Any, size: int = 32, channels: Literal[1, 3] = 3) -> LabelledImages:
    """Return a data set of torchvision, or one like it, held whole in memory.

    Its items are a PIL image and a class number, as those of ``ImageFolder`` or ``CIFAR10``
    without a ``transform`` are. Images are cut, resized and laid on white as in `image_folder`.
    Class names are the data set's ``classes``; without them, the numbers from 0.

    Args:
        dataset: has a length, and items by index.
        size: side of the images in pixels. The networks take 32, 64 and 128.
        channels: 1 for greyscale, 3 for RGB.

    Raises:
        TypeError: it has no length.
        ValueError: no item, an item of another kind, or a wrong argument.
    """
    _check_form(size, channels)
    images = torch.empty(len(dataset), channels, size, size, dtype=torch.uint8)
    labels = torch.empty(len(dataset), dtype=torch.int64)
    for i in range(len(dataset)):
        item = dataset[i]
        try:
            image, label = item
            images[i] = pictures.square(image, size, channels)
            labels[i] = operator.index(label)
        except (AttributeError, TypeError, ValueError) as error:
            raise ValueError(
                f"dataset[{i}] must be a PIL image and a class number: leave the data set's "
                f"transform out ({error})"
            ) from error
    if not len(labels):
        raise ValueError("dataset has no items")
    names = getattr(dataset, "classes", range(int(labels.max()) + 1))
    source = f"{type(dataset).__name__} of torchvision"
    return LabelledImages(images, labels, tuple(map(str, names)), source)


def _check_form(size: int, channels: int) -> None:
    if channels not in (1, 3) or size < 1:
        raise ValueError(f"channels must be 1 or 3 and size positive, not {channels} and {size}")
