"""Each widget in a real JupyterLab, driven in headless Chromium, against what torch says.

One Lab server, one notebook and one page serve every test here; Lab takes about 15 s to start.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import nbformat
import pytest
import torch
from playwright.sync_api import Browser, Locator, Page
from torch import Tensor

from acgan_lib import latent, nets, widgets
from acgan_lib.directions import principal_directions, seeded
from acgan_lib.widgets.faces import STRIP

ROOT = Path(__file__).resolve().parents[2]
CHAPTER = ROOT / "book" / "ch05_cgan.ipynb"
SLOW = 180_000  # ms; only ever used up where something is wrong
NAMES = ["Top", "Trouser", "Bag"]

# The notebook and the test build the same generator from the same seed, apart from each other.
SETUP = f"""\
import torch
from acgan_lib import nets, runtime, widgets
torch.set_num_threads(1)
runtime.seed_everything(3)
G = nets.Generator(num_classes={len(NAMES)}, width=8)
for p in G.parameters(): p.data.mul_(3)
G.class_names = {NAMES!r}
frames = [(s, (torch.arange(6 * 32 * 32).view(6, 1, 32, 32) * s % 256).to(torch.uint8))
          for s in (1, 20, 300)]"""
CELLS = [
    SETUP,
    "explorer = widgets.LatentExplorer(G, seed=5); explorer",
    "swap = widgets.ClassSwap(G, seed=5); swap",
    "mix = widgets.ClassMix(G, 'Top', 'Bag', seed=5); mix",
    "widgets.Scrubber(frames, labels=['one', 'two', 'three'])",
    "atlas = widgets.LatentMap(G, (5, 6, 7)); atlas",
    "widgets.SideBySide({'one': G, 'two': G}, seed=5)",
]
START = {
    "explorer": {"seed": 5, "coords": [0, 0, 0, 0], "label": 0},
    "swap": {"seed": 5, "coords": [0, 0]},
    "mix": {"seed": 5, "coords": [], "t": 0.5, "a": 0, "b": 2},
    "map": {"seed": 5, "coords": [0, 0], "label": 0},
    "beside": {"seed": 5, "coords": [0], "label": 0},
}
READ = """canvas => {
  const {width, height} = canvas;
  const rgba = canvas.getContext('2d').getImageData(0, 0, width, height).data;
  return [height, width, Array.from(rgba.filter((_, i) => i % 4 === 0))];
}"""
# Counts what the widgets ask the kernel for, and what of it is still on its way.
COUNT = """
window.acganSent = 0;
window.waiting = 0;
const send = WebSocket.prototype.send;
WebSocket.prototype.send = function (data) {
  const text = typeof data === 'string' ? data : new TextDecoder().decode(data);
  if (text.includes('"request"') && text.includes('"seed"') && !text.includes('"aside"')) {
    window.acganSent++;
    window.waiting++;
  }
  return send.call(this, data);
};
new MutationObserver(changes => {
  window.waiting -= changes.filter(({target}) => target.matches('.acgan:not(.scrubber)')).length;
}).observe(document, {subtree: true, attributes: true, attributeFilter: ['data-shown']});"""


@contextmanager
def running_lab(home: Path, theme: str = "JupyterLab Light") -> Iterator[str]:
    """The address of a Lab with all its files in ``home``, which asks no other host anything."""
    notebook = nbformat.v4.new_notebook(
        cells=[nbformat.v4.new_code_cell(source) for source in CELLS],
        metadata={"kernelspec": {"name": "python3", "display_name": "Python 3"}},
    )
    (home / "root").mkdir()
    nbformat.write(notebook, home / "root" / "widgets.ipynb")
    shutil.copy(CHAPTER, home / "root")
    settings = home / "settings" / "@jupyterlab" / "apputils-extension"
    settings.mkdir(parents=True)
    (settings / "notification.jupyterlab-settings").write_text(
        json.dumps({"fetchNews": "false", "checkForUpdates": False})
    )
    (settings / "themes.jupyterlab-settings").write_text(json.dumps({"theme": theme}))
    token = secrets.token_hex(16)
    command = [
        *(sys.executable, "-m", "jupyterlab", "--no-browser", "--port=0", "--ip=127.0.0.1"),
        f"--IdentityProvider.token={token}",
        f"--ServerApp.root_dir={home / 'root'}",
        "--ServerApp.allow_root=True",
        "--LabApp.expose_app_in_browser=True",
        "--LabApp.extension_manager=readonly",
        "--LabApp.news_url=None",
        "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
    ]
    environment = {
        **os.environ,
        "JUPYTER_CONFIG_DIR": str(home / "config"),
        "JUPYTER_DATA_DIR": str(home / "data"),
        "JUPYTER_RUNTIME_DIR": str(home / "runtime"),
        "JUPYTERLAB_SETTINGS_DIR": str(home / "settings"),
        "JUPYTERLAB_WORKSPACES_DIR": str(home / "workspaces"),
        "IPYTHONDIR": str(home / "ipython"),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        "OMP_NUM_THREADS": "1",
    }
    with (home / "log").open("wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield f"{_address(server, home)}lab/tree/widgets.ipynb?token={token}"
        finally:
            server.terminate()  # Lab ends its kernels on this
            try:
                server.wait(30)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def _address(server: subprocess.Popen[bytes], home: Path) -> str:
    """Wait for the server's own note of where it listens."""
    until = time.monotonic() + SLOW / 1000
    while time.monotonic() < until and server.poll() is None:
        for note in (home / "runtime").glob("jpserver-*.json"):
            try:
                return str(json.loads(note.read_text())["url"])
            except ValueError:
                pass  # still being written
        time.sleep(0.2)
    pytest.fail(f"JupyterLab did not start:\n{(home / 'log').read_text()[-3000:]}")


