"""Diagrams, drawn as SVG by code: boxes, arrows and words in places that are computed.

A diagram is a function that draws on a `Drawing`. Its docstring says first the title, then in
words what the picture shows: that text is the picture's alt text. `diagram` calls one by name.

Every drawing stands on a plate of its own, so that it can be read on any page, and has colours for
dark pages too. Lines differ in dashes as well as in colour, and a legend says what each means. The
colours follow Okabe and Ito's set for colour-blind readers, darkened until words in them can be
read on white. All words have one size, and no drawing is wider than ``WIDTH``: on a phone of
360 px its words are more than 9 px high.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from itertools import pairwise
from typing import NamedTuple

WIDTH = 520  # user units; shown at 1 px each where there is room
FONT, LINE = 15, 19  # size of the words, and the distance of two lines
PAD = (6, 8)  # from the words to a box's border, sideways and upwards
FAMILY = "Helvetica Neue,Helvetica,Arial,Liberation Sans,Roboto,Noto Sans,sans-serif"

# A tone's line and fill on a light plate, both on a dark one, and the dashes of its arrows.
TONES = {
    "ink": ("#59636e", "#f5f6f8", "#a7b1bd", "#20272f", ""),
    "blue": ("#0067a8", "#e6f1fa", "#6cb8ee", "#12304a", "7 4"),  # D, real or generated
    "orange": ("#ad4a00", "#fdeee2", "#ffa163", "#472509", "2 4"),  # labels, classes
    "green": ("#00704f", "#e2f4ed", "#4fd1a5", "#0b3a2c", "11 4"),  # G
    "purple": ("#8a3a78", "#f8eaf4", "#e59ccf", "#411c39", "9 3 2 3"),  # who looks from outside
}
PLATE = ("#d5dae0", "#ffffff", "#3a434e", "#161b21")
FRAME = ("#f9fafb", "#1b2128")
WORDS = {"t": ("#1c2127", "#e8ecf1"), "m": ("#59636e", "#a7b1bd")}  # text, and muted text

# Widths of Helvetica's letters (Arial's and Liberation Sans's are the same), in ems.
_EMS = {
    0.23: "ijl'|", 0.28: " .,:;!/ftI·[]", 0.34: "r()-\"{}`", 0.5: "kcsvxyzJ*",
    0.67: "ABEKPSVXY&", 0.73: "CDHNRUw", 0.78: "GOQ", 0.84: "mM%", 0.95: "W", 1.0: "→←↑↓",
}  # fmt: skip
_EM = {letter: ems for ems, letters in _EMS.items() for letter in letters}


def text_width(text: str, bold: bool = False) -> float:
    """Return how wide a line of text is, in user units; bold letters are a little wider."""
    return FONT * sum(_EM.get(letter, 0.58) for letter in text) * (1.07 if bold else 1)


def wrap(text: str, width: float, bold: bool = False) -> tuple[str, ...]:
    """Break text into lines of that width at most, at its spaces and where it says so itself."""
    lines: list[str] = []
    for part in text.split("\n") if text else ():
        line = ""
        for word in part.split(" "):
            longer = f"{line} {word}" if line else word
            if line and text_width(longer, bold) > width:
                lines.append(line)
                longer = word
            line = longer
        lines.append(line)
    return tuple(lines)


class Point(NamedTuple):
    """A place, and if it lies on a box's border, on which side."""

    x: float
    y: float
    side: str = ""


@dataclass(frozen=True)
class Box:
    """A rounded box with bold lines, then plain ones; ``pile`` and ``dashed`` say how it looks."""

    x: float
    y: float
    w: float
    h: float
    head: tuple[str, ...] = ()
    body: tuple[str, ...] = ()
    tone: str = "ink"
    pile: bool = False
    dashed: bool = False

    def left(self, at: float = 0.5) -> Point:
        """Return a point on the left side, ``at`` 0 at its top and 1 at its end."""
        return Point(self.x, self.y + at * self.h, "left")

    def right(self, at: float = 0.5) -> Point:
        """Return a point on the right side."""
        return Point(self.x + self.w + (4 if self.pile else 0), self.y + at * self.h, "right")

    def top(self, at: float = 0.5) -> Point:
        """Return a point on the upper side, ``at`` 0 at its left and 1 at its right."""
        return Point(self.x + at * self.w, self.y - (8 if self.pile else 0), "top")

    def bottom(self, at: float = 0.5) -> Point:
        """Return a point on the lower side."""
        return Point(self.x + at * self.w, self.y + self.h, "bottom")


@dataclass(frozen=True)
class Words:
    """Lines of text beside a drawing's boxes, in a place of their own."""

    x: float  # of the left end, the middle or the right end, as ``anchor`` says
    y: float
    lines: tuple[str, ...]
    tone: str = "t"
    anchor: str = "start"
    bold: bool = False

    @property
    def rect(self) -> tuple[float, float, float, float]:
        """Left, top, right and bottom."""
        width = max(text_width(line, self.bold) for line in self.lines)
        left = self.x - {"start": 0, "middle": width / 2, "end": width}[self.anchor]
        return left, self.y, left + width, self.y + LINE * len(self.lines)


class Arrow(NamedTuple):
    """A path of straight pieces, in one tone; ``cut`` marks where nothing passes."""

    points: tuple[Point, ...]
    tone: str
    cut: Point | None = None


