"""The playground's face in Chromium, on a page without a kernel: dragged, typed at, touched."""

from __future__ import annotations

import base64
import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Page

from acgan_lib import objectives, toy
from acgan_lib.widgets import playground

AXE = Path(__file__).resolve().parents[2] / "node_modules" / "axe-core" / "axe.min.js"
SIDE, REACH = 640, 3.4
CUTS = torch.logit(torch.tensor([0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99]))
SHADES = ["#e08a3c", "#efab6d", "#f7cda3", "#fceada", "#e0ebf6", "#b3d0ea", "#7fb2dc", "#4a90c8"]
READ = "canvas => canvas.toDataURL().split(',')[1]"
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def runs() -> dict[str, playground.Recording]:
    """Two short games; the second has half the frames, at twice the distance."""
    made = {}
    for name, frames in (("one", 13), ("two", 7)):
        torch.manual_seed(2)
        made[name] = playground.record(
            toy.PointGenerator(width=16),
            toy.PointDiscriminator(width=16),
            toy.ring(),
            objectives.gan(),
            steps=12,
            frames=frames,
            count=12,
            side=9,
            head_start=80,
            lr_g=1e-2,
            lr_d=1e-2,
            batch_size=32,
        )
    return made


@pytest.fixture
def opened(
    alone: Callable[..., Page], runs: dict[str, playground.Recording]
) -> Callable[..., Page]:
    def open_page(how: dict[str, Any] | None = None, **shown: Any) -> Page:
        page = alone(playground.Playground(runs, **{"frame": 6, **shown}), **(how or {}))
        page.wait_for_selector("canvas[aria-label]")
        return page

    return open_page


def frame(page: Page, panel: int = 0) -> int:
    """The frame that a panel shows; its label must name the same step."""
    canvas = page.locator(".panel > div > canvas").nth(panel)
    shown = int(canvas.get_attribute("data-frame") or -1)
    step = shown * (
        2
        if ", step" in (words := canvas.get_attribute("aria-label") or "")
        and words.startswith("two")
        else 1
    )
    assert f"step {step} of 12" in words
    return shown


def picture(page: Page) -> torch.Tensor:
    """The first panel's pixels, (640, 640, 3)."""
    png = base64.b64decode(page.locator(".panel > div > canvas").first.evaluate(READ))
    return torch.from_numpy(np.array(Image.open(io.BytesIO(png)).convert("RGB")))


def place(x: float, y: float) -> tuple[int, int]:
    """A point's row and column."""
    return int((REACH - y) / (2 * REACH) * SIDE), int((x + REACH) / (2 * REACH) * SIDE)


def rgb(colour: str) -> list[int]:
    return [int(colour[i : i + 2], 16) for i in (1, 3, 5)]


def test_the_field_and_the_samples_are_where_the_recording_has_them(opened, runs) -> None:
    """At the lattice's nodes the colour is the logit's band; at each sample there is ink."""
    page = opened()
    page.get_by_role("button", name="Arrows").click()
    pixels, shown = picture(page), runs["one"].frame(6)
    assert runs["one"].reach == pytest.approx(REACH)
    seen = 0
    nodes = playground.lattice(REACH, 9).double()
    for node, logit in zip(nodes, shown.logits.flatten(), strict=True):
        from_rings = (torch.tensor(runs["one"].means).double() - node).norm(dim=1).sub(0.3).abs()
        inside = bool(node.abs().max() < REACH - 0.1)
        clear = (shown.points - node).norm(dim=1).min() > 0.2 and from_rings.min() > 0.1
        if inside and clear and (CUTS - logit).abs().min() > 0.15:
            row, column = place(*node.tolist())
            assert pixels[row, column].tolist() == rgb(SHADES[int((logit > CUTS).sum())])
            seen += 1
    assert seen >= 10
    ink = [31, 35, 40]
    for point in shown.points:
        if point.abs().max() < REACH - 0.1:
            row, column = place(*point.tolist())
            around = pixels[row - 2 : row + 3, column - 2 : column + 3].flatten(0, 1)
            assert ink in around.tolist()  # another sample's rim may lie over the middle


