"""Run chapters from the top and store their outputs and widget states: `make execute`.

The kernel runs in book/, as in `pytest --nbval book/` and in JupyterLab. What would differ from
run to run or from machine to machine (timings, the Python patch version, kernel names) is left
out of the file, and the file is replaced only when the whole chapter ran without an error.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from pathlib import Path

import nbformat
from nbclient import NotebookClient

BOOK = Path(__file__).resolve().parent.parent / "book"
WIDGETS = "application/vnd.jupyter.widget-state+json"


def chapters(names: list[str]) -> list[Path]:
    """Return the named chapters' paths, or those of all and of the first page; stems will do."""
    if not names:
        return sorted(BOOK.glob("*.ipynb"))
    paths = [BOOK / f"{Path(name).stem}.ipynb" for name in names]
    for path in paths:
        if not path.is_file():
            raise SystemExit(f"no such chapter: {path.name}")
    return paths


def normalise(notebook: nbformat.NotebookNode) -> None:
    """Keep in the metadata what a reader's Jupyter needs, and nothing of this machine."""
    kept = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    widgets = notebook.metadata.get("widgets")
    if widgets and widgets.get(WIDGETS, {}).get("state"):
        # Sorted by id, so that a run that changes nothing else reorders nothing either.
        widgets[WIDGETS]["state"] = dict(sorted(widgets[WIDGETS]["state"].items()))
        kept["widgets"] = widgets
    notebook.metadata = nbformat.from_dict(kept)
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            output.get("metadata", {}).pop("execution", None)


def execute(path: Path) -> float:
    """Run one chapter and write it back; return the seconds it took.

    Raises:
        CellExecutionError: a cell failed; the file is left as it was.
    """
    notebook = nbformat.read(path, as_version=4)
    start = time.perf_counter()
    NotebookClient(
        notebook,
        kernel_name="python3",
        timeout=600,
        record_timing=False,
        store_widget_state=True,
        resources={"metadata": {"path": str(BOOK)}},
    ).execute()
    seconds = time.perf_counter() - start
    normalise(notebook)
    write(path, notebook)
    return seconds


def refresh(path: Path) -> int:
    """Give a chapter's stored widgets the library's present scripts and styles, running nothing.

    Enough when only ``acgan_lib/widgets/front/`` changed. Returns how many texts were replaced.
    """
    notebook = nbformat.read(path, as_version=4)
    count = 0
    for widget in notebook.metadata.get("widgets", {}).get(WIDGETS, {}).get("state", {}).values():
        module, _, name = widget["state"].get("_anywidget_id", "").rpartition(".")
        if not module.startswith("acgan_lib."):
            continue
        face = getattr(importlib.import_module(module), name)
        for part in ("_esm", "_css"):
            count += widget["state"][part] != getattr(face, part)
            widget["state"][part] = getattr(face, part)
    if count:
        write(path, notebook)
    return count


def write(path: Path, notebook: nbformat.NotebookNode) -> None:
    """Replace a chapter's file in one step."""
    fresh = path.with_suffix(".ipynb.new")
    nbformat.write(notebook, fresh)
    os.replace(fresh, path)


def main() -> None:
    """Run the chapters named on the command line, or all; --front only refreshes their widgets."""
    front = "--front" in sys.argv[1:]
    for path in chapters([name for name in sys.argv[1:] if name != "--front"]):
        done = f"{refresh(path)} texts" if front else f"{execute(path):.0f} s"
        print(f"{path.name}: {done}", flush=True)


if __name__ == "__main__":
    main()
