"""The cost of each metric: seconds against n, for ``python tools/bench.py --only metrics``.

What n counts is in each curve's words. Images are noise: what they show does not change the time.
A curve ends where a measurement took longer than LIMIT seconds.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch_fidelity import FeatureExtractorInceptionV3

from acgan_lib import metrics, runtime
from acgan_lib.data import to_uint8
from acgan_lib.experiments import _results
from acgan_lib.metrics import matching
from acgan_lib.nets import Generator
from acgan_lib.train import History, Progress

SIZES = (100, 1_000, 10_000)
LIMIT = 10.0  # seconds
Step = Callable[[], Any]


class Curve(NamedTuple):
    """A metric, what its n counts, and how to make a measurement of that n."""

    metric: str
    n_counts: str
    make: Callable[[int], Step]


def images(n: int) -> tuple[Tensor, Tensor]:
    """Noise of ten classes at 32 px: float (n, 1, 32, 32) in [-1, 1] and int64 (n,)."""
    x = torch.rand(n, 1, 32, 32, generator=torch.Generator().manual_seed(n)) * 2 - 1
    return x, torch.arange(n) % 10


def features(n: int, seed: int = 0) -> Tensor:
    """Features like the judge's: float (n, 128)."""
    return torch.randn(n, 128, generator=torch.Generator().manual_seed(seed))


def judge_features(n: int) -> Step:
    judge, (x, _) = metrics.Judge().eval(), images(n)
    return lambda: metrics.in_batches(judge, judge.features, x)


def inception_features(n: int) -> Step:
    """torch-fidelity's network with random weights: those it was published with cost the same."""

    class Random(FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: Any) -> None:
            """Keep the weights of the start."""

    with tempfile.NamedTemporaryFile() as nothing:
        torch.save({}, nothing.name)
        network = Random("random", ["2048"], feature_extractor_weights_path=nothing.name)
    x = to_uint8(images(n)[0]).expand(-1, 3, -1, -1)
    return lambda: metrics.in_batches(network, lambda part: network(part)[0], x, 50)


def accuracy(measure: Callable[..., Any], *rest: Any) -> Callable[[int], Step]:
    def make(n: int) -> Step:
        judge, (x, y) = metrics.Judge().eval(), images(n)
        return lambda: measure(judge, x, y, *rest)

    return make


def pairs(n: int) -> Step:
    """n pairs, 100 at a time: one giant batch is slower."""
    a, b = images(n)[0], images(n)[0].flip(0)
    return lambda: [metrics.ms_ssim(p, q) for p, q in zip(a.split(100), b.split(100), strict=True)]


