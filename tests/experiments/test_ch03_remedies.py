"""The stabilisers against their definitions, written out slowly in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from acgan_lib import objectives, regularise, toy
from acgan_lib.experiments import ch02_games, ch03_remedies, stored
from acgan_lib.losses import d_source_real
from acgan_lib.objectives import Batch


def number(x: torch.Tensor) -> float:
    return x.detach().item()


def points(n: int, seed: int, requires_grad: bool = False) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(n, 2, generator=generator).requires_grad_(requires_grad)
    return Batch(x, torch.zeros(n, dtype=torch.int64))


def test_feature_distance_is_that_of_the_means() -> None:
    real, fake = torch.randn(7, 3).double(), torch.randn(5, 3).double()
    by_hand = sum(
        (sum(number(x) for x in real[:, j]) / 7 - sum(number(x) for x in fake[:, j]) / 5) ** 2
        for j in range(3)
    )
    assert math.isclose(number(ch03_remedies.feature_distance(real, fake)), by_hand, rel_tol=1e-12)
    # the order is nothing
    assert number(ch03_remedies.feature_distance(real, real.flip(0))) < 1e-24


@pytest.mark.parametrize("shapes", [((7, 3), (5, 4)), ((7,), (7,)), ((7, 3, 1), (7, 3, 1))])
def test_feature_distance_refuses_other_shapes(shapes) -> None:
    with pytest.raises(ValueError, match=r"need \(n, w\) and \(m, w\)"):
        ch03_remedies.feature_distance(*(torch.zeros(shape) for shape in shapes))


def test_feature_matching_leaves_d_alone_and_shows_g_the_last_real_batch() -> None:
    D, plain = toy.PointDiscriminator(), objectives.gan()
    objective = ch03_remedies.feature_matching()
    real, fake = points(6, 0), points(6, 1, requires_grad=True)
    objective.d_loss(D, points(6, 2), fake)
    terms = objective.d_loss(D, real, fake)
    expected = plain.d_loss(D, real, fake)
    assert {k: number(v) for k, v in terms.items()} == {k: number(v) for k, v in expected.items()}
    loss = objective.g_loss(D, fake)["g_features"]
    means = [D.features(batch.images).mean(0) for batch in (real, fake)]
    assert torch.allclose(loss, ((means[0] - means[1]) ** 2).sum())
    loss.backward()
    assert number(fake.images.grad.abs().max()) > 0


def test_minibatch_discrimination_is_the_papers_sum() -> None:
    torch.manual_seed(0)
    layer = ch03_remedies.MinibatchDiscrimination(4, kernels=3, kernel_dim=2).double()
    h = torch.randn(5, 4).double()
    out = layer(h)
    assert out.shape == (5, 4 + 3)
    assert torch.equal(out[:, :4], h)
    T = layer.T.detach()
    for i in range(5):
        for b in range(3):
            total = 0.0
            for j in range(5):
                difference = [
                    sum(number((h[i, a] - h[j, a]) * T[a, b, c]) for a in range(4))
                    for c in range(2)
                ]
                total += math.exp(-sum(abs(d) for d in difference))
            assert math.isclose(number(out[i, 4 + b]), total, rel_tol=1e-10)


def test_minibatch_discrimination_tells_a_collapsed_batch_from_a_varied_one() -> None:
    torch.manual_seed(0)
    layer = ch03_remedies.MinibatchDiscrimination(4)
    same, varied = torch.ones(9, 4), 10 * torch.randn(9, 4)
    assert torch.allclose(layer(same)[:, 4:], torch.full((9, 8), 9.0))  # each is near all nine
    assert number(layer(varied).detach()[:, 4:].mean()) < 2.0  # each is near itself


def test_minibatch_discrimination_has_the_right_gradient() -> None:
    torch.manual_seed(0)
    layer = ch03_remedies.MinibatchDiscrimination(3, kernels=2, kernel_dim=2).double()
    h = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (h,))


@pytest.mark.parametrize("shape", [(5,), (5, 3), (5, 4, 1)])
def test_minibatch_discrimination_refuses_other_shapes(shape) -> None:
    with pytest.raises(ValueError, match=r"h must have shape \(n, 4\)"):
        ch03_remedies.MinibatchDiscrimination(4)(torch.zeros(shape))


def test_historical_average_is_of_parameters_and_pulls_towards_it() -> None:
    module = nn.Linear(2, 3).double()
    history = ch03_remedies.HistoricalAverage(module)
    seen: list[list[torch.Tensor]] = []
    for step in range(4):
        with torch.no_grad():
            for p in module.parameters():
                p.copy_(torch.randn_like(p) + step)
        seen.append([p.detach().clone() for p in module.parameters()])
        penalty = history.penalty()
        means = [sum(old[i] for old in seen) / len(seen) for i in range(2)]
        by_hand = sum(((p - m) ** 2).sum() for p, m in zip(seen[-1], means, strict=True))
        assert torch.allclose(penalty, by_hand, rtol=1e-12)
    module.zero_grad()
    penalty.backward()
    # The mean is a constant: the gradient is 2 (theta - mean).
    for p, mean in zip(module.parameters(), means, strict=True):
        assert torch.allclose(p.grad, 2 * (p.detach() - mean), rtol=1e-12)


def test_historical_averaging_adds_each_players_own_past() -> None:
    G, D = toy.PointGenerator(), toy.PointDiscriminator()
    objective = ch03_remedies.historical_averaging(G, D, weight=3.0)
    real, fake = points(6, 0), points(6, 1)
    assert number(objective.d_loss(D, real, fake)["d_history"]) == 0.0  # no past yet
    assert number(objective.g_loss(D, fake)["g_history"]) == 0.0
    with torch.no_grad():
        G.to_point.bias += 1.0  # two numbers move by 1: half of that from the mean of two values
    assert math.isclose(number(objective.g_loss(D, fake)["g_history"]), 3 * 2 * 0.25, rel_tol=1e-5)
    assert number(objective.d_loss(D, real, fake)["d_history"]) == 0.0


def test_smoothed_loss_is_the_cross_entropy_with_a_soft_label() -> None:
    a = torch.linspace(-5, 5, 11)
    for target in (0.7, 0.9, 1.0):
        p = torch.sigmoid(a.double())
        by_hand = -(target * p.log() + (1 - target) * (1 - p).log()).mean()
        loss = ch03_remedies.d_source_real_smoothed(a, target)
        assert math.isclose(number(loss), number(by_hand), rel_tol=1e-6)
    assert number(ch03_remedies.d_source_real_smoothed(a, 1.0)) == number(d_source_real(a))


def test_smoothed_loss_is_least_where_d_says_the_target() -> None:
    a = torch.zeros(1, requires_grad=True)
    with torch.no_grad():
        a += math.log(0.9 / 0.1)
    (slope,) = torch.autograd.grad(ch03_remedies.d_source_real_smoothed(a), a)
    assert abs(number(slope)) < 1e-6


@pytest.mark.parametrize("target", [0.0, 1.1, -0.5, float("nan")])
def test_smoothed_loss_refuses_a_target_outside(target) -> None:
    with pytest.raises(ValueError, match=r"target must be in \(0, 1\]"):
        ch03_remedies.d_source_real_smoothed(torch.zeros(3), target)


def test_label_smoothing_is_one_sided() -> None:
    D, real, fake = toy.PointDiscriminator(), points(6, 0), points(6, 1)
    smooth, plain = ch03_remedies.label_smoothing(0.9), objectives.gan()
    ours, theirs = smooth.d_loss(D, real, fake), plain.d_loss(D, real, fake)
    assert number(ours["d_source_fake"]) == number(theirs["d_source_fake"])
    assert number(ours["d_source_real"]) != number(theirs["d_source_real"])
    assert number(smooth.g_loss(D, fake)["g_source"]) == number(plain.g_loss(D, fake)["g_source"])


def test_spectral_leaves_each_weight_with_largest_singular_value_one() -> None:
    torch.manual_seed(0)
    D = toy.PointDiscriminator()
    assert ch03_remedies.spectral(D) is D
    x = torch.randn(4, 2)
    for _ in range(200):
        D(x)  # a power iteration each
    layers = [layer for layer in D.modules() if isinstance(layer, nn.Linear)]
    assert len(layers) == 3
    for layer in layers:
        largest = torch.linalg.matrix_norm(layer.weight.detach().double(), 2)
        assert math.isclose(number(largest), 1.0, abs_tol=1e-4)


def test_forward_kl_has_its_best_d_at_one_plus_the_log_ratio() -> None:
    """At T = 1 + log p/q D's value is KL(p || q), and no other T does better; in float64."""
    p, q = torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64)
    kl = number((p * (p / q).log()).sum())

    class Table(nn.Module):  # two points with the probabilities p and q, as batches of 10
        def __init__(self, T: torch.Tensor) -> None:
            super().__init__()
            self.T = T

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return objectives_output(self.T[x])

    def objectives_output(T: torch.Tensor) -> toy.DiscriminatorOutput:
        return toy.DiscriminatorOutput(T, None)

    real = Batch(torch.tensor([0] * 7 + [1] * 3), torch.zeros(10))
    fake = Batch(torch.tensor([0] * 2 + [1] * 8), torch.zeros(10))
    best = 1 + (p / q).log()

    def value(T: torch.Tensor) -> float:
        terms = ch03_remedies.forward_kl().d_loss(Table(T), real, fake)
        return -sum(number(t) for t in terms.values())

    assert math.isclose(value(best), kl, rel_tol=1e-12)
    for step in (torch.tensor([0.1, 0.0]), torch.tensor([0.0, -0.1]), torch.tensor([0.1, 0.1])):
        assert value(best + step) < kl
    g = ch03_remedies.forward_kl().g_loss(Table(best), fake)["g_fake"]
    assert math.isclose(number(g), -1.0, rel_tol=1e-12)  # -E_q[p/q]


