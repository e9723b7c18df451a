"""InfoGAN on FashionMNIST, without a label, and what its codes found.

What each seed measured is kept in ``data/results/infogan.json``; G and D of seed 0 ship.
"""

from __future__ import annotations

from typing import Any

from acgan_lib import metrics, objectives
from acgan_lib.experiments import _common
from acgan_lib.experiments._common import class_logits, head_accuracy, the_judge
from acgan_lib.experiments._results import record
from acgan_lib.fashion import fashion_mnist
from acgan_lib.metrics.matching import best_match, contingency, mutual_information
from acgan_lib.nets import ConditionalGenerator, Discriminator, Generator
from acgan_lib.runtime import seed_everything
from acgan_lib.train import TrainConfig

STEPS = 1_500


def infogan_fashion(seed: int, root: str | None = None, steps: int = STEPS) -> None:
    """Train InfoGAN without a label, measure what its codes found, and ship seed 0.

    G and D are half as wide as the other models', for this one is not compared with them. The
    latents are those of Chen et al. 2016 on MNIST: 62 of noise, one categorical code of ten
    values and two continuous codes, here normal like the noise. D ships too, for it is Q.
    """
    train = fashion_mnist("train", root)
    config = TrainConfig(seed=seed, batch_size=50, lr_g=1e-3, lr_d=1e-3)
    objective = objectives.infogan(codes=2)
    seed_everything(seed)
    sizes_g = {"latent_dim": 64, "num_classes": 10, "width": 16}
    sizes_d: dict[str, Any] = {"width": 16, "class_head": 10, "code_head": 2}
    G, D = Generator(**sizes_g), Discriminator(**sizes_d)
    G_ema = _common.train("infogan_fashion", G, D, train, objective, config, steps).G_ema.cpu()
    measured = codes_found(G_ema, D.cpu(), seed, root)
    _common.show("infogan_fashion", seed, measured)
    if not _common.is_whole(steps, STEPS):
        return
    record("infogan", {"model": "infogan", "seed": seed, "steps": steps, **measured})
    if seed == 0:
        ships = {"infogan_fashion": (G_ema, sizes_g), "infogan_fashion_d": (D, sizes_d)}
        for name, (network, kwargs) in ships.items():
            _common.ship(
                name, network, recipe={"objective": objective.name}, config=config,
                data=train.source, steps=steps, measured=measured,
                command="make train-infogan_fashion", kwargs=kwargs,
            )  # fmt: skip


def codes_found(
    G: ConditionalGenerator, D: Discriminator, seed: int, root: str | None
) -> dict[str, metrics.Estimate | float]:
    """Compare InfoGAN's categorical code with the classes: on its own images and on real ones.

    On 10,000 images of G the judge names the class; on the 10,000 test images D names the code.
    Each code then stands for the class that suits it best. Information is in nats, log 10 at most.
    """
    judge, test = the_judge(), fashion_mnist("test", root)
    x_test = test.normalised()
    x, code = metrics.sample(G, 1_000, seed=seed)
    on_fake = contingency(code, metrics.in_batches(judge, judge, x).argmax(1), 10)
    read = metrics.in_batches(D, lambda part: class_logits(D, part), x_test).argmax(1)
    on_real = contingency(read, test.labels, 10)
    return {
        "generated_match": best_match(on_fake)[1],
        "generated_information": mutual_information(on_fake),
        "real_match": best_match(on_real)[1],
        "real_information": mutual_information(on_real),
        "code_read": head_accuracy(D, x, code),
        "frechet_judge_distance": metrics.frechet_judge_distance(judge, x, x_test, y_b=test.labels),
    }


RUNS = {"infogan_fashion": infogan_fashion}