@dataclass
class Drawing:
    """What is drawn, and what it says; a notebook shows it as a picture."""

    title: str
    alt: str
    boxes: list[Box] = field(default_factory=list)
    frames: list[Box] = field(default_factory=list)
    arrows: list[Arrow] = field(default_factory=list)
    words: list[Words] = field(default_factory=list)
    samples: list[Box | Arrow] = field(default_factory=list)  # of the legend

    def box(
        self, x: float, y: float, w: float, head: str, body: str = "", tone: str = "ink",
        *, h: float = 0, pile: bool = False, dashed: bool = False,
    ) -> Box:  # fmt: skip
        """Draw a box, as high as its words, or ``h``; the words wrap at its width.

        Raises:
            ValueError: if a word is wider than the box.
        """
        heads, lines = wrap(head, w - 2 * PAD[0], True), wrap(body, w - 2 * PAD[0])
        for text, bold in [(t, True) for t in heads] + [(t, False) for t in lines]:
            if text_width(text, bold) > w - 2 * PAD[0]:
                needed = math.ceil(text_width(text, bold) + 2 * PAD[0])
                raise ValueError(f"{text!r} needs a box {needed} wide, not {w}")
        h = max(h, LINE * (len(heads) + len(lines)) + 2 * PAD[1])
        self.boxes.append(Box(x, y, w, h, heads, lines, tone, pile, dashed))
        return self.boxes[-1]

    def frame(self, x: float, y: float, w: float, h: float, title: str = "") -> Box:
        """Draw a ground behind what belongs together, with a title in its upper left corner."""
        self.frames.append(Box(x, y, w, h))
        if title:
            self.write(x + 10, y + 8, title, bold=True)
        return self.frames[-1]

    def write(
        self, x: float, y: float, text: str, tone: str = "t", *, anchor: str = "start",
        bold: bool = False, width: float = math.inf,
    ) -> Words:  # fmt: skip
        """Write text from ``y`` downwards, wrapped at ``width``."""
        self.words.append(Words(x, y, wrap(text, width, bold), tone, anchor, bold))
        return self.words[-1]

    def arrow(
        self, a: Box | Point, b: Box | Point, label: str = "", tone: str = "ink", *,
        via: Sequence[tuple[float, float]] = (), shift: float = 0, bend: float = 0.5,
        side: str = "", leg: int | None = None, cut: bool = False,
    ) -> None:  # fmt: skip
        """Draw an arrow, straight or with right angles, and its label beside it.

        Args:
            a: from where; the sides of two boxes are chosen so that the arrow is short.
            b: to where.
            label: written beside the longest piece.
            tone: colour and dashes.
            via: corners, in place of those that are chosen.
            shift: moves an arrow between two boxes sideways.
            bend: where a path with two corners turns, 0 at its start and 1 at its end.
            side: of the arrow on which the label stands.
            leg: number of the piece that the label stands beside.
            cut: mark the arrow as cut in the middle of that piece.
        """
        if isinstance(a, Box) and isinstance(b, Box):
            a, b = _facing(a, b, shift)
        start, end = (p.top() if isinstance(p, Box) else p for p in (a, b))
        corners = [Point(*p) for p in via] or _corners(start, end, bend)
        points = (start, *corners, end)
        pieces = list(pairwise(points))
        long = max(range(len(pieces)), key=lambda i: math.dist(pieces[i][0][:2], pieces[i][1][:2]))
        p, q = pieces[long if leg is None else leg]
        middle = Point((p.x + q.x) / 2, (p.y + q.y) / 2)
        self.arrows.append(Arrow(points, tone, middle if cut else None))
        if label:
            upright = abs(p.x - q.x) < abs(p.y - q.y)
            side, half = side or ("right" if upright else "above"), LINE * label.count("\n") / 2
            gap = 15 if cut else 8
            x, y, anchor = {
                "right": (middle.x + gap, middle.y - LINE / 2 - half, "start"),
                "left": (middle.x - gap, middle.y - LINE / 2 - half, "end"),
                "above": (middle.x, middle.y - LINE - 3 - 2 * half, "middle"),
                "below": (middle.x, middle.y + 4, "middle"),
            }[side]
            self.write(x, y, label, "m" if tone == "ink" else tone, anchor=anchor)

    def legend(self, meanings: dict[str, str]) -> None:
        """Say below the drawing what the arrows of each tone mean, one line for each."""
        x, y = 14, self.bottom() + 14
        for tone, meaning in meanings.items():
            self.samples.append(Arrow((Point(x, y + 10), Point(x + 40, y + 10)), tone))
            self.write(x + 50, y, meaning, width=WIDTH - x - 64)
            y += LINE * len(self.words[-1].lines) + 5

    def key(self, meanings: dict[str, str]) -> None:
        """Say below the drawing what the boxes of each tone are, two to a line."""
        top = self.bottom() + 14
        for i, (tone, meaning) in enumerate(meanings.items()):
            x, y = 14 + 205 * (i % 2), top + 25 * (i // 2)
            self.samples.append(Box(x, y + 2, 24, 16, tone=tone))
            self.write(x + 34, y, meaning)

    def bottom(self) -> float:
        """Return where the lowest thing ends."""
        ends = [box.y + box.h for box in (*self.boxes, *self.frames)]
        return max([*ends, *(words.rect[3] for words in self.words)])

    def svg(self) -> str:
        """Return the picture as one SVG element; equal drawings give equal text."""
        height = math.ceil(self.bottom() + 14)
        parts = [_rect(Box(0.5, 0.5, WIDTH - 1, height - 1), 12, "p", *PLATE[:2])]
        parts += [_rect(frame, 12, "g", "none", FRAME[0]) for frame in self.frames]
        shapes = (*self.arrows, *self.boxes, *self.samples)
        parts += [_path(arrow) for arrow in shapes if isinstance(arrow, Arrow)]
        for box in (shape for shape in shapes if isinstance(shape, Box)):
            line, fill = TONES[box.tone][:2]
            extra = ' stroke-dasharray="5 4"' if box.dashed else ""
            for k in (8, 4) if box.pile else ():
                behind = Box(box.x + k / 2, box.y - k, box.w, box.h)
                parts.append(_rect(behind, 8, f"b{box.tone}", line, fill))
            parts.append(_rect(box, 8, f"b{box.tone}", line, fill, extra))
            y = box.y + box.h / 2 - LINE * len(box.head + box.body) / 2
            for lines, bold in ((box.head, True), (box.body, False)):
                parts += _text(box.x + box.w / 2, y, lines, "t", "middle", bold)
                y += LINE * len(lines)
        for w in self.words:
            parts += _text(w.x, w.y, w.lines, w.tone, w.anchor, w.bold)
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" class="acgan-diagram" role="img" '
            f'width="{WIDTH}" height="{height}" viewBox="0 0 {WIDTH} {height}" '
            f'style="max-width:100%;height:auto" font-family="{FAMILY}" font-size="{FONT}">\n'
            f"<title>{escape(self.title)}</title>\n<desc>{escape(self.alt)}</desc>\n"
            f"<style>{_night()}</style>\n" + "\n".join(parts) + "\n</svg>\n"
        )

    def _repr_svg_(self) -> str:
        return self.svg()

    def __repr__(self) -> str:
        return f"{self.title}: {self.alt}"


