"""Labelled image sets, held whole as one uint8 tensor and normalised per batch.

Every loader returns the same thing, a `LabelledImages`, so that training never asks where the
images came from. Sixty thousand 32x32 greyscale images take 61 MB as bytes, so the whole set
lives on the training device and a batch is one `index_select`: no worker processes, no copies.
"""

from __future__ import annotations

import csv
import gzip
import hashlib
import io
import json
import math
import os
import struct
import tempfile
import warnings
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageOps
from torch import Tensor

from acgan_lib._files import data_dir

Split = Literal["train", "test"]
UNLABELLED = -1  # in a label's place where it is hidden; see PartlyLabelled

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

# SHA-256 of the four files' *content*: the original .gz files and Debian's are packed differently.
_FASHION_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_IMAGE_SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)


@dataclass(frozen=True, eq=False, repr=False)
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
        return self.subset(_rows_per_class(self, n, seed))

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


@dataclass(frozen=True, eq=False, repr=False)
class PartlyLabelled(LabelledImages):
    """Images of which some have no label: theirs is UNLABELLED.

    A type of its own, so that an ordinary set still refuses a -1 that came in by mistake. Train
    on it with `objectives.semi`.
    """

    lowest_label: ClassVar[int] = UNLABELLED

    def labelled(self) -> LabelledImages:
        """Return the images with a label, in their order here, as an ordinary set."""
        rows = torch.nonzero(self.labels != UNLABELLED).flatten()
        return LabelledImages(
            self.images[rows], self.labels[rows], self.class_names, f"{self.source}, those alone"
        )

    def repeated(self, share: float) -> PartlyLabelled:
        """Return the set with its labelled images repeated until they are a `share` of it.

        Ten labels among 60,000 would else be met once in an epoch. The share is met as nearly as
        whole repeats can, and a set that has it already comes back as it is.

        Raises ValueError unless 0 <= share < 1 and, for a share above 0, an image has a label.
        """
        rows = torch.nonzero(self.labels != UNLABELLED).flatten()
        if not 0 <= share < 1 or (share and not len(rows)):
            raise ValueError(
                f"share must lie in [0, 1), and {len(rows)} of {len(self)} images have a label"
            )
        hidden = len(self) - len(rows)
        times = round(share / (1 - share) * hidden / max(len(rows), 1))
        if times <= 1:
            return self
        every = torch.arange(len(self), device=rows.device)
        index = torch.cat([every, rows.repeat(times - 1)])
        return replace(self, images=self.images[index], labels=self.labels[index])


def hide_labels(data: LabelledImages, keep: int, seed: int) -> PartlyLabelled:
    """Return all of the images in their order, with the labels of `keep` random ones a class.

    The same seed keeps the same labels, and a larger `keep` keeps those and more.

    Raises ValueError if `keep` is negative or a class has fewer images.
    """
    if keep < 0:
        raise ValueError(f"keep must be 0 or more, not {keep}")
    rows = _rows_per_class(data, keep, seed).to(data.labels.device)
    labels = torch.full_like(data.labels, UNLABELLED)
    labels[rows] = data.labels[rows]
    source = f"{data.source}, labels of {keep} a class"
    return PartlyLabelled(data.images, labels, data.class_names, source)


def _rows_per_class(data: LabelledImages, n: int, seed: int) -> Tensor:
    """Return the rows of `n` random images of each class, int64 (K * n,), class after class."""
    generator = torch.Generator().manual_seed(seed)
    labels = data.labels.cpu()
    chosen = []
    for k, name in enumerate(data.class_names):
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


