"""Two processes follow one: the same losses from half the batch each, also after a SIGKILL.

The processes are real ones of ``torchrun`` on this machine, with gloo; ranks_worker.py, beside
this file, is what they run. One start, and one more after the SIGKILL, serve all tests here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import ranks_worker
import torch
from torch import nn

from acgan_lib.scale import ranks
from acgan_lib.scale.ranks import ALONE, Ranks

HERE = Path(__file__).parent
pytestmark = [
    pytest.mark.skipif(os.name == "nt", reason="gloo and SIGKILL, as on Linux and macOS"),
    pytest.mark.usefixtures("one_thread"),
]


@pytest.fixture(scope="module")
def both(
    tmp_path_factory: pytest.TempPathFactory, alike: dict[str, str]
) -> tuple[list[dict[str, Any]], Path]:
    """What two ranks found, on a free port of this machine, and the folder of their files."""
    folder = tmp_path_factory.mktemp("ranks")
    command = [
        sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2",
        "--standalone", "--max-restarts", "1", str(HERE / "ranks_worker.py"), str(folder),
    ]  # fmt: skip
    started = subprocess.Popen(
        command, env=alike, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        said = started.communicate()[1]
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)  # torchrun's ranks go with it
    assert started.returncode == 0, said[-4000:]
    return [torch.load(folder / f"rank-{rank}.pt") for rank in (0, 1)], folder


def close(rows: list[dict[str, float]], others: list[dict[str, float]], tolerance: float) -> bool:
    return len(rows) == len(others) and all(
        a[k] == pytest.approx(b[k], abs=tolerance, rel=tolerance)
        for a, b in zip(rows, others, strict=True)
        for k in b
    )


def test_half_the_batch_each_gives_one_process_losses_and_weights(both) -> None:
    (first, second), _ = both
    assert (first["ranks"], second["ranks"]) == ((0, 2), (1, 2))
    alone = ranks_worker.kept(ranks_worker.plain(ALONE))
    # The history passes through float32 once; the weights are float64 throughout.
    assert close(first["plain"]["rows"], alone["rows"], 1e-6)
    for name, value in alone["tensors"].items():
        torch.testing.assert_close(first["plain"]["tensors"][name], value, rtol=1e-9, atol=1e-12)


def test_synced_statistics_follow_one_process_and_local_ones_do_not(both) -> None:
    (first, _), _ = both
    alone = ranks_worker.kept(ranks_worker.usual(ALONE, synced=False))
    assert close(first["synced"]["rows"], alone["rows"], 1e-3)
    assert not close(first["local"]["rows"], alone["rows"], 1e-3)
    for name, value in alone["tensors"].items():
        if "running" in name:
            torch.testing.assert_close(
                first["synced"]["tensors"][name], value, rtol=1e-3, atol=1e-4, msg=name
            )


def test_all_ranks_hold_the_same_weights(both) -> None:
    (first, second), _ = both
    for run in ("plain", "synced", "local"):
        assert first[run]["rows"] == second[run]["rows"]
        for name, value in first[run]["tensors"].items():
            if run == "local" and ("running" in name):
                continue  # each rank's own statistics: what "local" means
            assert torch.equal(value, second[run]["tensors"][name]), (run, name)


def test_rank_0_alone_writes_and_calls_back_and_a_stop_stops_all(both) -> None:
    (first, second), folder = both
    assert (folder / "run-0" / "last.pt").is_file()
    assert not (folder / "run-1").exists()
    assert (first["seen"], second["seen"]) == ([1, 2, 3], [])
    assert [len(r["stopped"]["rows"]) for r in (first, second)] == [3, 3]


def test_a_killed_rank_brings_both_back_to_the_last_checkpoint(both) -> None:
    found, folder = both
    first = torch.load(folder / "killed.pt")
    assert first["tries"] == 1
    assert first["calls"] == 3 * 2  # steps 5 and 6 alone were taken again
    unbroken = found[0]["local"]
    assert first["rows"] == unbroken["rows"]
    different = [
        name
        for name, v in unbroken["tensors"].items()
        if not torch.equal(v, first["tensors"][name])
    ]
    assert different == []


def test_rows_share_a_batch_without_gap_or_overlap() -> None:
    rows = [r for rank in range(4) for r in range(12)[Ranks(rank, 4).rows(12)]]
    assert rows == list(range(12))
    assert ALONE.rows(7) == slice(0, 7)
    for size, batch in ((5, 12), (4, 4)):
        with pytest.raises(ValueError, match=f"multiple of the {size} ranks.* got {batch}"):
            Ranks(0, size).rows(batch)


def test_alone_nothing_is_exchanged() -> None:
    t = torch.tensor([1.0, 2.0])
    ALONE.average_([t])
    assert t.tolist() == [1, 2]
    assert ALONE.from_first("x") == "x"
    with ranks.join() as alone:  # no torchrun here
        assert alone == ALONE


def test_synced_batch_norm_alone_is_batch_norm() -> None:
    torch.manual_seed(0)
    layers = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.Sequential(nn.BatchNorm2d(3)))
    nn.init.normal_(layers[1].weight)
    x = torch.randn(4, 1, 8, 8)
    state = {k: v.clone() for k, v in layers.state_dict().items()}
    expected = layers(x)
    layers.load_state_dict(state)
    ranks.sync_batch_norm(layers)
    assert [type(m).__name__ for m in layers.modules()].count("SyncedBatchNorm2d") == 2
    assert torch.equal(layers(x), expected)
