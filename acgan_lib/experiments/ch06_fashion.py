"""How each shipped checkpoint was trained: ``python -m acgan_lib.experiments.ch06_fashion NAME``.

``make train-NAME`` runs this. A run that was stopped goes on where it was (``runs/``). The three
GANs share networks, budget and seeds, so that the table in chapter 6 compares objectives and
nothing else; what each seed measured is kept in ``data/results/fashion.json``.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, get_args

import torch
from torch import Tensor

from acgan_lib import metrics, objectives, zoo
from acgan_lib._files import data_dir
from acgan_lib.callbacks import CsvHistory
from acgan_lib.data import fashion_mini, fashion_mnist
from acgan_lib.judge import BATCH_SIZE, Judge, train_judge
from acgan_lib.metrics.matching import best_match, contingency, mutual_information
from acgan_lib.nets import ConditionalGenerator, Discriminator, DiscriminatorOutput, Generator
from acgan_lib.runtime import pick_device, seed_everything
from acgan_lib.train import Callback, Progress, TrainConfig, fit

GAN_STEPS = 6_000
ON_THE_WAY = {300: "early", 1_500: "middle"}  # steps of the shipped AC-GAN's run that ship too
JUDGE_STEPS = 9_360
CAS_EPOCHS = 3
VARIANT_STEPS = 300
INFOGAN_STEPS = 1_500
RESULTS = data_dir() / "results" / "fashion.json"
VARIANT_RESULTS = RESULTS.with_name("fashion_variants.json")
INFOGAN_RESULTS = RESULTS.with_name("infogan.json")


def judge_fashion(seed: int, root: str | None, steps: int = JUDGE_STEPS) -> None:
    """Train the judge on the 60,000 real training images and test it on the 10,000 others."""
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    judge = train_judge(train, steps=steps, seed=seed, device=pick_device()).cpu()
    accuracy = metrics.judge_accuracy(judge, test.normalised(), test.labels)
    print(f"judge_fashion, seed {seed}: test accuracy {accuracy}")
    zoo.save(
        "judge_fashion",
        judge,
        recipe=" ".join(str(train_judge.__doc__).split("\n\n")[1].split()),
        data=train.source,
        seed=seed,
        steps=steps,
        images_seen=steps * BATCH_SIZE,
        metrics={"test_accuracy": accuracy},
    )


def gan_fashion(model: str, seed: int, root: str | None, steps: int = GAN_STEPS) -> None:
    """Train ``model`` ("dcgan", "cgan" or "acgan"), measure it, and keep seed 0 in the zoo."""
    train = fashion_mnist("train", root)
    # At equal images seen, batches of 50 gave better samples than of 100: twice as many updates.
    config = TrainConfig(seed=seed, batch_size=50, lr_g=7e-4, lr_d=7e-4)
    seed_everything(seed)
    G, D, objective = networks(model, train.num_classes)
    device = pick_device()
    run = Path("runs") / f"{model}_fashion-{seed}"
    run.mkdir(parents=True, exist_ok=True)
    callbacks: list[Callback] = [CsvHistory(run / "history.csv")]
    if (model, seed, steps) == ("acgan", 0, GAN_STEPS):
        callbacks.append(partial(keep_on_the_way, config=config, data=train.source, root=root))
    result = fit(
        G.to(device), D.to(device), train, objective,
        steps=steps, config=config, callbacks=callbacks, run_dir=run,
    )  # fmt: skip
    measured = measure(result.G_ema.cpu(), seed, root)
    for name, estimate in measured.items():
        print(f"{model}_fashion, seed {seed}: {name} {estimate}")
    if steps != GAN_STEPS:
        print("not the recipe's number of steps: nothing shipped was replaced")
        return
    record({"model": model, "seed": seed, "steps": steps, **measured})
    if seed == 0:
        zoo.save(
            f"{model}_fashion",
            result.G_ema,
            recipe={"objective": objective.name, **asdict(config)},
            data=train.source,
            seed=seed,
            steps=steps,
            images_seen=steps * config.batch_size,
            metrics=measured,
        )


def keep_on_the_way(
    progress: Progress, *, config: TrainConfig, data: str, root: str | None
) -> None:
    """Ship G_ema as it is after each step of ON_THE_WAY, as acgan_fashion_early and so on.

    With the learning rates of the whole run, for a shorter one would lower them sooner.
    """
    if progress.step not in ON_THE_WAY:
        return
    G = copy.deepcopy(progress.G_ema).cpu()
    of = f"after {progress.step:,} of the {progress.steps:,} steps of acgan_fashion's recipe"
    zoo.save(
        f"acgan_fashion_{ON_THE_WAY[progress.step]}",
        G,
        recipe={"taken": of, **asdict(config)},
        data=data,
        seed=config.seed,
        steps=progress.step,
        images_seen=progress.step * config.batch_size,
        metrics=measure(G, config.seed, root, with_cas=False),
        command="make train-acgan_fashion",
        half=True,
    )


def networks(model: str, num_classes: int) -> tuple[Generator, Discriminator, objectives.Objective]:
    """Return fresh networks of the fast pair, and the objective, for a model of the book."""
    if model == "dcgan":
        return Generator(num_classes=0), Discriminator(), objectives.gan()
    G = Generator(num_classes=num_classes)
    if model == "cgan":
        return G, Discriminator(label_input=num_classes), objectives.cgan()
    if model == "acgan":
        return G, Discriminator(class_head=num_classes), objectives.acgan()
    raise ValueError(f"model must be 'dcgan', 'cgan' or 'acgan', got {model!r}")


def measure(
    G: ConditionalGenerator, seed: int, root: str | None, *, with_cas: bool = True
) -> dict[str, metrics.Estimate]:
    """Measure a FashionMNIST generator with the shipped judge, against the 10,000 test images.

    Frechet judge distance, and, if G knows classes, judge accuracy, same-class MS-SSIM and
    CAS. 10,000 samples, unranked; 60,000 to train the classifier of CAS.
    """
    judge = the_judge()
    test = fashion_mnist("test", root)
    x_test = test.normalised()
    classes = max(G.num_classes, 1)
    x, y = metrics.sample(G, 10_000 // classes, seed=seed)
    balanced = y if G.num_classes else None
    distance = metrics.frechet_judge_distance(judge, x, x_test, y_a=balanced, y_b=test.labels)
    measured = {"frechet_judge_distance": distance}
    if G.num_classes:
        measured["judge_accuracy"] = metrics.judge_accuracy(judge, x, y)
        measured["ms_ssim"] = metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, y))
    if G.num_classes and with_cas:
        x_cas, y_cas = metrics.sample(G, 60_000 // classes, seed=seed + 1_000)
        measured["cas"] = metrics.cas(
            x_cas, y_cas, x_test, test.labels, seed=seed, epochs=CAS_EPOCHS, device=pick_device()
        )
    return measured


def the_judge() -> Judge:
    """Return the shipped judge."""
    judge = zoo.load("judge_fashion")
    assert isinstance(judge, Judge)
    return judge


def real_fashion(seed: int, root: str | None) -> None:
    """Put real images through the same measures: training images in the generator's place."""
    judge = the_judge()
    train, test = fashion_mnist("train", root), fashion_mnist("test", root)
    x_test = test.normalised()
    part = train.per_class(1_000, seed)
    diversity = metrics.ms_ssim_diversity(part.normalised(), part.labels)
    measured = {
        "frechet_judge_distance": metrics.frechet_judge_distance(
            judge, part.normalised(), x_test, y_a=part.labels, y_b=test.labels
        ),
        "judge_accuracy": metrics.judge_accuracy(judge, x_test, test.labels),
        "ms_ssim": metrics.ms_ssim_mean(diversity),
        "cas": metrics.cas(
            train.normalised(), train.labels, x_test, test.labels,
            seed=seed, epochs=CAS_EPOCHS, device=pick_device(),
        ),
    }  # fmt: skip
    for name, estimate in measured.items():
        print(f"real images, seed {seed}: {name} {estimate}")
    record({"model": "real", "seed": seed, "steps": 0, **measured})


