"""Checkpoints: what is saved is what loads, and what is damaged does not load."""

from __future__ import annotations

import ast
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from string import ascii_uppercase
from typing import NamedTuple

import numpy as np
import pytest
import torch
from safetensors.torch import save as plain_safetensors
from torch import Tensor, nn

from acgan_lib import zoo
from acgan_lib._files import data_dir
from acgan_lib.experiments.ch17_paper_nets import PaperGenerator
from acgan_lib.fashion import FASHION_CLASSES
from acgan_lib.judge import Judge
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.scale.splits import SplitGenerator

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
    zoo.ship(name, model, kwargs=kwargs, folder=tmp_path, **FACTS)
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
    zoo.ship("d", model, kwargs=kwargs, folder=tmp_path, **FACTS)
    state = zoo.load("d", folder=tmp_path).state_dict()
    counts = [v for k, v in state.items() if k.endswith("num_batches_tracked")]
    assert counts
    assert all(v.dtype == torch.int64 and v.item() == 3 for v in counts)
    assert any(key.endswith("._u") for key in state)


def test_a_large_network_is_kept_as_float16_but_not_its_vectors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, kwargs = small_generator(), networks()["generator"][1]
    exact = zoo.ship("big", model, kwargs=kwargs, folder=tmp_path, **FACTS)
    monkeypatch.setattr(zoo, "MAX_BYTES", exact.stat().st_size - 1)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            # Beyond float16: a statistic must not overflow, a count must not be rounded.
            module.running_var.fill_(1e5)  # type: ignore[union-attr, operator]
            module.num_batches_tracked.fill_(70_001)  # type: ignore[union-attr, operator]
    path = zoo.ship("big", model, kwargs=kwargs, folder=tmp_path, **FACTS)
    assert path.stat().st_size <= zoo.MAX_BYTES
    assert zoo.manifest("big", tmp_path)["dtype"] == "float16"
    state = zoo.load("big", folder=tmp_path).state_dict()
    for key, value in model.state_dict().items():
        assert state[key].dtype == value.dtype, key
        kept = value.half().float() if value.ndim > 1 else value
        assert torch.equal(state[key], kept), key


def test_a_small_network_is_float16_where_that_is_asked_for(tmp_path: Path) -> None:
    model, kwargs = networks()["generator"]
    exact = zoo.ship("g", model, kwargs=kwargs, folder=tmp_path, **FACTS).stat().st_size
    half = zoo.ship("h", model, kwargs=kwargs, half=True, folder=tmp_path, **FACTS).stat().st_size
    assert half < 0.6 * exact
    assert zoo.manifest("h", tmp_path)["dtype"] == "float16"
    kept = zoo.load("h", folder=tmp_path).state_dict()
    for key, value in model.state_dict().items():
        assert torch.equal(kept[key], value.half().float() if value.ndim > 1 else value), key


def test_a_small_network_stays_float32(tmp_path: Path) -> None:
    zoo.ship("g", small_generator(), kwargs=networks()["generator"][1], folder=tmp_path, **FACTS)
    assert zoo.manifest("g", tmp_path)["dtype"] == "float32"


def test_the_manifest_holds_the_facts_and_plain_numbers(tmp_path: Path) -> None:
    metrics = {
        "accuracy": Measured(0.958, 0.954, 0.962, 10_000),
        "by_class": torch.tensor([0.5, 0.25]),
        "loss": np.float32(1.5),
    }
    facts = FACTS | {"metrics": metrics}
    zoo.ship("judge", Judge(), images_seen=200, folder=tmp_path, **facts)
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
    zoo.ship("one", small_generator(), kwargs=kwargs, folder=tmp_path, **FACTS)
    return tmp_path


@pytest.fixture
def paired(saved: Path) -> Path:
    """A checkpoint from before the metadata: its manifest stands in the JSON file alone."""
    content = plain_safetensors(small_generator().state_dict())
    (saved / "one.safetensors").write_bytes(content)
    fields = json.loads((saved / "one.json").read_text())
    fields |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    (saved / "one.json").write_text(json.dumps(fields))
    return saved


