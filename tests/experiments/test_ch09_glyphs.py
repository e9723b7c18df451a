"""The glyph recipes: which letters are measured, by which judge, and what is shipped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from standins import Painter, Reader, images
from torch import Tensor

from acgan_lib import metrics
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import _common, ch09_glyphs, stored
from acgan_lib.experiments.ch13_style import STYLE
from acgan_lib.glyphs import LETTERS
from acgan_lib.judge import Judge
from acgan_lib.nets import Discriminator

TYPEFACES = 6  # of the test part
NETWORKS = ch09_glyphs.networks


class StyleReader(Judge):
    """The judge of style: it reads five pixels, which the stand-ins' classes do not touch."""

    def __init__(self) -> None:
        super().__init__(len(STYLE))

    def forward(self, x: Tensor) -> Tensor:
        """Return float (n, 5)."""
        return x[:, 0, 9, :5].float()


def letters_of(split: str, letters: str = LETTERS, size: int = 32) -> LabelledImages:
    """Return letters in typefaces: letter after letter; the pixels of style are the typeface's."""
    each = {"train": 20, "test": TYPEFACES}[split]
    data = images(len(letters), each, lying=2 * (split == "test"), seed=size, size=size)
    style = torch.randint(0, 256, (each, 5), generator=torch.Generator().manual_seed(each))
    data.images[:, 0, 9, :5] = style.repeat(len(letters), 1).to(torch.uint8)
    return data


@pytest.fixture(autouse=True)
def little(results: Path, monkeypatch: pytest.MonkeyPatch, shipped: dict[str, Any]) -> None:
    """A few letters, and judges that read corners and pixels; each size has its own."""
    for size in (32, 64):
        shipped[f"judge_glyphs{size}"] = (Reader(26), {})
        shipped[f"style_glyphs{size}"] = (StyleReader(), {})
    monkeypatch.setattr(ch09_glyphs, "glyphs", letters_of)
    monkeypatch.setattr(_common, "pick_device", lambda: torch.device("cpu"))
    monkeypatch.setattr(ch09_glyphs, "PER_CLASS", 5)

    def networks(classes: int, size: Any) -> Any:
        G = Painter(classes, size=size)  # a fresh G draws one grey, in which no style varies
        return G, Discriminator(width=4, class_head=classes, image_size=size)

    monkeypatch.setattr(ch09_glyphs, "networks", networks)


def test_ten_letters_are_the_first_of_those_that_the_judge_knows() -> None:
    assert ch09_glyphs.TEN == "ABCDEFGHIJ" == LETTERS[:10]
    assert ch09_glyphs.model_name(ch09_glyphs.TEN, 64) == "acgan_glyphs64"
    assert ch09_glyphs.model_name(LETTERS, 32) == "acgan_letters32"


@pytest.mark.parametrize(("letters", "size"), [(ch09_glyphs.TEN, 64), (LETTERS, 32)])
def test_a_generator_is_judged_by_the_judge_of_its_size_against_unseen_typefaces(
    letters: str, size: Any, shipped: dict[str, Any]
) -> None:
    G = Painter(len(letters), size=size)
    found = ch09_glyphs.measure(G, letters, size, 4)
    assert found["judge_accuracy"] == metrics.proportion(5 * len(letters), 5 * len(letters))
    x, y = metrics.sampling.sample(G, 5, seed=4)
    test = letters_of("test", letters, size)
    assert found["frechet_judge_distance"] == metrics.frechet_judge_distance(
        Reader(26), x, test.normalised(), y_a=y, y_b=test.labels
    )
    for factor in STYLE:  # z alone decides the pixels that the style is read off
        assert found[f"kept_{factor}"].value == pytest.approx(1)
        assert found[f"kept_{factor}"].n == ch09_glyphs.GRID
    off = Painter(len(letters), off=1, size=size)
    assert ch09_glyphs.measure(off, letters, size, 4)["judge_accuracy"].value == 0
    del shipped[f"judge_glyphs{size}"]
    with pytest.raises(KeyError, match=f"judge_glyphs{size}"):
        ch09_glyphs.measure(G, letters, size, 4)


def test_a_swap_grid_holds_each_z_under_each_class() -> None:
    G = Painter(10)
    grid = ch09_glyphs.swap_grid(G, 32, seed=1, rows=60)
    assert list(grid) == list(STYLE)
    z = torch.randn(60, G.latent_dim, generator=torch.Generator().manual_seed(501))
    for i, values in enumerate(grid.values()):
        torch.testing.assert_close(values, torch.tanh(z[:, i : i + 1]).expand(60, 10))


