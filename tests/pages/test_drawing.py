"""The sheet to draw on, in Chromium: by mouse, finger and keys, with Python in the engines' place.

As on a built page, the front end works out what a network is given by itself; as in a notebook,
the widget paints what the page asks for. Both must paint the same face.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from playwright.sync_api import Browser, Page, expect
from test_front import SLOW, START, STATE, VIEW
from test_playground_page import AXE
from torch import Tensor

from acgan_lib.avatars import KINDS
from acgan_lib.data import to_uint8
from acgan_lib.families.pix2pix import UNet
from acgan_lib.runtime import seed_everything
from acgan_lib.widgets.drawing import Drawing, Preset

pytestmark = pytest.mark.browser
SIZE = 64
Open = Callable[..., Page]
PIXELS = """canvas => Array.from(canvas.getContext('2d').getImageData(
    0, 0, canvas.width, canvas.height).data.filter((_, i) => i % 4 < 3))"""


def network(told: int) -> UNet:
    seed_everything(told)
    G = UNet(told, width=8).eval().requires_grad_(False)
    for p in G.parameters():
        p.mul_(3)
    return G


@pytest.fixture(scope="module")
def widget() -> Drawing:
    cross, box = torch.zeros(2, 1, SIZE, SIZE)
    cross[0, 20], cross[0, :, 30] = 1, 1
    box[0, 10:50, 10] = 1
    networks = {"told colours": network(19), "told nothing": network(10)}
    presets = [Preset("A cross", cross, 3, (1, 2, 5)), Preset("A line", box, 8, (0, 3, 7))]
    return Drawing(networks, presets)


@pytest.fixture
def opened(browser: Browser, widget: Drawing) -> Iterator[Open]:
    contexts = []

    def show(*, built: bool = True, models: bool = True, **how: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 800, "height": 900}, **how})
        contexts.append(context)
        context.set_default_timeout(SLOW)
        page = context.new_page()
        page.troubles = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda e: page.troubles.append(str(e)))  # type: ignore[attr-defined]
        view = f"<script type='{VIEW}'>{{}}</script>" if built else ""
        state = f"<script type='{STATE}'>{{}}</script>" if built else ""
        head = "<meta name=viewport content='width=device-width'><title>t</title>"
        html = (
            f"<!doctype html><html lang=en>{head}{state}<main><div class=here></div>{view}</main>"
        )
        page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))

        def answer(_: int, message: dict[str, Any]) -> dict[str, Any]:
            replies: list[dict[str, Any]] = []
            widget.send = lambda content, buffers=None: replies.append(content)
            widget._handle_custom_msg(message, [])
            return replies[0]

        def run(file: str, n: int, z: list[float], w: list[float]) -> dict[str, Any]:
            G = widget.networks[int(file)]
            images = G.from_weights(
                torch.tensor(z).float().view(n, -1), torch.tensor(w).float().view(n, -1)
            )
            return {"dims": list(images.shape), "data": images.flatten().tolist()}

        page.expose_function("ask", answer)
        page.expose_function("raw", run)
        page.goto("http://book.test/page.html")
        spec = {**widget.spec, "models": ["0", "1"] if models else []}
        spec = json.loads(json.dumps(spec, sort_keys=True))  # as a built page stores it
        face = {"esm": widget._esm, "css": widget._css, "spec": spec, "still": widget.still}
        page.evaluate(START, [face])
        page.locator(".sheet").wait_for()
        return page

    yield show
    for context in contexts:
        for page in context.pages:
            assert page.troubles == []  # type: ignore[attr-defined]
        context.close()


def lines(page: Page) -> Tensor:
    """The sheet's pixels, 1 where there is ink."""
    seen = torch.tensor(page.locator(".sheet canvas").evaluate(PIXELS), dtype=torch.uint8)
    return (seen.view(SIZE, SIZE, 3)[..., 0] < 128).float()


def request(page: Page) -> dict[str, Any]:
    """What the face shows, once nothing is on its way."""
    page.wait_for_function("() => window.waiting === 0 && document.querySelector('[data-shown]')")
    found: dict[str, Any] = json.loads(page.locator(".acgan").get_attribute("data-shown") or "")
    return found


