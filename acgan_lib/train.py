"""One training loop that does not know which GAN it trains.

A step updates D once and G once, on the same generated images. Everything random in step ``t`` is
a function of ``(seed, t)``, so that a run killed at any moment resumes from its last checkpoint to
the very same weights (bit for bit on a CPU; on CUDA as far as its kernels are deterministic).

The levers that make it fast, with their gain on two CPU cores (``make bench`` measures them):
bfloat16 autocast with channels_last memory, the images of D's step used again for G's step,
D's parameters frozen while G learns, fused Adam, and data resident as uint8 on the device.
"""

from __future__ import annotations

import contextlib
import copy
import csv
import inspect
import io
import math
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from tqdm.auto import tqdm

from acgan_lib.data import to_uint8
from acgan_lib.nets import ConditionalGenerator
from acgan_lib.objectives import Batch, Objective, Terms
from acgan_lib.runtime import supports_bf16


class Images(Protocol):
    """What the loop asks of its data: `data.LabelledImages`, or a stream."""

    @property
    def num_classes(self) -> int:
        """K, the number of classes."""

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of the classes; a run goes on only with the same ones."""

    @property
    def channels(self) -> int:
        """C of the images."""

    @property
    def size(self) -> int:
        """The side of the square images in pixels."""

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


@dataclass(frozen=True)
class TrainConfig:
    """How to train. The defaults suit the fast 32x32 networks.

    Attributes:
        batch_size: real images a step, and as many generated ones.
        lr_g, lr_d: Adam's learning rates.
        betas: Adam's decay rates (0.5, 0.999), as in Radford et al. 2015 and the paper.
        linear_decay: let both rates fall linearly to 0 at the last step.
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


Callback = Callable[[Progress], None]


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


class Latents(Protocol):
    """How the z and labels of a step are drawn: :func:`draw_latents`, unless `fit` is told."""

    def __call__(
        self, G: ConditionalGenerator, n: int, seed: int, step: int, device: torch.device | str
    ) -> tuple[Tensor, Tensor]:
        """Return z float (n, latent_dim) and y int64 (n,) on ``device``."""


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
    """Train G against D in place, on the device on which G lies.

    Args:
        G: generator; its latents are drawn from N(0, I), its labels uniformly.
        D: discriminator that the objective can call, on the same device.
        data: real images; moved to that device once.
        objective: see :mod:`acgan_lib.objectives`.
        steps: number of updates of each network.
        config: see :class:`TrainConfig`.
        callbacks: called in order after each step.
        run_dir: where ``last.pt`` is kept. If it is there already, the run goes on from it.
        ranks: the processes that share each batch (`acgan_lib.scale.ranks`); all call `fit`
            alike, and start from rank 0's weights. Rank 0 alone writes, and calls back.
        latents: how z and the labels are drawn; :func:`draw_latents` if None.

    Raises:
        TrainingDivergedError: if a loss or weight is not finite. G, D and ``run_dir`` keep the
            last good state.
        ValueError: if the data do not fit G, ``run_dir`` holds another run, or the batch cannot
            be shared equally.

    A callback that raises :class:`StopTraining` ends the run early and without an error.
    """
    config, ranks = config or TrainConfig(), ranks or OneProcess()
    _check_fit(G, data)
    for module in (G, D):
        ranks.copy_from_first(module)
    state = _State(G, D, config, steps, ranks)
    device = next(G.parameters()).device
    data = data.to(device)
    checkpoint = Path(run_dir) / "last.pt" if run_dir is not None and ranks.first else None
    sizes = " and ".join(f"{sum(p.numel() for p in m.parameters()):,}" for m in (G, D))
    identity = (
        f"{_settings(objective)}, networks of {sizes} weights, {steps} steps, "
        f"{len(data)} images of {', '.join(data.class_names)}, {_identity(config)}"
    )
    found = checkpoint is not None and checkpoint.exists()
    saved = ranks.from_first(_read(checkpoint, identity) if found and checkpoint else None)
    if saved is not None:
        state.load(saved)

    bar = tqdm(
        total=steps, initial=state.step, disable=not (config.progress and ranks.first),
        desc=objective.name, unit="step", dynamic_ncols=True,
    )  # fmt: skip
    good = state.snapshot()
    sums: Terms = {}
    try:
        with bar:
            while state.step < steps:
                terms = _step(state, data, objective, config, device, latents or draw_latents)
                sums = {k: sums.get(k, 0) + v.detach() for k, v in terms.items()}
                state.step += 1
                now = Progress(state.step, steps, G, D, state.G_ema, state.history)
                if state.step % config.log_every == 0 or state.step == steps:
                    now.terms = _means(sums, state)
                    sums = {}
                    _stop_if_diverged(now.terms, state, good, checkpoint)
                    state.history.rows.append({"step": state.step, **now.terms})
                    bar.set_postfix({k: f"{v:.2f}" for k, v in now.terms.items()}, refresh=False)
                    if state.step % config.checkpoint_every == 0 or state.step == steps:
                        good = state.snapshot()
                        if checkpoint is not None:
                            _write(checkpoint, {**good, "identity": identity})
                _call(callbacks, now, ranks)
                bar.update()
    except StopTraining:
        if checkpoint is not None:
            _write(checkpoint, {**state.snapshot(), "identity": identity})
    finally:
        state.release()
    return Result(G.eval(), D.eval(), state.G_ema, state.history)