def variants_fashion(seed: int, root: str | None, steps: int = VARIANT_STEPS) -> None:
    """Train AC-GAN with each variant of L_C on ``fashion_mini``, briefly, and record the outcome.

    Beside the judge's measures, D's own class accuracy on real test images and on generated ones.
    """
    mini, test = fashion_mini("train"), fashion_mnist("test", root)
    for variant in get_args(objectives.ClassLossOn):
        seed_everything(seed)
        G = Generator().to(pick_device())
        D = Discriminator(class_head=11 if variant == "n+1" else 10).to(pick_device())
        config = TrainConfig(seed=seed, lr_g=1e-3, lr_d=1e-3)
        objective = objectives.acgan(class_loss_on=variant)
        G_ema = fit(G, D, mini, objective, steps=steps, config=config).G_ema
        x, y = metrics.sample(G_ema, 1_000, seed=seed)
        row = {"model": f"acgan[{variant}]", "class_loss_on": variant, "seed": seed}
        row |= {"steps": steps, "data": mini.source}
        row["head_accuracy_real"] = head_accuracy(D, test.normalised(), test.labels)
        row["head_accuracy_fake"] = head_accuracy(D, x, y)
        row |= measure(G_ema, seed, root, with_cas=False)
        record(row, VARIANT_RESULTS)


