"""InfoGAN on FashionMNIST, without a label, and what its codes found.

What each seed measured is kept in ``data/results/infogan.json``; G and D of seed 0 ship.
"""

from __future__ import annotations

from typing import Any

import torch
from scipy.cluster.vq import kmeans2, vq
from torch import Tensor, nn

from acgan_lib import metrics, objectives
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import class_logits, head_accuracy, the_judge
from acgan_lib.experiments._results import record
from acgan_lib.fashion import fashion_mnist
from acgan_lib.metrics.matching import best_match, contingency, mutual_information
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import seed_everything
from acgan_lib.train import TrainConfig

STEPS, BATCH_SIZE, RATE = 6_000, 100, 7e-4
CODES = 2
CODE_WEIGHT = 0.1
SIZES_G = {"latent_dim": 64, "num_classes": 10}
SIZES_D: dict[str, Any] = {"class_head": 10, "code_head": CODES}


def networks(seed: int) -> tuple[Generator, Discriminator, objectives.Objective]:
    """Return fresh networks, as wide as those of chapter 6's comparison, and the objective.

    The latents are those of Chen et al. 2016 on MNIST: 62 of noise, one categorical code of ten
    values and two continuous codes, here normal like the noise.
    """
    seed_everything(seed)
    objective = objectives.infogan(codes=CODES, code_weight=CODE_WEIGHT)
    return Generator(**SIZES_G), Discriminator(**SIZES_D), objective


def infogan_fashion(seed: int, root: str | None = None, steps: int = STEPS) -> None:
    """Train InfoGAN without a label, measure what its codes found, and ship seed 0 with its D."""
    train, config = fashion_mnist("train", root), configured(seed)
    G, D, objective = networks(seed)
    G_ema = _common.train("infogan_fashion", G, D, train, objective, config, steps).G_ema.cpu()
    keep(G_ema, D.cpu(), config, root, steps)


def configured(seed: int) -> TrainConfig:
    """Return how to train: chapter 6's rate, at twice its batch."""
    return TrainConfig(seed=seed, batch_size=BATCH_SIZE, lr_g=RATE, lr_d=RATE)


def keep(
    G: ConditionalGenerator,
    D: Discriminator,
    config: TrainConfig,
    root: str | None = None,
    steps: int = STEPS,
    **how: str,
) -> None:
    """Measure the averaged G and the D of a training, record a whole one, and ship seed 0.

    `how` joins the recipe, for a training that was not `train.fit`'s.
    """
    seed = config.seed
    measured = codes_found(G, D, seed, root)
    _common.show("infogan_fashion", seed, measured)
    if not _common.is_whole(steps, STEPS):
        return
    record("infogan", {"model": "infogan", "seed": seed, "steps": steps, **measured})
    if seed == 0:
        recipe = {"objective": f"infogan[{CODES}]", "code_weight": CODE_WEIGHT, **how}
        ships = {"infogan_fashion": (G, SIZES_G), "infogan_fashion_d": (D, SIZES_D)}
        for name, (network, kwargs) in ships.items():
            _common.ship(
                name, network, recipe=recipe, config=config,
                data=fashion_mnist("train", root).source, steps=steps, measured=measured,
                command="make train-infogan_fashion", kwargs=kwargs,
            )  # fmt: skip


def codes_found(
    G: ConditionalGenerator, D: Discriminator, seed: int, root: str | None = None
) -> dict[str, Any]:
    """Compare the codes with the classes and with five properties of the picture.

    On 10,000 images of G the judge names the class; on the 10,000 test images D names the code.
    Each code then stands for the class that suits it best. Information is in nats, log 10 at most.
    ``information_with_codes`` is what the class shares with the categorical code and the signs of
    the continuous ones together; ``..._noise`` takes the signs of as many noise coordinates.
    ``between`` is each property's share of variance between the categorical codes;
    ``explained`` is R^2 within a code, of each continuous code and of the best noise coordinate.
    """
    judge, test = the_judge(), fashion_mnist("test", root)
    x_test = test.normalised()
    x, code = metrics.sample(G, 1_000, seed=seed)
    named = metrics.in_batches(judge, judge, x).argmax(1)
    on_fake = contingency(code, named, 10)
    read = metrics.in_batches(D, lambda part: class_logits(D, part), x_test).argmax(1)
    z = torch.randn(len(x), G.latent_dim, generator=torch.Generator().manual_seed(seed)).double()
    explained, between = {}, {}
    for name, values in properties(x).items():
        between[name], within = split_variance(values, code)
        r2 = r_squared(z, within)
        explained[name] = [*r2[:CODES].tolist(), float(r2[CODES:].max())]
    return {
        "generated_match": best_match(on_fake)[1],
        "generated_information": mutual_information(on_fake),
        "information_with_codes": mutual_information(with_signs(code, z[:, :CODES], named)),
        "information_with_noise": mutual_information(with_signs(code, z[:, -CODES:], named)),
        **grouping(read, test.labels),
        "code_read": head_accuracy(D, x, code),
        "frechet_judge_distance": metrics.frechet_judge_distance(judge, x, x_test, y_b=test.labels),
        "between": between,
        "explained": explained,
    }


