"""The networks: the fast pair's contract, and known traps."""

from __future__ import annotations

import math
from functools import partial

import numpy as np
import pytest
import torch
from checks import (
    batch_norms_keep_torchs_defaults,
    draws_independently,
    heads_are_affine,
)
from torch import nn
from torch.nn.utils import parametrize

from acgan_lib.experiments.ch08_museum.exhibits import check_zero_latent
from acgan_lib.labels import as_labels
from acgan_lib.nets import Discriminator, Generator, init_weights, one_hot


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


def test_switches_of_d_need_one_another() -> None:
    with pytest.raises(ValueError, match="needs a class_head"):
        Discriminator(width=4, embedding_head=5)
    D = Discriminator(width=4, projection=3)
    with pytest.raises(ValueError, match="y must hold one label"):
        D(torch.rand(2, 1, 32, 32))
    plain = Discriminator(width=4, batch_norm=False)
    assert not any(isinstance(m, nn.BatchNorm2d) for m in plain.modules())


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
    ("y", "words"),
    [
        (None, "y must hold one label for each of the 2 rows, got None"),
        (torch.zeros(3).long(), r"2 rows, got \(3,\)"),
        (torch.zeros(2, 1).long(), r"2 rows, got \(2, 1\)$"),
        (torch.eye(3)[:2], r"2 rows, got \(2, 3\): use y\.argmax\(1\)"),
        (torch.eye(3)[:2].long(), r"got \(2, 3\): use y\.argmax\(1\)"),
        (torch.zeros(2), r"y must hold whole numbers, got torch\.float32: use y\.long\(\)"),
        (np.zeros(2), r"y must hold whole numbers, got torch\.float64"),
        ([0.0, 1.0], "y must hold whole numbers"),
        (torch.zeros(2, dtype=torch.bool), r"whole numbers, got torch\.bool"),
        (True, r"whole numbers, got torch\.bool"),
        (torch.tensor([0, 3]), r"y must be in \[0, 3\), got 0 to 3"),
        (torch.tensor([-1, 2]), r"y must be in \[0, 3\), got -1 to 2"),
        ([-100, 2], r"y must be in \[0, 3\), got -100 to 2"),
        (3, r"y must be in \[0, 3\), got 3 to 3"),
        ([1, 2, 0], r"2 rows, got \(3,\)"),
        ([[1, 2], [3]], r"2 rows, got \[\[1, 2\], \[3\]\]"),
        ("cat", "2 rows, got 'cat'"),
        (["cat", "dog"], "2 rows, got"),
        ([0, None], "2 rows, got"),
    ],
)
def test_wrong_labels_are_refused_by_name(y, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        one_hot(y, 3, 2)
    with pytest.raises(ValueError, match=words):
        Generator(latent_dim=4, num_classes=3, width=4)(torch.randn(2, 4), y)
    with pytest.raises(ValueError, match=words):
        Discriminator(width=4, label_input=3)(torch.zeros(2, 1, 32, 32), y)


@pytest.mark.parametrize(
    "y",
    [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), np.array([1, 2], dtype=np.uint8),
     torch.tensor([1, 2], dtype=torch.int32), [np.int64(1), np.int64(2)]],
    ids=lambda y: type(y).__name__,
)  # fmt: skip
def test_whole_numbers_in_any_form_are_labels(y) -> None:
    G, z = Generator(latent_dim=4, num_classes=3, width=4).eval(), torch.randn(2, 4)
    assert torch.equal(G(z, y), G(z, torch.tensor([1, 2])))
    labels = as_labels(y, 2, 3)
    assert labels.dtype == torch.int64
    assert labels.tolist() == [1, 2]


@pytest.mark.parametrize("y", [2, np.int64(2), torch.tensor(2), np.array(2)])
def test_one_number_is_the_label_of_every_row(y) -> None:
    G, z = Generator(latent_dim=4, num_classes=3, width=4).eval(), torch.randn(5, 4)
    assert torch.equal(G(z, y), G(z, torch.full((5,), 2)))


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
            lambda: Generator(latent_dim=8, num_classes=2, width=4, image_size=64), id="fast-64"
        ),
    ]


@pytest.mark.parametrize("image_size", [32, 64])
def test_class_survives_zero_latent(image_size: int) -> None:
    check_zero_latent(partial(Generator, image_size=image_size))


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
        pytest.param(lambda: Discriminator(width=4, image_size=64), 256, id="fast-64"),
    ],
)
def test_heads_are_affine(D, features: int) -> None:
    heads_are_affine(D(), features)


def test_batch_norms_keep_torchs_defaults() -> None:
    for network in (Generator(width=4), Discriminator(width=4)):
        batch_norms_keep_torchs_defaults(network)


@pytest.mark.parametrize("image_size", [32, 64, 128])
def test_leaky_relus_have_the_slope_of_the_paper(image_size: int) -> None:
    D = Discriminator(width=8, class_head=3, label_input=3, image_size=image_size)
    slopes = [m.negative_slope for m in D.modules() if isinstance(m, nn.LeakyReLU)]
    assert slopes == [0.2] * len(D.trunk[:-1])  # the last flattens


@pytest.mark.parametrize("image_size", [32, 64, 128])
def test_every_block_starts_from_a_narrow_normal_and_biases_from_zero(image_size: int) -> None:
    """N(0, 0.02) for weights, N(1, 0.02) for BatchNorm's, in G, where PyTorch's own differ."""
    G = Generator(num_classes=3, width=32, image_size=image_size)
    kinds = {nn.Linear: (0.0, 0.02), nn.Conv2d: (0.0, 0.02), nn.BatchNorm2d: (1.0, 0.02)}
    checked = 0
    for name, layer in G.named_modules():
        if type(layer) in kinds:
            mean, std = kinds[type(layer)]
            w = layer.weight.detach()
            error = std / math.sqrt(w.numel())
            assert abs(float(w.mean()) - mean) < 5 * error, name
            assert float(w.std()) == pytest.approx(std, rel=5 / math.sqrt(2 * w.numel())), name
            checked += 1
            bias = layer.bias
            assert bias is None or not bias.detach().any(), name
    assert checked == 3 + 2 * {32: 3, 64: 4, 128: 5}[image_size]


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


# --- starting weights ---------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Generator, Discriminator, partial(Generator, image_size=64)])
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
