"""Small repairs to the pages that Sphinx writes, and what they need; loaded by _config.yml."""

from __future__ import annotations

import base64
import hashlib
import html
import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx

# Nothing comes from another host. Scripts are the site's own files, the few inline ones by their
# hash, and the widgets' module, which anywidget imports from a blob. Typeset formulas and figures
# set styles on elements, so styles may be inline.
POLICY = {
    "default-src": "'none'",
    "script-src": "'self' blob: 'wasm-unsafe-eval'",
    "style-src": "'self' 'unsafe-inline'",
    "img-src": "'self' data: blob:",
    "font-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'self'",
}
HANDLER = re.compile(r'<\w+[^>]*\son\w+="([^"]*)"')
# myst-nb names every folded cell alike, in words that are not the ones on show.
LABELLED_FOLD = '<summary aria-label="Toggle hidden content">'
# A table wider than the screen scrolls in a box, which the keyboard must reach.
TABLE_BOX = '<div class="pst-scrollable-table-container"'
INLINE = re.compile(r"<script(?![^>]*\ssrc=)([^>]*)>(.*?)</script>", re.DOTALL)


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


def export_models(app: Sphinx) -> None:
    """Write the generators that the pages run: some seconds each, unless they are there."""
    if app.builder.format == "html":
        from acgan_lib.widgets.export import export_all

        export_all(Path(app.srcdir) / "book" / "_static" / "models")


def policy(page: str) -> str:
    """Return the content security policy of a page, with a hash for each of its inline scripts."""
    hashes = []
    for attributes, body in INLINE.findall(page):
        kind = re.search(r'type="([^"]*)"', attributes)
        if kind is None or kind[1] in ("module", "text/javascript"):  # others hold data
            hashes.append(digest_of(body))
    for handler in HANDLER.findall(page):  # the theme's buttons for printing and full screen
        hashes += ["'unsafe-hashes'", digest_of(html.unescape(handler))]
    scripts = " ".join([POLICY["script-src"], *dict.fromkeys(hashes)])
    rules = {**POLICY, "script-src": scripts}
    return "; ".join(f"{name} {value}" for name, value in rules.items())


def digest_of(script: str) -> str:
    """Return a script's hash as a policy names it."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def guard_pages(app: Sphinx, exception: Exception | None) -> None:
    """Give each written page its policy, first in its head; folded cells name themselves."""
    if exception is not None or app.builder.format != "html":
        return
    for path in Path(app.outdir).rglob("*.html"):
        page = path.read_text(encoding="utf-8")
        if "<head>" in page and "Content-Security-Policy" not in page:
            rule = f'<meta http-equiv="Content-Security-Policy" content="{policy(page)}">'
            page = page.replace("<head>", f"<head>\n{rule}", 1).replace(LABELLED_FOLD, "<summary>")
            page = page.replace(TABLE_BOX, f'{TABLE_BOX} tabindex="0"')
            path.write_text(page, encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Register the repairs, after every other extension had its say."""
    app.connect("builder-inited", export_models)
    app.connect("html-page-context", drop_repeated_scripts, priority=10_000)
    app.connect("build-finished", guard_pages, priority=10_000)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
