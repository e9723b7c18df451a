"""The one reader and writer of data/results: nothing is lost, and what is damaged is named."""

from __future__ import annotations

import json
import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from acgan_lib import experiments
from acgan_lib._files import data_dir
from acgan_lib.experiments import _results
from acgan_lib.metrics import Estimate

ESTIMATE = Estimate(0.5, 0.4, 0.6, 9)
STORED = sorted(path.stem for path in (data_dir() / "results").glob("*.json"))


def names(folder: Path) -> list[str]:
    """The files of a folder but for locks."""
    return sorted(p.name for p in folder.iterdir() if p.suffix != ".lock")


# -- rows --------------------------------------------------------------------------------------


def test_a_row_takes_the_place_of_the_one_of_its_model_and_seed(results: Path) -> None:
    for model, seed, steps in [("cgan", 1, 5), ("acgan", 0, 5), ("cgan", 0, 5), ("cgan", 1, 9)]:
        row = {"model": model, "seed": seed, "steps": steps, "cas": ESTIMATE}
        _results.record("fashion", row)
    rows = json.loads((results / "fashion.json").read_text())
    assert [(r["model"], r["seed"], r["steps"]) for r in rows] == [
        ("acgan", 0, 5), ("cgan", 0, 5), ("cgan", 1, 9),
    ]  # fmt: skip
    assert rows[2]["cas"] == {"value": 0.5, "low": 0.4, "high": 0.6, "n": 9}
    assert names(results) == ["fashion.json"]
    assert _results.done("fashion", "cgan", 1)
    assert not _results.done("fashion", "acgan", 1)
    assert not _results.done("nothing", "acgan", 0)


def test_other_fields_may_tell_rows_apart(results: Path) -> None:
    for score in (1, 2):
        for method in ("plain", "history"):
            row = {"game": "ring", "method": method, "seed": 0, "score": score}
            _results.record("games", row, by=("game", "method", "seed"))
    rows = _results.stored("games")
    assert [(r["method"], r["score"]) for r in rows] == [("history", 2), ("plain", 2)]


def test_done_asks_for_other_fields_too(results: Path) -> None:
    row = {"model": "gan", "norm": "both", "seed": 0}
    _results.record("norms", row, by=("model", "norm", "seed"))
    assert _results.done("norms", "gan", 0, norm="both")
    assert not _results.done("norms", "gan", 0, norm="batch")


def test_estimates_come_back_wherever_they_stand(results: Path) -> None:
    row = {
        "model": "a", "seed": 0, "cas": ESTIMATE, "by class": [ESTIMATE, ESTIMATE],
        "by side": {"32": ESTIMATE}, "layers": ("pixels", "block 1"), "mean": 0.25,
    }  # fmt: skip
    _results.record("rows", row)
    assert _results.stored("rows") == [{**row, "layers": ["pixels", "block 1"]}]
    assert type(_results.stored("rows")[0]["by side"]["32"]) is Estimate


@pytest.mark.parametrize("name", STORED)
def test_what_is_stored_would_be_written_the_same_to_the_byte(name: str) -> None:
    path = _results.path(name)
    if name != "playground":  # which acgan_lib.widgets.playground writes, more compactly
        assert _results.encoded(experiments.stored(name)) == path.read_bytes()


def test_a_block_that_raises_changes_nothing(results: Path) -> None:
    _results.keep("costs", {"seconds": 1})

    def fail() -> None:
        with _results.changing("costs", {}) as kept:
            kept["seconds"] = 2
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert _results.stored("costs") == {"seconds": 1}


# -- arrays ------------------------------------------------------------------------------------


def test_arrays_are_kept_beside_one_another(results: Path) -> None:
    first, other = np.arange(6, dtype=np.uint8).reshape(2, 3), np.array([7])
    _results.keep_arrays("labels", {"fashion, 10 a class": first})
    _results.keep_arrays("labels", {"steps": other})
    _results.keep_arrays("labels", {"steps": other + 1})
    kept = experiments.arrays("labels")
    assert list(kept) == ["fashion, 10 a class", "steps"]
    assert kept["fashion, 10 a class"].dtype == np.uint8
    assert np.array_equal(kept["fashion, 10 a class"], first)
    assert kept["steps"].tolist() == [8]
    assert names(results) == ["labels.npz"]


