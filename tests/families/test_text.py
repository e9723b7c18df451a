"""Captions against what they were made of; the matching loss and GAN-CLS against closed forms."""

from __future__ import annotations

import math
import random
from itertools import product

import pytest
import torch
import torch.nn.functional as F
from checks import understood

from acgan_lib.avatars import KINDS, NO_FACTOR, avatars
from acgan_lib.families import text
from acgan_lib.families.text import ATTRIBUTES, VALUES, WORDS


@pytest.fixture(scope="module")
def table() -> torch.Tensor:
    """All combinations that training may have, kinds without glasses too."""
    rows = torch.cartesian_prod(*(torch.arange(len(VALUES[a])) for a in ATTRIBUTES))
    bare = torch.tensor([KINDS.index(k) for k in text.WITHOUT_GLASSES])
    rows[torch.isin(rows[:, 0], bare), 4] = NO_FACTOR
    rows = torch.unique(rows, dim=0)
    return rows[~text.is_held_out(rows)]


def test_a_sentence_says_what_it_should_and_nothing_else(table: torch.Tensor) -> None:
    draws = torch.Generator().manual_seed(0)
    rows = table[torch.randint(len(table), (3_000,), generator=draws)]
    said = text.draw_said(rows, draws)
    sentences = text.captions(rows, said, 0)
    for row, mask, sentence in zip(rows.tolist(), said.tolist(), sentences, strict=True):
        wanted = {a: VALUES[a][v] for a, v, s in zip(ATTRIBUTES, row, mask, strict=True) if s}
        assert understood(sentence) == wanted, sentence
    assert len(set(sentences)) > 2_500
    used = {word for sentence in sentences for word in sentence.replace(",", "").split()}
    assert used == set(WORDS)
    assert sentences == text.captions(rows, said, 0) != text.captions(rows, said, 1)


def test_attributes_are_said_as_often_as_asked(table: torch.Tensor) -> None:
    draws = torch.Generator().manual_seed(1)
    rows = table.repeat(10, 1)
    said, can = text.draw_said(rows, draws), rows != NO_FACTOR
    # The kind also fills in where nothing else would be said.
    silent = torch.where(can[:, 4], 0.25**5, 0.25**4).mean()
    expected = torch.tensor([0.75 + silent, 0.75, 0.75, 0.75, 0.75])
    share = said.sum(0) / can.sum(0)
    torch.testing.assert_close(share, expected, rtol=0, atol=4 * 0.43 / len(rows) ** 0.5)
    assert not said[~can].any()
    assert said.any(1).all()


def test_a_random_caption_is_true_as_often_as_the_law_says() -> None:
    levels = torch.tensor([6, 4, 8])
    n, draws = 200_000, torch.Generator().manual_seed(2)
    rows = torch.stack(
        [torch.randint(int(k), (n,), generator=draws) for k in (10, *levels.tolist(), 2)], dim=1
    )
    said = text.draw_said(rows, draws)
    other = rows[torch.randperm(n, generator=draws)]
    law = torch.prod(0.25 + 0.75 / torch.tensor([10.0, 6, 4, 8, 2]))
    law = law - 0.25**5 * (1 - 0.1)  # those that would say nothing say the kind
    found = text.is_true(rows, said, other).float().mean()
    assert abs(float(found - law)) < 4 * math.sqrt(float(law) / n)


def test_one_off_is_off_in_one_attribute_that_is_said(table: torch.Tensor) -> None:
    draws = torch.Generator().manual_seed(3)
    rows = table.repeat(5, 1)
    said = text.draw_said(rows, draws)
    wanted, mask = text.one_off(rows, said, draws)
    changed = wanted != rows
    assert torch.equal(changed.sum(1), torch.ones(len(rows), dtype=torch.int64))
    assert bool((changed <= said).all())
    assert bool((mask <= said).all())
    assert not text.is_true(wanted, mask, rows).any()
    assert not text.is_held_out(wanted).any()
    dropped = said & ~mask
    assert not dropped[:, :4].any()
    assert bool(changed[dropped.any(1), 0].all())
    # A caption that says k attributes is off in each of them with probability 1/k.
    share = (changed[:, 2].float().mean(), (said[:, 2] / said.sum(1)).mean())
    assert abs(float(share[0] - share[1])) < 0.01
    with pytest.raises(ValueError, match="nothing"):
        text.one_off(rows[:1], torch.zeros(1, 5, dtype=torch.bool), draws)
    out = torch.tensor([[8, 0, 0, 6, 0]])  # a pixel-art face with pink hair
    assert bool(text.is_held_out(out))
    assert not text.is_held_out(out, ["hair on ground"])
    with pytest.raises(ValueError, match="held-out"):
        text.one_off(out, out >= 0, draws)


