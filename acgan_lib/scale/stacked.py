"""Members of one shape, trained together as one network: a layer for all of them at each step.

A small network leaves most of a device idle: the time goes into starting kernels. Here the M
members of a class split lie side by side in the channels of one network whose convolutions have M
groups, so that each layer runs once for all. Nothing flows between members: BatchNorm keeps a
channel's statistics, spectral norm is taken of each member's weights on their own, Adam looks at
one weight at a time, and each member keeps its own seed. So they learn what they would have
learned in turn, up to the order in which floating point sums are formed.

Outside, a stack looks like one network with larger batches: rows ``m * n .. (m + 1) * n - 1``
belong to member m.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Self

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils import parametrize

from acgan_lib.data import LabelledImages
from acgan_lib.nets import (
    ConditionalGenerator,
    Discriminator,
    DiscriminatorOutput,
    Generator,
)
from acgan_lib.objectives import Batch, Objective, Terms
from acgan_lib.train import TrainConfig, draw_latents


def side_by_side(rows: Tensor, members: int) -> Tensor:
    """Turn (M n, C, ...), one member after the other, into (n, M C, ...)."""
    return rows.reshape(members, -1, *rows.shape[1:]).transpose(0, 1).flatten(1, 2)


def apart(maps: Tensor, members: int) -> Tensor:
    """Turn (n, M C, ...) back into (M n, C, ...)."""
    parted = maps.reshape(len(maps), members, -1, *maps.shape[2:])
    return parted.transpose(0, 1).flatten(0, 1)


class StackedLinear(nn.Module):
    """M linear layers side by side: float (n, M inputs) to (n, M outputs)."""

    def __init__(self, members: int, inputs: int, outputs: int, bias: bool) -> None:
        super().__init__()
        self.members = members
        self.weight = nn.Parameter(torch.empty(members * outputs, inputs))
        self.bias = nn.Parameter(torch.empty(members * outputs)) if bias else None

    def forward(self, x: Tensor) -> Tensor:
        """Return each member's outputs for its own inputs."""
        inputs = x.view(len(x), self.members, -1).transpose(0, 1)  # (M, n, inputs)
        weight = self.weight  # read once: with spectral norm, each look is a power iteration
        matrices = weight.view(self.members, -1, weight.shape[1])
        y = torch.bmm(inputs, matrices.mT).transpose(0, 1).flatten(1)
        return y if self.bias is None else y + self.bias


class StackedSpectralNorm(nn.Module):
    """torch's ``spectral_norm`` for M weights that lie one after the other in one tensor.

    As there, a training step turns the two singular vectors once (Miyato et al. 2018, algorithm
    1), and each weight is divided by its largest singular value.
    """

    _u: Tensor
    _v: Tensor

    def __init__(self, members: int, weight: Tensor, eps: float = 1e-12) -> None:
        super().__init__()
        self.members, self.eps = members, eps
        self.register_buffer("_u", torch.empty(len(weight)))
        self.register_buffer("_v", torch.empty(members * weight[0].numel()))

    def forward(self, weight: Tensor) -> Tensor:
        """Return the weights, each divided by its norm; the shape stays."""
        matrices = weight.reshape(self.members, -1, weight[0].numel())
        u, v = (b.view(self.members, -1, 1) for b in (self._u, self._v))
        if self.training:
            with torch.no_grad():
                u.copy_(F.normalize(torch.bmm(matrices, v), dim=1, eps=self.eps))
                v.copy_(F.normalize(torch.bmm(matrices.mT, u), dim=1, eps=self.eps))
        # Copies, for the next step changes the vectors before this one's backward has run.
        sigma = (u.clone() * torch.bmm(matrices, v.clone())).sum((1, 2), keepdim=True)
        return (matrices / sigma).view_as(weight)


