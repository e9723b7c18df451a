"""Chapter 18's trainings: classes, networks, what is measured and what is recorded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, images
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.avatars import KINDS, LEVELS, PALETTES, avatars
from acgan_lib.experiments import ch18_mends, stored
from acgan_lib.experiments.__main__ import runs

GREY = images(10, 8, seed=1)


def test_eighty_classes_are_kind_after_kind_with_eight_hair_colours() -> None:
    faces = avatars("test", 32)
    classes = ch18_mends.kinds_and_hair(faces)
    assert classes.num_classes == 80
    assert torch.equal(classes.labels // 8, faces.labels)
    assert torch.equal(classes.labels % 8, faces.factor("hair"))
    assert classes.class_names[9] == f"{KINDS[1]}, {[*PALETTES['hair']][1]} hair"


@pytest.mark.parametrize("name", ch18_mends.OBJECTIVES)
def test_networks_of_a_seed_differ_in_ds_heads_alone(name: str) -> None:
    G, D = ch18_mends.networks(GREY, ch18_mends.OBJECTIVES[name], 3)
    G_other, D_other = ch18_mends.networks(GREY, ch18_mends.OBJECTIVES["acgan"], 3)
    assert all(torch.equal(a, b) for a, b in zip(G.parameters(), G_other.parameters(), strict=True))
    if not D.label_input:
        pairs = zip(D.trunk.parameters(), D_other.trunk.parameters(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_colour_takes_chapter_10s_networks_and_settings() -> None:
    faces = avatars("test", 32)
    G, D = ch18_mends.networks(faces, ch18_mends.OBJECTIVES["adc"], 0)
    assert (G.channels, G.width, D.batch_norm, D.class_head.out_features) == (3, 48, False, 20)
    assert ch18_mends.config(faces, 1).batch_size == 64
    assert ch18_mends.config(GREY, 1).batch_size == 100


def test_reading_of_the_80_classes_counts_what_is_right(monkeypatch) -> None:
    """Judges that are told the truth, by a mark in the picture: kind, hair, ground, skin."""
    kind, hair = torch.arange(80) // 8, torch.arange(80) % 8
    x = torch.zeros(160, 3, 32, 32)
    y = torch.arange(80).repeat(2)
    x[:, 0, 0, 0], x[:, 0, 0, 1] = kind.repeat(2).float(), hair.repeat(2).float()
    x[80:, 0, 0, 2] = 1.0  # another ground
    x[:8, 0, 0, 0] = 5.0  # the first eight have another kind
    x[8:12, 0, 0, 1] = (hair[8:12] + 1).float() % 8  # four have other hair

    class Kind(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = torch.nn.Parameter(torch.zeros(1))

        def forward(self, part: Tensor) -> Tensor:
            return torch.nn.functional.one_hot(part[:, 0, 0, 0].long(), 10).float()

    def read(judge: Any, part: Tensor) -> Tensor:
        marks = part[:, 0, 0, :].long()
        return torch.stack([marks[:, 2], marks[:, 3], marks[:, 1], marks[:, 3]], dim=1)

    nothing = metrics.Estimate(0.0, 0.0, 0.0, 1)
    monkeypatch.setattr(ch18_mends, "the_judge", lambda name: Kind())
    monkeypatch.setattr(ch18_mends.ch10_avatars, "read_factors", read)
    monkeypatch.setattr(metrics, "frechet_judge_distance", lambda *_, **__: nothing)
    monkeypatch.setattr(metrics, "ms_ssim_diversity", lambda *_, **__: [nothing])
    found = ch18_mends.read_80(x, y)
    assert found["kind"] == metrics.proportion(152, 160)
    assert found["hair"] == metrics.proportion(156, 160)
    assert found["both"] == metrics.proportion(148, 160)
    assert found["both_by_class"][:13] == [0.5] * 12 + [1.0]
    assert found["combinations_met"] == 148
    assert LEVELS["ground"] * LEVELS["skin"] * 80 == 1_920


def test_a_whole_training_is_recorded_and_a_short_one_is_not(results: Path, monkeypatch) -> None:
    monkeypatch.setattr(ch18_mends, "pictures", lambda group, root: GREY)
    monkeypatch.setattr(ch18_mends, "measure", lambda G, group, seed, root: {"cas": 0.5})
    ch18_mends.mend("fashion", "adc", 2, steps=1)
    assert not (results / "mends.json").exists()
    result = type("Result", (), {"G_ema": Painter(10)})
    monkeypatch.setattr(ch18_mends._common, "train", lambda *_, **__: result)
    ch18_mends.mend("fashion", "adc", 2)
    (row,) = stored("mends")
    assert row == {
        "group": "fashion", "model": "adc", "seed": 2, "steps": 6_000, "images": 600_000,
        "device": "cpu", "cas": 0.5,
    }  # fmt: skip


def test_early_gradients_are_of_the_class_head(results: Path, capsys) -> None:
    ch18_mends.head_gradients(0, steps=2)
    assert not (results / "head_gradients.json").exists()
    assert capsys.readouterr().out.count("\n") == 4  # two models, and what is not recorded


def test_commands_have_names_that_a_shell_takes() -> None:
    names = set(ch18_mends.RUNS)
    assert {"mend_fashion_adc", "mend_fashion_acgan_n1", "mend_kinds_hair_tac"} <= names
    assert names <= set(runs())
    assert all(name.replace("_", "").isalnum() for name in names)
