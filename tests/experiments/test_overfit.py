"""Damaged samples and their scores; the recipe that trains on few images and its measures."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from acgan_lib.data import fashion_mini
from acgan_lib.experiments import ch06_fashion, ch11_damage, ch12_memorise
from acgan_lib.metrics import Estimate
from acgan_lib.nets import Discriminator, Generator


@pytest.fixture(scope="module")
def given() -> ch11_damage.Sets:
    return ch11_damage.sets()


def test_the_three_sets_share_no_image(given: ch11_damage.Sets) -> None:
    rows = torch.cat([part.images.flatten(1) for part in given])
    assert rows.shape == (6000, 1024)
    assert all(torch.bincount(part.labels).tolist() == [200] * 10 for part in given)
    assert len(rows.unique(dim=0)) > 5990  # FashionMNIST itself has a few duplicates


def test_each_damage_does_what_it_says(given: ch11_damage.Sets) -> None:
    x, y = ch11_damage.damaged("none", 0, given)
    blurred, _ = ch11_damage.damaged("blur, pixels", 2, given)
    assert torch.allclose(blurred.mean((2, 3)), x.mean((2, 3)), atol=0.05)
    assert blurred.diff(dim=3).abs().mean() < 0.5 * x.diff(dim=3).abs().mean()
    few, of = ch11_damage.damaged("distinct images", 20, given)
    assert torch.equal(of, y)
    assert [len(few[y == k].flatten(1).unique(dim=0)) for k in range(10)] == [20] * 10
    lost, of = ch11_damage.damaged("lost classes", 1, given)
    assert torch.equal(of, y)
    assert torch.equal(lost[y > 0], x[y > 0])
    assert torch.equal(lost[y == 0].flip(0), x[y == 9])
    same, named = ch11_damage.damaged("wrong names", 1, given)
    assert torch.equal(same, x)
    assert torch.equal(named, (y + 1) % 10)
    copied, _ = ch11_damage.damaged("copied share", 0.5, given)
    is_copy = (copied == given.reference.normalised()).flatten(1).all(1)
    assert 0.45 < float(is_copy.float().mean()) < 0.55
    assert torch.equal(copied[~is_copy], x[~is_copy])
    with pytest.raises(ValueError, match="kind must be"):
        ch11_damage.damaged("noise", 1, given)


def test_a_verdict_needs_intervals_that_do_not_overlap() -> None:
    low, high, between = (Estimate(v, v - 1, v + 1, 9) for v in (0.0, 9.0, 1.5))
    assert ch11_damage.verdict("CAS", low, high) == "worse"
    assert ch11_damage.verdict("CAS", high, low) == "better"
    assert ch11_damage.verdict("frechet judge distance", high, low) == "worse"
    assert ch11_damage.verdict("copies", low, high) == "better"
    assert ch11_damage.verdict("CAS", between, low) == ""


def test_stored_damage_is_complete_and_in_order() -> None:
    rows = ch11_damage.stored()
    assert len(rows) == 1 + sum(len(levels) for _, levels in ch11_damage.DAMAGES.values())
    assert [row["kind"] for row in rows[:2]] == ["none", next(iter(ch11_damage.DAMAGES))]
    assert {k for row in rows for k in row} == set(rows[0])


class Copyist(Generator):
    """Draws one of four table pictures, by the sign of two latents."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        which = 2 * (z[:, 0] > 0) + (z[:, 1] > 0).long()
        return torch.linspace(-1, 1, 4)[which].view(-1, 1, 1, 1).expand(-1, 1, 32, 32)


class Smooth(Generator):
    """Its brightness moves evenly along a straight walk."""

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        return (z[:, 0] / 10).clamp(-1, 1).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)


def test_a_copyist_walks_in_jumps() -> None:
    def pixels(x: Tensor) -> Tensor:
        return x.flatten(1)

    even = ch12_memorise.longest_steps(Smooth(width=4), pixels, seed=0, walks=20, kind="linear")
    assert even.shape == (20,)
    assert torch.allclose(even, torch.ones(20), atol=1e-3)
    jumps = ch12_memorise.longest_steps(Copyist(width=4), pixels, seed=0, walks=40)
    walked = jumps[~jumps.isnan()]  # a walk that rests on one picture has no step at all
    assert len(walked) >= 10
    assert float(walked.min()) >= ch12_memorise.STRIDES / 3 - 1e-3  # at most three pictures change


def test_ds_loss_is_the_one_it_is_trained_with() -> None:
    torch.manual_seed(0)
    D, x = Discriminator(width=8, class_head=10).eval(), torch.randn(6, 1, 32, 32).clamp(-1, 1)
    with torch.no_grad():
        want = -torch.sigmoid(D(x).source_logit).log()
    torch.testing.assert_close(ch12_memorise.real_loss(D, x), want)


def test_few_images_have_every_class() -> None:
    assert torch.bincount(ch12_memorise.few(20, seed=1).labels).tolist() == [2] * 10
    assert len(ch12_memorise.few(10_000, seed=1)) == len(fashion_mini("train"))


def test_the_recipe_runs_and_records_nothing_that_is_too_short(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    results = tmp_path / "memorise.json"
    monkeypatch.setattr(ch12_memorise, "MEMORISE_RESULTS", results)
    monkeypatch.setattr(ch12_memorise, "SIZES", (20,))
    monkeypatch.setattr(ch12_memorise, "WALKS", 3)
    monkeypatch.setattr(ch12_memorise.zoo, "save", lambda *a, **k: pytest.fail("shipped"))
    ch12_memorise.memorise_fashion(1, steps=2)
    assert not results.exists()
    monkeypatch.setattr(ch12_memorise, "STEPS", 2)
    ch12_memorise.memorise_fashion(1, steps=2)
    [row] = json.loads(results.read_text())
    assert (row["model"], row["seed"], row["size"], row["steps"]) == ("acgan on 20", 1, 20, 2)
    kept = {"copies_features", "copies_pixels", "longest_step", "d_train", "d_held_out"}
    assert kept < row.keys()


def test_stored_seeds_are_complete() -> None:
    rows = ch12_memorise.stored()
    assert {(r["size"], r["seed"]) for r in rows} == {
        (n, s) for n in ch12_memorise.SIZES for s in range(3)
    }
    assert ch06_fashion.RESULTS.parent == ch12_memorise.MEMORISE_RESULTS.parent
