"""G and D for one game: `pair` makes two that fit the data, `adapt` takes two from elsewhere."""

from __future__ import annotations

import contextlib
import inspect
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from acgan_lib._checks import ends_in_sigmoid
from acgan_lib.labels import Labels
from acgan_lib.nets import (
    ConditionalGenerator,
    Discriminator,
    DiscriminatorOutput,
    Generator,
    doublings,
    one_hot,
)
from acgan_lib.objectives import Objective
from acgan_lib.runtime import evaluating, pick_device, seeded
from acgan_lib.train import Images


def pair(
    data: Images, objective: Objective, *, width: int = 32, latent_dim: int = 100, seed: int = 0
) -> tuple[Generator, Discriminator]:
    """Make the library's G and D as the data and the objective need them.

    Both have the data's channels and size. G has its classes and their names if the objective asks
    for them, and D the heads that it needs: see :func:`acgan_lib.objectives.acgan`, for example.

    Args:
        data: square images of 32, 64 or 128 px, such as a LabelledImages.
        objective: the game that the two are to play.
        width: of both networks; the weights grow with its square. 32 suits 32 px.
        latent_dim: length of z.
        seed: fixes the first weights, the same on each device. The caller's random state stays.

    Returns:
        G and D in training mode, on the device that `runtime.pick_device` chooses.

    Raises:
        ValueError: if the images have another size, or width is too small for it.
    """
    try:
        doublings(data.size, width)
    except ValueError as error:
        raise ValueError(f"the networks do not fit data of {data.size} px: {error}") from error
    needs, names = objective.needs, tuple(data.class_names)
    with seeded(seed):
        G = Generator(
            latent_dim, len(names) if needs.g_labels else 0, data.channels, width, data.size
        )
        heads = needs.heads(len(names))
        D = Discriminator(data.channels, width, image_size=data.size, **heads)
    # InfoGAN's classes are found, not given: none of them need be what a name says.
    if needs.g_labels and not objective.name.startswith("infogan"):
        G.class_names = names  # type: ignore[assignment]  # zoo.save keeps them
    device = pick_device()
    return G.to(device), D.to(device)


# -- networks from elsewhere ---------------------------------------------------------------------

# How G may be called: with latents z, float (n, latent_dim), and class weights w, float (n, K),
# of which those that name a class have a 1 at it. The calls with w itself come first, because they
# also mix classes. Each is tried with z and w as they are and as maps of 1 px, (n, ..., 1, 1).
_G_CALLS: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "G(z, one-hot y)": lambda G, z, w: G(z, w),
    "G(one-hot y, z)": lambda G, z, w: G(w, z),
    "G(z and one-hot y in one)": lambda G, z, w: G(torch.cat([z, w], 1)),
    "G(z, y)": lambda G, z, w: G(z, w.flatten(1).argmax(1)),
    "G(y, z)": lambda G, z, w: G(w.flatten(1).argmax(1), z),
    "G(z)": lambda G, z, w: G(z),
}
_MAPS = ", z as maps of 1 px"
# How D may be called, with images x and class weights w: as torchgan's D in its second way.
_D_CALLS: dict[str, Callable[[nn.Module, Tensor, Tensor], Any]] = {
    "D(x)": lambda D, x, w: D(x),
    'D(x, mode="both")': lambda D, x, w: D(x, mode="both"),
    "D(x, y)": lambda D, x, w: D(x, w.argmax(1)),
    "D(x, one-hot y)": lambda D, x, w: D(x, w),
}
# Names that tell what an argument or an output is, where its shape does not.
_LABEL = re.compile(r"^[yc]$|lab|class|cls|cat|cond|target|hot", re.IGNORECASE)
_SOURCE = re.compile(r"adv|valid|source|real|fake|disc", re.IGNORECASE)
_CLASS = re.compile(r"cls|class|aux|lab|cat", re.IGNORECASE)