@pytest.mark.parametrize("kind", ["saved", "paired"])
def test_a_checkpoint_loads_in_its_old_form_and_in_its_new(
    kind: str, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    loaded, expected = zoo.load("one", folder=folder), small_generator()
    assert torch.equal(loaded.to_image.weight, expected.to_image.weight)  # type: ignore[union-attr, arg-type]
    found = zoo.manifest("one", folder)
    content = (folder / "one.safetensors").read_bytes()
    assert found["sha256"] == hashlib.sha256(content).hexdigest()
    assert found == json.loads((folder / "one.json").read_text())
    assert found["seed"] == FACTS["seed"]


@pytest.mark.parametrize("kind", ["saved", "paired"])
def test_a_truncated_file_is_refused(kind: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(kind)
    path = folder / "one.safetensors"
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(ValueError, match=r"one\.safetensors is not the file .* or cut short"):
        zoo.load("one", folder=folder)


@pytest.mark.parametrize("kind", ["saved", "paired"])
@pytest.mark.parametrize("position", [0, 200, -1])
def test_one_changed_bit_is_noticed(
    kind: str, position: int, request: pytest.FixtureRequest
) -> None:
    folder = request.getfixturevalue(kind)
    path = folder / "one.safetensors"
    content = bytearray(path.read_bytes())
    content[position] ^= 1
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"one\.safetensors is not the file that its manifest"):
        zoo.load("one", folder=folder)


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
    paired: Path, field: str, value: str
) -> None:
    path = paired / "one.json"
    fields = json.loads(path.read_text()) | {field: value}
    path.write_text(json.dumps(fields))
    with pytest.raises(ValueError, match=r"one\.json is not a whole manifest"):
        zoo.load("one", folder=paired)


@pytest.mark.parametrize("text", ["", "[]", '{"name": "one"', '{"name": "one"}'])
def test_a_damaged_manifest_is_an_error(paired: Path, text: str) -> None:
    (paired / "one.json").write_text(text)
    with pytest.raises(ValueError, match=r"one\.json is not a whole manifest"):
        zoo.load("one", folder=paired)


@pytest.mark.parametrize("text", ["", '{"class": "os.system"}', None])
def test_a_manifest_in_the_file_needs_none_beside_it(saved: Path, text: str | None) -> None:
    whole = (saved / "one.json").read_text()
    (saved / "one.json").unlink() if text is None else (saved / "one.json").write_text(text)
    (saved / "README.md").write_text("of another time")
    zoo.load("one", folder=saved)
    zoo.save(small_generator(), saved / "mine.safetensors")
    assert zoo.names(saved) == ["one"], "a reader's file is not the book's"
    # And the next save brings everything up to date, also that of other names.
    zoo.ship("two", Judge(num_classes=2), folder=saved, **FACTS)
    assert (saved / "one.json").read_text() == whole
    assert (saved / "README.md").read_text() == zoo.model_card(saved)


