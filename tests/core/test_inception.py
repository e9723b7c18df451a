"""Inception Score and FID: torch-fidelity's network, our intervals, and the names kept for it.

No test fetches the weights. Random ones stand in for them, the hash turned to theirs.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
import torch_fidelity
from torch import Tensor, nn
from torch_fidelity import metric_fid

from acgan_lib import metrics
from acgan_lib.data import to_uint8
from acgan_lib.judge import Judge
from acgan_lib.metrics import inception as module
from acgan_lib.metrics.inception import FILE


def images(n: int, channels: int = 3, side: int = 32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(n, channels, side, side, generator=generator) * 2 - 1


@pytest.fixture(scope="module")
def random_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of random weights; torch-fidelity has no network without a file."""

    class Random(torch_fidelity.FeatureExtractorInceptionV3):
        def load_state_dict(self, *_: object) -> None:
            """Keep the weights of the start."""

    path = tmp_path_factory.mktemp("inception") / FILE
    torch.save({}, path)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = Random("random", ["2048"], feature_extractor_weights_path=str(path))
        for part in network.modules():
            if isinstance(part, nn.Conv2d | nn.Linear):  # else all images end as the same features
                nn.init.kaiming_normal_(part.weight, nonlinearity="relu")
    torch.save(network.state_dict(), path)
    return path


@pytest.fixture
def published(random_weights: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file, which the loader now takes for the published one."""
    digest = hashlib.sha256(random_weights.read_bytes()).hexdigest()
    monkeypatch.setattr(module, "SHA256", digest)
    return random_weights


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty place for torch.hub to keep the weights."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


class Bytes(torch.utils.data.Dataset[Tensor]):
    """Images in [-1, 1] as torch-fidelity takes them."""

    def __init__(self, x: Tensor) -> None:
        self.x = to_uint8(x)

    def __len__(self) -> int:
        return len(self.x)

    def __getitem__(self, i: int) -> Tensor:
        return self.x[i]


def test_scores_are_those_of_torch_fidelity(published: Path) -> None:
    """Its whole way from bytes to figures, but for FID's root, which takes minutes at 2,048."""
    net = metrics.load_inception(published)
    a, b = images(4, side=4), images(3, side=4, seed=1) / 2
    theirs: dict[str, Any] = torch_fidelity.calculate_metrics(
        input1=Bytes(a), input2=Bytes(b), isc=True, isc_splits=1, kid=True,
        kid_subsets=1, kid_subset_size=3, samples_shuffle=False, cuda=False, verbose=False,
        feature_extractor_weights_path=str(published), cache=False, save_cpu_ram=True,
    )  # fmt: skip
    score = metrics.inception_score(net, a, resamples=5, progress=False)
    assert score.value - 1 == pytest.approx(theirs["inception_score_mean"] - 1, rel=1e-3)
    assert score.n == 4
    assert score.value > 1.001
    features = [metrics.in_batches(net, net.features, x) for x in (a, b)]
    assert features[0].shape == (4, 2048)
    # The Frechet distance is the same in any basis; 7 rows need 7 of the 2,048 dimensions.
    basis = torch.linalg.qr(torch.cat(features).double().T).Q
    statistics = [metric_fid.fid_features_to_statistics(f.double() @ basis) for f in features]
    distance = metric_fid.fid_statistics_to_metric(*statistics, verbose=False)
    ours = metrics.fid(net, a, b, resamples=2, progress=False)
    assert ours.value == pytest.approx(distance["frechet_inception_distance"], rel=1e-4)
    assert ours.value > 0.01
    assert ours.n == 3
    # It draws three of the four at random.
    subsets = [[i for i in range(4) if i != left_out] for left_out in range(4)]
    kernel = [metrics.kid(features[0][rows], features[1]).value for rows in subsets]
    theirs_kernel = theirs["kernel_inception_distance_mean"]
    assert min(abs(value - theirs_kernel) for value in kernel) < 1e-4 * abs(theirs_kernel)


def test_grey_images_become_three_equal_channels(published: Path) -> None:
    net = metrics.load_inception(published)
    grey = images(1, channels=1)
    features = metrics.in_batches(net, net.features, grey)
    assert torch.equal(features, metrics.in_batches(net, net.features, grey.repeat(1, 3, 1, 1)))
    with pytest.raises(ValueError, match="1 or 3"):
        net.features(images(1, 2))
    with pytest.raises(ValueError, match=r"x_b must be a float tensor with values in \[-1, 1\]"):
        metrics.fid(net, grey, to_uint8(grey))
    with pytest.raises(ValueError, match="x holds 3,072 values that are not finite"):
        metrics.inception_score(net, torch.cat([grey, torch.full((3, 1, 32, 32), torch.nan)]))


def test_the_names_belong_to_the_trained_network() -> None:
    x = images(2, 1)
    with pytest.raises(ValueError, match="the Inception Score is a figure of Inception v3"):
        metrics.inception_score(Judge(), x)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="FID is a figure of Inception v3"):
        metrics.fid(Judge(), x, x)  # type: ignore[arg-type]


def test_nothing_is_fetched_unless_asked(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was used")

    monkeypatch.setattr(torch.hub, "download_url_to_file", refuse)
    with pytest.raises(FileNotFoundError, match=r"metrics\.load_inception\(download=True\)"):
        metrics.load_inception()
    with pytest.raises(FileNotFoundError, match=r"elsewhere\.pth"):
        metrics.load_inception("~/elsewhere.pth")
    assert not cache.exists()


def test_a_changed_file_is_refused_and_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / FILE
    path.write_bytes(b"cut short")
    with pytest.raises(ValueError, match="not the published file"):
        metrics.load_inception(path)


def test_a_download_is_checked_before_it_gets_its_name(
    published: Path, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cut = tmp_path / "cut"
    cut.write_bytes(b"half of it")
    monkeypatch.setattr(module, "URL", cut.as_uri())
    with pytest.raises(RuntimeError, match="invalid hash value"):
        metrics.load_inception(download=True)
    assert list(cache.iterdir()) == []
    monkeypatch.setattr(module, "URL", published.as_uri())
    network = metrics.load_inception(download=True)
    assert not network.training
    assert not any(p.requires_grad for p in network.parameters())
    assert [p.name for p in cache.iterdir()] == [FILE]
    assert metrics.load_inception().network is not network.network  # from the cache, unasked
    (cache / FILE).unlink()
    monkeypatch.setattr(module, "URL", (tmp_path / "nowhere").as_uri())
    with pytest.raises(RuntimeError, match=r"(?s)the download failed.*load_inception\(path\)"):
        metrics.load_inception(download=True)
