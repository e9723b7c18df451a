"""The one command of the experiments, and every command that the book and its files name."""

from __future__ import annotations

import functools
import importlib
import json
import re
import shlex
from pathlib import Path
from typing import Any

import pytest

from acgan_lib.experiments import __main__ as command
from acgan_lib.experiments import _results, ch17_paper

ROOT = Path(__file__).resolve().parents[2]
RUNS = command.runs()
# What `make train-NAME` took before there was one command for all experiments.
OLD = [
    "judge_fashion", "dcgan_fashion", "cgan_fashion", "acgan_fashion", "infogan_fashion",
    "real_fashion", "variants_fashion", "memorise_fashion", "judge_glyphs32", "judge_glyphs64",
    "style_glyphs32", "style_glyphs64", "acgan_glyphs32", "acgan_glyphs64", "acgan_letters32",
    "real_glyphs32", "real_glyphs64", "real_letters32", "acgan-cifar10", "acgan-imagenet",
]  # fmt: skip

Calls = list[tuple[str, dict[str, Any]]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Calls:
    """Put a spy in the place of every run but the paper's, whose engine is one."""
    made: Calls = []

    def spy(name: str, run: command.Run) -> command.Run:
        @functools.wraps(run)
        def called(**given: Any) -> None:
            made.append((name, given))

        return called

    spies = {n: run if n in ("acgan-cifar10", "acgan-imagenet") else spy(n, run)
             for n, run in RUNS.items()}  # fmt: skip
    monkeypatch.setattr(command, "runs", lambda: spies)
    monkeypatch.setattr(_results, "data_dir", lambda: tmp_path)
    monkeypatch.setattr(ch17_paper, "cifar10", lambda root, **_: None)
    monkeypatch.setattr(ch17_paper, "ten_classes", lambda root, split: [])

    def run_tasks(tasks: dict[str, Any], **how: Any) -> dict[str, Any]:
        made.append((" ".join(tasks), how))
        return {}

    monkeypatch.setattr(ch17_paper, "run_tasks", run_tasks)
    return made


# -- the command -------------------------------------------------------------------------------


def test_the_names_that_there_were_are_still_there_and_listed(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert set(OLD) <= RUNS.keys()
    command.main(["--list"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list(RUNS)
    for line in lines:
        assert re.fullmatch(r"\S+ +chapter +\d+  [A-Z].{20,}\.", line), line
    assert [int(n) for line in lines for n in re.findall(r"chapter +(\d+)  ", line)] == sorted(
        int(n) for line in lines for n in re.findall(r"chapter +(\d+)  ", line)
    )


def test_each_seed_is_a_run_and_options_are_handed_on(calls: Calls) -> None:
    command.main(["acgan_fashion", "--seed", "2", "5", "--root", "there", "--steps", "7"])
    command.main(["damage"])
    command.main(["resolution"])
    assert calls == [
        ("acgan_fashion", {"seed": 2, "root": "there", "steps": 7}),
        ("acgan_fashion", {"seed": 5, "root": "there", "steps": 7}),
        ("damage", {}),
        ("resolution", {"seed": 0}),
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "NAME is missing; --list prints the names"),
        (["biggan_fashion"], "invalid choice: 'biggan_fashion'"),
        (["real_fashion", "--steps", "7"], "real_fashion takes no --steps"),
        (["damage", "--seed", "1"], "damage takes no --seed"),
        (["museum", "--root", "there"], "museum takes no --root"),
        (["museum", "--grid"], "unrecognized arguments: --grid"),
        (["acgan-cifar10", "--grids"], "unrecognized arguments: --grids"),
    ],
)
def test_what_a_run_does_not_take_is_refused(
    arguments: list[str], message: str, calls: Calls, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        command.main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err
    assert calls == []


def test_a_wrong_name_is_told_every_right_one(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.main(["biggan_fashion"])
    shown = capsys.readouterr().err
    assert all(name in shown for name in RUNS)


def test_a_folder_that_cannot_be_written_is_named_before_the_work_starts(
    calls: Calls, tmp_path: Path
) -> None:
    (tmp_path / "results").write_text("a file in the folder's place")
    with pytest.raises(OSError, match="results"):
        command.main(["museum"])
    assert calls == []
    command.main(["acgan_fashion", "--steps", "2"])  # a try records nothing
    assert [name for name, _ in calls] == ["acgan_fashion"]


def test_two_modules_with_one_name_are_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ch17_paper, "RUNS", {"museum": ch17_paper.paper})
    with pytest.raises(ValueError, match=r"ch17_paper uses names .*museum"):
        command.runs()


# -- the commands in prose ---------------------------------------------------------------------


def prose() -> dict[str, str]:
    """Every text that may name a command, by its path."""
    texts = {}
    for path in sorted((ROOT / "book").glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        texts[path.name] = "\n".join(
            "".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown"
        )
    places = (
        "*.md", "book/*.md", "data/*.md", "data/checkpoints/*.md", "data/*.toml", "tools/*.py",
        "tools/*.md", "acgan_lib/**/*.py",
    )  # fmt: skip
    for path in (path for place in places for path in sorted(ROOT.glob(place))):
        texts[str(path.relative_to(ROOT))] = path.read_text(encoding="utf-8")
    for path in sorted((ROOT / "data" / "checkpoints").glob("*.json")):
        texts[path.name] = f"`{json.loads(path.read_text(encoding='utf-8'))['command']}`"
    return texts


def commands() -> list[tuple[str, str]]:
    """Each command once for each text that has it: in backticks, or a line of its own."""
    found = []
    for place, text in prose().items():
        spans = re.findall(r"`((?:python -m acgan_lib|make train-)[^`]*)`", text)
        lines = re.findall(r"^(?:python -m acgan_lib|make train-)[^#\n]*", text, re.M)
        found += [(place, " ".join(command.split())) for command in (*spans, *lines)]
    return sorted(set(found))


COMMANDS = commands()


def test_the_commands_are_found() -> None:
    assert len({place for place, _ in COMMANDS}) > 30
    whole = "\n".join(prose().values())
    assert whole.count("python -m acgan_lib") >= 20
    assert not re.findall(r"python -m acgan_lib\.experiments\.\w+", whole)


@pytest.mark.parametrize("line", sorted({line for _, line in COMMANDS}))
def test_every_command_that_is_named_exists(line: str, calls: Calls) -> None:
    words = shlex.split(re.sub(r"\b[A-Z]\b", "0", line))  # --seed S
    if words[0] == "make":
        arguments = [words[1].removeprefix("make ").removeprefix("train-")]
        for word in words[2:]:
            variable, _, value = word.partition("=")
            assert variable in ("ARGS", "SPLIT"), line
            arguments += shlex.split(value) if variable == "ARGS" else ["--splits", value]
    else:
        module = words[2]
        arguments = words[3:]
        if module != "acgan_lib.experiments":
            source = Path(str(importlib.import_module(module).__file__)).read_text("utf-8")
            assert '__name__ == "__main__"' in source, line
            for option in (word for word in arguments if word.startswith("--")):
                assert f'"{option}"' in source, line
            return
    if not arguments or arguments[0] in ("NAME", "--list") or "{" in line:
        return  # a pattern, not a command
    command.main(arguments)
    assert calls, line


def test_make_train_runs_the_command_of_that_name() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    assert "-m acgan_lib.experiments $* $(ARGS)" in makefile
    for name in re.findall(r"^train-([\w-]+):", makefile, re.M):
        assert name in RUNS
        assert f"-m acgan_lib.experiments {name} " in makefile
