"""The widgets' front end in Chromium, on a page of its own, with Python behind it as in a notebook.

No Lab and no built book: `page_with` stands in for both, so that a test takes a second. As in a
notebook, the widget itself renders what the page asks for; as on a built page, the front end works
out z and class weights by itself, and G is Python's in the place of the exported one.
"""

from __future__ import annotations

import io
import json
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import ipywidgets
import numpy as np
import pytest
import torch
from PIL import Image, ImageSequence
from playwright.sync_api import Browser, Locator, Page, expect
from test_lab import assert_shows, drag, read, settle
from torch import Tensor

from acgan_lib import latent, nets, widgets
from acgan_lib.directions import principal_directions, seeded
from acgan_lib.widgets.base import FRONT
from acgan_lib.widgets.faces import GeneratorFace

pytestmark = pytest.mark.browser
NAMES = ["Top", "Trouser", "Bag"]
AT = "http://book.test/page.html"
STATE = "application/vnd.jupyter.widget-state+json"
VIEW = "application/vnd.jupyter.widget-view+json"
SLOW = 120_000  # ms; only ever used up where something is wrong
START = """async faces => {
    window.waiting = 0; // pictures asked for and not there yet
    globalThis[Symbol.for('acgan.engine')] = {
        async run(file, {n, z, w}) {
            waiting++;
            const {dims, data} = await raw(file, n, Array.from(z), Array.from(w));
            waiting--;
            return {dims, data: Float32Array.from(data)};
        },
    };
    for (const [i, {esm, css, spec, still}] of faces.entries()) {
        const code = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
        const {default: face} = await import(code);
        const traits = {spec, still};
        let hear;
        const model = {
            get: name => traits[name], on(_, f) { hear = f; }, off() {},
            send(message) {
                waiting++;
                ask(i, message).then(reply => { hear(reply); waiting--; });
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


Open = Callable[..., Page]


@pytest.fixture
def page_with(browser: Browser) -> Iterator[Open]:
    """Open a page that holds these widgets, as in a notebook or, if ``built``, in the book.

    With ``clock``, the page's time stands still, and `frames_in` moves it on.
    """
    contexts = []

    def opened(
        *faces: GeneratorFace,
        hash: str = "",
        built: bool = False,
        clock: bool = False,
        **how: Any,
    ) -> Page:
        context = browser.new_context(**{"viewport": {"width": 900, "height": 800}, **how})
        contexts.append(context)
        context.set_default_timeout(SLOW)
        page = context.new_page()
        if clock:
            page.clock.install(time=0)
        view = f"<script type='{VIEW}'>{{}}</script>" if built else ""
        state = f"<script type='{STATE}'>{{}}</script>" if built else ""
        holes = "".join(f"<div class=here></div>{view}" for _ in faces)
        html = f"<!doctype html><title>t</title>{state}<main>{holes}</main>"
        page.route("**/*", lambda route: route.fulfill(body=html, content_type="text/html"))
        page.troubles = []  # type: ignore[attr-defined]
        page.on("pageerror", lambda e: page.troubles.append(str(e)))  # type: ignore[attr-defined]

        def answer(i: int, message: dict[str, Any]) -> dict[str, Any]:
            replies: list[dict[str, Any]] = []
            faces[i].send = lambda content, buffers=None: replies.append(content)
            faces[i]._handle_custom_msg(message, [])
            return replies[0]

        def run(file: str, n: int, z: list[float], w: list[float]) -> dict[str, Any]:
            latents, weights = torch.tensor(z).view(n, -1), torch.tensor(w).view(n, -1)
            images = latent.generate_mixed(faces[int(file)].G, latents, weights)
            return {"dims": list(images.shape), "data": images.flatten().tolist()}

        page.expose_function("ask", answer)
        page.expose_function("raw", run)
        page.goto(AT + hash)
        page.evaluate(
            START,
            [
                {
                    "esm": face._esm,
                    "css": face._css,
                    "spec": {**face.spec, "models": [str(i)]},
                    "still": face.still,
                }
                for i, face in enumerate(faces)
            ],
        )
        page.wait_for_function(
            "n => document.querySelectorAll('.acgan:not(.asleep)').length === n", arg=len(faces)
        )
        if clock:
            page.clock.pause_at(3_600)
        return page

    yield opened
    for context in contexts:
        for page in context.pages:
            assert page.troubles == []  # type: ignore[attr-defined]
        context.close()


def z_of(seed: int) -> Tensor:
    return seeded(seed, 100)


def on_map(G: nets.Generator, u: float, v: float, label: int, seeds: Any = (0, 1, 2)) -> Tensor:
    """The picture at a place of a map, from the formula of its docstring: (1, H, W)."""
    a, b, c = (z_of(seed).double() for seed in seeds)
    z = a + u * (b - a) + v * (c - (a + b) / 2) / (3**0.5 / 2)
    return latent.generate(G, z.float()[None], torch.tensor([label]))[0]


def shown(widget: Locator) -> dict[str, Any]:
    return json.loads(widget.get_attribute("data-shown") or "null")


# -- the map -------------------------------------------------------------------------------------


@pytest.fixture
def atlas(G: nets.Generator) -> widgets.LatentMap:
    return widgets.LatentMap(G, (4, 5, 6), label="Bag")


def test_map_follows_the_mouse_and_the_arrow_keys(page_with: Open, atlas: Any, G: Any) -> None:
    page = page_with(atlas)
    widget, pad = page.locator(".map"), page.get_by_role("application")
    picture = widget.get_by_role("img")
    assert_shows(picture, on_map(G, 0, 0, 2, (4, 5, 6)))
    box = pad.bounding_box()
    assert box
    x, y = box["x"], box["y"] + box["height"]
    page.mouse.move(x + box["width"] / 6, y - box["height"] * 0.21)  # about A
    page.mouse.down()
    page.mouse.move(x + box["width"] / 2, y - box["height"] / 2, steps=5)
    page.mouse.up()
    page.mouse.move(x + box["width"], y, steps=2)  # let go: this moves nothing
    middle = [0.5, 0.43]
    settle(widget, {"coords": middle})
    assert_shows(picture, on_map(G, *middle, 2, (4, 5, 6)))
    pad.press("ArrowRight")
    pad.press("Shift+ArrowUp")
    moved = [0.54, 0.62]  # a fortieth of the pad, then five of them
    settle(widget, {"coords": moved})
    assert_shows(picture, on_map(G, *moved, 2, (4, 5, 6)))
    values = [s.get_attribute("aria-valuetext") for s in widget.get_by_role("slider").all()]
    assert values == ["0.54", "0.62"]
    pad.press("Home")
    settle(widget, {"coords": [0, 0]})


def test_map_follows_a_finger_on_a_phone(page_with: Open, atlas: Any, G: Any) -> None:
    page = page_with(atlas, viewport={"width": 360, "height": 800}, has_touch=True)
    pad = page.get_by_role("application")
    pad.scroll_into_view_if_needed()
    box = pad.bounding_box()
    assert box
    assert box["width"] >= 240
    client = page.context.new_cdp_session(page)

    def touch(kind: str, x: float, y: float) -> None:
        at = {"x": box["x"] + x * box["width"], "y": box["y"] + (1 - y) * box["height"]}
        points = [] if kind == "touchEnd" else [at]
        client.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    before = page.evaluate("scrollY")
    touch("touchStart", 0.5, 0.9)
    for step in range(1, 6):
        touch("touchMove", 0.5, 0.9 - 0.08 * step)
    touch("touchEnd", 0, 0)
    settle(page.locator(".map"), {"coords": [0.5, 0.43]})
    assert_shows(page.get_by_role("img"), on_map(G, 0.5, 0.43, 2, (4, 5, 6)))
    assert page.evaluate("scrollY") == before, "the page scrolled under the finger"


def tile(page: Page, row: int, column: int) -> Tensor:
    return read(page.locator(".tiles"))[32 * row : 32 * row + 32, 32 * column : 32 * column + 32]


def test_the_tiles_are_the_pictures_of_their_places(page_with: Open, atlas: Any, G: Any) -> None:
    """First from the still, then, for another class, drawn anew; Python's z stays where it was."""
    page = page_with(atlas)
    for name, label in (("Bag", 2), ("Top", 0)):
        page.get_by_label("Class").select_option(name)
        for row, column in ((0, 0), (2, 2), (4, 3)):
            u, v = 0.5 + 0.3 * (column - 2), 3**0.5 / 4 - 0.3 * (row - 2)
            expected = (on_map(G, u, v, label, (4, 5, 6))[0] + 1) * 127.5
            assert expected.std() > 10
            until = time.monotonic() + SLOW / 1000
            while (error := (tile(page, row, column) - expected).abs().max()) > 1:
                assert time.monotonic() < until, (name, row, column, error)
                page.wait_for_timeout(50)
    assert atlas.request == {"seed": 4, "coords": [0, 0], "label": 0}


