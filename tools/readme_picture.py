"""Draw README.md's picture: the shipped AC-GAN, four latents down, ten classes across."""

import os
from pathlib import Path

import torch

from acgan_lib import latent, viz, zoo
from acgan_lib.data import FASHION_CLASSES

PICTURE = Path(__file__).resolve().parent.parent / "book" / "_static" / "readme.png"

if __name__ == "__main__":
    G = zoo.load("acgan_fashion")
    z = torch.randn(4, 100, generator=torch.Generator().manual_seed(0))
    images = latent.class_swap(G, z).flatten(0, 1)
    figure = viz.grid(images, columns=10, column_labels=FASHION_CLASSES, scale=0.8)
    temporary = PICTURE.with_suffix(".tmp.png")
    figure.savefig(temporary, dpi=120, bbox_inches="tight", metadata={"Software": None})
    os.replace(temporary, PICTURE)
