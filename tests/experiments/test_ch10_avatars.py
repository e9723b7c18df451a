"""The judges of avatars: their loss, their reading, and that they learn."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.nn.functional as F

from acgan_lib.avatars import FACTORS, KINDS, LEVELS, PALETTES, avatars
from acgan_lib.experiments import _results
from acgan_lib.experiments import ch10_avatars as ch10


def test_the_loss_is_the_sum_of_four_and_skips_missing_glasses() -> None:
    torch.manual_seed(0)
    logits = torch.randn(6, 20)
    factors = torch.tensor([[0, 1, 2, 1], [5, 3, 7, -1], [1, 1, 1, 0]] * 2)
    blocks = [logits[:, :6], logits[:, 6:10], logits[:, 10:18], logits[:, 18:]]
    known = factors[:, 3] >= 0
    wanted = sum(F.cross_entropy(blocks[i], factors[:, i]) for i in range(3))
    wanted += F.cross_entropy(blocks[3][known], factors[known, 3])
    assert ch10.factor_loss(logits, factors) == pytest.approx(float(wanted))


def test_the_reading_is_each_blocks_largest() -> None:
    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.one_hot(torch.tensor([4, 9, 10, 19]), 20).sum(0).float().repeat(len(x), 1)

    read = ch10.read_factors(Fixed(), torch.zeros(3, 3, 16, 16))
    assert read.tolist() == [[4, 3, 0, 1]] * 3


def test_accuracy_counts_by_kind_and_leaves_out_what_a_kind_lacks() -> None:
    test = avatars("test", size=16)
    read = test.factors.clone()
    read[test.labels == 3, 2] = (read[test.labels == 3, 2] + 1) % 8  # dylan's hair, all wrong
    found = ch10.accuracy_by_kind(read, test)
    assert set(found) == set(FACTORS)
    assert found["ground"]["all"].value == found["skin"]["dylan"].value == 1
    assert found["hair"]["dylan"].value == 0
    assert found["hair"]["all"].value == 0.9
    assert set(found["hair"]) == {"all", *KINDS}
    assert set(found["glasses"]) == {"all", *KINDS} - {"big-ears", "dylan", "toon-head"}
    assert found["glasses"]["all"].n == 1400


def test_a_few_steps_read_the_ground_and_leave_the_random_state_alone() -> None:
    train, test = avatars("train", size=16), avatars("test", size=16)
    before = torch.random.get_rng_state()
    judge = ch10.train_factor_judge(train, steps=30)
    assert torch.equal(before, torch.random.get_rng_state())
    assert not judge.training
    read = ch10.read_factors(judge, test.normalised())
    assert (read[:, 0] == test.factor("ground")).float().mean() > 0.9  # chance: 0.17
    with pytest.raises(ValueError, match="steps must"):
        ch10.train_factor_judge(train, steps=0)


@pytest.mark.parametrize("model", ["acgan", "cgan"])
def test_both_recipes_train_and_are_recorded_by_steps_and_seed(
    model: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    kept: list[tuple[dict[str, object], tuple[str, ...]]] = []
    monkeypatch.setattr(ch10, "WIDTH", 4)
    monkeypatch.setattr(ch10, "SHORT_STEPS", 2)
    monkeypatch.setattr(ch10, "drawn", lambda n, size, folder: avatars("train", size))
    monkeypatch.setattr(ch10, "measure", lambda G, size, seed: {"kind": float(seed)})
    monkeypatch.setattr(ch10, "record", lambda name, row, by: kept.append((row, by)))
    ch10.gan_avatars(model, 32, seed=3, steps=2)  # type: ignore[arg-type]
    ch10.gan_avatars(model, 32, seed=3, steps=1)  # type: ignore[arg-type]  # a try is not kept
    assert kept == [
        (
            {"model": f"{model}_avatars32", "seed": 3, "steps": 2, "images": 128, "kind": 3.0},
            ("model", "steps", "seed"),
        )
    ]


def test_real_pictures_keep_every_factor_over_kinds_and_a_shuffled_face_does_not() -> None:
    x = avatars("test", 32).per_class(40, seed=0)
    rows, _ = ch10.read_paired(32)
    measured = ch10._measure(x.normalised(), x.labels, rows, 32)
    assert measured["kind"].value > 0.99
    assert measured["ground_within_25"].value == 1
    assert measured["kept_hair"].value > 0.98
    assert measured["kept_ground"].value > 0.99
    assert measured["combinations_met"] <= 400
    mixed = torch.stack([rows[:, j].roll(31 * j, 0) for j in range(len(KINDS))], 1)
    assert ch10._measure(x.normalised(), x.labels, mixed, 32)["kept_ground"].value < 0.5


def test_an_attributes_score_is_its_log_odds() -> None:
    """Against the softmax's probabilities, in float64."""

    class Fixed(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :20]

    logits = torch.randn(5, 3, 4, 4, generator=torch.Generator().manual_seed(0)).double()
    found = ch10.attribute_scores(Fixed(), logits)
    shares = logits.flatten(1)[:, :20].split(list(LEVELS.values()), dim=1)
    chance = {f: part.softmax(1) for f, part in zip(FACTORS, shares, strict=True)}
    order = {**{f: [*colours] for f, colours in PALETTES.items()}, "glasses": ["off", "on"]}
    for column, (factor, *ends) in zip(found.T, ch10.ATTRIBUTES.values(), strict=True):
        left, right = (chance[factor][:, [order[factor].index(v) for v in e]].sum(1) for e in ends)
        torch.testing.assert_close(column, (right / left).log())


