"""Run tasks that can be killed: in turn, on this machine's cores, or on a cluster.

One call, `run_tasks`, whatever the place. A task is a function that keeps its own progress on the
disk and goes on from there when it is called again; `acgan_lib.train.fit` with a ``run_dir`` is
one. Then a killed worker costs the steps since its last checkpoint, a killed driver costs nothing
but a second call, and one task's error does not stop the others.

With ``workers`` or an ``address`` the tasks run on Ray (``pip install acgan-lib[scale]``), which is
imported only then.
"""

from __future__ import annotations

import os
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TextIO, TypeVar

from tqdm import tqdm

T = TypeVar("T")
Report = Callable[[int, int], None]  # called by a task: steps done, steps in all
Task = Callable[[Report], T]

REPORT_EVERY = 0.25  # seconds between two reports of one task to the board
LOOK_EVERY = 0.5  # seconds between two looks of the driver at the board
STARTS = 3  # of Ray, where its own processes come up too slowly
# Ray turns 127.0.0.1 into the machine's outside address on Linux. This one it leaves alone, and
# it is as closed to other machines.
LOOPBACK = "127.0.0.2" if sys.platform == "linux" else "127.0.0.1"


class TasksFailedError(RuntimeError):
    """Some tasks raised. ``errors`` has each one's traceback, ``results`` what the others gave."""

    def __init__(self, errors: Mapping[str, str], results: Mapping[str, Any]) -> None:
        self.errors, self.results = dict(errors), dict(results)
        last = [f"{name}: {text.strip().splitlines()[-1]}" for name, text in errors.items()]
        super().__init__(
            f"{len(errors)} of {len(errors) + len(results)} tasks failed; the others' work is "
            f"kept, and the same call does the rest. {'; '.join(last)}"
        )


@dataclass
class Line:
    """Where one task is: its state, its steps, and how often it was started."""

    state: str = "waiting"
    done: int = 0
    total: int = 0
    starts: int = 0


@dataclass
class Board:
    """Where all tasks are. With Ray it lives in a process of its own, to which workers report."""

    names: tuple[str, ...]
    lines: dict[str, Line] = field(init=False)

    def __post_init__(self) -> None:
        self.lines = {name: Line() for name in self.names}

    def start(self, name: str) -> None:
        """Note that a task begins, or begins again."""
        self.lines[name].state = "running"
        self.lines[name].starts += 1

    def report(self, name: str, done: int, total: int) -> None:
        """Note a task's steps."""
        self.lines[name].done, self.lines[name].total = done, total

    def end(self, name: str, state: str) -> None:
        """Note that a task is "done" or has "failed"."""
        self.lines[name].state = state

    def copy(self) -> dict[str, Line]:
        """Return the lines, by the tasks' names."""
        return self.lines


def summary(line: Line) -> str:
    """Return a task's state in words, as ``running, start 2``."""
    return f"{line.state}, start {line.starts}" if line.starts > 1 else line.state


class _Look(Protocol):
    def __call__(self, lines: Mapping[str, Line]) -> None: ...


def run_tasks(
    tasks: Mapping[str, Task[T]],
    *,
    workers: int = 0,
    address: str | None = None,
    retries: int = 3,
    cpus: float = 1,
    gpus: float = 0,
    threads: int = 1,
    progress: bool = True,
) -> dict[str, T]:
    """Run every task once to its end and return the results by name, in the order given.

    Args:
        tasks: functions of one argument, ``report(done, total)``, which they may call as often as
            they like. Each must go on from where it was when it is called a second time. With
            Ray, a task and its result travel between processes, so they must be picklable
            (closures are), and what it keeps must lie on a disk that every machine sees.
        workers: 0 runs the tasks in turn in this process, without Ray; more runs as many at once,
            each in a process of its own on this machine.
        address: of a running Ray cluster ("auto" finds the one that ``ray start`` has begun on
            this machine); instead of ``workers``.
        retries: how often a task whose worker process dies is started again. An exception is not
            retried: it would come again.
        cpus, gpus: what Ray sets aside for a task; a GPU may be shared (0.25).
        threads: of torch in each task, also in turn, so that sums come out alike wherever a task
            runs.
        progress: show where all tasks are: bars on a terminal, else a line for each that ends.

    Raises:
        TasksFailedError: after all have ended, if any raised. It names them.
        ModuleNotFoundError: if Ray is asked for and not installed.
        ValueError: if an argument makes no sense.
    """
    if not tasks or workers < 0 or retries < 0 or threads < 1:
        raise ValueError(
            f"need at least one task, workers >= 0, retries >= 0 and threads >= 1, got "
            f"{len(tasks)} tasks, workers={workers}, retries={retries}, threads={threads}"
        )
    if workers and address is not None:
        raise ValueError("workers is for this machine alone: leave it out when you give an address")
    view = _View(sys.stderr if sys.stderr.isatty() else sys.stdout)
    look: _Look = view if progress else _blind
    try:
        if not workers and address is None:
            results, errors = _in_turn(tasks, threads, look)
        else:
            needs = {"num_cpus": cpus, "num_gpus": gpus, "max_retries": retries}
            results, errors = _on_ray(tasks, workers, address, needs, threads, look)
    finally:
        view.close()
    if errors:
        raise TasksFailedError(errors, results)
    return {name: results[name] for name in tasks}


def _blind(lines: Mapping[str, Line]) -> None:
    """Show nothing."""