def test_a_path_is_recorded_played_and_cleared(page_with: Open, atlas: Any) -> None:
    page = page_with(atlas, clock=True)
    widget, pad = page.locator(".map"), page.get_by_role("application")
    line = page.locator(".pad polyline").last
    tour = line.get_attribute("points")
    assert tour
    assert len(tour.split()) == 4, "before any recording: the three z, and back"
    clear = page.get_by_role("button", name="Clear path")
    assert clear.is_disabled()
    page.get_by_role("button", name="Record path").click()
    for key in ("ArrowRight", "ArrowRight", "ArrowUp"):
        pad.press(key)
    page.get_by_role("button", name="Stop recording").click()
    assert len((line.get_attribute("points") or "").split()) == 4
    end = [0.08, 0.04]
    settle(widget, {"coords": end})
    pad.press("Home")
    assert len((line.get_attribute("points") or "").split()) == 4, "recording has stopped"
    page.get_by_role("button", name="Play path").click()
    way = frames_in(page, 0.3)  # a fifth of a second's walk
    assert way[-1] == end
    assert len(way) > 2, "through places on the way"
    page.get_by_role("button", name="Play path").wait_for()  # it stops at the path's end
    clear.click()
    assert line.get_attribute("points") == tour
    page.get_by_role("button", name="Play path").click()
    frames_in(page, 0.3)
    page.get_by_role("button", name="Stop", exact=True).click()
    settle(widget, {"seed": 4})
    at = shown(widget)["coords"]
    assert 0 < at[0] < 1
    assert at[1] == 0, "the first leg goes from A to B"


