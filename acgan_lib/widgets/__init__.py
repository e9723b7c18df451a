"""Things to touch: a generator under sliders, in a notebook with a live kernel.

Each widget is one anywidget over modules of ``front/``. The front end sends a *request* (which z,
where along the directions, which class), Python renders it with the reader's own generator on its
own device, and sends the picture back as base64 bytes. What a request shows depends on nothing but
the request and G, so any engine that renders the same request draws the same picture.

On a page without a kernel the widget shows ``still``, a strip of pictures made when the widget
was, and says why its controls are asleep. ``Scrubber`` needs no kernel at all.
"""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from PIL import Image
from torch import Tensor, nn

from acgan_lib import latent, zoo
from acgan_lib.data import to_uint8
from acgan_lib.widgets import export

__all__ = [
    "ClassMix",
    "ClassSwap",
    "LatentExplorer",
    "LatentMap",
    "Scoreboard",
    "Scrubber",
    "SideBySide",
    "enable_colab",
]

STRIP = 7  # pictures in a still strip: enough to see a move, about 5 KB
TILES = 5  # a map's still is TILES x TILES pictures, about 15 KB
FRONT = Path(__file__).parent / "front"
MODULES = ("ui", "engines", "link", "generator")  # of every face that a generator stands behind


def bundle(*modules: str) -> str:
    """One ES module from several of ``front/``, in the order that they need one another.

    anywidget takes a single text. Imports between the modules go, and so do indentation and
    whole-line comments, for each widget that a notebook saves carries its own copy.
    """
    *parts, last = [(FRONT / f"{name}.js").read_text(encoding="utf-8") for name in modules]
    needed = [re.sub(r"^export default .*$", "", part, flags=re.M) for part in parts]
    joined = "\n".join([*needed, last])  # anywidget calls the last module's default export
    joined = re.sub(r'^import [^;]*? from "\./\w+\.js";$', "", joined, flags=re.M)
    return compact(re.sub(r"^export (?!default)", "", joined, flags=re.M))


