"""Three ways to normalise D: what each has and lacks, and that nothing else differs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, images
from torch import nn
from torch.nn.utils.parametrize import is_parametrized

from acgan_lib.experiments import ch04_norms, ch06_fashion, stored
from acgan_lib.nets import Discriminator
from acgan_lib.runtime import seed_everything


def made(kind: Any, class_head: int = 10) -> Discriminator:
    """A D of that kind; seed 3, width 4."""
    seed_everything(3)
    return ch04_norms.norms_d(kind, class_head, width=4)


def counts(D: nn.Module) -> tuple[int, int]:
    """How many layers have BatchNorm, and spectral norm."""
    modules = list(D.modules())
    batch = sum(isinstance(m, nn.BatchNorm2d) for m in modules)
    return batch, sum(is_parametrized(m) for m in modules)


@pytest.mark.parametrize(("kind", "batch", "spectral"), [("both", 2, 5), ("spectral", 0, 5),
                                                         ("batch", 2, 0)])  # fmt: skip
def test_each_kind_has_the_norms_of_its_name(kind: str, batch: int, spectral: int) -> None:
    D = made(kind)
    assert counts(D) == (batch, spectral)
    out = D(torch.randn(6, 1, 32, 32))
    assert out.source_logit.shape == (6,)
    assert out.class_logits is not None
    assert out.class_logits.shape == (6, 10)
    (out.source_logit.sum() + out.class_logits.sum()).backward()
    assert all(p.grad is not None for p in D.parameters())


def test_the_stored_weights_are_the_same() -> None:
    def weights(D: nn.Module) -> list[torch.Tensor]:
        stored = {k.replace("parametrizations.weight.original", "weight"): v
                  for k, v in D.named_parameters()}  # fmt: skip
        return [v for k, v in sorted(stored.items()) if k.endswith("weight") and v.ndim > 1]

    both, *others = (weights(made(kind)) for kind in ch04_norms.NORMS)
    assert len(both) == 5
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(both, other, strict=True))


def test_both_is_the_books_d_and_each_other_one_gives_what_it_should_by_hand() -> None:
    x = torch.randn(6, 1, 32, 32)
    seed_everything(3)
    book = Discriminator(class_head=10, width=4).eval()
    assert torch.equal(made("both").eval()(x).source_logit, book(x).source_logit)
    h = x
    for layer in [book.trunk[i][0] for i in range(3)]:  # type: ignore[index]
        bias = torch.zeros(len(layer.weight))
        h = nn.functional.conv2d(h, layer.weight, bias, stride=2, padding=1)
        h = nn.functional.leaky_relu(h, 0.2)
    expected = nn.functional.linear(h.flatten(1), book.source_head.weight).squeeze(1)  # type: ignore[arg-type]
    found = made("spectral").eval()(x).source_logit
    assert torch.allclose(found, expected, atol=1e-5)
    assert found.std() > 1e-3


def test_networks_fit_their_objective_and_the_same_g_starts_every_training() -> None:
    def start(model: str, norm: Any) -> tuple[Any, ...]:
        seed_everything(1)
        return ch04_norms.networks(model, norm)

    first = start("acgan", "both")[0].state_dict()
    for norm in ch04_norms.NORMS:
        G, D, objective = start("acgan", norm)
        assert all(torch.equal(v, first[k]) for k, v in G.state_dict().items())
        assert (objective.name, D.class_head.out_features) == ("acgan[real+fake]", 10)
        G, D, objective = start("dcgan", norm)
        assert (objective.name, D.class_head, G.num_classes) == ("gan", None, 0)
    with pytest.raises(ValueError, match="kind must be one of both, spectral, batch, got 'none'"):
        ch04_norms.networks("dcgan", "none")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="model must be one of dcgan, acgan, got 'gan'"):
        ch04_norms.networks("gan", "both")


def test_a_row_for_each_model_and_norm_and_none_is_trained_twice(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trained: list[Any] = []

    def fit(G: Any, D: Any, data: Any, objective: Any, *, steps: int, config: Any) -> Any:
        trained.append((objective.name, counts(D), steps, config.seed))
        return type("Result", (), {"G_ema": Painter(G.num_classes)})

    monkeypatch.setattr(ch04_norms, "fit", fit)
    monkeypatch.setattr(ch04_norms, "fashion_mnist", lambda *_: images(10, 4))
    monkeypatch.setattr(ch04_norms, "measure", lambda *_: {"frechet_judge_distance": 1.5})
    ch04_norms.norms_fashion(2, steps=5)
    assert not (results / "norms.json").exists()
    trained.clear()
    ch04_norms.norms_fashion(2, norms=("batch",))
    ch04_norms.norms_fashion(2)
    assert trained == [
        ("gan", (2, 0), 6_000, 2), ("acgan[real+fake]", (2, 0), 6_000, 2),
        ("gan", (2, 4), 6_000, 2), ("gan", (0, 4), 6_000, 2),
        ("acgan[real+fake]", (2, 5), 6_000, 2), ("acgan[real+fake]", (0, 5), 6_000, 2),
    ]  # fmt: skip
    rows = stored("norms")
    assert len(rows) == 6
    assert rows[0] == {
        "model": "acgan", "norm": "batch", "seed": 2, "steps": 6_000, "images": 300_000,
        "rate": 7e-4, "data": "noise 0", "frechet_judge_distance": 1.5,
    }  # fmt: skip


def test_a_plain_gan_is_measured_by_the_likeness_of_any_two_images(monkeypatch) -> None:
    monkeypatch.setattr(ch06_fashion, "measure", lambda *_, **__: {"frechet_judge_distance": 1.5})
    assert ch04_norms.measure(Painter(10), 0) == {"frechet_judge_distance": 1.5}
    found = ch04_norms.measure(Painter(0), 0)["ms_ssim_any"]
    assert found.n == 1_000
    assert 0 < found.low < found.value < found.high < 1