def _facing(a: Box, b: Box, shift: float) -> tuple[Point, Point]:
    """Return the ends of the shortest arrow from box to box, straight where they overlap."""
    low, high = max(a.x, b.x), min(a.x + a.w, b.x + b.w)
    if low < high:  # one below the other
        at = (low + high) / 2 + shift
        ends = (a.bottom(), b.top()) if a.y < b.y else (a.top(), b.bottom())
        return ends[0]._replace(x=at), ends[1]._replace(x=at)
    low, high = max(a.y, b.y), min(a.y + a.h, b.y + b.h)
    ends = (a.right(), b.left()) if a.x < b.x else (a.left(), b.right())
    if low < high:
        at = (low + high) / 2 + shift
        return ends[0]._replace(y=at), ends[1]._replace(y=at)
    return (a.bottom(), b.top()) if a.y < b.y else (a.top(), b.bottom())


def _corners(a: Point, b: Point, bend: float) -> list[Point]:
    """Return where a path from a to b turns, so that it has right angles alone."""
    if a.x == b.x or a.y == b.y:
        return []
    starts, ends = (p.side in ("left", "right") for p in (a, b))
    if starts != ends:
        return [Point(b.x, a.y)] if starts else [Point(a.x, b.y)]
    if starts:
        x = a.x + bend * (b.x - a.x)
        return [Point(x, a.y), Point(x, b.y)]
    y = a.y + bend * (b.y - a.y)
    return [Point(a.x, y), Point(b.x, y)]


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _rect(box: Box, radius: int, name: str, line: str, fill: str, extra: str = "") -> str:
    place = f'x="{_n(box.x)}" y="{_n(box.y)}" width="{_n(box.w)}" height="{_n(box.h)}"'
    look = f'rx="{radius}" class="{name}" stroke="{line}" fill="{fill}"'
    return f"<rect {place} {look}{extra}/>"


def _text(
    x: float, y: float, lines: Sequence[str], tone: str, anchor: str, bold: bool
) -> list[str]:
    """Return lines of text as SVG, the first one below y."""
    fill, name = (WORDS[tone][0], tone) if tone in WORDS else (TONES[tone][0], f"f{tone}")
    look = f'class="{name}" fill="{fill}"' + (' font-weight="bold"' if bold else "")
    look += f' text-anchor="{anchor}"' if anchor != "start" else ""
    return [
        f'<text x="{_n(x)}" y="{_n(y + LINE * i + 14.5)}" {look}>{escape(line)}</text>'
        for i, line in enumerate(lines)
    ]


def _path(arrow: Arrow) -> str:
    """Return an arrow as SVG: round corners, a head, and two strokes where it is cut."""
    points, (line, _, _, _, dashes) = arrow.points, TONES[arrow.tone]
    (x0, y0), (x, y) = points[-2][:2], points[-1][:2]
    far = math.dist((x0, y0), (x, y))
    dx, dy = (x - x0) / far, (y - y0) / far
    way = f"M{_n(points[0].x)} {_n(points[0].y)}"
    for before, at, after in zip(points, points[1:], points[2:], strict=False):
        near = [_towards(at, other) for other in (before, after)]
        way += f"L{near[0]}Q{_n(at.x)} {_n(at.y)} {near[1]}"
    way += f"L{_n(x - 7 * dx)} {_n(y - 7 * dy)}"
    dash = f' stroke-dasharray="{dashes}"' if dashes else ""
    look = f'class="l{arrow.tone}" fill="none" stroke="{line}" stroke-width="2"{dash}'
    path = f'<path d="{way}" {look}/>'
    corners = [(x, y)] + [(x - 9 * dx + k * dy, y - 9 * dy - k * dx) for k in (5, -5)]
    head = " ".join(f"{_n(a)},{_n(b)}" for a, b in corners)
    path += f'<polygon points="{head}" class="f{arrow.tone}" fill="{line}"/>'
    if arrow.cut is not None:
        x, y = arrow.cut[:2]
        strokes = "".join(f"M{_n(x - 9)} {_n(y + k + 4)}l18 -8" for k in (-4, 4))
        look = f'class="lorange" stroke="{TONES["orange"][0]}" stroke-width="3"'
        path += f'<path d="{strokes}" {look}/>'
    return path


def _towards(at: Point, other: Point, radius: float = 8) -> str:
    far = math.dist(at[:2], other[:2])
    share = min(radius, far / 2) / far
    return f"{_n(at.x + share * (other.x - at.x))} {_n(at.y + share * (other.y - at.y))}"


def _night() -> str:
    """Return the rules that give a page in the dark its colours."""
    rules = [("p", f"stroke:{PLATE[2]};fill:{PLATE[3]}"), ("g", f"fill:{FRAME[1]}")]
    rules += [(name, f"fill:{dark}") for name, (_, dark) in WORDS.items()]
    for tone, (_, _, line, fill, _) in TONES.items():
        rules += [(f"b{tone}", f"stroke:{line};fill:{fill}")]
        rules += [(f"l{tone}", f"stroke:{line}"), (f"f{tone}", f"fill:{line}")]
    inside = "".join(f".acgan-diagram .{name}{{{rule}}}" for name, rule in rules)
    return f"@media(prefers-color-scheme:dark){{{inside}}}"


def diagram(name: str) -> Drawing:
    """Return a diagram of the book; at the end of a cell, a notebook shows it.

    Args:
        name: one of ``DIAGRAMS``. Each is a function of this module, whose text says what it shows.

    Raises:
        ValueError: if there is none of that name.
    """
    if name not in DIAGRAMS:
        raise ValueError(f"no diagram {name!r}; there are {', '.join(DIAGRAMS)}")
    title, alt = inspect.cleandoc(DIAGRAMS[name].__doc__ or "").split("\n\n", 1)
    drawing = Drawing(title.rstrip("."), " ".join(alt.split()))
    DIAGRAMS[name](drawing)
    return drawing


# -- the diagrams --------------------------------------------------------------------------------

