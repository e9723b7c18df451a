"""The training loop: its arithmetic by hand, what it leaves alone, and what it does when it fails.

The runs are tiny: networks of width 4, 40 images, a handful of steps.
"""

from __future__ import annotations

import copy
import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from checks import (
    d_step_leaves_g_alone,
    training_draws_in_eval_mode,
    two_classes,
)
from PIL import Image
from tiny_runs import Stop, assert_same, config, networks, tiny_run, weights
from torch import Tensor, nn

from acgan_lib import runtime, train, zoo
from acgan_lib.data import LabelledImages, image_folder
from acgan_lib.experiments.ch08_museum.exhibits import check_labels
from acgan_lib.fashion import fashion_mini
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Batch, Objective, acgan, cgan, gan, infogan
from acgan_lib.train import (
    OneProcess,
    Progress,
    Result,
    TrainingDivergedError,
    draw_latents,
    fit,
    frozen,
)

pytestmark = pytest.mark.usefixtures("one_thread")


# --- latents and labels -------------------------------------------------------------------------


def test_labels_are_uniform_over_all_classes() -> None:
    check_labels(draw_latents)
    G = Generator(latent_dim=2, num_classes=10, width=4)
    counts = torch.bincount(torch.cat([draw_latents(G, 500, 7, step)[1] for step in range(10)]))
    chi_square = float(((counts - 500) ** 2 / 500).sum())
    assert chi_square < 27.9, counts.tolist()  # 9 degrees of freedom: exceeded once in 1,000


def test_latents_are_a_pure_function_of_seed_and_step() -> None:
    G = Generator(latent_dim=50, num_classes=10, width=4)
    torch.manual_seed(1)
    z, y = draw_latents(G, 200, seed=3, step=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = draw_latents(G, 200, seed=3, step=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(z, again[0])
    assert torch.equal(y, again[1])
    for seed, step in ((3, 6), (4, 5), (5, 3)):
        other = draw_latents(G, 200, seed=seed, step=step)
        assert not torch.equal(z, other[0])
        assert not torch.equal(y, other[1])
    assert z.shape == (200, 50)
    assert y.shape == (200,)
    assert y.dtype == torch.int64
    assert abs(float(z.mean())) < 0.05
    assert abs(float(z.std()) - 1) < 0.05


def test_unconditional_generator_gets_label_zero() -> None:
    _, y = draw_latents(Generator(num_classes=0, width=4), 5, seed=0, step=0)
    assert y.tolist() == [0] * 5


# --- one step -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "heads"),
    [(gan(), {}), (cgan(), {"label_input": 2}), (acgan(), {"class_head": 2})],
    ids=["gan", "cgan", "acgan"],
)
def test_a_step_is_the_textbook_step(objective: Objective, heads: dict[str, int]) -> None:
    """Against the step as one writes it first: new fakes for G, nothing frozen, plain Adam."""
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4, **heads)
    G2, D2 = copy.deepcopy((G, D))
    data, settings = two_classes(), config(lr_g=1e-3, lr_d=2e-3)
    result = fit(G, D, data, objective, steps=3, config=settings)

    opt_g = torch.optim.Adam(G2.parameters(), 1e-3, (0.5, 0.999))
    opt_d = torch.optim.Adam(D2.parameters(), 2e-3, (0.5, 0.999))
    for t in range(3):
        for optimiser, lr in ((opt_g, 1e-3), (opt_d, 2e-3)):
            optimiser.param_groups[0]["lr"] = lr * (1 - t / 3)
        x, y = data.batch(t, 4, seed=0)
        z, y_fake = draw_latents(G2, 4, 0, t)
        with torch.no_grad():
            moments = copy.deepcopy(G2.state_dict())
            fake = G2(z, y_fake)
            G2.load_state_dict(moments)  # the loop runs G once, so its statistics move once
        d_terms = objective.d_loss(D2, Batch(x, y), Batch(fake, y_fake))
        opt_d.zero_grad()
        sum(d_terms.values()).backward()
        opt_d.step()
        g_terms = objective.g_loss(D2, Batch(G2(z, y_fake), y_fake))
        opt_g.zero_grad()
        sum(g_terms.values()).backward()
        opt_g.step()
        expected = {k: v.item() for k, v in {**d_terms, **g_terms}.items()}
        logged = dict(result.history.rows[t])
        assert logged.pop("step") == t + 1
        assert logged == pytest.approx(expected, rel=1e-3, abs=1e-4)
    for mine, theirs in ((G, G2), (D, D2)):
        for (name, a), b in zip(
            mine.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4, msg=name)


