"""Damaged samples and their scores: which images stand where, and what a verdict needs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Reader, images

from acgan_lib import metrics
from acgan_lib.experiments import ch11_damage, stored
from acgan_lib.metrics import Estimate


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
    rows = ch11_damage.in_order(stored("damage"))
    assert len(rows) == 1 + sum(len(levels) for _, levels in ch11_damage.DAMAGES.values())
    assert [row["kind"] for row in rows[:2]] == ["none", next(iter(ch11_damage.DAMAGES))]
    assert {k for row in rows for k in row} == set(rows[0])


def test_each_score_compares_the_sample_with_the_set_that_it_is_for(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neighbours: the reference is the training data. CAS: tested on what neither has seen."""
    sets = ch11_damage.Sets(*(images(3, 8, lying=lying, seed=lying) for lying in (2, 0, 4)))
    shipped["judge_fashion"] = (Reader(3), {})
    classified: list[tuple[Any, ...]] = []

    def cas(*given: Any, **how: Any) -> Estimate:
        classified.append((*given, how["seed"], how["epochs"]))
        return Estimate(0.5, 0.4, 0.6, 9)

    monkeypatch.setattr(metrics, "cas", cas)
    row = ch11_damage.row_of("none", 0, sets)
    x, y = sets.sample.normalised(), sets.sample.labels
    read = Reader(3).features
    f, real, new = (read(part.normalised()) for part in sets)
    assert row["judge accuracy"] == metrics.proportion(18, 24)
    assert row["frechet judge distance"] == metrics.frechet_estimate(
        f, real, y_b=sets.reference.labels
    )
    assert row["copies"] == metrics.memorisation(f, real, new)
    assert row["precision"] == metrics.manifold(real, f).precision
    similar = metrics.ms_ssim_diversity(x, y, pairs=200)
    assert row["MS-SSIM"] == metrics.ms_ssim_mean(similar)
    for got, wanted in zip(
        classified[0],
        (x, y, sets.held_out.normalised(), sets.held_out.labels, 0, ch11_damage.CAS_EPOCHS),
        strict=True,
    ):
        assert torch.equal(torch.as_tensor(got), torch.as_tensor(wanted))


def test_every_damage_is_recorded(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def row_of(kind: str, level: float, given: Any) -> dict[str, Any]:
        return {"model": f"{kind} {level:g}", "seed": 0, "kind": kind, "level": level}

    monkeypatch.setattr(ch11_damage, "row_of", row_of)
    monkeypatch.setattr(ch11_damage, "sets", lambda: None)
    ch11_damage.damage()
    rows = ch11_damage.in_order(stored("damage"))
    assert [(row["kind"], row["level"]) for row in rows] == ch11_damage.LEVELS
    assert len(rows) == 21
