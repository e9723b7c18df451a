"""InfoGAN: the bound in float64, what each term reads and teaches, and its place in the loop."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import pytest
import torch
from checks import log_softmax, two_classes
from scipy.stats import entropy
from torch import Tensor, nn
from torch.distributions import Independent, Normal

from acgan_lib.losses import code_loss
from acgan_lib.metrics.matching import best_match, contingency, mutual_information
from acgan_lib.nets import Discriminator, DiscriminatorOutput, Generator
from acgan_lib.objectives import Batch, acgan, infogan
from acgan_lib.train import TrainConfig, draw_latents, fit

LABELS = torch.tensor([0, 1, 2, 1])
J = 2


def randn(*shape: int, seed: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def log_q(mean: Tensor, log_var: Tensor, code: Tensor) -> float:
    """E[log Q(c | x)] by torch.distributions, in float64."""
    std = (0.5 * log_var.double()).exp()
    return float(Independent(Normal(mean.double(), std), 1).log_prob(code.double()).mean())


# --- the loss -----------------------------------------------------------------------------------


def test_code_loss_is_the_gaussian_log_likelihood() -> None:
    mean, log_var, code = randn(64, 3, seed=0), 2 * randn(64, 3, seed=1), randn(64, 3, seed=2)
    mean.requires_grad_()
    log_var.requires_grad_()
    loss = code_loss((mean, log_var), code)
    assert loss.shape == ()
    expected = -log_q(mean.detach(), log_var.detach(), code)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-6)
    loss.backward()
    error, var = (code - mean.detach()).double(), log_var.detach().double().exp()
    torch.testing.assert_close(mean.grad.double(), -error / var / 64, rtol=1e-5, atol=1e-9)
    by_log_var = 0.5 * (1 - error**2 / var) / 64
    torch.testing.assert_close(log_var.grad.double(), by_log_var, rtol=1e-5, atol=1e-9)


def test_code_loss_of_the_prior_is_the_entropy_of_the_code() -> None:
    """A Q that ignores x gives -H(c) as E[log Q], so that L_I = 0: nothing was read."""
    code = randn(200_000, J, seed=3)
    zero = torch.zeros_like(code)
    entropy = J * 0.5 * math.log(2 * math.pi * math.e)
    assert float(code_loss((zero, zero), code)) == pytest.approx(entropy, abs=0.01)


def test_code_loss_of_bfloat16_is_float32() -> None:
    mean, log_var = randn(8, J, seed=0).bfloat16(), randn(8, J, seed=1).bfloat16()
    loss = code_loss((mean, log_var), randn(8, J, seed=2))
    assert loss.dtype == torch.float32
    assert float(loss) == float(code_loss((mean.float(), log_var.float()), randn(8, J, seed=2)))


@pytest.mark.parametrize(
    "shapes", [((4,), (4,), (4,)), ((4, 2), (4, 2), (4,)), ((4, 1), (4, 2), (4, 2))]
)
def test_code_loss_names_shapes_that_would_broadcast(shapes) -> None:
    mean, log_var, code = (torch.zeros(s) for s in shapes)
    with pytest.raises(ValueError, match=r"one shape \(n, J\), got .* and \(4"):
        code_loss((mean, log_var), code)


# --- the head -----------------------------------------------------------------------------------


def test_code_head_gives_a_mean_and_a_log_variance_for_each_code() -> None:
    torch.manual_seed(0)
    D = Discriminator(width=4, class_head=3, code_head=5)
    x = torch.rand(6, 1, 32, 32) * 2 - 1
    mean, log_var = D(x).code
    assert mean.shape == log_var.shape == (6, 5)
    both = D.code_head(D.eval().trunk(x))
    torch.testing.assert_close(torch.cat(D(x).code, 1), both)
    assert (both < 0).any()
    assert (both > 0).any()
    assert Discriminator(width=4, class_head=3)(x).code is None


def test_a_d_without_a_code_head_starts_from_the_weights_it_always_had() -> None:
    """The recipes of the other models rest on it: the head must draw no random numbers there."""
    states = []
    for extra in ({}, {"code_head": J}):
        torch.manual_seed(1)
        states.append(Discriminator(width=4, class_head=3, **extra).state_dict())
    assert states[0].keys() <= states[1].keys()
    assert all(torch.equal(value, states[1][key]) for key, value in states[0].items())


# --- the objective ------------------------------------------------------------------------------


class StubD(nn.Module):
    """An "image" is a row: source logit, three class logits, J means, J log variances."""

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        assert y is None, "InfoGAN's D is told no label"
        return DiscriminatorOutput(x[:, 0], x[:, 1:4], (x[:, 4 : 4 + J], x[:, 4 + J :]))


def batches() -> tuple[Batch, Batch]:
    real = Batch(randn(4, 4 + 2 * J, seed=4), LABELS)
    return real, Batch(randn(4, 4 + 2 * J, seed=5), LABELS.flip(0), randn(4, 6, seed=6))


def test_both_players_minimise_minus_the_papers_bound_but_for_the_entropies() -> None:
    real, fake = batches()
    rows = fake.images.double()
    categorical = float(log_softmax(rows[:, 1:4])[torch.arange(4), fake.labels].mean())
    continuous = log_q(rows[:, 4:6], rows[:, 6:], fake.z[:, :J])
    objective = infogan(codes=J, class_weight=1.0, code_weight=0.5)
    d_terms, g_terms = objective.d_loss(StubD(), real, fake), objective.g_loss(StubD(), fake)
    a = real.images[:, 0].double(), rows[:, 0]
    expected = {
        "d_source_real": -float(a[0].sigmoid().log().mean()),
        "d_source_fake": -float((-a[1]).sigmoid().log().mean()),
        "d_class_fake": -categorical,
        "d_code_fake": -0.5 * continuous,
    }
    assert {k: float(v) for k, v in d_terms.items()} == pytest.approx(expected, rel=1e-5)
    expected = {
        "g_source": -float(a[1].sigmoid().log().mean()),
        "g_class": -categorical,
        "g_code": -0.5 * continuous,
    }
    assert {k: float(v) for k, v in g_terms.items()} == pytest.approx(expected, rel=1e-5)


def test_the_weights_scale_their_own_term_for_both_players() -> None:
    real, fake = batches()
    plain, other = infogan(codes=J), infogan(codes=J, class_weight=3.0, code_weight=0.3)
    factors = {"class": 3.0, "code": 3.0, "source": 1.0}
    for function, args in (("d_loss", (real, fake)), ("g_loss", (fake,))):
        before = getattr(plain, function)(StubD(), *args)
        after = getattr(other, function)(StubD(), *args)
        for name, term in after.items():
            factor = factors[name.split("_")[1]]
            assert float(term) == pytest.approx(factor * float(before[name]), rel=1e-6), name


def test_saturating_switches_gs_source_term() -> None:
    _, fake = batches()
    p = fake.images[:, 0].double().sigmoid()
    literal = infogan(codes=J, saturating=True).g_loss(StubD(), fake)["g_source"]
    assert float(literal) == pytest.approx(float((1 - p).log().mean()), rel=1e-5)


def test_no_label_of_a_real_image_is_used() -> None:
    """The line that separates it from AC-GAN."""
    D = Discriminator(width=4, class_head=3, code_head=J).eval()
    images = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, LABELS)
    fake = images._replace(z=randn(4, 6, seed=0))
    changed = images._replace(labels=(LABELS + 1) % 3)

    def totals(objective) -> list[float]:
        pairs = [objective.d_loss(D, real, fake) for real in (images, changed)]
        return [float(sum(terms.values()).detach()) for terms in pairs]

    first, second = totals(infogan(codes=J))
    assert first == second
    first, second = totals(acgan())
    assert first != second


def test_which_networks_each_term_teaches() -> None:
    torch.manual_seed(0)
    G = Generator(latent_dim=6, num_classes=3, width=4)
    D = Discriminator(width=4, class_head=3, code_head=J)
    z = torch.randn(4, 6)
    fake = Batch(G(z, LABELS), LABELS, z)
    real = Batch(torch.rand(4, 1, 32, 32) * 2 - 1, LABELS)
    objective = infogan(codes=J)
    terms = objective.d_loss(D, real, fake) | objective.g_loss(D, fake)
    assert len(terms) == 7
    heads = {"source": D.source_head, "class": D.class_head, "code": D.code_head}
    for name, term in terms.items():
        parts = {"G": G, "trunk": D.trunk, **heads}
        reached = {}
        for part, module in parts.items():
            gradients = torch.autograd.grad(
                term, list(module.parameters()), retain_graph=True, allow_unused=True
            )
            reached[part] = any(g is not None and bool(g.abs().max() > 0) for g in gradients)
        expected = {head: head in name for head in heads}
        assert reached == {"G": name != "d_source_real", "trunk": True, **expected}, name


def test_a_batch_without_latents_is_refused_by_name() -> None:
    real, fake = batches()
    with pytest.raises(ValueError, match=r"fake\.z, which is None"):
        infogan(codes=J).d_loss(StubD(), real, fake._replace(z=None))


def test_another_number_of_codes_than_d_reads_is_refused() -> None:
    real, fake = batches()
    with pytest.raises(ValueError, match=r"\(4, 2\) and \(4, 3\)"):
        infogan(codes=3).d_loss(StubD(), real, fake)


# --- the loop -----------------------------------------------------------------------------------


def tiny_run(run_dir: Path | None = None, steps: int = 6, stop_at: int = 0) -> dict[str, Tensor]:
    torch.manual_seed(0)
    G = Generator(latent_dim=6, num_classes=2, width=4)
    D = Discriminator(width=4, class_head=2, code_head=J)
    config = TrainConfig(
        batch_size=4, log_every=1, checkpoint_every=2, precision="fp32", progress=False
    )

    def stop(progress) -> None:
        if progress.step == stop_at:
            raise KeyboardInterrupt

    result = fit(
        G, D, two_classes(), infogan(codes=J),
        steps=steps, config=config, callbacks=[stop], run_dir=run_dir,
    )  # fmt: skip
    return {**result.G.state_dict(), **{f"D.{k}": v for k, v in result.D.state_dict().items()}}


def test_the_loop_hands_the_latents_over_and_resumes_bit_for_bit(tmp_path: Path) -> None:
    whole = tiny_run()
    with pytest.raises(KeyboardInterrupt):
        tiny_run(tmp_path, stop_at=3)
    resumed = tiny_run(tmp_path)
    assert [k for k in whole if not torch.equal(whole[k], resumed[k])] == []


def test_the_latents_that_an_objective_sees_are_those_of_its_images() -> None:
    torch.manual_seed(0)
    G = Generator(latent_dim=6, num_classes=2, width=4)
    D = Discriminator(width=4, class_head=2, code_head=J)
    usual, seen = infogan(codes=J), []

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> dict[str, Tensor]:
        assert real.z is None
        assert not fake.images.requires_grad
        seen.append(fake)
        return usual.d_loss(D, real, fake)

    def g_loss(D: nn.Module, fake: Batch) -> dict[str, Tensor]:
        assert fake.images.requires_grad
        seen.append(fake)
        return usual.g_loss(D, fake)

    config = TrainConfig(batch_size=4, precision="fp32", progress=False)
    fit(G, D, two_classes(), usual._replace(d_loss=d_loss, g_loss=g_loss), steps=1, config=config)
    z, y = draw_latents(G, 4, seed=0, step=0)
    assert len(seen) == 2
    for fake in seen:
        assert torch.equal(fake.z, z)
        assert torch.equal(fake.labels, y)


def test_what_g_was_given_becomes_legible() -> None:
    """On two plain classes, a short training must raise the bound well above nothing."""
    torch.manual_seed(0)
    G = Generator(latent_dim=4, num_classes=2, width=8)
    D = Discriminator(width=8, class_head=2, code_head=1)
    config = TrainConfig(
        batch_size=16, lr_g=2e-3, lr_d=2e-3, log_every=20, checkpoint_every=20,
        precision="fp32", progress=False,
    )  # fmt: skip
    history = fit(G, D, two_classes(), infogan(codes=1), steps=120, config=config).history
    first, last = history.rows[0], history.rows[-1]
    assert last["g_class"] < 0.5 * first["g_class"]
    assert last["g_code"] < first["g_code"]
    assert last["g_code"] / 0.1 < 0.5 * math.log(2 * math.pi * math.e)  # L_I > 0


# --- what the codes found -----------------------------------------------------------------------


def test_contingency_counts_pairs() -> None:
    code, labels = torch.tensor([0, 0, 2, 1, 2]), torch.tensor([1, 1, 0, 2, 2])
    table = contingency(code, labels, 3)
    assert table.tolist() == [[0, 2, 0], [0, 0, 1], [1, 0, 1]]
    for bad in (code.float(), code[:3], code[:, None], torch.tensor([0, 0, 3, 1, 2]), code - 1):
        with pytest.raises(ValueError, match="labels must"):
            contingency(code, bad, 3)


def test_best_match_is_the_best_of_all_assignments() -> None:
    generator = torch.Generator().manual_seed(0)
    for _ in range(5):
        table = torch.randint(0, 30, (5, 5), generator=generator)
        classes, share = best_match(table)
        rows = torch.arange(5)
        by_hand = max(int(table[rows, list(p)].sum()) for p in itertools.permutations(range(5)))
        assert sorted(classes.tolist()) == list(range(5))
        assert share.n == int(table.sum())
        assert round(share.value * share.n) == by_hand == int(table[rows, classes].sum())
        assert share.low < share.value < share.high


def test_best_match_undoes_a_renaming() -> None:
    labels = torch.arange(4).repeat(25)
    names = torch.tensor([2, 0, 3, 1])
    classes, share = best_match(contingency(names[labels], labels, 4))
    assert torch.equal(classes[names], torch.arange(4))
    assert share.value == 1


def test_mutual_information_against_entropies_and_known_cases() -> None:
    labels = torch.arange(4).repeat(25)
    same = contingency((labels + 1) % 4, labels, 4)
    assert mutual_information(same) == pytest.approx(math.log(4))
    assert mutual_information(torch.ones(4, 4, dtype=torch.int64)) == pytest.approx(0, abs=1e-12)
    table = torch.randint(0, 30, (4, 4), generator=torch.Generator().manual_seed(1))
    p = table.double() / table.sum()
    by_entropies = entropy(p.sum(0)) + entropy(p.sum(1)) - entropy(p.flatten())
    assert mutual_information(table) == pytest.approx(float(by_entropies))


def test_mutual_information_of_chance_is_as_large_as_said() -> None:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(10).repeat(100)
    by_chance = [
        mutual_information(
            contingency(labels[torch.randperm(1000, generator=generator)], labels, 10)
        )
        for _ in range(50)
    ]
    assert sum(by_chance) / 50 == pytest.approx(81 / 2000, rel=0.1)