# Each model's column and row, its tone, what it brought, and the number of its first version on
# arXiv, which begins with the year and the month.
FAMILY_TREE = {
    "GAN": (2, 0, "ink", "two players", "1406.2661"),
    "CGAN": (1, 0, "orange", "a label", "1411.1784"),
    "DCGAN": (2, 1, "green", "convolutions", "1511.06434"),
    "GAN-CLS": (0, 2, "purple", "sentences", "1605.05396"),
    "InfoGAN": (2, 2, "orange", "found codes", "1606.03657"),
    "AC-GAN": (1, 3, "orange", "class head", "1610.09585"),
    "pix2pix": (0, 3, "purple", "image pairs", "1611.07004"),
    "WGAN": (3, 4, "blue", "a distance", "1701.07875"),
    "CycleGAN": (0, 4, "purple", "no pairs", "1703.10593"),
    "WGAN-GP": (3, 5, "blue", "a penalty", "1704.00028"),
    "ProGAN": (2, 5, "green", "grows", "1710.10196"),
    "Projection": (1, 6, "orange", "dot product", "1802.05637"),
    "SNGAN": (3, 6, "blue", "spectral", "1802.05957"),
    "BigGAN": (1, 7, "orange", "scale", "1809.11096"),
    "StyleGAN": (2, 7, "green", "styles", "1812.04948"),
    "DDPM": (0, 8, "ink", "diffusion", "2006.11239"),
    "ReACGAN": (1, 9, "orange", "AC mended", "2111.01118"),
    "R3GAN": (2, 10, "blue", "R1 and R2", "2501.05441"),
}


def family_tree(d: Drawing) -> None:
    """The family tree of GANs.

    Models by the year of their first version on arXiv, from top to bottom. An arrow leads from a
    model to one that builds on it or mends it. 2014: GAN, and from it CGAN, with labels. 2015:
    DCGAN, from GAN. 2016: GAN-CLS and pix2pix from CGAN, InfoGAN from DCGAN, AC-GAN from CGAN and
    DCGAN. 2017: WGAN from GAN, WGAN-GP from WGAN, ProGAN from WGAN-GP, CycleGAN from pix2pix. 2018:
    SNGAN from WGAN-GP, the projection discriminator from AC-GAN and SNGAN, BigGAN from it, StyleGAN
    from ProGAN. 2020: DDPM, a diffusion model and no GAN. 2021: ReACGAN from AC-GAN and BigGAN.
    2025: R3GAN from StyleGAN.
    """
    boxes: dict[str, Box] = {}
    years: dict[str, float] = {}
    for name, (column, row, tone, idea, number) in FAMILY_TREE.items():
        x, y = 55 + 118 * column, 14.0 + 77 * row
        boxes[name] = d.box(x, y, 99, name, idea, tone, dashed=name == "DDPM")
        years.setdefault(f"20{number[:2]}", y)
    for year, y in years.items():
        d.write(14, y + 17, year, "m", bold=True)
    for pair in (
        "GAN CGAN", "GAN DCGAN", "CGAN AC-GAN", "DCGAN InfoGAN", "pix2pix CycleGAN", "WGAN WGAN-GP",
        "WGAN-GP ProGAN", "WGAN-GP SNGAN", "AC-GAN Projection", "SNGAN Projection",
        "Projection BigGAN", "ProGAN StyleGAN", "BigGAN ReACGAN", "StyleGAN R3GAN",
    ):  # fmt: skip
        old, new = pair.split()
        d.arrow(boxes[old], boxes[new])
    d.arrow(boxes["GAN"].right(), boxes["WGAN"].top())
    d.arrow(boxes["CGAN"].left(), boxes["GAN-CLS"].top())
    cgan, ac, re = boxes["CGAN"].bottom(0.25), boxes["AC-GAN"].left(0.7), boxes["ReACGAN"].left()
    pix = boxes["pix2pix"].right()
    d.arrow(cgan, pix, via=[(cgan.x, 214), (163, 214), (163, pix.y)])
    d.arrow(boxes["DCGAN"].left(), boxes["AC-GAN"].right())
    d.arrow(ac, re, via=[(163, ac.y), (163, re.y)])
    says = "Arrows lead to models that build on others or\nmend them. Dashed: no GAN."
    d.write(14, d.bottom() + 14, says)
    d.key({
        "orange": "labels and codes", "green": "networks", "blue": "losses and penalties",
        "purple": "images or sentences as input",
    })  # fmt: skip


def two_players(d: Drawing) -> None:
    """The two steps of a GAN's training.

    Two panels. Left, D's step: noise z goes through G and gives fakes, which enter D beside real
    images; D's loss sends its gradient back into D. Between the fakes and D the path is cut by
    detach, so that no gradient reaches G. Right, G's step: the same fakes enter D, whose weights
    are frozen. The loss sends its gradient through D and through the fakes into G. Real images
    play no part in it.
    """
    for x, title in ((12, "D's step"), (265, "G's step")):
        learns = title[0]
        d.frame(x, 12, 243, 474, title)
        z = d.box(x + 133, 50, 98, "", "noise z")
        G = d.box(x + 133, 126, 98, "G", "learns" if learns == "G" else "draws", "green")
        fake = d.box(x + 133, 226, 98, "", "fakes G(z)", pile=True)
        D = d.box(x + 12, 322, 219, "D", "learns" if learns == "D" else "frozen", "blue",
                  dashed=learns == "G")  # fmt: skip
        if learns == "D":
            real = d.box(x + 12, 226, 98, "", "real x", pile=True)
            d.arrow(real, D)
            d.arrow(fake, D, "detach", cut=True, side="left")
            loss = d.box(x + 12, 416, 219, "loss of D", "x is real, G(z) is fake")
            d.arrow(D, loss, shift=-20)
            d.arrow(loss, D, tone="blue", shift=20)
        else:
            loss = d.box(x + 12, 416, 219, "loss of G", "G(z) is real")
            d.write(x + 16, 190, "Real images\nplay no part:\nno weight of G\nchanges them.", "m")
            for a, b in ((fake, D), (D, loss), (G, fake)):
                d.arrow(a, b, shift=-20)
                d.arrow(b, a, tone="green", shift=20)
        d.arrow(z, G)
        if learns == "D":
            d.arrow(G, fake)
    d.legend({
        "ink": "data", "blue": "gradient of D's loss: changes D alone",
        "green": "gradient of G's loss: passes D and changes G",
    })  # fmt: skip


# What leaves each part of the book's networks at 32 px, for one image: maps, height, width.
G_SHAPES = ((128, 4, 4), (64, 8, 8), (32, 16, 16), (16, 32, 32), (1, 32, 32))
D_SHAPES = ((32, 16, 16), (64, 8, 8), (128, 4, 4))


