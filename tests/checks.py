"""Checks that an ordinary test makes of the library, and the museum's test of its broken copies.

Each raises AssertionError, by a plain ``assert``, when what it checks is not so. They take what the
museum's own checks (`acgan_lib.experiments.ch08_museum.exhibits`) cannot: a whole network with all
its heads, a whole objective, the training loop. Where the museum's check fits, tests import it.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib.avatars import KINDS
from acgan_lib.callbacks import SampleGrid
from acgan_lib.data import LabelledImages
from acgan_lib.nets import DiscriminatorOutput
from acgan_lib.objectives import Batch, Objective, gan


def two_classes(n: int = 40, seed: int = 0) -> LabelledImages:
    """Noise images of two classes, ``n`` in all."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(0, 256, (n, 1, 32, 32), generator=generator, dtype=torch.uint8)
    return LabelledImages(images, torch.arange(n) % 2, ("dark", "light"), "noise")


class StubD(nn.Module):
    """A D that says what it is told to: the images are the source logit and the class logits.

    An "image" is a row (1 + K,). It remembers how often and with which labels it was called.
    """

    def __init__(self) -> None:
        super().__init__()
        self.labels: list[Tensor | None] = []

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        self.labels.append(y)
        return DiscriminatorOutput(x[:, 0], x[:, 1:])


def log_softmax(logits: Tensor) -> Tensor:
    """By the definition, in float64."""
    logits = logits.double()
    return logits - logits.exp().sum(1, keepdim=True).log()


# --- networks: bugs 3, 4 and 8 ------------------------------------------------------------------


def heads_are_affine(D: nn.Module, features: int) -> None:
    """Logits must be affine in the trunk's features: no softmax, sigmoid or LeakyReLU on them."""
    D.double().eval()
    D.trunk, D.image_shape = nn.Identity(), (features,)
    generator = torch.Generator().manual_seed(0)
    a, b = 1e3 * torch.randn(2, 50, features, generator=generator, dtype=torch.float64)
    zero = torch.zeros_like(a)
    for i in range(2):
        if D(a)[i] is None:
            continue
        f = [D(x)[i].detach() for x in (a + b, a, b, zero)]
        assert f[1].min() < -1, "logits must be able to be very negative"
        torch.testing.assert_close(f[0] + f[3], f[1] + f[2], rtol=1e-9, atol=1e-6)


def batch_norms_keep_torchs_defaults(*networks: nn.Module) -> None:
    """eps 1e-5 and momentum 0.1: ``BatchNorm2d(n, 0.8)`` sets eps."""
    norms = [m for net in networks for m in net.modules() if isinstance(m, nn.BatchNorm2d)]
    assert norms
    for norm in norms:
        assert (norm.eps, norm.momentum) == (1e-5, 0.1)


def draws_independently(draw: Callable[[Tensor, Tensor], Tensor]) -> None:
    """An image must not depend on what else is drawn in its batch."""
    generator = torch.Generator().manual_seed(0)
    z, y = torch.randn(6, 8, generator=generator), torch.arange(6) % 2
    others = torch.cat([z[:1], 3 * z[1:].flip(0)])
    alone, first, second = draw(z[:1], y[:1]), draw(z, y), draw(others, y)
    for images in (first, second):
        torch.testing.assert_close(images[:1].float(), alone.float(), rtol=1e-4, atol=1e-4)


# --- the loop: bugs 7 and 8 ---------------------------------------------------------------------


def d_step_leaves_g_alone(train: ModuleType, G: Any, D: nn.Module) -> None:
    """When G's step begins, D's must have left no gradient in G; and the images are data to D."""
    usual = gan()

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> dict[str, Tensor]:
        assert not fake.images.requires_grad, "D's step would run through G"
        return usual.d_loss(D, real, fake)

    def g_loss(D: nn.Module, fake: Batch) -> dict[str, Tensor]:
        assert all(p.grad is None for p in G.parameters()), "D's step left gradients in G"
        assert fake.images.requires_grad
        return usual.g_loss(D, fake)

    config = train.TrainConfig(batch_size=4, precision="fp32", progress=False)
    train.fit(G, D, two_classes(), Objective("spy", d_loss, g_loss), steps=1, config=config)


def training_draws_in_eval_mode(train: ModuleType, G: Any, D: nn.Module) -> None:
    """What a run shows and returns must not depend on batch mates."""
    config = train.TrainConfig(batch_size=4, precision="fp32", progress=False)
    z = torch.randn(6, 8, generator=torch.Generator().manual_seed(1))
    y = torch.arange(6) % 2
    grids = [SampleGrid(z[:n], y[:n], every=1) for n in (1, 6)]
    result = train.fit(G, D, two_classes(), gan(), steps=3, config=config, callbacks=grids)
    for (_, alone), (_, among) in zip(*(grid.frames for grid in grids), strict=True):
        assert (alone[0].int() - among[0].int()).abs().max() <= 1
    for network in (result.G, result.G_ema):
        draws_independently(network)


# --- objectives: bug 9 --------------------------------------------------------------------------


def real_and_fake_are_apart(objective: Objective) -> None:
    """A D whose class head has collapsed on real images alone must show in a term of its own."""
    good = torch.eye(3, dtype=torch.float64) * 50
    sees_well = torch.cat([torch.zeros(3, 1, dtype=torch.float64), good], dim=1)
    blind = torch.cat([torch.zeros(3, 1, dtype=torch.float64), -good], dim=1)
    labels = torch.arange(3)
    for real, fake in ((sees_well, blind), (blind, sees_well)):
        terms = objective.d_loss(StubD(), Batch(real, labels), Batch(fake, labels))
        values = {k: round(float(v), 3) for k, v in terms.items() if "class" in k}
        expected = {"d_class_real": 0.0 if real is sees_well else 50.693}
        expected["d_class_fake"] = 50.693 - expected["d_class_real"]
        assert values == {k: round(v, 3) for k, v in expected.items()}, values


def understood(sentence: str) -> dict[str, str]:
    """What a caption of avatars says: the colour before its noun, or after its noun and "is"."""
    words = sentence.replace(",", "").split()
    said = {}
    for i, word in enumerate(words):
        if word in KINDS:
            said["kind"] = word
        if word in ("hair", "skin", "ground", "background"):
            name = "ground" if word == "background" else word
            follows = i + 1 < len(words) and words[i + 1] == "is"
            colour = words[i + 2] if follows else words[i - 1]
            said[name] = "yellow" if colour == "blond" else colour
        if word == "glasses":
            said["glasses"] = "no" if words[i - 1] in ("no", "without") else "yes"
    return said