@contextmanager
def awake(browser: Browser, address: str, **viewport: int) -> Iterator[Page]:
    """The notebook, opened and run, with all its widgets awake."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000, **viewport})
    page.set_default_timeout(SLOW)
    page.add_init_script(COUNT)
    page.goto(address)
    page.wait_for_selector(".jp-Notebook .jp-Cell")
    page.wait_for_function(
        "() => window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
    )
    page.evaluate("() => jupyterapp.commands.execute('notebook:run-all-cells')")
    for kind in START:
        page.wait_for_selector(f".acgan.{kind}:not(.asleep)")
    page.wait_for_selector(".acgan.scrubber canvas")
    yield page
    page.close()


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_lab(tmp_path_factory.mktemp("lab")) as address:
        yield address


@pytest.fixture(scope="module")
def page(browser: Browser, lab: str) -> Iterator[Page]:
    with awake(browser, lab) as page:
        yield page


@pytest.fixture(scope="module")
def G() -> nets.Generator:
    """The notebook's generator, built a second time."""
    scope: dict[str, Any] = {}
    threads = torch.get_num_threads()
    exec(SETUP, scope)
    torch.set_num_threads(threads)
    return scope["G"]


@pytest.fixture
def explorer(page: Page) -> Locator:
    return fresh(page, "explorer")


@pytest.fixture
def swap(page: Page) -> Locator:
    return fresh(page, "swap")


@pytest.fixture
def mix(page: Page) -> Locator:
    return fresh(page, "mix")


def fresh(page: Page, kind: str) -> Locator:
    """A widget at its start, in view."""
    widget = page.locator(f".acgan.{kind}")
    widget.scroll_into_view_if_needed()
    widget.get_by_role("button", name="Reset").click()
    settle(widget, START[kind])
    return widget


def settle(widget: Locator, request: dict[str, Any]) -> None:
    """Wait until the widget shows the picture of just this request, and no other is on its way.

    A drag may pass the place where it ends: without the second condition the frame of the way
    could be read for the last one.
    """
    widget.page.wait_for_function(
        """([node, wanted]) => {
            const shown = JSON.parse(node.dataset.shown ?? '{}');
            return waiting === 0 && Object.entries(wanted).every(
                ([key, value]) => JSON.stringify(shown[key]) === JSON.stringify(value));
        }""",
        arg=[widget.element_handle(), request],
    )


def read(canvas: Locator) -> Tensor:
    """A canvas's pixels, (H, W) in 0..255; grey pictures, so red is as good as any."""
    height, width, red = canvas.evaluate(READ)
    return torch.tensor(red).view(height, width)


def assert_shows(canvas: Locator, image: Tensor) -> None:
    """The canvas holds this image (1, H, W) in [-1, 1], within one of 256 levels."""
    expected = (image[0] + 1) * 127.5
    assert expected.std() > 10, "a flat picture would prove nothing"
    assert (read(canvas) - expected).abs().max() <= 1


def z_of(G: nets.Generator, seed: int, coords: list[float]) -> Tensor:
    z = seeded(seed, G.latent_dim)[None]
    if coords:
        z = z + torch.tensor(coords) @ principal_directions(G, len(coords))
    return z


