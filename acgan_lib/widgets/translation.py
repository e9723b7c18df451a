"""A face, its translation by one generator, and the way back by the other; noise in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from acgan_lib.directions import seeded
from acgan_lib.families.cyclegan import Translator
from acgan_lib.runtime import evaluating
from acgan_lib.widgets.base import LiveFace, bundle, png, style
from acgan_lib.widgets.faces import files


class Translation(LiveFace):
    """Choose a face; see it translated and back, beside the true translation.

    A slider adds noise to the picture in the middle, with a standard deviation of up to 0.3 in
    [-1, 1]: a code that only the second generator can read would be lost in it.

    Args:
        there, back: generators from side a to side b and back.
        sides: the names of a and b.
        pairs: (n, 2, 3, S, S) in [-1, 1], the same faces in a and in b.

    Raises:
        ValueError: the shapes do not fit.
    """

    _esm = bundle("ui", "engines", "translation")
    _css = style("widgets", "drawing")

    def __init__(
        self, there: Translator, back: Translator, sides: Sequence[str], pairs: Tensor
    ) -> None:
        self.generators, self.size = [there, back], there.image_size
        fits = (2, there.channels, self.size, self.size)
        if pairs.ndim != 5 or pairs.shape[1:] != fits or len(sides) != 2 or not len(pairs):
            raise ValueError(f"pairs must have shape (n, {fits}), not {tuple(pairs.shape)}")
        # What the page has are bytes, so both engines begin with them.
        self.faces = ((pairs.clamp(-1, 1) + 1) * 127.5).round() / 127.5 - 1
        spec = {
            "kind": "translation",
            "sides": list(sides),
            "size": self.size,
            "n": len(pairs),
            "models": files(self.generators),
        }
        about = f"{sides[0]} and {sides[1]}, faces={len(pairs)}"
        start = self.render({"face": 0, "from": 0, "noise": 0.0})
        sheet = torch.cat([self.faces.flatten(0, 1), start])
        super().__init__(spec, png(sheet, 2), about)

    def render(self, request: Mapping[str, Any]) -> Tensor:
        """Return the translation, as it was handed on, and the way back, (2, 3, S, S).

        Args:
            request: "face", its number; "from", 0 for a or 1 for b; "noise", in [0, 0.3].

        Raises:
            ValueError: one of them is out of range.
        """
        face, side, noise = request["face"], request["from"], float(request["noise"])
        if face not in range(len(self.faces)) or side not in (0, 1) or not 0 <= noise <= 0.3:
            raise ValueError(f"there is no face {face} on side {side} with noise {noise}")
        x = self.faces[face, side].unsqueeze(0)
        first, second = self.generators[:: 1 - 2 * side]
        with evaluating(first) as device:
            middle = first(x.to(device)).float().cpu()
        middle = (middle + noise * seeded(face, x.numel()).view(x.shape)).clamp(-1, 1)
        with evaluating(second) as device:
            again: Tensor = second(middle.to(device)).float().cpu()
        return torch.cat([middle, again])