def fashion_mnist(
    split: Split = "train",
    root: str | Path | None = None,
    download: bool = False,
    size: int = 32,
) -> LabelledImages:
    """Return all of FashionMNIST's training (60,000) or test (10,000) images.

    Args:
        split: "train" or "test".
        root: a folder with the four idx files, packed (.gz) or not, or a folder that torchvision
            filled. Without it, the environment variable ACGAN_DATA names the folder.
        download: fetch the files with torchvision if no folder has them, into `root`, or into the
            user's cache folder if there is no root. 30 MB. Files that are there are kept.
        size: side of the images in pixels. The 28x28 originals are padded with background.

    The folders searched are, in this order: `root`, Debian's `dataset-fashion-mnist`, the cache.
    Whatever the folder, the content's SHA-256 is checked, so the images are always the same.

    Raises:
        FileNotFoundError: no folder has the files; the message lists what to do.
        ValueError: a file is truncated, damaged or not FashionMNIST, or an argument is wrong.

    Source: Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747; MIT licence.
    """
    names = _file_names(split)
    named = root or os.environ.get("ACGAN_DATA")
    folders = [_DEBIAN, _cache_dir()]
    if named:
        folders.insert(0, Path(named).expanduser())
    found = _find(names, folders)
    if found is None and download:
        target = folders[0] if named else _cache_dir()
        _download(target)
        found = _find(names, [target])
    if found is None:
        raise FileNotFoundError(_advice(names, folders))
    return _load_fashion(found, _FASHION_SHA256, size, f"FashionMNIST {split}")


def fashion_mini(split: Split = "train") -> LabelledImages:
    """Return the part of FashionMNIST that ships with the book, at 32x32.

    1,000 training or 200 test images of each class, chosen by tools/make_fashion_mini.py. It
    needs no network and no package, and is the same on every machine.

    Raises:
        FileNotFoundError: the folder data/fashion_mini is incomplete.
        ValueError: a file in it is damaged, or `split` is neither "train" nor "test".
    """
    folder = data_dir() / "fashion_mini"
    paths = [folder / f"{name}.gz" for name in _file_names(split)]
    for path in (*paths, folder / "manifest.json"):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: in a clone, `git checkout data/fashion_mini` brings it back; "
                "otherwise install acgan_lib again"
            )
    files = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))["files"]
    expected = {name: entry["content_sha256"] for name, entry in files.items()}
    return _load_fashion(paths, expected, 32, f"fashion_mini {split}")


def _file_names(split: str) -> tuple[str, str]:
    """Return the names, without .gz, of a split's image and label files."""
    prefixes = {"train": "train", "test": "t10k"}
    if split not in prefixes:
        raise ValueError(f'split must be "train" or "test", not {split!r}')
    return f"{prefixes[split]}-images-idx3-ubyte", f"{prefixes[split]}-labels-idx1-ubyte"


def _cache_dir() -> Path:
    """Return the folder for downloads of which the reader did not say where they go."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "acgan_lib"


def _find(names: Sequence[str], folders: Sequence[Path]) -> list[Path] | None:
    """Return the paths of all `names` in the first folder, or torchvision's below it, with all."""
    for folder in folders:
        for place in (folder, folder / "FashionMNIST" / "raw"):
            paths = [_packed_or_not(place / name) for name in names]
            if all(path.is_file() for path in paths):
                return paths
    return None


def _packed_or_not(path: Path) -> Path:
    """Prefer the .gz: torchvision checks that, but not what a killed run unpacked from it."""
    packed = path.with_name(f"{path.name}.gz")
    return packed if packed.is_file() else path


def _advice(names: Sequence[str], folders: Sequence[Path]) -> str:
    searched = ", ".join(str(folder) for folder in folders)
    return (
        f"FashionMNIST's files {names[0]}.gz and {names[1]}.gz are not (both) in any of these "
        f"folders: {searched}. One of these helps:\n"
        "  - name the folder that has them: fashion_mnist(root=...), or set ACGAN_DATA;\n"
        "  - on Debian and Ubuntu: sudo apt install dataset-fashion-mnist;\n"
        "  - download them, 30 MB: fashion_mnist(download=True), which needs torchvision.\n"
        "Or use the small part that ships with the book: fashion_mini()."
    )


def _download(target: Path) -> None:
    """Fetch the four .gz files with torchvision into target/FashionMNIST/raw.

    torchvision writes to the final name while it downloads, takes any unpacked file for complete,
    and overwrites a .gz that fails its check. So it works in a temporary folder here, and only
    complete files whose names are still free are moved out of it.
    """
    try:
        from torchvision.datasets import FashionMNIST
    except ImportError as error:
        raise ModuleNotFoundError("download=True needs torchvision: pip install it") from error
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target) as work:
        try:
            FashionMNIST(work, download=True)
        except (OSError, RuntimeError) as error:
            raise RuntimeError(
                f"FashionMNIST could not be downloaded ({error}). Try again, or use fashion_mini()."
            ) from error
        place = target / "FashionMNIST" / "raw"
        place.mkdir(parents=True, exist_ok=True)
        for name in _FASHION_SHA256:
            fetched = Path(work) / "FashionMNIST" / "raw" / f"{name}.gz"
            _check_sha256(_read_bytes(fetched), _FASHION_SHA256[name], fetched)
            if not (place / fetched.name).exists():
                fetched.replace(place / fetched.name)


