"""Moves through a generator's latent space: interpolation, class swaps and mixes.

Every function that runs the generator does so in eval mode (BatchNorm in train mode would make
one image depend on the others of its batch), without gradients, on the generator's own device,
and puts each submodule's mode back afterwards.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from acgan_lib.runtime import evaluating

__all__ = [
    "class_mix",
    "class_swap",
    "generate",
    "generate_mixed",
    "lerp",
    "slerp",
    "walk",
]


def lerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The straight line from ``a`` (t = 0) to ``b`` (t = 1), ends exact.

    ``a`` and ``b`` are (..., d) of one shape; ``t`` is a number or broadcasts with (..., 1).
    """
    _same_shape(a, b)
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    return torch.where(t == 1, b, a + t * (b - a))


def slerp(a: Tensor, b: Tensor, t: float | Tensor) -> Tensor:
    """The great-circle arc from ``a`` (t = 0) to ``b`` (t = 1), ends exact.

    The direction turns at constant speed along the arc (Shoemake 1985; for latent spaces, White
    2016, arXiv 1609.04468) while the length goes linearly from ``|a|`` to ``|b|``. For equal
    lengths this is ``(sin((1-t)w) a + sin(tw) b) / sin w``. Gaussian latent vectors have nearly
    equal lengths, about sqrt(d), which a straight line would cut short half-way.

    Vectors are the last dimension of ``a`` and ``b``, both (..., d); ``t`` is a number or
    broadcasts with (..., 1). Opposite vectors have no unique arc: one through a fixed
    perpendicular is taken (for d = 1, where there is none, the straight line). A zero vector has
    no direction: the straight line is taken.
    """
    _same_shape(a, b)
    t = torch.as_tensor(t, dtype=a.dtype, device=a.device)
    length_a = a.norm(dim=-1, keepdim=True)
    length_b = b.norm(dim=-1, keepdim=True)
    tiny = torch.finfo(a.dtype).tiny
    u = a / length_a.clamp_min(tiny)
    v = b / length_b.clamp_min(tiny)
    cosine = (u * v).sum(dim=-1, keepdim=True)
    side = v - cosine * u  # v's part perpendicular to u: its length is the angle's sine
    sine = side.norm(dim=-1, keepdim=True)
    # Below this the perpendicular part is rounding noise and gives no direction.
    flat = sine < 8 * torch.finfo(a.dtype).eps
    opposite = flat & (cosine < 0)
    side = torch.where(opposite, _perpendicular(u), side / sine.clamp_min(tiny))
    angle = torch.where(flat & ~opposite, torch.zeros_like(sine), torch.atan2(sine, cosine))
    arc = torch.cos(t * angle) * u + torch.sin(t * angle) * side
    arc = arc * ((1 - t) * length_a + t * length_b)
    straight = (length_a == 0) | (length_b == 0) | (opposite & (a.shape[-1] == 1))
    arc = torch.where(straight, lerp(a, b, t), arc)
    return torch.where(t == 0, a, torch.where(t == 1, b, arc))


def walk(z0: Tensor, z1: Tensor, steps: int, kind: Literal["slerp", "linear"] = "slerp") -> Tensor:
    """``steps`` evenly spaced latent vectors from ``z0`` to ``z1``, both (d,) -> (steps, d)."""
    if kind not in ("slerp", "linear"):
        raise ValueError(f"kind must be 'slerp' or 'linear', not {kind!r}")
    if steps < 2:
        raise ValueError(f"steps must be at least 2 (both ends), not {steps}")
    if z0.ndim != 1:
        raise ValueError(f"z0 must be one latent vector (d,), not of shape {tuple(z0.shape)}")
    _same_shape(z0, z1)
    t = torch.linspace(0, 1, steps, dtype=z0.dtype, device=z0.device).unsqueeze(1)
    a, b = z0.expand(steps, -1), z1.expand(steps, -1)
    return slerp(a, b, t) if kind == "slerp" else lerp(a, b, t)


def generate(G: nn.Module, z: Tensor, y: Tensor | None) -> Tensor:
    """``G(z, y)`` for pictures: z (n, latent_dim), y int64 (n,) or None -> (n, C, H, W).

    Raises ValueError where a label lies outside ``G.num_classes`` (when G has that attribute) or
    where G returns anything else than n images of 1 or 3 channels.
    """
    known = getattr(G, "num_classes", None)
    if y is not None and isinstance(known, int) and known and y.numel():
        low, high = int(y.min()), int(y.max())
        if low < 0 or high >= known:
            raise ValueError(f"classes must lie in 0..{known - 1}, got {low}..{high}")
    device, dtype = _placement(G)
    labels = None if y is None else y.to(device)
    with evaluating(G):
        images = G(z.to(device, dtype), labels)
    return _checked_images(images, len(z), "G(z, y)")


