"""The flows and their students: what is trained, drawn and recorded, on a little data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Reader, images
from torch import Tensor, nn

from acgan_lib import metrics
from acgan_lib.experiments import ch06_dose, ch22_distil, ch22_flow, stored
from acgan_lib.families.diffusion import Flow, Sampler

pytestmark = pytest.mark.usefixtures("one_thread")
TRAIN, TEST = images(10, 20, seed=1), images(10, 6, seed=2)


@pytest.fixture(autouse=True)
def little(results: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, Any]) -> None:
    """A little data, a narrow network, the judge that reads corners, and the CPU."""
    shipped["judge_fashion"] = (Reader(10), {})
    for module in (ch22_flow, ch22_distil):
        monkeypatch.setattr(
            module, "fashion_mnist", lambda split, root: {"train": TRAIN, "test": TEST}[split]
        )
        monkeypatch.setattr(module, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ch06_dose, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ch06_dose, "SAMPLES", 3)
    monkeypatch.setattr(ch22_flow, "WIDTH", 8)
    monkeypatch.setattr(ch22_flow, "BATCH", 4)
    monkeypatch.setattr(ch22_distil, "BATCH", 4)
    monkeypatch.setattr(metrics, "cas", lambda *_, **__: metrics.Estimate(0.5, 0.4, 0.6, 60))


def test_a_whole_training_ships_seed_0_and_records_every_guidance(monkeypatch, shipped) -> None:
    monkeypatch.setattr(ch22_flow, "STEPS", 2)
    for seed in (0, 1):
        ch22_flow.flow_fashion(seed, steps=2)
    rows = stored("flow")
    found = {(r["seed"], r["guidance"]) for r in rows}
    assert found == {(s, w) for s in (0, 1) for w in ch22_flow.GUIDANCE}
    assert {(r["model"], r["steps"], r["solver_steps"]) for r in rows} == {("flow", 2, 5)}
    flow, facts = shipped["flow_fashion"]
    assert isinstance(flow, Flow)
    assert (facts["seed"], facts["images_seen"], facts["half"]) == (0, 8, True)
    [row] = [r for r in rows if (r["seed"], r["guidance"]) == (0, 3.0)]
    x, y = metrics.sample(Sampler(flow, 3.0, 5), 3, seed=0)
    assert row["judge_accuracy"] == metrics.judge_accuracy(Reader(10), x, y)


def test_a_try_records_nothing(results: Path, shipped) -> None:
    ch22_flow.flow_fashion(0, steps=1)
    ch22_flow.flow_fashion_short(0, steps=1)
    ch22_distil_before = set(shipped)
    assert not list(results.glob("*.json"))
    assert ch22_distil_before == {"judge_fashion"}


def teacher() -> Flow:
    torch.manual_seed(0)
    made = Flow(width=8)
    for p in made.parameters():
        nn.init.normal_(p, std=0.1)
    return made.eval().requires_grad_(False)


def test_the_pairs_are_what_the_teacher_makes_of_the_noise() -> None:
    taught = ch22_distil.pairs(teacher(), 20, seed=3)
    assert taught.y.bincount().tolist() == [2] * 10
    with torch.no_grad():
        again = Sampler(teacher(), ch22_distil.TEACHER_W, 5)(taught.z, taught.y)
    torch.testing.assert_close(again, taught.x)


def test_a_student_learns_where_the_teacher_lands(monkeypatch) -> None:
    monkeypatch.setattr(ch22_distil, "RATE", 3e-3)
    made = teacher()
    taught = ch22_distil.pairs(made, 20, seed=3)
    z = taught.z.view(-1, 1, 32, 32)
    with torch.no_grad():  # one step by hand
        weights = torch.nn.functional.one_hot(taught.y, 10).float()
        by_hand = (z + made(z, torch.zeros(20), weights)).clamp(-1, 1)
        torch.testing.assert_close(ch22_distil.one_step(made)(taught.z, taught.y), by_hand)

    greys = (taught.y % 2 - 0.5).view(-1, 1, 1, 1).expand(20, 1, 32, 32)
    taught = taught._replace(x=greys.contiguous())  # what can be learned in a moment

    def miss(flow: Flow) -> float:
        with torch.no_grad():
            return float(
                (ch22_distil.one_step(flow)(taught.z, taught.y) - taught.x).square().mean()
            )

    before = {k: v.clone() for k, v in made.state_dict().items()}
    student = ch22_distil.distil(made, taught, TRAIN, 0.02, seed=0, steps=500)
    assert miss(student) < 0.6 * miss(made)
    assert all(torch.equal(v, before[k]) for k, v in made.state_dict().items())


def test_the_gan_loss_is_the_only_difference(monkeypatch) -> None:
    """Both students see the same pairs; D is asked with the class that the student drew."""
    told: list[Tensor] = []
    plain = ch22_distil.Discriminator.forward

    def forward(self: Any, x: Tensor, y: Tensor) -> Any:
        told.append(y)
        return plain(self, x, y)

    monkeypatch.setattr(ch22_distil.Discriminator, "forward", forward)
    made = teacher()
    taught = ch22_distil.pairs(made, 20, seed=3)
    without = ch22_distil.distil(made, taught, TRAIN, 0.0, seed=0, steps=1)
    assert not told
    with_gan = ch22_distil.distil(made, taught, TRAIN, 1e-9, seed=0, steps=1)
    assert len(told) == 3
    assert torch.equal(told[1], told[2])
    for a, b in zip(without.parameters(), with_gan.parameters(), strict=True):
        torch.testing.assert_close(a, b, atol=1e-5, rtol=0)


def test_students_are_recorded_and_shipped(monkeypatch, shipped) -> None:
    shipped["flow_fashion"] = (teacher(), {})
    monkeypatch.setattr(ch22_distil, "PAIRS", 20)
    monkeypatch.setattr(ch22_distil, "STEPS", 2)
    ch22_distil.students(0, steps=2)
    assert [(r["model"], r["seed"]) for r in stored("flow_students")] == [
        ("student", 0),
        ("student with a GAN loss", 0),
    ]
    assert {"flow_student", "flow_student_plain"} <= set(shipped)
    assert shipped["flow_student"][1]["recipe"]["gan_weight"] == ch22_distil.GAN_WEIGHT
    assert shipped["flow_student_plain"][1]["command"] == "make train-flow_student"
