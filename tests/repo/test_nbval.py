"""What `pytest --nbval book/` compares: numbers behind "≈" are masked, all others are not."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from nbval.plugin import get_sanitize_patterns

ROOT = Path(__file__).resolve().parents[2]
PATTERNS = get_sanitize_patterns((ROOT / "tests/nbval_sanitize.cfg").read_text(encoding="ascii"))


def sanitized(text: str) -> str:
    """The text as nbval's own `sanitize` leaves it."""
    for regex, replacement in PATTERNS:
        text = re.sub(regex, replacement, text)
    return text


@pytest.mark.parametrize(
    ("printed", "compared"),
    [
        ("≈ 0.70", "ABOUT"),
        ("loss ≈0.7, then 5", "loss ABOUT, then 5"),
        ("≈ -0.3 and ≈ −0.3", "ABOUT and ABOUT"),
        ("≈ 12 %.", "ABOUT %."),
        ("≈ 3 of 5", "ABOUT of 5"),
        ("≈   .5 | ≈  12.5 |", "ABOUT | ABOUT |"),
        ("≈ 1.2e-05", "ABOUT"),
        ("≈ 1,234,567 parameters", "ABOUT parameters"),
        ("≈ 0.73 [0.70, 0.76] (n=10,000)", "ABOUT (n=10,000)"),
        ("≈ −0.02 [−0.10, 0.06] (n=5 and 5), p ≈ 0.53", "ABOUT (n=5 and 5), p ABOUT"),
        ("≈ 0.73 ± 0.03", "ABOUT"),
        ("≈ [0.1 0.2\n 1.e-3]", "ABOUT"),
        ("<td>≈ 0.7</td><td>0.7</td>", "<td>ABOUT</td><td>0.7</td>"),
        ("≈ 0.7 [3]", "ABOUT [3]"),
        ("≈ 0.7\n0.8", "ABOUT\n0.8"),
        ("≈\n0.8", "≈\n0.8"),
        ("≈ nan, ≈ inf, ≈ many", "≈ nan, ≈ inf, ≈ many"),
    ],
)
def test_the_sign_masks_what_follows_at_once(printed: str, compared: str) -> None:
    assert sanitized(printed) == compared


def test_a_chapter_passes_where_only_masked_numbers_differ(tmp_path, alike) -> None:
    """As a reader calls it: in another folder than the book's, with no option for the mask."""
    folder = tmp_path / "copy"
    for part in ("pyproject.toml", "book/conftest.py", "tests/nbval_sanitize.cfg"):
        (folder / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / part, folder / part)
    cells = [
        new_code_cell(
            f"print({now!r})",
            outputs=[new_output("stream", text=f"{stored}\n")],
            execution_count=1,
        )
        for now, stored in [
            ("≈ 0.71 of 5", "≈ 0.70 of 5"),  # passes
            ("≈ 0.71 of 5", "≈ 0.71 of 6"),  # and the others differ
            ("0.71", "0.70"),
            ("≈ nan", "≈ 0.70"),
        ]
    ]
    nbformat.write(new_notebook(cells=cells), folder / "book" / "chapter.ipynb")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--nbval", str(folder / "book"), "-p", "no:cacheprovider"],
        cwd=tmp_path,
        env=alike,
        capture_output=True,
        text=True,
        encoding="utf-8",
    )
    assert re.findall(r"^FAILED \S+::Cell (\d)", done.stdout, re.M) == ["1", "2", "3"], done.stdout
    assert "1 passed" in done.stdout
