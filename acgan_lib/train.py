"""One training loop that does not know which GAN it trains.

A step updates D once and G once, on the same generated images. Everything random in step ``t`` is
a function of ``(seed, t)``, so that a run killed at any moment resumes from its last checkpoint to
the very same weights (bit for bit on a CPU; on a GPU as far as its kernels are deterministic).
What is checked before the first step stands in ``_checks``, the checkpoint's file in `checkpoint`.

The levers that make it fast, with their gain on two CPU cores (``make bench`` measures them):
bfloat16 autocast with channels_last memory, the images of D's step used again for G's step,
D's parameters frozen while G learns, fused Adam, and data resident as uint8 on the device.
"""

from __future__ import annotations

import contextlib
import copy
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from acgan_lib import _checks, checkpoint
from acgan_lib.nets import ConditionalGenerator
from acgan_lib.objectives import Batch, Objective, Terms
from acgan_lib.runtime import seeded, supports_bf16


class Images(Protocol):
    """What the loop asks of its data: `data.LabelledImages`, or a stream.

    The properties are K, the names of the classes, C of the images, and the side of the squares.
    """

    @property
    def num_classes(self) -> int: ...
    @property
    def class_names(self) -> tuple[str, ...]: ...
    @property
    def channels(self) -> int: ...
    @property
    def size(self) -> int: ...

    def __len__(self) -> int:
        """Return the number of images."""

    def to(self, device: torch.device | str) -> Images:
        """Return the same images, with batches on `device`."""

    def batch(
        self, step: int, batch_size: int, seed: int, rows: slice = slice(None)
    ) -> tuple[Tensor, Tensor]:
        """Return x float32 (n, C, H, W) in [-1, 1] and y int64 (n,), a function of (seed, step).

        Only ``rows`` of the batch are wanted.
        """

    def fingerprint(self) -> str:
        """Return a line that other images or labels would not have; asked for with a run_dir."""


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults suit the fast 32x32 networks.

    Attributes:
        batch_size: real images a step, and as many generated ones. A smaller set gives all it has.
        lr_g: Adam's learning rate for G.
        lr_d: the one for D.
        betas: Adam's decay rates (0.5, 0.999), as in Radford et al. 2015 and the paper.
        linear_decay: let both rates fall linearly to 0 at the last step. A finished run can then
            not be extended, as each of its rates would have been another.
        ema: decay of the running average of G's weights (Yazici et al. 2019); 0 turns it off.
        precision: ``"auto"`` takes bfloat16 where the hardware has it.
        compile: compile both networks (pays on a GPU, not on a CPU).
        seed: fixes the order of the data, the latents, the labels and any dropout.
        log_every: steps between two rows of the history (each is the mean over those steps).
        checkpoint_every: steps between two checkpoints, a multiple of ``log_every``.
        progress: show a progress bar.
    """

    batch_size: int = 100
    lr_g: float = 5e-4
    lr_d: float = 5e-4
    betas: tuple[float, float] = (0.5, 0.999)
    linear_decay: bool = True
    ema: float = 0.999
    precision: Literal["auto", "fp32", "bf16"] = "auto"
    compile: bool = False
    seed: int = 0
    log_every: int = 50
    checkpoint_every: int = 500
    progress: bool = True

    def __post_init__(self) -> None:
        """Raise ValueError where a setting makes no sense."""
        if self.precision not in ("auto", "fp32", "bf16"):
            raise ValueError(f"precision must be 'auto', 'fp32' or 'bf16': {self.precision!r}")
        if self.log_every < 1 or self.checkpoint_every % self.log_every:
            raise ValueError(
                f"checkpoint_every ({self.checkpoint_every}) must be a multiple of "
                f"log_every ({self.log_every}), which must be at least 1"
            )
        if self.seed < 0:
            raise ValueError(f"seed must be 0 or more, got {self.seed}")
        if not 0 <= self.ema < 1:
            raise ValueError(f"ema must be in [0, 1), got {self.ema}")
        if self.batch_size < 2:
            raise ValueError(f"batch_size must be at least 2 for BatchNorm, got {self.batch_size}")


@dataclass
class History:
    """The losses of a run: one row every ``log_every`` steps, with the step under ``"step"``."""

    rows: list[dict[str, float]] = field(default_factory=list)

    def column(self, name: str) -> list[float]:
        """Return one term over the run, e.g. ``column("d_source_real")``."""
        if self.rows and name not in self.rows[0]:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.rows[0])}")
        return [row[name] for row in self.rows]


@dataclass
class Progress:
    """What a callback sees after a step (1-based). ``terms`` is set on the steps that log."""

    step: int
    steps: int
    G: ConditionalGenerator
    D: nn.Module
    G_ema: ConditionalGenerator
    history: History
    terms: dict[str, float] | None = None


Callback = Callable[[Progress], None]  # with state_dict and load_state_dict, kept in last.pt


class OneProcess:
    """Who shares a batch: this process alone. `scale.ranks.Ranks` is the same for several."""

    rank = 0
    first = True  # whether this process writes files, shows progress and calls back

    def rows(self, batch_size: int) -> slice:
        """Return the rows of a batch that are this process's."""
        return slice(0, batch_size)

    def average_(self, tensors: Sequence[Tensor]) -> None:
        """Replace tensors of one dtype by their means over the processes."""

    def from_first(self, value: Any) -> Any:
        """Return the first process's ``value``."""
        return value

    def copy_from_first(self, module: nn.Module) -> None:
        """Give a module the weights and statistics that it has on the first process."""