def test_arrows_and_field_can_be_taken_off(opened) -> None:
    page = opened()
    full = picture(page)
    arrows = page.get_by_role("button", name="Arrows")
    assert arrows.get_attribute("aria-pressed") == "true"
    arrows.click()
    assert arrows.get_attribute("aria-pressed") == "false"
    without = picture(page)
    assert (full != without).any()
    page.get_by_role("button", name="Field").click()
    assert picture(page)[0, 0].tolist() == [255, 255, 255]
    page.get_by_role("button", name="Trails").click()
    assert (picture(page) != without).any()


def test_keys_and_a_drag_move_the_slider(opened) -> None:
    page = opened()
    knob = page.get_by_role("slider", name="Training")
    before = picture(page)
    knob.focus()
    page.keyboard.press("ArrowRight")
    assert frame(page) == 7
    assert knob.get_attribute("aria-valuetext") == "step 7"
    assert (picture(page) != before).any()
    page.keyboard.press("Home")
    assert frame(page) == 0
    box = knob.bounding_box()
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + 8, middle)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, middle, steps=4)
    assert 5 <= frame(page) <= 7
    page.mouse.move(box["x"] + box["width"] - 2, middle, steps=4)
    page.mouse.up()
    assert frame(page) == 12


def test_a_second_run_stands_beside_the_first(opened) -> None:
    page = opened()
    assert page.locator(".panel:visible").count() == 1
    page.get_by_label("Beside it").select_option("two")
    assert page.locator(".panel:visible").count() == 2
    assert frame(page, 0) == 6
    assert frame(page, 1) == 3  # the same step
    page.get_by_label("Run").select_option("two")
    assert page.get_by_role("slider").get_attribute("max") == "6"
    assert frame(page, 0) == 6


def test_play_runs_to_the_end_and_slower_where_motion_is_unwelcome(opened) -> None:
    page = opened(frame=10)
    page.get_by_role("button", name="Play").click()
    page.wait_for_selector("canvas[data-frame='12']")
    page.wait_for_selector("button:text('Play')")
    calm = opened({"reduced_motion": "reduce"}, frame=0)
    calm.clock.install()
    calm.clock.pause_at(time.time() + 3600)
    calm.get_by_role("button", name="Play").click()
    for ms, shown in ((1400, 0), (200, 1), (1200, 1), (300, 2)):  # a frame each 1.5 seconds
        calm.clock.run_for(ms)
        assert frame(calm) == shown
    calm.get_by_role("button", name="Pause").click()


def test_a_phone_can_touch_it_and_holds_it(opened) -> None:
    page = opened({"viewport": {"width": 360, "height": 740}, "has_touch": True}, compare="two")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    box = page.get_by_role("slider").bounding_box()
    page.touchscreen.tap(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
    page.wait_for_selector("canvas[data-frame='12']")
    assert frame(page) == 12


@pytest.mark.parametrize("ink", ["#1f2328", "#ced6dd"])
def test_axe_finds_no_serious_barrier_in_light_and_dark(opened, ink) -> None:
    page = opened(compare="two")
    light = picture(page)
    page.evaluate(
        """([ink, paper]) => {
            const {style, dataset} = document.documentElement;
            style.background = paper;
            style.setProperty('--pst-color-text-base', ink);
            style.setProperty('--pst-color-text-muted', ink);
            style.setProperty('--pst-color-background', paper);
            dataset.theme = ink;
        }""",
        [ink, "#14181e" if ink == "#ced6dd" else "#ffffff"],
    )
    assert bool((picture(page) != light).any()) == (ink == "#ced6dd")
    page.add_script_tag(path=str(AXE))
    found = page.evaluate(
        """async () => (await axe.run('main', {resultTypes: ['violations']})).violations
            .filter(v => ['serious', 'critical'].includes(v.impact)).map(v => v.id)"""
    )
    assert found == []
