"""Where the shipped data is, and files that a kill, a full disk or a rival cannot spoil."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from filelock import FileLock, Timeout

_PACKAGE = Path(__file__).resolve().parent


def data_dir() -> Path:
    """Return the folder that holds ``fashion_mini`` and ``checkpoints``.

    A wheel carries the data inside the package, in ``_data``. A clone, also one that is
    installed editable, has it in ``data`` beside the package.

    Raises:
        FileNotFoundError: neither folder exists.
    """
    for folder in (_PACKAGE / "_data", _PACKAGE.parent / "data"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(
        "The book's data folder is missing: install acgan_lib from a clone of the repository or "
        "with `pip install git+ADDRESS`, not by copying the package folder alone."
    )


def cache_dir() -> Path:
    """Return the folder for downloads and drawn sets whose place the reader did not say."""
    return expand(os.environ.get("XDG_CACHE_HOME") or "~/.cache") / "acgan_lib"


def expand(path: str | os.PathLike[str]) -> Path:
    """Return a path that the reader gave, with ``~`` replaced by the home folder."""
    return Path(path).expanduser()


def write(path: Path, content: bytes) -> None:
    """Write a file so that at any moment the old one or the new one is whole.

    The bytes go to a temporary name of this call's own, reach the disk, and are then renamed.

    Raises:
        OSError: of the kind that the system reports, with the path and what to do about it. The
            old file is as it was, and the temporary one is gone.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with open(temporary, "xb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        finally:
            with contextlib.suppress(OSError):
                temporary.unlink()


def check_writable(folder: Path, size: int = 4096) -> None:
    """Create `folder` and a file of `size` bytes in it, so that a run fails before its first step.

    Raises:
        OSError: as `write`.
    """
    probe = folder / f".probe.{os.getpid()}-{secrets.token_hex(4)}.tmp"
    chunk = secrets.token_bytes(min(size, 2**20))  # noise: some systems store zeros in no room
    with _explained(folder):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with open(probe, "xb") as file:
                for start in range(0, size, len(chunk)):
                    file.write(chunk[: size - start])
                file.flush()
                os.fsync(file.fileno())  # some systems notice a full disk only here
        finally:
            with contextlib.suppress(OSError):
                probe.unlink()


def sweep(path: Path) -> None:
    """Remove what killed calls of `write` left of `path`. For the holder of its lock alone."""
    for left in path.parent.glob(f".{path.name}.*.tmp"):
        left.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, *, wait: float = -1) -> Iterator[None]:
    """Hold the lock of a file or folder that other processes may want to write, too.

    The lock is a file beside it, ``.NAME.lock``, and is given up when its process ends, however
    it ends.

    Args:
        path: what is locked.
        wait: seconds to wait for another holder; below 0, as long as it takes.

    Raises:
        TimeoutError: another process or thread held it all that time.
        OSError: as `write`.
    """
    lock = FileLock(path.with_name(f".{path.name}.lock"))
    held = False
    with _explained(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=wait)
        except Timeout:
            held = True
    if held:
        raise TimeoutError(f"{path} is in use by another process or thread")
    try:
        yield
    finally:
        lock.release()


_REMEDIES = {
    errno.ENOSPC: "make room on its disk, or name another folder",
    errno.EDQUOT: "make room on its disk, or name another folder",
    errno.EFBIG: "the system's limit on a file's size is too low for it",
    errno.EROFS: "its disk is read-only: name another folder",
    errno.EACCES: "its folder may not be written to: name another folder",
    errno.EPERM: "its folder may not be written to: name another folder",
    errno.ENOTDIR: "a part of the path is a file: name another folder",
    errno.EEXIST: "a part of the path is a file: name another folder",
}


@contextlib.contextmanager
def _explained(path: Path) -> Iterator[None]:
    """Say of an operating system's error which path it concerns, and the way out."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "nothing was replaced")
        text = f"{os.strerror(error.errno) if error.errno else error}; {remedy}"
        raise OSError(error.errno or 0, text, str(path)) from error
