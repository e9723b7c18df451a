"""Trained networks in files: the reader's own, and those that ship with the book.

`save` writes a network to a .safetensors file, which can hold no code, and `load` builds it again
from that file alone. The file's metadata say what it holds (class, arguments, names of the
classes, how it was trained), and a SHA-256 over everything in it. So one rename puts weights and
description in place together.

`ship` does the same for a network of the book, in data/checkpoints. Beside it stands NAME.json,
the same description for a reader's eye, and a model card, README.md, of all of them. Files from
before the metadata have their SHA-256 in NAME.json. This module imports nothing but torch,
safetensors and the standard library, so that `torch.hub` can use it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, nn

from acgan_lib import _files

MAX_BYTES = 3_000_000  # of a checkpoint that ships with the book
SUFFIX = ".safetensors"
# The only classes that a file can name, and the modules they are in.
_CLASSES = {
    "Generator": "acgan_lib.nets",
    "Discriminator": "acgan_lib.nets",
    "Judge": "acgan_lib.judge",
    "SplitGenerator": "acgan_lib.scale.splits",
    "PaperGenerator": "acgan_lib.experiments.ch17_paper_nets",
    "UNet": "acgan_lib.families.pix2pix",
    "Translator": "acgan_lib.families.cyclegan",
    "Flow": "acgan_lib.families.diffusion",
    "GrowingGenerator": "acgan_lib.families.progressive",
    "Matcher": "acgan_lib.families.text",
    "TextGenerator": "acgan_lib.families.text",
}
_KEY = "acgan_lib"  # of our part of a file's metadata
_ZEROS = "0" * 64  # stand where the SHA-256 will, while it is taken


def names(folder: Path | None = None) -> list[str]:
    """Return the names of the checkpoints in `folder` (data/checkpoints), sorted."""
    found = _folder(folder)
    known = {path.stem for path in found.glob("*.json")}
    # A kill just after the weights: their own manifest says that they ship.
    alone = (path for path in found.glob(f"*{SUFFIX}") if path.stem not in known)
    return sorted(known | {p.stem for p in alone if "name" in (_embedded(p.read_bytes()) or {})})


def manifest(name: str | os.PathLike[str], folder: Path | None = None) -> dict[str, Any]:
    """Return what is known of a checkpoint: class, kwargs, class names, its training and more.

    Args:
        name: as `load` takes it.
        folder: as `load` takes it.

    Raises:
        ValueError: no such checkpoint (the message has the names there are), or its manifest is
            damaged. Only `load` looks at the weights.
        FileNotFoundError: no such file.
    """
    path = _path(name, folder)
    if _is_name(name) and not path.is_file():
        return _beside(path)
    fields, _ = _read(path)
    fields.pop("checksum", None)  # whose place "sha256" and "bytes" take
    return fields


def load(
    name: str | os.PathLike[str],
    device: torch.device | str = "cpu",
    folder: Path | None = None,
) -> nn.Module:
    """Return a trained network in eval mode, float32, whose parameters ask for no gradients.

    It has the attributes that `save` kept: ``class_names`` and ``about``.

    Args:
        name: of a checkpoint that ships with the book (`names`), or a .safetensors file.
        device: where the network is to be.
        folder: where to look for names; data/checkpoints if left out.

    Raises:
        ValueError: no such checkpoint; or its file is truncated, damaged, not the one that its
            manifest describes, or not of this library.
        FileNotFoundError: no such file, or a manifest without its weights.
    """
    path = _path(name, folder)
    fields, content = _read(path)
    _check(content, fields, path)
    model = _build(fields["class"], fields["kwargs"])
    _fill(model, content, path)
    if _is_name(name):
        model.zoo_name = path.stem  # type: ignore[assignment]  # read by name_of
    if "class_names" in fields:
        model.class_names = tuple(fields["class_names"])  # type: ignore[assignment]
    if "about" in fields:
        model.about = fields["about"]
    return model.to(device).eval().requires_grad_(False)


def name_of(model: nn.Module) -> str | None:
    """Return the name under which a network ships, if `load` gave it and its weights are the same.

    The book's pages run the shipped generators themselves; a network that was trained on since
    is another one.
    """
    name = getattr(model, "zoo_name", None)
    if name not in names():
        return None
    shipped = load(name).state_dict()
    now = model.state_dict()
    same = now.keys() == shipped.keys() and all(
        torch.equal(value.cpu(), shipped[key]) for key, value in now.items()
    )
    return name if same else None


def save(
    model: nn.Module,
    path: str | os.PathLike[str],
    *,
    about: Mapping[str, Any] | None = None,
    half: bool = False,
) -> Path:
    """Save one of the library's networks to a file from which `load` builds it again.

    The file has the class and its arguments, the weights, ``model.class_names`` and
    ``model.about``, where there are any. It can hold no code. A kill at any moment leaves the old
    file or the new one, whole.

    Args:
        model: a Generator, Discriminator, Judge, PaperGenerator or SplitGenerator.
        path: ends in .safetensors; ``~`` is the home folder; missing folders are made.
        about: more on its training, by name: numbers, text, lists and tables of these.
        half: keep matrices and kernels as float16, for a network that is only looked at.

    Returns:
        The path, expanded.

    Raises:
        ValueError: the path has another ending, the network is none of these, its weights are not
            finite, its class names do not fit, or `about` holds what JSON cannot.
        OSError: the disk does not take the file; its old content is as it was.
    """
    path = _files.expand(path)
    if path.suffix != SUFFIX:
        raise ValueError(f"path must end in {SUFFIX}, so that load knows it, not {path.name!r}")
    about = {**getattr(model, "about", {}), **(about or {})}
    content = _content(model, {"about": _plain(about)} if about else {}, half=half)
    with _files.locked(path):
        _files.sweep(path)
        _files.write(path, content)
    return path


def ship(
    name: str,
    model: nn.Module,
    *,
    recipe: str | Mapping[str, Any],
    data: str,
    seed: int,
    steps: int,
    metrics: Mapping[str, Any],
    images_seen: int | None = None,
    command: str | None = None,
    licence: str = "MIT",
    class_names: Sequence[str] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    half: bool = False,
    max_bytes: int | None = None,
    folder: Path | None = None,
) -> Path:
    """Save a trained network of the book, its manifest and the model card; return its path.

    Weights are kept as float32 if the file then fits MAX_BYTES. If not, or where `half` asks for
    it, matrices and kernels are kept as float16; vectors (biases, statistics of BatchNorm, vectors
    of spectral norm) and integers never are. Nothing is written if the saved weights do not load
    again. One process at a time writes to a folder.

    Args:
        name: small letters, digits and underscores, such as "acgan_fashion".
        model: as `save` takes it.
        recipe: how it was trained: a sentence, or the settings by name.
        data: what it was trained on, as in LabelledImages.source.
        seed, steps, images_seen: of the training; a step sees one batch.
        metrics: measured values by name; an Estimate is stored by its fields.
        command: what trains it again; "make train-NAME" if left out.
        licence: of the weights.
        class_names: of its classes; ``model.class_names`` if left out.
        kwargs: arguments that rebuild `model`; read from its attributes if left out.
        half: keep matrices and kernels as float16, for a network that is only looked at.
        max_bytes: in place of MAX_BYTES, for a checkpoint that does not ship with the book.
        folder: where to save; data/checkpoints if left out.

    Raises:
        ValueError: the name or class is wrong, the weights are not finite or too large, or
            `kwargs` does not rebuild the network.
        OSError: as `save`.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"name must be small letters, digits and underscores, not {name!r}")
    facts = {
        "recipe": recipe,
        "data": data,
        "seed": seed,
        "steps": steps,
        "images_seen": images_seen,
        "metrics": _plain(metrics),
        "command": command or f"make train-{name}",
        "licence": licence,
    }
    largest = MAX_BYTES if max_bytes is None else max_bytes
    content = _content(
        model, facts, name=name, kwargs=kwargs, class_names=class_names, half=half, largest=largest
    )
    path = _folder(folder) / f"{name}{SUFFIX}"
    with _files.locked(path.parent):
        _files.sweep(path.parent / "*")
        _files.write(path, content)  # from here on `load` gives the new network
        # The rest is written from the files themselves, also what a kill left undone before.
        for each in names(folder):
            _write_if_new(path.with_name(f"{each}.json"), _json(manifest(each, folder)) + "\n")
        _write_if_new(path.with_name("README.md"), model_card(folder))
    return path


