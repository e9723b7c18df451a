"""The trained networks for torch.hub, from a clone or from the public address.

    G = torch.hub.load(".", "acgan_fashion", source="local")
    G = torch.hub.load("OWNER/acgan-book", "acgan_fashion")
    images = G(torch.randn(10, 100), torch.arange(10))

Every entry point returns a module in eval mode with the shipped weights, on the CPU unless
``device`` names another. torch and safetensors suffice; nothing is downloaded but the repository.
"""

import torch as _torch

from acgan_lib import zoo as _zoo

dependencies = ["torch", "numpy", "safetensors"]


def acgan_fashion(device: str = "cpu") -> _torch.nn.Module:
    """AC-GAN's generator, trained on FashionMNIST.

    ``G(z, y)``: z float (n, 100), standard normal; y int64 (n,), classes 0 to 9; to float
    (n, 1, 32, 32) in [-1, 1].
    """
    return _zoo.load("acgan_fashion", device=device)


def cgan_fashion(device: str = "cpu") -> _torch.nn.Module:
    """The conditional GAN's generator; called like `acgan_fashion`."""
    return _zoo.load("cgan_fashion", device=device)


def dcgan_fashion(device: str = "cpu") -> _torch.nn.Module:
    """DCGAN's generator, without classes: ``G(z)``, z float (n, 100), to (n, 1, 32, 32)."""
    return _zoo.load("dcgan_fashion", device=device)


def infogan_fashion(device: str = "cpu") -> _torch.nn.Module:
    """InfoGAN's generator, of no labels: ``G(z, code)``, z float (n, 64), code int64 (n,).

    The first two coordinates of z are its continuous codes.
    """
    return _zoo.load("infogan_fashion", device=device)


def infogan_fashion_d(device: str = "cpu") -> _torch.nn.Module:
    """InfoGAN's discriminator, which reads the codes off images: class logits (n, 10) and code."""
    return _zoo.load("infogan_fashion_d", device=device)


def judge_fashion(device: str = "cpu") -> _torch.nn.Module:
    """The classifier that judges samples, trained on real images only.

    x float (n, 1, 32, 32) in [-1, 1] to class logits (n, 10); ``.features(x)`` is (n, 128).
    """
    return _zoo.load("judge_fashion", device=device)
