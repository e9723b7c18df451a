"""Checkpoints: what is saved is what loads, and what is damaged does not load."""

from __future__ import annotations

import ast
import json
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from acgan_lib import zoo
from acgan_lib._files import data_dir
from acgan_lib.judge import Judge
from acgan_lib.nets import Discriminator, Generator

FACTS = {"recipe": "for a test", "data": "noise", "seed": 1, "steps": 2, "metrics": {}}


class Measured(NamedTuple):
    value: float
    low: float
    high: float
    n: int


def trained(model: nn.Module, x: Tensor) -> nn.Module:
    """Move every buffer and weight away from where it starts, as a training does."""
    for _ in range(3):
        out = model(x)
        loss = (out[0] if isinstance(out, tuple) else out).square().mean()
        used = [p for p in model.parameters() if p.requires_grad]
        with torch.no_grad():
            for p, g in zip(used, torch.autograd.grad(loss, used, allow_unused=True), strict=True):
                p -= 0.1 * (g if g is not None else torch.randn_like(p))
    return model


def small_generator() -> Generator:
    torch.manual_seed(3)
    return Generator(latent_dim=4, num_classes=0, channels=3, width=4)


def networks() -> dict[str, tuple[nn.Module, dict[str, int] | None]]:
    torch.manual_seed(0)
    images = torch.randn(8, 1, 32, 32)
    kwargs = {"latent_dim": 4, "num_classes": 0, "channels": 3, "width": 4}
    return {
        "generator": (trained(small_generator(), torch.randn(8, 4)), kwargs),
        "acgan_d": (
            trained(Discriminator(width=4, class_head=11), images),
            {"width": 4, "class_head": 11},
        ),
        "judge": (trained(Judge(num_classes=7), images), None),
    }


@pytest.mark.parametrize("name", ["generator", "acgan_d", "judge"])
def test_what_is_saved_is_what_loads(name: str, tmp_path: Path) -> None:
    model, kwargs = networks()[name]
    zoo.save(name, model, kwargs=kwargs, folder=tmp_path, **FACTS)
    before = torch.get_rng_state()
    loaded = zoo.load(name, folder=tmp_path)
    assert torch.equal(before, torch.get_rng_state()), "loading must not disturb the seed"
    assert type(loaded) is type(model)
    assert not any(module.training for module in loaded.modules())
    assert not any(p.requires_grad for p in loaded.parameters())
    state = loaded.state_dict()
    assert state.keys() == model.state_dict().keys()
    for key, value in model.state_dict().items():
        assert state[key].dtype == value.dtype, key
        assert torch.equal(state[key], value), key


def test_batchnorm_counts_and_spectral_vectors_are_in_the_file(tmp_path: Path) -> None:
    model, kwargs = networks()["acgan_d"]
    zoo.save("d", model, kwargs=kwargs, folder=tmp_path, **FACTS)
    state = zoo.load("d", folder=tmp_path).state_dict()
    counts = [v for k, v in state.items() if k.endswith("num_batches_tracked")]
    assert counts
    assert all(v.dtype == torch.int64 and v.item() == 3 for v in counts)
    assert any(key.endswith("._u") for key in state)


