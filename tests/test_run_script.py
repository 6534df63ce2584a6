"""run.py: one environment, made once, mended when it is not what the locks say."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

Answer = Callable[[tuple[str, ...]], bool]


class RecordingPip:
    """Stands in for `pip_of(python)`: answers each install and writes down what was asked."""

    def __init__(self, answer: Answer = lambda arguments: True) -> None:
        self.answer = answer
        self.calls: list[tuple[str, ...]] = []

    def __call__(self, *arguments: str | Path, is_silent: bool = False) -> bool:
        named = tuple(
            part.name if isinstance(part, Path) else part for part in arguments if part != "-r"
        )
        self.calls.append(named)
        return self.answer(named)


@pytest.fixture
def project(tmp_path: Path, root: Path) -> Path:
    """A small project round a copy of the script; its locks ask for nothing."""
    folder = tmp_path / "a project"
    (folder / "requirements").mkdir(parents=True)
    (folder / "ldznet_core").mkdir()
    for name in ("lock-run.txt", "lock-dev.txt"):
        (folder / "requirements" / name).write_text("# nothing\n")
    (folder / "requirements" / "lock-torch.txt").write_text(
        'torch==9.8.7+cpu ; sys_platform == "linux"\ntorch==9.8.7 ; sys_platform != "linux"\n'
    )
    (folder / "ldznet_core" / "__main__.py").write_text(
        "import sys; print('ldznet', *sys.argv[1:]); sys.exit(7)\n"
    )
    (folder / "run.py").write_text((root / "run.py").read_text(encoding="utf-8"), encoding="utf-8")
    return folder


@pytest.fixture
def script(project: Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The copy of run.py as a module, whose environments are folders that always "run"."""
    monkeypatch.delenv("LDZNET_VENV", raising=False)
    spec = importlib.util.spec_from_file_location("run_script", project / "run.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.created = []

    def create(folder: Path) -> None:
        module.created.append(folder)
        folder.mkdir(exist_ok=True)

    monkeypatch.setattr(module, "create", create)
    monkeypatch.setattr(module, "runs", lambda python: python.parent.parent.exists())
    return module


@pytest.fixture
def pip(script: types.ModuleType, monkeypatch: pytest.MonkeyPatch) -> RecordingPip:
    recorder = RecordingPip()
    monkeypatch.setattr(script, "pip_of", lambda python: recorder)
    return recorder


def test_without_a_command_it_explains_itself_and_makes_nothing(
    script: types.ModuleType, project: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (script.main([]), script.main(["--help"])) == (2, 0)
    assert "python run.py demo" in capsys.readouterr().out
    assert not (project / ".venv").exists()


def test_a_first_call_installs_the_lock_and_torch_a_second_nothing(
    script: types.ModuleType, pip: RecordingPip
) -> None:
    for _ in range(2):
        script.prepare_environment(["lock-run.txt"])
    assert pip.calls == [("--no-deps", "lock-run.txt"), ("lock-torch.txt",)]
    assert len(script.created) == 1


def test_test_adds_to_the_environment_that_demo_made(
    script: types.ModuleType, pip: RecordingPip
) -> None:
    script.prepare_environment(["lock-run.txt"])
    script.prepare_environment(["lock-run.txt", "lock-dev.txt"])
    script.prepare_environment(["lock-run.txt"])
    assert pip.calls[2:] == [("--no-deps", "lock-dev.txt")]
    assert len(script.created) == 1


def test_a_changed_lock_makes_the_environment_anew(
    script: types.ModuleType, pip: RecordingPip, project: Path
) -> None:
    script.prepare_environment(["lock-run.txt"])
    (project / "requirements" / "lock-run.txt").write_text("# another\n")
    script.prepare_environment(["lock-run.txt"])
    assert len(script.created) == 2
    assert pip.calls[:2] == pip.calls[2:]


def test_line_endings_of_a_checkout_do_not_change_the_lock(
    script: types.ModuleType, pip: RecordingPip, project: Path
) -> None:
    script.prepare_environment(["lock-run.txt"])
    (project / "requirements" / "lock-run.txt").write_bytes(b"# nothing\r\n")
    script.prepare_environment(["lock-run.txt"])
    assert len(script.created) == 1


def test_a_failed_install_is_told_and_begun_anew(
    script: types.ModuleType,
    pip: RecordingPip,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    pip.answer = lambda arguments: False
    assert script.main(["demo"]) == 2
    assert "run.py: error: could not install lock-run.txt" in capsys.readouterr().err
    pip.answer = lambda arguments: True
    monkeypatch.setattr(script, "call", lambda command: 0)
    assert script.main(["demo"]) == 0
    assert len(script.created) == 2


@pytest.mark.parametrize(
    ("has", "asked"),
    [
        ("cpu here", [("lock-torch.txt",)]),
        ("cpu index", [("lock-torch.txt",), ("lock-torch.txt", "--extra-index-url", "INDEX")]),
    ],
)
def test_torch_comes_from_the_first_source_that_has_its_cpu_build(
    script: types.ModuleType, has: str, asked: list[tuple[str, ...]]
) -> None:
    pip = RecordingPip(lambda arguments: has == "cpu here" or len(arguments) > 1)
    script.install_torch(pip)
    index = script.TORCH_CPU_INDEX
    assert pip.calls == [tuple(index if p == "INDEX" else p for p in call) for call in asked]


def test_only_linux_without_any_cpu_build_takes_the_large_one(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.sys, "platform", "linux")
    pip = RecordingPip(lambda arguments: arguments == ("torch==9.8.7",))
    script.install_torch(pip)
    assert len(pip.calls) == 3
    monkeypatch.setattr(script.sys, "platform", "darwin")
    with pytest.raises(script.SetupError, match=r"could not install torch 9\.8\.7"):
        script.install_torch(pip)


def test_an_old_python_is_told_what_is_needed(
    script: types.ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script.sys, "version_info", (3, 9, 1))
    with pytest.raises(script.SetupError, match=r"Python 3\.10 or newer, this is 3\.9\.1"):
        script.prepare_environment(["lock-run.txt"])


@pytest.mark.parametrize(
    ("statuses", "status"),
    [([0] * 5, 0), ([1, 0, 0, 0, 0], 1), ([1, 0, 2, 0, 5], 5), ([0, 0, -9, 0, 0], -9)],
)
def test_every_check_runs_and_any_failure_counts(
    script: types.ModuleType,
    monkeypatch: pytest.MonkeyPatch,
    statuses: list[int],
    status: int,
) -> None:
    ran: list[list[str]] = []
    answers = iter(statuses)

    def call(command: list[str], cwd: Path) -> int:
        ran.append(command[2:])
        return next(answers)

    monkeypatch.setattr(script, "call", call)
    assert script.run_checks(Path("python"), ["-k", "taps"]) == status
    checks = ["ruff", "ruff", "mypy", "tools.check_pack_types", "pytest"]
    assert [command[0] for command in ran] == checks
    assert ran[-1] == ["pytest", *script.SHARED_OUT, "-k", "taps"]


def test_somebody_elses_environment_is_left_alone(project: Path) -> None:
    theirs = project / ".venv"
    theirs.mkdir()
    (theirs / "notes.txt").write_text("mine")
    done = run(project, "demo")
    assert done.returncode == 2
    assert "was not made by run.py" in done.stderr
    assert (theirs / "notes.txt").read_text() == "mine"


def test_for_real_it_makes_uses_and_mends_an_environment(project: Path) -> None:
    # No lock asks for anything, so that nothing is fetched.
    for lock in (project / "requirements").iterdir():
        lock.write_text("# nothing\n")
    environment = project / ".venv"
    half_made = environment / "pyvenv.cfg"
    half_made.parent.mkdir()
    half_made.write_text("home = nowhere\n")  # as a first call leaves it that is cut short

    first = run(project, "segment", "a picture.png", "--phrase", "the cat")
    assert first.stdout.splitlines()[-1] == "ldznet segment a picture.png --phrase the cat"
    assert first.returncode == 7, first.stderr
    stamp = environment / "made-by-run.py.json"
    assert json.loads(stamp.read_text()).keys() == {"lock-run.txt", "lock-torch.txt"}

    second = run(project, "info")
    assert (second.stdout.splitlines(), second.returncode) == (["ldznet info"], 7)


def run(project: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Start the project's run.py as a user does, from another folder."""
    environment = {name: value for name, value in os.environ.items() if name != "LDZNET_VENV"}
    return subprocess.run(
        [sys.executable, str(project / "run.py"), *arguments],
        cwd=project.parent,
        env=environment,
        capture_output=True,
        text=True,
        timeout=600,
    )
