"""The training loop: its arithmetic by hand, resuming bit for bit, and what it does when it fails.

The runs are tiny: networks of width 4, 40 images, a handful of steps.
"""

from __future__ import annotations

import copy
import csv
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import pytest
import torch
from checks import (
    d_step_leaves_g_alone,
    labels_are_uniform,
    training_draws_in_eval_mode,
    two_classes,
)
from PIL import Image
from torch import Tensor, nn

from acgan_lib import train
from acgan_lib.data import LabelledImages, image_folder
from acgan_lib.nets import Discriminator, Generator
from acgan_lib.objectives import Batch, Objective, acgan, cgan, gan
from acgan_lib.train import (
    CsvHistory,
    Progress,
    Result,
    SampleGrid,
    TensorBoardHistory,
    TrainConfig,
    TrainingDivergedError,
    draw_latents,
    fit,
    frozen,
)

pytestmark = pytest.mark.usefixtures("one_thread")


def config(**changes: Any) -> TrainConfig:
    settings = {"batch_size": 4, "precision": "fp32", "progress": False, "log_every": 1}
    return TrainConfig(**{**settings, "checkpoint_every": 2, **changes})


def networks(seed: int = 0, width: int = 4) -> tuple[Generator, Discriminator]:
    torch.manual_seed(seed)
    G = Generator(latent_dim=8, num_classes=2, width=width)
    return G, Discriminator(width=width, class_head=2)


def tiny_run(
    run_dir: Path | None = None,
    steps: int = 8,
    objective: Objective | None = None,
    callbacks: Any = (),
    **changes: Any,
) -> Result:
    return fit(
        *networks(), two_classes(), objective or acgan(),
        steps=steps, config=config(**changes), callbacks=callbacks, run_dir=run_dir,
    )  # fmt: skip


def weights(result: Result) -> dict[str, Tensor]:
    """Every tensor of a result: parameters, BatchNorm's statistics, spectral norm's vectors."""
    return {
        f"{name}.{key}": value
        for name in ("G", "D", "G_ema")
        for key, value in getattr(result, name).state_dict().items()
    }


def assert_same(a: Result, b: Result) -> None:
    left, right = weights(a), weights(b)
    assert left.keys() == right.keys()
    different = [k for k in left if not torch.equal(left[k], right[k])]
    assert not different
    assert a.history.rows == b.history.rows


class Stop(Exception):
    """Raised by a callback, in a killed run's place."""


def stop_at(step: int) -> Any:
    def callback(progress: Progress) -> None:
        if progress.step == step:
            raise Stop

    return callback


# --- latents and labels -------------------------------------------------------------------------


def test_labels_are_uniform_over_all_classes() -> None:
    labels_are_uniform(draw_latents)


def test_latents_are_a_pure_function_of_seed_and_step() -> None:
    G = Generator(latent_dim=50, num_classes=10, width=4)
    torch.manual_seed(1)
    z, y = draw_latents(G, 200, seed=3, step=5)
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = draw_latents(G, 200, seed=3, step=5)
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.equal(z, again[0])
    assert torch.equal(y, again[1])
    for seed, step in ((3, 6), (4, 5), (5, 3)):
        other = draw_latents(G, 200, seed=seed, step=step)
        assert not torch.equal(z, other[0])
        assert not torch.equal(y, other[1])
    assert z.shape == (200, 50)
    assert y.shape == (200,)
    assert y.dtype == torch.int64
    assert abs(float(z.mean())) < 0.05
    assert abs(float(z.std()) - 1) < 0.05


def test_unconditional_generator_gets_label_zero() -> None:
    _, y = draw_latents(Generator(num_classes=0, width=4), 5, seed=0, step=0)
    assert y.tolist() == [0] * 5


