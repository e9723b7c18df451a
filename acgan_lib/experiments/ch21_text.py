"""Text to image on avatars at 32 px: the encoder that reads captions, and GAN-CLS with controls.

What ships was trained on a GPU for as long as it was lent, 149 seconds beside another training. Its
running average had no short start then; the first weights' share of 0.028 was taken out afterwards
(as Adam corrects its averages), and the networks measured again.
"""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from itertools import permutations
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from acgan_lib import metrics, zoo
from acgan_lib.avatars import KINDS, NO_FACTOR, WITHOUT_GLASSES, Avatars, avatars, drawn
from acgan_lib.data import to_uint8
from acgan_lib.experiments import _common, _results
from acgan_lib.experiments.ch10_avatars import read_factors
from acgan_lib.families import text
from acgan_lib.metrics import truth
from acgan_lib.runtime import pick_device, seeded

PER_KIND = 3_000
MATCHER_STEPS = 600
CAPTIONS = 4  # of each picture, and as many wrong ones
BATCH, LATENT, READS = 64, 64, 8
WIDTH, STEPS = 48, 20_000  # of what ships
BAG_WIDTH, BAG_STEPS = 32, 3_000
SMALL_STEPS = 600  # of those that a CPU trains
BY = ("model", "seed", "steps")
Model = Literal[
    "GAN-CLS", "GAN-CLS, reads z", "random mismatches", "no mismatches", "shuffled captions",
    "bag of words",
]  # fmt: skip
PLAIN: Model = "GAN-CLS"
READS_Z: Model = "GAN-CLS, reads z"
BAG: Model = "bag of words"
CONTROLS: tuple[Model, ...] = (PLAIN, "random mismatches", "no mismatches", "shuffled captions")
NAMES: dict[Model, str] = {PLAIN: "text_avatars", READS_Z: "text_avatars_z"}
SENTENCES = (
    "a pixel-art face with blue hair on a yellow ground, glasses",
    "a pixel-art face with yellow hair on a blue ground, glasses",
    "a micah portrait with dark skin and pink hair on a green ground",
    "a face with red hair",
    "a lorelei face",
    "a dylan face with green hair on a purple ground",
    "a face with glasses on an orange ground",
    "a toon-head face with tan skin whose hair is grey on a pink background",
)
EAGER = False  # True: no CUDA graphs


def seen(data: Avatars) -> Avatars:
    """Return the pictures that are not held out."""
    return data.subset(torch.nonzero(~text.is_held_out(text.factor_table(data))).flatten())


def matched(
    matcher: text.Matcher, data: Avatars, n: int = 100, seed: int = 0
) -> dict[str, metrics.Estimate]:
    """Measure how often the encoders choose between a caption and one that is off in one attribute.

    Args:
        matcher: both encoders.
        data: pictures, none held out.
        n: pictures for each attribute.
        seed: chooses them and their captions, which say everything.

    Returns:
        The share of pictures whose own caption fits better, by the attribute that is off.
        "exchanged": with the colours of hair and ground exchanged; a draw counts as a half.
    """
    draws, table = torch.Generator().manual_seed(seed), text.factor_table(data)
    found = {}
    for i, attribute in enumerate(text.ATTRIBUTES):
        rows = torch.nonzero(table[:, i] >= 0).flatten()
        rows = rows[torch.randperm(len(rows), generator=draws)[:n]]
        said = table[rows] >= 0
        only = torch.zeros_like(said)
        only[:, i] = True
        wanted, _ = text.one_off(table[rows], only, draws)
        x = data.normalised(rows)
        with torch.no_grad():
            picture = torch.nn.functional.normalize(matcher.image(x), dim=1)
            own, other = (
                (picture * matcher.text(text.numbers(text.captions(t, said, seed)))).sum(1)
                for t in (table[rows], wanted)
            )
        found[attribute] = metrics.proportion(int((own > other).sum()), len(rows))
    hair, ground = (
        [text.VALUES[name].index(colour) for colour in text.SHARED] for name in ("hair", "ground")
    )
    wins, count = 0.0, 0
    for i, row in enumerate(table.tolist()):
        if row[3] in hair and row[1] in ground and hair.index(row[3]) != ground.index(row[1]):
            a, b = (text.SHARED[w.index(v)] for w, v in ((hair, row[3]), (ground, row[1])))
            with torch.no_grad():
                pair = [exchanged(*colours, count + 1)[-1] for colours in ((a, b), (b, a))]
                picture = matcher.image(data.normalised(torch.tensor([i])))[0]
                own, other = matcher.text(text.numbers(pair)) @ picture
            wins += 1.0 if own > other + 1e-4 else 0.5 if own > other - 1e-4 else 0.0
            count += 1
            if count == 2 * n:
                break
    found["exchanged"] = metrics.proportion(round(wins), count)
    return found


