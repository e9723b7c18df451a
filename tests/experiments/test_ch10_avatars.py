"""The judges of avatars: their loss, their reading, and that they learn."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from acgan_lib.avatars import FACTORS, KINDS, avatars
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
