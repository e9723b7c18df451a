"""The library behind the AC-GAN book: networks, losses, one training loop, checked metrics.

Each module holds one concern. Importing the package itself loads none of them, opens no
socket and touches no device: ``from acgan_lib import train`` is what costs the time.
"""

__version__ = "0.1.0"
