"""The museum of bugs: wrong lines of real GAN code, each with the check that catches it.

An :class:`Exhibit` holds one small piece of a GAN twice, ``wrong`` and ``right``, a number that
tells the two apart, and a check that raises AssertionError on the wrong one. The checks take any
piece of the same form, so that a reader can hand them a loss or a network of their own.

``rehearse`` trains an AC-GAN with a bug in the library's place; ``python -m acgan_lib.experiments
museum`` records these trainings; :class:`Museum` shows the recording, without a kernel.

The recording is ``experiments.stored("museum")``: ``runs[name]`` has ``rows``, the losses of the
first seed's training, and ``seeds[seed]``, what ``measure_run`` said of each; ``few[seed]`` is
what ``few_images`` reported; ``after[name]`` and
``numbers[name]`` have the figure of an exhibit for ``wrong`` and ``right``, from a training and
from the piece alone.
"""

from acgan_lib.experiments.ch08_museum.exhibits import EXHIBITS, Exhibit, catches, exhibit
from acgan_lib.experiments.ch08_museum.runs import (
    FIXED,
    FIXED_CGAN,
    FIXED_FAST,
    SEEDS,
    STEPS,
    TRAINABLE,
    WITHOUT_BUG,
    installed,
    museum,
    recorded_grid,
    rehearse,
    shown_latents,
    sound,
)
from acgan_lib.experiments.ch08_museum.widget import Museum

RUNS = {"museum": museum}

__all__ = [
    "EXHIBITS",
    "FIXED",
    "FIXED_CGAN",
    "FIXED_FAST",
    "RUNS",
    "SEEDS",
    "STEPS",
    "TRAINABLE",
    "WITHOUT_BUG",
    "Exhibit",
    "Museum",
    "catches",
    "exhibit",
    "installed",
    "recorded_grid",
    "rehearse",
    "shown_latents",
    "sound",
]
