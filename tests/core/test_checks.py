"""Before the first step: each argument that does not fit is refused by name, with the fix."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import torch
from checks import two_classes
from tiny_runs import config, networks, partly
from torch import Tensor, nn

from acgan_lib.data import LabelledImages
from acgan_lib.experiments.ch17_paper_nets import PaperDiscriminator, PaperGenerator
from acgan_lib.nets import (
    ConditionalGenerator,
    Discriminator,
    DiscriminatorOutput,
    Generator,
    one_hot,
)
from acgan_lib.objectives import Objective, acgan, cgan, gan, infogan, semi
from acgan_lib.regularise import diff_augment, r1
from acgan_lib.scale.stacked import StackedDiscriminator, StackedGenerator, summed
from acgan_lib.train import fit

pytestmark = pytest.mark.usefixtures("one_thread")


def refuse(
    words: str, G: Any = None, D: Any = None, data: Any = None, objective: Any = None
) -> None:
    """Expect a ValueError before any step, and networks that are as they were."""
    G = networks()[0] if G is None else G
    D = networks()[1] if D is None else D
    before = copy.deepcopy((G.state_dict(), D.state_dict()))

    def never(*_: Any) -> None:
        raise AssertionError("a step was taken")

    with pytest.raises(ValueError, match=words):
        fit(
            G, D, data or two_classes(), objective or acgan(),
            steps=1, config=config(), callbacks=[never],
        )  # fmt: skip
    for module, state in zip((G, D), before, strict=True):
        for name, value in module.state_dict().items():
            assert value.is_meta or torch.equal(value.nan_to_num(), state[name].nan_to_num())


# --- heads --------------------------------------------------------------------------------------

WRAPPERS: list[Callable[[Objective], Objective]] = [
    lambda o: o, diff_augment, lambda o: r1(o, 1.0), lambda o: summed(o, 2)
]  # fmt: skip


@pytest.mark.parametrize("wrap", WRAPPERS, ids=["plain", "diff_augment", "r1", "summed"])
@pytest.mark.parametrize(
    ("objective", "heads", "words"),
    [
        (acgan(), {}, "D has no class head, but acgan.* Discriminator\\(class_head=2\\)"),
        (acgan(), {"class_head": 3}, r"must be \(\d, 2\), got \(\d, 3\).*class_head=2"),
        (acgan(), {"class_head": 1}, r"must be \(\d, 2\), got \(\d, 1\).*class_head=2"),
        (acgan(class_loss_on="n+1"), {"class_head": 2}, r"must be \(\d, 3\).*\(class_head=3\)"),
        (semi(class_loss_on="n+1"), {"class_head": 2}, r"must be \(\d, 3\).*\(class_head=3\)"),
        (semi(), {}, "D has no class head"),
        (acgan(), {"class_head": 2, "label_input": 2}, "D has label_input=2, but acgan"),
        (gan(), {"label_input": 2}, "D has label_input=2, but gan"),
        (cgan(), {}, r"D has label_input=0, but cgan.* Discriminator\(label_input=2\)"),
        (cgan(), {"label_input": 3}, r"D has label_input=3, but cgan"),
        (infogan(), {"code_head": 2}, "D has no class head"),
        (infogan(), {"class_head": 2}, "D has no code head.*class_head=2, code_head=2"),
        (infogan(codes=3), {"class_head": 2, "code_head": 2}, r"D's codes must be \(\d, 3\)"),
        (infogan(codes=9), {"class_head": 2, "code_head": 9}, "G has latent_dim 8, but infogan"),
    ],
)
def test_a_d_without_what_the_objective_needs_is_refused(
    wrap: Any, objective: Objective, heads: dict[str, int], words: str
) -> None:
    refuse(words, D=Discriminator(width=4, **heads), objective=wrap(objective))


@pytest.mark.parametrize("wrap", WRAPPERS, ids=["plain", "diff_augment", "r1", "summed"])
@pytest.mark.parametrize(
    "objective",
    [gan(), cgan(), acgan(), acgan(class_loss_on="n+1"), semi(), semi(class_loss_on="n+1"),
     infogan(codes=1)],
    ids=lambda o: o.name,
)  # fmt: skip
def test_a_d_with_the_heads_that_are_named_is_accepted(wrap: Any, objective: Objective) -> None:
    objective = wrap(objective)
    D = Discriminator(width=4, **objective.needs.heads(2))
    fit(networks()[0], D, two_classes(), objective, steps=1, config=config())
    if not objective.needs.class_head:  # a head that is not needed does not hurt
        D = Discriminator(width=4, **{**objective.needs.heads(2), "class_head": 7})
        fit(networks()[0], D, two_classes(), objective, steps=1, config=config())


class Deaf(nn.Module):
    """A D that takes a label and does not look at it, as in a popular repository's CGAN."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(1024, 1))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        return DiscriminatorOutput(self.layers(x).squeeze(1), None)


