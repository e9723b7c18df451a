"""Write book/ledger.md from data/ledger.toml and the recorded results: `make ledger`.

The top of data/ledger.toml says what a row holds. No number of ours is typed there: a row's
``measured`` is a sentence with places like ``{fashion.json model=acgan judge_accuracy}``, and this
program looks each of them up. What does not fit stops it, with a line that says which row and why.
"""

from __future__ import annotations

import json
import math
import os
import re
import shlex
import sys
import tomllib
from collections import Counter
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import citations

from acgan_lib.metrics.estimate import over_seeds

ROOT = Path(__file__).resolve().parent.parent
VERDICTS = {
    "reproduced": "our measurement agrees",
    "reproduced in part": "some of it agrees; the row says what does not",
    "not reproduced": "we tried the same and found otherwise, on our data and budget",
    "undecided": "we measured it, and the interval leaves both answers open",
    "refuted": "an argument or a measurement shows that it cannot be so",
    "not testable here": "it would take data or computation that the book does not have",
}
FEWEST_SEEDS = 3  # with fewer trainings the values stand alone: an interval would say little
NEEDED = ("chapter", "anchor", "paper", "summaries", "verdict", "measured")
PLACE = re.compile(r"\{([^{}]*)\}(?!`)")  # {doc}`ch06_acgan` is a role of the book, not a place
MATHS = re.compile(r"(\$[^$]*\$)")
# Digits may stand in maths, in code, in names of sizes and in citations. All others must come from
# a file.
HARMLESS = re.compile(r"\$[^$]*\$|`[^`]*`|\b\d+ px\b|\[[^\]\d]*, \d{4}\]\([^)]*\)")


class LedgerError(ValueError):
    """A row, or a place in it, that cannot be printed. The message says why and what would do."""


class Row(NamedTuple):
    """One claim and what became of it; the fields are explained in data/ledger.toml."""

    chapter: str
    anchor: str
    paper: str
    summaries: str
    verdict: str
    measured: str
    source: str = "odena2017acgan"


def read(root: Path) -> list[Row]:
    """Return the rows of data/ledger.toml, each checked except for its numbers.

    Raises:
        LedgerError: a field is missing, unknown or empty, or says what it must not.
    """
    rows = []
    text = (root / "data" / "ledger.toml").read_text(encoding="utf-8")
    for number, raw in enumerate(tomllib.loads(text).get("row", []), 1):
        where = f"row {number} ({str(raw.get('paper', ''))[:40]!r})"
        if missing := [field for field in NEEDED if field not in raw]:
            raise LedgerError(f"{where}: the field {missing[0]!r} is missing")
        if unknown := raw.keys() - set(Row._fields):
            raise LedgerError(f"{where}: {min(unknown)!r} is not one of {', '.join(Row._fields)}")
        row = Row(**{field: " ".join(value.split()) for field, value in raw.items()})
        if trouble := fault(row, root):
            raise LedgerError(f"{where}: {trouble}")
        rows.append(row)
    return rows


def fault(row: Row, root: Path) -> str | None:
    """Return what is wrong with a row, its numbers aside, or None."""
    if row.verdict not in VERDICTS:
        return f"the verdict {row.verdict!r} is none of: {', '.join(VERDICTS)}"
    if not row.measured or not (row.paper or row.summaries):
        return "'measured' and one of 'paper' and 'summaries' must say something"
    path = root / "book" / f"{row.chapter}.ipynb"
    if not path.is_file():
        return f"there is no chapter book/{row.chapter}.ipynb"
    count = headings(path).count(row.anchor)
    if count != 1:
        return f"{row.chapter} has {count} headings {row.anchor!r}; 'anchor' needs exactly one"
    if row.source not in sources(root):
        return f"book/references.bib has no {row.source!r}, which 'source' names"
    if typed := re.search(r"\d", PLACE.sub("", HARMLESS.sub("", row.measured))):
        near = row.measured[max(0, row.measured.find(typed.group()) - 15) :][:40]
        return f"'measured' has a number typed by hand near {near!r}: look it up in a data file"
    return None


