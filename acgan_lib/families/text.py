"""Text to image: a small language, an encoder that learns what it means, and GAN-CLS.

A caption says some of what is known of an avatar: its kind, the colour of ground, skin and hair,
and whether it wears glasses. `TextEncoder` turns its words into a vector, the *code*; it learns
what they mean by matching captions with pictures (`Matcher`, `info_nce`). G then gets the code
where it had a one-hot class, and D judges pairs of picture and caption (`TextDiscriminator`,
`d_terms`).

Shapes: words int64 (n, LENGTH), numbered from 1 in the order of WORDS, 0 behind the last one; codes
float (n, size); images float (n, 3, H, W) in [-1, 1].

Sources: Reed et al. 2016, "Generative adversarial text to image synthesis" (GAN-CLS, algorithm 1);
van den Oord et al. 2018 (InfoNCE); Radford et al. 2021 (CLIP: both directions of it).
"""

from __future__ import annotations

import copy
import math
import random
import re
from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.avatars import KINDS, NO_FACTOR, PALETTES, WITHOUT_GLASSES, Avatars
from acgan_lib.judge import Judge, one_cycle, random_shift
from acgan_lib.nets import Generator, doublings, downsample, normed
from acgan_lib.runtime import seeded
from acgan_lib.train import frozen

# What can be said, by attribute. Ground and hair share four colours' names, so that only the order
# of words tells "blue hair on a yellow ground" from "yellow hair on a blue ground".
ATTRIBUTES = ("kind", "ground", "skin", "hair", "glasses")
VALUES: dict[str, tuple[str, ...]] = {
    "kind": KINDS,
    "ground": ("blue", "pink", "green", "yellow", "purple", "orange"),
    "skin": tuple(PALETTES["skin"]),
    "hair": tuple("yellow" if name == "blond" else name for name in PALETTES["hair"]),
    "glasses": ("no", "yes"),
}
SHARED = ("blue", "pink", "green", "yellow")  # a colour of grounds and of hair
# No training picture has these, and no training caption says them.
HELD_OUT: dict[str, tuple[dict[str, str], ...]] = {
    "hair on ground": (
        {"hair": "blue", "ground": "yellow"}, {"hair": "pink", "ground": "green"},
    ),
    "kind with hair": (
        {"kind": "pixel-art", "hair": "pink"}, {"kind": "micah", "hair": "green"},
    ),
}  # fmt: skip
SAID = 0.75  # the share of captions that say an attribute
LENGTH = 24  # words of a caption, at most
WORDS = tuple(sorted({
    "a", "an", "face", "portrait", "with", "whose", "hair", "skin", "is", "on", "the", "ground",
    "background", "and", "wearing", "no", "without", "glasses", "blond", *KINDS,
    *(value for name in ("ground", "skin", "hair") for value in VALUES[name]),
}))  # fmt: skip
_NUMBERS = {word: i + 1 for i, word in enumerate(WORDS)}
_BETWEEN = re.compile(r"[ \t\r\n.,;:!?\"'()]+")


def factor_table(data: Avatars) -> Tensor:
    """Return what is known of each picture: int64 (N, 5), columns ATTRIBUTES, values as VALUES."""
    return torch.cat([data.labels[:, None], data.factors], dim=1)


def is_held_out(table: Tensor, which: Sequence[str] = tuple(HELD_OUT)) -> Tensor:
    """Tell which rows of a table (n, 5) are among HELD_OUT: bool (n,)."""
    found = torch.zeros(len(table), dtype=torch.bool, device=table.device)
    for combination in (each for name in which for each in HELD_OUT[name]):
        rows = [table[:, ATTRIBUTES.index(a)] == VALUES[a].index(v) for a, v in combination.items()]
        found |= torch.stack(rows).all(0)
    return found


# -- captions -------------------------------------------------------------------------------------


def draw_said(table: Tensor, draws: torch.Generator, share: float = SAID) -> Tensor:
    """Draw which attributes captions say, each with that probability: bool (n, 5).

    A caption that would say nothing says the kind. None speaks of glasses where a kind has none.
    """
    said = (torch.rand(table.shape, generator=draws) < share) & (table != NO_FACTOR)
    said[:, 0] |= ~said.any(1)
    return said


