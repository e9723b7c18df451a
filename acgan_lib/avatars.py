"""Avatars: ten kinds of drawn face in colour, whose true distribution is known.

Ground, skin and hair colour are drawn uniformly and independently from palettes that all ten
kinds share, so the same face can be drawn in each kind. `avatars` loads what ships with the book,
`drawn` a larger set that `make avatars` drew, `paired` the same faces in several kinds, and
`read_ground` reads the ground's colour from a picture without a network.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from acgan_lib._files import cache_dir, data_dir
from acgan_lib.data import LabelledImages, Split

KINDS = (
    "adventurer",
    "big-ears",
    "big-smile",
    "dylan",
    "lorelei",
    "micah",
    "miniavs",
    "personas",
    "pixel-art",
    "toon-head",
)
FACTORS = ("ground", "skin", "hair", "glasses")
# A factor's value v is the v-th entry: its name and its colour as drawn, before any shading.
PALETTES: dict[str, dict[str, str]] = {
    "ground": {
        "sky": "9fd8f0",
        "rose": "f4b6c2",
        "mint": "c5e8b7",
        "lemon": "f9e79f",
        "lilac": "c9b6f2",
        "apricot": "f7c59f",
    },
    "skin": {"light": "f8d9c0", "tan": "e0a878", "brown": "a8683f", "dark": "5c3a21"},
    "hair": {
        "black": "1f1a17",
        "brown": "6b4423",
        "blond": "d9b35b",
        "red": "c0392b",
        "grey": "b8b8c0",
        "blue": "2e6fd1",
        "pink": "e26fa0",
        "green": "3f9d4f",
    },
}
LEVELS: dict[str, int] = {name: len(colours) for name, colours in PALETTES.items()} | {"glasses": 2}
WITHOUT_GLASSES = ("big-ears", "dylan", "toon-head")  # kinds that cannot wear them
NO_FACTOR = -1  # the value of glasses in those kinds
_TENSORS = ("images", "labels", "factors")


@dataclass(frozen=True, eq=False, repr=False)
class Avatars(LabelledImages):
    """Drawn faces with the factors that they were drawn from. Class k is KINDS[k].

    Attributes:
        factors: int64 (N, 4), columns FACTORS. ground, skin and hair are places in PALETTES;
            glasses is 0 or 1, or -1 in the kinds WITHOUT_GLASSES.
    """

    factors: Tensor

    def factor(self, name: str) -> Tensor:
        """Return one column of the factors, int64 (N,). Raises ValueError if no such name."""
        if name not in FACTORS:
            raise ValueError(f"no factor {name!r}; there are {', '.join(FACTORS)}")
        return self.factors[:, FACTORS.index(name)]

    def to(self, device: torch.device | str) -> Avatars:
        """Return the same set with its tensors on `device`."""
        return replace(self, **{name: getattr(self, name).to(device) for name in _TENSORS})

    def subset(self, index: Tensor) -> Avatars:
        """Return the images at `index`, int64 (n,), in that order. Classes may be empty in it."""
        index = index.to(self.images.device)
        return replace(self, **{name: getattr(self, name)[index] for name in _TENSORS})


def avatars(split: Split = "train", size: Literal[16, 32, 64] = 64) -> Avatars:
    """Return the pictures that ship: 800 of each kind to train on, 200 to test on.

    Kind after kind. Ground, skin, hair and, where a kind can wear them, glasses are independent
    and uniform.

    Args:
        split: "train" or "test"; the two were drawn from different seeds.
        size: side in pixels; below the stored 64, blocks of pixels are averaged.

    Raises:
        FileNotFoundError: the folder data/avatars is incomplete.
        ValueError: a file in it is damaged, or an argument is wrong.

    Source: tools/make_avatars.py; authors and licences in data/avatars/LICENCES.md.
    """
    if split not in ("train", "test"):
        raise ValueError(f"split must be 'train' or 'test', not {split!r}")
    if size not in (16, 32, 64):
        raise ValueError(f"size must be 16, 32 or 64, not {size}; drawn() takes 128 too")
    return _load(data_dir() / "avatars", split, size, KINDS, f"avatars {split} at {size} px")


def drawn(
    n: int,
    size: Literal[16, 32, 64, 128] = 64,
    split: Split = "train",
    folder: str | Path | None = None,
) -> Avatars:
    """Return `n` pictures of each kind from a set that `make avatars` drew on this machine.

    Picture i of a kind is the same whatever the number drawn, so the first 800 of "train" are
    those of `avatars("train")`, and a larger set serves a smaller `n`.

    Args:
        n: pictures of each kind.
        size: side in pixels. 64 and below come from a set drawn at 64, 128 from one drawn at 128.
        split: "train" or "test"; the two were drawn from different seeds.
        folder: where the sets are (OUT=... of the command); the user's cache without it.

    Raises:
        FileNotFoundError: no set there is large enough; the message has the command.
        ValueError: a file is damaged, or an argument is wrong.
    """
    if split not in ("train", "test") or n < 1 or size not in (16, 32, 64, 128):
        raise ValueError(
            "n must be positive, size 16, 32, 64 or 128 and split 'train' or 'test', "
            f"not {n}, {size} and {split!r}"
        )
    folder = sets_dir() if folder is None else Path(folder).expanduser()
    side = max(size, 64)
    large_enough = {
        int(path.name.split("_")[-1]): path
        for path in folder.glob(f"{split}_{side}px_*")
        if path.name.split("_")[-1].isdecimal() and int(path.name.split("_")[-1]) >= n
    }
    if not large_enough:
        extra = "" if split == "train" else f" SPLIT={split}"
        raise FileNotFoundError(
            f"no set of {n} avatars a kind at {side} px in {folder}: "
            f"`make avatars N={n} SIZE={side}{extra}` draws one"
        )
    found = large_enough[min(large_enough)]
    return _load(found, split, size, KINDS, f"{n} avatars a kind, {split}, at {size} px", n)


def paired(
    factors: Tensor, kinds: Sequence[str] = KINDS, size: Literal[16, 32, 64] = 64
) -> Avatars:
    """Return the same faces in several kinds: row ``i * len(kinds) + j`` is face i in kinds[j].

    Features that are no factor (the cut of the hair, the mouth) have no counterpart between kinds
    and differ at random. One picture ships of each kind and combination, so the same factors give
    the same pictures.

    Args:
        factors: int64 (n, 3), ground, skin and hair, without glasses; or (n, 4) with them. Kinds
            that cannot wear glasses show the face without.
        kinds: names out of KINDS.
        size: side in pixels.

    Returns:
        n * len(kinds) pictures; ``images.view(n, len(kinds), 3, size, size)`` sorts them by face.

    Raises:
        FileNotFoundError, ValueError: as in `avatars`.
    """
    if factors.ndim != 2 or factors.shape[1] not in (3, 4) or factors.dtype != torch.int64:
        raise ValueError(
            f"factors must be int64 (n, 3) or (n, 4), not {factors.dtype} {tuple(factors.shape)}"
        )
    factors = F.pad(factors.cpu(), (0, 4 - factors.shape[1]))
    least, most = torch.tensor([0, 0, 0, NO_FACTOR]), torch.tensor([LEVELS[f] for f in FACTORS])
    if not bool(((least <= factors) & (factors < most)).all()):
        raise ValueError(f"factors must lie in 0..{(most - 1).tolist()} in the columns {FACTORS}")
    factors = factors.clamp(min=0)
    if not kinds or len(set(kinds)) != len(kinds) or not set(kinds) <= set(KINDS):
        raise ValueError(f"kinds must be different names out of {', '.join(KINDS)}, not {kinds}")
    if size not in (16, 32, 64):
        raise ValueError(f"size must be 16, 32 or 64, not {size}")
    shipped = _load(data_dir() / "avatars", "paired", size, kinds, f"paired avatars at {size} px")
    place = {
        (int(kind), *row): i
        for i, (kind, row) in enumerate(zip(shipped.labels, shipped.factors.tolist(), strict=True))
    }
    rows = [
        place[KINDS.index(kind), *row[:3], NO_FACTOR if kind in WITHOUT_GLASSES else row[3]]
        for row, kind in product(factors.tolist(), kinds)
    ]
    return shipped.subset(torch.tensor(rows))


def sets_dir() -> Path:
    """Return the folder for sets that `make avatars` drew: ``avatars`` in the user's cache."""
    return cache_dir() / "avatars"