class DeafGenerator(ConditionalGenerator):
    """A G that takes a label and does not look at it."""

    def __init__(self) -> None:
        super().__init__(8, 2, 1, 32)
        self.layer = nn.Linear(8, 1024)

    def draw(self, code: Tensor) -> Tensor:
        return torch.tanh(self.layer(code[:, :8])).view(-1, 1, 32, 32)


def test_labels_that_nobody_looks_at_are_noticed() -> None:
    refuse("D ignores y: it says the same of classes 0 and 1, but cgan", D=Deaf(), objective=cgan())
    fit(networks()[0], Deaf(), two_classes(), gan(), steps=1, config=config())
    for objective in (acgan(), cgan(), infogan(codes=1), semi()):
        D = Discriminator(width=4, **objective.needs.heads(2))
        refuse("G ignores y: it draws the same image", G=DeafGenerator(), D=D, objective=objective)
    fit(DeafGenerator(), Discriminator(width=4), two_classes(), gan(), steps=1, config=config())


@pytest.mark.parametrize("objective", [acgan(), cgan(), semi(), infogan(codes=1)])
def test_a_g_without_classes_is_refused_where_it_is_asked_for_one(objective: Objective) -> None:
    D = Discriminator(width=4, **objective.needs.heads(2))
    words = r"G has no classes, but .* asks it for one: Generator\(num_classes=2\)"
    refuse(words, G=Generator(8, 0, width=4), D=D, objective=objective)


# --- labels -------------------------------------------------------------------------------------


def test_hidden_labels_name_semi() -> None:
    for hidden in (partly([7, 30]), partly(range(40))):
        words = r"data hides (2|40) of 40 labels .* take objectives\.semi\(\), or data\.labelled"
        refuse(words, data=hidden)
        D = Discriminator(width=4, label_input=2)
        refuse(words, data=hidden, objective=cgan(), D=D)
        for objective in (semi(), gan(), infogan(codes=1)):
            D = Discriminator(width=4, **objective.needs.heads(2))
            fit(networks()[0], D, hidden, objective, steps=1, config=config())
    fit(*networks(), partly([]), acgan(), steps=1, config=config())


@dataclass(frozen=True)
class Stream:
    """Images of another source than the library's: what the loop asks for, and nothing more."""

    images: Tensor
    labels_of_batch: Tensor
    num_classes: int = 2
    channels: int = 1
    size: int = 32
    class_names: tuple[str, ...] = ("a", "b")

    def __len__(self) -> int:
        return len(self.images)

    def to(self, device: Any) -> Stream:
        return self

    def fingerprint(self) -> str:
        return "stream"

    def batch(
        self, step: int, batch_size: int, seed: int, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        index = slice(0, batch_size)
        return self.images[index][rows], self.labels_of_batch[index][rows]


def stream(**changes: Any) -> Stream:
    return replace(Stream(two_classes().normalised(), two_classes().labels), **changes)


X, Y = two_classes().normalised(), two_classes().labels


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels_of_batch": Y.float()}, "data must give labels as int64"),
        ({"labels_of_batch": one_hot(Y, 2, 40)}, r"labels as int64 \(n,\), got .* \(2, 2\)"),
        ({"labels_of_batch": Y + 1}, r"data's labels must lie in 0\.\.1: 1 to 2"),
        ({"labels_of_batch": Y - 100}, r"data's labels must lie in 0\.\.1: -100"),
        ({"labels_of_batch": -torch.ones(40).long()}, "data hides 2 of 2 labels"),
        ({"images": X * float("nan")}, "data has images that are not finite"),
        ({"images": X / 0}, "data has images that are not finite"),
        ({"images": (X + 1) * 127.5}, r"must give images in \[-1, 1\], got .*divide"),
        ({"images": ((X + 1) * 127.5).byte()}, r"float \(n, 1, 32, 32\).*got torch\.uint8"),
        ({"images": X[:, :, :28]}, r"square images, float \(n, 1, 32, 32\) .*\(2, 1, 28, 32\)"),
        ({"images": X.repeat(1, 3, 1, 1)}, r"\(n, 1, 32, 32\) .* got .* \(2, 3, 32, 32\)"),
    ],
)
def test_data_that_break_their_promise_are_refused(changes: Any, words: str) -> None:
    fit(*networks(), stream(), acgan(), steps=1, config=config())
    refuse(words, data=stream(**changes))