def generate_mixed(G: nn.Module, z: Tensor, weights: Tensor) -> Tensor:
    """``G.from_weights(z, w)``: z (n, latent_dim), class weights (n, K) -> (n, C, H, W).

    Raises TypeError where G has no ``from_weights``.
    """
    from_weights = getattr(G, "from_weights", None)
    if not callable(from_weights):
        raise TypeError(
            f"G ({type(G).__name__}) has no from_weights(z, w), which mixing classes needs: "
            "it takes class weights (n, K) where forward takes labels"
        )
    device, dtype = _placement(G)
    with evaluating(G):
        images = from_weights(z.to(device, dtype), weights.to(device, dtype))
    return _checked_images(images, len(z), "G.from_weights(z, w)")


def class_swap(G: nn.Module, z: Tensor, classes: Sequence[int] | None = None) -> Tensor:
    """Each z under each class: (n_z, latent_dim) -> (n_z, len(classes), C, H, W).

    ``classes`` is all of ``G.num_classes`` unless given. Row i is one latent vector, column j one
    class, so that what stays along a row is what z alone decides.
    """
    chosen = list(range(_class_count(G))) if classes is None else list(classes)
    if not chosen:
        raise ValueError("classes must name at least one class")
    y = torch.tensor(chosen, dtype=torch.int64)
    images = generate(G, z.repeat_interleave(len(y), dim=0), y.repeat(len(z)))
    return images.view(len(z), len(y), *images.shape[1:])


def class_mix(G: nn.Module, z: Tensor, a: int, b: int, steps: int) -> Tensor:
    """Each z from class ``a`` to class ``b``: (n_z, latent_dim) -> (n_z, steps, C, H, W).

    Step i gives class b the weight i / (steps - 1) and class a the rest.
    """
    if steps < 2:
        raise ValueError(f"steps must be at least 2 (both classes), not {steps}")
    w = mix_weights(_class_count(G), a, b, torch.linspace(0, 1, steps))
    images = generate_mixed(G, z.repeat_interleave(steps, dim=0), w.repeat(len(z), 1))
    return images.view(len(z), steps, *images.shape[1:])


def mix_weights(num_classes: int, a: int, b: int, t: Tensor) -> Tensor:
    """Class weights (n, K): 1 - t on class ``a`` and t on class ``b``, for t (n,) in [0, 1]."""
    for name, value in (("a", a), ("b", b)):
        if not 0 <= value < num_classes:
            raise ValueError(f"{name} must be a class in 0..{num_classes - 1}, not {value}")
    w = torch.zeros(len(t), num_classes, dtype=t.dtype)
    w[:, a] += 1 - t
    w[:, b] += t
    return w


def _same_shape(a: Tensor, b: Tensor) -> None:
    if a.shape != b.shape:
        raise ValueError(f"the two ends differ in shape: {tuple(a.shape)} and {tuple(b.shape)}")


def _perpendicular(u: Tensor) -> Tensor:
    """A unit vector at right angles to each unit vector of u (..., d); zero where d = 1."""
    axis = torch.zeros_like(u).scatter_(-1, u.abs().argmin(dim=-1, keepdim=True), 1.0)
    axis = axis - (axis * u).sum(dim=-1, keepdim=True) * u
    length: Tensor = axis.norm(dim=-1, keepdim=True)
    return axis / length.clamp_min(torch.finfo(u.dtype).tiny)


def _class_count(G: nn.Module) -> int:
    count = getattr(G, "num_classes", None)
    if not isinstance(count, int) or count < 1:
        raise ValueError(f"G ({type(G).__name__}) has no classes (num_classes = {count})")
    return count


def _placement(G: nn.Module) -> tuple[torch.device, torch.dtype]:
    """Where G's weights are and in which type; the CPU's float32 for a G without any."""
    first = next((p for p in G.parameters() if p.is_floating_point()), None)
    return (torch.device("cpu"), torch.float32) if first is None else (first.device, first.dtype)


def _checked_images(images: object, n: int, call: str) -> Tensor:
    if not isinstance(images, Tensor):
        raise ValueError(f"{call} must return a tensor of images, not {type(images).__name__}")
    if images.ndim != 4 or len(images) != n or images.shape[1] not in (1, 3):
        raise ValueError(
            f"{call} must return images of shape ({n}, 1 or 3, height, width), "
            f"not {tuple(images.shape)}"
        )
    return images
