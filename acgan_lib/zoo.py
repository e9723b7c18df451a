"""Trained networks that ship with the book: saved with a manifest, checked when loaded.

Each checkpoint is two files in data/checkpoints: NAME.safetensors holds the weights and can hold
no code, NAME.json says how they came about and has their SHA-256. A model card, README.md, is
written from all the manifests. This module imports nothing but torch, safetensors and the
standard library, so that `torch.hub` can use it.
"""

from __future__ import annotations

import hashlib
import importlib
import inspect
import json
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors import torch as safetensors
from torch import Tensor, nn

from acgan_lib._files import data_dir

MAX_BYTES = 3_000_000
# The only classes that a manifest can name, and the modules they are in.
_CLASSES = {
    "Generator": "acgan_lib.nets",
    "Discriminator": "acgan_lib.nets",
    "Judge": "acgan_lib.judge",
    "SplitGenerator": "acgan_lib.scale.splits",
}
# What a manifest must have for its network to be loaded.
_NEEDED = frozenset(("name", "class", "kwargs", "sha256", "bytes"))


def names(folder: Path | None = None) -> list[str]:
    """Return the names of the checkpoints in `folder` (data/checkpoints), sorted."""
    return sorted(path.stem for path in _folder(folder).glob("*.json"))


def manifest(name: str, folder: Path | None = None) -> dict[str, Any]:
    """Return what is known of a checkpoint: class, kwargs, recipe, data, seed, metrics and more.

    Raises ValueError, with the names there are, if there is no such checkpoint, or if its
    manifest is damaged.
    """
    path = _folder(folder) / f"{name}.json"
    known = names(folder)
    if name not in known:
        there = ", ".join(known) if known else "none; `make train-acgan_fashion` makes one"
        raise ValueError(f"no checkpoint {name!r} in {path.parent}. There are: {there}")
    try:
        fields: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        missing = _NEEDED - fields.keys()
        if missing or fields["name"] != name or fields["class"] not in _CLASSES:
            raise KeyError(*sorted(missing) or (fields["name"], fields["class"]))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is not a whole manifest of {name}: {error!r}. {_FIX}") from error
    return fields


