"""Make data/fashion_mini from the full FashionMNIST: `python tools/make_fashion_mini.py`.

The choice of rows depends on no random generator, so any language and any library version can
repeat it: within a class, the rows with the smallest SHA-256 of the text "SEED/SPLIT/ROW" are
taken, and stand in their original order. The files are idx files like the originals.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import json
import struct
from pathlib import Path

import torch
from torch import Tensor

from acgan_lib.data import LabelledImages, Split
from acgan_lib.fashion import FASHION_CLASSES, fashion_mnist

SEED = 0
PER_CLASS: dict[Split, int] = {"train": 1000, "test": 200}
PREFIX: dict[Split, str] = {"train": "train", "test": "t10k"}
HERE = Path(__file__).resolve().parent.parent / "data" / "fashion_mini"


def main() -> None:
    """Write the four .gz files and their manifest into a folder, each file in one step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--root", help="folder of the full FashionMNIST")
    parser.add_argument("--out", type=Path, default=HERE)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    files = {}
    for split, n in PER_CLASS.items():
        full = fashion_mnist(split, root=arguments.root, size=28)
        rows = choose_rows(full.labels, n, split)
        for name, content in contents(full.subset(rows), PREFIX[split]).items():
            files[name] = write(arguments.out / f"{name}.gz", content)
    manifest = {
        "name": "fashion_mini",
        "source": "FashionMNIST (Xiao, Rasul and Vollgraf 2017), Zalando SE, MIT licence",
        "made_by": "tools/make_fashion_mini.py",
        "seed": SEED,
        "images_per_class": PER_CLASS,
        "class_names": FASHION_CLASSES,
        "files": files,
    }
    text = json.dumps(manifest, indent=2) + "\n"
    replace(arguments.out / "manifest.json", text.encode())


def choose_rows(labels: Tensor, n: int, split: str) -> Tensor:
    """Return `n` rows of each class, int64 (n * K,), ascending."""
    chosen: list[int] = []
    for k in range(len(FASHION_CLASSES)):
        rows = torch.nonzero(labels == k).flatten().tolist()
        chosen += sorted(rows, key=lambda row: sha256(f"{SEED}/{split}/{row}".encode()))[:n]
    return torch.tensor(sorted(chosen))


def contents(data: LabelledImages, prefix: str) -> dict[str, bytes]:
    """Return the bytes of the image file and of the label file, by name."""
    images = data.images.squeeze(1)
    labels = data.labels.to(torch.uint8)
    return {
        f"{prefix}-images-idx3-ubyte": idx(images),
        f"{prefix}-labels-idx1-ubyte": idx(labels),
    }


def idx(array: Tensor) -> bytes:
    """Return uint8 of any shape in the idx format."""
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return header + array.contiguous().numpy().tobytes()


def write(path: Path, content: bytes) -> dict[str, object]:
    """Pack bytes, with no name or time in the header, so that they are the same next time.

    Another build of zlib may pack them differently: then only content_sha256 stays the same.
    """
    buffer = io.BytesIO()
    with gzip.GzipFile("", "wb", compresslevel=9, fileobj=buffer, mtime=0) as stream:
        stream.write(content)
    packed = buffer.getvalue()
    replace(path, packed)
    return {
        "bytes": len(packed),
        "sha256": sha256(packed),
        "content_bytes": len(content),
        "content_sha256": sha256(content),
    }


def replace(path: Path, content: bytes) -> None:
    """Write a file under a temporary name first, so that it is never there in part."""
    partial = path.with_name(f"{path.name}.partial")
    partial.write_bytes(content)
    partial.replace(path)


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
