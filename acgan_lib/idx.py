"""Data files in MNIST's idx format: found, fetched, compared with what was published, and read.

A file that is truncated, damaged or another one is refused, and left as it is.
"""

from __future__ import annotations

import gzip
import hashlib
import math
import struct
import tempfile
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor

_REPLACE = "It was left as it is: remove it and fetch it again, or name another folder."


def find(names: Sequence[str], folders: Sequence[Path]) -> list[Path] | None:
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


def read(path: Path, sha256: str) -> Tensor:
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


def download_fashion(target: Path, sha256: Mapping[str, str]) -> None:
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
