"""One model on several processes: each takes its rows of a batch, and gradients are averaged.

A process is a *rank*. ``torchrun`` starts as many as there are devices::

    torchrun --nproc-per-node 2 my_training.py

and the script needs a context and one argument more than one for a single process::

    with parallel.join() as ranks:
        train.fit(G, D, data, objective, steps=5000, run_dir="runs/mine", ranks=ranks)

The batch of step t is a function of (seed, t), so every rank knows all of it and keeps its own
rows: no sampler, no worker state. Losses are means over rows, so the mean of the ranks' gradients
is the gradient of the whole batch, if BatchNorm sees the whole batch, too (`sync_batch_norm`). The
ranks' weights stay equal bit for bit either way.

Why not ``DistributedDataParallel``? It averages gradients by hooks that fire in ``backward``, and
expects one forward pass before each. Here D runs twice before its step (real, generated) and once
more, frozen, for G's, so it would have to be told of unused parameters and of graphs that change.
One explicit call after ``backward`` says the same in a line. Its price: the exchange does not
overlap with ``backward``.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
import torch.distributed.nn.functional as differentiable
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from acgan_lib.train import OneProcess


@dataclass(frozen=True)
class Ranks(OneProcess):
    """This process's number among ``size`` processes. A process alone is rank 0 of 1."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:  # type: ignore[override]
        """Whether this is rank 0, which alone writes files, shows progress and calls back."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a batch that are this rank's.

        Raises:
            ValueError: if the ranks cannot have equally many, and two at least, for BatchNorm.
        """
        each, left = divmod(batch_size, self.size)
        if left or each < 2:
            raise ValueError(
                f"batch_size must be a multiple of the {self.size} ranks, with 2 rows or more "
                f"for each, got {batch_size}"
            )
        return slice(self.rank * each, (self.rank + 1) * each)

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their means over the ranks, in one exchange."""
        if self.size == 1 or not tensors:
            return
        flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
        dist.all_reduce(flat)
        flat /= self.size
        parts = flat.split([tensor.numel() for tensor in tensors])  # type: ignore[no-untyped-call]
        for tensor, part in zip(tensors, parts, strict=True):
            tensor.copy_(part.view_as(tensor))

    def from_first(self, value: Any) -> Any:
        """Return rank 0's ``value``, any object that can be pickled."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0)
        return box[0]

    def copy_from_first(self, module: nn.Module) -> None:
        """Give a module the weights and statistics that it has on rank 0."""
        if self.size > 1:
            for tensor in module.state_dict().values():
                dist.broadcast(tensor, src=0)


ALONE = Ranks()


@contextlib.contextmanager
def join() -> Iterator[Ranks]:
    """Join the processes that ``torchrun`` started, for as long as the context lasts.

    NCCL carries the data where there is a CUDA device for each local process, gloo elsewhere;
    with NCCL the process's device becomes the current one. Without torchrun: rank 0 of 1.
    """
    if "TORCHELASTIC_RUN_ID" not in os.environ:
        yield ALONE
        return
    local, per_node = int(os.environ["LOCAL_RANK"]), int(os.environ["LOCAL_WORLD_SIZE"])
    cuda = torch.cuda.is_available() and torch.cuda.device_count() >= per_node
    if cuda:
        torch.cuda.set_device(local)
    store, rank, size = next(rendezvous("env://"))
    # torchrun keeps one store over its restarts. Without a prefix, a second try would look for
    # the processes of the first, whose addresses still stand there.
    attempt = os.environ["TORCHELASTIC_RESTART_COUNT"]
    store = dist.PrefixStore(f"try-{attempt}", store)  # type: ignore[attr-defined]
    dist.init_process_group("nccl" if cuda else "gloo", store=store, rank=rank, world_size=size)
    try:
        yield Ranks(dist.get_rank(), dist.get_world_size())
    finally:
        dist.destroy_process_group()


class SyncedBatchNorm2d(nn.BatchNorm2d):
    """BatchNorm whose statistics are those of all ranks' rows, with gradients through them.

    On one process it is ``nn.BatchNorm2d``. ``nn.SyncBatchNorm`` does the same on GPUs alone;
    this runs wherever ``torch.distributed`` does.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalise ``x``, float (n, C, H, W); every rank must bring equally many rows."""
        ranks = dist.get_world_size() if dist.is_initialized() else 1
        if ranks == 1 or not self.training:
            alone: Tensor = super().forward(x)
            return alone
        # The statistics need more than bfloat16's 8 bits.
        x32 = x.float() if x.dtype == torch.bfloat16 else x
        moments = torch.stack([x32.mean((0, 2, 3)), x32.square().mean((0, 2, 3))])
        # The backward pass of this exchange is an exchange too: it brings the gradients that the
        # other ranks' losses send to this rank's rows.
        mean, square = differentiable.all_reduce(moments) / ranks  # type: ignore[no-untyped-call]
        variance = square - mean.square()
        self._track(mean.detach(), variance.detach(), ranks * x.numel() // x.shape[1])
        scale = self.weight * torch.rsqrt(variance + self.eps)
        shift = self.bias - mean * scale
        normalised: Tensor = x32 * scale[:, None, None] + shift[:, None, None]
        return normalised.to(x.dtype)

    @torch.no_grad()
    def _track(self, mean: Tensor, variance: Tensor, count: int) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        momentum = self.momentum if self.momentum is not None else 0.1
        self.running_mean.lerp_(mean.to(self.running_mean.dtype), momentum)
        unbiased = variance * (count / (count - 1))
        self.running_var.lerp_(unbiased.to(self.running_var.dtype), momentum)
        self.num_batches_tracked += 1


def sync_batch_norm(module: nn.Module) -> nn.Module:
    """Turn each BatchNorm2d inside ``module`` into a synced one, in place, weights kept."""
    for name, child in module.named_children():
        if type(child) is nn.BatchNorm2d:
            synced = SyncedBatchNorm2d(child.num_features, child.eps, child.momentum)
            synced.load_state_dict(child.state_dict())
            synced.to(child.weight.device, child.weight.dtype).train(child.training)
            setattr(module, name, synced)
        else:
            sync_batch_norm(child)
    return module
