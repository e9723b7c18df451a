"""The paper's models and commands; images that are streamed."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

from acgan_lib.data import image_folder
from acgan_lib.experiments import ch17_paper, ch17_paper_nets
from acgan_lib.scale.streams import FolderStream, ShardStream, write_shards
from acgan_lib.train import History, Result


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve class folders of four small pictures each."""
    top = tmp_path_factory.mktemp("pictures")
    g = torch.Generator().manual_seed(0)
    for k in range(12):
        (top / f"n{k:02d}").mkdir()
        for i in range(4):
            pixels = torch.randint(0, 256, (40, 36, 3), generator=g, dtype=torch.uint8)
            Image.fromarray(pixels.numpy()).save(top / f"n{k:02d}" / f"{i}.png")
    return top


def test_the_grid_has_the_papers_27_points() -> None:
    assert len(set(ch17_paper.GRID)) == 27
    assert {s.lr_g for s in ch17_paper.GRID} == {1e-4, 2e-4, 3e-4}
    assert {s.lr_d for s in ch17_paper.GRID} == {1e-4, 2e-4, 3e-4}
    assert {s.noise for s in ch17_paper.GRID} == {0, 0.1, 0.2}
    assert ch17_paper.Setting() in ch17_paper.GRID


@pytest.mark.parametrize("setting", [ch17_paper.Setting(1e-4, 3e-4, 0.2), ch17_paper.Setting()])
def test_a_training_takes_every_part_of_its_setting_and_the_papers_for_the_rest(
    setting: ch17_paper.Setting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Table 2 and the appendix: Adam with beta_1 0.5, rates that do not fall, batches of 100."""
    fitted: list[Any] = []

    def fit(G: Any, D: Any, data: Any, objective: Any, *, steps: int, config: Any, **_: Any) -> Any:
        fitted.append((G, D, objective.name, steps, config))
        return Result(G, D, G, History())

    monkeypatch.setattr(ch17_paper, "fit", fit)
    task = ch17_paper.Training("cifar10", lambda: None, setting, seed=3, steps=50_000, run_dir=None)
    state = task(lambda done, total: None)
    [(G, D, objective, steps, config)] = fitted
    assert (config.lr_g, config.lr_d) == (setting.lr_g, setting.lr_d)
    assert not config.linear_decay
    assert (config.betas, config.batch_size, config.seed) == ((0.5, 0.999), 100, 3)
    assert (objective, steps) == ("acgan[real+fake]", 50_000)
    noise = [m.std for m in D.modules() if isinstance(m, ch17_paper_nets.GaussianNoise)]
    assert noise == ([setting.noise] * 6 if setting.noise else [])
    assert G.maps == (384, 192, 96)
    assert all(torch.equal(v, G.state_dict()[k]) for k, v in state.items())


def test_the_grid_trains_every_point_in_a_folder_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def run_tasks(tasks: dict[str, ch17_paper.Training], **how: Any) -> dict[str, Any]:
        asked.update(tasks=tasks, how=how)
        return {}

    monkeypatch.setattr(ch17_paper, "cifar10", lambda root, download=False: (root, download))
    monkeypatch.setattr(ch17_paper, "run_tasks", run_tasks)
    options = ["--grid", "--workers", "2", "--gpus", "0.5", "--out", str(tmp_path), "--download"]
    ch17_paper.paper("cifar10", seed=4, root="there", options=options)
    tasks = asked["tasks"].values()
    assert asked["how"] == {"workers": 2, "address": None, "gpus": 0.5, "progress": True}
    assert [task.setting for task in tasks] == list(ch17_paper.GRID)
    assert {(task.model, task.load(), task.seed, task.steps) for task in tasks} == {
        ("cifar10", ("there", False), 4, 50_000)
    }
    assert len({task.run_dir for task in tasks}) == 27
    assert asked["tasks"]["cifar10-0.0001-0.0003-0.1-4"].setting == (1e-4, 3e-4, 0.1)
    ch17_paper.paper("cifar10", seed=0)
    [task] = asked["tasks"].values()
    assert task.setting == ch17_paper.Setting()
    assert task.progress
    assert not asked["how"]["progress"]


def test_all_hundred_splits_are_tasks_of_one_call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}
    monkeypatch.setattr(ch17_paper, "imagenet_split", lambda *where: where)
    monkeypatch.setattr(
        ch17_paper, "run_tasks", lambda tasks, **how: asked.update(tasks=tasks, how=how) or {}
    )
    shards = tmp_path / "small"
    options = ["--splits", "0-99", "--shards", str(shards), "--address", "auto", "--gpus", "1"]
    options += ["--noise", "0.1", "--out", str(tmp_path)]
    ch17_paper.paper("imagenet", seed=0, root="big", options=options)
    assert asked["how"] == {"workers": 0, "address": "auto", "gpus": 1, "progress": True}
    tasks = list(asked["tasks"].values())
    assert [task.load() for task in tasks] == [("big", split, shards) for split in range(100)]
    assert {task.setting for task in tasks} == {ch17_paper.Setting(noise=0.1)}
    assert len({task.run_dir for task in tasks}) == 100


def test_a_split_is_a_number_or_a_range(capsys: pytest.CaptureFixture[str]) -> None:
    assert ch17_paper.numbers("7") == [7]
    assert ch17_paper.numbers("8-11") == [8, 9, 10, 11]
    for wrong in ("x", "3-1", "1-", ""):
        with pytest.raises(SystemExit):
            ch17_paper.paper("imagenet", seed=0, options=["--splits", wrong])
        assert "--splits" in capsys.readouterr().err


def test_a_split_kept_as_shards_has_the_folders_images_and_needs_the_folder_once(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("webdataset")
    monkeypatch.setattr(ch17_paper, "SHARD", 16)
    slow = ch17_paper.imagenet_split(folder, 0)
    first = ch17_paper.imagenet_split(folder, 0, tmp_path)
    again = ch17_paper.imagenet_split(tmp_path / "no folder", 0, tmp_path)
    assert isinstance(first, ShardStream)
    assert first.class_names == again.class_names == slow.class_names

    def whole(stream: FolderStream | ShardStream) -> list[tuple[int, bytes]]:
        batches = [stream.batch(step, 8, 0) for step in range(5)]
        x, y = (torch.cat(part) for part in zip(*batches, strict=True))
        pixels = ((x + 1) * 127.5).round().to(torch.uint8)
        return sorted((int(k), bytes(p.flatten().numpy())) for k, p in zip(y, pixels, strict=True))

    assert whole(first) == whole(again) == whole(slow)


def test_streams_go_to_other_processes(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    shards = ShardStream(write_shards(image_folder(folder, 32, 3), tmp_path, per_shard=10))
    for stream in (FolderStream(folder, 32, workers=3), shards):
        wanted = stream.batch(1, 8, 3)
        copied = pickle.loads(pickle.dumps(stream))
        for a, b in zip(copied.batch(1, 8, 3), wanted, strict=True):
            assert torch.equal(a, b)
        assert copied.to("cpu").batch(2, 8, 3)[1].tolist() == stream.batch(2, 8, 3)[1].tolist()


def test_a_folder_stream_gives_the_batches_of_the_folder_in_memory(folder: Path) -> None:
    stream, whole = FolderStream(folder, 32), image_folder(folder, 32, 3)
    assert len(stream) == len(whole) == 48
    for step in (0, 1, 7, 8):  # three epochs of six batches
        for a, b in zip(stream.batch(step, 8, 3), whole.batch(step, 8, 3), strict=True):
            assert torch.equal(a, b)
    x, y = stream.batch(2, 8, 3)
    part = stream.batch(2, 8, 3, slice(4, 8))
    assert torch.equal(part[0], x[4:])
    assert torch.equal(part[1], y[4:])


def test_a_folder_stream_names_what_is_missing(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no class folder dog"):
        FolderStream(folder, keep=("n00", "dog"))
    with pytest.raises(ValueError, match=r"batch_size must lie in 1\.\.48"):
        FolderStream(folder).batch(0, 49, 0)


def test_shards_hold_each_image_once_an_epoch_and_resume(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("webdataset")
    whole = image_folder(folder, 32, 3)
    shards = write_shards(whole, tmp_path / "shards", per_shard=10)
    stream = ShardStream(shards, window=2)
    assert len(stream) == 48
    epoch = [stream.batch(step, 8, 5) for step in range(6)]
    got = torch.cat([x for x, _ in epoch])
    rounded = ((got + 1) * 127.5).round().to(torch.uint8).flatten(1)
    assert sorted(map(bytes, rounded.numpy())) == sorted(
        map(bytes, whole.images.flatten(1).numpy())
    )
    again = ShardStream(shards, window=2).batch(4, 8, 5)  # a resumed run asks for step 4 alone
    assert torch.equal(again[0], epoch[4][0])
    assert torch.equal(again[1], epoch[4][1])


def test_a_split_of_imagenet_is_ten_folders_in_order(folder: Path, tmp_path: Path) -> None:
    data = ch17_paper.imagenet_split(folder, 0)
    assert data.class_names == tuple(f"n{k:02d}" for k in range(10))
    assert data.batch(0, 2, 0)[0].shape == (2, 3, 128, 128)
    with pytest.raises(ValueError, match=r"split must lie in 0\.\.0"):
        ch17_paper.imagenet_split(folder, 1)
    with pytest.raises(FileNotFoundError, match="name yours with --root"):
        ch17_paper.imagenet_split(tmp_path / "nothing", 0)


def test_cifar10_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="--download"):
        ch17_paper.cifar10(tmp_path)


def test_a_paper_model_trains_from_the_command_line_and_goes_on(
    folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(ch17_paper, "BATCH", 2)
    out = ["--out", str(tmp_path)]
    ch17_paper.paper("imagenet", seed=0, steps=1, root=str(folder), options=out)
    [run] = list(tmp_path.iterdir())
    assert run.name == "imagenet-0-0.0002-0.0002-0-0"
    assert (run / "last.pt").exists()
    assert "a generator of" in capsys.readouterr().out
