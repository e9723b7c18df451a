"""The networks: the fast pair's contract, the paper's tables layer by layer, known traps."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from checks import (
    batch_norms_keep_torchs_defaults,
    class_survives_zero_latent,
    draws_independently,
    heads_are_affine,
)
from torch import Tensor, nn
from torch.nn.utils import parametrize

from acgan_lib.nets import (
    Discriminator,
    GaussianNoise,
    Generator,
    HalfDropout,
    PaperDiscriminator,
    PaperGenerator,
    cifar10_pair,
    imagenet_pair,
    init_weights,
    one_hot,
)


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


# --- the fast pair ------------------------------------------------------------------------------


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [0, 1, 7])
def test_fast_generator_draws_images_in_range(channels: int, classes: int) -> None:
    G = Generator(latent_dim=5, num_classes=classes, channels=channels, width=4)
    G.to_image.weight.data.mul_(1e3)  # far beyond the range, if nothing held it in
    z = torch.randn(3, 5)
    images = G(z, torch.zeros(3).long() if classes else None)
    assert images.shape == (3, channels, 32, 32)
    assert images.dtype == torch.float32
    assert images.abs().max() <= 1
    assert images.min() < 0 < images.max()
    assert (G.latent_dim, G.num_classes, G.channels, G.image_size) == (5, classes, channels, 32)


def test_unconditional_generator_ignores_labels() -> None:
    G = Generator(latent_dim=5, num_classes=0, width=4).eval()
    z = torch.randn(3, 5)
    assert torch.equal(G(z), G(z, torch.tensor([0, 5, 99])))


@pytest.mark.parametrize(
    ("label_input", "class_head"), [(0, 0), (7, 0), (0, 7), (0, 8)]
)  # DCGAN, CGAN, AC-GAN, AC-GAN with N+1 classes
def test_fast_discriminator_has_the_heads_asked_for(label_input: int, class_head: int) -> None:
    D = Discriminator(channels=3, width=4, label_input=label_input, class_head=class_head)
    y = torch.arange(5) if label_input else None
    out = D(torch.rand(5, 3, 32, 32) * 2 - 1, y)
    assert out.source_logit.shape == (5,)
    if class_head:
        assert out.class_logits.shape == (5, class_head)
    else:
        assert out.class_logits is None


def test_fast_pair_has_the_parameters_that_the_formula_counts() -> None:
    w, z, k, c = 32, 100, 10, 1
    conv = lambda i, o, side, bias: i * o * side * side + bias * o  # noqa: E731
    g = (z + k + 1) * 4 * w * 16 + 2 * 4 * w
    for i, o in ((4 * w, 2 * w), (2 * w, w), (w, w // 2)):
        g += conv(i, 4 * o, 3, bias=0) + 2 * o
    g += conv(w // 2, c, 3, bias=1)
    assert count(Generator()) == g
    d = conv(c, w, 4, bias=1)
    for i, o in ((w, 2 * w), (2 * w, 4 * w)):
        d += conv(i, o, 4, bias=0) + 2 * o
    d += (4 * w * 16 + 1) * (1 + k)
    assert count(Discriminator(class_head=k)) == d
    assert count(Discriminator(class_head=k, label_input=k)) == d + k * w * 16


def test_label_reaches_the_conditional_discriminator_at_every_pixel() -> None:
    D = Discriminator(width=4, label_input=3).eval()
    x = torch.zeros(3, 1, 32, 32)
    seen = []
    D.trunk[0].register_forward_hook(lambda _m, args, _out: seen.append(args[0]))
    logits = D(x, torch.tensor([0, 1, 2])).source_logit
    assert torch.equal(seen[0][:, 1:], torch.eye(3)[:, :, None, None].expand(3, 3, 32, 32))
    assert torch.equal(seen[0][:, :1], x)
    assert len(set(logits.tolist())) == 3


@pytest.mark.parametrize(
    ("y", "error", "words"),
    [
        (None, ValueError, "y must hold one label for each of the 2 rows, got None"),
        (torch.zeros(3).long(), ValueError, r"2 rows, got \(3,\)"),
        (torch.zeros(2, 1).long(), ValueError, r"2 rows, got \(2, 1\)"),
        (torch.zeros(2), TypeError, "y must be int64, got torch.float32"),
        (torch.zeros(2).int(), TypeError, "y must be int64, got torch.int32"),
        (torch.tensor([0, 3]), ValueError, r"y must be in \[0, 3\), got 0 to 3"),
        (torch.tensor([-1, 2]), ValueError, r"y must be in \[0, 3\), got -1 to 2"),
    ],
)
def test_wrong_labels_are_refused_by_name(y, error, words: str) -> None:
    with pytest.raises(error, match=words):
        one_hot(y, 3, 2)
    with pytest.raises(error, match=words):
        Generator(latent_dim=4, num_classes=3, width=4)(torch.randn(2, 4), y)
    with pytest.raises(error, match=words):
        Discriminator(width=4, label_input=3)(torch.zeros(2, 1, 32, 32), y)


def test_one_hot_rows() -> None:
    expected = torch.tensor([[0.0, 0, 1], [1, 0, 0]])
    assert torch.equal(one_hot(torch.tensor([2, 0]), 3, 2), expected)
    assert one_hot(torch.zeros(0).long(), 3, 0).shape == (0, 3)


def test_wrong_latents_and_weights_are_refused_by_name() -> None:
    G = Generator(latent_dim=4, num_classes=3, width=4)
    with pytest.raises(ValueError, match=r"z must have shape \(n, 4\), got \(2, 5\)"):
        G(torch.zeros(2, 5), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"z must have shape \(n, 4\), got \(2, 4, 1\)"):
        G(torch.zeros(2, 4, 1), torch.zeros(2).long())
    with pytest.raises(ValueError, match=r"weights must have shape \(2, 3\), got \(2, 2\)"):
        G.from_weights(torch.zeros(2, 4), torch.zeros(2, 2))


def test_class_weights_mix_what_labels_choose() -> None:
    G = Generator(latent_dim=4, num_classes=3, width=4).eval()
    z, y = torch.randn(2, 4), torch.tensor([2, 0])
    assert torch.equal(G(z, y), G.from_weights(z, torch.eye(3)[y]))
    half = G.from_weights(z, torch.full((2, 3), 1 / 3))
    assert not torch.allclose(half, G(z, y), atol=1e-6)


def generators() -> list:
    return [
        pytest.param(lambda: Generator(latent_dim=8, num_classes=2, width=4), id="fast"),
        pytest.param(
            lambda: PaperGenerator((8, 6, 4), 32, latent_dim=8, num_classes=2), id="paper"
        ),
    ]


@pytest.mark.parametrize("make", generators())
def test_class_survives_zero_latent(make) -> None:
    class_survives_zero_latent(make())


@pytest.mark.parametrize("make", generators())
def test_generator_draws_each_image_alone_in_eval_mode_and_not_in_train_mode(make) -> None:
    G = make().requires_grad_(False)
    for _ in range(20):  # running statistics that are not the starting ones
        G(torch.randn(32, 8), torch.randint(0, 2, (32,)))
    draws_independently(G.eval())
    with pytest.raises(AssertionError):
        draws_independently(G.train())


@pytest.mark.parametrize(
    ("D", "features"),
    [
        pytest.param(lambda: Discriminator(width=4, class_head=3), 256, id="fast"),
        pytest.param(lambda: Discriminator(width=4), 256, id="fast-no-classes"),
        pytest.param(lambda: PaperDiscriminator(16, class_head=3), 2048, id="paper"),
    ],
)
def test_heads_are_affine(D, features: int) -> None:
    heads_are_affine(D(), features)


def test_batch_norms_keep_torchs_defaults() -> None:
    for network in (Generator(width=4), Discriminator(width=4), *cifar10_pair()):
        batch_norms_keep_torchs_defaults(network)


def test_spectral_norm_keeps_every_layers_largest_singular_value_at_one() -> None:
    D = Discriminator(width=8, label_input=2, class_head=3)
    layers = [m for m in D.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 5
    assert all(parametrize.is_parametrized(layer, "weight") for layer in layers)
    for layer in layers:  # as if training had scaled them
        layer.parametrizations.weight.original.data.mul_(30)
    for _ in range(30):
        D(torch.rand(4, 1, 32, 32), torch.zeros(4).long())
    for layer in layers:
        sigma = torch.linalg.matrix_norm(layer.weight.detach().flatten(1).double(), ord=2)
        assert float(sigma) == pytest.approx(1.0, rel=0.02)


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


# --- starting weights ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make", [Generator, Discriminator, *(lambda i=i: cifar10_pair()[i] for i in (0, 1))]
)
def test_weights_start_from_a_narrow_normal_and_biases_from_zero(make) -> None:
    network = make()
    seen = 0
    for name, p in network.named_parameters():
        if name.endswith("bias"):
            assert not p.detach().any(), name
            continue
        if p.ndim == 1:  # BatchNorm's weights
            assert (p.detach() - 1).abs().max() < 0.1, name
            continue
        x = p.detach().double().flatten() / 0.02
        n = len(x)
        assert abs(float(x.mean())) < 5 / math.sqrt(n), name
        assert abs(float(x.std()) - 1) < 5 / math.sqrt(2 * n), name
        if n > 1000:  # a normal has kurtosis 3, a uniform of the same width 1.8
            assert abs(float((x**4).mean()) - 3) < 5 * math.sqrt(96 / n), name
            seen += 1
    assert seen >= 3


def test_init_weights_leaves_other_layers_alone() -> None:
    layer = nn.PReLU()
    init_weights(layer)
    assert layer.weight.tolist() == [0.25]


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