def check(page: Page, widget: Drawing) -> dict[str, Any]:
    """The face is what Python paints for the lines on the sheet."""
    asked = request(page)
    bits = np.unpackbits(np.frombuffer(base64.b64decode(asked["drawing"]), np.uint8))
    assert torch.equal(torch.from_numpy(bits).float().view(SIZE, SIZE), lines(page))
    shown = torch.tensor(page.locator(".pic > canvas").evaluate(PIXELS)).view(SIZE, SIZE, 3)
    expected = to_uint8(widget.render(asked))[0].permute(1, 2, 0)
    assert (shown - expected.int()).abs().max() <= 1
    return asked


def stroke(page: Page, *places: tuple[int, int]) -> None:
    """Draw with the mouse through the middles of these pixels."""
    box = page.locator(".sheet").bounding_box()
    assert box is not None
    side = box["width"] / SIZE
    for i, (x, y) in enumerate(places):
        page.mouse.move(box["x"] + (x + 0.5) * side, box["y"] + (y + 0.5) * side)
        if not i:
            page.mouse.down()
    page.mouse.up()


@pytest.mark.parametrize("built", [True, False])
def test_a_stroke_is_a_line_and_the_face_follows(opened, widget, built) -> None:
    page = opened(built=built)
    before = lines(page)
    stroke(page, (5, 40), (15, 50))
    assert check(page, widget)["kind"] == 3
    new = torch.nonzero(lines(page) - before).tolist()
    assert new == [[40 + i, 5 + i] for i in range(11) if not before[40 + i, 5 + i]]


def test_nothing_is_fetched_before_the_first_touch(opened) -> None:
    page = opened()
    assert page.locator(".acgan").get_attribute("data-shown") is None
    expect(page.locator(".status")).to_contain_text("first stroke")
    page.get_by_role("button", name="Clear").click()
    request(page)
    expect(page.locator(".status")).to_be_empty()


def test_rubber_undo_clear_and_mirror(opened, widget) -> None:
    page = opened()
    start = lines(page)
    page.get_by_role("button", name="Rubber").click()
    stroke(page, (10, 20), (14, 20))
    rubbed = lines(page)
    assert (start - rubbed).min() == 0
    assert 5 <= (start - rubbed).sum() <= 12
    page.get_by_role("button", name="Clear").click()
    assert lines(page).sum() == 0
    page.get_by_role("button", name="Brush").click()
    page.get_by_role("button", name="Mirror").click()
    stroke(page, (4, 8), (9, 8))
    both = lines(page)
    assert both.sum() == 12
    assert torch.equal(both, both.flip(1))
    check(page, widget)
    for expected in (torch.zeros_like(both), rubbed, start, start):
        page.get_by_role("button", name="Undo").click()
        assert torch.equal(lines(page), expected)
    check(page, widget)


@pytest.mark.parametrize(("wide", "ink"), [(1, 1), (2, 4), (3, 9), (4, 12)])
def test_the_brush_has_four_widths(opened, wide, ink) -> None:
    page = opened()
    page.get_by_role("button", name="Clear").click()
    page.get_by_role("slider", name="Width").fill(str(wide))
    stroke(page, (30, 30), (30, 30))
    assert lines(page).sum() == ink


def test_a_stroke_may_leave_the_sheet(opened, widget) -> None:
    page = opened()
    page.get_by_role("button", name="Clear").click()
    stroke(page, (60, 5), (70, 5), (70, 9), (60, 9))
    assert lines(page)[5, 60:].tolist() == [1, 1, 1, 1]
    assert lines(page).sum() == 8
    check(page, widget)


def test_keys_draw(opened, widget) -> None:
    page = opened()
    page.get_by_role("button", name="Clear").click()
    page.locator(".sheet").focus()
    keys = page.keyboard
    for key in ("Shift+ArrowLeft", "ArrowUp", "Space", "ArrowRight", "ArrowRight", "Space"):
        keys.press(key)
    keys.press("ArrowDown")  # the pen is up
    assert lines(page)[31, 27:30].tolist() == [1, 1, 1]
    assert lines(page).sum() == 3
    expect(page.locator("[aria-live=polite]").last).to_have_text("Pen up, column 30, row 33")
    keys.press("e")
    expect(page.get_by_role("button", name="Rubber")).to_have_attribute("aria-pressed", "true")
    keys.press("ArrowUp")
    for key in ("Space", "Space"):
        keys.press(key)
    assert lines(page).sum() < 3
    keys.press("Control+z")
    assert lines(page).sum() == 3
    keys.press("m")
    expect(page.get_by_role("button", name="Mirror")).to_have_attribute("aria-pressed", "true")
    check(page, widget)


