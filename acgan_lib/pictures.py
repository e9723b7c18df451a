"""A reader's picture files: which there are in a folder of classes, and what each of them shows.

Pillow decodes. What it leaves out or stops at is mended here: odd EXIF fields, transparent colours
of other depths than 8 bits, 16-bit greys, and the transparency of 32-bit BMP files.
"""

from __future__ import annotations

import os
import re
import struct
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile
from torch import Tensor

from acgan_lib._files import expand

SUFFIXES = frozenset(
    (".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp")
)
_T = Image.Transpose
_TURNS = {  # what sets a picture of each EXIF orientation upright
    2: _T.FLIP_LEFT_RIGHT, 3: _T.ROTATE_180, 4: _T.FLIP_TOP_BOTTOM, 5: _T.TRANSPOSE,
    6: _T.ROTATE_270, 7: _T.TRANSVERSE, 8: _T.ROTATE_90,
}  # fmt: skip


def class_folders(path: str | Path, keep: Sequence[str] = ()) -> dict[str, list[Path]]:
    """Return the picture files of each subfolder of `path`, by the subfolder's name.

    Names are in natural order ("2" before "10"), files in the order of their paths. Files in
    folders further down count too, and links are followed. Hidden files are ignored. One warning
    counts what else is skipped; another says so if `path` seems to be one level too high.

    Args:
        path: the folder.
        keep: take only these subfolders, in this order.

    Raises:
        FileNotFoundError: `path` is not a folder, or has no subfolder that `keep` names.
        ValueError: there is no subfolder, or one without a picture.
    """
    path, skipped = expand(path), Counter[str]()
    if not path.is_dir():
        raise FileNotFoundError(f"path must be a folder of class folders, but {path} is none")
    names, above = [], _real(path)
    for entry in sorted(path.iterdir(), key=lambda entry: _natural(entry.name)):
        if entry.name.startswith("."):
            continue
        if entry.is_dir() and os.path.realpath(entry) not in above:
            names.append(entry.name)
        elif reason := _leads_nowhere(entry):
            skipped[reason] += 1
        elif entry.suffix.lower() in SUFFIXES:
            skipped["pictures beside the class folders"] += 1
    if missing := [name for name in keep if name not in names]:
        raise FileNotFoundError(f"{path} has no class folder {', '.join(missing)}")
    if not names:
        raise ValueError(f"{path} has no subfolders: put each class's pictures in one of its own")
    found = {name: _pictures(path / name, above, skipped) for name in keep or names}
    if skipped:
        warnings.warn(f"skipped in {path}: {_counted(skipped)}", stacklevel=3)
    if all(path / name not in {f.parent for f in files} for name, files in found.items()):
        inner = next(iter(found.values()))[0].parent.relative_to(path)
        warnings.warn(
            f"folders of folders: no class folder of {path} has a picture of its own, only folders "
            f"such as {inner}, whose class is {inner.parts[0]}. If it should be {inner.name}, "
            f"name {inner.parts[0]} or another folder that holds the classes",
            stacklevel=3,
        )
    return found


def _natural(name: str) -> tuple[list[str | int], str]:
    """Return what to sort a name by, so that the numbers in it are in order."""
    parts = re.split(r"([0-9]+)", name)
    return [int(part) if i % 2 else part for i, part in enumerate(parts)], name


def _real(folder: Path) -> set[str]:
    """Return the folder and all that it lies in, by their names without links."""
    real = Path(os.path.realpath(folder))
    return {str(place) for place in (real, *real.parents)}


def _leads_nowhere(path: Path) -> str:
    """Say what is wrong with a path that was found and that is no file; "" if it is one."""
    if path.is_dir():
        return "links to folders that are read already, or hold the link"
    return "broken links" if path.is_symlink() and not path.exists() else ""