def matcher_avatars(
    seed: int = 0, steps: int = MATCHER_STEPS, root: str | Path | None = None, order: bool = True
) -> None:
    """Train both encoders by matching, and ship them."""
    data = seen(drawn(PER_KIND, 32, folder=root))
    matcher = text.train_matcher(data, steps=steps, order=order, seed=seed, device=pick_device())
    measured = matched(matcher.cpu(), seen(avatars("test", 32)))
    name = "matcher_avatars" if order else "matcher_avatars_bag"
    _common.show(name, seed, measured)
    zoo.ship(
        name, matcher,
        recipe="InfoNCE, fresh captions and one-off ones, batches of 96, AdamW, one cycle to 2e-3",
        data=data.source, seed=seed, steps=steps, images_seen=steps * 96, metrics=measured,
        half=True,
    )  # fmt: skip


@torch.no_grad()
def codes(encoder: text.TextEncoder, texts: Sequence[str], device: torch.device) -> Tensor:
    """Return the codes of sentences, float (n, size) on `device`."""
    encoder = encoder.to(device)
    parts = torch.split(text.numbers(texts), 8_192)
    return torch.cat([encoder(part.to(device)) for part in parts])


def captioned(
    data: Avatars, matcher: text.Matcher, models: Sequence[Model], seed: int, device: torch.device
) -> dict[Model, text.Captioned]:
    """Draw each picture's captions and wrong captions as the models have them, and encode them.

    A wrong caption is another picture's, drawn at random, or, in half of the cases, the picture's
    own sentence with one attribute changed. All models have the same sentences.
    """
    draws = torch.Generator().manual_seed(seed)
    table = text.factor_table(data).repeat_interleave(CAPTIONS, 0)
    said = text.draw_said(table, draws)
    right = codes(matcher.text, text.captions(table, said, seed), device)
    near = codes(matcher.text, text.captions(*text.one_off(table, said, draws), seed + 1), device)
    far = right[torch.randperm(len(table), generator=draws).to(device)]
    random = torch.rand(len(table), 1, generator=draws) < 0.5
    wrong = torch.where(random.to(device), far, near)
    shuffled = right[torch.randperm(len(table), generator=draws).to(device)]
    images, shape = data.images.to(device), (len(data), CAPTIONS, matcher.size)
    found = {}
    for model in models:
        captions = shuffled if model == "shuffled captions" else right
        others = far if model == "random mismatches" else wrong
        found[model] = text.Captioned(
            images, captions.view(shape), None if model == "no mismatches" else others.view(shape)
        )
    return found


def captured(step: Callable[[], Any], device: torch.device) -> Callable[[], Any]:
    """Return what repeats a step: on CUDA a graph of its kernels on a stream of its own."""
    if device.type != "cuda" or EAGER:
        return step
    stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(4):  # the optimisers' state must be there before the capture
            step()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        step()
    torch.cuda.synchronize()

    def replay() -> None:
        with torch.cuda.stream(stream):
            graph.replay()

    return replay


def play(games: Sequence[text.TextGame], steps: int, seconds: float = math.inf) -> int:
    """Take `steps` steps of each game, or as many as the seconds allow; return how many.

    The games take turns, so that all have had as many when the time ends. Their rates fall to 0 in
    the second half.
    """
    device, began = games[0].data.images.device, time.monotonic()
    replays, taken = [captured(game.step, device) for game in games], 0
    while taken < steps:
        if taken % 10 == 0:
            if device.type == "cuda":
                torch.cuda.synchronize()
            done = max(taken / steps, (time.monotonic() - began) / seconds)
            if done >= 1:
                break
            for game in games:
                game.set_rate(min(1.0, 2 * (1 - done)))
            if device.type == "cuda":
                torch.cuda.synchronize()  # the graphs' streams do not wait for the new rates
        for replay in replays:
            replay()
        taken += 1
    if device.type == "cuda":
        torch.cuda.synchronize()
    return taken


