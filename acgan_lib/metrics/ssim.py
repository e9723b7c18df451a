"""MS-SSIM for images of any size from 16 pixels, and a class's diversity measured with it.

Multi-scale structural similarity (Wang, Simoncelli and Bovik 2003) compares two images' local
means, contrasts and structure at five scales. Odena et al. 2017 turn it into an alarm for
collapse: the more alike two random images of a class, the less the class varies.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor
from tqdm.auto import tqdm

from acgan_lib.metrics.estimate import Estimate, mean_of_classes
from acgan_lib.metrics.pairing import over_pairs, random_pairs
from acgan_lib.metrics.sampling import checked_images, checked_labels

WEIGHTS = (0.0448, 0.2856, 0.3001, 0.2363, 0.1333)  # Wang et al. 2003, section 3.2
WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004, section III-B
C1, C2 = 0.01**2, 0.03**2  # the same; for grey levels in [0, 1]
MIN_SIDE = 16  # below it, the five scales would need pixels that are not there


def ms_ssim(a: Tensor, b: Tensor) -> Tensor:
    """Compare images pair by pair: 1 for equal ones, near 0 for unrelated ones.

    The window is min(11, side) at each scale and its sigma shrinks with it, as in TensorFlow
    Models' and ProGAN's implementations, so that 28 or 32 pixels are enough. A contrast term
    below 0 counts as 0: its fractional power would be NaN. Colour channels are compared one by
    one and averaged. Where pytorch-msssim is defined (sides above 160), the two agree.

    Args:
        a: float (n, C, H, W) in [-1, 1].
        b: as a.

    Returns:
        float (n,) in [0, 1], float64 if both inputs are, else float32.

    Raises:
        ValueError: if the shapes differ, a side is below 16 pixels, or the images are not float
            in [-1, 1] (`checked_images`).
    """
    checked_images(a, "a")
    checked_images(b, "b")
    if a.shape != b.shape or a.ndim != 4:
        raise ValueError(f"need two equal shapes (n, C, H, W), got {a.shape} and {b.shape}")
    if min(a.shape[2:]) < MIN_SIDE:
        raise ValueError(f"MS-SSIM needs sides of at least {MIN_SIDE} pixels, got {a.shape[2:]}")
    dtype = torch.promote_types(torch.promote_types(a.dtype, b.dtype), torch.float32)
    # SSIM compares means by their ratio, so the grey levels must start from 0, not from -1.
    a, b = (a.to(dtype) + 1) / 2, (b.to(dtype) + 1) / 2
    result = torch.ones(a.shape[:2], dtype=dtype, device=a.device)
    for scale, weight in enumerate(WEIGHTS):
        if scale:
            a, b = _halve(a), _halve(b)
        luminance, contrast = _ssim_terms(a, b)
        last = scale == len(WEIGHTS) - 1
        term = luminance * contrast if last else contrast
        result = result * term.mean((2, 3)).clamp_min(0) ** weight
    return result.mean(1)


def _halve(x: Tensor) -> Tensor:
    """Average 2x2 blocks. An odd side is padded with a black row on both ends, as pytorch-msssim
    does, so that no pixel is lost: 7 becomes 4."""
    return F.avg_pool2d(x, 2, padding=(x.shape[2] % 2, x.shape[3] % 2))


def _ssim_terms(a: Tensor, b: Tensor) -> tuple[Tensor, Tensor]:
    """Return the luminance and the contrast-structure map (Wang et al. 2004, equations 6 to 13)."""
    side = min(a.shape[2:])
    kernel = _gaussian(min(WINDOW, side)).to(a)
    # One by one, so that equal pictures are rounded equally and compare as exactly 1.
    mean_a, mean_b, aa, bb, ab = (_blur(x, kernel) for x in (a, b, a * a, b * b, a * b))
    var_a, var_b, cov = aa - mean_a**2, bb - mean_b**2, ab - mean_a * mean_b
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return luminance, (2 * cov + C2) / (var_a + var_b + C2)


def _gaussian(size: int) -> Tensor:
    """Return float64 (size,) summing to 1. Of an even size, the centre lies between two pixels."""
    x = torch.arange(size, dtype=torch.float64) - (size - 1) / 2
    sigma = SIGMA * size / WINDOW
    weights = torch.exp(-(x**2) / (2 * sigma**2))
    return weights / weights.sum()


def _blur(x: Tensor, kernel: Tensor) -> Tensor:
    """Blur the last two dimensions with the separable `kernel`, only where it fits whole.

    As two matrix products: a convolution of single-channel maps is slower, at 64 px ten times.
    """
    return _slid(kernel, x.shape[-2]) @ x @ _slid(kernel, x.shape[-1]).T


def _slid(kernel: Tensor, side: int) -> Tensor:
    """Return the matrix (side - k + 1, side) that holds `kernel` (k,), one column on a row."""
    start = torch.arange(side - len(kernel) + 1, device=kernel.device)[:, None]
    columns = start + torch.arange(len(kernel), device=kernel.device)
    rows = kernel.expand(len(start), -1)
    return kernel.new_zeros(len(start), side).scatter_(1, columns, rows)


def ms_ssim_diversity(
    x: Tensor,
    y: Tensor,
    pairs: int = 300,
    seed: int = 0,
    batch_size: int = 250,
    progress: bool = False,
) -> list[Estimate]:
    """Return the mean MS-SSIM over random pairs of images of the same class, class by class.

    *Lower* is more diverse. No image is paired with itself and no pair comes twice; a class with
    fewer pairs than asked uses all it has. Judge a class by its own real images' figure: the
    paper's 0.25 is ImageNet's and does not carry over.

    Args:
        x: float (n, C, H, W) in [-1, 1].
        y: int64 (n,); classes 0..max(y).
        pairs: pairs a class, at least 3.
        seed: fixes the pairs.
        batch_size: pairs compared at once.
        progress: show a bar over the classes.

    Returns:
        An Estimate for each class; n counts pairs. What was drawn at random are the images, and a
        pair shares each of its two with other pairs, so the interval is that of `over_pairs`.

    Raises:
        ValueError: if a class up to max(y) has fewer than 3 images, y is not one int64 label for
            each, pairs is below 3, or as `ms_ssim`.
    """
    labels = checked_labels(y, len(checked_images(x)))
    result = []
    classes = range(int(labels.max()) + 1)
    for k in tqdm(classes, desc="MS-SSIM", unit="class", disable=not progress):
        rows = torch.nonzero(labels == k).flatten()
        if len(rows) < 3:
            raise ValueError(f"class {k} has {len(rows)} images; pairs need at least 3")
        chosen = random_pairs(len(rows), pairs, seed)
        parts = [rows[part].T.to(x.device) for part in torch.split(chosen, batch_size)]
        result.append(over_pairs(torch.cat([ms_ssim(x[i], x[j]) for i, j in parts]), chosen))
    return result


def ms_ssim_mean(by_class: Sequence[Estimate]) -> Estimate:
    """Return the mean over classes of `ms_ssim_diversity`'s result; n counts all pairs."""
    return mean_of_classes(by_class)
