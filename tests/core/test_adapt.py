"""Networks from elsewhere: four public interfaces, their neighbours, and what cannot be decided.

The stand-ins have the calls, argument names, output shapes and last layers that the four projects
publish; their layers are small and the tests' own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from checks import two_classes
from torch import Tensor, nn

from acgan_lib import objectives, pairs, zoo
from acgan_lib.data import LabelledImages
from acgan_lib.latent import generate_mixed
from acgan_lib.metrics.sampling import sample
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.pairs import AdaptedDiscriminator, adapt, pair
from acgan_lib.regularise import diff_augment
from acgan_lib.train import TrainConfig, fit

Z, K = 6, 3
QUIET = TrainConfig(batch_size=8, progress=False, precision="fp32")


def noise(classes: int, image: tuple[int, int, int], n: int = 24) -> LabelledImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, *image), generator=generator, dtype=torch.uint8)
    names = tuple(f"class {k}" for k in range(classes))
    return LabelledImages(images, torch.arange(n) % classes, names, "noise")


def up(c_in: int, channels: int, side: int, last: nn.Module | None = None) -> nn.Sequential:
    """From (n, c_in) to images (n, channels, side, side)."""
    return nn.Sequential(
        nn.Linear(c_in, 4 * (side // 2) ** 2), nn.BatchNorm1d(4 * (side // 2) ** 2), nn.ReLU(),
        nn.Unflatten(1, (4, side // 2, side // 2)), nn.Upsample(scale_factor=2),
        nn.Conv2d(4, channels, 3, padding=1), last or nn.Tanh(),
    )  # fmt: skip


def down(channels: int, side: int) -> nn.Sequential:
    """From images (n, channels, side, side) to maps (n, 8, side / 4, side / 4)."""
    return nn.Sequential(
        nn.Conv2d(channels, 4, 3, 2, 1), nn.LeakyReLU(0.2, inplace=True), nn.Dropout2d(0.25),
        nn.Conv2d(4, 8, 3, 2, 1), nn.LeakyReLU(0.2), nn.BatchNorm2d(8),
    )  # fmt: skip


# -- PyTorch-GAN, implementations/acgan ------------------------------------------------------------


class TorchGanG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label_emb, self.body = nn.Embedding(K, Z), up(Z, 1, 32)

    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        return self.body(torch.mul(self.label_emb(labels), noise))


class TorchGanD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = down(1, 32)
        self.adv_layer = nn.Sequential(nn.Linear(8 * 64, 1), nn.Sigmoid())
        self.aux_layer = nn.Sequential(nn.Linear(8 * 64, K), nn.Softmax(dim=1))

    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        out = self.body(img)
        out = out.view(out.shape[0], -1)  # fails on channels-last maps
        return self.adv_layer(out), self.aux_layer(out)


# -- in the manner of Keras: the label first, K + 1 classes, 28 px ---------------------------------


class KerasG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.body = nn.Embedding(K, Z), up(Z, 1, 28)

    def forward(self, label: Tensor, noise: Tensor) -> Tensor:
        return self.body(nn.Flatten()(self.embedding(label)) * noise)


class KerasD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(down(1, 28), nn.Flatten())
        self.validity, self.label = nn.Linear(8 * 49, 1), nn.Linear(8 * 49, K + 1)

    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        features = self.body(img)
        return self.label(features).softmax(1), 1 / (1 + (-self.validity(features)).exp())


# -- StudioGAN: outputs by name, D takes the label that it does not need ---------------------------


class StudioG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.shared, self.body = nn.Embedding(K, 4), up(Z + 4, 3, 32)
        # The old one: it keeps its last weight, which deepcopy does not take with a graph.
        self.body[0] = nn.utils.spectral_norm(self.body[0])

    def forward(
        self, z: Tensor, label: Tensor, shared_label: Tensor | None = None, eval: bool = False
    ) -> Tensor:
        shared_label = self.shared(label) if shared_label is None else shared_label
        return self.body(torch.cat([shared_label, z], 1))


class StudioD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        norm = nn.utils.spectral_norm
        self.body = nn.Sequential(
            norm(nn.Conv2d(3, K, 3, 2, 1)), nn.ReLU(), norm(nn.Conv2d(K, K, 3, 2, 1))
        )
        self.linear1, self.linear2 = norm(nn.Linear(K, 1)), norm(nn.Linear(K, K, bias=False))

    def forward(
        self, x: Tensor, label: Tensor, eval: bool = False, adc_fake: bool = False
    ) -> dict[str, Any]:
        h = self.body(x).sum(dim=[2, 3])  # as wide as the class rows, to make it hard
        return {
            "h": h, "adv_output": torch.squeeze(self.linear1(h)), "embed": None, "proxy": None,
            "cls_output": self.linear2(h), "label": label, "mi_embed": None,
        }  # fmt: skip


# -- torchgan: D's heads behind a mode -------------------------------------------------------------


class TorchganG(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.label_embeddings, self.body = nn.Embedding(K, Z), up(Z, 3, 32)

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        y_emb = self.label_embeddings(y.type(torch.LongTensor).to(y.device))
        return self.body(torch.mul(y_emb, z))


class TorchganD(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = down(3, 32)
        self.disc, self.aux = nn.Conv2d(8, 1, 8), nn.Conv2d(8, K, 8)

    def forward(self, x: Tensor, mode: str = "discriminator") -> Any:
        x = self.body(x)
        if mode == "discriminator":
            return self.disc(x).view(x.size(0))
        if mode == "classifier":
            return self.aux(x).view(x.size(0), -1)
        return self.disc(x).view(x.size(0)), self.aux(x).view(x.size(0), -1)


FOUR: dict[str, tuple[Callable[[], nn.Module], Callable[[], nn.Module], dict[str, Any]]] = {
    "PyTorch-GAN": (TorchGanG, TorchGanD, {"probabilities": True}),
    "Keras": (KerasG, KerasD, {"probabilities": True, "image": (1, 28, 28)}),
    "StudioGAN": (StudioG, StudioD, {"image": (3, 32, 32)}),
    "torchgan": (TorchganG, TorchganD, {"image": (3, 32, 32)}),
}


def raw(D: nn.Module, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Validity (n,) and class rows as one of the four gives them, by its own call."""
    if isinstance(D, StudioD):
        out = D(x, y)
        return out["adv_output"], out["cls_output"]
    if isinstance(D, TorchganD):
        return D(x, mode="discriminator"), D(x, mode="classifier")
    first, second = D(x)
    return (second if isinstance(D, KerasD) else first).squeeze(1), first if isinstance(
        D, KerasD
    ) else second


