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
    for sizes in (ch07_infogan.SIZES_G, ch07_infogan.SIZES_D):
        monkeypatch.setitem(sizes, "width", 8)
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


def test_the_latents_are_those_that_the_samples_were_drawn_from() -> None:
    """A picture whose brightness is z's first coordinate: that code explains it, no noise does."""

    class Lamp(Painter):
        def draw(self, code: torch.Tensor) -> torch.Tensor:
            return torch.tanh(code[:, :1, None, None] / 9).expand(-1, 1, 32, 32) + 0 * self.weight

    found = ch07_infogan.codes_found(Lamp(10), Head(10, 10), 3)
    first, second, noise = found["explained"]["brightness"]
    assert first > 0.85  # not 1: of six images a code, their mean takes a sixth of z away
    assert second < 0.3
    assert noise < 0.5


def test_what_k_means_and_chance_find_is_recorded_for_each_seed() -> None:
    for seed in (1, 0):
        ch07_infogan.infogan_rivals(seed)
    rows = {(row["model"], row["seed"]): row for row in stored("infogan")}
    assert list(rows) == [
        ("chance", 0), ("chance", 1), ("classes", 0), ("judge", 0), ("k-means", 0), ("k-means", 1),
    ]  # fmt: skip
    assert rows["classes", 0]["real_match"].value == 1
    assert rows["judge", 0]["real_match"] == metrics.proportion(40, 60)
    assert 0.1 < rows["chance", 0]["real_match"].value < 0.4
    assert rows["chance", 0]["real_match"] != rows["chance", 1]["real_match"]


def test_signs_of_codes_split_each_code_in_four() -> None:
    code, z = torch.tensor([0, 0, 9]), torch.tensor([[-1.0, 2.0], [1.0, -2.0], [1.0, 1.0]])
    table = ch07_infogan.with_signs(code, z, torch.tensor([7, 3, 9]))
    assert table.nonzero().tolist() == [[1, 7], [2, 3], [39, 9]]
    assert table.sum() == 3


def test_k_means_finds_its_clusters_in_the_training_images() -> None:
    """Ten shades: each test image goes to its own, though the test set holds two of them alone."""
    shade = torch.linspace(-1, 1, 10).repeat(20)
    train = shade[:, None, None, None].expand(-1, 1, 4, 4) + 0.01 * torch.randn(200, 1, 4, 4)
    test = torch.tensor([-1.0, -1.0, 1.0])[:, None, None, None].expand(-1, 1, 4, 4)
    one, same, other = ch07_infogan.k_means(train, test, 0).tolist()
    assert one == same != other
    of_train = ch07_infogan.k_means(train, train, 0)
    assert (of_train[:10] == of_train[10:20]).all()
    assert len(set(of_train.tolist())) >= 8, "k-means++ may put two centres into one shade"


def test_properties_of_a_rectangle() -> None:
    """Bright 12 columns wide, 20 rows high: a uniform's deviation is sqrt((n^2 - 1) / 12)."""
    x = torch.full((1, 1, 32, 32), -1.0)
    x[..., 5:25, 3:15] = 0.0
    found = {name: float(value) for name, value in ch07_infogan.properties(x).items()}
    width, height = ((n**2 - 1) / 12 for n in (12, 20))
    assert found == pytest.approx({
        "brightness": 120 / 1024, "area": 240 / 1024, "width": width**0.5,
        "height": height**0.5, "aspect": (height / width) ** 0.5,
    })  # fmt: skip


def test_variance_splits_into_between_and_within() -> None:
    values = torch.tensor([1.0, 3.0, 11.0, 13.0, 12.0], dtype=torch.float64)
    share, within = ch07_infogan.split_variance(values, torch.tensor([0, 0, 1, 1, 1]))
    assert within.tolist() == [-1, 1, -1, 1, 0]
    assert share == pytest.approx(1 - 4 / float(((values - 8) ** 2).sum()))
    assert ch07_infogan.split_variance(torch.ones(3).double(), torch.tensor([0, 1, 1]))[0] == 0


def test_r_squared_is_the_squared_correlation() -> None:
    z = torch.randn(50, 3, generator=torch.Generator().manual_seed(0)).double()
    values = 2 * z[:, 0] - z[:, 1] + 5
    r2 = ch07_infogan.r_squared(z, values)
    wanted = torch.corrcoef(torch.cat([z.T, values[None]]))[-1, :3] ** 2
    torch.testing.assert_close(r2, wanted)
    assert ch07_infogan.r_squared(z, 3 - z[:, 2])[2] == pytest.approx(1)
