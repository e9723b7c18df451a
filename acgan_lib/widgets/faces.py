"""A generator under controls, in a notebook with a live kernel or on a page of the book.

The front end sends a *request* (which z, where along the directions, which class), Python renders
it with the reader's own generator on its own device, and sends the picture back as base64 bytes.
What a request shows depends on nothing but the request and G, so any engine that renders the same
request draws the same picture.

A page without a kernel draws with the generator's exported file, where it carries one. If not, the
widget shows ``still``, a strip of pictures made when the widget was, and says why its controls are
asleep.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, TypedDict, Unpack

import torch
from torch import Tensor, nn

from acgan_lib import latent, zoo
from acgan_lib.directions import principal_directions, seeded
from acgan_lib.widgets import export
from acgan_lib.widgets.base import LiveFace, bundle, png

STRIP = 7  # pictures in a still strip: enough to see a move, about 5 KB at 32 px in grey
TILES = 5  # a map's still is TILES x TILES pictures, about 15 KB
HEIGHT = math.sqrt(3) / 2  # of an equilateral triangle of side 1
MODULES = ("ui", "engines", "link", "generator")  # of every face


class View(TypedDict, total=False):
    """What a widget shows of G: keyword arguments, as in ``LatentExplorer(G, seed=3)``.

    One dictionary serves several widgets: ``view: View = {"seed": 3}; ClassSwap(G, **view)``.

    Attributes:
        directions: one slider each. A number asks for that many principal directions of G's
            first layer (``principal_directions``); a finite tensor (k, latent_dim) holds them; a
            dictionary (``named_directions``) has a name and a row (latent_dim,) for each. Unless
            given, a face has 0 to 4 principal directions, as its docstring says; if G has no such
            layer, they are z's first coordinates.
        seed: chooses the first z from N(0, 1) (``directions.seeded``), in [0, 2**32); 0 if absent.
        label: the class shown first, by its name or its number in 0..K-1; 0 unless given. Faces
            that show several classes at once take none.
        reach: a slider adds up to this many times its direction to z; positive, 4 unless given.
            Principal directions have length 1, where each entry of z has standard deviation 1.
        latent_dim: the length of z; ``G.latent_dim`` unless given.
        num_classes: K, or 0 for a G without classes; ``G.num_classes`` unless given.
        class_names: one name for each class; ``G.class_names`` unless given, or else "class 0",
            "class 1" and so on.
    """

    directions: Tensor | int | Mapping[str, Tensor]
    seed: int
    label: int | str
    reach: float
    latent_dim: int | None
    num_classes: int | None
    class_names: Sequence[str] | None


class GeneratorFace(LiveFace):
    """A widget whose pictures a generator makes; subclasses say what a request means.

    ``G`` is called as ``G(z, y)``, or with y = None where it has no classes, in eval mode, on its
    own device; its modes are put back. It draws images (n, 1 or 3, H, W) in [-1, 1] of any size.

    Raises:
        TypeError: G lacks an attribute and the argument in its place is missing, or an argument
            is none of this face's.
        ValueError: an argument is out of its range, or G draws something else.
    """

    _esm = bundle(*MODULES)
    _kind: ClassVar[str]
    _sliders: ClassVar[int]  # the number of directions unless the reader gives them
    _one_class: ClassVar[bool] = True  # shows one at a time, or none; else it needs classes

    def __init__(
        self,
        G: nn.Module,
        view: View,
        start: Mapping[str, Any] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        takes = [name for name in View.__annotations__ if self._one_class or name != "label"]
        for name in view:
            if name not in takes:
                raise TypeError(
                    f"{type(self).__name__} takes no {name}; it takes {', '.join(takes)}"
                )
        self.G = G
        self.latent_dim = _count(view.get("latent_dim"), G, "latent_dim")
        self.class_names = _class_names(G, view.get("class_names"), view.get("num_classes"))
        if not self.class_names and ("label" in view or not self._one_class):
            raise ValueError(f"G ({type(G).__name__}) has no classes to choose from")
        self.reach = float(view.get("reach", 4.0))
        if not 0 < self.reach < math.inf:
            raise ValueError(f"reach must be positive and finite, not {self.reach}")
        self.seed = _whole("seed", view.get("seed", 0), 2**32)
        given = view.get("directions")
        names = list(given) if isinstance(given, Mapping) else None
        if isinstance(given, Mapping):
            given = torch.stack([*given.values()]) if given else 0
        self.directions = self._directions(given)
        self._request = {"seed": self.seed, **(start or {})}
        if self._one_class and self.class_names:
            self._request["label"] = view.get("label", 0)
        self._request = self._checked(self._request)
        strip = self._strip()
        spec = {
            "kind": self._kind,
            "start": self._request,
            "classes": list(self.class_names),
            "directions": names or [f"Direction {i + 1}" for i in range(len(self.directions))],
            "reach": self.reach,
            "size": list(strip.shape[-2:]),
            "strip": len(strip),
            "models": files(self._generators()),
            "latent_dim": self.latent_dim,
            "rows": base64.b64encode(self.directions.numpy().astype("<f4").tobytes()).decode(),
            **(more or {}),
        }
        about = (
            f"G={type(G).__name__}, latent_dim={self.latent_dim}, "
            f"classes={len(self.class_names)}, seed={self.seed}"
        )
        super().__init__(spec, png(strip, len(strip)), about)

    @property
    def request(self) -> dict[str, Any]:
        """The request last rendered for the front end, a plain dictionary (a copy)."""
        return {**self._request, "coords": list(self._request["coords"])}

    @property
    def z(self) -> Tensor:
        """The current latent vector on the CPU, (latent_dim,)."""
        return self._z(self._request)

    def image(self) -> Tensor:
        """Return the current picture as G gives it, (C, H, W) in [-1, 1] on the CPU."""
        return self.render(self._request)[0]

    def render(self, request: Mapping[str, Any]) -> Tensor:
        """Return the pictures that a request shows, as G gives them, on the CPU: (n, C, H, W).

        Raises ValueError where the request asks for what this widget does not have.
        """
        return self._images(self._checked(request)).float().cpu()

    def _images(self, request: dict[str, Any]) -> Tensor:
        """What ``render`` returns, of a checked request."""
        raise NotImplementedError

    def _strip(self) -> Tensor:
        """The pictures of ``still``; unless a face says otherwise, those of its start."""
        return self._images(self._request)

    def _generators(self) -> list[nn.Module]:
        return [self.G]

    def _z(self, request: dict[str, Any]) -> Tensor:
        """z = z(seed) + sum_i coords[i] * direction i."""
        z = seeded(request["seed"], self.latent_dim)
        return z + torch.tensor(request["coords"], dtype=torch.float32) @ self.directions

    def _checked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The request with every value in range and of its type, or a ValueError."""
        coords = [float(c) for c in request.get("coords", [0.0] * len(self.directions))]
        if len(coords) != len(self.directions) or not all(map(math.isfinite, coords)):
            raise ValueError(f"coords must be {len(self.directions)} finite numbers, not {coords}")
        checked: dict[str, Any] = {
            "seed": _whole("seed", request["seed"], 2**32),
            "coords": coords,
        }
        for name in ("label", "a", "b"):
            if name in request:
                checked[name] = self._class(name, request[name])
        if "t" in request:
            checked["t"] = float(request["t"])
            if not 0 <= checked["t"] <= 1:
                raise ValueError(f"t must lie in [0, 1], not {checked['t']}")
        return checked

    def _class(self, name: str, value: Any) -> int:
        if not isinstance(value, str):
            return _whole(name, value, len(self.class_names), "a class")
        if value not in self.class_names:
            raise ValueError(f"{name} must be one of {self.class_names}, not {value!r}")
        return self.class_names.index(value)

    def _directions(self, directions: Tensor | int | None) -> Tensor:
        """The directions asked for, or the face's own, float32 (k, latent_dim) on the CPU."""
        count = min(self._sliders, self.latent_dim) if directions is None else directions
        if isinstance(count, int):
            if count == 0:
                return torch.zeros(0, self.latent_dim)
            try:
                return principal_directions(self.G, count, self.latent_dim)
            except TypeError:  # no layer shows them
                if directions is not None:
                    raise
                return torch.eye(self.latent_dim)[:count]
        rows = torch.as_tensor(count).detach().float().cpu()
        if rows.ndim != 2 or rows.shape[1] != self.latent_dim or not rows.isfinite().all():
            raise ValueError(
                f"directions must be finite and of shape (k, {self.latent_dim}), "
                f"not {tuple(rows.shape)}"
            )
        return rows

    def _asked(self, request: Mapping[str, Any]) -> Tensor:
        checked = self._checked(request)
        images = self._images(checked)
        if not request.get("aside"):  # a thumbnail is not what the reader looks at
            self._request = checked
        return images


