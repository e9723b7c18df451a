"""The widgets' front end in Chromium, on a page of its own, with Python behind it as in a notebook.

No Lab and no built book: `page_with` stands in for both, so that a test takes a second. What the
page asks for is rendered by the very widget that a notebook would have.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import preflight
import pytest
import torch
from PIL import Image, ImageSequence
from playwright.sync_api import Browser, Locator, Page, sync_playwright
from test_lab import FLAGS, assert_shows, drag, read, settle
from torch import Tensor

from acgan_lib import latent, nets, widgets

pytestmark = pytest.mark.browser
NAMES = ["Top", "Trouser", "Bag"]
AT = "http://book.test/page.html"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
START = """async ({faces, live}) => {
    window.models = [];
    for (const [i, {esm, css, spec, still}] of faces.entries()) {
        const code = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
        const {default: face} = await import(code);
        const traits = {spec, still};
        let hear;
        const model = {
            get: name => traits[name], on(_, f) { hear = f; }, off() {},
            send(message) {
                if (live) ask(i, message).then(reply => hear(reply));
            },
        };
        if (!i) document.head.append(Object.assign(document.createElement('style'),
            {textContent: css}));
        face.render({model, el: document.querySelectorAll('.here')[i]});
    }
}"""


@pytest.fixture(scope="module")
def G() -> nets.Generator:
    torch.manual_seed(3)
    made = nets.Generator(num_classes=len(NAMES), width=8).eval().requires_grad_(False)
    for p in made.parameters():
        p.mul_(3)
    made.class_names = NAMES
    return made


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=preflight.chromium(), args=FLAGS)
        yield chromium
        chromium.close()


Open = Callable[..., Page]


@pytest.fixture
def page_with(browser: Browser) -> Iterator[Open]:
    """Open a page that holds these widgets; ``built``: as a built book's page, with its scripts."""
    contexts = []

    def opened(
        *faces: widgets._Face, hash: str = "", built: bool = True, live: bool = True, **how: Any
    ) -> Page:
        context = browser.new_context(**{"viewport": {"width": 900, "height": 800}, **how})
        contexts.append(context)
        context.set_default_timeout(20_000)
        page = context.new_page()
        view = f"<script type='{VIEW}'>{{}}</script>" if built else ""
        state = f"<script type='{STATE}'>{{}}</script>" if built else ""
        holes = "".join(f"{view}<div class=here></div>" for _ in faces)
        html = f"<!doctype html><title>t</title>{state}<main>{holes}</main>"
        page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.troubles = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda e: page.troubles.append(str(e)))  # type: ignore[attr-defined]

        def answer(i: int, message: dict[str, Any]) -> dict[str, Any]:
            replies: list[dict[str, Any]] = []
            faces[i].send = lambda content, buffers=None: replies.append(content)
            faces[i]._handle_custom_msg(message, [])
            return replies[0]

        page.expose_function("ask", answer)
        page.goto(AT + hash)
        page.evaluate(
            START,
            {
                "live": live,
                "faces": [
                    {"esm": w._esm, "css": w._css, "spec": w.spec, "still": w.still} for w in faces
                ],
            },
        )
        if live:
            page.wait_for_function(
                "n => document.querySelectorAll('.acgan:not(.asleep)').length === n",
                arg=len(faces),
            )
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.troubles == []  # type: ignore[attr-defined]
        context.close()
