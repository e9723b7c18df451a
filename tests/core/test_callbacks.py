"""What callbacks gather: pictures and the history as CSV, whole after any kill and any resume."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checks import two_classes
from tiny_runs import Stop, config, networks, stop_at, tiny_run

from acgan_lib.callbacks import CsvHistory, SampleGrid
from acgan_lib.checkpoint import Checkpoint
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import gan
from acgan_lib.train import Progress, StopTraining, fit

pytestmark = pytest.mark.usefixtures("one_thread")


def latents(seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    return torch.randn(6, 8, generator=torch.Generator().manual_seed(seed)), torch.arange(6) % 2


def same_frames(a: SampleGrid, b: SampleGrid) -> bool:
    pairs = zip(a.frames, b.frames, strict=True)
    return all(s == t and torch.equal(x, y) for (s, x), (t, y) in pairs)


def read_csv(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


# --- pictures -----------------------------------------------------------------------------------


def test_sample_grid_keeps_frames_of_fixed_latents() -> None:
    z, y = latents()
    grid = SampleGrid(z, y, every=2)
    result = tiny_run(steps=5, callbacks=[grid])
    assert [step for step, _ in grid.frames] == [2, 4, 5]
    assert all(f.shape == (6, 1, 32, 32) and f.dtype == torch.uint8 for _, f in grid.frames)
    with torch.no_grad():
        last = (result.G_ema(z, y).double() + 1) * 127.5
    assert (last - grid.frames[-1][1]).abs().max() < 0.51
    assert not torch.equal(grid.frames[0][1], grid.frames[-1][1])


def test_sample_grid_without_labels() -> None:
    grid = SampleGrid(torch.randn(2, 8), None, every=1)
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=0, width=4), Discriminator(width=4)
    fit(G, D, two_classes(), gan(), steps=1, config=config(), callbacks=[grid])
    assert len(grid.frames) == 1
    with pytest.raises(ValueError, match="every must be 1 or more, got 0"):
        SampleGrid(torch.randn(2, 8), None, every=0)


def test_sample_grid_goes_on_with_its_run(tmp_path: Path) -> None:
    """With frames before the kill, and the latents that the run began with."""
    whole = SampleGrid(*latents(), every=1)
    tiny_run(steps=5, callbacks=[whole])
    with pytest.raises(Stop):
        tiny_run(tmp_path, 5, callbacks=[SampleGrid(*latents(), every=1), stop_at(4)])
    resumed = SampleGrid(*latents(seed=9), every=1)  # a notebook that drew others
    tiny_run(tmp_path, 5, callbacks=[resumed])
    assert same_frames(resumed, whole)
    assert torch.equal(resumed.z, whole.z)
    again = SampleGrid(*latents(), every=1)
    tiny_run(tmp_path, 5, callbacks=[again])  # a finished run, which is only loaded
    assert same_frames(again, whole)


def test_a_grid_that_has_seen_a_killed_try_does_not_show_its_steps_twice(tmp_path: Path) -> None:
    grid = SampleGrid(*latents(), every=1)
    for step in (1, 3):  # from step 0, then from step 2
        with pytest.raises(Stop):
            tiny_run(tmp_path, 5, callbacks=[grid, stop_at(step)])
    tiny_run(tmp_path, 5, callbacks=[grid])
    assert [step for step, _ in grid.frames] == [1, 2, 3, 4, 5]


def test_two_grids_are_told_apart_and_a_new_one_starts_empty(tmp_path: Path) -> None:
    def grids() -> list[SampleGrid]:
        return [SampleGrid(*latents(), every=every) for every in (1, 2)]

    with pytest.raises(Stop):
        tiny_run(tmp_path, 4, callbacks=[*grids(), stop_at(3)])
    three = [*grids(), SampleGrid(*latents(), every=1)]
    tiny_run(tmp_path, 4, callbacks=three)
    assert [[s for s, _ in grid.frames] for grid in three] == [[1, 2, 3, 4], [2, 4], [3, 4]]


# --- the CSV file -------------------------------------------------------------------------------


def test_csv_history_is_the_history(tmp_path: Path) -> None:
    path = tmp_path / "new" / "history.csv"
    result = tiny_run(steps=5, callbacks=[CsvHistory(path)], log_every=2)
    assert read_csv(path) == result.history.rows
    assert [p.name for p in path.parent.iterdir()] == ["history.csv"]


@pytest.mark.parametrize("damage", ["gone", "cut", "another's"])
def test_a_finished_runs_csv_is_made_whole_again(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "history.csv"
    tiny_run(tmp_path, 4, callbacks=[CsvHistory(path)])
    right = path.read_bytes()
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(right[:50] if damage == "cut" else b"step,loss\n1,2\n")
    tiny_run(tmp_path, 4, callbacks=[CsvHistory(path)])
    assert path.read_bytes() == right


def test_csv_history_says_at_once_where_it_cannot_write(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(OSError, match="a part of the path is a file"):
        CsvHistory(tmp_path / "file" / "history.csv")
    assert (tmp_path / "file").read_text() == "mine"


def test_a_write_of_the_csv_that_fails_leaves_the_old_one(tmp_path: Path, monkeypatch) -> None:
    path = tmp_path / "history.csv"

    def fail(*_: Any) -> None:
        raise OSError(28, "No space left on device")

    def fill_the_disk(progress: Progress) -> None:
        if progress.step == 2:
            monkeypatch.setattr("os.fsync", fail)

    with pytest.raises(OSError, match="make room on its disk") as caught:
        tiny_run(steps=4, callbacks=[CsvHistory(path), fill_the_disk])
    assert str(path) in str(caught.value)
    assert [row["step"] for row in read_csv(path)] == [1, 2]
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]


# --- callbacks and checkpoints ------------------------------------------------------------------


@pytest.mark.parametrize("killed_at", [2, 4, 5])
def test_a_kill_at_a_checkpoint_leaves_out_no_callback_and_no_row(
    tmp_path: Path, monkeypatch, killed_at: int
) -> None:
    """Just before the checkpoint is written, and just after: each step is called back."""
    whole = CsvHistory(tmp_path / "whole.csv")
    tiny_run(steps=5, callbacks=[whole])
    write = Checkpoint.write
    for moment in ("before", "after"):
        run, seen = tmp_path / moment, []
        path = run / "history.csv"

        def killing(self: Checkpoint, saved: Any, moment: str = moment) -> None:
            if saved["step"] == killed_at and moment == "before":
                raise Stop
            write(self, saved)
            if saved["step"] == killed_at:
                raise Stop

        def watch(progress: Progress, seen: list[int] = seen) -> None:
            seen.append(progress.step)

        with monkeypatch.context() as patched:
            patched.setattr(Checkpoint, "write", killing)
            with pytest.raises(Stop):
                tiny_run(run, 5, callbacks=[CsvHistory(path), watch])
        tiny_run(run, 5, callbacks=[CsvHistory(path), watch])
        assert sorted(set(seen)) == [1, 2, 3, 4, 5]
        assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()


def test_a_callback_that_stops_the_run_stops_those_after_it(tmp_path: Path) -> None:
    seen = []

    def stop(progress: Progress) -> None:
        seen.append("stop")
        raise StopTraining

    result = tiny_run(steps=3, callbacks=[stop, lambda p: seen.append("after")])
    assert seen == ["stop"]
    assert [row["step"] for row in result.history.rows] == [1]
    assert not result.G.training


@pytest.mark.parametrize("kept", [np.zeros(3), np.float64(1), lambda: 0, Path("here")])
def test_a_state_that_could_not_be_read_again_is_refused_before_the_first_step(
    tmp_path: Path, kept: Any
) -> None:
    class Keeps:
        def __call__(self, progress: Progress) -> None:
            raise AssertionError("a step was taken")

        def state_dict(self) -> dict[str, Any]:
            return {"kept": kept}

        def load_state_dict(self, state: dict[str, Any]) -> None: ...

    with pytest.raises(ValueError, match=r"a callback's state_dict\(\) must hold tensors"):
        tiny_run(tmp_path, steps=1, callbacks=[Keeps()])
    assert not (tmp_path / "last.pt").exists()


def test_only_rank_0_keeps_what_callbacks_gather(tmp_path: Path) -> None:
    from acgan_lib.train import OneProcess

    class Second(OneProcess):
        rank, first = 1, False

    grid = SampleGrid(*latents(), every=1)
    fit(
        *networks(), two_classes(), gan(), steps=2, config=config(), callbacks=[grid],
        run_dir=tmp_path / "run", ranks=Second(),
    )  # fmt: skip
    assert grid.frames == []
    assert not (tmp_path / "run").exists()
