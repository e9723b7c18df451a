"""Recorded games: what a frame holds against direct computation, and the widget that carries it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acgan_lib import nets, objectives, toy
from acgan_lib.widgets import playground

STEPS, HEAD_START = 12, 3
GAME: dict[str, Any] = {"batch_size": 32, "lr_g": 3e-3, "lr_d": 3e-3, "seed": 4}


def players() -> tuple[toy.PointGenerator, toy.PointDiscriminator]:
    torch.manual_seed(1)
    return toy.PointGenerator(width=16), toy.PointDiscriminator(width=16)


def short(*, saturating: bool = False, **changes: Any) -> playground.Recording:
    objective = objectives.gan(saturating=saturating)
    arguments = {"steps": STEPS, "frames": 4, "count": 20, "side": 9, **GAME, **changes}
    return playground.record(*players(), toy.ring(), objective, **arguments)


def after(steps: int, *, head_start: int = 0) -> tuple[nn.Module, nn.Module]:
    """The players after so many steps of the same game, played without a recorder, in float64."""
    G, D = players()
    if head_start:
        toy.play(G, D, toy.ring(), objectives.gan(), steps=head_start, **{**GAME, "lr_g": 0.0})
    toy.play(G, D, toy.ring(), objectives.gan(), steps=steps, **GAME)
    return G.double(), D.double()


def latents(count: int) -> Tensor:
    """The latents that a recording draws."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(playground.MEASURED, 2, generator=generator)[:count].double()


def near(got: Tensor, expected: Tensor, scale: float) -> bool:
    """Equal to half a scale, and to what float32 loses on the way."""
    slack = 0.5 * scale + 1e-5 * float(expected.abs().max())
    return got.shape == expected.shape and bool((got - expected).abs().max() <= slack)


@pytest.mark.parametrize("head_start", [0, HEAD_START])
def test_a_frame_is_what_the_players_compute_at_that_step(head_start) -> None:
    """Points, field and pushes, against G, D and the loss's derivative in float64."""
    run = short(head_start=head_start)
    assert run.steps == [0, 4, 8, 12]
    for index, step in enumerate(run.steps):
        G, D = after(step, head_start=head_start)
        got, (of_points, of_pushes, of_logits) = run.frame(index), run.scales[index]
        points = G(latents(20)).detach().requires_grad_()
        assert near(got.points, points.detach(), of_points)
        logits = D(playground.lattice(run.reach, 9).double()).source_logit.detach()
        assert near(got.logits.flatten(), logits, of_logits)
        logit = D(points).source_logit
        [slope] = torch.autograd.grad(logit.sum(), points)
        push = (1 - logit.sigmoid()).detach()[:, None] * slope  # of softplus(-logit), turned
        assert near(got.pushes, push, of_pushes)


def test_the_saturating_push_is_the_other_one_times_the_odds() -> None:
    """P / (1 - P) at the same point of the same D: before the first step nothing else differs."""
    literal, other = short(saturating=True, head_start=60), short(head_start=60)
    _, D = after(0, head_start=60)
    odds = D(other.frame(0).points).source_logit.exp().detach()[:, None]
    assert near(literal.frame(0).pushes, odds * other.frame(0).pushes, 3 * other.scales[0][1])
    assert odds.max() < 0.5  # else the test could not tell them apart


def test_numbers_are_over_all_samples() -> None:
    run = short()
    G, D = after(STEPS)
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(playground.MEASURED, 2, generator=generator).double()
    real = toy.ring().sample(playground.MEASURED, generator).double()
    samples = G(z)
    p_real, p_fake = (D(x).source_logit.sigmoid().detach() for x in (real, samples))
    covered = toy.coverage(toy.ring(), samples.detach().float())
    expected = {
        "modes": covered.modes,
        "high_quality": covered.high_quality,
        "V": float(p_real.log().mean() + (1 - p_fake).log().mean()),
        "d_real": float(p_real.mean()),
        "d_fake": float(p_fake.mean()),
    }
    for name, value in expected.items():
        assert run.numbers[name][-1] == pytest.approx(value, rel=1e-3, abs=1e-9), name
    every = short(count=playground.MEASURED)
    median = float(every.frame(-1).pushes.norm(dim=1).median())
    assert run.numbers["push"][-1] == pytest.approx(median, rel=2e-3)