def diversity(n: int) -> Step:
    x, y = images(max(n // 2, 50))
    return lambda: metrics.ms_ssim_diversity(x, y, pairs=n // 10)


def look(n: int) -> Step:
    """One look of the collapse alarm, which draws n images and compares n pairs."""
    G = Generator().eval()
    real = [metrics.Estimate(0.5, 0.5, 0.5, 1)] * 10
    alarm = metrics.CollapseAlarm(
        real, every=1, n_per_class=max(n // 10, 5), pairs=n // 10, judge=metrics.Judge().eval()
    )
    return lambda: alarm(Progress(1, 1, G, G, G, History()))


def distance_by_class(n: int) -> Step:
    x, y = features(n), torch.arange(n) % 10
    return lambda: metrics.frechet_by_class(x, y, x.flip(0), y)


def judge_distance(n: int) -> Step:
    judge, (x, y) = metrics.Judge().eval(), images(n)
    return lambda: metrics.frechet_judge_distance(judge, x, x.flip(0), y_a=y, y_b=y)


def cas(n: int) -> Step:
    x, y = images(n)
    return lambda: metrics.cas(x, y, x[:100], y[:100], seed=0, epochs=1)


def grid(n: int) -> Step:
    values = features(n)[:, :10]
    return lambda: metrics.swap_consistency(values)


def counts(n: int) -> Tensor:
    """How often codes and classes meet in n images, int64 (10, 10)."""
    return matching.contingency(torch.arange(n) % 10, torch.arange(n) % 7, 10)


CURVES = [
    Curve("judge features", "images", judge_features),
    Curve("Inception v3 features", "images", inception_features),
    Curve("judge_accuracy", "images", accuracy(metrics.judge_accuracy)),
    Curve("judge_accuracy_by_class", "images", accuracy(metrics.judge_accuracy_by_class)),
    Curve("judge_accuracy_at", "images, at one side", accuracy(metrics.judge_accuracy_at, [16])),
    Curve("ms_ssim", "pairs", pairs),
    Curve("ms_ssim_diversity", "pairs of ten classes", diversity),
    Curve("CollapseAlarm", "images and pairs of a look", look),
    Curve(
        "classifier_score", "images' logits",
        lambda n: partial(metrics.classifier_score, features(n)[:, :10]),
    ),
    Curve(
        "frechet_distance", "images' features",
        lambda n: partial(metrics.frechet_distance, features(n), features(n, 1)),
    ),
    Curve(
        "frechet_estimate", "images' features",
        lambda n: partial(metrics.frechet_estimate, features(n), features(n, 1)),
    ),
    Curve(
        "frechet_limit", "images' features",
        lambda n: partial(metrics.frechet_limit, features(n), features(n, 1)),
    ),
    Curve("frechet_by_class", "images' features", distance_by_class),
    Curve("kid", "images' features", lambda n: partial(metrics.kid, features(n), features(n, 1))),
    Curve("frechet_judge_distance", "images", judge_distance),
    Curve("cas", "images, for one epoch", cas),
    Curve(
        "manifold", "images' features",
        lambda n: partial(metrics.manifold, features(n), features(n, 1)),
    ),
    Curve(
        "nearest_neighbours", "images' features, on each side",
        lambda n: partial(metrics.nearest_neighbours, features(n), features(n, 1), p=2.0),
    ),
    Curve(
        "memorisation", "images' features, three times",
        lambda n: partial(metrics.memorisation, features(n), features(n, 1), features(n, 2)),
    ),
    Curve("swap_consistency", "rows of ten classes", grid),
    Curve(
        "mutual_information", "images' codes",
        lambda n: partial(matching.mutual_information, counts(n)),
    ),
    Curve(
        "bootstrap_mean", "values", lambda n: partial(metrics.bootstrap_mean, features(n)[:, 0])
    ),
]  # fmt: skip


def seconds(step: Step, rounds: int) -> float:
    """Return the median seconds of `rounds` measurements, or of one, where that is slow."""
    times: list[float] = []
    while len(times) < rounds and sum(times) < LIMIT / 4:
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(rounds: int, record: bool) -> None:
    """Print each metric's curve on the CPU, and store it where `record` asks for it."""
    print(f"\nSeconds against n, CPU, {torch.get_num_threads()} thread(s)")
    print(f"  {'metric':<26}" + "".join(f"{n:>10,}" for n in SIZES) + "  n counts")
    rows: list[dict[str, Any]] = []
    for curve in CURVES:
        found: dict[str, float] = {}
        for n in SIZES:
            if found and max(found.values()) * n / int(list(found)[-1]) > LIMIT:
                break  # at best in proportion to n
            step = curve.make(n)
            if not found:
                step()  # warm up
            found[str(n)] = seconds(step, rounds)
        shown = "".join(
            f"{found[str(n)]:10.3f}" if str(n) in found else f"{'-':>10}" for n in SIZES
        )
        print(f"  {curve.metric:<26}{shown}  {curve.n_counts}", flush=True)
        rows.append({"metric": curve.metric, "n counts": curve.n_counts, "seconds": found})
    if record:
        about = {"threads": torch.get_num_threads(), "on": runtime.describe("cpu"), "curves": rows}
        _results.keep("metric_costs", about)
