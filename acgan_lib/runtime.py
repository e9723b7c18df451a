"""Where and how long a run goes: seeds, device, precision, budget, and eval mode for a moment."""

from __future__ import annotations

import os
import platform
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TypeVar

import numpy as np
import torch
from torch import nn

T = TypeVar("T")


def seed_everything(seed: int) -> None:
    """Seed Python's, NumPy's and torch's random generators, torch's on every device.

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


_GENERATORS = threading.RLock()


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Draw from ``seed`` inside, on the CPU and on ``device``; then the caller's states are back.

    torch has one generator a device for all threads of a process. So one thread at a time is
    inside; others that come wait. A thread that draws *without* this takes numbers away from the
    one inside: give it a ``torch.Generator`` of its own.
    """
    generators = [torch.default_generator]
    device = torch.device(device)
    if device.type == "cuda":
        torch.cuda.init()  # type: ignore[no-untyped-call]  # before, it has no generators
        index = torch.cuda.current_device() if device.index is None else device.index
        generators.append(torch.cuda.default_generators[index])
    elif device.type == "mps":
        generators.append(torch.mps._get_default_mps_generator())
    with _GENERATORS:
        states = [generator.get_state() for generator in generators]
        try:
            for generator in generators:
                generator.manual_seed(seed)
            yield
        finally:
            for generator, state in zip(generators, states, strict=True):
                generator.set_state(state)


def pick_device() -> torch.device:
    """Return the CUDA device when there is one, else Apple's GPU (MPS), else the CPU.

    Where MPS lacks an operation, torch raises NotImplementedError. With the environment variable
    ``PYTORCH_ENABLE_MPS_FALLBACK=1``, set before torch is imported, it computes that operation on
    the CPU instead.
    """
    if torch.cuda.is_available():
        return torch.device("cuda")
    return torch.device("mps" if torch.backends.mps.is_available() else "cpu")


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
    On Apple's GPUs it stays in float32, too.
    """
    kind = torch.device(device).type
    if kind == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    if kind != "cpu":
        return False
    capabilities: dict[str, bool] = getattr(torch.cpu, "get_capabilities", dict)()
    return capabilities.get("avx512_bf16", False) or capabilities.get("amx_bf16", False)


def describe(device: torch.device | str | None = None) -> str:
    """Return one line that names the versions and the device a notebook ran with."""
    chosen = torch.device(device) if device is not None else pick_device()
    name = {"cpu": "CPU", "mps": "Apple GPU"}.get(chosen.type) or torch.cuda.get_device_name(chosen)
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
