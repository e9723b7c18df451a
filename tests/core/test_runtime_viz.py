"""Seeds, device, budget; and figures whose pixels, labels and order are checked."""

from __future__ import annotations

import os
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch

from acgan_lib import runtime, viz
from acgan_lib.train import History

matplotlib.use("agg")


# --- runtime ------------------------------------------------------------------------------------


def test_seeding_reaches_python_numpy_and_torch() -> None:
    def draw() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(()))  # noqa: NPY002

    runtime.seed_everything(7)
    first = draw()
    between = draw()
    runtime.seed_everything(7)
    assert draw() == first
    runtime.seed_everything(8)
    other = draw()
    assert all(a != b for a, b in zip(first, other, strict=True))
    assert all(a != b for a, b in zip(first, between, strict=True))


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_impossible_seeds_are_refused(seed: int) -> None:
    with pytest.raises(ValueError, match=r"seed must be in \[0, 2\*\*32\), got"):
        runtime.seed_everything(seed)


@pytest.mark.parametrize(("value", "expected"), [(None, 300), ("smoke", 300), ("full", 12_000)])
def test_budget_follows_the_environment(monkeypatch, value: str | None, expected: int) -> None:
    monkeypatch.delenv("ACGAN_BUDGET", raising=False)
    if value is not None:
        monkeypatch.setenv("ACGAN_BUDGET", value)
    assert runtime.budget(smoke=300, full=12_000) == expected


@pytest.mark.parametrize("value", ["", "Full", "1"])
def test_budget_refuses_other_words(monkeypatch, value: str) -> None:
    monkeypatch.setenv("ACGAN_BUDGET", value)
    with pytest.raises(ValueError, match=f"ACGAN_BUDGET must be 'smoke' or 'full', got '{value}'"):
        runtime.budget(smoke=1, full=2)


@pytest.mark.parametrize(
    ("cuda", "mps", "kind"),
    [(True, True, "cuda"), (True, False, "cuda"), (False, True, "mps"), (False, False, "cpu")],
)
def test_device_is_cuda_then_apples_then_the_cpu(monkeypatch, cuda, mps, kind: str) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: cuda)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: mps)
    assert runtime.pick_device() == torch.device(kind)
    assert "PYTORCH_ENABLE_MPS_FALLBACK=1" in str(runtime.pick_device.__doc__)


def test_apples_gpu_trains_in_float32_whatever_its_cpu_can(monkeypatch) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True}, raising=False)
    assert runtime.supports_bf16("mps") is False
    assert runtime.describe("mps").endswith("Apple GPU · float32")


def test_inside_seeded_a_seed_decides_and_outside_the_caller() -> None:
    torch.manual_seed(1)
    expected = torch.rand(3)
    torch.manual_seed(1)
    first = torch.rand(1)
    with runtime.seeded(5):
        inside = torch.rand(2)
        with runtime.seeded(6):
            other = torch.rand(2)
        after = torch.rand(2)
    assert torch.equal(torch.cat([first, torch.rand(2)]), expected)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(4), torch.cat([inside, after]))
    torch.manual_seed(6)
    assert torch.equal(torch.rand(2), other)


def test_an_error_inside_seeded_gives_the_state_back() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()

    def fail() -> None:
        with runtime.seeded(5):
            torch.rand(2)
            raise KeyError

    with pytest.raises(KeyError):
        fail()
    assert torch.equal(torch.get_rng_state(), before)


def test_threads_are_inside_seeded_one_at_a_time() -> None:
    def draw(seed: int) -> list[float]:
        drawn = []
        for step in range(20):
            with runtime.seeded(100 * seed + step):
                drawn.append(float(torch.rand(())))
                time.sleep(0.0005)  # lets the others come, if they can
                drawn.append(float(torch.rand(())))
        return drawn

    alone = [draw(seed) for seed in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(draw, range(4))) == alone


@pytest.mark.parametrize(
    ("capabilities", "expected"),
    [
        ({"avx512_bf16": True, "amx_bf16": False}, True),
        ({"avx512_bf16": False, "amx_bf16": True}, True),
        ({"avx2": True}, False),
        ({}, False),
    ],
)
def test_bf16_on_a_cpu_needs_the_instructions(monkeypatch, capabilities, expected: bool) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: capabilities, raising=False)
    assert runtime.supports_bf16("cpu") is expected


def test_bf16_answer_is_a_plain_bool_also_without_the_query(monkeypatch) -> None:
    assert type(runtime.supports_bf16(torch.device("cpu"))) is bool
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert runtime.supports_bf16("cpu") is False


def test_description_is_one_line_that_tells_nothing_of_the_machines_owner() -> None:
    line = runtime.describe("cpu")
    assert "\n" not in line
    assert re.fullmatch(
        r"Python 3\.\d+\.\d+\S* · torch \d+\.\d+\S* · CPU · (bfloat16|float32)", line
    )
    assert os.sep not in line
    assert str(Path.home()) not in line
    assert runtime.describe().startswith("Python 3.")


# --- pixels -------------------------------------------------------------------------------------