def read_ground(images: Tensor) -> tuple[Tensor, Tensor]:
    """Read the ground's colour from the two upper corners, which no drawn face touches.

    An exact rule, so that a judge, which is a network, can be compared with something that is
    none. The palette's colours are at least 34 levels apart: within 16 levels, one alone fits.

    Args:
        images: (n, 3, H, W), uint8, or float in [-1, 1] as generators give them.

    Returns:
        int64 (n,), the place in PALETTES["ground"] of the nearest colour, and float (n,), how far
        the corners are from it: the largest difference over both corners' pixels and the three
        channels, in levels of 0..255. It is 0 for a drawn picture.

    Raises:
        ValueError: if `images` has another shape.
    """
    if images.ndim != 4 or images.shape[1] != 3:
        raise ValueError(f"images must have shape (n, 3, H, W), not {tuple(images.shape)}")
    levels = images.float() if images.dtype == torch.uint8 else (images.float() + 1) * 127.5
    corners = torch.stack([levels[:, :, 0, 0], levels[:, :, 0, -1]], dim=1)  # (n, 2, 3)
    apart = (corners.unsqueeze(1) - colours("ground").to(corners)[:, None]).abs()  # (n, 6, 2, 3)
    distance, nearest = apart.amax(dim=(2, 3)).min(dim=1)
    return nearest, distance