def saved(page: Page, button: str) -> tuple[str, bytes]:
    with page.expect_download() as download:
        page.get_by_role("button", name=button).click()
    return download.value.suggested_filename, Path(download.value.path()).read_bytes()


def test_a_path_becomes_a_gif(page_with: Open, atlas: Any, G: Any) -> None:
    page = page_with(atlas)
    record(page)
    name, content = saved(page, "Save GIF")
    assert name == "latent-path.gif"
    gif = Image.open(io.BytesIO(content))
    assert gif.size == (128, 128)
    assert gif.info["loop"] == 0
    assert gif.info["duration"] == 80
    frames = [torch.tensor(np.array(f.convert("L"))) for f in ImageSequence.Iterator(gif)]
    for i, (u, v) in ((0, (0, 0)), (-1, (0.57, 0.0))):
        expected = (on_map(G, u, v, 2, (4, 5, 6))[0] + 1) * 127.5
        large = expected.repeat_interleave(4, 0).repeat_interleave(4, 1)
        assert (frames[i] - large).abs().max() <= 1
    length = 0.57 / 1.5  # in widths of the pad, walked at 0.35 a second, 12.5 pictures a second
    assert len(frames) == round(length / 0.35 * 12.5)
    assert atlas.request["coords"] == [0.57, 0.0], "saving moves nothing"
    page.get_by_text(f"Saved latent-path.gif: {len(frames)} pictures").wait_for()


def test_a_path_becomes_a_png_strip(page_with: Open, atlas: Any, G: Any) -> None:
    page = page_with(atlas)
    record(page)
    name, content = saved(page, "Save PNG strip")
    assert name == "latent-path.png"
    strip = torch.tensor(np.array(Image.open(io.BytesIO(content)).convert("L")))
    assert strip.shape == (128, 8 * 128)
    for i in range(8):
        expected = (on_map(G, 0.57 * i / 7, 0, 2, (4, 5, 6))[0] + 1) * 127.5
        assert (strip[::4, 128 * i : 128 * i + 128 : 4] - expected).abs().max() <= 1


