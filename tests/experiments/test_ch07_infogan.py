"""InfoGAN: what its codes are compared with, and what ships."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Head, Painter, Reader, images

from acgan_lib import metrics
from acgan_lib.experiments import _common, ch07_infogan, stored
from acgan_lib.nets import Discriminator, Generator

TRAIN, TEST = images(10, 20, seed=1), images(10, 6, lying=2, seed=2)


@pytest.fixture(autouse=True)
def little(results: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, Any]) -> None:
    """A little data, the judge that reads corners, and few samples."""
    shipped["judge_fashion"] = (Reader(10), {})
    sets = {"train": TRAIN, "test": TEST}
    monkeypatch.setattr(ch07_infogan, "fashion_mnist", lambda split, root: sets[split])
    monkeypatch.setattr(_common, "pick_device", lambda: torch.device("cpu"))
    few = lambda G, n, seed: metrics.sampling.sample(G, 6, seed=seed)  # noqa: E731
    monkeypatch.setattr(metrics, "sample", few)


def test_the_judge_names_generated_images_and_d_the_codes_of_test_images() -> None:
    """G shows class k + 3 for code k: another name, the same information. D reads the corner."""
    found = ch07_infogan.codes_found(Painter(10, off=3), Head(10, 10), 0, None)
    assert found["generated_match"].value == 1
    assert found["generated_information"] == pytest.approx(torch.tensor(10.0).log().item())
    assert found["code_read"].value == 0, "the code that D reads is compared under its own number"
    assert found["real_match"] == metrics.proportion(40, 60)
    assert found["real_information"] < found["generated_information"] - 0.3
    shifted = ch07_infogan.codes_found(Painter(10), Head(10, 10, off=7), 0, None)
    assert shifted["real_match"] == found["real_match"]
    assert ch07_infogan.codes_found(Painter(10), Head(10, 10), 0, None)["code_read"].value == 1


def test_g_and_d_of_seed_0_ship_and_each_seed_is_recorded(shipped, monkeypatch) -> None:
    ch07_infogan.infogan_fashion(0, None, steps=1)
    assert list(shipped) == ["judge_fashion"], "a run to try it out replaces nothing that ships"
    monkeypatch.setattr(ch07_infogan, "STEPS", 2)
    for seed in (1, 0):
        Path("runs", f"infogan_fashion-{seed}", "last.pt").unlink(missing_ok=True)
        ch07_infogan.infogan_fashion(seed, None, steps=2)
        assert ("infogan_fashion" in shipped) == (seed == 0)
    rows = stored("infogan")
    assert [(row["model"], row["seed"], row["steps"]) for row in rows] == [
        ("infogan", 0, 2), ("infogan", 1, 2),
    ]  # fmt: skip
    assert (rows[0]["real_match"].n, rows[0]["generated_match"].n) == (60, 60)
    G, _ = shipped["infogan_fashion"]
    assert (G.latent_dim, G.num_classes) == (64, 10)
    assert not G.training
    for name, kind in (("infogan_fashion", Generator), ("infogan_fashion_d", Discriminator)):
        network, facts = shipped[name]
        kind(**facts["kwargs"]).load_state_dict(network.state_dict())  # as zoo.load will build it
        assert facts["command"] == "make train-infogan_fashion"
        assert facts["metrics"] == {k: rows[0][k] for k in facts["metrics"]}
