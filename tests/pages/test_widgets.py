"""The widgets' Python half: the same request gives the same picture, and G stays as it was.

The front end is driven in a real JupyterLab by test_lab.py.
"""

from __future__ import annotations

import base64
import io
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

from acgan_lib import latent, nets, pairs, widgets, zoo
from acgan_lib.widgets import base, export
from acgan_lib.widgets.faces import STRIP, TILES

K = 3


def generator(num_classes: int = K, **arguments: int) -> nets.Generator:
    """A small G whose pictures differ by far more than a level for each z and class."""
    torch.manual_seed(0)
    G = nets.Generator(**{"latent_dim": 8, "width": 8, **arguments}, num_classes=num_classes)
    with torch.no_grad():
        for parameter in G.parameters():
            if parameter.ndim > 1:
                parameter.mul_(6)
    return G


def ask(widget: Any, request: dict[str, Any]) -> dict[str, Any]:
    """Send what the front end would, and return the reply."""
    replies: list[dict[str, Any]] = []
    widget.send = lambda content, buffers=None: replies.append(content)
    widget._handle_custom_msg({"id": "x-1", "request": request}, [])
    assert len(replies) == 1
    assert replies[0]["id"] == "x-1"
    return replies[0]


def pixels(frame: dict[str, Any]) -> Tensor:
    """A frame as uint8 (n, C, H, W)."""
    raw = np.frombuffer(base64.b64decode(frame["data"]), np.uint8)
    shape = (frame["n"], frame["h"], frame["w"], frame["c"])
    return torch.from_numpy(raw.copy()).view(shape).permute(0, 3, 1, 2)


def png(widget: base.Face) -> Tensor:
    """A widget's still picture as uint8 (H, W) or (H, W, 3)."""
    return torch.from_numpy(np.array(Image.open(io.BytesIO(base64.b64decode(widget.still)))))


def shades(images: Tensor) -> Tensor:
    return ((images + 1) * 127.5).round().to(torch.uint8)


def test_these_pictures_differ() -> None:
    """Else the tests below could not tell one picture from another."""
    G = generator()
    z = torch.stack([latent.seeded(seed, 8) for seed in range(6)])
    images = latent.class_swap(G, z).flatten(0, 1).flatten(1)
    assert torch.pdist(images, p=torch.inf).min() > 0.2


def test_explorer_answers_with_the_picture_of_the_request() -> None:
    G = generator()
    widget = widgets.LatentExplorer(G, directions=2, seed=4)
    coords = [1.5, -0.5]
    z = latent.seeded(7, 8)
    z = z + torch.tensor(coords) @ latent.principal_directions(G, 2)
    expected = latent.generate(G, z[None], torch.tensor([2]))
    reply = ask(widget, {"seed": 7, "coords": coords, "label": 2})
    assert torch.equal(pixels(reply["frame"]), shades(expected))
    torch.testing.assert_close(widget.z, z)
    assert torch.equal(widget.image(), expected[0])
    assert widget.request == {"seed": 7, "coords": coords, "label": 2}


def test_before_any_request_the_widget_shows_its_seed() -> None:
    widget = widgets.LatentExplorer(generator(), seed=4, label=1)
    z = latent.seeded(4, 8)
    assert torch.equal(widget.z, z)
    assert torch.equal(widget.image(), latent.generate(widget.G, z[None], torch.tensor([1]))[0])


def test_explorer_of_a_generator_without_classes() -> None:
    widget = widgets.LatentExplorer(generator(num_classes=0))
    assert "label" not in widget.spec["start"]
    assert ask(widget, {"seed": 0, "coords": [0.0] * 4})["frame"]["n"] == 1


