"""The museum of bugs: each exhibit's check fails on the bug and passes on the fix.

Then the library itself is tried: a case changes one piece of its source as someone might, loads
the changed copy, and runs a check on it. The check must pass on the library and fail on the copy.
A case whose piece of source is gone fails, so that the museum keeps up with the library.
"""

from __future__ import annotations

import importlib
import inspect
import math
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from operator import attrgetter
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import checks
import pytest
import torch

from acgan_lib.experiments import ch08_museum, stored
from acgan_lib.experiments.ch08_museum import exhibits, runs
from acgan_lib.losses import class_loss as class_loss_of
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import gan

# --- the exhibits -----------------------------------------------------------------------------

EVERY = pytest.mark.parametrize("one", ch08_museum.EXHIBITS, ids=lambda one: one.name)


@EVERY
def test_the_check_fails_on_the_bug_and_passes_on_the_fix(one: ch08_museum.Exhibit) -> None:
    with pytest.raises(AssertionError):
        one.check(one.wrong)
    one.check(one.right)


@EVERY
def test_the_number_is_the_recorded_one_and_tells_them_apart(one: ch08_museum.Exhibit) -> None:
    kept = stored("museum")["numbers"][one.name]
    wrong, right = one.measure(one.wrong), one.measure(one.right)
    assert wrong == pytest.approx(kept["wrong"], rel=0.02, abs=0.02)
    assert right == pytest.approx(kept["right"], rel=0.02, abs=0.02)
    assert abs(wrong - right) > 0.04  # the widget shows two decimals


@EVERY
def test_the_line_shown_is_the_line_that_runs(one: ch08_museum.Exhibit) -> None:
    for line, piece in ((one.wrong_line, one.wrong), (one.right_line, one.right)):
        parts = piece.__mro__[:2] if isinstance(piece, type) else (piece,)
        assert any(bare(line) in bare(inspect.getsource(part)) for part in parts)
    assert bare(one.wrong_line) not in bare(inspect.getsource(one.right))


def bare(code: str) -> str:
    return "".join(code.split())


@EVERY
def test_a_bug_can_be_installed_and_is_gone_afterwards(one: ch08_museum.Exhibit) -> None:
    if not one.where:
        with pytest.raises(ValueError, match="softmax-twice"), ch08_museum.installed(one.name):
            pass
        return
    module, _, name = one.where.partition(".")
    place, find = importlib.import_module(f"acgan_lib.{module}"), attrgetter(name)
    assert find(place) is one.right
    with ch08_museum.installed(one.name):
        assert find(place) is one.wrong
    assert find(place) is one.right


def test_the_numbers_that_the_chapter_states() -> None:
    softmax, nll = ch08_museum.exhibit("softmax-twice"), ch08_museum.exhibit("nll-on-probabilities")
    assert softmax.measure(softmax.wrong) == pytest.approx(math.log(math.e + 9) - 1, abs=1e-5)
    assert nll.measure(nll.wrong) == pytest.approx(0.01 * 0.99, abs=1e-5)  # p (1 - p), not 1 - p
    with pytest.raises(KeyError, match="no-detach"):
        ch08_museum.exhibit("no such thing")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda logits, y: class_loss_of(logits.clamp(max=5), y), "perfect head"),
        (lambda logits, y: len(y) * class_loss_of(logits, y), "knows nothing"),  # a sum, no mean
        (lambda logits, y: class_loss_of(2 * logits, y), "gradient"),
    ],
)
def test_each_number_of_the_class_losss_check_catches_what_the_others_let_pass(
    wrong: exhibits.ClassLoss, message: str
) -> None:
    with pytest.raises(AssertionError, match=message):
        exhibits.check_class_loss(wrong)


def test_a_training_with_a_bug_shows_it() -> None:
    """NLLLoss on probabilities: the class loss is negative from the first step on."""
    for name, low in (("nll-on-probabilities", -2.0), (ch08_museum.FIXED, 1.0)):
        result = ch08_museum.rehearse(name, steps=2)
        loss = result.history.column("d_class_real")[-1]
        assert low < loss < low + 2


@pytest.mark.parametrize(
    ("name", "rate", "told"),
    [("fixed", 1e-3, 0), ("torn-pairs", 1e-3, 10), ("fixed-cgan", 1e-3, 10),
     ("goes-black", 2e-2, 0), ("fixed-fast", 2e-2, 0), ("quiet-noise", 1e-3, 0)],
)  # fmt: skip
def test_bug_and_fix_are_trained_at_one_rate_in_one_game(
    monkeypatch: pytest.MonkeyPatch, name: str, rate: float, told: int
) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(runs.train, "fit", lambda *given, **named: seen.append((given, named)))
    ch08_museum.rehearse(name, steps=1, seed=3)
    [((G, D, data, objective), named)] = seen
    config = named["config"]
    assert (config.lr_g, config.lr_d, config.seed) == (rate, rate, 3)
    assert (D.label_input, D.class_head is None) == (told, told > 0)
    assert objective.name == ("cgan" if told else "acgan[real+fake]")
    kinds = {"goes-black": exhibits.WithoutNorm, "quiet-noise": exhibits.QuietNoise}
    assert type(G) is kinds.get(name, Generator)
    assert len(data) == 10_000


