"""Conditional GANs: networks, games, one training loop, checked measurements, widgets.

The first lines of most work:

    import acgan_lib as ag

    images = ag.image_folder("my_images", size=64)     # a folder with one folder for each class
    train, test = images.split(0.8, seed=0)
    game = ag.acgan()                                  # or gan, cgan, infogan, semi
    G, D = ag.pair(train, game)                        # networks that fit the data and the game
    run = ag.fit(G, D, train, game, steps=5000, run_dir="runs/mine")
    ag.save(run.G_ema, "mine.safetensors")
    G = ag.load("mine.safetensors")
    print(ag.report(G, ag.train_judge(train), test))   # each figure with its n and its interval
    ag.explorer(G)                                     # sliders over the latent space

Images
    image_folder      labelled images from a folder of folders
    fashion_mini      the part of FashionMNIST that ships with the book
    fashion_mnist     all of it
    LabelledImages    images in memory, uint8, with their labels; ``split``, ``batch``, ``subset``

Games: what D and G minimise
    gan               D tells real from generated
    cgan              D is told the class, too
    acgan             D names the class
    infogan           D reads codes that nobody labelled
    semi              AC-GAN with labels for some images
    diff_augment, r1  the same game, steadier where images are few
    Objective         what all of these return

Networks
    pair              G and D that fit the data and the game
    adapt             G and D from elsewhere, however they are called
    save, load        a network to a file and back; ``load`` also gives the book's networks by name

Training
    fit               train G against D; a run that was stopped goes on where it was
    TrainConfig       batch size, learning rates, precision, seed and more

Measuring
    sample            images of each class, none picked
    train_judge       a classifier of real images, to measure with
    report            accuracy, MS-SSIM, Frechet, KID and CAS, beside those of real images

Looking
    explorer          sliders over the latent space, in a notebook or on a page

Each module holds one concern; those that one names most are attributes, too (``ag.metrics.fid``).
Importing the package loads none of them: no torch, no device, no file. A name loads what it needs
when it is first used.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from acgan_lib.data import LabelledImages as LabelledImages
    from acgan_lib.data import image_folder as image_folder
    from acgan_lib.fashion import fashion_mini as fashion_mini
    from acgan_lib.fashion import fashion_mnist as fashion_mnist
    from acgan_lib.judge import train_judge as train_judge
    from acgan_lib.metrics.report import report as report
    from acgan_lib.metrics.sampling import sample as sample
    from acgan_lib.objectives import Objective as Objective
    from acgan_lib.objectives import acgan as acgan
    from acgan_lib.objectives import cgan as cgan
    from acgan_lib.objectives import gan as gan
    from acgan_lib.objectives import infogan as infogan
    from acgan_lib.objectives import semi as semi
    from acgan_lib.pairs import adapt as adapt
    from acgan_lib.pairs import pair as pair
    from acgan_lib.regularise import diff_augment as diff_augment
    from acgan_lib.regularise import r1 as r1
    from acgan_lib.train import TrainConfig as TrainConfig
    from acgan_lib.train import fit as fit
    from acgan_lib.widgets import explorer as explorer
    from acgan_lib.zoo import load as load
    from acgan_lib.zoo import save as save

_NAMES = {
    "data": ("LabelledImages", "image_folder"),
    "fashion": ("fashion_mini", "fashion_mnist"),
    "judge": ("train_judge",),
    "metrics.report": ("report",),
    "metrics.sampling": ("sample",),
    "objectives": ("Objective", "acgan", "cgan", "gan", "infogan", "semi"),
    "pairs": ("adapt", "pair"),
    "regularise": ("diff_augment", "r1"),
    "train": ("TrainConfig", "fit"),
    "widgets": ("explorer",),
    "zoo": ("load", "save"),
}
_MODULE_OF = {name: module for module, names in _NAMES.items() for name in names}
_MODULES = (
    "avatars", "callbacks", "data", "directions", "glyphs", "judge", "latent", "losses", "metrics",
    "nets", "objectives", "pairs", "regularise", "runtime", "scale", "toy", "train", "viz",
    "widgets", "zoo",
)  # fmt: skip
__all__ = [*_MODULE_OF]


def __getattr__(name: str) -> Any:
    """Load a public name, or a module, when it is first asked for (PEP 562)."""
    if name in _MODULES:
        return importlib.import_module(f"acgan_lib.{name}")
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'acgan_lib' has no attribute {name!r}")
    value = getattr(importlib.import_module(f"acgan_lib.{_MODULE_OF[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULE_OF, *_MODULES})
