"""The judge of style: in which units it reads, on which letters, and how well, by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from acgan_lib.experiments import ch13_style
from acgan_lib.glyphs import FACTORS, Glyphs, glyphs
from acgan_lib.judge import Judge


@pytest.fixture(scope="module")
def letters() -> Glyphs:
    """Sixty letters A, whose weight is 100, 200 or 300 and is drawn as their brightness."""
    some = glyphs("test", "A", 16).subset(torch.arange(60))
    weight = 100.0 * (1 + torch.arange(60) % 3)
    factors = some.factors.clone()
    factors[:, FACTORS.index("weight")] = weight
    factors[:, FACTORS.index("slant")] = 5.0
    images = weight[:, None, None, None].expand(-1, 1, 16, 16).to(torch.float32) / 300 * 255
    return replace(some, images=images.to(torch.uint8), factors=factors)


def test_it_reads_a_factor_in_its_own_units(letters: Glyphs) -> None:
    judge = ch13_style.train_style_judge(letters, steps=40, factors=("weight",), seed=1)
    assert not judge.training
    with torch.no_grad():
        read = judge(letters.normalised())
    assert read.shape == (60, 1)
    assert float((read[:, 0] - letters.factor("weight")).abs().max()) < 60
    assert ch13_style.explained(judge, letters, ("weight",))["weight"] > 0.8


def test_before_training_it_reads_near_the_mean(letters: Glyphs) -> None:
    """The standardisation is in the last layer: a judge that knows nothing reads the mean."""
    judge = ch13_style.train_style_judge(letters, steps=1, factors=("weight",))
    with torch.no_grad():
        assert float(judge(letters.normalised()).mean()) == pytest.approx(200, abs=60)


def test_the_seed_decides_and_the_callers_random_state_is_left_alone(letters: Glyphs) -> None:
    def trained(seed: int) -> Tensor:
        return ch13_style.train_style_judge(
            letters, steps=2, factors=("weight",), seed=seed
        ).head.weight.detach()

    torch.manual_seed(5)
    first = trained(3)
    drawn = torch.rand(3)
    torch.manual_seed(5)
    assert torch.equal(torch.rand(3), drawn)
    assert torch.equal(trained(3), first)
    assert not torch.equal(trained(4), first)


def test_a_factor_that_cannot_be_learned_is_named(letters: Glyphs) -> None:
    with pytest.raises(ValueError, match=r"factor 'slant' is not known .* or never varies"):
        ch13_style.train_style_judge(letters, steps=1, factors=("weight", "slant"))
    factors = letters.factors.clone()
    factors[7, FACTORS.index("weight")] = float("nan")
    with pytest.raises(ValueError, match="factor 'weight' is not known for every typeface"):
        ch13_style.train_style_judge(replace(letters, factors=factors), steps=1)
    with pytest.raises(ValueError, match="no factor 'colour'"):
        ch13_style.train_style_judge(letters, steps=1, factors=("colour",))


class Fixed(Judge):
    """Reads what it is told, row by row."""

    def __init__(self, said: Tensor) -> None:
        super().__init__(said.shape[1])
        self.said = said

    def forward(self, x: Tensor) -> Tensor:
        """Return what was said, whatever the images."""
        return self.said[: len(x)]


def test_the_share_explained_is_r_squared_of_each_factor(letters: Glyphs) -> None:
    weight = letters.factor("weight")
    said = torch.stack([weight + 50, letters.factor("stem")], dim=1)
    found = ch13_style.explained(Fixed(said), letters, ("weight", "stem"))
    assert found["weight"] == pytest.approx(1 - 50**2 / float(weight.var(correction=0)), rel=1e-5)
    assert found["stem"] == 1
    mean = weight.mean().expand(60, 1)
    assert ch13_style.explained(Fixed(mean), letters, ("weight",))["weight"] == pytest.approx(0)
