"""Serve the built book on this machine: `make read` begins and ends here.

`serve.py --check PORT` only says whether the port can be had, before anything is built.
"""

from __future__ import annotations

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

PAGES = Path(__file__).resolve().parent.parent / "_build" / "html"


class Quiet(SimpleHTTPRequestHandler):
    """A file server that does not print each request."""

    def log_message(self, format: str, *args: object) -> None:
        """Print nothing: the address is all that a reader needs to see."""


def server(port: int) -> ThreadingHTTPServer:
    """Return a server of the built pages on localhost; port 0 takes any free one."""
    return ThreadingHTTPServer(("127.0.0.1", port), partial(Quiet, directory=str(PAGES)))


def numbered(text: str) -> int:
    """Return a port's number, or stop with one line."""
    if not text.isdecimal() or not 0 < int(text) < 2**16:
        sys.exit(f"PORT must be a number from 1 to 65535, not {text}: run `make read PORT=8000`")
    return int(text)


def main() -> None:
    """Serve until Ctrl-C."""
    port = numbered(sys.argv[-1] if len(sys.argv) > 1 else "8000")
    try:
        pages = server(port)
    except OSError:
        sys.exit(f"port {port} is taken: run `make read PORT={port % 65_535 + 1}`")
    with pages:
        if "--check" in sys.argv:
            return
        print(f"The book is at http://localhost:{port}/ (Ctrl-C stops it)", flush=True)
        try:
            pages.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