@cache
def headings(path: Path) -> list[str]:
    """Return a notebook's headings in order, as their Markdown without the marks."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return re.findall(r"^#+ (.+?)\s*$", re.sub(r"^```.*?^```$", "", text, flags=re.M | re.S), re.M)


@cache
def sources(root: Path) -> dict[str, citations.Reference]:
    """Return what the book cites, by key."""
    return citations.read(root / "book" / "references.bib")


def fragment(heading: str) -> str:
    """Return a heading's address within its page, as MyST makes it: words, hyphens, no maths."""
    text = re.sub(r"[*`]", "", MATHS.sub("", heading))
    return re.sub(r"[^\w\- ]", "", text.lower().replace(" ", "-"))


# -- numbers -----------------------------------------------------------------------------------


def look_up(place: str, root: Path) -> str:
    """Return the text for a place: ``FILE [NAME=VALUE ...] PATH [| FORMAT [| LOW..HIGH]]``.

    Raises:
        LedgerError: nothing is there, or it is no number, or it is not clear which.
    """
    address, spec, scale, *_ = (part.strip() for part in f"{place}||".split("|"))
    try:
        name, *selectors, path = shlex.split(address)
    except ValueError as error:
        wanted = "FILE [NAME=VALUE ...] PATH [| FORMAT [| LOW..HIGH]]"
        raise LedgerError(f"{{{place}}}: write {wanted}") from error
    try:
        data = load(root / "data" / ("" if "/" in name else "results") / name)
        found = [leaf for row in chosen(data, selectors) for leaf in leaves(row, path.split("."))]
        return printed(found, spec, ends(scale))
    except LedgerError as error:
        raise LedgerError(f"{{{place}}}: {error}") from error


