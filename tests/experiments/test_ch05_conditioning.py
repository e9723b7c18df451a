"""CGANs told the label in four ways: the networks, the third kind of fake, what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from standins import Reader, images
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.experiments import ch05_conditioning, stored
from acgan_lib.experiments.ch05_conditioning import (
    ClassNorm,
    ClassNormGenerator,
    cgan_with_wrong_pairs,
    right_label_preferred,
)
from acgan_lib.nets import Discriminator, DiscriminatorOutput, Generator
from acgan_lib.objectives import Batch, cgan


def test_each_class_is_normalised_alike_and_gets_its_own_scale_and_shift() -> None:
    torch.manual_seed(0)
    layer, h = ClassNorm(5, 3).double(), torch.randn(6, 5, 4, 4).double() * 3 + 1
    y = torch.tensor([0, 2, 2, 1, 0, 1])
    plain = nn.BatchNorm2d(5, affine=False).double()
    scale, shift = layer.scale.detach()[y], torch.randn(3, 5).double()
    layer.shift.data.copy_(shift)
    expected = plain(h) * scale[:, :, None, None] + shift[y][:, :, None, None]
    torch.testing.assert_close(layer(h, F.one_hot(y, 3).double()), expected)
    mixed = layer(h, torch.full((6, 3), 1 / 3).double())
    mean = layer.scale.mean(0)[:, None, None], layer.shift.mean(0)[:, None, None]
    plain.reset_running_stats()
    torch.testing.assert_close(mixed, plain(h) * mean[0] + mean[1])


def test_with_equal_rows_the_generator_is_the_one_without_classes() -> None:
    torch.manual_seed(0)
    told, blind = ClassNormGenerator(num_classes=3, width=4), Generator(num_classes=0, width=4)
    weights = dict(told.named_parameters())
    for name, p in blind.named_parameters():
        if name in weights:
            p.data.copy_(weights[name].data)
    norms = [told.norm, *(block[2] for block in told.blocks)]
    for mine, theirs in zip(norms, [blind.norm, *(b[2] for b in blind.blocks)], strict=True):
        mine.scale.data.copy_(theirs.weight.data.expand_as(mine.scale))
        mine.shift.data.copy_(theirs.bias.data.expand_as(mine.shift))
    z, y = torch.randn(6, 100), torch.tensor([0, 1, 2, 0, 1, 2])
    torch.testing.assert_close(told(z, y), blind(z))
    told.blocks[2][2].shift.data[2] += 1  # no BatchNorm behind it mixes the batch
    moved = (told(z, y) - blind(z)).abs().amax(dim=(1, 2, 3)) > 1e-6
    assert moved.tolist() == [False, False, True] * 2, "a class's row moves that class alone"


class Pairs(nn.Module):
    """A D that is sure of the pair (image of grey level k, label k) and of no other."""

    label_input = 10

    def forward(self, x: Tensor, y: Tensor) -> DiscriminatorOutput:
        """Return logit 3 for a right pair and -3 for a wrong one."""
        right = ((x[:, 0, 0, 0] + 1) * 5).round().long() == y
        return DiscriminatorOutput(6.0 * right - 3, None)


def greys(y: Tensor) -> Tensor:
    return (y / 5 - 1).view(-1, 1, 1, 1).expand(-1, 1, 2, 2)


def test_the_third_kind_of_fake_is_real_images_under_wrong_labels_and_counts_half() -> None:
    y = torch.arange(50) % 10
    real, fake = Batch(greys(y), y), Batch(greys(y), y.roll(1))
    terms = cgan_with_wrong_pairs().d_loss(Pairs(), real, fake)
    low = F.softplus(torch.tensor(-3.0))
    for term, weight in (("d_source_real", 1), ("d_source_fake", 0.5), ("d_source_wrong", 0.5)):
        torch.testing.assert_close(terms[term], weight * low)
    plain = cgan()
    assert cgan_with_wrong_pairs().g_loss(Pairs(), fake) == plain.g_loss(Pairs(), fake)
    assert cgan_with_wrong_pairs().needs == plain.needs


def test_a_d_that_uses_the_label_prefers_the_right_one_and_a_deaf_one_is_at_a_half() -> None:
    y = torch.arange(100) % 10
    assert right_label_preferred(Pairs(), greys(y), y).value == 1  # type: ignore[arg-type]
    assert right_label_preferred(Pairs(), greys(y), (y + 5) % 10).value < 0.6  # type: ignore[arg-type]
    torch.manual_seed(0)
    deaf = Discriminator(width=4, label_input=10).eval()
    with torch.no_grad():
        deaf.trunk[0][0].parametrizations.weight.original[:, 1:] = 0  # the ten label maps
    x = torch.rand(100, 1, 32, 32) * 2 - 1
    assert right_label_preferred(deaf, x, y) == metrics.proportion(50, 100)


def test_every_model_of_a_seed_is_recorded_once(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    sets = {"train": images(10, 20, seed=1), "test": images(10, 6, lying=2, seed=2)}
    shipped["judge_fashion"] = (Reader(10), {})
    monkeypatch.setattr(ch05_conditioning, "fashion_mini", sets.__getitem__)
    monkeypatch.setattr(ch05_conditioning, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ch05_conditioning, "WIDTH", 4)
    few = lambda G, n, seed: metrics.sampling.sample(G, 6, seed=seed)  # noqa: E731
    monkeypatch.setattr(metrics, "sample", few)
    trained: list[str] = []

    def fit(G: Any, D: Any, data: Any, objective: Any, **rest: Any) -> Any:
        trained.append(f"{type(G).__name__}, {D.label_input}, {objective.name}")
        return real_fit(G, D, data, objective, **rest)

    real_fit = ch05_conditioning.fit
    monkeypatch.setattr(ch05_conditioning, "fit", fit)
    ch05_conditioning.conditioning(3, steps=1)
    assert not results.exists(), "a run to try it out records nothing"
    assert trained == [
        "Generator, 0, gan", "Generator, 10, cgan", "ClassNormGenerator, 10, cgan",
        "Generator, 10, cgan with wrong pairs",
    ]  # fmt: skip
    monkeypatch.setattr(ch05_conditioning, "STEPS", 2)
    ch05_conditioning.conditioning(3, steps=2)
    ch05_conditioning.conditioning(3, steps=2)
    assert len(trained) == 8, "what is recorded is not trained again"
    rows = stored("conditioning")
    assert [row["model"] for row in rows] == sorted(ch05_conditioning.MODELS)
    for row in rows:
        assert (row["seed"], row["steps"], row["judge_accuracy"].n) == (3, 2, 60)
        assert ("right_label_preferred" in row) == (row["model"] != "D blind")
        assert len(row["accuracy_by_class"]) == 10


def test_the_recorded_trainings_are_five_of_each_kind() -> None:
    rows = stored("conditioning")
    found = [(row["model"], row["seed"], row["steps"]) for row in rows]
    assert found == [
        (model, seed, ch05_conditioning.STEPS)
        for model in sorted(ch05_conditioning.MODELS)
        for seed in range(5)
    ]