def _load_fashion(
    paths: Sequence[Path], sha256: Mapping[str, str], size: int, source: str
) -> LabelledImages:
    """Read, check and pad one split from its image file and its label file."""
    pair = []
    for path in paths:
        content = _read_bytes(path)
        pair.append(_parse_idx(content, path))
        _check_sha256(content, sha256[path.name.removesuffix(".gz")], path)
    images, labels = pair
    if images.ndim != 3 or labels.ndim != 1:
        raise ValueError(f"{paths[0]} and {paths[1]} must hold (N, H, W) and (N,) bytes")
    return _with_every_class(
        LabelledImages(pad(images[:, None], size), labels.long(), FASHION_CLASSES, source)
    )


def pad(images: Tensor, size: int) -> Tensor:
    """Return uint8 (n, C, H, H) images centred on a black (0) background of `size` x `size`.

    Raises ValueError if `size` is less than H, or would leave unequal margins.
    """
    margin, odd = divmod(size - images.shape[-1], 2)
    if margin < 0 or odd:
        raise ValueError(
            f"size must be {images.shape[-1]} plus an even number of pixels, such as "
            f"{images.shape[-1] + 4}, not {size}"
        )
    return F.pad(images, (margin, margin, margin, margin))


def _with_every_class(data: LabelledImages) -> LabelledImages:
    """Return `data`, or raise ValueError if one of its classes has no image."""
    counts = torch.bincount(data.labels, minlength=data.num_classes).tolist()
    empty = [name for name, count in zip(data.class_names, counts, strict=True) if not count]
    if empty:
        raise ValueError(f"{data.source} has no image of: {', '.join(empty)}")
    return data


def read_idx(path: str | Path) -> Tensor:
    """Read a file in MNIST's idx format, packed (.gz) or not, as uint8 of the shape it states.

    The format: two zero bytes, a type (8 for bytes), the number of axes, each axis's length as a
    big-endian uint32, then exactly the bytes.
    Raises ValueError, naming the file, if it is truncated, too long, or not such a file.
    """
    path = Path(path)
    return _parse_idx(_read_bytes(path), path)


def _read_bytes(path: Path) -> bytes:
    """Return a file's bytes, unpacked if its name ends in .gz."""
    content = path.read_bytes()
    if path.suffix != ".gz":
        return content
    try:
        return gzip.decompress(content)
    except (EOFError, OSError, zlib.error) as error:
        raise ValueError(
            f"{path} ({len(content):,} bytes) is truncated or damaged: {error}. {_REPLACE}"
        ) from error


_REPLACE = "It was left as it is: remove it and fetch it again, or name another folder."


def _parse_idx(content: bytes, path: Path) -> Tensor:
    if len(content) < 4 or content[:3] != b"\0\0\x08" or not 1 <= content[3] <= 4:
        raise ValueError(
            f"{path} is not an idx file of bytes: it starts with {content[:4].hex(' ')!r}, "
            f"not with '00 00 08' and 1 to 4 axes. {_REPLACE}"
        )
    header = 4 + 4 * content[3]
    if len(content) < header:
        raise ValueError(f"{path} is truncated: it ends within its header. {_REPLACE}")
    shape = struct.unpack(f">{content[3]}I", content[4:header])
    if len(content) - header != math.prod(shape) or 0 in shape:
        raise ValueError(
            f"{path} is truncated or damaged: its header promises {' x '.join(map(str, shape))} "
            f"bytes, but {len(content) - header:,} follow. {_REPLACE}"
        )
    # A bytearray, because torch wants memory that it may write to.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).reshape(shape)


def _check_sha256(content: bytes, expected: str, path: Path) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(
            f"{path} is whole, but not the file that was published: its content's SHA-256 is "
            f"{digest}, not {expected}. {_REPLACE}"
        )


