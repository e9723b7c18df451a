"""The museum of bugs: each bug of popular code is put into a copy of the library, and is caught.

A case changes one piece of the library's source as someone might, loads the changed copy, and
runs the check that the ordinary tests run. The check must pass on the library and fail on the
copy. A case whose piece of source is gone fails, so that the museum keeps up with the library.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import checks
import pytest
import torch

from acgan_lib.nets import Discriminator, Generator


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


def heads(nets: ModuleType) -> None:
    checks.heads_are_affine(nets.Discriminator(width=4, class_head=3), 256)


def paper_heads(nets: ModuleType) -> None:
    checks.heads_are_affine(nets.PaperDiscriminator(16, class_head=3), 2048)


def norms(nets: ModuleType) -> None:
    checks.batch_norms_keep_torchs_defaults(
        small_g(nets), nets.Discriminator(width=4), *nets.cifar10_pair()
    )


def sampling(metrics: ModuleType) -> None:
    """Sample in one batch and one by one: the images must be the same."""
    G, _ = pair()
    with torch.no_grad():
        for _ in range(10):
            G(torch.randn(16, 8), torch.randint(0, 2, (16,)))
    together, alone = (metrics.sample(G, 4, seed=0, batch_size=n)[0] for n in (8, 1))
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


CLASS_LOSS = "F.cross_entropy(class_logits.float(), labels)"
FAKE_TERM = 'terms["d_class_fake"] = class_loss(on_fake.class_logits, fake.labels)'

CASES = {
    "1 softmax before the class loss": Case(
        "losses", CLASS_LOSS, "F.cross_entropy(class_logits.float().softmax(1), labels)",
        lambda losses: checks.class_loss_is_cross_entropy(losses.class_loss),
    ),
    "1 softmax inside D": Case(
        "nets", "class_logits = self.class_head(h) if",
        "class_logits = self.class_head(h).softmax(1) if", heads,
    ),
    "2 NLL on probabilities": Case(
        "losses", CLASS_LOSS, "F.nll_loss(class_logits.float().softmax(1), labels)",
        lambda losses: checks.class_loss_is_cross_entropy(losses.class_loss),
    ),
    "3 BatchNorm2d(n, 0.8) in G": Case(
        "nets", "nn.PixelShuffle(2),\n        nn.BatchNorm2d(c_out)",
        "nn.PixelShuffle(2),\n        nn.BatchNorm2d(c_out, 0.8)", norms,
    ),
    "3 BatchNorm2d(n, 0.8) in D": Case(
        "nets", "nn.BatchNorm2d(c_out) if norm", "nn.BatchNorm2d(c_out, 0.8) if norm", norms
    ),
    "3 BatchNorm2d(n, 0.8) in the paper's D": Case(
        "nets", "[nn.BatchNorm2d(c_out)] if i", "[nn.BatchNorm2d(c_out, 0.8)] if i", norms
    ),
    "4 LeakyReLU on the class logits": Case(
        "nets", "class_logits = self.class_head(h) if",
        "class_logits = F.leaky_relu(self.class_head(h), 0.2) if", heads,
    ),
    "4 LeakyReLU on the paper's logits": Case(
        "nets", "logits = self.heads(self.trunk(x))",
        "logits = F.leaky_relu(self.heads(self.trunk(x)), 0.2)", paper_heads,
    ),
    "5 label times noise": Case(
        "nets", "torch.cat([z, weights], dim=1)",
        "torch.cat([z * (1 + weights @ torch.linspace(0, 1, weights.shape[1])[:, None]), "
        "0 * weights], dim=1)",
        lambda nets: checks.class_survives_zero_latent(small_g(nets)),
    ),
    "6 randint that never draws the last class": Case(
        "train", "torch.randint(0, max(G.num_classes, 1), (n,)",
        "torch.randint(0, max(G.num_classes - 1, 1), (n,)",
        lambda train: checks.labels_are_uniform(train.draw_latents),
    ),
    "7 no detach in D's step": Case(
        "train", "Batch(fake.images.detach(), y_fake)", "Batch(fake.images, y_fake)",
        lambda train: checks.d_step_leaves_g_alone(train, *pair()),
    ),
    "8 training shows samples in train mode": Case(
        "train", "copy.deepcopy(G).eval()", "copy.deepcopy(G).train()",
        lambda train: checks.training_draws_in_eval_mode(train, *pair()),
    ),
    "8 training returns G in train mode": Case(
        "train", "return Result(G.eval(),", "return Result(G.train(),",
        lambda train: checks.training_draws_in_eval_mode(train, *pair()),
    ),
    "8 metrics sample in train mode": Case(
        "metrics.sampling", "module.eval()", "module.train()", sampling
    ),
    "9 class loss on fakes averaged into that on real": Case(
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


def test_every_bug_of_the_museum_has_a_case() -> None:
    assert {bug[0] for bug in CASES} == set("123456789")
