"""Who learns what from which images: GAN, CGAN and AC-GAN against the paper's formulas."""

from __future__ import annotations

import inspect

import pytest
import torch
import torch.nn.functional as F
from checks import StubD, log_softmax, real_and_fake_are_apart, two_classes
from torch import Tensor

from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import (
    Batch,
    Needs,
    Objective,
    acgan,
    adc,
    cgan,
    gan,
    infogan,
    projection,
    reacgan,
    semi,
    tac,
)
from acgan_lib.scale.stacked import StackedDiscriminator
from acgan_lib.train import TrainConfig, fit

LABELS = torch.tensor([0, 1, 2, 1])


def rows(classes: int, seed: int) -> Tensor:
    """What StubD takes for images: a source logit and class logits, float64 (4, 1 + classes)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(4, 1 + classes, generator=generator, dtype=torch.float64)


def mean_log_p(logits: Tensor, labels: Tensor) -> Tensor:
    """E[log P(C = c | X)] in float64."""
    return log_softmax(logits)[torch.arange(len(labels)), labels].mean()


def total(terms: dict[str, Tensor]) -> float:
    return float(sum(terms.values()))


def test_acgan_minimises_the_papers_sums_with_both_signs_turned() -> None:
    real, fake = rows(3, seed=1), rows(3, seed=2)
    p_real, p_fake = real[:, 0].sigmoid(), fake[:, 0].sigmoid()
    L_S = p_real.log().mean() + (1 - p_fake).log().mean()
    L_C = mean_log_p(real[:, 1:], LABELS) + mean_log_p(fake[:, 1:], LABELS.flip(0))
    real_batch, fake_batch = Batch(real, LABELS), Batch(fake, LABELS.flip(0))
    d_terms = acgan().d_loss(StubD(), real_batch, fake_batch)
    assert total(d_terms) == pytest.approx(-float(L_S + L_C), rel=1e-6)
    # G's terms are those of -(L_C - L_S) in which fakes occur: real ones do not depend on G.
    g_part = (1 - p_fake).log().mean() - mean_log_p(fake[:, 1:], LABELS.flip(0))
    g_terms = acgan(saturating=True).g_loss(StubD(), fake_batch)
    assert total(g_terms) == pytest.approx(float(g_part), rel=1e-6)
    usual = acgan().g_loss(StubD(), fake_batch)
    assert float(usual["g_source"]) == pytest.approx(-float(p_fake.log().mean()), rel=1e-6)
    assert float(usual["g_class"]) == pytest.approx(float(g_terms["g_class"]))


@pytest.mark.parametrize(
    ("variant", "on_fake"), [("real+fake", LABELS.flip(0)), ("real", None), ("n+1", "last")]
)
def test_the_three_variants_of_the_class_loss(variant, on_fake) -> None:
    classes = 4 if variant == "n+1" else 3
    real, fake = rows(classes, seed=3), rows(classes, seed=4)
    terms = acgan(class_loss_on=variant).d_loss(
        StubD(), Batch(real, LABELS), Batch(fake, LABELS.flip(0))
    )
    expected = {
        "d_source_real": -float(real[:, 0].sigmoid().log().mean()),
        "d_source_fake": -float((-fake[:, 0]).sigmoid().log().mean()),
        "d_class_real": -float(mean_log_p(real[:, 1:], LABELS)),
    }
    if on_fake is not None:
        labels = torch.full((4,), 3) if on_fake == "last" else on_fake
        expected["d_class_fake"] = -float(mean_log_p(fake[:, 1:], labels))
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-6)


def test_n_plus_1_still_asks_g_for_the_class_it_was_given() -> None:
    fake = rows(4, seed=5)
    terms = acgan(class_loss_on="n+1").g_loss(StubD(), Batch(fake, LABELS))
    expected = -float(mean_log_p(fake[:, 1:], LABELS))
    assert float(terms["g_class"]) == pytest.approx(expected, rel=1e-6)


def test_g_class_weight_scales_gs_class_term_alone() -> None:
    batch = Batch(rows(3, seed=6), LABELS)
    whole, tenth = acgan(), acgan(g_class_weight=0.1)
    a, b = whole.g_loss(StubD(), batch), tenth.g_loss(StubD(), batch)
    assert float(b["g_class"]) == pytest.approx(0.1 * float(a["g_class"]))
    assert float(b["g_source"]) == float(a["g_source"])
    assert total(whole.d_loss(StubD(), batch, batch)) == total(tenth.d_loss(StubD(), batch, batch))


@pytest.mark.parametrize("make", [gan, cgan, acgan])
def test_saturating_switches_gs_source_term(make) -> None:
    batch = Batch(rows(3, seed=7), LABELS)
    p = batch.images[:, 0].sigmoid()
    usual = make().g_loss(StubD(), batch)["g_source"]
    literal = make(saturating=True).g_loss(StubD(), batch)["g_source"]
    assert float(usual) == pytest.approx(-float(p.log().mean()), rel=1e-6)
    assert float(literal) == pytest.approx(float((1 - p).log().mean()), rel=1e-6)


@pytest.mark.parametrize(("make", "told"), [(gan, False), (cgan, True), (acgan, False)])
def test_only_cgan_tells_d_the_labels_each_batch_its_own(make, told: bool) -> None:
    D, real, fake = StubD(), Batch(rows(3, 8), LABELS), Batch(rows(3, 9), LABELS.flip(0))
    make().d_loss(D, real, fake)
    make().g_loss(D, fake)
    assert len(D.labels) == 3
    for got, batch in zip(D.labels, (real, fake, fake), strict=True):
        assert got is (batch.labels if told else None)


@pytest.mark.parametrize("make", [gan, cgan, acgan])
def test_real_and_fake_go_through_d_separately(make) -> None:
    # In one batch they would share BatchNorm's statistics, and training collapses.
    sizes = []

    class SizeD(StubD):
        def forward(self, x: Tensor, y: Tensor | None = None):
            sizes.append(len(x))
            return super().forward(x, y)

    make().d_loss(SizeD(), Batch(rows(3, 1), LABELS), Batch(rows(3, 2)[:3], LABELS[:3]))
    assert sizes == [4, 3]


def networks(objective: Objective) -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    G = Generator(latent_dim=4, num_classes=3, width=4)
    if objective.name == "cgan":
        return G, Discriminator(width=4, label_input=3)
    return G, Discriminator(width=4, class_head=3 if "acgan" in objective.name else 0)


@pytest.mark.parametrize("make", [gan, cgan, acgan])
def test_which_networks_each_term_teaches(make) -> None:
    objective = make()
    G, D = networks(objective)
    fake = Batch(G(torch.randn(4, 4), LABELS), LABELS)
    real = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, LABELS)
    for name, term in objective.d_loss(D, real, fake).items():
        to_g = torch.autograd.grad(term, list(G.parameters()), retain_graph=True, allow_unused=True)
        to_d = torch.autograd.grad(term, list(D.parameters()), retain_graph=True, allow_unused=True)
        assert any(g is not None and g.abs().max() > 0 for g in to_d), name
        reached = any(g is not None for g in to_g)
        assert reached == ("fake" in name), name  # the real terms know nothing of G
    detached = Batch(fake.images.detach(), LABELS)
    for name, term in objective.d_loss(D, real, detached).items():
        to_g = torch.autograd.grad(term, list(G.parameters()), retain_graph=True, allow_unused=True)
        assert all(g is None for g in to_g), name
    for name, term in objective.g_loss(D, fake).items():
        to_g = torch.autograd.grad(term, list(G.parameters()), retain_graph=True)
        assert all(torch.isfinite(g).all() for g in to_g), name
        assert any(g.abs().max() > 0 for g in to_g), name


def test_the_source_term_teaches_no_class_head_and_the_class_term_no_source_head() -> None:
    _, D = networks(acgan())
    images = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, LABELS)
    heads = {
        "source": list(D.source_head.parameters()),
        "class": list(D.class_head.parameters()),
    }
    for name, term in acgan().d_loss(D, images, images).items():
        for head, parameters in heads.items():
            grads = torch.autograd.grad(term, parameters, retain_graph=True, allow_unused=True)
            assert any(g is not None for g in grads) == (head in name), (name, head)


def test_real_and_fake_terms_are_apart() -> None:
    real_and_fake_are_apart(acgan())


def test_terms_are_float32_scalars_also_under_bfloat16() -> None:
    G, D = networks(acgan())
    with torch.autocast("cpu", torch.bfloat16):
        fake = Batch(G(torch.randn(4, 4), LABELS), LABELS)
        assert fake.images.dtype == torch.bfloat16
        terms = {**acgan().d_loss(D, fake, fake), **acgan().g_loss(D, fake)}
    assert len(terms) == 6
    assert all(v.shape == () and v.dtype == torch.float32 for v in terms.values())


def test_acgan_refuses_an_unknown_variant() -> None:
    with pytest.raises(ValueError, match=r"class_loss_on must be .*'fake'"):
        acgan(class_loss_on="fake")


def test_label_without_a_d_that_takes_one_changes_nothing() -> None:
    torch.manual_seed(0)
    D, x = Discriminator(width=4).eval(), torch.rand(4, 1, 32, 32)
    assert torch.equal(D(x).source_logit, D(x, LABELS).source_logit)
    assert F.softplus(D(x).source_logit).isfinite().all()


# --- what an objective states -------------------------------------------------------------------

ALL = [gan, cgan, acgan, semi, infogan, projection, tac, adc, reacgan]


@pytest.mark.parametrize(
    ("objective", "heads", "g_labels", "real_labels"),
    [
        (gan(), (0, 0, 0), False, False),
        (cgan(), (5, 0, 0), True, True),
        (acgan(), (0, 5, 0), True, True),
        (acgan(class_loss_on="real"), (0, 5, 0), True, True),
        (acgan(class_loss_on="n+1"), (0, 6, 0), True, True),
        (semi(), (0, 5, 0), True, False),
        (semi(class_loss_on="n+1"), (0, 6, 0), True, False),
        (infogan(), (0, 5, 2), True, False),
        (infogan(codes=7), (0, 5, 7), True, False),
        (projection(), (0, 0, 0, 5, 0), True, True),
        (tac(), (0, 10, 0), True, True),
        (adc(), (0, 10, 0), True, True),
        (reacgan(), (0, 5, 0, 0, 64), True, True),
    ],
    ids=lambda o: getattr(o, "name", ""),
)
def test_each_objective_states_what_it_needs(objective, heads, g_labels, real_labels) -> None:
    names = ("label_input", "class_head", "code_head", "projection", "embedding_head")
    assert objective.needs.heads(5) == dict(zip(names, (*heads, 0, 0)[:5], strict=True))
    assert objective.needs.g_labels is g_labels
    assert objective.needs.real_labels is real_labels
    assert objective.needs.rows == 1


@pytest.mark.parametrize("make", ALL)
def test_name_and_settings_hold_every_switch(make) -> None:
    """So that a run never goes on with another one; each switch is set to a value of its own."""
    usual = make()
    for name, parameter in inspect.signature(make).parameters.items():
        other = {bool: True, int: 9, float: 0.25, str: "real"}[type(parameter.default)]
        changed = make(**{name: other})
        assert (changed.name, changed.settings) != (usual.name, usual.settings), name
        again = make(**{name: other})
        assert (again.name, again.settings) == (changed.name, changed.settings)


def test_an_objective_of_ones_own_needs_nothing_and_has_no_settings() -> None:
    mine = Objective("mine", gan().d_loss, gan().g_loss)
    assert (mine.needs, dict(mine.settings)) == (Needs(), {})
    with pytest.raises(TypeError):
        mine.settings["shared"] = 1  # by every objective that names none


@pytest.mark.parametrize("variant", ["real+fake", "real", "n+1"])
def test_semi_with_every_label_is_acgan(variant) -> None:
    classes = 4 if variant == "n+1" else 3
    real, fake = Batch(rows(classes, 1), LABELS), Batch(rows(classes, 2), LABELS.flip(0))
    a, b = acgan(class_loss_on=variant), semi(class_loss_on=variant)
    for x, y in (
        (a.d_loss(StubD(), real, fake), b.d_loss(StubD(), real, fake)),
        (a.g_loss(StubD(), fake), b.g_loss(StubD(), fake)),
    ):
        assert {k: float(v) for k, v in x.items()} == pytest.approx(
            {k: float(v) for k, v in y.items()}, rel=1e-6
        )


def test_semi_teaches_d_the_class_of_labelled_real_images_alone() -> None:
    real, fake = rows(3, seed=1), rows(3, seed=2)
    labels = torch.tensor([0, -1, 2, -1])
    terms = semi().d_loss(StubD(), Batch(real, labels), Batch(fake, LABELS))
    by_hand = -float(mean_log_p(real[[0, 2], 1:], labels[[0, 2]]))
    assert float(terms["d_class_real"]) == pytest.approx(by_hand, rel=1e-6)
    whole = -float(mean_log_p(fake[:, 1:], LABELS))
    assert float(terms["d_class_fake"]) == pytest.approx(whole, rel=1e-6)
    everyone = -float(real[:, 0].sigmoid().log().mean())
    assert float(terms["d_source_real"]) == pytest.approx(everyone, rel=1e-6)


def test_semi_in_the_n_plus_1_form_names_fakes_by_the_last_class() -> None:
    real, fake = rows(4, seed=1), rows(4, seed=2)
    labels = torch.tensor([0, -1, 2, -1])
    terms = semi(class_loss_on="n+1").d_loss(StubD(), Batch(real, labels), Batch(fake, LABELS))
    by_hand = -float(mean_log_p(fake[:, 1:], torch.full((4,), 3)))
    assert float(terms["d_class_fake"]) == pytest.approx(by_hand, rel=1e-6)


# --- what mends AC-GAN --------------------------------------------------------------------------


def test_tac_learns_the_class_of_real_images_and_of_generated_ones_apart() -> None:
    real, fake = rows(6, seed=1), rows(6, seed=2)
    batches = Batch(real, LABELS), Batch(fake, LABELS.flip(0))
    terms = tac(g_class_weight=0.3).d_loss(StubD(), *batches)
    expected = {
        "d_source_real": -float(real[:, 0].sigmoid().log().mean()),
        "d_source_fake": -float((-fake[:, 0]).sigmoid().log().mean()),
        "d_class_real": -float(mean_log_p(real[:, 1:4], LABELS)),
        "d_twin_fake": -float(mean_log_p(fake[:, 4:], LABELS.flip(0))),
    }
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-6)
    paid = mean_log_p(fake[:, 1:4], LABELS.flip(0)) - mean_log_p(fake[:, 4:], LABELS.flip(0))
    expected_g = -float(fake[:, 0].sigmoid().log().mean()) - 0.3 * float(paid)
    assert total(tac(g_class_weight=0.3).g_loss(StubD(), batches[1])) == pytest.approx(expected_g)


def test_adc_tells_real_classes_from_generated_ones() -> None:
    real, fake = rows(6, seed=3), rows(6, seed=4)
    batches = Batch(real, LABELS), Batch(fake, LABELS.flip(0))
    terms = adc(g_class_weight=0.3).d_loss(StubD(), *batches)
    expected = {
        "d_source_real": -float(real[:, 0].sigmoid().log().mean()),
        "d_source_fake": -float((-fake[:, 0]).sigmoid().log().mean()),
        "d_class_real": -float(mean_log_p(real[:, 1:], LABELS)),
        "d_class_fake": -float(mean_log_p(fake[:, 1:], LABELS.flip(0) + 3)),
    }
    assert {k: float(v) for k, v in terms.items()} == pytest.approx(expected, rel=1e-6)
    # G's two class terms leave the difference of two logits: the softmax's sum cancels.
    y = LABELS.flip(0)
    difference = (fake[range(4), 1 + y] - fake[range(4), 4 + y]).mean()
    expected_g = -float(fake[:, 0].sigmoid().log().mean()) - 0.3 * float(difference)
    assert total(adc(g_class_weight=0.3).g_loss(StubD(), batches[1])) == pytest.approx(expected_g)


def test_projections_source_logit_is_miyatos_and_its_losses_are_cgans() -> None:
    torch.manual_seed(0)
    D = Discriminator(width=4, **projection().needs.heads(3)).double().eval()
    x = torch.rand(4, 1, 32, 32, dtype=torch.float64) * 2 - 1
    features = D.trunk(x)
    by_hand = torch.stack([
        D.source_head.weight[0] @ h + D.source_head.bias[0] + D.class_vectors.weight[:, k] @ h
        for h, k in zip(features, LABELS, strict=True)
    ])  # fmt: skip
    torch.testing.assert_close(D(x, LABELS).source_logit, by_hand)
    batch = Batch(x, LABELS)
    for mine, cgans in (
        (projection().d_loss(D, batch, batch), cgan().d_loss(D, batch, batch)),
        (projection().g_loss(D, batch), cgan().g_loss(D, batch)),
    ):
        assert mine == cgans


def test_reacgan_compares_directions() -> None:
    torch.manual_seed(0)
    D = Discriminator(width=4, **reacgan(embedding=5).needs.heads(3)).double().eval()
    real, fake = torch.rand(2, 4, 1, 32, 32, dtype=torch.float64) * 2 - 1
    h = D.embedding_head(D.trunk(real))
    f = h / h.norm(dim=1, keepdim=True)
    v = D.class_head.weight / D.class_head.weight.norm(dim=1, keepdim=True)
    out = D(real)
    torch.testing.assert_close(out.embedding, f.float())
    torch.testing.assert_close(out.class_logits.double(), f @ v.T, rtol=1e-5, atol=1e-6)
    objective = reacgan(class_weight=0.3, margin=0.9, temperature=0.2, embedding=5)
    terms = objective.d_loss(D, Batch(real, LABELS), Batch(fake, LABELS.flip(0)))
    assert terms.keys() == {"d_source_real", "d_source_fake", "d_class_real"}
    expected = 0.3 * d2d_by_hand(f, v, LABELS, 0.9, 0.2)
    assert terms["d_class_real"].item() == pytest.approx(expected, rel=1e-4)
    again = objective.g_loss(D, Batch(real, LABELS))
    assert again["g_class"].item() == pytest.approx(expected, rel=1e-4)


def d2d_by_hand(f: Tensor, v: Tensor, labels: Tensor, margin: float, temperature: float) -> float:
    """The data-to-data cross-entropy of Kang et al. 2021, image by image."""
    losses, f, v = [], f.detach(), v.detach()
    for i, k in enumerate(labels.tolist()):
        own = torch.exp(torch.clamp(f[i] @ v[k] - margin, max=0) / temperature)
        others = [
            torch.exp(torch.clamp(f[i] @ f[j] - (1 - margin), min=0) / temperature)
            for j in range(len(labels))
            if labels[j] != k
        ]
        losses.append(-torch.log(own / (own + sum(others))))
    return float(sum(losses)) / len(losses)


@pytest.mark.parametrize("make", [projection, tac, adc, reacgan])
def test_a_mend_trains_for_a_step_with_the_heads_it_needs(make) -> None:
    objective = make()
    data = two_classes()
    G = Generator(latent_dim=4, num_classes=2, width=4)
    D = Discriminator(width=4, **objective.needs.heads(2))
    config = TrainConfig(batch_size=8, progress=False)
    before = [p.clone() for network in (G, D) for p in network.parameters()]
    history = fit(G, D, data, objective, steps=2, config=config).history
    assert all(v == v for v in history.rows[-1].values())
    after = [p for network in (G, D) for p in network.parameters()]
    assert sum(not torch.equal(a, b) for a, b in zip(before, after, strict=True)) >= len(after) - 8
    with pytest.raises(ValueError, match=f"{objective.name} needs Discriminator"):
        fit(G, Discriminator(width=4), data, objective, steps=1, config=config)


@pytest.mark.parametrize("make", [projection, reacgan])
def test_what_compares_images_or_is_told_labels_is_not_stacked(make) -> None:
    D = Discriminator(width=4, **make().needs.heads(2))
    with pytest.raises(TypeError, match="stack"):
        StackedDiscriminator([D, D])


def test_tac_and_adc_stack_as_acgan_does() -> None:
    torch.manual_seed(0)
    networks = [Discriminator(width=4, **tac().needs.heads(2)).eval() for _ in range(2)]
    x = torch.rand(6, 1, 32, 32)
    whole = StackedDiscriminator(networks)(x).class_logits
    apart = torch.cat([D(part).class_logits for D, part in zip(networks, x.split(3), strict=True)])
    torch.testing.assert_close(whole, apart)