def caption(row: Sequence[int], said: Sequence[bool], draws: random.Random) -> str:
    """Return a sentence that says the chosen attributes of one picture, in one of many forms.

    Args:
        row: five values, as in `factor_table`.
        said: which of them the sentence says.
        draws: chooses the words and their order.
    """
    value = {a: VALUES[a][v] for a, v, s in zip(ATTRIBUTES, row, said, strict=True) if s}
    clauses = []
    if (hair := value.get("hair")) is not None:
        name = draws.choice(("yellow", "blond")) if hair == "yellow" else hair
        clauses.append(draws.choice((f"with {name} hair", f"whose hair is {name}")))
    if (skin := value.get("skin")) is not None:
        clauses.append(draws.choice((f"with {skin} skin", f"whose skin is {skin}")))
    if (ground := value.get("ground")) is not None:
        noun, article = draws.choice(("ground", "background")), "an" if ground == "orange" else "a"
        clauses.append(
            draws.choice((f"on {article} {ground} {noun}", f"and the {noun} is {ground}"))
        )
    if (glasses := value.get("glasses")) is not None:
        forms = ("with glasses", "wearing glasses", "glasses")
        clauses.append(
            draws.choice(forms if glasses == "yes" else ("no glasses", "without glasses"))
        )
    draws.shuffle(clauses)
    noun = draws.choice(("face", "portrait"))
    article = "an" if value.get("kind", "")[:1] == "a" else "a"
    head = " ".join(part for part in (article, value.get("kind"), noun) if part)
    return "".join((head, *(draws.choice((" ", ", ")) + clause for clause in clauses)))


def captions(table: Tensor, said: Tensor, seed: int) -> list[str]:
    """Return a sentence for each row of a table, int64 (n, 5), that says what `said` marks."""
    draws = random.Random(seed)
    return [
        caption(row, mask, draws) for row, mask in zip(table.tolist(), said.tolist(), strict=True)
    ]


def is_true(wanted: Tensor, said: Tensor, table: Tensor) -> Tensor:
    """Tell whether captions (values (n, 5), said (n, 5)) are true of pictures (n, 5): bool (n,)."""
    return ((wanted == table) | ~said).all(1)


def one_off(table: Tensor, said: Tensor, draws: torch.Generator) -> tuple[Tensor, Tensor]:
    """Change one attribute that each caption says, so that it is wrong in that alone.

    The attribute and its new value are drawn uniformly. A change to a held-out combination is
    drawn again. Where a kind without glasses comes in, the caption stops speaking of glasses.

    Returns:
        The values that the wrong captions say, and which they say.

    Raises:
        ValueError: if a row is held out itself, or says nothing.
    """
    if bool(is_held_out(table).any()) or not bool(said.any(1).all()):
        raise ValueError("table has held-out rows, or captions say nothing: nothing can be off")
    wanted, todo = table.clone(), torch.arange(len(table))
    levels = torch.tensor([len(VALUES[a]) for a in ATTRIBUTES])
    while len(todo):
        which = torch.multinomial(said[todo].float(), 1, generator=draws).squeeze(1)
        old, count = table[todo, which], levels[which]
        step = 1 + (torch.rand(len(todo), generator=draws) * (count - 1)).long()
        wanted[todo] = table[todo]
        wanted[todo, which] = (old + step) % count
        todo = todo[is_held_out(wanted[todo])]
    bare = torch.isin(wanted[:, 0], torch.tensor([KINDS.index(k) for k in WITHOUT_GLASSES]))
    mask = said.clone()
    mask[:, 4] &= ~bare
    return wanted, mask


def read(text: str) -> tuple[list[int], list[str]]:
    """Read a sentence: the numbers of its known words, in order, and the words that are unknown.

    Capitals and punctuation play no part, and "pixel art" is read as "pixel-art".
    ``front/sentence.js`` reads in the same way.
    """
    parts = [part for part in _BETWEEN.split(text.lower()) if part]
    if all(part in _NUMBERS for part in parts):  # as captions are: no kind is to be joined
        return [_NUMBERS[part] for part in parts], []
    known: list[int] = []
    unknown: list[str] = []
    rest = iter([*pairwise(parts), (parts[-1], "")] if parts else [])
    for word, following in rest:
        if (joined := f"{word}-{following}") in _NUMBERS:
            word = joined
            next(rest)
        if word in _NUMBERS:
            known.append(_NUMBERS[word])
        else:
            unknown.append(word)
    return known, unknown