def picture(G: nets.Generator, seed: int, coords: list[float], label: int) -> Tensor:
    return latent.generate(G, z_of(G, seed, coords), torch.tensor([label]))[0]


def drag(slider: Locator, to: float) -> float:
    """Drag a slider's thumb with the mouse to this share of its length; return its value."""
    box = slider.bounding_box()
    assert box is not None
    low, high, value = (
        float(slider.evaluate(f"n => n.{name}")) for name in ("min", "max", "value")
    )
    page, y = slider.page, box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] * (value - low) / (high - low), y)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * (to + 0.1), y, steps=4)
    page.mouse.move(box["x"] + box["width"] * to, y, steps=4)
    page.mouse.up()
    return float(slider.input_value())


def test_explorer_slider_by_mouse_and_arrow_keys(explorer: Locator, G: nets.Generator) -> None:
    canvas = explorer.get_by_role("img")
    start = picture(G, 5, [0.0] * 4, 0)
    assert_shows(canvas, start)

    slider = explorer.get_by_role("slider", name="Direction 3")
    value = drag(slider, 0.8)
    assert value == pytest.approx(2.4, abs=0.6)  # the thumb is some pixels wide
    settle(explorer, {"coords": [0, 0, value, 0]})
    moved = picture(G, 5, [0.0, 0.0, value, 0.0], 0)
    assert (moved - start).abs().max() > 0.1
    assert_shows(canvas, moved)

    # Lab would take these.
    for key in ("ArrowLeft", "ArrowRight", "ArrowRight", "ArrowUp"):
        slider.press(key)
    assert float(slider.input_value()) == pytest.approx(value + 0.2)
    settle(explorer, {"coords": [0, 0, float(slider.input_value()), 0]})
    assert_shows(canvas, picture(G, 5, [0.0, 0.0, value + 0.2, 0.0], 0))
    assert f"direction 3 = {value + 0.2:.1f}" in (canvas.get_attribute("aria-label") or "")
    assert explorer.get_by_text(f"{value + 0.2:.1f}", exact=True).count() == 1


def test_explorer_pad_by_mouse_and_arrow_keys(explorer: Locator, G: nets.Generator) -> None:
    pad = explorer.get_by_role("application")
    box = pad.bounding_box()
    assert box is not None
    mouse = explorer.page.mouse
    mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    mouse.down()
    mouse.move(box["x"] + box["width"] * 3 / 4, box["y"] + box["height"], steps=5)
    mouse.up()
    first, second = (explorer.get_by_role("slider", name=f"Direction {i}") for i in (1, 2))
    x, y = float(first.input_value()), float(second.input_value())
    assert x == pytest.approx(2, abs=0.2)
    assert y == pytest.approx(-4, abs=0.2)  # down the pad is down the direction

    pad.press("ArrowUp")
    pad.press("Shift+ArrowRight")
    coords = [round(x + 1, 1), round(y + 0.2, 1), 0.0, 0.0]
    settle(explorer, {"coords": [*coords[:2], 0, 0]})
    assert_shows(explorer.get_by_role("img"), picture(G, 5, coords, 0))


def test_explorer_class_new_z_pin_and_reset(explorer: Locator, G: nets.Generator) -> None:
    explorer.get_by_label("Class").select_option("Bag")
    settle(explorer, {"label": 2})
    explorer.get_by_role("button", name="Pin and compare").click()
    explorer.get_by_role("button", name="New z").click()
    settle(explorer, {"seed": 6})
    pinned, current = explorer.get_by_role("img").all()
    assert_shows(pinned, picture(G, 5, [0.0] * 4, 2))
    assert_shows(current, picture(G, 6, [0.0] * 4, 2))
    assert (current.get_attribute("aria-label") or "").startswith("Generated image: Bag")

    explorer.get_by_role("button", name="Unpin").click()
    explorer.get_by_role("button", name="Reset").click()
    settle(explorer, START["explorer"])
    assert explorer.get_by_role("img").count() == 1
    assert_shows(explorer.get_by_role("img"), picture(G, 5, [0.0] * 4, 0))


def test_only_the_newest_request_waits(explorer: Locator, G: nets.Generator, page: Page) -> None:
    """100 moves in one breath must not queue 100 frames: the first goes out, then the last."""
    page.evaluate("window.acganSent = 0")
    slider = explorer.get_by_role("slider", name="Direction 4")
    slider.evaluate(
        """node => {
            for (let i = 1; i <= 100; i++) {
                node.value = i / 50;
                node.dispatchEvent(new Event('input'));
            }
        }"""
    )
    settle(explorer, {"coords": [0, 0, 0, 2]})
    assert 1 <= page.evaluate("window.acganSent") <= 3
    assert_shows(explorer.get_by_role("img"), picture(G, 5, [0.0, 0.0, 0.0, 2.0], 0))


