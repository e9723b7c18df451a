"""The pieces, wrong and right, the checks that tell them apart, and the table of exhibits."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib import latent, metrics, zoo
from acgan_lib.data import LabelledImages
from acgan_lib.losses import class_loss
from acgan_lib.nets import Discriminator, DiscriminatorOutput, Generator, init_weights, upsample
from acgan_lib.objectives import Batch, Objective, Terms, acgan
from acgan_lib.train import draw_latents

K = 10  # classes


# --- room 1: losses ---------------------------------------------------------------------------


def softmax_twice(class_logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong class loss of exhibit 1: cross-entropy, which has a softmax, after a softmax."""
    return F.cross_entropy(class_logits.float().softmax(1), labels)


def nll_on_probabilities(class_logits: Tensor, labels: Tensor) -> Tensor:
    """The wrong class loss of exhibit 2: NLLLoss wants log-probabilities."""
    return F.nll_loss(class_logits.float().softmax(1), labels)


ClassLoss = Callable[[Tensor, Tensor], Tensor]


def perfect_head_loss(loss: ClassLoss) -> float:
    """The class loss of a head that is right and sure, for ten classes."""
    return float(loss(100.0 * torch.eye(K), torch.arange(K)))


def pull_on_a_hard_case(loss: ClassLoss) -> float:
    """How hard the loss lifts the right logit while its probability is 0.01 (minus gradient)."""
    logits = torch.zeros(1, K)
    logits[0, 0] = math.log(0.01 / 0.99 * (K - 1))
    logits.requires_grad_()
    loss(logits, torch.zeros(1, dtype=torch.int64)).backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    return -float(logits.grad[0, 0])


def check_class_loss(loss: ClassLoss) -> None:
    """A sure and right head pays 0, an ignorant one ln K, and a hard case pulls hardest."""
    assert abs(perfect_head_loss(loss)) < 1e-3, "a perfect head must pay nothing"
    ignorant = float(loss(torch.zeros(K, K), torch.arange(K)))
    assert abs(ignorant - math.log(K)) < 1e-3, "a head that knows nothing must pay ln K"
    assert abs(pull_on_a_hard_case(loss) - 0.99) < 1e-3, "the gradient must be 1 - p"


# --- room 2: networks -------------------------------------------------------------------------


def upsample_with_eps(c_in: int, c_out: int) -> nn.Sequential:
    """The wrong block of exhibit 3: BatchNorm2d's second argument is eps."""
    block = upsample(c_in, c_out)
    block[2] = nn.BatchNorm2d(c_out, 0.8)
    return block


Block = Callable[[int, int], nn.Module]


def loudness_after_a_block(make_block: Block) -> float:
    """The root mean square of a fresh block's output, for inputs from N(0, 1).

    BatchNorm gives each channel variance 1 and ReLU keeps half of it: 0.71.
    """
    with torch.no_grad():
        return float(_fresh_block(make_block)(_noise(64, 8, 8, 8)).square().mean().sqrt())


def check_norm(make_block: Block) -> None:
    """Normalising forgets the scale: ten times the input gives the same output."""
    block, x = _fresh_block(make_block), _noise(64, 8, 8, 8)
    with torch.no_grad():
        quiet, loud = block(x), block(10 * x)
    assert float((quiet - loud).abs().max()) < 0.05, "the block's output depends on its scale"


class LeakyHead(Discriminator):
    """The wrong D of exhibit 4: an activation after the last layer."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """As Discriminator's."""
        out = super().forward(x, y)
        class_logits = out.class_logits
        assert class_logits is not None
        return out._replace(class_logits=F.leaky_relu(class_logits, 0.2))


MakeD = Callable[..., Discriminator]


def push_on_a_low_logit(make_D: MakeD) -> float:
    """How far class logits fall when the head's bias, already very negative, falls by 1."""
    return float((_shifted_logits(make_D, -20.0) - _shifted_logits(make_D, -21.0)).mean())