# --- one step -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("objective", "heads"),
    [(gan(), {}), (cgan(), {"label_input": 2}), (acgan(), {"class_head": 2})],
    ids=["gan", "cgan", "acgan"],
)
def test_a_step_is_the_textbook_step(objective: Objective, heads: dict[str, int]) -> None:
    """Against the step as one writes it first: new fakes for G, nothing frozen, plain Adam."""
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4, **heads)
    G2, D2 = copy.deepcopy((G, D))
    data, settings = two_classes(), config(lr_g=1e-3, lr_d=2e-3)
    result = fit(G, D, data, objective, steps=3, config=settings)

    opt_g = torch.optim.Adam(G2.parameters(), 1e-3, (0.5, 0.999))
    opt_d = torch.optim.Adam(D2.parameters(), 2e-3, (0.5, 0.999))
    for t in range(3):
        for optimiser, lr in ((opt_g, 1e-3), (opt_d, 2e-3)):
            optimiser.param_groups[0]["lr"] = lr * (1 - t / 3)
        x, y = data.batch(t, 4, seed=0)
        z, y_fake = draw_latents(G2, 4, 0, t)
        with torch.no_grad():
            moments = copy.deepcopy(G2.state_dict())
            fake = G2(z, y_fake)
            G2.load_state_dict(moments)  # the loop runs G once, so its statistics move once
        d_terms = objective.d_loss(D2, Batch(x, y), Batch(fake, y_fake))
        opt_d.zero_grad()
        sum(d_terms.values()).backward()
        opt_d.step()
        g_terms = objective.g_loss(D2, Batch(G2(z, y_fake), y_fake))
        opt_g.zero_grad()
        sum(g_terms.values()).backward()
        opt_g.step()
        expected = {k: v.item() for k, v in {**d_terms, **g_terms}.items()}
        logged = dict(result.history.rows[t])
        assert logged.pop("step") == t + 1
        assert logged == pytest.approx(expected, rel=1e-3, abs=1e-4)
    for mine, theirs in ((G, G2), (D, D2)):
        for (name, a), b in zip(
            mine.state_dict().items(), theirs.state_dict().values(), strict=True
        ):
            torch.testing.assert_close(a, b, rtol=2e-3, atol=2e-4, msg=name)


def test_d_step_leaves_g_alone() -> None:
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4)
    d_step_leaves_g_alone(train, G, D)


def test_g_step_leaves_d_alone_and_meets_a_d_that_has_just_learned() -> None:
    G, D = networks()
    usual, seen = acgan(), []

    def d_loss(D: nn.Module, real: Batch, fake: Batch) -> dict[str, Tensor]:
        assert all(p.requires_grad for p in D.parameters())
        seen.append(copy.deepcopy(dict(D.named_parameters())))
        return usual.d_loss(D, real, fake)

    def g_loss(D: nn.Module, fake: Batch) -> dict[str, Tensor]:
        assert not any(p.requires_grad for p in D.parameters())
        before = seen[-1]
        assert any(not torch.equal(p, before[k]) for k, p in D.named_parameters())
        gradients.append({k: p.grad.clone() for k, p in D.named_parameters()})
        return usual.g_loss(D, fake)

    def after(progress: Progress) -> None:
        for k, p in progress.D.named_parameters():
            assert torch.equal(p.grad, gradients[-1][k]), "G's step changed D's gradients"
            assert p.requires_grad

    gradients: list[dict[str, Tensor]] = []
    objective = Objective("spy", d_loss, g_loss)
    fit(G, D, two_classes(), objective, steps=2, config=config(), callbacks=[after])
    assert len(gradients) == 2
    assert all(p.grad is None for p in [*G.parameters(), *D.parameters()])  # none left behind


def test_frozen_restores_what_was_trainable_even_after_an_error() -> None:
    layers = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    layers[0].requires_grad_(False)

    def fail_inside() -> None:
        with frozen(layers):
            assert not any(p.requires_grad for p in layers.parameters())
            raise Stop

    with pytest.raises(Stop):
        fail_inside()
    assert [p.requires_grad for p in layers.parameters()] == [False, False, True, True]


def test_learning_rates_fall_linearly_to_zero_or_stay() -> None:
    G, D = networks()
    for decay in (True, False):
        settings = config(lr_g=1.0, lr_d=2.0, linear_decay=decay)
        state = train._State(G, D, settings, steps=10)
        for t in range(11):
            state.set_learning_rates(t)
            rates = [o.param_groups[0]["lr"] for o in (state.opt_g, state.opt_d)]
            left = 1 - t / 10 if decay else 1
            assert rates == pytest.approx([left, 2 * left])


