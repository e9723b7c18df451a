"""Latent moves against closed forms; generators against what they were asked for."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from acgan_lib import latent


class Painter(nn.Module):
    """A G whose picture tells which z and class made it: pixel 0 is z[0], pixel 1 the class."""

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.latent_dim = 3
        self.num_classes = num_classes
        self.project = nn.Linear(3 + num_classes, 5, bias=False)
        self.seen_training: bool | None = None

    def from_weights(self, z: Tensor, w: Tensor) -> Tensor:
        self.seen_training = self.training
        expected = w @ torch.arange(w.shape[1], dtype=w.dtype)
        return torch.stack([z[:, 0], expected], 1).view(-1, 1, 1, 2)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return self.from_weights(z, nn.functional.one_hot(y, self.num_classes).to(z))


def pair(d: int = 64, seed: int = 0) -> tuple[Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    a, b = torch.randn(2, 7, d, generator=g, dtype=torch.float64)
    return a, b


def unit(x: Tensor) -> Tensor:
    return x / x.norm(dim=-1, keepdim=True)


def test_slerp_is_shoemakes_formula_for_equal_lengths() -> None:
    a, b = (3 * unit(v) for v in pair())
    omega = torch.acos((unit(a) * unit(b)).sum(-1, keepdim=True))
    for t in (0.1, 0.5, 0.83):
        closed = (torch.sin((1 - t) * omega) * a + torch.sin(t * omega) * b) / torch.sin(omega)
        torch.testing.assert_close(latent.slerp(a, b, t), closed, rtol=0, atol=1e-12)


def test_slerp_length_goes_linearly_and_angle_at_constant_speed() -> None:
    a, b = pair()
    b = 2 * b
    whole = torch.acos((unit(a) * unit(b)).sum(-1))
    for t in (0.25, 0.5, 0.9):
        c = latent.slerp(a, b, t)
        torch.testing.assert_close(c.norm(dim=-1), (1 - t) * a.norm(dim=-1) + t * b.norm(dim=-1))
        torch.testing.assert_close(torch.acos((unit(a) * unit(c)).sum(-1)), t * whole)


def test_slerp_keeps_the_length_where_lerp_cuts_it() -> None:
    a, b = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert latent.slerp(a, b, 0.5).norm().item() == pytest.approx(1)
    assert latent.lerp(a, b, 0.5).norm().item() == pytest.approx(math.sqrt(0.5))


@pytest.mark.parametrize("move", [latent.slerp, latent.lerp])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ends_are_exact(move, dtype) -> None:  # type: ignore[no-untyped-def]
    a, b = (v.to(dtype) for v in pair())
    assert torch.equal(move(a, b, 0.0), a)
    assert torch.equal(move(a, b, 1.0), b)
    t = torch.tensor([0.0, 0.3, 1.0], dtype=dtype).view(3, 1, 1)
    assert torch.equal(move(a, b, t)[[0, 2]], torch.stack([a, b]))


def test_slerp_of_parallel_opposite_and_zero_vectors() -> None:
    a = torch.tensor([3.0, 0.0, 0.0])
    torch.testing.assert_close(latent.slerp(a, 2 * a, 0.5), 1.5 * a)
    torch.testing.assert_close(latent.slerp(a, a, 0.3), a)
    half = latent.slerp(a, -a, 0.5)
    assert half.norm().item() == pytest.approx(3)
    assert abs(half @ a) < 1e-5
    torch.testing.assert_close(latent.slerp(a, -3 * a, 0.5).norm(), torch.tensor(6.0))
    torch.testing.assert_close(latent.slerp(torch.zeros(3), a, 0.25), a / 4)
    torch.testing.assert_close(latent.slerp(a, torch.zeros(3), 0.25), a * 0.75)
    one = torch.tensor([2.0])
    torch.testing.assert_close(latent.slerp(one, -one, 0.25), torch.tensor([1.0]))


def test_slerp_is_steady_close_to_opposite() -> None:
    """The textbook quotient of sines blows up here."""
    a = torch.tensor([1.0, 0.0, 0.0])
    b = torch.tensor([-2.0, 1e-6, 0.0])
    assert latent.slerp(a, b, 0.5).norm().item() == pytest.approx(1.5, abs=1e-4)


def test_walk() -> None:
    z0, z1 = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    path = latent.walk(z0, z1, 5)
    assert path.shape == (5, 2)
    angles = torch.linspace(0, math.pi / 2, 5)
    torch.testing.assert_close(path, torch.stack([angles.cos(), angles.sin()], 1))
    straight = latent.walk(z0, z1, 5, kind="linear")
    torch.testing.assert_close(straight[:, 1], torch.linspace(0, 1, 5))


@pytest.mark.parametrize(
    ("arguments", "names"),
    [
        ((torch.zeros(2), torch.zeros(2), 1), "steps"),
        ((torch.zeros(2), torch.zeros(3), 4), "shape"),
        ((torch.zeros(1, 2), torch.zeros(1, 2), 4), "z0"),
        ((torch.zeros(2), torch.zeros(2), 4, "cubic"), "kind"),
    ],
)
def test_walk_names_what_does_not_fit(arguments, names) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ValueError, match=names):
        latent.walk(*arguments)


def test_class_swap_puts_z_in_rows_and_classes_in_columns() -> None:
    z = torch.tensor([[0.1, 9, 9], [0.2, 9, 9]])
    images = latent.class_swap(Painter(), z, classes=[3, 1])
    assert images.shape == (2, 2, 1, 1, 2)
    torch.testing.assert_close(images[:, :, 0, 0, 0], torch.tensor([[0.1, 0.1], [0.2, 0.2]]))
    torch.testing.assert_close(images[:, :, 0, 0, 1], torch.tensor([[3.0, 1.0], [3.0, 1.0]]))
    assert latent.class_swap(Painter(), z).shape == (2, 4, 1, 1, 2)


def test_class_mix_goes_from_a_to_b_by_weights() -> None:
    z = torch.tensor([[0.1, 9, 9], [0.2, 9, 9]])
    images = latent.class_mix(Painter(), z, 3, 1, steps=5)
    assert images.shape == (2, 5, 1, 1, 2)
    torch.testing.assert_close(images[1, :, 0, 0, 0], torch.full((5,), 0.2))
    torch.testing.assert_close(images[0, :, 0, 0, 1], torch.tensor([3.0, 2.5, 2.0, 1.5, 1.0]))
    same = latent.class_mix(Painter(), z, 2, 2, steps=2)
    torch.testing.assert_close(same[0, :, 0, 0, 1], torch.tensor([2.0, 2.0]))


def test_pictures_are_made_in_eval_mode_and_modes_come_back() -> None:
    G = Painter().train()
    G.project.eval()  # a submodule frozen by its owner stays frozen
    images = latent.class_swap(G, torch.zeros(1, 3))
    assert G.seen_training is False
    assert G.training
    assert not G.project.training
    assert not images.requires_grad


def test_modes_come_back_after_an_error() -> None:
    G = Painter().train()
    with pytest.raises(RuntimeError):
        latent.generate_mixed(G, torch.zeros(1, 3), torch.zeros(2, 4))
    assert G.training
    assert G.project.training


def test_what_a_generator_cannot_do_is_named() -> None:
    z = torch.zeros(1, 3)
    with pytest.raises(ValueError, match=r"classes must lie in 0\.\.3, got -1\.\.4"):
        latent.class_swap(Painter(), z, classes=[-1, 4])
    with pytest.raises(ValueError, match="classes must name"):
        latent.class_swap(Painter(), z, classes=[])
    with pytest.raises(ValueError, match="b must be a class"):
        latent.class_mix(Painter(), z, 0, 4, steps=3)
    with pytest.raises(ValueError, match="steps"):
        latent.class_mix(Painter(), z, 0, 1, steps=1)
    with pytest.raises(ValueError, match="no classes"):
        latent.class_swap(Painter(0), z)

    class Plain(nn.Module):
        def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
            return torch.zeros(len(z), 8, 8)

    with pytest.raises(TypeError, match="from_weights"):
        latent.generate_mixed(Plain(), z, torch.zeros(1, 4))
    with pytest.raises(ValueError, match=r"not \(1, 8, 8\)"):
        latent.generate(Plain(), z, None)
