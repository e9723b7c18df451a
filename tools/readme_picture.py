"""Take README.md's picture: the first page's explorer, awake, in the built book (`make book`)."""

import os
import threading
from pathlib import Path

import preflight
import serve
from playwright.sync_api import sync_playwright

PICTURE = Path(__file__).resolve().parent.parent / "book" / "_static" / "readme.png"
# A permalink wakes the page's own engine, and says what the picture shows.
PLACE = "book/index.html#z=0&c=1.5,0,0,-1,0"


def main() -> None:
    """Open the page, wait for the pictures of the link, keep the widget as a PNG."""
    with serve.server(0) as server, sync_playwright() as driver:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        flags = ["--no-sandbox", "--disable-gpu"]
        chromium = driver.chromium.launch(executable_path=preflight.chromium(), args=flags)
        page = chromium.new_page(device_scale_factor=2, color_scheme="light")
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/{PLACE}")
        widget = page.locator(".acgan[data-shown]").first
        widget.wait_for(timeout=120_000)
        page.wait_for_timeout(1_000)  # the words follow the pictures
        temporary = PICTURE.with_suffix(".tmp.png")
        widget.screenshot(path=temporary)
        os.replace(temporary, PICTURE)
        chromium.close()
        server.shutdown()


if __name__ == "__main__":
    main()