class _View:
    """Shows the board: on a terminal a bar for each task, else a line for each that ends."""

    def __init__(self, stream: TextIO) -> None:
        self.stream = stream
        self.bars: dict[str, tqdm[None]] = {}
        self.ended: set[str] = set()

    def __call__(self, lines: Mapping[str, Line]) -> None:
        for name, line in lines.items():
            if self.stream.isatty():
                self._redraw(name, line)
            elif line.state in ("done", "failed") and name not in self.ended:
                self.ended.add(name)
                print(f"{name}: {summary(line)}, {line.done:,}/{line.total:,}", file=self.stream)
        self.stream.flush()

    def _redraw(self, name: str, line: Line) -> None:
        if name not in self.bars:
            self.bars[name] = tqdm(
                desc=name, total=line.total, unit="step", file=self.stream, position=len(self.bars)
            )
        bar = self.bars[name]
        bar.total, bar.n = line.total or None, line.done
        bar.set_postfix_str(summary(line), refresh=False)
        bar.refresh()

    def close(self) -> None:
        """Leave the bars as they are, and the cursor below them."""
        for bar in self.bars.values():
            bar.close()


def _in_turn(
    tasks: Mapping[str, Task[T]], threads: int, look: _Look
) -> tuple[dict[str, T], dict[str, str]]:
    """Run the tasks one after another in this process."""
    board = Board(tuple(tasks))
    results: dict[str, T] = {}
    errors: dict[str, str] = {}
    for name, task in tasks.items():
        board.start(name)
        look(board.lines)

        try:
            results[name] = call(task, partial(_report_here, board, _seldom(look), name), threads)
        except Exception:
            errors[name] = traceback.format_exc()
        board.end(name, "failed" if name in errors else "done")
        look(board.lines)
    return results, errors


def _report_here(board: Board, look: _Look, name: str, done: int, total: int) -> None:
    board.report(name, done, total)
    look(board.lines)


def call(task: Task[T], report: Report, threads: int) -> T:
    """Call a task with that many of torch's threads, and give the process its own number back."""
    import torch  # here, so that the board's process does not load it

    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return task(report)
    finally:
        torch.set_num_threads(before)


def _seldom(function: Callable[..., None]) -> Callable[..., None]:
    """Return the function with calls left out that come too soon after the one before."""
    last = -REPORT_EVERY

    def now_and_then(*arguments: Any) -> None:
        nonlocal last
        if time.monotonic() - last >= REPORT_EVERY:
            last = time.monotonic()
            function(*arguments)

    return now_and_then


def _on_ray(
    tasks: Mapping[str, Task[T]],
    workers: int,
    address: str | None,
    needs: Mapping[str, float],
    threads: int,
    look: _Look,
) -> tuple[dict[str, T], dict[str, str]]:
    """Run the tasks on Ray; start it, and stop it again, unless it runs already."""
    ray = _ray()
    begun = not ray.is_initialized()
    if begun:
        _begin(ray, workers, address)
    try:
        board = ray.remote(num_cpus=0)(Board).remote(tuple(tasks))
        run = ray.remote(**needs)(_remote_task)
        waiting = {run.remote(name, task, threads, board): name for name, task in tasks.items()}
        results: dict[str, T] = {}
        errors: dict[str, str] = {}
        while waiting:
            ended, _ = ray.wait(list(waiting), num_returns=1, timeout=LOOK_EVERY)
            for reference in ended:
                name = waiting.pop(reference)
                try:
                    results[name] = ray.get(reference)
                except Exception as error:  # the task's own, or its worker died too often
                    errors[name] = str(error)
                board.end.remote(name, "failed" if name in errors else "done")
            look(ray.get(board.copy.remote()))
        return results, errors
    finally:
        if begun:
            ray.shutdown()


def _remote_task(name: str, task: Task[T], threads: int, board: Any) -> T:
    """Run one task in a worker process, which reports to the board."""
    board.start.remote(name)
    tell = _seldom(board.report.remote)

    def report(done: int, total: int) -> None:
        (board.report.remote if done == total else tell)(name, done, total)

    return call(task, report, threads)


def _ray() -> Any:
    # Both are read at Ray's import: nothing is sent anywhere, and a task without a GPU of its own
    # sees none (the behaviour that Ray announces for its next versions).
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    try:
        import ray
    except ImportError as error:
        raise ModuleNotFoundError(
            "several workers need Ray: pip install 'acgan-lib[scale]', or leave out workers and "
            "address to run the tasks in turn"
        ) from error
    return ray


def _begin(ray: Any, workers: int, address: str | None) -> None:
    """Start Ray on this machine, closed to all others, or join the cluster at ``address``.

    Ray gives up where its own processes take longer than 15 seconds to import what they need, on a
    busy machine or from a cold disk (https://github.com/ray-project/ray/issues/65983). So it is
    started again; then their files are in memory.
    """
    quiet = {"logging_level": "ERROR", "log_to_driver": False}
    if address is not None:
        ray.init(address=address, **quiet)
        return
    for left in reversed(range(STARTS)):
        try:
            ray.init(
                num_cpus=workers,
                include_dashboard=False,
                _node_ip_address=LOOPBACK,
                object_store_memory=500_000_000,  # the tasks' data; what is over goes to the disk
                **quiet,
            )
            return
        except Exception as error:
            if not left or "timed out during startup" not in str(error):
                raise
