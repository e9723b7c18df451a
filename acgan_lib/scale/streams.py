"""Images that do not fit in memory, behind the interface that the training loop asks of its data.

Both streams here answer ``batch(step, batch_size, seed, rows)`` as a function of its arguments, as
`data.LabelledImages` does. So a resumed run meets the same images without any state of a loader
in its checkpoint, and each of several processes decodes its own rows alone. While a step trains,
the next batch is fetched in a thread.

- `FolderStream`: one file an image. Any image can be reached, so the order is the very one of
  `data.image_folder`: a permutation of the whole set in each epoch.
- `ShardStream`: WebDataset's tar files, for disks and networks that are slow at small files. A
  shard is read whole. The shards' order is drawn anew in each epoch, and the images of a few
  shards in a row (a *window*) are mixed. Images of shards far apart never share a batch.
"""

from __future__ import annotations

import copy
import hashlib
import io
import json
import os
import tarfile
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from acgan_lib import pictures
from acgan_lib._files import expand
from acgan_lib.data import LabelledImages, _epoch_order

Self = Any  # typing.Self of Python 3.11 hides the attributes that copies get


class _Stream:
    """What both share: the place of a batch in its epoch, the device, and fetching ahead."""

    def __init__(self, n: int, class_names: tuple[str, ...], channels: int, size: int) -> None:
        self.n, self.class_names, self.channels, self.size = n, class_names, channels, size
        self.num_classes = len(class_names)
        self.device = torch.device("cpu")
        self._ahead = ThreadPoolExecutor(1, thread_name_prefix="ahead")
        self._next: tuple[object, Future[tuple[Tensor, Tensor]]] | None = None

    def __len__(self) -> int:
        return self.n

    def __getstate__(self) -> dict[str, Any]:
        """Leave the threads out, so that a stream can go to another process."""
        threads = ("_ahead", "_decoders", "_next")
        return {name: value for name, value in self.__dict__.items() if name not in threads}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._next, self._ahead = None, ThreadPoolExecutor(1, thread_name_prefix="ahead")

    def to(self, device: torch.device | str) -> Self:
        """Return the same stream with its batches on `device`."""
        moved = copy.copy(self)
        moved.device = torch.device(device)
        return moved

    def batch(
        self, step: int, batch_size: int, seed: int, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Return rows of the batch of `step`: x float32 (n, C, H, W) in [-1, 1] and y int64 (n,).

        Raises ValueError if `batch_size` is larger than the set, or `step` is negative.
        """
        if not 1 <= batch_size <= self.n:
            raise ValueError(f"batch_size must lie in 1..{self.n} (the set), not {batch_size}")
        if step < 0:
            raise ValueError(f"step must be 0 or more, not {step}")
        wanted = (step, batch_size, seed, rows.indices(batch_size))
        if self._next is not None and self._next[0] == wanted:
            images, labels = self._next[1].result()
        else:
            images, labels = self._fetch(*wanted)
        after = (step + 1, *wanted[1:])
        self._next = after, self._ahead.submit(self._fetch, *after)
        x, y = images.to(self.device), labels.to(self.device)
        return x.float().div_(127.5).sub_(1), y

    def fingerprint(self) -> str:
        """Return a line that other files would not have: SHA-256 over their names and sizes."""
        digest = hashlib.sha256()
        for path in self._files():
            digest.update(f"{path.parent.name}/{path.name} {path.stat().st_size}\n".encode())
        return f"{self.n:,} images, SHA-256 of names and sizes {digest.hexdigest()[:16]}"

    def _files(self) -> Sequence[Path]:
        """Return all files in a fixed order."""
        raise NotImplementedError

    def _fetch(
        self, step: int, batch_size: int, seed: int, rows: tuple[int, int, int]
    ) -> tuple[Tensor, Tensor]:
        epoch, position = divmod(step, self.n // batch_size)
        places = range(position * batch_size, (position + 1) * batch_size)
        return self._read(list(places[slice(*rows)]), seed, epoch)

    def _read(self, places: Sequence[int], seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        """Return the images, uint8, and labels at places of an epoch's order."""
        raise NotImplementedError


class FolderStream(_Stream):
    """`data.image_folder` without holding the images: files are decoded as batches need them.

    Args:
        path: a folder of class folders.
        size: side of the images in pixels.
        channels: 1 for greyscale, 3 for RGB.
        keep: take only these class folders, in this order; all of them if none is named.
        workers: threads that decode.

    Raises:
        FileNotFoundError: `path` is not a folder, or a class that `keep` names is not in it.
        ValueError: no class, or a class without an image. An image that cannot be read is met
            when its batch is.
    """

    def __init__(
        self,
        path: str | Path,
        size: int = 32,
        channels: Literal[1, 3] = 3,
        *,
        keep: Sequence[str] = (),
        workers: int = 8,
    ) -> None:
        found = pictures.class_folders(path, keep)
        self.files = [file for files in found.values() for file in files]
        counts = torch.tensor([len(files) for files in found.values()])
        self.labels = torch.arange(len(found)).repeat_interleave(counts)
        super().__init__(len(self.files), tuple(found), channels, size)
        self.workers = workers
        self._decoders = ThreadPoolExecutor(workers)  # Pillow lets other threads run

    def __setstate__(self, state: dict[str, Any]) -> None:
        super().__setstate__(state)
        self._decoders = ThreadPoolExecutor(self.workers)

    def _files(self) -> Sequence[Path]:
        return self.files

    def _read(self, places: Sequence[int], seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        index = _epoch_order(self.n, seed, epoch, torch.device("cpu"))[list(places)]
        decode: Callable[[int], Tensor] = lambda i: pictures.read(  # noqa: E731
            self.files[i], self.size, self.channels
        )
        return torch.stack(list(self._decoders.map(decode, index.tolist()))), self.labels[index]


def write_shards(data: LabelledImages, folder: str | Path, per_shard: int) -> Path:
    """Write a set as WebDataset shards of PNG files, and their manifest ``shards.json``.

    Image i goes to shard ``i // per_shard``: shuffle the set first if its classes come in turn.
    Returns the folder. Raises ValueError if `per_shard` is less than 1.
    """
    from webdataset import TarWriter

    if per_shard < 1:
        raise ValueError(f"per_shard must be at least 1, not {per_shard}")
    folder = expand(folder)
    folder.mkdir(parents=True, exist_ok=True)
    counts: dict[str, int] = {}
    for start in range(0, len(data), per_shard):
        name = f"{start // per_shard:06d}.tar"
        rows = range(start, min(start + per_shard, len(data)))
        with TarWriter(str(folder / f"{name}.tmp"), mtime=0) as tar:
            for i in rows:
                file = io.BytesIO()
                picture = data.images[i].permute(1, 2, 0).squeeze(2).cpu().numpy()
                Image.fromarray(picture).save(file, "png")
                tar.write(
                    {"__key__": f"{i:09d}", "png": file.getvalue(), "cls": int(data.labels[i])}
                )
        os.replace(folder / f"{name}.tmp", folder / name)
        counts[name] = len(rows)
    about = {"classes": data.class_names, "channels": data.channels, "size": data.size}
    text = json.dumps({**about, "shards": counts}, indent=1)
    (folder / "shards.tmp").write_text(text, encoding="utf-8")
    os.replace(folder / "shards.tmp", folder / "shards.json")  # last: with it, the shards count
    return folder


class ShardStream(_Stream):
    """Images from WebDataset shards, mixed within a window of shards.

    Args:
        folder: tar files of ``NAME.png`` and ``NAME.cls`` pairs, and the manifest that
            `write_shards` writes: class names, image size, and each shard's number of images.
        window: shards whose images are mixed; at most two windows lie in memory at a time, and
            one shard that is being read.

    Raises:
        FileNotFoundError: there is no manifest.
        ValueError: `window` is less than 1. A shard that differs from the manifest is met when it
            is read.
    """

    def __init__(self, folder: str | Path, window: int = 8) -> None:
        self.folder, self.window = expand(folder), window
        manifest = self.folder / "shards.json"
        if not manifest.is_file():
            raise FileNotFoundError(f"{manifest} is missing: write_shards makes it, shard by shard")
        if window < 1:
            raise ValueError(f"window must be at least 1, not {window}")
        about = json.loads(manifest.read_text(encoding="utf-8"))
        self.shards: dict[str, int] = about["shards"]
        n, names = sum(self.shards.values()), tuple(about["classes"])
        super().__init__(n, names, about["channels"], about["size"])
        self._windows: OrderedDict[object, tuple[Tensor, Tensor]] = OrderedDict()

    def _read(self, places: Sequence[int], seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        images, labels = [], []
        for start, names in self.plan(seed, epoch):
            stop = start + sum(self.shards[name] for name in names)
            inside = [place - start for place in places if start <= place < stop]
            if inside:
                mixed = self._mixed(names, seed, epoch)
                images.append(mixed[0][inside])
                labels.append(mixed[1][inside])
        return torch.cat(images), torch.cat(labels)

    def _files(self) -> Sequence[Path]:
        return [self.folder / name for name in sorted(self.shards)]

    def plan(self, seed: int, epoch: int) -> Iterator[tuple[int, list[str]]]:
        """Yield an epoch's windows: the place of the first image, and the shards' names."""
        order = _epoch_order(len(self.shards), seed, epoch, torch.device("cpu")).tolist()
        names, start = sorted(self.shards), 0
        for first in range(0, len(order), self.window):
            of_window = [names[i] for i in order[first : first + self.window]]
            yield start, of_window
            start += sum(self.shards[name] for name in of_window)

    def _mixed(self, names: list[str], seed: int, epoch: int) -> tuple[Tensor, Tensor]:
        key = (seed, epoch, *names)
        if key not in self._windows:
            parts = [self._shard(name) for name in names]
            images, labels = (torch.cat(part) for part in zip(*parts, strict=True))
            digest = hashlib.sha256(repr(key).encode()).digest()
            generator = torch.Generator().manual_seed(
                int.from_bytes(digest[:8], "big", signed=True)
            )
            order = torch.randperm(len(labels), generator=generator)
            self._windows[key] = images[order], labels[order]
            while len(self._windows) > 2:
                self._windows.popitem(last=False)
        return self._windows[key]

    def _shard(self, name: str) -> tuple[Tensor, Tensor]:
        """Read a shard whole: images uint8 (n, C, H, W) and labels int64 (n,)."""
        path = self.folder / name
        samples: dict[str, dict[str, bytes]] = {}
        # webdataset's own reader leaves its files open; the format is a plain tar.
        with tarfile.open(path) as tar:
            for member in tar:
                key, _, ending = member.name.rpartition(".")
                if (content := tar.extractfile(member)) is not None:
                    samples.setdefault(key, {})[ending] = content.read()
        if len(samples) != self.shards[name]:
            raise ValueError(
                f"{path} has {len(samples)} images, but shards.json says {self.shards[name]}"
            )
        mode = "RGB" if self.channels == 3 else "L"
        pictures = [
            np.array(Image.open(io.BytesIO(s["png"])).convert(mode)) for s in samples.values()
        ]
        images = torch.from_numpy(np.stack(pictures))
        images = images.reshape(-1, self.size, self.size, self.channels).permute(0, 3, 1, 2)
        return images.contiguous(), torch.tensor([int(s["cls"]) for s in samples.values()])
