"""The rendered book in headless Chromium: complete, quiet, from this host alone, on any screen.

The book is built once for this file (10 s). Each page is opened twice, wide and light, then on a
phone in the dark, for all tests that only look, and closed before the next: an open page goes on
drawing. Tests that touch a page open one of their own.
"""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import numpy as np
import pytest
import torch
import yaml
from playwright.sync_api import Browser, Locator, Page, ViewportSize
from torch import Tensor

from acgan_lib import latent, widgets, zoo
from acgan_lib.directions import seeded
from acgan_lib.widgets import export

ROOT = Path(__file__).resolve().parents[2]
AXE = ROOT / "node_modules" / "axe-core" / "axe.min.js"
WIDE, PHONE = 1280, 360
SLOW = 120_000  # ms; only ever used up where something is wrong
# Every formula is typeset, every widget is drawn, and its pictures have their names.
SETTLED = """() => {
    const count = selector => document.querySelectorAll(selector).length;
    const views = "script[type='application/vnd.jupyter.widget-view+json']";
    return count('mjx-container') >= count('.bd-article .math')
        && count('.widget-subarea > *') >= count(views)
        && count('canvas[role=img]:not([aria-label], [hidden] *)') === 0;
}"""


# A page's code has thousands of coloured words. One of each colour and place stands for all: the
# others become plain text, whose colour is then looked at with the block's.
FEWER_WORDS = """() => {
    const seen = new Set();
    for (const word of document.querySelectorAll('.highlight pre span')) {
        let place = '';
        for (let n = word; n; n = n.parentElement) place += `${n.tagName} ${n.className} `;
        if (seen.has(place)) word.replaceWith(...word.childNodes);
        seen.add(place);
    }
}"""


def pages() -> list[str]:
    """Every page of the table of contents, as its address under the site's root."""
    toc = yaml.safe_load((ROOT / "_toc.yml").read_text(encoding="utf-8"))
    chapters = [chapter for part in toc["parts"] for chapter in part["chapters"]]
    files = [page["file"] for each in chapters for page in (each, *each.get("sections", ()))]
    return [f"{name}.html" for name in [toc["root"], *files]]


