#!/usr/bin/env python3
"""Runs LD-ZNet from a fresh copy of the project; needs nothing but Python 3.10 or newer.

    python run.py demo [options]        picture, named masks and inpainting, made by our own model
    python run.py test [pytest args]    ruff, mypy and pytest over the project
    python run.py COMMAND [options]     any other command of the `ldznet` command line

The first call makes a virtual environment in `.venv` (or in the folder that LDZNET_VENV names)
from the locks in `requirements/`; later calls only compare the locks' digests.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable, Iterator, Sequence

ROOT = Path(__file__).resolve().parent
TORCH_LOCK, RUN_LOCK, DEV_LOCK = "lock-torch.txt", "lock-run.txt", "lock-dev.txt"
TORCH_CPU_INDEX = "https://download.pytorch.org/whl/cpu"
STAMP = "made-by-run.py.json"  # in the environment: which locks it holds, by digest
CHECKS = (
    ("ruff", "check", "."),
    ("ruff", "format", "--check", "."),
    ("mypy",),
    ("tools.check_pack_types",),
)
SHARED_OUT = ("-n", "auto", "--dist", "loadfile")  # among processes, as tests/sharing.py says

Pip = Callable[..., bool]


class SetupError(Exception):
    """The environment cannot be made; the message says what to do."""


def main(arguments: Sequence[str]) -> int:
    """Run one command in the project's environment and return its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__)
        return 0 if arguments else 2
    try:
        if arguments[0] == "test":
            return run_checks(prepare_environment([RUN_LOCK, DEV_LOCK]), arguments[1:])
        return call([prepare_environment([RUN_LOCK]), "-m", "ldznet_core", *arguments])
    except (SetupError, OSError) as error:
        print(f"run.py: error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def run_checks(python: Path, pytest_arguments: Sequence[str]) -> int:
    """Run every check, also after one has failed; pytest comes last and has the last word."""
    statuses = []
    for check in (*CHECKS, ("pytest", *SHARED_OUT, *pytest_arguments)):
        print("$ " + " ".join(check), flush=True)
        statuses.append(call([python, "-m", *check], cwd=ROOT))
    return next((status for status in reversed(statuses) if status), 0)


def call(command: Sequence[str | Path], cwd: Path | None = None) -> int:
    """Run a command on the project's own modules and return its exit status."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
    return subprocess.call([str(part) for part in command], cwd=cwd, env=environment)


def prepare_environment(locks: Sequence[str]) -> Path:
    """Return the environment's Python, after making or mending the environment if need be."""
    if sys.version_info < (3, 10):
        found = ".".join(map(str, sys.version_info[:3]))
        raise SetupError(f"needs Python 3.10 or newer, this is {found}; use a newer one")
    folder = Path(os.environ.get("LDZNET_VENV") or ROOT / ".venv").absolute()
    wanted = {name: digest(name) for name in [*locks, TORCH_LOCK]}
    if read_stamp(folder).items() >= wanted.items() and runs(python_of(folder)):
        return python_of(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    with one_at_a_time(folder.with_name(folder.name + ".lock")):
        make_environment(folder, wanted)
    return python_of(folder)


def make_environment(folder: Path, wanted: dict[str, str]) -> None:
    """Leave an environment in `folder` whose stamp holds the `wanted` digests."""
    stamp = read_stamp(folder)
    if stamp.items() >= wanted.items() and runs(python_of(folder)):
        return  # another run.py has made it while this one waited
    outdated = any(stamp.get(name, value) != value for name, value in wanted.items())
    if not stamp or outdated or not runs(python_of(folder)):
        create(folder)
        stamp = {}
    print(f"run.py: installing packages into {folder} (some minutes, the first time)", flush=True)
    started = time.monotonic()
    pip = pip_of(python_of(folder))
    for name in [name for name in wanted if name not in stamp]:
        if name == TORCH_LOCK:
            install_torch(pip)
        elif not pip("--no-deps", "-r", lock_path(name)):
            raise SetupError(f"could not install {name}; pip's reason is above")
    write_stamp(folder, {**stamp, **wanted})
    print(f"run.py: ready after {time.monotonic() - started:.0f} s", flush=True)


def create(folder: Path) -> None:
    """Make a fresh environment; a half-made or outdated one of ours gives way."""
    if folder.exists():
        refuse_a_strangers(folder)
        print(f"run.py: making {folder} anew", flush=True)
        try:
            shutil.rmtree(folder)
        except OSError as error:
            raise SetupError(f"could not remove the old {folder}: {error}") from error
    if importlib.util.find_spec("ensurepip") is None:
        raise SetupError("this Python lacks ensurepip; on Debian: apt install python3-venv")
    folder.mkdir()
    (folder / STAMP).write_text("{}", encoding="utf-8")
    if subprocess.call([sys.executable, "-I", "-m", "venv", str(folder)]) != 0:
        raise SetupError(f"could not make a virtual environment in {folder}; the reason is above")


def refuse_a_strangers(folder: Path) -> None:
    """Raise unless `folder` is ours to remove: stamped, empty, or a broken environment."""
    if (folder / STAMP).exists() or not any(folder.iterdir()):
        return
    if (folder / "pyvenv.cfg").exists() and not runs(python_of(folder)):
        return
    raise SetupError(
        f"{folder} was not made by run.py; move it away, or set LDZNET_VENV to another folder"
    )


def install_torch(pip: Pip) -> None:
    """Install torch's CPU build from where it can be had.

    First from the sources that this machine's pip knows, next from PyTorch's own index; only where
    both lack it comes the build that PyPI has, which on Linux brings some gigabytes of CUDA.
    """
    lock = lock_path(TORCH_LOCK)
    if pip("-r", lock, is_silent=True) or pip("-r", lock, "--extra-index-url", TORCH_CPU_INDEX):
        return
    version = lock.read_text(encoding="utf-8").split("torch==", 1)[1].split("+")[0]
    if sys.platform == "linux":
        print(f"run.py: found no CPU build of torch {version}, trying PyPI's (large)", flush=True)
    if sys.platform != "linux" or not pip(f"torch=={version}"):
        raise SetupError(f"could not install torch {version}; pip's reason is above")


def pip_of(python: Path) -> Pip:
    """Return `pip install ...` in that Python's environment, telling whether it succeeded."""
    command = [str(python), "-I", "-m", "pip", "install", "--disable-pip-version-check"]
    quiet = [] if sys.stdout.isatty() else ["-qq"]

    def install(*arguments: str | Path, is_silent: bool = False) -> bool:
        errors = subprocess.DEVNULL if is_silent else None
        whole = [*command, *quiet, *map(str, arguments)]
        return subprocess.call(whole, stderr=errors) == 0

    return install


def runs(python: Path) -> bool:
    """Tell whether this interpreter starts and has pip."""
    command = [str(python), "-I", "-c", "import pip"]
    with contextlib.suppress(OSError):
        return subprocess.call(command, stderr=subprocess.DEVNULL) == 0
    return False


def python_of(folder: Path) -> Path:
    """Return where an environment has its interpreter on this system."""
    return folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def lock_path(name: str) -> Path:
    """Return where a lock lies."""
    return ROOT / "requirements" / name


def digest(name: str) -> str:
    """Return a lock's digest, the same whatever the checkout's line endings are."""
    text = lock_path(name).read_text(encoding="utf-8")
    return hashlib.sha256(text.encode()).hexdigest()


def read_stamp(folder: Path) -> dict[str, str]:
    """Return the digests of the locks that an environment holds; none if it is not finished."""
    try:
        stamp = json.loads((folder / STAMP).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return stamp if isinstance(stamp, dict) else {}


def write_stamp(folder: Path, stamp: dict[str, str]) -> None:
    """Write down, at once or not at all, which locks an environment holds."""
    draft = folder / (STAMP + ".new")
    draft.write_text(json.dumps(stamp, indent=1), encoding="utf-8")
    draft.replace(folder / STAMP)


@contextlib.contextmanager
def one_at_a_time(path: Path) -> Iterator[None]:
    """Hold a file's lock, which the system gives back however this process ends."""
    with path.open("a+", encoding="utf-8") as file:
        if sys.platform == "win32":
            import msvcrt

            file.seek(0)
            while True:
                try:
                    msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
                    break
                except OSError as error:  # it gives up after ten seconds
                    if error.errno != errno.EDEADLK:
                        raise
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX)
        yield


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
