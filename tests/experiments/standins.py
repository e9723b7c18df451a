"""Images, a judge and networks whose every measurement is known beforehand.

An image carries its class as one grey level in its corner. The judge reads it there, so a set in
which some corners lie is named rightly in a known share. Experiments that measure other images, by
other labels or with another judge give another share.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from acgan_lib.data import LabelledImages
from acgan_lib.judge import Judge
from acgan_lib.nets import ConditionalGenerator, DiscriminatorOutput

STEP = 9  # grey levels between two classes


def images(
    classes: int, each: int, *, lying: int = 0, seed: int = 0, size: int = 32
) -> LabelledImages:
    """Return noise whose corner shows the class; of each class, the first `lying` show the next."""
    y = torch.arange(classes).repeat_interleave(each)
    generator = torch.Generator().manual_seed(seed)
    x = torch.randint(0, 256, (len(y), 1, size, size), generator=generator, dtype=torch.uint8)
    shown = torch.where(torch.arange(len(y)) % each < lying, (y + 1) % classes, y)
    x[:, 0, 0, 0] = (shown * STEP).to(torch.uint8)
    return LabelledImages(x, y, tuple(chr(65 + k) for k in range(classes)), f"noise {seed}")


def shown(x: Tensor) -> Tensor:
    """Return the class in the corner of each image, int64 (n,)."""
    return ((x[:, 0, 0, 0] + 1) * 127.5 / STEP).round().long()


class Reader(Judge):
    """The judge: it names the class in the corner; its features are a few of the other pixels."""

    def forward(self, x: Tensor) -> Tensor:
        """Return logits, 1 for the class and 0 for the others."""
        return nn.functional.one_hot(shown(x) % self.num_classes, self.num_classes).float()

    def features(self, x: Tensor) -> Tensor:
        """Return pixels, float (n, 8)."""
        return x[:, 0, 5, :8].float()


class Painter(ConditionalGenerator):
    """A generator of noise with the class in the corner; of class k it shows k + `off`."""

    def __init__(self, num_classes: int, *, off: int = 0, size: int = 32) -> None:
        super().__init__(32, num_classes, 1, size)
        self.off = off
        self.weight = nn.Parameter(torch.zeros(1))

    def draw(self, code: Tensor) -> Tensor:
        """Draw rows of z; the weight changes nothing."""
        z = code[:, :32]
        y = torch.zeros(len(z), dtype=torch.int64)
        if self.num_classes:
            y = (code[:, 32:].argmax(1) + self.off) % self.num_classes
        rows = torch.tanh(z).repeat(1, -(-self.image_size // 32))[:, : self.image_size]
        x = rows[:, None, None, :].expand(-1, 1, self.image_size, -1).clone()
        x[:, 0, 0, 0] = y * STEP / 127.5 - 1
        return x + 0 * self.weight


class Head(nn.Module):
    """A discriminator whose class head names the class in the corner, plus `off`."""

    def __init__(self, logits: int, classes: int, *, off: int = 0) -> None:
        super().__init__()
        self.logits, self.classes, self.off = logits, classes, off
        self.weight = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Return source logits 0 and class logits; one beyond the classes is always the largest."""
        named = (shown(x) + self.off) % self.classes
        logits = nn.functional.one_hot(named, self.logits).float()
        logits[:, self.classes :] = 5.0
        return DiscriminatorOutput(x.new_zeros(len(x)) + 0 * self.weight, logits)
