"""What helps with few images: each change by its definition, each penalty by a closed form."""

from __future__ import annotations

import pytest
import torch
from checks import two_classes
from tiny_runs import config, networks
from torch import Tensor, nn

from acgan_lib import regularise
from acgan_lib.nets import DiscriminatorOutput
from acgan_lib.objectives import Batch, acgan, gan
from acgan_lib.regularise import (
    augment,
    brightness,
    cutout,
    diff_augment,
    r1,
    r1_penalty,
    translation,
    two_time_scales,
)
from acgan_lib.train import TrainConfig, fit

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


# --- the changes --------------------------------------------------------------------------------


def test_brightness_adds_one_number_to_an_image() -> None:
    x = torch.rand(2_000, 3, 4, 4)
    added = (brightness(x) - x).flatten(1)
    assert float((added - added[:, :1]).abs().max()) < 1e-6
    shift = added[:, 0]
    assert float(shift.min()) == pytest.approx(-0.5, abs=0.01)
    assert float(shift.max()) == pytest.approx(0.5, abs=0.01)
    assert float(shift.mean()) == pytest.approx(0, abs=0.03)
    assert float(shift.std()) == pytest.approx(12**-0.5, abs=0.01)  # uniform


def test_translation_shifts_by_whole_pixels_and_fills_with_0() -> None:
    n, side = 600, 16  # an eighth of 16: up to 2 pixels
    x = torch.rand(n, 3, side, side) + 1
    y = translation(x)
    seen = set()
    for before, after in zip(x, y, strict=True):
        for down in range(-2, 3):
            for right in range(-2, 3):
                expected = torch.zeros_like(before)
                rows = slice(max(0, -down), side - max(0, down))
                columns = slice(max(0, -right), side - max(0, right))
                to = (
                    slice(max(0, down), side - max(0, -down)),
                    slice(max(0, right), side - max(0, -right)),
                )
                expected[:, to[0], to[1]] = before[:, rows, columns]
                if torch.equal(after, expected):
                    seen.add((down, right))
                    break
            else:
                continue
            break
        else:
            raise AssertionError("no shift of up to 2 pixels gives this image")
    assert len(seen) == 25  # each of them


def test_cutout_zeroes_a_square_of_half_the_side_cut_at_the_edge() -> None:
    n, side = 1_000, 8
    x = torch.ones(n, 2, side, side)
    y = cutout(x)
    places = set()
    for image in y:
        assert torch.equal(image[0], image[1])  # the same square in each channel
        rows = (image[0] == 0).any(1).nonzero().flatten().tolist()
        columns = (image[0] == 0).any(0).nonzero().flatten().tolist()
        for span in (rows, columns):
            assert span == list(range(span[0], span[-1] + 1))
            # Whole, or cut at an edge; half of it is inside at least.
            assert len(span) == 4 or (2 <= len(span) < 4 and (span[0] == 0 or span[-1] == 7))
        expected = torch.ones(side, side)
        expected[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1] = 0
        assert torch.equal(image[0], expected)
        places.add((rows[0], rows[-1], columns[0], columns[-1]))
    assert len(places) == 81  # nine places in each direction


def test_augment_applies_the_changes_in_order() -> None:
    double, add = (lambda x: 2 * x), (lambda x: x + 1)
    x = torch.rand(2, 1, 4, 4)
    assert torch.equal(augment(x, (double, add)), 2 * x + 1)
    assert torch.equal(augment(x, (add, double)), 2 * (x + 1))
    assert torch.equal(augment(x, ()), x)


@pytest.mark.parametrize("change", regularise.AUGMENTATIONS)
def test_g_learns_through_each_change(change) -> None:
    """Its gradient is that of a linear map, so a step along it changes the sum as it says."""
    x = torch.rand(3, 1, 8, 8, dtype=torch.float64, requires_grad=True)
    weight = torch.rand(3, 1, 8, 8, dtype=torch.float64)
    state = torch.get_rng_state()
    total = (change(x) * weight).sum()
    (gradient,) = torch.autograd.grad(total, x)
    assert float(gradient.abs().sum()) > 0
    torch.set_rng_state(state)
    moved = (change(x.detach() + 0.1 * gradient) * weight).sum()
    expected = 0.1 * float(gradient.square().sum())
    assert float(moved - total.detach()) == pytest.approx(expected, rel=1e-9)


def values(terms: dict[str, Tensor]) -> dict[str, float]:
    return {name: float(term.detach()) for name, term in terms.items()}


# --- the objective around them ------------------------------------------------------------------


