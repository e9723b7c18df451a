"""Flow matching with classifier-free guidance, from scratch: network, loss, solver, sampler.

A picture and noise are joined by a straight line, x_t = (1 - t) noise + t picture, along which
the velocity is picture - noise. A network learns the mean velocity at (x_t, t), given the class;
following it from noise at t = 0 to t = 1 draws a picture (Lipman et al. 2023; Liu et al. 2023).
Some training labels are hidden, so that the same network knows the velocity without a class, too,
and guidance can move away from it (Ho and Salimans 2022).

`Flow` is the network, `fit` trains it, and `Sampler` makes a generator of it, ``G(z, y)``, which
every measure of the book takes. `mixture_velocity` is the exact field of a mixture of Gaussians.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.data import LabelledImages
from acgan_lib.labels import Labels
from acgan_lib.nets import one_hot
from acgan_lib.runtime import seeded
from acgan_lib.toy import Mixture

Field = Callable[[Tensor, Tensor], Tensor]  # from x (n, ...) and t (n,) to the velocity


class Block(nn.Module):
    """Two convolutions around a skip; the code of time and class scales and shifts between them."""

    def __init__(self, c_in: int, c_out: int, code: int) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.GroupNorm(8, c_in), nn.GroupNorm(8, c_out)
        self.conv1 = nn.Conv2d(c_in, c_out, kernel_size=3, padding=1)
        self.conv2 = zero(nn.Conv2d(c_out, c_out, kernel_size=3, padding=1))
        self.film = nn.Linear(code, 2 * c_out)
        self.skip = nn.Conv2d(c_in, c_out, 1) if c_in != c_out else nn.Identity()

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return float (n, c_out, h, w) for x (n, c_in, h, w) and code (n, code)."""
        scale, shift = self.film(code)[:, :, None, None].chunk(2, dim=1)
        h = self.norm2(self.conv1(F.silu(self.norm1(x)))) * (1 + scale) + shift
        return self.skip(x) + self.conv2(F.silu(h))  # type: ignore[no-any-return]


class Attention(nn.Module):
    """Each place looks at all others: one head, around a skip."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.GroupNorm(8, channels)
        self.to_qkv = nn.Conv2d(channels, 3 * channels, 1)
        self.out = zero(nn.Conv2d(channels, channels, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return float (n, c, h, w) for x of that shape."""
        q, k, v = self.to_qkv(self.norm(x)).flatten(2).chunk(3, dim=1)  # (n, c, places) each
        share = (q.transpose(1, 2) @ k / math.sqrt(q.shape[1])).softmax(dim=2)  # each row adds to 1
        return x + self.out((v @ share.transpose(1, 2)).view_as(x))  # type: ignore[no-any-return]


class Flow(nn.Module):
    """A U-Net that says which way each pixel moves: v(x, t, class weights).

    Blocks of 2x2 pixels become channels first, so the U-Net works at a half and a quarter of the
    image's side.

    Args:
        num_classes: K.
        channels: of the image.
        width: maps at half the side, a multiple of 8; twice as many at a quarter.
        image_size: side in pixels, a multiple of 4.
    """

    def __init__(
        self, num_classes: int = 10, channels: int = 1, width: int = 48, image_size: int = 32
    ) -> None:
        super().__init__()
        self.num_classes, self.channels = num_classes, channels
        self.width, self.image_size = width, image_size
        code, wide = 2 * width, 2 * width
        self.of_time = nn.Sequential(nn.Linear(32, code), nn.SiLU(), nn.Linear(code, code))
        self.of_class = nn.Linear(num_classes, code, bias=False)
        self.enter = nn.Conv2d(4 * channels, width, kernel_size=3, padding=1)
        self.fine = Block(width, width, code)
        self.down = nn.Conv2d(width, wide, kernel_size=3, stride=2, padding=1)
        self.coarse = nn.ModuleList([Block(wide, wide, code), Block(wide, wide, code)])
        self.look = Attention(wide)
        self.up = nn.Conv2d(wide, 4 * width, 1)
        self.fine_again = Block(2 * width, width, code)
        self.leave = zero(nn.Conv2d(width, 4 * channels, kernel_size=3, padding=1))

    def forward(self, x: Tensor, t: Tensor, weights: Tensor) -> Tensor:
        """Return the velocity, float (n, C, H, W).

        Args:
            x: float (n, C, H, W), on the way from noise to pictures in [-1, 1].
            t: float (n,), the share of the way that is done.
            weights: float (n, K), one-hot for a class; zeros ask for no class.
        """
        angles = t[:, None] * (math.pi * 2.0 ** (torch.arange(16, device=t.device) / 2))
        code = self.of_time(torch.cat([angles.sin(), angles.cos()], dim=1))
        code = F.silu(code + self.of_class(weights))
        fine = self.fine(self.enter(F.pixel_unshuffle(x, 2)), code)
        h = self.coarse[0](self.down(fine), code)
        h = self.coarse[1](self.look(h), code)
        h = torch.cat([F.pixel_shuffle(self.up(h), 2), fine], dim=1)
        velocity: Tensor = F.pixel_shuffle(self.leave(F.silu(self.fine_again(h, code))), 2)
        return velocity