def check_class_head(make_D: MakeD) -> None:
    """Lower the head's bias by 20, and every logit must be lower by 20."""
    fall = _shifted_logits(make_D, 0.0) - _shifted_logits(make_D, -20.0)
    assert float((fall - 20).abs().max()) < 1e-3, "something stands behind the last layer"


class LabelTimesNoise(Generator):
    """The wrong G of exhibit 5: the class enters as a factor of z, and in no other way."""

    def __init__(self, latent_dim: int = 100, num_classes: int = K, **other: int) -> None:
        super().__init__(latent_dim, num_classes, **other)
        self.embedding = nn.Embedding(num_classes, latent_dim)

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """As Generator's."""
        z = (weights @ self.embedding.weight) * z
        return self.draw(torch.cat([z, torch.zeros_like(weights)], dim=1))


MakeG = Callable[..., Generator]


def classes_at_zero(make_G: MakeG) -> float:
    """How many different images a fresh G draws at z = 0 for ten classes."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        G = make_G(latent_dim=8, num_classes=K, width=4).train()
        images = G(torch.zeros(K, 8), torch.arange(K)).flatten(1)
    apart = torch.cdist(images, images, p=float("inf")) > 1e-3
    return float(len({tuple(row) for row in apart.tolist()}))


def check_zero_latent(make_G: MakeG) -> None:
    """At z = 0 each class must still draw an image of its own."""
    assert classes_at_zero(make_G) == K, "the class is lost at z = 0"


def _noise(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(0))


def _fresh_block(make_block: Block) -> nn.Module:
    """A block with the weights that a training starts from, N(0, 0.02)."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return make_block(8, 4).apply(init_weights)


def _shifted_logits(make_D: MakeD, shift: float) -> Tensor:
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        D = make_D(width=4, class_head=K).eval()
        assert isinstance(D.class_head, nn.Linear)
        D.class_head.bias.add_(shift)
        logits: Tensor = D(_noise(8, 1, 32, 32)).class_logits
    return logits


# --- room 3: data, labels and the two steps ---------------------------------------------------


