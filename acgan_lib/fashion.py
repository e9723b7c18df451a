"""FashionMNIST (Xiao, Rasul and Vollgraf 2017, arXiv 1708.07747): all of it, and what ships.

The files are in MNIST's idx format. They are found, or fetched where the reader asks for it,
compared with what was published, and read. One that is truncated, damaged or another one is
refused, and left as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import os
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib._files import cache_dir, data_dir, expand
from acgan_lib.data import LabelledImages, Split

FASHION_CLASSES: tuple[str, ...] = (
    "T-shirt", "Trouser", "Pullover", "Dress", "Coat",
    "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot",
)  # fmt: skip

# SHA-256 of the four files' *content*: the original .gz files and Debian's are packed differently.
_FASHION_SHA256 = {
    "train-images-idx3-ubyte": "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
    "train-labels-idx1-ubyte": "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    "t10k-images-idx3-ubyte": "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
    "t10k-labels-idx1-ubyte": "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
}
_DEBIAN = Path("/usr/share/datasets/fashion-mnist")
_REPLACE = "It was left as it is: remove it and fetch it again, or name another folder."


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
    folders = [_DEBIAN, cache_dir()]
    if named:
        folders.insert(0, expand(named))
    found = _find(names, folders)
    if found is None and download:
        target = folders[0] if named else cache_dir()
        _download(target, _FASHION_SHA256)
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


def _load_fashion(
    paths: Sequence[Path], sha256: Mapping[str, str], size: int, source: str
) -> LabelledImages:
    """Read, check and pad one split from its image file and its label file."""
    images, labels = (_read(path, sha256[path.name.removesuffix(".gz")]) for path in paths)
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


def _read(path: Path, sha256: str) -> Tensor:
    """Read a file in MNIST's idx format, packed (.gz) or not, as uint8 of the shape it states.

    The format: two zero bytes, a type (8 for bytes), the number of axes, each axis's length as a
    big-endian uint32, then exactly the bytes.
    Raises ValueError, naming the file, if it is truncated, too long, or not the one published.
    """
    content = _read_bytes(path)
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
    _check(content, sha256, path)
    # A bytearray, because torch wants memory that it may write to.
    return torch.frombuffer(bytearray(content), dtype=torch.uint8, offset=header).reshape(shape)


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


def _check(content: bytes, expected: str, path: Path) -> None:
    digest = hashlib.sha256(content).hexdigest()
    if digest != expected:
        raise ValueError(
            f"{path} is whole, but not the file that was published: its content's SHA-256 is "
            f"{digest}, not {expected}. {_REPLACE}"
        )


def _download(target: Path, sha256: Mapping[str, str]) -> None:
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
        for name in sha256:
            fetched = Path(work) / "FashionMNIST" / "raw" / f"{name}.gz"
            _check(_read_bytes(fetched), sha256[name], fetched)
            if not (place / fetched.name).exists():
                fetched.replace(place / fetched.name)