# -- damage ------------------------------------------------------------------------------------


@pytest.mark.parametrize("content", [b"", b'[{"model": "acgan", ', b"\xff\xfe", b"[1] 2"])
def test_a_damaged_file_is_named_with_the_way_out_and_left_alone(
    results: Path, content: bytes
) -> None:
    results.mkdir()
    path = results / "fashion.json"
    path.write_bytes(content)
    message = r"fashion\.json is damaged .*git checkout data/results"
    for call in (
        lambda: _results.stored("fashion"),
        lambda: _results.done("fashion", "acgan", 0),
        lambda: _results.record("fashion", {"model": "acgan", "seed": 0}),
    ):
        with pytest.raises(ValueError, match=message):
            call()
    assert path.read_bytes() == content


def test_damaged_arrays_are_named_wherever_the_damage_is(results: Path) -> None:
    _results.keep_arrays("labels", {"a": np.arange(500), "b": np.arange(500)})
    path = results / "labels.npz"
    whole = path.read_bytes()
    flipped = bytearray(whole)
    flipped[len(whole) // 3] ^= 4
    for content in (b"", whole[:20], whole[: len(whole) // 2], whole[:-9], bytes(flipped)):
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"labels\.npz is damaged"):
            _results.keep_arrays("labels", {"c": np.arange(3)})
        assert path.read_bytes() == content


def test_a_result_that_is_not_there_is_named_beside_those_that_are(results: Path) -> None:
    _results.record("fashion", {"model": "acgan", "seed": 0})
    with pytest.raises(FileNotFoundError, match="no result 'fashions'; there are: fashion"):
        _results.stored("fashions")


def test_a_full_disk_loses_nothing(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _results.record("fashion", {"model": "acgan", "seed": 0})
    before = (results / "fashion.json").read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("acgan_lib._files.os.replace", full)
    with pytest.raises(OSError, match=r"make room .*fashion\.json"):
        _results.record("fashion", {"model": "acgan", "seed": 1})
    assert (results / "fashion.json").read_bytes() == before
    assert names(results) == ["fashion.json"]


def test_reading_takes_no_lock_so_that_the_folder_may_be_read_only(results: Path) -> None:
    results.mkdir()
    (results / "fashion.json").write_text("[]")
    np.savez(results / "fashion.npz", a=np.arange(3))
    experiments.stored("fashion")
    experiments.arrays("fashion")
    assert sorted(p.name for p in results.iterdir()) == ["fashion.json", "fashion.npz"]


# -- many at once ------------------------------------------------------------------------------

WRITERS, EACH = 8, 12


def write_rows(folder: Path, writer: int, start: multiprocessing.synchronize.Barrier) -> None:
    """Record rows and arrays as fast as possible, beside others that do the same."""
    _results.data_dir = lambda: folder  # in this process alone
    start.wait()
    for seed in range(EACH):
        _results.record("rows", {"model": f"writer {writer}", "seed": seed})
        _results.keep_arrays("rows", {f"{writer} {seed}": np.array([seed])})


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_processes_that_record_at_once_lose_no_row_and_no_picture(results: Path) -> None:
    context = multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")
    start = context.Barrier(WRITERS)
    processes = [
        context.Process(target=write_rows, args=(results.parent, writer, start))
        for writer in range(WRITERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0] * WRITERS
    found = {(row["model"], row["seed"]) for row in _results.stored("rows")}
    assert len(found) == WRITERS * EACH
    assert len(_results.arrays("rows")) == WRITERS * EACH


def test_git_does_not_see_locks_and_leftovers(root: Path, tmp_path: Path) -> None:
    if shutil.which("git") is None or not (root / ".git").exists():
        pytest.skip("no clone")
    for name in (".fashion.json.lock", ".fashion.npz.lock", ".fashion.json.7-ab.tmp"):
        path = f"data/results/{name}"
        command = ["git", "check-ignore", "-q", path]
        assert subprocess.run(command, cwd=root, check=False).returncode == 0, path
    for name in STORED:
        command = ["git", "check-ignore", "-q", f"data/results/{name}.json"]
        assert subprocess.run(command, cwd=root, check=False).returncode == 1, name