def image_folder(path: str | Path, size: int = 32, channels: Literal[1, 3] = 3) -> LabelledImages:
    """Return your own images: each subfolder of `path` is a class, named after the folder.

    Classes are numbered in the order of their names. Files in folders further down count too.
    Each image is turned as its EXIF data says, laid on white where it is transparent, cut to its
    central square and resized with antialiasing. Hidden files are ignored; other files that are
    not images by their suffix are ignored with a warning.

    Args:
        path: the folder.
        size: side of the images in pixels; the fast networks take 32.
        channels: 1 for greyscale, 3 for RGB.

    Raises:
        FileNotFoundError: `path` is not a folder.
        ValueError: no class, a class without an image, an image that cannot be read (its name is
            in the message), or a wrong argument.
    """
    path = Path(path).expanduser()
    if not path.is_dir():
        raise FileNotFoundError(f"path must be a folder of class folders, but {path} is none")
    if channels not in (1, 3) or size < 1:
        raise ValueError(f"channels must be 1 or 3 and size positive, not {channels} and {size}")
    names = sorted(p.name for p in path.iterdir() if p.is_dir() and not p.name.startswith("."))
    if not names:
        raise ValueError(f"{path} has no subfolders: put each class's images in one of its own")
    files = [_image_files(path / name) for name in names]
    flat = [file for of_class in files for file in of_class]
    images = torch.empty(len(flat), channels, size, size, dtype=torch.uint8)
    with ThreadPoolExecutor() as pool:  # Pillow lets other threads run while it decodes
        for i, image in enumerate(pool.map(lambda f: _read_image(f, size, channels), flat)):
            images[i] = image
    counts = torch.tensor([len(of_class) for of_class in files])
    labels = torch.arange(len(names)).repeat_interleave(counts)
    return LabelledImages(images, labels, tuple(names), f"folder {path.name}")


def _image_files(folder: Path) -> list[Path]:
    """Return a class's image files, sorted. Raises ValueError if there are none."""
    files = [
        file
        for file in sorted(folder.rglob("*"))
        if file.is_file() and not any(p.startswith(".") for p in file.relative_to(folder).parts)
    ]
    images = [file for file in files if file.suffix.lower() in _IMAGE_SUFFIXES]
    others = sorted({file.suffix or file.name for file in files} - {f.suffix for f in images})
    if not images:
        seen = f"only {', '.join(others)}" if others else "nothing"
        raise ValueError(
            f"class folder {folder} has no image, {seen}: add some, or remove the folder. "
            f"Images end in {', '.join(sorted(_IMAGE_SUFFIXES))}"
        )
    if others:
        warnings.warn(
            f"{len(files) - len(images)} files in {folder} are not images and were ignored: "
            f"{', '.join(others)}",
            stacklevel=3,
        )
    return images


def _read_image(file: Path, size: int, channels: int) -> Tensor:
    """Return one image file as uint8 (channels, size, size)."""
    try:
        with Image.open(file) as opened:
            # A JPEG can be decoded at an eighth of its size or more: a photograph of 6 megapixels
            # then takes 14 ms instead of 80, and moves by a sixteenth of a final pixel at most.
            opened.draft(None, (8 * size, 8 * size))
            image = _flatten(ImageOps.exif_transpose(opened))
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"{file} cannot be read as an image: {error}") from error
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).reshape(size, size, channels).permute(2, 0, 1)


def _flatten(image: Image.Image) -> Image.Image:
    """Return an image of 8-bit channels without transparency."""
    if image.mode.startswith("I;16"):
        # Pillow's own conversion cuts values off at 255 instead of scaling them.
        return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its values are of mode {image.mode}: save it with 8 bits a channel")
    if not image.has_transparency_data:
        return image
    image = image.convert("RGBA")
    white = Image.new("RGBA", image.size, "white")
    return Image.alpha_composite(white, image)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FACTORS = ("weight", "width", "slant", "serif", "stem", "letter_width")