def trained(
    models: Sequence[Model], seed: int, steps: int, data: Avatars, matcher: text.Matcher,
    device: torch.device, seconds: float = math.inf, width: int = WIDTH, **how: Any,
) -> tuple[dict[Model, text.TextGenerator], int]:  # fmt: skip
    """Train models side by side from the same first weights; return G's averages, and the steps.

    `how`: more settings of `text.TextGame`.
    """
    games = {}
    for model, part in captioned(data, matcher, models, seed, device).items():
        with seeded(seed, device):
            G = text.TextGenerator(LATENT, width, 32, matcher.size, matcher.order)
            D = text.TextDiscriminator(matcher.size, width, 32, READS if model == READS_Z else 0)
        G.encoder.load_state_dict(matcher.text.state_dict())
        games[model] = text.TextGame(
            G.to(device), D.to(device), part, **{"batch_size": BATCH, **how}
        )
    with seeded(seed, device):
        taken = play([*games.values()], steps, seconds)
    return {model: game.G_ema for model, game in games.items()}, taken


# -- measuring ------------------------------------------------------------------------------------


def combinations() -> Tensor:
    """Return every combination that a caption can say, int64 (m, 5), held-out ones too."""
    rows = torch.cartesian_prod(*(torch.arange(len(text.VALUES[a])) for a in text.ATTRIBUTES))
    bare = torch.isin(rows[:, 0], torch.tensor([KINDS.index(k) for k in WITHOUT_GLASSES]))
    rows[bare, 4] = NO_FACTOR
    found: Tensor = torch.unique(rows, dim=0)
    return found


@torch.no_grad()
def draw(G: text.TextGenerator, texts: Sequence[str], seed: int) -> Tensor:
    """Draw one picture for each sentence, unranked, on the CPU."""
    device = next(G.parameters()).device
    z = torch.randn(len(texts), G.latent_dim, generator=torch.Generator().manual_seed(seed))
    words = text.numbers(texts)
    parts = zip(torch.split(z, 500), torch.split(words, 500), strict=True)
    return torch.cat([G(a.to(device), b.to(device)).cpu() for a, b in parts])


def look(x: Tensor, device: torch.device) -> Tensor:
    """Read what ATTRIBUTES names from pictures, by the shipped judges: int64 (n, 5)."""
    kind, reader = (
        _common.the_judge(f"{what}_avatars32").to(device) for what in ("judge", "factors")
    )
    x = x.to(device)
    named = metrics.in_batches(kind, kind, x).argmax(1, keepdim=True)
    return torch.cat([named, read_factors(reader, x)], dim=1).cpu()


def shares(read: Tensor, wanted: Tensor, said: Tensor) -> dict[str, metrics.Estimate]:
    """Return how often each said attribute is read as it was said, and how often all are."""
    right = read == wanted
    found = {
        name: metrics.proportion(int(right[said[:, i], i].sum()), int(said[:, i].sum()))
        for i, name in enumerate(text.ATTRIBUTES)
        if said[:, i].any()
    }
    every = (right | ~said).all(1)
    return found | {"all": metrics.proportion(int(every.sum()), len(every))}


def asked(G: text.TextGenerator, rows: Tensor, n: int, seed: int) -> dict[str, metrics.Estimate]:
    """Draw n captions that say all of combinations chosen from `rows`, and read the pictures."""
    draws = torch.Generator().manual_seed(seed)
    wanted = rows[torch.randint(len(rows), (n,), generator=draws)]
    said = wanted != NO_FACTOR
    device = next(G.parameters()).device
    x = draw(G, text.captions(wanted, said, seed), seed)
    return shares(look(x, device), wanted, said)


def exchanged(a: str, b: str, n: int) -> list[str]:
    """Return n sentences of hair a on ground b, in four forms; with (b, a) the same words."""
    forms = (
        "a face with {a} hair on a {b} ground", "a face on a {b} ground with {a} hair",
        "a portrait whose hair is {a}, on a {b} background",
        "a portrait and the ground is {b}, whose hair is {a}",
    )  # fmt: skip
    return [forms[i % len(forms)].format(a=a, b=b) for i in range(n)]


