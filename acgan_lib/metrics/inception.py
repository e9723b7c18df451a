"""Inception Score and FID, under their own names, with Inception v3 and nothing else.

Both names belong to one network: Inception v3 trained on ImageNet (Salimans et al. 2016; Heusel
et al. 2017). Its weights, 104 MB, do not ship with the book. `load_inception` reads them from a
file, or fetches them when told to, and compares their hash; `inception_score` and `fid` take no
other network. With any other classifier the same formulas are called `classifier_score` and
`frechet_estimate`.

The weights are torchvision's, a port of Google's network of 2015 with 1,000 logits. Published
figures come from TensorFlow's graph, which has 1,008 logits, another average pooling, and another
resizing before it. So compare what these functions return with what they return, and not with a
figure from a paper.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from acgan_lib.data import _cache_dir
from acgan_lib.metrics.estimate import Estimate
from acgan_lib.metrics.frechet import frechet_estimate
from acgan_lib.metrics.sampling import in_batches
from acgan_lib.metrics.score import classifier_score

SIDE = 299  # pixels that Inception v3 was trained at
FILE = "inception_v3_google-0cc3c7bd.pth"
URL = f"https://download.pytorch.org/models/{FILE}"
SHA256_START = "0cc3c7bd"  # of the file; torchvision publishes these eight digits, in its name
BATCH_SIZE = 50


class Inception(nn.Module):
    """Inception v3 as the two scores use it: any image in, 2,048 features or 1,000 logits out.

    Images are brought to 299 x 299 by `prepared`. Their range stays [-1, 1], the one that Google
    trained this network in; torchvision's ImageNet mean and deviation, followed by its own
    ``transform_input``, arrive at the same numbers.

    Args:
        state: the weights, as torchvision names them. Without them they are random, which is of
            use to tests alone: `fid` and `inception_score` refuse such a network.
        trained_on_imagenet: set by `load_inception` alone, after it has compared the hash.
    """

    def __init__(
        self, state: Mapping[str, Tensor] | None = None, *, trained_on_imagenet: bool = False
    ) -> None:
        super().__init__()
        try:
            from torchvision.models import inception_v3
        except ImportError as error:
            raise ModuleNotFoundError("Inception v3 needs torchvision: pip install it") from error
        net = inception_v3(weights=None, init_weights=False, transform_input=False)
        if state is not None:
            net.load_state_dict(state)
        net.aux_logits, net.AuxLogits = False, None  # a head that was of use in training alone
        self.head: nn.Module = net.fc
        net.fc = nn.Identity()
        self.trunk: nn.Module = net
        self.trained_on_imagenet = trained_on_imagenet

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled layer before the logits: (n, 1 or 3, H, W) in [-1, 1] to (n, 2048)."""
        features: Tensor = self.trunk(prepared(x))
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float (n, 1000) for images (n, 1 or 3, H, W) in [-1, 1]."""
        logits: Tensor = self.head(self.features(x))
        return logits


def prepared(x: Tensor) -> Tensor:
    """Bring images (n, 1 or 3, H, W) to float (n, 3, 299, 299), their range unchanged.

    Bilinear, and antialiased where they shrink (Parmar, Zhang and Zhu 2022). A grey image gets
    three equal channels.

    Raises:
        ValueError: if x has another shape.
    """
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"images must be (n, 1 or 3, H, W), got {tuple(x.shape)}")
    x = F.interpolate(x, (SIDE, SIDE), mode="bilinear", align_corners=False, antialias=True)
    return x.expand(-1, 3, -1, -1)


def load_inception(
    path: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    device: torch.device | str = "cpu",
) -> Inception:
    """Return Inception v3 with torchvision's ImageNet weights, in eval mode.

    Args:
        path: the weights' file. Left out, it is looked for in this library's cache and in
            torchvision's.
        download: fetch the file, 104 MB, if it is not there. Nothing is fetched unless asked.
        device: where to put the network.

    Raises:
        FileNotFoundError: the file is not there and `download` is False; the message says how to
            get it.
        RuntimeError: the download failed.
        ValueError: the file is not the published one.
    """
    if path is not None:
        found: Path | None = Path(path)
    else:
        found = next((p for p in _places() if p.is_file()), None)
    if found is None or not found.is_file():
        if not download:
            raise FileNotFoundError(_advice(found))
        found = _download(found or _places()[0])
    _check(found)
    state = torch.load(found, map_location="cpu", weights_only=True)
    return Inception(state, trained_on_imagenet=True).to(device).eval().requires_grad_(False)


def inception_score(
    inception: Inception, x: Tensor, *, resamples: int = 200, seed: int = 0, progress: bool = True
) -> Estimate:
    """Return the Inception Score of images (n, 1 or 3, H, W) in [-1, 1].

    It is `classifier_score` of Inception v3's 1,000 logits, over all images at once. Salimans et
    al. average over ten parts instead, each a tenth of the images, and give the parts' deviation;
    their figure is lower, because the score grows with n.

    Raises:
        ValueError: if `inception` is not the network of `load_inception`, or as classifier_score.
    """
    _only_inception(inception, "the Inception Score")
    logits = in_batches(inception, inception, x, BATCH_SIZE, "Inception v3" if progress else None)
    return classifier_score(logits, resamples=resamples, seed=seed)


def fid(
    inception: Inception,
    x_a: Tensor,
    x_b: Tensor,
    *,
    y_a: Tensor | None = None,
    y_b: Tensor | None = None,
    resamples: int = 20,
    seed: int = 0,
    progress: bool = True,
) -> Estimate:
    """Return the FID of two image sets, (n, 1 or 3, H, W) in [-1, 1], by `frechet_estimate`.

    With 2,048 features its bias is large: at n = 2,000 most of a good generator's figure is bias,
    and the literature uses 50,000. One distance takes some seconds at this width, and the
    interval takes `resamples` of them.

    Raises:
        ValueError: if `inception` is not the network of `load_inception`, or as frechet_estimate.
    """
    _only_inception(inception, "FID")
    a, b = (
        in_batches(inception, inception.features, x, BATCH_SIZE, name if progress else None)
        for name, x in (("Inception v3, first set", x_a), ("Inception v3, second set", x_b))
    )
    return frechet_estimate(
        a, b, y_a=y_a, y_b=y_b, resamples=resamples, seed=seed, progress=progress
    )


def _only_inception(inception: object, name: str) -> None:
    if not (isinstance(inception, Inception) and inception.trained_on_imagenet):
        raise ValueError(
            f"{name} is a figure of Inception v3's ImageNet weights: pass what load_inception() "
            f"returns, not {type(inception).__name__}. For another network's features, use "
            "classifier_score and frechet_estimate, and call them by those names"
        )


def _places() -> list[Path]:
    """Return where the weights may be: this library's cache, then torchvision's."""
    return [_cache_dir() / FILE, Path(torch.hub.get_dir()) / "checkpoints" / FILE]


def _advice(path: Path | None) -> str:
    where = path or " or ".join(str(p) for p in _places())
    return (
        f"Inception v3's weights are not at {where}. Either\n"
        "  - fetch them, 104 MB: load_inception(download=True); or\n"
        f"  - bring {URL} by other means and name it: load_inception(path).\n"
        "Without them, classifier_score and frechet_judge_distance say the same kind of thing "
        "with the judge that ships with the book, under their own names."
    )


def _check(path: Path) -> None:
    with path.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    if not digest.startswith(SHA256_START):
        raise ValueError(
            f"{path} is not the published file: its SHA-256 begins with {digest[:8]} and not "
            f"with {SHA256_START}. It was cut short or changed: delete it and fetch it again"
        )


def _download(target: Path) -> Path:
    """Fetch the weights to a temporary name beside `target`, check them, and rename the file."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as folder:
        fetched = Path(folder) / FILE
        try:
            torch.hub.download_url_to_file(URL, str(fetched))
        except OSError as error:  # URLError is one
            raise RuntimeError(
                f"Inception v3's weights could not be fetched ({error}).\n{_advice(target)}"
            ) from error
        _check(fetched)
        os.replace(fetched, target)
    return target
