"""The paper's networks, compared with its tables layer by layer; noise and dropout."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from checks import (
    batch_norms_keep_torchs_defaults,
    draws_independently,
    heads_are_affine,
)
from torch import Tensor, nn

from acgan_lib.experiments.ch08_museum.exhibits import check_zero_latent
from acgan_lib.experiments.ch17_paper_nets import (
    GaussianNoise,
    HalfDropout,
    PaperDiscriminator,
    PaperGenerator,
    cifar10_pair,
    imagenet_pair,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_papers_networks_avoid_the_known_traps() -> None:
    G = PaperGenerator((8, 6, 4), 32, latent_dim=8, num_classes=2)
    check_zero_latent(lambda **sizes: PaperGenerator((8, 6, 4), 32, 8, sizes["num_classes"]))
    draws_independently(G.eval())
    heads_are_affine(PaperDiscriminator(16, class_head=3), 2048)
    for network in cifar10_pair():
        batch_norms_keep_torchs_defaults(network)


@pytest.mark.parametrize("i", [0, 1])
def test_the_papers_weights_start_from_a_narrow_normal_and_biases_from_zero(i: int) -> None:
    for name, p in cifar10_pair()[i].named_parameters():
        if name.endswith("bias"):
            assert not p.detach().any(), name
        elif p.ndim > 1:
            x = p.detach().double().flatten() / 0.02
            assert abs(float(x.mean())) < 5 / math.sqrt(len(x)), name
            assert abs(float(x.std()) - 1) < 5 / math.sqrt(2 * len(x)), name


def test_a_size_that_does_not_divide_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"image_size must be a multiple of 8.*got 28"):
        PaperGenerator((32, 16, 8), 28)
    with pytest.raises(ValueError, match="image_size must be a multiple of 8, got 28"):
        PaperDiscriminator(28)
    with pytest.raises(ValueError, match=r"D takes images \(n, \(3, 16, 16\)\)"):
        PaperDiscriminator(16)(torch.zeros(2, 3, 17, 17))


# --- the paper's networks, layer by layer -------------------------------------------------------

# Tables 1 and 2 of arXiv 1610.09585: operation, kernel, stride, maps, BatchNorm, dropout,
# nonlinearity.
TABLE_G = {
    "imagenet": [
        ("linear", None, None, 768, False, 0.0, "ReLU"),
        ("transposed", 5, 2, 384, True, 0.0, "ReLU"),
        ("transposed", 5, 2, 256, True, 0.0, "ReLU"),
        ("transposed", 5, 2, 192, True, 0.0, "ReLU"),
        ("transposed", 5, 2, 3, False, 0.0, "Tanh"),
    ],
    "cifar10": [
        ("linear", None, None, 384, False, 0.0, "ReLU"),
        ("transposed", 5, 2, 192, True, 0.0, "ReLU"),
        ("transposed", 5, 2, 96, True, 0.0, "ReLU"),
        ("transposed", 5, 2, 3, False, 0.0, "Tanh"),
    ],
}
TABLE_D = [
    ("conv", 3, 2, 16, False, 0.5, "LeakyReLU 0.2"),
    ("conv", 3, 1, 32, True, 0.5, "LeakyReLU 0.2"),
    ("conv", 3, 2, 64, True, 0.5, "LeakyReLU 0.2"),
    ("conv", 3, 1, 128, True, 0.5, "LeakyReLU 0.2"),
    ("conv", 3, 2, 256, True, 0.5, "LeakyReLU 0.2"),
    ("conv", 3, 1, 512, True, 0.5, "LeakyReLU 0.2"),
    ("linear", None, None, 11, False, 0.0, "softmax and sigmoid, in the losses"),
]
PAIRS = {"cifar10": (cifar10_pair, 32), "imagenet": (imagenet_pair, 128)}


def table_of(layers: list[nn.Module]) -> list[tuple]:
    """Read a stack of layers off into rows of the tables above."""
    rows: list[list] = []
    for layer in layers:
        match layer:
            case nn.Conv2d() | nn.ConvTranspose2d():
                kind = "conv" if isinstance(layer, nn.Conv2d) else "transposed"
                assert layer.kernel_size[0] == layer.kernel_size[1]
                assert layer.stride[0] == layer.stride[1]
                maps = layer.out_channels
                rows.append([kind, layer.kernel_size[0], layer.stride[0], maps, False, 0.0, None])
            case nn.BatchNorm2d():
                assert rows[-1][6] is None, "BatchNorm comes before the nonlinearity"
                assert layer.num_features == rows[-1][3]
                rows[-1][4] = True
            case HalfDropout():
                rows[-1][5] = 0.5
            case nn.LeakyReLU():
                rows[-1][6] = f"LeakyReLU {layer.negative_slope}"
            case nn.ReLU() | nn.Tanh():
                rows[-1][6] = type(layer).__name__
            case nn.Flatten() | GaussianNoise():
                pass
            case _:
                raise AssertionError(f"{layer} is not in the paper")
    return [tuple(row) for row in rows]


@pytest.mark.parametrize("name", PAIRS)
def test_papers_generator_is_its_table(name: str) -> None:
    make, size = PAIRS[name]
    G = make()[0]
    linear, *rest = TABLE_G[name]
    assert table_of(list(G.blocks)) == rest
    assert G.project.in_features == 110
    side = size // 2 ** len(rest)
    assert G.project.out_features == linear[3] * side**2  # the reading that FACTS explains
    assert (G.latent_dim, G.num_classes, G.channels, G.image_size) == (100, 10, 3, size)
    # Linear with bias; 5x5 kernels with no bias before BatchNorm, which has two per map.
    maps = [row[3] for row in TABLE_G[name]]
    expected = 111 * maps[0] * side**2
    for i, (c_in, c_out) in enumerate(itertools.pairwise(maps)):
        last = i == len(maps) - 2
        expected += 25 * c_in * c_out + (c_out if last else 2 * c_out)
    assert count(G) == expected
    # ReLU, and no BatchNorm, between the linear layer and the first block.
    seen: list[Tensor] = []
    G.blocks.register_forward_hook(lambda _m, args, _out: seen.append(args[0]))
    z, y = torch.randn(2, 100), torch.tensor([3, 9])
    with torch.no_grad():
        images = G(z, y)
        code = torch.cat([z, torch.eye(10)[y]], 1)
        by_hand = (code @ G.project.weight.T + G.project.bias).clamp(min=0)
    assert images.shape == (2, 3, size, size)
    torch.testing.assert_close(seen[0].flatten(1), by_hand)


@pytest.mark.parametrize("name", PAIRS)
def test_papers_discriminator_is_its_table(name: str) -> None:
    make, size = PAIRS[name]
    D = make()[1]
    head = TABLE_D[-1]
    assert table_of(list(D.trunk)) == TABLE_D[:-1]
    assert D.heads.out_features == head[3]
    maps = [3, *(row[3] for row in TABLE_D[:-1])]
    side = size // 8
    expected = (512 * side**2 + 1) * 11
    for i, (c_in, c_out) in enumerate(itertools.pairwise(maps)):
        expected += 9 * c_in * c_out + (2 * c_out if i else c_out)
    assert count(D) == expected
    out = D.eval()(torch.rand(2, 3, size, size) * 2 - 1)
    assert out.source_logit.shape == (2,)
    assert out.class_logits.shape == (2, 10)


def test_papers_discriminators_source_logit_is_the_eleventh_unit() -> None:
    D = PaperDiscriminator(16).eval()
    nn.init.zeros_(D.heads.weight)
    D.heads.bias.data = torch.arange(11.0)
    out = D(torch.zeros(2, 3, 16, 16))
    assert out.source_logit.tolist() == [10.0, 10.0]
    assert out.class_logits[0].tolist() == [float(i) for i in range(10)]


def test_papers_discriminator_adds_noise_after_each_nonlinearity_if_asked() -> None:
    kinds = [type(m).__name__ for m in PaperDiscriminator(16, noise=0.1).trunk]
    assert kinds.count("GaussianNoise") == 6
    for i, kind in enumerate(kinds):
        assert (kind == "GaussianNoise") == (i > 0 and kinds[i - 1] == "LeakyReLU")
    assert "GaussianNoise" not in [type(m).__name__ for m in cifar10_pair()[1].trunk]
    assert [m.std for m in imagenet_pair(0.2)[1].trunk if isinstance(m, GaussianNoise)] == [0.2] * 6


# --- noise and dropout --------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["contiguous", "channels_last", "sliced", "one"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_half_dropout_drops_or_doubles(layout: str, dtype: torch.dtype) -> None:
    x = (torch.rand(7, 6, 5, 5) + 1).to(dtype)
    if layout == "channels_last":
        x = x.contiguous(memory_format=torch.channels_last)
    if layout == "sliced":
        x = x[:, ::2, 1:]
    if layout == "one":
        x = x[:1, :1, :1, :1]
    drop = HalfDropout()
    out = drop(x)
    assert (out.shape, out.dtype) == (x.shape, x.dtype)
    assert ((out == 0) | (out == 2 * x)).all()
    if layout == "channels_last":
        assert out.is_contiguous(memory_format=torch.channels_last)
    if layout != "one":
        assert 0.4 < float((out == 0).double().mean()) < 0.6
    assert drop.eval()(x) is x


def test_half_dropout_is_a_fair_coin_that_knows_nothing_of_its_neighbours() -> None:
    n, c, h, w = 64, 32, 16, 16
    out = HalfDropout()(torch.ones(n, c, h, w).contiguous(memory_format=torch.channels_last))
    kept = (out == 2).double()
    assert set(out.unique().tolist()) == {0.0, 2.0}
    for dims in ((), (0, 2, 3), (0, 1), (1, 2, 3)):  # all; per map; per pixel; per image
        share = kept.mean(dims) if dims else kept.mean()
        each = kept.numel() / share.numel()
        assert (share - 0.5).abs().max() < 5 * math.sqrt(0.25 / each)
    coin = kept - 0.5
    for shift in (1, 2, 7, 8, 32, 63, 64):  # in memory order, across the words' edges
        flat = coin.permute(0, 2, 3, 1).flatten()
        correlation = float((flat[shift:] * flat[:-shift]).mean()) * 4
        assert abs(correlation) < 5 / math.sqrt(kept.numel()), shift
    for dim in (0, 1, 2, 3):
        size = coin.shape[dim]
        a, b = coin.narrow(dim, 0, size - 1), coin.narrow(dim, 1, size - 1)
        assert abs(float((a * b).mean()) * 4) < 5 / math.sqrt(a.numel()), dim


def test_half_dropout_masks_the_gradient_as_it_masked_the_activations() -> None:
    x = torch.rand(4, 3, 5, 5).add(1).requires_grad_()
    out = HalfDropout()(x)
    out.sum().backward()
    assert torch.equal(x.grad, out.detach() / x.detach())


def test_half_dropout_draws_anew_and_follows_the_seed() -> None:
    x, drop = torch.ones(1000), HalfDropout()
    torch.manual_seed(3)
    first, second = drop(x), drop(x)
    torch.manual_seed(3)
    assert torch.equal(drop(x), first)
    assert not torch.equal(first, second)


def test_gaussian_noise_has_its_width_in_training_alone() -> None:
    noise, x = GaussianNoise(0.2), torch.linspace(-1, 1, 40_000)
    added = (noise(x) - x).double()
    assert abs(float(added.mean())) < 5 * 0.2 / 200
    assert float(added.std()) == pytest.approx(0.2, rel=0.02)
    assert torch.equal(noise.eval()(x), x)