@dataclass(frozen=True, eq=False, repr=False)
class Glyphs(LabelledImages):
    """Letters of many typefaces, with their style in numbers.

    factors: float32 (N, 6), columns FACTORS. The font's own axis values: weight (100..1000) and
        width (25..200), NaN where a font has no such axis; slant in degrees; serif, 1 or 0.
        Measured on the typeface's letters: stem (the stroke of H over its height) and
        letter_width (of O, over its height).
    typeface: int64 (N,), a row of data/glyphs/typefaces.csv; equal for letters of one style.
    """

    factors: Tensor
    typeface: Tensor

    def factor(self, name: str) -> Tensor:
        """Return one column of the factors, float32 (N,). Raises ValueError if no such name."""
        if name not in FACTORS:
            raise ValueError(f"no factor {name!r}; there are {', '.join(FACTORS)}")
        return self.factors[:, FACTORS.index(name)]

    def to(self, device: torch.device | str) -> Glyphs:
        """Return the same set with its tensors on `device`."""
        moved = {name: getattr(self, name).to(device) for name in _GLYPH_TENSORS}
        return replace(self, **moved)

    def subset(self, index: Tensor) -> Glyphs:
        """Return the images at `index`, int64 (n,), in that order. Classes may be empty in it."""
        index = index.to(self.images.device)
        return replace(self, **{name: getattr(self, name)[index] for name in _GLYPH_TENSORS})


_GLYPH_TENSORS = ("images", "labels", "factors", "typeface")


def glyphs(
    split: Split = "train", letters: str = "ABCDEFGHIJ", size: Literal[16, 32, 64] = 32
) -> Glyphs:
    """Return capital letters drawn with open variable fonts: class = letter, style = typeface.

    About 1,200 typefaces of 29 families to train on and 274 of 8 *other families* to test on, so
    that test styles are new. Ink is 255 on paper 0. Letter after letter, each in every typeface,
    in one order: row ``k * T + t`` is letter k in the split's typeface t, of T.

    Args:
        split: "train" or "test".
        letters: which capitals; class k is letters[k].
        size: side in pixels; below the stored 64, blocks of pixels are averaged.

    Raises:
        FileNotFoundError: the folder data/glyphs is incomplete.
        ValueError: a file in it is damaged, or an argument is wrong.

    Source: tools/make_glyphs.py; fonts under the OFL 1.1, listed in data/glyphs/LICENCES.md.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if size not in (16, 32, 64):
        raise ValueError(f"size must be 16, 32 or 64, not {size}")
    if not letters or len(set(letters)) != len(letters) or not set(letters) <= set(LETTERS):
        raise ValueError(f"letters must be different capitals A to Z, not {letters!r}")
    content = {name: _glyph_file(name) for name in ("glyphs.npz", "typefaces.csv")}
    with np.load(io.BytesIO(content["glyphs.npz"]), allow_pickle=False) as stored:
        packed = stored["pictures"]  # (typefaces, 26, 64, 32): two grey levels of 0..15 a byte
    rows = list(csv.DictReader(io.StringIO(content["typefaces.csv"].decode())))
    chosen = [i for i, row in enumerate(rows) if row["split"] == split]
    picked = packed[np.ix_(chosen, [LETTERS.index(letter) for letter in letters])]
    levels = torch.from_numpy(np.stack([picked >> 4, picked & 15], axis=-1)).flatten(-2)
    ink = levels.transpose(0, 1).flatten(0, 1).unsqueeze(1).float() * 17
    images = F.avg_pool2d(ink, 64 // size).round().to(torch.uint8)
    table = [[float(rows[i][name] or "nan") for name in FACTORS] for i in chosen]
    return Glyphs(
        images,
        torch.arange(len(letters)).repeat_interleave(len(chosen)),
        tuple(letters),
        f"glyphs {split}, {letters} at {size} px",
        torch.tensor(table).repeat(len(letters), 1),
        torch.tensor(chosen).repeat(len(letters)),
    )


def _glyph_file(name: str) -> bytes:
    """Return a file of data/glyphs after comparing its SHA-256 with the manifest's."""
    folder = data_dir() / "glyphs"
    for path in (folder / name, folder / "manifest.json"):
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} is missing: in a clone, `git checkout data/glyphs` brings it back; "
                "otherwise install acgan_lib again"
            )
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    content = (folder / name).read_bytes()
    if hashlib.sha256(content).hexdigest() != manifest["files"][name]["sha256"]:
        raise ValueError(
            f"{folder / name} is damaged or was changed: its SHA-256 is not the manifest's. In a "
            "clone, `git checkout data/glyphs` brings it back"
        )
    return content
