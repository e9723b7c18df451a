"""A flow's way from noise to a picture, under a slider of time: with a kernel, or on a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from acgan_lib import zoo
from acgan_lib.directions import seeded
from acgan_lib.families.diffusion import Flow, Sampler, guided
from acgan_lib.runtime import evaluating
from acgan_lib.widgets import export
from acgan_lib.widgets.base import LiveFace, bundle, png, style

CHOICES = (1, 2, 5, 10, 20)  # of the solver's steps
MAX_GUIDANCE = 6.0


class Denoiser(LiveFace):
    """Scrub through the solver's steps; class, noise, guidance and number of steps are controls.

    Two pictures: the place on the way, and where a straight line from there would end, which is
    what the network expects of the picture. Heun's method, as `Sampler`.

    Args:
        flow: the velocity network. On a page without a kernel, one of the book's draws.
        seed: of the first noise (``directions.seeded``).
        label: the class shown first, by number.
        guidance: w, in 0..6.
        steps: one of CHOICES.
        class_names: ``flow.class_names`` unless given.

    Raises:
        ValueError: an argument is out of its range.
    """

    _esm = bundle("ui", "engines", "denoise")
    _css = style("widgets", "denoise")

    def __init__(
        self,
        flow: Flow,
        *,
        seed: int = 0,
        label: int = 0,
        guidance: float = 2.0,
        steps: int = 10,
        class_names: Sequence[str] | None = None,
    ) -> None:
        self.flow, self.G = flow, export.Velocity(flow)
        names = class_names or getattr(flow, "class_names", None)
        names = list(names or (f"class {k}" for k in range(flow.num_classes)))
        if len(names) != flow.num_classes:
            raise ValueError(f"class_names has {len(names)} names, not {flow.num_classes}")
        start = {"seed": seed, "label": label, "guidance": guidance, "steps": steps}
        film, name = self.render(start), zoo.name_of(flow)
        spec = {
            "kind": "denoise",
            "start": self._checked(start),
            "classes": names,
            "choices": list(CHOICES),
            "size": list(film.shape[-2:]),
            "channels": flow.channels,
            "models": [export.file_name(name)] if name else [],
        }
        about = f"flow={type(flow).__name__}, classes={len(names)}, seed={seed}, steps={steps}"
        super().__init__(spec, png(film, steps + 1), about)

    def render(self, request: Mapping[str, Any]) -> Tensor:
        """Return the steps + 1 places on the way, then where each straight line would end.

        Float (2 (steps + 1), C, H, W) on the CPU; values may leave [-1, 1].

        Raises ValueError where the request asks for what there is not.
        """
        r = self._checked(request)
        with evaluating(self.flow) as device:
            G = Sampler(self.flow, r["guidance"], r["steps"])
            weights = torch.eye(self.flow.num_classes, device=device)[[r["label"]]]
            path = G.path(seeded(r["seed"], G.latent_dim)[None].to(device), weights)
            field = guided(self.flow, weights, r["guidance"])
            ends = [path[-1]]
            for i, x in enumerate(path[:-1]):
                t = i / r["steps"]
                ends.insert(i, x + (1 - t) * field(x, x.new_full((1,), t)))
        return torch.cat([*path, *ends]).cpu()

    def _checked(self, request: Mapping[str, Any]) -> dict[str, Any]:
        seed, label, steps = (int(request[name]) for name in ("seed", "label", "steps"))
        guidance = float(request["guidance"])
        if not 0 <= seed < 2**32 or not 0 <= label < self.flow.num_classes:
            raise ValueError(f"there is no seed {seed} or class {label}")
        if steps not in CHOICES or not 0 <= guidance <= MAX_GUIDANCE:
            raise ValueError(
                f"steps must be one of {CHOICES} and guidance lie in 0..{MAX_GUIDANCE:g}, "
                f"not {steps} and {guidance}"
            )
        return {"seed": seed, "label": label, "guidance": guidance, "steps": steps}