def model_card(folder: Path | None = None) -> str:
    """Return the model card of all checkpoints in `folder`, as Markdown, from their manifests."""
    every = [manifest(name, folder) for name in names(folder)]
    rows = [
        f"| `{m['name']}` | {m['class']} | {m['data']} | {m['seed']} | {_count(m['steps'])} "
        f"| {_count(m['images_seen'])} | {m['bytes'] / 1e6:.1f} MB, {m['dtype']} | {m['licence']} |"
        for m in every
    ]
    return "\n".join([_CARD_TOP, *rows, "", *(_section(m) for m in every), _CARD_END])


_FIX = (
    "In a clone, `git checkout data/checkpoints` brings the shipped files back; the command in "
    "the manifest trains the network again. Save a network of your own again."
)

_CARD_TOP = """\
# Trained networks

<!-- Written by acgan_lib.zoo from the manifests: change those, not this file. -->

Load one with `acgan_lib.zoo.load(NAME)`: a network in eval mode, after its file's SHA-256 was
compared with the manifest's. The files are safetensors, which can hold no code.

| name | class | trained on | seed | steps | images seen | file | licence |
|---|---|---|---|---|---|---|---|"""

_CARD_END = """\
## Intended use

Teaching: pictures, walks, measurements and exercises in this book, and a start for your own
experiments. A generator takes z, float (n, latent_dim) from N(0, 1), and, if it has classes, y,
int64 (n,); it returns images, float (n, C, H, W) in [-1, 1]: one grey channel, or three colours for
avatars. Clothes are 28x28 in the middle of 32x32. A judge takes such images and returns one logit
for each class; `factors_avatars` returns 6 logits for the ground, 4 for the skin, 8 for the hair
and 2 for glasses. InfoGAN's classes are the values of a code that it learned without labels; its
discriminator reads them off an image. A flow takes places between noise and an image, their times
and class weights, and returns velocities; `acgan_lib.families.diffusion.Sampler` draws with it.

## Limits

- The images have 32x32 or 64x64 pixels: ten kinds of clothes as one shop photographed them, letters
  in the typefaces of 37 font families, or ten kinds of drawn face.
- Each network is one seed. Other seeds give other figures: the book's comparisons use three.
- The judge errs on real images too. Its figures compare networks of this book with one another:
  they are neither Inception Scores nor FIDs.
- The metrics are of images sampled in eval mode, unranked, with the same number for each class.
- Those of clothes were trained on FashionMNIST: MIT licence, copyright (c) 2017 Zalando SE. Those
  of letters were trained on `data/glyphs`, pictures under CC0 1.0.
- Those of avatars were trained on remixes of designs by Lisa Wischofsky (adventurer, lorelei), The
  Visual Team (big-ears), Ashley Seo (big-smile), Natalia Spivak (dylan), Micah Lanier (micah),
  Webpixels (miniavs), Draftbit (personas), DiceBear (pixel-art) and Johan Melin (toon-head), under
  CC BY 4.0 or CC0 1.0: `data/avatars/LICENCES.md` has the sources.
- The avatars that G draws at 64 px have grounds slightly off the palette, ragged edges of hair, and
  glasses in fragments; a factor does not always survive a change of kind (see `kept_*`).
"""


