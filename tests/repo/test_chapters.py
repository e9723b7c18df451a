"""The rules of a chapter: tagged cells are the library's code, prose leads, a reader finds the way.

Each rule is a function from a notebook to the list of what breaks it, so that the rules themselves
are tested on small notebooks that break them.
"""

from __future__ import annotations

import ast
import importlib
import inspect
import json
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import slug

from acgan_lib import widgets

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = [
    *sorted((ROOT / "book").glob("ch*.ipynb")),
    *(ROOT / "book" / f"{name}.ipynb" for name in ("playground", "intervals")),
]
LONGEST_CELL = 25  # lines of code; a cell that writes out the library's own code may be longer
WIDEST_LINE = 88  # characters
WORDS_PER_LINE = 5
MAY_IGNORE = 6  # cells of a chapter whose output nbval may ignore: versions, timings
LINES_PER_VERDICT = 20  # printed lines, of which one may end in True or False

WIDGETS = "application/vnd.jupyter.widget-state+json"
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"
QUIZ = f"{widgets.Quiz.__module__}.Quiz"

Notebook = dict[str, Any]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def cells(notebook: Notebook, kind: str) -> Iterator[dict[str, Any]]:
    return (c for c in notebook["cells"] if c["cell_type"] == kind and source(c).strip())


def tags(cell: dict[str, Any]) -> list[str]:
    return list(cell["metadata"].get("tags", []))


