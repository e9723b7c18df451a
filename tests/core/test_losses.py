"""The losses against torch's own in float64, closed-form gradients, and their floors."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from checks import log_softmax
from torch import Tensor

from acgan_lib.experiments.ch08_museum.exhibits import check_class_loss
from acgan_lib.losses import (
    class_loss,
    d2d_loss,
    d_source_fake,
    d_source_real,
    g_source,
    known_class_loss,
)

LOGITS = torch.cat([torch.linspace(-30, 30, 121), torch.tensor([-1e4, 1e4])])


def saturating(a: Tensor) -> Tensor:
    return g_source(a, saturating=True)


# Each loss; the target and the sign with which it is a binary cross-entropy; its gradient.
SOURCE_LOSSES = [
    pytest.param(d_source_real, 1.0, 1.0, lambda a: -torch.sigmoid(-a), id="d_source_real"),
    pytest.param(d_source_fake, 0.0, 1.0, lambda a: torch.sigmoid(a), id="d_source_fake"),
    pytest.param(g_source, 1.0, 1.0, lambda a: -torch.sigmoid(-a), id="g_source"),
    pytest.param(saturating, 0.0, -1.0, lambda a: -torch.sigmoid(a), id="g_source-saturating"),
]


@pytest.mark.parametrize(("loss", "target", "sign", "gradient"), SOURCE_LOSSES)
def test_source_losses_equal_cross_entropy_and_its_gradient(
    loss, target: float, sign: float, gradient
) -> None:
    for part in (LOGITS, LOGITS[:1], LOGITS[-1:]):
        a = part.clone().requires_grad_()
        value = loss(a)
        value.backward()
        exact = part.double()
        expected = sign * F.binary_cross_entropy_with_logits(exact, torch.full_like(exact, target))
        assert value.shape == ()
        assert value.dtype == torch.float32
        assert math.isfinite(value.item())
        torch.testing.assert_close(value.detach().double(), expected, rtol=1e-6, atol=1e-12)
        torch.testing.assert_close(
            a.grad.double(), gradient(exact) / len(part), rtol=1e-5, atol=1e-9
        )


def test_saturating_gradient_vanishes_exactly_where_the_other_is_largest() -> None:
    gradients = []
    for switch in (True, False):
        a = torch.tensor([-20.0], requires_grad=True)
        g_source(a, saturating=switch).backward()
        gradients.append(abs(float(a.grad)))
    assert gradients[0] < 1e-8
    assert gradients[1] == pytest.approx(1.0)


def test_class_loss_is_cross_entropy_on_logits() -> None:
    """Value and gradient against the formula in float64, then the museum's check, and its ends."""
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(64, 10, generator=generator)).requires_grad_()
    labels = torch.randint(0, 10, (64,), generator=generator)
    loss = class_loss(logits, labels)
    loss.backward()
    onehot = torch.eye(10, dtype=torch.float64)[labels]
    expected = -(log_softmax(logits.detach()) * onehot).sum(1).mean()
    torch.testing.assert_close(loss.detach().double(), expected, rtol=1e-5, atol=1e-6)
    # d/dlogits of -log softmax is softmax - onehot: largest where D is confidently wrong.
    gradient = (log_softmax(logits.detach()).exp() - onehot) / 64
    assert logits.grad is not None
    torch.testing.assert_close(logits.grad.double(), gradient, rtol=1e-4, atol=1e-7)
    check_class_loss(class_loss)
    assert float(class_loss(1e4 * torch.eye(10), torch.arange(10))) == 0.0
    assert 9e3 < float(class_loss(-1e4 * torch.eye(10), torch.arange(10))) < math.inf


def test_losses_of_bfloat16_logits_are_float32() -> None:
    a = torch.linspace(-5, 5, 64).bfloat16()
    logits, labels = a.view(8, 8), torch.arange(8)
    assert class_loss(logits, labels).dtype == torch.float32
    assert float(class_loss(logits, labels)) == float(class_loss(logits.float(), labels))
    for loss in (d_source_real, d_source_fake, g_source, saturating):
        assert loss(a).dtype == torch.float32
        assert float(loss(a)) == float(loss(a.float()))