def test_to_uint8_rounds_and_spans_the_range() -> None:
    x = torch.tensor([-1.0, -1 + 1 / 127.5, 0.0, 0.0039, 1.0, 1.0005, -1.0005])
    assert viz.to_uint8(x).tolist() == [0, 1, 128, 128, 255, 255, 0]
    every = torch.arange(256, dtype=torch.uint8)
    assert torch.equal(viz.to_uint8(every.float() / 127.5 - 1), every)
    assert viz.to_uint8(torch.zeros(2, requires_grad=True)).dtype == torch.uint8
    assert viz.to_uint8(torch.zeros(0, 1, 4, 4)).shape == (0, 1, 4, 4)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), 1.01, -1.01, 255.0])
def test_to_uint8_refuses_what_is_no_image(value: float) -> None:
    with pytest.raises(ValueError, match=r"images must lie in \[-1, 1\]"):
        viz.to_uint8(torch.tensor([0.0, value]))


@pytest.mark.parametrize("channels", [1, 3])
def test_tiles_lie_row_by_row_with_white_between(channels: int) -> None:
    images = torch.randint(0, 200, (5, channels, 4, 6), dtype=torch.uint8)
    canvas = viz.tile(images, columns=3, gap=2)
    assert canvas.shape == (2 * 4 + 2, 3 * 6 + 2 * 2, 3)
    assert canvas.dtype == np.uint8
    expected = np.full_like(canvas, 255)
    for i in range(5):
        for h in range(4):
            for w in range(6):
                for c in range(3):
                    value = images[i, c if channels == 3 else 0, h, w]
                    expected[i // 3 * 6 + h, i % 3 * 8 + w, c] = value
    assert np.array_equal(canvas, expected)


def test_tiles_of_floats_are_those_of_their_bytes() -> None:
    x = torch.rand(4, 1, 3, 3) * 2 - 1
    assert np.array_equal(viz.tile(x, 2), viz.tile(viz.to_uint8(x), 2))


@pytest.mark.parametrize("shape", [(4, 3, 3), (4, 2, 3, 3)])
def test_tile_refuses_other_shapes(shape: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match=r"images must be \(n, 1 or 3, H, W\)"):
        viz.tile(torch.zeros(shape), 2)


# --- figures ------------------------------------------------------------------------------------


def test_grid_shows_the_tiles_and_puts_each_label_at_its_row_or_column() -> None:
    images = torch.rand(6, 1, 8, 8) * 2 - 1
    figure = viz.grid(
        images, 3, title="Two rows", row_labels=["bag", "boot"], column_labels=["a", "b", "c"]
    )
    assert plt.get_fignums() == []  # returned, not shown: nothing is left open
    (ax,) = figure.axes
    shown = ax.images[0]
    assert np.array_equal(shown.get_array(), viz.tile(images, 3))
    assert shown.get_interpolation() == "nearest"
    assert ax.get_title() == "Two rows"
    assert [t.get_text() for t in ax.get_xticklabels()] == ["a", "b", "c"]
    assert [t.get_text() for t in ax.get_yticklabels()] == ["bag", "boot"]
    # The labels stand at the middle of 8-pixel images with 1 pixel between, in data coordinates.
    assert ax.get_xticks() == pytest.approx([4, 13, 22], abs=0.6)
    assert ax.get_yticks() == pytest.approx([4, 13], abs=0.6)
    figure.canvas.draw()


def test_grid_without_labels_has_none_and_turns_long_ones() -> None:
    images = torch.zeros(4, 1, 8, 8)
    (ax,) = viz.grid(images, 2).axes
    assert not ax.get_xticklabels()
    assert not ax.get_yticklabels()
    figure = viz.grid(images, 2, column_labels=["Ankle boot", "Pullover"])
    figure.canvas.draw()
    assert [t.get_rotation() for t in figure.axes[0].get_xticklabels()] == [45, 45]


def history() -> History:
    rows = [{"step": s, "d_source_real": 1.0 / s, "g_class": 2.0 / s} for s in (10, 20, 30)]
    return History([{k: float(v) for k, v in row.items()} for row in rows])


@pytest.mark.parametrize("names", [(), ("g_class",)])
def test_curves_plot_the_columns_against_the_step(names: tuple[str, ...]) -> None:
    figure = viz.curves(history(), names, title="A run")
    assert plt.get_fignums() == []
    (ax,) = figure.axes
    expected = list(names) or ["d_source_real", "g_class"]
    assert [line.get_label() for line in ax.lines] == expected
    assert [t.get_text() for t in ax.get_legend().get_texts()] == expected
    for line, name in zip(ax.lines, expected, strict=True):
        assert list(line.get_xdata()) == [10, 20, 30]
        assert list(line.get_ydata()) == history().column(name)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title()) == ("step", "loss (nats)", "A run")
    styles = [line.get_linestyle() for line in ax.lines]
    assert len(set(styles)) == len(styles)  # told apart without colour


def test_curves_refuse_a_column_that_is_not_there() -> None:
    with pytest.raises(KeyError, match="no column 'loss'"):
        viz.curves(history(), ["loss"])
