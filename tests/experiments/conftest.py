"""What the experiments' tests share: a folder of results that is theirs alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from torch import nn

from acgan_lib import zoo
from acgan_lib.experiments import _results


@pytest.fixture
def results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Put a new folder in the place of data/results, and the test's runs beside it."""
    monkeypatch.setattr(_results, "data_dir", lambda: tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "results"


@pytest.fixture
def shipped(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[nn.Module, dict[str, Any]]]:
    """Let the zoo load what the test puts here, and keep what is saved: network and facts."""
    kept: dict[str, Any] = {}

    def load(name: str, *_: Any) -> nn.Module:
        return kept[name][0]

    def save(name: str, network: nn.Module, **facts: Any) -> None:
        kept[name] = (network, facts)

    monkeypatch.setattr(zoo, "load", load)
    monkeypatch.setattr(zoo, "ship", save)
    return kept