def test_d_step_leaves_g_alone() -> None:
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4)
    d_step_leaves_g_alone(train, G, D)


def test_g_step_leaves_d_alone_and_meets_a_d_that_has_just_learned() -> None:
    G, D = networks()
    usual, seen = acgan(), []

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> dict[str, Tensor]:
        assert all(p.requires_grad for p in D.parameters())
        seen.append(copy.deepcopy(dict(D.named_parameters())))
        return usual.d_loss(D, real, fake)

    def g_loss(D: nn.Module, fake: Batch) -> dict[str, Tensor]:
        assert not any(p.requires_grad for p in D.parameters())
        before = seen[-1]
        assert any(not torch.equal(p, before[k]) for k, p in D.named_parameters())
        gradients.append({k: p.grad.clone() for k, p in D.named_parameters()})
        return usual.g_loss(D, fake)

    def after(progress: Progress) -> None:
        for k, p in progress.D.named_parameters():
            assert torch.equal(p.grad, gradients[-1][k]), "G's step changed D's gradients"
            assert p.requires_grad

    gradients: list[dict[str, Tensor]] = []
    objective = Objective("spy", d_loss, g_loss)
    fit(G, D, two_classes(), objective, steps=2, config=config(), callbacks=[after])
    assert len(gradients) == 2
    assert all(p.grad is None for p in [*G.parameters(), *D.parameters()])  # none left behind


def test_frozen_restores_what_was_trainable_even_after_an_error() -> None:
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    layers[0].requires_grad_(False)

    def fail_inside() -> None:
        with frozen(layers):
            assert not any(p.requires_grad for p in layers.parameters())
            raise Stop

    with pytest.raises(Stop):
        fail_inside()
    assert [p.requires_grad for p in layers.parameters()] == [False, False, True, True]


def test_learning_rates_fall_linearly_to_zero_or_stay() -> None:
    G, D = networks()
    for decay in (True, False):
        settings = config(lr_g=1.0, lr_d=2.0, linear_decay=decay)
        state = train._State(G, D, settings, steps=10)
        for t in range(11):
            state.set_learning_rates(t)
            rates = [o.param_groups[0]["lr"] for o in (state.opt_g, state.opt_d)]
            left = 1 - t / 10 if decay else 1
            assert rates == pytest.approx([left, 2 * left])


def test_the_rates_of_a_run_are_those_of_the_schedule(monkeypatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    tiny_run(steps=4, lr_g=1e-3, lr_d=2e-3)
    assert rates[0::2] == pytest.approx([2e-3, 1.5e-3, 1e-3, 0.5e-3])
    assert rates[1::2] == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_average_of_g_by_hand(decay: float) -> None:
    seen: list[dict[str, Tensor]] = [copy.deepcopy(networks()[0].state_dict())]

    def remember(progress: Progress) -> None:
        seen.append(copy.deepcopy(progress.G.state_dict()))

    result = tiny_run(steps=4, callbacks=[remember], ema=decay)
    expected = {k: v.double() for k, v in seen[0].items()}
    for t, now in enumerate(seen[1:]):
        # The window grows with time, (1 + t) / (10 + t), up to the decay that was asked for.
        keep = min(decay, (1 + t) / (10 + t)) if decay else 0.0
        expected = {k: keep * v + (1 - keep) * now[k].double() for k, v in expected.items()}
    for name, value in result.G_ema.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in result.G_ema.parameters())


def test_training_draws_in_eval_mode() -> None:
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4)
    training_draws_in_eval_mode(train, G, D)


# --- the history --------------------------------------------------------------------------------