class LatentExplorer(GeneratorFace):
    """One picture under sliders along four latent directions, a 2-D pad and a class menu.

    ``G`` and what is raised: see GeneratorFace; keyword arguments: see View. "New z" takes the
    next seed. ``widget.z`` and ``widget.image()`` tell Python what the reader sees.
    """

    _kind, _sliders = "explorer", 4

    def __init__(self, G: nn.Module, **view: Unpack[View]) -> None:
        super().__init__(G, view)

    def _images(self, request: dict[str, Any]) -> Tensor:
        return _one(self.G, self._z(request), request)

    def _strip(self) -> Tensor:
        """Along the first direction, from -reach to reach; the middle one is the start."""
        start = self._request
        if not len(self.directions):
            return self._images(start)
        moves = torch.linspace(-self.reach, self.reach, STRIP).unsqueeze(1)
        return _one(self.G, self._z(start) + moves * self.directions[0], start)


def explorer(G: nn.Module, **view: Unpack[View]) -> LatentExplorer:
    """Return sliders over G's latent space: the widget to begin with, for any G.

    Args:
        G: as GeneratorFace's: in grey or colour, of any size, with or without classes. Networks
            from elsewhere that are called in another way pass through ``acgan_lib.adapt`` first.
        view: see View.

    Raises:
        TypeError, ValueError: as GeneratorFace.
    """
    return LatentExplorer(G, **view)


