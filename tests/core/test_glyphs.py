"""Letters: pictures, factors and splits are those of the files, and damaged files are refused."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from acgan_lib import glyphs as module
from acgan_lib._files import data_dir
from acgan_lib.glyphs import LETTERS, Glyphs, colour_glyphs, glyphs

typefaces = data_dir() / "glyphs" / "typefaces.csv"


def test_glyphs_are_letters_by_typeface_and_split_by_family() -> None:
    train, test = glyphs("train"), glyphs("test", size=64)
    assert train.images.shape[1:] == (1, 32, 32)
    assert test.images.shape[1:] == (1, 64, 64)
    assert train.class_names == tuple("ABCDEFGHIJ")
    rows = list(csv.DictReader(typefaces.read_text().splitlines()))
    families = [{rows[i]["family"] for i in part.typeface.tolist()} for part in (train, test)]
    assert not families[0] & families[1]
    assert len(families[0] | families[1]) == 37
    assert len(train) + len(test) == 10 * len(rows)
    # Letter after letter, the typefaces in one order.
    grid = train.typeface.view(10, -1)
    assert torch.equal(grid, grid[:1].expand(10, -1))
    assert torch.equal(train.labels.view(10, -1)[:, 0], torch.arange(10))


def test_glyphs_carry_their_factors() -> None:
    two = glyphs("test", letters="HI", size=64)
    rows = list(csv.DictReader(typefaces.read_text().splitlines()))
    for i in (0, len(two) - 1):
        row = rows[int(two.typeface[i])]
        assert float(two.factor("slant")[i]) == pytest.approx(float(row["slant"]))
        assert float(two.factor("stem")[i]) == pytest.approx(float(row["stem"]), abs=1e-4)
    # The factors say what the pictures show: ink grows with the stem, H upright is symmetric.
    ink = two.images[two.labels == 0].float().mean((1, 2, 3))
    stem = two.factor("stem")[two.labels == 0]
    assert float(torch.corrcoef(torch.stack([ink, stem]))[0, 1]) > 0.7
    upright = two.subset(torch.nonzero((two.factor("slant") == 0) & (two.labels == 0)).flatten())
    assert isinstance(upright, Glyphs)
    assert len(upright.factors) == len(upright) == len(upright.typeface)
    difference = (upright.images.float() - upright.images.flip(3).float()).abs().mean((1, 2, 3))
    slanted = two.subset(torch.nonzero((two.factor("slant") > 8) & (two.labels == 0)).flatten())
    other = (slanted.images.float() - slanted.images.flip(3).float()).abs().mean((1, 2, 3))
    assert float(difference.median()) < 0.6 * float(other.median())
    with pytest.raises(ValueError, match="no factor 'colour'"):
        two.factor("colour")


def test_a_byte_holds_two_pixels_the_left_one_in_its_high_half() -> None:
    """As data/glyphs/README.md says, and as the smooth edges of the letters show."""
    some = glyphs("test", letters="BZ", size=64)
    with np.load(data_dir() / "glyphs" / "glyphs.npz") as stored:
        packed = stored["pictures"]
    for i in (0, len(some) // 2 - 1, len(some) - 1):
        letter = LETTERS.index(some.class_names[int(some.labels[i])])
        values = packed[int(some.typeface[i]), letter].astype(int)
        image = some.images[i, 0].numpy()
        assert np.array_equal(image[:, 0::2], 17 * (values // 16))
        assert np.array_equal(image[:, 1::2], 17 * (values % 16))
    swapped = some.images.unflatten(3, (32, 2)).flip(4).flatten(3)
    jumps = [x.float().diff(dim=3).abs().mean() for x in (some.images, swapped)]
    assert jumps[0] < 0.8 * jumps[1]


def test_glyphs_split_by_letter_and_keep_their_factors() -> None:
    train, test = glyphs("test", letters="AB").split(0.5, seed=0)
    assert isinstance(train, Glyphs)
    assert isinstance(test, Glyphs)
    assert len(train.factors) == len(train) == len(train.typeface) == len(test)
    assert not set(train.typeface[train.labels == 0].tolist()) & set(
        test.typeface[test.labels == 0].tolist()
    )


def test_smaller_glyphs_are_averages() -> None:
    large, small = (glyphs("test", letters="Q", size=s) for s in (64, 16))
    mean = large.images.float().view(-1, 1, 16, 4, 16, 4).mean((3, 5))
    assert torch.allclose(small.images.float(), mean, atol=0.51)
    assert int(large.images.max()) == 255
    assert int(large.images.min()) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "valid"}, "split must be"),
        ({"letters": "AA"}, "letters must be different"),
        ({"letters": "a"}, "letters must be different"),
        ({"letters": ""}, "letters must be different"),
        ({"size": 48}, "size must be"),
    ],
)
def test_glyphs_refuse(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        glyphs(**arguments)


def test_damaged_glyphs_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "glyphs"
    shutil.copytree(data_dir() / "glyphs", folder)
    monkeypatch.setattr(module, "data_dir", lambda: tmp_path)
    (folder / "typefaces.csv").write_text("family\n")
    with pytest.raises(ValueError, match=r"typefaces\.csv is damaged or was changed"):
        glyphs()
    (folder / "typefaces.csv").unlink()
    with pytest.raises(FileNotFoundError, match="git checkout data/glyphs"):
        glyphs()


def test_colour_glyphs_are_letters_that_can_be_read() -> None:
    data = colour_glyphs("test", "AB", 64, per_class=5, seed=1)
    assert data.images.shape == (10, 3, 64, 64)
    assert torch.bincount(data.labels).tolist() == [5, 5]
    again = colour_glyphs("test", "AB", 64, per_class=5, seed=1)
    assert torch.equal(data.images, again.images)
    grey = data.images.float().mean(1).flatten(1) / 255
    spread = grey.amax(1) - grey.amin(1)
    assert float(spread.min()) > 0.15  # ink and paper differ
    with pytest.raises(ValueError, match="32 or more"):
        colour_glyphs(size=16)
