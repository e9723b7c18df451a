"""The adversarial losses, as pure functions on logits.

Notation: ``a`` is the source logit, so that D says P(S = real | X) = sigmoid(a). Every loss is
*minimised* and averaged over the batch. ``softplus(a) = log(1 + e^a)`` is used throughout, since
-log sigmoid(a) = softplus(-a) and -log(1 - sigmoid(a)) = softplus(a) stay finite for any logit,
where the logarithm of a probability would not.

Sources: Goodfellow et al. 2014 (equation 1 and section 3); Odena, Olah and Shlens 2017
(equations 2 and 3, called L_S and L_C); Chen et al. 2016 (equation 5, called L_I).
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from acgan_lib.data import UNLABELLED
from acgan_lib.labels import as_labels


def d_source_real(real_logit: Tensor) -> Tensor:
    """Return D's loss on real images, -E[log P(S = real | X_real)] (first half of -L_S).

    Args:
        real_logit: float (n,), D's source logits for real images.
    """
    return F.softplus(-_vector(real_logit, "real_logit")).mean()


def d_source_fake(fake_logit: Tensor) -> Tensor:
    """Return D's loss on generated images, -E[log P(S = fake | X_fake)] (second half of -L_S).

    Args:
        fake_logit: float (n,), D's source logits for generated images.
    """
    return F.softplus(_vector(fake_logit, "fake_logit")).mean()


def g_source(fake_logit: Tensor, *, saturating: bool = False) -> Tensor:
    """Return G's source loss.

    The non-saturating form is -E[log P(S = real | X_fake)]. The saturating form is the minimax
    game taken literally, E[log P(S = fake | X_fake)]: its gradient with respect to the logit is
    -sigmoid(a), which vanishes while D is sure that the image is fake (Goodfellow et al. 2014,
    section 3).

    Args:
        fake_logit: float (n,), D's source logits for generated images.
        saturating: use the literal form.
    """
    logit = _vector(fake_logit, "fake_logit")
    return -F.softplus(logit).mean() if saturating else F.softplus(-logit).mean()


def checked_labels(class_logits: Tensor, labels: Tensor, lowest: int = 0) -> Tensor:
    """Return the labels, int64 (n,), of class logits (n, K), if each lies in [lowest, K).

    Raises:
        ValueError: if the shapes do not fit, or a label is no whole number or out of range.
    """
    if class_logits.ndim != 2:
        raise ValueError(f"class_logits must be (n, K), got {tuple(class_logits.shape)}")
    n, num_classes = class_logits.shape
    return as_labels(labels, n, num_classes, lowest=lowest, name="labels")


def class_loss(class_logits: Tensor, labels: Tensor) -> Tensor:
    """Return -E[log P(C = c | X)], one half of -L_C: softmax cross-entropy on logits.

    Args:
        class_logits: float (n, K), *before* any softmax.
        labels: int64 (n,), each in [0, K).

    Raises:
        ValueError: if the shapes do not fit, or a label is not in [0, K).
    """
    labels = checked_labels(class_logits, labels)
    return F.cross_entropy(class_logits.float(), labels)


def known_class_loss(class_logits: Tensor, labels: Tensor) -> Tensor:
    """Return :func:`class_loss` over the images with a label, or 0 if the batch has none.

    Args:
        class_logits: float (n, K), before any softmax.
        labels: int64 (n,), each in [0, K) or UNLABELLED.

    Raises:
        ValueError: if the shapes do not fit, or a label is neither in [0, K) nor UNLABELLED.
    """
    labels = checked_labels(class_logits, labels, lowest=UNLABELLED)
    known = labels != UNLABELLED
    losses = F.cross_entropy(class_logits.float(), labels, ignore_index=UNLABELLED, reduction="sum")
    return losses / known.sum().clamp(min=1)


def d2d_loss(
    cosines: Tensor,
    embedding: Tensor,
    labels: Tensor,
    *,
    margin: float = 0.98,
    temperature: float = 0.5,
) -> Tensor:
    """Return the data-to-data cross-entropy of ReACGAN (Kang et al. 2021).

    Each image is drawn to the vector of its class, and pushed off the images of other classes in
    the batch; pairs that are easy already, beyond a margin on either side, are let go. Its floor is
    the mean of log(1 + the number of images of other classes), which grows with the batch.

    Args:
        cosines: float (n, K), of each embedding with each class's vector.
        embedding: float (n, d), each row of length 1.
        labels: int64 (n,), each in [0, K).
        margin: cosines with the own class above it, and with others below 1 - margin, count alike.
        temperature: divides the cosines.

    Raises:
        ValueError: if the shapes do not fit, or a label is not in [0, K).
    """
    labels = checked_labels(cosines, labels)
    if embedding.ndim != 2 or len(embedding) != len(labels):
        raise ValueError(f"embedding must be ({len(labels)}, d), got {tuple(embedding.shape)}")
    own = cosines.float().gather(1, labels[:, None])
    easy = (own - margin).clamp(max=0) / temperature
    with torch.autocast(embedding.device.type, enabled=False):
        between = embedding.float() @ embedding.float().T
    others = (between - (1 - margin)).clamp(min=0) / temperature
    others = others.masked_fill(labels[:, None] == labels, -math.inf)
    return (torch.cat([easy, others], dim=1).logsumexp(1, keepdim=True) - easy).mean()


def code_loss(q: tuple[Tensor, Tensor], code: Tensor) -> Tensor:
    """Return -E[log Q(c | X)] for continuous codes, with a Gaussian Q for each.

    log Q is summed over the J codes of an image and averaged over images, so the loss is in nats
    an image. It has no floor: the surer Q is, and right, the further below 0 it falls.

    Args:
        q: mean and log variance that Q gives each code, both float (n, J).
        code: float (n, J), the codes that G was given.

    Raises:
        ValueError: if the three shapes are not one, (n, J).
    """
    mean, log_var = q[0].float(), q[1].float()
    if mean.ndim != 2 or not mean.shape == log_var.shape == code.shape:
        raise ValueError(
            f"mean, log variance and code must have one shape (n, J), got "
            f"{tuple(mean.shape)}, {tuple(log_var.shape)} and {tuple(code.shape)}"
        )
    squares = (code - mean) ** 2 / log_var.exp()
    return 0.5 * (squares + log_var + math.log(2 * math.pi)).sum(1).mean()


def _vector(logit: Tensor, name: str) -> Tensor:
    if logit.ndim != 1:
        raise ValueError(f"{name} must have shape (n,), got {tuple(logit.shape)}")
    return logit.float()  # autocast hands over bfloat16, whose 8 bits are too few for a loss
