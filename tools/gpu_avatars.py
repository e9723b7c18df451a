"""Train the shipped GANs of avatars side by side on one GPU: python tools/gpu_avatars.py OUT

The recipe is that of `acgan_lib.experiments.ch10_avatars`, the steps those of
`tools/gpu_trainings.py`. (The shipped generators came from a draft, which computed in bfloat16
and went through the pictures epoch by epoch.) The generators are saved into OUT. It wants a set
drawn by ``make avatars N=3000 SIZE=64``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from gpu_trainings import Recipe, Training, together

from acgan_lib import zoo
from acgan_lib.avatars import drawn
from acgan_lib.experiments.ch10_avatars import GAN_STEPS, PER_KIND, networks
from acgan_lib.objectives import acgan, cgan

RECIPE = Recipe(batch=64, rate=4e-4, betas=(0.0, 0.99), ema=0.9995)


def main() -> None:
    """Train, and save the averaged generators, from the command line."""
    parser = argparse.ArgumentParser(description=str(__doc__).split("\n\n")[0])
    parser.add_argument("out", type=Path, help="folder for the generators")
    parser.add_argument("--root", help="folder of the drawn sets, as OUT of `make avatars`")
    parser.add_argument("--steps", type=int, default=GAN_STEPS)
    parser.add_argument("--seed", type=int, default=0)
    a = parser.parse_args()
    trainings = {}
    for size in (32, 64):
        data = drawn(PER_KIND, size, folder=a.root)
        for model, objective in (("acgan", acgan()), ("cgan", cgan())):
            pair = networks(model, size, a.seed)
            training = Training(*pair, objective, data, RECIPE, a.steps, a.seed)
            training.capture()
            trainings[f"{model}_avatars{size}"] = training
    print(f"{together([*trainings.values()], a.steps):.2f} ms a round")
    for name, training in trainings.items():
        zoo.save(training.G_ema.cpu(), a.out / f"{name}.safetensors", half=True)


if __name__ == "__main__":
    main()
