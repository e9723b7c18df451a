"""Letters whose style is known in numbers, grey or in colour.

The stored letters are grey and 64 px wide. In colour they are a stand-in for photographs that the
repository can hold: each is enlarged (bilinearly, so that no detail is added), moved and scaled,
and put in one colour on another. What a picture shows then varies in style, size, place and two
colours, of which only the letter is labelled.
"""

from __future__ import annotations

import colorsys
import csv
import hashlib
import io
import json
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib._files import data_dir
from acgan_lib.data import LabelledImages, Split

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
FACTORS = ("weight", "width", "slant", "serif", "stem", "letter_width")

LEAST_CONTRAST = 0.35  # of the two colours' lightness, so that every letter can be read


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
        moved = {name: getattr(self, name).to(device) for name in _TENSORS}
        return replace(self, **moved)

    def subset(self, index: Tensor) -> Glyphs:
        """Return the images at `index`, int64 (n,), in that order. Classes may be empty in it."""
        index = index.to(self.images.device)
        return replace(self, **{name: getattr(self, name)[index] for name in _TENSORS})


_TENSORS = ("images", "labels", "factors", "typeface")


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
    content = {name: _file(name) for name in ("glyphs.npz", "typefaces.csv")}
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


def colour_glyphs(
    split: Split = "train",
    letters: str = "ABCDEFGHIJ",
    size: int = 128,
    *,
    per_class: int = 200,
    seed: int = 0,
) -> LabelledImages:
    """Return letters in one colour on another: images uint8 (K * per_class, 3, size, size).

    Each class shows random typefaces of the split. A letter is scaled by 0.6 to 1.1, moved by up
    to a sixth of the picture, and coloured by two hues at random, whose lightness differs by at
    least LEAST_CONTRAST; either may be the lighter. The seed fixes all of it.

    Args:
        split: "train" or "test": typefaces of other families.
        letters: which capitals; class k is letters[k].
        size: side in pixels, 32 or more. Above 64 the pictures are enlarged ones.
        per_class: images of each class, at most as many as the split has typefaces.
        seed: fixes typefaces, places, scales and colours.

    Raises:
        ValueError: if an argument is out of range.
    """
    if size < 32:
        raise ValueError(f"size must be 32 or more, not {size}")
    grey = glyphs(split, letters, 64).per_class(per_class, seed)
    generator = torch.Generator().manual_seed(seed)
    n = len(grey)
    scale = 0.6 + 0.5 * torch.rand(n, generator=generator)
    shift = (torch.rand(n, 2, generator=generator) - 0.5) * (2 / 3)  # of a picture 2 wide
    ink, paper = two_colours(n, generator)
    images = torch.empty(n, 3, size, size, dtype=torch.uint8)
    # In parts: as floats the pictures would need four times the room.
    for rows in torch.arange(n).split(200):  # type: ignore[no-untyped-call]
        mask = place(grey.images[rows].float() / 255, scale[rows], shift[rows], size)
        a, b = ink[rows, :, None, None], paper[rows, :, None, None]
        images[rows] = (255 * (mask * a + (1 - mask) * b)).round().to(torch.uint8)
    source = f"colour glyphs {split}, {letters} at {size} px, seed {seed}"
    return LabelledImages(images, grey.labels, grey.class_names, source)


def place(masks: Tensor, scale: Tensor, shift: Tensor, size: int) -> Tensor:
    """Draw masks, float (n, 1, h, h) in [0, 1], scaled and shifted, as (n, 1, size, size).

    ``scale`` is (n,); ``shift`` (n, 2), right and down, in halves of the picture. Outside: 0.
    """
    # grid_sample asks where each new pixel comes from, so the map is the inverse one.
    theta = torch.zeros(len(masks), 2, 3)
    theta[:, 0, 0] = theta[:, 1, 1] = 1 / scale
    theta[:, :, 2] = -shift / scale[:, None]
    grid = F.affine_grid(theta, [len(masks), 1, size, size], align_corners=False)
    return F.grid_sample(masks, grid, mode="bilinear", align_corners=False).clamp(0, 1)


def two_colours(n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return n pairs of colours, float (n, 3) each in [0, 1], that differ in lightness.

    Hue and saturation are free; HLS lightness lies in [0.15, 0.85].
    """
    hue, saturation, where, swap = torch.rand(4, n, 2, generator=generator).unbind(0)
    dark = 0.15 + (0.7 - LEAST_CONTRAST) * where[:, 0]
    light = dark + LEAST_CONTRAST + (0.85 - LEAST_CONTRAST - dark) * where[:, 1]
    lightness = torch.stack([dark, light], dim=1)
    lightness = torch.where(swap[:, :1] < 0.5, lightness, lightness.flip(1))
    rows = zip(hue.flatten(), lightness.flatten(), saturation.flatten(), strict=True)
    rgb = torch.tensor([colorsys.hls_to_rgb(float(h), float(li), float(s)) for h, li, s in rows])
    ink, paper = rgb.view(n, 2, 3).unbind(1)
    return ink, paper


def _file(name: str) -> bytes:
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