def adapt(
    G: nn.Module,
    D: nn.Module,
    *,
    latent_dim: int,
    image: tuple[int, int, int] = (1, 32, 32),
    num_classes: int | None = None,
    probabilities: bool = False,
) -> tuple[ConditionalGenerator, nn.Module]:
    """Wrap a generator and a discriminator from elsewhere, so that this library takes them.

    `fit`, `sample`, `report` and `explorer` call ``G(z, y)`` and ``D(x)`` or ``D(x, y)``. How the
    networks themselves want to be called is found out by calls with two latents and two images, in
    eval mode: no statistics, no gradient and no random state change. The wrappers hold the networks
    themselves, not copies: training one trains the other.

    - G may take z and y in either order or in one tensor, y as a number or one-hot, z as
      (n, latent_dim) or (n, latent_dim, 1, 1), or z alone. If it takes one-hot y, classes can be
      mixed (``from_weights``).
    - D may return validity, (n,) or (n, 1), and class rows, (n, K) or (n, K + 1), in either order,
      as a tuple or by names, or validity alone. It may take y too, and is told the label
      (``label_input``) if its validity depends on y.

    Args:
        G, D: modules on any device.
        latent_dim: length of z.
        image: channels and sides of the images, which must be square.
        num_classes: K; found from D's class rows or from the size of an embedding if left out. A
            GPU may not survive a label that is too large: give it there, or call this on the CPU.
        probabilities: D ends in a sigmoid, and in a softmax where it names classes. They become
            logits again: log(p / (1 - p)) and log(p), clamped to what float32 can tell from 0 and
            1, which is ±16 for the validity. Beyond, a sigmoid passes no gradient either.

    Returns:
        G, with the attributes that the library reads (latent_dim, num_classes, channels,
        image_size), and D, which returns a `nets.DiscriminatorOutput`.

    Raises:
        ValueError: naming what was found, if no call works, or several do and differ; if D's
            outputs cannot be told apart, or are not what `probabilities` says.
    """
    for name, module in (("G", G), ("D", D)):
        if not isinstance(module, nn.Module):
            raise ValueError(f"{name} must be a torch.nn.Module, not {type(module).__name__}")
    channels, height, width = image
    if height != width:
        raise ValueError(f"image must be square, as the library's images are, not {image}")
    with evaluating(G) as g_device, evaluating(D) as d_device:
        x = torch.rand(2, *image, generator=torch.Generator().manual_seed(0)).to(d_device) * 2 - 1
        z = torch.randn(3, latent_dim, generator=torch.Generator().manual_seed(1)).to(g_device)
        counts = [num_classes] if num_classes is not None else _class_counts(G, D, x)
        reasons = []
        for K in counts:
            try:
                call = _how_to_call_g(G, z, K, image)
                break
            except ValueError as error:
                reasons.append(str(error))
        else:
            raise ValueError(reasons[0])
        wrapped = _wrapped_d(D, x, K, probabilities)
    return AdaptedGenerator(G, call, latent_dim, K, channels, height), wrapped


class _Adapted(nn.Module):
    """What both wrappers share: the network stays as its own code expects it."""

    def to(self, *args: Any, **kwargs: Any) -> Any:
        """Move the network, but leave its memory format.

        ``x.view(n, -1)``, as code from elsewhere has it, fails on the channels-last maps that
        `fit` asks networks for.
        """
        kwargs.pop("memory_format", None)
        return super().to(*args, **kwargs)


class AdaptedGenerator(_Adapted, ConditionalGenerator):
    """A generator from elsewhere, called as the library calls its own. Made by `adapt`.

    ``from_weights`` is None where the network takes labels, between which nothing lies.
    """

    def __init__(
        self, network: nn.Module, call: str, latent_dim: int, num_classes: int, channels: int,
        image_size: int,
    ) -> None:  # fmt: skip
        super().__init__(latent_dim, num_classes, channels, image_size)
        self.network, self.call = network, call
        if num_classes and "one-hot" not in call:
            self.from_weights = None  # type: ignore[assignment, method-assign]

    def forward(self, z: Tensor, y: Labels | None = None) -> Tensor:
        """Draw one image for each latent, as `ConditionalGenerator`."""
        K = self.num_classes
        weights = one_hot(y, K, len(z)).to(z) if K else z.new_zeros(len(z), 0)
        return ConditionalGenerator.from_weights(self, z, weights)

    def draw(self, code: Tensor) -> Tensor:
        """Call the network with the latents and class weights of which codes consist."""
        z, weights = code.tensor_split([self.latent_dim], 1)
        images: Tensor = _call_g(self.call, self.network, z, weights)
        return images


class AdaptedDiscriminator(_Adapted):
    """A discriminator from elsewhere that returns logits by name. Made by `adapt`."""

    def __init__(
        self, network: nn.Module, call: str, source: str, classes: str | None, label_input: int,
        probabilities: tuple[bool, bool] = (False, False),
    ) -> None:  # fmt: skip
        super().__init__()
        self.network, self.call, self.label_input = network, call, label_input
        self.source, self.classes, self.probabilities = source, classes, probabilities

    def forward(self, x: Tensor, y: Labels | None = None) -> DiscriminatorOutput:
        """Judge images x, float (n, C, H, W), with labels y only if label_input > 0."""
        if any(self.probabilities) and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):  # bfloat16 cannot tell .998 from 1
                return self(x.float(), y)  # type: ignore[no-any-return]
        K = self.label_input
        weights = one_hot(y, K, len(x)).to(x) if K else x.new_ones(len(x), 1)
        found = _parts(_D_CALLS[self.call](self.network, x.contiguous(), weights))
        source = found[self.source].reshape(len(x))
        rows = None if self.classes is None else found[self.classes]
        if self.probabilities[0]:
            source = torch.logit(source, torch.finfo(source.dtype).eps)
        if rows is not None and self.probabilities[1]:
            rows = rows.clamp_min(torch.finfo(rows.dtype).tiny).log()
        return DiscriminatorOutput(source, rows)


