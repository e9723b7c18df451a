"""Members behind one call, and an engine whose workers and drivers are killed: real processes.

Ray is started once for this file, on this machine alone. Every kill is a SIGKILL.
"""

from __future__ import annotations

import io
import itertools
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import Tensor

from acgan_lib import zoo
from acgan_lib.data import LabelledImages
from acgan_lib.glyphs import glyphs
from acgan_lib.scale import engine, splits
from acgan_lib.train import TrainConfig

GROUPS = [[0, 2], [1, 3]]
STEPS = 12  # of a member
CONFIG = TrainConfig(batch_size=4, log_every=2, checkpoint_every=2, progress=False)
POSIX = pytest.mark.skipif(os.name == "nt", reason="SIGKILL, as on Linux and macOS")


def images() -> LabelledImages:
    """Forty random pictures of four classes."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (40, 1, 32, 32), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(40) % 4, tuple("abcd"), "random pixels")


def train(folder: Path | None = None, **how: Any) -> splits.SplitGenerator:
    return splits.train_members(
        images(), GROUPS, total_steps=2 * STEPS, config=CONFIG, width=4,
        run_dir=folder, progress=False, **how,
    )  # fmt: skip


def member(folder: Path, m: int = 0) -> splits.MemberTask:
    config = replace(CONFIG, seed=m)
    return splits.MemberTask(splits.of_group(images(), GROUPS[m]), STEPS, config, 4, folder)


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


@pytest.fixture(scope="module")
def in_turn() -> dict[str, Tensor]:
    return train().state_dict()


@pytest.fixture(scope="module")
def ray_here(alike: dict[str, str]) -> Iterator[None]:
    ray = pytest.importorskip("ray", reason="pip install 'acgan-lib[scale]'")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("PYTHONPATH", "OMP_NUM_THREADS"):  # workers import this file's tasks
            patch.setenv(name, alike[name])
        engine._begin(engine._ray(), 2, None)
        yield
        ray.shutdown()


# -- one generator -------------------------------------------------------------------------------


def test_each_label_is_drawn_by_its_member_under_its_number_there() -> None:
    G = splits.SplitGenerator([[3, 0], [1], [2]], width=4).eval()
    z = torch.randn(40, 100, generator=torch.Generator().manual_seed(1))
    y = torch.arange(40) % 4
    drawn = G(z, y)
    for k, (m, inside) in {3: (0, 0), 0: (0, 1), 1: (1, 0), 2: (2, 0)}.items():
        rows = y == k
        alone = G.members[m](z[rows], torch.full((10,), inside))
        torch.testing.assert_close(drawn[rows], alone, rtol=0, atol=1e-6)


def test_weights_between_two_members_or_of_no_class_are_an_error() -> None:
    G = splits.SplitGenerator(GROUPS, width=4).eval()
    z = torch.randn(1, 100)
    inside = G.from_weights(z, torch.tensor([[0.3, 0, 0.7, 0]]))
    torch.testing.assert_close(
        inside, G.members[0].from_weights(z, torch.tensor([[0.3, 0.7]])), rtol=0, atol=1e-6
    )
    with pytest.raises(ValueError, match="two members"):
        G.from_weights(z, torch.tensor([[0.5, 0.5, 0, 0]]))
    with pytest.raises(ValueError, match="no class"):
        G.from_weights(z, torch.zeros(1, 4))
    with pytest.raises(ValueError, match="need z"):
        G.from_weights(z, torch.zeros(1, 3))


@pytest.mark.parametrize("groups", [[], [[]], [[0], [0, 1]], [[0], [2]], [[0, 1], []]])
def test_groups_that_are_no_partition_are_an_error(groups) -> None:
    with pytest.raises(ValueError, match="each once"):
        splits.SplitGenerator(groups)


def test_a_split_is_saved_and_loaded_as_one_artifact(tmp_path) -> None:
    G = splits.SplitGenerator(GROUPS, width=4).eval()
    path = splits.save("four", G, tmp_path, data="pixels", config=CONFIG, total_steps=24)
    assert path.exists()
    again = zoo.load("four", folder=tmp_path)
    assert isinstance(again, splits.SplitGenerator)
    assert again.groups == GROUPS
    z, y = torch.randn(8, 100), torch.arange(8) % 4
    assert torch.equal(G(z, y), again(z, y))


@pytest.mark.parametrize("together", [False, True])
def test_each_member_has_a_seed_of_its_own(together, monkeypatch) -> None:
    """With one seed for all, members would begin from the same weights and draw the same z."""
    asked: list[splits.MemberTask] = []

    class Asked(Exception):
        pass

    def run_tasks(tasks: dict[str, Any], **_: Any) -> None:
        for task in tasks.values():
            asked.extend(getattr(task, "tasks", [task]))
        raise Asked

    monkeypatch.setattr(splits, "run_tasks", run_tasks)
    groups, seeds = [[0], [1], [2], [3]], {}
    for seed in (0, 3):
        asked.clear()
        with pytest.raises(Asked):
            splits.train_members(
                images(), groups, total_steps=8, config=replace(CONFIG, seed=seed), width=4,
                together=together,
            )  # fmt: skip
        seeds[seed] = [task.config.seed for task in asked]
        starts = [task.networks()[0].project.weight for task in asked]
        assert all(not torch.equal(a, b) for a, b in itertools.pairwise(starts))
        for k, task in enumerate(asked):
            assert torch.equal(task.data.images, images().images[images().labels == k])
    assert seeds == {0: [0, 1, 2, 3], 3: [3000, 3001, 3002, 3003]}


def test_groupings_hold_each_class_once_in_groups_of_like_size() -> None:
    near = torch.full((7, 7), 0.01)
    for a, b in ((0, 4), (1, 5), (2, 6)):
        near[a, b] = near[b, a] = 0.4
    for m in range(1, 8):
        for groups in (
            splits.alphabetical(7, m), splits.at_random(7, m, 3),
            splits.alike(near, m), splits.unlike(near, m),
        ):  # fmt: skip
            assert splits.check_groups(groups) == groups
            sizes = {len(group) for group in groups}
            assert max(sizes) - min(sizes) <= 1
    assert splits.at_random(26, 5, 0) == splits.at_random(26, 5, 0) != splits.at_random(26, 5, 1)
    for m in (0, 8):
        with pytest.raises(ValueError, match="members"):
            splits.alphabetical(7, m)


def test_alike_joins_what_is_confused_and_unlike_parts_it() -> None:
    near = torch.full((6, 6), 0.001)
    pairs = ((0, 3), (1, 4), (2, 5))
    for a, b in pairs:
        near[a, b] = near[b, a] = 0.4
    assert sorted(splits.alike(near, 3)) == [[0, 3], [1, 4], [2, 5]]
    assert not any({a, b} <= set(g) for g in splits.unlike(near, 2) for a, b in pairs)


def test_members_share_the_steps_and_the_images_of_their_classes() -> None:
    assert splits.member_steps([[0, 1, 2], [3]], 100) == [75, 25]
    assert splits.member_steps([[k] for k in range(9)], 3) == [1] * 9
    part = splits.of_group(images(), [3, 1])
    assert part.class_names == ("d", "b")
    whole = images()
    assert torch.equal(part.images[part.labels == 0], whole.images[whole.labels == 3])
    with pytest.raises(ValueError, match="of 4 classes"):
        splits.train_members(images(), [[0, 1]], total_steps=2)


@pytest.mark.parametrize("together", [False, True])
def test_members_of_other_classes_do_not_go_on_from_a_folder(tmp_path, together) -> None:
    """As many classes, images and steps: without the names, b's G would answer for d."""
    train(tmp_path, together=together)
    with pytest.raises(engine.TasksFailedError, match=r"classes is a, .* a, d.*give a new run_dir"):
        splits.train_members(
            images(), [[0, 3], [1, 2]], total_steps=2 * STEPS, config=CONFIG, width=4,
            run_dir=tmp_path, progress=False, together=together,
        )  # fmt: skip