def test_swap_is_one_z_under_every_class() -> None:
    G = generator()
    widget = widgets.ClassSwap(G, seed=2)
    reply = ask(widget, {"seed": 2, "coords": [0.5, 0.0]})
    assert torch.equal(pixels(reply["frame"]), shades(latent.class_swap(G, widget.z[None])[0]))
    assert widget.image().shape == (K, 1, 32, 32)
    assert widget.image()[0].ne(widget.image()[1]).any()


def test_mix_weighs_the_classes_by_t() -> None:
    G = generator()
    widget = widgets.ClassMix(G, 0, 2, seed=2)
    reply = ask(widget, {"seed": 2, "coords": [], "t": 0.25, "a": 0, "b": 2})
    expected = G.eval().from_weights(widget.z[None], torch.tensor([[0.75, 0.0, 0.25]]))
    assert torch.equal(pixels(reply["frame"])[0], shades(expected.detach())[0])
    ends = latent.class_swap(G, widget.z[None], [0, 2])[0]
    torch.testing.assert_close(widget.render(widget.request)[1:], ends)


def test_map_goes_through_three_z() -> None:
    """A, B and C of the map are the z of their seeds, and the plane between them is flat."""
    G = generator()
    widget = widgets.LatentMap(G, (4, 7, 5), label=2)
    z = {seed: latent.seeded(seed, 8) for seed in (4, 5, 7)}
    assert torch.equal(widget.z, z[4])
    h = 3**0.5 / 2
    corners = {4: [0.0, 0.0], 7: [1.0, 0.0], 5: [0.5, h]}
    # A square with a quarter of a side about the triangle, across, and as much of it up as down.
    assert widget.ranges == widget.spec["ranges"] == [[-0.25, 1.25], [h / 2 - 0.75, h / 2 + 0.75]]
    for seed, coords in corners.items():
        ask(widget, {"seed": 4, "coords": coords, "label": 2})
        torch.testing.assert_close(widget.z, z[seed])
        expected = latent.generate(G, z[seed][None], torch.tensor([2]))
        torch.testing.assert_close(widget.render(widget.request), expected)
    assert [mark[1:] for mark in widget.spec["marks"]] == list(corners.values())
    middle = [0.5, 3**0.5 / 6]
    ask(widget, {"seed": 4, "coords": middle, "label": 2})
    torch.testing.assert_close(widget.z, torch.stack([*z.values()]).mean(0))


def test_map_along_two_directions() -> None:
    G = generator(num_classes=0)
    widget = widgets.LatentMap(G, directions=2, seed=6, reach=3)
    ask(widget, {"seed": 6, "coords": [1.0, -2.0]})
    first, second = latent.principal_directions(G, 2)
    torch.testing.assert_close(widget.z, latent.seeded(6, 8) + first - 2 * second)
    assert widget.spec["ranges"] == [[-3, 3], [-3, 3]]
    assert widget.spec["marks"] == []


def test_a_maps_still_is_its_tiles_and_its_start() -> None:
    G = generator()
    widget = widgets.LatentMap(G, label=1)
    n, sheet = TILES, png(widget)
    assert sheet.shape == (32, 32 * (n * n + 1))
    (left, right), (low, high) = widget.ranges
    for row, column in ((0, 0), (1, 3), (n - 1, 0), (n - 1, n - 1)):
        u = left + (column + 0.5) / n * (right - left)
        v = high - (row + 0.5) / n * (high - low)
        image = widget.render({"seed": 0, "coords": [u, v], "label": 1})
        at = 32 * (row * n + column)
        assert (sheet[:, at : at + 32].int() - shades(image)[0, 0].int()).abs().max() <= 1
    assert torch.equal(sheet[:, -32:], shades(widget.image())[0])


def test_a_thumbnail_does_not_move_what_the_reader_looks_at() -> None:
    widget = widgets.LatentMap(generator())
    before = widget.request
    request = {"seed": 0, "coords": [0.5, 0.5], "label": 1}
    assert "frame" in ask(widget, {**request, "aside": True})
    assert widget.request == before
    ask(widget, request)
    assert widget.request == request


