"""The diagrams: nothing overlaps, every arrow ends at a box, words stay inside, facts are true."""

from __future__ import annotations

import re
from itertools import combinations, pairwise
from xml.etree import ElementTree

import pytest
import torch

from acgan_lib import diagrams, nets, objectives, viz
from acgan_lib.diagrams import FONT, LINE, PAD, WIDTH, Arrow, Box, Drawing, Point, Words

PHONE = 328  # px that a page of 360 px leaves to a picture
Rect = tuple[float, float, float, float]  # left, top, right, bottom


@pytest.fixture(scope="module", params=diagrams.DIAGRAMS)
def drawing(request) -> Drawing:
    return diagrams.diagram(request.param)


def rect(thing: Box | Words) -> Rect:
    if isinstance(thing, Words):
        return thing.rect
    more = 8 if thing.pile else 0
    return thing.x, thing.y - more, thing.x + thing.w + more / 2, thing.y + thing.h


def overlap(a: Rect, b: Rect, gap: float = 0) -> bool:
    return a[0] < b[2] + gap and b[0] < a[2] + gap and a[1] < b[3] + gap and b[1] < a[3] + gap


def pieces(arrow: Arrow) -> list[Rect]:
    return [
        (min(p.x, q.x), min(p.y, q.y), max(p.x, q.x), max(p.y, q.y))
        for p, q in pairwise(arrow.points)
    ]


def name(thing: Box | Words) -> str:
    return " ".join((*thing.head, *thing.body) if isinstance(thing, Box) else thing.lines)


def faults(drawing: Drawing) -> list[str]:
    """What is wrong with a drawing's geometry, in words."""
    found = []
    boxes, words = drawing.boxes, drawing.words
    height = drawing.bottom() + 14
    for thing in (*boxes, *words, *drawing.frames):
        left, top, right, bottom = rect(thing)
        if min(left, top) < 8 or right > WIDTH - 8 or bottom > height - 8:
            found.append(f"outside the plate: {name(thing)}")
    for box in boxes:
        rows = [(line, True) for line in box.head] + [(line, False) for line in box.body]
        if any(diagrams.text_width(*row) > box.w - 2 * PAD[0] for row in rows):
            found.append(f"wider than its box: {name(box)}")
        if LINE * len(rows) > box.h - 2 * PAD[1] + 4:
            found.append(f"higher than its box: {name(box)}")
        grounds = [rect(frame) for frame in drawing.frames if overlap(rect(box), rect(frame))]
        if any(rect(box)[3] > ground[3] - 6 for ground in grounds):
            found.append(f"below its ground: {name(box)}")
    for a, b in combinations([*boxes, *words], 2):
        if overlap(rect(a), rect(b), gap=2 if isinstance(a, Box) and isinstance(b, Box) else 0):
            found.append(f"{name(a)} and {name(b)} overlap")
    for arrow in drawing.arrows:
        ends = (arrow.points[0], arrow.points[-1])
        loose = [end for end in ends if not any(touches(end, box) for box in boxes)]
        found += [f"an arrow ends in the open at {end}" for end in loose]
        for piece in pieces(arrow):
            if piece[0] != piece[2] and piece[1] != piece[3]:
                found.append(f"a slanted piece {piece}")
            for thing in (*boxes, *words):
                left, top, right, bottom = rect(thing)
                if overlap(piece, (left + 1, top + 1, right - 1, bottom - 1)):
                    found.append(f"an arrow crosses {name(thing)}")
        (x0, y0), (x, y) = arrow.points[-2][:2], arrow.points[-1][:2]
        if abs(x - x0) + abs(y - y0) < 9:
            found.append(f"no room for an arrow's head at {(x, y)}")
    return found


def touches(point: Point, box: Box) -> bool:
    """Whether a point lies on a box's border."""
    left, top, right, bottom = rect(box)
    upright = point.x in (box.x, right) and top <= point.y <= bottom
    level = point.y in (top, bottom) and left <= point.x <= right
    return upright or level


