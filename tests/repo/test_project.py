"""What is committed: pins, addresses, paths, sizes, outputs, and imports that stay offline."""

from __future__ import annotations

import ast
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tomllib
from pathlib import Path

import matplotlib
import preflight
import pytest
import setup_env
import slug
import torch
import yaml

import hubconf
from acgan_lib import zoo

ROOT = Path(__file__).resolve().parents[2]
LARGEST = 3200 * 1024  # a checkpoint may have 3 MB
# Of the data set's parts, the training images alone are larger: 10,000 of them, 6 MB at most.
LARGER = {
    Path("data/fashion_mini/train-images-idx3-ubyte.gz"): 6 * 1024 * 1024,
    Path("data/glyphs/glyphs.npz"): 9 * 1024 * 1024,
}


def text_of(path: Path) -> str | None:
    """A committed file's text, or None where it is binary."""
    try:
        return (ROOT / path).read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return None


def notebooks(tracked: list[Path]) -> list[Path]:
    return [path for path in tracked if path.suffix == ".ipynb"]


# -- the environment ---------------------------------------------------------------------------


def test_every_requirement_is_one_version_with_hashes() -> None:
    text = (ROOT / "requirements.txt").read_text()
    entries = re.split(r"\n(?=\S)", text.strip())
    assert len(entries) > 100
    for entry in entries:
        assert re.match(r"[a-z0-9.-]+==[^+\s]+( ; .+)? \\\n", entry), entry[:80]
        assert "--hash=sha256:" in entry, entry[:80]
    assert "://" not in text
    assert "--find-links" not in text
    assert "--index" not in text


def test_every_direct_requirement_is_pinned() -> None:
    wanted = {
        re.match(r"[a-z0-9-]+", line).group()  # type: ignore[union-attr]
        for line in (ROOT / "requirements.in").read_text().splitlines()
        if line and not line.startswith("#")
    }
    pinned = set(re.findall(r"^([a-z0-9.-]+)==", (ROOT / "requirements.txt").read_text(), re.M))
    assert wanted <= pinned


def test_conda_reads_the_same_pins() -> None:
    entries = yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]
    [pip] = [entry["pip"] for entry in entries if isinstance(entry, dict)]
    # One list for both: a second copy of the pins could differ from the first.
    assert pip == ["-r requirements.txt"]
    assert "python>=3.11,<3.14" in entries


def test_the_library_keeps_the_torch_that_is_there() -> None:
    """An upper bound would make pip replace Colab's torch, or refuse a new one."""
    lock = (ROOT / "requirements.txt").read_text()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["download"]]
    for package in ("torch", "torchvision"):
        [lowest] = [entry for entry in wanted if re.match(rf"{package}\W", entry)]
        bound = re.fullmatch(rf"{package}>=(\d+)\.(\d+)", lowest)
        pinned = re.search(rf"^{package}==(\d+)\.(\d+)", lock, re.M)
        assert bound, lowest
        assert pinned
        assert tuple(map(int, bound.groups())) <= tuple(map(int, pinned.groups()))