def test_swap_slider_moves_every_class(swap: Locator, G: nets.Generator) -> None:
    slider = swap.get_by_role("slider", name="Direction 1")
    value = drag(slider, 0.3)
    slider.press("ArrowRight")
    value = round(value + 0.1, 1)
    settle(swap, {"coords": [value, 0]})
    images = latent.class_swap(G, z_of(G, 5, [value, 0.0]))[0]
    canvases = swap.get_by_role("img").all()
    assert len(canvases) == len(NAMES)
    for canvas, image, name in zip(canvases, images, NAMES, strict=True):
        assert_shows(canvas, image)
        assert name in (canvas.get_attribute("aria-label") or "")


def test_mix_slider_and_menus(mix: Locator, G: nets.Generator) -> None:
    slider = mix.get_by_role("slider", name="Mix")
    t = drag(slider, 0.75)
    assert t == pytest.approx(0.75, abs=0.05)
    slider.press("ArrowLeft")
    t = round(t - 0.01, 2)
    mix.get_by_label("To", exact=True).select_option("Trouser")
    settle(mix, {"t": t, "b": 1})
    weights = torch.tensor([[1, 0, 0], [1 - t, t, 0], [0, 1, 0]])
    images = latent.generate_mixed(G, z_of(G, 5, []).expand(3, -1), weights)
    for canvas, image in zip(mix.get_by_role("img").all(), images, strict=True):
        assert_shows(canvas, image)


def test_scrubber_by_mouse_keys_and_play(page: Page) -> None:
    scrubber = page.locator(".acgan.scrubber")
    scrubber.scroll_into_view_if_needed()
    slider = scrubber.get_by_role("slider", name="Training")
    canvas = scrubber.get_by_role("img")
    pictures = torch.arange(6 * 32 * 32).view(6, 32, 32)

    def assert_step(step: int) -> None:
        cells = read(canvas)
        for i in range(6):
            row, column = 34 * (i // 3), 34 * (i % 3)  # 2 pixels between pictures
            cell = cells[row : row + 32, column : column + 32]
            assert torch.equal(cell, pictures[i] * step % 256)

    page.wait_for_function("n => n.dataset.shown === '2'", arg=scrubber.element_handle())
    assert_step(300)
    slider.press("ArrowLeft")
    assert scrubber.get_by_text("step 20", exact=True).count() == 1
    assert_step(20)
    drag(slider, 0)
    assert_step(1)
    assert canvas.get_attribute("aria-label") == (
        "Samples after step 1 of 300; columns: one, two, three"
    )
    scrubber.get_by_role("button", name="Play").click()
    page.wait_for_function("n => n.dataset.shown === '2'", arg=scrubber.element_handle())
    scrubber.get_by_role("button", name="Play").wait_for()  # it stops at the end by itself
    assert_step(300)


def test_map_by_mouse_and_arrow_keys(page: Page, G: nets.Generator) -> None:
    atlas = fresh(page, "map")
    pad = atlas.get_by_role("application")
    box = pad.bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 10, box["y"] + 10)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2, steps=5)
    page.mouse.up()
    for key in ("ArrowRight", "ArrowUp", "ArrowUp", "Shift+ArrowDown"):  # Lab would take these
        pad.press(key)
    u, v = 0.54, 0.32
    settle(atlas, {"coords": [u, v]})
    a, b, c = (seeded(seed, G.latent_dim) for seed in (5, 6, 7))
    z = a + u * (b - a) + v * (c - (a + b) / 2) / (3**0.5 / 2)
    assert_shows(atlas.get_by_role("img"), latent.generate(G, z[None], torch.tensor([0]))[0])


def test_drift_drives_every_generator(page: Page, G: nets.Generator) -> None:
    beside = fresh(page, "beside")
    beside.get_by_role("button", name="Drift").click()
    page.wait_for_function(
        "node => JSON.parse(node.dataset.shown).coords[0] !== 0", arg=beside.element_handle()
    )
    beside.get_by_role("button", name="Stop").click()
    settle(beside, {"seed": 5})
    x = json.loads(beside.get_attribute("data-shown") or "")["coords"][0]
    assert x != 0
    for canvas in beside.get_by_role("img").all():
        assert_shows(canvas, picture(G, 5, [x], 0))