def test_held_out_combinations_leave_every_value_in_training(table: torch.Tensor) -> None:
    for i, name in enumerate(ATTRIBUTES):
        assert set(range(len(VALUES[name]))) <= set(table[:, i].tolist())
    real = text.factor_table(avatars("test", 32))
    assert 0.03 < float(text.is_held_out(real, ["hair on ground"]).float().mean()) < 0.06


def test_reading_names_unknown_words_and_joins_kinds() -> None:
    number = {word: i + 1 for i, word in enumerate(WORDS)}
    known, unknown = text.read("A Pixel Art face, with moustache; blue hair! toon")
    assert [WORDS[i - 1] for i in known] == ["a", "pixel-art", "face", "with", "blue", "hair"]
    assert unknown == ["moustache", "toon"]
    assert text.read("  ") == ([], [])
    assert text.read("big ears")[0] == [number["big-ears"]]
    assert text.numbers(["blue hair"])[0, :3].tolist() == [number["blue"], number["hair"], 0]
    for wrong in ("", "moustache", "a " * (text.LENGTH + 1)):
        with pytest.raises(ValueError, match="words"):
            text.numbers([wrong])


def test_a_code_depends_on_the_words_and_not_on_the_rows_beside() -> None:
    torch.manual_seed(0)
    swapped = ["blue hair on a yellow ground", "yellow hair on a blue ground"]
    for order in (True, False):
        encoder = text.TextEncoder(order=order).eval()
        words = text.numbers([*swapped, "a face"])
        codes = encoder(words)
        torch.testing.assert_close(codes.norm(dim=1), torch.full((3,), 8.0))
        torch.testing.assert_close(encoder(words[2:]), codes[2:])
        assert torch.allclose(codes[0], codes[1], atol=1e-5) is not order


@pytest.mark.parametrize("extra", [0, 3])
def test_the_matching_loss_is_the_mean_of_two_cross_entropies(extra: int) -> None:
    draws = torch.Generator().manual_seed(0)
    a, b = (torch.randn(5, 7, generator=draws, dtype=torch.float64) for _ in range(2))
    near = torch.randn(extra, 7, generator=draws, dtype=torch.float64) if extra else None
    found = text.info_nce(a, b, 3.0, near)
    unit = [x / x.norm(dim=1, keepdim=True) for x in (a, b, *([near] if extra else []))]  # type: ignore[union-attr]
    total = 0.0
    for i in range(5):
        to_text = [math.exp(3 * float(unit[0][i] @ t)) for part in unit[1:] for t in part]
        to_image = [math.exp(3 * float(unit[0][j] @ unit[1][i])) for j in range(5)]
        total -= math.log(to_text[i] / sum(to_text)) + math.log(to_image[i] / sum(to_image))
    assert abs(float(found) - total / 10) < 1e-12
    blind = text.info_nce(a, b, 0.0)
    assert abs(float(blind) - math.log(5)) < 1e-12


def test_training_the_encoders_lowers_the_loss_and_leaves_the_random_state() -> None:
    data = avatars("train", 32)
    data = data.subset(torch.nonzero(~text.is_held_out(text.factor_table(data))).flatten())
    before = torch.get_rng_state()
    matcher = text.train_matcher(data, steps=12, batch_size=16)
    assert torch.equal(before, torch.get_rng_state())
    assert not matcher.training
    with pytest.raises(ValueError, match="steps"):
        text.train_matcher(data, steps=0)


def test_the_best_d_of_gan_cls_is_that_of_the_closed_form() -> None:
    """A table of logits, one for each picture and caption, descends the expected losses."""
    draws = torch.Generator().manual_seed(0)
    p, w, g = (torch.rand(12, generator=draws, dtype=torch.float64).add(0.1) for _ in range(3))
    p, w, g = (x / x.sum() for x in (p, w, g))
    a = torch.zeros(12, dtype=torch.float64, requires_grad=True)

    def expected(mismatch: bool) -> torch.Tensor:
        total = torch.zeros((), dtype=torch.float64)
        for i in range(12):  # every pair by itself, weighted by how often it comes
            terms = text.d_terms(a[i : i + 1], a[i : i + 1] if mismatch else None, a[i : i + 1])
            weight = {"d_right": p[i], "d_wrong": w[i], "d_fake": g[i]}
            total = total + sum(weight[name] * term for name, term in terms.items())
        return total

    for mismatch, best in ((True, p / (p + (w + g) / 2)), (False, p / (p + g))):
        with torch.no_grad():
            a.zero_()
        optimiser = torch.optim.LBFGS([a], max_iter=200, tolerance_grad=1e-12, tolerance_change=0)

        def closure(
            mismatch: bool = mismatch, optimiser: torch.optim.LBFGS = optimiser
        ) -> torch.Tensor:
            optimiser.zero_grad()
            loss = expected(mismatch)
            loss.backward()
            return loss

        optimiser.step(closure)
        torch.testing.assert_close(torch.sigmoid(a), best, rtol=0, atol=1e-6)


