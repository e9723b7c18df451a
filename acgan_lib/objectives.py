"""GAN, CGAN, AC-GAN, InfoGAN and AC-GAN's mends side by side: what each player minimises.

Each function returns an :class:`Objective` of two functions with one signature, so that the
difference between two objectives is the difference between two models. A step returns its terms
by name; the loss is their sum. Terms on real and on generated images are kept apart: an average
over both would hide that one of them has collapsed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn

from acgan_lib.losses import (
    class_loss,
    code_loss,
    d2d_loss,
    d_source_fake,
    d_source_real,
    g_source,
    known_class_loss,
)


class Batch(NamedTuple):
    """Images, float (n, C, H, W) in [-1, 1], and their labels, int64 (n,).

    Generated images come with their latents ``z``, float (n, latent_dim); real ones have none.
    """

    images: Tensor
    labels: Tensor
    z: Tensor | None = None


Terms = dict[str, Tensor]


class Needs(NamedTuple):
    """What an objective asks of G, D and the data. `train.fit` checks it before the first step.

    Attributes:
        d_labels: D is told the label and judges the pair, ``D(x, y)``.
        class_head: how many logits D names the class with: "K", "K+1" (the last one for generated
            images), "2K" (twin heads, or K for real and K for generated images), or "" for no class
            head.
        codes: J, the number of continuous codes that D reads off an image.
        real_labels: every real image has a label.
        rows: G and D take a multiple of so many rows (M for stacked members).
        projection: D is told the label in its source head, and not beside the image.
        embedding: d, the dimensions of the embedding by which D names the class; 0 for none.
    """

    d_labels: bool = False
    class_head: Literal["", "K", "K+1", "2K"] = ""
    codes: int = 0
    real_labels: bool = False
    rows: int = 1
    projection: bool = False
    embedding: int = 0

    @property
    def g_labels(self) -> bool:
        """Whether G is asked for a class, because D is told it or has to name it."""
        return self.d_labels or self.class_head != ""

    def heads(self, num_classes: int) -> dict[str, Any]:
        """Return the arguments of `nets.Discriminator` that give D what is needed of it."""
        logits = {"": 0, "K": num_classes, "K+1": num_classes + 1, "2K": 2 * num_classes}
        return {
            "label_input": num_classes if self.d_labels and not self.projection else 0,
            "class_head": logits[self.class_head],
            "code_head": self.codes,
            "projection": num_classes if self.projection else 0,
            "embedding_head": self.embedding,
        }


class Objective(NamedTuple):
    """What D and G minimise: each function returns scalar terms whose sum is the loss.

    ``settings`` holds the switches by name: a run goes on only with the same name and settings.
    """

    name: str
    d_loss: Callable[[nn.Module, Batch, Batch], Terms]
    g_loss: Callable[[nn.Module, Batch], Terms]
    needs: Needs = Needs()
    settings: Mapping[str, bool | int | float | str] = MappingProxyType({})


def gan(*, saturating: bool = False) -> Objective:
    """GAN (Goodfellow et al. 2014): D tells real from generated, labels play no part.

    Args:
        saturating: let G minimise the literal minimax loss.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return {
            "d_source_real": d_source_real(D(real.images).source_logit),
            "d_source_fake": d_source_fake(D(fake.images).source_logit),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        return {"g_source": g_source(D(fake.images).source_logit, saturating=saturating)}

    return Objective("gan", d_loss, g_loss, Needs(), {"saturating": saturating})


def cgan(*, saturating: bool = False) -> Objective:
    """CGAN (Mirza and Osindero 2014): D sees the label too, and judges the pair.

    Args:
        saturating: let G minimise the literal minimax loss.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return {
            "d_source_real": d_source_real(D(real.images, real.labels).source_logit),
            "d_source_fake": d_source_fake(D(fake.images, fake.labels).source_logit),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        source_logit = D(fake.images, fake.labels).source_logit
        return {"g_source": g_source(source_logit, saturating=saturating)}

    needs = Needs(d_labels=True, real_labels=True)
    return Objective("cgan", d_loss, g_loss, needs, {"saturating": saturating})


def projection(*, saturating: bool = False) -> Objective:
    """Projection D (Miyato and Koyama 2018): CGAN's losses, with the label in D's source head.

    The features' inner product with the class's vector is added to the source logit, which is the
    form that log p(x, y) - log p_g(x, y) has where the classes are log-linear in the features.

    Args:
        saturating: let G minimise the literal minimax loss.
    """
    told = cgan(saturating=saturating)
    return told._replace(name="projection", needs=told.needs._replace(projection=True))


ClassLossOn = Literal["real+fake", "real", "n+1"]


def acgan(
    *,
    class_loss_on: ClassLossOn = "real+fake",
    g_class_weight: float = 1.0,
    saturating: bool = False,
) -> Objective:
    """AC-GAN (Odena et al. 2017): D names the class instead of being told it.

    D maximises L_S + L_C and G maximises L_C - L_S; here both signs are turned, to minimise.

    Args:
        class_loss_on: the images whose class D learns to name. ``"real+fake"`` is the paper's
            L_C; ``"real"`` leaves the generated ones out; ``"n+1"`` gives them a class of their
            own, number K, so that D needs a class head of K + 1 logits.
        g_class_weight: factor on G's class term (1 in the paper).
        saturating: let G minimise the literal -L_S.

    Raises:
        ValueError: if ``class_loss_on`` is none of the three.
    """
    if class_loss_on not in ("real+fake", "real", "n+1"):
        raise ValueError(f"class_loss_on must be 'real+fake', 'real' or 'n+1': {class_loss_on!r}")

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        terms = {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_real": class_loss(on_real.class_logits, real.labels),
        }
        if class_loss_on == "real+fake":
            terms["d_class_fake"] = class_loss(on_fake.class_logits, fake.labels)
        elif class_loss_on == "n+1":
            last = on_fake.class_logits.shape[1] - 1
            terms["d_class_fake"] = class_loss(
                on_fake.class_logits, torch.full_like(fake.labels, last)
            )
        return terms

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        on_fake = D(fake.images)
        return {
            "g_source": g_source(on_fake.source_logit, saturating=saturating),
            "g_class": g_class_weight * class_loss(on_fake.class_logits, fake.labels),
        }

    head: Literal["K", "K+1"] = "K+1" if class_loss_on == "n+1" else "K"
    needs = Needs(class_head=head, real_labels=True)
    settings = {"g_class_weight": g_class_weight, "saturating": saturating}
    return Objective(f"acgan[{class_loss_on}]", d_loss, g_loss, needs, settings)


def tac(*, g_class_weight: float = 1.0) -> Objective:
    """TAC-GAN (Gong et al. 2019): a twin class head, on generated images, tells what to take back.

    D's first K class logits learn to name real images, log P(k | x), and its last K to name
    generated ones, log P_g(k | x). G gains by the first and pays for the second: the sum is a KL
    divergence, which is 0 at the truth.

    Args:
        g_class_weight: factor on both of G's class terms.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        return {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_real": class_loss(on_real.class_logits.chunk(2, dim=1)[0], real.labels),
            "d_twin_fake": class_loss(on_fake.class_logits.chunk(2, dim=1)[1], fake.labels),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        on_fake = D(fake.images)
        named, twin = on_fake.class_logits.chunk(2, dim=1)
        return {
            "g_source": g_source(on_fake.source_logit),
            "g_class": g_class_weight * class_loss(named, fake.labels),
            "g_twin": -g_class_weight * class_loss(twin, fake.labels),
        }

    needs = Needs(class_head="2K", real_labels=True)
    return Objective("tac", d_loss, g_loss, needs, {"g_class_weight": g_class_weight})


def adc(*, g_class_weight: float = 1.0) -> Objective:
    """ADC-GAN (Hou et al. 2022): the classes of real and of generated images are 2K classes.

    Logit k is of real images of class k, and logit K + k of generated ones, so that G's two class
    terms together are log p(x, k) - log p_g(x, k).

    Args:
        g_class_weight: factor on both of G's class terms.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        generated = fake.labels + on_fake.class_logits.shape[1] // 2
        return {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_real": class_loss(on_real.class_logits, real.labels),
            "d_class_fake": class_loss(on_fake.class_logits, generated),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        on_fake = D(fake.images)
        generated = fake.labels + on_fake.class_logits.shape[1] // 2
        return {
            "g_source": g_source(on_fake.source_logit),
            "g_class": g_class_weight * class_loss(on_fake.class_logits, fake.labels),
            "g_twin": -g_class_weight * class_loss(on_fake.class_logits, generated),
        }

    needs = Needs(class_head="2K", real_labels=True)
    return Objective("adc", d_loss, g_loss, needs, {"g_class_weight": g_class_weight})


def reacgan(
    *,
    class_weight: float = 0.5,
    margin: float = 0.98,
    temperature: float = 0.5,
    embedding: int = 64,
) -> Objective:
    """ReACGAN (Kang et al. 2021): AC-GAN on real images, with directions in place of logits.

    D names the class of real images by :func:`acgan_lib.losses.d2d_loss`, whose gradient is
    bounded, since features and class vectors have length 1.

    Args:
        class_weight: factor on the class term of both players.
        margin, temperature: of the loss.
        embedding: d, the dimensions of D's embedding.
    """

    loss = partial(d2d_loss, margin=margin, temperature=temperature)

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        return {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_real": class_weight
            * loss(on_real.class_logits, on_real.embedding, real.labels),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        on_fake = D(fake.images)
        return {
            "g_source": g_source(on_fake.source_logit),
            "g_class": class_weight * loss(on_fake.class_logits, on_fake.embedding, fake.labels),
        }

    needs = Needs(class_head="K", real_labels=True, embedding=embedding)
    settings = {"class_weight": class_weight, "margin": margin, "temperature": temperature}
    return Objective("reacgan", d_loss, g_loss, needs, {**settings, "embedding": embedding})


def semi(*, class_loss_on: ClassLossOn = "real+fake") -> Objective:
    """AC-GAN with labels for some real images: the others skip the class term.

    They still tell D what real images look like. Generated images carry labels in any case, those
    that G was given, so that "real+fake" teaches D also from them. With every label it is
    :func:`acgan`, and without any it asks the same of the labels as :func:`infogan`.

    Args:
        class_loss_on: as in :func:`acgan`.
    """
    whole = acgan(class_loss_on=class_loss_on)

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        terms = {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_real": known_class_loss(on_real.class_logits, real.labels),
        }
        if class_loss_on != "real":
            names = fake.labels
            if class_loss_on == "n+1":
                names = torch.full_like(names, on_fake.class_logits.shape[1] - 1)
            terms["d_class_fake"] = class_loss(on_fake.class_logits, names)
        return terms

    needs = whole.needs._replace(real_labels=False)
    return Objective(f"semi[{class_loss_on}]", d_loss, whole.g_loss, needs, whole.settings)


def infogan(
    *, codes: int = 2, class_weight: float = 1.0, code_weight: float = 0.1, saturating: bool = False
) -> Objective:
    """InfoGAN (Chen et al. 2016): what G was given must be legible in its images.

    Both players minimise -L_I, but for the constant H(c): D's class head reads the categorical
    code, which is the label that G was given, and its code head the continuous codes. No label
    of a real image is used.

    Args:
        codes: J, the number of continuous codes; D needs a code head for as many.
        class_weight, code_weight: lambda, the factor on L_I, for either kind of code. The paper
            has 1 for the categorical code and "a smaller" one where there are continuous codes.
        saturating: let G minimise the literal minimax loss.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        on_real, on_fake = D(real.images), D(fake.images)
        return {
            "d_source_real": d_source_real(on_real.source_logit),
            "d_source_fake": d_source_fake(on_fake.source_logit),
            "d_class_fake": class_weight * class_loss(on_fake.class_logits, fake.labels),
            "d_code_fake": code_weight * code_loss(on_fake.code, first_codes(fake, codes)),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        on_fake = D(fake.images)
        return {
            "g_source": g_source(on_fake.source_logit, saturating=saturating),
            "g_class": class_weight * class_loss(on_fake.class_logits, fake.labels),
            "g_code": code_weight * code_loss(on_fake.code, first_codes(fake, codes)),
        }

    needs = Needs(class_head="K", codes=codes)
    weights = {"class_weight": class_weight, "code_weight": code_weight}
    settings = {**weights, "saturating": saturating}
    return Objective(f"infogan[{codes}]", d_loss, g_loss, needs, settings)


def first_codes(fake: Batch, codes: int) -> Tensor:
    """Return the continuous codes of generated images: the first coordinates of z, (n, codes).

    Raises:
        ValueError: if the batch does not say from which z its images were drawn.
    """
    if fake.z is None:
        raise ValueError("the continuous codes are the first coordinates of fake.z, which is None")
    return fake.z[:, :codes]
