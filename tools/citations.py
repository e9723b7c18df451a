"""How a page cites: ``[Odena et al. (2017)](https://arxiv.org/abs/1610.09585)``, by references.bib.

A citation is a Markdown link, so that it reads the same in Colab, in JupyterLab and in the book.
``python tools/citations.py odena2017acgan`` prints an entry's two forms, ready to be pasted.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import NamedTuple
from urllib.parse import quote

from pybtex.database import Entry, Person, parse_file

BIB = Path(__file__).resolve().parent.parent / "book" / "references.bib"
PAGE = "references.md"  # where a source without an address is found


class Reference(NamedTuple):
    """What a citation shows of an entry: its names, its year and where the link leads."""

    names: str
    year: str
    address: str

    @property
    def in_text(self) -> str:
        """The citation as a part of the sentence: ``[Odena et al. (2017)](...)``."""
        return f"[{self.names} ({self.year})]({self.address})"

    @property
    def in_brackets(self) -> str:
        """The citation for use within round brackets: ``[Odena et al., 2017](...)``."""
        return f"[{self.names}, {self.year}]({self.address})"


def read(path: Path = BIB) -> dict[str, Reference]:
    """Return the references of a BibTeX file by key, in the file's order.

    Raises:
        ValueError: an entry has no author or no year.
    """
    found = {}
    for key, entry in parse_file(path).entries.items():
        if not entry.persons.get("author") or "year" not in entry.fields:
            raise ValueError(f"{path.name}: {key} needs an author and a year")
        found[key] = Reference(names(entry), entry.fields["year"], address(entry))
    return found


def names(entry: Entry) -> str:
    """Return one or two authors' family names, or the first and "et al."."""
    first, *others = map(family_name, entry.persons["author"])
    return first + (f" and {others[0]}" if len(others) == 1 else " et al." if others else "")


def family_name(person: Person) -> str:
    """Return a family name with its particles, LaTeX's accents as letters."""
    return " ".join(map(str, person.rich_prelast_names + person.rich_last_names))


def address(entry: Entry) -> str:
    """Return where an entry can be read: its url, its DOI, its eprint, else the book's own list."""
    if "url" in entry.fields:
        return str(entry.fields["url"])
    if "doi" in entry.fields:
        return f"https://doi.org/{quote(entry.fields['doi'])}"  # a bracket would end the link
    if "eprint" in entry.fields:
        return f"https://arxiv.org/abs/{entry.fields['eprint']}"
    return PAGE


def main() -> None:
    """Print both forms of the entries named on the command line."""
    references = read()
    for key in sys.argv[1:]:
        if key not in references:
            sys.exit(f"{BIB.name} has no {key!r}")
        print(references[key].in_text, references[key].in_brackets, sep="\n")


if __name__ == "__main__":
    main()