def test_the_rates_of_a_run_are_those_of_the_schedule(monkeypatch) -> None:
    rates = []
    step = torch.optim.Adam.step

    def spy(self, *args, **kwargs):
        rates.append(self.param_groups[0]["lr"])
        return step(self, *args, **kwargs)

    monkeypatch.setattr(torch.optim.Adam, "step", spy)
    tiny_run(steps=4, lr_g=1e-3, lr_d=2e-3)
    assert rates[0::2] == pytest.approx([2e-3, 1.5e-3, 1e-3, 0.5e-3])
    assert rates[1::2] == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])


@pytest.mark.parametrize("decay", [0.0, 0.3, 0.999])
def test_average_of_g_by_hand(decay: float) -> None:
    seen: list[dict[str, Tensor]] = [copy.deepcopy(networks()[0].state_dict())]

    def remember(progress: Progress) -> None:
        seen.append(copy.deepcopy(progress.G.state_dict()))

    result = tiny_run(steps=4, callbacks=[remember], ema=decay)
    expected = {k: v.double() for k, v in seen[0].items()}
    for t, now in enumerate(seen[1:]):
        # The window grows with time, (1 + t) / (10 + t), up to the decay that was asked for.
        keep = min(decay, (1 + t) / (10 + t)) if decay else 0.0
        expected = {k: keep * v + (1 - keep) * now[k].double() for k, v in expected.items()}
    for name, value in result.G_ema.state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
    assert not any(p.requires_grad for p in result.G_ema.parameters())


def test_training_draws_in_eval_mode() -> None:
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=2, width=4), Discriminator(width=4)
    training_draws_in_eval_mode(train, G, D)


# --- the history --------------------------------------------------------------------------------


def test_history_rows_are_means_over_the_steps_between() -> None:
    fine = tiny_run(steps=7).history
    coarse = tiny_run(steps=7, log_every=3, checkpoint_every=3).history
    assert fine.column("step") == [1, 2, 3, 4, 5, 6, 7]
    assert coarse.column("step") == [3, 6, 7]  # the last step logs too
    names = {"d_source_real", "d_source_fake", "d_class_real", "d_class_fake"}
    assert set(coarse.rows[0]) == names | {"step", "g_source", "g_class"}
    for name in names:
        each = fine.column(name)
        means = [sum(each[:3]) / 3, sum(each[3:6]) / 3, each[6]]
        assert coarse.column(name) == pytest.approx(means, rel=1e-5)
    with pytest.raises(KeyError, match=r"no column 'loss'; there are step, d_source_real"):
        coarse.column("loss")


def test_logging_and_checkpoints_do_not_change_the_training(tmp_path: Path) -> None:
    a = tiny_run(steps=5)
    b = tiny_run(steps=5, log_every=2, checkpoint_every=4, run_dir=tmp_path / "run")
    assert all(torch.equal(v, weights(b)[k]) for k, v in weights(a).items())


def test_another_seed_is_another_training() -> None:
    a, b = tiny_run(steps=2), tiny_run(steps=2, seed=1)
    assert not torch.equal(weights(a)["G.to_image.weight"], weights(b)["G.to_image.weight"])


def test_callbacks_see_every_step_in_order() -> None:
    calls = []
    names = ["first", "second"]
    callbacks = [
        lambda p, name=name: calls.append((name, p.step, p.steps, p.terms is not None))
        for name in names
    ]
    tiny_run(steps=3, callbacks=callbacks, log_every=2)
    assert calls == [
        (name, step, 3, step > 1) for step in (1, 2, 3) for name in names
    ]  # steps 2 and 3 log


def test_progress_bar_shows_the_losses(capsys) -> None:
    tiny_run(steps=2, progress=True)
    shown = capsys.readouterr().err
    assert "acgan[real+fake]" in shown
    assert "2/2" in shown
    assert "g_class=" in shown


