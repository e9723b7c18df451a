"""Progressive growing: the fades by their ends, each part by a closed form, the loop by a clock."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acgan_lib.data import LabelledImages
from acgan_lib.families.progressive import (
    GrowingDiscriminator,
    GrowingGenerator,
    Stage,
    double,
    equalised,
    fade_images,
    fade_maps,
    faded,
    grow,
    halve,
    maps_at,
    minibatch_std,
    pixel_norm,
    shrunk,
)
from acgan_lib.objectives import Batch, Objective, acgan
from acgan_lib.regularise import r1
from acgan_lib.train import Progress, TrainConfig

pytestmark = pytest.mark.usefixtures("one_thread")
ENDS = [0.0, 1.0, torch.tensor(0.0).double(), torch.tensor(1.0).double()]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def networks(size: int = 32, K: int = 3) -> tuple[GrowingGenerator, GrowingDiscriminator]:
    """Small networks in float64, their biases drawn so that none is without effect."""
    G = GrowingGenerator(latent_dim=6, num_classes=K, width=4, image_size=size).double()
    D = GrowingDiscriminator(width=4, class_head=K, image_size=size).double()
    for network in (G, D):
        for name, p in network.named_parameters():
            if name.endswith("bias"):
                nn.init.normal_(p)
    return G, D


def images(n: int = 24, size: int = 32, K: int = 3) -> LabelledImages:
    x = torch.randint(0, 256, (n, 3, size, size), dtype=torch.uint8)
    return LabelledImages(x, torch.arange(n) % K, tuple("abc"[:K]), "noise")


def config(**changes: Any) -> TrainConfig:
    fixed: dict[str, Any] = {"precision": "fp32", "progress": False, "log_every": 1}
    given = {"batch_size": 4, "linear_decay": False, "checkpoint_every": 1, **changes}
    return TrainConfig(**fixed, **given)


# --- the fades ----------------------------------------------------------------------------------


def test_the_fades_are_what_they_say_between_their_ends() -> None:
    small, large = torch.rand(2, 3, 4, 4).double(), torch.rand(2, 3, 8, 8).double()
    blocks = small.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)
    for alpha in (0.3, torch.tensor(0.3).double()):
        assert torch.allclose(fade_images(small, large, alpha), 0.7 * blocks + 0.3 * large)
        assert torch.allclose(fade_maps(blocks, large, alpha), 0.7 * blocks + 0.3 * large)


@pytest.mark.parametrize("alpha", ENDS)
@pytest.mark.parametrize("size", [8, 16, 32])
def test_at_its_ends_a_fade_is_the_smaller_or_the_larger_network(
    size: int, alpha: float | Tensor
) -> None:
    """Bit for bit, in G and in D, both heads; what lies at alpha 1 / 2 is neither."""
    G, D = networks()
    z, y, x = torch.randn(5, 6).double(), torch.arange(5) % 3, torch.rand(5, 3, size, size).double()

    def seen() -> list[Tensor]:
        out = D(x if D.stage == G.stage and G.image_size == size else halve(x))
        assert out.class_logits is not None
        drawn = G(z, y)
        return [
            drawn if G.image_size == size else double(drawn),
            out.source_logit,
            out.class_logits,
        ]

    for network in (G, D):
        network.grow_to(size if float(alpha) else size // 2)
    wanted = seen()
    for network in (G, D):
        network.grow_to(size, alpha)
    assert all(torch.equal(a, b) for a, b in zip(seen(), wanted, strict=True))
    for network in (G, D):
        network.grow_to(size, 0.5)
    assert not any(torch.allclose(a, b) for a, b in zip(seen(), wanted, strict=True))


def test_real_images_are_faded_as_the_networks_are() -> None:
    _, D = networks(16)
    seen: list[Tensor] = []

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> dict[str, Tensor]:
        seen.append(real.images)
        return {}

    x = torch.rand(2, 3, 16, 16).double()
    real = Batch(x, torch.zeros(2).long())
    for alpha in (0.0, 0.25, 1.0):
        D.grow_to(16, alpha)
        faded(Objective("spy", d_loss, lambda D, fake: {})).d_loss(D, real, real)
    assert torch.equal(seen[0], double(halve(x)))
    assert torch.allclose(seen[1], 0.75 * double(halve(x)) + 0.25 * x)
    assert seen[2] is x


def test_only_sizes_that_are_there() -> None:
    G, D = networks(16)
    for wrong in (32, 5):
        with pytest.raises(ValueError, match="size must be one of 4, 8, 16, not"):
            G.grow_to(wrong)
    with pytest.raises(ValueError, match=r"D takes images \(n, 3, 16, 16\)"):
        D(torch.zeros(2, 3, 8, 8).double())
    assert [maps_at(16, 64), maps_at(40, 32)] == [[64, 64, 32, 16, 8], [160, 160, 80, 40]]


# --- the parts ----------------------------------------------------------------------------------


def test_pixel_norm_makes_each_vector_one_long_on_average() -> None:
    x = torch.randn(4, 7, 3, 3).double() * 20
    y = pixel_norm(x)
    assert torch.allclose(y.square().mean(1), torch.ones(4, 3, 3).double())
    cosine = torch.cosine_similarity(x, y, dim=1)
    assert torch.allclose(cosine, torch.ones(4, 3, 3).double())
    v = torch.tensor([[3.0, 4.0]]).double()  # root mean square: sqrt(25 / 2)
    assert torch.allclose(pixel_norm(v), v / math.sqrt(12.5))
    assert torch.allclose(pixel_norm(1e3 * x), y)


def test_minibatch_std_is_the_mean_of_the_deviations() -> None:
    x = torch.zeros(4, 2, 1, 2).double()
    x[:, 0, 0, 0] = torch.tensor([1.0, 1.0, 3.0, 3.0])  # deviation 1
    x[:, 1, 0, 1] = torch.tensor([-6.0, 6.0, -6.0, 6.0])  # deviation 6
    y = minibatch_std(x)
    assert torch.equal(y[:, :2], x)
    # Where all agree, the root of 1e-8 stands in the place of 0.
    assert torch.allclose(y[:, 2], torch.tensor((1 + 6 + 2e-4) / 4).double().expand(4, 1, 2))
    a = torch.randn(6, 3, 4, 4).double()
    numpy = a.numpy().std(axis=0).mean()
    assert float(minibatch_std(a)[0, -1, 0, 0]) == pytest.approx(float(numpy), abs=1e-7)
    same = torch.ones(3, 2, 2, 2).double().requires_grad_()
    minibatch_std(same).sum().backward()  # type: ignore[no-untyped-call]
    assert same.grad is not None
    assert bool(same.grad.isfinite().all())


def test_an_equalised_layer_has_the_variance_of_he_and_steps_in_proportion() -> None:
    narrow, wide = nn.Linear(10, 4000), nn.Linear(1000, 40)
    for layer, inputs in ((narrow, 10), (wide, 1000)):
        equalised(layer)
        stored: Tensor = layer.parametrizations.weight.original  # type: ignore[union-attr, assignment]
        assert torch.equal(layer.weight, stored * math.sqrt(2 / inputs))
        assert float(stored.detach().std()) == pytest.approx(1, abs=0.02)
        assert float(layer.weight.detach().std()) == pytest.approx(math.sqrt(2 / inputs), rel=0.02)
        assert not layer.bias.any()
        before = layer.weight.detach().clone()
        adam = torch.optim.Adam(layer.parameters(), lr=0.01)
        layer(torch.randn(5, inputs)).square().sum().backward()
        adam.step()
        # Adam's first step moves each stored weight by the rate: 1 % of their deviation.
        moved = (layer.weight - before).abs() / math.sqrt(2 / inputs)
        assert torch.allclose(moved, torch.full_like(moved, 0.01), rtol=0.01)


def test_the_signal_keeps_its_size_through_fresh_networks() -> None:
    D = GrowingDiscriminator(width=32, image_size=64)
    h = torch.randn(16, 3, 64, 64)
    sizes = []
    with torch.no_grad():
        h = nn.functional.leaky_relu(D.from_image[-1](h), 0.2)
        for block in reversed(D.blocks[1:]):
            for layer in block:  # type: ignore[attr-defined]
                h = nn.functional.leaky_relu(layer(h), 0.2)
                sizes.append(float(h.square().mean().sqrt()))
    assert 0.5 < min(sizes) < max(sizes) < 2.5


def test_shrunk_images_are_the_means_of_blocks() -> None:
    data = images(size=32)
    small = shrunk(data, 8)
    block = data.images[3, 1, 8:12, 4:8].float().mean()
    assert abs(float(small.images[3, 1, 2, 1]) - float(block)) <= 0.5
    assert (small.size, small.labels is data.labels) == (8, True)
    assert torch.equal(shrunk(data, 32).images, data.images)
    with pytest.raises(ValueError, match="must divide"):
        shrunk(data, 12)


# --- the loop -----------------------------------------------------------------------------------


def test_grow_goes_through_the_sizes_and_fades_each_in_by_steps() -> None:
    G, D = networks(16)
    G, D = G.float(), D.float()
    seen: list[tuple[int, float, float]] = []

    def spy(now: Progress) -> None:
        assert now.G.image_size == now.G_ema.image_size  # type: ignore[attr-defined]
        assert now.G.alpha == now.D.alpha == now.G_ema.alpha  # type: ignore[attr-defined, union-attr]
        seen.append((now.G.image_size, float(now.G.alpha), now.step))  # type: ignore[attr-defined, arg-type]

    stages = [Stage(4, 2, fade=0), Stage(8, 4, fade=0.5), Stage(16, 4, fade=0.75)]
    result = grow(G, D, images(), r1(acgan(), 1.0), stages, config(), callbacks=[spy])
    alphas = [(size, round(alpha, 3)) for size, alpha, _ in seen]
    assert alphas == [
        (4, 1.0), (4, 1.0), (8, 0.0), (8, 0.5), (8, 1.0), (8, 1.0),
        (16, 0.0), (16, 0.333), (16, 0.667), (16, 1.0),
    ]  # fmt: skip
    assert result.G_ema(torch.zeros(2, 6), [0, 1]).shape == (2, 3, 16, 16)


def test_layers_that_are_not_in_use_do_not_learn_and_new_ones_do() -> None:
    G, D = (network.float() for network in networks(16))
    before = {k: v.clone() for k, v in G.state_dict().items()}
    grow(G, D, images(), acgan(), [Stage(8, 2)], config())
    moved = {k for k, v in G.state_dict().items() if not torch.equal(v, before[k])}
    assert any(k.startswith("blocks.1.") for k in moved)
    assert any(k.startswith("to_image.0.") for k in moved), "the old exit is still faded out"
    assert not any(k.startswith(("blocks.2.", "to_image.2.")) for k in moved)


def test_a_clock_ends_each_stage_and_sets_alpha() -> None:
    G, D = (network.float() for network in networks(8))
    ticks = iter(range(1_000))
    alphas: list[float] = []

    def spy(now: Progress) -> None:
        alphas.append(float(now.G.alpha))  # type: ignore[arg-type]

    stages = [Stage(4, 3, fade=0), Stage(8, 5, fade=0.8)]
    grow(
        G, D, images(), acgan(), stages, config(), clock=lambda: float(next(ticks)), callbacks=[spy]
    )
    assert alphas == [1.0, 1.0, 1.0, 0.0, 0.25, 0.5, 0.75, 1.0]  # one tick a step


def test_what_grow_refuses() -> None:
    G, D = (network.float() for network in networks(8))
    for stages, decay in (([], False), ([Stage(8, 1)], True)):
        with pytest.raises(ValueError, match="linear_decay=False"):
            grow(G, D, images(), acgan(), stages, config(linear_decay=decay))