def zero(layer: nn.Conv2d) -> nn.Conv2d:
    """Let a layer start at 0, so that what it is added to passes unchanged at first."""
    for parameter in layer.parameters():
        nn.init.zeros_(parameter)
    return layer


def flow_loss(flow: nn.Module, x: Tensor, weights: Tensor, noise: Tensor, t: Tensor) -> Tensor:
    """Return E ||v(x_t, t) - (x - noise)||^2, the mean over pixels, at x_t = (1 - t) noise + t x.

    The best v is the conditional mean of x - noise, and that field carries N(0, 1) into the data
    (Lipman et al. 2023, theorem 1 and 2). Shapes as `Flow.forward`; noise as x.
    """
    share = t.view(-1, *[1] * (x.ndim - 1))
    velocity = flow(torch.lerp(noise, x, share), t, weights)
    return (velocity - (x - noise)).square().mean()  # type: ignore[no-any-return]


def times(n: int, device: torch.device | str = "cpu") -> Tensor:
    """Return n times in (0, 1), logistic of N(0, 1), one from each nth of that distribution.

    The middle of the way is the hard part, so it is met more often (Esser et al. 2024).
    """
    share = (torch.arange(n, device=device) + torch.rand(n, device=device)) / n
    return torch.sigmoid(torch.special.ndtri(share.clamp(1e-4, 1 - 1e-4)))


def guided(flow: nn.Module, weights: Tensor, w: float) -> Field:
    """Return the field v(x, t, no class) + w (v(x, t, class) - v(x, t, no class)).

    w = 1 is the conditional model, w = 0 the unconditional one; above 1, what is typical of the
    class is exaggerated (Ho and Salimans 2022, whose w counts from 0). ``weights``: (n, K).
    """

    def field(x: Tensor, t: Tensor) -> Tensor:
        if w == 1:
            return flow(x, t, weights)  # type: ignore[no-any-return]
        twice = torch.cat([x, x]), torch.cat([t, t]), torch.cat([0 * weights, weights])
        free, conditional = flow(*twice).chunk(2)
        return torch.lerp(free, conditional, w)

    return field


def solve(field: Field, x: Tensor, steps: int, heun: bool = True) -> list[Tensor]:
    """Follow dx/dt = field(x, t) from t = 0 to 1; return the steps + 1 places on the way.

    Euler's method walks each step at the velocity of its beginning: the error falls as 1 / steps.
    Heun's method averages that with the velocity where Euler would arrive: an error that falls as
    1 / steps^2 for two evaluations a step. Its last step is Euler's (Karras et al. 2022): at t = 1
    nothing tells the noise any more, and where pixels hardly vary, as in a black ground, the
    velocity there would put noise back.
    """
    path = [x]
    for i in range(steps):
        now, then = (x.new_full((len(x),), (i + end) / steps) for end in (0, 1))
        v = field(x, now)
        if heun and i < steps - 1:
            v = (v + field(x + v / steps, then)) / 2
        x = x + v / steps
        path.append(x)
    return path