def test_the_library_names_each_package_that_it_imports() -> None:
    """Directly, in the list that pip reads or in an extra of it."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    named = {re.split(r"\W", entry.replace("-", "_"))[0] for entries in lists for entry in entries}
    imported = set()
    for path in (ROOT / "acgan_lib").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.split(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                imported.add(str(node.module).split(".")[0])
    imported -= {*sys.stdlib_module_names, "acgan_lib"}
    brought = {"PIL": "pillow", "IPython": "ipywidgets", "traitlets": "ipywidgets"}
    assert {brought.get(name, name) for name in imported} <= named


def test_uv_itself_is_pinned_with_hashes() -> None:
    lines = setup_env.pinned_uv().splitlines()
    assert re.fullmatch(r"uv==\S+ \\", lines[0])
    assert len(lines) > 3
    assert all("--hash=sha256:" in line for line in lines[1:])


def test_npm_packages_are_pinned_without_addresses() -> None:
    lock = json.loads((ROOT / "package-lock.json").read_text())
    wanted = json.loads((ROOT / "package.json").read_text())
    for name, version in (wanted["dependencies"] | wanted["devDependencies"]).items():
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
    for name, package in lock["packages"].items():
        assert "resolved" not in package, name
        assert not name or package["integrity"].startswith("sha512-"), name


@pytest.mark.parametrize("missing", ["python", "venv"])
def test_setting_up_names_what_is_missing_in_one_line(missing, monkeypatch) -> None:
    if missing == "python":
        monkeypatch.setattr(sys, "version_info", (3, 9, 2))
        wanted = "Python 3.11 or newer"
    else:
        monkeypatch.setattr(setup_env.importlib.util, "find_spec", lambda name: None)
        monkeypatch.setattr(setup_env, "PYTHON", ROOT / "no" / "such" / "python")
        wanted = "apt-get install python3-venv"
    with pytest.raises(SystemExit) as stop:
        setup_env.check_machine()
    assert wanted in str(stop.value)
    assert "\n" not in str(stop.value)


def test_testing_names_a_missing_chromium_in_one_line(tmp_path) -> None:
    environment = {**os.environ, "PATH": str(tmp_path), "CHROMIUM": ""}
    done = subprocess.run(
        [sys.executable, "-c", "import preflight; preflight._PLACES = (); preflight.main()"],
        cwd=ROOT / "tools",
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "apt-get install chromium" in done.stderr.splitlines()[0]
    assert len(done.stderr.splitlines()) == 2  # git is missing too


@pytest.mark.skipif(os.name == "nt", reason="a program's name ends in .exe there")
def test_a_browser_named_in_the_environment_comes_first(tmp_path, monkeypatch) -> None:
    for name in ("chromium-headless-shell", "chromium", "my-browser"):
        (tmp_path / name).touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CHROMIUM", raising=False)
    assert preflight.chromium() == str(tmp_path / "chromium-headless-shell")
    monkeypatch.setenv("CHROMIUM", "my-browser")
    assert preflight.chromium() == str(tmp_path / "my-browser")
    monkeypatch.setenv("CHROMIUM", "no-browser")
    with pytest.raises(FileNotFoundError, match="no-browser, which is no program"):
        preflight.chromium()


# -- what is committed -------------------------------------------------------------------------


def test_no_machine_paths_and_no_registry_addresses(tracked) -> None:
    # Written in pieces, so that this file does not find itself.
    hosts = ["pypi" + ".org", "python" + "hosted", "registry" + ".npmjs", "deb" + ".debian.org"]
    folders = "work|farm|root|opt/" + "wheels|home/[a-z]+|Users/[A-Za-z]+"
    pattern = re.compile("|".join(map(re.escape, hosts)) + rf"|(?:^|[^\w.])/(?:{folders})/", re.M)
    for path in tracked:
        text = text_of(path)
        found = pattern.search(text) if text else None
        assert found is None, f"{path}: {found.group()!r}"  # type: ignore[union-attr]


def test_no_large_files(tracked) -> None:
    for path in tracked:
        size = (ROOT / path).stat().st_size
        assert size <= LARGER.get(path, LARGEST), f"{path} has {size} bytes"


def test_nothing_that_a_build_makes_is_committed(tracked) -> None:
    made = {".venv", "_build", "node_modules", "vendor", "__pycache__", "runs"}
    assert [path for path in tracked if made & set(path.parts)] == []


def test_notebooks_ran_from_the_top_without_errors_or_warnings(tracked) -> None:
    assert len(notebooks(tracked)) >= 3
    for path in notebooks(tracked):
        cells = json.loads((ROOT / path).read_text(encoding="utf-8"))["cells"]
        code = [c for c in cells if c["cell_type"] == "code" and "".join(c["source"]).strip()]
        assert [c["execution_count"] for c in code] == list(range(1, len(code) + 1)), path
        for output in (output for cell in code for output in cell["outputs"]):
            assert output["output_type"] != "error", path
            assert output.get("name") != "stderr", f"{path}: {output['text']}"
            assert "Warning" not in "".join(output.get("text", [])), path


def test_notebooks_hold_no_trace_of_a_machine(tracked) -> None:
    for path in notebooks(tracked):
        notebook = json.loads((ROOT / path).read_text(encoding="utf-8"))
        assert notebook["metadata"].keys() <= {"kernelspec", "language_info", "widgets"}, path
        assert notebook["metadata"]["kernelspec"]["name"] == "python3", path
        assert notebook["metadata"]["language_info"] == {"name": "python"}, path
        assert not any("execution" in cell["metadata"] for cell in notebook["cells"]), path


def test_the_citation_file_says_what_the_project_says() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors", "version"} <= citation.keys()
    assert citation["repository-code"].endswith(slug.current(ROOT))
    import acgan_lib

    assert citation["version"] == acgan_lib.__version__


def test_readme_and_contributing_name_targets_and_files_that_exist() -> None:
    targets = set(re.findall(r"^([a-z.]+|train-%):", (ROOT / "Makefile").read_text(), re.M))
    for name in ("README.md", "CONTRIBUTING.md"):
        text = (ROOT / name).read_text(encoding="utf-8")
        called = re.findall(r"(?:^|`)make ([.a-z]\S*?)(?=[`\s]|$)", text, re.M)
        assert called, name
        for target in called:
            assert re.sub("^train-.+", "train-%", target) in targets, target
        prose = re.sub(r"`[^`]*`", "", text)  # a link in code is an example
        links = re.findall(r"\]\((?!https?://|#)([^)\s]+)\)", prose)
        for link in links:
            assert (ROOT / link.split("#")[0]).exists(), f"{name}: {link}"


def test_the_workflows_call_make_and_nothing_else() -> None:
    for path in sorted((ROOT / ".github" / "workflows").glob("*.yml")):
        jobs = yaml.safe_load(path.read_text())["jobs"]
        commands = [step["run"] for job in jobs.values() for step in job["steps"] if "run" in step]
        assert commands, path
        assert all(command.startswith("make ") for command in commands), path


# -- the public address ------------------------------------------------------------------------


def test_one_command_changes_the_address_everywhere(tracked, tmp_path) -> None:
    for path in tracked:
        if text_of(path) is not None:
            (tmp_path / path.parent).mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / path, tmp_path / path)
    old, new = slug.current(ROOT), "some-one/their.book-2"
    assert slug.change(tmp_path, new)
    assert slug.current(tmp_path) == new
    owner = old.split("/")[0]
    left = re.compile(rf"{re.escape(old)}(?![\w-])|{re.escape(owner)}\.github\.io")
    for path in tracked:
        text = (tmp_path / path).read_text(encoding="utf-8") if (tmp_path / path).exists() else ""
        assert not left.search(text), path
    assert slug.change(tmp_path, new) == []  # a second time changes nothing
    slug.change(tmp_path, old)
    for path in tracked:
        if (tmp_path / path).exists():  # and back again, byte for byte
            assert (tmp_path / path).read_bytes() == (ROOT / path).read_bytes(), path


@pytest.mark.parametrize("wrong", ["owner", "owner/", "/name", "a/b/c", "o wner/name", ""])
def test_a_wrong_address_changes_nothing(wrong, tmp_path) -> None:
    shutil.copy2(ROOT / "pyproject.toml", tmp_path)
    with pytest.raises(ValueError, match="owner/name"):
        slug.change(tmp_path, wrong)
    assert slug.current(tmp_path) == slug.current(ROOT)


# -- torch.hub ---------------------------------------------------------------------------------


def test_torch_hub_gives_the_trained_generator() -> None:
    torch.manual_seed(0)
    z, y = torch.randn(10, 100), torch.arange(10)
    G = torch.hub.load(str(ROOT), "acgan_fashion", source="local")
    images = G(z, y)
    assert images.shape == (10, 1, 32, 32)
    assert images.dtype == torch.float32
    assert images.min() >= -1
    assert images.max() <= 1
    judge = torch.hub.load(str(ROOT), "judge_fashion", source="local")
    assert (judge(images).argmax(1) == y).sum() >= 7  # 95 % and more of all samples are


HUB = r"""
import ast, importlib.metadata, re, sys, torch

