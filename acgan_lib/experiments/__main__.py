"""The one command: ``python -m acgan_lib.experiments NAME``, or ``make train-NAME``.

Each module of a chapter has a small table RUNS of what can be run. A run takes those of the
options that its function has as a parameter.
"""

from __future__ import annotations

import argparse
import inspect
import pkgutil
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module

import torch

from acgan_lib import experiments
from acgan_lib._files import check_writable
from acgan_lib.experiments import _results

Run = Callable[..., None]


def runs() -> dict[str, Run]:
    """Return every experiment by its name, in the order of the chapters.

    Raises:
        ValueError: two modules use one name.
    """
    found: dict[str, Run] = {}
    for module in sorted(m.name for m in pkgutil.iter_modules(experiments.__path__)):
        if module.startswith("ch"):
            new = getattr(import_module(f"acgan_lib.experiments.{module}"), "RUNS", {})
            if twice := found.keys() & new.keys():
                raise ValueError(f"{module} uses names that another module has: {sorted(twice)}")
            found |= new
    return found


def listing(known: dict[str, Run]) -> str:
    """Return a line for each experiment: its name, its chapter and what it does."""
    lines = []
    for name, run in known.items():
        function = run.func if isinstance(run, partial) else run
        chapter = int(function.__module__.split(".")[2][2:4])
        lines.append(f"{name:28}chapter {chapter:2}  {str(function.__doc__).splitlines()[0]}")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one experiment from the command line."""
    known = runs()
    parser = argparse.ArgumentParser(
        prog="python -m acgan_lib.experiments",
        description="Repeat an experiment of the book and record what it measures in data/.",
        epilog="acgan-cifar10 and acgan-imagenet take more options; --grid is one. They are listed "
        "in acgan_lib/experiments/ch17_paper.py.",
    )
    parser.add_argument("name", nargs="?", choices=known, metavar="NAME", help="see --list")
    parser.add_argument("--list", action="store_true", help="print the names and end")
    parser.add_argument("--seed", type=int, nargs="+", help="one or more (0)")
    parser.add_argument("--steps", type=int, help="fewer than the recipe's, to try it out")
    parser.add_argument("--root", help="folder of FashionMNIST, CIFAR-10, ImageNet")
    parser.add_argument("--threads", type=int, help="CPU threads")
    a, options = parser.parse_known_args(arguments)
    if a.list:
        print(listing(known))
        return
    if a.name is None:
        parser.error("NAME is missing; --list prints the names")
    run = known[a.name]
    takes = inspect.signature(run).parameters
    if options and "options" not in takes:
        parser.error(f"unrecognized arguments: {' '.join(options)}")
    given = {"seed": a.seed, "steps": a.steps, "root": a.root, "options": options or None}
    given = {option: value for option, value in given.items() if value is not None}
    if refused := [f"--{option}" for option in given if option not in takes]:
        parser.error(f"{a.name} takes no {' and no '.join(refused)}")
    if a.threads:
        torch.set_num_threads(a.threads)
    if a.steps is None and "options" not in takes:  # a try and the paper's models record nothing
        check_writable(_results.path("").parent)
    for seed in given.pop("seed", [0]) if "seed" in takes else [None]:
        run(**({} if seed is None else {"seed": seed}), **given)


if __name__ == "__main__":
    main()
