"""The rendered book in headless Chromium: complete, quiet, from this host alone, on any screen.

The book is built once for this file (10 s); each page is opened three times: wide, dark, phone.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Literal
from urllib.parse import urljoin

import preflight
import pytest
import serve
import yaml
from playwright.sync_api import Browser, Page, ViewportSize, sync_playwright

ROOT = Path(__file__).resolve().parents[1]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, PHONE = 1280, 360
Scheme = Literal["light", "dark"]
# Every formula is typeset, every widget is drawn, and its pictures have their names.
SETTLED = """() => {
    const count = selector => document.querySelectorAll(selector).length;
    const views = "script[type='application/vnd.jupyter.widget-view+json']";
    return count('mjx-container') >= count('.bd-article .math')
        && count('.widget-subarea > *') >= count(views)
        && count('canvas[role=img]:not([aria-label])') === 0;
}"""


def pages() -> list[str]:
    """Every page of the table of contents, as its address under the site's root."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    files = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    return [f"{name}.html" for name in [toc["root"], *files]]


PAGES = pages()
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def site() -> Iterator[str]:
    """Build the book with warnings as errors, serve it on localhost, give its address."""
    # Called by name: `python -m jupyter_book.cli.main` does nothing, and says that all is well.
    call = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", call, "build", ".", "-W", "-n", "--keep-going", "--all"]
    start = time.time()
    built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert built.returncode == 0, built.stdout[-3000:] + built.stderr[-3000:]
    assert (ROOT / "_build" / "html" / PAGES[0]).stat().st_mtime >= start - 1, "an older build"
    with serve.server(0) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_address[1]}/"
        server.shutdown()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One headless Chromium; its absence fails with the line that says how to install it."""
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=preflight.chromium(), args=FLAGS)
        yield chromium
        chromium.close()


class Visit:
    """A page, opened, and what went wrong while it loaded."""

    def __init__(self, page: Page, site: str, address: str) -> None:
        self.page = page
        self.elsewhere: list[str] = []
        self.troubles: list[str] = []
        page.on("request", lambda request: self._ask(site, request.url))
        page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        page.on("response", lambda answer: self._answer(answer.status, answer.url))
        page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        page.on("console", lambda line: self._line(line.type, line.text))
        page.goto(urljoin(site, address), wait_until="load")
        page.wait_for_load_state("networkidle")
        page.wait_for_function(SETTLED, timeout=60_000)

    def _ask(self, site: str, url: str) -> None:
        if not url.startswith((site, "data:", "blob:")):
            self.elsewhere.append(url)

    def _answer(self, status: int, url: str) -> None:
        if status >= 400:
            self.troubles.append(f"{status}: {url}")

    def _line(self, kind: str, text: str) -> None:
        if kind == "error":
            self.troubles.append(f"console: {text}")


@pytest.fixture(scope="module")
def visit(browser: Browser, site: str) -> Callable[..., Visit]:
    """A function that opens a page, each in its own context, once for each size and scheme."""

    @cache
    def opened(address: str, width: int = WIDE, scheme: Scheme = "light") -> Visit:
        viewport: ViewportSize = {"width": width, "height": 800}
        context = browser.new_context(viewport=viewport, color_scheme=scheme)
        return Visit(context.new_page(), site, address)

    return opened


@pytest.mark.parametrize("address", PAGES)
def test_page_loads_quietly_and_from_this_host_alone(visit, address) -> None:
    seen = visit(address)
    assert seen.elsewhere == []
    assert seen.troubles == []


@pytest.mark.parametrize("address", PAGES)
def test_maths_and_widgets_are_drawn(visit, address) -> None:
    page = visit(address).page
    assert page.locator("mjx-merror").count() == 0
    for area in page.locator(".widget-subarea").all():
        box = area.bounding_box()
        assert box, "a widget is drawn with no box"
        assert box["height"] > 20, f"a widget is drawn {box['height']} px high"


@pytest.mark.parametrize("address", PAGES)
def test_every_picture_loads_and_says_what_it_shows(visit, address) -> None:
    page = visit(address).page
    for picture in page.locator("img").all():
        source = picture.get_attribute("src") or ""
        alt = picture.get_attribute("alt") or ""
        assert alt.strip(), f"no alt text: {source[:80]}"
        # myst-nb puts the file's name where a cell gives no alt text: that helps nobody.
        assert not alt.startswith("../_images/"), f"the alt text is a file name: {alt[:80]}"
        assert picture.evaluate("e => !e.offsetParent || e.naturalWidth > 0"), f"broken: {source}"


@pytest.mark.parametrize("address", PAGES)
def test_nothing_is_wider_than_the_screen(visit, address) -> None:
    page = visit(address, PHONE).page
    wide = page.evaluate(
        """() => [...document.querySelectorAll('.bd-article > section > *, .bd-article .acgan *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert wide == []
    for size in (PHONE, WIDE):
        page = visit(address, size).page
        assert page.evaluate("document.documentElement.scrollWidth") <= size


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system(visit, scheme) -> None:
    page = visit(PAGES[0], scheme=scheme).page
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")[:3]]
    assert (sum(levels) > 384) == (scheme == "light")


@pytest.mark.parametrize("address", PAGES)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier(visit, address, scheme) -> None:
    page = visit(address, scheme=scheme).page
    page.add_script_tag(path=str(AXE))
    found = page.evaluate(
        """async () => (await axe.run(
                // docutils' own roles for a bibliography; a reader hears them as they are
                {include: ['main'], exclude: ['.citation-list']},
                {resultTypes: ['violations']})).violations
            .filter(v => ['serious', 'critical'].includes(v.impact))
            .map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 160)).join(' | '))"""
    )
    assert found == []


def test_the_root_leads_to_the_first_page(visit, site) -> None:
    page = visit("").page
    page.wait_for_url(urljoin(site, PAGES[0]))
    assert page.locator(".bd-article h1").count() == 1