class Coded(torch.nn.Module):
    """A G of pictures whose pixels say what a judge reads: z's first entries move three logits."""

    latent_dim, num_classes = 6, len(KINDS)

    def forward(self, z: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        pixels = torch.zeros(len(z), 3 * 16 * 16)
        pixels[:, 6], pixels[:, 8] = 0.1 - z[:, 0], z[:, 0]  # skin: light, brown
        pixels[:, 10], pixels[:, 12] = 0.1 - z[:, 1], z[:, 1]  # hair: black, blond
        pixels[:, 0] = pixels[:, 18] = 9  # ground: sky; glasses: off
        pixels[:, 100] = y.float()
        return pixels.view(-1, 3, 16, 16)


def test_a_direction_is_measured_at_both_ends(tmp_path, monkeypatch) -> None:
    """Of a G whose skin and hair are two entries of z: what moves, and that all else is kept."""

    class Reads(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)[:, :20]

    class Names(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return F.one_hot(x.flatten(1)[:, 100].long(), len(KINDS)).float()

    monkeypatch.setattr(ch10.zoo, "load", lambda _: Coded())
    monkeypatch.setattr(ch10, "the_judge", lambda n: Names() if n[0] == "j" else Reads())
    chosen = {k: v for k, v in ch10.ATTRIBUTES.items() if "dark" in k}  # hair and skin
    monkeypatch.setattr(ch10, "ATTRIBUTES", chosen)

    def directions(G, attributes, conditioned):
        return {k: torch.eye(6)[0 if k[0] == "s" else 1] for k in attributes if k in chosen}

    monkeypatch.setattr(ch10, "attribute_directions", directions)
    kept = {}
    monkeypatch.setattr(_results, "keep", lambda name, rows: kept.update({name: rows}))
    ch10.measure_directions(n=40, reach=20.0)
    rows = kept["directions"]
    assert [(r["attribute"][:4], r["conditioned"]) for r in rows] == [
        ("hair", False), ("skin", False), ("hair", True), ("skin", True)
    ]  # fmt: skip
    for row in rows:
        assert [row["left"][0].value, row["left"][2].value] == [1, 0]
        assert [row["right"][0].value, row["right"][2].value] == [0, 1]
        assert 0.3 < row["right"][1].value < 0.7
        assert row["right"][1].value + row["left"][1].value == pytest.approx(1)
        assert row["kept"].value == row["kept_kind"].value == row["kept_glasses"].value == 1
        assert row["kept"].n == 40
    assert rows[2]["kept_more"].value == 0