def test_sample_grid_keeps_frames_of_fixed_latents() -> None:
    z, y = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)), torch.arange(6) % 2
    grid = SampleGrid(z, y, every=2)
    result = tiny_run(steps=5, callbacks=[grid])
    assert [step for step, _ in grid.frames] == [2, 4, 5]
    assert all(f.shape == (6, 1, 32, 32) and f.dtype == torch.uint8 for _, f in grid.frames)
    with torch.no_grad():
        last = (result.G_ema(z, y).double() + 1) * 127.5
    assert (last - grid.frames[-1][1]).abs().max() < 0.51
    assert not torch.equal(grid.frames[0][1], grid.frames[-1][1])


def test_sample_grid_without_labels() -> None:
    grid = SampleGrid(torch.randn(2, 8), None, every=1)
    torch.manual_seed(0)
    G, D = Generator(latent_dim=8, num_classes=0, width=4), Discriminator(width=4)
    fit(G, D, two_classes(), gan(), steps=1, config=config(), callbacks=[grid])
    assert len(grid.frames) == 1


def read_csv(path: Path) -> list[dict[str, float]]:
    with path.open(newline="") as file:
        return [{k: float(v) for k, v in row.items()} for row in csv.DictReader(file)]


def test_csv_history_is_the_history(tmp_path: Path) -> None:
    path = tmp_path / "history.csv"
    result = tiny_run(steps=5, callbacks=[CsvHistory(path)], log_every=2)
    assert read_csv(path) == result.history.rows
    assert [p.name for p in tmp_path.iterdir()] == ["history.csv"]


