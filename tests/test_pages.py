"""The commands that README and docs/ tell: each is one that the command line understands."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

from ldznet_core.cli import COMMANDS
from ldznet_core.cli.options import parse

SHELL = re.compile(r"^```sh\n(.*?)^```", re.MULTILINE | re.DOTALL)
ASSIGNED = re.compile(r"^(\w+)=\"([^\"]*)\"$", re.MULTILINE)
OURS = re.compile(
    r"(?:\bldznet|\bpython run\.py|-m ldznet_core) +([\w-]+)( [^\n]*|)$", re.MULTILINE
)
DOCS = Path(__file__).resolve().parent.parent / "docs"
PAGES = ["README.md", *sorted(f"docs/{path.name}" for path in DOCS.glob("*.md"))]


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Our commands in a page's shell blocks, and their words; those with "..." are not whole."""
    for block in SHELL.findall(text):
        script = block.replace("\\\n", " ")
        for name, value in ASSIGNED.findall(script):
            script = script.replace(f"${name} ", f"{value} ")
        for command, rest in OURS.findall(script):
            words = shlex.split(rest, comments=True)
            if command in COMMANDS and "..." not in words:
                yield command, words


@pytest.mark.parametrize("page", PAGES)
def test_every_command_of_a_page_is_understood(page: str, root: Path) -> None:
    for command, words in commands((root / page).read_text(encoding="utf-8")):
        options = import_module(f"ldznet_core.cli.{command.replace('-', '_')}").Options
        assert parse(command, "", options, words) is not None, f"{command} {words}"


def test_the_plan_at_full_size_is_among_them(root: Path) -> None:
    page = (root / "docs" / "training.md").read_text(encoding="utf-8")
    plan = [words for command, words in commands(page) if "full" in words]
    assert len(plan) >= 6
    assert all("--world" in words for words in plan)
