"""The denoising scrubber in Chromium: as in a notebook, and as on a page without a kernel."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from playwright.sync_api import Locator, Page, expect
from test_front import page_with  # noqa: F401
from test_lab import read
from test_playground_page import AXE
from torch import Tensor, nn

from acgan_lib import widgets, zoo
from acgan_lib.directions import seeded
from acgan_lib.families.diffusion import Flow, Sampler
from acgan_lib.widgets import export

pytestmark = pytest.mark.browser
NAMES = ["Top", "Trouser", "Bag"]


@pytest.fixture(scope="module")
def flow() -> Flow:
    torch.manual_seed(0)
    made = Flow(num_classes=3, width=8, image_size=16)
    for p in made.parameters():
        nn.init.normal_(p, std=0.25)
    return made.eval().requires_grad_(False)


@pytest.fixture(scope="module")
def widget(flow: Flow) -> widgets.Denoiser:
    return widgets.Denoiser(flow, seed=3, label=1, steps=5, class_names=NAMES)


def shown(face: Locator, unlike: str | None = None) -> dict[str, Any]:
    """Wait until the face has drawn another request, and return it."""
    face.page.wait_for_function(
        "([e, before]) => e.dataset.shown && e.dataset.shown !== before",
        arg=[face.element_handle(), unlike],
    )
    found: dict[str, Any] = json.loads(face.get_attribute("data-shown") or "")
    return found


def assert_as_torch(face: Locator, widget: widgets.Denoiser) -> None:
    """Both pictures are those of Python at the slider's place, within one of 256 levels."""
    request = json.loads(face.get_attribute("data-shown") or "")
    film, at = widget.render(request), int(face.get_attribute("data-at") or "")
    pictures = face.locator(".pics canvas")
    for i, frame in enumerate((at, request["steps"] + 1 + at)):
        wanted = (film[frame, 0].clamp(-1, 1) + 1) * 127.5
        assert wanted.std() > 10
        assert (read(pictures.nth(i)) - wanted).abs().max() <= 1


def face_of(page: Page) -> Locator:
    return page.get_by_role("group", name="Denoising")


# --- Python's side ------------------------------------------------------------------------------


def test_the_film_is_the_samplers_path_and_where_straight_lines_end(flow, widget) -> None:
    request = {"seed": 3, "label": 1, "guidance": 2.0, "steps": 5}
    film = widget.render(request)
    weights = torch.eye(3)[[1]]
    path = Sampler(flow, 2.0, 5).path(seeded(3, 256)[None], weights)
    assert film.shape == (12, 1, 16, 16)
    assert torch.equal(film[:6], torch.cat(path))
    at = path[2]
    both = [flow(at, torch.tensor([0.4]), w) for w in (0 * weights, weights)]
    velocity = both[0] + 2 * (both[1] - both[0])
    torch.testing.assert_close(film[8:9], at + 0.6 * velocity, atol=1e-4, rtol=0)
    # The last step is Euler's: a straight line.
    torch.testing.assert_close(film[10], film[5], atol=1e-4, rtol=0)
    assert torch.equal(film[11], film[5])


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"steps": 3}, "steps must be one of"),
        ({"guidance": 7.0}, "guidance lie in"),
        ({"label": 3}, "class 3"),
        ({"seed": -1}, "seed -1"),
        ({"class_names": ["a"]}, "class_names has 1"),
    ],
)
def test_what_there_is_not_is_refused(flow, wrong, says) -> None:
    with pytest.raises(ValueError, match=says):
        widgets.Denoiser(flow, **wrong)


def test_the_front_end_is_told_what_went_wrong(flow, monkeypatch) -> None:
    made = widgets.Denoiser(flow, steps=1)
    replies: list[Any] = []
    monkeypatch.setattr(made, "send", replies.append)
    made._handle_custom_msg({"id": 7, "request": {"seed": 0}}, [])
    assert replies == [{"id": 7, "error": "KeyError: 'label'"}]
    assert repr(made) == "Denoiser(flow=Flow, classes=3, seed=0, steps=1)"


