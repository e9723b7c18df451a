"""Name what `make test` needs and pip cannot install, in one line each; used by the tests too."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

# Debian's headless shell comes first: it starts in a fifth of Chromium's time, and its pages take
# one process each instead of two. The others draw the same pages.
_NAMES = (
    "chromium-headless-shell",
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "chrome",
)
_PLACES = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    "C:/Program Files/Google/Chrome/Application/chrome.exe",
    "C:/Program Files (x86)/Google/Chrome/Application/chrome.exe",
)
NO_CHROMIUM = (
    "needed: Chromium or Chrome, for the browser tests. Install it with: apt-get install "
    "chromium-headless-shell (or set CHROMIUM to such a program)"
)
# What Chromium is started with: headless, and it asks no other host anything by itself.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
NO_GIT = "needed: git, for the tests of what is committed. Install it with: apt-get install git"


def chromium() -> str:
    """Return the path of a Chromium or Chrome program.

    The environment's ``CHROMIUM`` comes first, then the usual names and places.

    Raises:
        FileNotFoundError: there is none; the message names the command that installs it.
    """
    named = os.environ.get("CHROMIUM")
    if named:
        if found := shutil.which(named):
            return found
        raise FileNotFoundError(f"CHROMIUM is set to {named}, which is no program. {NO_CHROMIUM}")
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    for place in _PLACES:
        if Path(place).is_file():
            return place
    raise FileNotFoundError(NO_CHROMIUM)


def main() -> None:
    """Stop with one line for each missing program."""
    missing = []
    try:
        chromium()
    except FileNotFoundError as error:
        missing.append(str(error))
    if not shutil.which("git"):
        missing.append(NO_GIT)
    if missing:
        sys.exit("\n".join(missing))


if __name__ == "__main__":
    main()