source = open("hubconf.py", encoding="utf-8").read()
[named] = re.findall(r"^dependencies = (\[.*\])$", source, re.M)
brings = importlib.metadata.packages_distributions()
normal = lambda name: name.lower().replace("_", "-")
installed = {normal(name) for names in brings.values() for name in names}
allowed, found = set(), [brings[module][0] for module in ast.literal_eval(named)]
while found:
    name = normal(found.pop())
    if name in installed - allowed:
        allowed.add(name)
        wants = [w for w in importlib.metadata.requires(name) or () if "extra ==" not in w]
        found += [re.match(r"[\w.-]+", w).group() for w in wants]

class Refuse:
    def find_spec(self, name, path=None, target=None):
        top = name.split(".")[0]
        if top != "acgan_lib" and not {normal(d) for d in brings.get(top, allowed)} & allowed:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Refuse())
for name in sys.argv[1:]:
    torch.hub.load(".", name, source="local")
"""


def test_torch_hub_needs_what_it_names_and_no_more() -> None:
    """Each entry loads where nothing is installed but `dependencies` and what these bring."""
    done = subprocess.run(
        [sys.executable, "-c", HUB, *zoo.names()], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_torch_hub_lists_each_shipped_network() -> None:
    entries = {name for name in vars(hubconf) if not name.startswith("_")} - {"dependencies"}
    assert entries == set(zoo.names())


# -- imports -----------------------------------------------------------------------------------

# One process answers all: what each import brings with it, step by step.
OFFLINE = """
import importlib, json, pkgutil, socket, sys

