"""Flow matching: the loss, the guidance and the solver against closed forms."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import metrics, zoo
from acgan_lib.data import LabelledImages
from acgan_lib.families import diffusion
from acgan_lib.families.diffusion import (
    Flow,
    Sampler,
    fit,
    flow_loss,
    guided,
    mixture_velocity,
    solve,
    times,
)
from acgan_lib.toy import Mixture, ring

pytestmark = pytest.mark.usefixtures("one_thread")
MEAN, STD = 1.5, 0.4


def gaussian(x: Tensor, t: Tensor) -> Tensor:
    """The velocity that carries N(0, 1) into N(MEAN, STD^2), worked out by hand."""
    t = t[:, None]
    var = (1 - t) ** 2 + (t * STD) ** 2
    return MEAN + (t * STD**2 - (1 - t)) / var * (x - t * MEAN)


def little(seed: int = 0, channels: int = 1) -> Flow:
    """A small flow whose last layers are not 0, so that all of it counts."""
    torch.manual_seed(seed)
    flow = Flow(num_classes=3, channels=channels, width=8, image_size=8)
    for parameter in flow.parameters():
        nn.init.normal_(parameter, std=0.3)
    return flow.eval()


def points(n: int = 200) -> Tensor:
    return torch.randn(n, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


# --- the exact field ----------------------------------------------------------------------------


def test_a_mixture_of_one_is_the_gaussian_worked_out_by_hand() -> None:
    one = Mixture(torch.tensor([[MEAN]], dtype=torch.float64), STD)
    x, t = points(), torch.rand(200, dtype=torch.float64)
    torch.testing.assert_close(mixture_velocity(one, x, t), gaussian(x, t))


def test_the_mixtures_field_is_the_mean_velocity_of_what_passes_there() -> None:
    """Against 400,000 straight lines: those that pass near x at t, and their mean velocity."""
    generator = torch.Generator().manual_seed(0)
    mixture = Mixture(torch.tensor([[-2.0], [1.0]]), 0.3, torch.tensor([0.7, 0.3]))
    data, noise = mixture.sample(400_000, generator), torch.randn(400_000, 1, generator=generator)
    for at, t in ((-0.5, 0.3), (0.0, 0.6), (0.4, 0.5)):
        near = ((1 - t) * noise + t * data - at).abs() < 0.02
        lines = (data - noise)[near]
        exact = mixture_velocity(mixture, torch.tensor([[at]]), torch.tensor([t])).item()
        sure = 5 * lines.std().item() / math.sqrt(len(lines)) + 0.02
        assert abs(lines.mean().item() - exact) < sure


def test_the_exact_field_carries_noise_to_the_ring() -> None:
    mixture = ring()
    x = torch.randn(4_000, 2, generator=torch.Generator().manual_seed(2))
    end = solve(lambda x, t: mixture_velocity(mixture, x, t), x, 100)[-1]
    share = torch.bincount(mixture.nearest(end), minlength=8) / 4_000
    off = end - mixture.means[mixture.nearest(end)]
    assert float((share - 1 / 8).abs().max()) < 0.03
    assert abs(float(off.std()) - mixture.std) < 0.01


# --- the loss -----------------------------------------------------------------------------------


def test_the_loss_is_the_squared_distance_to_picture_minus_noise() -> None:
    flow, x, noise = little(), torch.rand(5, 1, 8, 8), torch.randn(5, 1, 8, 8)
    t, weights = torch.rand(5), torch.eye(3)[[0, 1, 2, 0, 1]]
    each = []
    for i in range(5):
        place = ((1 - t[i]) * noise[i] + t[i] * x[i])[None]
        velocity = flow(place, t[i : i + 1], weights[i : i + 1])[0]
        each.append((velocity - (x[i] - noise[i])).square().mean())
    torch.testing.assert_close(flow_loss(flow, x, weights, noise, t), torch.stack(each).mean())


def test_the_exact_field_has_the_least_loss() -> None:
    """No other velocity does better on Gaussian data, and none loses less than its excess."""
    generator = torch.Generator().manual_seed(3)
    x = MEAN + STD * torch.randn(50_000, 1, generator=generator, dtype=torch.float64)
    noise = torch.randn(50_000, 1, generator=generator, dtype=torch.float64)
    t = torch.rand(50_000, generator=generator, dtype=torch.float64)

    def loss(extra: float) -> float:
        field = lambda x, t, _: gaussian(x, t) + extra * x  # noqa: E731
        return float(flow_loss(field, x, x, noise, t))  # type: ignore[arg-type]

    least = loss(0.0)
    assert min(loss(0.2), loss(-0.2)) > least + 0.02
    # E[var(data - noise | x_t)] is var_0 var_1 / var_t, integrated over t: here by a fine sum.
    s = (torch.arange(10_000) + 0.5) / 10_000
    exact = float((STD**2 / ((1 - s) ** 2 + (s * STD) ** 2)).mean())
    assert abs(least - exact) < 0.02


def test_times_are_logistic_normal_and_spread_out() -> None:
    torch.manual_seed(0)
    t = times(1_000)
    assert float(t.min()) > 0
    assert float(t.max()) < 1
    normal = torch.logit(t.double())
    assert float((normal.sort().values - normal).abs().max()) == 0  # one from each part, in order
    assert abs(float(normal.mean())) < 0.01
    assert abs(float(normal.std()) - 1) < 0.02


# --- the solver ---------------------------------------------------------------------------------


def error(steps: int, heun: bool) -> float:
    """How far the solver ends from the exact place: a Gaussian's flow scales and shifts."""
    start = points()
    return float((solve(gaussian, start, steps, heun)[-1] - (MEAN + STD * start)).abs().max())