def record(page: Page) -> None:
    """A path from A 0.57 to the right."""
    page.get_by_role("button", name="Record path").click()
    for _ in range(3):
        page.get_by_role("application").press("Shift+ArrowRight")
    settle(page.locator(".map"), {"coords": [0.57, 0]})
    page.get_by_role("button", name="Stop recording").click()


@pytest.mark.parametrize("channels", [1, 3])
def test_gif_is_what_pillow_reads(browser: Browser, channels: int) -> None:
    """Noise fills the code table twice over; a flat picture makes its longest entries."""
    g = torch.Generator().manual_seed(0)
    noise = torch.randint(256, (4, 48, 40, channels), generator=g)
    noise[1] = 200
    noise[2] = torch.arange(40).view(1, 40, 1)
    page = browser.new_page()
    content = page.evaluate(
        """async ({code, frames, c}) => {
            const blob = new Blob([code], {type: 'text/javascript'});
            const {gifOf} = await import(URL.createObjectURL(blob));
            return Array.from(gifOf(frames.map(bytes => ({n: 1, w: 40, h: 48, c,
                bytes: Uint8Array.from(bytes)})), 2, 5));
        }""",
        {
            "code": (FRONT / "gif.js").read_text(encoding="utf-8"),
            "frames": [frame.flatten().tolist() for frame in noise],
            "c": channels,
        },
    )
    page.close()
    gif = Image.open(io.BytesIO(bytes(content)))
    assert (gif.size, gif.n_frames, gif.info["duration"]) == ((80, 96), 4, 50)
    frames = [np.array(f.convert("RGB")) for f in ImageSequence.Iterator(gif)]
    read_back = torch.tensor(np.stack(frames))
    assert torch.equal(read_back[:, ::2, ::2], read_back[:, 1::2, 1::2])
    error = (read_back[:, ::2, ::2] - noise.expand(-1, -1, -1, 3)).abs().amax((0, 1, 2)).tolist()
    if channels == 1:
        assert error == [0, 0, 0]
    else:  # half the distance of 6, 7 and 6 levels
        assert all(e <= most for e, most in zip(error, (26, 22, 26), strict=True)), error


# -- motion --------------------------------------------------------------------------------------


def frames_in(page: Page, seconds: float, step: float = 0.02) -> list[list[float]]:
    """The places that a widget shows while the page's own time moves on by this much."""
    places = []
    widget = page.locator(".acgan")
    for _ in range(round(seconds / step)):
        page.clock.run_for(round(1000 * step))
        settle(widget, {})
        places.append(shown(widget)["coords"])
    return [here for here, before in zip(places, [None, *places], strict=False) if here != before]


def test_drift_moves_every_class_until_it_is_stopped(page_with: Open, G: Any) -> None:
    page = page_with(widgets.ClassSwap(G, seed=5), clock=True)
    widget = page.locator(".swap")
    page.get_by_role("button", name="Drift").click()
    places = frames_in(page, 1)
    assert len(places) > 5
    jumps = torch.tensor(places).diff(dim=0).abs().max()
    assert 0 < jumps < 0.1, "a drift, no jump"
    page.get_by_role("button", name="Stop").click()
    settle(widget, {"seed": 5})
    at = shown(widget)["coords"]
    z = z_of(5) + torch.tensor(at) @ principal_directions(G, 2)
    for canvas, image in zip(
        widget.get_by_role("img").all(), latent.class_swap(G, z[None])[0], strict=True
    ):
        assert_shows(canvas, image)
    assert frames_in(page, 0.3) == [at], "it has stopped"
    sliders = [float(s.input_value()) for s in widget.get_by_role("slider").all()]
    assert sliders == pytest.approx(at, abs=0.06), "the sliders say where z is"