def load(name: str, device: torch.device | str = "cpu", folder: Path | None = None) -> nn.Module:
    """Return a trained network in eval mode, float32, whose parameters ask for no gradients.

    Raises:
        ValueError: no such checkpoint; or its weights are truncated, damaged, or not the ones
            that its manifest describes.
        FileNotFoundError: the manifest is there and the weights are not.
    """
    fields = manifest(name, folder)
    path = _folder(folder) / f"{name}.safetensors"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing, though its manifest is there. {_FIX}")
    content = path.read_bytes()
    _check(content, fields, path)
    model = _build(fields["class"], fields["kwargs"])
    _fill(model, content, path)
    model.zoo_name = name  # type: ignore[assignment]  # read by name_of
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
    kwargs: Mapping[str, Any] | None = None,
    half: bool = False,
    max_bytes: int | None = None,
    folder: Path | None = None,
) -> Path:
    """Save a trained network, its manifest and the model card; return the weights' path.

    Weights are kept as float32 if they then fit MAX_BYTES. If not, or where `half` asks for it,
    matrices and kernels are kept as float16; vectors (biases, statistics of BatchNorm, vectors of
    spectral norm) and integers never are. Nothing is written if the saved weights do not load
    again.

    Args:
        name: small letters, digits and underscores, such as "acgan_fashion".
        model: a Generator, Discriminator or Judge.
        recipe: how it was trained: a sentence, or the settings by name.
        data: what it was trained on, as in LabelledImages.source.
        seed, steps, images_seen: of the training; a step sees one batch.
        metrics: measured values by name; an Estimate is stored by its fields.
        command: what trains it again; "make train-NAME" if left out.
        licence: of the weights.
        kwargs: arguments that rebuild `model`; read from its attributes if left out.
        half: keep matrices and kernels as float16, for a network that is only looked at.
        max_bytes: in place of MAX_BYTES, for a checkpoint that does not ship with the book.
        folder: where to save; data/checkpoints if left out.

    Raises ValueError if the name or class is wrong, the weights are not finite or too large, or
    `kwargs` does not rebuild the network.
    """
    if not re.fullmatch(r"[a-z0-9_]+", name):
        raise ValueError(f"name must be small letters, digits and underscores, not {name!r}")
    class_name = type(model).__name__
    if type(model) is not _class(class_name):
        raise ValueError(f"model must be one of {', '.join(_CLASSES)}, not {type(model)}")
    arguments = dict(kwargs) if kwargs is not None else _arguments(model)
    content, dtype = _pack(model, half, MAX_BYTES if max_bytes is None else max_bytes)
    path = _folder(folder) / f"{name}.safetensors"
    _fill(_build(class_name, arguments), content, path)
    fields = {
        "name": name,
        "class": class_name,
        "kwargs": arguments,
        "sha256": hashlib.sha256(content).hexdigest(),
        "bytes": len(content),
        "dtype": dtype,
        "recipe": recipe,
        "data": data,
        "seed": seed,
        "steps": steps,
        "images_seen": images_seen,
        "metrics": _plain(metrics),
        "command": command or f"make train-{name}",
        "licence": licence,
        "torch": str(torch.__version__),
    }
    # Serialised before anything is written, so that a field JSON cannot hold changes nothing.
    text = json.dumps(fields, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    _replace({path: content, path.with_suffix(".json"): text.encode()})
    _replace({path.parent / "README.md": model_card(folder).encode()})
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
    "the manifest trains the network again."
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
int64 (n,); it returns images, float (n, 1, 32, 32) in [-1, 1], with 28x28 clothes in their middle.
The judge takes such images and returns one logit for each class. InfoGAN's classes are the values
of a code that it learned without labels; its discriminator reads them off an image.

## Limits

- The images are greyscale, of 32x32 or 64x64 pixels: ten kinds of clothes as one shop photographed
  them, or letters in the typefaces of 37 font families.
- Each network is one seed. Other seeds give other figures: the book's comparisons use three.
- The judge errs on real images too. Its figures compare networks of this book with one another:
  they are neither Inception Scores nor FIDs.
- The metrics are of images sampled in eval mode, unranked, with the same number for each class.
- Those of clothes were trained on FashionMNIST: MIT licence, copyright (c) 2017 Zalando SE. Those
  of letters were trained on `data/glyphs`, pictures under CC0 1.0.
"""


def _folder(folder: Path | None) -> Path:
    return folder if folder is not None else data_dir() / "checkpoints"


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
    with torch.random.fork_rng(devices=[]):
        return found(**kwargs)


def _arguments(model: nn.Module) -> dict[str, Any]:
    """Return the numbers among a network's attributes that its constructor takes as arguments."""
    parameters = inspect.signature(type(model).__init__).parameters
    found = {name: getattr(model, name, None) for name in parameters}
    return {name: value for name, value in found.items() if isinstance(value, int | float)}


def _pack(model: nn.Module, half: bool, max_bytes: int) -> tuple[bytes, str]:
    """Return a network's state as safetensors, and its dtype: "float32", or else "float16"."""
    state = {key: value.detach().cpu().contiguous() for key, value in model.state_dict().items()}
    bad = [k for k, v in state.items() if v.is_floating_point() and not v.isfinite().all()]
    if bad:
        raise ValueError(f"model has values that are not finite, in {', '.join(bad)}")
    content = safetensors.save(state)
    if len(content) <= max_bytes and not half:
        return content, "float32"
    halves = {
        key: value.half() if value.is_floating_point() and value.ndim > 1 else value
        for key, value in state.items()
    }
    if any(v.is_floating_point() and not v.isfinite().all() for v in halves.values()):
        raise ValueError("model has weights beyond float16's range (65504)")
    content = safetensors.save(halves)
    if len(content) > max_bytes:
        raise ValueError(
            f"model takes {len(content):,} bytes even as float16; a checkpoint has "
            f"{max_bytes:,} at most: make it narrower"
        )
    return content, "float16"


def _check(content: bytes, fields: Mapping[str, Any], path: Path) -> None:
    """Raise ValueError if the bytes are not the ones that the manifest describes."""
    if len(content) < fields["bytes"]:
        raise ValueError(
            f"{path} is truncated: {len(content):,} of {fields['bytes']:,} bytes. {_FIX}"
        )
    digest = hashlib.sha256(content).hexdigest()
    if digest != fields["sha256"]:
        raise ValueError(
            f"{path} is not the file that its manifest describes: SHA-256 {digest}, not "
            f"{fields['sha256']}. It was changed, or a save was interrupted. {_FIX}"
        )


def _fill(model: nn.Module, content: bytes, path: Path) -> None:
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


def _replace(contents: Mapping[Path, bytes]) -> None:
    """Put files in place, each whole or not at all.

    All are complete on the disk before the first gets its name. A kill between two renames leaves
    new weights beside an old manifest: `load` then says so, because their hashes differ.
    """
    partial = {path.with_name(f".{path.name}.{os.getpid()}"): path for path in contents}
    try:
        for temporary, path in partial.items():
            with temporary.open("wb") as stream:
                stream.write(contents[path])
                stream.flush()
                os.fsync(stream.fileno())
        for temporary, path in partial.items():
            temporary.replace(path)
    finally:
        for temporary in partial:
            temporary.unlink(missing_ok=True)


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
