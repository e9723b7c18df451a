"""pix2pix against closed forms: what a logit sees, what the losses are, what comes across."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from acgan_lib.families import pix2pix
from acgan_lib.runtime import seed_everything


@pytest.mark.parametrize(("downs", "across"), [(0, 3), (1, 8), (2, 18), (3, 38)])
def test_a_logit_sees_its_field_and_no_pixel_more(downs: int, across: int) -> None:
    """By gradients: which input pixels move the logit in the middle of a large picture."""
    assert pix2pix.field(downs) == across
    seed_everything(0)
    D = pix2pix.Patch(2, width=4, downs=downs).eval().double()
    assert D.field == across
    for p in D.parameters():  # no weight is 0 by chance, and no leaky ReLU hides a path
        p.data.abs_().add_(0.1)
    x = torch.rand(1, 2, 128, 128, dtype=torch.float64, requires_grad=True)
    logits = D(x)
    assert logits.shape == (1, 1, 128 // 2**downs, 128 // 2**downs)
    middle = logits.shape[-1] // 2
    logits[0, 0, middle, middle].backward()
    seen = x.grad.abs().amax((0, 1)) > 0
    for axis in (0, 1):
        places = torch.nonzero(seen.any(axis)).flatten()
        assert int(places[-1] - places[0]) + 1 == across
    assert int(seen.sum()) == across**2


def test_the_default_d_sees_nothing_of_the_other_pictures_in_a_batch() -> None:
    seed_everything(0)
    D = pix2pix.Patch(3)
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    D(x)[0].sum().backward()
    assert x.grad[0].abs().sum() > 0
    assert x.grad[1].abs().sum() == 0


class Constant(nn.Module):
    """A D that answers with the mean of the picture's first map, whatever the drawing."""

    def __init__(self, map_of_picture: int) -> None:
        super().__init__()
        self.map = map_of_picture

    def forward(self, x: Tensor) -> Tensor:
        return x[:, self.map : self.map + 1].mean((2, 3), keepdim=True)


def test_the_losses_are_their_formulas() -> None:
    g = torch.Generator().manual_seed(1)
    given = torch.rand(4, 2, 8, 8, generator=g, dtype=torch.float64)
    real, fake = torch.randn(2, 4, 3, 8, 8, generator=g, dtype=torch.float64)
    D = Constant(2)
    a, b = real[:, 0].mean((1, 2)), fake[:, 0].mean((1, 2))
    expected = -(torch.sigmoid(a).log().mean() + (1 - torch.sigmoid(b)).log().mean())
    torch.testing.assert_close(pix2pix.d_loss(D, given, real, fake), expected)
    expected = 7 * (real - fake).abs().mean() - 3 * torch.sigmoid(b).log().mean()
    loss = pix2pix.g_loss(D, given, real, fake, l1_weight=7, gan_weight=3)
    torch.testing.assert_close(loss, expected)
    alone = pix2pix.g_loss(nn.Module(), given, real, fake, l1_weight=2, gan_weight=0)
    torch.testing.assert_close(alone, 2 * (real - fake).abs().mean())


def test_at_chance_d_pays_two_log_two() -> None:
    zero = torch.zeros(2, 3, 8, 8)
    loss = pix2pix.d_loss(Constant(1), torch.ones(2, 1, 8, 8), zero, zero)
    assert float(loss) == pytest.approx(2 * math.log(2))


def test_l1s_best_constant_is_the_median_channel_by_channel() -> None:
    """What the chapter derives: told nothing, L1 alone draws the median of the palette."""
    from acgan_lib.avatars import colours

    palette = colours("hair").double()
    best = torch.linspace(0, 255, 256).double()
    for channel in palette.T:
        cost = (channel[None] - best[:, None]).abs().mean(1)
        least = best[cost < cost.min() + 1e-9]
        low, high = channel.sort().values[3:5]
        assert float(least.min()) == low
        assert float(least.max()) == high


def test_edges_are_where_neighbours_differ() -> None:
    x = torch.zeros(1, 3, 6, 6)
    x[0, 1, 2:4, 2:4] = 0.3
    found = pix2pix.edges(x)[0, 0]
    expected = torch.zeros(6, 6)
    for row in range(6):
        for column in range(6):
            here = float(x[0, 1, row, column])
            right = float(x[0, 1, row, column + 1]) if column < 5 else here
            below = float(x[0, 1, row + 1, column]) if row < 5 else here
            expected[row, column] = float(max(abs(here - right), abs(here - below)) > 0.25)
    assert torch.equal(found, expected)
    assert found.sum() == 7
    assert pix2pix.edges(x, threshold=0.35).sum() == 0


