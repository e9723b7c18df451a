"""Chapter 16's probes: the ridge against refits, features against D itself, masks by hand."""

from __future__ import annotations

import pytest
import torch

from acgan_lib.experiments import ch16_transfer
from acgan_lib.nets import Discriminator


def data(n: int, d: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, d, generator=generator, dtype=torch.float64) + 3
    return x, x[:, :2] ** 2 + 0.3 * torch.randn(n, 2, generator=generator, dtype=torch.float64)


def refit(x: torch.Tensor, y: torch.Tensor, penalty: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The textbook's ridge with an intercept that is not penalised."""
    mean = x.mean(0)
    a = (x - mean).T @ (x - mean) + penalty * torch.eye(x.shape[1], dtype=torch.float64)
    weight = torch.linalg.solve(a, (x - mean).T @ (y - y.mean(0)))
    return weight, y.mean(0) - mean @ weight


@pytest.mark.parametrize(("n", "d"), [(30, 6), (12, 40)])
def test_ridge_is_the_textbooks_and_its_penalty_the_best_of_real_refits(n: int, d: int) -> None:
    x, y = data(n, d)
    found = ch16_transfer.ridge(x, y)
    weight, bias = refit(x, y, found.penalty)
    torch.testing.assert_close(found.weight, weight, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(found.bias, bias, rtol=1e-6, atol=1e-8)

    centred = x - x.mean(0)
    mean_value = float(centred.square().sum()) / min(n, d)
    errors = {}
    for power in range(-5, 4):
        missed = 0.0
        for i in range(n):
            # Left out of the fit, but the features stay centred on all rows, as in the formula:
            # the intercept is refitted, and that is what the 1/n in each row's own weight is.
            rest = torch.arange(n) != i
            w, b = refit(x[rest], y[rest], mean_value * 10.0**power)
            missed += float((x[i] @ w + b - y[i]).square().sum())
        errors[mean_value * 10.0**power] = missed
    assert found.penalty == pytest.approx(min(errors, key=errors.__getitem__), rel=1e-6)


def test_features_are_ds_own_pooled_to_four_by_four() -> None:
    torch.manual_seed(0)
    D, x = Discriminator(width=4, class_head=3).eval(), torch.rand(5, 1, 32, 32) * 2 - 1
    maps = ch16_transfer.block_maps(D, x)
    assert [tuple(m.shape[1:]) for m in maps] == [(1, 32, 32), (4, 16, 16), (8, 8, 8), (16, 4, 4)]
    assert torch.equal(maps[-1].flatten(1), D.trunk(x))
    parts = ch16_transfer.pooled(D, x)
    assert [p.shape[1] for p in parts] == [1024, 64, 128, 256, 448]
    assert torch.equal(parts[0], x.flatten(1))
    assert torch.equal(parts[3], maps[3].flatten(1))
    first = maps[1].unfold(2, 4, 4).unfold(3, 4, 4).amax((-1, -2)).flatten(1)
    assert torch.equal(parts[1], first)
    wide = ch16_transfer.columns(D, x)
    assert [w.shape for w in wide] == [(5, 32, 32, c) for c in (1, 4, 8, 16, 28)]
    assert torch.equal(wide[0][..., 0], x[:, 0])
    # At twice the side, pixel (2i, 2j) lies a quarter of a cell off the middle of cell (i, j).
    i, m = 4, maps[1][:, :, 4:6, 4:6]
    expected = 0.5625 * m[:, :, 0, 0] + 0.1875 * (m[:, :, 0, 1] + m[:, :, 1, 0])
    expected += 0.0625 * m[:, :, 1, 1]
    torch.testing.assert_close(wide[1][:, 2 * i + 1, 2 * i + 1], expected, rtol=1e-4, atol=1e-5)


def test_bars_hide_nothing_and_the_mask_is_the_letters_alone() -> None:
    letters = torch.zeros(3, 1, 32, 32, dtype=torch.uint8)
    letters[:, :, 10:20, 14:18] = 255
    x, mask = ch16_transfer.with_bars(letters, seed=1)
    assert torch.equal(mask, letters[:, 0] > 127)
    assert bool((x[:, 0][mask] == 1).all())
    assert float(x.min()) == -1.0
    outside = (x[:, 0] > 0) & ~mask
    assert all(30 < int(part.sum()) < 500 for part in outside), "three bars cross each image"
    again, other = (ch16_transfer.with_bars(letters, seed=s)[0] for s in (1, 2))
    assert torch.equal(x, again)
    assert not torch.equal(x, other)


def test_overlap_by_hand() -> None:
    a, b = torch.tensor([1, 1, 1, 0, 0]).bool(), torch.tensor([0, 1, 1, 1, 0]).bool()
    assert ch16_transfer.overlap(a, b) == 0.5


def test_probes_find_what_is_there_and_nothing_in_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(120) % 4
    centres = 4 * torch.randn(4, 20, generator=generator)
    x, x_new = (centres[y] + torch.randn(120, 20, generator=generator) for _ in range(2))
    noise, noise_new = torch.randn(2, 120, 20, generator=generator)
    assert ch16_transfer.letter_accuracy(x, y, x_new, y) > 0.98
    assert ch16_transfer.few_shot(x, y, x_new, y, 5) > 0.98
    assert abs(ch16_transfer.letter_accuracy(noise, y, noise_new, y) - 0.25) < 0.15
    assert abs(ch16_transfer.few_shot(noise, y, noise_new, y, 5) - 0.25) < 0.1
    truth = x @ torch.linspace(-1, 1, 20)
    assert ch16_transfer.style_explained(x, truth, x_new, x_new @ torch.linspace(-1, 1, 20)) > 0.999
    assert ch16_transfer.style_explained(noise, truth, noise_new, truth) < 0.2


def test_ink_is_found_where_a_feature_says_it() -> None:
    generator = torch.Generator().manual_seed(0)
    mask = torch.rand(4, 8, 8, generator=generator) > 0.7
    hint = mask[..., None].double() + 0.02 * torch.randn(4, 8, 8, 1, generator=generator)
    assert ch16_transfer.ink_overlap(hint[:2], mask[:2], hint[2:], mask[2:]) > 0.95


def test_a_fresh_discriminator_has_the_statistics_of_letters() -> None:
    D = ch16_transfer.fresh(seed=0)
    norm = D.trunk[1][1]
    assert not D.training
    assert not torch.allclose(norm.running_var, torch.ones_like(norm.running_var), rtol=0.1)