def test_the_geometry_is_sound(drawing) -> None:
    assert faults(drawing) == []


def test_it_is_an_image_with_words(drawing) -> None:
    root = ElementTree.fromstring(drawing.svg())
    space = "{http://www.w3.org/2000/svg}"
    assert root.get("role") == "img"
    assert root.findtext(f"{space}title") == drawing.title
    assert root.findtext(f"{space}desc") == drawing.alt
    assert len(drawing.alt.split()) >= 25
    assert repr(drawing) == f"{drawing.title}: {drawing.alt}"
    assert drawing._repr_svg_() == drawing.svg()


def test_it_can_be_read_on_a_phone(drawing) -> None:
    root = ElementTree.fromstring(drawing.svg())
    width = float(root.get("viewBox", "").split()[2])
    assert width == float(root.get("width", "")) <= 720
    sizes = [float(s) for s in re.findall(r'font-size="([\d.]+)"', drawing.svg())]
    assert sizes == [FONT]
    assert FONT * min(1, PHONE / width) >= 9


def test_every_tone_of_an_arrow_is_explained(drawing) -> None:
    used = {arrow.tone for arrow in drawing.arrows} - {"ink"}
    assert used <= {sample.tone for sample in drawing.samples if isinstance(sample, Arrow)}


def test_it_is_the_same_each_time(drawing) -> None:
    [key] = [k for k, f in diagrams.DIAGRAMS.items() if str(f.__doc__).startswith(drawing.title)]
    assert viz.diagram(key).svg() == drawing.svg()


def test_another_name_is_refused() -> None:
    with pytest.raises(ValueError, match="there are family_tree"):
        viz.diagram("family")


def luminance(colour: str) -> float:
    values = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    parts = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in values]
    return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2]


def test_words_stand_out_and_lines_differ_without_colour() -> None:
    for theme in (0, 1):  # light, dark
        grounds = [diagrams.PLATE[1 + 2 * theme], diagrams.FRAME[theme]]
        inks = [words[theme] for words in diagrams.WORDS.values()]
        inks += [tone[2 * theme] for tone in diagrams.TONES.values()]
        pairs = [(ink, ground) for ink in inks for ground in grounds]
        text = diagrams.WORDS["t"][theme]
        pairs += [(text, tone[1 + 2 * theme]) for tone in diagrams.TONES.values()]
        for ink, ground in pairs:
            low, high = sorted((luminance(ink), luminance(ground)))
            assert (high + 0.05) / (low + 0.05) >= 4.5, (ink, ground)
    dashes = [tone[4] for tone in diagrams.TONES.values()]
    assert len(set(dashes)) == len(dashes)


# -- the tests notice what they are for --------------------------------------------------------


def broken(change: str) -> Drawing:
    d = Drawing("t", "a")
    a, b = d.box(20, 20, 90, "one"), d.box(20, 120, 90, "two")
    if change == "overlap":
        d.box(60, 30, 90, "three")
    elif change == "words on a box":
        d.write(30, 30, "words")
    elif change == "ends in the open":
        d.arrow(a.bottom(), Point(65, 100))
    elif change == "crosses":
        d.box(20, 70, 90, "between")
        d.arrow(a, b)
    elif change == "slanted":
        d.arrow(a.bottom(0.2), b.top(0.8), via=[(50, 90)])
    elif change == "outside":
        d.box(450, 20, 90, "three")
    elif change == "below its ground":
        d.frame(12, 12, 200, 140)
    elif change == "higher":
        d.boxes.append(Box(200, 20, 90, 20, ("one",), ("two",)))
    elif change == "wider":
        d.boxes.append(Box(200, 20, 50, 60, ("one long line",)))
    return d


@pytest.mark.parametrize(
    "change",
    ["overlap", "words on a box", "ends in the open", "crosses", "slanted", "outside", "higher",
     "wider", "below its ground"],
)  # fmt: skip
def test_a_fault_is_seen(change) -> None:
    assert faults(broken("none")) == []
    assert len(faults(broken(change))) >= 1