def binding(G: text.TextGenerator, each: int, seed: int) -> list[dict[str, Any]]:
    """Ask for hair a on ground b, for every two colours that both have; a row for each order.

    A row has the share of pictures read as asked, and read with the two colours exchanged.
    """
    device, rows = next(G.parameters()).device, []
    for a, b in permutations(text.SHARED, 2):
        seen_as = look(draw(G, exchanged(a, b, each), seed), device)
        at = {name: text.VALUES[name].index for name in ("hair", "ground")}
        pairs = {"right": (a, b), "swapped": (b, a)}
        read = {
            name: (seen_as[:, 3] == at["hair"](h)) & (seen_as[:, 1] == at["ground"](g))
            for name, (h, g) in pairs.items()
        }
        held_out = {"hair": a, "ground": b} in text.HELD_OUT["hair on ground"]
        rows.append({
            "hair": a, "ground": b, "held_out": held_out,
            **{name: metrics.proportion(int(hit.sum()), each) for name, hit in read.items()},
        })  # fmt: skip
    return rows


def unsaid(G: text.TextGenerator, seed: int, texts: int = 20, each: int = 64) -> dict[str, Any]:
    """Measure what z does where a caption is silent: 20 captions that leave out one attribute.

    For each attribute: the divergence of its readings from the uniform law within a caption, in
    nats, beside that of as many real pictures, and the effective number of values, exp(entropy).
    """
    draws, device, found = torch.Generator().manual_seed(seed), next(G.parameters()).device, {}
    for i, name in enumerate(text.ATTRIBUTES):
        rows = combinations()
        for value in range(len(text.VALUES[name])):  # whatever is drawn must not be held out
            rows = rows[~text.is_held_out(rows.index_fill(1, torch.tensor([i]), value))]
        if name in ("kind", "glasses"):
            rows = rows[rows[:, 4] != NO_FACTOR]
        rows = rows[torch.randint(len(rows), (texts,), generator=draws)]
        wanted = rows.repeat_interleave(each, 0)
        said = wanted != NO_FACTOR
        said[:, i] = False
        if name == "kind":
            said[:, 4] = False  # or three kinds would be out of question
        sentences = text.captions(wanted[::each], said[::each], seed)
        x = draw(G, [s for s in sentences for _ in range(each)], seed + i)
        values, which = look(x, device)[:, i], torch.arange(texts).repeat_interleave(each)
        cover = truth.coverage(values[:, None], [len(text.VALUES[name])], which, texts)
        p = cover.counts.double() / each
        entropy = -(p * p.clamp_min(1e-12).log()).sum(1)
        found[name] = {
            "kl": cover.kl._asdict(), "values": metrics.bootstrap_mean(entropy.exp()),
            "of": len(text.VALUES[name]),
        }  # fmt: skip
    return found


def same_caption(x: Tensor, which: Tensor) -> metrics.Estimate:
    """Return the mean MS-SSIM of pictures of one caption; `which` numbers the captions."""
    return metrics.ms_ssim_mean(metrics.ms_ssim_diversity(x, which, pairs=60))