def test_what_a_run_is_measured_by_tells_an_acgan_from_a_cgan() -> None:
    for name, kept in (("fixed", {"d_on_real", "d_on_fake"}), ("fixed-cgan", {"right_label"})):
        found = runs.measure_run(ch08_museum.rehearse(name, steps=1), name, 0)
        pictures = {"judge", "judge_by_class", "judge_shortened", "spread", "black"}
        assert found.keys() == pictures | kept
        assert list(found["judge_shortened"]) == ["0.0", "0.25", "0.5", "1.0"]
        assert found["black"] == 0, "a fresh G draws grey"
        assert 0 < found["spread"] < 0.05


def test_d_knows_the_few_images_that_it_has_learned_from_better_than_new_ones() -> None:
    report = runs.few_images(0, steps=25)
    assert list(report) == ["own fakes", "training images", "test images"]
    assert all(0 <= value <= 1 for value in report.values())


def test_every_training_is_recorded() -> None:
    kept = stored("museum")
    assert set(kept["runs"]) == {*ch08_museum.WITHOUT_BUG.values(), *ch08_museum.TRAINABLE}
    every = [str(seed) for seed in ch08_museum.SEEDS]
    assert sorted(kept["few"]) == every
    for name, run in kept["runs"].items():
        assert sorted(run["seeds"]) == every
        assert run["rows"][-1]["step"] == ch08_museum.STEPS
        grid = ch08_museum.recorded_grid(name)
        assert (grid.shape, grid.dtype) == ((20, 1, 32, 32), torch.uint8)


def test_the_widget_has_every_exhibit_and_is_small() -> None:
    widget = ch08_museum.Museum("last-class")
    assert widget.spec["exhibits"][widget.spec["start"]]["title"] == "randint(0, classes - 1)"
    assert len(widget.spec["exhibits"]) == len(ch08_museum.EXHIBITS)
    assert widget.nbytes < 800_000
    assert repr(widget) == f"Museum(exhibits={len(ch08_museum.EXHIBITS)}, start=last-class)"
    for shown in widget.spec["exhibits"]:
        assert len(shown["grids"][0]) == len(shown["grids"][1]) == len(shown["frames"])


# --- the library ------------------------------------------------------------------------------


@contextmanager
def broken(name: str, old: str, new: str) -> Iterator[ModuleType]:
    """Give a copy of a library module with ``old`` replaced by ``new`` in its source."""
    original = importlib.import_module(f"acgan_lib.{name}")
    source = Path(str(original.__file__)).read_text(encoding="utf-8")
    assert source.count(old) == 1, f"acgan_lib.{name} must have this once: {old!r}"
    copy = ModuleType(f"acgan_lib_broken_{name.replace('.', '_')}")
    copy.__file__ = original.__file__
    sys.modules[copy.__name__] = copy  # dataclasses look their module up
    try:
        exec(compile(source.replace(old, new), str(original.__file__), "exec"), copy.__dict__)
        yield copy
    finally:
        del sys.modules[copy.__name__]


@dataclass(frozen=True)
class Case:
    """A bug: where it goes, the source it replaces, and the check that must notice."""

    module: str
    old: str
    new: str
    check: Callable[[ModuleType], None]


def small_g(nets: ModuleType) -> torch.nn.Module:
    return nets.Generator(latent_dim=8, num_classes=2, width=4)


def pair() -> tuple[Generator, Discriminator]:
    torch.manual_seed(0)
    return Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4)


def paper_heads(paper: ModuleType) -> None:
    checks.heads_are_affine(paper.PaperDiscriminator(16, class_head=3), 2048)


def paper_norms(paper: ModuleType) -> None:
    checks.batch_norms_keep_torchs_defaults(*paper.cifar10_pair())


def norms(nets: ModuleType) -> None:
    checks.batch_norms_keep_torchs_defaults(small_g(nets), nets.Discriminator(width=4))


def statistics(train: ModuleType) -> None:
    """Without averaging, G_ema is G: weights and running statistics."""
    config = train.TrainConfig(batch_size=4, precision="fp32", progress=False, ema=0.0)
    result = train.fit(*pair(), checks.two_classes(), gan(), steps=3, config=config)
    now = result.G.state_dict()
    for name, kept in result.G_ema.state_dict().items():
        assert not kept.is_floating_point() or torch.equal(kept, now[name]), name