@pytest.mark.parametrize(
    ("loss", "name"),
    [(d_source_real, "real_logit"), (d_source_fake, "fake_logit"), (g_source, "fake_logit")],
)
def test_source_losses_name_an_argument_of_the_wrong_shape(loss, name: str) -> None:
    # (n, 1) would broadcast against (n,) somewhere, silently, to (n, n).
    with pytest.raises(ValueError, match=rf"{name} .*\(n,\), got \(4, 1\)"):
        loss(torch.zeros(4, 1))


@pytest.mark.parametrize("loss", [class_loss, known_class_loss])
@pytest.mark.parametrize(
    ("logits", "labels", "words"),
    [
        ((4,), torch.zeros(4).long(), r"class_logits must be \(n, K\), got \(4,\)"),
        ((4, 3), torch.zeros(5).long(), r"labels must hold one label .* 4 rows, got \(5,\)"),
        ((4, 3), torch.zeros(4, 3), r"4 rows, got \(4, 3\): use labels\.argmax\(1\)"),
        ((4, 3), F.one_hot(torch.arange(4) % 3, 3), r"\(4, 3\): use labels\.argmax\(1\)"),
        ((4, 3), torch.zeros(4), r"labels must hold whole numbers, got torch\.float32"),
        ((4, 3), torch.tensor([0, 1, 2, 3]), r"labels must be in \[-?\d, 3\), got 0 to 3"),
        ((4, 3), torch.tensor([0, 1, 2, -100]), r"labels must be in .*got -100 to 2"),
        ((4, 3), torch.full((4,), -100), r"labels must be in .*got -100 to -100"),
    ],
)
def test_class_losses_name_labels_that_do_not_fit(loss, logits, labels, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        loss(torch.zeros(logits), labels)


def test_only_the_loss_for_hidden_labels_takes_them() -> None:
    logits, labels = torch.randn(4, 3), torch.tensor([0, -1, 2, -1])
    with pytest.raises(ValueError, match=r"labels must be in \[0, 3\), got -1 to 2"):
        class_loss(logits, labels)
    by_hand = -(log_softmax(logits)[0, 0] + log_softmax(logits)[2, 2]) / 2
    assert float(known_class_loss(logits, labels)) == pytest.approx(float(by_hand), rel=1e-6)
    assert float(known_class_loss(logits, torch.full((4,), -1))) == 0.0
    assert float(known_class_loss(logits, labels.abs())) == float(class_loss(logits, labels.abs()))


def test_labels_may_come_as_plain_numbers() -> None:
    logits = torch.randn(4, 3)
    assert torch.equal(class_loss(logits, [0, 1, 2, 0]), class_loss(logits, torch.arange(4) % 3))


# --- data to data -------------------------------------------------------------------------------


def test_d2d_loss_bottoms_out_at_the_log_of_one_plus_the_images_of_other_classes() -> None:
    vectors = torch.eye(3)
    for each in (1, 4):
        labels = torch.arange(3).repeat(each)
        loss = d2d_loss(vectors[labels] @ vectors.T, vectors[labels], labels)
        assert float(loss) == pytest.approx(math.log(1 + 2 * each), rel=1e-6)
    alone = torch.zeros(3, dtype=torch.int64)  # no image of another class: nothing to push off
    assert float(d2d_loss(torch.rand(3, 3), vectors, alone)) == pytest.approx(0, abs=1e-6)


def test_d2d_loss_lets_easy_pairs_go_and_pulls_the_others() -> None:
    labels = torch.tensor([0, 1])
    cosines = torch.tensor([[0.99, 0.0], [0.0, 0.5]], requires_grad=True)
    embedding = torch.tensor([[1.0, 0.0], [0.0, 1.0]], requires_grad=True)
    d2d_loss(cosines, embedding, labels).backward()
    assert cosines.grad is not None
    assert cosines.grad[0].tolist() == [0, 0]  # within the margin
    assert cosines.grad[1, 1] < 0
    assert embedding.grad is not None
    assert embedding.grad.abs().max() == 0  # they stand at right angles
    with pytest.raises(ValueError, match=r"embedding must be \(2, d\)"):
        d2d_loss(cosines, embedding[:1], labels)
