"""A notebook's Markdown reads the same in Colab, JupyterLab, VS Code, GitHub and the book.

So it is CommonMark with tables and $maths$, and has none of the roles and directives that Sphinx
alone knows. Each rule is a function from a notebook to the list of what breaks it.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import citations
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
BOOK = ROOT / "book"
NOTEBOOKS = sorted(BOOK.glob("*.ipynb"))
REFERENCES = citations.read()

Notebook = dict[str, Any]

# What MyST adds to Markdown and this book used to have, or might come to have.
ONLY_MYST = {
    "role": r"\{[a-zA-Z][\w:+-]*\}`[\w<~!]",
    "directive": r"^ *(?:`{3,}|~{3,}) *\{",
    "colon fence": r"^ *:{3,}",
    "option of a directive": r"^:[a-z-]+:",
    "target": r"^\([\w-]+\)= *$",
    "label of a formula": r"\$\$ *\([\w-]+\)",
    "label of a formula, in LaTeX": r"\\(?:label|eqref|ref)\{",
    "comment": r"^%",
    "break between blocks": r"^\+\+\+",
    "substitution": r"\{\{",
    "definition list": r"^: ",
    "attributes": r"[\])`]\{[.#]",
}
MATHS = re.compile(r"\$\$.*?\$\$|\$[^$]*\$", re.S)
CODE = re.compile(r"^(```|~~~).*?^\1[`~]*$", re.M | re.S)
LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\(([^()\s]+)\)")
CITATION = re.compile(r"(.+?)(?: \((\d{4})\)|, (\d{4}))")


def cells(notebook: Notebook) -> list[str]:
    """The sources of the Markdown cells."""
    return ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]


def number(path: Path) -> int | None:
    """A chapter's number, as its file name gives it."""
    found = re.match(r"ch(\d+)_", path.name)
    return int(found[1]) if found else None


def only_myst(notebook: Notebook, path: Path) -> list[str]:
    """Syntax that other readers show raw; in formulas and code its characters mean other things."""
    prose = [MATHS.sub("$$", CODE.sub("", text)) for text in cells(notebook)]
    texts = {name: cells(notebook) if "formula" in name else prose for name in ONLY_MYST}
    texts["directive"] = cells(notebook)
    return [
        f"{name}: {match[0]}"
        for name, pattern in ONLY_MYST.items()
        for text in texts[name]
        for match in re.finditer(pattern, text, re.M)
    ]


def broken_folds(notebook: Notebook, path: Path) -> list[str]:
    """Folded parts whose Markdown would stay raw: HTML goes on until a blank line."""
    broken = []
    for text in cells(notebook):
        lines = ["", *CODE.sub("code", text).splitlines(), ""]
        depth = 0
        for before, line, after in zip(lines, lines[1:], lines[2:], strict=False):
            if "<details" in line:
                depth += 1
                if not re.fullmatch(r"<details><summary>[^<]+</summary>", line) or after:
                    broken.append(line)
            elif "</details" in line:
                depth -= 1
                if line != "</details>" or before or after:
                    broken.append(f"{before}\n{line}\n{after}")
            elif re.search(r"</?[a-z]+[ >]", MATHS.sub("", line)):
                broken.append(f"other HTML: {line}")
        broken += ["a fold without an end"] * (depth != 0)
    return broken


def bad_tags(notebook: Notebook, path: Path) -> list[str]:
    """Formulas that are not numbered 6.1, 6.2, ..., that nothing names, or that are missing."""
    text = "\n\n".join(CODE.sub("", cell) for cell in cells(notebook))
    tags = re.findall(r"\\tag\{([^}]*)\}", text)
    wanted = [f"{number(path)}.{i}" for i in range(1, len(tags) + 1)]
    named = re.findall(rf"\(({number(path)}\.\d+)\)", MATHS.sub("", text))
    broken = [f"tags {tags}, and not {wanted}"] if tags != wanted else []
    broken += [f"nothing refers to ({tag})" for tag in tags if tag not in named]
    broken += [f"no formula is ({name})" for name in named if name not in tags]
    # Sphinx puts such a formula into a split environment, in which MathJax allows no tag.
    broken += [
        f"\\\\ beside a tag, write \\cr: {formula[:40]}"
        for formula in re.findall(r"\$\$.*?\$\$", text, re.S)
        if "\\tag" in formula and "\\\\" in formula
    ]
    return broken


def bad_citations(notebook: Notebook, path: Path) -> list[str]:
    """Links to papers whose names, year or address are not those of an entry."""
    entries = set(REFERENCES.values())
    addresses = {entry.address for entry in entries} - {citations.PAGE}
    broken = []
    for text, address in LINK.findall("\n".join(cells(notebook))):
        cited = CITATION.fullmatch(text)
        paper = address in addresses or re.match(r"https?://(arxiv\.org|(dx\.)?doi\.org)/", address)
        if cited or paper:
            entry = cited and citations.Reference(cited[1], cited[2] or cited[3], address)
            broken += [f"[{text}]({address})"] * (entry not in entries)
    return broken


