"""Change the repository's public address everywhere: `make slug SLUG=owner/name`.

The address stands in pyproject.toml, at [project.urls] Repository. This reads it there and
replaces it in the files that link to it: badges, Colab links and install cells, the configuration
of the book, the citation file. Running it twice changes nothing more.
"""

from __future__ import annotations

import os
import re
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Every place where the address may stand; pyproject.toml comes last, because it is what is read.
PLACES = (
    "README.md",
    "CONTRIBUTING.md",
    "CITATION.cff",
    "_config.yml",
    "hubconf.py",
    "acgan_lib/*.py",
    "book/*.md",
    "book/*.ipynb",
    "data/**/*.md",
    "pyproject.toml",
)


def current(root: Path) -> str:
    """Return the address as ``owner/name``, from pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    return str(project["urls"]["Repository"]).removeprefix("https://github.com/")


def rewrite(text: str, old: str, new: str) -> str:
    """Return ``text`` with the address and its pages' address replaced, as whole names only."""
    (old_owner, old_name), (owner, name) = old.split("/"), new.split("/")
    text = re.sub(rf"(?<![\w.-]){re.escape(old)}(?![\w-])", new, text)
    pages = rf"(?<![\w.-]){re.escape(old_owner)}\.github\.io/{re.escape(old_name)}(?![\w-])"
    return re.sub(pages, f"{owner}.github.io/{name}", text)


def change(root: Path, new: str) -> list[Path]:
    """Put ``new`` in place of the present address under ``root``; return the files changed.

    Raises:
        ValueError: ``new`` is not of the form owner/name.
    """
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9-]*/[A-Za-z0-9._-]+", new):
        raise ValueError(f"SLUG must be owner/name, got {new!r}")
    old = current(root)
    changed = []
    for place in PLACES:
        for path in sorted(root.glob(place)):
            before = path.read_text(encoding="utf-8")
            after = rewrite(before, old, new)
            if after != before:
                fresh = path.with_name(path.name + ".new")
                fresh.write_text(after, encoding="utf-8", newline="\n")
                os.replace(fresh, path)
                changed.append(path)
    return changed


def main() -> None:
    """Change the address to the one on the command line, or print the present one."""
    if len(sys.argv) != 2:
        sys.exit(f"the address is {current(ROOT)}; to change it: make slug SLUG=owner/name")
    try:
        changed = change(ROOT, sys.argv[1])
    except ValueError as error:
        sys.exit(str(error))
    print("\n".join(str(path.relative_to(ROOT)) for path in changed) or "nothing to change")


if __name__ == "__main__":
    main()