def refuse(*args, **kwargs):
    raise AssertionError("a socket was opened at import")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import acgan_lib
package = list(sys.modules)
sys.path.append(sys.argv[1])
import hubconf
hub = list(sys.modules)
names = [m.name for m in pkgutil.walk_packages(acgan_lib.__path__, "acgan_lib.")]
for name in names:
    importlib.import_module(name)
print(json.dumps({"package": package, "hub": hub, "names": names}))
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """The modules in memory after the package alone, after hubconf, and all the library's own."""
    folder = tmp_path_factory.mktemp("imports")
    # matplotlib's own cache of fonts stays where it is: making it anew takes seconds
    environment = {
        **os.environ,
        "HOME": str(folder),
        "USERPROFILE": str(folder),
        "MPLCONFIGDIR": matplotlib.get_cachedir(),
    }
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", OFFLINE, str(ROOT)],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert list(folder.rglob("*")) == [], "an import wrote a file"
    assert done.stdout.count("\n") == 1, f"a module printed something: {done.stdout[:200]}"
    return dict(json.loads(done.stdout))


def test_importing_every_module_opens_no_socket_prints_and_writes_nothing(imported) -> None:
    assert len(imported["names"]) >= 10


def test_the_package_alone_imports_no_torch(imported) -> None:
    assert "acgan_lib" in imported["package"]
    assert "torch" not in imported["package"]


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="not a clone")
def test_a_clone_has_the_same_bytes_under_any_core_autocrlf() -> None:
    """The library and the tests compare hashes of files, so git must not change line ends."""
    done = subprocess.run(
        ["git", "ls-files", "--eol"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for line in done.stdout.splitlines():
        about, _, name = line.partition("\t")
        index, _, attributes = about.split(None, 2)
        assert index in ("i/lf", "i/-text", "i/none"), line
        wanted = "attr/-text" if index == "i/-text" else "attr/text=auto eol=lf"
        assert attributes.strip() == wanted, f"{name}: .gitattributes says {attributes}"


def test_make_read_refuses_a_port_before_it_builds() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    read = makefile.split("\nread:")[1].split("\n\n")[0]
    assert read.index("--check") < read.index("-directory book")

    def check(port: object) -> tuple[int, str]:
        command = [sys.executable, "tools/serve.py", "--check", str(port)]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        return done.returncode, done.stderr

    for wrong in ("abc", "0", "65536", "-1", ""):
        assert check(wrong)[1].startswith("PORT must be a number from 1 to 65535"), wrong
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert f"port {port} is taken: run `make read PORT=" in check(port)[1]
    assert check(port) == (0, "")