def draw_without_the_last(
    G: Any, n: int, seed: int, step: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """The wrong draw of exhibit 6: the upper end of torch.randint is not drawn anyway."""
    z, _ = draw_latents(G, n, seed, step, device)
    generator = torch.Generator().manual_seed(seed * 1_000_003 + step)
    y = torch.randint(0, G.num_classes - 1, (n,), generator=generator)
    return z, y.to(device)


Draw = Callable[..., tuple[Tensor, Tensor]]


def classes_drawn(draw: Draw) -> float:
    """How many of ten classes 1,000 labels hold."""
    return float(len(_label_counts(draw).nonzero()))


def check_labels(draw: Draw) -> None:
    """Every class, the last too, with about the same chance."""
    counts = _label_counts(draw)
    assert int(counts.min()) > 60, f"1,000 labels, by class: {counts.tolist()}"


def _label_counts(draw: Draw) -> Tensor:
    _, y = draw(Generator(latent_dim=8, num_classes=K, width=4), 1_000, 0, 0)
    return torch.bincount(y, minlength=K)


def acgan_with_new_labels() -> Objective:
    """The wrong objective of exhibit 7: the losses draw their own labels for G's images."""
    right = acgan()

    def relabelled(fake: Batch) -> Batch:
        return Batch(fake.images, torch.randint_like(fake.labels, 0, K))

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return right.d_loss(D, real, relabelled(fake))

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        return right.g_loss(D, relabelled(fake))

    return Objective("acgan with new labels", d_loss, g_loss)


MakeObjective = Callable[[], Objective]


class ReadsTheLabel(nn.Module):
    """A D for checks: an "image" (n, K) holds the class logits; the source logit is 0."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Return what ``x`` says."""
        return DiscriminatorOutput(x.new_zeros(len(x)), x)


def fake_class_loss_of_a_reader(make_objective: MakeObjective) -> float:
    """D's class loss on images that carry their class, for a D that reads it with some doubt."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        y = torch.arange(1_000) % K
        images = Batch(6.0 * F.one_hot(y, K), y)
        return float(make_objective().d_loss(ReadsTheLabel(), images, images)["d_class_fake"])


def check_labels_travel_together(make_objective: MakeObjective) -> None:
    """If D can read the class that was asked for, the class loss on fakes must be near 0."""
    loss = fake_class_loss_of_a_reader(make_objective)
    assert loss < 0.1, "the labels in the loss are not those that G was given"


def zero_to_one(data: LabelledImages, index: Tensor | None = None) -> Tensor:
    """The wrong scaling of exhibit 8: [0, 1], while G ends in tanh."""
    chosen = data.images if index is None else data.images.index_select(0, index)
    return chosen.float() / 255


Scale = Callable[[LabelledImages], Tensor]


def darkest_pixel(scale: Scale) -> float:
    """The lowest value of the real images; the lowest that G can draw is -1."""
    return float(scale(_black_and_white()).min())


def check_range(scale: Scale) -> None:
    """Real images must fill the range of G's last layer, [-1, 1]."""
    x = scale(_black_and_white())
    assert (float(x.min()), float(x.max())) == (-1, 1), "data and tanh have different ranges"


def _black_and_white() -> LabelledImages:
    images = torch.tensor([0, 255], dtype=torch.uint8).view(2, 1, 1, 1).expand(2, 1, 32, 32)
    return LabelledImages(images, torch.arange(2), ("black", "white"), "two images")


def d_step_attached(G: nn.Module, D: nn.Module, real: Batch, z: Tensor, y: Tensor) -> None:
    """The wrong step of exhibit 9: D's backward pass runs on through G."""
    fake = Batch(G(z, y), y)
    total = torch.stack(list(acgan().d_loss(D, real, fake).values())).sum()
    total.backward()  # type: ignore[no-untyped-call]


def d_step_detached(G: nn.Module, D: nn.Module, real: Batch, z: Tensor, y: Tensor) -> None:
    """Gradients of D's step, for D alone: G's images are data to D."""
    fake = Batch(G(z, y).detach(), y)
    total = torch.stack(list(acgan().d_loss(D, real, fake).values())).sum()
    total.backward()  # type: ignore[no-untyped-call]


Step = Callable[[nn.Module, nn.Module, Batch, Tensor, Tensor], None]


def gradient_left_in_g(step: Step) -> float:
    """The length of the gradient that D's step leaves in a fresh G."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        G, D = Generator(latent_dim=8, width=4), Discriminator(width=4, class_head=K)
        y = torch.arange(20) % K
        step(G, D, Batch(torch.rand(20, 1, 32, 32) * 2 - 1, y), torch.randn(20, 8), y)
    assert all(p.grad is not None for p in D.parameters()), "D must have its gradients"
    left = [p.grad.norm() for p in G.parameters() if p.grad is not None]
    return float(torch.stack(left).norm()) if left else 0.0


def check_d_step(step: Step) -> None:
    """After D's step, G must hold no gradient."""
    assert gradient_left_in_g(step) == 0, "D's step left gradients in G"


# --- room 4: looking at the results -----------------------------------------------------------


def draw_in_train_mode(G: nn.Module, z: Tensor, y: Tensor) -> Tensor:
    """The wrong way to sample of exhibit 10: BatchNorm looks at the whole batch."""
    with torch.no_grad():
        images: Tensor = G.train()(z, y)
    return images


Sample = Callable[[nn.Module, Tensor, Tensor], Tensor]


def change_with_the_batch(draw: Sample) -> float:
    """How much an image changes, at most, when the rest of its batch is replaced (0 to 2)."""
    G, y = _used_generator(), torch.arange(20) % K
    z = _noise(20, 8)
    mates = torch.cat([z[:1], 2 * z[1:].flip(0)])
    return float((draw(G, z, y)[0] - draw(G, mates, y)[0]).abs().max())


def check_sampling(draw: Sample) -> None:
    """An image must not depend on what else is drawn in its batch."""
    assert change_with_the_batch(draw) < 1e-4, "the same z gave two images"


def average_parameters(G_ema: nn.Module, G: nn.Module, decay: float) -> None:
    """The wrong average of exhibit 11: BatchNorm's running statistics are not parameters."""
    with torch.no_grad():
        for kept, new in zip(G_ema.parameters(), G.parameters(), strict=True):
            kept.lerp_(new, 1 - decay)


def average_all(G_ema: nn.Module, G: nn.Module, decay: float) -> None:
    """Move G_ema towards G: weights and running statistics."""
    kept = G_ema.state_dict()
    for name, new in G.state_dict().items():
        if new.is_floating_point():
            kept[name].lerp_(new, 1 - decay)


Average = Callable[[nn.Module, nn.Module, float], None]


def gap_to_the_average(average: Average) -> float:
    """How far G_ema's images are from G's, at most, after averaging a G that stays as it is."""
    G, y, z = _used_generator(), torch.arange(20) % K, _noise(20, 8)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        G_ema = Generator(latent_dim=8, width=4)
    for _ in range(100):
        average(G_ema, G, 0.5)
    return float((latent.generate(G_ema, z, y) - latent.generate(G, z, y)).abs().max())


def check_average(average: Average) -> None:
    """The average of a G that no longer moves must draw as G does."""
    assert gap_to_the_average(average) < 1e-3, "something of G was left out of the average"


def _used_generator() -> Generator:
    """A small G with loud weights, whose running statistics have seen a few batches."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        G = Generator(latent_dim=8, width=4).train()
        G.to_image.weight *= 40
        for _ in range(20):
            G(torch.randn(20, 8), torch.randint(0, K, (20,)))
    return G.eval()


def best_by_d(images: Tensor, source_logit: Tensor, k: int) -> Tensor:
    """The wrong choice of exhibit 12: the k images that D likes best."""
    return images[source_logit.topk(k).indices]


def first_drawn(images: Tensor, source_logit: Tensor, k: int) -> Tensor:
    """The first k images, whatever D thinks of them."""
    return images[:k]


Choose = Callable[[Tensor, Tensor, int], Tensor]


def spread_of_the_shown(choose: Choose) -> float:
    """The standard deviation of 50 chosen of 1,000 numbers from N(0, 1), where D likes 0 best."""
    x = _noise(1_000)
    return float(choose(x, -x.abs(), 50).std())


def check_choice(choose: Choose) -> None:
    """What is shown must not depend on D."""
    images, likes = _noise(100), _noise(100).sin()
    same = choose(images, likes, 10), choose(images, -likes, 10)
    assert torch.equal(*same), "another D would have shown other images"


def grade_by_d(D: nn.Module, images: Tensor, y: Tensor) -> float:
    """The wrong grader of exhibit 13: D's class head learned on G's images, with G's labels."""
    with torch.no_grad():
        return float((D(images).class_logits.argmax(1) == y).float().mean())


def grade_by_judge(D: nn.Module, images: Tensor, y: Tensor) -> float:
    """The share of images in which a classifier of real images sees the class asked for."""
    return metrics.judge_accuracy(zoo.load("judge_fashion"), images, y).value


Grade = Callable[[nn.Module, Tensor, Tensor], float]


class Accomplice(nn.Module):
    """A D for checks that has agreed on a secret sign with G: the first bright pixel."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Read the sign."""
        return DiscriminatorOutput(x.new_zeros(len(x)), x[:, 0, 0, :K])


def grade_of_a_fraud(grade: Grade) -> float:
    """The grade of black images, whose class is one bright pixel that D has learned to read."""
    y = torch.arange(100) % K
    images = torch.full((100, 1, 32, 32), -1.0)
    images[torch.arange(100), 0, 0, y] = 1.0
    return grade(Accomplice(), images, y)


def check_grader(grade: Grade) -> None:
    """Black images must not pass for clothes, whatever D and G have agreed on."""
    assert grade_of_a_fraud(grade) < 0.5, "the grader is in league with G"


def one_accuracy(D: nn.Module, real: Batch, fake: Batch) -> dict[str, float]:
    """The wrong report of exhibit 14: one figure for real and generated images together."""
    return {"class accuracy": (_right(D, real) + _right(D, fake)) / 2}


def two_accuracies(D: nn.Module, real: Batch, fake: Batch) -> dict[str, float]:
    """The accuracy of D's class head, on real and on generated images."""
    return {"on real": _right(D, real), "on fake": _right(D, fake)}


Report = Callable[[nn.Module, Batch, Batch], dict[str, float]]


def worst_figure_reported(report: Report) -> float:
    """The lowest figure reported of a D that reads every fake and guesses on real images."""
    y = torch.arange(100) % K
    knows, guesses = F.one_hot(y, K).float(), F.one_hot(torch.zeros_like(y), K).float()
    return min(report(ReadsTheLabel(), Batch(guesses, y), Batch(knows, y)).values())


def check_report(report: Report) -> None:
    """A head at chance on real images must show as 0.1 somewhere in the report."""
    assert worst_figure_reported(report) < 0.2, "a good half hides a collapsed one"


def _right(D: nn.Module, batch: Batch) -> float:
    logits = D(batch.images).class_logits
    return float((logits.argmax(1) == batch.labels).float().mean())


# --- room 5: reports from the field -----------------------------------------------------------


class WithoutNorm(Generator):
    """The wrong G of exhibit 15: no BatchNorm, and weights by Glorot and Bengio's rule."""

    def __init__(self, latent_dim: int = 100, num_classes: int = K, **other: int) -> None:
        super().__init__(latent_dim, num_classes, **other)
        blocks: Any = self.blocks
        self.norm = nn.Identity()  # type: ignore[assignment]
        for block in blocks:
            block[2] = nn.Identity()
        for layer in self.modules():
            if isinstance(layer, nn.Linear | nn.Conv2d):
                nn.init.xavier_normal_(layer.weight)


def growth_with_the_weights(make_G: MakeG) -> float:
    """How much the input of a fresh G's tanh grows when all weights before that layer double."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        G, code = make_G(latent_dim=8, num_classes=K, width=4).train(), torch.randn(20, 8 + K)
        before = G.draw(code).double().atanh().std()
        for layer in (G.project, *G.blocks.modules()):
            if isinstance(layer, nn.Linear | nn.Conv2d):
                layer.weight.mul_(2)
        return float(G.draw(code).double().atanh().std() / before)


def check_growth(make_G: MakeG) -> None:
    """However large G's weights become, its tanh must not run into saturation."""
    assert growth_with_the_weights(make_G) < 1.5, "nothing in G keeps the scale"


class QuietNoise(Generator):
    """The wrong G of exhibit 16: z is scaled like a weight, to a standard deviation of 0.02."""

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """As Generator's."""
        return super().from_weights(0.02 * z, weights)


def spread_within_a_class(make_G: MakeG) -> float:
    """How much of the spread of a fresh G's images lies within its classes (0 to 1)."""
    with torch.random.fork_rng(), torch.no_grad():
        torch.manual_seed(0)
        G, y = make_G(latent_dim=100, num_classes=K, width=4).train(), torch.arange(200) % K
        images = G(torch.randn(200, 100), y)
    within = torch.stack([images[y == k].var(0) for k in range(K)]).mean()
    return float((within / images.var(0).mean()).sqrt())


def check_spread(make_G: MakeG) -> None:
    """Two latents of one class must differ about as much as two classes do."""
    assert spread_within_a_class(make_G) > 0.5, "the latent hardly changes the image"


def batch_of_torn_pairs(
    self: LabelledImages, step: int, batch_size: int, seed: int, rows: slice = slice(None)
) -> tuple[Tensor, Tensor]:
    """The wrong batch of exhibit 17: labels in an order of their own, as after two shuffles."""
    x, _ = RIGHT_BATCH(self, step, batch_size, seed, rows)
    _, y = RIGHT_BATCH(self, step, batch_size, seed + 1, rows)
    return x, y


RIGHT_BATCH = LabelledImages.batch
MakeBatch = Callable[[LabelledImages, int, int, int], tuple[Tensor, Tensor]]


def pairs_that_belong_together(batch: MakeBatch) -> float:
    """The share of images that come with their own label, in a batch of 100 of 1,000 images."""
    grey = torch.arange(1_000) % K  # image k is grey level 20 k, and its class is k
    images = (20 * grey).to(torch.uint8).view(-1, 1, 1, 1).expand(-1, 1, 32, 32)
    x, y = batch(LabelledImages(images, grey, tuple("abcdefghij"), "greys"), 0, 100, 0)
    seen = ((x[:, 0, 0, 0] + 1) * 127.5 / 20).round().long()
    return float((seen == y).float().mean())


def check_pairs(batch: MakeBatch) -> None:
    """Each image of a batch must come with its own label."""
    assert pairs_that_belong_together(batch) == 1, "labels and images are out of step"


def accuracy_on_seen(D: nn.Module, train: Batch, test: Batch, fake: Batch) -> dict[str, float]:
    """The wrong report of exhibit 18: D's class accuracy on what D has learned from."""
    return {"own fakes": _right(D, fake), "training images": _right(D, train)}


def accuracy_on_unseen(D: nn.Module, train: Batch, test: Batch, fake: Batch) -> dict[str, float]:
    """The same with images that D has never met beside it."""
    return {**accuracy_on_seen(D, train, test, fake), "test images": _right(D, test)}


FullReport = Callable[[nn.Module, Batch, Batch, Batch], dict[str, float]]


def worst_figure_of_a_memory(report: FullReport) -> float:
    """The lowest figure reported of a D that knows its images by heart and guesses on others."""
    y = torch.arange(100) % K
    knows = Batch(F.one_hot(y, K).float(), y)
    guesses = Batch(F.one_hot(torch.zeros_like(y), K).float(), y)
    return min(report(ReadsTheLabel(), knows, guesses, knows).values())


def check_full_report(report: FullReport) -> None:
    """A head at chance on new images must show as 0.1 somewhere in the report."""
    assert worst_figure_of_a_memory(report) < 0.2, "nothing in the report is about new images"


# --- the exhibits -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Exhibit:
    """A bug beside its fix.

    Attributes:
        name: the exhibit's short name.
        title: its name in words.
        symptom: what one sees first, without knowing the cause.
        wrong_line: the code that differs; it stands in ``wrong``.
        right_line: what stands there in ``right``.
        wrong: the piece with the bug.
        right: the piece in its place, of the same signature.
        number: what ``measure`` returns, in words.
        measure: a number that tells the pieces apart.
        check: raises AssertionError on ``wrong`` and passes on ``right``.
        where: the name in ``acgan_lib`` that ``wrong`` replaces in a training; "" if none does.
        curve: the term of a training that shows the bug best.
        game: what is trained: "acgan", "cgan", or "fast acgan" at twenty times the learning rate.
    """

    name: str
    title: str
    symptom: str
    wrong_line: str
    right_line: str
    wrong: Callable[..., Any]
    right: Callable[..., Any]
    number: str
    measure: Callable[[Any], float]
    check: Callable[[Any], None]
    where: str = ""
    curve: str = ""
    game: str = "acgan"


EXHIBITS = (
    Exhibit(
        "softmax-twice", "A softmax before the cross-entropy",
        "The class loss falls from 2.3 to 1.7 and almost stops, however long you train.",
        "F.cross_entropy(class_logits.float().softmax(1), labels)",
        "F.cross_entropy(class_logits.float(), labels)",
        softmax_twice, class_loss,
        "class loss of a perfect head",
        perfect_head_loss, check_class_loss,
        "objectives.class_loss", "d_class_real",
    ),
    Exhibit(
        "nll-on-probabilities", "NLLLoss on probabilities",
        "The class loss is negative: between 0 and -1.",
        "F.nll_loss(class_logits.float().softmax(1), labels)",
        "F.cross_entropy(class_logits.float(), labels)",
        nll_on_probabilities, class_loss,
        "pull on the right logit when its probability is 0.01",
        pull_on_a_hard_case, check_class_loss,
        "objectives.class_loss", "d_class_real",
    ),
    Exhibit(
        "eps-for-momentum", "BatchNorm2d(n, 0.8)",
        "D is far ahead from the first steps, and the samples lag behind.",
        "nn.BatchNorm2d(c_out, 0.8)",
        "nn.BatchNorm2d(c_out)",
        upsample_with_eps, upsample,
        "loudness after one block of a fresh G",
        loudness_after_a_block, check_norm,
        "nets.upsample", "g_source",
    ),
    Exhibit(
        "leaky-logits", "LeakyReLU on the class logits",
        "The class loss on fakes falls a little late. Who would notice?",
        "F.leaky_relu(class_logits, 0.2)",
        "class_logits = self.class_head(h)",
        LeakyHead, Discriminator,
        "fall of a low logit when its bias falls by 1",
        push_on_a_low_logit, check_class_head,
        "nets.Discriminator", "d_class_fake",
    ),
    Exhibit(
        "label-times-noise", "The label multiplied into the noise",
        "Walks through z = 0 meet the same image, whatever the class.",
        "(weights @ self.embedding.weight) * z",
        "torch.cat([z, weights], dim=1)",
        LabelTimesNoise, Generator,
        "different images for ten classes at z = 0",
        classes_at_zero, check_zero_latent,
        "nets.Generator", "g_class",
    ),
    Exhibit(
        "last-class", "randint(0, classes - 1)",
        "One class never becomes right: the last.",
        "torch.randint(0, G.num_classes - 1, (n,), generator=generator)",
        "torch.randint(0, max(G.num_classes, 1), (n,), generator=generator)",
        draw_without_the_last, draw_latents,
        "classes among 1,000 labels",
        classes_drawn, check_labels,
        "train.draw_latents", "g_class",
    ),
    Exhibit(
        "new-labels", "Labels drawn once for G and once more for the loss",
        "The class loss on fakes stays above 2.3 while that on real images falls.",
        "torch.randint_like(fake.labels, 0, K)",
        "class_loss(on_fake.class_logits, fake.labels)",
        acgan_with_new_labels, acgan,
        "class loss on fakes that carry their class",
        fake_class_loss_of_a_reader, check_labels_travel_together,
        "objectives.acgan", "d_class_fake",
    ),
    Exhibit(
        "zero-to-one", "Real images in [0, 1], generated ones in [-1, 1]",
        "The samples are washed out: nothing is darker than middle grey.",
        "chosen.float() / 255",
        "chosen.float().div_(127.5).sub_(1)",
        zero_to_one, LabelledImages.normalised,
        "darkest real pixel",
        darkest_pixel, check_range,
        "data.LabelledImages.normalised", "d_source_fake",
    ),
    Exhibit(
        "no-detach", "No detach in D's step",
        "D's step is slower than it should be, and G holds gradients that nobody asked for.",
        "Batch(G(z, y), y)",
        "Batch(G(z, y).detach(), y)",
        d_step_attached, d_step_detached,
        "gradient left in G after D's step",
        gradient_left_in_g, check_d_step,
    ),
    Exhibit(
        "train-mode", "Samples drawn in train mode",
        "The same z gives a different image in another batch.",
        "G.train()(z, y)",
        "images = G(z.to(device, dtype), labels)",
        draw_in_train_mode, latent.generate,
        "largest change of a pixel when the rest of the batch changes",
        change_with_the_batch, check_sampling,
    ),
    Exhibit(
        "average-of-parameters", "An average of G that forgets the buffers",
        "G draws clothes, and its moving average draws flat grey.",
        "zip(G_ema.parameters(), G.parameters(), strict=True)",
        "G.state_dict().items()",
        average_parameters, average_all,
        "largest gap between a pixel of G and of its average, G standing still",
        gap_to_the_average, check_average,
    ),
    Exhibit(
        "best-by-d", "A grid of the samples that D likes best",
        "The grid is better than the samples your users get.",
        "images[source_logit.topk(k).indices]",
        "images[:k]",
        best_by_d, first_drawn,
        "spread of the 50 shown of 1,000 (1 is the truth)",
        spread_of_the_shown, check_choice,
    ),
    Exhibit(
        "graded-by-d", "Accuracy measured by D's own class head",
        "The class accuracy of your samples is almost perfect, early.",
        "(D(images).class_logits.argmax(1) == y).float().mean()",
        'metrics.judge_accuracy(zoo.load("judge_fashion"), images, y).value',
        grade_by_d, grade_by_judge,
        "accuracy of black images with a secret sign",
        grade_of_a_fraud, check_grader,
    ),
    Exhibit(
        "one-accuracy", "One accuracy for real and generated images",
        "D's class accuracy looks decent and does not move.",
        "(_right(D, real) + _right(D, fake)) / 2",
        '"on real": _right(D, real), "on fake": _right(D, fake)',
        one_accuracy, two_accuracies,
        "lowest figure shown, of a D that guesses on real images",
        worst_figure_reported, check_report,
    ),
    Exhibit(
        "goes-black", "A high learning rate, and no BatchNorm in G",
        "All samples turn black, or white, within the first steps, and stay so.",
        "self.norm = nn.Identity()",
        "self.norm = nn.BatchNorm2d(maps[0])",
        WithoutNorm, Generator,
        "growth of the input of tanh when the weights before it double",
        growth_with_the_weights, check_growth,
        "nets.Generator", "g_source", "fast acgan",
    ),
    Exhibit(
        "quiet-noise", "Noise that is too small to be heard",
        "All images of a class are the same image. No loss and no accuracy shows it.",
        "super().from_weights(0.02 * z, weights)",
        "torch.cat([z, weights], dim=1)",
        QuietNoise, Generator,
        "share of the spread of a fresh G's images that lies within a class",
        spread_within_a_class, check_spread,
        "nets.Generator", "g_class",
    ),
    Exhibit(
        "torn-pairs", "Labels that no longer belong to their images",
        "A CGAN draws every class, but not the one that you ask for. The losses look healthy.",
        "_, y = RIGHT_BATCH(self, step, batch_size, seed + 1, rows)",
        "return self.normalised(index), self.labels.index_select(0, index)",
        batch_of_torn_pairs, LabelledImages.batch,
        "share of images that come with their own label",
        pairs_that_belong_together, check_pairs,
        "data.LabelledImages.batch", "g_source", "cgan",
    ),
    Exhibit(
        "seen-only", "D's class accuracy on images that it has learned from",
        "100 % on its own fakes. On new images it is another number, which nobody printed.",
        '{"own fakes": _right(D, fake), "training images": _right(D, train)}',
        '{**accuracy_on_seen(D, train, test, fake), "test images": _right(D, test)}',
        accuracy_on_seen, accuracy_on_unseen,
        "lowest figure shown, of a D that knows its images by heart",
        worst_figure_of_a_memory, check_full_report,
    ),
)  # fmt: skip


def exhibit(name: str) -> Exhibit:
    """Return the exhibit of that name.

    Raises:
        KeyError: if there is none.
    """
    for one in EXHIBITS:
        if one.name == name:
            return one
    raise KeyError(f"no exhibit {name!r}; there are {', '.join(e.name for e in EXHIBITS)}")


def catches(check: Callable[[Any], None], piece: Any) -> bool:
    """Tell whether a check raises AssertionError on a piece."""
    try:
        check(piece)
    except AssertionError:
        return True
    return False