def _call_g(call: str, G: nn.Module, z: Tensor, weights: Tensor) -> Any:
    """Call G in one of the ways of _G_CALLS, with or without _MAPS."""
    text = call.removesuffix(_MAPS)
    if text != call:
        z, weights = z[..., None, None], weights[..., None, None]
    return _G_CALLS[text](G, z, weights)


def _one_class(k: int, K: int, like: Tensor) -> Tensor:
    """Return class weights (2, K) that name class k twice."""
    return torch.eye(K).to(like)[k].expand(2, K) if K else like.new_zeros(2, 0)


def _reason(call: str, error: Exception) -> str:
    kind = "" if type(error) is ValueError else f"{type(error).__name__}: "
    return f"\n  {call}: {kind}{str(error).strip().partition(chr(10))[0][:160]}"


def _label_first(module: nn.Module) -> bool | None:
    """Tell by the names of its first two arguments whether a module takes the label first."""
    names = list(inspect.signature(module.forward).parameters)[:2]
    labels = [bool(_LABEL.search(name)) for name in names]
    return labels[0] if len(labels) == 2 and labels[0] != labels[1] else None


def _class_counts(G: nn.Module, D: nn.Module, x: Tensor) -> list[int]:
    """Return the numbers of classes that G and D may have, the likeliest first."""
    every = [*G.modules(), *D.modules()]
    embeddings = [part.num_embeddings for part in every if isinstance(part, nn.Embedding)]
    counts: list[int] = []
    for call in ("D(x)", 'D(x, mode="both")', "D(x, y)"):
        with contextlib.suppress(Exception), seeded(0, x.device):
            found = _parts(_D_CALLS[call](D, x, x.new_ones(2, 1)))
            if classes := _heads_in(found, None)[1]:
                counts += [found[classes].shape[1], found[classes].shape[1] - 1]
    counts = [K for K in counts if K in embeddings] or counts
    return list(dict.fromkeys([*counts, *embeddings, 0]))


def _how_to_call_g(G: nn.Module, z: Tensor, K: int, image: tuple[int, int, int]) -> str:
    """Return the one way to call G; ValueError where there is none, or more than one.

    Args:
        z: float (3, latent_dim): the first two are drawn, and the last two.
    """
    images: dict[str, Tensor] = {}
    reasons = ""
    for call in [call + maps for maps in ("", _MAPS) for call in _G_CALLS]:
        if call.startswith("G(z)") != (K == 0):
            continue
        try:
            trials = [(z[:2], 0), (z[1:], 0), (z[:2], max(K - 1, 0))]
            drawn = [_drawn(call, G, part, _one_class(k, K, z), image) for part, k in trials]
            for name, other, matters in (("z", drawn[1], True), ("class", drawn[2], K > 1)):
                if matters and torch.equal(drawn[0], other):
                    raise ValueError(f"draws the same for each {name}")
        except Exception as error:  # code from elsewhere may raise anything
            reasons += _reason(call, error)
            continue
        if not any(torch.equal(torch.cat(drawn), seen) for seen in images.values()):
            images[call] = torch.cat(drawn)
    if len(images) > 1 and (order := _label_first(G)) is not None:
        images = {k: v for k, v in images.items() if k.startswith(("G(one", "G(y")) == order}
    if len(images) == 1:
        return next(iter(images))
    if images:
        raise ValueError(
            f"G works in several ways that draw different images: {'; '.join(images)}. Name the "
            "arguments of its forward z and y, so that one can be chosen"
        )
    raise ValueError(
        f"no call of G with latents (n, {z.shape[1]}) and {K} classes gives images (n, "
        f"{', '.join(map(str, image))}): are latent_dim, image and num_classes right?{reasons}"
    )


def _drawn(
    call: str, G: nn.Module, z: Tensor, weights: Tensor, image: tuple[int, int, int]
) -> Tensor:
    """Return two images that a call gives, or say why they are none."""
    with seeded(0, z.device):
        images = _call_g(call, G, z, weights)
    if not isinstance(images, Tensor) or images.shape != (2, *image):
        got = tuple(images.shape) if isinstance(images, Tensor) else type(images).__name__
        raise ValueError(f"gives {got} for 2 latents")
    sigmoid = _ends_in_sigmoid(lambda z: _call_g(call, G, z, weights), z)
    if sigmoid or not bool((images.abs() <= 1.001).all()):
        raise ValueError("gives images that do not end in tanh: the library's go from -1 to 1")
    return images


