"""The dose-response of AC-GAN's class term: five weights on G's class loss, five seeds each.

Nothing but ``g_class_weight`` differs between the trainings of one seed: the first weights, the
order of the images, the latents and the labels are the same, so differences may be paired by
seed. The rows are in ``data/results/fashion_dose.json``.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib import metrics, objectives
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common
from acgan_lib.experiments._results import done, record
from acgan_lib.fashion import fashion_mnist
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import TrainConfig, fit

DOSES = (0.0, 0.1, 0.3, 1.0, 3.0)  # of G's class loss; 1 is the paper's
STEPS = 4_500
WIDTH, BATCH_SIZE, RATE = 16, 25, 1e-3
SAMPLES = 1_000  # of each class
CAS_EPOCHS = 3
SURE = 0.7  # an image is undecided where the judge gives no class so much


def dose_fashion(
    seed: int, root: str | None = None, steps: int = STEPS, doses: tuple[float, ...] = DOSES
) -> None:
    """Train AC-GAN with each weight on G's class loss, and record what the seed measured.

    Rows that are recorded already are left out, so that a stopped run goes on with the next.
    """
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    for dose in doses:
        model = f"g_class_weight={dose:g}"
        if steps == STEPS and done("fashion_dose", model, seed):
            continue
        measured = measure(trained(train, dose, seed, steps), seed, test)
        _common.show(model, seed, measured)
        if _common.is_whole(steps, STEPS):
            row = {"model": model, "g_class_weight": dose, "seed": seed, "steps": steps}
            record("fashion_dose", {**row, "data": train.source, **measured})


def trained(data: LabelledImages, dose: float, seed: int, steps: int) -> nn.Module:
    """Return G's running average after a training with that weight on its class loss."""
    seed_everything(seed)
    classes, device = data.num_classes, pick_device()
    G = Generator(num_classes=classes, width=WIDTH).to(device)
    D = Discriminator(class_head=classes, width=WIDTH).to(device)
    config = TrainConfig(
        seed=seed, batch_size=BATCH_SIZE, lr_g=RATE, lr_d=RATE, progress=False
    )  # fmt: skip
    objective = objectives.acgan(g_class_weight=dose)
    return fit(G, D, data, objective, steps=steps, config=config).G_ema.cpu()


def measure(G: nn.Module, seed: int, test: LabelledImages) -> dict[str, Any]:
    """Measure 10,000 unranked samples with the shipped judge against the 10,000 test images.

    CAS trains its classifier on the same samples.
    """
    x, y = metrics.sample(G, SAMPLES, seed=seed)
    return {
        **_common.measure(_common.the_judge(), x, y, test, resamples=10, by_class=True),
        **undecided(_common.the_judge(), x, y),
        "cas": learned(x, y, test, seed),
    }


def real_dose(seed: int, root: str | None = None) -> None:
    """Put 10,000 real training images through the measures of the dose-response.

    The judge learned from them, so its accuracy and its undecided images are of the test images.
    """
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    part = train.per_class(SAMPLES, seed)
    judge, x_test = _common.the_judge(), test.normalised()
    measured = {
        **_common.measure_real(judge, part, test, resamples=10, by_class=True),
        **undecided(judge, x_test, test.labels),
        "cas": learned(part.normalised(), part.labels, test, seed),
    }
    _common.show("real", seed, measured)
    record("fashion_dose", {"model": "real", "seed": seed, "steps": 0, **measured})


def undecided(judge: nn.Module, x: Tensor, y: Tensor) -> dict[str, Any]:
    """Return the share of images in which the judge gives no class SURE, of all and by class."""
    unsure = metrics.in_batches(judge, judge, x).softmax(1).amax(1) < SURE
    share = [round(float(unsure[y == k].float().mean()), 3) for k in torch.unique(y)]
    whole = metrics.proportion(int(unsure.sum()), len(unsure))
    return {"undecided": whole, "undecided_by_class": share}


def learned(x: Tensor, y: Tensor, test: LabelledImages, seed: int) -> metrics.Estimate:
    """Return the accuracy on real test images of a classifier that learned from x and y."""
    return metrics.cas(
        x, y, test.normalised(), test.labels,
        seed=seed, epochs=CAS_EPOCHS, device=pick_device(),
    )  # fmt: skip


RUNS = {"dose_fashion": dose_fashion, "real_dose": real_dose}
