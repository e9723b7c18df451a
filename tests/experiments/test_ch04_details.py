"""Joint batches and ICNR: each detail changes what its name says, and the measures see it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from standins import Reader, images
from torch import Tensor, nn

from acgan_lib.experiments import ch04_details, stored
from acgan_lib.nets import DiscriminatorOutput, Generator
from acgan_lib.objectives import Batch, gan
from acgan_lib.runtime import seed_everything

REAL = Batch(torch.randn(4, 1, 32, 32), torch.zeros(4, dtype=torch.int64))
FAKE = Batch(torch.randn(4, 1, 32, 32) + 1, torch.zeros(4, dtype=torch.int64))


class Mean(nn.Module):
    """A D of one number an image, its mean; with `norm`, minus the batch's."""

    def __init__(self, norm: bool) -> None:
        super().__init__()
        self.norm = norm
        self.seen: list[int] = []

    def forward(self, x: Tensor) -> DiscriminatorOutput:
        """Return that number as the logit."""
        self.seen.append(len(x))
        logit = -x.mean((1, 2, 3))
        return DiscriminatorOutput(logit - logit.mean() if self.norm else logit, None)


@pytest.mark.parametrize("in_g", [False, True])
def test_a_joint_batch_matters_to_a_d_that_looks_at_the_batch_alone(in_g: bool) -> None:
    joint, usual = ch04_details.joint_gan(in_g=in_g), gan()
    for norm in (False, True):
        D = Mean(norm)
        found = {**joint.d_loss(D, REAL, FAKE), **joint.g_loss(D, FAKE)}
        assert [*D.seen] == [8, 8 if in_g else 4]
        expected = {**usual.d_loss(D, REAL, FAKE), **usual.g_loss(D, FAKE)}
        same = {k: torch.allclose(found[k], expected[k], atol=1e-6) for k in expected}
        assert found.keys() == expected.keys()
        assert same["d_source_fake"] is not norm
        assert same["g_source"] is not (norm and in_g)


def test_icnr_starts_each_block_as_an_enlargement_by_copies() -> None:
    seed_everything(0)
    G = Generator(num_classes=0, width=4)
    ch04_details.icnr_(G)
    for block in G.blocks:
        conv = block[0]  # type: ignore[index]
        h = torch.randn(2, conv.in_channels, 6, 6)
        small = F.conv2d(h, conv.weight[::4], padding=1)
        assert torch.allclose(block[1](conv(h)), F.interpolate(small, scale_factor=2), atol=1e-6)
        assert conv.weight[0].std() > 0
        assert not torch.equal(conv.weight[0], conv.weight[4])


def test_the_weave_of_known_patterns() -> None:
    sign = 1.0 - 2.0 * (torch.arange(8) % 2)
    columns = sign.expand(8, 8)
    x = torch.stack([0.5 * columns * columns.T, 0.5 * columns * columns.T, 0 * columns])[:, None]
    found = ch04_details.weave(x)
    assert found["board"] == pytest.approx(0.5 * (2 / 3) ** 0.5)
    assert found["columns"] == found["rows"] == 0
    assert ch04_details.weave(columns[None, None])["columns"] == 1
    assert ch04_details.weave(columns.T[None, None])["rows"] == 1


def test_details_are_trained_as_named_and_recorded(
    results: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, Any]
) -> None:
    shipped["judge_fashion"] = (Reader(10), {})
    monkeypatch.setattr(ch04_details, "fashion_mini", lambda _: images(10, 8))
    monkeypatch.setattr(ch04_details, "pick_device", lambda: torch.device("cpu"))
    for name, value in {"STEPS": 2, "WIDTH": 4, "BATCH_SIZE": 4, "SAMPLES": 20}.items():
        monkeypatch.setattr(ch04_details, name, value)
    monkeypatch.setattr(ch04_details, "LOOKS", (1, 2))
    ch04_details.details(3, steps=1)
    assert not (results / "dcgan_details.json").exists()
    ch04_details.details(3, steps=2)
    rows = {row["model"]: row for row in stored("dcgan_details")}
    assert rows.keys() == ch04_details.DETAILS.keys()
    assert all(list(row["weave"]) == ["0", "1", "2"] for row in rows.values())
    assert rows["ICNR"]["weave"]["0"]["board"] < rows["separate"]["weave"]["0"]["board"]
    same, other = (rows[f"no BatchNorm, {batches}"]["terms"] for batches in ("separate", "joint"))
    assert same["d_source_fake"] == pytest.approx(other["d_source_fake"], abs=0.02)
    monkeypatch.setattr(ch04_details, "train_one", lambda *_: pytest.fail("trained again"))
    ch04_details.details(3, steps=2)