def test_a_touch_stops_the_drift(page_with: Open, G: Any) -> None:
    page = page_with(widgets.ClassSwap(G, seed=5), clock=True)
    page.get_by_role("button", name="Drift").click()
    assert len(frames_in(page, 0.2)) > 1
    page.get_by_role("slider", name="Direction 1").press("ArrowRight")
    page.get_by_role("button", name="Drift").wait_for()


def test_who_asks_for_less_motion_gets_slow_changes(page_with: Open, atlas: Any, G: Any) -> None:
    page = page_with(widgets.ClassSwap(G, seed=5), clock=True, reduced_motion="reduce")
    page.get_by_role("button", name="Drift").click()
    assert frames_in(page, 1.4, step=0.1) == [[0, 0]]
    after = frames_in(page, 1.7, step=0.1)
    assert len(after) == 2, "one place after 1.5 seconds, one after 3"
    assert [0, 0] not in after
    page.emulate_media(reduced_motion="no-preference")
    page.get_by_role("button", name="Drift").wait_for()  # what was asked for has changed: it stops


def test_a_drift_out_of_sight_stops(page_with: Open, G: Any) -> None:
    page = page_with(widgets.ClassSwap(G, seed=5))
    page.add_style_tag(content="body::after {content: ''; display: block; height: 3000px}")
    page.get_by_role("button", name="Drift").click()
    page.evaluate("scrollTo(0, 2500)")
    page.wait_for_function("document.querySelector('.play').textContent === 'Drift'")


# -- side by side --------------------------------------------------------------------------------


def test_one_slider_drives_every_checkpoint(page_with: Open, G: Any) -> None:
    torch.manual_seed(9)
    other = nets.Generator(num_classes=len(NAMES), width=8).eval().requires_grad_(False)
    for p in other.parameters():
        p.mul_(3)
    page = page_with(widgets.SideBySide({"early": other, "late": G}, seed=5, label="Top"))
    widget = page.locator(".beside")
    value = drag(widget.get_by_role("slider", name="Direction 1"), 0.8)
    page.get_by_label("Class").select_option("Bag")
    settle(widget, {"coords": [value], "label": 2})
    z = z_of(5) + value * principal_directions(G, 1)[0]
    for canvas, model in zip(widget.get_by_role("img").all(), (other, G), strict=True):
        assert_shows(canvas, latent.generate(model, z[None], torch.tensor([2]))[0])
    names = [canvas.get_attribute("aria-label") or "" for canvas in widget.get_by_role("img").all()]
    assert "early, Bag" in names[0]
    assert "late, Bag" in names[1]


# -- permalinks ----------------------------------------------------------------------------------


def test_a_link_brings_another_reader_to_the_same_picture(page_with: Open, G: Any) -> None:
    first, second = widgets.ClassMix(G, 0, 1), widgets.LatentExplorer(G, directions=3, seed=5)
    page = page_with(first, second, built=True)
    explorer = page.locator(".explorer")
    explorer.get_by_label("Class").select_option("Bag")
    explorer.get_by_role("button", name="New z").click()
    explorer.get_by_role("slider", name="Direction 2").press("ArrowLeft")
    settle(explorer, {"seed": 6, "coords": [0, -0.1, 0], "label": 2})
    explorer.get_by_role("button", name="Link").click()
    assert page.evaluate("location.hash") == "#z=6&c=0,-0.1,0&class=2&w=2"
    image = read(explorer.get_by_role("img"))
    z = z_of(6) - 0.1 * principal_directions(G, 3)[1]
    assert_shows(explorer.get_by_role("img"), latent.generate(G, z[None], torch.tensor([2]))[0])

    page = page_with(first, second, hash="#z=6&c=0,-0.1,0&class=2&w=2", built=True)
    explorer = page.locator(".explorer")
    settle(explorer, {"seed": 6, "coords": [0, -0.1, 0], "label": 2})
    assert torch.equal(read(explorer.get_by_role("img")), image)
    assert explorer.get_by_label("Class").input_value() == "Bag"
    assert explorer.get_by_role("slider", name="Direction 2").input_value() == "-0.1"
    assert shown(page.locator(".mix")) is None, "not meant, so still asleep"
    follow(page, "#class=2,1&t=0.25&z=9")
    settle(page.locator(".mix"), {"seed": 9, "a": 2, "b": 1, "t": 0.25, "coords": []})
    assert shown(explorer)["seed"] == 6