class ClassSwap(GeneratorFace):
    """One z under every class, in a row; two sliders move that z.

    Arguments as LatentExplorer's, without ``label``. ``widget.image()`` is the whole row,
    (K, C, H, W).
    """

    _kind, _sliders, _one_class = "swap", 2, False

    def __init__(self, G: nn.Module, **view: Unpack[View]) -> None:
        super().__init__(G, view)

    def image(self) -> Tensor:
        """Return the current row, one picture per class, on the CPU: (K, C, H, W) in [-1, 1]."""
        return self.render(self._request)

    def _images(self, request: dict[str, Any]) -> Tensor:
        z = self._z(request).unsqueeze(0)
        return latent.class_swap(self.G, z, range(len(self.class_names)))[0]


class ClassMix(GeneratorFace):
    """From class ``a`` to class ``b`` at fixed z, by class weights 1 - t and t.

    G needs ``from_weights(z, w)``, w (n, K). ``a`` and ``b`` are names or numbers, ``t`` is the
    first share of b, in [0, 1]. Other arguments as LatentExplorer's, without ``label``; no
    directions unless given.
    ``widget.image()`` is the mixed picture, (C, H, W).
    """

    _kind, _sliders, _one_class = "mix", 0, False

    def __init__(
        self,
        G: nn.Module,
        a: int | str = 0,
        b: int | str = 1,
        *,
        t: float = 0.5,
        **view: Unpack[View],
    ) -> None:
        super().__init__(G, view, {"a": a, "b": b, "t": t})

    def _images(self, request: dict[str, Any]) -> Tensor:
        """The mixed picture first, then pure a and pure b."""
        return self._mixes(request, torch.tensor([request["t"], 0.0, 1.0]))

    def _strip(self) -> Tensor:
        return self._mixes(self._request, torch.linspace(0, 1, STRIP))

    def _mixes(self, request: dict[str, Any], t: Tensor) -> Tensor:
        w = latent.mix_weights(len(self.class_names), request["a"], request["b"], t)
        return latent.generate_mixed(self.G, self._z(request).expand(len(t), -1), w)


