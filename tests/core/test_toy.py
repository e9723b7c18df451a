"""The points' mixtures against torch.distributions, the measures on built samples, the loop."""

from __future__ import annotations

import copy
import math

import pytest
import torch
from torch import Tensor, nn
from torch.distributions import Categorical, Independent, MixtureSameFamily, Normal

from acgan_lib import objectives, toy


def uneven() -> toy.Mixture:
    means = torch.tensor([[0.0, 1.0, -1.0], [2.0, 0.5, 0.0]])
    return toy.Mixture(means, 0.3, torch.tensor([3.0, 1.0]))


def in_float64(mixture: toy.Mixture) -> MixtureSameFamily:
    means = mixture.means.double()
    normals = Independent(Normal(means, torch.full_like(means, mixture.std)), 1)
    return MixtureSameFamily(Categorical(mixture.weights.double()), normals)


@pytest.mark.parametrize(
    "mixture", [toy.ring(), toy.grid(), uneven()], ids=["ring", "grid", "uneven"]
)
def test_log_prob_is_that_of_torch_in_float64(mixture: toy.Mixture) -> None:
    x = torch.randn(500, mixture.dim, generator=torch.Generator().manual_seed(0)) * 2
    expected = in_float64(mixture).log_prob(x.double())
    torch.testing.assert_close(mixture.log_prob(x).double(), expected, rtol=1e-4, atol=1e-4)
    exact = toy.Mixture(mixture.means.double(), mixture.std, mixture.weights.double())
    torch.testing.assert_close(exact.log_prob(x.double()), expected, rtol=1e-9, atol=1e-9)


def test_samples_have_the_mixtures_moments_and_shares() -> None:
    mixture, n = uneven(), 200_000
    x = mixture.sample(n, torch.Generator().manual_seed(0))
    mean = mixture.weights @ mixture.means
    offsets = mixture.means - mean
    covariance = (offsets.T * mixture.weights) @ offsets + mixture.std**2 * torch.eye(3)
    torch.testing.assert_close(x.mean(0), mean, rtol=0, atol=0.01)
    torch.testing.assert_close(x.T.cov(), covariance, rtol=0, atol=0.015)
    share = torch.bincount(mixture.nearest(x), minlength=2) / n
    torch.testing.assert_close(share, torch.tensor([0.75, 0.25]), rtol=0, atol=0.005)


def test_samples_come_from_the_generator_alone() -> None:
    first = toy.ring().sample(5, torch.Generator().manual_seed(3))
    torch.manual_seed(99)
    second = toy.ring().sample(5, torch.Generator().manual_seed(3))
    assert torch.equal(first, second)


def test_ring_and_grid_lie_where_they_should() -> None:
    ring, grid = toy.ring(modes=6, radius=1.5), toy.grid(side=3, spacing=2.0)
    torch.testing.assert_close(ring.means.norm(dim=1), torch.full((6,), 1.5))
    neighbours = (ring.means - ring.means.roll(1, 0)).norm(dim=1)
    torch.testing.assert_close(neighbours, torch.full((6,), 1.5))  # a hexagon's sides
    expected = {(x, y) for x in (-2.0, 0.0, 2.0) for y in (-2.0, 0.0, 2.0)}
    assert {(float(x), float(y)) for x, y in grid.means} == expected


def test_coverage_on_samples_built_for_it() -> None:
    grid = toy.grid()
    on_means = toy.coverage(grid, grid.means)
    assert on_means == toy.Coverage(25, 1.0, pytest.approx(0.0, abs=1e-6))
    # Five modes are hit, and as many samples again lie between the modes: they count for none.
    between = grid.means[5:10] + 0.5
    half = toy.coverage(grid, torch.cat([grid.means[:5], between]))
    assert (half.modes, half.high_quality) == (5, 0.5)
    assert half.reverse_kl == pytest.approx(math.log(25 / 10))
    assert toy.coverage(grid, grid.means[:5]).reverse_kl == pytest.approx(math.log(5))
    just_in, just_out = grid.means + torch.tensor([0.299, 0]), grid.means + torch.tensor([0.301, 0])
    assert toy.coverage(grid, just_in).modes == 25
    assert toy.coverage(grid, just_out).modes == 0


def test_coverage_of_the_mixtures_own_samples() -> None:
    ring = toy.ring()
    own = toy.coverage(ring, ring.sample(100_000, torch.Generator().manual_seed(0)))
    assert own.modes == 8
    assert own.high_quality == pytest.approx(1 - math.exp(-4.5), abs=2e-3)
    assert own.reverse_kl < 1e-3