@pytest.mark.parametrize("width", [328, 622, 760])  # a phone, the book's column, Lab
def test_nothing_sticks_out(page: Page, width: int) -> None:
    sizes = page.evaluate(
        """width => Array.from(document.querySelectorAll('.acgan'), node => {
            node.style.width = `${width}px`;
            const {right} = node.getBoundingClientRect();
            const inner = Array.from(node.querySelectorAll('canvas, input, button, output'));
            const furthest = Math.max(...inner.map(n => n.getBoundingClientRect().right));
            const narrowest = Math.min(...Array.from(node.querySelectorAll('canvas'),
                n => n.getBoundingClientRect().width));
            node.style.width = '';
            return [furthest - right, narrowest];
        })""",
        width,
    )
    assert len(sizes) == 6
    assert all(over <= 0 and narrowest >= 48 for over, narrowest in sizes), sizes


def test_without_a_kernel_a_strip_and_a_reason_stand_in(page: Page, G: nets.Generator) -> None:
    """The front end on a page made from a notebook: nobody answers, so nothing pretends to work."""
    widget = widgets.LatentExplorer(G, seed=5)
    assert page.context.browser is not None
    static = page.context.browser.new_page()
    static.set_content("<script type='application/vnd.jupyter.widget-state+json'>{}</script>")
    static.evaluate(
        """async ({esm, traits}) => {
            const code = URL.createObjectURL(new Blob([esm], {type: 'text/javascript'}));
            const {default: face} = await import(code);
            const model = {get: name => traits[name], send() {}, on() {}, off() {}};
            face.render({model, el: document.body});
        }""",
        {"esm": widget._esm, "traits": {"spec": widget.spec, "still": widget.still}},
    )
    static.wait_for_selector(".acgan .strip canvas")
    assert "no Python kernel" in static.locator(".status").inner_text()
    controls = static.locator("input, select, button").all()
    assert len(controls) == 8
    assert all(control.is_disabled() for control in controls)
    canvases = static.get_by_role("img").all()
    assert len(canvases) == 1 + STRIP
    assert_shows(canvases[0], picture(G, 5, [0.0] * 4, 0))
    assert_shows(canvases[1], picture(G, 5, [-4.0, 0.0, 0.0, 0.0], 0))
    static.close()


def test_a_chapters_prose_is_rendered_whole(page: Page, lab: str) -> None:
    """Lab knows no MyST: a role or a directive would be text, and a solution would lie open."""
    cells = [c.source for c in nbformat.read(CHAPTER, 4).cells if c.cell_type == "markdown"]
    folds, tags = ("\n".join(cells).count(mark) for mark in ("<details>", "\\tag{"))
    assert folds >= 5
    assert tags >= 4
    assert page.context.browser is not None
    reader = page.context.browser.new_page()
    reader.set_default_timeout(SLOW)
    # A workspace of its own: two windows of one workspace would share their tabs.
    reader.goto(lab.replace("lab/tree/widgets", f"lab/workspaces/prose/tree/{CHAPTER.stem}"))
    reader.wait_for_function(
        """([cells, folds, tags]) => {
            const count = what => document.querySelectorAll(`.jp-MarkdownOutput ${what}`).length;
            const texts = [...document.querySelectorAll('.jp-MarkdownOutput')];
            return texts.length === cells && texts.every(text => !text.textContent.includes('$'))
                && count('details') === folds && count('mjx-mlabeledtr') === tags;
        }""",
        arg=[len(cells), folds, tags],
    )
    texts = reader.locator(".jp-MarkdownOutput").evaluate_all(
        """all => all.map(cell => {
            const prose = cell.cloneNode(true);
            prose.querySelectorAll('pre, mjx-container').forEach(part => part.remove());
            return prose.textContent;
        })"""
    )
    raw = re.compile(r"\{[\w:-]+\}|:::|```|\]\(|</?\w+>|\\tag")
    assert [text for text in texts if raw.search(text)] == []
    solutions = reader.locator(".jp-MarkdownOutput details").all()
    for solution in solutions:
        assert solution.get_attribute("open") is None
        assert solution.locator(":scope > :not(summary)").count() > 0
    assert reader.locator(".jp-MarkdownOutput mjx-merror").count() == 0
    reader.close()


def test_no_other_host_was_asked_for_anything(page: Page) -> None:
    hosts = page.evaluate(
        "performance.getEntriesByType('resource').map(entry => new URL(entry.name).host)"
    )
    assert len(hosts) > 10
    assert set(hosts) <= {page.evaluate("location.host"), ""}  # data: has no host
