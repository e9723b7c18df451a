"""Class swaps: agreement, a rewired generator, pairs, and what the recordings must hold."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from standins import Painter, Reader, images

from acgan_lib import metrics
from acgan_lib.experiments import ch13_swaps, stored
from acgan_lib.experiments.ch13_style import STYLE
from acgan_lib.glyphs import glyphs
from acgan_lib.metrics.swap import without_floor
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Batch, Needs, acgan
from acgan_lib.train import TrainConfig, fit


@pytest.fixture
def G() -> Generator:
    torch.manual_seed(0)
    G = Generator(latent_dim=6, num_classes=3, width=4).double().eval()
    with torch.no_grad():
        for weight in G.parameters():
            weight.mul_(20)  # a fresh G draws nearly the same grey for every z
    return G


def signed_orders(K: int, d: int) -> torch.Tensor:
    """Orthogonal matrices that reorder coordinates and flip signs, another one for each class."""
    g = torch.Generator().manual_seed(1)
    orders = torch.stack([torch.eye(d)[torch.randperm(d, generator=g)] for _ in range(K)])
    return (orders * (torch.randint(0, 2, (K, 1, d), generator=g) * 2 - 1)).double()


# -- agreement ---------------------------------------------------------------------------------


def test_agreement_is_the_correlation_with_the_mean_of_the_others() -> None:
    v = torch.randn(40, 5, generator=torch.Generator().manual_seed(0)) + torch.arange(40)[:, None]
    v[:, 2] *= -1
    wanted = [np.corrcoef(v[:, k], np.delete(v.numpy(), k, axis=1).mean(1))[0, 1] for k in range(5)]
    assert ch13_swaps.agreement(v) == pytest.approx(wanted, abs=1e-6)
    assert min(wanted) == wanted[2] < -0.9


@pytest.mark.parametrize("v", [torch.ones(4, 3), torch.randn(4), torch.randn(1, 3)])
def test_agreement_refuses_what_has_none(v) -> None:
    with pytest.raises(ValueError, match="2 rows and 2 columns"):
        ch13_swaps.agreement(v)


# -- the rewired generator ---------------------------------------------------------------------


def test_rewired_draws_the_class_from_the_turned_latent(G) -> None:
    turns = signed_orders(3, 6)
    z = torch.randn(9, 6, dtype=torch.float64)
    y = torch.arange(3).repeat(3)
    with torch.no_grad():
        drawn = ch13_swaps.Rewired(G, turns).eval()(z, y)
        each = [G((z[i] @ turns[y[i]])[None], y[i : i + 1])[0] for i in range(9)]
    assert torch.allclose(drawn, torch.stack(each), atol=1e-12)
    assert not torch.allclose(drawn, G(z, y), atol=1e-2)


def test_no_loss_of_acgan_sees_the_rewiring(G) -> None:
    turns = signed_orders(3, 6)
    D = Discriminator(width=4, class_head=3).double().eval()
    z, y = torch.randn(30, 6, dtype=torch.float64), torch.arange(3).repeat(10)
    back = torch.stack([turns[k] @ row for k, row in zip(y, z, strict=True)])
    real = Batch(torch.rand(30, 1, 32, 32, dtype=torch.float64), y)
    with torch.no_grad():
        one, other = Batch(G(z, y), y), Batch(ch13_swaps.Rewired(G, turns).eval()(back, y), y)
        for before, after in (
            (acgan().d_loss(D, real, one), acgan().d_loss(D, real, other)),
            (acgan().g_loss(D, one), acgan().g_loss(D, other)),
        ):
            for term, value in before.items():
                assert torch.isclose(value, after[term], atol=1e-12), term


def test_rewired_refuses_turns_of_another_shape(G) -> None:
    with pytest.raises(ValueError, match=r"turns must have shape \(3, 6, 6\)"):
        ch13_swaps.Rewired(G, torch.eye(6).expand(2, 6, 6))


# -- pairs -------------------------------------------------------------------------------------


def test_a_pair_is_the_class_and_the_next_from_one_z(G) -> None:
    z, y = torch.randn(6, 6, dtype=torch.float64), torch.arange(3).repeat(2)
    with torch.no_grad():
        both = ch13_swaps.Pairs(G).eval()(z, y)
        assert torch.allclose(both[:, :1], G(z, y), atol=1e-12)
        assert torch.allclose(both[:, 1:], G(z, (y + 1) % 3), atol=1e-12)


def test_a_real_pair_is_one_typeface() -> None:
    data = glyphs("test", "ABC", 16)
    pairs = ch13_swaps.real_pairs(data)
    typefaces = len(data) // 3
    assert pairs.images.shape == (len(data), 2, 16, 16)
    for i in (0, typefaces + 3, 2 * typefaces + 5):  # an A, a B, a C
        [row] = torch.nonzero(
            (data.typeface == data.typeface[i]) & (data.labels == (data.labels[i] + 1) % 3)
        )
        assert torch.equal(pairs.images[i, 1], data.images[row.item(), 0])
    with pytest.raises(ValueError, match="letter after letter"):
        ch13_swaps.real_pairs(data.subset(torch.arange(len(data)).flip(0)[: 3 * typefaces - 3]))


# -- the remedies ------------------------------------------------------------------------------


def test_legible_is_acgan_with_a_code_term() -> None:
    torch.manual_seed(0)
    D = Discriminator(width=4, class_head=3, code_head=2).eval()
    x, y, z = torch.rand(8, 1, 32, 32), torch.randint(0, 3, (8,)), torch.randn(8, 6)
    real, fake = Batch(x, y), Batch(x.flip(0), y, z)
    mine, plain = ch13_swaps.legible(codes=2, code_weight=0.5), acgan()
    for got, base in (
        (mine.d_loss(D, real, fake), plain.d_loss(D, real, fake)),
        (mine.g_loss(D, fake), plain.g_loss(D, fake)),
    ):
        [extra] = got.keys() - base.keys()
        for term, value in base.items():
            assert torch.isclose(got[term], value), term
        mean, log_var = D(fake.images).code
        normal = torch.distributions.Normal(mean, (log_var / 2).exp())
        wanted = -0.5 * normal.log_prob(z[:, :2]).sum(1).mean()
        assert torch.isclose(got[extra], wanted, rtol=1e-4)


def test_legible_says_what_it_needs_and_its_weight() -> None:
    wanted = ch13_swaps.legible(codes=2, code_weight=0.5)
    assert wanted.needs == Needs(class_head="K", codes=2, real_labels=True)
    assert dict(wanted.settings) == {"code_weight": 0.5}
    G, data = Generator(num_classes=3, width=4), glyphs("test", "ABC", 32)
    config = TrainConfig(batch_size=4, progress=False)
    with pytest.raises(ValueError, match="code_head=2"):
        fit(G, Discriminator(width=4, class_head=3), data, wanted, steps=1, config=config)


def test_families_are_those_of_the_table() -> None:
    test = glyphs("test", "AB", 16)
    of = ch13_swaps.families(test)
    assert of.shape == (len(test),)
    assert len(of.unique()) == 8
    assert torch.equal(of[: len(of) // 2], of[len(of) // 2 :])  # A and B of one typeface
    assert not set(of.tolist()) & set(ch13_swaps.families(glyphs("train", "A", 16)).tolist())


@pytest.mark.parametrize("kind", ["legible", "pairs"])
def test_a_remedy_trains_and_hands_back_a_generator_of_single_letters(kind) -> None:
    G = ch13_swaps.train_one(kind, seed=0, steps=2, width=4)
    assert type(G) is Generator
    assert G(torch.zeros(2, 100), torch.tensor([0, 9])).shape == (2, 1, 32, 32)


def test_an_unknown_remedy_is_named() -> None:
    with pytest.raises(ValueError, match="kind must be one of acgan, legible, pairs, not 'x'"):
        ch13_swaps.train_one("x", seed=0)


def test_the_recording_holds_three_seeds_of_each_kind_and_shares_in_order() -> None:
    rows = stored("swaps")
    for kind in ch13_swaps.KINDS:
        assert [r["seed"] for r in rows if r["model"] == kind] == [0, 1, 2]
    for row in rows:
        for factor in STYLE:
            kept = row[f"kept_{factor}"]
            assert 0 < kept.low <= kept.value <= kept.high <= 1
            classes = len(row[f"agreement_{factor}"])
            assert row[f"icc_{factor}"] == pytest.approx(without_floor(kept, classes))
            assert len(row[f"agreement_{factor}"]) in (10, 26)


def test_consistency_reports_share_and_agreement_of_each_factor() -> None:
    v = torch.randn(30, 4, generator=torch.Generator().manual_seed(2))
    found = ch13_swaps.consistency({"a": v})
    assert found["kept_a"] == metrics.swap_consistency(v).kept
    assert found["icc_a"] == metrics.swap_consistency(v).icc
    pairs = torch.arange(30) // 2
    grouped = metrics.swap_consistency(v, groups=pairs).kept
    assert ch13_swaps.consistency({"a": v}, pairs)["kept_a"] == grouped
    assert found["agreement_a"] == pytest.approx(ch13_swaps.agreement(v), abs=1e-4)


# -- what is recorded --------------------------------------------------------------------------


def test_each_kind_is_judged_against_unseen_typefaces_and_recorded(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    test, asked = images(10, 6, lying=2), []

    def some(split: str, letters: str, size: int) -> Any:
        asked.append((split, letters, size))
        return test

    shipped["judge_glyphs32"] = (Reader(10), {})
    monkeypatch.setattr(ch13_swaps, "glyphs", some)
    monkeypatch.setattr(ch13_swaps, "train_one", lambda kind, seed, steps: Painter(10))
    monkeypatch.setattr(ch13_swaps, "swap_grid", lambda G, size, seed: {"stem": SWAPPED + seed})
    ch13_swaps.swaps(2, steps=1)
    assert not (results / "swaps.json").exists(), "a try is not recorded"
    ch13_swaps.swaps(2)
    assert asked == [("test", "ABCDEFGHIJ", 32)] * 2
    rows = stored("swaps")
    assert [(r["model"], r["seed"], r["steps"]) for r in rows] == [
        (kind, 2, ch13_swaps.STEPS) for kind in ("acgan", "legible", "pairs")
    ]
    x, y = metrics.sample(Painter(10), 300, seed=2)
    for row in rows:
        assert row["judge_accuracy"] == metrics.proportion(3_000, 3_000)
        assert row["frechet_judge_distance"] == metrics.frechet_judge_distance(
            Reader(10), x, test.normalised(), y_a=y, y_b=test.labels
        )
        assert row["kept_stem"] == metrics.swap_consistency(SWAPPED + 2).kept
    similar = metrics.ms_ssim_diversity(x, y, pairs=100)
    assert rows[0]["ms_ssim"] == metrics.ms_ssim_mean(similar)


SWAPPED = torch.randn(30, 10, generator=torch.Generator().manual_seed(4))


def test_grids_are_of_the_models_that_are_there_and_of_real_typefaces(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def trained(letters: str, size: int, seed: int) -> tuple[str, int, int]:
        if seed == 1 and size == 64:
            raise FileNotFoundError
        return letters, size, seed

    def grid(G: tuple[str, int, int], size: int, seed: int) -> dict[str, torch.Tensor]:
        assert G[1:] == (size, seed)
        return {"stem": SWAPPED[:, : len(G[0])] * (1 + seed)}

    monkeypatch.setattr(ch13_swaps, "trained", trained)
    monkeypatch.setattr(ch13_swaps, "swap_grid", grid)
    monkeypatch.setattr(ch13_swaps, "real_grid", lambda letters, size: {"stem": SWAPPED + size})
    monkeypatch.setattr(ch13_swaps, "families", lambda data: torch.arange(30) // 3)
    ch13_swaps.swap_grids()
    rows = {(r["model"], r["seed"]): r for r in stored("swaps")}
    assert set(rows) == {
        *(("acgan_glyphs32", seed) for seed in range(3)), ("acgan_glyphs64", 0),
        ("acgan_glyphs64", 2), *(("acgan_letters32", seed) for seed in range(3)),
        ("real_glyphs32", 0), ("real_glyphs64", 0), ("real_letters32", 0),
    }  # fmt: skip
    assert rows["acgan_glyphs32", 2]["steps"] == 4_000
    kept = rows["real_glyphs64", 0]["kept_stem"]
    assert kept == metrics.swap_consistency(SWAPPED + 64, groups=torch.arange(30) // 3).kept


def test_the_interval_of_a_swap_is_over_rows_not_over_letters() -> None:
    """All letters agree in each row, in twelve and in three: the columns could not tell why."""
    rows = torch.randn(12, 1, generator=torch.Generator().manual_seed(0))
    noise = 0.5 * torch.randn(12, 1, generator=torch.Generator().manual_seed(1))
    values = torch.cat([rows + noise, rows - noise, rows + noise, rows - noise], dim=1)
    few = metrics.swap_consistency(values).kept
    many = metrics.swap_consistency(values.repeat(25, 1)).kept
    assert many.value == pytest.approx(few.value)
    width, narrow = few.high - few.low, many.high - many.low
    assert narrow / width == pytest.approx(1 / 5, rel=0.35)  # 25 times the rows