RULES = [only_myst, broken_folds, bad_tags, bad_citations]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebook_keeps_the_rule(path, rule) -> None:
    assert rule(json.loads(path.read_text(encoding="utf-8")), path) == []


def read(path: Path) -> Notebook:
    """A notebook; a page in Markdown as a notebook of one cell."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".ipynb":
        return dict(json.loads(text))
    return {"cells": [{"cell_type": "markdown", "source": [text]}]}


@pytest.mark.parametrize("path", sorted(BOOK.glob("*.md")), ids=lambda path: path.stem)
def test_page_cites_as_a_notebook_does(path) -> None:
    assert bad_citations(read(path), path) == []
    assert "{cite" not in path.read_text(encoding="utf-8")


def test_every_reference_is_cited() -> None:
    pages = [*NOTEBOOKS, *BOOK.glob("*.md")]
    text = "\n".join(cell for path in pages for cell in cells(read(path)))
    assert len(REFERENCES) >= 60
    uncited = [k for k, r in REFERENCES.items() if not (r.in_text in text or r.in_brackets in text)]
    assert uncited == []


def test_the_first_page_lists_the_whole_book_with_the_chapters_numbers() -> None:
    """Sphinx has a directive for it, which a notebook cannot have."""
    text = "\n".join(cells(read(BOOK / "index.ipynb"))).split("\n## The path\n")[1]
    entry = r"^(?:\*\*(.+)\*\*|(\d+\.|-) \[(.+)\]\((.+)\))$"
    wanted = []
    for part in yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))["parts"]:
        wanted.append((part["caption"], "", "", ""))
        for chapter in part["chapters"]:
            [file] = ROOT.glob(f"{chapter['file']}.[im]*")
            [title, *_] = re.findall(r"^# (.+)$", "\n".join(cells(read(file))), re.M)
            wanted.append(("", f"{number(file)}." if number(file) else "-", title, file.name))
    assert re.findall(entry, text, re.M) == wanted


# -- the rules notice what they are for --------------------------------------------------------

FOLD = "<details><summary>Solution</summary>\n\n$x = 1$.\n\n</details>"
PAPER = "[Odena et al. (2017)](https://arxiv.org/abs/1610.09585)"


@pytest.mark.parametrize(
    ("rule", "fine", "broken"),
    [
        (only_myst, "as (6.2) says, $\\{a\\}$ `{x}`", "as {eq}`eq-x` says"),
        (only_myst, "```python\n{}\n```", "```{note}\nx\n```"),
        (only_myst, "> **Note.** x", ":::{note}\nx\n:::"),
        (only_myst, "$$\nx \\tag{6.1}\n$$", "$$\nx\n$$ (eq-x)"),
        (only_myst, "$$\nx \\tag{6.1}\n$$", "$$\nx \\label{eq-x}\n$$"),
        (only_myst, "## Heading", "(target)=\n## Heading"),
        (broken_folds, FOLD, FOLD.replace("\n\n$x", "\n$x")),
        (broken_folds, FOLD, FOLD.replace(".\n\n", ".\n")),
        (broken_folds, FOLD, FOLD + "\nNext."),
        (broken_folds, FOLD, FOLD.removesuffix("</details>")),
        (broken_folds, FOLD, FOLD.replace("<details>", "<details open>")),
        (broken_folds, "1 < 2 > 1 and $a <b >c$", "<b>bold</b>"),
        (bad_tags, "$$\nx \\tag{6.1}\n$$\nBy (6.1)", "$$\nx \\tag{6.2}\n$$\nBy (6.2)"),
        (bad_tags, "$$\nx \\tag{6.1}\n$$\nBy (6.1)", "$$\nx \\tag{6.1}\n$$\nAs above"),
        (bad_tags, "By (2) of the paper, (0.25)", "By (6.1)"),
        (bad_tags, "$$\nx \\cr y\\tag{6.1}\n$$\n(6.1)", "$$\nx \\\\ y\\tag{6.1}\n$$\n(6.1)"),
        (bad_citations, PAPER, PAPER.replace("2017", "2016")),
        (bad_citations, PAPER, PAPER.replace("Odena", "Olah")),
        (bad_citations, PAPER, PAPER.replace("09585", "09586")),
        (bad_citations, PAPER.replace(" (2017)", ", 2017"), PAPER.replace(" (2017)", "")),
        (bad_citations, "[chapter 5](ch05_cgan.ipynb)", "[a paper](https://doi.org/10.1/x)"),
    ],
)
def test_a_rule_sees_what_it_is_for(rule, fine, broken) -> None:
    path = BOOK / "ch06_acgan.ipynb"
    as_notebooks = [
        {"cells": [{"cell_type": "markdown", "source": text}]} for text in (fine, broken)
    ]
    assert [bool(rule(notebook, path)) for notebook in as_notebooks] == [False, True]