def _pictures(folder: Path, above: set[str], skipped: Counter[str]) -> list[Path]:
    """Return a class's picture files, sorted, and count what is skipped."""
    pictures, others = [], Counter[str]()
    for path in sorted(_walk(folder, above | _real(folder)), key=lambda path: path.parts):
        if reason := _leads_nowhere(path):
            others[reason] += 1
        elif path.suffix.lower() in SUFFIXES and path.is_file():
            pictures.append(path)
        else:
            others[f"{path.suffix or 'other'} files"] += 1
    if not pictures:
        raise ValueError(
            f"class folder {folder} has no picture, {_counted(others) or 'nothing'}: add some, or "
            f"remove the folder. Pictures end in {', '.join(sorted(SUFFIXES))}"
        )
    skipped.update(others)
    return pictures


def _counted(skipped: Counter[str]) -> str:
    return ", ".join(f"{reason} ({n})" for reason, n in sorted(skipped.items()))


def _walk(top: Path, seen: set[str]) -> Iterator[Path]:
    """Yield the files below a folder, and the links to folders in `seen`, which it enters once."""

    def stop(error: OSError) -> NoReturn:
        raise error  # os.walk itself would leave out a folder that may not be read

    for place, folders, files in os.walk(top, followlinks=True, onerror=stop):
        below = {name: os.path.realpath(os.path.join(place, name)) for name in sorted(folders)}
        folders.clear()
        for name, real in below.items():
            if real in seen:
                files.append(name)
            elif not name.startswith("."):
                folders.append(name)
                seen.add(real)
        yield from (Path(place, name) for name in files if not name.startswith("."))


def read_all(files: Sequence[Path], size: int, channels: int) -> Tensor:
    """Return picture files as uint8 (n, channels, size, size). Raises ValueError as `read`."""
    images = torch.empty(len(files), channels, size, size, dtype=torch.uint8)
    # Pillow lets other threads run while it decodes. Its warnings about metadata name no file.
    with ThreadPoolExecutor() as pool, warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        for i, image in enumerate(pool.map(lambda file: read(file, size, channels), files)):
            images[i] = image
    return images


def read(file: Path, size: int, channels: int) -> Tensor:
    """Return one picture file as uint8 (channels, size, size), as `square` makes it.

    The picture is turned as its EXIF or XMP data says. Of an animation it is the first frame.

    Raises:
        ValueError: the file cannot be read as a picture, or its values have 32 bits; the message
            names it.
    """
    try:
        with Image.open(file) as opened:
            # A JPEG can be decoded at an eighth of its size or more: a photograph of 6 megapixels
            # then takes 14 ms instead of 80, and moves by a sixteenth of a final pixel at most.
            opened.draft(None, (8 * size, 8 * size))
            image = _decoded(opened, file)
            if (turn := _TURNS.get(_orientation(opened))) is not None:
                image = image.transpose(turn)
        return square(image, size, channels)
    except Exception as error:  # a damaged file makes Pillow raise a dozen types
        reason = error if isinstance(error, (OSError, ValueError)) else repr(error)
        raise ValueError(f"{file} cannot be read as a picture: {reason}") from error


def square(image: Image.Image, size: int, channels: int) -> Tensor:
    """Return a picture as uint8 (channels, size, size): grey if `channels` is 1, RGB if it is 3.

    It is laid on white where it is transparent, cut to its central square and resized with
    antialiasing. Of 16-bit values the upper 8 bits are taken.

    Raises:
        ValueError: its values have 32 bits.
    """
    if image.mode.startswith("I;16"):
        # Pillow's own conversion cuts values off at 255 instead of scaling them.
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode in ("I", "F"):
        raise ValueError(f"its values are of mode {image.mode}: save it with 8 bits a channel")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    image = image.convert("L" if channels == 1 else "RGB")
    image = ImageOps.fit(image, (size, size), Image.Resampling.BICUBIC)
    return torch.from_numpy(np.array(image)).reshape(size, size, channels).permute(2, 0, 1)


