"""There and back, in Chromium, with Python in the engines' place: both paint the same."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, Page, expect
from test_drawing import PIXELS
from test_front import SLOW, START, STATE
from test_playground_page import AXE
from torch import Tensor, nn

from acgan_lib.data import to_uint8
from acgan_lib.families.cyclegan import Translator
from acgan_lib.runtime import seed_everything
from acgan_lib.widgets.translation import Translation

pytestmark = pytest.mark.browser
SIZE = 16
Open = Callable[..., Page]


def translator(seed: int) -> Translator:
    seed_everything(seed)
    G = Translator(width=8, blocks=1, image_size=SIZE).eval()
    nn.init.normal_(G.change[-1].weight, 0, 0.2)
    return G.requires_grad_(False)


@pytest.fixture(scope="module")
def widget() -> Translation:
    pairs = torch.rand(3, 2, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1
    return Translation(translator(1), translator(2), ("alpha", "beta"), pairs)


@pytest.fixture
def opened(browser: Browser, widget: Translation) -> Iterator[Open]:
    contexts = []

    def show(*, built: bool = True, **how: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 800, "height": 700}, **how})
        contexts.append(context)
        context.set_default_timeout(SLOW)
        page = context.new_page()
        page.troubles = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda e: page.troubles.append(str(e)))  # type: ignore[attr-defined]
        state = f"<script type='{STATE}'>{{}}</script>" if built else ""
        head = "<meta name=viewport content='width=device-width'><title>t</title>"
        html = f"<!doctype html><html lang=en>{head}{state}<main><div class=here></div></main>"
        page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))

        def answer(_: int, message: dict[str, Any]) -> dict[str, Any]:
            replies: list[dict[str, Any]] = []
            widget.send = lambda content, buffers=None: replies.append(content)
            widget._handle_custom_msg(message, [])
            return replies[0]

        def run(file: str, n: int, z: list[float], w: list[float]) -> dict[str, Any]:
            images = widget.generators[int(file)].from_weights(
                torch.tensor(z).float().view(n, -1), torch.tensor(w).float().view(n, -1)
            )
            return {"dims": list(images.shape), "data": images.flatten().tolist()}

        page.expose_function("ask", answer)
        page.expose_function("raw", run)
        page.goto("http://book.test/page.html")
        spec = {**widget.spec, "models": ["0", "1"]}
        face = {"esm": widget._esm, "css": widget._css, "spec": spec, "still": widget.still}
        page.evaluate(START, [face])
        page.locator(".four").wait_for()
        return page

    yield show
    for context in contexts:
        for page in context.pages:
            assert page.troubles == []  # type: ignore[attr-defined]
        context.close()


def shown(page: Page, i: int) -> Tensor:
    found = page.locator(".four canvas").nth(i).evaluate(PIXELS)
    return torch.tensor(found).view(SIZE, SIZE, 3).permute(2, 0, 1)


@pytest.mark.parametrize("built", [True, False])
def test_the_four_pictures_are_pythons(opened, widget, built) -> None:
    page = opened(built=built)
    page.get_by_role("button", name="Face 3").click()
    page.get_by_role("button", name="From beta instead").click()
    page.get_by_role("slider", name="Noise in the middle").fill("0.2")
    wanted = {"face": 2, "from": 1, "noise": 0.2}
    page.wait_for_function("() => window.waiting === 0 && document.querySelector('[data-shown]')")
    page.wait_for_function(
        "want => document.querySelector('.acgan').dataset.shown === want",
        arg=json.dumps(wanted, separators=(",", ":")),
    )
    middle, again = to_uint8(widget.render(wanted)).int()
    faces = to_uint8(widget.faces)[2].int()
    for i, expected in enumerate((faces[1], middle, again, faces[0])):
        assert (shown(page, i) - expected).abs().max() <= 1, i
    expect(page.get_by_role("button", name="Face 3")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="From alpha instead")).to_be_visible()


def test_before_the_first_touch_the_start_is_there(opened, widget) -> None:
    page = opened()
    page.wait_for_timeout(300)
    assert page.locator(".acgan").get_attribute("data-shown") is None
    middle, again = to_uint8(widget.render({"face": 0, "from": 0, "noise": 0})).int()
    faces = to_uint8(widget.faces)[0].int()
    for i, expected in enumerate((faces[0], middle, again, faces[1])):
        assert (shown(page, i) - expected).abs().max() <= 1, i


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_names_contrasts_and_width(opened, scheme) -> None:
    page = opened(viewport={"width": 360, "height": 740}, color_scheme=scheme)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.add_script_tag(path=AXE)
    found = page.evaluate("axe.run(document.querySelector('main'))")
    assert [v["id"] for v in found["violations"]] == []


def test_wrong_requests_are_named(widget) -> None:
    for wrong in ({"face": 3}, {"from": 2}, {"noise": 0.4}, {"noise": float("nan")}):
        with pytest.raises(ValueError, match="there is no face"):
            widget.render({"face": 0, "from": 0, "noise": 0.0} | wrong)
    with pytest.raises(ValueError, match="pairs must have shape"):
        Translation(translator(1), translator(2), ("a", "b"), torch.zeros(1, 2, 3, 8, 8))