def infogan_fashion(seed: int, root: str | None, steps: int = INFOGAN_STEPS) -> None:
    """Train InfoGAN without a label, measure what its codes found, and keep seed 0 in the zoo.

    G and D are half as wide as the other models', for this one is not compared with them. The
    latents are those of Chen et al. 2016 on MNIST: 62 of noise, one categorical code of ten
    values and two continuous codes, here normal like the noise. D ships too, for it is Q.
    """
    train = fashion_mnist("train", root)
    config = TrainConfig(seed=seed, batch_size=50, lr_g=1e-3, lr_d=1e-3)
    objective = objectives.infogan(codes=2)
    seed_everything(seed)
    sizes_g = {"latent_dim": 64, "num_classes": 10, "width": 16}
    sizes_d = {"width": 16, "class_head": 10, "code_head": 2}
    G, D = Generator(**sizes_g).to(pick_device()), Discriminator(**sizes_d).to(pick_device())
    run = Path("runs") / f"infogan_fashion-{seed}"
    run.mkdir(parents=True, exist_ok=True)
    history = CsvHistory(run / "history.csv")
    result = fit(
        G, D, train, objective, steps=steps, config=config, callbacks=[history], run_dir=run
    )
    measured = codes_found(result.G_ema.cpu(), D.cpu(), seed, root)
    for name, value in measured.items():
        print(f"infogan_fashion, seed {seed}: {name} {value}")
    if steps != INFOGAN_STEPS:
        print("not the recipe's number of steps: nothing shipped was replaced")
        return
    record({"model": "infogan", "seed": seed, "steps": steps, **measured}, INFOGAN_RESULTS)
    if seed == 0:
        ships = {"infogan_fashion": (result.G_ema, sizes_g), "infogan_fashion_d": (D, sizes_d)}
        for name, (model, kwargs) in ships.items():
            zoo.save(
                name,
                model,
                recipe={"objective": objective.name, **asdict(config)},
                data=train.source,
                seed=seed,
                steps=steps,
                images_seen=steps * config.batch_size,
                metrics=measured,
                command="make train-infogan_fashion",
                kwargs=kwargs,
            )


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


def head_accuracy(D: Discriminator, x: Tensor, y: Tensor) -> metrics.Estimate:
    """Return how often D's class head names the class of ``x``, with its interval.

    A logit beyond the K classes, as the "n+1" variant has, does not take part.
    """
    classes = int(y.max()) + 1
    logits = metrics.in_batches(D, lambda part: class_logits(D, part)[:, :classes], x)
    return metrics.proportion(int((logits.argmax(1) == y).sum()), len(y))


def class_logits(D: Discriminator, x: Tensor) -> Tensor:
    """Return the class head's logits, float (n, K)."""
    out: DiscriminatorOutput = D(x)
    assert out.class_logits is not None
    return out.class_logits


def record(row: dict[str, Any], path: Path = RESULTS) -> None:
    """Put a row into the results, in place of one of the same model and seed."""
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    row = {k: v._asdict() if isinstance(v, metrics.Estimate) else v for k, v in row.items()}
    rows = [r for r in rows if (r["model"], r["seed"]) != (row["model"], row["seed"])] + [row]
    rows.sort(key=lambda r: (r["model"], r["seed"]))
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def main() -> None:
    """Run one recipe from the command line."""
    from acgan_lib.experiments.ch09_glyphs import RECIPES
    from acgan_lib.experiments.ch12_memorise import (
        memorise_fashion,  # these two use this module's record
    )

    RECIPES["memorise_fashion"] = memorise_fashion
    parser = argparse.ArgumentParser(
        prog="python -m acgan_lib.experiments.ch06_fashion", description=__doc__
    )
    kinds = ("judge", "dcgan", "cgan", "acgan", "infogan", "real", "variants")
    parser.add_argument("name", choices=[*(f"{kind}_fashion" for kind in kinds), *RECIPES])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="fewer steps than the recipe's, to try it out")
    parser.add_argument("--root", help="folder with FashionMNIST's four files")
    parser.add_argument("--threads", type=int, help="CPU threads")
    arguments = parser.parse_args()
    if arguments.threads:
        torch.set_num_threads(arguments.threads)
    extra = {"steps": arguments.steps} if arguments.steps else {}
    kind = arguments.name.removesuffix("_fashion")
    if arguments.name in RECIPES:
        RECIPES[arguments.name](arguments.seed, **extra)
    elif kind == "judge":
        judge_fashion(arguments.seed, arguments.root, **extra)
    elif kind == "real":
        real_fashion(arguments.seed, arguments.root)
    elif kind == "infogan":
        infogan_fashion(arguments.seed, arguments.root, **extra)
    elif kind == "variants":
        variants_fashion(arguments.seed, arguments.root, **extra)
    else:
        gan_fashion(kind, arguments.seed, arguments.root, **extra)


if __name__ == "__main__":
    main()