def test_data_of_another_library_name_what_makes_them_fit() -> None:
    class ImageFolder(list):
        class_to_idx: dict[str, int]

    for other in (ImageFolder([(X[0], 0)]), X, [(X[0], 0)]):
        words = rf"data \({type(other).__name__}\) has no num_classes, .*data\.from_torchvision"
        with pytest.raises(ValueError, match=words):
            fit(*networks(), other, acgan(), steps=1, config=config())


# --- sizes --------------------------------------------------------------------------------------


def sized(size: int, channels: int = 1) -> LabelledImages:
    images = torch.zeros(8, channels, size, size, dtype=torch.uint8)
    return LabelledImages(images, torch.arange(8) % 2, ("a", "b"), "black")


class AnySize(nn.Module):
    """A D of elsewhere: layers without a look at the size, and a linear one for 32 px."""

    def __init__(self, channels: int = 1) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(channels, 4, 4, 2, 1), nn.LeakyReLU(0.2), nn.Conv2d(4, 4, 4, 2, 1),
            nn.LeakyReLU(0.2), nn.Flatten(), nn.Linear(4 * 8 * 8, 3),
        )  # fmt: skip

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        out = self.layers(x)
        return DiscriminatorOutput(out[:, 0], out[:, 1:])


class Flat(ConditionalGenerator):
    """A G of any size and shape."""

    def __init__(self, image_size: int, channels: int = 1, draws: int | None = None) -> None:
        super().__init__(8, 2, channels, image_size)
        self.shape = (channels, draws or image_size, image_size)
        self.layer = nn.Linear(10, channels * self.shape[1] * image_size)

    def draw(self, code: Tensor) -> Tensor:
        return torch.tanh(self.layer(code)).view(-1, *self.shape)


@pytest.mark.parametrize("size", [28, 33, 36, 64, 96])
def test_data_of_another_size_name_both_sizes(size: int) -> None:
    words = rf"G draws 1 x 32 px images, but data has 1 x {size} px.*image_size={size}"
    refuse(words, data=sized(size))
    refuse(r"D cannot take .*D takes images", G=Flat(size), data=sized(size))
    if size in (28, 64, 96):  # a D that only its last layer ties to 32 px
        words = rf"D cannot take \(2, 1, {size}, {size}\): mat1 and mat2"
        refuse(words, G=Flat(size), D=AnySize(), data=sized(size))


def test_28_and_96_px_train_with_networks_for_them() -> None:
    for size in (28, 96):
        D = nn.Sequential(nn.Flatten(), nn.Linear(size * size, 3))

        class Own(nn.Module):
            def __init__(self, layers: nn.Module = D) -> None:
                super().__init__()
                self.layers = layers

            def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
                out = self.layers(x)
                return DiscriminatorOutput(out[:, 0], out[:, 1:])

        fit(Flat(size), Own(), sized(size), acgan(), steps=1, config=config())


def test_colour_against_grey_is_refused() -> None:
    refuse("G draws 1 x 32 px images, but data has 3 x 32 px", data=sized(32, channels=3))
    G = Generator(8, 2, channels=3, width=4)
    refuse("G draws 3 x 32 px images, but data has 1 x 32 px", G=G)
    refuse(r"D cannot take \(2, 3, 32, 32\)", G=G, data=sized(32, channels=3))
    refuse(r"D cannot take \(2, 3, 32, 32\)", G=G, D=AnySize(), data=sized(32, channels=3))


def test_images_that_are_not_square_are_refused_by_name() -> None:
    refuse(r"G's image_size and channels promise images \(2, 1, 32, 32\), but it draws .* 16, 32",
           G=Flat(32, draws=16))  # fmt: skip


def test_a_generator_that_draws_another_size_than_it_says_is_refused() -> None:
    G = PaperGenerator((8, 4), 32, latent_dim=8, num_classes=2, channels=1)
    G.start = 6
    G.project = nn.Linear(10, 8 * 36)
    refuse(r"G's image_size and channels promise .* but it draws \(2, 1, 24, 24\)", G=G)
    with pytest.raises(ValueError, match="image_size must be a multiple of 8"):
        PaperGenerator((32, 16, 8), 28)
    with pytest.raises(ValueError, match="image_size must be a multiple of 8"):
        PaperDiscriminator(28)