@cache
def load(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        LedgerError: there is no such file, or it is damaged.
    """
    if not path.is_file():
        raise LedgerError(f"there is no {path.parent.name}/{path.name} under data")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise LedgerError(
            f"{path} is damaged ({error}); `git checkout data/results` brings it back"
        ) from error


def chosen(data: Any, selectors: Sequence[str]) -> list[Any]:
    """Return the rows of a list that agree with every NAME=VALUE, one for each seed; or the data.

    Raises:
        LedgerError: no row agrees, or two that agree are not two seeds of one thing.
    """
    if not isinstance(data, list):
        if selectors:
            raise LedgerError("this file is no list of rows, so it takes no NAME=VALUE")
        return [data]
    pairs = [selector.partition("=")[::2] for selector in selectors]
    rows = [row for row in data if all(str(row.get(name)) == value for name, value in pairs)]
    if not rows:
        raise LedgerError(f"no row has {' and '.join(selectors)}")
    seeds = [row.get("seed") for row in rows]
    if len(rows) > 1 and (None in seeds or len(set(seeds)) < len(rows)):
        raise LedgerError(f"{len(rows)} rows agree, and they are not one a seed: choose further")
    return rows


def leaves(data: Any, path: Sequence[str]) -> list[Any]:
    """Return what lies at a path of keys; ``*`` stands for every entry of a ``seeds``.

    Raises:
        LedgerError: the path ends too early, or stars something else than seeds.
    """
    reached = [data]
    for before, key in zip(["", *path], path, strict=False):
        if key == "*":
            if before != "seeds":
                raise LedgerError("'*' may stand only behind 'seeds', whose entries are trainings")
            each = (v.values() if isinstance(v, dict) else v for v in reached)
            reached = [entry for entries in each for entry in entries]
            continue
        try:
            reached = [v[int(key)] if isinstance(v, list) else v[key] for v in reached]
        except (KeyError, IndexError, TypeError, ValueError) as error:
            have = ", ".join(map(str, reached[0])) if isinstance(reached[0], dict) else "no keys"
            raise LedgerError(f"nothing at {key!r}; there is: {have}") from error
    return reached


def ends(scale: str) -> tuple[float, float] | None:
    """Return the ends of a scale that is written ``0..1``, or None if nothing is.

    Raises:
        LedgerError: it is written otherwise.
    """
    if not scale:
        return None
    try:
        low, high = map(float, scale.split(".."))
    except ValueError as error:
        raise LedgerError(f"{scale!r} is no scale, as '0..1' is") from error
    return low, high


def printed(found: Sequence[Any], spec: str, within: tuple[float, float] | None = None) -> str:
    """Return one figure as text, or several trainings' mean with Student's interval.

    Raises:
        LedgerError: something found is not a number or not on the scale, or the format is none.
    """
    values = [v["value"] if isinstance(v, dict) and "value" in v else v for v in found]
    for v in values:
        if isinstance(v, bool) or not isinstance(v, int | float) or not math.isfinite(v):
            raise LedgerError(f"a number is needed, not {str(v)[:60]!r}")
    if within and not all(within[0] <= v <= within[1] for v in values):
        raise LedgerError(f"{values} leaves the scale {within[0]:g}..{within[1]:g}")
    try:
        if len(values) >= FEWEST_SEEDS:
            e = over_seeds(values, within=within)
            form = shape(e.value, spec)
            return f"{e.value:{form}} [{e.low:{form}}, {e.high:{form}}] ({e.n} seeds)"
        if len(values) > 1:
            texts = " and ".join(f"{v:{shape(v, spec)}}" for v in values)
            return f"{texts} ({len(values)} seeds)"
        form = shape(values[0], spec)
        if isinstance(found[0], dict) and {"low", "high", "n"} <= found[0].keys():
            low, high, n = found[0]["low"], found[0]["high"], found[0]["n"]
            return f"{values[0]:{form}} [{low:{form}}, {high:{form}}] (n = {n:,})"
        return f"{values[0]:{form}}"
    except ValueError as error:
        raise LedgerError(f"{spec!r} is no format for a number, as '.3f' or '.1%' is") from error


def shape(value: float, spec: str) -> str:
    """Return the format: the one asked for, else three digits' worth of decimals, at most three."""
    if spec:
        return spec
    if isinstance(value, int):
        return ",d"
    whole = math.floor(math.log10(abs(value))) if value else 0
    return f".{min(max(2 - whole, 0), 3)}f"


# -- the page ----------------------------------------------------------------------------------


def filled(row: Row, root: Path) -> str:
    """Return a row's sentence with every number in its place; maths stays as it is."""
    parts = MATHS.split(row.measured)
    parts[::2] = (PLACE.sub(lambda m: look_up(m.group(1), root), part) for part in parts[::2])
    return "".join(parts)


def card(row: Row, root: Path) -> str:
    """Return a row as a card: the claim, how it is retold, the verdict and where it was tested."""
    lines = []
    if row.paper:
        source = sources(root)[row.source].in_brackets
        lines += [f"**The paper says** ({source}): {row.paper}", ""]
    if row.summaries:
        lines += [f"**Summaries say:** {row.summaries}", ""]
    number = int(re.sub(r"\D", "", row.chapter.split("_")[0]))
    link = f"[Chapter {number}, {row.anchor}]({row.chapter}.ipynb#{fragment(row.anchor)})"
    lines += [f"**We measured:** {filled(row, root)}", ""]
    verdict = f"**{row.verdict[0].upper()}{row.verdict[1:]}** · {link}"
    return "\n".join(["::::{card}", *lines, ":::{card-footer}", verdict, ":::", "::::", ""])


def page(root: Path) -> str:
    """Return the whole page, the same text whenever rows, chapters and results are the same.

    Raises:
        LedgerError: a row or one of its numbers is wrong.
    """
    rows = read(root)
    count = Counter(row.verdict for row in rows)
    parts = [(root / "tools" / "ledger_head.md").read_text(encoding="utf-8")]
    parts += ["| verdict | what it means | rows |\n|---|---|---|"]
    parts += [f"| {name} | {meaning} | {count[name]} |" for name, meaning in VERDICTS.items()]
    for chapter in sorted({row.chapter for row in rows}):
        title = headings(root / "book" / f"{chapter}.ipynb")[0]
        parts.append(f"\n## {title}\n")
        for number, row in enumerate(rows, 1):
            if row.chapter == chapter:
                try:
                    parts.append(card(row, root))
                except LedgerError as error:
                    raise LedgerError(f"row {number} ({row.paper[:40]!r}): {error}") from error
    return "\n".join(parts).rstrip() + "\n"


def main() -> None:
    """Write the page, or say in one line which row is wrong."""
    try:
        text = page(ROOT)
    except (LedgerError, tomllib.TOMLDecodeError) as error:
        sys.exit(f"data/ledger.toml: {error}")
    path = ROOT / "book" / "ledger.md"
    fresh = path.with_name(path.name + ".new")
    fresh.write_text(text, encoding="utf-8", newline="\n")
    os.replace(fresh, path)
    print(f"book/ledger.md: {text.count('::::{card}')} rows")


if __name__ == "__main__":
    main()
