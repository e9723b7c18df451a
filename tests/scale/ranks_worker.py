"""What each process of test_parallel.py does: ``torchrun ranks_worker.py FOLDER``."""

from __future__ import annotations

import copy
import os
import signal
import sys
from pathlib import Path

import torch
import torch.nn.functional as F
from checks import two_classes
from torch import Tensor, nn

from acgan_lib import objectives
from acgan_lib.nets import ConditionalGenerator, Discriminator, DiscriminatorOutput, Generator
from acgan_lib.scale.ranks import Ranks, join, sync_batch_norm
from acgan_lib.train import Progress, Result, StopTraining, TrainConfig, fit

STEPS = 6


class PlainG(ConditionalGenerator):
    """A G in float64 without BatchNorm."""

    def __init__(self) -> None:
        super().__init__(latent_dim=8, num_classes=2, channels=1, image_size=32)
        self.layers = nn.Sequential(nn.Linear(10, 16), nn.Tanh(), nn.Linear(16, 1024), nn.Tanh())

    def draw(self, code: Tensor) -> Tensor:
        return self.layers(code.double()).view(-1, 1, 32, 32)


class PlainD(nn.Module):
    """A D in float64 without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(1024, 16), nn.Tanh(), nn.Linear(16, 3))

    def forward(self, x: Tensor, y: Tensor | None = None) -> DiscriminatorOutput:
        out = self.layers(x.double())
        return DiscriminatorOutput(out[:, 0], out[:, 1:])


def exact() -> objectives.Objective:
    """AC-GAN's objective in float64, where the library's rounds logits to float32."""

    def d_loss(D, real, fake):
        on_real, on_fake = D(real.images), D(fake.images)
        return {
            "d_real": F.softplus(-on_real.source_logit).mean(),
            "d_fake": F.softplus(on_fake.source_logit).mean(),
            "d_class": F.cross_entropy(on_real.class_logits, real.labels),
        }

    def g_loss(D, fake):
        out = D(fake.images)
        return {
            "g": F.softplus(-out.source_logit).mean(),
            "g_class": F.cross_entropy(out.class_logits, fake.labels),
        }

    return objectives.Objective("exact", d_loss, g_loss)


def settings() -> TrainConfig:
    return TrainConfig(
        batch_size=8, lr_g=1e-3, lr_d=1e-3, precision="fp32", progress=False,
        log_every=1, checkpoint_every=2,
    )  # fmt: skip


def plain(ranks: Ranks) -> Result:
    """Networks without BatchNorm. A rank's own seed must not matter."""
    torch.manual_seed(ranks.rank)
    G, D = PlainG().double(), PlainD().double()
    return fit(G, D, two_classes(), exact(), steps=STEPS, config=settings(), ranks=ranks)


def usual(ranks: Ranks, *, synced: bool, callbacks=(), run_dir: Path | None = None) -> Result:
    """The fast pair, which has BatchNorm in both networks."""
    torch.manual_seed(ranks.rank)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4, class_head=2)
    if synced:
        sync_batch_norm(G)
        sync_batch_norm(D)
    return fit(
        G, D, two_classes(), objectives.acgan(),
        steps=STEPS, config=settings(), callbacks=callbacks, run_dir=run_dir, ranks=ranks,
    )  # fmt: skip


def tensors(result: Result) -> dict[str, Tensor]:
    """The weights and statistics of a result."""
    return {
        f"{name}.{key}": value.clone()
        for name in ("G", "D", "G_ema")
        for key, value in getattr(result, name).state_dict().items()
    }


def kept(result: Result) -> dict:
    return copy.deepcopy({"rows": result.history.rows, "tensors": tensors(result)})


def follow(ranks: Ranks, folder: Path) -> None:
    """Every comparison with one process."""
    seen = []

    def stop(progress: Progress) -> None:
        seen.append(progress.step)
        if progress.step == 3:
            raise StopTraining

    out = {
        "plain": kept(plain(ranks)),
        "synced": kept(usual(ranks, synced=True)),
        "local": kept(usual(ranks, synced=False, run_dir=folder / f"run-{ranks.rank}")),
        "stopped": kept(usual(ranks, synced=False, callbacks=[stop])),
        "seen": seen,
        "ranks": (ranks.rank, ranks.size),
    }
    torch.save(out, folder / f"rank-{ranks.rank}.pt")


def killed(ranks: Ranks, folder: Path) -> None:
    """Rank 1 dies without a word in the middle of the first try; torchrun starts both again."""
    first_try = os.environ["TORCHELASTIC_RESTART_COUNT"] == "0"

    def die(step: int) -> None:
        if first_try and ranks.rank == 1 and step == 5:
            os.kill(os.getpid(), signal.SIGKILL)

    average_ = Ranks.average_
    calls = []

    def average_or_die(self, values):
        calls.append(1)
        die((len(calls) - 1) // 3 + 1)  # D's gradients, G's, and the losses to log: three a step
        average_(self, values)

    Ranks.average_ = average_or_die
    result = usual(ranks, synced=False, run_dir=folder / "killed")
    if ranks.rank == 0:
        tries = int(os.environ["TORCHELASTIC_RESTART_COUNT"])
        torch.save(kept(result) | {"tries": tries, "calls": len(calls)}, folder / "killed.pt")


if __name__ == "__main__":
    torch.set_num_threads(1)
    folder = Path(sys.argv[1])
    with join() as ranks:
        if os.environ["TORCHELASTIC_RESTART_COUNT"] == "0":
            follow(ranks, folder)
        killed(ranks, folder)