def test_a_large_network_is_kept_as_float16_but_not_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kwargs = small_generator(), networks()["generator"][1]
    exact = zoo.save("big", model, kwargs=kwargs, folder=tmp_path, **FACTS)
    monkeypatch.setattr(zoo, "MAX_BYTES", exact.stat().st_size - 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Beyond float16: a statistic must not overflow, a count must not be rounded.
            module.running_var.fill_(1e5)  # type: ignore[union-attr, operator]
            module.num_batches_tracked.fill_(70_001)  # type: ignore[union-attr, operator]
    path = zoo.save("big", model, kwargs=kwargs, folder=tmp_path, **FACTS)
    assert path.stat().st_size <= zoo.MAX_BYTES
    assert zoo.manifest("big", tmp_path)["dtype"] == "float16"
    state = zoo.load("big", folder=tmp_path).state_dict()
    for key, value in model.state_dict().items():
        assert state[key].dtype == value.dtype, key
        kept = value.half().float() if value.ndim > 1 else value
        assert torch.equal(state[key], kept), key


def test_a_small_network_is_float16_where_that_is_asked_for(tmp_path: Path) -> None:
    model, kwargs = networks()["generator"]
    exact = zoo.save("g", model, kwargs=kwargs, folder=tmp_path, **FACTS).stat().st_size
    half = zoo.save("h", model, kwargs=kwargs, half=True, folder=tmp_path, **FACTS).stat().st_size
    assert half < 0.6 * exact
    assert zoo.manifest("h", tmp_path)["dtype"] == "float16"
    kept = zoo.load("h", folder=tmp_path).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(kept[key], value.half().float() if value.ndim > 1 else value), key


def test_a_small_network_stays_float32(tmp_path: Path) -> None:
    zoo.save("g", small_generator(), kwargs=networks()["generator"][1], folder=tmp_path, **FACTS)
    assert zoo.manifest("g", tmp_path)["dtype"] == "float32"


def test_the_manifest_holds_the_facts_and_plain_numbers(tmp_path: Path) -> None:
    metrics = {
        "accuracy": Measured(0.958, 0.954, 0.962, 10_000),
        "by_class": torch.tensor([0.5, 0.25]),
        "loss": np.float32(1.5),
    }
    facts = FACTS | {"metrics": metrics}
    zoo.save("judge", Judge(), images_seen=200, folder=tmp_path, **facts)
    got = zoo.manifest("judge", tmp_path)
    assert got["class"] == "Judge"
    assert got["kwargs"] == {"num_classes": 10, "channels": 1}
    assert got["command"] == "make train-judge"
    assert got["images_seen"] == 200
    assert got["bytes"] == (tmp_path / "judge.safetensors").stat().st_size
    estimate = {"value": 0.958, "low": 0.954, "high": 0.962, "n": 10_000}
    assert got["metrics"] == {"accuracy": estimate, "by_class": [0.5, 0.25], "loss": 1.5}
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    assert "- accuracy: 0.958 [0.954, 0.962] (n=10,000)\n" in card
    assert card == zoo.model_card(tmp_path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    kwargs = networks()["generator"][1]
    zoo.save("one", small_generator(), kwargs=kwargs, folder=tmp_path, **FACTS)
    return tmp_path


def test_a_truncated_file_says_how_much_is_there(saved: Path) -> None:
    path = saved / "one.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"one\.safetensors is truncated: [\d,]+ of [\d,]+ bytes"):
        zoo.load("one", folder=saved)


@pytest.mark.parametrize("position", [0, 200, -1])
def test_one_changed_bit_is_noticed(saved: Path, position: int) -> None:
    path = saved / "one.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"one\.safetensors is not the file that its manifest"):
        zoo.load("one", folder=saved)


def test_missing_weights_and_unknown_names_are_told_apart(saved: Path) -> None:
    with pytest.raises(ValueError, match=r"no checkpoint 'two' .* There are: one"):
        zoo.load("two", folder=saved)
    with pytest.raises(ValueError, match=r"no checkpoint '\.\./one'"):
        zoo.load("../one", folder=saved / "sub")
    (saved / "one.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"one\.safetensors is missing"):
        zoo.load("one", folder=saved)


@pytest.mark.parametrize(
    ("field", "value"), [("class", "Linear"), ("class", "os.system"), ("name", "two")]
)
def test_a_manifest_cannot_name_another_class_or_network(
    saved: Path, field: str, value: str
) -> None:
    path = saved / "one.json"
    fields = json.loads(path.read_text()) | {field: value}
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"one\.json is not a whole manifest"):
        zoo.load("one", folder=saved)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "one"', '{"name": "one"}'])
def test_a_damaged_manifest_is_an_error(saved: Path, text: str) -> None:
    (saved / "one.json").write_text(text)
    with pytest.raises(ValueError, match=r"one\.json is not a whole manifest"):
        zoo.load("one", folder=saved)


def test_a_save_killed_between_its_two_files_is_reported(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = small_generator()
    with torch.no_grad():
        model.to_image.weight.add_(1)
    replace, done = Path.replace, []

    def killed(self: Path, target: Path) -> Path:
        if done:
            raise KeyboardInterrupt
        done.append(target)
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        zoo.save("one", model, kwargs=networks()["generator"][1], folder=saved, **FACTS)
    monkeypatch.undo()
    with pytest.raises(ValueError, match="a save was interrupted"):
        zoo.load("one", folder=saved)
    assert not list(saved.glob(".*")), "a temporary file was left"


def nan_network() -> nn.Module:
    model = small_generator()
    with torch.no_grad():
        model.to_image.weight[0, 0, 0, 0] = torch.nan
    return model


@pytest.mark.parametrize(
    ("name", "model", "changes", "message"),
    [
        ("../one", small_generator(), {}, "name must be small letters"),
        ("one", nn.Linear(2, 2), {}, "model must be one of Generator"),
        ("one", nan_network(), {}, "not finite, in to_image.weight"),
        ("one", small_generator(), {"kwargs": {"width": 8}}, "do not fit Generator"),
        ("one", Discriminator(width=4, class_head=3), {"kwargs": {"width": 4}}, "do not fit Disc"),
        ("one", Generator(width=96), {"kwargs": {"width": 96}}, "make it narrower"),
        ("one", small_generator(), {"metrics": {"loss": float("nan")}}, "not JSON compliant"),
    ],
)
def test_a_save_that_would_not_load_changes_nothing(
    saved: Path, name: str, model: nn.Module, changes: dict[str, object], message: str
) -> None:
    before = {path.name: path.read_bytes() for path in saved.iterdir()}
    arguments = {"kwargs": networks()["generator"][1], "folder": saved} | FACTS | changes
    with pytest.raises(ValueError, match=message):
        zoo.save(name, model, **arguments)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_the_zoo_needs_only_torch_and_safetensors() -> None:
    """`torch.hub` imports it where the book's other packages are missing."""
    tree = ast.parse(Path(zoo.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        node.module if isinstance(node, ast.ImportFrom) else alias.name
        for node in imports
        for alias in node.names
    }
    ours = {name for name in modules if name and name.split(".")[0] not in sys.stdlib_module_names}
    assert ours == {"torch", "safetensors", "acgan_lib._files"}


def test_every_shipped_checkpoint_loads_and_its_card_is_current() -> None:
    for name in zoo.names():
        fields = zoo.manifest(name)
        assert fields["bytes"] <= 3_000_000
        assert "train" in fields["data"], "a shipped network must not have seen test images"
        zoo.load(name)
    if zoo.names():
        card = (data_dir() / "checkpoints" / "README.md").read_text(encoding="utf-8")
        assert card == zoo.model_card()


# -- whose weights are these ---------------------------------------------------------------------


def test_a_network_has_its_shipped_name_as_long_as_its_weights_are_the_shipped_ones() -> None:
    """The book's pages draw with the shipped weights where a network has such a name."""
    G = zoo.load("acgan_few_fashion")
    assert zoo.name_of(G) == "acgan_few_fashion"
    with torch.no_grad():
        G.to_image.bias += 1e-3  # trained on
    assert zoo.name_of(G) is None
    G.load_state_dict(zoo.load("acgan_few_fashion").state_dict())
    assert zoo.name_of(G) == "acgan_few_fashion"
    G.norm.num_batches_tracked += 1  # a buffer counts too
    assert zoo.name_of(G) is None


def test_a_network_that_no_load_gave_has_no_name() -> None:
    G = zoo.load("acgan_few_fashion")
    copy = Generator(width=16)
    copy.load_state_dict(G.state_dict())
    assert zoo.name_of(copy) is None
    copy.zoo_name = "acgan_fashion"  # of another width
    assert zoo.name_of(copy) is None
    copy.zoo_name = "nothing"
    assert zoo.name_of(copy) is None
