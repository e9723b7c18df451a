"""What the tests share: the repository's root, and its files as git would hand them over."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tools"), str(ROOT)]  # the tests use the tools and hubconf as modules

# Seconds on one core. The longest files come first, so that the workers end together.
SECONDS = {
    "test_book": 170,
    "test_splits": 60,
    "ch04_dcgan": 40,
    "ch05_cgan": 51,
    "ch14_class_splits": 47,
    "ch06_acgan": 43,
    "ch11_scores": 39,
    "ch02_the_game": 28,
    "ch09_discriminability": 26,
    "test_parallel": 23,
    "ch01_generative_models": 23,
    "ch07_infogan": 22,
}


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Put the long files first where workers share the files out (`pytest -n 2`)."""
    if hasattr(config, "workerinput"):
        items.sort(key=lambda item: -SECONDS.get(item.path.stem, 0))


@pytest.fixture(scope="session")
def root() -> Path:
    """The repository's root folder."""
    return ROOT


@pytest.fixture(scope="session")
def tracked() -> list[Path]:
    """Every file that is committed or about to be, as a path relative to the root."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    return [Path(name) for name in sorted(set(listed.split("\0"))) if (ROOT / name).is_file()]


@pytest.fixture(scope="session")
def alike() -> dict[str, str]:
    """The environment for processes that a test starts: one thread, and this process's modules."""
    modules = os.pathsep.join(filter(None, sys.path))
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": modules}


@pytest.fixture
def one_thread() -> Iterator[None]:
    """Sums in one order, whatever the machine, as the processes that a test starts have it too."""
    import torch  # here, so that the process that only shares the files out does not load it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium for a file; its absence fails with the line that says what to install.

    Playwright allows one driver in a process at a time, so it ends with the file.
    """
    import preflight
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=preflight.chromium(), args=preflight.FLAGS
        )
        yield chromium
        chromium.close()