def test_reverse_kl_is_against_the_mixtures_own_weights() -> None:
    mixture = toy.Mixture(torch.tensor([[0.0], [5.0]]), 0.1, torch.tensor([0.75, 0.25]))
    samples = torch.tensor([[0.0], [0.0], [0.0], [5.0]])
    assert toy.coverage(mixture, samples).reverse_kl == pytest.approx(0.0, abs=1e-7)


def test_networks_have_the_shapes_they_promise() -> None:
    G, D = toy.PointGenerator(latent_dim=3, dim=2), toy.PointDiscriminator(dim=2, width=16)
    x = G(torch.randn(7, 3))
    out = D(x)
    assert x.shape == (7, 2)
    assert out.source_logit.shape == (7,)
    assert out.class_logits is None
    assert D.features(x).shape == (7, 16)
    torch.testing.assert_close(D.to_logit(D.features(x)).squeeze(1), out.source_logit)
    assert (
        len([m for m in toy.PointDiscriminator(depth=3).modules() if isinstance(m, nn.Linear)]) == 4
    )


def test_best_logit_is_the_logit_of_p_over_p_plus_q() -> None:
    p, q = toy.ring(), toy.Mixture(torch.zeros(1, 2), 1.0)
    x = p.sample(100, torch.Generator().manual_seed(0))
    density_p, density_q = p.log_prob(x).double().exp(), q.log_prob(x).double().exp()
    torch.testing.assert_close(
        toy.best_logit(p, q)(x).double().sigmoid(), density_p / (density_p + density_q)
    )


def players(seed: int = 0) -> tuple[toy.PointGenerator, toy.PointDiscriminator]:
    torch.manual_seed(seed)
    return toy.PointGenerator(width=16), toy.PointDiscriminator(width=16)


def weights(*modules: nn.Module) -> Tensor:
    return torch.cat([p.detach().flatten() for m in modules for p in m.parameters()])


def test_play_is_a_function_of_its_seed() -> None:
    runs = []
    for seed in (5, 5, 6):
        G, D = players()
        torch.manual_seed(len(runs))  # the global generator plays no part
        history = toy.play(G, D, toy.ring(), objectives.gan(), steps=4, seed=seed)
        runs.append((weights(G, D), history.rows))
    assert torch.equal(runs[0][0], runs[1][0])
    assert runs[0][1] == runs[1][1]
    assert not torch.equal(runs[0][0], runs[2][0])


def test_play_calls_back_and_keeps_one_row_a_step() -> None:
    G, D = players()
    seen: list[int] = []

    def callback(step: int, g: nn.Module, d: nn.Module) -> None:
        assert g is G
        assert d is D
        seen.append(step)

    history = toy.play(G, D, toy.ring(), objectives.gan(), steps=3, callback=callback)
    assert seen == [1, 2, 3] == history.column("step")
    assert set(history.rows[0]) == {"step", "d_source_real", "d_source_fake", "g_source"}
    assert all(p.requires_grad for p in D.parameters())


def test_play_with_a_rate_of_zero_holds_that_player_still() -> None:
    for still in ("G", "D"):
        G, D = players()
        before = copy.deepcopy(G), copy.deepcopy(D)
        rates = {"lr_g": 0.0 if still == "G" else 1e-3, "lr_d": 0.0 if still == "D" else 1e-3}
        toy.play(G, D, toy.ring(), objectives.gan(), steps=3, **rates)
        assert torch.equal(weights(G), weights(before[0])) == (still == "G")
        assert torch.equal(weights(D), weights(before[1])) == (still == "D")


def test_d_alone_reaches_the_best_ds_loss() -> None:
    class Shift(nn.Module):  # a G whose density is known: N(1, I) in the plane
        latent_dim = 2

        def __init__(self) -> None:
            super().__init__()
            self.by = nn.Parameter(torch.ones(2))

        def forward(self, z: Tensor) -> Tensor:
            return z + self.by

    p, q = toy.Mixture(torch.zeros(1, 2), 1.0), toy.Mixture(torch.ones(1, 2), 1.0)
    torch.manual_seed(0)
    D = toy.PointDiscriminator(width=32)
    toy.play(Shift(), D, p, objectives.gan(), steps=600, lr_g=0.0, lr_d=3e-3, seed=0)

    generator, n = torch.Generator().manual_seed(1), 100_000
    real, fake = p.sample(n, generator), q.sample(n, generator)
    with torch.no_grad():
        trained = sum(d_loss(D(real).source_logit, D(fake).source_logit))
    best = toy.best_logit(p, q)
    assert float(trained) == pytest.approx(float(sum(d_loss(best(real), best(fake)))), abs=0.01)