@pytest.mark.parametrize("name", FOUR)
@pytest.mark.parametrize("given", [None, K])
def test_the_four_public_interfaces(name: str, given: int | None) -> None:
    torch.manual_seed(0)
    G, D = FOUR[name][0](), FOUR[name][1]()
    settings = {"image": (1, 32, 32), **FOUR[name][2]}
    G2, D2 = adapt(G, D, latent_dim=Z, num_classes=given, **settings)
    copy.deepcopy(G2), copy.deepcopy(D2)
    C, side, _ = settings["image"]
    assert (G2.latent_dim, G2.num_classes, G2.channels, G2.image_size) == (Z, K, C, side)
    G2.eval(), D2.eval()
    z, y = torch.randn(7, Z), torch.arange(7) % K
    expected = G(y, z) if name == "Keras" else G(z, y)
    assert torch.equal(G2(z, y), expected)
    assert G2.from_weights is None, "between labels lies nothing"
    with pytest.raises(TypeError, match="no from_weights"):
        generate_mixed(G2, z, torch.full((7, K), 1 / K))
    x = torch.rand(7, C, side, side) * 2 - 1
    out, (source, rows) = D2(x), raw(D, x, y)
    assert out.source_logit.shape == (7,)
    assert out.class_logits.shape == rows.shape
    assert D2.label_input == 0
    if settings.get("probabilities"):
        source, rows = torch.logit(source.double()), rows.double().log()
    torch.testing.assert_close(out.source_logit.double(), source.double(), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out.class_logits.double(), rows.double(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", FOUR)
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_four_train_and_draw(name: str, precision: Any) -> None:
    torch.manual_seed(0)
    G, D = FOUR[name][0](), FOUR[name][1]()
    settings = {"image": (1, 32, 32), **FOUR[name][2]}
    G2, D2 = adapt(G, D, latent_dim=Z, **settings)
    data = noise(K, settings["image"])
    before = copy.deepcopy(G.state_dict())
    game = objectives.acgan(class_loss_on="n+1" if name == "Keras" else "real+fake")
    config = TrainConfig(batch_size=8, progress=False, precision=precision)
    run = fit(G2, D2, data, game, steps=3, config=config)
    moved = [
        k
        for k, v in G.state_dict().items()
        if v.is_floating_point() and not torch.equal(v, before[k])
    ]
    assert moved, "the networks themselves learn"
    images, y = sample(run.G_ema, 2, seed=0)
    assert images.shape == (2 * K, *settings["image"])
    assert y.tolist() == [0, 0, 1, 1, 2, 2]


def test_no_label_beyond_an_embedding_is_tried() -> None:
    """Keras' D has K + 1 class rows; on CUDA, label K would end the process's use of it."""
    torch.manual_seed(0)
    G, seen = KerasG(), []
    G.embedding.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    adapt(G, KerasD(), latent_dim=Z, image=(1, 28, 28), probabilities=True)
    assert max(int(labels.max()) for labels in seen if labels.dtype == torch.int64) == K - 1


# -- neighbours ------------------------------------------------------------------------------------


class OneHotG(nn.Module):
    """In the order that it is told, which its argument names say or hide."""

    def __init__(self, first: str = "z") -> None:
        super().__init__()
        self.first, self.body = first, up(Z + K, 1, 32)

    def forward(self, z: Tensor, y_onehot: Tensor) -> Tensor:
        return self.body(torch.cat([z, y_onehot], 1))


class OneHotFirstG(OneHotG):
    def forward(self, condition: Tensor, noise: Tensor) -> Tensor:  # type: ignore[override]
        return self.body(torch.cat([condition, noise], 1))


class NamelessG(OneHotG):
    def forward(self, a: Tensor, b: Tensor) -> Tensor:  # type: ignore[override]
        return self.body(torch.cat([a, b], 1))


class JoinedG(OneHotG):
    def forward(self, x: Tensor) -> Tensor:  # type: ignore[override]
        return self.body(x)


class DcganG(nn.Module):
    """Takes z as maps of 1 px, as PyTorch's own tutorial does."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ConvTranspose2d(Z, 4, 32), nn.BatchNorm2d(4), nn.Conv2d(4, 1, 1), nn.Tanh()
        )

    def forward(self, input: Tensor) -> Tensor:
        return self.body(input)


class PlainD(nn.Module):
    """Validity alone, (n, 1, 1, 1).view(-1) or (n, 1)."""

    def __init__(self, flat: bool = True) -> None:
        super().__init__()
        self.flat, self.body = flat, nn.Sequential(down(1, 32), nn.Flatten(), nn.Linear(8 * 64, 1))

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).view(-1) if self.flat else self.body(x)


class CganD(nn.Module):
    """Judges the pair; ``one_hot`` or numbers."""

    def __init__(self, one_hot: bool = False) -> None:
        super().__init__()
        self.one_hot, self.body = one_hot, PlainD(False)
        self.label = nn.Linear(K, 1024) if one_hot else nn.Embedding(K, 1024)

    def forward(self, img: Tensor, labels: Tensor) -> Tensor:
        return self.body(img + self.label(labels).view(-1, 1, 32, 32))


class Named(nn.Module):
    """Calls a network, and names or joins what it gives."""

    def __init__(self, D: nn.Module, change: Callable[[Any], Any]) -> None:
        super().__init__()
        self.D, self.change = D, change

    def forward(self, x: Tensor) -> Any:
        return self.change(self.D(x))


def gives(change: Callable[[Any], Any]) -> Callable[[], nn.Module]:
    return lambda: Named(PlainD(), change)


@pytest.mark.parametrize("G_class", [OneHotG, OneHotFirstG, JoinedG])
def test_one_hot_labels_in_either_order_or_with_z_can_be_mixed(G_class: Any) -> None:
    torch.manual_seed(0)
    G = G_class()
    G2, _ = adapt(G, CganD(), latent_dim=Z, num_classes=K)
    G2.eval()
    z, y, w = torch.randn(4, Z), torch.tensor([0, 2, 1, 1]), torch.full((4, K), 1 / K)

    def own(z: Tensor, w: Tensor) -> Tensor:
        return {OneHotG: lambda: G(z, w), OneHotFirstG: lambda: G(w, z)}.get(
            G_class, lambda: G(torch.cat([z, w], 1))
        )()

    assert torch.equal(G2(z, y), own(z, F.one_hot(y, K).float()))
    assert torch.equal(generate_mixed(G2, z, w), own(z, w))
    for bad in (torch.randn(4, Z + 1), torch.randn(4, Z, 1)):
        with pytest.raises(ValueError, match=r"z must have shape \(n, 6\)"):
            G2(bad, y)


def test_an_order_that_nothing_tells_is_asked_for() -> None:
    with pytest.raises(ValueError, match=r"several ways .* G\(z, one-hot y\); G\(one-hot y, z\)"):
        adapt(NamelessG(), PlainD(), latent_dim=Z, num_classes=K)


@pytest.mark.parametrize("flat", [True, False])
def test_a_plain_pair_has_no_classes(flat: bool) -> None:
    torch.manual_seed(0)
    G, D = DcganG(), PlainD(flat)
    G2, D2 = adapt(G, D, latent_dim=Z)
    assert G2.num_classes == 0
    z, x = torch.randn(5, Z), torch.randn(5, 1, 32, 32)
    G2.eval(), D2.eval()
    assert torch.equal(G2(z), G(z[..., None, None]))
    out = D2(x)
    assert out.class_logits is None
    assert torch.equal(out.source_logit, D(x).flatten())
    fit(G2, D2, two_classes(), objectives.gan(), steps=1, config=QUIET)


@pytest.mark.parametrize("one_hot", [True, False])
def test_a_d_that_judges_the_pair_is_told_the_label(one_hot: bool) -> None:
    torch.manual_seed(0)
    D = CganD(one_hot)
    G2, D2 = adapt(OneHotG(), D, latent_dim=Z, num_classes=K)
    assert D2.label_input == K
    D2.eval()
    x, y = torch.randn(4, 1, 32, 32), torch.tensor([2, 0, 1, 1])
    expected = D(x, F.one_hot(y, K).float() if one_hot else y).squeeze(1)
    assert torch.equal(D2(x, y).source_logit, expected)
    with pytest.raises(ValueError, match="y must hold one label"):
        D2(x)
    fit(G2, D2, noise(K, (1, 32, 32)), objectives.cgan(), steps=1, config=QUIET)


def test_the_librarys_own_networks_pass_through() -> None:
    torch.manual_seed(0)
    z, y, x = torch.randn(5, 8), torch.arange(5) % K, torch.randn(5, 3, 32, 32)
    for heads in ({"class_head": K}, {"label_input": K}, {}):
        G = Generator(8, K if heads else 0, channels=3, width=4)
        D = Discriminator(3, 4, **heads)
        G2, D2 = adapt(G, D, latent_dim=8, image=(3, 32, 32), num_classes=K if heads else None)
        assert D2.label_input == heads.get("label_input", 0)
        G2.eval(), D2.eval()
        assert torch.equal(G2(z, y), G(z, y))
        told = (x, y) if "label_input" in heads else (x,)
        assert torch.equal(D2(*told).source_logit, D(*told).source_logit)


class OptionalD(PlainD):
    """A second argument that is no label, as in progressive growing."""

    def forward(self, x: Tensor, alpha: float | Tensor = 1.0) -> Tensor:
        return super().forward(x) * torch.as_tensor(alpha).float().mean()


def test_an_option_is_not_taken_for_a_label() -> None:
    _, D2 = adapt(OneHotG(), OptionalD(), latent_dim=Z, num_classes=K)
    assert D2.call == "D(x)"
    assert D2.label_input == 0


# -- probabilities ---------------------------------------------------------------------------------


class Stub(nn.Module):
    """Gives a tensor's columns as the validity's logit and the class logits, squashed."""

    def __init__(self) -> None:
        super().__init__()
        self.unused = nn.Parameter(torch.zeros(1))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return x[:, :1].sigmoid(), x[:, 1:].softmax(1)


def test_probabilities_become_the_logits_that_they_were() -> None:
    """Values and gradients against float64 and the closed form."""
    D2 = AdaptedDiscriminator(Stub(), "D(x)", "0", "1", 0, (True, True))
    logits = torch.linspace(-12, 12, 57)[:, None]
    x = torch.cat([logits, 3 * torch.randn(57, 4, generator=torch.Generator().manual_seed(0))], 1)
    x.requires_grad_()
    out = D2(x)
    # float32 next to 1 has steps of 6e-8, so 1 - p = exp(-12) is known to 1 %.
    torch.testing.assert_close(out.source_logit, x[:, 0], rtol=0, atol=0.02)
    torch.testing.assert_close(out.source_logit[:40], x[:40, 0], rtol=0, atol=1e-3)
    expected = x[:, 1:].double().log_softmax(1)
    torch.testing.assert_close(out.class_logits.double(), expected, rtol=1e-5, atol=1e-5)
    # The gradient of the losses through them is that of the losses on the logits.
    y = torch.arange(57) % 4
    loss = F.softplus(-out.source_logit).sum() + F.cross_entropy(out.class_logits, y)
    (got,) = torch.autograd.grad(loss, x)
    plain = x.detach().double().requires_grad_()
    right = F.softplus(-plain[:, 0]).sum() + F.cross_entropy(plain[:, 1:], y)
    (exact,) = torch.autograd.grad(right, plain)
    torch.testing.assert_close(got.double(), exact, rtol=1e-4, atol=2e-7)


def test_probabilities_of_0_and_1_stay_finite() -> None:
    D2 = AdaptedDiscriminator(Stub(), "D(x)", "0", "1", 0, (True, True))
    x = torch.tensor([[200.0, 500, -500, 0], [-200.0, -500, 500, 0]], requires_grad=True)
    out = D2(x)
    assert out.source_logit.tolist() == pytest.approx([15.94, -15.94], abs=0.01)
    assert out.class_logits.isfinite().all()
    loss = F.softplus(out.source_logit).sum() + F.cross_entropy(
        out.class_logits, torch.tensor([1, 1])
    )
    (gradient,) = torch.autograd.grad(loss, x)
    assert gradient.isfinite().all()


def test_probabilities_are_taken_in_float32_where_the_rest_runs_in_bfloat16() -> None:
    D2 = AdaptedDiscriminator(TorchGanD().eval(), "D(x)", "0", "1", 0, (True, True))
    x = torch.randn(4, 1, 32, 32, generator=torch.Generator().manual_seed(0))
    expected = D2(x)
    with torch.autocast("cpu", torch.bfloat16):
        out = D2(x)
    assert torch.equal(out.source_logit, expected.source_logit)
    assert torch.equal(out.class_logits, expected.class_logits)


@pytest.mark.parametrize(
    ("D", "probabilities", "message"),
    [
        (TorchGanD, False, "D's class rows are probabilities: pass probabilities=True"),
        (lambda: Named(PlainD(), torch.sigmoid), False, "D's validity are probabilities: pass"),
        (PlainD, True, r"probabilities=True, but D's validity goes from .* to .*: leave it out"),
    ],
)
def test_what_is_said_of_probabilities_is_checked(
    D: Callable[[], nn.Module], probabilities: bool, message: str
) -> None:
    torch.manual_seed(0)
    with pytest.raises(ValueError, match=message):
        adapt(TorchGanG(), D(), latent_dim=Z, num_classes=K, probabilities=probabilities)


class SigmoidsD(TorchGanD):
    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        validity, rows = super().forward(img)
        return validity, rows.sqrt()


class LogitRowsD(TorchGanD):
    def forward(self, img: Tensor) -> tuple[Tensor, Tensor]:
        validity, _ = super().forward(img)
        return validity, self.aux_layer[0](self.body(img).flatten(1))


def test_class_rows_may_stay_logits_beside_a_sigmoid() -> None:
    torch.manual_seed(0)
    D = LogitRowsD()
    _, D2 = adapt(TorchGanG(), D, latent_dim=Z, probabilities=True)
    x = torch.randn(4, 1, 32, 32)
    D2.eval()
    torch.testing.assert_close(D2(x).class_logits, D(x)[1], rtol=0, atol=0)
    torch.testing.assert_close(D2(x).source_logit, torch.logit(D(x)[0].squeeze(1)))
    with pytest.raises(ValueError, match="do not sum to 1"):
        adapt(TorchGanG(), SigmoidsD(), latent_dim=Z, probabilities=True)


# -- what cannot be decided ------------------------------------------------------------------------


IgnoresY = type("IgnoresY", (TorchGanG,), {"forward": lambda self, z, y: self.body(z)})
IgnoresZ = type(
    "IgnoresZ", (TorchGanG,), {"forward": lambda self, z, y: self.body(self.label_emb(y))}
)


@pytest.mark.parametrize(
    ("G", "D", "changes", "message"),
    [
        (TorchGanG, PlainD, {"image": (1, 32, 28)}, "image must be square"),
        (TorchGanG, PlainD, {"image": (1, 64, 64)}, r"G\(z, y\): gives \(2, 1, 32, 32\) for 2"),
        (TorchGanG, PlainD, {"latent_dim": 7}, r"latents \(n, 7\) .* are latent_dim, image and"),
        (TorchGanG, PlainD, {"num_classes": K + 1}, "IndexError: index out of range"),
        (IgnoresY, PlainD, {}, "draws the same for each class"),
        (IgnoresZ, PlainD, {}, "draws the same for each z"),
        (DcganG, PlainD, {}, r"3 classes gives images .*positional argument"),
        (OneHotG, PlainD, {"num_classes": None}, r"6\) and 0 classes .* num_classes right"),
        (TorchGanG, gives(lambda v: v[:, None, None]), {}, r"D\(x\): gives 0: \(2, 1, 1\)"),
        (TorchGanG, gives(lambda v: (v, v)), {}, r"gives 0: \(2,\), 1: \(2,\)"),
        (TorchGanG, gives(lambda v: "real"), {}, "gives a str, not tensors"),
        (TorchGanG, gives(lambda v: (v, *2 * [v[:, None].expand(2, K)])), {}, r"\), 2: \(2, 3\)"),
        (TorchGanG, lambda: nn.Linear(2, 2), {}, "no call of D"),
    ],
)
def test_what_was_found_is_said_where_nothing_can_be_decided(
    G: Callable[[], nn.Module], D: Callable[[], nn.Module], changes: dict[str, Any], message: str
) -> None:
    torch.manual_seed(0)
    settings: dict[str, Any] = {"latent_dim": Z, "num_classes": K} | changes
    with pytest.raises(ValueError, match=rf"(?s){message}"):
        adapt(G(), D(), **settings)


@pytest.mark.parametrize(("G", "D", "message"), [("G", PlainD(), "G"), (TorchGanG(), len, "D")])
def test_only_modules_are_taken(G: Any, D: Any, message: str) -> None:
    with pytest.raises(ValueError, match=rf"{message} must be a torch\.nn\.Module, not"):
        adapt(G, D, latent_dim=Z)


@pytest.mark.parametrize("last", [nn.Sigmoid(), nn.Identity()])
def test_images_of_another_range_are_refused(last: nn.Module) -> None:
    torch.manual_seed(0)
    G = TorchGanG()
    G.body = up(Z, 1, 32, last)
    with torch.no_grad():
        G.body[-2].weight.mul_(100)
    with pytest.raises(ValueError, match="do not end in tanh"):
        adapt(G, PlainD(), latent_dim=Z, num_classes=K)


def test_outputs_are_told_apart_by_their_names() -> None:
    torch.manual_seed(0)
    D = LogitRowsD()
    by_name = Named(
        D, lambda o: {"features": o[1] + 1, "cls": o[1], "valid": o[0], "norm": o[0] + 1}
    )
    _, D2 = adapt(TorchGanG(), by_name, latent_dim=Z, num_classes=K, probabilities=True)
    assert (D2.source, D2.classes) == ("valid", "cls")


# -- what the probes leave alone -------------------------------------------------------------------


class NoisyG(TorchGanG):
    def forward(self, noise: Tensor, labels: Tensor) -> Tensor:
        images = super().forward(noise, labels)
        return (images + 0.1 * torch.randn_like(images)).clamp(-1, 1)


def test_the_probes_leave_networks_modes_statistics_and_random_state_alone() -> None:
    torch.manual_seed(0)
    G, D = NoisyG().train(), StudioLike().train()
    D.body[1].eval()
    modes = {m: m.training for net in (G, D) for m in net.modules()}
    state = [{k: v.clone() for k, v in net.state_dict().items()} for net in (G, D)]
    before = torch.get_rng_state()
    G2, _ = adapt(G, D, latent_dim=Z)
    assert torch.equal(before, torch.get_rng_state())
    assert {m: m.training for m in modes} == modes
    for net, kept in zip((G, D), state, strict=True):
        for key, value in net.state_dict().items():
            assert torch.equal(value, kept[key]), key
        assert all(p.grad is None and p.requires_grad for p in net.parameters())
    assert G2.call == "G(z, y)", "its noise is no reason to doubt"


class StudioLike(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.body = down(1, 32)
        self.body[0] = nn.utils.spectral_norm(self.body[0])
        self.head = nn.utils.parametrizations.spectral_norm(nn.Linear(8 * 64, 1 + K))

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        out = self.head(self.body(x).flatten(1))
        return out[:, 1:], out[:, 0]


# -- pairs of the library --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("game", "classes", "heads", "image"),
    [
        (objectives.gan(), 0, (0, 0, 0), (1, 32, 32)),
        (objectives.cgan(), K, (K, 0, 0), (1, 32, 32)),
        (objectives.acgan(), K, (0, K, 0), (3, 64, 64)),
        (objectives.acgan(class_loss_on="real"), K, (0, K, 0), (1, 32, 32)),
        (objectives.acgan(class_loss_on="n+1"), K, (0, K + 1, 0), (1, 32, 32)),
        (objectives.semi(), K, (0, K, 0), (3, 128, 128)),
        (objectives.semi(class_loss_on="n+1"), K, (0, K + 1, 0), (1, 32, 32)),
        (objectives.infogan(codes=3), K, (0, K, 3), (1, 32, 32)),
        (diff_augment(objectives.cgan()), K, (K, 0, 0), (1, 32, 32)),
    ],
    ids=lambda value: getattr(value, "name", None),
)
def test_a_pair_fits_the_data_and_the_objective(
    game: objectives.Objective, classes: int, heads: tuple[int, int, int], image: Any
) -> None:
    data = noise(K, image, n=8)
    G, D = (network.cpu() for network in pair(data, game, width=8, latent_dim=6))
    assert (G.num_classes, G.channels, G.image_size, G.width) == (classes, image[0], image[1], 8)
    out = D(data.normalised(), *((data.labels,) if heads[0] else ()))
    got = (out.class_logits.shape[1] if heads[1] else 0, out.code[0].shape[1] if heads[2] else 0)
    assert (D.label_input, *got) == heads
    named = classes and not game.name.startswith("infogan")  # whose classes nobody named
    assert getattr(G, "class_names", None) == (data.class_names if named else None)
    run = fit(G, D, data, game, steps=1, config=TrainConfig(batch_size=4, progress=False))
    for network in (run.G, run.D, run.G_ema):
        about = network.about
        assert (about["objective"], about["steps"], about["data"]) == (game.name, 1, "noise")
        assert about["settings"] == game.settings
        assert about["config"]["batch_size"] == 4


def test_what_a_training_was_stays_with_its_network_in_a_file(tmp_path: Path) -> None:
    data, game = two_classes(), objectives.acgan(g_class_weight=2.0)
    G, D = pair(data, game, width=4)
    run = fit(G, D, data, game, steps=2, config=QUIET)
    loaded = zoo.load(zoo.save(run.G_ema, tmp_path / "mine.safetensors"))
    assert loaded.class_names == ("dark", "light")
    assert loaded.about["objective"] == "acgan[real+fake]"
    assert loaded.about["settings"]["g_class_weight"] == 2.0
    assert loaded.about["config"]["betas"] == [0.5, 0.999]
    z, y = torch.randn(4, 100), torch.arange(4) % 2
    assert torch.equal(loaded(z, y), run.G_ema.cpu()(z, y))


def test_a_pair_is_where_training_is_fastest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pairs, "pick_device", lambda: torch.device("meta"))
    for network in pair(two_classes(), objectives.acgan(), width=4):
        assert next(network.parameters()).device.type == "meta"


def test_a_seed_fixes_a_pair_and_the_callers_random_state_stays() -> None:
    before = torch.get_rng_state()
    made = [pair(two_classes(), objectives.acgan(), width=4, seed=s) for s in (0, 0, 1)]
    assert torch.equal(before, torch.get_rng_state())
    for i in range(2):
        weights = [nn.utils.parameters_to_vector(p[i].parameters()) for p in made]
        assert torch.equal(weights[0], weights[1])
        assert not torch.equal(weights[0], weights[2])
    torch.manual_seed(0)
    G = Generator(100, 2, 1, 4)
    assert torch.equal(G.project.weight, made[0][0].project.weight.cpu()), "as by manual_seed"


def test_sizes_that_the_networks_do_not_have_are_named() -> None:
    with pytest.raises(ValueError, match=r"data of 28 px: image_size must be 32, 64 or 128"):
        pair(noise(K, (1, 28, 28)), objectives.acgan())
    with pytest.raises(ValueError, match="width must be 8 or more"):
        pair(noise(K, (3, 128, 128), n=4), objectives.acgan(), width=4)
