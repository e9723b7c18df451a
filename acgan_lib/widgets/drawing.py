"""A sheet to draw on: a U-Net turns the lines into a face while the reader draws.

In a notebook the kernel paints with the reader's own network; on a page of the book the browser
does, with the exported file, as `acgan_lib.widgets.faces` has it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from acgan_lib.avatars import KINDS, PALETTES, colours
from acgan_lib.families.pix2pix import UNet
from acgan_lib.runtime import evaluating
from acgan_lib.widgets.base import LiveFace, bundle, png, style
from acgan_lib.widgets.faces import files

CHOSEN = ("ground", "skin", "hair")


class Preset(NamedTuple):
    """A drawing to begin with.

    Attributes:
        name: in the menu.
        drawing: (1, S, S), 1 where a line is, else 0.
        kind: of its face, in 0..9.
        colours: of its ground, skin and hair, as places in `acgan_lib.avatars.PALETTES`.
    """

    name: str
    drawing: Tensor
    kind: int
    colours: Sequence[int]


class Drawing(LiveFace):
    """A sheet with brush, rubber, mirror and undo, and the face that G makes of it.

    Args:
        networks: a name and a U-Net for each entry of a menu. Each is told the kind, one-hot, as
            10 numbers, or the kind and the colours of ground, skin and hair, as 19.
        presets: drawings to begin with; the first is on the sheet.

    Raises:
        ValueError: there is no network or preset, a network is told something else, or sizes
            differ.
    """

    _esm = bundle("ui", "engines", "drawing")
    _css = style("widgets", "drawing")

    def __init__(self, networks: Mapping[str, UNet], presets: Sequence[Preset]) -> None:
        if not networks or not presets:
            raise ValueError("a sheet needs at least one network and one preset")
        self.networks = list(networks.values())
        self.size = self.networks[0].image_size
        for name, G in networks.items():
            if G.told not in (10, 19) or G.channels != 1 or G.image_size != self.size:
                raise ValueError(
                    f"{name!r} must be told 10 or 19 numbers beside a drawing of {self.size} px, "
                    f"not {G.told} beside {G.channels} of {G.image_size} px"
                )
        for preset in presets:
            if preset.drawing.shape != (1, self.size, self.size):
                raise ValueError(f"{preset.name!r} is not of shape (1, {self.size}, {self.size})")
        start = {
            "network": 0,
            "drawing": _packed(presets[0].drawing),
            "kind": presets[0].kind,
            "colours": list(presets[0].colours),
        }
        spec = {
            "kind": "drawing",
            "size": self.size,
            "kinds": list(KINDS),
            # Lists, since a page sorts the keys of what it stores.
            "palettes": [[f, [*PALETTES[f].items()]] for f in CHOSEN],
            "networks": [{"name": name, "told": G.told} for name, G in networks.items()],
            "models": files(self.networks),
            "presets": [
                {"name": p.name, "drawing": _packed(p.drawing), "kind": p.kind,
                 "colours": list(p.colours)}
                for p in presets
            ],
        }  # fmt: skip
        sheet = (1 - 2 * presets[0].drawing).expand(3, -1, -1)
        still = torch.stack([sheet, self.render(start)[0]])
        about = f"networks={len(networks)}, presets={len(presets)}, size={self.size}"
        super().__init__(spec, png(still, 2), about)

    def render(self, request: Mapping[str, Any]) -> Tensor:
        """Return the face of a request, (1, 3, S, S) in [-1, 1] on the CPU.

        Args:
            request: "network", a number; "drawing", base64 of the S * S bits row by row; "kind", a
                number; "colours", three places in the palettes.

        Raises:
            ValueError: one of them is out of range.
        """
        bits = np.unpackbits(np.frombuffer(base64.b64decode(request["drawing"]), np.uint8))
        if len(bits) != self.size**2:
            raise ValueError(f"the drawing has {len(bits)} pixels, not {self.size**2}")
        G = self.networks[_place("network", request["network"], len(self.networks))]
        told = torch.zeros(1, len(KINDS))
        told[0, _place("kind", request["kind"], len(KINDS))] = 1
        if G.told > len(KINDS):
            parts = [told]
            for factor, chosen in zip(CHOSEN, request["colours"], strict=True):
                palette = colours(factor).float() / 127.5 - 1
                parts.append(palette[_place(factor, chosen, len(palette))].unsqueeze(0))
            told = torch.cat(parts, dim=1)
        drawing = torch.from_numpy(bits).float().view(1, 1, self.size, self.size)
        with evaluating(G) as device:
            face: Tensor = G(drawing.to(device), told.to(device)).float().cpu()
        return face


def _packed(drawing: Tensor) -> str:
    bits = np.packbits((drawing.flatten() > 0.5).numpy())
    return base64.b64encode(bits.tobytes()).decode("ascii")


def _place(name: str, value: Any, end: int) -> int:
    if int(value) != value or not 0 <= value < end:
        raise ValueError(f"{name} must be a whole number in 0..{end - 1}, not {value}")
    return int(value)