def stack(networks: Sequence[nn.Module]) -> nn.Module:
    """Return one network, in layers of `nets`, that holds the given ones in its channels.

    Raises:
        TypeError: for a layer that it cannot stack.
        ValueError: if the networks differ in their layers.
    """
    members = len(networks)
    whole = copy.deepcopy(networks[0])
    for name, layer in list(whole.named_modules()):
        if name and not name.count("parametrizations") and (new := _stacked(layer, members)):
            whole.set_submodule(name, new)
    states = [network.state_dict() for network in networks]
    if any(state.keys() != states[0].keys() for state in states):
        raise ValueError("networks that are stacked must have the same layers")
    joined = {
        # num_batches_tracked alone is a scalar, and the same for all.
        key: torch.cat([state[key] for state in states]) if value.ndim else value
        for key, value in states[0].items()
    }
    whole.load_state_dict(joined)
    return whole.train(networks[0].training).to(next(networks[0].parameters()).device)


def unstack(whole: nn.Module, members: int) -> list[dict[str, Tensor]]:
    """Return the members' states; each would fit the network that was stacked."""
    state = whole.state_dict()
    parts = {k: v.chunk(members) if v.ndim else [v] * members for k, v in state.items()}
    return [{k: part[m].clone() for k, part in parts.items()} for m in range(members)]


def _stacked(layer: nn.Module, members: int) -> nn.Module | None:
    """Return room for M such layers, or None where a layer has no weights of its own."""
    new: nn.Module
    if isinstance(layer, nn.Conv2d) and layer.groups == 1:
        shape: Any = {key: getattr(layer, key) for key in ("kernel_size", "stride", "padding")}
        c_in, c_out = members * layer.in_channels, members * layer.out_channels
        new = nn.Conv2d(c_in, c_out, groups=members, bias=layer.bias is not None, **shape)
    elif isinstance(layer, nn.Linear):
        new = StackedLinear(members, layer.in_features, layer.out_features, layer.bias is not None)
    elif isinstance(layer, nn.BatchNorm2d):
        new = nn.BatchNorm2d(members * layer.num_features, layer.eps, layer.momentum)
    elif not list(layer.parameters(recurse=False)):
        return None
    else:
        raise TypeError(f"cannot stack a {type(layer).__name__}")
    if parametrize.is_parametrized(layer, "weight"):
        assert isinstance(new.weight, Tensor)
        norm = StackedSpectralNorm(members, new.weight)
        # Not tried out at once: the vectors come with the state.
        parametrize.register_parametrization(new, "weight", norm, unsafe=True)
    return new


class StackedGenerator(ConditionalGenerator):
    """M generators of one shape behind the interface of one; see the module.

    Raises:
        TypeError: unless all are `nets.Generator`.
    """

    def __init__(self, networks: Sequence[ConditionalGenerator]) -> None:
        first = networks[0]
        if not all(isinstance(network, Generator) for network in networks):
            raise TypeError("only nets.Generator can be stacked")
        super().__init__(first.latent_dim, first.num_classes, first.channels, first.image_size)
        self.members = len(networks)
        self.whole = stack(networks)

    def draw(self, code: Tensor) -> Tensor:
        """Turn codes, float (M n, latent_dim + num_classes), into images (M n, C, H, W)."""
        assert isinstance(self.whole, Generator)
        return apart(self.whole.draw(side_by_side(code, self.members)), self.members)