def _folder(folder: Path | None) -> Path:
    return folder if folder is not None else _files.data_dir() / "checkpoints"


def _is_name(name: str | os.PathLike[str]) -> bool:
    """Tell a shipped checkpoint's name from a file's path."""
    return isinstance(name, str) and not name.endswith(SUFFIX) and not name.startswith("~")


def _path(name: str | os.PathLike[str], folder: Path | None) -> Path:
    """Return the file of a name, of which there must be a file or a manifest, or of a path."""
    if not _is_name(name):
        return _files.expand(name)
    known = names(folder)
    if name not in known:
        there = ", ".join(known) if known else "none; `make train-acgan_fashion` makes one"
        raise ValueError(
            f"no checkpoint {name!r} in {_folder(folder)}. There are: {there}. A file's name ends "
            f"in {SUFFIX}"
        )
    return _folder(folder) / f"{name}{SUFFIX}"


def _read(path: Path) -> tuple[dict[str, Any], bytes]:
    """Return a file's manifest, from its metadata or else from beside it, and its bytes."""
    if not path.is_file():
        beside = path.with_suffix(".json").is_file()
        more = f", though its manifest is there. {_FIX}" if beside else ""
        raise FileNotFoundError(f"{path} is missing{more}")
    content = path.read_bytes()
    fields = _embedded(content)
    if fields is None:
        return _beside(path), content
    if fields["class"] not in _CLASSES:
        raise ValueError(
            f"{path} holds a {fields['class']!r}, which this version of acgan_lib does not know; "
            f"it knows {', '.join(_CLASSES)}"
        )
    return fields | {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}, content