def test_map_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match=r"through must name three seeds, not \[1, 2\]"):
        widgets.LatentMap(generator(), (1, 2))
    with pytest.raises(ValueError, match="a map has 2 directions, not 3"):
        widgets.LatentMap(generator(), directions=3)


def test_side_by_side_shows_one_z_and_class_to_every_generator() -> None:
    late, early = generator(), generator()
    with torch.no_grad():
        early.project.weight.copy_(late.project.weight.flip(1))
    first, last = (latent.principal_directions(G, 1)[0] for G in (early, late))
    assert (first - last).norm() > 0.5
    widget = widgets.SideBySide({"early": early, "late": late}, seed=2, label=1)
    reply = ask(widget, {"seed": 3, "coords": [1.5], "label": 2})
    z = latent.seeded(3, 8) + 1.5 * last
    torch.testing.assert_close(widget.z, z)
    pictures = [latent.generate(G, z[None], torch.tensor([2])) for G in (early, late)]
    assert torch.equal(pixels(reply["frame"]), shades(torch.cat(pictures)))
    assert widget.image().shape == (2, 1, 32, 32)
    assert widget.spec["names"] == ["early", "late"]
    assert repr(widget) == "SideBySide(G=Generator, latent_dim=8, classes=3, seed=2)"


def test_side_by_side_wants_generators_of_a_kind() -> None:
    with pytest.raises(ValueError, match=r"differ in num_classes: \{'a': 3, 'b': 0\}"):
        widgets.SideBySide({"a": generator(), "b": generator(num_classes=0)})
    other = nets.Generator(latent_dim=9, num_classes=K, width=4)
    with pytest.raises(ValueError, match="differ in latent_dim"):
        widgets.SideBySide({"a": generator(), "b": other})
    with pytest.raises(ValueError, match="generators is empty"):
        widgets.SideBySide({})


