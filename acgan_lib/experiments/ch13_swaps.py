"""What ties z's meaning across classes? Two remedies for AC-GAN and how they are measured.

`swaps` trains AC-GAN and both remedies on ten letters at 32 px, and `swap_grids` measures the
trainings of `acgan_lib.experiments.ch09_glyphs` that lie in the zoo or in ``runs/``. Chapter 13
reads what they recorded, ``data/results/swaps.json``.

Nothing in AC-GAN's objective compares two images of one z (`rewired` makes that exact). The first
remedy, `legible`, lets D read some of z off each image, as InfoGAN does. The second, `Pairs`,
shows D two letters at a time, of one typeface or of one z.
"""

from __future__ import annotations

import csv
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib._files import data_dir
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import the_judge
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch09_glyphs import (
    GAN_STEPS,
    TEN,
    Size,
    model_name,
    real_grid,
    swap_grid,
    trained,
)
from acgan_lib.glyphs import LETTERS, Glyphs, glyphs
from acgan_lib.losses import class_loss, code_loss, d_source_fake, d_source_real, g_source
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.objectives import Batch, Needs, Objective, Terms, acgan, first_codes
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

STEPS, WIDTH, CODES = 1_000, 16, 5  # small and short: nine trainings in ten minutes of one core


class Rewired(ConditionalGenerator):
    """G with another z for each class: under class k it draws ``G(z @ turns[k], k)``.

    With orthogonal matrices ``turns``, float (K, d, d), ``z @ turns[k]`` is as normal as z, so
    that every class has the images that it had. Only which of them share a z has changed.
    """

    def __init__(self, G: ConditionalGenerator, turns: Tensor) -> None:
        super().__init__(G.latent_dim, G.num_classes, G.channels, G.image_size)
        if turns.shape != (G.num_classes, G.latent_dim, G.latent_dim):
            need = (G.num_classes, G.latent_dim, G.latent_dim)
            raise ValueError(f"turns must have shape {need}, got {tuple(turns.shape)}")
        self.G = G
        self.register_buffer("turns", turns)

    def draw(self, code: Tensor) -> Tensor:
        """Turn z by its class's matrix (for mixed classes: by the mixed one), then draw."""
        z, weights = code[:, : self.latent_dim], code[:, self.latent_dim :]
        turns = torch.einsum("nk,kde->nde", weights, self.turns)
        turned = torch.einsum("nd,nde->ne", z, turns)
        return self.G.draw(torch.cat([turned, weights], dim=1))


def legible(*, codes: int = CODES, code_weight: float = 0.1) -> Objective:
    """AC-GAN whose D also reads z's first coordinates off each image, whatever its class.

    The code term is InfoGAN's (:func:`acgan_lib.objectives.infogan`).

    Args:
        codes: how many coordinates; D needs a code head for as many.
        code_weight: the factor on the code term of both players.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        return {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_real": class_loss(on_real.class_logits, real.labels),
            "d_class_fake": class_loss(on_fake.class_logits, fake.labels),
            "d_code_fake": code_weight * code_loss(on_fake.code, first_codes(fake, codes)),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        on_fake = D(fake.images)
        return {
            "g_source": g_source(on_fake.source_logit),
            "g_class": class_loss(on_fake.class_logits, fake.labels),
            "g_code": code_weight * code_loss(on_fake.code, first_codes(fake, codes)),
        }

    needs = Needs(class_head="K", codes=codes, real_labels=True)
    return Objective(f"legible[{codes}]", d_loss, g_loss, needs, {"code_weight": code_weight})


class Pairs(ConditionalGenerator):
    """Two classes from one z: the one asked for and the next (after the last: the first).

    The two images are the channels of one. A D that sees both can object when they do not go
    together, as in the paired GANs of Donahue et al. 2018 (arXiv 1705.07904).
    """

    def __init__(self, G: ConditionalGenerator) -> None:
        super().__init__(G.latent_dim, G.num_classes, 2 * G.channels, G.image_size)
        self.G = G

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (n, latent_dim + num_classes), into images (n, 2 C, H, W)."""
        z, weights = code[:, : self.latent_dim], code[:, self.latent_dim :]
        following = torch.cat([z, weights.roll(1, dims=1)], dim=1)
        return torch.cat(self.G.draw(torch.cat([code, following])).chunk(2), dim=1)