class StackedDiscriminator(nn.Module):
    """M discriminators of one shape behind the interface of one.

    Raises:
        TypeError: unless all are `nets.Discriminator`, which see the image alone and name the class
            by logits.
    """

    def __init__(self, networks: Sequence[nn.Module]) -> None:
        super().__init__()
        for network in networks:
            if not isinstance(network, Discriminator) or network.label_input or network.projection:
                raise TypeError(
                    "only nets.Discriminator without label_input and projection can be stacked"
                )
            if network.embedding_head is not None:  # its loss compares the images of a batch
                raise TypeError("a nets.Discriminator with an embedding head does not stack")
        self.members = len(networks)
        self.whole = stack(networks)

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Judge images, float (M n, C, H, W); ``y`` is ignored."""
        assert isinstance(self.whole, Discriminator)
        h = self.whole.trunk(side_by_side(x, self.members))
        source = apart(self.whole.source_head(h), self.members).squeeze(1)
        if self.whole.class_head is None:
            return DiscriminatorOutput(source, None)
        return DiscriminatorOutput(source, apart(self.whole.class_head(h), self.members))


@dataclass(frozen=True)
class StackedImages:
    """The members' images: a batch holds one member's share after the other's.

    Attributes:
        parts: one set for each member, alike in shape and in number of classes.
        seeds: the members' seeds, each for the order of its own set.
    """

    parts: tuple[LabelledImages, ...]
    seeds: tuple[int, ...]

    def __post_init__(self) -> None:
        """Raise ValueError unless the sets are alike."""
        if len(self.parts) != len(self.seeds):
            raise ValueError(f"{len(self.parts)} parts need as many seeds, not {len(self.seeds)}")
        shapes = {(part.num_classes, part.channels, part.size) for part in self.parts}
        if len(shapes) > 1:
            raise ValueError(f"parts must agree in (classes, channels, size), got {shapes}")

    @property
    def num_classes(self) -> int:
        """K of each member."""
        return self.parts[0].num_classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of all members' classes, one member after the other."""
        return tuple(name for part in self.parts for name in part.class_names)

    @property
    def channels(self) -> int:
        """C of the images."""
        return self.parts[0].channels

    @property
    def size(self) -> int:
        """The side of the square images in pixels."""
        return self.parts[0].size

    def __len__(self) -> int:
        """Return the number of images of all members."""
        return sum(map(len, self.parts))

    def fingerprint(self) -> str:
        """Return the parts' fingerprints with their seeds."""
        pairs = zip(self.parts, self.seeds, strict=True)
        return "; ".join(f"{part.fingerprint()}, seed {seed}" for part, seed in pairs)

    def to(self, device: torch.device | str) -> Self:
        """Return the same images on `device`."""
        return replace(self, parts=tuple(part.to(device) for part in self.parts))

    def batch(
        self, step: int, batch_size: int, seed: int, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Return the members' batches of ``batch_size / M`` one after the other.

        Raises:
            ValueError: if ``batch_size`` is no multiple of M. (``seed`` plays no part.)
        """
        each = _share(batch_size, len(self.parts))
        drawn = [
            part.batch(step, each, own) for part, own in zip(self.parts, self.seeds, strict=True)
        ]
        x, y = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
        return x[rows], y[rows]

    def latents(
        self,
        G: ConditionalGenerator,
        n: int,
        seed: int,
        step: int,
        device: torch.device | str = "cpu",
    ) -> tuple[Tensor, Tensor]:
        """Draw each member's z and labels from its own seed, as `train.draw_latents` does."""
        each = _share(n, len(self.seeds))
        drawn = [draw_latents(G, each, own, step, device) for own in self.seeds]
        z, y = (torch.cat(tensors) for tensors in zip(*drawn, strict=True))
        return z, y


def _share(batch_size: int, members: int) -> int:
    if batch_size % members:
        raise ValueError(f"batch_size must be a multiple of the {members} members: {batch_size}")
    return batch_size // members


def summed(objective: Objective, members: int) -> Objective:
    """Turn the mean over all rows into the *sum* of the members' means.

    Each member's gradient is then that of its own loss, and not an M-th of it, which Adam's
    epsilon would notice.
    """

    def times(terms: Terms) -> Terms:
        return {name: members * term for name, term in terms.items()}

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return times(objective.d_loss(D, real, fake))

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        return times(objective.g_loss(D, fake))

    return objective._replace(
        name=f"{objective.name} x {members}",
        d_loss=d_loss,
        g_loss=g_loss,
        needs=objective.needs._replace(rows=members),
    )


def stacked_config(config: TrainConfig, members: int) -> TrainConfig:
    """Return the settings of the whole: M times the batch of a member."""
    return replace(config, batch_size=members * config.batch_size)
