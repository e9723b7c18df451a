"""What was proposed against cycles and collapse: each a small part that fits into the same game.

Feature matching, minibatch discrimination, historical averaging and label smoothing are from
Salimans et al. 2016, "Improved Techniques for Training GANs"; the sources of the others stand
beside them. Chapter 3 measures them on points in the plane: `stabilise` repeats that measurement
and keeps it in ``data/results/stabilise.json``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm

from acgan_lib import toy
from acgan_lib.experiments._results import record
from acgan_lib.losses import d_source_fake, d_source_real
from acgan_lib.objectives import Batch, Objective, Terms, gan
from acgan_lib.regularise import r1, r1_penalty, slopes

STEPS = 1_000


def feature_distance(real: Tensor, fake: Tensor) -> Tensor:
    """Return the squared distance of the mean features of two batches (section 3.1).

    Args:
        real, fake: float (n, w) and (m, w), features that D computes.

    Raises:
        ValueError: if the shapes do not fit.
    """
    if real.ndim != 2 or fake.ndim != 2 or real.shape[1] != fake.shape[1]:
        raise ValueError(f"need (n, w) and (m, w), got {tuple(real.shape)} and {tuple(fake.shape)}")
    return (real.mean(0) - fake.mean(0)).square().sum()


def feature_matching() -> Objective:
    """GAN whose G matches the mean of D's features on real data; D plays as before.

    D needs a method ``features``. G's step compares with the real batch that D saw last.
    """
    plain = gan()
    last: list[Tensor] = []

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        last[:] = [real.images]
        return plain.d_loss(D, real, fake)

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        assert callable(D.features)
        on_real, on_fake = D.features(last[0]), D.features(fake.images)
        return {"g_features": feature_distance(on_real, on_fake)}

    return Objective("feature matching", d_loss, g_loss)


class MinibatchDiscrimination(nn.Module):
    """Tell D how close each sample is to the others of its batch (section 3.2).

    Each row of features, (n, features), is multiplied by a learned tensor into ``kernels`` rows of
    ``kernel_dim`` numbers, M_i. To the features the layer appends, for each kernel b,
    o_b(x_i) = sum over j of exp(-||M_ib - M_jb||_1): (n, features + kernels). The sum includes
    j = i and grows with n, so batches of one size belong together. Real and generated samples go
    through in batches of their own.
    """

    def __init__(self, features: int, kernels: int = 8, kernel_dim: int = 4) -> None:
        super().__init__()
        self.T = nn.Parameter(torch.randn(features, kernels, kernel_dim) / features**0.5)

    def forward(self, h: Tensor) -> Tensor:
        """Return the features with the closeness appended, float (n, features + kernels).

        Raises:
            ValueError: if ``h`` is not (n, features).
        """
        if h.ndim != 2 or h.shape[1] != len(self.T):
            raise ValueError(f"h must have shape (n, {len(self.T)}), got {tuple(h.shape)}")
        M = torch.einsum("nf,fbc->bnc", h, self.T)
        closeness = torch.exp(-torch.cdist(M, M, p=1.0)).sum(2)
        return torch.cat([h, closeness.T], dim=1)


class HistoricalAverage:
    """The mean of a module's past parameters, and the squared distance to it (section 3.3).

    The penalty ||theta - (1/t) sum_i theta_i||^2 pulls the *parameters* back to where they were
    on average. Gradients are not averaged.
    """

    def __init__(self, module: nn.Module) -> None:
        self.parameters = list(module.parameters())
        self.mean = [torch.zeros_like(p) for p in self.parameters]
        self.count = 0

    def penalty(self) -> Tensor:
        """Take the present parameters into the mean, then return the distance, a scalar."""
        self.count += 1
        for mean, p in zip(self.mean, self.parameters, strict=True):
            mean += (p.detach() - mean) / self.count
        pairs = zip(self.parameters, self.mean, strict=True)
        return torch.stack([(p - mean).square().sum() for p, mean in pairs]).sum()


def historical_averaging(G: nn.Module, D: nn.Module, weight: float = 1.0) -> Objective:
    """GAN where each player's loss holds ``weight`` times its distance from its own past.

    The averages begin with the first step, so make a new objective for each training of G and D.
    """
    plain, past_g, past_d = gan(), HistoricalAverage(G), HistoricalAverage(D)

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return {**plain.d_loss(D, real, fake), "d_history": weight * past_d.penalty()}

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        return {**plain.g_loss(D, fake), "g_history": weight * past_g.penalty()}

    return Objective("historical averaging", d_loss, g_loss, settings={"weight": weight})


def d_source_real_smoothed(real_logit: Tensor, target: float = 0.9) -> Tensor:
    """Return the cross-entropy of D on real data with the label ``target`` for 1 (section 3.4).

    That is -E[target log P(S = real | X) + (1 - target) log P(S = fake | X)]; target 1 gives
    ``d_source_real``. Labels of generated samples stay 0, hence "one-sided".

    Args:
        real_logit: float (n,), D's source logits for real data.
        target: in (0, 1].

    Raises:
        ValueError: if the target is outside, or the logits are not (n,).
    """
    if not 0 < target <= 1:
        raise ValueError(f"target must be in (0, 1], got {target}")
    return target * d_source_real(real_logit) + (1 - target) * d_source_fake(real_logit)


def label_smoothing(target: float = 0.9) -> Objective:
    """GAN whose D is asked to be sure of real data up to ``target`` only."""

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return {
            "d_source_real": d_source_real_smoothed(D(real.images).source_logit, target),
            "d_source_fake": d_source_fake(D(fake.images).source_logit),
        }

    settings = {"target": target}
    return Objective("one-sided label smoothing", d_loss, gan().g_loss, settings=settings)


def spectral(module: nn.Module) -> nn.Module:
    """Divide the weight of each linear and convolutional layer by its largest singular value.

    Changes ``module`` in place and returns it. The value is estimated by one power iteration at
    each forward pass in training (Miyato et al. 2018, algorithm 1; PyTorch's parametrisation).
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear | nn.Conv2d | nn.ConvTranspose2d):
            spectral_norm(layer)
    return module


