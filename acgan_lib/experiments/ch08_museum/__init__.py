"""The museum of bugs: wrong lines of real GAN code, each with the check that catches it.

An :class:`Exhibit` holds one small piece of a GAN twice, ``wrong`` and ``right``, a number that
tells the two apart, and a check that raises AssertionError on the wrong one. The checks take any
piece of the same form, so that a reader can hand them a loss or a network of their own.

``rehearse`` trains an AC-GAN with a bug in the library's place; ``python -m
acgan_lib.experiments.ch08_museum`` records these trainings in ``data/results/museum.json`` and
``museum.npz``; :class:`Museum` shows the recording, without a kernel.
"""

from acgan_lib.experiments.ch08_museum.exhibits import EXHIBITS, Exhibit, catches, exhibit
from acgan_lib.experiments.ch08_museum.runs import (
    FIXED,
    SEEDS,
    STEPS,
    TRAINABLE,
    installed,
    recorded,
    recorded_grid,
    rehearse,
    shown_latents,
)
from acgan_lib.experiments.ch08_museum.widget import Museum

__all__ = [
    "EXHIBITS",
    "FIXED",
    "SEEDS",
    "STEPS",
    "TRAINABLE",
    "Exhibit",
    "Museum",
    "catches",
    "exhibit",
    "installed",
    "recorded",
    "recorded_grid",
    "rehearse",
    "shown_latents",
]
