"""Files that a kill, a full disk or a rival cannot spoil."""

from __future__ import annotations

import errno
import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from acgan_lib import _files, checkpoint
from acgan_lib.callbacks import CsvHistory
from acgan_lib.train import History, Progress


def write_text(path: Path, n: int) -> None:
    _files.write(path, str(n).encode())


def write_checkpoint(path: Path, n: int) -> None:
    checkpoint.Checkpoint(path, {}).write({"step": n})


def write_csv(path: Path, n: int) -> None:
    row = {"step": float(n)}
    G: Any = None
    CsvHistory(path)(Progress(n, 9, G, G, G, History([row]), terms=row))


WRITERS = pytest.mark.parametrize("write", [write_text, write_checkpoint, write_csv])


@WRITERS
def test_bytes_reach_the_disk_under_another_name_before_they_take_the_files(
    write, tmp_path: Path, monkeypatch
) -> None:
    path, events = tmp_path / "file", []
    write(path, 1)
    old = path.read_bytes()
    fsync, replace = os.fsync, os.replace

    def synced(fd: int) -> None:
        assert path.read_bytes() == old
        events.append(("fsync", os.fstat(fd).st_size))
        fsync(fd)

    def renamed(source: Path, target: Path) -> None:
        assert path.read_bytes() == old
        events.append(("replace", source.stat().st_size))
        assert source.parent == Path(target).parent  # on one disk, so that it is one step
        replace(source, target)

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "replace", renamed)
    write(path, 2)
    size = path.stat().st_size
    assert path.read_bytes() != old
    # check_writable, of the CSV, syncs a file of its own before
    assert events[-2:] == [("fsync", size), ("replace", size)]
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@WRITERS
@pytest.mark.parametrize("fails", ["fsync", "replace"])
@pytest.mark.parametrize(
    ("code", "advice"), [(errno.ENOSPC, "make room"), (errno.EROFS, "read-only"), (5, "nothing")]
)
def test_a_write_that_fails_leaves_the_old_file_and_names_path_and_remedy(
    write, fails: str, code: int, advice: str, tmp_path: Path, monkeypatch
) -> None:
    path = tmp_path / "file"
    write(path, 1)
    old = path.read_bytes()

    def fail(*_: Any) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, fails, fail)
    with pytest.raises(OSError, match=advice) as caught:
        write(path, 2)
    assert caught.value.errno == code
    assert str(tmp_path) in str(caught.value)
    assert path.read_bytes() == old
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_writers_at_once_do_not_share_a_temporary_name(tmp_path: Path) -> None:
    path = tmp_path / "file"
    contents = [bytes([i]) * 20_000 for i in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda c: [_files.write(path, c) for _ in range(5)], contents))
    assert path.read_bytes() in contents
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_lock_is_held_by_one_at_a_time_and_given_back(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    with (
        _files.locked(path),
        pytest.raises(TimeoutError, match="in use by another process or thread"),
        _files.locked(path, wait=0.01),
    ):
        raise AssertionError("two hold it")
    with _files.locked(path, wait=0.01):
        pass


def test_a_folder_is_tried_with_as_much_as_will_come(tmp_path: Path, monkeypatch) -> None:
    folder, sizes = tmp_path / "deep" / "folder", []
    fsync = os.fsync
    monkeypatch.setattr(os, "fsync", lambda fd: (sizes.append(os.fstat(fd).st_size), fsync(fd)))
    for size in (1, 4096, 3 * 2**20 + 17):
        _files.check_writable(folder, size)
    assert sizes == [1, 4096, 3 * 2**20 + 17]
    assert list(folder.iterdir()) == []


def test_a_part_of_the_path_that_is_a_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    for act in (
        lambda p: _files.check_writable(p),
        lambda p: _files.write(p / "x", b""),
        lambda p: _files.locked(p / "x").__enter__(),
    ):
        with pytest.raises(OSError, match="a part of the path is a file: name another folder"):
            act(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_only_leftovers_are_swept(tmp_path: Path) -> None:
    for name in (".a.pt.12-ab.tmp", ".b.pt.12-ab.tmp", "a.pt", "a.pt.tmp", ".a.pt.lock"):
        (tmp_path / name).touch()
    _files.sweep(tmp_path / "a.pt")
    left = {".b.pt.12-ab.tmp", "a.pt", "a.pt.tmp", ".a.pt.lock"}
    assert {p.name for p in tmp_path.iterdir()} == left