def test_a_flows_file_gives_the_velocity_with_a_class_and_without(flow, tmp_path) -> None:
    from onnxruntime import InferenceSession

    made = export.export_all(tmp_path / "models", checkpoints=shipped_alone(flow, tmp_path))
    [written] = made
    assert written.path.name.startswith("flow_small-")
    session = InferenceSession(written.path, providers=["CPUExecutionProvider"])
    x, t = torch.randn(3, 1, 16, 16), torch.tensor([0.0, 0.3, 0.9])
    weights = torch.tensor([[1.0, 0, 0], [0, 0.5, 0.5], [0, 0, 0]])
    z = torch.cat([x.flatten(1), t[:, None]], dim=1)
    [velocity] = session.run(None, {"z": z.numpy(), "w": weights.numpy()})
    expected = zoo.load("flow_small", folder=tmp_path / "zoo")(x, t, weights)
    gap = (torch.from_numpy(velocity) - expected).abs().max()
    assert gap < 0.02 * expected.abs().max()
    assert expected.std() > 0.03


def shipped_alone(flow: Flow, folder: Path) -> Path:
    """Put the flow alone into a zoo of its own, small enough for float16."""
    small = copy.deepcopy(flow)
    for p in small.parameters():
        p.mul_(0.3)
    zoo.ship(
        "flow_small", small, recipe="none", data="none", seed=0, steps=0, metrics={}, half=True,
        class_names=NAMES, folder=folder / "zoo",
    )  # fmt: skip
    return folder / "zoo"


# --- in the browser -----------------------------------------------------------------------------


@pytest.mark.parametrize("built", [False, True])
def test_every_control_draws_what_torch_draws(page_with, widget, built) -> None:  # noqa: F811
    page = page_with(widget, built=built)
    face = face_of(page)
    if built:
        face.get_by_role("slider", name="Guidance").press("ArrowRight")
    before = shown(face)
    assert_as_torch(face, widget)
    for change in (
        lambda: face.get_by_role("combobox", name="Class").select_option("Bag"),
        lambda: face.get_by_role("combobox", name="Steps").select_option("10"),
        lambda: face.get_by_role("button", name="New noise").click(),
        lambda: face.get_by_role("slider", name="Guidance").fill("1"),
    ):
        was = face.get_attribute("data-shown")
        change()
        before = shown(face, was)
        assert_as_torch(face, widget)
    assert before == {"seed": 4, "label": 2, "guidance": 1, "steps": 10}
    time = face.get_by_role("slider", name="Time")
    assert time.get_attribute("max") == "10"
    time.focus()
    for key in ("Home", "ArrowRight", "ArrowRight"):
        page.keyboard.press(key)
        assert_as_torch(face, widget)
    assert face.get_attribute("data-at") == "2"
    expect(face.locator(".pics")).to_contain_text("t = 0.20")
    face.get_by_role("button", name="Reset").click()
    assert shown(face, json.dumps(before, separators=(",", ":")))["label"] == 1


def test_time_needs_no_engine_and_the_still_shows_every_place(page_with, widget) -> None:  # noqa: F811
    page = page_with(widget, built=True)
    face = face_of(page)
    page.wait_for_function("e => e.dataset.at", arg=face.element_handle())
    face.get_by_role("slider", name="Time").press("Home")
    wanted = (widget.render(widget.spec["start"])[:, 0].clamp(-1, 1) + 1) * 127.5
    for at in (0, 1):
        for i, frame in enumerate((at, 6 + at)):
            seen: Tensor = read(face.locator(".pics canvas").nth(i))
            assert (seen - wanted[frame]).abs().max() <= 1
        face.get_by_role("slider", name="Time").press("ArrowRight")
    assert face.get_attribute("data-shown") is None


def test_play_runs_to_the_end_and_stops(page_with, widget) -> None:  # noqa: F811
    page = page_with(widget, built=True, clock=True)
    face = face_of(page)
    face.get_by_role("button", name="Play").click()
    expect(face.get_by_role("button", name="Pause")).to_be_visible()
    assert face.get_attribute("data-at") == "0"
    page.clock.run_for(900)
    assert face.get_attribute("data-at") == "2"
    page.clock.run_for(5_000)
    assert face.get_attribute("data-at") == "5"
    expect(face.get_by_role("button", name="Play")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_is_wider_than_a_phone_and_axe_finds_no_barrier(page_with, widget, scheme) -> None:  # noqa: F811
    page = page_with(
        widget, built=True, viewport={"width": 360, "height": 700}, color_scheme=scheme,
        has_touch=True,
    )  # fmt: skip
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    page.add_script_tag(path=str(AXE))
    found = page.evaluate("axe.run('.acgan').then(r => r.violations)")
    assert [v["id"] for v in found if v["impact"] in ("serious", "critical")] == []