def real_pairs(data: Glyphs) -> LabelledImages:
    """Return each letter beside the next letter of its typeface, in two channels: (N, 2, H, W).

    Raises:
        ValueError: if the rows are not in the order of :func:`acgan_lib.glyphs.glyphs`.
    """
    following = torch.arange(len(data)).roll(-len(data) // data.num_classes)
    if not torch.equal(data.typeface, data.typeface[following]):
        raise ValueError("data must hold every letter in every typeface, letter after letter")
    both = torch.cat([data.images, data.images[following]], dim=1)
    return LabelledImages(both, data.labels, data.class_names, f"{data.source}, in pairs")


def train_one(kind: str, seed: int, steps: int = STEPS, width: int = WIDTH) -> Generator:
    """Train "acgan", "legible" or "pairs" on ten letters at 32 px; return the averaged G.

    Raises:
        ValueError: if ``kind`` is none of the three.
    """
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}")
    seed_everything(seed)
    data, G = glyphs("train", TEN, 32), Generator(num_classes=len(TEN), width=width)
    pairs = kind == "pairs"
    D = Discriminator(
        2 if pairs else 1, width, class_head=len(TEN), code_head=CODES * (kind == "legible")
    )
    config = TrainConfig(
        seed=seed, batch_size=50, lr_g=1e-3, lr_d=1e-3, ema=0.99, progress=steps >= STEPS
    )
    result = fit(
        (Pairs(G) if pairs else G).to(pick_device()), D.to(pick_device()),
        real_pairs(data) if pairs else data, KINDS[kind](), steps=steps, config=config,
    )  # fmt: skip
    drawn = result.G_ema.G if isinstance(result.G_ema, Pairs) else result.G_ema
    assert isinstance(drawn, Generator)
    return drawn.cpu().eval()


KINDS: dict[str, Callable[[], Objective]] = {"acgan": acgan, "legible": legible, "pairs": acgan}


def agreement(values: Tensor) -> list[float]:
    """Return for each class its correlation with the mean of the other classes, over rows.

    Near 1 where a class follows the others over a class-swap grid, float (n, K), near 0 where it
    goes its own way, negative where it goes against them.

    Raises:
        ValueError: unless there are 2 rows and 2 classes, and each class varies.
    """
    v = values.double()
    if v.ndim != 2 or min(v.shape) < 2 or bool((v.std(0) == 0).any()):
        raise ValueError(f"need 2 rows and 2 columns at least, each varying: {v.shape}")
    others = (v.sum(1, keepdim=True) - v) / (v.shape[1] - 1)
    a, b = v - v.mean(0), others - others.mean(0)
    together: list[float] = ((a * b).sum(0) / (a.norm(dim=0) * b.norm(dim=0))).tolist()
    return together


def consistency(grid: dict[str, Tensor], groups: Tensor | None = None) -> dict[str, Any]:
    """Return for each factor of a class-swap grid what is kept and each class's agreement.

    ``kept_*`` and ``icc_*`` are those of `metrics.swap_consistency`, which takes the groups too.
    """
    found: dict[str, Any] = {}
    for factor, values in grid.items():
        shares = metrics.swap_consistency(values, groups=groups)
        found |= {f"kept_{factor}": shares.kept, f"icc_{factor}": shares.icc}
        found[f"agreement_{factor}"] = [round(value, 4) for value in agreement(values)]
    return found


def families(data: Glyphs) -> Tensor:
    """Return the font family of each letter, int64 (N,): typefaces of one family are much alike.

    A bootstrap over real typefaces draws whole families, for 274 typefaces of 8 families are not
    274 independent observations.
    """
    table = (data_dir() / "glyphs" / "typefaces.csv").read_text(encoding="utf-8")
    rows = [row["family"] for row in csv.DictReader(table.splitlines())]
    names = sorted(set(rows))
    return torch.tensor([names.index(rows[i]) for i in data.typeface.tolist()])


def swaps(seed: int, steps: int = STEPS) -> None:
    """Train AC-GAN and two remedies for z's meaning across classes, and measure each."""
    judge, test = the_judge("judge_glyphs32"), glyphs("test", TEN, 32)
    for kind in KINDS:
        G = train_one(kind, seed, steps)
        x, y = metrics.sample(G, 300, seed=seed)
        measured = _common.measure(judge, x, y, test, pairs=100)
        measured |= consistency(swap_grid(G, 32, seed))
        _common.show(kind, seed, measured)
        if _common.is_whole(steps, STEPS):
            record("swaps", {"model": kind, "seed": seed, "steps": steps, **measured})


def swap_grids() -> None:
    """Measure class swaps of real typefaces and of each trained glyph model that is there."""
    models: tuple[tuple[str, Size], ...] = ((TEN, 32), (TEN, 64), (LETTERS, 32))
    for letters, size in models:
        name = model_name(letters, size)
        for seed in range(3):
            with suppress(FileNotFoundError):  # not trained here
                found = consistency(swap_grid(trained(letters, size, seed), size, seed))
                record("swaps", {"model": name, "seed": seed, "steps": GAN_STEPS, **found})
        row = {"model": name.replace("acgan", "real"), "seed": 0, "steps": 0}
        test = glyphs("test", letters, size)
        of = families(test)[: len(test) // len(letters)]  # of each typeface, in the grid's order
        record("swaps", {**row, **consistency(real_grid(letters, size), of)})


RUNS = {"swaps": swaps, "swap_grids": swap_grids}