def test_tensorboard_history_is_readable(tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    result = tiny_run(steps=4, callbacks=[TensorBoardHistory(tmp_path)], log_every=2)
    events = EventAccumulator(str(tmp_path)).Reload()
    points = events.Scalars("g_class")
    assert [p.step for p in points] == [2, 4]
    assert [p.value for p in points] == pytest.approx(result.history.column("g_class"))
    assert set(events.Tags()["scalars"]) == set(result.history.rows[0]) - {"step"}


# --- resuming -----------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_run_stopped_anywhere_resumes_to_the_same_weights(tmp_path: Path, precision: str) -> None:
    settings = {"precision": precision, "log_every": 2, "checkpoint_every": 4, "steps": 9}
    whole = tiny_run(callbacks=[CsvHistory(tmp_path / "whole.csv")], **settings)
    run, path = tmp_path / "run", tmp_path / "history.csv"
    for step in (3, 6, 7):  # before the first checkpoint, and twice after it
        with pytest.raises(Stop):
            tiny_run(run, callbacks=[CsvHistory(path), stop_at(step)], **settings)
    resumed = tiny_run(run, callbacks=[CsvHistory(path)], **settings)
    assert_same(whole, resumed)
    assert path.read_bytes() == (tmp_path / "whole.csv").read_bytes()
    # A run that has ended is only loaded.
    steps: list[int] = []
    again = tiny_run(run, callbacks=[lambda p: steps.append(p.step)], **settings)
    assert_same(whole, again)
    assert steps == []


def test_dropout_and_noise_resume_too(tmp_path: Path) -> None:
    from acgan_lib.nets import PaperDiscriminator, PaperGenerator

    def run(run_dir: Path | None, callbacks: Any = ()) -> Result:
        torch.manual_seed(0)
        G = PaperGenerator((8, 4), 16, latent_dim=8, num_classes=2, channels=1)
        D = PaperDiscriminator(16, class_head=2, channels=1, noise=0.1)
        data = two_classes()
        data = LabelledImages(data.images[:, :, ::2, ::2], data.labels, data.class_names, "small")
        return fit(
            G, D, data, acgan(),
            steps=4, config=config(), callbacks=callbacks, run_dir=run_dir,
        )  # fmt: skip

    whole = run(None)
    with pytest.raises(Stop):
        run(tmp_path, [stop_at(3)])
    assert_same(whole, run(tmp_path))


SERVER = """
    import os, random, signal, sys, time
    from pathlib import Path
    import torch
    import test_train as t

    torch.set_num_threads(1)
    run = Path(sys.argv[1])
    steps = 14
    kill = lambda *_: os.kill(os.getpid(), signal.SIGKILL)

    def half_written(saved, file):  # half of the checkpoint's bytes are on disk
        import io
        whole = io.BytesIO()
        real_save(saved, whole)
        file.write(whole.getvalue()[: whole.tell() // 2])
        file.flush()
        kill()

    real_save = torch.save
    def child(how):
        callbacks = [t.CsvHistory(run / "history.csv")]
        if how == "half written":
            torch.save = half_written
        elif how == "before it is renamed":
            os.replace = kill
        elif how == "before the history":
            callbacks.insert(0, lambda p: kill() if p.step % 3 == 0 else None)
        elif how == "after the history":
            callbacks.append(lambda p: kill() if p.step % 4 == 0 else None)
        elif how == "between D and G":
            t.train.frozen = kill  # D has moved, G has not
        t.tiny_run(run, steps, callbacks=callbacks)
        os._exit(0)

    run.mkdir()
    moments = ["between D and G", "half written", "before it is renamed", "before the history",
               "half written", "after the history", "before it is renamed", "between D and G"]
    moments += [random.Random(i).uniform(0.01, 0.3) for i in range(6)] + ["never"]
    for how in moments:
        pid = os.fork()
        if pid == 0:
            child(how)
        if isinstance(how, float):
            time.sleep(how)
            os.kill(pid, signal.SIGKILL)
        status = os.waitpid(pid, 0)[1]
        print(how, os.waitstatus_to_exitcode(status), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="kills processes that it forked")
def test_a_run_killed_with_sigkill_at_any_moment_resumes_to_the_same_weights(
    tmp_path: Path, light: dict[str, str]
) -> None:
    """One process forks the run again and again and kills it: within a step, within a write."""
    run = tmp_path / "run"
    ended = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(SERVER), str(run)],
        env=light, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr
    *killed, last = ended.stdout.splitlines()
    assert last == "never 0", ended.stdout + ended.stderr
    assert len(killed) == 14
    assert all(line.endswith(" -9") for line in killed[:8]), ended.stdout + ended.stderr
    whole = tiny_run(steps=14, callbacks=[CsvHistory(tmp_path / "whole.csv")])
    assert_same(whole, tiny_run(run, steps=14))  # ended, so this only loads it
    assert (run / "history.csv").read_bytes() == (tmp_path / "whole.csv").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"seed": 1}, {"steps": 6}, {"lr_g": 1e-3}, {"lr_d": 1e-3}, {"batch_size": 8},
        {"ema": 0.5}, {"linear_decay": False}, {"betas": (0.0, 0.9)}, {"precision": "bf16"},
        {"objective": acgan(class_loss_on="real")}, {"objective": acgan(g_class_weight=0.1)},
        {"objective": acgan(saturating=True)},
    ],
    ids=lambda c: "-".join(c),
)  # fmt: skip
def test_another_runs_folder_is_refused_and_left_alone(tmp_path: Path, changes: Any) -> None:
    path = tmp_path / "last.pt"
    tiny_run(tmp_path)
    before = path.read_bytes()
    with pytest.raises(ValueError, match=r"last.pt holds another run .*give a new run_dir"):
        tiny_run(tmp_path, **changes)
    assert path.read_bytes() == before


def test_what_does_not_change_a_run_does_not_stop_it_from_going_on(tmp_path: Path) -> None:
    with pytest.raises(Stop):
        tiny_run(tmp_path, callbacks=[stop_at(5)])
    resumed = tiny_run(tmp_path, checkpoint_every=4, objective=acgan())
    assert_same(resumed, tiny_run())


def test_a_checkpoint_is_read_without_running_code(tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return print, ("code ran",)

    torch.save({"identity": Evil()}, tmp_path / "last.pt")
    with pytest.raises(Exception, match="Weights only load failed"):
        tiny_run(tmp_path)


# --- divergence ---------------------------------------------------------------------------------


def poisoned(at: int, term: str) -> Objective:
    """AC-GAN's objective with a term that is NaN from call ``at`` on (calls count from 1)."""
    usual, calls = acgan(), {"d": 0, "g": 0}

    def poison(terms: dict[str, Tensor], player: str) -> dict[str, Tensor]:
        calls[player] += 1
        if calls[player] >= at and term in terms:
            terms[term] = terms[term] * float("nan")
        return terms

    return usual._replace(
        d_loss=lambda *a: poison(usual.d_loss(*a), "d"),
        g_loss=lambda *a: poison(usual.g_loss(*a), "g"),
    )


@pytest.mark.parametrize("term", ["d_source_real", "g_class"])
@pytest.mark.parametrize("at", [1, 4, 6])
def test_a_nan_loss_stops_the_run_with_the_last_good_state(
    tmp_path: Path, term: str, at: int
) -> None:
    settings: dict[str, Any] = {"linear_decay": False, "checkpoint_every": 2, "log_every": 1}
    G, D = networks()
    with pytest.raises(TrainingDivergedError, match=rf"by step {at}: {term}") as caught:
        fit(
            G, D, two_classes(), poisoned(at, term),
            steps=8, config=config(**settings), run_dir=tmp_path,
        )  # fmt: skip
    good = (at - 1) // 2 * 2
    assert f"back at step {good}" in str(caught.value)
    if good:
        expected = tiny_run(steps=good, **settings)
        for mine, theirs in ((G, expected.G), (D, expected.D)):
            for name, value in mine.state_dict().items():
                assert torch.equal(value, theirs.state_dict()[name]), name
        saved = torch.load(tmp_path / "last.pt", weights_only=True)
        assert saved["step"] == good
        assert all(torch.equal(v, saved["G"][k]) for k, v in G.state_dict().items())
        assert "last.pt" in str(caught.value)
    else:
        assert all(torch.equal(v, networks()[0].state_dict()[k]) for k, v in G.state_dict().items())
        assert not (tmp_path / "last.pt").exists()
    assert all(p.grad is None for p in [*G.parameters(), *D.parameters()])


def test_after_a_divergence_the_run_can_go_on_from_the_good_checkpoint(tmp_path: Path) -> None:
    bad = poisoned(4, "g_class")
    with pytest.raises(TrainingDivergedError):
        tiny_run(tmp_path, objective=bad)
    identity = torch.load(tmp_path / "last.pt", weights_only=True)["identity"]
    assert identity.startswith("acgan[real+fake]")
    calls_spent = tiny_run(tmp_path / "other")  # an undisturbed run
    identity = torch.load(tmp_path / "other" / "last.pt", weights_only=True)["identity"]
    good = torch.load(tmp_path / "last.pt", weights_only=True)
    torch.save({**good, "identity": identity}, tmp_path / "last.pt")
    assert_same(tiny_run(tmp_path), calls_spent)


@pytest.mark.parametrize("where", ["G", "D"])
@pytest.mark.parametrize("value", [float("inf"), float("nan")])
def test_a_weight_that_is_not_finite_stops_the_run(where: str, value: float) -> None:
    """Though every loss is finite: the weight is one that the losses no longer depend on."""

    def break_it(progress: Progress) -> None:
        if progress.step == 3:
            getattr(progress, where).spare.data.fill_(value)

    G, D = networks()
    for network in (G, D):
        network.register_parameter("spare", nn.Parameter(torch.zeros(1)))
    with pytest.raises(TrainingDivergedError, match="by step 4: spare"):
        fit(G, D, two_classes(), acgan(), steps=8, config=config(), callbacks=[break_it])
    assert float(G.spare.detach()) == float(D.spare.detach()) == 0.0


# --- precision, compilation, data ---------------------------------------------------------------


def test_bf16_and_fp32_begin_alike() -> None:
    a, b = (tiny_run(steps=3, precision=p).history.rows for p in ("fp32", "bf16"))
    assert a != b  # so bf16 was used
    for row, other in zip(a, b, strict=True):
        assert row == pytest.approx(other, abs=0.1)


def test_auto_precision_follows_the_hardware(monkeypatch) -> None:
    for supported in (True, False):
        monkeypatch.setattr(train, "supports_bf16", lambda _device, s=supported: s)
        assert train._State(*networks(), config(precision="auto"), 1).bf16 is supported


@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor")  # dynamo's own look
def test_compiled_networks_train_alike(monkeypatch) -> None:
    """With dynamo alone; the code generator behind it is torch's own affair and takes a minute."""
    compiled = []

    def compile(module: nn.Module) -> Any:
        compiled.append(module)
        return torch._dynamo.optimize("eager")(module)

    monkeypatch.setattr(torch, "compile", compile)
    a, b = tiny_run(steps=2), tiny_run(steps=2, compile=True)
    assert len(compiled) == 2
    for row, other in zip(a.history.rows, b.history.rows, strict=True):
        assert row == pytest.approx(other, abs=1e-3)
    assert list(b.G.state_dict()) == list(a.G.state_dict())  # no "_orig_mod." in front


def test_a_folder_of_images_trains_with_the_same_call(tmp_path: Path) -> None:
    for name, colour in (("blue", (0, 0, 255)), ("red", (255, 0, 0))):
        (tmp_path / name).mkdir()
        for i in range(3):
            Image.new("RGB", (40, 36), colour).save(tmp_path / name / f"{i}.png")
    data = image_folder(tmp_path, size=32)
    torch.manual_seed(0)
    G = Generator(latent_dim=8, num_classes=2, channels=3, width=4)
    D = Discriminator(channels=3, width=4, class_head=2)
    result = fit(G, D, data, acgan(), steps=2, config=config())
    assert result.G_ema(torch.randn(1, 8), torch.tensor([1])).shape == (1, 3, 32, 32)


def test_it_learns_two_classes_of_plain_colour() -> None:
    """Dark images and light ones: what G_ema draws for each label must have that brightness."""
    labels = torch.arange(64) % 2
    noise = torch.randint(-20, 21, (64, 1, 32, 32), generator=torch.Generator().manual_seed(0))
    images = (torch.tensor([60, 200])[labels][:, None, None, None] + noise).to(torch.uint8)
    data = LabelledImages(images, labels, ("dark", "light"), "two colours")
    settings = config(
        batch_size=16, lr_g=2e-3, lr_d=2e-3, ema=0.9, log_every=25, checkpoint_every=100
    )
    result = fit(*networks(width=8), data, acgan(), steps=150, config=settings)
    z, y = torch.randn(40, 8, generator=torch.Generator().manual_seed(1)), torch.arange(40) % 2
    with torch.no_grad():
        levels = (result.G_ema(z, y).mean((1, 2, 3)) + 1) * 127.5
    assert levels[y == 0].max() < 110 < 150 < levels[y == 1].min()
    assert abs(float(levels[y == 0].mean()) - 60) < 30
    assert abs(float(levels[y == 1].mean()) - 200) < 30
    assert result.history.rows[-1]["g_class"] < 0.2


def test_data_that_do_not_fit_g_are_refused() -> None:
    D, data = Discriminator(width=4), two_classes()
    for G, words in [
        (Generator(num_classes=3, width=4), "G has 3 classes, but data has 2"),
        (Generator(num_classes=2, channels=3, width=4), "3 x 32 px images, but data has 1 x 32"),
    ]:
        with pytest.raises(ValueError, match=words):
            fit(G, D, data, gan(), steps=1, config=config())
    with pytest.raises(ValueError, match=r"batch_size must lie in 1\.\.40"):
        tiny_run(steps=1, batch_size=41)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"precision": "fp16"}, "precision must be .* 'fp16'"),
        ({"log_every": 0}, "log_every"),
        ({"log_every": 4, "checkpoint_every": 6}, r"checkpoint_every \(6\) must be a multiple"),
        ({"ema": 1.0}, r"ema must be in \[0, 1\), got 1.0"),
        ({"ema": -0.1}, "ema must be"),
        ({"batch_size": 1}, "batch_size must be at least 2"),
    ],
)
def test_settings_that_make_no_sense_are_refused(changes: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        config(**changes)