def test_a_link_can_be_copied(page_with: Open, G: Any) -> None:
    page = page_with(widgets.ClassSwap(G, seed=5), built=True)
    page.evaluate("""() => Object.defineProperty(navigator, 'clipboard',
        {value: {writeText: async text => { window.copied = text; }}, configurable: true})""")
    page.get_by_role("button", name="Link").click()
    page.get_by_text("Link copied").wait_for()
    assert page.evaluate("copied") == f"{AT}#z=5&c=0,0"
    page.evaluate("Object.defineProperty(navigator, 'clipboard', {value: undefined})")
    page.get_by_role("button", name="Link").click()
    page.get_by_text("The address of this page now opens this very picture").wait_for()


MALFORMED = [
    "#z=-1", "#z=1e3", "#z=", "#z=9999999999", "#z=NaN", "#z=<b>", "#z=5.5",
    "#z=7&c=1", "#z=7&c=1,2,3,4,5", "#z=7&c=0,0,0,99", "#z=7&c=0,0,0,x", "#z=7&c=,,,",
    "#z=7&c=Infinity,0,0,0", "#z=7&class=3", "#z=7&class=-1", "#z=7&class=1,2",
    "#z=7&t=0.5", "#z=7&w=2", "#z=7&w=x", "#c=1,0,0,0", "#the-generator", "#%E0%A4%A", "#",
]  # fmt: skip


def test_a_malformed_link_is_ignored(page_with: Open, G: Any) -> None:
    page = page_with(widgets.LatentExplorer(G, seed=5), hash="#z=7&c=1", built=True)
    widget = page.locator(".explorer")
    settle(widget, {})
    assert shown(widget) is None
    follow(page, "#z=8&c=1,0,0,0.5&class=1&other=1")  # a good one is not
    settle(widget, {"seed": 8, "coords": [1, 0, 0, 0.5], "label": 1})
    for hash in MALFORMED:
        follow(page, hash)
        assert shown(widget)["seed"] == 8, hash


def follow(page: Page, hash: str) -> None:
    """Go to another hash of the page; wait until the widgets heard it and drew what they asked."""
    page.evaluate(
        """hash => new Promise(heard => {
            addEventListener('hashchange', heard, {once: true}); // after the widgets' own
            location.hash = hash;
        })""",
        hash,
    )
    page.wait_for_function("waiting === 0")


def test_a_map_keeps_its_plane(page_with: Open, atlas: Any) -> None:
    page = page_with(atlas, built=True, hash="#z=4&c=0.25,0.5&class=1")
    settle(page.locator(".map"), {"seed": 4, "coords": [0.25, 0.5], "label": 1})
    follow(page, "#z=7&c=0,0")
    assert shown(page.locator(".map"))["coords"] == [0.25, 0.5]


def test_a_notebook_has_no_address_to_share(page_with: Open, G: Any) -> None:
    page = page_with(widgets.LatentExplorer(G, seed=5), hash="#z=7&c=0,0,0,0")
    settle(page.locator(".explorer"), {})
    assert page.get_by_role("button", name="Link").count() == 0
    assert shown(page.locator(".explorer"))["seed"] == 5


# -- the scoreboard ------------------------------------------------------------------------------


@pytest.mark.parametrize("width", [900, 360])
def test_scoreboard_shows_the_scores_of_the_frame_on_show(page_with: Open, width: int) -> None:
    frames = [(i, torch.full((4, 1, 8, 8), 60 * i, dtype=torch.uint8)) for i in range(3)]
    scores = [
        {"accuracy": (f"0.{9 - i}", "worse" if i else ""), "distance": (f"{i}", "better")}
        for i in range(3)
    ]
    board = widgets.Scoreboard(frames, scores, ["whole", "blur 1", "blur 2"], title="Damage")
    page = page_with(board, viewport={"width": width, "height": 800})
    face, slider = page.locator(".scrubber"), page.get_by_role("slider", name="Damage")
    table = page.get_by_role("group", name="Scores")
    page.wait_for_function("n => n.dataset.shown === '2'", arg=face.element_handle())
    assert table.inner_text().split() == ["accuracy", "0.7", "worse", "distance", "2", "better"]
    slider.press("Home")
    page.wait_for_function("n => n.textContent.includes('0.9')", arg=table.element_handle())
    assert table.inner_text().split() == ["accuracy", "0.9", "distance", "0", "better"]
    assert slider.get_attribute("aria-valuetext") == "whole"
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# -- directions with names -----------------------------------------------------------------------