def _call(callbacks: Sequence[Callback], now: Progress, ranks: OneProcess) -> None:
    """Call back on rank 0. Where that ends the run, it ends on every rank."""
    stop = False
    try:
        for callback in callbacks if ranks.first else ():
            callback(now)
    except StopTraining:
        stop = True
    if callbacks and ranks.from_first(stop):
        raise StopTraining


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
    # Dropout and noise inside D; each rank draws its own.
    torch.manual_seed(_mix(config.seed, t) + (state.ranks.rank << 40))

    with state.autocast():
        real = Batch(x.contiguous(memory_format=torch.channels_last), y)
        fake = Batch(G(z, y_fake), y_fake, z)
        # D learns from the images as data: without detach, backward would also run through G.
        d_terms = objective.d_loss(D, real, fake._replace(images=fake.images.detach()))
    _descend(d_terms, state.opt_d, state.ranks)

    with state.autocast(), frozen(state.D):
        # The same images again, before a D that has just learned from them: G's forward pass is
        # paid once. Its graph is still valid, for G's weights have not moved since.
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
    return z.to(device, non_blocking=True), y.to(device, non_blocking=True)


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
        ranks: OneProcess,
    ) -> None:
        self.ranks = ranks
        self.G, self.D, self.config, self.steps = G.train(), D.train(), config, steps
        self.device = next(G.parameters()).device
        for module in (G, D):
            module.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.G_ema = copy.deepcopy(G).eval().requires_grad_(False)
        self.opt_g = self._adam(G, config.lr_g)
        self.opt_d = self._adam(D, config.lr_d)
        self.history = History()
        self.step = 0
        self.fast_G: Any = torch.compile(G) if config.compile else G
        self.fast_D: Any = torch.compile(D) if config.compile else D
        wanted = config.precision
        self.bf16 = wanted == "bf16" or (wanted == "auto" and supports_bf16(self.device))

    def _adam(self, module: nn.Module, lr: float) -> torch.optim.Adam:
        return torch.optim.Adam(module.parameters(), lr, self.config.betas, fused=True)

    def autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.bf16)

    def set_learning_rates(self, t: int) -> None:
        left = 1 - t / self.steps if self.config.linear_decay else 1.0
        for optimiser, lr in ((self.opt_g, self.config.lr_g), (self.opt_d, self.config.lr_d)):
            optimiser.param_groups[0]["lr"] = lr * left

    @torch.no_grad()
    def average(self) -> None:
        """Move G_ema towards G: weights, and BatchNorm's running statistics with them."""
        # Early on the average would be mostly the random start, so its window grows with time.
        decay = min(self.config.ema, (1 + self.step) / (10 + self.step)) if self.config.ema else 0.0
        ema, now = self.G_ema.state_dict(), self.G.state_dict()
        floats = [k for k, v in now.items() if v.is_floating_point()]
        torch._foreach_lerp_([ema[k] for k in floats], [now[k] for k in floats], 1 - decay)

    def snapshot(self) -> dict[str, Any]:
        return copy.deepcopy(
            {
                "step": self.step,
                "rows": self.history.rows,
                **{name: getattr(self, name).state_dict() for name in self.PARTS},
            }
        )

    def load(self, saved: dict[str, Any]) -> None:
        self.step = saved["step"]
        self.history.rows[:] = copy.deepcopy(saved["rows"])
        for name in self.PARTS:
            getattr(self, name).load_state_dict(copy.deepcopy(saved[name]))

    def release(self) -> None:
        """Leave no gradients behind."""
        self.opt_g.zero_grad(set_to_none=True)
        self.opt_d.zero_grad(set_to_none=True)

    PARTS = ("G", "D", "G_ema", "opt_g", "opt_d")