def numbers(texts: Sequence[str]) -> Tensor:
    """Return sentences as words, int64 (n, LENGTH).

    Raises:
        ValueError: if a sentence has an unknown word, no word, or more than LENGTH.
    """
    rows = []
    for text in texts:
        known, unknown = read(text)
        if unknown or not 0 < len(known) <= LENGTH:
            raise ValueError(
                f"a sentence has 1 to {LENGTH} words out of acgan_lib.families.text.WORDS, "
                f"without {', '.join(unknown) or 'more'}: {text!r}"
            )
        rows.append(known + [0] * (LENGTH - len(known)))
    return torch.tensor(rows)


# -- what words mean ------------------------------------------------------------------------------


class TextEncoder(nn.Module):
    """Words to a code: a vector for each word, a GRU, the mean of its states, a linear layer.

    Args:
        size: length of the code.
        order: False leaves the GRU out, so that the code forgets the order of the words.
        hidden: width of the state.
    """

    def __init__(self, size: int = 64, order: bool = True, hidden: int = 128) -> None:
        super().__init__()
        self.size, self.order, self.hidden = size, order, hidden
        self.vectors = nn.Embedding(len(WORDS) + 1, hidden // 2)
        self.states = nn.GRU(hidden // 2, hidden, batch_first=True) if order else None
        self.head = nn.Sequential(
            nn.Linear(hidden if order else hidden // 2, hidden), nn.ReLU(), nn.Linear(hidden, size)
        )

    def forward(self, words: Tensor) -> Tensor:
        """Return codes float (n, size), each of length sqrt(size), for words int64 (n, LENGTH)."""
        there = (words > 0).to(self.vectors.weight.dtype).unsqueeze(2)
        h = self.vectors(words)
        if self.states is not None:
            h = self.states(h)[0]  # a state knows the words up to its own, so none of the zeros
        mean = (h * there).sum(1) / there.sum(1).clamp_min(1)
        return math.sqrt(self.size) * F.normalize(self.head(mean), dim=1)


def info_nce(
    images: Tensor, texts: Tensor, scale: Tensor | float, near: Tensor | None = None
) -> Tensor:
    """Return the matching loss of n pairs: which text belongs to which image, and the reverse.

    With cosines as logits, it is the mean of the cross-entropies of choosing each image's text
    among the n texts, and each text's image among the n images. log n for a blind guess.

    Args:
        images: float (n, size), of any length.
        texts: float (n, size), row i belongs to image i.
        scale: what the cosines are multiplied by.
        near: float (m, size), more texts that belong to none of the images.
    """
    images, texts = F.normalize(images, dim=1), F.normalize(texts, dim=1)
    choices = texts if near is None else torch.cat([texts, F.normalize(near, dim=1)])
    own = torch.arange(len(images), device=images.device)
    to_text = F.cross_entropy(scale * images @ choices.T, own)
    return (to_text + F.cross_entropy(scale * texts @ images.T, own)) / 2


class Matcher(nn.Module):
    """A picture's encoder, the book's judge with a code in the place of classes, beside the text's.

    Args:
        size: length of both codes.
        order: as in `TextEncoder`.
    """

    def __init__(self, size: int = 64, order: bool = True) -> None:
        super().__init__()
        self.size, self.order = size, order
        self.image = Judge(size, channels=3)
        self.text = TextEncoder(size, order)
        self.log_scale = nn.Parameter(torch.tensor(math.log(10.0)))

    def forward(self, x: Tensor, words: Tensor, near: Tensor) -> Tensor:
        """Return the matching loss of images, their captions' words, and wrong captions' words."""
        return info_nce(self.image(x), self.text(words), self.log_scale.exp(), self.text(near))


def train_matcher(
    data: Avatars,
    *,
    steps: int,
    batch_size: int = 96,
    order: bool = True,
    seed: int = 0,
    device: torch.device | str = "cpu",
) -> Matcher:
    """Train both encoders on pictures and fresh captions of them; return them in eval mode.

    A batch of strangers hardly ever asks for the glasses, so each caption comes with one that is
    off in one attribute (`one_off`). AdamW with the rate of `judge.one_cycle`, pictures shifted by
    up to a pixel. Leave held-out pictures out of `data` before. The caller's random state stays.

    Raises:
        ValueError: if ``steps`` is less than 1.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    draws, table, data = torch.Generator().manual_seed(seed), factor_table(data), data.to(device)
    with seeded(seed, device), torch.enable_grad():
        matcher = Matcher(order=order).to(device)
        optimiser, schedule = one_cycle(matcher, steps)
        for step in range(steps):
            rows = torch.randint(len(data), (batch_size,), generator=draws)
            said = draw_said(table[rows], draws)
            right = captions(table[rows], said, seed * steps + step)
            wrong = captions(*one_off(table[rows], said, draws), step)
            x = random_shift(data.normalised(rows.to(device)), draws)
            loss = matcher(x, numbers(right).to(device), numbers(wrong).to(device))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            optimiser.step()
            schedule.step()
    return matcher.eval()


# -- GAN-CLS --------------------------------------------------------------------------------------


class TextGenerator(nn.Module):
    """Words and z to a picture: the book's fast G with a sentence's code in the class's place.

    Args:
        latent_dim, width, image_size: as in `nets.Generator`.
        size, order: as in `TextEncoder`.
    """

    num_classes = LENGTH  # the columns of `from_weights`

    def __init__(
        self,
        latent_dim: int = 64,
        width: int = 40,
        image_size: int = 32,
        size: int = 64,
        order: bool = True,
    ) -> None:
        super().__init__()
        self.latent_dim, self.width, self.image_size = latent_dim, width, image_size
        self.size, self.order, self.channels = size, order, 3
        self.painter = Generator(latent_dim, size, 3, width, image_size)
        self.encoder = TextEncoder(size, order)

    def forward(self, z: Tensor, words: Tensor) -> Tensor:
        """Draw images (n, 3, H, W) for z, float (n, latent_dim), and words, int64 (n, LENGTH)."""
        return self.painter.from_weights(z, self.encoder(words))

    def from_weights(self, z: Tensor, w: Tensor) -> Tensor:
        """Draw images for words given as float (n, LENGTH), as a page's engine hands them on."""
        code = self.encoder(w.round().long())
        return self.painter.draw(torch.cat([z, code], dim=1))


class TextDiscriminator(nn.Module):
    """D of a picture and a caption's code: does this picture look real *and* fit this caption?

    Strided convolutions with spectral norm to 4x4 pixels, as `nets.Discriminator`'s without
    BatchNorm; the code is laid beside the features at each of them (Reed et al. 2016, section 4.1).

    Args:
        size: length of the code.
        width, image_size: as in `nets.Discriminator`.
        reads: number of z's first entries that D reads off a picture; 0: none.
    """

    def __init__(
        self, size: int = 64, width: int = 40, image_size: int = 32, reads: int = 0
    ) -> None:
        super().__init__()
        self.size, self.width, self.reads = size, width, reads
        maps = [3, *(4 * width // 2**i for i in reversed(range(doublings(image_size, width))))]
        self.trunk = nn.Sequential(*[downsample(*pair, norm=False) for pair in pairwise(maps)])
        self.mixed = normed(nn.Conv2d(maps[-1] + size, maps[-1], 1))
        self.source = normed(nn.Linear(maps[-1] * 16, 1))
        self.z_head = normed(nn.Linear(maps[-1] * 16, reads)) if reads else None

    def fits(self, h: Tensor, code: Tensor) -> Tensor:
        """Return logits float (n,) for features of images and codes of captions."""
        beside = code[:, :, None, None].expand(-1, -1, *h.shape[2:])
        h = F.leaky_relu(self.mixed(torch.cat([h, beside], dim=1)), 0.2)
        logits: Tensor = self.source(h.flatten(1)).squeeze(1)
        return logits

    def forward(self, x: Tensor, code: Tensor) -> Tensor:
        """Return logits float (n,), positive where a picture is real and fits its caption."""
        return self.fits(self.trunk(x), code)


def d_terms(right: Tensor, wrong: Tensor | None, fake: Tensor) -> dict[str, Tensor]:
    """Return D's losses in GAN-CLS from its logits, each float (n,).

    Args:
        right: of real pictures with their captions, which D is to call true.
        wrong: of real pictures with wrong captions; None for a D that never sees any.
        fake: of generated pictures with the captions they were drawn for. Where there are wrong
            ones, these two weigh half each (Reed et al. 2016, algorithm 1).
    """
    if wrong is None:
        return {"d_right": F.softplus(-right).mean(), "d_fake": F.softplus(fake).mean()}
    return {
        "d_right": F.softplus(-right).mean(),
        "d_wrong": F.softplus(wrong).mean() / 2,
        "d_fake": F.softplus(fake).mean() / 2,
    }


class Captioned(NamedTuple):
    """Pictures with K captions and K wrong ones each, as codes of a trained, frozen encoder.

    ``images`` uint8 (N, 3, H, W); ``right`` float (N, K, size); ``wrong`` the same, or None.
    """

    images: Tensor
    right: Tensor
    wrong: Tensor | None


class TextGame:
    """One training of GAN-CLS: networks, data, optimisers, and G's running average.

    `step` updates D and then G on the same generated pictures. All its tensors lie on one device
    and keep their places, so that it can be captured as a CUDA graph.

    Args:
        G: of which ``painter`` learns; the encoder made the codes and stays as it is.
        D: its opponent.
        data: on the device of both.
        batch_size, rate, betas: of the training; the rates of both are alike.
        ema: decay of the running average, reached after 9 / (1 - ema) steps.
        z_weight: what the reading back of z's first ``D.reads`` entries weighs (Chen et al. 2016).
    """

    def __init__(
        self,
        G: TextGenerator,
        D: TextDiscriminator,
        data: Captioned,
        *,
        batch_size: int = 64,
        rate: float = 4e-4,
        betas: tuple[float, float] = (0.0, 0.99),
        ema: float = 0.999,
        z_weight: float = 1.0,
    ) -> None:
        self.G, self.D, self.data = G, D, data
        self.batch_size, self.rate, self.ema, self.z_weight = batch_size, rate, ema, z_weight
        self.G_ema = copy.deepcopy(G).eval().requires_grad_(False)
        self.taken = torch.zeros((), device=data.images.device)  # steps, where a graph counts too
        on_cuda = data.images.device.type == "cuda"
        start = torch.tensor(rate, device=data.images.device) if on_cuda else rate
        self.optimisers = [
            torch.optim.Adam(part.parameters(), start, betas, fused=True, capturable=on_cuda)
            for part in (D, G.painter)
        ]

    def set_rate(self, share: float) -> None:
        """Set the rates to a share of what they were at first."""
        for optimiser in self.optimisers:
            for group in optimiser.param_groups:
                if isinstance(group["lr"], Tensor):
                    group["lr"].fill_(share * self.rate)
                else:
                    group["lr"] = share * self.rate

    def step(self) -> dict[str, Tensor]:
        """Update D, then G; return the terms of both losses."""
        G, D, (images, right, wrong) = self.G, self.D, self.data
        n, device = self.batch_size, images.device
        rows = torch.randint(len(images), (n,), device=device)
        which = torch.randint(right.shape[1], (n,), device=device)
        x, code = images[rows].float() / 127.5 - 1, right[rows, which]
        z = torch.randn(n, G.latent_dim, device=device)
        fake = G.painter.from_weights(z, code)

        h, h_fake = D.trunk(x), D.trunk(fake.detach())
        mismatch = None if wrong is None else D.fits(h, wrong[rows, which])
        terms = d_terms(D.fits(h, code), mismatch, D.fits(h_fake, code))
        if D.z_head is not None:
            terms["d_z"] = self.z_weight * F.mse_loss(D.z_head(h_fake.flatten(1)), z[:, : D.reads])
        self._descend(0, terms)

        with frozen(D):
            h_fake = D.trunk(fake)
            g_terms = {"g": F.softplus(-D.fits(h_fake, code)).mean()}
            if D.z_head is not None:
                read_back = D.z_head(h_fake.flatten(1))
                g_terms["g_z"] = self.z_weight * F.mse_loss(read_back, z[:, : D.reads])
            self._descend(1, g_terms)
        with torch.no_grad():
            self.taken += 1
            # Short at first, or the average would long remember G's first weights.
            share = (9 / (10 + self.taken)).clamp_min(1 - self.ema)
            for mean, now in zip(
                (*self.G_ema.painter.parameters(), *self.G_ema.painter.buffers()),
                (*G.painter.parameters(), *G.painter.buffers()),
                strict=True,
            ):
                if mean.is_floating_point():
                    mean.lerp_(now, share)
        return {name: term.detach() for name, term in (terms | g_terms).items()}

    def _descend(self, which: int, terms: dict[str, Tensor]) -> None:
        optimiser = self.optimisers[which]
        optimiser.zero_grad(set_to_none=True)
        torch.stack(list(terms.values())).sum().backward()  # type: ignore[no-untyped-call]
        optimiser.step()