def compact(text: str) -> str:
    """A script or style sheet without indentation, whole-line comments and JSDoc."""
    bare = re.sub(r"/\*\*.*?\*/ ?", "", text, flags=re.S)
    lines = (line.strip() for line in bare.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


def enable_colab() -> bool:
    """Let Colab show third-party widgets; True there, and elsewhere False and nothing done."""
    try:
        from google.colab import output  # type: ignore
    except ImportError:
        return False
    output.enable_custom_widget_manager()
    return True


class _Face(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """What every widget here shares: the front end, its fixed facts and a short repr."""

    _css = compact((FRONT / "widgets.css").read_text(encoding="utf-8"))
    spec = traitlets.Dict().tag(sync=True)  # what the front end needs to know, once
    still = traitlets.Unicode().tag(sync=True)  # base64 PNG, pictures side by side or an atlas

    def __init__(self, spec: dict[str, Any], still: str, about: str) -> None:
        self._about = about  # read by repr, which ipywidgets may call while it sets up
        super().__init__(spec=spec, still=still)

    def __repr__(self) -> str:
        # Notebook outputs are compared as text, so no address and no trait may show up here.
        return f"{type(self).__name__}({self._about})"


class _GeneratorFace(_Face):
    """A widget whose pictures a generator makes; subclasses say what a request means."""

    _esm = bundle(*MODULES)

    def __init__(
        self,
        kind: str,
        G: nn.Module,
        *,
        start: dict[str, Any],
        directions: Tensor | int,
        seed: int,
        reach: float,
        latent_dim: int | None,
        class_names: Sequence[str] | None,
        num_classes: int | None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        self.G = G
        self.seed = seed
        self.latent_dim = _count(latent_dim, G, "latent_dim")
        self.class_names = _class_names(G, class_names, num_classes)
        self.directions = self._directions(directions)
        if not reach > 0:
            raise ValueError(f"reach must be positive, not {reach}")
        self.reach = float(reach)
        self._request: dict[str, Any] = self._checked({"seed": seed, **start})
        strip = self._strip()
        spec = {
            "kind": kind,
            "start": self._request,
            "classes": list(self.class_names),
            "directions": [f"Direction {i + 1}" for i in range(len(self.directions))],
            "reach": self.reach,
            "size": list(strip.shape[-2:]),
            "strip": len(strip),
            "models": self._models(),
            "latent_dim": self.latent_dim,
            "rows": base64.b64encode(self.directions.numpy().astype("<f4").tobytes()).decode(),
            **(more or {}),
        }
        about = (
            f"G={type(G).__name__}, latent_dim={self.latent_dim}, "
            f"classes={len(self.class_names)}, seed={seed}"
        )
        super().__init__(spec, _png(strip, len(strip)), about)
        self.on_msg(self._answer)

    @property
    def request(self) -> dict[str, Any]:
        """The request last rendered for the front end, a plain dictionary (a copy)."""
        return {**self._request, "coords": list(self._request["coords"])}

    @property
    def z(self) -> Tensor:
        """The current latent vector on the CPU, (latent_dim,)."""
        return self._z(self._request)

    def image(self) -> Tensor:
        """The current picture as G gives it, in [-1, 1] on the CPU."""
        return self.render(self._request)[0]

    def render(self, request: Mapping[str, Any]) -> Tensor:
        """The pictures that a request shows, as G gives them, on the CPU: (n, C, H, W).

        Raises ValueError where the request asks for what this widget does not have.
        """
        return self._images(self._checked(request)).float().cpu()

    def _images(self, request: dict[str, Any]) -> Tensor:
        raise NotImplementedError

    def _strip(self) -> Tensor:
        raise NotImplementedError

    def _models(self) -> list[str]:
        """The exported files that can stand in for G on a page without a kernel, or none."""
        return _files([self.G])

    def _z(self, request: dict[str, Any]) -> Tensor:
        """z = z(seed) + sum_i coords[i] * direction i."""
        z = latent.seeded(request["seed"], self.latent_dim)
        return z + torch.tensor(request["coords"], dtype=torch.float32) @ self.directions

    def _checked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request with every value in range and of its type, or a ValueError."""
        coords = [float(c) for c in request.get("coords", [0.0] * len(self.directions))]
        if len(coords) != len(self.directions) or not all(map(math.isfinite, coords)):
            raise ValueError(f"coords must be {len(self.directions)} finite numbers, not {coords}")
        checked: dict[str, Any] = {"seed": int(request["seed"]), "coords": coords}
        for name in ("label", "a", "b"):
            if name in request:
                checked[name] = self._class(name, request[name])
        if "t" in request:
            checked["t"] = float(request["t"])
            if not 0 <= checked["t"] <= 1:
                raise ValueError(f"t must lie in [0, 1], not {checked['t']}")
        return checked

    def _class(self, name: str, value: Any) -> int:
        if isinstance(value, str):
            if value not in self.class_names:
                raise ValueError(f"{name} must be one of {self.class_names}, not {value!r}")
            return self.class_names.index(value)
        if not 0 <= int(value) < len(self.class_names):
            raise ValueError(
                f"{name} must be a class in 0..{len(self.class_names) - 1}, not {value}"
            )
        return int(value)

    def _directions(self, directions: Tensor | int) -> Tensor:
        """Directions as float (k, latent_dim); a number asks for that many principal ones."""
        if isinstance(directions, int):
            if directions == 0:
                return torch.zeros(0, self.latent_dim)
            return latent.principal_directions(self.G, directions, self.latent_dim)
        rows = directions.detach().float().cpu()
        if rows.ndim != 2 or rows.shape[1] != self.latent_dim:
            raise ValueError(
                f"directions must be of shape (k, {self.latent_dim}), not {tuple(rows.shape)}"
            )
        return rows

    def _answer(self, _widget: object, message: Any, _buffers: object) -> None:
        """Render what the front end asks for; tell it what went wrong rather than stay silent."""
        if not isinstance(message, dict) or "request" not in message:
            return
        reply: dict[str, Any] = {"id": message.get("id")}
        try:
            request = self._checked(message["request"])
            reply["frame"] = encode(self._images(request))
            if not message["request"].get("aside"):  # a thumbnail is not what the reader looks at
                self._request = request
        except Exception as error:  # whatever G raises belongs in front of the reader
            reply["error"] = f"{type(error).__name__}: {error}"
        self.send(reply)


class LatentExplorer(_GeneratorFace):
    """One picture under sliders along latent directions, a 2-D pad and a class menu.

    ``G`` is called as ``G(z, y)``, or with y = None where it has no classes. ``directions`` is a
    number of principal directions of G's first layer, or a tensor (k, latent_dim); a slider adds
    up to ``reach`` times its direction to z. ``seed`` draws z from N(0, 1); "New z" takes the
    next seed. ``label`` is the first class shown, by name or number.

    ``latent_dim``, ``num_classes`` and ``class_names`` come from G's attributes unless given.
    ``widget.z`` and ``widget.image()`` (C, H, W) tell Python what the reader sees.
    Raises TypeError or ValueError where G, or an argument, does not fit.
    """

    def __init__(
        self,
        G: nn.Module,
        *,
        directions: Tensor | int = 4,
        seed: int = 0,
        label: int | str = 0,
        reach: float = 4.0,
        latent_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> None:
        start: dict[str, Any] = {"label": label}
        if not _class_names(G, class_names, num_classes):
            start = {}
        super().__init__(
            "explorer",
            G,
            start=start,
            directions=directions,
            seed=seed,
            reach=reach,
            latent_dim=latent_dim,
            class_names=class_names,
            num_classes=num_classes,
        )

    def _images(self, request: dict[str, Any]) -> Tensor:
        return _one(self.G, self._z(request), request)

    def _strip(self) -> Tensor:
        """Along the first direction, from -reach to reach; the middle one is the start."""
        start = self._request
        if not len(self.directions):
            return self._images(start)
        moves = torch.linspace(-self.reach, self.reach, STRIP).unsqueeze(1)
        return _one(self.G, self._z(start) + moves * self.directions[0], start)


class ClassSwap(_GeneratorFace):
    """One z under every class, in a row; sliders move that z. Arguments as LatentExplorer's.

    ``widget.image()`` is the whole row, (K, C, H, W).
    """

    def __init__(
        self,
        G: nn.Module,
        *,
        directions: Tensor | int = 2,
        seed: int = 0,
        reach: float = 4.0,
        latent_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> None:
        _require_classes(G, _class_names(G, class_names, num_classes))
        super().__init__(
            "swap",
            G,
            start={},
            directions=directions,
            seed=seed,
            reach=reach,
            latent_dim=latent_dim,
            class_names=class_names,
            num_classes=num_classes,
        )

    def image(self) -> Tensor:
        """The current row, one picture per class, on the CPU: (K, C, H, W) in [-1, 1]."""
        return self.render(self._request)

    def _images(self, request: dict[str, Any]) -> Tensor:
        z = self._z(request).unsqueeze(0)
        return latent.class_swap(self.G, z, range(len(self.class_names)))[0]

    def _strip(self) -> Tensor:
        return self._images(self._request)


class ClassMix(_GeneratorFace):
    """From class ``a`` to class ``b`` at fixed z, by class weights 1 - t and t.

    G needs ``from_weights(z, w)``, w (n, K). Other arguments as LatentExplorer's.
    ``widget.image()`` is the mixed picture, (C, H, W).
    """

    def __init__(
        self,
        G: nn.Module,
        a: int | str = 0,
        b: int | str = 1,
        *,
        t: float = 0.5,
        directions: Tensor | int = 0,
        seed: int = 0,
        reach: float = 4.0,
        latent_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> None:
        _require_classes(G, _class_names(G, class_names, num_classes))
        super().__init__(
            "mix",
            G,
            start={"a": a, "b": b, "t": t},
            directions=directions,
            seed=seed,
            reach=reach,
            latent_dim=latent_dim,
            class_names=class_names,
            num_classes=num_classes,
        )

    def _images(self, request: dict[str, Any]) -> Tensor:
        """The mixed picture first, then pure a and pure b."""
        return self._mixes(request, torch.tensor([request["t"], 0.0, 1.0]))

    def _strip(self) -> Tensor:
        return self._mixes(self._request, torch.linspace(0, 1, STRIP))

    def _mixes(self, request: dict[str, Any], t: Tensor) -> Tensor:
        w = latent.mix_weights(len(self.class_names), request["a"], request["b"], t)
        return latent.generate_mixed(self.G, self._z(request).expand(len(t), -1), w)


class LatentMap(_GeneratorFace):
    """A plane in latent space as a map of pictures; a path over it becomes a GIF or a PNG strip.

    ``through`` names the seeds of three z, the map's A, B and C, and the plane goes through them:
    z = A + u (B - A) + v (C - (A + B) / 2) / h, with h the height of an equilateral triangle of
    side 1, which three random z nearly make. ``directions`` asks for another plane instead:
    z(seed) + u d1 + v d2 with u and v up to ``reach``; d1 and d2 are the rows of a tensor
    (2, latent_dim), or, where it is 2, the first two principal directions of G.

    Other arguments, ``widget.z`` and ``widget.image()`` (C, H, W) as LatentExplorer's.
    """

    _esm = bundle(*MODULES, "gif", "map")

    def __init__(
        self,
        G: nn.Module,
        through: Sequence[int] = (0, 1, 2),
        *,
        directions: Tensor | int | None = None,
        seed: int = 0,
        label: int | str = 0,
        reach: float = 4.0,
        latent_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> None:
        if directions is None:
            directions = _triangle(through, _count(latent_dim, G, "latent_dim"))
            seed, view = through[0], _triangle_view(through)
        else:
            view = _square_view(reach)
        self.ranges: list[list[float]] = view["ranges"]
        super().__init__(
            "map",
            G,
            start={"label": label} if _class_names(G, class_names, num_classes) else {},
            directions=directions,
            seed=seed,
            reach=reach,
            latent_dim=latent_dim,
            class_names=class_names,
            num_classes=num_classes,
            more={**view, "tiles": TILES},
        )

    def _directions(self, directions: Tensor | int) -> Tensor:
        rows = super()._directions(directions)
        if len(rows) != 2:
            raise ValueError(f"a map has 2 directions, not {len(rows)}")
        return rows

    def _images(self, request: dict[str, Any]) -> Tensor:
        return _one(self.G, self._z(request), request)

    def _strip(self) -> Tensor:
        """The map's tiles, row by row from its upper left corner, then the start."""
        start = self._request
        (left, right), (low, high) = self.ranges
        at = (torch.arange(TILES) + 0.5) / TILES
        v, u = torch.meshgrid(high - at * (high - low), left + at * (right - left), indexing="ij")
        coords = torch.stack([u.flatten(), v.flatten()], dim=1)
        z = torch.cat(
            [
                latent.seeded(start["seed"], self.latent_dim) + coords @ self.directions,
                self._z(start).unsqueeze(0),
            ]
        )
        return _one(self.G, z, start)


class SideBySide(_GeneratorFace):
    """Several generators under the same z and class, such as the checkpoints of one training.

    ``generators`` names them in the order in which they stand; all take the same z and classes.
    The sliders follow principal directions of the *last* one. Other arguments as
    LatentExplorer's; ``widget.image()`` is one picture for each generator, (n, C, H, W).
    """

    def __init__(
        self,
        generators: Mapping[str, nn.Module],
        *,
        directions: Tensor | int = 1,
        seed: int = 0,
        label: int | str = 0,
        reach: float = 4.0,
        latent_dim: int | None = None,
        class_names: Sequence[str] | None = None,
        num_classes: int | None = None,
    ) -> None:
        if not generators:
            raise ValueError("generators is empty")
        self.generators = dict(generators)
        self._agree("latent_dim", latent_dim)
        self._agree("num_classes", num_classes)
        G = list(self.generators.values())[-1]
        super().__init__(
            "beside",
            G,
            start={"label": label} if _class_names(G, class_names, num_classes) else {},
            directions=directions,
            seed=seed,
            reach=reach,
            latent_dim=latent_dim,
            class_names=class_names,
            num_classes=num_classes,
            more={"names": list(self.generators)},
        )

    def _agree(self, name: str, given: int | None) -> None:
        found = {key: getattr(G, name, given) for key, G in self.generators.items()}
        if len(set(found.values())) > 1:
            raise ValueError(f"the generators differ in {name}: {found}")

    def _models(self) -> list[str]:
        return _files(list(self.generators.values()))

    def image(self) -> Tensor:
        """The current pictures, one per generator, on the CPU: (n, C, H, W) in [-1, 1]."""
        return self.render(self._request)

    def _images(self, request: dict[str, Any]) -> Tensor:
        z = self._z(request)
        return torch.cat([_one(G, z, request).cpu() for G in self.generators.values()])

    def _strip(self) -> Tensor:
        return self._images(self._request)


class Scrubber(_Face):
    """A slider and a play button over saved pictures, such as ``SampleGrid.frames``.

    ``frames`` is a list of (step, uint8 images (n, C, H, W)), all of one shape. ``labels`` name
    the columns; there are ``columns`` of them, by default as many as labels, or as makes the grid
    about square. Where frames are not training steps, ``captions`` says what each one is, and
    ``title`` names the slider. All pictures travel in one PNG inside the widget (``nbytes``), so
    that it is alive on a static page too; 20 frames of 40 FashionMNIST pictures are about 0.5 MB.
    """

    _esm = bundle("ui", "scrubber")

    def __init__(
        self,
        frames: Sequence[tuple[int, Tensor]],
        labels: Sequence[str] | None = None,
        *,
        columns: int | None = None,
        title: str = "Training",
        captions: Sequence[str] | None = None,
    ) -> None:
        steps, pictures = _checked_frames(frames)
        count, n = pictures.shape[:2]
        columns = columns or (len(labels) if labels else math.ceil(math.sqrt(n)))
        if not 1 <= columns <= n:
            raise ValueError(f"columns must lie in 1..{n} (the pictures in a frame), not {columns}")
        if labels and len(labels) != columns:
            raise ValueError(f"labels must name the {columns} columns, not {len(labels)}")
        if captions and len(captions) != count:
            raise ValueError(f"captions must name the {count} frames, not {len(captions)}")
        across = math.ceil(math.sqrt(count * n))  # near square: browsers limit a picture's side
        spec = {
            "kind": "scrubber",
            "steps": steps,
            "n": n,
            "columns": columns,
            "labels": list(labels or []),
            "title": title,
            "captions": list(captions or []),
            "size": list(pictures.shape[-2:]),
            "across": across,
        }
        self.steps = steps
        still = _png(pictures.flatten(0, 1), across)
        self.nbytes = len(still)
        about = f"frames={count}, pictures={n}, steps={steps[0]}..{steps[-1]}"
        super().__init__(spec, still, about)


class Scoreboard(Scrubber):
    """A Scrubber that shows, under the pictures of each frame, a table of its scores.

    ``scores`` has one mapping for each frame, all with the same names: what to print, and a
    verdict, "worse", "better" or "" for neither. ``captions`` are short names of the frames.
    Other arguments as Scrubber's. It needs no kernel.
    """

    _esm = bundle("ui", "scrubber", "scoreboard")

    def __init__(
        self,
        frames: Sequence[tuple[int, Tensor]],
        scores: Sequence[Mapping[str, tuple[str, str]]],
        captions: Sequence[str],
        labels: Sequence[str] | None = None,
        *,
        columns: int | None = None,
        title: str,
    ) -> None:
        if len(scores) != len(frames) or any(row.keys() != scores[0].keys() for row in scores):
            raise ValueError(
                f"scores must have the same names for each of the {len(frames)} frames"
            )
        known = ("worse", "better", "")
        wrong = [v for row in scores for _, v in row.values() if v not in known]
        if wrong:
            raise ValueError(f"a verdict must be one of {known}, not {wrong[0]!r}")
        super().__init__(frames, labels, columns=columns, title=title, captions=captions)
        rows = [[list(pair) for pair in row.values()] for row in scores]
        self.spec = {**self.spec, "scores": {"names": list(scores[0]), "rows": rows}}


def encode(images: Tensor) -> dict[str, Any]:
    """Images (n, C, H, W) in [-1, 1] as the frame a front end draws.

    ``data`` is base64 of the raw bytes (n, H, W, C), [-1, 1] mapped linearly on 0..255. At these
    sizes that is faster than PNG at both ends, and a string survives every widget manager.
    """
    pixels = to_uint8(_clamped(images))
    n, c, h, w = pixels.shape
    data = pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    return {"n": n, "h": h, "w": w, "c": c, "data": base64.b64encode(data).decode("ascii")}


def _one(G: nn.Module, z: Tensor, request: Mapping[str, Any]) -> Tensor:
    """G's pictures of z (latent_dim,) or (n, latent_dim), all of the request's class if any."""
    z = z.view(-1, z.shape[-1])
    return latent.generate(
        G, z, torch.full((len(z),), request["label"]) if "label" in request else None
    )


def _files(generators: Sequence[nn.Module]) -> list[str]:
    """The exported files of generators, all of them or none: a page has only what ships."""
    names = [zoo.name_of(G) for G in generators]
    return [export.file_name(name) for name in names if name] if all(names) else []


HEIGHT = math.sqrt(3) / 2  # of an equilateral triangle of side 1


def _triangle(through: Sequence[int], latent_dim: int) -> Tensor:
    """The directions, (2, latent_dim), of the plane through the z of three seeds."""
    if len(through) != 3:
        raise ValueError(f"through must name three seeds, not {list(through)}")
    a, b, c = (latent.seeded(seed, latent_dim) for seed in through)
    return torch.stack([b - a, (c - (a + b) / 2) / HEIGHT])


def _triangle_view(through: Sequence[int]) -> dict[str, Any]:
    """What the front end knows of a map through three z: its edges, its corners, a first path."""
    corners = [[0.0, 0.0], [1.0, 0.0], [0.5, HEIGHT]]
    return {
        "directions": ["Across", "Up"],
        "ranges": [[-0.25, 1.25], [HEIGHT / 2 - 0.75, HEIGHT / 2 + 0.75]],
        "marks": [
            [f"{n}, seed {s}", *at] for n, s, at in zip("ABC", through, corners, strict=True)
        ],
        "path": [*corners, corners[0]],
    }


def _square_view(reach: float) -> dict[str, Any]:
    """The same of a map along two directions: its first path is a square about the start."""
    r = reach / 2
    square = [[r, 0.0], [0.0, r], [-r, 0.0], [0.0, -r], [r, 0.0]]
    return {"ranges": [[-reach, reach]] * 2, "marks": [], "path": [[0.0, 0.0], *square, [0.0, 0.0]]}


def _clamped(images: Tensor) -> Tensor:
    """A reader's G may leave [-1, 1]; a widget shows it all the same. uint8 passes."""
    return images if images.dtype == torch.uint8 else images.clamp(-1, 1)


def _png(images: Tensor, across: int) -> str:
    """Images (n, C, H, W) row by row in one base64 PNG, ``across`` to a row."""
    pixels = to_uint8(_clamped(images))
    n, c, h, w = pixels.shape
    down = math.ceil(n / across)
    sheet = torch.zeros(down * across, c, h, w, dtype=torch.uint8)
    sheet[:n] = pixels
    sheet = (
        sheet.view(down, across, c, h, w).permute(0, 3, 1, 4, 2).reshape(down * h, across * w, c)
    )
    buffer = io.BytesIO()
    Image.fromarray(sheet.squeeze(2).numpy() if c == 1 else sheet.numpy()).save(
        buffer, "PNG", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _checked_frames(frames: Sequence[tuple[int, Tensor]]) -> tuple[list[int], Tensor]:
    """Steps, and pictures uint8 (frames, n, C, H, W)."""
    if not frames:
        raise ValueError("frames is empty: was the SampleGrid passed to fit as a callback?")
    steps = [int(step) for step, _ in frames]
    shapes = {tuple(images.shape) for _, images in frames}
    if len(shapes) != 1:
        raise ValueError(f"frames must all be of one shape, not {sorted(shapes)}")
    shape = shapes.pop()
    if len(shape) != 4 or shape[1] not in (1, 3) or any(i.dtype != torch.uint8 for _, i in frames):
        raise ValueError(f"frames must hold uint8 images (n, 1 or 3, height, width), got {shape}")
    return steps, torch.stack([images.cpu() for _, images in frames])


def _count(given: int | None, G: nn.Module, name: str) -> int:
    value = given if given is not None else getattr(G, name, None)
    if not isinstance(value, int):
        raise TypeError(f"G ({type(G).__name__}) has no {name}: pass {name}")
    return value


def _class_names(
    G: nn.Module, class_names: Sequence[str] | None, num_classes: int | None
) -> tuple[str, ...]:
    """The names given, or G's own, or "class 0" ...; empty where G has no classes."""
    count = num_classes if num_classes is not None else getattr(G, "num_classes", None)
    names = class_names if class_names is not None else getattr(G, "class_names", None)
    if names is None:
        if count is None:
            raise TypeError(f"G ({type(G).__name__}) has no num_classes: pass num_classes")
        return tuple(f"class {i}" for i in range(count))
    if count is not None and count != len(names):
        raise ValueError(f"class_names has {len(names)} names, but G has {count} classes")
    return tuple(names)


def _require_classes(G: nn.Module, names: tuple[str, ...]) -> None:
    if not names:
        raise ValueError(f"G ({type(G).__name__}) has no classes to choose from")