def test_a_finger_draws_and_the_page_stays(opened, widget) -> None:
    page = opened(viewport={"width": 360, "height": 740}, has_touch=True, is_mobile=True)
    page.get_by_role("button", name="Clear").tap()
    page.locator(".sheet").scroll_into_view_if_needed()
    before = page.evaluate("scrollY")
    box = page.locator(".sheet").bounding_box()
    assert box is not None
    side, touch = box["width"] / SIZE, page.context.new_cdp_session(page)

    def finger(kind: str, *at: tuple[int, int]) -> None:
        points = [
            {"x": box["x"] + (x + 0.5) * side, "y": box["y"] + (y + 0.5) * side} for x, y in at
        ]
        touch.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    finger("touchStart", (20, 10))
    for y in range(12, 41, 2):
        finger("touchMove", (20, y))
    finger("touchEnd")
    page.wait_for_function("() => window.waiting === 0")
    assert lines(page)[10:41, 20].sum() == 31
    assert page.evaluate("scrollY") == before
    check(page, widget)


def test_menus_and_colours_say_what_the_network_is_told(opened, widget) -> None:
    page = opened()
    page.get_by_label("Kind").select_option("lorelei")
    page.get_by_role("radio", name="hair: green").check()
    asked = check(page, widget)
    assert (asked["kind"], asked["colours"]) == (KINDS.index("lorelei"), [1, 2, 7])
    page.get_by_label("Start from").select_option("A line")
    asked = check(page, widget)
    assert (asked["kind"], asked["colours"]) == (8, [0, 3, 7])
    expect(page.get_by_label("Kind")).to_have_value("pixel-art")
    expect(page.get_by_role("radio", name="ground: sky")).to_be_checked()
    page.get_by_label("Network", exact=True).select_option("told nothing")
    assert check(page, widget)["network"] == 1
    expect(page.get_by_role("radio", name="hair: green")).to_be_disabled()
    page.get_by_label("Network", exact=True).select_option("told colours")
    page.get_by_role("button", name="Any colours").click()
    check(page, widget)


def test_the_saved_file_holds_drawing_and_face(opened, widget) -> None:
    page = opened()
    stroke(page, (5, 40), (15, 50))
    check(page, widget)
    with page.expect_download() as caught:
        page.get_by_role("button", name="Save as PNG").click()
    assert caught.value.suggested_filename == "drawn-face.png"
    picture = Image.open(io.BytesIO(caught.value.path().read_bytes())).convert("RGB")
    assert picture.size == (1024, 512)
    both = torch.from_numpy(np.asarray(picture).copy())
    assert torch.equal((both[::8, :512:8, 0] < 128).float(), lines(page))
    shown = torch.tensor(page.locator(".pic > canvas").evaluate(PIXELS)).view(SIZE, SIZE, 3)
    assert torch.equal(both[::8, 512::8].int(), shown.int())


def test_without_a_network_the_sheet_is_asleep_and_says_why(opened) -> None:
    page = opened(models=False)
    expect(page.locator(".status")).to_contain_text("the sheet is asleep")
    before = lines(page)
    stroke(page, (5, 40), (15, 50))
    assert torch.equal(lines(page), before)
    expect(page.get_by_role("button", name="Clear")).to_be_disabled()
    still = torch.tensor(page.locator(".pic > canvas").evaluate(PIXELS))
    assert still.view(-1, 3).float().std(0).max() > 0  # the stored face


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_contrasts_and_width(opened, scheme) -> None:
    page = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document.querySelector('main'))")
    assert [v["id"] for v in found["violations"]] == []


def test_wrong_arguments_are_named(widget) -> None:
    cross = Preset("x", torch.zeros(1, SIZE, SIZE), 0, (0, 0, 0))
    with pytest.raises(ValueError, match="at least one"):
        Drawing({}, [cross])
    with pytest.raises(ValueError, match="must be told 10 or 19"):
        Drawing({"odd": UNet(3, width=8)}, [cross])
    with pytest.raises(ValueError, match="'small' is not of shape"):
        Drawing({"G": network(10)}, [Preset("small", torch.zeros(1, 32, 32), 0, (0, 0, 0))])
    good = json.loads(json.dumps(widget.spec["presets"][0])) | {"network": 0}
    assert widget.render(good).shape == (1, 3, SIZE, SIZE)
    for wrong in ({"network": 2}, {"kind": 10}, {"colours": [6, 0, 0]}, {"drawing": "AAAA"}):
        with pytest.raises(ValueError, match=r"0\.\.|pixels"):
            widget.render(good | wrong)