# -- the engine, in turn -------------------------------------------------------------------------


def steps_of(path: Path) -> list[list[int]]:
    """The steps that a `Watched` task reported, a list for each start."""
    starts = path.read_text().strip().split("start")[1:]
    return [[int(step) for step in start.split()] for start in starts]


@dataclass(frozen=True)
class Watched:
    """A task that writes down each of its starts and steps, and may kill its process once."""

    task: splits.MemberTask
    notes: Path
    kill_at: int = 0

    def __call__(self, report: engine.Report) -> dict[str, Tensor]:
        first = not self.notes.exists()
        with open(self.notes, "a") as file:
            file.write("start ")

        def watch(done: int, total: int) -> None:
            with open(self.notes, "a") as file:
                file.write(f"{done} ")
            if first and done == self.kill_at:
                os.kill(os.getpid(), signal.SIGKILL)
            report(done, total)

        return self.task(watch)


def broken(report: engine.Report) -> dict[str, Tensor]:
    report(1, 5)
    raise ArithmeticError("no such letter")


@pytest.mark.parametrize("workers", [0, 2])
def test_a_task_that_raises_does_not_lose_the_others(tmp_path, workers, request) -> None:
    if workers:
        request.getfixturevalue("ray_here")
    tasks = {"bad": broken, "good": member(tmp_path / "good")}
    with pytest.raises(engine.TasksFailedError, match=r"bad: .*no such letter") as caught:
        engine.run_tasks(tasks, workers=workers, progress=False)
    assert list(caught.value.errors) == ["bad"]
    assert same(caught.value.results["good"], member(tmp_path / "alone")(lambda done, total: None))


