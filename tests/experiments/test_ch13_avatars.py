"""Class swaps of avatars: grids that are read right, and the measures on grids of known shares."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor

from acgan_lib import metrics, zoo
from acgan_lib.avatars import KINDS, LEVELS, avatars
from acgan_lib.experiments import ch13_avatars as ch13
from acgan_lib.experiments import stored
from acgan_lib.experiments.ch10_avatars import read_factors


def test_the_truth_is_read_as_drawn_in_every_kind() -> None:
    read, faces = ch13.read_paired(32)
    assert read.shape == (192, 10, 3)
    assert faces.unique(dim=0).shape == (192, 3)
    assert faces.amax(0).tolist() == [5, 3, 7]
    assert (read == faces[:, None]).float().mean() > 0.99


def test_a_row_is_one_z_and_a_column_one_kind() -> None:
    G = zoo.load("acgan_avatars32")
    z = torch.randn(60, 100, generator=torch.Generator().manual_seed(0))  # more than one part
    read = ch13.read_swaps(G, z)
    assert read.shape == (60, 10, 3)
    with torch.no_grad():
        one = G(z[57:58], torch.tensor([4]))
    wanted = read_factors(zoo.load("factors_avatars32"), one)[0, :3]
    assert torch.equal(read[57, 4], wanted)


def permuted(n: int = 4_000) -> Tensor:
    """Skin in ten kinds: kept in nine; in the last, renamed in every row, and so kept in none."""
    skin = torch.randint(4, (n, 1), generator=torch.Generator().manual_seed(1)).repeat(1, 10)
    skin[:, 9] = (skin[:, 9] + 1) % 4
    return skin


def test_renaming_keeps_the_bits_and_not_the_factor() -> None:
    skin = permuted()
    bits = ch13.pair_bits(skin)
    assert torch.allclose(bits, torch.full((10, 10), 2.0, dtype=torch.float64), atol=0.01)
    skin[:, 9] = torch.randint(4, (len(skin),), generator=torch.Generator().manual_seed(2))
    bits = ch13.pair_bits(skin)
    assert abs(float(bits[0, 9])) < 0.005  # forgotten: the bias of the plug-in value is taken off
    assert torch.equal(bits, bits.T)


def test_the_worst_pair_is_chosen_on_other_rows_than_it_is_measured_on() -> None:
    worst = ch13.worst_pair(permuted())
    assert worst.kinds[1] == "toon-head"
    assert worst.kept == metrics.proportion(0, 2_000)
    # Among pairs that are all alike, the lowest share must not come out below the truth.
    g, found = torch.Generator().manual_seed(3), []
    for _ in range(40):
        same = torch.rand(100, 10, generator=g) < 0.9  # each kind keeps the face's value so often
        values = torch.where(same, 0, torch.randint(1, 8, (100, 10), generator=g))
        found.append(ch13.worst_pair(values).kept.value)
    truth = 0.9**2 + 0.1**2 / 7
    assert sum(found) / 40 == pytest.approx(truth, abs=3 * math.sqrt(truth * (1 - truth) / 2_000))
    with pytest.raises(ValueError, match="shape"):
        ch13.worst_pair(torch.zeros(5, 9, dtype=torch.int64))


def test_a_grid_is_measured_factor_by_factor() -> None:
    g = torch.Generator().manual_seed(4)
    kept = torch.randint(6, (500, 1), generator=g).repeat(1, 10)
    lost = torch.randint(8, (500, 10), generator=g)
    found = ch13.measure_swaps(torch.stack([kept, permuted(500), lost], dim=2))
    assert found["kept_ground"].value == 1
    assert found["kept_skin"].value == pytest.approx(
        36 / 45
    )  # of 45 pairs, nine hold the last kind
    assert found["kept_hair"].value == pytest.approx(1 / 8, abs=0.01)
    assert found["chance_hair"] == pytest.approx(1 / 8, abs=0.01)
    assert found["bits_skin"].value == pytest.approx(2, abs=0.02)
    assert found["pairs_skin"][0][9] == 0
    assert found["worst_skin"]["kinds"][1] == "toon-head"


def test_a_factor_that_follows_the_kind_tells_it() -> None:
    kinds = torch.arange(10).repeat(300)
    read = torch.stack([kinds % 6, kinds // 5, torch.arange(3_000) // 10 % 8], dim=1)
    found = ch13.tells_kind(read, kinds)
    assert found["tells_skin"].value == pytest.approx(1, abs=0.01)
    assert found["tells_skin_p"] < 1e-9
    assert found["tells_hair"].value < 0.001
    assert found["tells_hair_p"] > 0.5


def test_what_is_recorded_has_its_rows(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ch13, "MODELS", ("acgan_avatars32",))
    monkeypatch.setattr(ch13, "ROWS", 6)
    monkeypatch.setattr(ch13, "PER_KIND", 2)
    few, truth = avatars("test", 32).per_class(20, seed=0), ch13.read_paired(32)
    monkeypatch.setattr(ch13, "avatars", lambda split, size: few)
    monkeypatch.setattr(ch13, "read_paired", lambda size: truth)
    ch13.avatar_swaps()
    assert [row["model"] for row in stored("avatar_swaps")] == [
        "acgan_avatars32", "real_avatars32", "real_avatars64",
    ]  # fmt: skip


def test_the_recording_agrees_with_itself() -> None:
    rows = {row["model"]: row for row in stored("avatar_swaps")}
    assert set(rows) == {*ch13.MODELS, "real_avatars32", "real_avatars64"}
    for name, row in rows.items():
        for factor in ch13.SEEN:
            pairs = torch.tensor(row[f"pairs_{factor}"], dtype=torch.float64)
            off = ~torch.eye(len(KINDS), dtype=torch.bool)
            kept, bits = row[f"kept_{factor}"], row[f"bits_{factor}"]
            assert float(pairs[off].mean()) == pytest.approx(kept.value, abs=1e-4)
            mean = float(torch.tensor(row[f"pair_bits_{factor}"], dtype=torch.float64)[off].mean())
            assert mean == pytest.approx(bits.value, abs=1e-3)
            assert row[f"chance_{factor}"] == pytest.approx(1 / LEVELS[factor], abs=0.02)
            if name.startswith("real"):
                assert kept.value > 0.99