def test_the_other_forward_kl_asks_g_to_raise_the_output() -> None:
    D, real, fake = toy.PointDiscriminator(), points(6, 0), points(6, 1)
    literal, other = (ch03_remedies.forward_kl(saturating=s) for s in (True, False))
    assert values(literal.d_loss(D, real, fake)) == values(other.d_loss(D, real, fake))
    logit = D(fake.images).source_logit
    assert math.isclose(number(other.g_loss(D, fake)["g_fake"]), -number(logit.mean()))


class Linear(nn.Module):
    """s(x) = w . x, whose slope is w everywhere."""

    def __init__(self, *w: float) -> None:
        super().__init__()
        self.w = nn.Parameter(torch.tensor(w, dtype=torch.float64))

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> toy.DiscriminatorOutput:
        return toy.DiscriminatorOutput(x.double() @ self.w, None)


def values(terms: dict[str, torch.Tensor]) -> dict[str, float]:
    return {name: number(term) for name, term in terms.items()}


def test_wgan_gp_is_the_mean_gap_and_the_slopes_distance_from_1() -> None:
    D, real, fake = Linear(3.0, 4.0), points(6, 0), points(6, 1)
    terms = ch03_remedies.wgan_gp(0.5).d_loss(D, real, fake)
    on_real, on_fake = (number(D(b.images).source_logit.mean()) for b in (real, fake))
    expected = {"d_real": -on_real, "d_fake": on_fake, "d_slope": 0.5 * (5 - 1) ** 2}
    assert values(terms) == pytest.approx(expected, rel=1e-6)
    assert values(ch03_remedies.wgan_gp().g_loss(D, fake)) == pytest.approx({"g_fake": -on_fake})
    terms["d_slope"].backward()  # d/dw (|w| - 1)^2 / 2 = (|w| - 1) w / |w|
    assert torch.allclose(D.w.grad, 4 * D.w.detach() / 5, rtol=1e-6)