def test_arguments_that_make_no_sense_are_errors() -> None:
    for wrong in ({"workers": -1}, {"threads": 0}, {"retries": -1}):
        with pytest.raises(ValueError, match="need at least one task"):
            engine.run_tasks({"a": broken}, **wrong)
    with pytest.raises(ValueError, match="need at least one task"):
        engine.run_tasks({})
    with pytest.raises(ValueError, match="leave it out"):
        engine.run_tasks({"a": broken}, workers=1, address="auto")


def test_without_ray_the_error_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ModuleNotFoundError, match=r"acgan-lib\[scale\]"):
        engine.run_tasks({"a": broken}, workers=1)


TOO_SLOW = "The current node timed out during startup. This could happen because ..."


@pytest.mark.parametrize(
    ("failures", "says", "starts"),
    [(0, "", 1), (2, TOO_SLOW, 3), (9, TOO_SLOW, engine.STARTS), (9, "no such resource", 1)],
)
def test_ray_is_started_again_where_its_processes_come_up_too_slowly(
    failures, says, starts
) -> None:
    class Ray:
        starts = 0

        def init(self, **how: Any) -> None:
            self.starts += 1
            if self.starts <= failures:
                raise Exception(says)

    ray = Ray()
    with pytest.raises(Exception, match=says) if failures >= starts else nullcontext():
        engine._begin(ray, 2, None)
    assert ray.starts == starts


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_view_tells_states_steps_and_restarts() -> None:
    board = engine.Board(("a", "long"))
    screen, log = Terminal(), io.StringIO()
    views = [engine._View(screen), engine._View(log)]
    board.start("a")
    board.start("a")
    board.report("a", 1_000, 4_000)
    for view in views:
        view(board.copy())
    assert log.getvalue() == "", "a log has a line for each task that ends, and nothing else"
    board.report("long", 50, 50)
    board.end("long", "done")
    for view in views:
        view(board.copy())
        view(board.copy())
        view.close()
    assert log.getvalue() == "long: done, 50/50\n"
    last = screen.getvalue()
    assert re.search(r"a: +25%.* 1000/4000 .*running, start 2", last), last
    assert re.search(r"long: 100%.* 50/50 .*done", last), last


