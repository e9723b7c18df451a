"""Below each cell that writes out a part of the library: a link to that part in the reference."""

from __future__ import annotations

from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.application import Sphinx


def link_cells(app: Sphinx, doctree: nodes.document) -> None:
    """Put a line under the code of cells tagged ``lib:module.name``; `-n` checks that it leads on.

    The reference has no entry for a name that begins with an underscore: its module's it is then.
    """
    for cell in list(doctree.findall(nodes.container)):
        tags = cell.get("cell_metadata", {}).get("tags", [])
        names = [tag.removeprefix("lib:") for tag in tags if tag.startswith("lib:")]
        if not names:
            continue
        line = nodes.paragraph("", "In the library: ", classes=["in-the-library"])
        for place, name in enumerate(names):
            module, _, last = name.rpartition(".")
            private = last.startswith("_")
            link = pending_xref(
                "",
                nodes.literal("", f"acgan_lib.{name}"),
                refdomain="py",
                reftype="mod" if private else "obj",
                reftarget=f"acgan_lib.{module if private else name}",
                refexplicit=True,
                refwarn=True,
            )
            line += [nodes.Text(", "), link] if place else [link]
        cell.insert(1, line)


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the links, before Sphinx resolves references."""
    app.connect("doctree-read", link_cells)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