class Sampler(nn.Module):
    """A generator G(z, y): z is the noise that a flow carries into a picture.

    Args:
        flow: the velocity network.
        guidance: w of `guided`.
        steps, heun: of `solve`.
    """

    def __init__(
        self, flow: Flow, guidance: float = 2.0, steps: int = 5, heun: bool = True
    ) -> None:
        super().__init__()
        self.flow, self.guidance, self.steps, self.heun = flow, guidance, steps, heun
        self.num_classes, self.image_size = flow.num_classes, flow.image_size
        self.shape = (flow.channels, flow.image_size, flow.image_size)
        self.latent_dim = math.prod(self.shape)

    def forward(self, z: Tensor, y: Labels) -> Tensor:
        """Return pictures (n, C, H, W) in [-1, 1] for z (n, C H W) and y, n classes."""
        return self.from_weights(z, one_hot(y, self.num_classes, len(z)).to(z))

    def from_weights(self, z: Tensor, weights: Tensor) -> Tensor:
        """The same for class weights, float (n, K)."""
        return self.path(z, weights)[-1].clamp(-1, 1)

    def path(self, z: Tensor, weights: Tensor) -> list[Tensor]:
        """Return every place on the way, as `solve` does."""
        field = guided(self.flow, weights, self.guidance)
        return solve(field, z.view(-1, *self.shape), self.steps, self.heun)


def fit(
    flow: Flow,
    data: LabelledImages,
    *,
    steps: int,
    seed: int,
    batch_size: int = 64,
    lr: float = 1.5e-3,
    drop: float = 0.1,
    ema: float = 0.999,
    share: Callable[[int], float] | None = None,
) -> Flow:
    """Train a flow in place, on its device, and return the running average of its weights.

    AdamW; the rate rises over 100 steps and falls linearly to 0; gradients are clipped at norm 1.
    The average starts short and lengthens, min(ema, (1 + step) / (10 + step)), or it would hold
    the first weights for long.

    Args:
        flow: is trained.
        data: pictures; its classes are the flow's.
        steps: at most so many.
        seed: fixes what is drawn: batches, noise, times, hidden labels.
        batch_size, lr, ema: of the training.
        drop: share of labels that are hidden.
        share: from the step to the share of the training that is done; the clock's, for a
            training of so many seconds. Left out, step / steps.
    """
    device = next(flow.parameters()).device
    data, average = data.to(device), copy.deepcopy(flow).eval().requires_grad_(False)
    rate, decay = torch.tensor(lr / 100, device=device), torch.tensor(0.0, device=device)
    optimiser = torch.optim.AdamW(
        flow.parameters(), rate, (0.9, 0.99), weight_decay=0.01, capturable=device.type == "cuda"
    )
    kept, now = ([p.detach() for p in net.parameters()] for net in (average, flow))

    def step() -> None:
        rows = torch.randint(len(data), (batch_size,), device=device)
        x = data.images[rows].float() / 127.5 - 1
        shown = torch.rand(batch_size, 1, device=device) >= drop
        weights = F.one_hot(data.labels[rows], data.num_classes) * shown
        noise, t = torch.randn_like(x), times(batch_size, device)
        optimiser.zero_grad()
        flow_loss(flow, x, weights.float(), noise, t).backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(flow.parameters(), 1.0)
        optimiser.step()
        torch._foreach_mul_(kept, decay)
        torch._foreach_add_(kept, list(torch._foreach_mul(now, 1 - decay)))

    with seeded(seed, device):
        take = captured(step) if device.type == "cuda" else step
        for i in range(steps):
            done = i / steps if share is None else share(i)
            if done >= 1:
                break
            rate.fill_(lr * min((i + 1) / 100, 1 - done))
            decay.fill_(min(ema, (1 + i) / (10 + i)))
            take()
    flow.eval()
    return average


def captured(step: Callable[[], None], warm_up: int = 3) -> Callable[[], None]:
    """Return a function that replays a step as one CUDA graph; the warm-up's steps are taken, too.

    A small network's step is hundreds of kernels of a few microseconds each, so that starting them
    takes longer than running them. A graph is started at once.
    """
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(warm_up):
            step()
    torch.cuda.current_stream().wait_stream(stream)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def mixture_velocity(mixture: Mixture, x: Tensor, t: Tensor) -> Tensor:
    """Return the exact velocity E[data - noise | x_t = x] for a mixture of Gaussians.

    Within component k with mean m and standard deviation s, x_t is Gaussian with mean t m and
    variance (1 - t)^2 + t^2 s^2, and the velocity is linear in x; over components, the mean by
    their posterior shares. x float (n, d), t float (n,); returns float (n, d).
    """
    t = t[:, None]
    var = (1 - t) ** 2 + t**2 * mixture.std**2
    off = x[:, None, :] - t[:, :, None] * mixture.means  # (n, k, d)
    log_share = mixture.weights.log() - 0.5 * off.square().sum(2) / var
    slope = (t * mixture.std**2 - (1 - t)) / var
    each = mixture.means + slope[:, :, None] * off
    return (log_share.softmax(1)[:, :, None] * each).sum(1)