def test_recording_does_not_change_the_game() -> None:
    G, D = players()
    arguments = {"steps": STEPS, "frames": 13, "count": 5, "side": 4, **GAME}
    playground.record(G, D, toy.ring(), objectives.gan(), **arguments)
    alone = after(STEPS)
    for seen, played in zip((G, D), alone, strict=True):
        for a, b in zip(seen.parameters(), played.parameters(), strict=True):
            assert torch.equal(a.double(), b)
            assert a.requires_grad


def test_a_head_start_trains_d_alone() -> None:
    fresh, ahead = short().frame(0), short(head_start=HEAD_START).frame(0)
    assert torch.equal(fresh.points, ahead.points)
    assert (fresh.logits - ahead.logits).abs().max() > 0.01


class _Slope(nn.Module):
    """D whose logit is x + 10 y."""

    def __init__(self) -> None:
        super().__init__()
        self.by = nn.Parameter(torch.tensor([1.0, 10.0]))

    def forward(self, x: Tensor) -> nets.DiscriminatorOutput:
        return nets.DiscriminatorOutput(x @ self.by, None)


def test_the_field_lies_the_right_way_round() -> None:
    """Columns go with x, rows with y, the lowest row first; pushes go uphill in D's logit."""
    G, _ = players()
    settings = {"steps": 1, "frames": 2, "count": 5, "side": 3, "lr_g": 0.0, "lr_d": 0.0}
    run = playground.record(G, _Slope(), toy.ring(), objectives.gan(), **settings)
    r = run.reach
    expected = torch.tensor([[x + 10 * y for x in (-r, 0, r)] for y in (-r, 0, r)])
    assert near(run.frame(0).logits, expected.double(), run.scales[0][2])
    push = run.frame(0).pushes
    assert bool((push > 0).all())
    torch.testing.assert_close(push[:, 1], 10 * push[:, 0], rtol=1e-2, atol=run.scales[0][1] * 11)


@pytest.mark.parametrize("kind", [np.int8, np.int16])
@pytest.mark.parametrize("size", [0.0, 1e-9, 1.0, 3e6])
def test_rounding_is_off_by_half_a_scale_at_most(kind, size) -> None:
    values = size * torch.linspace(-1, 1, 1001)
    scale, integers = playground.quantise(values, kind)
    error = np.abs(integers.astype(np.float64) * scale - values.double().numpy()).max()
    assert error <= 0.5 * scale * (1 + 1e-9)
    assert scale <= 1.01 * size / np.iinfo(kind).max or size == 0
    assert integers.min() == -integers.max()


def test_the_widget_carries_its_recordings() -> None:
    """What the page would get, as text, gives back every frame."""
    runs = {"one": short(), "two": short(saturating=True)}
    widget = playground.Playground(runs, show="two", compare="one", frame=1)
    spec = json.loads(json.dumps(widget.get_state()["spec"]))
    assert [spec["names"][spec[key]] for key in ("show", "compare")] == ["two", "one"]
    assert spec["frame"] == 1
    for name, kept in zip(spec["names"], spec["runs"], strict=True):
        back = playground.Recording(**kept)
        assert back == runs[name]
        for got, expected in zip(back.frame(2), runs[name].frame(2), strict=True):
            assert torch.equal(got, expected)
    assert repr(widget) == "Playground(one, two; frames=4, points=20)"
    assert playground.Playground(runs).spec["frame"] == 3


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"show": "three"}, "no recording 'three'"),
        ({"compare": "three"}, "no recording 'three'"),
        ({"frame": 4}, "frame must lie in -4..3"),
    ],
)
def test_a_widget_says_what_does_not_fit(wrong, words) -> None:
    with pytest.raises(ValueError, match=words):
        playground.Playground({"one": short()}, **wrong)
    with pytest.raises(ValueError, match="empty"):
        playground.Playground({})


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"frames": 1}, "frames must lie in 2..13"),
        ({"frames": 14}, "frames must lie in 2..13"),
        ({"count": 1001}, "count must lie in 1..1000"),
    ],
)
def test_record_says_what_does_not_fit(wrong, words) -> None:
    with pytest.raises(ValueError, match=words):
        short(**wrong)


def test_only_the_plane_can_be_recorded() -> None:
    cube = toy.Mixture(torch.zeros(1, 3), 0.1)
    with pytest.raises(ValueError, match="not 3 dimensions"):
        playground.record(*players(), cube, objectives.gan(), steps=5)
