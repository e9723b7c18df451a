"""A collapse alarm: watches each class's diversity while the GAN trains."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import nn

from acgan_lib.metrics.accuracy import judge_accuracy_by_class
from acgan_lib.metrics.estimate import Estimate
from acgan_lib.metrics.sampling import sample
from acgan_lib.metrics.ssim import ms_ssim_diversity
from acgan_lib.train import Progress


class Alarm(NamedTuple):
    """A class that is too uniform: at which step, which class, its MS-SSIM and its real one's."""

    step: int
    label: int
    ms_ssim: Estimate
    real: Estimate

    def __str__(self) -> str:
        return (
            f"step {self.step}: class {self.label} is collapsing, MS-SSIM {self.ms_ssim.value:.2f} "
            f"[{self.ms_ssim.low:.2f}, {self.ms_ssim.high:.2f}], real {self.real.value:.2f}"
        )


class Look(NamedTuple):
    """What the alarm saw at a step: MS-SSIM and, if it has a judge, accuracy of each class."""

    step: int
    ms_ssim: list[Estimate]
    accuracy: list[Estimate]


class CollapseAlarm:
    """A callback for `fit` that names the class that collapses, and when.

    Odena et al. 2017 (figure 5) see a collapsing class's MS-SSIM rise towards 1 during training,
    while a healthy one's stays near its real images'. At each look the alarm draws images of
    every class from G_ema and compares. A class sets it off if its MS-SSIM exceeds the real
    one's by more than `margin`, intervals included, at `patience` looks in a row. Early samples
    are all alike, so looks before step `after` are kept and set nothing off. A small network
    trained briefly stays above the data in every class: there, choose `margin` by a run that
    you know to be healthy.

    ``looks`` holds everything seen and ``alarms`` what went off, each class once.
    """

    def __init__(
        self,
        real: Sequence[Estimate],
        *,
        every: int,
        after: int = 0,
        margin: float = 0.15,
        patience: int = 2,
        n_per_class: int = 60,
        pairs: int = 150,
        judge: nn.Module | None = None,
        on_alarm: Callable[[Alarm], None] | None = None,
        seed: int = 0,
    ) -> None:
        """Watch classes 0..K-1.

        Args:
            real: `ms_ssim_diversity` of real images, for each class.
            every: steps between looks; the last step is looked at too.
            after: the first step at which a class can set it off.
            margin: how far above its real figure a class may be.
            patience: looks in a row that must agree.
            n_per_class, pairs: images drawn of each class, and pairs compared.
            judge: also measures each class's accuracy at each look.
            on_alarm: called once for each class that goes off. It may raise `StopTraining`, or
                multiply the tensor that was given to `objectives.acgan` as ``g_class_weight``.
            seed: fixes the latents and the pairs, the same at each look.
        """
        self.real, self.every, self.after = list(real), every, after
        self.margin, self.patience = margin, patience
        self.n_per_class, self.pairs, self.seed = n_per_class, pairs, seed
        self.judge, self.on_alarm = judge, on_alarm
        self.looks: list[Look] = []
        self.alarms: list[Alarm] = []
        self._in_a_row = [0] * len(self.real)

    def __call__(self, progress: Progress) -> None:
        """Look, if it is time."""
        if progress.step % self.every and progress.step != progress.steps:
            return
        x, y = sample(progress.G_ema, self.n_per_class, seed=self.seed)
        found = ms_ssim_diversity(x, y, pairs=self.pairs, seed=self.seed)
        if len(found) != len(self.real):
            raise ValueError(f"real has {len(self.real)} classes, but G draws {len(found)}")
        accuracy = judge_accuracy_by_class(self.judge, x, y) if self.judge is not None else []
        self.consider(Look(progress.step, found, accuracy))

    def consider(self, look: Look) -> None:
        """Keep a look and apply the rule to it: for `fit`, or to play recorded looks again."""
        self.looks.append(look)
        if look.step < self.after:
            return
        for label, (seen, real) in enumerate(zip(look.ms_ssim, self.real, strict=True)):
            collapsed = seen.low > real.high + self.margin
            self._in_a_row[label] = self._in_a_row[label] + 1 if collapsed else 0
            if self._in_a_row[label] == self.patience and label not in self.labels:
                alarm = Alarm(look.step, label, seen, real)
                self.alarms.append(alarm)
                if self.on_alarm is not None:
                    self.on_alarm(alarm)

    @property
    def labels(self) -> list[int]:
        """The classes that went off, in that order."""
        return [alarm.label for alarm in self.alarms]
