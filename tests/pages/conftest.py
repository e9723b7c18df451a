"""What the tests of single widgets share: a page that holds one, without a kernel."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from acgan_lib.widgets.base import Face

SLOW = 120_000  # ms; only ever used up where something is wrong
START = """async ({esm, css, spec}) => {
    document.head.append(Object.assign(document.createElement('style'), {textContent: css}));
    const code = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
    const {default: face} = await import(code);
    const send = () => { throw Error('there is no kernel'); };
    const model = {get: name => ({spec})[name], on() {}, off() {}, send};
    window.end = face.render({model, el: document.querySelector('main')});
}"""


@pytest.fixture
def alone(browser: Browser) -> Iterator[Callable[..., Page]]:
    """Show a widget alone on a page, in a context of its own, which must meet no error."""
    contexts = []

    def show(widget: Face, **how: Any) -> Page:
        context = browser.new_context(**{"viewport": {"width": 900, "height": 900}, **how})
        contexts.append(context)
        context.set_default_timeout(SLOW)
        page = context.new_page()
        page.troubles = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda e: page.troubles.append(str(e)))  # type: ignore[attr-defined]
        html = "<!doctype html><html lang=en><meta name=viewport content='width=device-width'>"
        html += "<title>t</title><main></main>"
        page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.goto("http://book.test/")
        page.evaluate(START, {"esm": widget._esm, "css": widget._css, "spec": widget.spec})
        return page

    yield show
    for context in contexts:
        for page in context.pages:
            assert page.troubles == []  # type: ignore[attr-defined]
        context.close()