def sampling(metrics: ModuleType) -> None:
    """Sample in one batch and one by one: the images must be the same."""
    G, _ = pair()
    with torch.no_grad():
        for _ in range(10):
            G(torch.randn(16, 8), torch.randint(0, 2, (16,)))
    together, alone = (metrics.sample(G, 4, seed=0, batch_size=n)[0] for n in (8, 1))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def drawn_within(moment: Any, G: torch.nn.Module, z: torch.Tensor, y: torch.Tensor) -> Any:
    with moment(G):
        return G(z, y)


PAPER = "experiments.ch17_paper_nets"
CLASS_LOSS = "F.cross_entropy(class_logits.float(), labels)"
FAKE_TERM = 'terms["d_class_fake"] = class_loss(on_fake.class_logits, fake.labels)'


def piece(name: str, check: Callable[[Any], None]) -> Callable[[ModuleType], None]:
    """A check of one name of a module."""
    return lambda module: check(attrgetter(name)(module))


class_loss = piece("class_loss", exhibits.check_class_loss)
HEAD = "class_logits = self.class_head(h) if"
DOWN = "nn.BatchNorm2d(c_out) if norm"

CASES = {
    "softmax-twice: in the loss": Case(
        "losses", CLASS_LOSS, "F.cross_entropy(class_logits.float().softmax(1), labels)", class_loss
    ),
    "softmax-twice: in D": Case(
        "nets", HEAD, "class_logits = self.class_head(h).softmax(1) if",
        piece("Discriminator", exhibits.check_class_head),
    ),
    "nll-on-probabilities": Case(
        "losses", CLASS_LOSS, "F.nll_loss(class_logits.float().softmax(1), labels)", class_loss
    ),
    "eps-for-momentum: in G": Case(
        "nets", "nn.PixelShuffle(2),\n        nn.BatchNorm2d(c_out)",
        "nn.PixelShuffle(2),\n        nn.BatchNorm2d(c_out, 0.8)",
        piece("upsample", exhibits.check_norm),
    ),
    "eps-for-momentum: in D": Case("nets", DOWN, "nn.BatchNorm2d(c_out, 0.8) if norm", norms),
    "eps-for-momentum: in the paper's D": Case(
        PAPER, "[nn.BatchNorm2d(c_out)] if i", "[nn.BatchNorm2d(c_out, 0.8)] if i", paper_norms
    ),
    "leaky-logits: in D": Case(
        "nets", HEAD, "class_logits = F.leaky_relu(self.class_head(h), 0.2) if",
        piece("Discriminator", exhibits.check_class_head),
    ),
    "leaky-logits: in the paper's D": Case(
        PAPER, "logits = self.heads(self.trunk(x))",
        "logits = F.leaky_relu(self.heads(self.trunk(x)), 0.2)", paper_heads,
    ),
    "label-times-noise": Case(
        "nets", "torch.cat([z, weights], dim=1)",
        "torch.cat([z * (1 + weights @ torch.linspace(0, 1, weights.shape[1])[:, None]), "
        "0 * weights], dim=1)",
        piece("Generator", exhibits.check_zero_latent),
    ),
    "last-class": Case(
        "train", "torch.randint(0, max(G.num_classes, 1), (n,)",
        "torch.randint(0, max(G.num_classes - 1, 1), (n,)",
        piece("draw_latents", exhibits.check_labels),
    ),
    "new-labels: those of the real images": Case(
        "objectives", FAKE_TERM, FAKE_TERM.replace("fake.labels", "real.labels.roll(1)"),
        piece("acgan", exhibits.check_labels_travel_together),
    ),
    "zero-to-one": Case(
        "data", "div_(127.5).sub_(1)", "div_(255)",
        piece("LabelledImages.normalised", exhibits.check_range),
    ),
    "no-detach": Case(
        "train", "fake._replace(images=fake.images.detach())", "fake",
        lambda train: checks.d_step_leaves_g_alone(train, *pair()),
    ),
    "train-mode: samples while training": Case(
        "train", "copy.deepcopy(G).eval()", "copy.deepcopy(G).train()",
        lambda train: checks.training_draws_in_eval_mode(train, *pair()),
    ),
    "train-mode: the G that training returns": Case(
        "train", "return Result(G.eval(),", "return Result(G.train(),",
        lambda train: checks.training_draws_in_eval_mode(train, *pair()),
    ),
    "train-mode: samples to measure": Case(
        "metrics.sampling", "with evaluating(G) as device:",
        "with torch.no_grad():\n        device = next(G.train().parameters()).device", sampling,
    ),
    "train-mode: samples to show": Case(
        "latent", "with evaluating(G):\n        images = G(z",
        "with torch.no_grad():\n        images = G.train()(z",
        piece("generate", exhibits.check_sampling),
    ),
    "train-mode: a moment in eval mode": Case(
        "runtime", "module.eval()", "module.train()",
        lambda runtime: exhibits.check_sampling(partial(drawn_within, runtime.evaluating)),
    ),
    "average-of-parameters": Case(
        "train", "self.G_ema.state_dict(), self.G.state_dict()",
        "dict(self.G_ema.named_parameters()), dict(self.G.named_parameters())", statistics,
    ),
    "goes-black": Case(
        "nets", "nn.PixelShuffle(2),\n        nn.BatchNorm2d(c_out)",
        "nn.PixelShuffle(2),\n        nn.Identity()", piece("Generator", exhibits.check_growth),
    ),
    "quiet-noise": Case(
        "nets", "torch.cat([z, weights], dim=1)", "torch.cat([0.02 * z, weights], dim=1)",
        piece("Generator", exhibits.check_spread),
    ),
    "torn-pairs": Case(
        "data", "self.labels.index_select(0, index)", "self.labels.index_select(0, index.flip(0))",
        piece("LabelledImages.batch", exhibits.check_pairs),
    ),
    "one-accuracy: one class loss": Case(
        "objectives", FAKE_TERM,
        'terms["d_class_real"] = (terms["d_class_real"] + '
        "class_loss(on_fake.class_logits, fake.labels)) / 2",
        lambda objectives: checks.real_and_fake_are_apart(objectives.acgan()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("bug", CASES)
def test_the_check_passes_on_the_library_and_fails_on_the_bug(bug: str) -> None:
    case = CASES[bug]
    torch.manual_seed(0)
    case.check(importlib.import_module(f"acgan_lib.{case.module}"))
    torch.manual_seed(0)
    with broken(case.module, case.old, case.new) as copy, pytest.raises(AssertionError):
        case.check(copy)


def test_every_bug_that_the_library_could_have_has_a_case() -> None:
    # The library ranks nothing, its grader is the judge, and it reports no accuracy of D.
    nowhere = {"best-by-d", "graded-by-d", "seen-only"}
    tried = {bug.partition(":")[0] for bug in CASES}
    assert tried == {one.name for one in ch08_museum.EXHIBITS} - nowhere


# --- the recording ----------------------------------------------------------------------------


def test_a_seed_is_recorded_beside_the_others_and_only_the_first_has_pictures(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[tuple[str, int]] = []

    def rehearse(name: str, *, seed: int, callbacks: Any) -> Any:
        trained.append((name, seed))
        for watch in callbacks:
            watch.frames = [(s, torch.full((20, 1, 32, 32), s % 256).byte()) for s in runs.FRAMES]
        return SimpleNamespace(history=SimpleNamespace(rows=[{"step": 300, "g_class": 1.23456}]))

    grid = torch.zeros(20, 1, 32, 32, dtype=torch.uint8)
    after = {"best-by-d": {"wrong": 0.9, "right": 0.5}}
    monkeypatch.setattr(runs, "rehearse", rehearse)
    monkeypatch.setattr(runs, "measure_run", lambda result, name, seed: {"judge": seed})
    monkeypatch.setattr(runs, "after_the_fact", lambda result: ({"best-by-d": grid}, after))
    monkeypatch.setattr(runs, "two_batches", lambda: {"train-mode": grid})
    monkeypatch.setattr(runs, "few_images", lambda seed: {"test images": seed})
    for seed in (1, 0, 1):
        ch08_museum.museum(seed)
    kept = stored("museum")
    names = (*ch08_museum.WITHOUT_BUG.values(), *ch08_museum.TRAINABLE)
    assert trained == [(name, seed) for seed in (1, 0) for name in names], "none is repeated"
    assert list(kept) == ["steps", "runs", "few", "after", "numbers"]
    assert kept["few"] == {"0": {"test images": 0}, "1": {"test images": 1}}
    for name in names:
        assert kept["runs"][name]["seeds"] == {"0": {"judge": 0}, "1": {"judge": 1}}
        assert kept["runs"][name]["rows"] == [{"step": 300, "g_class": 1.2346}]
        assert ch08_museum.recorded_grid(name, 0).unique().tolist() == [75]
    assert kept["after"] == after, "a later seed does not take it away"
    assert set(kept["numbers"]) == {one.name for one in ch08_museum.EXHIBITS}
    assert ch08_museum.recorded_grid("train-mode").shape == (20, 1, 32, 32)