PAGES = pages()
pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the book with warnings as errors; return a copy of its pages in an empty folder."""
    # Called by name: `python -m jupyter_book.cli.main` does nothing, and says that all is well.
    call = "from jupyter_book.cli.main import main; main()"
    command = [sys.executable, "-c", call, "build", ".", "-W", "-n", "--keep-going", "--all"]
    start = time.time()
    made = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=550)
    assert made.returncode == 0, made.stdout[-3000:] + made.stderr[-3000:]
    pages = ROOT / "_build" / "html"
    assert (pages / PAGES[0]).stat().st_mtime >= start - 1, "an older build"
    return Path(shutil.copytree(pages, tmp_path_factory.mktemp("site") / "html"))


@pytest.fixture(scope="module")
def site(built: Path) -> Iterator[str]:
    """Serve the pages as anybody can, with Python's plain file server; give their address."""
    command = [sys.executable, "-u", "-m", "http.server", "0", "--bind", "127.0.0.1"]
    with subprocess.Popen(
        [*command, "--directory", str(built)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as server:
        assert server.stdout is not None
        [port] = re.findall(r"port (\d+)", server.stdout.readline())
        yield f"http://127.0.0.1:{port}/"
        server.terminate()


class Visit:
    """A page, opened, and what went wrong while it loaded."""

    def __init__(self, page: Page, site: str, address: str) -> None:
        self.page = page
        self.asked: list[str] = []
        self.elsewhere: list[str] = []
        self.troubles: list[str] = []
        page.on("request", lambda request: self._ask(site, request.url))
        page.on("requestfailed", lambda request: self.troubles.append(f"failed: {request.url}"))
        page.on("response", lambda answer: self._answer(answer.status, answer.url))
        page.on("pageerror", lambda error: self.troubles.append(f"page error: {error}"))
        page.on("console", lambda line: self._line(line.type, line.text))
        self.site = site
        page.set_default_timeout(SLOW)
        page.goto(urljoin(site, address), wait_until="load")
        page.wait_for_load_state("networkidle")
        page.wait_for_function(SETTLED)

    def _ask(self, site: str, url: str) -> None:
        self.asked.append(url)
        if not url.startswith((site, "data:", "blob:")):
            self.elsewhere.append(url)

    def _answer(self, status: int, url: str) -> None:
        if status >= 400:
            self.troubles.append(f"{status}: {url}")

    def _line(self, kind: str, text: str) -> None:
        if kind == "error":
            self.troubles.append(f"console: {text}")


@pytest.fixture(scope="module", params=PAGES)
def address(request: pytest.FixtureRequest) -> str:
    """Each page in turn: all its tests run before the next one's."""
    return str(request.param)


@pytest.fixture(scope="module")
def light(browser: Browser, site: str, address: str) -> Iterator[Visit]:
    """The page on a wide screen, by day."""
    with browser.new_context(viewport={"width": WIDE, "height": 800}) as context:
        yield Visit(context.new_page(), site, address)


@pytest.fixture(scope="module")
def dark(browser: Browser, site: str, address: str) -> Iterator[Visit]:
    """The page on a phone, where the system asks for dark colours."""
    phone: ViewportSize = {"width": PHONE, "height": 800}
    with browser.new_context(viewport=phone, color_scheme="dark") as context:
        yield Visit(context.new_page(), site, address)


@pytest.fixture
def fresh(browser: Browser, site: str) -> Iterator[Callable[..., Visit]]:
    """A function that opens a page in a context of its own, that tests may do things to."""
    contexts = []

    def opened(address: str, **how: Any) -> Visit:
        context = browser.new_context(**{"viewport": {"width": WIDE, "height": 800}, **how})
        contexts.append(context)
        return Visit(context.new_page(), site, address)

    yield opened
    for context in contexts:
        context.close()


def test_page_loads_quietly_and_from_this_host_alone(light, dark) -> None:
    for seen in (light, dark):
        assert seen.elsewhere == []
        assert seen.troubles == []


def test_chapters_have_the_numbers_of_their_files(built) -> None:
    texts = {address: (built / address).read_text(encoding="utf-8") for address in PAGES}
    title = r'<h1>(?:<span class="section-number">(\d+)\. </span>)?[^<]+<a'
    shown = {address: re.findall(title, text) for address, text in texts.items()}
    chapters = {address: re.search(r"/ch(\d+)_", address) for address in PAGES}
    assert shown == {a: [str(int(found[1])) if found else ""] for a, found in chapters.items()}
    sidebar = re.findall(r'<li class="toctree-l1"><a [^>]*>(\d+)\. ', texts[PAGES[0]])
    assert sidebar == [str(int(found[1])) for found in chapters.values() if found]


def test_maths_and_widgets_are_drawn(light) -> None:
    page = light.page
    assert page.locator("mjx-merror").count() == 0
    for area in page.locator(".widget-subarea").all():
        box = area.bounding_box()
        assert box, "a widget is drawn with no box"
        assert box["height"] > 20, f"a widget is drawn {box['height']} px high"


def test_no_table_is_left_as_text(light) -> None:
    """A cell may show a table in Markdown; CommonMark has none, and would print its bars."""
    paragraphs = light.page.locator("article p").all_inner_texts()
    assert [text[:60] for text in paragraphs if text.lstrip().startswith("|")] == []


def test_every_picture_loads_and_says_what_it_shows(light) -> None:
    page = light.page
    for picture in page.locator("img").all():
        source = picture.get_attribute("src") or ""
        alt = picture.get_attribute("alt") or ""
        assert alt.strip(), f"no alt text: {source[:80]}"
        # myst-nb puts the file's name where a cell gives no alt text: that helps nobody.
        assert not alt.startswith("../_images/"), f"the alt text is a file name: {alt[:80]}"
        assert picture.evaluate("e => !e.offsetParent || e.naturalWidth > 0"), f"broken: {source}"


def test_nothing_is_wider_than_the_screen(light, dark) -> None:
    dark.page.set_viewport_size({"width": PHONE, "height": 800})
    wide = dark.page.evaluate(
        """() => [...document.querySelectorAll('.bd-article > section > *, .bd-article .acgan *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth + 1)
            .map(e => e.outerHTML.slice(0, 120))"""
    )
    assert wide == []
    cut = dark.page.evaluate(
        """() => [...document.querySelectorAll('.bd-article div.math mjx-container')]
            .filter(e => e.getBoundingClientRect().left
                < e.closest('div.math').getBoundingClientRect().left - 1)
            .map(e => e.parentElement.textContent.slice(0, 60))"""
    )
    assert cut == [], "formulas whose beginning is out of sight"
    for page, size in ((dark.page, PHONE), (light.page, WIDE)):
        assert page.evaluate("document.documentElement.scrollWidth") <= size


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_theme_follows_the_system(fresh, scheme) -> None:
    page = fresh(PAGES[0], color_scheme=scheme).page
    assert page.evaluate("document.documentElement.dataset.theme") == scheme
    ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
    levels = [int(part) for part in ground.removeprefix("rgb(").removesuffix(")").split(",")[:3]]
    assert (sum(levels) > 384) == (scheme == "light")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier(light, dark, scheme) -> None:
    page = {"light": light, "dark": dark}[scheme].page
    page.set_viewport_size({"width": WIDE, "height": 800})
    page.evaluate(FEWER_WORDS)
    page.evaluate(AXE.read_text(encoding="utf-8"))  # the policy lets no other way in
    found = page.evaluate(
        """async () => (await axe.run(
                'main',
                {resultTypes: ['violations']})).violations
            .filter(v => ['serious', 'critical'].includes(v.impact))
            .map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 160)).join(' | '))"""
    )
    assert found == []


def test_the_root_leads_to_the_first_page(fresh, site) -> None:
    page = fresh("").page
    page.wait_for_url(urljoin(site, PAGES[0]))
    assert page.locator(".bd-article h1").count() == 1


# -- the explorers, alive on the page ----------------------------------------------------------

FACES = ".acgan:is(.explorer, .swap, .mix, .map, .beside)"
ALIVE = [page for page in PAGES if re.search(r"index|ch0[4567]", page)]


def specs(page: Page) -> list[dict[str, Any]]:
    """What each explorer of a page was given, in the order in which they stand, also in boxes."""
    found: list[dict[str, Any]] = page.evaluate(
        """() => {
            const text = type => `script[type="application/vnd.jupyter.widget-${type}+json"]`;
            const {state} = JSON.parse(document.querySelector(text('state')).textContent);
            const inside = id => {
                const {spec, children} = state[id].state;
                const below = (children ?? []).map(child => child.replace('IPY_MODEL_', ''));
                return spec ? [spec] : below.flatMap(inside);
            };
            return [...document.querySelectorAll(text('view'))]
                .flatMap(view => inside(JSON.parse(view.textContent).model_id));
        }"""
    )
    return [spec for spec in found if "models" in spec]


def expected(spec: dict[str, Any], request: dict[str, Any]) -> Tensor:
    """What torch draws for a request, uint8 (n, H, W, C), from the spec and the checkpoints."""
    files = {export.file_name(name): name for name in export.generators()}
    rows = np.frombuffer(base64.b64decode(spec["rows"]), "<f4").copy()
    directions = torch.from_numpy(rows).view(-1, spec["latent_dim"])
    z = seeded(request["seed"], spec["latent_dim"])
    z = (z + torch.tensor(request["coords"]).float() @ directions).unsqueeze(0)
    drawn = []
    for G in (zoo.load(files[file]) for file in spec["models"]):
        if "t" in request:
            t = torch.tensor([request["t"], 0.0, 1.0])
            w = latent.mix_weights(len(spec["classes"]), request["a"], request["b"], t)
            drawn.append(latent.generate_mixed(G, z.expand(3, -1), w))
        elif spec["kind"] == "swap":
            drawn.append(latent.class_swap(G, z)[0])
        else:
            y = torch.tensor([request["label"]]) if "label" in request else None
            drawn.append(latent.generate(G, z, y))
    levels = ((torch.cat(drawn).clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    return levels.permute(0, 2, 3, 1)


def assert_as_torch(face: Locator, spec: dict[str, Any]) -> dict[str, Any]:
    """Compare the canvases' pixels with torch's, within one of 256 levels; return the request."""
    request: dict[str, Any] = json.loads(face.get_attribute("data-shown") or "null")
    seen = face.locator(".pics canvas").evaluate_all(
        """all => all.map(c => Array.from(
            c.getContext('2d').getImageData(0, 0, c.width, c.height).data))"""
    )
    wanted = expected(spec, request)
    pictures = torch.tensor(seen).view(len(seen), *spec["size"], 4)[..., : wanted.shape[-1]]
    if spec["kind"] == "mix":
        pictures = pictures[[1, 0, 2]]  # the mixed picture stands between the pure ones
    assert pictures.shape == wanted.shape
    assert int((pictures - wanted.int()).abs().max()) <= 1
    return request


def wait_shown(face: Locator, unlike: str | None = None) -> None:
    """Wait until a face has drawn a frame, other than the one before."""
    handle = face.element_handle()
    face.page.wait_for_function(
        "([e, before]) => e.dataset.shown && e.dataset.shown !== before",
        arg=[handle, unlike],
    )


def wait_settled(face: Locator) -> None:
    """Wait until a face shows what its sliders say: the last frame of a drag."""
    face.page.wait_for_function(
        """e => {
            const values = [...e.querySelectorAll('.knobs input')].map(n => n.valueAsNumber);
            return e.dataset.shown
                && JSON.stringify(JSON.parse(e.dataset.shown).coords) === JSON.stringify(values);
        }""",
        arg=face.element_handle(),
    )


def drag(page: Page, slider: Locator, share: float) -> None:
    """Take a slider's thumb with the mouse, move it in steps, let go."""
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    middle, end = box["x"] + box["width"] / 2, box["x"] + box["width"] * share
    page.mouse.move(middle, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(end, box["y"] + box["height"] / 2, steps=8)
    page.mouse.up()


def is_engine(url: str) -> bool:
    return "/ort/" in url or url.endswith(".onnx")


@pytest.mark.parametrize("address", ALIVE)
def test_every_explorer_wakes_on_touch_and_shows_what_torch_draws(fresh, address) -> None:
    seen = fresh(address)
    page, faces = seen.page, seen.page.locator(FACES)
    given = specs(page)
    assert len(given) == faces.count() > 0
    assert [url for url in seen.asked if is_engine(url)] == [], "the engine came before a touch"
    for i, spec in enumerate(given):
        if not faces.nth(i).is_visible():  # behind a menu
            continue
        if not spec["models"]:  # a generator trained on the page: its strip stays
            assert faces.nth(i).locator(".status").inner_text()
            continue
        slider = faces.nth(i).locator("input[type=range]").first
        slider.focus()
        page.keyboard.press("ArrowRight")
        wait_shown(faces.nth(i))
        assert_as_torch(faces.nth(i), spec)
    assert sum(".wasm" in url for url in seen.asked) == 1  # one engine for all
    assert seen.elsewhere == []
    assert seen.troubles == []


def test_ch22_denoises_on_the_page_as_torch_does(fresh) -> None:
    seen = fresh(next(page for page in PAGES if "ch22" in page))
    faces, given = seen.page.locator(".acgan.denoise"), specs(seen.page)
    assert len(given) == faces.count() == 2
    assert [url for url in seen.asked if is_engine(url)] == []
    names = {export.file_name(n): n for n in zoo.names() if n.startswith("flow_")}
    for i, spec in enumerate(given):
        face = faces.nth(i)
        face.get_by_role("slider", name="Time").press("ArrowLeft")
        face.get_by_role("slider", name="Guidance").press("ArrowRight")
        wait_shown(face)
        request, at = json.loads(face.get_attribute("data-shown")), face.get_attribute("data-at")
        film = widgets.Denoiser(zoo.load(names[spec["models"][0]])).render(request)
        for k, frame in enumerate((int(at), request["steps"] + 1 + int(at))):
            pixels = face.locator(".pics canvas").nth(k).evaluate(
                "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"
            )
            wanted = ((film[frame].clamp(-1, 1) + 1) * 127.5).permute(1, 2, 0)
            shown = torch.tensor(pixels).view(*wanted.shape[:2], 4)[..., : wanted.shape[2]]
            # The weights are float16 in both; ten steps with guidance add up rounding.
            assert float((shown - wanted).abs().max()) <= 2
    assert seen.elsewhere == []
    assert seen.troubles == []


@pytest.mark.parametrize("address", ALIVE)
def test_explorers_asleep_weigh_less_than_300_kb(built, address) -> None:
    """What a page's explorers add to it before a touch: scripts, stills and directions."""
    text = (built / address).read_text(encoding="utf-8")
    found = re.search(r'widget-state\+json">(.*?)</script>', text, re.DOTALL)
    assert found
    states = [entry["state"] for entry in json.loads(found[1])["state"].values()]
    weights = [len(json.dumps(state)) for state in states if "models" in state.get("spec", {})]
    assert weights
    assert sum(weights) < 300_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_mouse_drag_moves_all_classes_together(fresh, scheme) -> None:
    page = fresh(PAGES[0], color_scheme=scheme).page
    face, [spec] = page.locator(FACES).first, specs(page)[:1]
    drag(page, face.locator("input[type=range]").first, 0.9)
    wait_settled(face)
    assert assert_as_torch(face, spec)["coords"][0] > 1.5
    before = face.get_attribute("data-shown")
    page.keyboard.press("ArrowLeft")  # the thumb has the focus after the drag
    wait_shown(face, before)
    assert_as_torch(face, spec)
    page.evaluate(AXE.read_text(encoding="utf-8"))  # the policy lets no other way in
    barriers = page.evaluate(
        """async () => (await axe.run('.acgan', {resultTypes: ['violations']})).violations
            .filter(v => ['serious', 'critical'].includes(v.impact)).map(v => v.id)"""
    )
    assert barriers == []


def test_a_menu_changes_the_network_where_no_kernel_runs(fresh) -> None:
    """The playground's stack of two explorers, joined to a menu by a link in the browser alone."""
    seen = fresh(next(page for page in PAGES if "playground" in page))
    page, face = seen.page, seen.page.locator(f"{FACES}:visible")
    given = page.evaluate(
        """() => Object.values(JSON.parse(document.querySelector(
            'script[type="application/vnd.jupyter.widget-state+json"]').textContent).state)
            .map(({state}) => state.spec).filter(spec => spec && 'models' in spec)"""
    )
    by_file = {spec["models"][0]: spec for spec in given}
    menu = page.get_by_label("Network")
    names = menu.locator("option").all_inner_texts()
    assert names == ["acgan_avatars64", "cgan_avatars64"]
    pictures = []
    for name in names:
        menu.select_option(name)
        spec = by_file[export.file_name(name)]
        slider = face.locator("input[type=range]").first
        slider.press("ArrowRight")
        assert face.count() == 1
        wait_shown(face)
        assert assert_as_torch(face, spec)["coords"][0] == 0.1
        pictures.append(expected(spec, {"seed": 0, "coords": [0.1, 0]}))
    assert (pictures[0].int() - pictures[1]).abs().max() > 50, "two networks"
    assert seen.troubles == []
    assert seen.elsewhere == []


def test_a_finger_moves_a_slider_on_a_phone(fresh) -> None:
    phone = {"viewport": {"width": PHONE, "height": 740}, "has_touch": True, "is_mobile": True}
    page = fresh(PAGES[0], **phone).page
    face, [spec] = page.locator(FACES).first, specs(page)[:1]
    slider = face.locator("input[type=range]").first
    slider.scroll_into_view_if_needed()
    box = slider.bounding_box()
    assert box
    page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    wait_settled(face)
    assert assert_as_torch(face, spec)["coords"][0] > 1
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE


def test_a_link_brings_another_reader_to_the_same_picture(fresh) -> None:
    page = fresh(f"{PAGES[0]}#z=7&c=1.5,-2,0,0.5,-0.3").page
    face, [spec] = page.locator(FACES).first, specs(page)[:1]
    wait_shown(face)
    request = assert_as_torch(face, spec)
    assert (request["seed"], request["coords"]) == (7, [1.5, -2, 0, 0.5, -0.3])


def test_a_later_page_uses_the_engine_that_the_first_one_fetched(fresh) -> None:
    seen = fresh(PAGES[0])
    page = seen.page
    for address in (PAGES[0], ALIVE[1]):
        page.goto(urljoin(seen.site, address), wait_until="load")
        face = page.locator(FACES).first
        face.locator("input[type=range]").first.focus()
        page.keyboard.press("ArrowRight")
        wait_shown(face)
        assert sum(".wasm" in url for url in seen.asked) == 1
    assert_as_torch(face, specs(page)[0])


def test_a_broken_engine_in_the_browsers_store_is_thrown_away(fresh) -> None:
    seen = fresh(next(page for page in ALIVE if "ch04" in page))
    page, face = seen.page, seen.page.locator(FACES).first
    slider = face.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    wait_shown(face)
    broken = page.evaluate(
        """async () => {
            const kept = await caches.open('acgan');
            const asked = (await kept.keys()).filter(request => request.url.includes('.wasm'));
            for (const request of asked) await kept.put(request, new Response('no engine'));
            return asked.length;
        }"""
    )
    assert broken == 1
    page.reload(wait_until="load")
    slider.focus()
    page.keyboard.press("ArrowRight")
    face.locator(".status.bad").wait_for()
    # onnxruntime-web starts once in a page: what failed to start stays so until the next load.
    page.reload(wait_until="load")
    slider.focus()
    page.keyboard.press("ArrowRight")
    wait_shown(face)
    assert_as_torch(face, specs(page)[0])


def test_without_webassembly_the_still_stays_and_says_why(browser, site) -> None:
    context = browser.new_context()
    context.add_init_script("delete globalThis.WebAssembly")
    seen = Visit(context.new_page(), site, PAGES[0])
    face = seen.page.locator(FACES).first
    assert "WebAssembly" in face.locator(".status").inner_text()
    assert face.locator("input[type=range]").first.is_disabled()
    assert seen.troubles == []
    context.close()


def test_an_engine_that_cannot_be_fetched_is_said_and_tried_again(fresh) -> None:
    seen = fresh(next(page for page in ALIVE if "ch04" in page))
    page, face = seen.page, seen.page.locator(FACES).first
    page.route(re.compile(r"\.wasm"), lambda route: route.abort())
    slider = face.locator("input[type=range]").first
    slider.focus()
    page.keyboard.press("ArrowRight")
    face.locator(".status.bad").wait_for()
    assert "could not fetch" in face.locator(".status").inner_text()
    page.unroute(re.compile(r"\.wasm"))
    page.keyboard.press("ArrowRight")
    wait_shown(face)
    assert_as_torch(face, specs(page)[0])


def test_a_page_opened_as_a_file_says_what_to_do(browser, built) -> None:
    with browser.new_context() as context:
        page = context.new_page()
        page.goto((built / PAGES[0]).as_uri())
        # Browsers give a file's page no modules: then the page's own words must do.
        page.wait_for_function(
            "/make read|http.server/.test(document.querySelector('.bd-article').innerText)",
            timeout=SLOW,
        )


def test_the_policy_lets_nothing_in_from_elsewhere(light) -> None:
    assert_strict(light)


@pytest.mark.parametrize("page", ["search.html", "genindex.html"])
def test_the_policy_holds_on_pages_without_a_chapter(fresh, page) -> None:
    assert_strict(fresh(page))


def assert_strict(seen: Visit) -> None:
    """The page has a policy that lets nothing in from elsewhere, and keeps it."""
    policy = seen.page.locator("meta[http-equiv=Content-Security-Policy]")
    rules = dict(
        rule.strip().split(" ", 1) for rule in (policy.get_attribute("content") or "").split(";")
    )
    assert rules["default-src"] == "'none'"
    assert "http" not in str(rules)
    assert "'unsafe-eval'" not in rules["script-src"]
    assert "'unsafe-inline'" not in rules["script-src"]
    assert seen.troubles == []
