"""What every measurement starts with: checked images, and networks run in eval mode.

A metric takes any numbers and returns a figure, a wrong one if the images have another range. So
each checks its images first.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from acgan_lib.runtime import evaluating

ROUNDING = 1e-3  # by which a value may leave [-1, 1]


def checked_images(x: Tensor, name: str = "x") -> Tensor:
    """Return `x` if it holds finite float images (n, C, H, W) in [-1, 1]; `name` is its name.

    Images in [0, 1] also lie in [-1, 1], so they cannot be told for sure. They are refused where
    chance is no explanation: at least 8 images whose darkest pixel of all lies in [0, 0.05] and
    whose brightest is above 0.9. In [-1, 1] that darkest pixel would be a middle grey.

    Raises:
        ValueError: if x is not that; the message says what came.
    """
    if not isinstance(x, Tensor) or not x.is_floating_point():
        kind = x.dtype if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(
            f"{name} must be a float tensor with values in [-1, 1], not {kind}: bytes become one "
            "by x.float() / 127.5 - 1, a LabelledImages by .normalised()"
        )
    if x.ndim != 4 or x.numel() == 0:
        is_empty = "" if x.numel() else "is empty: it "
        raise ValueError(f"{name} {is_empty}must have shape (n, C, H, W), not {tuple(x.shape)}")
    low, high = (float(v) for v in x.detach().aminmax())
    if not math.isfinite(low + high):
        bad = (~x.detach().isfinite()).flatten(1).sum(1)
        raise ValueError(
            f"{name} holds {int(bad.sum()):,} values that are not finite, "
            f"in {int((bad > 0).sum()):,} of its {len(x):,} images"
        )
    if max(-low, high) > 1 + ROUNDING:
        fix = "x / 127.5 - 1" if low >= 0 and high > 2 else "x.clamp(-1, 1), as a picture would be"
        raise ValueError(f"{name} must lie in [-1, 1], but spans {low:.3g}..{high:.3g}: use {fix}")
    if len(x) >= 8 and 0 <= low <= 0.05 and high > 0.9:
        raise ValueError(
            f"{name} must lie in [-1, 1], but seems to lie in [0, 1]: no pixel of its {len(x):,} "
            f"images is darker than {low:.3g}. Use 2 * x - 1"
        )
    return x


def checked_labels(y: Tensor, n: int, name: str = "y") -> Tensor:
    """Return `y` on the CPU if it is int64 (n,), from 0: a class for each of n images.

    Raises:
        ValueError: if it is not.
    """
    if not isinstance(y, Tensor) or y.dtype != torch.int64 or y.shape != (n,):
        kind = f"{y.dtype} {tuple(y.shape)}" if isinstance(y, Tensor) else type(y).__name__
        raise ValueError(f"{name} must be int64 ({n},), one label an image, not {kind}")
    if n and int(y.min()) < 0:
        raise ValueError(f"{name} must hold classes from 0, but holds {int(y.min())}")
    return y.cpu()


def in_batches(
    module: nn.Module,
    function: Callable[[Tensor], Tensor],
    x: Tensor,
    batch_size: int = 500,
    progress: str | None = None,
) -> Tensor:
    """Return ``function(x)`` on the CPU, where `function` runs `module`: eval mode, no gradients.

    Where `progress` names the work, a bar shows how far it is.

    Raises:
        ValueError: if x is empty.
    """
    if len(x) == 0:
        raise ValueError("there is nothing to measure: x is empty")
    with evaluating(module) as device:
        starts = tqdm(range(0, len(x), batch_size), desc=progress, disable=progress is None)
        return torch.cat([function(x[s : s + batch_size].to(device)).cpu() for s in starts])


def sample(
    G: nn.Module, n_per_class: int | Sequence[int], *, seed: int, batch_size: int = 500
) -> tuple[Tensor, Tensor]:
    """Draw so many images of each class from `G`: all of them kept, none ranked.

    Eval mode, because with batch statistics an image would depend on its neighbours. All of z is
    drawn on the CPU first, so the images depend neither on `batch_size` nor, but for rounding,
    on the device.

    Args:
        G: a generator ``G(z, y)`` with attributes latent_dim and num_classes. One with
            num_classes 0 counts as a single class, of label 0.
        n_per_class: images of each class: one number for all, or one for each.
        seed: fixes z.
        batch_size: images drawn at once; a matter of memory alone.

    Returns:
        x float32 (n, C, H, W) in [-1, 1] and y int64 (n,), class after class, on the CPU.

    Raises:
        ValueError: if a number is less than 1, or there is not one for each class.
    """
    latent_dim, num_classes = int(G.latent_dim), int(G.num_classes)  # type: ignore[arg-type]
    counts, classes = torch.as_tensor(n_per_class), torch.arange(max(num_classes, 1))
    if int(counts.min()) < 1 or counts.shape not in ((), classes.shape):
        raise ValueError(
            f"n_per_class must be at least 1, one number or {len(classes)}, got {n_per_class}"
        )
    y = classes.repeat_interleave(counts)
    z = torch.randn(len(y), latent_dim, generator=torch.Generator().manual_seed(seed))
    with evaluating(G) as device:
        starts = range(0, len(y), batch_size)
        chunks = [(z[s : s + batch_size].to(device), y[s : s + batch_size]) for s in starts]
        parts = [G(z_part, y_part.to(device)).float().cpu() for z_part, y_part in chunks]
    return torch.cat(parts), y