def test_fit_discriminators_rate_falls_linearly_to_0(monkeypatch) -> None:
    rates: list[float] = []
    monkeypatch.setattr(
        toy, "_descend", lambda _, optimiser: rates.append(optimiser.param_groups[0]["lr"])
    )
    p = toy.Mixture(torch.zeros(1, 1), 1.0)
    D = toy.PointDiscriminator(dim=1)
    toy.fit_discriminator(D, p.sample, p.sample, objectives.gan(), steps=4, lr=0.8)
    assert rates == pytest.approx([0.8, 0.6, 0.4, 0.2])


def test_fit_discriminator_finds_the_density_ratio() -> None:
    p, q = toy.Mixture(torch.zeros(1, 1), 1.0), toy.Mixture(torch.ones(1, 1), 1.0)
    torch.manual_seed(0)
    D = toy.PointDiscriminator(dim=1, width=32)
    history = toy.fit_discriminator(D, p.sample, q.sample, objectives.gan(), steps=200)
    assert history.column("step") == list(range(1, 201))
    x = torch.linspace(-2, 3, 51)[:, None]
    with torch.no_grad():
        found = D(x).source_logit.sigmoid()
    # For these two Gaussians log p - log q is the line 1/2 - x.
    torch.testing.assert_close(found, torch.sigmoid(0.5 - x[:, 0]), rtol=0, atol=0.06)


def test_plain_g_takes_the_step_that_its_gradient_says() -> None:
    G, D = players()
    before, seen = weights(G), []
    toy.play(
        G,
        D,
        toy.ring(),
        objectives.gan(),
        steps=1,
        lr_g=0.1,
        plain_g=True,
        callback=lambda step, G, D: seen.append(
            torch.cat([p.grad.flatten() for p in G.parameters()])
        ),
    )
    torch.testing.assert_close(weights(G), before - 0.1 * seen[0])


def d_loss(real: Tensor, fake: Tensor) -> tuple[Tensor, Tensor]:
    return nn.functional.softplus(-real).mean(), nn.functional.softplus(fake).mean()


def test_a_short_game_finds_a_single_gaussian() -> None:
    G, D = players()
    data = toy.Mixture(torch.tensor([[1.0, -1.0]]), 0.5)
    toy.play(G, D, data, objectives.gan(), steps=600, lr_g=2e-3, lr_d=2e-3)
    with torch.no_grad():
        samples = G(torch.randn(5000, 2, generator=torch.Generator().manual_seed(0)))
    torch.testing.assert_close(samples.mean(0), data.means[0], rtol=0, atol=0.3)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: toy.Mixture(torch.zeros(3), 1.0), r"means must have shape \(k, d\)"),
        (lambda: toy.Mixture(torch.zeros(0, 2), 1.0), r"means must have shape \(k, d\)"),
        (lambda: toy.Mixture(torch.zeros(1, 2), 0.0), "std must be positive"),
        (lambda: toy.Mixture(torch.zeros(1, 2), 1.0, torch.ones(2)), "1 positive numbers"),
        (lambda: toy.Mixture(torch.zeros(1, 2), 1.0, torch.zeros(1)), "1 positive numbers"),
        (lambda: toy.ring().log_prob(torch.zeros(2)), r"x must have shape \(n, 2\), got \(2,\)"),
        (
            lambda: toy.ring().nearest(torch.zeros(4, 3)),
            r"x must have shape \(n, 2\), got \(4, 3\)",
        ),
        (lambda: toy.coverage(toy.ring(), torch.zeros(4, 3)), r"x must have shape \(n, 2\)"),
        (lambda: toy.coverage(toy.ring(), torch.zeros(0, 2)), "no samples"),
        (lambda: toy.PointGenerator()(torch.zeros(4, 3)), r"z must have shape \(n, 2\)"),
        (lambda: toy.PointDiscriminator()(torch.zeros(4)), r"x must have shape \(n, 2\)"),
    ],
)
def test_wrong_shapes_raise_clear_errors(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()