def code_lines(cell: dict[str, Any]) -> list[str]:
    """The lines of a cell that are neither blank nor a comment alone."""
    lines = (line.strip() for line in source(cell).splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def library_names(cell: dict[str, Any]) -> list[str]:
    return [tag.removeprefix("lib:") for tag in tags(cell) if tag.startswith("lib:")]


def without_docstrings(tree: ast.AST) -> str:
    """A syntax tree as text, docstrings taken out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            first = node.body[0] if node.body else None
            value = first.value if isinstance(first, ast.Expr) else None
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                node.body = node.body[1:] or [ast.Pass()]
    return ast.dump(tree, indent=1)


def library_source(name: str) -> str:
    """The source of ``acgan_lib.<name>``, a module's function, class, method or constant."""
    parts = name.split(".")
    for cut in range(len(parts) - 1, 0, -1):
        try:
            module = importlib.import_module(".".join(["acgan_lib", *parts[:cut]]))
        except ModuleNotFoundError:
            continue
        found: Any = module
        for part in parts[cut:]:
            found = getattr(found, part)
        return textwrap.dedent(inspect.getsource(found))
    raise LookupError(f"acgan_lib has no {name}")


def definitions(code: str) -> dict[str, str]:
    """Every function and class at a source's top level, by name, docstrings aside."""
    body = ast.parse(code).body
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return {node.name: without_docstrings(node) for node in body if isinstance(node, kinds)}


# -- the rules ---------------------------------------------------------------------------------


def drift(notebook: Notebook) -> list[str]:
    """Tagged cells that differ from the library."""
    broken = []
    for cell in cells(notebook, "code"):
        written = definitions(source(cell)) if library_names(cell) else {}
        for name in library_names(cell):
            try:
                [(last, library)] = definitions(library_source(name)).items()
            except (LookupError, AttributeError) as error:
                broken.append(f"{name}: {error}")
                continue
            if last not in written:
                broken.append(f"{name}: the cell does not define {last}")
            elif written[last] != library:
                broken.append(f"{name}: the cell differs from the library")
    return broken


def unknown_tags(notebook: Notebook) -> list[str]:
    """Tags that would hide a cell from nbval, or that mean nothing here."""
    known = {"nbval-ignore-output", "hide-input", "hide-output", "hide-cell", "remove-output"}
    return [
        tag
        for cell in notebook["cells"]
        for tag in tags(cell)
        if tag not in known and not tag.startswith("lib:")
    ]


def ignored_outputs(notebook: Notebook) -> list[str]:
    """Cells whose output nbval does not compare, beyond the few that print timings."""
    ignored = [source(c)[:60] for c in cells(notebook, "code") if "nbval-ignore-output" in tags(c)]
    return ignored if len(ignored) > MAY_IGNORE else []


def outside_code(notebook: Notebook) -> str:
    """The Markdown cells without their fenced code."""
    text = "\n".join(source(cell) for cell in cells(notebook, "markdown"))
    return re.sub(r"^\s*(`{3,}|~{3,}).*?^\s*\1[`~]*\s*$", "", text, flags=re.M | re.S)


def prose_words(notebook: Notebook) -> int:
    """Words of running prose: maths, addresses, HTML, pictures and code are not counted."""
    text = re.sub(r"\$\$.*?\$\$|!\[.*?\]\(.*?\)", " ", outside_code(notebook), flags=re.S)
    text = re.sub(r"\$[^$]*\$|\]\([^)]*\)|</?\w+>", " ", text)
    return len(re.findall(r"[A-Za-z][\w'-]*", text))


def too_little_prose(notebook: Notebook) -> list[str]:
    """The chapter, where it has fewer than five words of prose for each line of code."""
    lines = sum(len(code_lines(cell)) for cell in cells(notebook, "code"))
    words = prose_words(notebook)
    ratio = words / lines
    return [] if ratio >= WORDS_PER_LINE else [f"{words} words, {lines} lines: {ratio:.1f}"]


def long_cells(notebook: Notebook) -> list[str]:
    """Cells that do not fit a screen, and lines that do not fit a page."""
    broken = []
    for cell in cells(notebook, "code"):
        if len(code_lines(cell)) > LONGEST_CELL and not library_names(cell):
            broken.append(f"{len(code_lines(cell))} lines: {source(cell)[:60]}")
        broken += [line for line in source(cell).splitlines() if len(line) > WIDEST_LINE]
    return broken


def bad_start(notebook: Notebook, path: Path) -> list[str]:
    """A missing Colab button, or a set-up cell that installs elsewhere than on Colab."""
    address = f"https://colab.research.google.com/github/{slug.current(ROOT)}/blob/main/book/"
    first_code = next(cells(notebook, "code"))
    install = source(first_code)
    title = source(notebook["cells"][0])
    checks = {
        "the first cell has no title": title.startswith("# "),
        "the first cell has no Colab button": f"({address}{path.name})" in title,
        "the set-up cell asks not for Colab": "google.colab" in install,
        "the set-up cell installs another library": (
            f"git+https://github.com/{slug.current(ROOT)}" in install
        ),
        "an install outside the set-up cell": not any(
            re.search(r"pip install|apt-get|!git ", source(cell))
            for cell in cells(notebook, "code")
            if cell is not first_code
        ),
        "an install that would run here": all(
            line.startswith((" ", "\t")) for line in install.splitlines() if "pip install" in line
        ),
        "an install that is only a comment": not re.search(r"#.*pip install", install),
    }
    return [message for message, fine in checks.items() if not fine]


def bad_headings(notebook: Notebook) -> list[str]:
    """More than one title, or a heading that skips a level."""
    found = re.findall(r"^(#+) (.+)$", outside_code(notebook), re.M)
    levels = [len(marks) for marks, _ in found]
    broken = [
        title
        for (_, title), level, before in zip(found, levels, [0, *levels], strict=False)
        if level > before + 1
    ]
    return broken + (["more than one title"] if levels.count(1) != 1 else [])


def pictures_without_words(notebook: Notebook) -> list[str]:
    """Pictures that say nothing to who does not see them: in Markdown, and as outputs."""
    broken = []
    for cell in cells(notebook, "markdown"):
        broken += re.findall(r"!\[\s*\]\([^)]*\)", source(cell))
    for cell in cells(notebook, "code"):
        kinds = {kind for output in cell["outputs"] for kind in output.get("data", {})}
        shown = kinds & {"image/png", "image/svg+xml"}
        alt = cell["metadata"].get("mystnb", {}).get("image", {}).get("alt", "")
        if shown and len(alt.split()) < 4:
            broken.append(f"no alt text for the figure of: {source(cell)[:60]}")
    return broken


@cache
def front_end(widget: str) -> dict[str, str]:
    """The script and style sheet that a widget of this class would carry if it were made now."""
    module, _, name = widget.rpartition(".")
    if not module.startswith("acgan_lib."):
        return {}
    face = getattr(importlib.import_module(module), name)
    return {"_esm": face._esm, "_css": face._css}


def stale_widgets(notebook: Notebook) -> list[str]:
    """Stored widgets that carry an older front end than the library's: run the chapter again."""
    state = notebook["metadata"].get("widgets", {}).get(WIDGETS, {}).get("state", {})
    return [
        f"{part} of {widget}"
        for widget, kept in state.items()
        for part, now in front_end(kept["state"].get("_anywidget_id", "")).items()
        if kept["state"].get(part) != now
    ]


def printed_lines(notebook: Notebook) -> list[str]:
    """What the cells print, line by line: streams, and values that have no richer form."""
    texts = []
    for output in (output for cell in cells(notebook, "code") for output in cell["outputs"]):
        data = output.get("data", {})
        texts += [
            output.get("text", ""),
            data["text/plain"] if data.keys() == {"text/plain"} else "",
        ]
    lines = "\n".join("".join(text) for text in texts).splitlines()
    return [line.strip() for line in lines if line.strip()]


def verdicts(notebook: Notebook) -> list[str]:
    """Lines that end in True or False, where more than one in twenty does: print the number."""
    lines = printed_lines(notebook)
    found = [line for line in lines if re.search(r"\b(True|False)\W*$", line)]
    return found if LINES_PER_VERDICT * len(found) > len(lines) else []


def half_folded(notebook: Notebook) -> list[str]:
    """Cells whose code is folded on the built page and open in JupyterLab, or the other way."""
    return [
        source(cell)[:60]
        for cell in cells(notebook, "code")
        if ("hide-input" in tags(cell))
        != (cell["metadata"].get("jupyter", {}).get("source_hidden") is True)
    ]


def bad_quizzes(notebook: Notebook) -> list[str]:
    """Stored questions without a right answer or a reason, or that no notebook would show."""
    state = notebook["metadata"].get("widgets", {}).get(WIDGETS, {}).get("state", {})
    broken = []
    for kept in (widget["state"] for widget in state.values()):
        if kept.get("_anywidget_id") == QUIZ:
            try:
                widgets.quiz(kept["spec"]["questions"], title=kept["spec"]["title"])
            except (KeyError, TypeError, ValueError) as error:
                broken.append(f"{type(error).__name__}: {error}")
    outputs = [output for cell in cells(notebook, "code") for output in cell["outputs"]]
    shown = [output["data"] for output in outputs if WIDGET_VIEW in output.get("data", {})]
    plain = ["".join(data["text/plain"]) for data in shown if "text/markdown" not in data]
    return broken + [text for text in plain if text.startswith("Quiz(")]


RULES = [
    drift,
    bad_quizzes,
    half_folded,
    stale_widgets,
    unknown_tags,
    ignored_outputs,
    too_little_prose,
    long_cells,
    bad_headings,
    pictures_without_words,
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_keeps_the_rule(path, rule) -> None:
    assert rule(json.loads(path.read_text(encoding="utf-8"))) == []


FIRST_PAGE_RULES = [stale_widgets, ignored_outputs, verdicts, half_folded]


@pytest.mark.parametrize("rule", FIRST_PAGE_RULES, ids=lambda rule: rule.__name__)
def test_first_page_keeps_the_rule(rule) -> None:
    assert rule(json.loads((ROOT / "book" / "index.ipynb").read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", CHAPTERS, ids=lambda path: path.stem)
def test_chapter_starts_with_colab_and_installs_nowhere_else(path) -> None:
    assert bad_start(json.loads(path.read_text(encoding="utf-8")), path) == []


def test_every_chapter_is_in_the_book() -> None:
    toc = (ROOT / "_toc.yml").read_text()
    assert len(CHAPTERS) >= 3
    assert [path.stem for path in CHAPTERS if f"book/{path.stem}\n" not in toc] == []


# -- the rules notice what they are for --------------------------------------------------------


def code(text: str, *labels: str, outputs: list[Any] | None = None) -> dict[str, Any]:
    metadata = {"tags": list(labels)}
    return {"cell_type": "code", "source": text, "metadata": metadata, "outputs": outputs or []}


def folded(text: str, *labels: str) -> dict[str, Any]:
    cell = code(text, *labels)
    cell["metadata"]["jupyter"] = {"source_hidden": True}
    return cell


def prose(text: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "source": text, "metadata": {}}


def notebook(*parts: dict[str, Any]) -> Notebook:
    return {"cells": list(parts)}


def test_a_widget_of_an_older_library_is_seen() -> None:
    now = {"_anywidget_id": "acgan_lib.widgets.Scrubber", **front_end("acgan_lib.widgets.Scrubber")}
    old = {**now, "_css": now["_css"] + "old"}
    for kept, broken in ((now, []), (old, ["_css of 1"])):
        state = {"1": {"state": kept}, "2": {"state": {"layout": "3"}}}
        assert stale_widgets({"metadata": {"widgets": {WIDGETS: {"state": state}}}}) == broken


@pytest.mark.parametrize(
    ("change", "broken"),
    [
        ({}, 0),
        ({"answer": 2}, 1),
        ({"options": ["a"]}, 1),
        ({"why": " "}, 1),
        ({"hint": "b"}, 1),
    ],
)
def test_a_quiz_that_cannot_be_answered_is_seen(change, broken) -> None:
    asked = {**widgets.ask("?", ["a", "b"], answer=1, why="b is."), **change}
    state = {"1": {"state": {"_anywidget_id": QUIZ, "spec": {"title": "Q", "questions": [asked]}}}}
    made = {**notebook(), "metadata": {"widgets": {WIDGETS: {"state": state}}}}
    assert len(bad_quizzes(made)) == broken
    asked = widgets.ask("?", ["a", "b"], answer=1, why="b is.")
    data, _ = widgets.quiz([asked])._repr_mimebundle_()
    for kept in (data, {name: data[name] for name in data if name != "text/markdown"}):
        made["cells"] = [code("x", outputs=[{"data": kept}])]
        assert len(bad_quizzes(made)) == broken + (kept is not data)


def test_drift_sees_a_changed_constant_but_no_docstring() -> None:
    same = library_source("_files.data_dir")
    other = same.replace('"_data"', '"elsewhere"')
    reworded = re.sub(r'""".*?"""', '"""Other words."""', same, count=1, flags=re.S)
    assert "_data" in reworded
    for text, broken in ((same, 0), (reworded, 0), (other, 1), ("x = 1", 1)):
        assert len(drift(notebook(code(text, "lib:_files.data_dir")))) == broken
    assert drift(notebook(code(same, "lib:_files.no_such_thing"))) != []
    assert drift(notebook(code(same, "lib:no_such_module.f"))) != []


@pytest.mark.parametrize(
    ("rule", "broken", "fine"),
    [
        (unknown_tags, [code("x", "nbval-skip")], [code("x", "nbval-ignore-output")]),
        (
            ignored_outputs,
            [code("x", "nbval-ignore-output")] * (MAY_IGNORE + 1),
            [code("x", "nbval-ignore-output")] * MAY_IGNORE,
        ),
        (
            too_little_prose,
            [prose("one two three four $a b c d$"), code("x = 1")],
            [prose("one two three four five"), code("x = 1\n\n# a comment is no code")],
        ),
        (
            too_little_prose,
            [prose("```python\none two three four five\n```"), code("x = 1")],
            [prose("```python\nx\n```\none two three four five"), code("x = 1")],
        ),
        (
            too_little_prose,
            [prose("<details><summary>one two</summary>\n\n</details>"), code("x = 1")],
            [prose("[one two](three.ipynb) <b>three</b> four five"), code("x = 1")],
        ),
        (
            verdicts,
            [code("x", outputs=[{"text": ["n = 3\n"] * 18 + ["below 1/5: True\n"]}])],
            [code("x", outputs=[{"text": ["n = 3\n"] * 19 + ["below 1/5: True\n"]}])],
        ),
        (
            verdicts,
            [code("x", outputs=[{"data": {"text/plain": ["(0.3,\n", " False)"]}}])],
            [code("x", outputs=[{"data": {"text/plain": "False", "image/png": ""}}])],
        ),
        (half_folded, [code("x", "hide-input")], [folded("x", "hide-input")]),
        (half_folded, [folded("x")], [code("x")]),
        (long_cells, [code("x = 1\n" * 26)], [code("x = 1\n" * 25)]),
        (long_cells, [code("x" * 89)], [code("x" * 88)]),
        (bad_headings, [prose("# A\n\n### C")], [prose("# A\n\n## B\n\n### C\n\n## D")]),
        (bad_headings, [prose("# A\n\n# B")], [prose("# A\n\n```\n# a comment\n```")]),
        (pictures_without_words, [prose("![](a.png)")], [prose("![a red dot](a.png)")]),
        (
            pictures_without_words,
            [code("x", outputs=[{"data": {"image/png": ""}}])],
            [code("x", outputs=[{"data": {"text/plain": ""}}])],
        ),
        (
            pictures_without_words,
            [code("x", outputs=[{"data": {"image/svg+xml": ""}}])],
            [code("x", outputs=[{"data": {"text/html": ""}}])],
        ),
    ],
)
def test_a_rule_sees_what_it_is_for(rule, broken, fine) -> None:
    assert rule(notebook(*broken)) != []
    assert rule(notebook(*fine)) == []


@pytest.mark.parametrize(
    "change",
    [
        ("blob/main/book/ch04", "blob/main/book/ch05"),
        ("google.colab", "some.where"),
        ("# DCGAN", "DCGAN"),
        ("    %pip install", "%pip install"),
        ("    %pip install", "    # %pip install"),
    ],
)
def test_a_wrong_start_is_seen(change) -> None:
    path = ROOT / "book" / "ch04_dcgan.ipynb"
    address = slug.current(ROOT)
    link = f"https://colab.research.google.com/github/{address}/blob/main/book/{path.name}"
    title = f"# DCGAN\n\n[![Open in Colab](_static/colab.svg)]({link})"
    install = (
        'import sys\n\nif "google.colab" in sys.modules:\n'
        f'    %pip install -q "acgan-lib @ git+https://github.com/{address}"\n'
    )
    assert bad_start(notebook(prose(title), code(install)), path) == []
    title, install = title.replace(*change), install.replace(*change)
    assert bad_start(notebook(prose(title), code(install)), path) != []