def test_history_rows_are_means_over_the_steps_between() -> None:
    fine = tiny_run(steps=7).history
    coarse = tiny_run(steps=7, log_every=3, checkpoint_every=3).history
    assert fine.column("step") == [1, 2, 3, 4, 5, 6, 7]
    assert coarse.column("step") == [3, 6, 7]  # the last step logs too
    names = {"d_source_real", "d_source_fake", "d_class_real", "d_class_fake"}
    assert set(coarse.rows[0]) == names | {"step", "g_source", "g_class"}
    for name in names:
        each = fine.column(name)
        means = [sum(each[:3]) / 3, sum(each[3:6]) / 3, each[6]]
        assert coarse.column(name) == pytest.approx(means, rel=1e-5)
    with pytest.raises(KeyError, match=r"no column 'loss'; there are step, d_source_real"):
        coarse.column("loss")


def test_logging_and_checkpoints_do_not_change_the_training(tmp_path: Path) -> None:
    a = tiny_run(steps=5)
    b = tiny_run(steps=5, log_every=2, checkpoint_every=4, run_dir=tmp_path / "run")
    assert all(torch.equal(v, weights(b)[k]) for k, v in weights(a).items())


def test_another_seed_is_another_training() -> None:
    a, b = tiny_run(steps=2), tiny_run(steps=2, seed=1)
    assert not torch.equal(weights(a)["G.to_image.weight"], weights(b)["G.to_image.weight"])


def test_callbacks_see_every_step_in_order() -> None:
    calls = []
    names = ["first", "second"]
    callbacks = [
        lambda p, name=name: calls.append((name, p.step, p.steps, p.terms is not None))
        for name in names
    ]
    tiny_run(steps=3, callbacks=callbacks, log_every=2)
    assert calls == [
        (name, step, 3, step > 1) for step in (1, 2, 3) for name in names
    ]  # steps 2 and 3 log


def test_progress_bar_shows_the_losses(capsys) -> None:
    tiny_run(steps=2, progress=True)
    shown = capsys.readouterr().err
    assert "acgan[real+fake]" in shown
    assert "2/2" in shown
    assert "g_class=" in shown


# --- divergence ---------------------------------------------------------------------------------


def poisoned(at: int, term: str) -> Objective:
    """AC-GAN's objective with a term that is NaN from call ``at`` on (calls count from 1)."""
    usual, calls = acgan(), {"d": 0, "g": 0}

    def poison(terms: dict[str, Tensor], player: str) -> dict[str, Tensor]:
        calls[player] += 1
        if calls[player] >= at and term in terms:
            terms[term] = terms[term] * float("nan")
        return terms

    return usual._replace(
        d_loss=lambda *a: poison(usual.d_loss(*a), "d"),
        g_loss=lambda *a: poison(usual.g_loss(*a), "g"),
    )


@pytest.mark.parametrize("term", ["d_source_real", "g_class"])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_nan_loss_stops_the_run_with_the_last_good_state(
    tmp_path: Path, term: str, at: int
) -> None:
    settings: dict[str, Any] = {"linear_decay": False, "checkpoint_every": 2, "log_every": 1}
    G, D = networks()
    with pytest.raises(TrainingDivergedError, match=rf"by step {at}: {term}") as caught:
        fit(
            G, D, two_classes(), poisoned(at, term),
            steps=8, config=config(**settings), run_dir=tmp_path,
        )  # fmt: skip
    good = (at - 1) // 2 * 2
    assert f"back at step {good}" in str(caught.value)
    expected = tiny_run(steps=good, **settings)
    for mine, theirs in ((G, expected.G), (D, expected.D)):
        for name, value in mine.state_dict().items():
            assert torch.equal(value, theirs.state_dict()[name]), name
    saved = torch.load(tmp_path / "last.pt", weights_only=True)
    assert saved["step"] == good
    assert all(torch.equal(v, saved["G"][k]) for k, v in G.state_dict().items())
    assert "also in last.pt" in str(caught.value)
    assert all(p.grad is None for p in [*G.parameters(), *D.parameters()])


def test_after_a_divergence_the_run_can_go_on_from_the_good_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(TrainingDivergedError):
        tiny_run(tmp_path, objective=poisoned(4, "g_class"))
    assert_same(tiny_run(tmp_path), tiny_run())  # the cause is gone: on from step 2


