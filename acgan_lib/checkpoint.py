"""A run's ``last.pt``: held by one process, written whole, verified when it is read.

It holds tensors, numbers and strings alone, so that reading it runs no code: ``identity`` says
which run it is, and the rest is what :func:`acgan_lib.train.fit` changes from step to step.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import zipfile
from collections.abc import Iterator, Mapping
from numbers import Real
from pathlib import Path
from typing import Any

import torch
from torch import nn

from acgan_lib import _files

NAME = "last.pt"
WAIT = 5.0  # seconds in which a process that was just killed gives up its hold on a folder
_WAY_OUT = "give a new run_dir, or delete the file to start from step 0"


class Checkpoint:
    """The checkpoint of one run: its path, or None, and what must agree for the run to go on."""

    def __init__(self, path: Path | None, identity: Mapping[str, Any]) -> None:
        self.path = path
        self.identity = {name: _plain(value) for name, value in identity.items()}

    def write(self, saved: Mapping[str, Any]) -> None:
        """Replace the checkpoint; at any moment the old one or the new one is whole.

        Raises:
            OSError: with the path and what to do, if the disk does not take it.
            ValueError: if it could not be read again; the old one stays.
        """
        if self.path is None:
            return
        file = io.BytesIO()
        try:
            torch.save({**saved, "identity": self.identity}, file)
            file.seek(0)
            torch.load(file, weights_only=True)
        except Exception as error:
            raise ValueError(
                "a callback's state_dict() must hold tensors, numbers, strings, lists and dicts "
                "alone: the checkpoint could not be read again"
            ) from error
        _files.write(self.path, file.getvalue())

    def read(self) -> dict[str, Any] | None:
        """Return what was kept, on the CPU, or None where nothing was.

        Raises:
            ValueError: the file is damaged, no checkpoint of `fit`, or another run's.
        """
        if self.path is None or not self.path.exists():
            return None
        saved = verified(self.path)
        theirs = saved["identity"]
        different = [
            f"{name} is {theirs.get(name, 'not given')} there, {self.identity.get(name)} here"
            for name in {**theirs, **self.identity}
            if theirs.get(name) != self.identity.get(name)
        ]
        if different:
            raise ValueError(f"{self.path} holds another run ({'; '.join(different)}): {_WAY_OUT}")
        return saved


def _plain(value: Any) -> str:
    """Return one text for equal numbers, NumPy's too."""
    return repr(float(value)).removesuffix(".0") if isinstance(value, Real) else str(value)


def verified(path: Path) -> dict[str, Any]:
    """Return what a checkpoint holds, on the CPU, after comparing each part with its checksum.

    Raises:
        ValueError: if the file is cut, damaged, or no checkpoint of `fit`.
    """
    content = io.BytesIO(path.read_bytes())
    try:
        # torch.load compares no checksums: it takes a flipped bit for a weight.
        damaged = zipfile.ZipFile(content).testzip()
        content.seek(0)
        saved = None if damaged else torch.load(content, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged bytes raise nearly anything
        raise ValueError(f"{path} is damaged or no checkpoint of fit: {_WAY_OUT}") from error
    if damaged:
        raise ValueError(f"{path} is damaged, in {damaged}: {_WAY_OUT}")
    if not isinstance(saved, dict) or not isinstance(saved.get("identity"), dict):
        raise ValueError(f"{path} is no checkpoint of this version's fit: {_WAY_OUT}")
    return saved


@contextlib.contextmanager
def held(
    run_dir: str | os.PathLike[str] | None, identity: Mapping[str, Any], size: int
) -> Iterator[Checkpoint]:
    """Hold ``run_dir`` for this process, without leftovers of killed ones; None keeps nothing.

    ``size`` are the bytes that a checkpoint will take: a disk without room is told of now.

    Raises:
        TimeoutError: another training has it.
        OSError: it cannot be written to.
    """
    if run_dir is None:
        yield Checkpoint(None, identity)
        return
    folder = _files.expand(run_dir)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(_files.locked(folder / NAME, wait=WAIT))
        except TimeoutError as error:
            raise TimeoutError(
                f"run_dir {folder} is in use by another training: wait for its end, or give "
                "another run_dir"
            ) from error
        _files.sweep(folder / "*")
        _files.check_writable(folder, size)
        yield Checkpoint(folder / NAME, identity)


def layout(module: nn.Module) -> str:
    """Name a network by its class, its number of weights, and a hash of its tensors' shapes."""
    shapes = [(name, tuple(value.shape)) for name, value in module.state_dict().items()]
    digest = hashlib.sha256(repr(shapes).encode()).hexdigest()[:8]
    return f"{type(module).__name__} of {sum(p.numel() for p in module.parameters()):,} ({digest})"