def test_at_the_truth_gan_cls_pays_alike_for_every_picture_that_fits() -> None:
    """Two attributes of 3 and 4 values, each said with probability 3/4, pictures uniform.

    The best D's logit at g = p is constant over the pictures of which a caption is true, with
    random mismatches too, because each such picture has that caption with the same probability.
    """
    pictures = list(product(range(3), range(4)))
    captions = [(u, v) for u in (None, *range(3)) for v in (None, *range(4))]
    law = torch.zeros(len(pictures), len(captions), dtype=torch.float64)
    for (i, (x, y)), (j, (u, v)) in product(enumerate(pictures), enumerate(captions)):
        said = [0.75 if u is not None else 0.25, 0.75 if v is not None else 0.25]
        if u in (None, x) and v in (None, y):
            law[i, j] = math.prod(said) / len(pictures)
    assert abs(float(law.sum()) - 1) < 1e-12
    wrong = law.sum(1, keepdim=True) * law.sum(0, keepdim=True)  # drawn from other pictures
    best = law / (law + (wrong + law) / 2)
    for j in range(len(captions)):
        true = best[law[:, j] > 0, j]
        assert float(true.max() - true.min()) < 1e-12
        share = float((law[:, j] > 0).double().mean())
        assert abs(float(true[0]) - 1 / (1.5 + share / 2)) < 1e-12


def _tiny_game(reads: int = 0) -> text.TextGame:
    torch.manual_seed(0)
    images = torch.randint(0, 256, (20, 3, 32, 32), dtype=torch.uint8)
    codes = 8 * F.normalize(torch.randn(2, 20, 3, 64), dim=-1)
    G = text.TextGenerator(latent_dim=8, width=8)
    return text.TextGame(
        G, text.TextDiscriminator(width=8, reads=reads), text.Captioned(images, *codes),
        batch_size=6,
    )  # fmt: skip


@pytest.mark.parametrize("reads", [0, 4])
def test_a_step_moves_both_networks_and_not_the_encoder(reads: int) -> None:
    game = _tiny_game(reads)
    before = {k: v.clone() for k, v in game.G.state_dict().items()}
    d_before = {k: v.clone() for k, v in game.D.named_parameters()}
    terms = game.step()
    names = {"d_right", "d_wrong", "d_fake", "g"} | ({"d_z", "g_z"} if reads else set())
    assert terms.keys() == names
    assert all(bool(t.isfinite()) for t in terms.values())
    after = game.G.state_dict()
    for name, value in before.items():
        if name.startswith("encoder"):
            assert torch.equal(value, after[name])
    assert not torch.equal(before["painter.project.weight"], after["painter.project.weight"])
    assert any(not torch.equal(v, dict(game.D.named_parameters())[k]) for k, v in d_before.items())
    mean = game.G_ema.state_dict()["painter.project.weight"]
    expected = before["painter.project.weight"].lerp(after["painter.project.weight"], 9 / 11)
    torch.testing.assert_close(mean, expected)
    game.set_rate(0.0)
    still = game.G.painter.project.weight.clone()
    game.step()
    assert torch.equal(still, game.G.painter.project.weight)


def test_the_generators_two_doors_draw_the_same() -> None:
    G = _tiny_game().G.eval()
    words = text.numbers(["blue hair on a yellow ground", "a face"])
    z = torch.randn(2, 8, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(G.from_weights(z, words.float()), G(z, words))
    assert G(z, words).shape == (2, 3, 32, 32)


def test_words_are_drawn_alike_whatever_the_callers_random_state() -> None:
    draws = random.Random(0)
    row, said = [8, 3, 0, 5, 1], [True] * 5
    first = text.caption(row, said, draws)
    random.seed(1)
    assert text.caption(row, said, random.Random(0)) == first