class Seeing(nn.Module):
    """A D that keeps what it is shown; its logits are means, which let gradients through."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Tensor] = []

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        self.seen.append(x.detach())
        return DiscriminatorOutput(x.flatten(1).mean(1), x.flatten(1)[:, :2])


def test_d_sees_changed_images_only_in_both_steps() -> None:
    D, y = Seeing(), torch.tensor([0, 1])
    real, fake = (Batch(torch.rand(2, 1, 4, 4), y, torch.rand(2, 3)) for _ in range(2))
    objective = diff_augment(acgan(), (lambda x: x + 5,))
    terms = objective.d_loss(D, real, fake) | objective.g_loss(D, fake)
    for got, batch in zip(D.seen, (real, fake, fake), strict=True):
        assert torch.equal(got, batch.images + 5)
    plain = acgan()
    shifted = [batch._replace(images=batch.images + 5) for batch in (real, fake)]
    expected = plain.d_loss(D, *shifted) | plain.g_loss(D, shifted[1])
    assert values(terms) == values(expected)


def test_wrappers_state_what_the_objective_inside_states() -> None:
    inside = acgan(class_loss_on="n+1", g_class_weight=3.0)
    for wrapped in (diff_augment(inside), r1(inside, 2.0), r1(diff_augment(inside), 2.0)):
        assert wrapped.needs == inside.needs
        assert wrapped.settings.items() >= inside.settings.items()
        assert wrapped.name.startswith(inside.name)
    assert diff_augment(inside).name.endswith("with brightness+translation+cutout")
    assert r1(inside, 2.0).settings["gamma"] == 2.0


# --- penalties and rates ------------------------------------------------------------------------


class Quadratic(nn.Module):
    """s(x) = (w . x)^2 / 2, whose gradient in x is (w . x) w."""

    def __init__(self) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.randn(16, dtype=torch.float64))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        return DiscriminatorOutput((x.flatten(1) @ self.w).square() / 2, None)


def test_r1_penalty_and_its_gradient_by_a_closed_form() -> None:
    D, x = Quadratic(), torch.randn(5, 1, 4, 4, dtype=torch.float64)
    penalty = r1_penalty(D, Batch(x, torch.zeros(5).long()))
    w, flat = D.w.detach(), x.flatten(1)
    along = flat @ w
    by_hand = float((along**2).mean() * (w @ w))
    assert float(penalty.detach()) == pytest.approx(by_hand, rel=1e-5)
    penalty.backward()
    slope = 2 * (along[:, None] * flat).mean(0) * (w @ w) + 2 * (along**2).mean() * w
    torch.testing.assert_close(D.w.grad, slope, rtol=1e-5, atol=1e-6)


def test_r1_adds_half_gamma_of_it_to_ds_loss_alone() -> None:
    D, y = Quadratic(), torch.zeros(5).long()
    real, fake = (Batch(torch.randn(5, 1, 4, 4, dtype=torch.float64), y) for _ in range(2))
    plain, objective = gan(), r1(gan(), gamma=3.0)
    terms = values(objective.d_loss(D, real, fake))
    penalty = terms.pop("d_r1")
    assert penalty == pytest.approx(1.5 * float(r1_penalty(D, real).detach()), rel=1e-6)
    assert terms == values(plain.d_loss(D, real, fake))
    assert objective.g_loss(D, fake).keys() == {"g_source"}
    assert not real.images.requires_grad
    for gamma in (0.0, -1.0, float("nan")):
        with pytest.raises(ValueError, match="gamma must be positive"):
            r1(gan(), gamma)


def test_two_time_scales_keep_the_rates_product() -> None:
    usual = TrainConfig(lr_g=3e-4, lr_d=5e-4, seed=3)
    changed = two_time_scales(usual, 9.0)
    assert changed.lr_d / changed.lr_g == pytest.approx(9 * usual.lr_d / usual.lr_g)
    assert changed.lr_g * changed.lr_d == pytest.approx(usual.lr_g * usual.lr_d)
    assert (changed.seed, changed.batch_size) == (3, usual.batch_size)
    with pytest.raises(ValueError, match="ratio must be positive, got 0"):
        two_time_scales(usual, 0)


def test_they_train_together_and_what_they_draw_depends_on_seed_and_step_alone() -> None:
    rows = []
    for caller in (1, 2):
        pair = networks()
        torch.manual_seed(caller)
        objective = r1(diff_augment(acgan()), 1.0)
        settings = two_time_scales(config())
        rows.append(fit(*pair, two_classes(), objective, steps=2, config=settings).history.rows)
    assert rows[0] == rows[1]
    assert "d_r1" in rows[0][0]