@pytest.mark.parametrize("built", [False, True])
def test_a_named_slider_is_found_by_its_name_and_moves_its_direction(
    page_with: Open, G: Any, built: bool
) -> None:
    ways = {"hair: dark \u2013 fair": torch.eye(100)[7], "Skin": -torch.eye(100)[3]}
    faces = [f(G, directions=ways, reach=2.5) for f in (widgets.LatentExplorer, widgets.ClassSwap)]
    page = page_with(*faces, built=built)
    for kind in ("explorer", "swap"):
        widget = page.locator(f".{kind}")
        hair = widget.get_by_role("slider", name="hair: dark \u2013 fair")
        hair.press("End")
        widget.get_by_role("slider", name="Skin").press("ArrowLeft")
        settle(widget, {"seed": 0, "coords": [2.5, -0.1]})
        z = z_of(0) + 2.5 * torch.eye(100)[7] + 0.1 * torch.eye(100)[3]
        image = latent.generate(G, z[None], torch.tensor([0]))[0]
        assert_shows(widget.get_by_role("img").first, image)
        words = widget.get_by_role("img").first
        expect(words).to_have_attribute(
            "aria-label", re.compile("hair: dark \u2013 fair = 2.5, skin")
        )
    pad = page.get_by_role("application", name="Pad: hair: dark \u2013 fair across, skin upwards.")
    pad.press("Home")
    settle(page.locator(".explorer"), {"coords": [0, 0]})


PARTS = ("label", "input", "output")


@pytest.mark.parametrize("width", [1200, 360])
def test_a_name_is_read_whole_beside_its_value(page_with: Open, G: Any, width: int) -> None:
    ways = {f"{part}: yellow \u2013 orange": torch.eye(100)[i] for i, part in enumerate("abcde")}
    faces = [widgets.ClassSwap(G, directions=ways), widgets.ClassMix(G, directions=ways)]
    page = page_with(*faces, viewport={"width": width, "height": 800})
    for knob in page.locator(".knob").all():
        label, slider, value = (
            knob.locator(x).bounding_box() for x in ("label", "input", "output")
        )
        assert label
        assert slider
        assert value
        assert label["height"] < 25, "in one line"
        assert label["x"] + label["width"] <= value["x"] + 1
        assert label["y"] + label["height"] <= slider["y"] + 1
        assert slider["width"] > 180
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")


# -- put together by ipywidgets, on a page without a kernel --------------------------------------


def built_page(browser: Browser, models: dict[str, Any], view: str) -> Page:
    """A page with the book's widgets.js and these models; `view` is shown."""
    state = json.dumps({"version_major": 2, "version_minor": 0, "state": models})
    html = (
        f"<!doctype html><title>t</title><script type='{STATE}'>{state}</script>"
        f"<main><script type='{VIEW}'>{json.dumps({'model_id': view})}</script></main>"
    )
    page = browser.new_page()
    page.set_content(html)
    page.add_script_tag(path=FRONT.parents[2] / "book" / "_static" / "widgets.js")
    return page


def states(*widgets_: Any) -> dict[str, Any]:
    """What `make execute` stores of each widget."""
    return {
        w.model_id: {"model_name": w.get_state()["_model_name"], "state": w.get_state()}
        for w in widgets_
    }


