"""Create .venv, once: `make .venv` runs this with the machine's own Python.

Standard library only. uv installs every version that requirements.txt pins, with its hash; then
the library is installed editable and the pages' JavaScript is fetched. A stamp inside .venv makes
a second run instant and offline.
"""

import hashlib
import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
BIN = VENV / ("Scripts" if os.name == "nt" else "bin")
PYTHON = BIN / ("python.exe" if os.name == "nt" else "python")
STAMP = VENV / "acgan-book.stamp"
INPUTS = ("requirements.txt", "pyproject.toml", "package-lock.json", "tools/vendor.py")


def need(what, command):
    """Stop with one line that says what is missing and the command that installs it."""
    sys.exit("needed: %s. Install it with: %s" % (what, command))


def check_machine():
    """Name what pip cannot install."""
    if sys.version_info < (3, 11):
        need(
            "Python 3.11 or newer (this is %d.%d)" % sys.version_info[:2],
            "apt-get install python3.11 python3.11-venv, then make PYTHON=python3.11",
        )
    if importlib.util.find_spec("ensurepip") is None and not PYTHON.exists():
        need("Python's venv module", "apt-get install python3-venv")
    if sys.platform == "linux" and not has_library("libstdc++.so.6"):
        need("the C++ library (torch and Node use it)", "apt-get install libstdc++6")


def has_library(name):
    """Return whether the dynamic loader finds a library."""
    import ctypes

    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def stamp():
    """Return a hash of everything that the environment is made from."""
    digest = hashlib.sha256(str(ROOT).encode())
    for name in INPUTS:
        digest.update((ROOT / name).read_bytes())
    return digest.hexdigest()


def works():
    """Return whether .venv has a Python that starts and is new enough."""
    if not PYTHON.exists():
        return False
    check = "import sys; sys.exit(sys.version_info < (3, 11))"
    return subprocess.call([str(PYTHON), "-c", check]) == 0


def run(*command):
    """Run one step; stop when it fails."""
    done = subprocess.call([str(part) for part in command], cwd=str(ROOT))
    if done != 0:
        sys.exit("set-up stopped: %s failed" % command[0])


def pinned_uv():
    """Return requirements.txt's own lines for uv: its version and its hashes."""
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    start = next(i for i, line in enumerate(lines) if line.startswith("uv=="))
    block = [lines[start]]
    while block[-1].endswith("\\"):
        block.append(lines[start + len(block)])
    return "\n".join(block) + "\n"


def install_uv():
    """Install the pinned uv with pip, checked against its hash."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "uv.txt"
        wanted.write_text(pinned_uv())
        run(PYTHON, "-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r", wanted)


def main():
    """Create or update .venv, or return at once when it is up to date."""
    if STAMP.is_file() and STAMP.read_text() == stamp() and PYTHON.exists():
        return
    check_machine()
    if not works():
        print("creating .venv", flush=True)
        shutil.rmtree(str(VENV), ignore_errors=True)
        run(sys.executable, "-m", "venv", VENV)
    install_uv()
    uv = (PYTHON, "-m", "uv", "pip", "install", "-q", "--python", PYTHON)
    print("installing the versions of requirements.txt (about 5 GB on Linux)", flush=True)
    run(*uv, "--require-hashes", "-r", "requirements.txt")
    run(*uv, "--no-deps", "--no-build-isolation", "-e", ".")
    run(PYTHON, "tools/vendor.py")
    STAMP.write_text(stamp())


if __name__ == "__main__":
    main()