def with_signs(code: Tensor, z: Tensor, named: Tensor) -> Tensor:
    """Count how often each code, with the two signs of z (n, 2), meets a class: int64 (40, 40)."""
    signs = (z > 0).long() @ torch.tensor([2, 1])
    return contingency(4 * code + signs, named, 40)


def grouping(groups: Tensor, labels: Tensor) -> dict[str, Any]:
    """Compare ten groups of real images, int64 (n,), with their ten classes."""
    table = contingency(groups, labels, 10)
    return {"real_match": best_match(table)[1], "real_information": mutual_information(table)}


def properties(images: Tensor) -> dict[str, Tensor]:
    """Return five properties of grey images (n, 1, H, W) in [-1, 1], each float64 (n,).

    Mean grey; share of pixels above a fifth of white; the standard deviation of the column and of
    the row of a bright pixel; and height divided by width.
    """
    grey = (images.squeeze(1).double() + 1) / 2
    share = grey / grey.sum((1, 2), keepdim=True)
    place = torch.arange(grey.shape[1], dtype=torch.float64)

    def spread(profile: Tensor) -> Tensor:
        middle = profile @ place
        return (profile @ place**2 - middle**2).clamp_min(0).sqrt()

    width, height = spread(share.sum(1)), spread(share.sum(2))
    area = (grey > 0.2).double().mean((1, 2))
    found = {"brightness": grey.mean((1, 2)), "area": area}
    return found | {"width": width, "height": height, "aspect": height / width}


def split_variance(values: Tensor, groups: Tensor) -> tuple[float, Tensor]:
    """Return the share of the variance between groups, and each value less its group's mean.

    The share is 0 if nothing varies.

    Args:
        values: float64 (n,).
        groups: int64 (n,), each of its numbers from 0 on at least once.
    """
    members = nn.functional.one_hot(groups).double()
    within = values - (members.T @ values / members.sum(0))[groups]
    between = values.var(correction=0) - within.var(correction=0)
    return float(between / values.var(correction=0).clamp_min(1e-12)), within


def r_squared(z: Tensor, values: Tensor) -> Tensor:
    """Return how much of values (n,) a line in each column of z (n, L) explains: float64 (L,)."""
    a, b = z.double() - z.double().mean(0), values.double() - values.double().mean()
    covered = (a * b[:, None]).sum(0) ** 2
    return covered / ((a**2).sum(0) * (b**2).sum()).clamp_min(1e-12)


def k_means(train: Tensor, test: Tensor, seed: int) -> Tensor:
    """Return the cluster of each test image, int64 (n,), of ten found in the training images."""
    pixels = train.flatten(1).numpy()
    centres, _ = kmeans2(pixels, 10, minit="++", rng=seed, iter=30)
    return torch.from_numpy(vq(test.flatten(1).numpy(), centres)[0]).long()


def infogan_rivals(seed: int, root: str | None = None) -> None:
    """Record what InfoGAN's code is compared with: k-means, chance, the judge and the classes."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    x, y = test.normalised(), test.labels
    groups = {
        "k-means": k_means(train.normalised(), x, seed),
        "chance": torch.randint(10, y.shape, generator=torch.Generator().manual_seed(seed)),
    }
    if seed == 0:  # no seed changes these
        judge = the_judge()
        groups |= {"judge": metrics.in_batches(judge, judge, x).argmax(1), "classes": y}
    measured = properties(x)
    for model, group in groups.items():
        between = {name: split_variance(values, group)[0] for name, values in measured.items()}
        row = {**grouping(group, y), "between": between}
        _common.show(model, seed, row)
        record("infogan", {"model": model, "seed": seed, "steps": 0, **row})


RUNS = {"infogan_fashion": infogan_fashion, "infogan_rivals": infogan_rivals}