def networks(d: Drawing) -> None:
    """G and D of the book, with the shape that leaves each part.

    Two columns of boxes, maps by height by width. G: z and the class, 110 numbers; a linear layer
    and BatchNorm to 128 by 4 by 4; three blocks that double the side, to 64 by 8 by 8, 32 by 16 by
    16 and 16 by 32 by 32; a convolution and tanh to the image, 1 by 32 by 32. D: the image; three
    blocks that halve the side, to 32 by 16 by 16, 64 by 8 by 8 and 128 by 4 by 4; these 2,048
    numbers go to the source head, 1 number, and to the class head, 10 numbers.
    """
    shape = [[" × ".join(map(str, s)) for s in shapes] for shapes in (G_SHAPES, D_SHAPES)]
    d.frame(12, 12, 243, 612, "Generator G")
    d.frame(265, 12, 243, 612, "Discriminator D")
    block = "3 × 3 convolution, PixelShuffle, BatchNorm, ReLU"
    chain = [d.box(34, 50, 199, "100 + 10", "z beside the one-hot y")]
    for s, what in zip(
        shape[0], ["linear layer, BatchNorm, ReLU", block, block, block, "convolution, tanh"],
        strict=True,
    ):  # fmt: skip
        chain.append(d.box(34, chain[-1].y + chain[-1].h + 20, 199, s, what, "green"))
    for a, b in pairwise(chain):
        d.arrow(a, b)
    halves = ["4 × 4 convolution, stride 2, LeakyReLU"]
    halves += ["4 × 4 convolution, stride 2, BatchNorm, LeakyReLU"] * 2
    chain = [d.box(287, 50, 199, shape[0][-1], "an image, real or fake", pile=True)]
    for s, what in zip(shape[1], halves, strict=True):
        chain.append(d.box(287, chain[-1].y + chain[-1].h + 24, 199, s, what, "blue"))
    flat = math.prod(D_SHAPES[-1])
    y = chain[-1].y + chain[-1].h + 24
    chain.append(d.box(287, y, 199, f"{flat:,}", "laid out in a row"))
    for a, b in pairwise(chain):
        d.arrow(a, b)
    y = chain[-1].y + chain[-1].h + 28
    d.arrow(chain[-1], d.box(277, y, 104, "1", "source head", "blue"))
    d.arrow(chain[-1], d.box(392, y, 104, "10", "class head", "orange"))
    d.write(287, y + 66, "Each convolution and each\nhead has spectral norm.", "m")


