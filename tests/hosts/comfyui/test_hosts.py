"""Finding hosts and their Pythons, and the watch that ends a server whose tests are gone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from . import hosts
from .hosts import Host, NoPythonError, find_hosts, find_python

PRESTARTUP = Path(__file__).parent / "support_pack" / "prestartup_script.py"


def make_host(folder: Path, version: str) -> Path:
    (folder / "comfy").mkdir(parents=True)
    (folder / "main.py").touch()
    (folder / "comfyui_version.py").write_text(f'__version__ = "{version}"\n')
    return folder


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without hosts, and no variables that name any."""
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    monkeypatch.delenv("LDZNET_COMFYUI", raising=False)
    monkeypatch.delenv("LDZNET_COMFYUI_PYTHON", raising=False)
    return tmp_path


class TestHosts:
    def test_none_are_found_where_there_are_none(self, home: Path) -> None:
        assert find_hosts() == []

    def test_those_at_the_usual_place_come_with_the_newest_first(self, home: Path) -> None:
        make_host(home / "hosts" / "comfyui", "0.8.0")
        make_host(home / "hosts" / "comfyui-new", "0.45.2")
        make_host(home / "hosts" / "comfyui-old", "0.3.64")
        (home / "hosts" / "comfyui-empty").mkdir()
        assert [host.version for host in find_hosts()] == ["0.45.2", "0.8.0", "0.3.64"]

    def test_a_variable_names_one_or_several(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        make_host(home / "hosts" / "comfyui", "0.8.0")
        others = [make_host(home / "elsewhere" / name, name) for name in ("1.0", "2.0")]
        monkeypatch.setenv("LDZNET_COMFYUI", os.pathsep.join(map(str, others)))
        assert [host.version for host in find_hosts()] == ["2.0", "1.0"]

    def test_the_one_that_the_project_stands_in_is_the_last_resort(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        around = make_host(home / "ComfyUI", "0.9")
        monkeypatch.setattr(hosts, "PROJECT", around / "custom_nodes" / "ldznet")
        assert [host.folder for host in find_hosts()] == [around.resolve()]
        make_host(home / "hosts" / "comfyui", "0.8.0")
        assert [host.version for host in find_hosts()] == ["0.8.0"]


class TestPythons:
    def test_one_without_comfyuis_packages_is_refused_in_a_sentence(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = Host(make_host(home / "host", "0.8.0"), "0.8.0")
        monkeypatch.setenv("LDZNET_COMFYUI_PYTHON", str(home / "no-python"))
        with pytest.raises(NoPythonError, match=r"torchsde.*LDZNET_COMFYUI_PYTHON"):
            find_python(host)

    def test_a_host_without_any_is_told_what_to_do(
        self, home: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        host = Host(make_host(home / "host", "0.8.0"), "0.8.0")
        monkeypatch.setattr(hosts, "_NEEDED", ("a_package_that_is_nowhere",))
        with pytest.raises(NoPythonError, match="tried: none"):
            find_python(host)


class TestWatch:
    """What runs inside the server before any node is loaded."""

    def start(self, base: Path, script: str) -> subprocess.Popen[str]:
        program = f"import runpy; runpy.run_path({str(PRESTARTUP)!r})\n{script}"
        return subprocess.Popen(
            [sys.executable, "-c", program],
            env={**os.environ, "LDZNET_TESTS_BASE": str(base)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def test_a_server_ends_when_nobody_holds_its_input(self, tmp_path: Path) -> None:
        process = self.start(tmp_path, "import time; print('up', flush=True); time.sleep(600)")
        assert process.stdout is not None
        assert process.stdin is not None
        assert process.stdout.readline() == "up\n"
        process.stdin.close()  # as the system does for a killed pytest
        assert process.wait(30) == 1
        process.stdout.close()

    def test_it_notes_what_the_pack_touches_and_nobody_else(self, tmp_path: Path) -> None:
        pack = tmp_path / "custom_nodes" / "ldznet"
        pack.mkdir(parents=True)
        (pack / "read.py").write_text("def read(path):\n    open(path).close()\n")
        script = (
            "import runpy\n"
            f"read = runpy.run_path({str(pack / 'read.py')!r})['read']\n"
            f"read({os.devnull!r}); open({os.devnull!r}, 'rb').close()\n"
        )
        process = self.start(tmp_path, script)
        assert process.wait(30) == 0
        process.communicate()
        lines = (tmp_path / "audit.jsonl").read_text(encoding="utf-8").splitlines()
        (event,) = (json.loads(line) for line in lines)
        assert event["arguments"][:2] == [os.devnull, "r"]
        assert (event["by"], event["while"]) == ("read.py:2", "run")
