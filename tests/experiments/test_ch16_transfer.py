"""Chapter 16's probes: the ridge against refits, features against D itself, masks by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Head, images

from acgan_lib import metrics
from acgan_lib.experiments import ch16_transfer, stored
from acgan_lib.glyphs import FACTORS, LETTERS, Glyphs
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


# -- what is recorded --------------------------------------------------------------------------


def letters_of(split: str, letters: str, size: int = 32) -> Any:
    """The letters asked for, 20 of each to learn from and 6 to test, of which 2 lie."""
    asked = images(26, {"train": 120, "test": 20}[split], lying=2 * (split == "test"), seed=1)
    wanted = torch.tensor([LETTERS.index(letter) for letter in letters])
    chosen = torch.isin(asked.labels, wanted)
    labels = torch.searchsorted(wanted, asked.labels[chosen])
    factors = torch.arange(float(chosen.sum()))[:, None].expand(-1, len(FACTORS)).clone()
    names = tuple(letters)
    return Glyphs(asked.images[chosen], labels, names, split, factors, torch.zeros(len(labels)))


def test_heads_learn_from_training_letters_and_are_tested_on_the_others(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which letters, which part, and which images of each: everything but the probes is real."""
    calls: dict[str, list[tuple[Any, ...]]] = {}

    def spy(name: str) -> Any:
        return lambda *given: calls.setdefault(name, []).append(given) or 0.5

    for name in ("letter_accuracy", "style_explained", "few_shot", "ink_overlap"):
        monkeypatch.setattr(ch16_transfer, name, spy(name))
    monkeypatch.setattr(ch16_transfer, "glyphs", letters_of)
    torch.manual_seed(0)
    found = ch16_transfer.probed(Discriminator(width=2, class_head=10).eval())
    assert list(found) == [
        "seen", "unseen", "stem", "slant", "serif", "1 a class", "5 a class", "10 a class", "ink",
    ]  # fmt: skip
    assert all(len(values) == len(ch16_transfer.LAYERS) for values in found.values())
    for start, letters, each in ((0, "ABCDEFGHIJ", 100), (5, ch16_transfer.UNSEEN, 60)):
        train = letters_of("train", letters).per_class(each, seed=16)
        test = letters_of("test", letters)
        a, y, b, y_test = calls["letter_accuracy"][start]  # from the pixels
        assert torch.equal(a, train.normalised().flatten(1))
        assert torch.equal(y, train.labels)
        assert torch.equal(b, test.normalised().flatten(1))
        assert torch.equal(y_test, test.labels)
    assert [call[4] for call in calls["few_shot"]] == [1] * 5 + [5] * 5 + [10] * 5
    train, test = (letters_of(part, ch16_transfer.UNSEEN) for part in ("train", "test"))
    _, y, _, y_test = calls["style_explained"][0]
    assert torch.equal(y, train.per_class(60, seed=16).factor("stem"))
    assert torch.equal(y_test, test.factor("stem"))
    _, mask, _, mask_test = calls["ink_overlap"][0]
    assert torch.equal(mask, train.per_class(20, seed=17).images[:, 0] > 127)
    assert torch.equal(mask_test, test.per_class(15, seed=17).images[:, 0] > 127)


def test_each_network_is_recorded_and_two_of_seed_0_ship_with_their_test_accuracy(
    results: Path, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Named(Head, Discriminator):
        def __init__(self) -> None:
            Head.__init__(self, 10, 10)

    makers = {name: lambda seed: Named() for name in ch16_transfer.MAKERS}
    monkeypatch.setattr(ch16_transfer, "MAKERS", makers)
    monkeypatch.setattr(ch16_transfer, "probed", lambda D: {"seen": [0.5] * 5})
    monkeypatch.setattr(ch16_transfer, "glyphs", letters_of)
    for seed in (2, 0):
        ch16_transfer.transfer(seed)
        assert set(shipped) == ({"trunk_glyphs32", "acgan_glyphs32_d"} if seed == 0 else set())
    rows = stored("transfer")
    assert [(r["model"], r["seed"]) for r in rows] == [
        (name, seed) for name in ("acgan", "random", "supervised") for seed in (0, 2)
    ]
    assert rows[0]["layers"] == list(ch16_transfer.LAYERS)
    for name, steps in (("trunk_glyphs32", 1_500), ("acgan_glyphs32_d", 4_000)):
        facts = shipped[name][1]
        assert facts["metrics"] == {"test_accuracy": metrics.proportion(180, 200)}
        assert (facts["steps"], facts["data"], facts["command"]) == (
            steps, "train", "make train-transfer",
        )  # fmt: skip