def forward_kl(*, saturating: bool = True) -> Objective:
    """f-GAN with the forward KL divergence (Nowozin et al. 2016, table 6): no stabiliser at all.

    D's output is T(x) and maximises E_real[T] - E_fake[exp(T - 1)], at best KL(p_data || p_g).

    Args:
        saturating: let G minimise the same value; else it maximises E_fake[T] (section 3.2).
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        return {
            "d_real": -D(real.images).source_logit.mean(),
            "d_fake": torch.exp(D(fake.images).source_logit - 1).mean(),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        T = D(fake.images).source_logit
        return {"g_fake": -(torch.exp(T - 1) if saturating else T).mean()}

    return Objective("f-GAN, forward KL", d_loss, g_loss, settings={"saturating": saturating})


def wgan_gp(weight: float = 0.1) -> Objective:
    """Wasserstein GAN with gradient penalty (Gulrajani et al. 2017, algorithm 1), on points.

    D maximises E_real[s] - E_fake[s] - weight E[(||grad_x s(x)|| - 1)^2], where each x lies at a
    random place between a real and a generated point, and G maximises E_fake[s]. The paper has
    weight 10; 0.1 is that of its authors' code for points in the plane. The paper gives D five
    steps for each of G's; here the loop gives it one.
    """

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        between = torch.lerp(fake.images, real.images, torch.rand(len(real.images), 1))
        steepness = slopes(D, real._replace(images=between)).norm(dim=1)
        return {
            "d_real": -D(real.images).source_logit.mean(),
            "d_fake": D(fake.images).source_logit.mean(),
            "d_slope": weight * (steepness - 1).square().mean(),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        return {"g_fake": -D(fake.images).source_logit.mean()}

    return Objective("WGAN-GP", d_loss, g_loss, settings={"weight": weight})


def r3gan(gamma: float = 10.0) -> Objective:
    """Relativistic pairing GAN with R1 and R2 (Huang et al. 2024, section 2).

    D judges pairs: it minimises E[softplus(s(x_fake) - s(x_real))], G the same with the signs
    turned. To D's loss come gamma / 2 times the squared slope at real points (R1) and at generated
    ones (R2). G's step compares with the real batch that D saw last.
    """
    last: list[Tensor] = []

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> Terms:
        last[:] = [real.images]
        gap = D(real.images).source_logit - D(fake.images).source_logit
        return {
            "d_gap": d_source_real(gap),
            "d_r1": gamma / 2 * r1_penalty(D, real),
            "d_r2": gamma / 2 * r1_penalty(D, fake),
        }

    def g_loss(D: nn.Module, fake: Batch) -> Terms:
        gap = D(last[0]).source_logit - D(fake.images).source_logit
        return {"g_gap": d_source_fake(gap)}

    return Objective("R3GAN", d_loss, g_loss, settings={"gamma": gamma})


# Adam's settings: equal rates; D ten times slower; chapter 2's collapse, where D is 100 times
# faster; and equal rates with the default beta_1.
GAMES: dict[str, dict[str, Any]] = {
    "healthy": {"lr_g": 1e-3, "lr_d": 1e-3, "betas": (0.5, 0.999)},
    "slow D": {"lr_g": 1e-3, "lr_d": 1e-4, "betas": (0.5, 0.999)},
    "fast D": {"lr_g": 1e-4, "lr_d": 1e-2, "betas": (0.5, 0.999)},
    "momentum": {"lr_g": 1e-3, "lr_d": 1e-3, "betas": (0.9, 0.999)},
}
METHODS = {
    "plain": "nothing",
    "features": "feature matching",
    "minibatch": "minibatch discrimination",
    "history": "historical averaging",
    "smoothing": "one-sided smoothing",
    "spectral": "spectral normalisation",
    "forward_kl": "forward KL, literal",
    "forward_kl_alt": "forward KL, other G loss",
    "wgan_gp": "WGAN-GP",
    "r1": "R1",
    "r3gan": "relativistic, R1, R2",
}
# Momentum is played without a remedy only.
PLAYED = [(g, m) for g in GAMES for m in METHODS if g != "momentum" or m == "plain"]


def players(method: str, seed: int) -> tuple[toy.PointGenerator, nn.Module, Objective]:
    """Return G, D and the objective of a method; for one seed, G starts from the same weights.

    Raises:
        ValueError: if the method is none of METHODS.
    """
    if method not in METHODS:
        raise ValueError(f"method must be one of {', '.join(METHODS)}, got {method!r}")
    torch.manual_seed(seed)
    G, D = toy.PointGenerator(), toy.PointDiscriminator()
    width = D.to_logit.in_features
    if method == "minibatch":
        layer = MinibatchDiscrimination(width)
        D.add_module("to_logit", nn.Sequential(layer, nn.Linear(width + layer.T.shape[1], 1)))
    elif method == "spectral":
        spectral(D)
    objectives: dict[str, Callable[[], Objective]] = {
        "features": feature_matching,
        "history": lambda: historical_averaging(G, D),
        "smoothing": label_smoothing,
        "forward_kl": forward_kl,
        "forward_kl_alt": lambda: forward_kl(saturating=False),
        "wgan_gp": wgan_gp,
        "r1": lambda: r1(gan(), gamma=10.0),
        "r3gan": r3gan,
    }
    return G, D, objectives.get(method, gan)()


def covered(game: str, method: str, seed: int, steps: int = STEPS) -> dict[str, Any]:
    """Play the ring in one of GAMES with one of METHODS; return the row: the last G's coverage.

    2,500 samples are judged, as by Srivastava et al. 2017.
    """
    ring = toy.ring()
    G, D, objective = players(method, seed)
    toy.play(G, D, ring, objective, steps=steps, batch_size=128, seed=seed, **GAMES[game])
    z = torch.randn(2_500, G.latent_dim, generator=torch.Generator().manual_seed(seed))
    with torch.no_grad():
        coverage = toy.coverage(ring, G(z))._asdict()
    return {"game": game, "method": method, "seed": seed, "steps": steps, **coverage}


def stabilise(seed: int, steps: int = STEPS) -> None:
    """Play every game with every remedy; chapter 3 reports ten seeds."""
    for game, method in PLAYED:
        row = covered(game, method, seed, steps)
        print(row, flush=True)
        if steps == STEPS:
            record("stabilise", row, by=("game", "method", "seed"))


RUNS = {"stabilise": stabilise}