@pytest.mark.parametrize(("heun", "order"), [(False, 1), (True, 2)])
def test_halving_the_step_divides_the_error_as_the_order_says(heun: bool, order: int) -> None:
    for steps in (40, 80):
        found = math.log2(error(steps, heun) / error(2 * steps, heun))
        assert abs(found - order) < 0.15


def test_the_path_has_each_place_on_the_way() -> None:
    start = points(3)
    path = solve(gaussian, start, 400)
    assert len(path) == 401
    assert torch.equal(path[0], start)
    for i in (100, 200, 300):
        t = i / 400
        exact = t * MEAN + math.sqrt((1 - t) ** 2 + (t * STD) ** 2) * start
        assert float((path[i] - exact).abs().max()) < 1e-4


def test_the_last_step_is_eulers_and_puts_no_noise_back() -> None:
    """All data at 0.7: the field is (0.7 - x) / (1 - t), and 0.7 - mean noise at t = 1."""
    asked = []

    def field(x: Tensor, t: Tensor) -> Tensor:
        asked.append(float(t[0]))
        return torch.where(t[:, None] < 1, (0.7 - x) / (1 - t[:, None]), torch.tensor(0.7))

    end = solve(field, points(50), 4)[-1]
    assert float((end - 0.7).abs().max()) < 1e-12
    assert asked == [0, 0.25, 0.25, 0.5, 0.5, 0.75, 0.75]


def test_a_straight_flow_needs_one_step() -> None:
    start = points(4)
    for heun in (False, True):
        end = solve(lambda x, t: torch.full_like(x, 2.0), start, 1, heun)[-1]
        torch.testing.assert_close(end, start + 2)


# --- guidance -----------------------------------------------------------------------------------


def test_guidance_is_the_line_through_no_class_and_class() -> None:
    flow, x, t = little(), torch.randn(4, 1, 8, 8), torch.rand(4)
    weights = F.one_hot(torch.tensor([0, 1, 2, 0]), 3).float()
    with torch.no_grad():
        conditional, free = flow(x, t, weights), flow(x, t, 0 * weights)
        assert torch.equal(guided(flow, weights, 1)(x, t), conditional)
        torch.testing.assert_close(guided(flow, weights, 0)(x, t), free)
        torch.testing.assert_close(guided(flow, weights, 1 + 1e-7)(x, t), conditional)
        by_hand = free + 2.5 * (conditional - free)
        torch.testing.assert_close(guided(flow, weights, 2.5)(x, t), by_hand, atol=1e-4, rtol=1e-4)
    assert float((conditional - free).abs().max()) > 0.01


def test_guidance_of_two_gaussians_goes_where_a_linear_equation_says() -> None:
    """Class N(m, s^2) among N(0, S^2): both fields are linear, and the spread has a closed form."""
    m, s, whole, w = 1.0, 0.5, 1.2, 3.0

    def linear(mean: float, std: float, t: float) -> tuple[float, float]:
        """The velocity is a + b x."""
        b = (t * std**2 - (1 - t)) / ((1 - t) ** 2 + (t * std) ** 2)
        return mean - b * t * mean, b

    def field(x: Tensor, t: Tensor) -> Tensor:
        (a1, b1), (a0, b0) = linear(m, s, float(t[0])), linear(0.0, whole, float(t[0]))
        class_, free = a1 + b1 * x, a0 + b0 * x
        return torch.lerp(free, class_, w)

    x = torch.tensor([[0.0], [1.0]], dtype=torch.float64)
    a_end, b_end = solve(field, x, 2_000)[-1].flatten().tolist()
    # d(slope)/dt = b slope, so slope = exp(integral of b), by Simpson's rule
    n = 2_000
    b_at = [(1 - w) * linear(0, whole, i / n)[1] + w * linear(m, s, i / n)[1] for i in range(n + 1)]
    simpson = (b_at[0] + b_at[-1] + 4 * sum(b_at[1:-1:2]) + 2 * sum(b_at[2:-1:2])) / (3 * n)
    assert abs((b_end - a_end) - math.exp(simpson)) < 1e-5
    assert abs(math.exp(simpson) - (s / whole) ** w * whole) < 1e-6  # narrower than s: 0.087
    assert a_end > m  # and beyond the class's own mean


