"""The widgets' browser engine alone on a page in headless Chromium, for tests and timings."""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any

import preflight
from playwright.sync_api import Page, sync_playwright
from serve import Quiet

ROOT = Path(__file__).resolve().parent.parent
START = """async () => {
    window.engines = await import("./front/engines.js");
    window.ui = await import("./front/ui.js");
}"""
# Milliseconds of each of n frames of one request: its z, G in wasm, the bytes, the canvases.
TIMED = """async ({spec, request, n}) => {
    const engine = engines.browserEngine(spec, () => {});
    const first = await engine.render(request);
    const pictures = Array.from({length: first.n}, () => ui.picture(spec.size));
    const times = [];
    for (let i = 0; i < n + 5; i++) {
        request.coords = request.coords.map((_, k) => Math.sin(i + k));
        const start = performance.now();
        const frame = await engine.render(request);
        pictures.forEach((picture, k) => picture.draw(frame, k));
        times.push(performance.now() - start);
    }
    return times.slice(5);
}"""


@contextmanager
def engine_page(*folders: Path) -> Iterator[Page]:
    """Open a page that has front/engines.js as ``engines`` and every model of the folders."""
    with tempfile.TemporaryDirectory() as name:
        site = Path(name)
        shutil.copytree(ROOT / "acgan_lib" / "widgets" / "front", site / "front")
        vendored = ROOT / "book" / "_static" / "vendor" / "ort"
        shutil.copytree(vendored, site / "_static" / "vendor" / "ort")
        (site / "_static" / "models").mkdir()
        for file in (file for folder in folders for file in folder.glob("*.onnx")):
            shutil.copy2(file, site / "_static" / "models")
        (site / "index.html").write_text("<!doctype html><title>engine</title>")
        handler = partial(Quiet, directory=str(site))
        with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server, sync_playwright() as driver:
            threading.Thread(target=server.serve_forever, daemon=True).start()
            chromium = driver.chromium.launch(
                executable_path=preflight.chromium(), args=["--no-sandbox", "--disable-gpu"]
            )
            page = chromium.new_page()
            page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
            page.evaluate(START)
            yield page
            chromium.close()
            server.shutdown()


def frame_times(page: Page, spec: dict[str, Any], n: int = 100) -> list[float]:
    """Return the milliseconds of n frames of a widget with this spec, each at another place."""
    request = {**spec["start"], "coords": [*spec["start"]["coords"]]}
    times: list[float] = page.evaluate(TIMED, {"spec": spec, "request": request, "n": n})
    return times
