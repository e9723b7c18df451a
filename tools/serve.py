"""Serve the built book on this machine: `make read` ends here."""

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


def main() -> None:
    """Serve until Ctrl-C."""
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    try:
        pages = server(port)
    except OSError:
        sys.exit(f"port {port} is taken: run `make read PORT={port + 1}`")
    with pages:
        print(f"The book is at http://localhost:{port}/ (Ctrl-C stops it)", flush=True)
        try:
            pages.serve_forever()
        except KeyboardInterrupt:
            print()


if __name__ == "__main__":
    main()
