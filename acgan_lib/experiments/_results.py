"""The one reader and writer of ``data/results``, where the recorded experiments are kept.

NAME.json is most often a list of rows, one for each model and seed; NAME.npz holds the pictures
that belong to it. A writer holds the file's lock from reading to replacing it, so that runs which
end together lose nothing. A reader takes no lock: files are replaced whole, and the folder of an
installed package may be read-only.
"""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from acgan_lib._files import data_dir, locked, sweep, write
from acgan_lib.metrics.estimate import Estimate


def path(name: str, suffix: str = ".json") -> Path:
    """Return where the result of that name is kept."""
    return data_dir() / "results" / f"{name}{suffix}"


def stored(name: str) -> Any:
    """Return what was recorded as NAME.json: for most names a list of rows.

    Each measured figure, ``{"value", "low", "high", "n"}`` in the file, comes as an Estimate.

    Raises:
        FileNotFoundError: nothing was recorded under that name.
        ValueError: the file is damaged.
    """
    file = path(name)
    try:
        return json.loads(file.read_bytes(), object_hook=_estimate)
    except FileNotFoundError as error:
        there = ", ".join(sorted(found.stem for found in file.parent.glob("*.json")))
        raise FileNotFoundError(f"there is no result {name!r}; there are: {there}") from error
    except ValueError as error:
        raise ValueError(_damaged(file, error)) from error


def done(name: str, model: str, seed: int, **fields: Any) -> bool:
    """Tell whether NAME.json has a row of that model and seed, and of those other fields.

    Raises:
        ValueError: the file is damaged.
    """
    rows = stored(name) if path(name).exists() else []
    wanted = {"model": model, "seed": seed, **fields}
    return any(all(row[key] == value for key, value in wanted.items()) for row in rows)


def record(name: str, row: Mapping[str, Any], by: Sequence[str] = ("model", "seed")) -> None:
    """Put a row into NAME.json, in the place of the one that agrees with it in the fields `by`.

    A row without such a forerunner is added, and the rows are sorted by those fields.

    Raises:
        ValueError: the file is damaged; it stays as it is.
        OSError: the file cannot be written.
    """

    def key(of: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(of[field] for field in by)

    with changing(name, []) as rows:
        same = [i for i, other in enumerate(rows) if key(other) == key(row)]
        if same:
            rows[same[0]] = row
        else:
            rows.append(row)
            rows.sort(key=key)


@contextmanager
def changing(name: str, empty: Any) -> Iterator[Any]:
    """Give what NAME.json holds, or `empty`, to a with block that changes it in place.

    The file is replaced when the block ends, and stays as it is if the block raises. Other writers
    wait.
    """
    file = path(name)
    with locked(file):
        sweep(file)
        content = stored(name) if file.exists() else empty
        yield content
        write(file, encoded(content))


def keep(name: str, content: Any) -> None:
    """Replace NAME.json, for a result that is measured all at once.

    Raises:
        OSError: the file cannot be written.
    """
    with locked(path(name)):
        sweep(path(name))
        write(path(name), encoded(content))


def encoded(content: Any) -> bytes:
    """Return the bytes of a JSON file."""
    return (json.dumps(_plain(content), indent=1) + "\n").encode()


def arrays(name: str) -> dict[str, NDArray[Any]]:
    """Return what was kept in NAME.npz.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged.
    """
    file = path(name, ".npz")
    try:
        with np.load(io.BytesIO(file.read_bytes())) as kept:
            return dict(kept)
    except (ValueError, EOFError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(_damaged(file, error)) from error


def keep_arrays(name: str, new: Mapping[str, NDArray[Any]]) -> None:
    """Put arrays into NAME.npz, in the place of those of the same names.

    Raises:
        ValueError: the file is damaged; it stays as it is.
        OSError: the file cannot be written.
    """
    file = path(name, ".npz")
    with locked(file):
        sweep(file)
        kept = arrays(name) if file.exists() else {}
        content = io.BytesIO()
        np.savez_compressed(content, **{**kept, **new})  # type: ignore[arg-type]
        write(file, content.getvalue())


def _estimate(found: dict[str, Any]) -> Any:
    return Estimate(**found) if found.keys() == set(Estimate._fields) else found


def _plain(content: Any) -> Any:
    """Return `content` with a dict in the place of each Estimate, for JSON knows no named tuple."""
    if isinstance(content, Estimate):
        return content._asdict()
    if isinstance(content, Mapping):
        return {key: _plain(value) for key, value in content.items()}
    if isinstance(content, list | tuple):
        return [_plain(value) for value in content]
    return content


def _damaged(file: Path, error: Exception) -> str:
    return f"{file} is damaged ({error}). In a clone, `git checkout data/results` brings it back"