def _parts(out: Any) -> dict[str, Tensor]:
    """Return the float tensors that D gave, by their names or places."""
    if isinstance(out, Tensor):
        out = {"0": out}
    elif hasattr(out, "_asdict"):
        out = out._asdict()
    elif isinstance(out, tuple | list):
        out = {str(place): part for place, part in enumerate(out)}
    if not isinstance(out, Mapping):
        raise ValueError(f"gives a {type(out).__name__}, not tensors")
    return {k: v for k, v in out.items() if isinstance(v, Tensor) and v.is_floating_point()}


def _heads_in(found: Mapping[str, Tensor], K: int | None) -> tuple[str, str | None]:
    """Return the names under which D gives two images' validity and, if it does, class rows."""
    source = [name for name, part in found.items() if part.shape in ((2,), (2, 1))]
    rows = {k: v.shape[1] for k, v in found.items() if v.ndim == 2 == len(v) and v.shape[1] > 1}
    classes = [name for name, width in rows.items() if K is None or width in (K, K + 1)]
    if len(source) > 1:
        source = [name for name in source if _SOURCE.search(name)]
    if len(classes) > 1:
        classes = [name for name in classes if _CLASS.search(name)] or classes
    if len(source) != 1 or len(classes) > 1:
        shapes = ", ".join(f"{name}: {tuple(v.shape)}" for name, v in found.items())
        raise ValueError(f"gives {shapes}")
    return source[0], classes[0] if classes else None


def _wrapped_d(D: nn.Module, x: Tensor, K: int, probabilities: bool) -> AdaptedDiscriminator:
    """Return D behind the most telling of the calls that it takes."""
    found: dict[str, AdaptedDiscriminator] = {}
    reasons = ""
    for call, run in _D_CALLS.items():
        try:
            outs = []
            for k in (0, max(K - 1, 0)):
                with seeded(0, x.device):
                    outs.append(_parts(run(D, x, _one_class(k, max(K, 1), x))))
            source, classes = _heads_in(outs[0], K)
        except Exception as error:  # code from elsewhere may raise anything
            reasons += _reason(call, error)
            continue
        # Beside an image, an argument that D can do without is a label only if it is named so.
        label = "D(x)" not in found or _label_first(D) is not None
        told = label and not torch.equal(outs[0][source], outs[1][source])
        found[call] = AdaptedDiscriminator(D, call, source, classes, K if told else 0)
    if not found:
        raise ValueError(
            f"no call of D with images {tuple(x.shape)} gives one validity, (2,) or (2, 1), and at "
            f"most one tensor of class rows, (2, {K}) or (2, {K + 1}), known by shape or name: "
            f"are image and num_classes right?{reasons}"
        )
    wrapped = max(found.values(), key=lambda d: (d.label_input > 0, d.classes is not None))
    wrapped.probabilities = _probabilities(wrapped, x, probabilities)
    return wrapped


def _probabilities(D: AdaptedDiscriminator, x: Tensor, said: bool) -> tuple[bool, bool]:
    """Return whether the validity and the class rows are probabilities, as was said.

    Raises:
        ValueError: if they are something else.
    """
    x = torch.cat([x, 1e4 * x, -1e4 * x])  # on some of these a logit leaves 0..1
    y = torch.zeros(len(x), dtype=torch.int64, device=x.device) if D.label_input else None
    with seeded(0, x.device):
        out = D(x, y)
    source, rows = out.source_logit, out.class_logits
    low, high = float(source.min()), float(source.max())
    inside = rows is not None and bool(((rows >= 0) & (rows <= 1)).all())
    sums = inside and rows is not None and bool(((rows.sum(1) - 1).abs() < 1e-3).all())
    if said and not 0 <= low <= high <= 1:
        raise ValueError(
            f"probabilities=True, but D's validity goes from {low:.3g} to {high:.3g}: leave it out"
        )
    if said and inside and not sums:
        raise ValueError("D's class rows lie in 0..1 but do not sum to 1: no softmax gave them")
    if not said and (sums or _ends_in_sigmoid(lambda x: D(x, y)[0], x)):
        which = "class rows" if sums else "validity"
        raise ValueError(f"D's {which} are probabilities: pass probabilities=True")
    return said, said and sums


def _ends_in_sigmoid(run: Callable[[Tensor], Tensor], x: Tensor) -> bool:
    """Tell whether a sigmoid is the last operation that changed the values of ``run(x)``."""
    with torch.enable_grad(), seeded(0, x.device):
        found = ends_in_sigmoid(run(x.clone().requires_grad_()))
    # The older spectral norm keeps its last weight, and deepcopy takes none with a graph.
    with seeded(0, x.device):
        run(x)
    return found