class Bowl(nn.Module):
    """s(x) = |x|^2 / 2, whose slope at x is x; it keeps the points that it saw."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor, y: torch.Tensor | None = None) -> toy.DiscriminatorOutput:
        self.seen.append(x.detach())
        return toy.DiscriminatorOutput(x.square().sum(1) / 2, None)


def test_wgan_gp_looks_between_real_and_generated_points() -> None:
    D, n = Bowl(), 4_000
    zeros, ones = (Batch(torch.full((n, 2), float(v)), torch.zeros(n).long()) for v in (0, 1))
    penalty = number(ch03_remedies.wgan_gp(1.0).d_loss(D, real=zeros, fake=ones)["d_slope"])
    between = D.seen[0]
    assert torch.equal(between[:, 0], between[:, 1])  # on the straight line
    assert 0 <= float(between.min()) < 0.01 < 0.99 < float(between.max()) <= 1
    assert abs(float(between.mean()) - 0.5) < 0.03  # evenly
    # The integral of (sqrt(2) t - 1)^2 over t in 0..1.
    assert abs(penalty - (2 / 3 - math.sqrt(2) + 1)) < 0.02


def test_r3gan_judges_pairs_and_penalises_both_slopes() -> None:
    D, real, fake = Bowl(), points(6, 0), points(6, 1)
    objective = ch03_remedies.r3gan(gamma=3.0)
    objective.d_loss(D, points(6, 2), fake)
    terms = values(objective.d_loss(D, real, fake))
    squares = [b.images.double().square().sum(1) for b in (real, fake)]
    gap = (squares[0] - squares[1]) / 2
    expected = {
        "d_gap": number(torch.log(1 + torch.exp(-gap)).mean()),
        "d_r1": 1.5 * number(squares[0].mean()),
        "d_r2": 1.5 * number(squares[1].mean()),
    }
    assert terms == pytest.approx(expected, rel=1e-5)
    by_g = {"g_gap": number(torch.log(1 + torch.exp(gap)).mean())}
    assert values(objective.g_loss(D, fake)) == pytest.approx(by_g, rel=1e-5)


def test_r1_turns_the_dirac_gans_circle_into_a_spiral() -> None:
    """One step, D first: its Jacobian at 0 has |eigenvalues| sqrt(1 - eta gamma), 1 without R1."""
    eta = 0.1
    for gamma in (0.0, 0.1, 0.3):

        def step(start: torch.Tensor, gamma: float = gamma) -> torch.Tensor:
            theta, psi = start
            slope_d = torch.sigmoid(psi * theta) * theta + gamma * psi
            psi = psi - eta * slope_d
            return torch.stack([theta + eta * torch.sigmoid(psi * theta) * psi, psi])

        zero = torch.zeros(2, dtype=torch.float64)
        jacobian = torch.autograd.functional.jacobian(step, zero)
        found = torch.linalg.eigvals(jacobian).abs()
        assert torch.allclose(found, torch.full_like(found, math.sqrt(1 - eta * gamma)))

        # The slope of D is that of the library's loss and penalty.
        D = Linear(0.7)
        real, fake = (Batch(torch.tensor([[x]]), torch.zeros(1).long()) for x in (0.0, 0.4))
        terms = objectives.gan().d_loss(D, real, fake)
        loss = terms["d_source_fake"] + gamma / 2 * regularise.r1_penalty(D, real)
        (slope,) = torch.autograd.grad(loss, D.w)
        by_hand = 0.4 / (1 + math.exp(-0.7 * 0.4)) + gamma * 0.7
        assert math.isclose(number(slope), by_hand, rel_tol=1e-6)


@pytest.mark.parametrize("method", ch03_remedies.METHODS)
def test_each_method_starts_from_the_same_networks(method) -> None:
    G, D, objective = ch03_remedies.players(method, 3)
    G_plain, D_plain, _ = ch03_remedies.players("plain", 3)
    x = torch.randn(5, 2)
    assert torch.equal(G(x), G_plain(x))
    if method not in ("minibatch", "spectral"):
        assert torch.equal(D(x).source_logit, D_plain(x).source_logit)
    history = toy.play(G, D, toy.ring(), objective, steps=2, batch_size=8)
    assert all(math.isfinite(v) for row in history.rows for v in row.values())


def test_an_unknown_method_is_refused() -> None:
    with pytest.raises(ValueError, match="method must be one of plain, features"):
        ch03_remedies.players("magic", 0)


def test_a_row_is_the_coverage_of_the_last_g() -> None:
    row = ch03_remedies.covered("slow D", "plain", 1, steps=2)
    assert row == ch03_remedies.covered("slow D", "plain", 1, steps=2)
    assert (row["game"], row["method"]) == ("slow D", "plain")
    assert 0 <= row["modes"] <= 8
    assert 0.0 <= row["high_quality"] <= 1.0


def test_the_games_differ_in_what_they_say(monkeypatch) -> None:
    played = []
    monkeypatch.setattr(toy, "play", lambda *a, **settings: played.append(settings))
    for game in ("healthy", "slow D", "fast D", "momentum"):
        ch03_remedies.covered(game, "plain", 0)
    found = [(s["lr_g"], s["lr_d"], s["betas"][0]) for s in played]
    assert found == [(1e-3, 1e-3, 0.5), (1e-3, 1e-4, 0.5), (1e-4, 1e-2, 0.5), (1e-3, 1e-3, 0.9)]
    collapsed = ch02_games.SETTINGS["collapsed"]
    assert (collapsed["lr_g"], collapsed["lr_d"]) == found[2][:2]


def test_every_game_and_method_is_recorded_but_for_a_try(results, monkeypatch) -> None:
    ch03_remedies.stabilise(2, steps=1)
    assert not (results / "stabilise.json").exists()
    monkeypatch.setattr(ch03_remedies, "STEPS", 1)
    ch03_remedies.stabilise(2, steps=1)
    rows = stored("stabilise")
    assert sorted((r["game"], r["method"], r["seed"]) for r in rows) == sorted(
        (game, method, 2) for game, method in ch03_remedies.PLAYED
    )


def test_the_stored_rows_are_whole() -> None:
    rows = stored("stabilise")
    assert [(r["game"], r["method"], r["seed"]) for r in rows] == sorted(
        (game, method, seed) for game, method in ch03_remedies.PLAYED for seed in range(10)
    )
    assert {r["steps"] for r in rows} == {ch03_remedies.STEPS}