def _means(sums: Terms, state: _State) -> dict[str, float]:
    count = (state.step - 1) % state.config.log_every + 1
    totals = torch.stack([total.float() for total in sums.values()])
    state.ranks.average_([totals])
    return {name: total / count for name, total in zip(sums, totals.tolist(), strict=True)}


def _stop_if_diverged(
    terms: dict[str, float], state: _State, good: dict[str, Any], checkpoint: Path | None
) -> None:
    bad = [name for name, value in terms.items() if not math.isfinite(value)]
    for module in (state.G, state.D):
        bad += [n for n, p in module.named_parameters() if not bool(torch.isfinite(p).all())]
    if not bad:
        return
    at = state.step
    state.load(good)
    where = f", also in {checkpoint.name}" if checkpoint is not None and state.step else ""
    raise TrainingDivergedError(
        f"not finite by step {at}: {', '.join(bad[:5])}. The networks are back at step "
        f"{state.step}{where}. Try a lower learning rate, or precision='fp32'."
    )


def _check_fit(G: ConditionalGenerator, data: Images) -> None:
    if G.num_classes not in (0, data.num_classes):
        raise ValueError(f"G has {G.num_classes} classes, but data has {data.num_classes}")
    if (G.channels, G.image_size) != (data.channels, data.size):
        raise ValueError(
            f"G draws {G.channels} x {G.image_size} px images, but data has "
            f"{data.channels} x {data.size} px"
        )


def _mix(seed: int, step: int) -> int:
    return (seed * 1_000_003 + step) * 2


def _settings(objective: Objective) -> str:
    """Name an objective with the switches that its functions close over, as g_class_weight."""
    found: dict[str, Any] = {}
    for function in (objective.d_loss, objective.g_loss):
        if inspect.isfunction(function):
            found |= inspect.getclosurevars(function).nonlocals
    plain = {k: v for k, v in sorted(found.items()) if isinstance(v, bool | int | float | str)}
    return ", ".join([objective.name, *(f"{k}={v}" for k, v in plain.items())])


def _identity(config: TrainConfig) -> str:
    """Name the settings that must agree for a run to go on: not when it saves or what it shows."""
    kept = asdict(config)
    for name in ("progress", "checkpoint_every", "compile"):
        kept.pop(name)
    return ", ".join(f"{k}={v}" for k, v in kept.items())


def _write(path: Path, saved: dict[str, Any]) -> None:
    """Write a checkpoint so that at any moment the old one or the new one is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".tmp")  # one name, so that a kill leaves no heap of files behind
    with open(temporary, "wb") as file:
        torch.save(saved, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def _read(path: Path, identity: str) -> dict[str, Any]:
    saved: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    if saved["identity"] != identity:
        raise ValueError(
            f"{path} holds another run ({saved['identity']}), not this one ({identity}): "
            f"give a new run_dir, or delete the file"
        )
    return saved


class SampleGrid:
    """A callback that keeps what G_ema makes of fixed latents, to watch it learn.

    ``frames`` is a list of (step, images), images uint8 (n, C, H, W).
    """

    def __init__(self, z: Tensor, y: Tensor | None, every: int) -> None:
        """Draw ``z`` (n, latent_dim) and ``y`` (n,) every ``every`` steps, and at the last."""
        self.z, self.y, self.every = z, y, every
        self.frames: list[tuple[int, Tensor]] = []

    def __call__(self, progress: Progress) -> None:
        """Draw, if it is time."""
        if progress.step % self.every and progress.step != progress.steps:
            return
        device = next(progress.G_ema.parameters()).device
        y = None if self.y is None else self.y.to(device)
        with torch.no_grad():
            images = progress.G_ema(self.z.to(device), y)
        self.frames.append((progress.step, to_uint8(images)))


class CsvHistory:
    """A callback that keeps the history in a CSV file, whole at any moment."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        self.path = Path(path)

    def __call__(self, progress: Progress) -> None:
        """Write the history, if a row was added."""
        if progress.terms is None:
            return
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, fieldnames=list(progress.history.rows[0]))
        writer.writeheader()
        writer.writerows(progress.history.rows)
        temporary = self.path.with_suffix(".tmp")
        temporary.write_text(text.getvalue(), encoding="utf-8")
        os.replace(temporary, self.path)


class TensorBoardHistory:
    """A callback that writes the history for TensorBoard (``pip install tensorboard``)."""

    def __init__(self, directory: str | os.PathLike[str]) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self.writer = SummaryWriter(str(directory))

    def __call__(self, progress: Progress) -> None:
        """Write one point for each term, if a row was added."""
        for name, value in (progress.terms or {}).items():
            self.writer.add_scalar(name, value, progress.step)
        if progress.step == progress.steps:
            self.writer.close()