def test_the_still_strip_holds_the_start() -> None:
    """A page without a kernel draws the explorer's middle, the whole row, both ends of the mix."""
    G = generator(channels=3)
    explorer = widgets.LatentExplorer(G, seed=1)
    z = explorer.z + torch.linspace(-4, 4, STRIP)[:, None] * explorer.directions[0]
    row = shades(latent.generate(G, z, torch.zeros(STRIP, dtype=torch.int64)))
    assert torch.equal(png(explorer), torch.cat([*row], dim=2).permute(1, 2, 0))
    assert torch.equal(row[STRIP // 2], shades(explorer.image()))
    swap = widgets.ClassSwap(G, seed=1)
    assert torch.equal(png(swap), torch.cat([*shades(swap.image())], dim=2).permute(1, 2, 0))
    mix = widgets.ClassMix(G, 0, 1, seed=1)
    ends = shades(mix.render({**mix.request, "t": 0.0})).permute(0, 2, 3, 1)
    assert torch.equal(png(mix)[:, :32], ends[0])
    assert torch.equal(png(mix)[:, -32:], ends[2])


def test_frames_keep_the_end_points_and_round() -> None:
    levels = torch.tensor([-1.0, -0.999, 0.0, 0.5, 1.0, 1.3]).view(1, 1, 1, 6)
    assert pixels(base.encode(levels)).flatten().tolist() == [0, 0, 128, 191, 255, 255]
    colour = torch.rand(2, 3, 4, 5) * 2 - 1
    assert torch.equal(pixels(base.encode(colour)), shades(colour))


def test_generator_keeps_its_mode_and_its_running_statistics() -> None:
    G = generator().train()
    before = {name: value.clone() for name, value in G.state_dict().items()}
    ask(widgets.LatentExplorer(G), {"seed": 1, "coords": [0.0] * 4, "label": 0})
    assert all(module.training for module in G.modules())
    assert all(torch.equal(before[name], value) for name, value in G.state_dict().items())


def test_widgets_leave_the_global_random_state_alone() -> None:
    torch.manual_seed(11)
    expected = torch.rand(1)
    G = generator()
    torch.manual_seed(11)
    widgets.ClassSwap(G).image()
    assert torch.equal(torch.rand(1), expected)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_generator_on_a_gpu() -> None:
    G = generator().cuda()
    widget = widgets.ClassMix(G, 0, 1)
    assert ask(widget, {**widget.request, "t": 0.5})["frame"]["n"] == 3
    assert next(G.parameters()).is_cuda
    assert widget.image().device.type == "cpu"


@pytest.mark.parametrize(
    ("part", "message"),
    [
        ({"label": 3}, r"label must be a class in 0\.\.2, not 3"),
        ({"label": -1}, "label must be"),
        ({"label": 1.5}, "label must be"),
        ({"coords": [1.0]}, "coords must be 4 finite numbers"),
        ({"coords": [float("nan"), 0, 0, 0]}, "coords must be"),
        ({"seed": "?"}, "invalid literal"),
        ({"seed": 2**32}, "seed must be a whole number in 0..4294967295"),
    ],
)
def test_a_bad_request_is_answered_and_changes_nothing(part: dict[str, Any], message: str) -> None:
    widget = widgets.LatentExplorer(generator())
    before = widget.request
    with pytest.raises(ValueError, match=message):
        widget.render({**before, **part})
    reply = ask(widget, {**before, **part})
    assert reply["error"].startswith("ValueError: ")
    assert "frame" not in reply
    assert widget.request == before


def test_what_the_generator_raises_reaches_the_reader() -> None:
    class Broken(nn.Module):
        latent_dim, num_classes, broken = 8, 2, False

        def __init__(self) -> None:
            super().__init__()
            self.project = nn.Linear(8, 4)

        def forward(self, z: Tensor, y: Tensor) -> Tensor:
            if self.broken:
                raise RuntimeError("the lights are out")
            return torch.zeros(len(z), 1, 4, 4)

    widget = widgets.LatentExplorer(Broken())
    widget.G.broken = True
    assert ask(widget, widget.request)["error"] == "RuntimeError: the lights are out"


class Plain(nn.Module):
    """Any reader's G: no attributes, no classes known, a picture of the wrong shape."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(8, 4)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        return self.layer(z)


def test_errors_name_the_argument() -> None:
    G = generator()
    with pytest.raises(TypeError, match="pass num_classes"):
        widgets.LatentExplorer(Plain(), latent_dim=8)
    with pytest.raises(TypeError, match="pass latent_dim"):
        widgets.LatentExplorer(Plain(), num_classes=2)
    with pytest.raises(ValueError, match="must return images of shape"):
        widgets.LatentExplorer(Plain(), latent_dim=8, num_classes=2)
    with pytest.raises(TypeError, match="from_weights"):
        widgets.ClassMix(Plain(), latent_dim=8, num_classes=2)
    with pytest.raises(ValueError, match="no classes"):
        widgets.ClassSwap(generator(num_classes=0))
    with pytest.raises(ValueError, match="class_names has 2 names, but G has 3"):
        widgets.ClassSwap(G, class_names=["a", "b"])
    with pytest.raises(ValueError, match="a must be one of"):
        widgets.ClassMix(G, "Trouser")
    with pytest.raises(ValueError, match="t must lie"):
        widgets.ClassMix(G, t=1.5)
    for wrong in (torch.zeros(2, 7), torch.zeros(8), torch.full((1, 8), torch.nan)):
        with pytest.raises(ValueError, match=r"directions must be finite and of shape \(k, 8\)"):
            widgets.LatentExplorer(G, directions=wrong)
    with pytest.raises(ValueError, match=r"k must lie in 1\.\.8, not 9"):
        widgets.LatentExplorer(G, directions=9)
    for reach in (0, float("inf")):
        with pytest.raises(ValueError, match="reach must be positive and finite"):
            widgets.LatentExplorer(G, reach=reach)
    for seed in (-1, 0.5, 2**32):
        with pytest.raises(ValueError, match="seed must be a whole number"):
            widgets.LatentExplorer(G, seed=seed)
    with pytest.raises(TypeError, match="LatentExplorer takes no sed; it takes directions, seed, "):
        widgets.LatentExplorer(G, sed=3)
    with pytest.raises(TypeError, match="ClassSwap takes no label"):
        widgets.ClassSwap(G, label=1)
    with pytest.raises(ValueError, match="no classes"):
        widgets.LatentExplorer(generator(num_classes=0), label=1)
    with pytest.raises(ValueError, match="seed and reach go with directions"):
        widgets.LatentMap(G, (1, 2, 3), seed=4)


FACES: dict[str, Any] = {
    "explorer": widgets.LatentExplorer,
    "swap": widgets.ClassSwap,
    "mix": widgets.ClassMix,
    "map": widgets.LatentMap,
    "beside": lambda G, **view: widgets.SideBySide({"one": G, "two": G}, **view),
}


@pytest.mark.parametrize("kind", FACES)
def test_one_view_serves_every_face(kind: str) -> None:
    rows = torch.randn(2, 8, generator=torch.Generator().manual_seed(3))
    view: widgets.View = {
        "directions": rows.double(),
        "seed": 5,
        "reach": 2.5,
        "latent_dim": 8,
        "num_classes": K,
        "class_names": ["x", "y", "z"],
    }
    labelled = kind in ("explorer", "map", "beside")
    label: widgets.View = {"label": "z"} if labelled else {}
    face = FACES[kind](generator(), **view, **label)
    spec = face.spec
    assert (spec["kind"], spec["classes"], spec["latent_dim"]) == (kind, ["x", "y", "z"], 8)
    assert (spec["reach"], spec["start"]["seed"]) == (2.5, 5)
    assert spec["start"].get("label") == (2 if labelled else None)
    sheet, size = png(face), spec["size"]
    assert sheet.shape == (size[0], spec["strip"] * size[1])
    sent = np.frombuffer(base64.b64decode(spec["rows"]), "<f4")  # as the front end reads it
    assert torch.equal(torch.from_numpy(sent.copy()).view(2, 8), rows)
    step = torch.tensor([1.0, -0.5])
    ask(face, {**face.request, "coords": step.tolist()})
    torch.testing.assert_close(face.z, latent.seeded(5, 8) + step @ rows)


def test_each_face_has_directions_of_its_own() -> None:
    G = generator()
    counts = {kind: len(face(G).directions) for kind, face in FACES.items()}
    assert counts == {"explorer": 4, "swap": 2, "mix": 0, "map": 2, "beside": 1}
    assert torch.equal(widgets.LatentExplorer(G).directions, latent.principal_directions(G, 4))


def test_a_page_is_told_of_the_files_that_draw_in_a_generators_place() -> None:
    """All of a face's generators have one, or none is named."""
    shipped, early = (zoo.load(f"acgan_fashion{suffix}") for suffix in ("", "_early"))
    files = [export.file_name(f"acgan_fashion{suffix}") for suffix in ("", "_early")]
    assert widgets.ClassSwap(shipped).spec["models"] == files[:1]
    beside = widgets.SideBySide({"early": early, "late": shipped})
    assert beside.spec["models"] == files[::-1]
    own = nets.Generator(width=4)
    assert widgets.ClassSwap(own).spec["models"] == []
    assert widgets.SideBySide({"own": own, "late": shipped}).spec["models"] == []


class Deconvolutions(nn.Module):
    """A G from elsewhere, as in torch's own DCGAN example: no linear layer, colour, no classes."""

    latent_dim, num_classes = 6, 0

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.ConvTranspose2d(6, 5, 4)
        self.last = nn.ConvTranspose2d(5, 3, 4, stride=4)

    def forward(self, z: Tensor, y: Tensor | None) -> Tensor:
        assert y is None
        return self.last(self.first(z[:, :, None, None]).relu()).tanh()


class Bare(nn.Module):
    """A G without any layer."""

    latent_dim, num_classes = 3, 2

    def forward(self, z: Tensor, y: Tensor) -> Tensor:
        return (z.mean(1) + y).view(-1, 1, 1, 1).expand(-1, 1, 4, 6).tanh()


@pytest.mark.parametrize(
    ("G", "shape", "sliders"),
    [
        (generator(), (1, 32, 32), 4),
        (generator(num_classes=0), (1, 32, 32), 4),
        (generator(channels=3, image_size=64), (3, 64, 64), 4),
        (generator(channels=3, image_size=128, num_classes=12), (3, 128, 128), 4),
        (generator(latent_dim=2), (1, 32, 32), 2),
        (Deconvolutions(), (3, 16, 16), 4),
        (Bare(), (1, 4, 6), 3),
    ],
)
def test_explorer_takes_any_generator(G: Any, shape: tuple[int, ...], sliders: int) -> None:
    widget = widgets.explorer(G, seed=2)
    assert isinstance(widget, widgets.LatentExplorer)
    assert len(widget.directions) == len(widget.spec["directions"]) == sliders
    y = torch.zeros(1, dtype=torch.int64) if G.num_classes else None
    coords = [0.5] * sliders
    z = latent.seeded(2, G.latent_dim) + 0.5 * widget.directions.sum(0)
    expected = latent.generate(G, z[None], y)
    assert expected.shape[1:] == shape
    reply = ask(widget, {**widget.request, "coords": coords})
    assert torch.equal(pixels(reply["frame"]), shades(expected))
    assert widget.spec["size"] == [*shape[1:]]
    colours = () if shape[0] == 1 else (3,)
    assert png(widget).shape == (shape[1], STRIP * shape[2], *colours)


class Elsewhere(nn.Module):
    """A G that takes labels first, and multiplies z by their embedding."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.layer = nn.Embedding(3, 6), nn.Linear(6, 3 * 8 * 8)

    def forward(self, labels: Tensor, noise: Tensor) -> Tensor:
        return self.layer(noise * self.embedding(labels)).tanh().view(-1, 3, 8, 8)


class TwoAnswers(nn.Module):
    """Its D: validity (n, 1), then class logits."""

    def __init__(self) -> None:
        super().__init__()
        self.heads = nn.Linear(3 * 8 * 8, 4)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        both = self.heads(x.flatten(1))
        return both[:, :1], both[:, 1:]


def test_explorer_takes_an_adapted_generator() -> None:
    torch.manual_seed(0)
    theirs = Elsewhere()
    G, _ = pairs.adapt(theirs, TwoAnswers(), latent_dim=6, image=(3, 8, 8))
    widget = widgets.explorer(G, seed=2, label=1)
    with torch.no_grad():
        expected = theirs(torch.tensor([1]), latent.seeded(2, 6)[None])[0]
    assert torch.equal(widget.image(), expected)
    assert widget.class_names == ("class 0", "class 1", "class 2")
    stretched = (theirs.layer.weight @ widget.directions.T).norm(dim=0)
    assert (stretched.diff() < 0).all()


def test_directions_follow_a_first_layer_of_any_kind() -> None:
    G = Deconvolutions()
    rows = latent.principal_directions(G, 4)
    torch.testing.assert_close(widgets.explorer(G).directions, rows)
    assert torch.equal(widgets.explorer(Bare()).directions, torch.eye(3))
    with pytest.raises(TypeError, match="no linear layer"):
        widgets.explorer(Bare(), directions=2)


def test_class_names_are_given_or_the_generators_own_or_numbers() -> None:
    G = generator()
    assert widgets.ClassSwap(G).class_names == ("class 0", "class 1", "class 2")
    G.class_names = ("x", "y", "z")
    assert widgets.ClassMix(G, "z", "x").request["a"] == 2
    assert widgets.ClassSwap(G, class_names=["p", "q", "r"]).spec["classes"] == ["p", "q", "r"]


def test_repr_is_short_stable_and_what_the_notebook_stores() -> None:
    widget = widgets.LatentExplorer(generator())
    text = "LatentExplorer(G=Generator, latent_dim=8, classes=3, seed=0)"
    assert repr(widget) == text
    bundle = widget._repr_mimebundle_()
    data = bundle[0] if isinstance(bundle, tuple) else bundle
    assert data["text/plain"] == text


def test_saved_state_is_small() -> None:
    """A notebook stores every widget's traits, front end included."""
    G = generator()
    for widget in (widgets.LatentExplorer(G), widgets.ClassSwap(G), widgets.LatentMap(G)):
        state = widget.get_state()
        many = isinstance(widget, widgets.LatentMap)
        assert len(state["_esm"]) < (40_000 if many else 30_000)
        assert len(state["_css"]) < 10_000
        assert len(state["still"]) < (40_000 if many else 12_000)
        assert not any(isinstance(value, bytes) for value in state.values())


def frames(count: int = 3, n: int = 4, channels: int = 1) -> list[tuple[int, Tensor]]:
    g = torch.Generator().manual_seed(0)
    shape = (n, channels, 5, 6)
    return [(100 * i, torch.randint(256, shape, generator=g).to(torch.uint8)) for i in range(count)]


@pytest.mark.parametrize("channels", [1, 3])
def test_scrubber_holds_every_picture_bit_for_bit(channels: int) -> None:
    given = frames(n=5, channels=channels)  # 15 pictures do not fill the sheet's 4 rows of 4
    widget = widgets.Scrubber(given, columns=2)
    sheet, across = png(widget), widget.spec["across"]
    for f, (_, images) in enumerate(given):
        for i, image in enumerate(images):
            row, column = divmod(f * 5 + i, across)
            cell = sheet[row * 5 : row * 5 + 5, column * 6 : column * 6 + 6]
            assert torch.equal(cell.view(5, 6, channels), image.permute(1, 2, 0))
    assert widget.spec["steps"] == [0, 100, 200]
    assert widget.spec["columns"] == 2
    assert repr(widget) == "Scrubber(frames=3, pictures=5, steps=0..200)"


def test_scrubber_has_a_column_for_each_label_or_is_about_square() -> None:
    assert widgets.Scrubber(frames(), labels=list("abcd")).spec["columns"] == 4
    assert [widgets.Scrubber(frames(n=n)).spec["columns"] for n in (1, 4, 5)] == [1, 2, 3]


def test_scrubber_says_what_frames_are_that_are_no_training_steps() -> None:
    widget = widgets.Scrubber(frames(), columns=2, title="Width", captions=["a", "b", "c"])
    assert (widget.spec["title"], widget.spec["captions"]) == ("Width", ["a", "b", "c"])
    plain = widgets.Scrubber(frames(), columns=2)
    assert (plain.spec["title"], plain.spec["captions"]) == ("Training", [])


def test_scrubber_errors_name_the_argument() -> None:
    with pytest.raises(ValueError, match="captions must name the 3 frames, not 2"):
        widgets.Scrubber(frames(), columns=2, captions=["a", "b"])
    with pytest.raises(ValueError, match="frames is empty"):
        widgets.Scrubber([])
    with pytest.raises(ValueError, match="uint8"):
        widgets.Scrubber([(0, torch.zeros(4, 1, 5, 6))])
    with pytest.raises(ValueError, match="one shape"):
        widgets.Scrubber([*frames(n=4), *frames(n=3)])
    with pytest.raises(ValueError, match="labels must name the 2 columns, not 3"):
        widgets.Scrubber(frames(), labels=["a", "b", "c"], columns=2)
    for columns in (0, 5):
        with pytest.raises(ValueError, match=r"columns must lie in 1\.\.4"):
            widgets.Scrubber(frames(), columns=columns)


def test_scoreboard_keeps_the_scores_of_each_frame() -> None:
    scores = [{"one": (str(i), ""), "two": ("2.0", "worse")} for i in range(3)]
    widget = widgets.Scoreboard(frames(), scores, ["a", "b", "c"], columns=2, title="Damage")
    assert widget.spec["scores"]["names"] == ["one", "two"]
    assert widget.spec["scores"]["rows"][2] == [["2", ""], ["2.0", "worse"]]
    assert (widget.spec["title"], widget.spec["captions"]) == ("Damage", ["a", "b", "c"])
    assert repr(widget) == "Scoreboard(frames=3, pictures=4, steps=0..200)"
    turned = [scores[0], *({"two": row["two"], "one": row["one"]} for row in scores[1:])]
    other = widgets.Scoreboard(frames(), turned, ["a", "b", "c"], columns=2, title="Damage")
    assert other.spec["scores"] == widget.spec["scores"]
    with pytest.raises(ValueError, match="same names for each of the 3 frames"):
        widgets.Scoreboard(frames(), scores[:2], ["a", "b", "c"], columns=2, title="Damage")
    with pytest.raises(ValueError, match="verdict must be"):
        widgets.Scoreboard(
            frames(), [{"one": ("1", "bad")}] * 3, ["a", "b", "c"], columns=2, title="Damage"
        )


# -- questions -----------------------------------------------------------------------------------

ASKED = widgets.ask("Is `a` * b < 1?", ["yes_", "no."], answer=1, why="It is ≈ 1.2, and `a` is 2.")


def test_a_quiz_carries_its_questions_and_little_else() -> None:
    widget = widgets.quiz([ASKED, ASKED], title="Before you look")
    assert widget.spec == {"kind": "quiz", "title": "Before you look", "questions": [ASKED, ASKED]}
    assert repr(widget) == "Quiz(questions=2)"
    assert sum(len(str(value)) for value in widget.get_state().values()) < 7_000


def test_a_quiz_without_widgets_is_markdown_with_folded_answers() -> None:
    data, _ = widgets.quiz([ASKED])._repr_mimebundle_()
    assert data["text/plain"] == "Quiz(questions=1)"
    assert "application/vnd.jupyter.widget-view+json" in data
    assert data["text/markdown"] == (
        "**Quiz**\n\nIs `a` \\* b \\< 1?\n\n- **a** yes\\_\n- **b** no.\n\n"
        "<details><summary>Answer</summary>\n\n**b** no. It is ≈ 1.2, and `a` is 2.\n\n</details>"
    )


def test_a_measured_answer_may_be_numpys() -> None:
    asked = widgets.ask("?", ["a", "b"], answer=np.argmax([0.1, 0.3]), why="b is.")
    assert type(asked["answer"]) is int


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"question": " "}, "question is empty"),
        ({"why": ""}, "why is empty"),
        ({"options": ["a", ""]}, r"options\[1\] is empty"),
        ({"options": ["a"]}, "at least 2 different"),
        ({"options": ["a", "b", "a"]}, "at least 2 different"),
        ({"answer": 2}, r"answer must lie in 0\.\.1"),
        ({"answer": -1}, r"answer must lie in 0\.\.1"),
        ({"why": "it is `a"}, "why .* has a backtick"),
    ],
)
def test_a_question_names_what_is_wrong(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        widgets.ask(**{**ASKED, **change})
    with pytest.raises(ValueError, match=message):
        widgets.quiz([{**ASKED, **change}])


def test_a_quiz_has_a_question() -> None:
    with pytest.raises(ValueError, match="questions is empty"):
        widgets.quiz([])