@pytest.mark.parametrize("where", ["G", "D"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_weight_that_is_not_finite_stops_the_run(where: str, value: float) -> None:
    """Though every loss is finite: the weight is one that the losses no longer depend on."""

    def break_it(progress: Progress) -> None:
        if progress.step == 3:
            getattr(progress, where).spare.data.fill_(value)

    G, D = networks()
    for network in (G, D):
        network.register_parameter("spare", nn.Parameter(torch.zeros(1)))
    with pytest.raises(TrainingDivergedError, match="by step 4: spare"):
        fit(G, D, two_classes(), acgan(), steps=8, config=config(), callbacks=[break_it])
    assert float(G.spare.detach()) == float(D.spare.detach()) == 0.0


# --- precision, compilation, data ---------------------------------------------------------------


def test_bf16_and_fp32_begin_alike() -> None:
    a, b = (tiny_run(steps=3, precision=p).history.rows for p in ("fp32", "bf16"))
    assert a != b  # so bf16 was used
    for row, other in zip(a, b, strict=True):
        assert row == pytest.approx(other, abs=0.1)


def test_auto_precision_follows_the_hardware(monkeypatch) -> None:
    for supported in (True, False):
        monkeypatch.setattr(train, "supports_bf16", lambda _device, s=supported: s)
        assert train._State(*networks(), config(precision="auto"), 1).bf16 is supported


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo's own look
def test_compiled_networks_train_alike(monkeypatch) -> None:
    """With dynamo alone; the code generator behind it is torch's own affair and takes a minute."""
    compiled = []

    def compile(module: nn.Module) -> Any:
        compiled.append(module)
        return torch._dynamo.optimize("eager")(module)

    monkeypatch.setattr(torch, "compile", compile)
    a, b = tiny_run(steps=2), tiny_run(steps=2, compile=True)
    assert len(compiled) == 2
    for row, other in zip(a.history.rows, b.history.rows, strict=True):
        assert row == pytest.approx(other, abs=1e-3)
    assert list(b.G.state_dict()) == list(a.G.state_dict())  # no "_orig_mod." in front


def test_a_folder_of_images_trains_with_the_same_call(tmp_path: Path) -> None:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (40, 36), colour).save(tmp_path / name / f"{i}.png")
    data = image_folder(tmp_path, size=32)
    torch.manual_seed(0)
    G = Generator(latent_dim=8, num_classes=2, channels=3, width=4)
    D = Discriminator(channels=3, width=4, class_head=2)
    result = fit(G, D, data, acgan(), steps=2, config=config())
    assert result.G_ema(torch.randn(1, 8), torch.tensor([1])).shape == (1, 3, 32, 32)


def test_it_learns_two_classes_of_plain_colour() -> None:
    """Dark images and light ones: what G_ema draws for each label must have that brightness."""
    labels = torch.arange(64) % 2
    noise = torch.randint(-20, 21, (64, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    images = (torch.tensor([60, 200])[labels][:, None, None, None] + noise).to(torch.uint8)
    data = LabelledImages(images, labels, ("dark", "light"), "two colours")
    settings = config(
        batch_size=16, lr_g=2e-3, lr_d=2e-3, ema=0.9, log_every=25, checkpoint_every=100
    )
    result = fit(*networks(width=8), data, acgan(), steps=150, config=settings)
    z, y = torch.randn(40, 8, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 2
    with torch.no_grad():
        levels = (result.G_ema(z, y).mean((1, 2, 3)) + 1) * 127.5
    assert levels[y == 0].max() < 110 < 150 < levels[y == 1].min()
    assert abs(float(levels[y == 0].mean()) - 60) < 30
    assert abs(float(levels[y == 1].mean()) - 200) < 30
    assert result.history.rows[-1]["g_class"] < 0.2


# --- what fit leaves alone ----------------------------------------------------------------------


class Noisy(Discriminator):
    """A D with dropout, which draws from torch's global generator."""

    def __init__(self) -> None:
        super().__init__(width=4, class_head=2)
        self.trunk.append(nn.Dropout(0.5))


def noisy_pair(seed: int = 0) -> tuple[Generator, Discriminator]:
    torch.manual_seed(seed)
    return Generator(latent_dim=8, num_classes=2, width=4), Noisy()


def test_the_callers_random_state_is_left_alone_and_plays_no_part(tmp_path: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(4)
    results = []
    for seed in (7, 8):
        pair = noisy_pair()
        torch.manual_seed(seed)
        drawn: list[Tensor] = []
        results.append(
            tiny_run(
                tmp_path / str(seed), 3, pair=pair,
                callbacks=[lambda p, drawn=drawn: drawn.append(torch.rand(1))],
            )
        )  # fmt: skip
        drawn.append(torch.rand(1))
        assert torch.equal(torch.cat(drawn), expected) is (seed == 7)
    assert_same(*results)


def test_the_checks_before_the_first_step_leave_the_networks_alone() -> None:
    G, D = noisy_pair()
    D.trunk[1].eval()  # a part that its owner holds in eval mode
    before = copy.deepcopy((G.state_dict(), D.state_dict()))
    modes = [m.training for m in D.modules()]
    with pytest.raises(ValueError, match="D has label_input=0"):
        fit(G, D, two_classes(), cgan(), steps=1, config=config())
    assert [m.training for m in D.modules()] == modes
    fit(G, D, two_classes(), acgan(), steps=0, config=config())
    for state, module in zip(before, (G, D), strict=True):
        assert all(torch.equal(v, state[k]) for k, v in module.state_dict().items())


class Drawing(Discriminator):
    """A D that remembers what dropout would draw in each of its passes in training."""

    def __init__(self) -> None:
        super().__init__(width=4, class_head=2)
        self.drawn: list[float] = []

    def forward(self, x: Tensor, y: Tensor | None = None) -> Any:
        if self.training:
            self.drawn.append(float(torch.rand(())))
        return super().forward(x, y)


class Second(OneProcess):
    """Rank 1 of two, where both would see the whole batch."""

    rank, first = 1, False


def test_dropout_draws_anew_in_each_pass_step_seed_and_rank() -> None:
    def drawn(ranks: OneProcess | None = None, steps: int = 3, **changes: Any) -> list[float]:
        D = Drawing()
        fit(
            networks()[0], D, two_classes(), acgan(), steps=steps, config=config(**changes),
            ranks=ranks,
        )  # fmt: skip
        return D.drawn

    first = drawn()
    assert len(set(first)) == len(first) == 9  # real, fake, and fake again for G, in three steps
    assert drawn() == first
    assert drawn(steps=2) == first[:6]
    assert not set(drawn(Second())) & set(first)
    assert not set(drawn(seed=1)) & set(first)


def test_two_threads_train_as_if_alone() -> None:
    """With dropout, which draws from the one generator that torch has for all threads."""
    alone = [tiny_run(steps=6, pair=noisy_pair(seed), seed=seed) for seed in (1, 2)]
    pairs = [noisy_pair(seed) for seed in (1, 2)]
    with ThreadPoolExecutor(2) as pool:
        runs = [pool.submit(tiny_run, steps=6, pair=pairs[s - 1], seed=s) for s in (1, 2)]
        for expected, run in zip(alone, runs, strict=True):
            assert_same(expected, run.result())


@pytest.mark.parametrize("shared", ["G", "D"])
def test_networks_in_training_are_refused_to_a_second_fit(shared: str) -> None:
    pair, other = networks(), networks(seed=1)
    second = (pair[0], other[1]) if shared == "G" else (other[0], pair[1])
    refused = []

    def around(progress: Progress) -> None:
        with pytest.raises(ValueError, match=f"{shared}: another fit is training it") as caught:
            tiny_run(steps=1, pair=second)
        refused.append(caught)

    assert_same(tiny_run(steps=2), tiny_run(steps=2, pair=pair, callbacks=[around]))
    assert len(refused) == 2
    tiny_run(steps=1, pair=second)  # given back


# --- fine-tuning --------------------------------------------------------------------------------


def test_networks_that_are_all_frozen_are_trained_and_half_frozen_ones_stay_so() -> None:
    free, pair = tiny_run(steps=2), networks()
    for module in pair:
        module.eval().requires_grad_(False)  # as zoo.load gives them
    assert_same(free, tiny_run(steps=2, pair=pair))
    G, D = networks()
    G.project.requires_grad_(False)
    D.trunk.requires_grad_(False)
    before = copy.deepcopy((dict(G.project.named_parameters()), dict(D.trunk.named_parameters())))
    tiny_run(steps=2, pair=(G, D))
    for part, kept in ((G.project, before[0]), (D.trunk, before[1])):
        for name, value in part.named_parameters():
            assert torch.equal(value, kept[name])
            assert not value.requires_grad
    assert not torch.equal(D.class_head.bias, networks()[1].class_head.bias)


def test_a_shipped_generator_can_be_trained_on() -> None:
    G = zoo.load("acgan_fashion")
    before = copy.deepcopy(G.state_dict())
    fit(G, Discriminator(width=4, class_head=10), fashion_mini(), acgan(), steps=1, config=config())
    assert not torch.equal(G.to_image.weight, before["to_image.weight"])


# --- small sets, one class, a thousand ----------------------------------------------------------


def noise(n: int, classes: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (n, 1, 32, 32), generator=generator, dtype=torch.uint8)
    names = tuple(f"class {k}" for k in range(classes))
    return LabelledImages(images, torch.arange(n) % classes, names, "noise")


def test_a_set_smaller_than_the_batch_gives_all_it_has() -> None:
    assert_same(
        tiny_run(steps=3, data=noise(5, 2), batch_size=5),
        tiny_run(steps=3, data=noise(5, 2), batch_size=100),
    )
    tiny_run(steps=1, data=noise(2, 2))
    with pytest.raises(ValueError, match="data has 1 images, but BatchNorm needs 2"):
        tiny_run(steps=1, data=noise(1, 2))


@pytest.mark.parametrize("classes", [1, 1_000])
@pytest.mark.parametrize("make", [acgan, cgan, infogan])
def test_one_class_or_a_thousand(classes: int, make: Any) -> None:
    objective = make()
    heads = objective.needs.heads(classes)
    G, D = Generator(8, classes, width=4), Discriminator(width=4, **heads)
    result = fit(G, D, noise(8, classes), objective, steps=2, config=config())
    assert result.history.rows[-1]["step"] == 2
    assert all(math.isfinite(v) for v in result.history.rows[-1].values())


# --- devices ------------------------------------------------------------------------------------

GPU = runtime.pick_device()


@pytest.mark.skipif(GPU.type == "cpu", reason="compares a GPU (CUDA or Apple's) with the CPU")
def test_a_gpu_trains_as_the_cpu_does_and_leaves_its_random_state_alone(tmp_path: Path) -> None:
    def run(device: torch.device, pair: Any = None, run_dir: Path | None = None) -> Result:
        G, D = pair or networks()
        return tiny_run(run_dir, 4, pair=(G.to(device), D.to(device)))

    on_cpu, on_gpu = run(torch.device("cpu")), run(GPU)
    assert next(on_gpu.G_ema.parameters()).device.type == GPU.type
    for row, other in zip(on_cpu.history.rows, on_gpu.history.rows, strict=True):
        assert row == pytest.approx(other, rel=0.02, abs=0.02)
    draws = []
    for train_between in (False, True):
        torch.manual_seed(5)
        if train_between:
            run(GPU, noisy_pair(), tmp_path)
            torch.manual_seed(5)
            run(GPU, noisy_pair(), tmp_path)  # only loaded
            run(GPU, noisy_pair())
        draws.append((torch.rand(4, device=GPU).cpu(), torch.rand(4)))
    assert all(torch.equal(a, b) for a, b in zip(*draws, strict=True))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp16"}, "precision must be .* 'fp16'"),
        ({"log_every": 0}, "log_every"),
        ({"log_every": 4, "checkpoint_every": 6}, r"checkpoint_every \(6\) must be a multiple"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
        ({"ema": -0.1}, "ema must be"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
        ({"seed": -1}, "seed must be 0 or more, got -1"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**changes)


def test_whole_numbers_are_taken_for_adams_decay_rates() -> None:
    tiny_run(steps=1, betas=(0, 0.9))
