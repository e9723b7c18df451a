"""What every widget is made of: the front end in one text, its fixed facts, pictures as text."""

from __future__ import annotations

import base64
import io
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import anywidget
import torch
import traitlets
from PIL import Image
from torch import Tensor

from acgan_lib.data import to_uint8

FRONT = Path(__file__).parent / "front"


def bundle(*modules: str) -> str:
    """Return one ES module from several of ``front/`` and what they import; the last is the face.

    anywidget takes a single text. Imports between the modules go, and so do indentation and
    whole-line comments, for each widget that a notebook saves carries its own copy.
    """
    texts: dict[str, str] = {}

    def need(name: str) -> None:
        if name not in texts:
            text = (FRONT / f"{name}.js").read_text(encoding="utf-8")
            for other in re.findall(r' from "\./(\w+)\.js";$', text, flags=re.M):
                need(other)
            texts[name] = text

    for name in modules:
        need(name)
    *parts, last = texts.values()
    needed = [re.sub(r"^export default .*$", "", part, flags=re.M) for part in parts]
    joined = "\n".join([*needed, last])  # anywidget calls the last module's default export
    joined = re.sub(r'^(?:im|ex)port [^;]*? from "\./\w+\.js";$', "", joined, flags=re.M)
    return _compact(re.sub(r"^export (?!default)", "", joined, flags=re.M))


def style(*sheets: str) -> str:
    """Return ``base.css`` and ``front/NAME.css`` as one sheet, compact as ``bundle``'s scripts."""
    names = ("base", *sheets)
    return "\n".join(_compact((FRONT / f"{n}.css").read_text(encoding="utf-8")) for n in names)


def _compact(text: str) -> str:
    """A script or style sheet without indentation, whole-line comments and JSDoc."""
    bare = re.sub(r"/\*\*.*?\*/ ?", "", text, flags=re.S)
    lines = (line.strip() for line in bare.splitlines())
    return "\n".join(line for line in lines if line and not line.startswith("//"))


class Face(anywidget.AnyWidget):  # type: ignore[misc, unused-ignore]
    """What every widget shares: the front end, its fixed facts and a short repr.

    Attributes:
        spec: what the front end needs to know, sent once.
        still: a base64 PNG of pictures side by side, or row by row in an atlas; "" for none.
    """

    _css = style("widgets")
    spec = traitlets.Dict().tag(sync=True)
    still = traitlets.Unicode().tag(sync=True)

    def __init__(self, spec: dict[str, Any], still: str, about: str) -> None:
        self._about = about  # read by repr, which ipywidgets may call while it sets up
        super().__init__(spec=spec, still=still)

    def __repr__(self) -> str:
        # Notebook outputs are compared as text, so no address and no trait may show up here.
        return f"{type(self).__name__}({self._about})"


class LiveFace(Face):
    """A face whose pictures are made while the reader asks: here, where a kernel runs."""

    def __init__(self, spec: dict[str, Any], still: str, about: str) -> None:
        super().__init__(spec, still, about)
        self.on_msg(self._answer)

    def render(self, request: Mapping[str, Any]) -> Tensor:
        """Return the pictures of a request, (n, C, H, W) in [-1, 1] on the CPU."""
        raise NotImplementedError

    def _asked(self, request: Mapping[str, Any]) -> Tensor:
        """Render what the front end asks for."""
        return self.render(request)

    def _answer(self, _widget: object, message: Any, _buffers: object) -> None:
        """Send what the front end asks for; tell it what went wrong rather than stay silent."""
        if not isinstance(message, dict) or "request" not in message:
            return
        reply: dict[str, Any] = {"id": message.get("id")}
        try:
            reply["frame"] = encode(self._asked(message["request"]))
        except Exception as error:  # whatever G raises belongs in front of the reader
            reply["error"] = f"{type(error).__name__}: {error}"
        self.send(reply)


def encode(images: Tensor) -> dict[str, Any]:
    """Return images (n, C, H, W) in [-1, 1] as the frame that a front end draws.

    ``data`` is base64 of the raw bytes (n, H, W, C), [-1, 1] mapped linearly on 0..255. At these
    sizes that is faster than PNG at both ends, and a string survives every widget manager. Values
    outside [-1, 1] are clamped: a reader's G may leave it. uint8 images pass.

    Raises ValueError where a value is NaN.
    """
    pixels = _pixels(images)
    n, c, h, w = pixels.shape
    data = pixels.permute(0, 2, 3, 1).contiguous().numpy().tobytes()
    return {"n": n, "h": h, "w": w, "c": c, "data": base64.b64encode(data).decode("ascii")}


def png(images: Tensor, across: int) -> str:
    """Return images (n, C, H, W) as one base64 PNG, row by row, ``across`` to a row.

    Values are taken as by ``encode``.
    """
    pixels = _pixels(images)
    n, c, h, w = pixels.shape
    down = math.ceil(n / across)
    sheet = torch.zeros(down * across, c, h, w, dtype=torch.uint8)
    sheet[:n] = pixels
    sheet = (
        sheet.view(down, across, c, h, w).permute(0, 3, 1, 4, 2).reshape(down * h, across * w, c)
    )
    buffer = io.BytesIO()
    Image.fromarray(sheet.squeeze(2).numpy() if c == 1 else sheet.numpy()).save(
        buffer, "PNG", optimize=True
    )
    return base64.b64encode(buffer.getvalue()).decode("ascii")


def _pixels(images: Tensor) -> Tensor:
    return to_uint8(images if images.dtype == torch.uint8 else images.clamp(-1, 1))
