"""Running a network to measure it: in eval mode, without gradients, batch by batch."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from acgan_lib.runtime import evaluating


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
    G: nn.Module, n_per_class: int, *, seed: int, batch_size: int = 500
) -> tuple[Tensor, Tensor]:
    """Draw the same number of images of each class from `G`: all of them kept, none ranked.

    Eval mode, because with batch statistics an image would depend on its neighbours. All of z is
    drawn on the CPU first, so the images depend neither on `batch_size` nor, but for rounding,
    on the device.

    Args:
        G: a generator ``G(z, y)`` with attributes latent_dim and num_classes. One with
            num_classes 0 counts as a single class, of label 0.
        n_per_class: images of each class.
        seed: fixes z.
        batch_size: images drawn at once; a matter of memory alone.

    Returns:
        x float32 (n, C, H, W) in [-1, 1] and y int64 (n,), class after class, on the CPU.

    Raises:
        ValueError: if `n_per_class` is less than 1.
    """
    if n_per_class < 1:
        raise ValueError(f"n_per_class must be at least 1, got {n_per_class}")
    latent_dim, num_classes = int(G.latent_dim), int(G.num_classes)  # type: ignore[arg-type]
    y = torch.arange(max(num_classes, 1)).repeat_interleave(n_per_class)
    z = torch.randn(len(y), latent_dim, generator=torch.Generator().manual_seed(seed))
    with evaluating(G) as device:
        starts = range(0, len(y), batch_size)
        chunks = [(z[s : s + batch_size].to(device), y[s : s + batch_size]) for s in starts]
        parts = [G(z_part, y_part.to(device)).float().cpu() for z_part, y_part in chunks]
    return torch.cat(parts), y
