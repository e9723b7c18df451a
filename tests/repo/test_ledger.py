"""The ledger: its page is what the data say, its links lead somewhere, errors name their row."""

from __future__ import annotations

import json
import statistics
from pathlib import Path

import ledger
import pytest
from myst_parser.mdit_to_docutils.base import default_slugify
from scipy import stats

ROOT = Path(__file__).resolve().parents[2]
ROWS = [
    {"model": "a", "seed": seed, "score": {"value": v, "low": 0.1, "high": 0.9, "n": 1000}}
    for seed, v in enumerate([0.5, 0.6, 0.9])
]
ROWS += [{"model": "b", "seed": seed, "score": seed + 3, "name": "b"} for seed in (0, 1)]
TREE = {"alarm": {"false": 2}, "seeds": {"0": {"x": 1.0}, "1": {"x": 2.0}, "2": {"x": 3.0}}}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A small book: one chapter, two result files, a source and a page head."""
    for folder in ("data/results", "data/checkpoints", "book", "tools"):
        (tmp_path / folder).mkdir(parents=True)
    (tmp_path / "data/results/rows.json").write_text(json.dumps(ROWS))
    (tmp_path / "data/results/tree.json").write_text(json.dumps(TREE))
    (tmp_path / "data/checkpoints/a.json").write_text('{"bytes": 1234}')
    text = "# Title\n\n## One `part`, $x$\n\n## Twice\n\n```\n# no heading\n```\n\n## Twice\n"
    cells = [{"cell_type": "markdown", "source": [text]}]
    (tmp_path / "book/ch06_a.ipynb").write_text(json.dumps({"cells": cells}))
    entry = "@misc{odena2017acgan, author={Odena, A. and Olah, C.}, year={2017}, url={https://a.b}}"
    (tmp_path / "book/references.bib").write_text(entry)
    (tmp_path / "tools/ledger_head.md").write_text("# The ledger\n")
    return tmp_path


def write(root: Path, **changes: str | None) -> None:
    """Write a ledger of one row, sound but for the changes; None leaves a field out."""
    row: dict[str, str | None] = {
        "chapter": "ch06_a",
        "anchor": "One `part`, $x$",
        "paper": "Says so (section 1).",
        "summaries": "",
        "verdict": "reproduced",
        "measured": "It is {rows.json model=a score}.",
        **changes,
    }
    lines = [f"{name} = '''{value}'''" for name, value in row.items() if value is not None]
    (root / "data/ledger.toml").write_text("\n".join(["[[row]]", *lines]))


# -- the committed ledger ----------------------------------------------------------------------


def test_the_page_is_what_rows_and_results_say() -> None:
    assert (ROOT / "book" / "ledger.md").read_text(encoding="utf-8") == ledger.page(ROOT), (
        "run `make ledger` and commit book/ledger.md"
    )


def test_the_page_is_in_the_book() -> None:
    assert "book/ledger\n" in (ROOT / "_toc.yml").read_text()


def test_every_number_of_every_row_comes_from_a_file_and_every_link_leads_to_a_heading() -> None:
    rows = ledger.read(ROOT)  # raises where a digit is typed or a heading is missing
    assert len(rows) >= 20
    places = [p for row in rows for p in ledger.PLACE.findall(ledger.MATHS.sub("", row.measured))]
    assert len(places) >= 15
    for row in rows:
        plain = ledger.MATHS.sub("", row.anchor).replace("`", "").replace("*", "")
        assert ledger.fragment(row.anchor) == default_slugify(plain)
    assert {row.verdict for row in rows} <= set(ledger.VERDICTS)


# -- numbers -----------------------------------------------------------------------------------


def test_seeds_give_their_mean_and_students_interval(root) -> None:
    values = [0.5, 0.6, 0.9]
    mean, sd = statistics.mean(values), statistics.stdev(values)
    low, high = stats.t.interval(0.95, 2, loc=mean, scale=sd / 3**0.5)
    wanted = f"{mean:.4f} [{low:.4f}, {high:.4f}] (3 seeds)"
    assert ledger.look_up("rows.json model=a score | .4f", root) == wanted


@pytest.mark.parametrize(
    ("place", "text"),
    [
        ("rows.json model=a seed=2 score", "0.900 [0.100, 0.900] (n = 1,000)"),
        ("rows.json model=a seed=2 score.low | .0%", "10%"),
        ("rows.json model=b score", "3 and 4 (2 seeds)"),
        ("rows.json model=b seed=1 score | .1f", "4.0"),
        ("tree.json alarm.false", "2"),
        ("tree.json seeds.*.x | .0f", "2 [-0, 4] (3 seeds)"),
        ("tree.json seeds.*.x | .0f | 0..3", "2 [0, 3] (3 seeds)"),
        ("checkpoints/a.json bytes", "1,234"),
    ],
)
def test_a_place_is_looked_up(root, place, text) -> None:
    assert ledger.look_up(place, root) == text


@pytest.mark.parametrize(
    ("place", "complaint"),
    [
        ("nowhere.json score", "there is no results/nowhere.json"),
        ("rows.json", "write FILE"),
        ("", "write FILE"),
        ("rows.json model=c score", "no row has model=c"),
        ("rows.json score", "5 rows agree"),
        ("rows.json model=a accuracy", "nothing at 'accuracy'; there is: model, seed, score"),
        ("rows.json model=b seed=0 name", "a number is needed, not 'b'"),
        ("rows.json model=a score | wide", "'wide' is no format"),
        ("tree.json seeds.*.x | .0f | 0..2", "leaves the scale 0..2"),
        ("tree.json seeds.*.x | .0f | 0-3", "'0-3' is no scale"),
        ("tree.json model=a alarm.false", "takes no NAME=VALUE"),
        ("tree.json alarm.*", "only behind 'seeds'"),
        ("tree.json alarm", "a number is needed"),
        ("tree.json alarm.false.more", "nothing at 'more'"),
    ],
)
def test_a_wrong_place_is_named_with_the_reason(root, place, complaint) -> None:
    with pytest.raises(ledger.LedgerError) as error:
        ledger.look_up(place, root)
    assert complaint in str(error.value)
    assert f"{{{place}}}" in str(error.value)


# -- rows --------------------------------------------------------------------------------------


def test_a_sound_row_becomes_a_card_with_its_link(root) -> None:
    rest = r"of $\frac{1}{2}$, see {doc}`x` ([Chen et al., 2016](https://c.d/1))."
    write(root, measured=f"It is {{rows.json model=b seed=0 score}} {rest}")
    text = ledger.page(root)
    assert f"It is 3 {rest}" in text
    assert "**The paper says** ([Odena and Olah, 2017](https://a.b)): Says so" in text
    assert "**Reproduced** · [Chapter 6, One `part`, $x$](ch06_a.ipynb#one-part-)" in text
    assert "| reproduced | our measurement agrees | 1 |" in text
    assert text == ledger.page(root)


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"verdict": "proved"}, "the verdict 'proved' is none of"),
        ({"chapter": "ch99_none"}, "there is no chapter book/ch99_none.ipynb"),
        ({"anchor": "Nowhere"}, "has 0 headings 'Nowhere'"),
        ({"anchor": "Twice"}, "has 2 headings 'Twice'"),
        ({"anchor": "no heading"}, "has 0 headings"),
        ({"measured": "It is 0.96."}, "a number typed by hand"),
        ({"measured": "As in [0.96, 2017](https://a.b)."}, "a number typed by hand"),
        ({"measured": "In 3 seeds {rows.json model=a score}."}, "a number typed by hand"),
        ({"measured": ""}, "must say something"),
        ({"paper": "", "summaries": ""}, "must say something"),
        ({"source": "nobody1999"}, "no 'nobody1999'"),
        ({"anchor": None}, "the field 'anchor' is missing"),
        ({"colour": "red"}, "'colour' is not one of"),
        ({"measured": "It is {rows.json model=c score}."}, "no row has model=c"),
    ],
)
def test_a_wrong_row_is_named_with_the_reason(root, changes, complaint) -> None:
    write(root, **changes)
    with pytest.raises(ledger.LedgerError) as error:
        ledger.page(root)
    assert complaint in str(error.value)
    assert "row 1" in str(error.value)