KILLS = """
import os, random, signal, sys, time
from pathlib import Path
from string import ascii_uppercase
import torch
from acgan_lib import zoo
from acgan_lib.nets import Generator

folder, facts = Path(sys.argv[1]), {"recipe": "", "data": "", "steps": 1, "metrics": {}}
networks = []
for seed in (0, 1):
    torch.manual_seed(seed)
    networks.append(Generator(latent_dim=4, num_classes=0, width=4))

def ship(seed):
    zoo.ship("one", networks[seed], seed=seed, folder=folder, **facts)

def save(seed):
    zoo.save(networks[seed], folder / "mine.safetensors", about={"seed": seed})

def check(name):
    "What is there is whole, and its manifest is its own."
    where = {"folder": folder} if name == "one" else {}
    name = name if name == "one" else folder / "mine.safetensors"
    about = zoo.manifest(name, **where)
    seed = about.get("about", about)["seed"]
    weight = zoo.load(name, **where).to_image.weight
    assert torch.equal(weight, networks[seed].to_image.weight), "weights of another training"
    return seed

def killed_at(event, act):
    "Run `act` in a process that is killed at one of the moments that a disk could tell apart."
    pid = os.fork()
    if pid == 0:
        seen = 0
        for name in ("open", "fsync", "replace", "unlink"):
            def moment(*args, real=getattr(os, name), **kwargs):
                nonlocal seen
                seen += 1
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                result = real(*args, **kwargs)
                seen += 1
                if seen == event:
                    os.kill(os.getpid(), signal.SIGKILL)
                return result
            setattr(os, name, moment)
        act()
        os._exit(0)
    return os.waitpid(pid, 0)[1] != 0

for act, name in ((ship, "one"), (save, "mine")):
    kept = set()
    act(0)
    event = 1
    while killed_at(event, lambda: act(1)):
        kept.add(check(name))
        act(0)  # the next save, which sweeps
        assert check(name) == 0
        event += 1
    assert kept == {0, 1}, kept
    print(event - 1)
assert (folder / "README.md").read_text() == zoo.model_card(folder)

random.seed(0)
for act, name in ((ship, "one"), (save, "mine")):
    for _ in range(15):
        pid = os.fork()
        if pid == 0:
            while True:
                act(1), act(0)
        time.sleep(random.uniform(0.01, 0.1))
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        check(name)
    act(1)
print(sorted(p.name for p in folder.iterdir() if not p.name.endswith(".lock")))
assert zoo.manifest("one", folder)["seed"] == 1
assert (folder / "README.md").read_text() == zoo.model_card(folder)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks processes to kill them")
def test_a_kill_at_any_moment_leaves_one_whole_network(tmp_path: Path) -> None:
    """Killed before and after each step on the disk, and at random moments."""
    done = subprocess.run(
        [sys.executable, "-c", KILLS, str(tmp_path)],
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    ships, saves, left = done.stdout.strip().split("\n")
    assert int(ships) >= 12
    assert int(saves) >= 4
    assert left == "['README.md', 'mine.safetensors', 'one.json', 'one.safetensors']"


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
        zoo.ship(name, model, **arguments)  # type: ignore[arg-type]
    assert {path.name: path.read_bytes() for path in saved.iterdir()} == before


def test_the_zoo_needs_only_torch_and_safetensors() -> None:
    """`torch.hub` imports it where the book's other packages are missing."""
    tree = ast.parse(Path(zoo.__file__).read_text(encoding="utf-8"))
    imports = [node for node in ast.walk(tree) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {
        f"{node.module}.{alias.name}" if isinstance(node, ast.ImportFrom) else alias.name
        for node in imports
        for alias in node.names
    }
    ours = {name for name in modules if name.split(".")[0] not in sys.stdlib_module_names}
    assert {n for n in ours if n.startswith("acgan_lib")} == {"acgan_lib._files"}
    assert {name.split(".")[0] for name in ours} == {"torch", "safetensors", "acgan_lib"}


def test_every_shipped_checkpoint_loads_and_its_card_is_current() -> None:
    for name in zoo.names():
        fields = zoo.manifest(name)
        assert fields["bytes"] <= 3_000_000
        assert "train" in fields["data"], "a shipped network must not have seen test images"
        zoo.load(name)
    if zoo.names():
        card = (data_dir() / "checkpoints" / "README.md").read_text(encoding="utf-8")
        assert card == zoo.model_card()


# -- the reader's own ------------------------------------------------------------------------------


def test_any_network_of_the_library_comes_back_from_its_file(tmp_path: Path) -> None:
    torch.manual_seed(0)
    z, y = torch.randn(5, 8), torch.arange(5) % 3
    for G in (
        Generator(8, 3, channels=3, width=4, image_size=64),
        Generator(8, 0, width=4),
        PaperGenerator((32, 16, 8), 32, latent_dim=8, num_classes=3),
        SplitGenerator([[0, 2], [1]], width=4, latent_dim=8),
    ):
        loaded = zoo.load(zoo.save(G, tmp_path / "g.safetensors"))
        assert type(loaded) is type(G)
        assert torch.equal(loaded(z, y), G.eval()(z, y))
    for D in (
        Discriminator(3, 4, class_head=3, code_head=2, image_size=64),
        Discriminator(3, 4, label_input=3, image_size=64),
        Judge(3, channels=3),
    ):
        loaded = zoo.load(zoo.save(D, tmp_path / "d.safetensors"))
        x = torch.rand(5, 3, 64, 64)
        arguments = (x, y) if getattr(D, "label_input", 0) else (x,)
        for got, expected in zip(loaded(*arguments), D.eval()(*arguments), strict=True):
            torch.testing.assert_close(got, expected, rtol=0, atol=0)


def test_a_file_keeps_the_names_of_the_classes_and_what_the_training_was(tmp_path: Path) -> None:
    G = Generator(8, 3, width=4)
    G.class_names, G.about = ("cat", "dog", 'Löwe "x"'), {"objective": "acgan"}  # type: ignore[assignment]
    path = zoo.save(G, tmp_path / "new" / "mine.safetensors", about={"loss": torch.tensor(0.5)})
    loaded = zoo.load(str(path))
    assert loaded.class_names == ("cat", "dog", 'Löwe "x"')
    assert loaded.about == {"objective": "acgan", "loss": 0.5}
    assert zoo.manifest(path)["about"] == loaded.about
    assert not loaded.training
    assert zoo.name_of(loaded) is None, "only what ships has a name"
    again = zoo.save(loaded, tmp_path / "again.safetensors", about={"note": "tuned"})
    assert zoo.load(again).about == {"objective": "acgan", "loss": 0.5, "note": "tuned"}
    assert again.read_bytes() == zoo.save(zoo.load(again), again).read_bytes()


def test_a_file_can_be_half_as_large(tmp_path: Path) -> None:
    G = Generator(8, 3, width=16)
    whole, half = (zoo.save(G, tmp_path / f"{h}.safetensors", half=h) for h in (False, True))
    assert half.stat().st_size < 0.6 * whole.stat().st_size
    weight = zoo.load(half).to_image.weight
    assert torch.equal(weight, G.to_image.weight.half().float())  # type: ignore[arg-type]


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert zoo.save(small_generator(), "~/g.safetensors") == tmp_path / "g.safetensors"
    assert isinstance(zoo.load("~/g.safetensors"), Generator)
    assert isinstance(zoo.load(Path("~/g.safetensors")), Generator)


def test_no_bit_of_a_file_can_change_unnoticed(tmp_path: Path) -> None:
    path = zoo.save(small_generator(), tmp_path / "g.safetensors", about={"data": "x"})
    whole = path.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    rng = np.random.default_rng(0)
    places = [*range(header), *rng.integers(header, len(whole), 100).tolist()]
    assert header > 1000
    for place in places:
        content = bytearray(whole)
        content[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(content)
        with pytest.raises(ValueError, match=r"g\.safetensors"):
            zoo.load(path)
    for length in (0, 7, 8, 100, header, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"g\.safetensors is (damaged|not the file)"):
            zoo.load(path)


def test_a_file_of_another_origin_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "g.safetensors"
    path.write_bytes(plain_safetensors({"weight": torch.zeros(2)}))
    with pytest.raises(ValueError, match=r"g\.safetensors is damaged, or is no file of acgan_lib"):
        zoo.load(path)
    path.write_bytes(zoo._serialised({}, {"class": "os.system", "kwargs": {}}))
    with pytest.raises(ValueError, match=r"holds a 'os\.system', which .* does not know"):
        zoo.load(path)
    path.write_bytes(zoo._serialised({}, {"class": "Generator", "kwargs": {"depth": 7}}))
    with pytest.raises(ValueError, match="do not build a Generator"):
        zoo.load(path)
    with pytest.raises(FileNotFoundError, match=r"h\.safetensors is missing$"):
        zoo.load(tmp_path / "h.safetensors")


class Mine(Generator):
    """A class that a file could not bring back."""


@pytest.mark.parametrize(
    ("model", "path", "about", "message"),
    [
        (small_generator(), "g.pt", {}, r"path must end in \.safetensors"),
        (Mine(width=4), "g.safetensors", {}, "model must be one of .* state_dict together with"),
        (nan_network(), "g.safetensors", {}, "not finite, in to_image"),
        (small_generator(), "g.safetensors", {"x": float("inf")}, "not JSON compliant"),
        (small_generator(), "g.safetensors", {"x": nn.Linear(1, 1)}, "must be numbers and text"),
    ],
)
def test_what_cannot_be_saved_changes_nothing(
    tmp_path: Path, model: nn.Module, path: str, about: dict[str, object], message: str
) -> None:
    zoo.save(small_generator(), tmp_path / "g.safetensors")
    before = {each.name: each.read_bytes() for each in tmp_path.iterdir()}
    with pytest.raises(ValueError, match=message):
        zoo.save(model, tmp_path / path, about=about)
    assert {each.name: each.read_bytes() for each in tmp_path.iterdir()} == before


def test_as_many_names_as_classes(tmp_path: Path) -> None:
    G = Generator(8, 3, width=4)
    G.class_names = ("cat", "dog")  # type: ignore[assignment]
    with pytest.raises(ValueError, match="class_names has 2 names, but the network 3"):
        zoo.save(G, tmp_path / "g.safetensors")


def test_saving_and_loading_leave_the_network_and_the_random_state_alone(tmp_path: Path) -> None:
    G = small_generator().train()
    state = {key: value.clone() for key, value in G.state_dict().items()}
    before = torch.get_rng_state()
    zoo.load(zoo.save(G, tmp_path / "g.safetensors"))
    assert torch.equal(before, torch.get_rng_state())
    assert G.training
    assert all(p.requires_grad for p in G.parameters())
    for key, value in G.state_dict().items():
        assert torch.equal(value, state[key])


def test_shipped_networks_bring_the_names_of_their_classes() -> None:
    """And those that learned classes without names, or have none, bring none."""
    assert zoo.load("acgan_fashion").class_names == FASHION_CLASSES
    assert zoo.load("acgan_glyphs64").class_names == tuple("ABCDEFGHIJ")
    assert zoo.load("judge_glyphs32").class_names == tuple(ascii_uppercase)
    for name in ("dcgan_fashion", "infogan_fashion", "style_glyphs32"):
        assert not hasattr(zoo.load(name), "class_names")


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
