"""Small repairs to the pages that Sphinx writes; loaded by _config.yml."""

from __future__ import annotations

from typing import Any

from sphinx.application import Sphinx


def drop_repeated_scripts(
    app: Sphinx, pagename: str, templatename: str, context: dict[str, Any], doctree: Any
) -> None:
    """Keep the first of equal scripts: an inline `const` that comes twice is a page error."""
    kept: list[Any] = []
    seen: set[str] = set()
    for script in context.get("script_files", ()):
        # An inline script has a body and no filename.
        key = script.attributes.get("body") or str(script.filename)
        if key not in seen:
            seen.add(key)
            kept.append(script)
    if "script_files" in context:
        context["script_files"] = kept


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the repairs, after every other extension had its say."""
    app.connect("html-page-context", drop_repeated_scripts, priority=10_000)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
