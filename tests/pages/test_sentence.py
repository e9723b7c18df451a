"""The text box: its reading of sentences against Python's, and its pictures against G's."""

from __future__ import annotations

import random
from typing import Any

import pytest
import torch
from playwright.sync_api import Browser, expect
from test_front import Open, follow, page_with, shown  # noqa: F401  # a fixture
from test_lab import assert_shows, drag, settle
from torch import Tensor

from acgan_lib import widgets
from acgan_lib.directions import principal_directions, seeded
from acgan_lib.families import text
from acgan_lib.widgets.base import FRONT

pytestmark = pytest.mark.browser
FIRST = "a pixel-art face with blue hair on a yellow ground"
OTHER = "a face with yellow hair on a blue ground"


@pytest.fixture(scope="module")
def G() -> text.TextGenerator:
    torch.manual_seed(3)
    made = text.TextGenerator(latent_dim=12, width=8).eval().requires_grad_(False)
    for p in made.painter.parameters():
        p.mul_(3)
    return made


def picture(G: text.TextGenerator, sentence: str, seed: int = 0, coords: Any = (0, 0)) -> Tensor:
    z = seeded(seed, 12) + torch.tensor(coords, dtype=torch.float32) @ principal_directions(G, 2)
    with torch.no_grad():
        return G(z[None], text.numbers([sentence]))[0]


def test_the_page_reads_sentences_as_python_does(browser: Browser) -> None:
    draws = random.Random(0)
    bits = [
        *text.WORDS, "pixel art", "Big Ears", "toon", "moustache", "caf\u00e9", "\ud30c\ub780", "3",
        "-", "--", "HAIR", "big-ears,big", "smile", "'glasses'", "(a)", "\n", "\t", "x-art",
        "pixel", "art",
    ]  # fmt: skip
    sentences = [
        "".join(draws.choice(bits) + draws.choice([" ", ", ", "  ", ".", "; ", "-"]) for _ in words)
        for words in map(range, [*range(12)] * 40)
    ]  # fmt: skip
    page = browser.new_page()
    found = page.evaluate(
        """async ({code, sentences, words}) => {
            const url = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
            const {readSentence} = await import(url);
            return sentences.map(s => readSentence(s, words));
        }""",
        {
            "code": (FRONT / "sentence.js").read_text(encoding="utf-8"),
            "sentences": sentences,
            "words": list(text.WORDS),
        },
    )
    page.close()
    read = [text.read(sentence) for sentence in sentences]
    assert [(f["known"], f["unknown"]) for f in found] == read
    assert any(unknown for _, unknown in read)
    assert any(len(known) > 5 for known, _ in read)


@pytest.mark.parametrize("built", [False, True])
def test_a_sentence_is_drawn_and_unknown_words_are_named(
    page_with: Open,  # noqa: F811
    G: text.TextGenerator,
    built: bool,
) -> None:
    page = page_with(widgets.TextToImage(G, FIRST, [OTHER], seed=4), built=built)
    widget, box = page.locator(".text"), page.get_by_label("Sentence")
    image = widget.get_by_role("img").first
    box.fill("A face; with a moustache, and blue hair!")
    settle(widget, {"text": "A face; with a moustache, and blue hair!"})
    expect(widget.get_by_text("\u201cmoustache\u201d")).to_be_visible()
    assert_shows(image, picture(G, "a face with a and blue hair", 4))
    assert "blue hair" in (image.get_attribute("aria-label") or "")
    box.fill("moustache")  # nothing to draw: the last picture stays
    expect(widget.get_by_text("Type a sentence")).to_be_visible()
    value = drag(widget.get_by_role("slider", name="Direction 1"), 0.8)
    settle(widget, {"coords": [value, 0], "text": "A face; with a moustache, and blue hair!"})
    assert box.input_value() == "moustache", "what is being typed stays"
    widget.get_by_role("button", name=OTHER).click()
    settle(widget, {"coords": [value, 0], "text": OTHER})
    assert box.input_value() == OTHER
    assert_shows(image, picture(G, OTHER, 4, (value, 0)))
    widget.get_by_role("button", name="New z").click()
    settle(widget, {"seed": 5})
    assert_shows(image, picture(G, OTHER, 5, (value, 0)))
    widget.get_by_role("button", name="Reset").click()
    settle(widget, {"seed": 4, "text": FIRST, "coords": [0, 0]})
    assert box.input_value() == FIRST
    assert_shows(image, picture(G, FIRST, 4))


def test_a_link_brings_the_sentence(page_with: Open, G: text.TextGenerator) -> None:  # noqa: F811
    face = widgets.TextToImage(G, FIRST, seed=4)
    page = page_with(face, built=True)
    widget = page.locator(".text")
    page.get_by_label("Sentence").fill(OTHER)
    settle(widget, {"text": OTHER})
    widget.get_by_role("button", name="Link").click()
    hash = page.evaluate("location.hash")
    page = page_with(face, built=True, hash=hash)
    settle(page.locator(".text"), {"seed": 4, "text": OTHER})
    assert page.get_by_label("Sentence").input_value() == OTHER
    follow(page, "#z=6&text=")
    assert shown(page.locator(".text"))["seed"] == 4


def test_a_finger_on_the_pad_of_a_phone(page_with: Open, G: text.TextGenerator) -> None:  # noqa: F811
    page = page_with(
        widgets.TextToImage(G, FIRST, [OTHER]),
        viewport={"width": 360, "height": 800}, has_touch=True, built=True,
    )  # fmt: skip
    widget, pad = page.locator(".text"), page.get_by_role("application")
    pad.press("ArrowRight")
    moved = shown(widget) or {}
    page.wait_for_function("waiting === 0")
    moved = shown(widget)
    assert moved["coords"][0] > 0
    assert moved["coords"][1] == 0
    pad.tap()
    page.wait_for_function("waiting === 0")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


def test_python_knows_the_sentence_and_refuses_what_it_cannot_read(G: text.TextGenerator) -> None:
    face = widgets.TextToImage(G, FIRST)
    assert face.text == FIRST
    assert torch.equal(face.image(), picture(G, FIRST))
    with pytest.raises(ValueError, match="moustache"):
        widgets.TextToImage(G, "moustache")
    with pytest.raises(ValueError, match="known words"):
        widgets.TextToImage(G, FIRST, ["a " * 30])
