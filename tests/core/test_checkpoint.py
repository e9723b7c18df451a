"""A run's file: resumed bit for bit after any kill, refused where damaged or another run's."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from checks import two_classes
from PIL import Image
from tiny_runs import Stop, assert_same, config, networks, partly, stop_at, tiny_run, weights
from torch import Tensor, nn

from acgan_lib import checkpoint
from acgan_lib.callbacks import CsvHistory
from acgan_lib.data import LabelledImages
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Objective, acgan, semi
from acgan_lib.regularise import diff_augment, r1
from acgan_lib.scale.stacked import StackedImages, summed
from acgan_lib.scale.streams import FolderStream
from acgan_lib.train import Progress, Result, StopTraining, fit

pytestmark = pytest.mark.usefixtures("one_thread")


# --- going on -----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_stopped_anywhere_resumes_to_the_same_weights(tmp_path: Path, precision: str) -> None:
    settings = {"precision": precision, "log_every": 2, "checkpoint_every": 4, "steps": 9}
    whole = tiny_run(callbacks=[CsvHistory(tmp_path / "whole.csv")], **settings)
    run, path = tmp_path / "run", tmp_path / "history.csv"
    for step in (3, 6, 7):  # before the first checkpoint, and twice after it
        with pytest.raises(Stop):
            tiny_run(run, callbacks=[CsvHistory(path), stop_at(step)], **settings)
    resumed = tiny_run(run, callbacks=[CsvHistory(path)], **settings)
    assert_same(whole, resumed)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    # A run that has ended is only loaded.
    steps: list[int] = []
    again = tiny_run(run, callbacks=[lambda p: steps.append(p.step)], **settings)
    assert_same(whole, again)
    assert steps == []


def test_dropout_and_noise_resume_too(tmp_path: Path) -> None:
    from acgan_lib.experiments.ch17_paper_nets import PaperDiscriminator, PaperGenerator

    def run(run_dir: Path | None, callbacks: Any = ()) -> Result:
        torch.manual_seed(0)
        G = PaperGenerator((8, 4), 16, latent_dim=8, num_classes=2, channels=1)
        D = PaperDiscriminator(16, class_head=2, channels=1, noise=0.1)
        data = two_classes()
        data = LabelledImages(data.images[:, :, ::2, ::2], data.labels, data.class_names, "small")
        return fit(
            G, D, data, acgan(),
            steps=4, config=config(), callbacks=callbacks, run_dir=run_dir,
        )  # fmt: skip

    whole = run(None)
    with pytest.raises(Stop):
        run(tmp_path, [stop_at(3)])
    assert_same(whole, run(tmp_path))


SERVER = """
    import os, random, signal, sys, time
    from pathlib import Path
    import torch
    import torch._dynamo  # the optimiser would import it in every child, for seconds
    import tiny_runs as t
    from acgan_lib import train
    from acgan_lib.callbacks import CsvHistory

    torch.set_num_threads(1)
    run = Path(sys.argv[1])
    steps = 14
    kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

    def half_written(saved, file):  # half of the checkpoint's bytes are on disk
        real_save(saved, file)
        os.fsync = lambda fd: (os.ftruncate(fd, os.fstat(fd).st_size // 2), kill())

    def renamed(old, new):
        kill() if new.name == "last.pt" else real_replace(old, new)

    real_save, real_replace = torch.save, os.replace
    def child(how):
        callbacks = [CsvHistory(run / "history.csv")]
        if how == "half written":
            torch.save = half_written
        elif how == "before it is renamed":
            os.replace = renamed
        elif how == "before the history":
            callbacks.insert(0, lambda p: kill() if p.step % 3 == 0 else None)
        elif how == "after the history":
            callbacks.append(lambda p: kill() if p.step % 4 == 0 else None)
        elif how == "between D and G":
            train.frozen = kill  # D has moved, G has not
        t.tiny_run(run, steps, callbacks=callbacks)
        os._exit(0)

    run.mkdir()
    moments = ["between D and G", "half written", "before it is renamed", "before the history",
               "half written", "after the history", "before it is renamed", "between D and G"]
    moments += [random.Random(i).uniform(0.01, 0.3) for i in range(6)] + ["never"]
    for how in moments:
        pid = os.fork()
        if pid == 0:
            child(how)
        if isinstance(how, float):
            time.sleep(how)
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        print(how, os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forked")
def test_a_run_killed_with_sigkill_at_any_moment_resumes_to_the_same_weights(
    tmp_path: Path,
) -> None:
    """One process forks the run again and again and kills it: within a step, within a write."""
    run = tmp_path / "run"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(run)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True, text=True, timeout=300, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *killed, last = ended.stdout.splitlines()
    assert last == "never 0", ended.stdout + ended.stderr
    assert len(killed) == 14
    assert all(line.endswith(" -9") for line in killed[:8]), ended.stdout + ended.stderr
    whole = tiny_run(steps=14, callbacks=[CsvHistory(tmp_path / "whole.csv")])
    assert_same(whole, tiny_run(run, steps=14))  # ended, so this only loads it
    assert (run / "history.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()
    left = {path.name for path in run.iterdir()}
    assert left - {".last.pt.lock"} == {"last.pt", "history.csv"}  # what kills left is swept


def test_a_run_interrupted_before_its_first_checkpoint_begins_from_the_same_weights(
    tmp_path: Path,
) -> None:
    """Ctrl-C in step 1, then `fit` again with the very networks, which have moved since."""
    whole, pair = tiny_run(steps=4), networks()

    def interrupt(progress: Progress) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path, steps=4, pair=pair, callbacks=[interrupt])
    assert not torch.equal(pair[0].to_image.weight, networks()[0].to_image.weight)
    assert_same(whole, tiny_run(tmp_path, steps=4, pair=pair))


def test_a_stopped_training_keeps_its_step_and_goes_on_from_it(tmp_path: Path) -> None:
    """In the middle of a row of the history, whose mean must still be that of all its steps."""
    settings: dict[str, Any] = {"steps": 8, "log_every": 4, "checkpoint_every": 4}

    def stop(progress: Progress) -> None:
        if progress.step == 3:
            raise StopTraining

    stopped = tiny_run(tmp_path, callbacks=[stop], **settings)
    kept = checkpoint.verified(tmp_path / "last.pt")
    assert (kept["step"], stopped.history.rows) == (3, [])
    assert all(torch.equal(v, kept["G"][k]) for k, v in stopped.G.state_dict().items())
    steps: list[int] = []
    resumed = tiny_run(tmp_path, callbacks=[lambda p: steps.append(p.step)], **settings)
    assert steps == [4, 5, 6, 7, 8]
    assert_same(tiny_run(**settings), resumed)


def test_a_finished_run_without_linear_decay_can_be_extended(tmp_path: Path) -> None:
    settings: dict[str, Any] = {"linear_decay": False, "log_every": 2}
    tiny_run(tmp_path, steps=5, **settings)
    longer, whole = tiny_run(tmp_path, steps=9, **settings), tiny_run(steps=9, **settings)
    assert [k for k, v in weights(whole).items() if not torch.equal(v, weights(longer)[k])] == []
    # It keeps the row of its first end; so the next is the mean over the one step since.
    assert longer.history.column("step") == [2, 4, 5, 6, 8, 9]
    alone = tiny_run(steps=9, linear_decay=False).history
    assert longer.history.column("g_class")[3] == alone.column("g_class")[5]
    before = (tmp_path / "last.pt").read_bytes()
    with pytest.raises(ValueError, match=r"steps is 5, but .*last\.pt is at step 9"):
        tiny_run(tmp_path, steps=5, **settings)
    assert (tmp_path / "last.pt").read_bytes() == before


def test_a_finished_run_with_linear_decay_says_why_it_cannot_be_extended(tmp_path: Path) -> None:
    tiny_run(tmp_path, steps=2)
    with pytest.raises(ValueError, match="steps, over which the rates fall is 2 there, 4 here"):
        tiny_run(tmp_path, steps=4)


# --- another run's ------------------------------------------------------------------------------


def other_data(**changes: Any) -> LabelledImages:
    data = two_classes()
    return LabelledImages(**{
        "images": data.images, "labels": data.labels, "class_names": data.class_names,
        "source": data.source, **changes,
    })  # fmt: skip


def one_pixel_changed() -> LabelledImages:
    images = two_classes().images.clone()
    images[17, 0, 3, 5] ^= 1
    return other_data(images=images)


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1}, {"steps": 6}, {"lr_g": 1e-3}, {"lr_d": 1e-3}, {"batch_size": 8},
        {"ema": 0.5}, {"linear_decay": False}, {"betas": (0.0, 0.9)}, {"precision": "bf16"},
        {"objective": acgan(class_loss_on="real")}, {"objective": acgan(g_class_weight=0.1)},
        {"objective": acgan(saturating=True)}, {"objective": diff_augment(acgan())},
        {"data": two_classes(seed=1)}, {"data": one_pixel_changed()}, {"data": two_classes(42)},
        {"data": other_data(labels=two_classes().labels.flip(0))},
        {"data": other_data(class_names=("light", "dark"))},
        {"pair": (Generator(8, 2, width=4), Discriminator(width=5, class_head=2))},
        {"pair": (Generator(9, 2, width=4), Discriminator(width=4, class_head=2))},
    ],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_another_runs_folder_is_refused_and_left_alone(tmp_path: Path, changes: Any) -> None:
    path = tmp_path / "last.pt"
    tiny_run(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"last.pt holds another run .*give a new run_dir"):
        tiny_run(tmp_path, **changes)
    assert path.read_bytes() == before


def test_what_does_not_change_a_run_does_not_stop_it_from_going_on(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        tiny_run(tmp_path, callbacks=[stop_at(5)])
    resumed = tiny_run(tmp_path, checkpoint_every=4, objective=acgan())
    assert_same(resumed, tiny_run())


@pytest.mark.parametrize(
    "wrap", [diff_augment, lambda o: r1(o, 1.0), lambda o: summed(o, 2)], ids=["augment", "r1", "M"]
)
@pytest.mark.parametrize(
    ("here", "there"),
    [
        (acgan(g_class_weight=1.0), acgan(g_class_weight=50.0)),
        (acgan(), acgan(saturating=True)),
    ],
)
def test_a_wrapper_hides_no_setting(
    tmp_path: Path, wrap: Any, here: Objective, there: Objective
) -> None:
    with pytest.raises(Stop):
        tiny_run(tmp_path, 4, wrap(here), [stop_at(2)])
    with pytest.raises(ValueError, match=r"the objective's .* is .* there, .* here"):
        tiny_run(tmp_path, 4, wrap(there))
    tiny_run(tmp_path, 4, wrap(here))


def test_a_wrappers_own_setting_counts(tmp_path: Path) -> None:
    tiny_run(tmp_path, 2, r1(acgan(), 1.0))
    with pytest.raises(ValueError, match="holds another run"):
        tiny_run(tmp_path, 2, r1(acgan(), 1.0000001))  # alike in the name


def test_hidden_labels_are_content_too(tmp_path: Path) -> None:
    tiny_run(tmp_path, 2, semi(), data=partly(hidden=[3, 4]))
    with pytest.raises(ValueError, match="data is 40 images, SHA-256"):
        tiny_run(tmp_path, 2, semi(), data=partly(hidden=[4, 5]))


def test_equal_numbers_of_another_type_are_the_same_run(tmp_path: Path) -> None:
    tiny_run(tmp_path, 2, acgan(g_class_weight=1), lr_g=np.float64(5e-4), seed=np.int64(3))
    tiny_run(tmp_path, 2, acgan(g_class_weight=1.0), lr_g=5e-4, seed=3)
    with pytest.raises(ValueError, match=r"\(seed is 3 there, 4 here\): give a new run_dir"):
        tiny_run(tmp_path, 2, acgan(g_class_weight=1.0), lr_g=5e-4, seed=4)


def test_a_fingerprint_is_of_the_content_alone() -> None:
    data = two_classes()
    strided = data.images.transpose(2, 3).contiguous().transpose(2, 3)
    renamed = other_data(images=strided, source="elsewhere", class_names=("a", "b"))
    assert renamed.fingerprint() == data.fingerprint()
    assert re.fullmatch(r"40 images, SHA-256 [0-9a-f]{16}", data.fingerprint())
    order = torch.arange(40).roll(2)  # the same labels, other images to them
    others = [data.subset(order), data.subset(torch.arange(39)), one_pixel_changed()]
    reshaped = other_data(images=data.images.view(10, 1, 64, 64), labels=data.labels[:10])
    found = {d.fingerprint() for d in (data, *others, reshaped)}
    assert len(found) == 5


def test_a_stack_and_a_stream_have_fingerprints_too(tmp_path: Path) -> None:
    a, b = two_classes(), two_classes(seed=1)
    stacks = [
        StackedImages(parts, seeds).fingerprint()
        for parts, seeds in (((a, b), (0, 1)), ((b, a), (0, 1)), ((a, b), (0, 2)), ((a, a), (0, 1)))
    ]
    assert len(set(stacks)) == 4
    for name in ("dark", "light"):
        (tmp_path / name).mkdir()
        for i in range(2):
            Image.new("RGB", (40, 40), (i, 0, 0)).save(tmp_path / name / f"{i}.png")
    first = FolderStream(tmp_path).fingerprint()
    assert FolderStream(tmp_path).fingerprint() == first
    assert first.startswith("4 images, SHA-256 of names and sizes ")
    Image.new("RGB", (40, 41), (9, 9, 9)).save(tmp_path / "dark" / "1.bmp")
    more = FolderStream(tmp_path).fingerprint()
    (tmp_path / "dark" / "1.bmp").rename(tmp_path / "light" / "1.bmp")
    assert len({first, more, FolderStream(tmp_path).fingerprint()}) == 3


# --- damage -------------------------------------------------------------------------------------


def equal(a: Any, b: Any) -> bool:
    if isinstance(a, Tensor):
        return isinstance(b, Tensor) and a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(v, b[k]) for k, v in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(equal, a, b))
    return bool(a == b)


def damages(content: bytes) -> list[bytes]:
    """A bit flipped, a byte replaced and 4 KiB zeroed, each at places all over the file."""
    step = len(content) // 150
    places = range(7, len(content) - 4096, step)
    flipped = [content[:i] + bytes([content[i] ^ 1 << i % 8]) + content[i + 1 :] for i in places]
    replaced = [content[:i] + b"\x5a" + content[i + 1 :] for i in places[::3]]
    zeroed = [content[:i] + bytes(4096) + content[i + 4096 :] for i in places[::3]]
    return [c for c in flipped + replaced + zeroed if c != content]


def test_a_damaged_checkpoint_is_refused_by_name_and_a_harmless_change_changes_nothing(
    tmp_path: Path,
) -> None:
    path = tmp_path / "last.pt"
    tiny_run(tmp_path, steps=2)
    content, right = path.read_bytes(), checkpoint.verified(path)
    said, tried = [], damages(content)
    for damaged in tried:
        path.write_bytes(damaged)
        try:
            found = checkpoint.verified(path)
        except ValueError as error:
            said.append(str(error))
        else:
            assert equal(found, right)  # a byte that no one reads: padding
    assert len(said) > 0.8 * len(tried) > 150
    assert all(str(path) in text for text in said)
    assert all("give a new run_dir, or delete the file" in text for text in said)


@pytest.mark.parametrize("length", [0, 1, 100, 5_000, -1, -100])
def test_a_cut_checkpoint_is_refused_by_fit(tmp_path: Path, length: int) -> None:
    path = tmp_path / "last.pt"
    tiny_run(tmp_path, steps=2)
    cut = path.read_bytes()[:length]
    path.write_bytes(cut)
    G, D = networks()
    with pytest.raises(ValueError, match=r"last\.pt is damaged .*or delete the file"):
        tiny_run(tmp_path, steps=2, pair=(G, D))
    assert path.read_bytes() == cut  # left for the reader to look at
    assert torch.equal(G.to_image.weight, networks()[0].to_image.weight)


def test_a_file_of_another_kind_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    state = networks()[0].state_dict()
    for other in (state, {"G": state, "identity": "text"}, [state], 3):
        torch.save(other, path)
        with pytest.raises(ValueError, match=r"last\.pt is no checkpoint of this version's fit"):
            tiny_run(tmp_path, steps=2)
    path.write_text("<html>404</html>")
    with pytest.raises(ValueError, match=r"last\.pt is damaged or no checkpoint"):
        tiny_run(tmp_path, steps=2)


def test_a_checkpoint_is_read_without_running_code(tmp_path: Path, capsys) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("code ran",)

    torch.save({"identity": Evil()}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"last\.pt is damaged or no checkpoint"):
        tiny_run(tmp_path)
    assert "code ran" not in capsys.readouterr().out


# --- the folder ---------------------------------------------------------------------------------


def test_one_training_holds_a_folder_and_the_second_is_told_which(
    tmp_path: Path, monkeypatch
) -> None:
    monkeypatch.setattr(checkpoint, "WAIT", 0.05)
    seen = []

    def second(progress: Progress) -> None:
        with pytest.raises(TimeoutError, match=f"run_dir {tmp_path} is in use") as caught:
            tiny_run(tmp_path, steps=2, pair=networks(seed=1))
        seen.append(caught)

    tiny_run(tmp_path, steps=1, callbacks=[second])
    assert len(seen) == 1
    tiny_run(tmp_path, steps=1)  # given back


HOLDER = """
    import sys, time
    from pathlib import Path
    from acgan_lib import checkpoint
    with checkpoint.held(sys.argv[1], {}, 1):
        print("held", flush=True)
        time.sleep(60)
"""


def test_a_killed_process_gives_its_folder_back(tmp_path: Path, monkeypatch) -> None:
    command = [sys.executable, "-c", textwrap.dedent(HOLDER), str(tmp_path)]
    path = os.pathsep.join(sys.path)
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": path}
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        monkeypatch.setattr(checkpoint, "WAIT", 0.05)
        with pytest.raises(TimeoutError, match="in use by another training"):
            tiny_run(tmp_path, steps=1)
        holder.kill()
        holder.wait()
        monkeypatch.setattr(checkpoint, "WAIT", 20.0)
        tiny_run(tmp_path, steps=1)


def test_leftovers_of_killed_writers_are_swept(tmp_path: Path) -> None:
    for name in (".last.pt.123-ab.tmp", ".history.csv.99-cd.tmp", ".probe.5-ef.tmp"):
        (tmp_path / name).write_bytes(b"half")
    (tmp_path / "notes.tmp").write_text("the reader's own")
    tiny_run(tmp_path, steps=1)
    left = {path.name for path in tmp_path.iterdir()} - {".last.pt.lock"}
    assert left == {"last.pt", "notes.tmp"}


def test_a_tilde_is_the_home_folder(tmp_path: Path, monkeypatch) -> None:
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("USERPROFILE", str(home))
    monkeypatch.chdir(here)
    tiny_run("~/run", steps=1, callbacks=[CsvHistory("~/run/history.csv")])
    assert {p.name for p in (home / "run").iterdir()} >= {"last.pt", "history.csv"}
    assert list(here.iterdir()) == []


def test_a_folder_that_cannot_be_written_to_is_told_of_before_the_first_step(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").write_text("mine")
    steps: list[int] = []
    for run_dir in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(OSError, match="name another folder") as caught:
            tiny_run(run_dir, steps=2, callbacks=[lambda p: steps.append(p.step)])
        assert str(tmp_path / "file") in str(caught.value)
    assert steps == []
    assert (tmp_path / "file").read_text() == "mine"


def test_no_room_for_a_later_checkpoint_is_told_of_before_the_first_step(tmp_path: Path) -> None:
    """By the system's limit on a file's size; a checkpoint with Adam's moments would pass it."""
    resource = pytest.importorskip("resource")
    tiny_run(tmp_path / "whole", steps=2)
    size = (tmp_path / "whole" / "last.pt").stat().st_size
    steps: list[int] = []
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size // 2, hard))
    try:
        with pytest.raises(OSError, match="limit on a file's size is too low") as caught:
            tiny_run(tmp_path / "run", steps=2, callbacks=[lambda p: steps.append(p.step)])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert str(tmp_path / "run") in str(caught.value)
    assert steps == []
    assert {p.name for p in (tmp_path / "run").iterdir()} <= {".last.pt.lock"}
    tiny_run(tmp_path / "run", steps=2)


def test_a_disk_that_fills_up_later_leaves_the_last_checkpoint_and_names_it(
    tmp_path: Path, monkeypatch
) -> None:
    def full(fd: int) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched, pytest.raises(OSError, match="make room") as caught:
        tiny_run(
            tmp_path, steps=6,
            callbacks=[lambda p: patched.setattr(os, "fsync", full) if p.step == 3 else None],
        )  # fmt: skip
    assert str(tmp_path / "last.pt") in str(caught.value)
    assert checkpoint.verified(tmp_path / "last.pt")["step"] == 2
    assert {p.name for p in tmp_path.iterdir()} - {".last.pt.lock"} == {"last.pt"}
    assert_same(tiny_run(steps=6), tiny_run(tmp_path, steps=6))


def test_networks_are_told_apart_by_their_tensors() -> None:
    names = {
        checkpoint.layout(module)
        for module in (
            nn.Linear(2, 3), nn.Linear(3, 2), nn.Linear(2, 3, bias=False), nn.Conv2d(2, 3, 1),
            nn.Sequential(nn.Linear(2, 3)),
        )
    }  # fmt: skip
    assert len(names) == 5
    assert checkpoint.layout(nn.Linear(2, 3)).startswith("Linear of 9 (")