def _decoded(image: ImageFile, file: Path) -> Image.Image:
    """Load an opened picture and return it with what Pillow does not do to its pixels."""
    mode: Any = image.tile[0].args if image.tile else ""  # the file's; image.mode is Pillow's
    if isinstance(mode, tuple):
        mode = mode[0] if mode else ""
    image.load()
    if image.format == "PNG" and image.mode != "P" and "transparency" in image.info:
        return _keyed(image, file, mode)
    if image.format == "BMP":
        if mode == "BGRX":  # Pillow takes the fourth byte for padding
            image.putalpha(Image.fromarray(_reread(file, "XBGR")[..., 0]))
        if image.mode == "RGBA" and image.getchannel("A").getextrema() == (0, 0):
            return image.convert("RGB")  # all of it is 0: it is padding
    if image.format == "PPM" and image.mode == "I":  # Pillow scales it to 16 bits
        return Image.fromarray(np.asarray(image).astype(np.uint16))
    if isinstance(image, TiffImageFile) and image.mode.startswith("I;16"):
        bits, zero_is_white = image.tag_v2[258][0], image.tag_v2.get(262, 0) == 0
        grey = (np.asarray(image) >> (bits - 8)).astype(np.uint8)
        return Image.fromarray(255 - grey if zero_is_white else grey)
    return image


def _keyed(image: Image.Image, file: Path, mode: str) -> Image.Image:
    """Return a PNG, in white where it has the transparent colour of its tRNS chunk.

    The chunk's samples have the depth of the file. Pillow compares them with samples of 8 bits.
    """
    depth = {"1": 1, "L;2": 2, "L;4": 4, "I;16B": 16, "RGB;16B": 16}.get(mode, 8)
    samples = np.asarray(image.convert("L") if depth == 1 else image).astype(np.uint16)
    if mode == "RGB;16B":
        samples = (samples << 8 | _reread(file, "RGB;16L")).astype(np.uint16)
    most = 2**depth - 1
    clear = samples == (np.array(image.info["transparency"]) & most) * max(255 // most, 1)
    samples[clear.all(-1) if samples.ndim == 3 else clear] = 65_535
    return Image.fromarray((samples >> (8 if depth == 16 else 0)).clip(0, 255).astype(np.uint8))


def _reread(file: Path, mode: str) -> NDArray[np.uint8]:
    """Decode a file again, with the bytes that Pillow dropped in the place of those it took."""
    with Image.open(file) as image:
        (tile,) = image.tile
        args = (mode, *tile.args[1:]) if isinstance(tile.args, tuple) else mode
        image.tile = [tile._replace(args=args)]
        return np.asarray(image)


def _orientation(image: Image.Image) -> int:
    """Return the orientation, 1 to 8, that a picture's EXIF or else XMP data states, or 1.

    Pillow's `exif_transpose` writes all other fields anew, and stops at those it did not expect.
    """
    if image.format == "TIFF":
        return 1  # Pillow turned it when it loaded it
    exif = image.info.get("exif") or b""
    with suppress(ValueError, struct.error):  # it ends too early
        if raw := image.info.get("Raw profile type exif"):
            exif = exif or bytes.fromhex("".join(raw.split("\n")[3:]))
        exif = re.sub(rb"\A(Exif\0\0)+", b"", exif)
        if order := {b"II": "<", b"MM": ">"}.get(exif[:2]):
            (at,) = struct.unpack_from(f"{order}I", exif, 4)
            (fields,) = struct.unpack_from(f"{order}H", exif, at)
            for field in range(at + 2, at + 2 + 12 * fields, 12):
                tag, kind = struct.unpack_from(f"{order}HH", exif, field)
                if tag == 0x0112 and kind in (1, 3, 4):
                    form = {1: "B", 3: "H", 4: "I"}[kind]
                    return int(struct.unpack_from(f"{order}{form}", exif, field + 8)[0])
    xmp = image.info.get("xmp") or image.info.get("XML:com.adobe.xmp") or b""
    xmp = xmp.encode() if isinstance(xmp, str) else xmp
    found = re.search(rb'tiff:Orientation(?:="|>)([1-8])', xmp)
    return int(found[1]) if found else 1
