"""The ten lines' names: one import, nothing loaded before it is used, a tour of them all."""

from __future__ import annotations

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

import acgan_lib

ROOT = Path(__file__).resolve().parents[2]
NAMES = acgan_lib._MODULE_OF


@pytest.mark.parametrize("name", NAMES)
def test_each_name_is_that_of_its_module(name: str) -> None:
    module = importlib.import_module(f"acgan_lib.{NAMES[name]}")
    assert getattr(acgan_lib, name) is getattr(module, name)
    assert getattr(acgan_lib, name).__doc__
    assert name in dir(acgan_lib)
    assert name in acgan_lib.__all__


@pytest.mark.parametrize("name", acgan_lib._MODULES)
def test_modules_are_attributes_too(name: str) -> None:
    assert getattr(acgan_lib, name) is importlib.import_module(f"acgan_lib.{name}")
    assert name in dir(acgan_lib)


def test_no_name_is_also_a_modules() -> None:
    """Importing acgan_lib.NAME would put the module in the name's place."""
    modules = {path.stem for path in (ROOT / "acgan_lib").iterdir()}
    assert not modules & NAMES.keys()


def test_type_checkers_read_the_same_table() -> None:
    tree = ast.parse(Path(acgan_lib.__file__).read_text(encoding="utf-8"))
    [block] = [node for node in tree.body if isinstance(node, ast.If)]
    typed = {}
    for node in block.body:
        assert isinstance(node, ast.ImportFrom)
        for alias in node.names:
            assert alias.asname == alias.name, "without `as` a type checker takes it for private"
            typed[alias.name] = str(node.module).removeprefix("acgan_lib.")
    assert typed == NAMES


def test_the_tour_has_each_name_and_its_ten_lines() -> None:
    tour = str(acgan_lib.__doc__)
    listed = re.findall(r"^    ((?:\w+, )*\w+)  +\S", tour, re.M)
    assert {name for row in listed for name in row.split(", ")} == NAMES.keys()
    used = set(re.findall(r"\bag\.(\w+)\(", tour))
    assert used <= NAMES.keys()
    assert len(used) >= 9


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'acgan_lib' has no attribute 'wgan'"):
        acgan_lib.wgan  # noqa: B018
    assert not hasattr(acgan_lib, "experiments_of_mine")


LAZY = """
import sys
before = set(sys.modules)
import acgan_lib as ag
loaded = {name.split(".")[0] for name in set(sys.modules) - before}
assert loaded - {"acgan_lib"} <= sys.stdlib_module_names, loaded
ag.acgan()
assert "torch" in sys.modules
heavy = {"matplotlib", "ipywidgets", "acgan_lib.widgets", "acgan_lib.train", "acgan_lib.metrics"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
ag.explorer
assert "acgan_lib.widgets" in sys.modules
"""


def test_a_name_loads_what_it_needs_and_no_more() -> None:
    done = subprocess.run([sys.executable, "-c", LAZY], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_help_is_the_tour() -> None:
    shown = subprocess.run(
        [sys.executable, "-c", "import acgan_lib; help(acgan_lib)"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    ).stdout
    assert "images = ag.image_folder(" in shown
    assert "report            accuracy, MS-SSIM" in shown
    # Below the tour stand the functions themselves, under their own names.
    assert re.search(r"^    fit\(", shown, re.M)
    assert re.search(r"^    pair\(", shown, re.M)
