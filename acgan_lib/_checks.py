"""What `train.fit` looks at before its first step, so that errors name the argument and the fix.

The probes are two real images and two latents, in eval mode: no random state, no statistics of
BatchNorm and no gradient is touched.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib.data import UNLABELLED
from acgan_lib.nets import ConditionalGenerator, DiscriminatorOutput
from acgan_lib.objectives import Objective
from acgan_lib.runtime import evaluating, seeded

_ADAPT = "wrap networks from elsewhere with adapt(G, D, ...)"
_in_training: set[int] = set()
_lock = threading.Lock()


def data_set(data: Any) -> int:
    """Return the number of images.

    Raises:
        ValueError: if the data lack what the loop asks of them (`train.Images`).
    """
    asked = ("num_classes", "class_names", "channels", "size", "to", "batch", "__len__")
    if missing := [name for name in asked if not hasattr(data, name)]:
        raise ValueError(
            f"data ({type(data).__name__}) has no {', '.join(missing)}: make it a LabelledImages, "
            "with data.image_folder or data.from_torchvision"
        )
    return len(data)


def networks(G: nn.Module, D: nn.Module) -> torch.device:
    """Return the device on which G and D lie.

    Raises:
        ValueError: G lacks what the loop reads from it, or D lies elsewhere.
    """
    read = ("latent_dim", "num_classes", "channels", "image_size")
    if missing := [name for name in read if not hasattr(G, name)]:
        raise ValueError(f"G ({type(G).__name__}) has no {', '.join(missing)}: {_ADAPT}")
    devices = {}
    for name, module in (("G", G), ("D", D)):
        found = {p.device for p in module.parameters()}
        if len(found) != 1:
            raise ValueError(f"{name} must have weights, on one device, not on {len(found)}")
        devices[name] = found.pop()
    if devices["G"] != devices["D"]:
        raise ValueError(f"D is on {devices['D']}, G on {devices['G']}: use D.to(...)")
    return devices["G"]


@contextlib.contextmanager
def alone(G: nn.Module, D: nn.Module) -> Iterator[None]:
    """Refuse networks that another `fit` trains now: in another thread, or around a callback.

    Raises:
        ValueError: naming the network.
    """
    weights = {id(p): name for name, m in (("G", G), ("D", D)) for p in m.parameters()}
    with _lock:
        if busy := sorted({weights[i] for i in _in_training & weights.keys()}):
            raise ValueError(
                f"{' and '.join(busy)}: another fit is training it at this moment. Wait for its "
                "end, or train a copy (copy.deepcopy)"
            )
        _in_training.update(weights)
    try:
        yield
    finally:
        with _lock:
            _in_training.difference_update(weights)


def batch_size(wanted: int, available: int, rows: int) -> int:
    """Return the batch size: all of a set that is smaller than the batch wanted.

    Raises:
        ValueError: if the set has fewer than 2 images, or ``rows`` does not divide the batch.
    """
    if available < 2:
        raise ValueError(f"data has {available} images, but BatchNorm needs 2 or more in a batch")
    if wanted % rows:
        raise ValueError(f"config.batch_size must be a multiple of {rows} here, got {wanted}")
    return wanted if wanted <= available else available - available % rows


def game(
    G: ConditionalGenerator, D: nn.Module, data: Any, objective: Objective, x: Tensor, y: Tensor,
    z: Tensor,
) -> None:  # fmt: skip
    """Compare G, D and the data with one another and with what the objective needs.

    Args:
        data: its ``num_classes``, ``channels``, ``size``, and its ``labels`` if it has any.
        x, y: some of its images, as they come in a batch, and their labels.
        z: as many latents.

    Raises:
        ValueError: naming what does not fit.
    """
    _labels(data, objective, y)
    _images(data, x)
    with evaluating(G), evaluating(D), seeded(0, x.device):
        _generator(G, data, objective, z)
        _discriminator(D, data, objective, x)


def _labels(data: Any, objective: Objective, y: Tensor) -> None:
    every = getattr(data, "labels", y)
    every = every if isinstance(every, Tensor) and every.numel() else y
    if every.dtype != torch.int64 or y.ndim != 1:
        raise ValueError(f"data must give labels as int64 (n,), got {y.dtype} {tuple(y.shape)}")
    hidden = int((every == UNLABELLED).sum())
    if hidden and objective.needs.real_labels:
        raise ValueError(
            f"data hides {hidden} of {len(every)} labels (-1), but {objective.name} needs them "
            "all: take objectives.semi(), or data.labelled()"
        )
    low, high = int(every.min()), int(every.max())
    if low < UNLABELLED or high >= data.num_classes:
        raise ValueError(f"data's labels must lie in 0..{data.num_classes - 1}: {low} to {high}")


def _images(data: Any, x: Tensor) -> None:
    shape = (data.channels, data.size, data.size)
    if not x.is_floating_point() or x.shape[1:] != shape:
        raise ValueError(
            f"data must give square images, float (n, {', '.join(map(str, shape))}) as its "
            f"channels and size say, got {x.dtype} {tuple(x.shape)}"
        )
    if not bool(torch.isfinite(x).all()):
        raise ValueError("data has images that are not finite (NaN or infinity)")
    if float(x.abs().max()) > 1 + 1e-3:
        raise ValueError(
            f"data must give images in [-1, 1], got {float(x.min()):g} to {float(x.max()):g}: "
            "divide pixel values by 127.5, minus 1"
        )


def _generator(G: ConditionalGenerator, data: Any, objective: Objective, z: Tensor) -> None:
    K, needs = data.num_classes, objective.needs
    if G.num_classes not in (0, K):
        raise ValueError(
            f"G has {G.num_classes} classes, but data has {K}: Generator(num_classes={K})"
        )
    if needs.g_labels and G.num_classes == 0:
        raise ValueError(
            f"G has no classes, but {objective.name} asks it for one: Generator(num_classes={K})"
        )
    if (G.channels, G.image_size) != (data.channels, data.size):
        raise ValueError(
            f"G draws {G.channels} x {G.image_size} px images, but data has {data.channels} x "
            f"{data.size} px: Generator(channels={data.channels}, image_size={data.size}), or load "
            "the data in G's size"
        )
    if needs.codes > G.latent_dim:
        raise ValueError(
            f"G has latent_dim {G.latent_dim}, but {objective.name} reads {needs.codes} codes in z"
        )
    first, last = (_run("G", G, z, torch.full_like(z[:, 0], k).long()) for k in (0, max(K - 1, 0)))
    shape = (len(z), data.channels, data.size, data.size)
    if not isinstance(first, Tensor) or first.shape != shape:
        got = tuple(first.shape) if isinstance(first, Tensor) else type(first).__name__
        raise ValueError(f"G's image_size and channels promise images {shape}, but it draws {got}")
    if not bool(torch.isfinite(first).all()):
        raise ValueError("G draws images that are not finite (NaN or infinity): see its weights")
    if needs.g_labels and K > 1 and torch.equal(first, last):
        raise ValueError(
            f"G ignores y: it draws the same image for classes 0 and {K - 1}, but "
            f"{objective.name} asks it for a class"
        )


def _discriminator(D: nn.Module, data: Any, objective: Objective, x: Tensor) -> None:
    K, n = data.num_classes, len(x)
    needs, heads = objective.needs, objective.needs.heads(K)
    fix = ", ".join(f"{head}={size}" for head, size in heads.items() if size)
    fix = f"{objective.name} needs Discriminator({fix})"
    for way in ("label_input", "projection"):
        told = getattr(D, way, None)
        if isinstance(told, int) and not isinstance(told, bool) and told != heads[way]:
            raise ValueError(f"D has {way}={told}, but {fix}")
    y = torch.zeros(n, dtype=torch.int64, device=x.device) if needs.d_labels else None
    x = x.detach().requires_grad_()
    with torch.enable_grad():  # for the name of D's last operation
        out = _run("D", D, x, *(() if y is None else (y,)))
        last = out if y is None else _run("D", D, x, y + K - 1)
    if not hasattr(out, "source_logit"):
        kind = type(out).__name__
        raise ValueError(f"D must return a nets.DiscriminatorOutput, not a {kind}: {_ADAPT}")
    source = out.source_logit
    if source.shape != (n,):
        got = tuple(source.shape)
        raise ValueError(f"D's source_logit must be ({n},) for {n} images, got {got}: {_ADAPT}")
    if not bool(torch.isfinite(source).all()):
        raise ValueError("D's logits are not finite (NaN or infinity): see its weights")
    if y is not None and K > 1 and torch.equal(source, last.source_logit):
        raise ValueError(f"D ignores y: it says the same of classes 0 and {K - 1}, but {fix}")
    _heads(out, heads, fix, n)
    _logits(out)


def _heads(out: DiscriminatorOutput, heads: dict[str, int], fix: str, n: int) -> None:
    """Compare what D returned with the heads that are needed; more than those are welcome."""
    if size := heads["class_head"]:
        if out.class_logits is None:
            raise ValueError(f"D has no class head, but {fix}")
        if out.class_logits.shape != (n, size):
            got = tuple(out.class_logits.shape)
            raise ValueError(f"D's class logits must be ({n}, {size}), got {got}: {fix}")
    if size := heads["embedding_head"]:
        if out.embedding is None:
            raise ValueError(f"D has no embedding head, but {fix}")
        if out.embedding.shape != (n, size):
            got = tuple(out.embedding.shape)
            raise ValueError(f"D's embedding must be ({n}, {size}), got {got}: {fix}")
    if size := heads["code_head"]:
        if out.code is None:
            raise ValueError(f"D has no code head, but {fix}")
        for part in out.code:
            if part.shape != (n, size):
                got = tuple(part.shape)
                raise ValueError(f"D's codes must be ({n}, {size}), got {got}: {fix}")


def _logits(out: DiscriminatorOutput) -> None:
    """Refuse probabilities, which the losses would take for logits."""
    rows = out.class_logits
    classes = False
    if rows is not None and rows.shape[1] > 1:
        classes = bool(((rows >= 0).all(1) & ((rows.sum(1) - 1).abs() < 1e-3)).all())
    source = ends_in_sigmoid(out.source_logit)
    if classes or source:
        which = " and ".join(n for n, found in (("source", source), ("class", classes)) if found)
        raise ValueError(
            f"D's {which} outputs are probabilities, but the losses take logits: leave out D's "
            "last sigmoid and softmax, or use adapt(G, D, ..., probabilities=True)"
        )


def ends_in_sigmoid(value: Tensor) -> bool:
    """Tell whether a sigmoid is the last operation that changed a tensor's values."""
    node = value.grad_fn
    while node is not None and node.name().rstrip("0123456789") in _VIEWS:
        node = node.next_functions[0][0]
    return node is not None and node.name().startswith("SigmoidBackward")


_VIEWS = {
    f"{view}Backward" for view in (
        "Squeeze", "Unsqueeze", "View", "UnsafeView", "ReshapeAlias", "Select", "Slice", "Alias",
        "Permute", "Transpose", "T", "Expand", "ToCopy", "Clone",
    )
}  # fmt: skip


def _run(name: str, module: nn.Module, *inputs: Any) -> Any:
    try:
        return module(*inputs)
    except (ValueError, TypeError, RuntimeError, IndexError, AttributeError) as error:
        shapes = " and ".join(str(tuple(part.shape)) for part in inputs)
        raise ValueError(f"{name} cannot take {shapes}: {error}") from error
