"""GANs of points: problems in the plane whose densities are known, so that theory can be checked.

A :class:`Mixture` of Gaussians plays the data. It can be sampled, as data can, and its density can
be evaluated, as that of pictures cannot. Two small networks and one loop play the game on it in
seconds. Everything here runs on the CPU.

A batch of n points in d dimensions is a float tensor (n, d). The objectives of
:mod:`acgan_lib.objectives` take such a batch in place of images.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from acgan_lib.nets import DiscriminatorOutput
from acgan_lib.objectives import Batch, Objective
from acgan_lib.train import History, frozen


class Mixture:
    """A mixture of k Gaussians in d dimensions, all round and of one width.

    Its density is the sum over the components of weight x N(mean, std^2 I).

    Attributes:
        means: float (k, d).
        std: the standard deviation of each component, in every direction.
        weights: float (k,), positive, of sum 1.
    """

    def __init__(self, means: Tensor, std: float, weights: Tensor | None = None) -> None:
        """Make the mixture; without ``weights`` the components are equally likely.

        Raises:
            ValueError: if a shape does not fit, or ``std`` or a weight is not positive.
        """
        if means.ndim != 2 or len(means) == 0:
            raise ValueError(f"means must have shape (k, d), got {tuple(means.shape)}")
        if not std > 0:
            raise ValueError(f"std must be positive, got {std}")
        weights = means.new_ones(len(means)) if weights is None else weights.to(means)
        if weights.shape != means.shape[:1] or not bool((weights > 0).all()):
            raise ValueError(
                f"weights must be {len(means)} positive numbers, one for each mean, got {weights}"
            )
        self.means, self.std, self.weights = means, std, weights / weights.sum()

    @property
    def dim(self) -> int:
        """The number of dimensions, d."""
        return self.means.shape[1]

    def sample(self, n: int, generator: torch.Generator | None = None) -> Tensor:
        """Draw n independent points, float (n, d): first a component for each, then the point."""
        component = torch.multinomial(self.weights, n, replacement=True, generator=generator)
        noise = torch.randn(n, self.dim, generator=generator, dtype=self.means.dtype)
        return self.means[component] + self.std * noise

    def log_prob(self, x: Tensor) -> Tensor:
        """Return log p(x), float (n,), for points x (n, d)."""
        squares = self._offsets(x).square().sum(2) / self.std**2
        log_normal = -0.5 * squares - self.dim * math.log(self.std * math.sqrt(2 * math.pi))
        return torch.logsumexp(self.weights.log() + log_normal, dim=1)

    def nearest(self, x: Tensor) -> Tensor:
        """Return the number of the nearest mean, int64 (n,), for points x (n, d)."""
        return self._offsets(x).square().sum(2).argmin(1)

    def _offsets(self, x: Tensor) -> Tensor:
        """Return x - mean for every pair, (n, k, d)."""
        return _points(x, self.dim)[:, None, :] - self.means


def ring(modes: int = 8, radius: float = 2.0, std: float = 0.1) -> Mixture:
    """Return Gaussians evenly spaced on a circle around 0, the first at (radius, 0)."""
    angle = torch.arange(modes) * (2 * math.pi / modes)
    return Mixture(radius * torch.stack([angle.cos(), angle.sin()], dim=1), std)


def grid(side: int = 5, spacing: float = 2.0, std: float = 0.1) -> Mixture:
    """Return side x side Gaussians on a square lattice centred on 0."""
    ticks = (torch.arange(side) - (side - 1) / 2) * spacing
    return Mixture(torch.cartesian_prod(ticks, ticks), std)


class Coverage(NamedTuple):
    """What part of a mixture some samples cover.

    Attributes:
        modes: components that have at least one high-quality sample.
        high_quality: the share of samples near a mean. It is not 1 for the mixture's own samples:
            in the plane a radius of 3 standard deviations holds 1 - exp(-4.5) = 98.9 % of them.
        reverse_kl: KL divergence, in nats, from the shares of the samples that fall to each mean to
            the mixture's weights. Equal shares on m of k equal components give log(k / m).
    """

    modes: int
    high_quality: float
    reverse_kl: float


def coverage(mixture: Mixture, samples: Tensor, radius: float = 3.0) -> Coverage:
    """Count the modes that samples cover, after Srivastava et al. 2017 and Lin et al. 2018.

    A sample belongs to the component with the nearest mean, and is of high quality if it lies
    within ``radius`` standard deviations of it. More samples find more modes: compare counts
    only at one number of samples.

    Args:
        mixture: the data, of k components in d dimensions.
        samples: float (n, d), n at least 1.
        radius: in standard deviations of a component.

    Raises:
        ValueError: if the samples are not (n, d) or there are none.
    """
    if len(samples) == 0:
        raise ValueError("there are no samples to judge")
    nearest = mixture.nearest(samples)
    distance = (samples - mixture.means[nearest]).norm(dim=1)
    good = distance <= radius * mixture.std
    share = torch.bincount(nearest, minlength=len(mixture.means)).double() / len(samples)
    return Coverage(
        modes=len(torch.unique(nearest[good])),
        high_quality=float(good.double().mean()),
        reverse_kl=float(torch.xlogy(share, share / mixture.weights.double()).sum()),
    )


class PointGenerator(nn.Module):
    """G as a small network: from z, float (n, latent_dim), to points, float (n, dim)."""

    def __init__(self, latent_dim: int = 2, width: int = 64, depth: int = 2, dim: int = 2) -> None:
        """Make ``depth`` hidden layers of ``width`` ReLU units."""
        super().__init__()
        self.latent_dim, self.num_classes = latent_dim, 0
        self.hidden = hidden_layers(latent_dim, width, depth, nn.ReLU())
        self.to_point = nn.Linear(width, dim)

    def forward(self, z: Tensor, y: Tensor | None = None) -> Tensor:
        """Return a point for each latent; ``y`` is ignored, for there are no classes."""
        return self.to_point(self.hidden(_points(z, self.latent_dim, "z")))  # type: ignore[no-any-return]


class PointDiscriminator(nn.Module):
    """D as a small network: from points, float (n, dim), to source logits, float (n,)."""

    def __init__(self, dim: int = 2, width: int = 64, depth: int = 2) -> None:
        """Make ``depth`` hidden layers of ``width`` leaky ReLU units."""
        super().__init__()
        self.dim = dim
        self.hidden = hidden_layers(dim, width, depth, nn.LeakyReLU(0.2))
        self.to_logit = nn.Linear(width, 1)

    def features(self, x: Tensor) -> Tensor:
        """Return the last hidden layer, float (n, width), for points x (n, dim)."""
        return self.hidden(_points(x, self.dim))  # type: ignore[no-any-return]

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        """Judge the points; ``y`` is ignored, for there are no classes."""
        return DiscriminatorOutput(self.to_logit(self.features(x)).squeeze(1), None)


def _points(x: Tensor, dim: int, name: str = "x") -> Tensor:
    if x.ndim != 2 or x.shape[1] != dim:
        raise ValueError(f"{name} must have shape (n, {dim}), got {tuple(x.shape)}")
    return x


def hidden_layers(inputs: int, width: int, depth: int, activation: nn.Module) -> nn.Sequential:
    """Return ``depth`` linear layers of ``width`` units, each followed by the activation."""
    sizes = [inputs] + [width] * depth
    layers: list[nn.Module] = []
    for n_in, n_out in pairwise(sizes):
        layers += [nn.Linear(n_in, n_out), activation]
    return nn.Sequential(*layers)


def best_logit(p: Mixture, q: Mixture) -> Callable[[Tensor], Tensor]:
    """Return the best D's source logit, x -> log p(x) - log q(x), for data p against fakes q.

    Its sigmoid is p / (p + q) (Goodfellow et al. 2014, proposition 1).
    """
    return lambda x: p.log_prob(x) - q.log_prob(x)


Sampler = Callable[[int, torch.Generator], Tensor]


def fit_discriminator(
    D: nn.Module,
    p: Sampler,
    q: Sampler,
    objective: Objective,
    *,
    steps: int,
    batch_size: int = 512,
    lr: float = 3e-3,
    seed: int = 0,
) -> History:
    """Train D alone, in place, to tell samples of p (real) from samples of q (fake).

    Fresh batches in every step, from ``seed`` alone; Adam, whose rate falls linearly to 0.

    Args:
        D: maps points to a DiscriminatorOutput.
        p, q: return n points, float (n, d), drawn with the generator given, as Mixture.sample does.
        objective: its d_loss is what D minimises.
        steps, batch_size, lr: of the training.
        seed: fixes the points.

    Returns:
        A History with one row a step: ``"step"`` and the terms of D's loss, by name.
    """
    generator = torch.Generator().manual_seed(seed)
    optimiser = torch.optim.Adam(D.parameters(), lr, fused=True)
    labels = torch.zeros(batch_size, dtype=torch.int64)  # there is one class
    history = History()
    for step in range(1, steps + 1):
        optimiser.param_groups[0]["lr"] = lr * (1 - (step - 1) / steps)
        real = Batch(p(batch_size, generator), labels)
        fake = Batch(q(batch_size, generator), labels)
        terms = objective.d_loss(D, real, fake)
        _descend(terms, optimiser)
        history.rows.append({"step": step, **{k: v.item() for k, v in terms.items()}})
    return history


def play(
    G: nn.Module,
    D: nn.Module,
    mixture: Mixture,
    objective: Objective,
    *,
    steps: int,
    batch_size: int = 256,
    lr_g: float = 1e-3,
    lr_d: float = 1e-3,
    betas: tuple[float, float] = (0.5, 0.999),
    plain_g: bool = False,
    seed: int = 0,
    callback: Callable[[int, nn.Module, nn.Module], None] | None = None,
) -> History:
    """Train G against D in place: in each step one update of D, then one of G.

    The batches and the latents come from ``seed`` alone, so that the same networks give the same
    run. (The networks' own first weights come from where they are made: seed that, too.)

    Args:
        G: maps z, float (n, G.latent_dim), to points, float (n, d).
        D: maps points to a DiscriminatorOutput.
        mixture: the data, in d dimensions.
        objective: what each player minimises, as ``objectives.gan()``.
        steps: updates of each player.
        batch_size: real points a step, and as many generated ones.
        lr_g, lr_d, betas: Adam's settings. A rate of 0 holds a player still.
        plain_g: let G follow its gradient as it is (SGD). Adam divides it by its recent size, and
            so hides how small it is.
        seed: fixes the data and the latents.
        callback: is called after each step with (step, G, D); steps count from 1.

    Returns:
        A History with one row a step: ``"step"`` and the terms of both losses, by name.
    """
    generator = torch.Generator().manual_seed(seed)
    adam_g = torch.optim.Adam(G.parameters(), lr_g, betas, fused=True)
    opt_g = torch.optim.SGD(G.parameters(), lr_g) if plain_g else adam_g
    opt_d = torch.optim.Adam(D.parameters(), lr_d, betas, fused=True)
    labels = torch.zeros(batch_size, dtype=torch.int64)  # there is one class
    history = History()
    for step in range(1, steps + 1):
        real = Batch(mixture.sample(batch_size, generator), labels)
        z = torch.randn(batch_size, int(G.latent_dim), generator=generator)  # type: ignore[arg-type]
        fake = Batch(G(z), labels, z)

        d_terms = objective.d_loss(D, real, fake._replace(images=fake.images.detach()))
        _descend(d_terms, opt_d)
        with frozen(D):
            g_terms = objective.g_loss(D, fake)
            _descend(g_terms, opt_g)

        terms = {name: term.item() for name, term in {**d_terms, **g_terms}.items()}
        history.rows.append({"step": step, **terms})
        if callback is not None:
            callback(step, G, D)
    return history


def _descend(terms: dict[str, Tensor], optimiser: torch.optim.Optimizer) -> None:
    optimiser.zero_grad()
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    optimiser.step()
