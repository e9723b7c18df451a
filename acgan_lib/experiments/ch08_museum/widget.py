"""The widget: every exhibit under a switch, over what was recorded."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from acgan_lib.experiments._results import arrays, stored
from acgan_lib.experiments.ch08_museum.exhibits import EXHIBITS, Exhibit, K, exhibit
from acgan_lib.experiments.ch08_museum.runs import FIXED_CGAN, FRAMES, SEEDS, sound
from acgan_lib.fashion import FASHION_CLASSES
from acgan_lib.widgets.base import Face, bundle, png, style


class Museum(Face):
    """All exhibits, each with a switch between bug and fix, over what was recorded.

    ``start`` names the exhibit shown first. Needs no kernel; pictures and curves travel inside
    the widget (``nbytes``).
    """

    _esm = bundle("ui", "museum")
    _css = style("widgets", "museum")

    def __init__(self, start: str = EXHIBITS[0].name) -> None:
        kept, grids = stored("museum"), arrays("museum")
        first: dict[str, list[int]] = {}
        count = 0
        for name, frames in grids.items():
            first[name] = [count + i * frames.shape[1] for i in range(len(frames))]
            count += frames.shape[0] * frames.shape[1]
        pictures = torch.from_numpy(
            np.concatenate([g.reshape(-1, 1, 32, 32) for g in grids.values()])
        )
        across = math.ceil(math.sqrt(count))  # near square: browsers limit a picture's side
        spec = {
            "kind": "museum",
            "exhibits": [_shown(one, kept, first) for one in EXHIBITS],
            "columns": K,
            "n": 2 * K,
            "side": 32,
            "across": across,
            "labels": list(FASHION_CLASSES),
            "start": EXHIBITS.index(exhibit(start)),
        }
        still = png(pictures, across)
        self.nbytes = len(still)
        super().__init__(spec, still, f"exhibits={len(EXHIBITS)}, start={start}")


def _shown(one: Exhibit, kept: dict[str, Any], first: dict[str, list[int]]) -> dict[str, Any]:
    """What the front end shows of an exhibit; of each pair, the bug's comes first."""
    runs, seed = kept["runs"], str(SEEDS[0])

    def pair(what: str, wrong: float, right: float) -> dict[str, Any]:
        return {"what": what, "values": [f"{v:.2f}".replace("-", "\u2212") for v in (wrong, right)]}

    facts = [pair(one.number, *kept["numbers"][one.name].values())]
    curve: dict[str, Any] | None = None
    frames: list[str] = []
    grids: list[list[int]] = [[], []]
    what = ""
    if one.where:
        fixed = sound(one.name)
        broken, whole = runs[one.name], runs[fixed]
        ends = broken["seeds"][seed], whole["seeds"][seed]
        facts.append(pair("judge accuracy after training", *(end["judge"] for end in ends)))
        if one.name == "last-class":
            last = (end["judge_by_class"][-1] for end in ends)
            facts.append(pair(f"judge accuracy, {FASHION_CLASSES[-1]}", *last))
        if one.name == "new-labels":
            facts.append(
                pair("accuracy of D's class head on fakes", *(e["d_on_fake"] for e in ends))
            )
        if one.name in ("goes-black", "quiet-noise"):
            facts.append(pair("spread of a pixel within a class", *(e["spread"] for e in ends)))
        if fixed == FIXED_CGAN:
            facts.append(
                pair("test images whose own label D prefers", *(e["right_label"] for e in ends))
            )
        curve = {
            "term": one.curve,
            "steps": [row["step"] for row in whole["rows"]],
            "values": [[row[one.curve] for row in run["rows"]] for run in (broken, whole)],
        }
        frames = [f"step {step}" for step in FRAMES]
        grids = [first[one.name], first[fixed]]
        what = "Two latents under ten classes, unranked, seed 0"
    if one.name == "seen-only":
        few = kept["few"][seed]
        facts.append(
            pair("lowest figure of a D with ten images a class",
                 min(few["own fakes"], few["training images"]), min(few.values()))
        )  # fmt: skip
    if one.name in kept["after"]:
        facts.append(pair(AFTER[one.name], *kept["after"][one.name].values()))
    if one.name in first and not one.where:
        frames, grids = ["at the end"], [first[one.name], first[f"{one.name}, fixed"]]
        what = {
            "train-mode": "The shipped AC-GAN: one z, in a mixed batch and among boots",
            "average-of-parameters": "The moving average of one sound training",
            "best-by-d": "Two of 100 samples of each class of one sound training",
        }[one.name]
    return {
        "title": one.title,
        "symptom": one.symptom,
        "lines": [one.wrong_line, one.right_line],
        "facts": facts,
        "curve": curve,
        "frames": frames,
        "grids": grids,
        "what": what,
    }


AFTER = {
    "average-of-parameters": "judge accuracy of the average's samples",
    "best-by-d": "judge accuracy of what is shown",
    "graded-by-d": "accuracy reported of one sound training",
}
