"""A text box over a text to image generator: a sentence and z to a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Unpack

import torch
from torch import Tensor

from acgan_lib import latent
from acgan_lib.families.text import LENGTH, WORDS, TextGenerator, read
from acgan_lib.widgets.base import bundle
from acgan_lib.widgets.faces import MODULES, STRIP, GeneratorFace, View


class TextToImage(GeneratorFace):
    """The picture of a typed sentence under a pad and sliders along two latent directions.

    Words that G has never met are named beside the box and left out. Keyword arguments as
    LatentExplorer's, without ``label``. ``widget.text`` is the sentence that is shown.

    Args:
        G: as `acgan_lib.families.text` trains it.
        text: the sentence shown first.
        examples: sentences that are buttons.

    Raises:
        ValueError: a sentence has no known word or more than G takes, or as GeneratorFace.
    """

    _esm = bundle(*MODULES, "textbox")
    _kind, _sliders, _one_class = "text", 2, False

    def __init__(
        self, G: TextGenerator, text: str, examples: Sequence[str] = (), **view: Unpack[View]
    ) -> None:
        for example in examples:
            _words(example)
        more = {"vocabulary": list(WORDS), "length": LENGTH, "examples": list(examples)}
        super().__init__(G, view, {"text": text}, more)

    @property
    def text(self) -> str:
        """The sentence last rendered for the front end."""
        return str(self._request["text"])

    def _checked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        _words(str(request["text"]))
        return {**super()._checked(request), "text": str(request["text"])}

    def _images(self, request: dict[str, Any]) -> Tensor:
        return self._drawn(self._z(request).unsqueeze(0), request)

    def _strip(self) -> Tensor:
        """Along the first direction, from -reach to reach; the middle one is the start."""
        moves = torch.linspace(-self.reach, self.reach, STRIP).unsqueeze(1)
        return self._drawn(self._z(self._request) + moves * self.directions[0], self._request)

    def _drawn(self, z: Tensor, request: dict[str, Any]) -> Tensor:
        words = torch.zeros(len(z), LENGTH)
        known = _words(request["text"])
        words[:, : len(known)] = torch.tensor(known, dtype=torch.float32)
        return latent.generate_mixed(self.G, z, words)


def _words(text: str) -> list[int]:
    """Return the numbers of a sentence's known words, or raise ValueError."""
    known, unknown = read(text)
    if not 0 < len(known) <= LENGTH:
        raise ValueError(
            f"a sentence needs 1 to {LENGTH} known words, not {len(known)}: {text!r}"
            + (f"; unknown are {', '.join(unknown)}" if unknown else "")
        )
    return known
