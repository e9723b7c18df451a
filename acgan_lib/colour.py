"""Letters in colour, at any size: a stand-in for photographs that the repository can hold.

The stored letters are grey and 64 px wide. Here each is enlarged (bilinearly, so that no detail
is added), moved and scaled, and put in one colour on another. What a picture shows then varies in
style, size, place and two colours, of which only the letter is labelled.
"""

from __future__ import annotations

import colorsys

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib.data import LabelledImages, Split, glyphs

LEAST_CONTRAST = 0.35  # of the two colours' lightness, so that every letter can be read


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
