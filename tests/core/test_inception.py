"""Inception Score and FID: the formulas on its features, and the names kept for it alone.

No test fetches the weights. Random ones stand in for them, the hash turned to theirs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch
import torchvision
from PIL import Image
from torch import Tensor
from torch_fidelity import metric_fid, metric_isc

from acgan_lib import metrics
from acgan_lib.judge import Judge
from acgan_lib.metrics import inception as module
from acgan_lib.metrics.inception import FILE, Inception, prepared


def images(n: int, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, side, side, generator=generator) * 2 - 1


@pytest.fixture(scope="module")
def state() -> dict[str, Tensor]:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = torchvision.models.inception_v3(weights=None, init_weights=False)
    return net.state_dict()


@pytest.fixture
def published(state: dict[str, Tensor], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file of random weights that the loader takes for the published one."""
    path = tmp_path / FILE
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "SHA256_START", digest[:8])
    return path


def test_it_is_torchvisions_network_on_torchvisions_inputs(state: dict[str, Tensor]) -> None:
    """The port expects ImageNet's mean and deviation and undoes them: [-1, 1] comes to the same."""
    reference = torchvision.models.inception_v3(
        weights=None, init_weights=False, transform_input=True
    )
    reference.load_state_dict(state)
    x = images(2)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    with torch.no_grad():
        in_their_range = ((prepared(x) + 1) / 2 - mean.view(3, 1, 1)) / std.view(3, 1, 1)
        want = reference.eval()(in_their_range)
        ours = Inception(state).eval()
        torch.testing.assert_close(ours(x), want, atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(ours.head(ours.features(x)), ours(x))
    assert ours.features(x).shape == (2, 2048)


def test_images_are_resized_as_pillow_does_and_grey_becomes_three_channels() -> None:
    for side in (32, 500):  # enlarged; shrunk, where antialiasing counts
        x = images(1, 1, side)
        wide = Image.fromarray(x[0, 0].numpy()).resize((299, 299), Image.Resampling.BILINEAR)
        got = prepared(x)
        assert got.shape == (1, 3, 299, 299)
        np.testing.assert_allclose(got[0, 2].numpy(), np.asarray(wide), atol=1e-4)
    with pytest.raises(ValueError, match="1 or 3"):
        prepared(images(1, 2))


def test_scores_agree_with_torch_fidelity_on_the_same_features(published: Path) -> None:
    net = metrics.load_inception(published)
    a, b = images(5), images(4, seed=1).clamp(-0.8, 0.8)
    features = [metrics.in_batches(net, net.features, x) for x in (a, b)]
    # The Frechet distance is the same in any basis; 9 rows need 9 of the 2,048 dimensions.
    basis = torch.linalg.qr(torch.cat(features).double().T).Q
    statistics = [metric_fid.fid_features_to_statistics(f.double() @ basis) for f in features]
    theirs = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    ours = metrics.fid(net, a, b, resamples=2, progress=False)
    assert ours.value == pytest.approx(theirs["frechet_inception_distance"], rel=1e-4)
    assert ours.n == 4
    logits = metrics.in_batches(net, net, a)
    theirs = metric_isc.isc_features_to_metric(logits, splits=1)
    score = metrics.inception_score(net, a, resamples=5, progress=False)
    assert score.value == pytest.approx(theirs["inception_score_mean"], rel=1e-5)
    assert score.n == 5


def test_the_names_belong_to_the_trained_network(state: dict[str, Tensor]) -> None:
    x = images(2, 1)
    for other in (Judge(), Inception(state)):
        with pytest.raises(ValueError, match="the Inception Score is a figure of Inception v3"):
            metrics.inception_score(other, x)  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="FID is a figure of Inception v3"):
            metrics.fid(other, x, x)  # type: ignore[arg-type]


def test_nothing_is_fetched_unless_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    monkeypatch.setattr(module, "_places", lambda: [tmp_path / FILE])
    with pytest.raises(FileNotFoundError, match="download=True"):
        metrics.load_inception()
    with pytest.raises(FileNotFoundError, match=r"elsewhere\.pth"):
        metrics.load_inception(tmp_path / "elsewhere.pth")


def test_a_changed_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="not the published file"):
        metrics.load_inception(path)


def test_a_download_is_checked_before_it_gets_its_name(
    published: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    monkeypatch.setattr(module, "_places", lambda: [cache / FILE])
    content = [b"half of it"]

    def fetch(url: str, target: str) -> None:
        assert url == module.URL
        Path(target).write_bytes(content[0])

    monkeypatch.setattr(torch.hub, "download_url_to_file", fetch)
    with pytest.raises(ValueError, match="not the published file"):
        metrics.load_inception(download=True)
    assert list(cache.iterdir()) == []
    content[0] = published.read_bytes()
    assert metrics.load_inception(download=True).trained_on_imagenet
    assert [p.name for p in cache.iterdir()] == [FILE]

    def fail(url: str, target: str) -> None:
        raise OSError("no network")

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    (cache / FILE).unlink()
    with pytest.raises(RuntimeError, match="could not be fetched"):
        metrics.load_inception(download=True)
