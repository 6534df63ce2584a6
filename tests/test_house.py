"""The house rules that no single module can hold: sizes, paths, doors, locks."""

from __future__ import annotations

import ast
import doctest
import importlib
import importlib.util
import re
import subprocess
import sys
import types
from pathlib import Path

import pytest

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

MIB = 2**20
LARGEST_FILE, LARGEST_TREE = 15 * MIB, 60 * MIB
# Written in pieces, so that this file keeps the rule that it checks.
MACHINE_PATH = re.compile(
    r"(?<![\w.])/(?:"
    + "|".join(("work", "root", "tmp", "home" + r"/\w+", "Users" + r"/\w+"))
    + ")/"
)
PINNED = re.compile(r"^([\w.-]+)==([^\s;]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def tree(root: Path) -> list[Path]:
    """Every file that belongs to the project: what git tracks, or would."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        capture_output=True,
        text=True,
    )
    if listed.returncode != 0:
        pytest.skip("the project's files are known only to git, and this is no git checkout")
    paths = [root / name for name in listed.stdout.split("\0") if name]
    return [path for path in paths if path.is_file()]


@pytest.fixture(scope="module")
def project(root: Path) -> dict[str, dict]:
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))


def load(path: Path) -> types.ModuleType:
    """Import one file the way that hosts do, by its path."""
    spec = importlib.util.spec_from_file_location("loaded_by_path", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def pins(path: Path) -> dict[str, set[str]]:
    """The versions that a lock gives each package; several where Pythons differ."""
    found: dict[str, set[str]] = {}
    for name, version in PINNED.findall(path.read_text(encoding="utf-8")):
        found.setdefault(canonical(name), set()).add(version)
    return found


def modules_with_examples() -> list[str]:
    """The core's modules whose docstrings hold examples."""
    root = Path(__file__).resolve().parent.parent
    paths = sorted((root / "ldznet_core").rglob("*.py"))
    examples = [path for path in paths if ">>> " in path.read_text(encoding="utf-8")]
    names = [".".join(path.relative_to(root).with_suffix("").parts) for path in examples]
    return [name.removesuffix(".__init__") for name in names]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_no_file_is_larger_than_git_hosts_like(tree: list[Path]) -> None:
    assert [str(path) for path in tree if path.stat().st_size > LARGEST_FILE] == []


def test_the_whole_tree_is_small_enough_to_clone_on_a_whim(tree: list[Path]) -> None:
    assert sum(path.stat().st_size for path in tree) <= LARGEST_TREE


def test_the_registry_s_archive_has_all_that_a_pack_is_made_of(
    root: Path, tree: list[Path]
) -> None:
    """Its ignore file is read like git's, by which a name without a slash is left out anywhere."""
    ignored = ["git", "ls-files", "-z", "--cached", "--ignored", "--exclude-from=.comfyignore"]
    listed = subprocess.run(ignored, cwd=root, capture_output=True, text=True, check=True)
    left_out = {name.split("/")[0] for name in listed.stdout.split("\0") if name}
    assert {"docs", "tests", "tools"} <= left_out
    parts = {
        "nodes",
        "ldznet_core",
        "web",
        "locales",
        "example_workflows",
        "__init__.py",
        "LICENSE",
    }
    assert not parts & left_out


def test_no_file_names_a_path_of_one_machine(tree: list[Path]) -> None:
    found = []
    for path in tree:
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue
        found += [f"{path.name}: {match.group()}" for match in MACHINE_PATH.finditer(text)]
    assert found == []


def test_no_pickle_is_among_the_files(tree: list[Path]) -> None:
    pickles = {".ckpt", ".pt", ".pth", ".bin", ".pkl", ".pickle"}
    assert [path.name for path in tree if path.suffix in pickles] == []


def test_no_host_is_imported_by_the_core(root: Path) -> None:
    hosts = {"comfy", "comfy_api", "comfy_extras", "folder_paths", "nodes", "modules", "launch"}
    found = []
    for path in (root / "ldznet_core").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = imported(node)
            found += [f"{path.name}: {name}" for name in names if name.split(".")[0] in hosts]
    assert found == []


def imported(node: ast.AST) -> list[str]:
    """The modules that a statement imports by absolute name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
        return [node.module]
    return []


@pytest.mark.parametrize("script", ["run.py", "install.py"])
def test_the_scripts_that_come_before_any_package_need_none(root: Path, script: str) -> None:
    tree = ast.parse((root / script).read_text(encoding="utf-8"))
    names = {name.split(".")[0] for node in ast.walk(tree) for name in imported(node)}
    hosts_own = {"launch"}  # A1111's, guarded in install.py
    assert names - hosts_own <= sys.stdlib_module_names


def test_install_says_nothing_when_all_is_there(root: Path, tmp_path: Path) -> None:
    assert load(root / "install.py").missing_packages() == []  # else the next line would install
    # The WebUI starts it with its own root as working directory, and no arguments.
    done = subprocess.run(
        [sys.executable, str(root / "install.py")], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_install_adds_only_what_is_missing_and_moves_nothing_else(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    install = load(root / "install.py")
    calls: list[list[str]] = []
    monkeypatch.setattr(install, "is_importable", lambda module: module != "einops")
    monkeypatch.setattr(install.subprocess, "run", lambda command, check: calls.append(command))
    install.main()
    assert calls == [[sys.executable, "-m", "pip", "install", "--no-deps", "einops"]]


def test_install_uses_the_webuis_own_installer(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # modules/launch_utils.py:run_pip(command, desc) in A1111 1.10.1
    install = load(root / "install.py")
    calls: list[tuple[str, str]] = []
    launch = types.ModuleType("launch")
    launch.run_pip = lambda command, desc: calls.append((command, desc))  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "launch", launch)
    monkeypatch.setattr(install, "is_importable", lambda module: module != "PIL")
    install.main()
    assert calls == [("install --no-deps Pillow", "Pillow for LD-ZNet")]


def test_a_failed_install_lets_the_host_start(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    install = load(root / "install.py")

    def fail(package: str) -> None:
        raise RuntimeError("no network")

    monkeypatch.setattr(install, "is_importable", lambda module: module != "einops")
    monkeypatch.setattr(install, "install", fail)
    install.main()
    assert "could not install einops" in capsys.readouterr().out


def test_the_door_of_comfyui_imports_nothing_but_python_itself(root: Path) -> None:
    script = (
        "import runpy, sys; before = set(sys.modules);"
        f"runpy.run_path({str(root / '__init__.py')!r});"
        "print({name.split('.')[0] for name in set(sys.modules) - before}"
        " - sys.stdlib_module_names)"
    )
    done = subprocess.run([sys.executable, "-I", "-c", script], capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("set()", "")


@pytest.mark.parametrize(
    ("lock", "extras"),
    [("lock-run.txt", ["cli", "train"]), ("lock-dev.txt", ["cli", "train", "dev"])],
)
def test_the_locks_cover_what_the_project_asks_for(
    root: Path, project: dict[str, dict], lock: str, extras: list[str]
) -> None:
    asked = list(project["project"]["dependencies"])
    for extra in extras:
        asked += project["project"]["optional-dependencies"][extra]
    names = {canonical(re.split(r"[\[<>=!~ ;]", requirement)[0]) for requirement in asked}
    locked = pins(root / "requirements" / lock).keys() | {"torch"}
    assert names - {"ldznet"} <= locked


@pytest.mark.parametrize("name", modules_with_examples())
def test_examples_in_docstrings_hold(name: str) -> None:
    result = doctest.testmod(importlib.import_module(name))
    assert (result.failed, result.attempted > 0) == (0, True)


def test_one_environment_can_hold_both_locks(root: Path) -> None:
    run, dev = (pins(root / "requirements" / f"lock-{name}.txt") for name in ("run", "dev"))
    assert run.items() <= dev.items()


def test_the_locks_bring_no_cuda_and_the_cpu_build_of_torch(root: Path) -> None:
    for lock in ("lock-run.txt", "lock-dev.txt"):
        found = pins(root / "requirements" / lock)
        cuda = [name for name in found if name.startswith(("nvidia", "cuda"))]
        assert cuda == []
        assert not {"torch", "torchvision", "torchaudio"} & set(found)
    torch = (root / "requirements" / "lock-torch.txt").read_text(encoding="utf-8")
    assert re.search(r'^torch==[\d.]+\+cpu ; sys_platform == "linux"$', torch, re.MULTILINE)


def test_what_hosts_install_names_neither_torch_nor_versions(root: Path) -> None:
    lines = (root / "requirements.txt").read_text(encoding="utf-8").splitlines()
    names = [line for line in lines if line and not line.startswith("#")]
    assert names
    assert all(re.fullmatch(r"[A-Za-z]+", name) for name in names)
    assert "torch" not in names


def test_pre_commit_runs_the_locked_versions(root: Path) -> None:
    config = (root / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    dev = pins(root / "requirements" / "lock-dev.txt")
    pinned = re.findall(r"\[([\w-]+)==([\d.]+)\]", config)
    assert pinned
    assert all(dev[name] == {version} for name, version in pinned)
