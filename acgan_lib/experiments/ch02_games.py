"""Six games in the plane, recorded, and how five seeds of each ended (chapter 2).

A recording is seed 0 of its setting, whatever it shows. ``load`` and ``seeds`` read what ``games``
stored in data/results/playground.json.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import torch

from acgan_lib import objectives, toy
from acgan_lib.experiments import _results
from acgan_lib.widgets.playground import Recording, record

STEPS = 1200
SEEDS = 5
HEAD_START = {"lr_d": 1e-3, "head_start": 500}
SETTINGS: dict[str, dict[str, Any]] = {
    "healthy": {"lr_g": 1e-3, "lr_d": 1e-3},
    "collapsed": {"lr_g": 1e-4, "lr_d": 1e-2},
    "cycling": {"lr_g": 2e-3, "lr_d": 2e-4},
    "saturating": {"saturating": True, "lr_g": 3e-3, "plain_g": True, **HEAD_START},
    "non-saturating": {"saturating": False, "lr_g": 3e-3, "plain_g": True, **HEAD_START},
    "saturating, Adam": {"saturating": True, "lr_g": 1e-3, **HEAD_START},
}


def load(*names: str) -> dict[str, Recording]:
    """Return the shipped recordings by name, all of them where none is named.

    Raises:
        KeyError: there is no recording of that name.
    """
    kept = _results.stored("playground")["recordings"]
    return {name: Recording(**kept[name]) for name in names or kept}


def seeds(name: str) -> list[dict[str, Any]]:
    """Return how the seeds of a shipped recording's setting ended, one row a seed.

    ``modes`` and ``high_quality`` are those of the last frame; ``most_modes`` is the most in any
    frame; ``visited`` counts the modes that were at some frame nearest to most samples; ``moved``
    is the median distance of the drawn points from where they were at step 0.
    """
    rows: list[dict[str, Any]] = _results.stored("playground")["seeds"][name]
    return rows


def play(name: str, seed: int, steps: int = STEPS) -> Recording:
    """Play and record one seed of a setting."""
    settings = {**SETTINGS[name]}
    saturating = settings.pop("saturating", False)
    torch.manual_seed(seed)
    return record(
        toy.PointGenerator(),
        toy.PointDiscriminator(),
        toy.ring(),
        objectives.gan(saturating=saturating),
        steps=steps,
        seed=seed,
        settings={"seed": seed, "steps": steps, "saturating": saturating, **SETTINGS[name]},
        **settings,
    )


def ending(run: Recording) -> dict[str, Any]:
    """Return a recording's row of :func:`seeds`."""
    frames = [run.frame(i) for i in range(len(run.steps))]
    ring = toy.Mixture(torch.tensor(run.means, dtype=torch.float64), run.std)
    visited = {int(ring.nearest(frame.points).mode().values) for frame in frames[1:]}
    moved = (frames[-1].points - frames[0].points).norm(dim=1).median()
    return {
        "seed": run.settings["seed"],
        "modes": int(run.numbers["modes"][-1]),
        "high_quality": run.numbers["high_quality"][-1],
        "most_modes": int(max(run.numbers["modes"])),
        "visited": len(visited),
        "moved": float(f"{float(moved):.2g}"),
    }


def games() -> None:
    """Play the six games, five seeds each; print how each ended and keep the recordings."""
    torch.set_num_threads(1)
    kept: dict[str, Any] = {"recordings": {}, "seeds": {}}
    for name in SETTINGS:
        runs = [play(name, seed) for seed in range(SEEDS)]
        kept["recordings"][name] = asdict(runs[0])
        kept["seeds"][name] = [ending(run) for run in runs]
        for row in kept["seeds"][name]:
            print(name, row, flush=True)
    _results.keep("playground", kept)


RUNS = {"games": games}
