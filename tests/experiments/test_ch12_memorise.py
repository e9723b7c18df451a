"""The recipe that trains on few images, and its checks: on which images they are made."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Head, Painter, Reader, images
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.experiments import ch12_memorise, stored
from acgan_lib.fashion import fashion_mini
from acgan_lib.nets import Discriminator, DiscriminatorOutput, Generator


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


class Bright(Head):
    """A D that finds bright images real."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Return the brightness as the source logit."""
        return super().forward(x)._replace(source_logit=x.mean((1, 2, 3)))


def test_copies_are_sought_in_the_training_images_and_held_out_ones_are_the_test_set(
    shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train, held_out = images(10, 4, seed=1), images(10, 9, seed=2)
    shipped["judge_fashion"] = (Reader(10), {})
    asked = []

    def mini(split: str) -> Any:
        asked.append(split)
        return held_out

    monkeypatch.setattr(ch12_memorise, "fashion_mini", mini)
    monkeypatch.setattr(ch12_memorise, "WALKS", 3)
    G, D = Painter(10), Bright(10, 10)
    found = ch12_memorise.examine(G, D, train, 5)
    assert asked == ["test"]
    x, y = metrics.sample(G, 100, seed=5)
    sets = x, train.normalised(), held_out.normalised()
    read = [Reader(10).features(part) for part in sets]
    assert found["copies_features"] == metrics.memorisation(*read)
    assert found["copies_pixels"] == metrics.memorisation(*sets, p=1)
    assert found["judge_accuracy"] == metrics.proportion(1_000, 1_000)
    assert found["frechet_judge_distance"] == metrics.frechet_estimate(
        read[0], read[2], y_a=y, y_b=held_out.labels
    )
    for name, part in zip(("d_generated", "d_train", "d_held_out"), sets, strict=True):
        loss = torch.nn.functional.softplus(-part.mean((1, 2, 3)))
        assert found[name].value == pytest.approx(float(loss.mean()), abs=1e-6)
        assert found[name].n == len(part)
    assert 1 <= found["longest_step"].value <= ch12_memorise.STRIDES


def test_the_longest_step_is_measured_in_means_by_hand() -> None:
    """The judge sees z's first coordinate cubed: its steps along a straight walk are known."""

    def cubed(x: Tensor) -> Tensor:
        return (10 * x[:, 0, 0, :1].double()) ** 3

    found = ch12_memorise.longest_steps(Smooth(width=4), cubed, seed=3, walks=6, kind="linear")
    ends = torch.randn(6, 2, 100, generator=torch.Generator().manual_seed(703))[:, :, 0].double()
    for i, (a, b) in enumerate(ends):
        points = torch.linspace(0, 1, ch12_memorise.STRIDES + 1).double() * (b - a) + a
        steps = (points**3).diff().abs()
        assert float(found[i]) == pytest.approx(float(steps.max() / steps.mean()), rel=1e-3)


def test_the_recipe_runs_and_records_nothing_that_is_too_short(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped["judge_fashion"] = (Reader(10), {})
    monkeypatch.setattr(ch12_memorise, "fashion_mini", lambda split: images(10, 9))
    monkeypatch.setattr(ch12_memorise, "SIZES", (20,))
    monkeypatch.setattr(ch12_memorise, "WALKS", 3)
    monkeypatch.setattr(ch12_memorise._common, "ship", lambda *a, **k: pytest.fail("shipped"))
    ch12_memorise.memorise_fashion(1, steps=2)
    assert not (results / "memorise.json").exists()
    monkeypatch.setattr(ch12_memorise, "STEPS", 2)
    ch12_memorise.memorise_fashion(1, steps=2)
    [row] = stored("memorise")
    assert (row["model"], row["seed"], row["size"], row["steps"]) == ("acgan on 20", 1, 20, 2)
    kept = {"copies_features", "copies_pixels", "longest_step", "d_train", "d_held_out"}
    assert kept < row.keys()


def test_each_size_trains_on_its_own_images_and_the_smallest_of_seed_0_ships(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    trained, examined = [], []

    def fit(G: Any, D: Any, data: Any, objective: Any, *, steps: int, config: Any) -> Any:
        trained.append((len(data), steps, config.seed))
        return type("Run", (), {"G_ema": G})()

    def examine(G: Any, D: Any, data: Any, seed: int) -> dict[str, float]:
        examined.append(len(data))
        return {"longest_step": 1.5}

    monkeypatch.setattr(ch12_memorise, "fit", fit)
    monkeypatch.setattr(ch12_memorise, "examine", examine)
    for seed in (1, 0):
        ch12_memorise.memorise_fashion(seed)
        assert list(shipped) == ["acgan_few_fashion"] * (seed == 0)
    assert trained == [(n, 1_200, seed) for seed in (1, 0) for n in (20, 200, 10_000)]
    assert examined == [20, 200, 10_000] * 2
    G, facts = shipped["acgan_few_fashion"]
    assert facts["data"].startswith("20 images of ")
    assert (facts["images_seen"], facts["kwargs"]) == (24_000, {"width": 16})
    Generator(**facts["kwargs"]).load_state_dict(G.state_dict())
    assert len(stored("memorise")) == 6


def test_stored_seeds_are_complete() -> None:
    rows = stored("memorise")
    assert {(r["size"], r["seed"]) for r in rows} == {
        (n, s) for n in ch12_memorise.SIZES for s in range(3)
    }
