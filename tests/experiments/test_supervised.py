"""Chapters 13 and 15 train by the library's one supervised loop, as by loops of their own before.

Their results are recorded, so each loop is written out here and must give the same weights.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.experiments.ch13_style import explained, train_style_judge
from acgan_lib.experiments.ch15_labels import train_classifier
from acgan_lib.glyphs import Glyphs, glyphs
from acgan_lib.judge import Judge, random_shift
from acgan_lib.nets import Discriminator
from acgan_lib.runtime import pick_device, supports_bf16

FACTORS = ("weight", "slant")
pytestmark = pytest.mark.skipif(pick_device().type != "cpu", reason="compares bits on the CPU")


@pytest.fixture(scope="module")
def letters() -> Glyphs:
    return glyphs("train", "AB", 32)


def logits(network: nn.Module, x: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16, enabled=supports_bf16("cpu")):
        output = network(x.contiguous(memory_format=torch.channels_last))
    return output if isinstance(output, Tensor) else output.class_logits


def test_the_judge_of_style_is_this_loop(letters: Glyphs) -> None:
    targets = torch.stack([letters.factor(name) for name in FACTORS], 1)
    mean, std = targets.mean(0), targets.std(0)
    with torch.random.fork_rng():
        torch.manual_seed(2)
        judge = Judge(len(FACTORS)).to(memory_format=torch.channels_last)
        optimiser = torch.optim.AdamW(judge.parameters(), 2e-3, weight_decay=0.02, fused=True)
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimiser, 2e-3, 7, pct_start=0.2, cycle_momentum=False
        )
        draws = torch.Generator().manual_seed(2)
        for _ in range(7):
            rows = torch.randint(0, len(letters), (128,), generator=draws)
            read = logits(judge, random_shift(letters.normalised(rows), draws))
            optimiser.zero_grad()
            (read.float() - ((targets - mean) / std)[rows]).square().mean().backward()
            optimiser.step()
            schedule.step()
    found = train_style_judge(letters, steps=7, factors=FACTORS, seed=2)
    want = judge.state_dict()
    want["head.weight"] = want["head.weight"] * std[:, None]
    want["head.bias"] = want["head.bias"] * std + mean
    for name, value in found.state_dict().items():
        assert torch.equal(value, want[name]), name
    assert not found.training


def test_explained_is_the_share_of_the_variance(letters: Glyphs) -> None:
    truth = torch.stack([letters.factor(name) for name in FACTORS], 1)
    rows = {x.numpy().tobytes(): i for i, x in enumerate(letters.normalised())}

    class Reads(Judge):
        """Knows the weight; says the mean slant of everything."""

        def forward(self, x: Tensor) -> Tensor:
            index = [rows[image.numpy().tobytes()] for image in x]
            return torch.stack([truth[index, 0], truth[:, 1].mean().expand(len(x))], 1)

    found = explained(Reads(2), letters, FACTORS)
    assert found["weight"] > 0.9  # letters that look alike share a row
    assert found["slant"] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize("shift", [0, 1])
def test_the_classifier_is_this_loop(letters: Glyphs, shift: int) -> None:
    steps, rate = 5, 1e-3
    with torch.random.fork_rng():
        torch.manual_seed(3)
        D = Discriminator(width=4, class_head=2).to(memory_format=torch.channels_last)
        optimiser = torch.optim.Adam(D.parameters(), rate, (0.5, 0.999), fused=True)
        shifts = torch.Generator().manual_seed(3)
        for step in range(steps):
            optimiser.param_groups[0]["lr"] = rate * (1 - step / steps)
            x, y = letters.batch(step, 50, seed=3)
            said = logits(D, random_shift(x, shifts, shift))
            optimiser.zero_grad()
            F.cross_entropy(said.float(), y).backward()
            optimiser.step()
    found = train_classifier(letters, steps=steps, seed=3, shift=shift, width=4)
    for name, value in D.state_dict().items():
        assert torch.equal(found.state_dict()[name], value), name
    assert not found.training
