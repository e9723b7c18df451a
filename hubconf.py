"""The trained networks for torch.hub, from a clone or from the public address.

    G = torch.hub.load(".", "acgan_fashion", source="local")
    G = torch.hub.load("OWNER/acgan-book", "acgan_fashion")
    images = G(torch.randn(10, 100), torch.arange(10))

There is one entry point for each checkpoint in data/checkpoints; ``torch.hub.help`` says what it
is. Each returns a module in eval mode with the shipped weights, on the CPU unless ``device`` names
another. The packages in ``dependencies`` suffice; nothing is downloaded but the repository.
"""

from collections.abc import Callable as _Callable

import torch as _torch

from acgan_lib import zoo as _zoo

dependencies = ["torch", "numpy", "safetensors", "filelock", "tqdm", "PIL"]

_CALLED = {
    "Flow": "``flow(x, t, weights)``: places on the way from noise to pictures, their times and "
    "class weights, to velocities; ``acgan_lib.families.diffusion.Sampler`` draws with it.",
    "Discriminator": "``D(x)``: images, float in [-1, 1], to a named tuple of source logit, class "
    "logits and code.",
    "Translator": "``G(x)``: images, float (n, 3, 32, 32) in [-1, 1], to their translations.",
    "UNet": "``G(drawing, told)``: drawings, float (n, 1, 64, 64), 1 where a line is; told float "
    "(n, 10), the kind, one-hot, or (n, 19) with three colours; to images, float in [-1, 1].",
    "Judge": "``judge(x)``: images, float in [-1, 1], to one number for each class, or for each "
    "style factor; ``judge.features(x)`` is (n, 128).",
    "Matcher": "``matcher.image(x)`` and ``matcher.text(words)``: codes of pictures and captions, "
    "float (n, 64); ``acgan_lib.families.text.numbers`` turns sentences into words.",
    "TextGenerator": "``G(z, words)``: z float (n, latent_dim), standard normal; words int64 "
    "(n, 24) from ``acgan_lib.families.text.numbers``; to images, float in [-1, 1].",
}
_DRAWS = (
    "``G(z, y)``: z float (n, latent_dim), standard normal; y int64 (n,), a class from 0 to "
    "num_classes - 1 (left out where num_classes is 0); to images, float in [-1, 1]."
)


def _entry(name: str) -> _Callable[..., _torch.nn.Module]:
    """Make the entry point of one checkpoint, with a docstring from its manifest."""

    def entry(device: str = "cpu") -> _torch.nn.Module:
        return _zoo.load(name, device=device)

    fields = _zoo.manifest(name)
    called = _CALLED.get(fields["class"], _DRAWS)
    entry.__name__ = entry.__qualname__ = name
    entry.__doc__ = f"{fields['class']} {fields['kwargs']}, trained on {fields['data']}. {called}"
    return entry


globals().update({_name: _entry(_name) for _name in _zoo.names()})