class LatentMap(GeneratorFace):
    """A plane in latent space as a map of pictures; a path over it becomes a GIF or a PNG strip.

    ``through`` names the seeds of three z, the map's A, B and C, and the plane goes through them:
    z = A + u (B - A) + v (C - (A + B) / 2) / h, with h the height of an equilateral triangle of
    side 1, which three random z nearly make. ``directions`` asks for another plane instead:
    z(seed) + u d1 + v d2 with u and v up to ``reach``; d1 and d2 are the rows of a tensor
    (2, latent_dim), or, where it is 2, the first two principal directions of G. ``seed`` and
    ``reach`` go with ``directions`` alone.

    Other arguments, ``widget.z`` and ``widget.image()`` (C, H, W) as LatentExplorer's.
    """

    _esm = bundle(*MODULES, "gif", "map")
    _kind, _sliders = "map", 2

    def __init__(
        self, G: nn.Module, through: Sequence[int] = (0, 1, 2), **view: Unpack[View]
    ) -> None:
        if view.get("directions") is not None:
            plane = _square_plane(float(view.get("reach", 4.0)))
        else:
            if view.keys() & {"seed", "reach"}:
                raise ValueError("seed and reach go with directions: through names this map's z")
            view["directions"] = _triangle(through, _count(view.get("latent_dim"), G, "latent_dim"))
            view["seed"], plane = through[0], _triangle_plane(through)
        self.ranges: list[list[float]] = plane["ranges"]
        super().__init__(G, view, more={**plane, "tiles": TILES})

    def _directions(self, directions: Tensor | int | None) -> Tensor:
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
        z = seeded(start["seed"], self.latent_dim) + coords @ self.directions
        return _one(self.G, torch.cat([z, self._z(start).unsqueeze(0)]), start)


class SideBySide(GeneratorFace):
    """Several generators under the same z and class, such as the checkpoints of one training.

    ``generators`` names them in the order in which they stand; all take the same z and classes.
    The one slider follows a principal direction of the *last* one. Other arguments as
    LatentExplorer's; ``widget.image()`` is one picture for each generator, (n, C, H, W).
    """

    _kind, _sliders = "beside", 1

    def __init__(self, generators: Mapping[str, nn.Module], **view: Unpack[View]) -> None:
        if not generators:
            raise ValueError("generators is empty")
        self.generators = dict(generators)
        for name in ("latent_dim", "num_classes"):
            found = {key: getattr(G, name, view.get(name)) for key, G in self.generators.items()}
            if len(set(found.values())) > 1:
                raise ValueError(f"the generators differ in {name}: {found}")
        super().__init__(self._generators()[-1], view, more={"names": list(self.generators)})

    def _generators(self) -> list[nn.Module]:
        return list(self.generators.values())

    def image(self) -> Tensor:
        """Return the current pictures, one per generator, on the CPU: (n, C, H, W) in [-1, 1]."""
        return self.render(self._request)

    def _images(self, request: dict[str, Any]) -> Tensor:
        z = self._z(request)
        return torch.cat([_one(G, z, request).cpu() for G in self.generators.values()])


def _one(G: nn.Module, z: Tensor, request: Mapping[str, Any]) -> Tensor:
    """G's pictures of z (latent_dim,) or (n, latent_dim), all of the request's class if any."""
    z = z.view(-1, z.shape[-1])
    return latent.generate(
        G, z, torch.full((len(z),), request["label"]) if "label" in request else None
    )


def files(generators: Sequence[nn.Module]) -> list[str]:
    """The exported files that draw on a page without a kernel, all of them or none."""
    names = [zoo.name_of(G) for G in generators]
    return [export.file_name(name) for name in names if name] if all(names) else []


def _triangle(through: Sequence[int], latent_dim: int) -> Tensor:
    """The directions, (2, latent_dim), of the plane through the z of three seeds."""
    if len(through) != 3:
        raise ValueError(f"through must name three seeds, not {list(through)}")
    a, b, c = (seeded(seed, latent_dim) for seed in through)
    return torch.stack([b - a, (c - (a + b) / 2) / HEIGHT])


def _triangle_plane(through: Sequence[int]) -> dict[str, Any]:
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


def _square_plane(reach: float) -> dict[str, Any]:
    """The same of a map along two directions: its first path is a square about the start."""
    r = reach / 2
    square = [[r, 0.0], [0.0, r], [-r, 0.0], [0.0, -r], [r, 0.0]]
    return {"ranges": [[-reach, reach]] * 2, "marks": [], "path": [[0.0, 0.0], *square, [0.0, 0.0]]}


def _whole(name: str, value: Any, end: int, what: str = "a whole number") -> int:
    """The whole number that a value is, or a ValueError where it is none in 0..end - 1."""
    if int(value) != value or not 0 <= value < end:
        raise ValueError(f"{name} must be {what} in 0..{end - 1}, not {value}")
    return int(value)


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
