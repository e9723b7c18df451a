"""Members trained side by side in one network, against the same members trained in turn."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from acgan_lib import nets, objectives
from acgan_lib.data import LabelledImages
from acgan_lib.experiments import ch17_paper_nets
from acgan_lib.scale import splits, stacked
from acgan_lib.train import TrainConfig, draw_latents, fit

M, N, K = 3, 4, 2
CONFIG = TrainConfig(
    batch_size=N, lr_g=1e-3, lr_d=1e-3, precision="fp32", log_every=1, checkpoint_every=2,
    progress=False,
)  # fmt: skip


def images(size: int, m: int) -> LabelledImages:
    generator = torch.Generator().manual_seed(m)
    pixels = torch.randint(0, 256, (20 + m, 1, size, size), generator=generator, dtype=torch.uint8)
    return LabelledImages(pixels, torch.arange(20 + m) % K, ("a", "b"), "random pixels")


def pairs(size: int = 32) -> list[tuple[nets.Generator, nets.Discriminator]]:
    made = []
    for m in range(M):
        torch.manual_seed(m)
        made.append(splits.pair(K, image_size=size, width=4, latent_dim=8))
    return made


def close(state: dict[str, Tensor], other: dict[str, Tensor], **tolerance: float) -> None:
    assert state.keys() == other.keys()
    for name, value in other.items():
        torch.testing.assert_close(
            state[name], value, **tolerance, msg=lambda m, n=name: f"{n} {m}"
        )


def test_rows_go_side_by_side_and_back() -> None:
    rows = torch.arange(M * N * 2 * 5 * 5).view(M * N, 2, 5, 5)
    maps = stacked.side_by_side(rows, M)
    assert maps.shape == (N, M * 2, 5, 5)
    assert torch.equal(maps[1, 2:4], rows[N + 1])  # row 1 of member 1
    assert torch.equal(stacked.apart(maps, M), rows)


@pytest.mark.parametrize("size", [32, 64])
@pytest.mark.parametrize("training", [True, False])
def test_a_stack_computes_what_its_members_compute(size: int, training: bool) -> None:
    """Three passes: each moves spectral norm's vectors and BatchNorm's statistics."""
    both = pairs(size)
    G = stacked.StackedGenerator([G for G, _ in both]).train(training)
    D = stacked.StackedDiscriminator([D for _, D in both]).train(training)
    for step in range(3):
        z, y = (
            torch.cat(t)
            for t in zip(*[draw_latents(both[0][0], N, m, step) for m in range(M)], strict=True)
        )
        x = G(z, y)
        judged = D(x)
        for m, (g, d) in enumerate(both):
            rows = slice(m * N, (m + 1) * N)
            own = g.train(training)(z[rows], y[rows])
            torch.testing.assert_close(x[rows], own, rtol=1e-4, atol=1e-5)
            said = d.train(training)(own)
            torch.testing.assert_close(judged.source_logit[rows], said.source_logit)
            torch.testing.assert_close(judged.class_logits[rows], said.class_logits)
    for whole, members in ((G.whole, [g for g, _ in both]), (D.whole, [d for _, d in both])):
        for state, member in zip(stacked.unstack(whole, M), members, strict=True):
            close(state, member.state_dict(), rtol=1e-4, atol=1e-6)


class Doubled(LabelledImages):
    """The same images in float64."""

    def batch(self, *where: Any) -> tuple[Tensor, Tensor]:
        x, y = super().batch(*where)
        return x.double(), y


def doubled_latents(*how: Any) -> tuple[Tensor, Tensor]:
    z, y = draw_latents(*how)
    return z.double(), y


def distance(state: dict[str, Tensor], other: dict[str, Tensor]) -> float:
    """Return how far apart two states are, as a share of their length."""
    a, b = (torch.cat([v.double().flatten() for v in s.values()]) for s in (state, other))
    return float((a - b).norm() / b.norm())


def test_a_stack_learns_what_its_members_learn_in_turn(monkeypatch) -> None:
    """Three steps in float64.

    The losses are float32, and Adam turns the rounding error of a gradient that is almost zero
    into a full step: hence the median over the networks of nine members.
    """
    monkeypatch.setattr(stacked, "draw_latents", doubled_latents)
    distances, sums = [], []
    for base in (7, 17, 27):
        parts = tuple(
            Doubled(part.images, part.labels, part.class_names, part.source)
            for part in (images(32, m) for m in range(M))
        )
        in_turn = [
            fit(
                G.double(), D.double(), part, objectives.acgan(), steps=3,
                config=replace(CONFIG, seed=base + m), latents=doubled_latents,
            )
            for m, ((G, D), part) in enumerate(zip(pairs(), parts, strict=True))
        ]  # fmt: skip
        both = pairs()
        data = stacked.StackedImages(parts, tuple(base + m for m in range(M)))
        result = fit(
            stacked.StackedGenerator([G for G, _ in both]).double(),
            stacked.StackedDiscriminator([D for _, D in both]).double(),
            data, stacked.summed(objectives.acgan(), M), steps=3,
            config=stacked.stacked_config(CONFIG, M), latents=data.latents,
        )  # fmt: skip
        Gs, Ds = (stacked.unstack(whole.whole, M) for whole in (result.G_ema, result.D))
        for m, alone in enumerate(in_turn):
            distances.append(distance(Gs[m], alone.G_ema.state_dict()))
            distances.append(distance(Ds[m], alone.D.state_dict()))
        first = result.history.rows[0]
        for term in ("d_source_real", "d_class_fake", "g_class"):
            alone_sum = sum(one.history.rows[0][term] for one in in_turn)
            sums.append((first[term], alone_sum))
    assert sorted(distances)[len(distances) // 2] < 1e-12
    assert max(distances) < 1e-4
    for stack_says, members_say in sums:
        assert stack_says == pytest.approx(members_say, rel=1e-5)


def test_train_members_gives_the_same_split_together_and_goes_on(tmp_path, monkeypatch) -> None:
    """Groups of two sizes, so two stacks; the second call trains nothing."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (50, 1, 32, 32), generator=generator, dtype=torch.uint8)
    data = LabelledImages(pixels, torch.arange(50) % 5, tuple("abcde"), "random pixels")
    how = {"total_steps": 5, "config": CONFIG, "width": 4, "progress": False}
    groups = [[3, 0], [1], [2, 4]]
    alone = splits.train_members(data, groups, **how)
    as_one = splits.train_members(data, groups, **how, together=True, run_dir=tmp_path)
    assert distance(as_one.state_dict(), alone.state_dict()) < 1e-2  # float32: see above
    assert len(list(tmp_path.glob("stack-*/last.pt"))) == 2
    monkeypatch.setattr("acgan_lib.train._step", None)  # any step would raise
    again = splits.train_members(data, groups, **how, together=True, run_dir=tmp_path)
    close(again.state_dict(), as_one.state_dict(), rtol=0, atol=0)


def test_what_cannot_be_stacked_is_an_error_that_says_why() -> None:
    paper = ch17_paper_nets.cifar10_pair()
    with pytest.raises(TypeError, match=r"only nets\.Generator"):
        stacked.StackedGenerator([paper[0]])
    with pytest.raises(TypeError, match="without label_input"):
        stacked.StackedDiscriminator([nets.Discriminator(width=4, label_input=2)])
    with pytest.raises(TypeError, match="GroupNorm"):
        stacked.stack([nn.Sequential(nn.GroupNorm(1, 2))] * 2)
    with pytest.raises(ValueError, match="same layers"):
        stacked.stack([nets.Discriminator(width=4), nets.Discriminator(width=4, class_head=2)])
    with pytest.raises(ValueError, match="must agree"):
        stacked.StackedImages((images(32, 0), images(64, 1)), (0, 1))
    with pytest.raises(ValueError, match="as many seeds"):
        stacked.StackedImages((images(32, 0),), (0, 1))
    with pytest.raises(ValueError, match="multiple of the 3 members"):
        stacked.StackedImages((images(32, 0),) * 3, (0, 1, 2)).batch(0, 10, 0)
