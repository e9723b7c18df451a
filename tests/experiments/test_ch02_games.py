"""The six games: which seed is kept, under which settings, and what is said of the others."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acgan_lib import objectives, toy
from acgan_lib.experiments import ch02_games, stored
from acgan_lib.widgets import playground


def equal(a: playground.Frame, b: playground.Frame, scales: list[float]) -> bool:
    """To the rounding of both recordings, and to what two machines' sums differ by."""
    limits = [2 * scale + 1e-3 * float(x.abs().max()) for x, scale in zip(a, scales, strict=True)]
    pairs = zip(a, b, limits, strict=True)
    return all(bool((x - y).abs().max() <= limit) for x, y, limit in pairs)


@pytest.mark.parametrize("name", ["healthy", "saturating"])
def test_a_shipped_recording_begins_as_the_same_game_does_now(name: str, one_thread: None) -> None:
    """Before the first step; the saturating one after D's 500 steps alone."""
    run = ch02_games.load(name)[name]
    again, other = (ch02_games.play(name, seed, steps=30) for seed in (0, 1))
    assert equal(again.frame(0), run.frame(0), run.scales[0])
    assert not equal(other.frame(0), run.frame(0), run.scales[0])
    assert run.settings == {**again.settings, "steps": ch02_games.STEPS}
    assert (run.steps[0], run.steps[-1]) == (0, ch02_games.STEPS)


def test_a_setting_says_how_the_game_is_played(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[dict[str, Any]] = []

    def record(G: Any, D: Any, mixture: Any, objective: Any, **how: Any) -> Any:
        calls.append({**how, "loss": objective.name, "weight": next(G.parameters()).clone()})
        return how

    monkeypatch.setattr(ch02_games, "record", record)
    for name in ("saturating", "non-saturating", "collapsed"):
        ch02_games.play(name, 3)
    torch.manual_seed(3)
    fresh = next(toy.PointGenerator().parameters())
    for call in calls:
        assert torch.equal(call.pop("weight"), fresh)  # the seed is that of the weights, too
        assert call.pop("settings")["seed"] == call.pop("seed") == 3
    assert calls[0].pop("loss") == objectives.gan(saturating=True).name
    assert {call.pop("loss") for call in calls[1:]} == {objectives.gan().name}
    late = {"steps": 1200, "lr_g": 3e-3, "lr_d": 1e-3, "plain_g": True, "head_start": 500}
    assert calls == [late, late, {"steps": 1200, "lr_g": 1e-4, "lr_d": 1e-2}]


def visits(*clouds: list[int]) -> playground.Recording:
    """A recording in which the points of each frame stand on these clouds of the ring."""
    means = toy.ring().means.double()
    parts, scales = [], []
    for cloud in clouds:
        scale, integers = playground.quantise(means[cloud], np.int16)
        parts.append(integers.tobytes() + bytes(4 * len(cloud)) + bytes(4))
        scales.append([scale, 1.0, 1.0])
    return playground.Recording(
        settings={"seed": 4},
        steps=[10 * i for i in range(len(clouds))],
        means=means.tolist(),
        std=0.1,
        reach=4.0,
        side=2,
        count=len(clouds[0]),
        scales=scales,
        data=base64.b64encode(b"".join(parts)).decode(),
        numbers={"modes": [0, 3, 2], "high_quality": [0.0, 0.9, 0.5]},
    )


def test_an_ending_counts_what_the_frames_show() -> None:
    """Most points of the last two frames stand on clouds 1 and 4; the median one moves by far."""
    run = visits([0, 0, 0], [1, 1, 2], [4, 4, 0])
    means = toy.ring().means.double()
    assert ch02_games.ending(run) == {
        "seed": 4,
        "modes": 2,
        "high_quality": 0.5,
        "most_modes": 3,
        "visited": 2,
        "moved": pytest.approx(float((means[4] - means[0]).norm()), rel=0.05),
    }
    still = visits([5, 5, 5], [5, 5, 5], [5, 5, 5])
    assert (ch02_games.ending(still)["visited"], ch02_games.ending(still)["moved"]) == (1, 0.0)


def test_the_first_seed_is_the_one_on_show_and_five_are_told_of(
    results: Path, monkeypatch: pytest.MonkeyPatch, one_thread: None
) -> None:
    played: list[tuple[str, int]] = []

    def play(name: str, seed: int) -> playground.Recording:
        played.append((name, seed))
        run = visits([0, 0, 0], [1, 1, 2], [4, 4, 0])
        return playground.Recording(**{**run.__dict__, "settings": {"seed": seed, "name": name}})

    monkeypatch.setattr(ch02_games, "play", play)
    ch02_games.games()
    names = list(ch02_games.SETTINGS)
    assert played == [(name, seed) for name in names for seed in range(5)]
    assert list(stored("playground")["recordings"]) == names
    for name, run in ch02_games.load().items():
        assert run.settings == {"seed": 0, "name": name}
        assert [row["seed"] for row in ch02_games.seeds(name)] == [0, 1, 2, 3, 4]
    assert list(ch02_games.load("cycling", "healthy")) == ["cycling", "healthy"]
    with pytest.raises(KeyError, match="no such"):
        ch02_games.load("no such")