# --- the network and the sampler ----------------------------------------------------------------


def test_a_fresh_flow_says_zero_and_a_zoo_file_brings_it_back(tmp_path) -> None:
    flow = Flow(num_classes=3, channels=3, width=16, image_size=16)
    x = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        assert float(flow(x, torch.rand(2), torch.eye(3)[:2]).abs().max()) == 0
    flow = little()
    again = zoo.load(zoo.save(flow, tmp_path / "flow.safetensors"))
    x, t, w = torch.randn(2, 1, 8, 8), torch.rand(2), torch.eye(3)[:2]
    assert torch.equal(again(x, t, w), flow(x, t, w))


def test_each_pixel_time_and_class_counts() -> None:
    flow, x, t, w = little(), torch.randn(1, 1, 8, 8), torch.tensor([0.3]), torch.eye(3)[:1]
    with torch.no_grad():
        base = flow(x, t, w)
        far = x.clone()
        far[0, 0, 7, 7] += 1
        assert float((flow(far, t, w) - base)[0, 0, :2, :2].abs().max()) > 1e-6  # by attention
        assert float((flow(x, t + 0.1, w) - base).abs().max()) > 1e-3
        assert float((flow(x, t, torch.eye(3)[1:2]) - base).abs().max()) > 1e-3
        assert float((flow(x, t, 0 * w) - base).abs().max()) > 1e-3


def test_a_sampler_is_a_generator_that_the_measures_take() -> None:
    G = Sampler(little(), guidance=1.5, steps=2)
    x, y = metrics.sample(G, 2, seed=0)
    assert x.shape == (6, 1, 8, 8)
    assert y.tolist() == [0, 0, 1, 1, 2, 2]
    z = torch.randn(6, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        field = guided(G.flow, F.one_hot(y, 3).float(), 1.5)
        assert torch.equal(x, solve(field, z.view(6, 1, 8, 8), 2)[-1].clamp(-1, 1))


# --- training -----------------------------------------------------------------------------------


def two_greys(n: int = 64) -> LabelledImages:
    """Class 0 is dark and class 1 is light, each with a little noise."""
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(n) % 2
    x = (
        torch.randint(0, 10, (n, 1, 8, 8), generator=generator)
        + (40 + 170 * y)[:, None, None, None]
    )
    return LabelledImages(x.to(torch.uint8), y, ("dark", "light"), "two greys")


def test_training_draws_each_class_and_repeats_itself() -> None:
    def trained() -> Flow:
        torch.manual_seed(0)
        flow = Flow(num_classes=2, width=8, image_size=8)
        return fit(flow, two_greys(), steps=300, seed=0, batch_size=32, lr=1e-2, ema=0.98)

    flow = trained()
    x, y = metrics.sample(Sampler(flow, 1.0), 50, seed=1)
    grey = torch.stack([x[y == k].mean() for k in (0, 1)])
    wanted = torch.tensor([44.5, 214.5]) / 127.5 - 1
    assert float((grey - wanted).abs().max()) < 0.15
    again = trained()
    for one, two in zip(flow.parameters(), again.parameters(), strict=True):
        assert torch.equal(one, two)
        assert not one.requires_grad


def test_hidden_labels_are_the_share_asked_for(monkeypatch) -> None:
    hidden = []

    def loss(flow: nn.Module, x: Tensor, weights: Tensor, *_: Tensor) -> Tensor:
        hidden.append(float((weights.sum(1) == 0).float().mean()))
        return sum(p.sum() for p in flow.parameters()) * 0  # type: ignore[return-value]

    monkeypatch.setattr(diffusion, "flow_loss", loss)
    fit(Flow(2, width=8, image_size=8), two_greys(), steps=60, seed=0, batch_size=256, drop=0.25)
    assert abs(sum(hidden) / len(hidden) - 0.25) < 0.02


def test_a_clock_ends_the_training_and_the_rate_falls_with_it(monkeypatch) -> None:
    seen = []
    plain = torch.optim.AdamW.step

    def step(self, *args):  # type: ignore[no-untyped-def]
        seen.append(float(self.param_groups[0]["lr"]))
        return plain(self, *args)

    monkeypatch.setattr(torch.optim.AdamW, "step", step)
    fit(
        Flow(2, width=8, image_size=8), two_greys(), steps=1_000, seed=0, batch_size=2, lr=1.0,
        share=lambda i: i / 200,
    )  # fmt: skip
    assert len(seen) == 200
    torch.testing.assert_close(seen[:3], [0.01, 0.02, 0.03])
    torch.testing.assert_close(seen[150], 0.25)
