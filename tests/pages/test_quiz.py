"""The quiz in Chromium, on a page without a kernel: clicked, typed at, touched, listened to."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from test_playground_page import AXE

from acgan_lib import widgets
from acgan_lib.widgets.questions import Question

pytestmark = pytest.mark.browser
GAN = widgets.ask(
    "Which `loss` is larger?",
    ["The generator's", "Both alike", "D's."],
    answer=2,
    why="≈ 0.7 > 0.4.",
)
LONG = widgets.ask("Is it?" * 20, ["yes " * 40, "n" * 90], answer=0, why="Because. " * 30)


@pytest.fixture
def opened(alone: Callable[..., Page]) -> Callable[..., Page]:
    def open_page(*questions: Question, **how: Any) -> Page:
        shown = {"viewport": {"width": 700, "height": 900}, **how}
        page = alone(widgets.quiz(questions or [GAN]), **shown)
        page.wait_for_selector(".quiz")
        return page

    return open_page


def test_the_answer_shows_after_a_choice_and_not_before(opened) -> None:
    page = opened()
    why, check = page.locator(".why"), page.get_by_role("button", name="Check")
    expect(why).to_be_empty()
    expect(page.get_by_role("group", name="Which loss is larger?")).to_be_visible()
    assert page.locator("legend code").inner_text() == "loss"
    check.click()
    expect(why).to_have_text("Choose an answer first.")
    page.get_by_text("Both alike").click()  # the words choose as the circle does
    check.click()
    expect(why).to_have_text("No. The answer is: D's. ≈ 0.7 > 0.4.")
    assert page.locator(".sign").all_inner_texts() == ["", "✗ no", "✓ right"]
    page.get_by_role("radio", name="D's.").click()  # another try: nothing is given away
    expect(why).to_be_empty()
    assert page.locator(".sign").all_inner_texts() == ["", "", ""]
    check.click()
    expect(why).to_have_text("Right. ≈ 0.7 > 0.4.")
    assert page.locator(".sign").all_inner_texts() == ["", "", "✓ right"]
    expect(page.locator(".score")).to_be_empty()  # of one question there is none


def test_keys_choose_and_check_and_the_focus_stays(opened) -> None:
    page = opened(GAN, GAN)
    keys, active = page.keyboard, "document.activeElement"
    keys.press("Tab")
    keys.press("Space")
    keys.press("ArrowDown")
    keys.press("ArrowDown")
    keys.press("Enter")
    expect(page.locator(".why").first).to_contain_text("Right.")
    assert page.evaluate(f"{active}.type + {active}.value") == "radio2"
    keys.press("Tab")
    keys.press("Enter")  # on the button
    assert page.evaluate(f"{active}.textContent") == "Check"
    expect(page.locator(".score")).to_have_text("1 of 1 right")
    keys.press("Tab")  # the second question has its own choice
    keys.press("Space")
    keys.press("Enter")
    expect(page.locator(".why").nth(1)).to_contain_text("No. The answer is: D's.")
    expect(page.locator(".score")).to_have_text("1 of 2 right")
    assert page.locator(":checked").count() == 2
    # JupyterLab takes the keys of a control that does not carry this.
    assert page.locator(":is(input, button):not([data-lm-suppress-shortcuts])").count() == 0


def test_a_screen_reader_hears_the_question_its_options_and_the_answer(opened) -> None:
    page = opened(GAN, LONG)
    expect(page.get_by_role("group", name="Quiz", exact=True)).to_be_visible()
    group = page.get_by_role("group", name="1. Which loss is larger?")
    names = [group.get_by_role("radio").nth(i) for i in range(3)]
    for radio, name in zip(names, GAN["options"], strict=True):
        expect(radio).to_have_accessible_name(name)
    assert page.locator(".why").first.get_attribute("aria-live") == "polite"


def test_a_finger_can_use_it_on_a_phone_and_nothing_sticks_out(opened) -> None:
    page = opened(GAN, LONG, viewport={"width": 360, "height": 800}, has_touch=True)
    for card, option in zip(page.locator(".question").all(), ("D's.", "yes"), strict=True):
        label = card.locator("label", has_text=option)
        box = label.bounding_box()
        assert box
        assert box["height"] >= 30
        label.tap()
        card.get_by_role("button").tap()
        expect(card.locator(".why")).to_contain_text("Right.")
    wide = page.evaluate(
        """() => [...document.querySelectorAll('.quiz, .quiz *')]
            .filter(e => e.getBoundingClientRect().right > innerWidth).map(e => e.outerHTML)"""
    )
    assert wide == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


@pytest.mark.parametrize("ink", ["light", "dark"])
def test_axe_finds_no_serious_barrier_in_light_and_dark(opened, ink) -> None:
    page = opened(GAN, LONG)
    if ink == "dark":
        page.add_style_tag(
            content=":root { --pst-color-text-base: #ced6dd; --pst-color-text-muted: #9ca4af;"
            " --pst-color-background: #14181e; --pst-color-primary: #6fd0c8 }"
            " body { background: #14181e }"
        )
    for card in page.locator(".question").all():
        card.get_by_role("radio").first.click()
        card.get_by_role("button").click()
    page.evaluate(AXE.read_text(encoding="utf-8"))
    found = page.evaluate(
        """async () => (await axe.run('main', {resultTypes: ['violations']})).violations
            .filter(v => ['serious', 'critical'].includes(v.impact))
            .map(v => v.id + ': ' + v.nodes.map(n => n.html.slice(0, 160)).join(' | '))"""
    )
    assert found == []
