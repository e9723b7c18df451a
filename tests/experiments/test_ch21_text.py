"""What chapter 21 measures, on generators whose answers are known: they look pictures up."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from checks import understood
from torch import Tensor, nn

from acgan_lib.avatars import NO_FACTOR, avatars, paired
from acgan_lib.experiments import _results, ch21_text
from acgan_lib.families import text

DRAW = Callable[[Any, Sequence[str], int], Tensor]


def library(choose: Callable[[dict[str, str], torch.Generator], dict[str, str]]) -> DRAW:
    """A ``draw`` that finds real pictures; `choose` says what a picture of a caption shows."""

    def draw(_: Any, texts: Sequence[str], seed: int) -> Tensor:
        draws, rows = torch.Generator().manual_seed(seed), []
        for sentence in texts:
            shows = choose(understood(sentence), draws)
            rows.append([text.VALUES[a].index(shows[a]) for a in text.ATTRIBUTES])
        table = torch.tensor(rows)
        faces, which = torch.unique(table, dim=0, return_inverse=True)
        pictures = torch.empty(len(faces), 3, 32, 32)
        for k in torch.unique(faces[:, 0]).tolist():
            mine = faces[:, 0] == k
            found = paired(faces[mine, 1:], [text.VALUES["kind"][k]], 32)
            pictures[mine] = found.normalised()
        return pictures[which]

    return draw


def honest(said: dict[str, str], draws: torch.Generator) -> dict[str, str]:
    """What is said, and all else at random."""
    shows = dict(said)
    for name in text.ATTRIBUTES:
        if name not in shows:
            values = text.VALUES[name]
            if name == "kind" and "glasses" in said:
                values = tuple(k for k in values if k not in text.WITHOUT_GLASSES)
            shows[name] = values[int(torch.randint(len(values), (), generator=draws))]
    return shows


def dull(said: dict[str, str], draws: torch.Generator) -> dict[str, str]:
    """What is said, and all else always alike."""
    return {name: text.VALUES[name][0] for name in text.ATTRIBUTES} | said


def confused(said: dict[str, str], draws: torch.Generator) -> dict[str, str]:
    """The colours of hair and ground exchanged where both can be."""
    shows = honest(said, draws)
    if {shows["hair"], shows["ground"]} <= set(text.SHARED):
        shows |= {"hair": shows["ground"], "ground": shows["hair"]}
    return shows


@pytest.fixture
def drawing(monkeypatch: pytest.MonkeyPatch) -> Callable[[DRAW], nn.Module]:
    def use(draw: DRAW) -> nn.Module:
        monkeypatch.setattr(ch21_text, "draw", draw)
        return nn.Linear(1, 1)  # only asked for its device

    return use


def test_an_honest_generator_measures_as_one(drawing: Any) -> None:
    measured = ch21_text.measure(drawing(library(honest)), seed=0, n=240)
    for part in ("seen", *text.HELD_OUT, "partly"):
        assert measured[part]["all"].value > 0.94, part
        assert measured[part]["hair"].value > 0.97
    for row in measured["binding"]:
        assert row["right"].value >= 0.9
        assert row["swapped"].value == 0
    assert sum(row["held_out"] for row in measured["binding"]) == 2
    for name, found in measured["unsaid"].items():
        if name != "kind":
            assert found["values"].value > 0.85 * found["of"], name
        if name in ("ground", "skin", "hair"):  # one face's glasses are misread, each time
            assert found["kl"]["value"] < 2 * found["kl"]["expected"]
    assert measured["ms_ssim_same_caption"].value > 0.99  # one picture ships of each combination


def test_a_dull_generator_obeys_and_uses_one_value(drawing: Any) -> None:
    G = drawing(library(dull))
    found = ch21_text.unsaid(G, seed=0, texts=3, each=8)
    assert all(found[name]["values"].value < 1.5 for name in ("ground", "skin", "hair"))


def test_a_confused_generator_is_right_in_all_but_the_two(drawing: Any) -> None:
    G = drawing(library(confused))
    for row in ch21_text.binding(G, 12, seed=0):
        assert row["right"].value == 0
        assert row["swapped"].value >= 0.9


def test_exchanged_sentences_have_the_same_words() -> None:
    pairs = zip(
        ch21_text.exchanged("blue", "pink", 8), ch21_text.exchanged("pink", "blue", 8), strict=True
    )
    for one, other in pairs:
        assert one != other
        words = [sorted(w.strip(",.") for w in sentence.split()) for sentence in (one, other)]
        assert words[0] == words[1]
        assert understood(one) == {"hair": "blue", "ground": "pink"}
        assert understood(other) == {"hair": "pink", "ground": "blue"}


def test_the_combinations_are_all_that_a_caption_can_say() -> None:
    every = ch21_text.combinations()
    assert len(every) == 6 * 4 * 8 * (7 * 2 + 3)
    assert not (every[every[:, 4] == NO_FACTOR, 0][:, None] == torch.tensor([0, 4])).any()


@pytest.fixture(scope="module")
def few() -> Any:
    data = ch21_text.seen(avatars("train", 32))
    return data.subset(torch.arange(0, len(data), 60))


def test_models_differ_in_their_captions_alone(few: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    matcher = text.Matcher().eval()
    parts = ch21_text.captioned(few, matcher, [*ch21_text.CONTROLS], 0, torch.device("cpu"))
    plain = parts[ch21_text.PLAIN]
    assert plain.right.shape == (len(few), ch21_text.CAPTIONS, 64)
    assert parts["no mismatches"].wrong is None
    assert torch.equal(parts["no mismatches"].right, plain.right)
    far = parts["random mismatches"].wrong
    assert plain.wrong is not None
    assert far is not None
    share = (plain.wrong == far).all(2).float().mean()
    assert abs(float(share) - 0.5) < 0.1
    shuffled = parts["shuffled captions"].right.flatten(0, 1)
    assert (shuffled == plain.right.flatten(0, 1)).all(1).float().mean() < 0.05
    total = plain.right.flatten(0, 1).double().sum(0)
    torch.testing.assert_close(shuffled.double().sum(0), total)


def test_a_training_is_repeated_measured_and_shipped(
    few: Any, results: Path, shipped: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ch21_text, "drawn", lambda *_, **__: few)
    monkeypatch.setattr(ch21_text, "WIDTH", 8)
    monkeypatch.setattr(ch21_text, "BATCH", 4)
    monkeypatch.setattr(
        ch21_text, "measure",
        lambda G, seed, n: {
            name: {"all": torch.tensor(0.5).item()} for name in ("seen", *text.HELD_OUT)
        } | {"ms_ssim_same_caption": 0.5},
    )  # fmt: skip
    shipped["matcher_avatars"] = (text.Matcher().eval(), {})
    ch21_text.text_avatars(0, 3, models=(ch21_text.READS_Z,), width=8)
    again, taken = ch21_text.trained(
        [ch21_text.READS_Z], 0, 3, few, shipped["matcher_avatars"][0], torch.device("cpu"), width=8
    )
    assert taken == 3
    kept = shipped["text_avatars_z"][0].state_dict()
    for name, value in again[ch21_text.READS_Z].state_dict().items():
        torch.testing.assert_close(kept[name], value)
    [row] = _results.stored("text")
    assert (row["model"], row["steps"], row["long"]) == (ch21_text.READS_Z, 3, True)
    assert _results.arrays("text_samples")[f"{ch21_text.READS_Z}, long"].shape == (8, 4, 3, 32, 32)


def test_the_clock_ends_a_training_and_the_rates_fall(
    few: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Game:
        data = text.Captioned(few.images, torch.zeros(1), None)
        rates: list[float] = []  # noqa: RUF012

        def set_rate(self, share: float) -> None:
            self.rates.append(share)

        def step(self) -> None:
            pass

    assert ch21_text.play([Game()], 40) == 40  # type: ignore[list-item]
    assert Game.rates == [1.0, 1.0, 1.0, 0.5]
    ticks = iter(range(10**6))  # a clock that moves by a second at each look
    monkeypatch.setattr(ch21_text.time, "monotonic", lambda: next(ticks))
    assert ch21_text.play([Game()], 10**9, seconds=20) == 190  # type: ignore[list-item]
    assert Game.rates[-1] < 0.2


def test_the_encoders_are_judged_by_what_they_prefer(few: Any) -> None:
    """A text encoder that knows the truth of a picture's factors prefers it always."""

    class Knows(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.size = 32

        def image(self, x: Tensor) -> Tensor:
            read = ch21_text.look(x, torch.device("cpu"))
            return self.codes([
                {a: text.VALUES[a][v] for a, v in zip(text.ATTRIBUTES, row, strict=True)}
                for row in read.tolist()
            ])  # fmt: skip

        def text(self, words: Tensor) -> Tensor:
            known = [[text.WORDS[i - 1] for i in row if i] for row in words.tolist()]
            return self.codes([understood(" ".join(w)) for w in known])

        def codes(self, says: list[dict[str, str]]) -> Tensor:
            size = [len(text.VALUES[a]) for a in text.ATTRIBUTES]
            codes = torch.zeros(len(says), sum(size))
            for row, values in zip(codes, says, strict=True):
                for i, (a, v) in enumerate(values.items()):
                    at = text.ATTRIBUTES.index(a)
                    row[sum(size[:at]) + text.VALUES[a].index(v)] = 1.0 + 0 * i
            return codes

    found = ch21_text.matched(Knows(), few, n=20)  # type: ignore[arg-type]
    assert all(share.value > 0.9 for share in found.values()), found