def colours(factor: str) -> Tensor:
    """Return a palette as uint8 (number of colours, 3), red, green, blue.

    Raises ValueError if `factor` is not one of PALETTES.
    """
    if factor not in PALETTES:
        raise ValueError(f"no palette {factor!r}; there are {', '.join(PALETTES)}")
    return torch.tensor([list(bytes.fromhex(c)) for c in PALETTES[factor].values()]).byte()


def _load(
    folder: Path, split: str, size: int, kinds: Sequence[str], source: str, n: int | None = None
) -> Avatars:
    """Return the pictures of a folder that tools/make_avatars.py wrote, or the first n a kind."""
    files = _manifest(folder)
    table = list(csv.DictReader(io.StringIO(_content(folder, "factors.csv", files).decode())))
    images, labels, factors = [], [], []
    for kind in kinds:
        rows = [row for row in table if row["split"] == split and row["kind"] == kind][:n]
        with np.load(io.BytesIO(_content(folder, f"{kind}.npz", files))) as stored:
            pixels = _reduced(stored[split][:n], size)
        images.append(torch.from_numpy(pixels).permute(0, 3, 1, 2).contiguous())
        labels.append(torch.full((len(rows),), KINDS.index(kind)))
        factors.append(torch.tensor([[int(row[name]) for name in FACTORS] for row in rows]))
    return Avatars(torch.cat(images), torch.cat(labels), KINDS, source, torch.cat(factors))


def _reduced(pixels: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """Average blocks of pixels: uint8 (n, S, S, 3) to (n, size, size, 3); size divides S."""
    block = pixels.shape[1] // size
    if block == 1:
        return pixels
    total = np.zeros((len(pixels), size, size, 3), np.uint16)  # at most 16 * 255
    for i, j in product(range(block), repeat=2):
        total += pixels[:, i::block, j::block]
    mean: NDArray[np.uint8] = ((total + block**2 // 2) // block**2).astype(np.uint8)
    return mean


def _manifest(folder: Path) -> dict[str, dict[str, str]]:
    """Return the manifest's entries by file name."""
    path = folder / "manifest.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {_ADVICE}")
    files: dict[str, dict[str, str]] = json.loads(path.read_text(encoding="utf-8"))["files"]
    return files


def _content(folder: Path, name: str, files: dict[str, dict[str, str]]) -> bytes:
    """Return a file's content after comparing its SHA-256 with the manifest's."""
    path = folder / name
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: {_ADVICE}")
    content = path.read_bytes()
    if hashlib.sha256(content).hexdigest() != files[name]["sha256"]:
        raise ValueError(f"{path} is damaged: its SHA-256 is not the manifest's. {_ADVICE}")
    return content


_ADVICE = (
    "in a clone, `git checkout data/avatars` brings back what ships, and `make avatars` draws a "
    "larger set again once its folder is removed; otherwise install acgan_lib again"
)
