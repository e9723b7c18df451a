"""What `pytest --nbval book/` does not compare: the numbers behind "≈", from any working folder."""

from pathlib import Path

import pytest


def pytest_configure(config: pytest.Config) -> None:
    """Hand nbval the book's patterns, unless the command line names others."""
    if not config.option.nbval_sanitize_with:
        patterns = Path(__file__).resolve().parents[1] / "tests" / "nbval_sanitize.cfg"
        config.option.nbval_sanitize_with = str(patterns)