# How the z and labels of a step are drawn, from (G, n, seed, step, device): as `draw_latents` does.
Latents = Callable[[ConditionalGenerator, int, int, int, torch.device | str], tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Result:
    """What :func:`fit` returns; ``G_ema`` is the generator to draw with, in eval mode."""

    G: ConditionalGenerator
    D: nn.Module
    G_ema: ConditionalGenerator
    history: History


class StopTraining(Exception):
    """Raised by a callback: `fit` then returns what it has, as at the last step."""


class TrainingDivergedError(RuntimeError):
    """A loss or a weight became NaN or infinite; the networks hold the last good state."""


def fit(
    G: ConditionalGenerator,
    D: nn.Module,
    data: Images,
    objective: Objective,
    *,
    steps: int,
    config: TrainConfig | None = None,
    callbacks: Sequence[Callback] = (),
    run_dir: str | os.PathLike[str] | None = None,
    ranks: OneProcess | None = None,
    latents: Latents | None = None,
) -> Result:
    """Train G against D in place, on the device on which they lie: CUDA, Apple's MPS or the CPU.

    Args:
        G: generator; its latents are drawn from N(0, I), its labels uniformly.
        D: discriminator that gives logits, with the heads that ``objective.needs``.
        data: square images of G's and D's channels and size; moved to their device once.
        objective: see :mod:`acgan_lib.objectives`.
        steps: number of updates of each network. A finished run goes on with more of them, unless
            ``config.linear_decay``.
        config: see :class:`TrainConfig`.
        callbacks: called in order after each step, before a checkpoint is written. What one keeps
            goes into the checkpoint if it has ``state_dict()`` and ``load_state_dict(state)``.
        run_dir: where ``last.pt`` is kept, from step 0 on. If it is there already, the run goes on
            from it; the networks' present weights then play no part.
        ranks: the processes that share each batch (`acgan_lib.scale.ranks`); all call `fit`
            alike, and start from rank 0's weights. Rank 0 alone writes, and calls back.
        latents: how z and the labels are drawn; :func:`draw_latents` if None.

    Networks that are frozen whole, as from `zoo.load`, are made trainable; frozen parts of others
    stay so. The caller's random state stays as it is. Threads that train other networks take turns
    with this one at each step. One that draws from torch's global generator meanwhile changes what
    dropout draws here: give it a ``torch.Generator``. A callback that raises :class:`StopTraining`
    ends the run without an error; a second call goes on from that step.

    Raises:
        ValueError: before the first step, if G, D, data, objective, config and ranks do not fit
            together, or ``run_dir`` holds another run or a damaged checkpoint.
        TimeoutError: if another training has ``run_dir``.
        OSError: if ``run_dir`` cannot be written to, or a checkpoint finds no room.
        TrainingDivergedError: if a loss or weight is not finite. G, D and ``run_dir`` keep the
            last good state.
    """
    if steps < 0:
        raise ValueError(f"steps must be 0 or more, got {steps}")
    config, ranks, latents = config or TrainConfig(), ranks or OneProcess(), latents or draw_latents
    device, rows = _checks.networks(G, D), objective.needs.rows
    size = _checks.batch_size(config.batch_size, _checks.data_set(data), rows)
    config, mine = replace(config, batch_size=size), ranks.rows(size)
    moved = data.to(device)
    with _checks.alone(G, D):
        few = slice(mine.start, min(mine.start + 2 * rows, mine.stop))
        z, _ = latents(G, size, config.seed, 0, device)
        _checks.game(G, D, data, objective, *moved.batch(0, size, config.seed, few), z[few])
        where = run_dir if ranks.first else None
        identity = {} if where is None else _identity(G, D, data, objective, config, steps)
        weights = sum(v.nbytes for m in (G, D) for v in m.state_dict().values())
        # A checkpoint has at most four times the weights: with G's average, Adam's two moments.
        with checkpoint.held(where, identity, 4 * weights) as kept:
            saved = ranks.from_first(kept.read())
            if saved is not None and saved["step"] > steps:
                raise ValueError(f"steps is {steps}, but {kept.path} is at step {saved['step']}")
            for module in (G, D):
                ranks.copy_from_first(module)
            state = _State(G, D, config, steps, ranks, callbacks)
            if saved is None:
                kept.write(state.snapshot())
            else:
                state.load(saved)
            try:
                _loop(state, moved, objective, latents, kept)
            finally:  # leave no gradients behind
                state.opt_g.zero_grad(set_to_none=True)
                state.opt_d.zero_grad(set_to_none=True)
    about = {
        "objective": objective.name, "settings": dict(objective.settings),
        "data": getattr(data, "source", ""), "steps": state.step, "config": asdict(config),
    }  # fmt: skip
    for network in (G, D, state.G_ema):
        network.about = about  # type: ignore[assignment]  # zoo.save keeps it
    return Result(G.eval(), D.eval(), state.G_ema, state.history)


def _identity(
    G: nn.Module, D: nn.Module, data: Images, objective: Objective, config: TrainConfig, steps: int
) -> dict[str, Any]:
    """Return what must agree for a run to go on: not when it saves, or what it shows."""
    settings = asdict(config)
    for name in ("progress", "checkpoint_every", "compile"):
        settings.pop(name)
    if config.linear_decay:
        settings["steps, over which the rates fall"] = steps
    settings |= {f"the objective's {name}": value for name, value in objective.settings.items()}
    return {
        "objective": objective.name,
        "G": checkpoint.layout(G), "D": checkpoint.layout(D),
        "classes": ", ".join(data.class_names), "data": data.fingerprint(), **settings,
    }  # fmt: skip


def _loop(
    state: _State,
    data: Images,
    objective: Objective,
    latents: Latents,
    kept: checkpoint.Checkpoint,
) -> None:
    """Take the steps that are left, calling back, logging and keeping checkpoints."""
    config, ranks, steps = state.config, state.ranks, state.steps
    bar = tqdm(
        total=steps, initial=state.step, disable=not (config.progress and ranks.first),
        desc=objective.name, unit="step", dynamic_ncols=True,
    )  # fmt: skip

    good = state.snapshot()
    with bar:
        while state.step < steps:
            terms = _step(state, data, objective, config, state.device, latents)
            state.add(terms)
            now = Progress(state.step, steps, state.G, state.D, state.G_ema, state.history)
            logs = state.step % config.log_every == 0 or state.step == steps
            if logs:
                now.terms = state.means()
                _stop_if_diverged(now.terms, state, good, kept)
                state.history.rows.append({"step": state.step, **now.terms})
                bar.set_postfix({k: f"{v:.2f}" for k, v in now.terms.items()}, refresh=False)
            if not _call(state.callbacks, now, ranks):
                kept.write(state.snapshot())
                return
            bar.update()
            if logs and (state.step % config.checkpoint_every == 0 or state.step == steps):
                good = state.snapshot()
                # After the callbacks: a kill in between repeats them, and none is left out.
                kept.write(good)


def _call(callbacks: Sequence[Callback], now: Progress, ranks: OneProcess) -> bool:
    """Call back on rank 0; return on every rank whether the run goes on."""
    stop = False
    try:
        for callback in callbacks if ranks.first else ():
            callback(now)
    except StopTraining:
        stop = True
    return not (callbacks and ranks.from_first(stop))


def _step(
    state: _State,
    data: Images,
    objective: Objective,
    config: TrainConfig,
    device: torch.device,
    latents: Latents,
) -> Terms:
    """Update D, then G, and return all terms."""
    G, D, t = state.fast_G, state.fast_D, state.step
    rows = state.ranks.rows(config.batch_size)  # all of them, where this process is alone
    x, y = data.batch(t, config.batch_size, config.seed, rows)
    drawn = latents(state.G, config.batch_size, config.seed, t, device)
    z, y_fake = (part[rows] for part in drawn)
    state.set_learning_rates(t)
    # Dropout and noise inside the networks; each rank draws its own.
    with seeded(_mix(config.seed, t, state.ranks.rank), device):
        with state.autocast():
            real = Batch(x.contiguous(memory_format=torch.channels_last), y)
            fake = Batch(G(z, y_fake), y_fake, z)
            # D learns from the images as data: without detach, backward would also run through G.
            d_terms = objective.d_loss(D, real, fake._replace(images=fake.images.detach()))
        _descend(d_terms, state.opt_d, state.ranks)

        with state.autocast(), frozen(state.D):
            # The same images again, before a D that has just learned from them: G's forward pass
            # is paid once. Its graph is still valid, for G's weights have not moved since.
            g_terms = objective.g_loss(D, fake)
            _descend(g_terms, state.opt_g, state.ranks)
    state.average()
    return {**d_terms, **g_terms}


def _descend(terms: Terms, optimiser: torch.optim.Optimizer, ranks: OneProcess) -> None:
    optimiser.zero_grad(set_to_none=True)
    torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
    # A term is a mean over rows, so the mean over equal shares is the whole batch's gradient.
    parameters = optimiser.param_groups[0]["params"]
    ranks.average_([p.grad for p in parameters if p.grad is not None])
    optimiser.step()


def draw_latents(
    G: ConditionalGenerator, n: int, seed: int, step: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Draw the z ~ N(0, I) and the uniform labels of one training step.

    They are drawn on the CPU, so that a seed means the same latents on every device.

    Returns:
        z float (n, latent_dim) and y int64 (n,), each class equally likely.
    """
    generator = torch.Generator().manual_seed(_mix(seed, step) + 1)
    z = torch.randn(n, G.latent_dim, generator=generator)
    y = torch.randint(0, max(G.num_classes, 1), (n,), generator=generator)
    ahead = torch.device(device).type == "cuda"  # MPS would copy memory that is free again
    return z.to(device, non_blocking=ahead), y.to(device, non_blocking=ahead)


@contextlib.contextmanager
def frozen(module: nn.Module) -> Iterator[None]:
    """Compute no gradients for a module's parameters inside this context."""
    parameters = [p for p in module.parameters() if p.requires_grad]
    for p in parameters:
        p.requires_grad_(False)
    try:
        yield
    finally:
        for p in parameters:
            p.requires_grad_(True)


class _State:
    """All that a run changes, and nothing else: what a checkpoint must hold."""

    def __init__(
        self,
        G: ConditionalGenerator,
        D: nn.Module,
        config: TrainConfig,
        steps: int,
        ranks: OneProcess | None = None,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.ranks, self.callbacks = ranks or OneProcess(), callbacks
        self.G, self.D, self.config, self.steps = G.train(), D.train(), config, steps
        self.device = next(G.parameters()).device
        for module in (G, D):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
            if not any(p.requires_grad for p in module.parameters()):
                module.requires_grad_(True)
        self.G_ema = copy.deepcopy(G).eval().requires_grad_(False)
        betas = (float(config.betas[0]), float(config.betas[1]))  # Adam refuses (0, 0.9)
        self.opt_g, self.opt_d = (
            torch.optim.Adam(module.parameters(), float(lr), betas, fused=True)
            for module, lr in ((G, config.lr_g), (D, config.lr_d))
        )
        self.history = History()
        self.step = 0
        self.sums: Terms = {}  # of the terms, over ``count`` steps since the last row
        self.count = 0
        self.fast_G: Any = torch.compile(G) if config.compile else G
        self.fast_D: Any = torch.compile(D) if config.compile else D
        wanted = config.precision
        self.bf16 = wanted == "bf16" or (wanted == "auto" and supports_bf16(self.device))

    def autocast(self) -> contextlib.AbstractContextManager[Any]:
        if not self.bf16:  # not "enabled=False", which warns on devices without bfloat16
            return contextlib.nullcontext()
        return torch.autocast(self.device.type, torch.bfloat16)

    def set_learning_rates(self, t: int) -> None:
        left = 1 - t / self.steps if self.config.linear_decay else 1.0
        for optimiser, lr in ((self.opt_g, self.config.lr_g), (self.opt_d, self.config.lr_d)):
            optimiser.param_groups[0]["lr"] = float(lr * left)

    @torch.no_grad()
    def average(self) -> None:
        """Move G_ema towards G: weights, and BatchNorm's running statistics with them.

        Not `torch.optim.swa_utils.AveragedModel`: by default it leaves the statistics as they
        were at the start, which spoils the images (exhibit 11 of the museum).
        """
        # Early on the average would be mostly the random start, so its window grows with time.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.config.ema else 0.0
        ema, now = self.G_ema.state_dict(), self.G.state_dict()
        floats = [k for k, v in now.items() if v.is_floating_point()]
        torch._foreach_lerp_([ema[k] for k in floats], [now[k] for k in floats], 1 - decay)

    def add(self, terms: Terms) -> None:
        """Count a step, and its terms towards the next row of the history."""
        self.sums = {k: self.sums.get(k, 0) + v.detach() for k, v in terms.items()}
        self.step, self.count = self.step + 1, self.count + 1

    def means(self) -> dict[str, float]:
        """Return the terms' means over the steps since the last row, and begin anew."""
        totals = torch.stack([total.float() for total in self.sums.values()])
        self.ranks.average_([totals])
        means = {k: v / self.count for k, v in zip(self.sums, totals.tolist(), strict=True)}
        self.sums, self.count = {}, 0
        return means

    def snapshot(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "step": self.step,
                "rows": self.history.rows,
                "sums": self.sums,
                "count": self.count,
                "callbacks": {name: call.state_dict() for name, call in self._keeping().items()},
                **{name: getattr(self, name).state_dict() for name in self.PARTS},
            }
        )

    def load(self, saved: dict[str, Any]) -> None:
        self.step, self.count = saved["step"], saved["count"]
        self.sums = {name: total.to(self.device) for name, total in saved["sums"].items()}
        self.history.rows[:] = copy.deepcopy(saved["rows"])
        for name in self.PARTS:
            getattr(self, name).load_state_dict(copy.deepcopy(saved[name]))
        for name, callback in self._keeping().items():
            if name in saved["callbacks"]:
                callback.load_state_dict(copy.deepcopy(saved["callbacks"][name]))

    def _keeping(self) -> dict[str, Any]:
        """Return the callbacks that keep something, each under its class's name and number."""
        called = self.callbacks if self.ranks.first else ()
        kept = [callback for callback in called if hasattr(callback, "state_dict")]
        kinds = [type(callback).__name__ for callback in kept]
        return {f"{kind} {kinds[:i].count(kind)}": kept[i] for i, kind in enumerate(kinds)}

    PARTS = ("G", "D", "G_ema", "opt_g", "opt_d")


def _stop_if_diverged(
    terms: dict[str, float],
    state: _State,
    good: dict[str, Any],
    kept: checkpoint.Checkpoint,
) -> None:
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    for module in (state.G, state.D):
        bad += [n for n, p in module.named_parameters() if not bool(torch.isfinite(p).all())]
    if not bad:
        return
    at = state.step
    state.load(good)
    where = f", also in {kept.path.name}" if kept.path is not None else ""
    raise TrainingDivergedError(
        f"not finite by step {at}: {', '.join(bad[:5])}. The networks are back at step "
        f"{state.step}{where}. Try a lower learning rate, or precision='fp32'."
    )


def _mix(seed: int, step: int, rank: int = 0) -> int:
    # torch's CPU generator reads the low 32 bits alone, so the rank must change those.
    return int((seed * 1_000_003 + step) * 2 ^ rank * 2 * 0x9E3779B1 % 2**32)
