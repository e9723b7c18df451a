"""What a frozen discriminator knows, for chapter 16.

Three discriminators of one shape look at letters: one fresh, one trained as a classifier of A to
J, one trained in an AC-GAN on A to J. All are frozen. Linear heads then read from each of their
blocks what none was asked: letters K to Z, style, and which ink is the letter's. What each seed
measured is in ``data/results/transfer.json``.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib import metrics, objectives, zoo
from acgan_lib.experiments._common import head_accuracy, run_folder
from acgan_lib.experiments._results import record
from acgan_lib.experiments.ch09_glyphs import GAN_STEPS, TEN, networks
from acgan_lib.experiments.ch15_labels import train_classifier
from acgan_lib.glyphs import LETTERS, Glyphs, glyphs
from acgan_lib.nets import Discriminator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

CLASSIFIER_STEPS = 1_500
WIDTH = 32  # of D in the glyph recipes
UNSEEN = LETTERS[10:]
STYLES = ("stem", "slant", "serif")
SHOTS = (1, 5, 10)
EPISODES = 20


def block_maps(D: Discriminator, x: Tensor) -> list[Tensor]:
    """Return what D sees: the images, then the activations after each block of its trunk.

    Args:
        D: a discriminator without label input.
        x: images, float (n, C, 32, 32) in [-1, 1].

    Returns:
        float (n, C, 32, 32), (n, w, 16, 16), (n, 2w, 8, 8), (n, 4w, 4, 4), with w = D's width.
    """
    found = [x]
    for block in list(D.trunk)[:-1]:  # the last flattens
        found.append(block(found[-1]))
    return found


def pooled(D: Discriminator, x: Tensor) -> list[Tensor]:
    """Return one vector for each image from each place of :func:`block_maps`, and all in one.

    The pixels stay as they are. Blocks are max-pooled to 4 x 4 and flattened, and the last entry
    joins the three of them: that is how Radford et al. 2016 made features of D.

    Returns:
        five tensors, float (n, features).
    """

    def vectors(part: Tensor) -> Tensor:
        pixels, *blocks = block_maps(D, part)
        return torch.cat(
            [pixels.flatten(1), *(F.adaptive_max_pool2d(b, 4).flatten(1) for b in blocks)], dim=1
        )

    width = D.trunk[0][0].out_channels  # type: ignore[index]
    sizes = [x[0].numel(), 16 * width, 32 * width, 64 * width]
    parts = list(torch.split(metrics.in_batches(D, vectors, x), sizes, dim=1))
    return [*parts, torch.cat(parts[1:], dim=1)]


LAYERS = ("pixels", "block 1", "block 2", "block 3", "all blocks")


class Ridge(NamedTuple):
    """A linear map with a penalty on its weights: ``predict(x) = x @ weight + bias``."""

    weight: Tensor
    bias: Tensor
    penalty: float

    def predict(self, x: Tensor) -> Tensor:
        """Return float64 (n, targets) for features (n, d)."""
        return x.double() @ self.weight + self.bias


def ridge(x: Tensor, y: Tensor) -> Ridge:
    """Fit y by a linear map of x, in closed form, with the penalty that leave-one-out prefers.

    The error of each row, had it been left out of the fit, is its residual over 1 - h, where h is
    its own weight in its prediction (Allen 1974); so one eigendecomposition serves all penalties
    and all rows.

    Args:
        x: features, float (n, d).
        y: targets, float (n, targets); classes as one-hot rows.
    """
    x, y = x.double(), y.double()
    x_mean, y_mean = x.mean(0), y.mean(0)
    x, y = x - x_mean, y - y_mean
    if len(x) <= x.shape[1]:
        values, vectors = torch.linalg.eigh(x @ x.T)
    else:
        values, right = torch.linalg.eigh(x.T @ x)
        vectors = x @ right / values.clamp(min=1e-12 * float(values.max())).sqrt()
    values = values.clamp(min=0)
    inside = vectors.T @ y
    penalties = [float(values.mean()) * 10.0**power for power in range(-5, 4)]

    def left_out_error(penalty: float) -> float:
        shrink = values / (values + penalty)
        own = vectors.square() @ shrink + 1 / len(x)
        missed = (y - vectors @ (shrink[:, None] * inside)) / (1 - own).clamp(min=1e-6)[:, None]
        return float(missed.square().mean())

    best = min(penalties, key=left_out_error)
    weight = x.T @ (vectors @ (inside / (values + best)[:, None]))
    return Ridge(weight, y_mean - x_mean @ weight, best)


def letter_accuracy(train: Tensor, y: Tensor, test: Tensor, y_test: Tensor) -> float:
    """Fit a ridge to one-hot classes and return how often its largest output is the class."""
    probe = ridge(train, F.one_hot(y).double())
    return float((probe.predict(test).argmax(1) == y_test).double().mean())


def style_explained(train: Tensor, y: Tensor, test: Tensor, y_test: Tensor) -> float:
    """Fit a ridge to a number and return R^2 on the test images: 1 is perfect, 0 is the mean."""
    missed = ridge(train, y[:, None]).predict(test)[:, 0] - y_test.double()
    return float(1 - missed.square().mean() / y_test.double().var(correction=0))


def few_shot(
    train: Tensor, y: Tensor, test: Tensor, y_test: Tensor, shots: int, episodes: int = EPISODES
) -> float:
    """Return the mean accuracy of the nearest class mean, from `shots` images a class.

    Features are standardised with the mean and deviation of all of `train`, labels unused; near is
    by the cosine. Each episode draws other images.
    """
    mean, std = train.mean(0), train.std(0) + 1e-6
    a, b = (train - mean) / std, F.normalize((test - mean) / std, dim=1)
    generator = torch.Generator().manual_seed(shots)
    rows = [torch.nonzero(y == k).flatten() for k in range(int(y.max()) + 1)]
    right = []
    for _ in range(episodes):
        drawn = [r[torch.randperm(len(r), generator=generator)[:shots]] for r in rows]
        centres = F.normalize(torch.stack([a[d].mean(0) for d in drawn]), dim=1)
        right.append(float(((b @ centres.T).argmax(1) == y_test).double().mean()))
    return sum(right) / len(right)


def with_bars(images: Tensor, seed: int, bars: int = 3) -> tuple[Tensor, Tensor]:
    """Draw bars of the letters' own ink across letters; return them and the letters' ink mask.

    Grey levels cannot tell letter from bar, so a pixel's class has to come from its surroundings.

    Args:
        images: uint8 (n, 1, S, S), ink 255 on paper 0.
        seed: fixes the bars' places, directions and widths (1.5 to 3 pixels).

    Returns:
        float (n, 1, S, S) in [-1, 1], and bool (n, S, S): where the letter has ink.
    """
    n, side = len(images), images.shape[-1]
    draw = torch.rand(3, n, bars, 1, 1, generator=torch.Generator().manual_seed(seed))
    angle, offset, width = draw[0] * math.pi, (draw[1] - 0.5) * side, 1.5 + 1.5 * draw[2]
    at = torch.arange(side) - (side - 1) / 2
    across = angle.cos() * at[None, :] + angle.sin() * at[:, None] - offset
    ink = ((width - across.abs() * 2) / 2 + 0.5).clamp(0, 1).amax(1, keepdim=True)
    letters = images.float() / 255
    return torch.maximum(letters, ink) * 2 - 1, letters[:, 0] > 0.5


def columns(D: Discriminator, x: Tensor) -> list[Tensor]:
    """Return for each pixel what each place of :func:`block_maps` says there, and all blocks'.

    Maps are enlarged to the images' size bilinearly. Five tensors, float (n, S, S, features).
    """

    def enlarged(part: Tensor) -> Tensor:
        maps = [F.interpolate(m, x.shape[-1], mode="bilinear") for m in block_maps(D, part)]
        return torch.cat(maps, dim=1).movedim(1, -1)

    width = D.trunk[0][0].out_channels  # type: ignore[index]
    every = metrics.in_batches(D, enlarged, x, batch_size=100)
    parts = list(torch.split(every, [x.shape[1], width, 2 * width, 4 * width], dim=-1))
    return [*parts, every[..., x.shape[1] :]]


def overlap(found: Tensor, truth: Tensor) -> float:
    """Return the intersection over union of two masks, bool of one shape."""
    return float((found & truth).sum() / (found | truth).sum())


def ink_overlap(
    train: Tensor, mask: Tensor, test: Tensor, mask_test: Tensor, pixels: int = 20_000
) -> float:
    """Fit a linear head to a sample of pixels; return its masks' overlap with the test masks.

    Its output becomes a mask above the threshold that is best on the sample.
    """
    chosen = torch.randperm(mask.numel(), generator=torch.Generator().manual_seed(0))[:pixels]
    x, y = train.flatten(0, -2)[chosen], mask.flatten()[chosen]
    probe = ridge(x, y[:, None].double())
    fitted = probe.predict(x)[:, 0]
    cut = max((t / 20 for t in range(2, 19)), key=lambda t: overlap(fitted > t, y))
    return overlap(probe.predict(test.flatten(0, -2))[:, 0] > cut, mask_test.flatten())


def probed(D: Discriminator) -> dict[str, list[float]]:
    """Measure one frozen discriminator: for each task, one value for each of LAYERS."""
    found: dict[str, list[float]] = {}
    seen = [glyphs(part, TEN) for part in ("train", "test")]
    unseen = [glyphs(part, UNSEEN) for part in ("train", "test")]
    for name, (train, test), each in (("seen", seen, 100), ("unseen", unseen, 60)):
        part = train.per_class(each, seed=16)
        assert isinstance(part, Glyphs)
        a, b = pooled(D, part.normalised()), pooled(D, test.normalised())
        pairs = list(zip(a, b, strict=True))
        found[name] = [letter_accuracy(p, part.labels, q, test.labels) for p, q in pairs]
        if name == "unseen":
            for style in STYLES:
                y, y_test = part.factor(style), test.factor(style)
                found[style] = [style_explained(p, y, q, y_test) for p, q in pairs]
            for shots in SHOTS:
                found[f"{shots} a class"] = [
                    few_shot(p, part.labels, q, test.labels, shots) for p, q in pairs
                ]
    drawn = [of.per_class(n, seed=17).images for of, n in zip(unseen, (20, 15), strict=True)]
    (x, mask), (x_test, mask_test) = with_bars(drawn[0], 1), with_bars(drawn[1], 2)
    found["ink"] = [
        ink_overlap(p, mask, q, mask_test)
        for p, q in zip(columns(D, x), columns(D, x_test), strict=True)
    ]
    return found


def fresh(seed: int) -> Discriminator:
    """Return a discriminator with random weights, but BatchNorm statistics of real letters.

    Without those its activations would have the wrong scale, and the comparison would be unfair.
    """
    seed_everything(seed)
    _, D = networks(10, 32)
    train = glyphs("train", TEN)
    with torch.no_grad():
        for step in range(50):
            D(train.batch(step, 100, seed)[0])
    return D.eval()


def adversarial(seed: int) -> Discriminator:
    """Return D of chapter 9's AC-GAN on ten letters, trained or continued in its run's folder."""
    config = TrainConfig(seed=seed, batch_size=50, lr_g=7e-4, lr_d=7e-4)
    seed_everything(seed)
    G, D = networks(10, 32)
    G, D = G.to(pick_device()), D.to(pick_device())
    run, train = run_folder("acgan_glyphs32", seed), glyphs("train", TEN)
    fit(G, D, train, objectives.acgan(), steps=GAN_STEPS, config=config, run_dir=run)
    return D.cpu().to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


def supervised(seed: int) -> Discriminator:
    """Train the same network as a classifier of the same ten letters, all labels known."""
    train = glyphs("train", TEN)
    D = train_classifier(train, steps=CLASSIFIER_STEPS, seed=seed, width=WIDTH).cpu()
    return D.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload,no-any-return]


MAKERS = {"random": fresh, "supervised": supervised, "acgan": adversarial}
SHIPPED = {"supervised": "trunk_glyphs32", "acgan": "acgan_glyphs32_d"}


def transfer(seed: int) -> None:
    """Train two discriminators, leave one fresh, and measure what each knows of other letters."""
    for name, make in MAKERS.items():
        D = make(seed)
        found = probed(D)
        record("transfer", {"model": name, "seed": seed, "layers": LAYERS, **found})
        print(name, seed, {task: [round(v, 3) for v in values] for task, values in found.items()})
        if seed == 0 and name in SHIPPED:
            ship(name, D)


def ship(name: str, D: Discriminator) -> None:
    """Keep a network of seed 0 in the zoo, with the letters it tells apart on the test images."""
    test = glyphs("test", TEN)
    steps = GAN_STEPS if name == "acgan" else CLASSIFIER_STEPS
    zoo.ship(
        SHIPPED[name],
        D,
        recipe=" ".join(str(MAKERS[name].__doc__).split()),
        data=glyphs("train", TEN).source,
        seed=0,
        steps=steps,
        images_seen=50 * steps,
        metrics={"test_accuracy": head_accuracy(D, test.normalised(), test.labels)},
        command="make train-transfer",
        kwargs={"width": WIDTH, "class_head": len(TEN)},
        half=True,
    )


RUNS = {"transfer": transfer}
