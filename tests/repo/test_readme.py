"""What README.md shows runs as typed: each Python block, in its order, in one session."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import acgan_lib

ROOT = Path(__file__).resolve().parents[2]
BLOCKS = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.S)

# Sixty small pictures in three classes, as a reader might have them.
PICTURES = """
import numpy as np
from pathlib import Path
from PIL import Image

rng = np.random.default_rng(0)
for k, name in enumerate(("cats", "dogs", "newts")):
    folder = Path("my_images", name)
    folder.mkdir(parents=True)
    for i in range(20):
        pixels = rng.integers(0, 80, (70 + i, 90, 3), dtype=np.uint8)
        pixels[..., k] += 150
        Image.fromarray(pixels).save(folder / f"{i}.png")
"""
# Networks from elsewhere, in the form of PyTorch-GAN's.
THEIRS = """
from torch import nn

class TheirG(nn.Module):
    def __init__(self):
        super().__init__()
        self.label_emb = nn.Embedding(10, 100)
        self.body = nn.Sequential(nn.Linear(100, 1024), nn.Tanh(), nn.Unflatten(1, (1, 32, 32)))

    def forward(self, noise, labels):
        return self.body(self.label_emb(labels) * noise)

class TheirD(nn.Module):
    def __init__(self):
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(1, 8, 3, 4, 1), nn.LeakyReLU(0.2))
        self.adv_layer = nn.Sequential(nn.Linear(512, 1), nn.Sigmoid())
        self.aux_layer = nn.Sequential(nn.Linear(512, 10), nn.Softmax(dim=1))

    def forward(self, img):
        out = self.body(img)
        out = out.view(out.shape[0], -1)
        return self.adv_layer(out), self.aux_layer(out)

their_G, their_D = TheirG(), TheirD()
"""
CHECKS = {
    "image_folder": """
assert (len(train), len(test)) == (48, 12), (train, test)
assert (G.class_names, G.image_size, G.channels) == (("cats", "dogs", "newts"), 64, 3)
assert G.about["steps"] == 2 and "my_images" in G.about["data"], G.about
assert Path("runs/mine/last.pt").is_file()
""",
    "adapt": "ag.fit(G, D, ag.fashion_mini(), ag.acgan(), steps=2)\n",
    "hub": "assert images.shape == (10, 1, 32, 32) and images.abs().max() <= 1\n",
}


def test_the_blocks_run_as_typed(tmp_path: Path) -> None:
    whole = "\n".join(BLOCKS)
    assert whole.count("steps=5000") == 1
    assert whole.count("OWNER") <= 1
    session = PICTURES + THEIRS
    for block, (word, check) in zip(BLOCKS, CHECKS.items(), strict=True):
        assert word in block
        session += block.replace("steps=5000", "steps=2") + check
    session = re.sub(
        r'hub\.load\("[^"]+", ("\w+")\)', rf'hub.load({str(ROOT)!r}, \1, source="local")', session
    )
    done = subprocess.run(
        [sys.executable, "-c", session],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env={**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    for figure in ("accuracy", "MS-SSIM", "Frechet", "KID", "CAS"):
        assert re.search(rf"^{figure}.* n=", done.stdout, re.M), done.stdout


def test_the_ten_lines_are_those_of_the_tour() -> None:
    """README.md and help(acgan_lib) show the same; comments aside."""

    def bare(code: str) -> list[str]:
        lines = [re.sub(r"\s*#.*", "", line) for line in textwrap.dedent(code).split("\n")]
        return [line for line in lines if line]

    tour = re.search(
        r"^    import acgan_lib as ag\n.*?^    ag\.explorer[^\n]*\n",
        str(acgan_lib.__doc__),
        re.M | re.S,
    )
    assert tour
    assert bare(BLOCKS[0]) == bare(tour.group())
    assert len(bare(BLOCKS[0])) == 10
