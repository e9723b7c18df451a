"""Directions in latent space against linear maps; a seed's z against written numbers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from test_latent import Painter
from torch import Tensor, nn

from acgan_lib import directions

SLOPES = torch.tensor([[3.0, 4, 0, 0, 0], [0, 1, 0, 0, -1], [2, 0, 0.5, 0, 1]])


class Linear(nn.Module):
    """A G whose three pixels are linear in z, and whose class shifts them by far more."""

    latent_dim = 5

    def __init__(self, num_classes: int = 4) -> None:
        super().__init__()
        self.num_classes = num_classes

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        pixels = z @ SLOPES.T
        if y is not None:
            pixels = pixels + 50 * torch.stack([y, -y, y * y], dim=1)
        return pixels.view(-1, 1, 1, 3)


def flat(images: Tensor) -> Tensor:
    return images.flatten(1)


def rows(found: dict[str, Tensor]) -> Tensor:
    assert list(found) == ["a", "b", "c"]
    return torch.stack([*found.values()])


@pytest.mark.parametrize("num_classes", [0, 4])
def test_named_directions_of_a_linear_g_are_its_slopes(num_classes: int) -> None:
    """With few pictures too: what is linear leaves no error. The class's shift must not matter."""
    found = rows(directions.named_directions(Linear(num_classes), flat, "abc", n=10 + num_classes))
    torch.testing.assert_close(found, F.normalize(SLOPES), rtol=0, atol=1e-5)


def test_a_direction_of_two_that_is_conditioned_is_the_published_projection() -> None:
    a, b = F.normalize(SLOPES[:2])
    found = directions.named_directions(
        Linear(), lambda x: flat(x)[:, :2], ("a", "b"), n=40, conditioned=True
    )
    torch.testing.assert_close(found["a"], F.normalize(a - (a @ b) * b, dim=0))
    torch.testing.assert_close(found["b"], F.normalize(b - (a @ b) * a, dim=0))


def test_a_conditioned_direction_moves_its_own_score_alone() -> None:
    found = rows(directions.named_directions(Linear(), flat, "abc", n=40, conditioned=True))
    torch.testing.assert_close(found.norm(dim=1), torch.ones(3))
    moved = found @ SLOPES.T
    torch.testing.assert_close(moved, torch.diag(moved.diag()), rtol=0, atol=1e-5)
    assert (moved.diag() > 0.1).all()


def test_a_score_that_bends_has_the_same_direction() -> None:
    """Stein's identity: the slope tends to the mean gradient, along the same line."""
    bent = {"a": torch.sigmoid, "b": lambda s: (s > 0).float(), "c": lambda s: s + 0.1 * s**3}

    def read(x: Tensor) -> Tensor:
        return torch.stack([f(s) for f, s in zip(bent.values(), flat(x).T, strict=True)], dim=1)

    found = rows(directions.named_directions(Linear(0), read, "abc", n=20_000))
    assert (found * F.normalize(SLOPES)).sum(1).min() > 0.999
    other = rows(directions.named_directions(Linear(0), read, "abc", n=20_000, seed=1))
    assert not torch.equal(found, other)


@pytest.mark.parametrize(
    ("read", "how", "says"),
    [
        (flat, {"n": 9}, r"n must be more than latent_dim \+ classes = 9, not 9"),
        (lambda x: x, {}, r"finite scores \(40, 3\)"),
        (lambda x: flat(x) / 0, {}, "finite scores"),
        (lambda x: flat(x) * torch.tensor([1.0, 0, 0]), {}, "z does not change b, c"),
    ],
)
def test_named_directions_errors(
    read: Callable[[Tensor], Tensor], how: dict[str, Any], says: str
) -> None:
    with pytest.raises(ValueError, match=says):
        directions.named_directions(Linear(), read, "abc", **{"n": 40, **how})


def test_principal_directions_are_those_the_first_layer_stretches_most() -> None:
    G = Painter()
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1))).Q
    weight = torch.zeros(5, 7)
    weight[:3, :3] = torch.diag(torch.tensor([1.0, 5.0, 3.0])) @ turn
    weight[3:, 3:] = 100  # the class columns must not matter
    G.project.weight.data = weight
    found = directions.principal_directions(G, 2)
    assert found.shape == (2, 3)
    torch.testing.assert_close(found.abs(), turn[[1, 2]].abs())
    assert (found.gather(1, found.abs().argmax(1, keepdim=True)) > 0).all()


def test_principal_directions_of_a_transposed_convolution_stretch_its_maps_most() -> None:
    """Against the layer itself: the length of what it makes of a direction, which is linear."""
    torch.manual_seed(0)
    layer = torch.nn.ConvTranspose2d(4, 6, 3, bias=False)
    G = nn.Sequential(nn.Linear(2, 2), layer)  # too short for z: not the layer that takes it
    found = directions.principal_directions(G, 4, latent_dim=4)
    torch.testing.assert_close(found @ found.T, torch.eye(4))
    lengths = layer(found[:, :, None, None]).flatten(1).norm(dim=1).detach()
    assert (lengths.diff() < 0).all()
    z = torch.randn(1000, 4, generator=torch.Generator().manual_seed(1))
    z = z / z.norm(dim=1, keepdim=True)
    stretched = layer(z[:, :, None, None]).flatten(1).norm(dim=1)
    assert lengths[3] - 1e-6 <= stretched.min() <= stretched.max() <= lengths[0] + 1e-6


def test_principal_directions_leave_a_normed_layer_as_it_is() -> None:
    G = Painter()
    G.project = torch.nn.utils.parametrizations.spectral_norm(nn.Linear(7, 5))
    before = {name: value.clone() for name, value in G.train().state_dict().items()}
    directions.principal_directions(G, 2)
    assert G.project.training
    assert all(torch.equal(value, before[name]) for name, value in G.state_dict().items())


def test_principal_directions_are_of_project_where_there_is_one() -> None:
    torch.manual_seed(0)
    G = nn.Sequential()
    G.mapping, G.project = nn.Linear(5, 5), nn.Linear(5, 5)
    expected = directions.principal_directions(G.project, 2, latent_dim=5)
    assert torch.equal(directions.principal_directions(G, 2, latent_dim=5), expected)


def test_principal_directions_errors() -> None:
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.3"):
        directions.principal_directions(Painter(), 4)
    with pytest.raises(TypeError, match="latent_dim"):
        directions.principal_directions(nn.Linear(3, 3), 1)
    with pytest.raises(TypeError, match="no linear layer"):
        directions.principal_directions(nn.Conv2d(1, 1, 1), 1, latent_dim=4)


def test_a_seeds_latent_is_these_numbers_in_every_version_and_in_the_browser() -> None:
    """A seed that a reader wrote down must give the same picture for ever."""
    mixed = directions._hash(np.array([0, 1, 0xDEADBEEF], dtype=np.uint64))
    assert mixed.tolist() == [0, 0x514E28B7, 0x0DE5C6A9]  # MurmurHash3's fmix32
    wanted = {
        0: [0.42232818, -0.79845683, 0.89508288, -0.81692221],
        7: [-1.24332743, 0.43659302, 1.58157007, -0.54618139, 0.34823945],
        2**32 - 1: [-0.0084917970, 1.0129411601],
    }
    for seed, values in wanted.items():
        found = directions.seeded(seed, len(values))
        assert found.dtype == torch.float32
        torch.testing.assert_close(found, torch.tensor(values), rtol=0, atol=2e-7)
