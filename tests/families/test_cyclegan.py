"""CycleGAN against closed forms: where it starts, what the losses are, what the pool shows."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from acgan_lib.families import cyclegan
from acgan_lib.families.pix2pix import Patch
from acgan_lib.runtime import seed_everything


def translator() -> cyclegan.Translator:
    return cyclegan.Translator(width=8, blocks=1, image_size=16)


def test_a_translator_begins_as_the_identity() -> None:
    seed_everything(0)
    x = torch.rand(4, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(translator()(x), 0.98 * x, rtol=0, atol=1e-5)


def test_white_and_black_can_change() -> None:
    """The slope at the ends of the range is not 0, as it would be at tanh's own ends."""
    seed_everything(0)
    G = translator()
    for end in (-1.0, 1.0):
        G.zero_grad()
        G(torch.full((1, 3, 16, 16), end)).sum().backward()
        assert G.change[-1].bias.grad.abs().min() > 0.03 * 256


def test_no_picture_depends_on_its_batch() -> None:
    seed_everything(0)
    G = translator()
    nn.init.normal_(G.change[-1].weight, 0, 0.1)
    x = torch.rand(3, 3, 16, 16) * 2 - 1
    with torch.no_grad():
        torch.testing.assert_close(G(x)[:1], G(x[:1]), rtol=0, atol=1e-5)
        rows = G.from_weights(x.flatten(1), torch.zeros(3, 0))
        torch.testing.assert_close(rows, G(x), rtol=0, atol=1e-6)
        assert (G(x) - x).abs().mean() > 0.05


class Mean(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.mean((1, 2, 3), keepdim=True)


def test_the_losses_are_least_squares() -> None:
    real, fake = torch.randn(2, 5, 3, 8, 8, dtype=torch.float64)
    a, b = real.mean((1, 2, 3)), fake.mean((1, 2, 3))
    expected = (((a - 1) ** 2).mean() + (b**2).mean()) / 2
    torch.testing.assert_close(cyclegan.d_loss(Mean(), real, fake), expected)
    torch.testing.assert_close(cyclegan.g_loss(Mean(), fake), ((b - 1) ** 2).mean())


def test_the_pool_shows_old_pictures_half_the_time_and_loses_none() -> None:
    """Pictures are numbered: each is in the pool or was shown, and never both at once."""
    torch.manual_seed(0)

    def batch(i: int) -> Tensor:
        return torch.arange(8 * i, 8 * i + 8).float().view(8, 1, 1, 1)

    pool = cyclegan.Pool(24, batch(0))
    assert len(pool.kept) == 24
    pool.kept = -torch.arange(1, 25).float().view(24, 1, 1, 1)
    new_shown, rounds = 0, 400
    held = set(pool.kept.flatten().tolist())
    for i in range(1, rounds + 1):
        new = batch(i)
        shown = set(pool.swap(new).flatten().tolist())
        now = set(pool.kept.flatten().tolist())
        assert len(shown) == 8
        assert len(now) == 24
        assert shown | now == held | set(new.flatten().tolist())
        assert not shown & now
        new_shown += len(shown & set(new.flatten().tolist()))
        held = now
    assert new_shown / (8 * rounds) == pytest.approx(0.5, abs=0.04)
    oldest = 8 * rounds - min(v for v in held if v > 0)
    assert oldest > 24  # some stay far longer than a queue would keep them


def test_a_pool_of_none_shows_the_newest() -> None:
    new = torch.randn(4, 3, 8, 8)
    assert cyclegan.Pool(0, new).swap(new) is new


def test_without_a_weight_a_term_costs_nothing_and_reads_nought() -> None:
    seed_everything(0)
    G_ab, G_ba = translator(), translator()
    D_a, D_b = Patch(3, width=4), Patch(3, width=4)
    calls = {"n": 0}
    G_ab.register_forward_hook(lambda *_: calls.__setitem__("n", calls["n"] + 1))

    def draw() -> tuple[Tensor, Tensor]:
        return torch.rand(4, 3, 16, 16) - 1, torch.rand(4, 3, 16, 16)

    rows = cyclegan.fit(
        G_ab, G_ba, D_a, D_b, draw, steps=2, cycle_weight=0, identity_weight=0, pool=8
    )
    assert calls["n"] == 2
    assert rows[-1][3:] == [0.0, 0.0]
    rows = cyclegan.fit(G_ab, G_ba, D_a, D_b, draw, steps=1, pool=8)
    assert calls["n"] == 2 + 3
    assert len(rows[-1]) == 5
    assert min(rows[-1][3:]) > 0


def test_dark_becomes_bright_and_the_way_back_returns() -> None:
    """Two sets that differ in brightness alone: the game finds that, in some seconds."""
    seed_everything(0)
    G_ab, G_ba = translator(), translator()
    D_a, D_b = Patch(3, width=8, downs=1), Patch(3, width=8, downs=1)

    def draw() -> tuple[Tensor, Tensor]:
        a, b = torch.rand(2, 8, 3, 16, 16)
        return 0.4 * a - 0.8, 0.4 * b + 0.4

    cyclegan.fit(
        G_ab, G_ba, D_a, D_b, draw, steps=200, lr=2e-3, cycle_weight=2, identity_weight=0, pool=16
    )
    a, b = draw()
    with torch.no_grad():
        assert G_ab(a).mean() > 0.2
        assert G_ba(b).mean() < -0.2
        assert (G_ba(G_ab(a)) - a).abs().mean() < 0.15
