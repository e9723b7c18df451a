"""Growing against full size: the same networks and seconds, looks that cost no time, records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from acgan_lib.avatars import KINDS, avatars
from acgan_lib.experiments import _results
from acgan_lib.experiments import ch19_growing as ch19
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
    monkeypatch.setattr(ch19, "WIDTH", 2)
    monkeypatch.setattr(ch19, "BATCH", 4)
    monkeypatch.setattr(ch19, "the_judge", lambda name: Judge(20, 3))
    few = avatars("test", 32).subset(torch.arange(0, 2000, 40))
    monkeypatch.setattr(ch19, "drawn", lambda n, size, folder: few)
    monkeypatch.setattr(ch19, "avatars", lambda split, size: few)
    monkeypatch.setattr(ch19, "measure", lambda G, size, seed, n: {"kind": float(n)})
    monkeypatch.setattr(ch19.Watch.__init__, "__defaults__", (Ticks(),))


def test_both_arms_have_the_same_time_and_end_at_the_same_size() -> None:
    grown, full = ch19.schedule("grown", 80.0), ch19.schedule("full", 80.0)
    assert sum(stage.length for stage in grown) == pytest.approx(80)
    assert [(stage.size, stage.fade) for stage in grown] == [
        (4, 0),
        (8, 0.5),
        (16, 0.5),
        (32, 0.25),
    ]
    assert full == [(32, 80.0, 0.0)]


def test_both_arms_start_from_the_same_weights() -> None:
    (G, D), (again, _), (other, _) = (ch19.networks(seed) for seed in (3, 3, 4))
    mine, theirs = G.state_dict(), again.state_dict()
    assert all(torch.equal(mine[k], theirs[k]) for k in mine)
    assert not torch.equal(G.project.weight, other.project.weight)  # type: ignore[arg-type]
    assert D(torch.zeros(2, 3, 32, 32)).class_logits is not None


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
def test_an_arm_trains_for_its_seconds_and_looks_cost_nothing(arm: Any) -> None:
    G, looks = ch19.train_arm(arm, 1, 120.0, avatars("test", 32))
    assert G.image_size == 32
    assert len(looks.frames) == len(looks.times) == 16
    assert {frame.shape for frame in looks.frames} == {(20, 3, 32, 32)}
    seconds = [spent for spent, _ in looks.times]
    assert seconds == sorted(seconds)
    assert 120 <= seconds[-1] <= 124
    sizes = sorted({size for _, size in looks.times})
    assert sizes == ([4, 8, 16, 32] if arm == "grown" else [32])
    assert [row["seconds"] for row in looks.curve] == seconds[3::4]
    assert 45 <= looks.steps <= 60, "the clock ticks twice a step, and a look's ticks are left out"
    row = looks.curve[-1]
    assert row["size"] == 32
    assert 0 <= row["kind"] <= 1
    assert row["combinations"] <= 1_000


@pytest.mark.usefixtures("small")
def test_a_run_is_recorded_and_the_first_grown_network_ships(
    results: Path, shipped: dict[str, tuple[nn.Module, dict[str, Any]]], monkeypatch: Any
) -> None:
    monkeypatch.setattr(ch19, "SECONDS", 120.0)
    for arm, seed in (("grown", 1), ("full", 0), ("grown", 0)):
        ch19.growing_avatars32(arm, seed)  # type: ignore[arg-type]
    rows = _results.stored("growing")
    assert [(r["model"], r["seed"], r.get("kind")) for r in rows] == [
        ("full", 0, 200.0), ("grown", 0, 200.0), ("grown", 1, None),
    ]  # fmt: skip
    assert all(r["images"] == 4 * r["steps"] and len(r["curve"]) == 4 for r in rows)
    assert {name: a.shape for name, a in _results.arrays("growing").items()} == {
        "full": (16, 20, 3, 32, 32), "grown": (16, 20, 3, 32, 32),
    }  # fmt: skip
    [(name, (G, facts))] = shipped.items()
    assert (name, G.image_size) == ("growing_avatars32", 32)
    assert facts["metrics"] == {"kind": 200.0}
    assert (facts["steps"], facts["class_names"]) == (rows[1]["steps"], KINDS)
    assert "4 px 12 s, 8 px 18 s" in facts["recipe"]
