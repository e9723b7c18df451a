"""The library's reference in the book has every module, every public name, and a text for each."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

import acgan_lib

ROOT = Path(__file__).resolve().parents[2]
PAGES = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "book").glob("api*.md")}
FILES = [path.relative_to(ROOT) for path in (ROOT / "acgan_lib").rglob("*.py")]
MODULES = {
    ".".join(path.with_suffix("").parts).removesuffix(".__init__"): ROOT / path
    for path in FILES
    if not re.search(r"/_(?!_init__)", path.as_posix())
}
# Packages that hold other modules, or gather their names: each name stands in its own module.
GATHER = {
    "acgan_lib", "acgan_lib.metrics", "acgan_lib.experiments", "acgan_lib.experiments.ch08_museum",
}  # fmt: skip
# The page on which a folder's modules stand.
PLACES = {
    "metrics": "api_metrics", "families": "api_parts", "widgets": "api_parts", "scale": "api_parts",
    "experiments": "api_experiments",
}  # fmt: skip


def test_every_module_stands_once_and_on_its_folders_page() -> None:
    found = [
        (module, page)
        for page, text in PAGES.items()
        for module in re.findall(r"^\.\. automodule:: (\S+)$", text, re.M)
    ]
    expected = {m: PLACES.get(m.split(".")[1], "api") for m in MODULES.keys() - GATHER}
    assert sorted(found) == sorted(expected.items())


def test_every_page_lists_what_it_holds() -> None:
    for page, text in PAGES.items():
        held = set(re.findall(r"^\.\. automodule:: (\S+)$", text, re.M))
        listed = set(re.findall(r"^   ~(\S+)$", text, re.M))
        assert held <= listed, page


def test_the_first_page_has_the_names_and_lines_of_the_tour() -> None:
    names = re.findall(r"^   ~(acgan_lib\.\S+\.(\w+))$", PAGES["api"], re.M)
    for name, place in acgan_lib._MODULE_OF.items():
        [where] = [path for path, last in names if last == name]
        assert where.startswith(f"acgan_lib.{place}."), "a name stands where it is made"
    [lines] = re.findall(r"```python\n(.*?)```", PAGES["api"], re.S)
    indented = [f"    {line}" if line else "" for line in lines.rstrip().split("\n")]
    assert "\n".join(indented) in str(acgan_lib.__doc__)


@pytest.mark.parametrize("module", MODULES)
def test_everything_public_has_a_text(module: str) -> None:
    """What has none is missing from the reference."""
    tree = ast.parse(MODULES[module].read_text(encoding="utf-8"))
    assert ast.get_docstring(tree)
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
            assert ast.get_docstring(node), f"{module}.{node.name}"
