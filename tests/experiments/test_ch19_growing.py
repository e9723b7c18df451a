"""Growing against full size: the same networks and seconds, looks that cost no time, records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from acgan_lib import zoo
from acgan_lib.avatars import avatars
from acgan_lib.experiments import _results
from acgan_lib.experiments import ch19_growing as ch19
from acgan_lib.families.progressive import GrowingGenerator
from acgan_lib.judge import Judge

pytestmark = pytest.mark.usefixtures("one_thread")


class Ticks:
    """A clock that goes on by one whenever it is read."""

    now = 0.0

    def __call__(self) -> float:
        self.now += 1
        return self.now


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks of width 2, few pictures, and an untrained judge in the place of the shipped one."""
    torch.manual_seed(0)
    monkeypatch.setattr(ch19, "WIDTHS", {32: 2, 64: 2})
    monkeypatch.setattr(ch19, "BATCH", {"cpu": 4, "gpu": 8})
    monkeypatch.setattr(ch19, "the_judge", lambda name: Judge(20, 3))
    few = avatars("test", 32).subset(torch.arange(0, 2000, 40))
    monkeypatch.setattr(ch19, "drawn", lambda n, size, folder: few)
    monkeypatch.setattr(ch19, "avatars", lambda split, size: few)
    monkeypatch.setattr(ch19, "measure", lambda G, size, seed: {"kind": float(size)})


@pytest.mark.parametrize("size", [32, 64])
def test_both_arms_have_the_same_time_and_end_at_the_same_size(size: int) -> None:
    grown, full = (ch19.schedule(arm, size, 80.0) for arm in ("grown", "full"))  # type: ignore[arg-type]
    assert sum(stage.length for stage in grown) == pytest.approx(80)
    assert [stage.size for stage in grown] == [4 * 2**i for i in range(len(grown))]
    assert (grown[0].fade, grown[-1].size) == (0, size)
    assert full == [(size, 80.0, 0.0)]


def test_both_arms_start_from_the_same_weights() -> None:
    pairs = [ch19.networks(32, seed=3) for _ in range(2)]
    for one, other in zip(*pairs, strict=True):
        mine, theirs = one.state_dict(), other.state_dict()
        assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert ch19.networks(32, seed=4)[0].project.bias is not None
    assert not torch.equal(
        ch19.networks(32, seed=4)[0].project.weight,
        pairs[0][0].project.weight,  # type: ignore[arg-type]
    )


def test_a_watch_leaves_its_pauses_out() -> None:
    at = [0.0]
    watch = ch19.Watch(lambda: at[0])
    at[0] = 5.0
    with watch.paused():
        at[0] = 45.0
    at[0] = 47.0
    assert watch() == 7.0


@pytest.mark.usefixtures("small")
@pytest.mark.parametrize("arm", ["grown", "full"])
def test_an_arm_trains_for_its_seconds_and_looks_cost_nothing(
    arm: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ticks = Ticks()
    monkeypatch.setattr(ch19.Watch.__init__, "__defaults__", (ticks,))
    G, row, frames = ch19.train_avatars(arm, 32, 1, 60.0, avatars("test", 32))
    assert G.image_size == 32
    assert [look["size"] for look in row["curve"]][-1] == 32
    seconds = [look["seconds"] for look in row["curve"]]
    assert len(seconds) == len(frames) == 3
    assert seconds == sorted(seconds)
    assert 60 <= seconds[-1] <= 63
    assert 20 <= row["steps"] <= 31, "the clock ticks twice a step, and not at looks"
    assert row["images"] == 4 * row["steps"]
    assert {frame.shape for frame in frames} == {(10, 3, 32, 32)}


@pytest.mark.usefixtures("small")
def test_the_cpu_run_records_both_arms(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ch19, "CPU_SECONDS", 40.0)
    monkeypatch.setattr(ch19.Watch.__init__, "__defaults__", (Ticks(),))
    ch19.growing_avatars32(seed=2)
    rows = _results.stored("growing")
    assert [(r["where"], r["model"], r["seed"]) for r in rows] == [
        ("cpu", "full32", 2), ("cpu", "grown32", 2),
    ]  # fmt: skip
    assert {len(r["curve"]) for r in rows} == {3}


@pytest.mark.usefixtures("small")
def test_what_a_gpu_saved_is_measured_recorded_and_the_first_ships(
    results: Path, shipped: dict[str, tuple[nn.Module, dict[str, Any]]], monkeypatch: Any
) -> None:
    saved: dict[str, nn.Module] = {}
    look = {"kind": 0.5}
    for model, seed, size in (("grown64", 0, 64), ("full64", 0, 64), ("grown32", 1, 32)):
        G = GrowingGenerator(width=2, image_size=size)
        G.about = ch19.about(model[:-2], size, seed, "gpu", 9.0, 5, [look])  # type: ignore[assignment, arg-type]
        path = Path("runs/growing") / f"{model}_{seed}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
        np.savez(path.with_suffix(".npz"), frames=np.full((2, 10, 3, 4, 4), size, np.uint8))
        saved[str(path)] = G
    monkeypatch.setattr(zoo, "load", lambda path: saved[str(path)])
    ch19.adopt_growing()
    rows = _results.stored("growing")
    assert [(r["model"], r["images"], r.get("kind")) for r in rows] == [
        ("full64", 40, 64.0), ("grown32", 40, None), ("grown64", 40, 64.0),
    ]  # fmt: skip
    assert {name: a.shape for name, a in _results.arrays("growing").items()} == {
        "full64": (2, 10, 3, 4, 4), "grown64": (2, 10, 3, 4, 4),
    }  # fmt: skip
    [(G, facts)] = shipped.values()
    assert G is saved["runs/growing/grown64_0.safetensors"]
    assert (facts["steps"], facts["images_seen"]) == (5, 40)
    assert facts["metrics"] == {"kind": 64.0}
    assert "4 px 0 s" in facts["recipe"]