def measure(G: text.TextGenerator, seed: int, n: int = 2_000) -> dict[str, Any]:
    """Measure a generator by the judges of avatars, on unranked samples.

    ``seen``, ``hair on ground`` and ``kind with hair``: captions that say everything, of
    combinations that training had and of the held-out ones. ``partly``: captions as in training.
    """
    device = next(G.parameters()).device
    every, draws = combinations(), torch.Generator().manual_seed(seed)
    usual = every[~text.is_held_out(every)]
    measured: dict[str, Any] = {"seen": asked(G, usual, n, seed)}
    for i, name in enumerate(text.HELD_OUT):
        measured[name] = asked(G, every[text.is_held_out(every, [name])], n // 2, seed + i)
    wanted = usual[torch.randint(len(usual), (n,), generator=draws)]
    said = text.draw_said(wanted, draws)
    x = draw(G, text.captions(wanted, said, seed), seed)
    measured["partly"] = shares(look(x, device), wanted, said)
    measured["binding"] = binding(G, n // 20, seed)
    measured["unsaid"] = unsaid(G, seed)
    rows = usual[torch.randint(len(usual), (40,), generator=draws)]
    sentences = text.captions(rows, rows != NO_FACTOR, seed)
    x = draw(G, [s for s in sentences for _ in range(12)], seed)
    measured["ms_ssim_same_caption"] = same_caption(x, torch.arange(40).repeat_interleave(12))
    return measured


def measure_real(root: str | Path | None = None) -> None:
    """Put real pictures through `measure`: test pictures with their true captions, and more."""
    test, train = avatars("test", 32), drawn(PER_KIND, 32, folder=root)
    table, x = text.factor_table(test), test.normalised()
    seen_as = look(x, torch.device("cpu"))
    out = text.is_held_out(table)
    measured: dict[str, Any] = {
        "seen": shares(seen_as[~out], table[~out], table[~out] != NO_FACTOR)
    }
    for name in text.HELD_OUT:
        rows = text.is_held_out(table, [name])
        measured[name] = shares(seen_as[rows], table[rows], table[rows] != NO_FACTOR)
    table = text.factor_table(train)
    _, which, count = torch.unique(table, dim=0, return_inverse=True, return_counts=True)
    often = torch.nonzero(count >= 12).flatten()[:40]
    rows = torch.cat([torch.nonzero(which == k).flatten()[:12] for k in often])
    groups = torch.arange(len(often)).repeat_interleave(12)
    measured["ms_ssim_same_caption"] = same_caption(train.subset(rows).normalised(), groups)
    _common.show("real", 0, measured)
    _results.record("text", {"model": "real", "seed": 0, "steps": 0, **measured}, BY)


def text_avatars(
    seed: int = 0,
    steps: int = STEPS,
    root: str | Path | None = None,
    *,
    models: Sequence[Model] = (PLAIN, READS_Z),
    seconds: float = math.inf,
    width: int = WIDTH,
    n: int = 2_000,
) -> float:
    """Train GAN-CLS on captions, with and without reading z back; measure both, and ship them.

    Returns the seconds that the training took.
    """
    ship = width == WIDTH
    name = "matcher_avatars_bag" if tuple(models) == (BAG,) else "matcher_avatars"
    matcher, device = zoo.load(name), pick_device()
    assert isinstance(matcher, text.Matcher)
    data, began = seen(drawn(PER_KIND, 32, folder=root)), time.monotonic()
    found, taken = trained(models, seed, steps, data, matcher, device, seconds, width)
    spent = time.monotonic() - began
    print(f"{models}, seed {seed}: {taken} steps in {spent:.0f} s", flush=True)
    for model, G in found.items():
        row = {"model": model, "seed": seed, "steps": taken, "width": width, "long": ship}
        keep_samples(model, G, seed, ship)
        if ship:
            measured = measure(G, seed, n)
            parts = ("seen", *text.HELD_OUT)
            flat = {f"{k}: {m}": v for k in parts for m, v in measured[k].items()}
            zoo.ship(
                NAMES[model], copy.deepcopy(G).cpu(), data=data.source, seed=seed, steps=taken,
                recipe=f"{model}, Adam 4e-4 (0, 0.99), batches of {BATCH}, width {width}",
                images_seen=taken * BATCH, half=True, command="make train-text_avatars",
                metrics={**flat, "MS-SSIM, same caption": measured["ms_ssim_same_caption"]},
            )  # fmt: skip
        else:
            measured = measure(G, seed, n)
        print(model, seed, taken, *map(str, measured["seen"].values()), flush=True)
        _results.record("text", {**row, "seconds": round(spent), **measured}, BY)
    return spent


def text_small(seed: int = 0, steps: int = SMALL_STEPS) -> None:
    """Train GAN-CLS and three controls on the shipped pictures, small enough for a CPU."""
    matcher, data = zoo.load("matcher_avatars"), seen(avatars("train", 32))
    assert isinstance(matcher, text.Matcher)
    found, taken = trained(
        CONTROLS, seed, steps, data, matcher, pick_device(), width=16, batch_size=32, rate=1e-3
    )
    every = combinations()
    for model, G in found.items():
        measured = asked(G, every[~text.is_held_out(every)], 500, seed)
        _common.show(model, seed, measured)
        if _common.is_whole(steps, SMALL_STEPS):
            row = {"model": model, "seed": seed, "steps": taken, "seen": measured}
            _results.record("text_small", row)


def keep_samples(model: Model, G: text.TextGenerator, seed: int, ship: bool) -> None:
    """Keep seed 0's pictures of SENTENCES, four z each: uint8 (sentences, 4, 3, 32, 32)."""
    if seed == 0:
        x = draw(G, [s for s in SENTENCES for _ in range(4)], 0)
        name = f"{model}, long" if ship else model
        _results.keep_arrays(
            "text_samples", {name: to_uint8(x).view(len(SENTENCES), 4, 3, 32, 32).numpy()}
        )


RUNS: dict[str, Callable[..., Any]] = {
    "matcher_avatars": matcher_avatars,
    "matcher_avatars_bag": partial(matcher_avatars, order=False),
    "text_avatars": text_avatars,
    "text_bag": partial(text_avatars, models=(BAG,), steps=BAG_STEPS, width=BAG_WIDTH),
    "text_small": text_small,
    "real_text": measure_real,
}