# -- the engine, on processes --------------------------------------------------------------------


@POSIX
def test_two_workers_give_the_weights_of_the_run_in_turn(ray_here, in_turn) -> None:
    assert same(train(workers=2).state_dict(), in_turn)


@POSIX
def test_a_killed_worker_goes_on_from_its_checkpoint(ray_here, tmp_path) -> None:
    notes = tmp_path / "notes"
    task = Watched(member(tmp_path / "killed"), notes, kill_at=7)
    kept = engine.run_tasks({"a": task}, workers=1, progress=False)["a"]
    assert steps_of(notes) == [[*range(1, 8)], [*range(7, STEPS + 1)]]  # step 6 was on the disk
    assert same(kept, member(tmp_path / "alone")(lambda done, total: None))


@POSIX
def test_a_worker_that_dies_too_often_fails_alone(ray_here, tmp_path) -> None:
    tasks = {
        "dies": Watched(member(tmp_path / "dies"), tmp_path / "notes", kill_at=1),
        "good": member(tmp_path / "good"),
    }
    with pytest.raises(engine.TasksFailedError, match="dies") as caught:
        engine.run_tasks(tasks, workers=2, retries=0, progress=False)
    assert list(caught.value.results) == ["good"]


@POSIX
def test_the_documented_command_survives_the_death_of_its_driver(
    tmp_path, monkeypatch, alike
) -> None:
    """Kill ``python -m acgan_lib.scale.splits --workers 2`` in mid-training, and call it again."""
    pytest.importorskip("ray", reason="pip install 'acgan-lib[scale]'")
    steps, out = 200, tmp_path / "run"
    options = ["--letters", "ABCD", "--members", "2", "--steps", str(2 * steps), "--batch", "4",
               "--width", "4", "--every", "10", "--out", str(out)]  # fmt: skip
    checkpoints = [out / f"member-{m:03d}" / "last.pt" for m in (0, 1)]
    with (tmp_path / "log").open("w+") as log:
        driver = subprocess.Popen(
            [sys.executable, "-m", "acgan_lib.scale.splits", "--workers", "2", *options],
            env=alike, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
        try:
            while not any(path.exists() for path in checkpoints):
                assert driver.poll() is None, (tmp_path / "log").read_text()[-3000:]
                time.sleep(0.05)
        finally:
            started = psutil.Process(driver.pid).children(recursive=True)
            driver.kill()  # SIGKILL; Ray's own processes notice, and end
            driver.wait()
    while not all(map(ended, started)):
        time.sleep(0.05)
    done = [
        torch.load(path, weights_only=True)["step"] if path.exists() else 0 for path in checkpoints
    ]
    assert 0 < max(done) < steps

    firsts: list[int] = []
    made: list[int] = []
    plain = splits.fit

    def counted(*arguments: Any, callbacks: Any, **more: Any) -> Any:
        start = len(made)
        result = plain(
            *arguments, callbacks=[*callbacks, lambda now: made.append(now.step)], **more
        )
        firsts.append(made[start])
        return result

    monkeypatch.setattr(splits, "fit", counted)
    monkeypatch.setattr(sys, "argv", ["splits", *options])
    splits.main()
    assert firsts == [step + 1 for step in done], "a member began anew"
    assert len(made) == 2 * steps - sum(done)
    monkeypatch.undo()
    G = zoo.load("split", folder=out)
    config = TrainConfig(batch_size=4, lr_g=1e-3, lr_d=1e-3, log_every=10, checkpoint_every=10)
    fresh = splits.train_members(
        glyphs("train", "ABCD"), splits.alphabetical(4, 2), total_steps=2 * steps,
        config=config, width=4, progress=False,
    )  # fmt: skip
    for name, value in fresh.state_dict().items():
        torch.testing.assert_close(G.state_dict()[name], value, rtol=0, atol=0)


def ended(process: psutil.Process) -> bool:
    """Whether a process has ended; its parent, which is not this test, may not have noticed."""
    try:
        return bool(process.status() == psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return True