def test_a_hand_thickens_half_and_leaves_out_a_rectangle_of_half() -> None:
    torch.manual_seed(0)
    drawing = torch.zeros(4000, 1, 16, 16)
    drawing[:, :, 8] = 1
    changed = pix2pix.by_hand(drawing)
    assert set(changed.unique().tolist()) == {0.0, 1.0}
    rows = changed.amax(3)[:, 0]
    thick = rows[:, 7] > 0  # grown to the row above
    assert 0.45 < float(thick.float().mean()) < 0.53  # half, less a row now and then rubbed out
    assert (rows[:, [*range(7), *range(9, 16)]] == 0).all()
    rubbed = (changed[:, 0, 8] == 0).any(1)
    assert 0.1 < float(rubbed.float().mean()) < 0.5


def test_the_drawing_comes_across_the_bottleneck() -> None:
    """A pixel of the drawing moves the picture at its place even if the bottleneck is cut."""
    seed_everything(0)
    G = pix2pix.UNet(told=3, width=8, image_size=32).eval()
    told = torch.zeros(1, 3)
    blank, dot = torch.zeros(2, 1, 1, 32, 32)
    dot[0, 0, 9, 20] = 1
    for p in G.up[0].parameters():
        p.data.zero_()
    moved = (G(dot, told) - G(blank, told)).abs().sum((0, 1))
    assert moved[9, 20] > 0
    assert G(blank, told).shape == (1, 3, 32, 32)


def test_exported_networks_are_called_as_rows() -> None:
    seed_everything(0)
    G = pix2pix.UNet(told=2, width=8, image_size=16).eval()
    drawing, told = torch.rand(3, 1, 16, 16).round(), torch.rand(3, 2)
    assert torch.equal(G(drawing, told), G.from_weights(drawing.flatten(1), told))


@pytest.mark.parametrize(
    "shapes", [((2, 1, 30, 32), (2, 3)), ((2, 2, 32, 32), (2, 3)), ((2, 1, 32, 32), (1, 3))]
)
def test_a_wrong_shape_is_named(shapes) -> None:
    with pytest.raises(ValueError, match="need a drawing"):
        pix2pix.UNet(told=3, width=8)(*(torch.zeros(s) for s in shapes))


def test_a_training_learns_and_its_rate_falls_in_the_second_half() -> None:
    """G learns to colour by what it is told; rates are those of the formula."""
    seed_everything(0)
    G, D = pix2pix.UNet(told=3, width=8, image_size=16), pix2pix.Patch(7, width=8, downs=1)

    def draw() -> tuple[Tensor, Tensor, Tensor]:
        told = torch.randint(0, 2, (16, 3)).float() * 2 - 1
        return torch.zeros(16, 1, 16, 16), told, told[:, :, None, None].expand(-1, -1, 16, 16) * 0.8

    rows = pix2pix.fit(G, D, draw, steps=205, lr=2e-3)
    assert [row[0] for row in rows] == [*range(20, 201, 20), 205]
    assert not G.training
    drawing, told, real = draw()
    with torch.no_grad():
        assert (G(drawing, told) - real).abs().mean() < 0.2


def test_the_rates_by_steps_and_by_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Linear(1, 1)
    optimiser = pix2pix.adam(net, 0.1)
    seen: list[float] = []

    def step() -> tuple[Tensor]:
        seen.append(float(optimiser.param_groups[0]["lr"]))
        return (torch.zeros(()),)

    pix2pix.descend(step, [optimiser], steps=8)
    assert seen == pytest.approx([0.1] * 5 + [0.075, 0.05, 0.025])
    now = iter([0.0, 30.0, 60.0, 90.0, 120.0])
    monkeypatch.setattr(pix2pix.time, "perf_counter", lambda: next(now))
    seen.clear()
    pix2pix.set_rate(optimiser, 0.1)
    rows = pix2pix.descend(step, [optimiser], steps=1000, seconds=100)
    assert [row[0] for row in rows] == [20, 40, 60, 80]
    assert seen[::20] == pytest.approx([0.1, 0.1, 0.08, 0.02])
    with pytest.raises(ValueError, match="at least 1"):
        pix2pix.descend(step, [optimiser], steps=0)
