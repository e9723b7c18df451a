"""Hidden labels: which stay, what the class term makes of the rest, and what chapter 15 runs."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from checks import StubD, log_softmax, two_classes
from standins import Head, Painter, Reader, images

from acgan_lib import metrics, objectives
from acgan_lib.data import UNLABELLED, LabelledImages, to_uint8
from acgan_lib.experiments import arrays, ch15_labels, stored
from acgan_lib.experiments.ch15_labels import PartlyLabelled, hide_labels
from acgan_lib.losses import class_loss, known_class_loss
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Batch
from acgan_lib.train import History, Result, TrainConfig, fit

LABELS = torch.tensor([2, UNLABELLED, 0, UNLABELLED, 1])


def logits(seed: int, rows: int = 5, classes: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 3 * torch.randn(rows, classes, generator=generator, dtype=torch.float64)


# The class term over known labels


def test_the_class_term_is_the_mean_over_labelled_images_by_hand_in_float64() -> None:
    a = logits(0)
    log_p = log_softmax(a)
    expected = -(log_p[0, 2] + log_p[2, 0] + log_p[4, 1]) / 3
    assert float(known_class_loss(a, LABELS)) == pytest.approx(float(expected), rel=1e-6)


def test_with_every_label_it_is_the_class_loss_and_with_none_it_is_zero() -> None:
    a, every = logits(1), torch.tensor([2, 2, 0, 1, 1])
    assert float(known_class_loss(a, every)) == pytest.approx(float(class_loss(a, every)))
    a.requires_grad_()
    nothing = known_class_loss(a, torch.full((5,), UNLABELLED))
    assert float(nothing.detach()) == 0.0
    (gradient,) = torch.autograd.grad(nothing, a)
    assert torch.equal(gradient, torch.zeros_like(a))  # and neither is NaN


def test_an_unlabelled_image_gets_exactly_no_gradient_from_the_class_term() -> None:
    x = torch.cat([logits(2)[:, :1], logits(3)], dim=1).requires_grad_()  # StubD's "images"
    terms = objectives.semi().d_loss(StubD(), Batch(x, LABELS), Batch(x.detach(), LABELS.abs()))
    (gradient,) = torch.autograd.grad(terms["d_class_real"], x, retain_graph=True)
    hidden = LABELS == UNLABELLED
    assert torch.equal(gradient[hidden], torch.zeros_like(gradient[hidden]))
    # A labelled one gets (softmax - onehot) / 3, the batch having three labels.
    onehot = torch.eye(3, dtype=torch.float64)[LABELS[~hidden]]
    expected = (log_softmax(x.detach()[~hidden, 1:]).exp() - onehot) / 3
    torch.testing.assert_close(gradient[~hidden, 1:], expected, rtol=1e-5, atol=1e-7)
    # And the source term teaches from every image.
    (source,) = torch.autograd.grad(terms["d_source_real"], x)
    assert bool((source[:, 0] < 0).all())


@pytest.mark.parametrize("variant", ["real+fake", "real", "n+1"])
def test_with_every_label_semi_is_acgan(variant) -> None:
    K = 4 if variant == "n+1" else 3
    y = torch.tensor([0, 1, 2, 1])
    rows = [logits(seed, 4, 1 + K) for seed in (4, 5)]
    real, fake = Batch(rows[0], y), Batch(rows[1], y.flip(0))
    ours, usual = (make(class_loss_on=variant) for make in (objectives.semi, objectives.acgan))
    for loss, batches in (("d_loss", (real, fake)), ("g_loss", (fake,))):
        a, b = (getattr(of, loss)(StubD(), *batches) for of in (ours, usual))
        torch.testing.assert_close(a, b)


def test_semi_refuses_an_unknown_variant() -> None:
    with pytest.raises(ValueError, match="class_loss_on must be"):
        objectives.semi(class_loss_on="fake")  # type: ignore[arg-type]


# The labels that stay


def test_hiding_keeps_the_images_and_n_true_labels_of_each_class() -> None:
    data = two_classes(40)
    partly = hide_labels(data, 3, seed=1)
    assert torch.equal(partly.images, data.images)
    known = partly.labels != UNLABELLED
    assert torch.equal(partly.labels[known], data.labels[known])
    assert torch.bincount(partly.labels[known]).tolist() == [3, 3]
    assert partly.class_names == data.class_names
    assert not torch.equal(known, hide_labels(data, 3, seed=2).labels != UNLABELLED)
    more = hide_labels(data, 7, seed=1).labels != UNLABELLED
    assert bool((more | ~known).all()), "a larger keep must keep those labels too"
    assert torch.equal(hide_labels(data, 20, seed=0).labels, data.labels)


def test_hiding_refuses_more_labels_than_there_are_and_negative_numbers() -> None:
    with pytest.raises(ValueError, match="keep must be 0 or more, not -1"):
        hide_labels(two_classes(), -1, seed=0)
    with pytest.raises(ValueError, match="has only 20 images"):
        hide_labels(two_classes(40), 21, seed=0)


def test_only_a_partly_labelled_set_takes_the_hidden_label() -> None:
    partly = hide_labels(two_classes(40), 2, seed=0)
    assert type(partly.subset(torch.arange(5)).to("cpu")) is type(partly)
    with pytest.raises(ValueError, match=r"they span -1\.\.1"):
        LabelledImages(partly.images, partly.labels, partly.class_names, "a mistake")
    x, y = partly.batch(0, 40, seed=0)
    assert int((y == UNLABELLED).sum()) == 36
    assert len(x) == 40
    with pytest.raises(ValueError, match="split the set first, then hide labels"):
        partly.split(0.5, seed=0)
    labelled = partly.labelled()
    assert type(labelled) is LabelledImages
    assert torch.bincount(labelled.labels).tolist() == [2, 2]


def test_repeats_bring_the_labelled_images_to_their_share() -> None:
    partly = hide_labels(two_classes(400), 2, seed=0)
    more = partly.repeated(0.2)
    known = more.labels != UNLABELLED
    assert int((~known).sum()) == 396, "each unlabelled image stays once"
    # x of 396 + x are to be a fifth, so x is 99: the four labelled images 24.75, so 25 times each.
    seen = Counter(bytes(image.numpy()) for image in more.images[known])
    assert seen == {bytes(image.numpy()): 25 for image in partly.labelled().images}
    half = hide_labels(two_classes(40), 1, seed=0).repeated(0.5)  # 2 of 40: 38 more, 19 times each
    assert int((half.labels != UNLABELLED).sum()) == 38
    assert partly.repeated(0) is partly
    full = hide_labels(two_classes(40), 20, seed=0)
    assert full.repeated(0.2) is full
    with pytest.raises(ValueError, match=r"share must lie in \[0, 1\)"):
        partly.repeated(1.0)
    with pytest.raises(ValueError, match="0 of 40 images have a label"):
        hide_labels(two_classes(40), 0, seed=0).repeated(0.2)


def test_training_without_a_single_label_stays_finite() -> None:
    data = hide_labels(two_classes(40), 0, seed=0)
    torch.manual_seed(0)
    G = Generator(latent_dim=4, num_classes=2, width=4)
    D = Discriminator(width=4, class_head=2)
    config = TrainConfig(batch_size=8, log_every=1, checkpoint_every=1, progress=False)
    history = fit(G, D, data, objectives.semi(), steps=2, config=config).history
    assert history.column("d_class_real") == [0.0, 0.0]
    assert all(value > 0 for value in history.column("d_class_fake"))


# What chapter 15 records


def test_the_classifier_learns_what_is_easy() -> None:
    light = torch.arange(60) % 2
    images = (light[:, None, None, None] * 150 + torch.randint(0, 99, (60, 1, 32, 32))).byte()
    data = LabelledImages(images, light, ("dark", "light"), "two greys")
    D = ch15_labels.train_classifier(data, steps=20, seed=0)
    assert not D.training
    assert bool((D(data.normalised()).class_logits.argmax(1) == light).all())


TRAIN, TEST = images(4, 30, seed=1), images(4, 8, lying=2, seed=2)
TASK = ch15_labels.Task(TRAIN, TEST, "judge_x", (10, 30))


def known(data: LabelledImages) -> list[int]:
    """How many images of each class have a label."""
    return torch.bincount(data.labels[data.labels != UNLABELLED], minlength=4).tolist()


def test_the_classifier_sees_the_labelled_images_alone_and_is_tested_on_the_test_images(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen: list[tuple[LabelledImages, int, int, int]] = []

    def train_classifier(data: LabelledImages, *, steps: int, seed: int, shift: int) -> Head:
        seen.append((data, steps, seed, shift))
        return Head(4, 4)

    monkeypatch.setattr(ch15_labels, "train_classifier", train_classifier)
    for method in ("classifier", "classifier+shift"):
        assert ch15_labels.run(TASK, 10, method, seed=3) == {"head": metrics.proportion(24, 32)}
    for (data, steps, seed, shift), wanted in zip(seen, (0, 1), strict=True):
        assert known(data) == [10, 10, 10, 10]
        assert len(data) == 40
        assert torch.equal(data.images, hide_labels(TRAIN, 10, 3).labelled().images)
        assert (steps, seed, shift) == (ch15_labels.STEPS, 3, wanted)


@pytest.mark.parametrize("variant", ["real+fake", "n+1"])
def test_samples_are_judged_by_the_judge_and_the_head_on_the_test_images(
    variant: Any, shipped: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """G shows each class under the next one's name, which D's head has agreed to call right."""
    shipped["judge_x"] = (Reader(26), {})
    seen: list[PartlyLabelled] = []

    class Agreed(Head, Discriminator):
        def __init__(self) -> None:
            Head.__init__(self, 5, 4, off=3)

    def train_gan(data: PartlyLabelled, *, steps: int, seed: int, variant: str) -> Result:
        seen.append(data)
        return Result(Painter(4, off=1), Agreed(), Painter(4, off=1), History())

    monkeypatch.setattr(ch15_labels, "train_gan", train_gan)
    found = ch15_labels.run(TASK, 10, variant, seed=3)
    assert found["samples"] == metrics.proportion(0, 1_200), "D would call all of them right"
    assert found["samples_renamed"].value == 1
    assert found["head"] == metrics.proportion(0 + 8, 32)  # on test images it reads one too low
    [data] = seen
    assert (len(data), known(data)) == (120, [10, 10, 10, 10])
    assert torch.equal(data.labels, hide_labels(TRAIN, 10, 3).labels)
    x, y = metrics.sample(Painter(4, off=1), 300, seed=3)
    first = torch.cat([torch.nonzero(y == k).flatten()[:2] for k in range(4)])
    assert torch.equal(found["pictures"], to_uint8(x[first]))


def test_each_class_loss_has_the_logits_that_it_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    met: list[tuple[int, str, int, float]] = []

    def fit(G: Any, D: Any, data: Any, objective: Any, *, steps: int, config: Any) -> None:
        share = float((data.labels != UNLABELLED).float().mean())
        met.append((D.class_head.out_features, objective.name, config.batch_size, share))

    monkeypatch.setattr(ch15_labels, "fit", fit)
    for variant in ("real+fake", "real", "n+1"):
        ch15_labels.train_gan(hide_labels(TRAIN, 2, 0), steps=1, seed=0, variant=variant)
    assert [logits for logits, *_ in met] == [4, 4, 5]
    assert len({name for _, name, *_ in met}) == 3
    assert all((batch, share) == (50, pytest.approx(0.2, abs=0.03)) for *_, batch, share in met)


def test_the_runs_of_a_seed() -> None:
    tasks = {"fashion": TASK}
    assert len(ch15_labels.runs(tasks, seed=3)) == 2 * 2 + 1
    assert ch15_labels.runs(tasks, seed=0)[-1] == ("fashion", 10, "n+1")
    with pytest.raises(ValueError, match="name must be 'fashion' or 'glyphs'"):
        ch15_labels.task("letters")


def test_each_run_is_done_once_and_recorded(results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done: list[tuple[int, str, int]] = []

    def run(task: ch15_labels.Task, keep: int, method: str, seed: int) -> dict[str, Any]:
        done.append((keep, method, seed))
        found: dict[str, Any] = {"head": metrics.proportion(3, 4)}
        if not method.startswith("classifier"):
            found["pictures"] = torch.full((2, 1, 32, 32), keep, dtype=torch.uint8)
        return found

    monkeypatch.setattr(ch15_labels, "run", run)
    monkeypatch.setattr(ch15_labels, "task", lambda name, root: TASK)
    for seed in (3, 0, 3):
        ch15_labels.labels(seed)
    tasks = {"fashion": TASK, "glyphs": TASK}
    assert len(done) == len(ch15_labels.runs(tasks, 3)) + len(ch15_labels.runs(tasks, 0))
    rows = stored("labels")
    assert len(rows) == len(done)
    one = next(row for row in rows if row["model"] == "glyphs, 10 a class, real+fake")
    assert one == {
        "model": "glyphs, 10 a class, real+fake", "seed": 0, "data": "glyphs", "keep": 10,
        "method": "real+fake", "steps": 600, "head": metrics.proportion(3, 4),
    }  # fmt: skip
    kept = arrays("labels")  # of seed 0 alone
    assert "fashion, 30 a class, real+fake" in kept
    assert not any("classifier" in name for name in kept)
    assert (kept["glyphs, 10 a class, real"] == 10).all()