def _check(content: bytes, fields: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if the bytes are not the ones that the manifest describes."""
    wanted = str(fields.get("checksum", fields["sha256"]))
    if "checksum" in fields:
        content = content.replace(wanted.encode(), _ZEROS.encode(), 1)
    digest = hashlib.sha256(content).hexdigest()
    if digest != wanted:
        raise ValueError(
            f"{path} is not the file that its manifest describes: SHA-256 {digest}, not {wanted}. "
            f"It was changed, damaged or cut short. {_FIX}"
        )


def _embedded(content: bytes) -> dict[str, Any] | None:
    """Return the manifest in a file's own metadata, or None where it has none to be read."""
    try:
        header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
        fields = json.loads(header["__metadata__"][_KEY])
        return fields if {"checksum", "class", "kwargs"} <= fields.keys() else None
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _beside(path: Path) -> dict[str, Any]:
    """Return the manifest in the JSON file beside a file of weights."""
    where = path.with_suffix(".json")
    if not where.is_file():
        raise ValueError(
            f"{path} is damaged, or is no file of acgan_lib.save: its header has no manifest. "
            f"{_FIX}"
        )
    try:
        fields: dict[str, Any] = json.loads(where.read_text(encoding="utf-8"))
        missing = {"name", "class", "kwargs", "sha256", "bytes"} - fields.keys()
        if missing or fields["name"] != path.stem or fields["class"] not in _CLASSES:
            raise KeyError(*sorted(missing) or (fields["name"], fields["class"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"{where} is not a whole manifest of {path.stem}: {error!r}. {_FIX}"
        ) from error
    return fields


def _class(name: str) -> type[nn.Module] | None:
    """Return the class of a name in _CLASSES, else None. Imports its module only now."""
    if name not in _CLASSES:
        return None
    found: type[nn.Module] = getattr(importlib.import_module(_CLASSES[name]), name)
    return found


def _build(class_name: str, kwargs: Mapping[str, Any]) -> nn.Module:
    """Return a new network, leaving torch's random state as it was."""
    found = _class(class_name)
    assert found is not None, class_name
    try:
        with torch.random.fork_rng(devices=[]):
            return found(**kwargs)
    except TypeError as error:
        raise ValueError(f"kwargs {dict(kwargs)} do not build a {class_name}: {error}") from error


def _arguments(model: nn.Module) -> dict[str, Any]:
    """Return the arguments that build a network like this one, from its attributes."""
    if isinstance(kwargs := getattr(model, "kwargs", None), Mapping):
        return dict(kwargs)
    parameters = inspect.signature(type(model).__init__).parameters
    found = {name: getattr(model, name, None) for name in parameters}
    if "code_head" in found:  # a Discriminator keeps the heads themselves
        found["channels"], found["image_size"], _ = model.image_shape  # type: ignore[misc]
        found["class_head"] = getattr(found["class_head"], "out_features", 0)
        found["code_head"] = getattr(found["code_head"], "out_features", 0) // 2
        found["embedding_head"] = getattr(found["embedding_head"], "out_features", 0)
    plain = {name: value for name, value in found.items() if isinstance(value, int | float | tuple)}
    return {name: list(v) if isinstance(v, tuple) else v for name, v in plain.items()}


def _content(
    model: nn.Module,
    facts: Mapping[str, Any],
    *,
    name: str | None = None,
    kwargs: Mapping[str, Any] | None = None,
    class_names: Sequence[str] | None = None,
    half: bool = False,
    largest: float = math.inf,
) -> bytes:
    """Return a network as a file's bytes, which were seen to load."""
    class_name = type(model).__name__
    if type(model) is not _class(class_name):
        raise ValueError(
            f"model must be one of {', '.join(_CLASSES)}, not {type(model)}. Save another "
            "network's state_dict together with the code of its class"
        )
    fields: dict[str, Any] = {} if name is None else {"name": name}
    fields |= {
        "class": class_name,
        "kwargs": dict(kwargs) if kwargs is not None else _arguments(model),
    }
    called = class_names if class_names is not None else getattr(model, "class_names", None)
    if called is not None:
        count = getattr(model, "num_classes", len(called))
        if len(called) != count:
            raise ValueError(f"class_names has {len(called)} names, but the network {count}")
        fields["class_names"] = [str(each) for each in called]
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    bad = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise ValueError(f"model has values that are not finite, in {', '.join(bad)}")
    for dtype in ("float16",) if half else ("float32", "float16"):
        if dtype == "float16":
            state = _halved(state)
        about = {"dtype": dtype, **facts, "torch": str(torch.__version__)}
        content = _serialised(state, fields | about)
        if len(content) <= largest:
            _fill(_build(class_name, fields["kwargs"]), content, "a file")
            return content
    raise ValueError(
        f"model takes {len(content):,} bytes even as float16; a checkpoint has {largest:,} at "
        "most: make it narrower"
    )


def _halved(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return a state with its matrices and kernels as float16."""
    halves = {
        key: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for key, value in state.items()
    }
    if any(v.is_floating_point() and not v.isfinite().all() for v in halves.values()):
        raise ValueError("model has weights beyond float16's range (65504)")
    return halves


def _json(fields: Mapping[str, Any], indent: int | None = 2) -> str:
    try:
        return json.dumps(fields, indent=indent, ensure_ascii=False, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"what is said of a network must be numbers and text: {error}") from error


def _serialised(state: Mapping[str, Tensor], fields: Mapping[str, Any]) -> bytes:
    """Return safetensors bytes with a manifest in their metadata, and in it their SHA-256.

    The SHA-256 is that of the file with zeros in the place of the SHA-256. The metadata come
    first in a file, and "checksum" first in them.
    """
    text = _json({"checksum": _ZEROS, **fields}, indent=None)
    content: bytes = safetensors.save(dict(state), metadata={_KEY: text})
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(_ZEROS.encode(), digest.encode(), 1)


def _fill(model: nn.Module, content: bytes, path: Path | str) -> None:
    """Load safetensors bytes into a network, as its own dtypes; every entry must be there."""
    try:
        # load_state_dict copies into float32 parameters, and integers into integer buffers.
        state: dict[str, Tensor] = safetensors.load(content)
        model.load_state_dict(state, strict=True)
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(
            f"the weights for {path} do not fit {type(model).__name__} as `kwargs` builds it: "
            f"{error}"
        ) from error


def _plain(value: Any) -> Any:
    """Return a value as JSON can hold it: named tuples by their fields, tensors as lists."""
    if hasattr(value, "tolist"):  # tensors, and NumPy's arrays and numbers
        return _plain(value.tolist())
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return _plain(value._asdict())
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(inner) for inner in value]
    return value


def _write_if_new(path: Path, text: str) -> None:
    content = text.encode()
    if not path.is_file() or path.read_bytes() != content:
        _files.write(path, content)


def _section(fields: Mapping[str, Any]) -> str:
    """Return one checkpoint's part of the model card."""
    recipe = fields["recipe"]
    if isinstance(recipe, Mapping):
        recipe = ", ".join(f"{key} {value}" for key, value in recipe.items())
    lines = [
        f"## {fields['name']}",
        "",
        f"Trained by `{fields['command']}` with torch {fields['torch']}: {recipe}",
        "",
    ]
    lines += [f"- {key}: {_shown(value)}" for key, value in fields["metrics"].items()]
    return "\n".join([*lines, ""])


def _shown(value: Any) -> str:
    """Return a metric as text: an Estimate with its interval and n, numbers to four digits."""
    if isinstance(value, Mapping) and {"value", "low", "high", "n"} <= value.keys():
        low, high, n = _shown(value["low"]), _shown(value["high"]), _count(value["n"])
        return f"{_shown(value['value'])} [{low}, {high}] (n={n})"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_shown(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(_shown(inner) for inner in value)
    if isinstance(value, float) and math.isfinite(value):
        return f"{value:.4g}"
    return str(value)


def _count(value: int | None) -> str:
    return "not recorded" if value is None else f"{value:,}"
