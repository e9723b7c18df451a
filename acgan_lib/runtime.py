"""Where and how long a run goes: seeds, device, precision, budget, and eval mode for a moment."""

from __future__ import annotations

import os
import platform
import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

T = TypeVar("T")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's (CPU and CUDA) random generators.

    Args:
        seed: a non-negative integer below 2**32.

    Raises:
        ValueError: if ``seed`` is outside that range, which NumPy could not take.
    """
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be in [0, 2**32), got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def pick_device() -> torch.device:
    """Return the CUDA device when there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def budget(*, smoke: T, full: T) -> T:
    """Choose between a chapter's short run and its long one.

    The environment variable ``ACGAN_BUDGET`` decides: ``smoke`` (the default, about a minute a
    chapter on two CPU cores, and what the stored outputs show) or ``full``.

    Raises:
        ValueError: if ``ACGAN_BUDGET`` holds anything else.
    """
    name = os.environ.get("ACGAN_BUDGET", "smoke")
    if name not in ("smoke", "full"):
        raise ValueError(f"ACGAN_BUDGET must be 'smoke' or 'full', got {name!r}")
    return full if name == "full" else smoke


def supports_bf16(device: torch.device | str) -> bool:
    """Tell whether bfloat16 convolutions run in hardware on ``device``.

    Where they do not, bfloat16 is emulated and slower than float32, so training stays in float32.
    """
    if torch.device(device).type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)


def describe(device: torch.device | str | None = None) -> str:
    """Return one line that names the versions and the device a notebook ran with."""
    chosen = torch.device(device) if device is not None else pick_device()
    name = torch.cuda.get_device_name(chosen) if chosen.type == "cuda" else "CPU"
    precision = "bfloat16" if supports_bf16(chosen) else "float32"
    return f"Python {platform.python_version()} · torch {torch.__version__} · {name} · {precision}"


@contextmanager
def evaluating(module: nn.Module) -> Iterator[torch.device]:
    """Put `module` in eval mode without gradients; yield the device that its weights are on.

    Each submodule's own mode is restored on leaving, frozen parts included.
    """
    modes = {part: part.training for part in module.modules()}
    weight = next(module.parameters(), None)
    module.eval()
    try:
        with torch.no_grad():
            yield torch.device("cpu") if weight is None else weight.device
    finally:
        for part, mode in modes.items():
            part.training = mode