@pytest.mark.parametrize("join", [ipywidgets.jslink, ipywidgets.jsdlink])
def test_a_dropdown_turns_a_stack_in_the_browser_alone(browser: Browser, join: Any) -> None:
    parts = [ipywidgets.Dropdown(options=[name], description=name) for name in ("first", "second")]
    menu = ipywidgets.Dropdown(options=["a", "b"], value="b", description="Which")
    stack = ipywidgets.Stack(parts, selected_index=0)
    link = join((menu, "index"), (stack, "selected_index"))
    box = ipywidgets.VBox([menu, ipywidgets.HBox([stack])])
    shown = states(menu, stack, link, box, box.children[1], *parts)
    page = built_page(browser, shown, box.model_id)
    which = page.get_by_label("Which")
    expect(which).to_have_value("b")
    for name, there, away in (("b", "second", "first"), ("a", "first", "second")):
        which.select_option(name)
        expect(page.get_by_label(there)).to_be_visible()
        expect(page.get_by_label(away)).to_be_hidden()
    page.close()


def test_a_control_that_needs_python_says_so_on_a_built_page(browser: Browser) -> None:
    slider = ipywidgets.IntSlider()
    box = ipywidgets.VBox([slider])
    page = built_page(browser, states(slider, box), box.model_id)
    expect(page.get_by_text("needs a Python kernel")).to_be_visible()
    page.close()


# -- sharp or smooth -----------------------------------------------------------------------------

DRAWN = """all => all.map(c => [c.getBoundingClientRect().width * devicePixelRatio / c.width,
    getComputedStyle(c).imageRendering])"""


@pytest.mark.parametrize("ratio", [1, 2, 3])
@pytest.mark.parametrize("width", [1200, 360])
def test_pixels_are_squares_where_these_look_alike_and_smooth_elsewhere(
    page_with: Open, G: Any, width: int, ratio: int
) -> None:
    large = nets.Generator(num_classes=3, channels=3, width=8, image_size=128).requires_grad_(False)
    faces = [widgets.ClassMix(G), widgets.LatentMap(G), widgets.ClassSwap(large)]
    page = page_with(*faces, viewport={"width": width, "height": 800}, device_scale_factor=ratio)
    page.wait_for_function("document.querySelectorAll('.squares').length > 0")
    seen = page.locator(".acgan canvas").evaluate_all(DRAWN)
    assert len(seen) == 3 + 2 + 3
    for scale, how in seen:
        even = scale > 0.98 and abs(scale - round(scale)) < 0.02
        assert how == ("pixelated" if scale >= 3 or even else "auto"), scale
    assert max(scale for scale, _ in seen) > 4
    if ratio == 1:
        assert "auto" in {how for _, how in seen}


# -- colour --------------------------------------------------------------------------------------

RGBA = "c => Array.from(c.getContext('2d').getImageData(0, 0, c.width, c.height).data)"


@pytest.mark.parametrize(("built", "width"), [(False, 1200), (True, 360)])
def test_colour_at_64_pixels_is_drawn_as_it_is(page_with: Open, built: bool, width: int) -> None:
    """By a kernel and by the page itself; no wider than a phone."""
    torch.manual_seed(3)
    G = nets.Generator(num_classes=3, channels=3, width=8, image_size=64).requires_grad_(False)
    for p in G.parameters():
        p.mul_(3)
    faces = [widgets.explorer(G, seed=5, label=1), widgets.ClassSwap(G, seed=5)]
    page = page_with(*faces, built=built, viewport={"width": width, "height": 800})
    if built:  # a page draws once its reader touches something
        page.get_by_role("button", name="Reset").first.click()
        page.get_by_role("button", name="Reset").last.click()
    for kind, face in (("explorer", faces[0]), ("swap", faces[1])):
        settle(page.locator(f".{kind}"), {"seed": 5, "coords": [0.0] * len(face.directions)})
        wanted = face.render(face.request).permute(0, 2, 3, 1)
        canvases = page.locator(f".{kind} canvas").all()
        assert len(canvases) == len(wanted)
        for canvas, image in zip(canvases, wanted, strict=True):
            seen = torch.tensor(canvas.evaluate(RGBA)).view(64, 64, 4)
            assert image.std() > 0.1
            assert (image[..., 0] - image[..., 2]).abs().max() > 0.5
            assert (seen[..., :3] - (image + 1) * 127.5).abs().max() <= 1
            assert (seen[..., 3] == 255).all()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