def test_a_word_too_wide_for_its_box_is_refused() -> None:
    with pytest.raises(ValueError, match="'discriminators' needs a box"):
        Drawing("t", "a").box(0, 0, 60, "two discriminators")


# -- facts -------------------------------------------------------------------------------------


def test_the_networks_have_the_shapes_of_the_library() -> None:
    G, D = nets.Generator(), nets.Discriminator(class_head=10)
    shapes: dict[str, list[tuple[int, ...]]] = {"G": [], "D": []}
    for key, parts in (("G", [G.norm, *G.blocks, G.to_image]), ("D", D.trunk[:-1])):
        for part in parts:
            part.register_forward_hook(
                lambda _, __, out, key=key: shapes[key].append(tuple(out.shape[1:]))
            )
    out = D(G(torch.randn(2, 100), torch.tensor([0, 9])))
    assert tuple(shapes["G"]) == diagrams.G_SHAPES
    assert tuple(shapes["D"]) == diagrams.D_SHAPES
    assert (out.source_logit.shape, out.class_logits.shape) == ((2,), (2, 10))
    shown = [name(box) for box in viz.diagram("networks").boxes]
    assert {"1 source head", "10 class head"} <= set(shown)
    assert shown[0].startswith(f"{G.latent_dim} + {G.num_classes} ")
    assert any(s.startswith(f"{D.class_head.in_features:,} ") for s in shown)


def test_the_gradients_of_the_two_heads_are_autograds() -> None:
    torch.manual_seed(0)
    G, D = nets.Generator(width=4), nets.Discriminator(width=4, class_head=10)
    y = torch.arange(10)
    real, images = torch.rand(10, 1, 32, 32) * 2 - 1, G(torch.randn(10, 100), y)
    game = objectives.acgan()
    d_terms = game.d_loss(D, objectives.Batch(real, y), objectives.Batch(images.detach(), y))
    g_terms = game.g_loss(D, objectives.Batch(images, y))
    parts = {"G": G, "trunk": D.trunk, "source head": D.source_head, "class head": D.class_head}
    learns = {"left": ("trunk", "source head", "class head"), "right": ("G",)}
    d = viz.diagram("two_heads")
    for panel, terms in (("left", d_terms), ("right", g_terms)):
        drawn: dict[str, set[str]] = {"source": set(), "class": set()}
        for arrow in d.arrows:
            end = arrow.points[-1]
            if arrow.tone in ("blue", "orange") and (end.x < WIDTH / 2) == (panel == "left"):
                [box] = [box for box in d.boxes if touches(end, box)]
                question = "source" if arrow.tone == "blue" else "class"
                drawn[question] |= {box.head[0]} & set(learns[panel]) if box.head else set()
        for term, value in terms.items():
            reached = set()
            for part in learns[panel]:
                gradients = torch.autograd.grad(
                    value, list(parts[part].parameters()), retain_graph=True, allow_unused=True
                )
                if any(g is not None and bool(g.abs().max() > 0) for g in gradients):
                    reached.add(part)
            assert reached == drawn["source" if "source" in term else "class"], term


def test_the_family_tree_is_in_the_order_of_the_first_versions() -> None:
    rows: dict[int, list[str]] = {}
    for _, row, _, _, number in diagrams.FAMILY_TREE.values():
        assert re.fullmatch(r"\d{4}\.\d{4,5}", number)
        rows.setdefault(row, []).append(number[:4])
    months = [sorted(rows[row]) for row in sorted(rows)]
    assert all(before[-1] <= after[0] for before, after in pairwise(months))


def test_the_members_of_the_split_are_those_of_the_library() -> None:
    splits = pytest.importorskip("acgan_lib.scale.splits")
    groups = splits.alphabetical(26, 5)
    ends = [f"{chr(65 + group[0])} – {chr(65 + group[-1])}" for group in groups]
    assert tuple(ends) == diagrams.SPLIT