# --- classes, devices, types, weights -----------------------------------------------------------


def test_another_number_of_classes_is_refused() -> None:
    words = r"G has 3 classes, but data has 2: Generator\(num_classes=2\)"
    refuse(words, G=Generator(8, 3, width=4))


def test_networks_on_two_devices_are_refused() -> None:
    G, D = networks()
    refuse("D is on meta, G on cpu", D=Discriminator(width=4, class_head=2).to("meta"))
    D.source_head.to("meta")
    refuse("D must have weights, on one device, not on 2", D=D)
    refuse("G must have weights, on one device, not on 0", G=Weightless())
    assert G.num_classes == 2


class Weightless(ConditionalGenerator):
    def __init__(self) -> None:
        super().__init__(8, 2, 1, 32)

    def draw(self, code: Tensor) -> Tensor:
        return torch.zeros(len(code), 1, 32, 32)


def test_networks_from_elsewhere_are_told_of_adapt() -> None:
    refuse(r"G \(Linear\) has no latent_dim, num_classes, channels.*adapt", G=nn.Linear(8, 4))
    refuse("D must return a nets.DiscriminatorOutput, not a Tensor: .*adapt",
           D=nn.Sequential(nn.Flatten(), nn.Linear(1024, 1)))  # fmt: skip

    class Column(AnySize):
        def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
            out = self.layers(x)
            return DiscriminatorOutput(out[:, :1], out[:, 1:])

    refuse(r"D's source_logit must be \(2,\) for 2 images, got \(2, 1\)", D=Column())


@pytest.mark.parametrize("where", ["G", "D"])
def test_networks_with_nan_in_them_are_refused(where: str) -> None:
    G, D = networks()
    layer = G.project if where == "G" else D.source_head
    layer.bias.data[0] = float("nan")
    refuse(rf"{where}('s logits are| draws images that are) not finite", G=G, D=D)


def test_settings_that_do_not_go_together_are_refused() -> None:
    G = StackedGenerator([networks()[0] for _ in range(3)])
    D = StackedDiscriminator([networks()[1] for _ in range(3)])
    refuse(r"config\.batch_size must be a multiple of 3 here, got 4", G=G, D=D,
           objective=summed(acgan(), 3))  # fmt: skip
    with pytest.raises(ValueError, match="steps must be 0 or more, got -1"):
        fit(*networks(), two_classes(), acgan(), steps=-1, config=config())


# --- probabilities ------------------------------------------------------------------------------


class Ends(AnySize):
    """A D whose outputs go through functions before they are returned."""

    def __init__(self, source: Any, classes: Any) -> None:
        super().__init__()
        self.ends = source, classes

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        out = self.layers(x)
        source, classes = self.ends
        return DiscriminatorOutput(source(out[:, :1]).squeeze(1), classes(out[:, 1:]))


def same(x: Tensor) -> Tensor:
    return x


@pytest.mark.parametrize(
    ("source", "classes", "words"),
    [
        (torch.sigmoid, lambda x: x.softmax(1), "D's source and class outputs are probabilities"),
        (nn.Sigmoid(), nn.Softmax(1), "D's source and class outputs .*probabilities=True"),
        (torch.sigmoid, same, "D's source outputs are probabilities"),
        (same, lambda x: x.softmax(1), "D's class outputs are probabilities"),
        (lambda x: torch.sigmoid(x).view(-1, 1)[:].float(), same, "D's source outputs"),
    ],
)
def test_probabilities_in_place_of_logits_are_refused(source: Any, classes: Any, words: str):
    refuse(words, D=Ends(source, classes))
    if source is not same:
        refuse("D's source outputs", D=Ends(source, lambda x: None), objective=gan())


def test_logits_are_not_taken_for_probabilities() -> None:
    """Though all lie in [0, 1], or come out of a sigmoid further up, or are log-probabilities."""
    inside = Ends(lambda x: x * 0 + 0.5, lambda x: x * 0 + 0.4)
    gated = Ends(lambda x: 3 * torch.sigmoid(x) - 1, lambda x: 2 * x.softmax(1))
    back = Ends(lambda x: torch.logit(torch.sigmoid(x)), lambda x: x.log_softmax(1))
    for D in (inside, gated, back):
        fit(networks()[0], D, two_classes(), acgan(), steps=1, config=config())
    with torch.no_grad():
        frozen = Ends(torch.sigmoid, nn.Softmax(1)).requires_grad_(False)
    refuse("D's source and class outputs", D=frozen)
