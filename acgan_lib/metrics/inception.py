"""Inception Score and FID, under their own names, with Inception v3 and nothing else.

Both names belong to one network: TensorFlow's Inception v3 of 2015, trained on ImageNet (Salimans
et al. 2016; Heusel et al. 2017). torch-fidelity has it, with the same weights, 1,008 logits and
resizing, so figures can be compared with published ones of the same n. Its weights, 96 MB, do not
ship with the book. `load_inception` reads them from a file, or fetches them when told to, and
compares their hash; `inception_score` and `fid` take no other network. With any other classifier
the same formulas are called `classifier_score` and `frechet_estimate`.
"""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import torch
from torch import Tensor, nn

from acgan_lib.data import to_uint8
from acgan_lib.metrics.estimate import Estimate
from acgan_lib.metrics.frechet import frechet_estimate
from acgan_lib.metrics.sampling import checked_images, in_batches
from acgan_lib.metrics.score import classifier_score

FILE = "weights-inception-2015-12-05-6726825d.pth"
URL = f"https://github.com/toshas/torch-fidelity/releases/download/v0.2.0/{FILE}"
SHA256 = "6726825d0af5f729cebd5821db510b11b1cfad8faad88a03f1befd49fb9129b2"
BATCH_SIZE = 50


class Inception(nn.Module):
    """torch-fidelity's Inception v3, for images float (n, 1 or 3, H, W) in [-1, 1].

    Images are rounded to 256 levels, a grey one gets three equal channels, and all are brought to
    299 x 299 as TensorFlow does it, without antialiasing.

    Args:
        path: the published file of weights. `load_inception` knows where it is.

    Raises:
        ModuleNotFoundError: torch-fidelity is not installed.
        ValueError: the file is not the published one.
    """

    def __init__(self, path: str | os.PathLike[str]) -> None:
        super().__init__()
        try:
            from torch_fidelity import FeatureExtractorInceptionV3
        except ImportError as error:
            raise ModuleNotFoundError("Inception v3 needs `pip install torch-fidelity`") from error
        with open(path, "rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        if digest != SHA256:  # torch-fidelity unpickles the file, so it must be the published one
            raise ValueError(
                f"{path} is not the published file: its SHA-256 begins with {digest[:8]} and not "
                f"with {SHA256[:8]}. It was cut short or changed: delete it and fetch it again"
            )
        wanted = ["2048", "logits_unbiased"]
        self.network: nn.Module = FeatureExtractorInceptionV3(
            "inception-v3-compat", wanted, feature_extractor_weights_path=str(path)
        )

    def features(self, x: Tensor) -> Tensor:
        """Return the pooled layer before the logits, float (n, 2048)."""
        features: Tensor = self.network(_as_rgb(x))[0]
        return features

    def forward(self, x: Tensor) -> Tensor:
        """Return logits float (n, 1008), without the last layer's bias, as the score has them."""
        logits: Tensor = self.network(_as_rgb(x))[1]
        return logits


def _as_rgb(x: Tensor) -> Tensor:
    if x.ndim != 4 or x.shape[1] not in (1, 3):
        raise ValueError(f"images must be (n, 1 or 3, H, W), got {tuple(x.shape)}")
    return to_uint8(x).to(x.device).expand(-1, 3, -1, -1)


def load_inception(
    path: str | os.PathLike[str] | None = None,
    *,
    download: bool = False,
    device: torch.device | str = "cpu",
) -> Inception:
    """Return Inception v3 with its ImageNet weights, in eval mode.

    Args:
        path: the weights' file; left out, where torch.hub and torch-fidelity keep it.
        download: fetch the file, 96 MB, if it is not there. Nothing is fetched unless asked.
        device: where to put the network.

    Raises:
        FileNotFoundError: the file is not there and `download` is False; the message says how to
            get it.
        RuntimeError: the download failed, or what came has another hash.
        ValueError: the file is not the published one.
    """
    file = Path(path or Path(torch.hub.get_dir()) / "checkpoints" / FILE).expanduser()
    if not file.is_file():
        advice = (
            f"Inception v3's weights are not at {file}. Either\n"
            "  - fetch them, 96 MB: metrics.load_inception(download=True); or\n"
            f"  - bring {URL} by other means and name it: metrics.load_inception(path).\n"
            "Without them, classifier_score and frechet_judge_distance say the same kind of thing "
            "with the judge that ships with the book, under their own names."
        )
        if not download:
            raise FileNotFoundError(advice)
        file.parent.mkdir(parents=True, exist_ok=True)
        try:  # to a temporary name, renamed when the hash is right
            torch.hub.download_url_to_file(URL, str(file), hash_prefix=SHA256)
        except OSError as error:  # URLError is one
            raise RuntimeError(f"the download failed ({error}).\n{advice}") from error
    return Inception(file).to(device).eval()


def inception_score(
    inception: Inception, x: Tensor, *, resamples: int = 200, seed: int = 0, progress: bool = True
) -> Estimate:
    """Return the Inception Score of images (n, 1 or 3, H, W) in [-1, 1].

    It is `classifier_score` of Inception v3's logits, over all images at once. Salimans et al.
    average over ten parts instead, each a tenth of the images, and give the parts' deviation;
    their figure is lower, because the score grows with n.

    Raises:
        ValueError: if `inception` is not the network of `load_inception`, x is not float images
            in [-1, 1] (`checked_images`), or as classifier_score.
    """
    _only_inception(inception, "the Inception Score")
    checked_images(x)
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
    interval takes `resamples` of them. `kid` of ``inception.features`` has no such bias.

    Raises:
        ValueError: if `inception` is not the network of `load_inception`, an x is not float
            images in [-1, 1] (`checked_images`), or as frechet_estimate.
    """
    _only_inception(inception, "FID")
    sets = {"x_a": checked_images(x_a, "x_a"), "x_b": checked_images(x_b, "x_b")}
    a, b = (
        in_batches(inception, inception.features, x, BATCH_SIZE, name if progress else None)
        for name, x in sets.items()
    )
    return frechet_estimate(
        a, b, y_a=y_a, y_b=y_b, resamples=resamples, seed=seed, progress=progress
    )


def _only_inception(inception: object, score: str) -> None:
    if not isinstance(inception, Inception):
        raise ValueError(
            f"{score} is a figure of Inception v3's ImageNet weights: pass what load_inception() "
            f"returns, not {type(inception).__name__}. For another network's features, use "
            "classifier_score and frechet_estimate, and call them by those names"
        )