def test_real_letters_are_the_ceiling_of_what_a_swap_keeps_and_shuffled_ones_the_floor() -> None:
    ch09_glyphs.real_glyphs(ch09_glyphs.TEN, 32, 0)
    [row] = stored("glyphs")
    assert (row["model"], row["seed"], row["steps"]) == ("real_glyphs32", 0, 0)
    assert row["judge_accuracy"] == metrics.proportion(40, 60), "judged on the test typefaces"
    for factor in STYLE:
        assert row[f"kept_{factor}"].value == pytest.approx(1)
        assert row[f"kept_{factor}"].n == TYPEFACES
        assert row[f"shuffled_{factor}"].value < 0.4
    grid = ch09_glyphs.real_grid(ch09_glyphs.TEN, 32)
    wanted = letters_of("test", ch09_glyphs.TEN).normalised()[:TYPEFACES, 0, 9, :5]
    for i, values in enumerate(grid.values()):
        assert torch.equal(values, wanted[:, i : i + 1].expand(TYPEFACES, 10))


@pytest.mark.parametrize("kind", ["judge", "style"])
def test_a_judge_learns_all_letters_and_is_tested_on_unseen_typefaces(
    kind: str, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    learned = []

    def train_judge(data: LabelledImages, *, steps: int, seed: int, device: Any) -> Judge:
        learned.append((data, steps, seed))
        return Reader(26)

    train_judge.__doc__ = "Train.\n\nIn some way.\n"
    tested = []

    def explained(judge: Judge, data: LabelledImages) -> dict[str, float]:
        tested.append((judge, data))
        return {"stem": 0.5}

    trainer = {"judge": "train_judge", "style": "train_style_judge"}[kind]
    monkeypatch.setattr(ch09_glyphs, trainer, train_judge)
    monkeypatch.setattr(ch09_glyphs, "explained", explained)
    getattr(ch09_glyphs, f"{kind}_glyphs")(64, 3, steps=9)
    [(data, steps, seed)] = learned
    assert (data.num_classes, len(data), data.size, steps, seed) == (26, 26 * 20, 64, 9, 3)
    network, facts = shipped[f"{kind}_glyphs64"]
    assert isinstance(network, Reader)
    assert (facts["seed"], facts["steps"], facts["half"]) == (3, 9, True)
    if kind == "judge":
        assert facts["metrics"] == {"test_accuracy": metrics.proportion(26 * 4, 26 * 6)}
    else:
        assert facts["metrics"]["explained_on_test"] == {"stem": 0.5}
        assert facts["metrics"]["factors"] == "weight, slant, serif, stem, letter_width"
        assert (tested[0][0], len(tested[0][1])) == (network, 26 * TYPEFACES)


def test_a_training_is_recorded_and_seed_0_ships(
    shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = set(shipped)
    ch09_glyphs.acgan_glyphs(ch09_glyphs.TEN, 32, 0, steps=1)
    assert set(shipped) == before, "a run to try it out replaces nothing that ships"
    Path("runs/acgan_glyphs32-0/last.pt").unlink()
    monkeypatch.setattr(ch09_glyphs, "GAN_STEPS", 2)
    for seed in (1, 0):
        ch09_glyphs.acgan_glyphs(ch09_glyphs.TEN, 32, seed, steps=2)
        assert ("acgan_glyphs32" in shipped) == (seed == 0)
    rows = stored("glyphs")
    assert [(r["model"], r["seed"], r["steps"]) for r in rows] == [
        ("acgan_glyphs32", 0, 2), ("acgan_glyphs32", 1, 2),
    ]  # fmt: skip
    G, facts = shipped["acgan_glyphs32"]
    assert (G.num_classes, G.image_size, G.training) == (10, 32, False)
    assert (facts["steps"], facts["images_seen"], facts["half"]) == (2, 100, True)
    assert facts["metrics"] == {k: rows[0][k] for k in facts["metrics"]}


def test_another_seed_is_what_its_finished_training_left(
    shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ch09_glyphs, "networks", NETWORKS)
    shipped["acgan_glyphs64"] = (Painter(10, size=64), {})
    assert ch09_glyphs.trained(ch09_glyphs.TEN, 64, 0) is shipped["acgan_glyphs64"][0]
    command = "missing: train it by `python -m acgan_lib.experiments acgan_glyphs32 --seed 7`"
    with pytest.raises(FileNotFoundError, match=command):
        ch09_glyphs.trained(ch09_glyphs.TEN, 32, 7)
    G, _ = NETWORKS(10, 32)
    path = Path("runs/acgan_glyphs32-7/last.pt")
    path.parent.mkdir(parents=True)
    torch.save({"G_ema": G.state_dict(), "step": ch09_glyphs.GAN_STEPS - 1}, path)
    with pytest.raises(FileNotFoundError, match="a training that was stopped: train it by"):
        ch09_glyphs.trained(ch09_glyphs.TEN, 32, 7)
    torch.save({"G_ema": G.state_dict(), "step": ch09_glyphs.GAN_STEPS}, path)
    found = ch09_glyphs.trained(ch09_glyphs.TEN, 32, 7)
    z, y = torch.randn(2, 100), torch.tensor([1, 2])
    assert torch.equal(found(z, y), G.eval()(z, y))
    assert not found.training


def test_the_two_sizes_have_their_own_networks() -> None:
    for size in (32, 64):
        G, D = NETWORKS(10, size)
        assert (G.image_size, G.num_classes, D.class_head.out_features) == (size, 10, 10)
        assert D(torch.zeros(2, 1, size, size)).class_logits.shape == (2, 10)