def four_gans(d: Drawing) -> None:
    """What goes into G and D, and what D answers, in four GANs.

    Four cards. GAN: G gets noise z; D gets the image and answers whether it is real. CGAN: G gets
    z and a class y; D gets the image and y and answers whether it is a real image of y. AC-GAN: G
    gets z and y; D gets the image alone, answers whether it is real, and names the class of real
    and fake images, which is compared with y. InfoGAN: G gets z and codes c; D gets the image
    alone, answers whether it is real, and names the codes of fakes, which are compared with c.
    GAN and InfoGAN use no label.
    """
    for k, (name, says, asked, heads) in enumerate((
        ("GAN", "no classes", "", ["real?"]),
        ("CGAN", "D is told the class", "class y", ["real, of class y?"]),
        ("AC-GAN", "D names real and fake", "class y", ["real?", "class?"]),
        ("InfoGAN", "D names fakes alone", "codes c", ["real?", "codes?"]),
    )):  # fmt: skip
        x, y = 12 + 253 * (k % 2), 12 + 340 * (k // 2)
        d.frame(x, y, 243, 330, name)
        d.write(x + 10, y + 27, says, "m")
        z = d.box(x + (72 if asked else 97), y + 60, 68, "", "noise z", h=35)
        G = d.box(x + 82, y + 128, 98, "G", "", "green")
        D = d.box(x + 82, y + 206, 98, "D", "", "blue")
        told, named = name == "CGAN", len(heads) == 2
        seen = "real\nx" if name in ("GAN", "InfoGAN") else "real\nx, y"
        real = d.box(x + 10, D.y - 10, 52, "", seen, pile=True)
        d.arrow(z, G)
        d.arrow(G, D, "fake x", side="left")
        d.arrow(real, D)
        last = d.box(x + 50 if not named else x + 20, y + 284, 99 if named else 162, "", heads[0],
                     "blue")  # fmt: skip
        d.arrow(D, last)
        if named:
            last = d.box(x + 134, y + 284, 99, "", heads[1], "orange")
            d.arrow(D, last)
        if asked:
            c = d.box(x + 152, y + 60, 81, "", asked, "orange", h=35)
            d.arrow(c, G)
            from_c = c.bottom(0.8)
            if told:
                d.arrow(from_c, D.right())
            else:
                d.arrow(from_c, last.top((from_c.x - last.x) / last.w), tone="orange")
    d.legend({"ink": "goes in, comes out", "orange": "compared with the answer"})


def two_heads(d: Drawing) -> None:
    """AC-GAN's two heads, and where the gradient of each loss goes.

    Two panels. Left, D's step: real images, and fakes that are cut off from G, go through the trunk
    into the source head and the class head. The source loss changes the source head and the trunk,
    the class loss changes the class head and the trunk, and nothing reaches G. Right, G's step: D
    is frozen, and both gradients pass through the heads and the trunk into the fakes and into G.
    For the source G wants the opposite of what D wants. For the class it wants the same.
    """
    for x, learns in ((12, "D"), (265, "G")):
        d.frame(x, 12, 243, 524, f"{learns}'s step")
        D_learns = learns == "D"
        look = {"dashed": not D_learns}
        G = d.box(x + 123, 50, 108, "G", "draws" if D_learns else "learns", "green")
        fake = d.box(x + 123, 146, 108, "", "fakes, y", pile=True)
        trunk = d.box(x + 12, 240, 219, "trunk", "learns" if D_learns else "frozen", "ink", **look)
        source = d.box(x + 12, 344, 104, "source head", "", "blue", **look)
        name = d.box(x + 127, 344, 104, "class head", "", "orange", **look)
        what = ("real is real,\nfake is fake", "real and fake\nare of class y")
        what = what if D_learns else ("fake is real\n ", "fake is\nof class y")
        losses = [d.box(x + 12, 448, 104, "source loss", what[0]),
                  d.box(x + 127, 448, 104, "class loss", what[1])]  # fmt: skip
        if D_learns:
            real = d.box(x + 12, 146, 98, "", "real x, y", pile=True)
            d.arrow(real, trunk)
            d.arrow(G, fake)
            d.arrow(fake, trunk, "detach", cut=True, side="left")
        for head, loss, tone in ((source, losses[0], "blue"), (name, losses[1], "orange")):
            for a, b in ((trunk, head), (head, loss)):
                d.arrow(a, b, shift=-22)
                d.arrow(b, a, tone=tone, shift=22)
        if not D_learns:
            d.write(x + 14, 50, "Source: G pulls\nagainst D.", "blue")
            d.write(x + 14, 100, "Class: G pulls\nwith D.", "orange")
            for a, b in ((G, fake), (fake, trunk)):
                d.arrow(a, b, shift=-30)
                d.arrow(b, a, tone="blue", shift=6)
                d.arrow(b, a, tone="orange", shift=34)
    d.legend({
        "ink": "data", "blue": "gradient of the source loss",
        "orange": "gradient of the class loss",
    })  # fmt: skip


def training_step(d: Drawing) -> None:
    """One training step, from top to bottom.

    Two lanes, G's and D's, and nine moments. 1: z and labels y are drawn; a batch of real images x
    is taken. 2: G draws fakes. 3: D judges the real images. 4: D judges the detached fakes. 5: D
    is updated. 6: D is frozen. 7: the updated D judges the same fakes, now attached to G. 8: the
    gradient runs back through D, and G is updated. 9: the running average of G's weights moves.
    """
    d.frame(12, 12, 243, 756, "G")
    d.frame(265, 12, 243, 756, "D")

    def g(y: float, head: str, body: str = "") -> Box:
        return d.box(24, y, 219, head, body, "green", h=54)

    def of_d(y: float, head: str, body: str = "", dashed: bool = False) -> Box:
        return d.box(277, y, 219, head, body, "blue", h=54, dashed=dashed)

    drawn, taken = g(46, "1 · Draw z and y"), of_d(46, "1 · Take real images")
    fakes = g(130, "2 · Draw the fakes", "one forward pass")
    d.arrow(drawn, fakes)
    chain = [
        taken, of_d(130, "3 · Judge the real"), of_d(214, "4 · Judge the fakes", "detached"),
        of_d(298, "5 · Update D", "loss, backward, step"), of_d(382, "6 · Freeze D", "", True),
        of_d(466, "7 · Judge the fakes again", "attached, by the new D", True),
    ]  # fmt: skip
    for before, after in pairwise(chain):
        d.arrow(before, after)
    d.arrow(fakes.bottom(0.7), chain[2].left(), "detach", cut=True, leg=0, side="left")
    d.arrow(fakes.bottom(0.2), chain[5].left(), "the same\nimages", leg=0)
    update = g(582, "8 · Update G", "loss, backward, step")
    d.arrow(chain[5].bottom(), update.right(), "gradient,\nthrough D", "green", leg=0)
    average = g(696, "9 · Average G's weights", "samples come from it")
    d.arrow(update, average)
    d.legend({"ink": "what comes next", "green": "gradient that changes G"})


def _chart(d: Drawing, rows: Sequence[tuple[str, str, str]]) -> None:
    """Draw what one sees, its cause and its mend, a row for each."""
    y = 42.0
    for x, title in ((14, "You see"), (186, "Because"), (358, "Do this")):
        d.write(x + 8, 16, title, "m", bold=True)
    for see, because, mend in rows:
        many = [len(wrap(text, 148 - 2 * PAD[0], text == see)) for text in (see, because, mend)]
        h = LINE * max(many) + 2 * PAD[1]
        seen = d.box(14, y, 148, see, "", "purple", h=h)
        cause = d.box(186, y, 148, "", because, h=h)
        d.arrow(seen, cause)
        d.arrow(cause, d.box(358, y, 148, "", mend, "green", h=h))
        y += h + 14


def symptoms_game(d: Drawing) -> None:
    """Symptoms of a game that fails.

    A chart of six rows: what one sees, its cause, its mend. Samples move round and round: each
    player's step changes what the other one learns from; add R1, keep Adam's beta 1 at .5 or lower,
    and draw with averaged weights. Samples crowd at few modes and wander: D learns too slowly for
    G; first make the learning rates equal, then R1 or a D that sees the batch. Samples sit at few
    modes and stay: D is far ahead of G; make the rates equal, or add R1 or spectral norm and train
    longer. All modes covered, few samples near one: G matches mean features alone, or is
    unfinished; count modes and quality together. D's logits grow on and on: D is asked to be
    certain; ask for .9 on real data and still for 0 on fakes. A remedy works once: the same game
    ends differently with another seed; take several seeds, and the interval of the difference.
    """
    _chart(d, [
        ("Samples move round and round",
         "each step of one player changes what the other learns from",
         "R1; Adam's β1 at .5 or lower; draw with averaged weights"),
        ("Samples crowd at few modes and wander", "D learns too slowly for G",
         "equal learning rates; then R1, or a D that sees the batch"),
        ("Samples sit at few modes and stay", "D is far ahead of G",
         "equal rates; or R1 or spectral norm, and more steps"),
        ("All modes covered, few samples near one",
         "G matches mean features alone, or is unfinished",
         "count modes and quality together"),
        ("D's logits grow on and on", "D is asked to be certain",
         "ask for .9 on real data, still for 0 on fakes"),
        ("A remedy works, once", "the same game ends differently with another seed",
         "several seeds, and the interval of the difference"),
    ])  # fmt: skip


def symptoms_dcgan(d: Drawing) -> None:
    """Symptoms of a DCGAN that goes wrong.

    A chart of eight rows: what one sees, its cause, its mend. G hardly learns while D is sure: G's
    literal loss is flat there; take the non-saturating loss. G holds gradients after D's step: the
    fakes were not detached; detach, and clear gradients right before each backward pass. All losses
    are near 0 and all samples alike: real images and fakes went through one BatchNorm; judge them
    in separate batches. Spectral norm changes nothing: BatchNorm follows and divides it out; keep
    BatchNorm, which helps more. A chequered pattern: kernel 5 with stride 2 overlaps unevenly; take
    kernel 4, or a convolution and PixelShuffle. One z gives another image: samples were drawn in
    train mode; use eval mode. The average of G draws grey: BatchNorm's buffers were not averaged;
    average them, too. Losses do not follow the images: each player's loss is measured by the other
    player; ask a judge that never met G.
    """
    _chart(d, [
        ("G hardly learns while D is sure", "G's literal loss is flat there",
         "the non-saturating loss"),
        ("G holds gradients after D's step", "the fakes were not detached",
         "detach; clear gradients right before each backward"),
        ("All losses near 0, all samples alike", "real and fakes went through one BatchNorm",
         "real and fakes in separate batches"),
        ("Spectral norm changes nothing", "BatchNorm follows and divides it out",
         "keep BatchNorm: it helps more"),
        ("A chequered pattern", "kernel 5 with stride 2 overlaps unevenly",
         "kernel 4, or a convolution and PixelShuffle"),
        ("One z gives another image", "drawn in train mode: BatchNorm uses the batch",
         "eval mode for every sample"),
        ("The average of G draws grey", "BatchNorm's buffers were not averaged",
         "average the buffers, too"),
        ("Losses do not follow the images", "each player's loss is measured by the other player",
         "ask a judge that never met G"),
    ])  # fmt: skip


def symptoms_acgan(d: Drawing) -> None:
    """Symptoms of an AC-GAN that goes wrong.

    A chart of eight rows: what one sees, its cause, its mend. The class loss stops at 1.46: a
    softmax stands before the cross-entropy; give the loss logits. The class loss is negative:
    NLLLoss got probabilities; take log_softmax first. The class loss stays at 2.3, on fakes alone:
    the loss has other labels than G had; keep images and labels in one batch. The last class is
    never right: randint leaves it out; count the labels. All classes are alike at z = 0: the label
    multiplies z; put it beside z. D's head sees the class, the judge does not: G learned to please
    this head; grade with a judge that never met G. Samples are more accurate than real images: G
    may avoid where classes overlap; look at MS-SSIM by class, and at CAS. There is one class
    accuracy, of 55 %: it averages real and fake; print both.
    """
    _chart(d, [
        ("Class loss stops at 1.46", "a softmax before the cross-entropy", "give the loss logits"),
        ("Class loss is negative", "NLLLoss on probabilities", "log_softmax first"),
        ("Class loss stays at 2.3, on fakes alone", "the loss has other labels than G had",
         "images and labels in one batch"),
        ("The last class is never right", "randint(0, K − 1) leaves it out", "count the labels"),
        ("All classes alike at z = 0", "the label multiplies z", "put it beside z"),
        ("D's head sees the class, the judge does not", "G learned to please this head",
         "grade with a judge that never met G"),
        ("More accurate than real images", "G may avoid where classes overlap",
         "look at MS-SSIM by class, and at CAS"),
        ("One class accuracy, of 55 %", "it averages real and fake", "print both"),
    ])  # fmt: skip


def judge(d: Drawing) -> None:
    """From images to scores.

    Three groups. First, the judge, a classifier that learned on real images and never met G, looks
    at generated and at real test images. Its classes for generated images give the accuracy, its
    128 features for both give the Frechet distance. Second, CAS goes the other way round: a new
    classifier learns on generated images alone, and its accuracy on real test images is the score.
    Third, MS-SSIM needs no network: it compares the pixels of two generated images of one class.
    """
    d.frame(12, 12, 496, 308, "The judge looks at the images")
    made = d.box(30, 56, 180, "", "generated images", pile=True)
    real = d.box(302, 56, 180, "", "real test images", pile=True)
    look = d.box(30, 132, 452, "judge", "learned on real images, never met G", "purple")
    for images in (made, real):
        d.arrow(images, look)
    right = d.box(30, 234, 180, "accuracy", "is it the class that was asked for?")
    far = d.box(242, 234, 240, "Frechet distance", "how far apart are the two clouds of features?")
    d.arrow(look, right, "classes")
    d.arrow(look, far, "128 features")
    d.frame(12, 330, 320, 296, "CAS: the other way round")
    made = d.box(26, 374, 140, "", "generated images", pile=True)
    real = d.box(178, 374, 136, "", "real test images", pile=True)
    new = d.box(26, 442, 140, "new classifier", "learns on them alone", "purple")
    score = d.box(26, 556, 288, "CAS", "its accuracy on real images")
    d.arrow(made, new)
    d.arrow(new, score)
    d.arrow(real, score)
    d.frame(342, 330, 166, 296, "MS-SSIM")
    pair = d.box(356, 374, 134, "", "two generated images of a class", pile=True)
    alike = d.box(356, 537, 138, "MS-SSIM", "how alike are their pixels?")
    d.arrow(pair, alike, "no\nnetwork")


def labels_route(d: Drawing) -> None:
    """Where a label goes in the training of CGAN and of AC-GAN.

    Two panels. In both, a drawn label goes into G beside the noise z. CGAN: the label of a real
    image and the drawn label of a fake go into D beside the image, and D answers whether the pair
    is real; no loss compares a label. AC-GAN: D sees the image alone. Its source head needs no
    label. The labels of real and fake images go past D to the class loss, which compares them with
    the answer of the class head.
    """
    for x, name in ((12, "CGAN"), (265, "AC-GAN")):
        d.frame(x, 12, 243, 484, name)
        given = d.box(x + 8, 50, 50, "", "real y", "orange", h=54)
        real = d.box(x + 66, 50, 42, "", "real x", pile=True, h=54)
        z = d.box(x + 124, 50, 42, "", "z", h=54)
        asked = d.box(x + 172, 50, 63, "", "drawn y", "orange", h=54)
        G = d.box(x + 124, 138, 78, "G", "", "green")
        fake = d.box(x + 124, 214, 70, "", "fake x", pile=True)
        D = d.box(x + 44, 292, 157, "D", "", "blue")
        for a, b in ((z, G), (G, fake), (fake, D), (real, D)):
            d.arrow(a, b)
        d.arrow(asked, G, tone="orange")
        ends = given.bottom(0.4), asked.bottom(0.8)
        if name == "CGAN":
            for end, side in zip(ends, (D.left(), D.right()), strict=True):
                d.arrow(end, side, tone="orange")
            d.arrow(D, d.box(x + 44, 400, 157, "source", "is the pair real?", "blue"))
        else:
            heads = [d.box(x + 44, 362, 74, "source", "", "blue"),
                     d.box(x + 127, 362, 74, "class", "", "orange")]  # fmt: skip
            loss = d.box(x + 8, 428, 227, "class loss", "is the named class y?")
            for head in heads:
                d.arrow(D, head)
            d.arrow(heads[1], loss)
            for end in ends:
                d.arrow(end, Point(end.x, loss.y, "top"), tone="orange")
    d.legend({"ink": "noise and images", "orange": "labels"})


def driver_workers(d: Drawing) -> None:
    """A driver and its workers train one generator in parts.

    The driver cuts the classes into groups and makes one task of each. Several workers run the
    tasks; each trains one member, an AC-GAN of its own classes. A worker tells a board how many
    steps are done, and the driver looks at the board. It writes checkpoints to a disk, and a task
    whose worker was killed goes on from the last one. The averaged weights of each member's G come
    back and form one SplitGenerator, which sends each label to the member that knows it: here the
    letters A to Z to five members.
    """
    driver = d.box(130, 14, 260, "driver", "cuts the classes into groups, one task for each")
    board = d.box(14, 152, 122, "board", "steps done by each task", "purple", h=92)
    work = d.box(190, 152, 150, "workers", "each trains one member", "green", h=92, pile=True)
    disk = d.box(404, 152, 102, "disk", "a folder for each member", h=92)
    d.arrow(driver, work, "tasks")
    d.arrow(work.left(), board.right(), tone="purple")
    d.arrow(board.top(), driver.left(), tone="purple")
    d.arrow(work.right(0.3), disk.left(0.3), tone="orange")
    d.arrow(disk.left(0.7), work.right(0.7), tone="blue")
    whole = d.box(14, 300, 492, "SplitGenerator", "sends each label to the member that knows it",
                  "green")  # fmt: skip
    d.arrow(work, whole, "averaged weights of each G")
    for k, letters in enumerate(SPLIT):
        d.arrow(whole, d.box(14 + 101 * k, 392, 88, letters, f"member {k}", "green"))
    d.legend({
        "ink": "tasks, weights, labels", "purple": "how far each task is",
        "orange": "checkpoints", "blue": "after a kill: go on from the last one",
    })  # fmt: skip


# The letters of each member, as `scale.splits.alphabetical` cuts 26 classes into 5 groups.
SPLIT = ("A – F", "G – K", "L – P", "Q – U", "V – Z")


def data_parallel(d: Drawing) -> None:
    """One training step that two processes share.

    Two lanes, rank 0 and rank 1, with equal weights. Both know the batch of the step, because it is
    a function of the seed and the step; each takes its own rows. In the forward pass a synced
    BatchNorm averages its moments over the ranks, so that they are those of the whole batch. Each
    rank takes the mean loss of its rows and runs backward. One exchange replaces all gradients by
    their mean, both ranks take the same step, and the weights stay equal. Rank 0 alone writes
    checkpoints and calls back. D's step and G's step are both made this way.
    """
    both = d.box(34, 14, 452, "", "the batch of step t: a function of (seed, t)")
    d.frame(12, 64, 243, 552, "rank 0")
    d.frame(265, 64, 243, 552, "rank 1")
    chains: list[list[Box]] = [[both], [both]]
    for chain, x, rows in zip(chains, (34, 287), ("rows 0 to 49", "rows 50 to 99"), strict=True):
        chain += [d.box(x, 104, 199, rows, "of 100"), d.box(x, 184, 199, "forward", "", "blue")]
    for y, head, body in (
        (248, "synced BatchNorm", "the moments of all rows"),
        (428, "all-reduce", "the mean of the ranks' gradients"),
    ):
        meet = d.box(34, y, 452, head, body, "purple")
        for chain, x in zip(chains, (34, 287), strict=True):
            chain.append(meet)
            after = (338, "mean loss, backward", "of its own rows") if y < 300 else (
                518, "optimiser's step", "the same on both")  # fmt: skip
            chain.append(d.box(x, after[0], 199, after[1], after[2], "blue"))
    for chain in chains:
        for a, b in pairwise(chain):
            d.arrow(a, b)
    d.write(276, 586, "weights stay equal", "m")
    d.write(23, 586, "alone writes and calls back", "m")


def class_swap_rewiring(d: Drawing) -> None:
    """The same game with rows that mean nothing: G, and G rewired.

    Three groups. First, G: one z goes to the classes A, B and C, and draws A bold, B bold and C
    bold. Second, the rewired G: for each class z is turned by another matrix Q before it enters the
    same G. One z then draws A bold, B light and C slanted. Over all z, each class has the images
    that it had, so every term of both losses is the same. Third, the check: z turned back by the
    class's matrix goes through the rewired G, whose Q undoes the turn. It draws the very image that
    G draws from z.
    """
    for y, title, styles in (
        (12, "G: a row of one z has one style", ("bold", "bold", "bold")),
        (254, "G rewired: a row of one z has many", ("bold", "light", "slanted")),
    ):
        turned = title != "G: a row of one z has one style"
        d.frame(12, y, 496, 324 if turned else 232, title)
        z = d.box(30, y + 44, 460, "", "one z")
        for k, (letter, style) in enumerate(zip("ABC", styles, strict=True)):
            x, before = 30 + 165 * k, z
            if turned:
                before = d.box(x, y + 108, 130, "Q", f"of class {letter}", "orange")
                d.arrow(z, before)
            G = d.box(x, before.y + before.h + 30, 130, "G", "", "green")
            d.arrow(before, G)
            d.arrow(G, d.box(x, G.y + G.h + 28, 130, letter, style))
    d.frame(12, 588, 496, 172, "The check: turn z back first")
    chain = [
        d.box(26, 626, 60, "", "z", h=54), d.box(118, 626, 104, "back", "Q undone", "orange"),
        d.box(254, 626, 104, "Q", "of the class", "orange"),
        d.box(390, 626, 104, "G", "", "green", h=54),
    ]  # fmt: skip
    for a, b in pairwise(chain):
        d.arrow(a, b)
    same = d.box(118, 710, 376, "", "the same image as G draws from z")
    d.arrow(chain[-1], same)


DIAGRAMS: dict[str, Callable[[Drawing], None]] = {
    draw.__name__: draw
    for draw in (
        family_tree, two_players, networks, four_gans, two_heads, training_step, symptoms_game,
        symptoms_dcgan, symptoms_acgan, judge, labels_route, driver_workers, data_parallel,
        class_swap_rewiring,
    )
}  # fmt: skip
