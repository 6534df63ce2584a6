"""The check of docs/results.md: what it takes for a table, and what for a difference."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import types
from pathlib import Path

import pytest

HEADINGS = "| way | mIoU | passes |\n|---|---|---|\n"
PAGE = f"""# Results

A word before.

```sh
python -m ldznet_core train head
```

| no | claim |
|---|---|
| a | 1 |

## Edges

### Of `iid`

```sh
python -m ldznet_core evaluate --what edges --count 60    # with pymatting
```

More words.

{HEADINGS}| **one** | 0.50 | 1.0 |
| another | 0.40 (+0.01 to +0.02) | 2.0 |

## Without a table

```sh
python -m ldznet_core evaluate --what looks
```

## Without a command

{HEADINGS}| one | 0.1 | 1.0 |
"""


@pytest.fixture(scope="module")
def tool(root: Path) -> types.ModuleType:
    path = root / "tools" / "check_results.py"
    spec = importlib.util.spec_from_file_location("check_results", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where its dataclasses look their types up
    spec.loader.exec_module(module)
    return module


def test_a_claim_is_a_command_with_tables_in_its_section(tool: types.ModuleType) -> None:
    (claim,) = tool.read_claims(PAGE)
    assert claim.section == "Edges, Of `iid`"
    assert claim.command == "ldznet_core evaluate --what edges --count 60"
    (table,) = claim.tables
    assert [row[0] for row in table.rows] == ["**one**", "another"]


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("| **one** | 0.50 | 7.0 |\n| another | 0.40 (+0.01 to +0.02) | 2.0 |", []),
        ("| one more | 1 | 1 |\n| **one** | 0.51 | 1 |\n| another | 0.39 (0.02 to 0.01) | 2 |", []),
        (
            "| **one** | 0.52 | 1.0 |\n| another | - | 2.0 |",
            [
                "**one**: mIoU is told as 0.50 and made as 0.52",
                "another: mIoU is told as 0.40 (+0.01 to +0.02) and made as -",
            ],
        ),
        ("| **one** | 0.50 | 1.0 |", ["another: no such line is made"]),
    ],
)
def test_a_difference_is_a_number_far_off_or_a_line_that_is_not_made(
    tool: types.ModuleType, printed: str, found: list[str]
) -> None:
    (claim,) = tool.read_claims(PAGE)
    made = tool.tables_of(f"edges:\n\n{HEADINGS}{printed}\n")
    assert list(tool.differences(claim.tables[0], made, 0.01)) == found


@pytest.mark.parametrize(
    ("printed", "found"),
    [
        ("| iid | found | 80.0 |\n| iid | every | 84.9 |", []),
        ("| iid | every | 80.0 |\n| iid | found | 84.0 |", ["84.0", "found and made as every"]),
        ("| iid | every | 86.0 |\n| iid | found | 80.0 |", ["84.0"]),
    ],
)
def test_lines_that_begin_alike_are_told_apart_and_per_cents_may_differ_by_one(
    tool: types.ModuleType, printed: str, found: list[str]
) -> None:
    headings = "| split | masks | mean-IoU |\n|---|---|---|\n"
    (told,) = tool.tables_of(f"{headings}| iid | every | 84.0 |\n| iid | found | 80.0 |")
    told_apart = list(tool.differences(told, tool.tables_of(headings + printed), 0.01))
    assert len(told_apart) == len(found)
    assert all(word in each for word, each in zip(found, told_apart, strict=True))


def test_tables_with_other_headings_are_told(tool: types.ModuleType) -> None:
    (claim,) = tool.read_claims(PAGE)
    made = tool.tables_of("| way | IoU |\n|---|---|\n| **one** | 0.50 |")
    assert list(tool.differences(claim.tables[0], made, 0.01)) == [
        "no table is made with the headings way | mIoU | passes"
    ]


def test_a_page_gets_the_lines_that_it_has_and_the_headings_that_are_made(
    tool: types.ModuleType,
) -> None:
    told, now = "| split | masks | mIoU at 0.5 |\n", "| split | masks | mIoU at 0.35 |\n"
    rule, right = "|---|---|---|\n", "|---|---|---:|\n"
    one, other = tool.tables_of(
        f"{told}{right}| iid | every | 1 |\n| iid | found | 2 |\n\n{told}{rule}| iid | found | 3 |"
    )
    made = tool.tables_of(
        f"{now}{rule}| iid | found | - |\n| comb | every | 5 |\n| iid | every | +4 |\n\n"
        f"{now}{rule}| iid | found | 6 (5 to 7) |"
    )
    assert [text for _, text in tool.renewed([one, other], made)] == [
        f"{now}{right}| iid | every | +4 |\n| iid | found | - |",
        f"{now}{rule}| iid | found | 6 (5 to 7) |",
    ]
    with pytest.raises(LookupError, match="no such line is made: iid"):
        list(tool.renewed([one], made[1:]))
    with pytest.raises(LookupError, match=r"no table is made with the headings split \| masks"):
        list(tool.renewed([one], []))


def test_a_command_is_run_once_and_its_tables_are_compared(root: Path, tmp_path: Path) -> None:
    page, kept = tmp_path / "page.md", tmp_path / "kept"
    command = "python -m ldznet_core evaluate --what edges --head training-free --count 1"
    told = "| way | things mIoU | stuff mIoU |\n|---|---|---|\n| as it is | 7.00 | 0.00 |\n"
    page.write_text(f"## Edges\n\n```sh\n{command}\n```\n\n{told}", encoding="utf-8")
    check = [sys.executable, "tools/check_results.py", "--page", str(page), "--folder", str(kept)]
    done = subprocess.run(check, cwd=root, capture_output=True, text=True, encoding="utf-8")
    assert done.returncode == 1, done.stderr
    assert "as it is: things mIoU is told as 7.00 and made as 0." in done.stdout
    for flags, last in ((["--write"], "  written"), ([], "  as told")):
        done = subprocess.run(
            [*check, *flags], cwd=root, capture_output=True, text=True, encoding="utf-8"
        )
        assert (done.returncode, done.stdout.splitlines()[-1]) == (0, last)
    assert len(page.read_text(encoding="utf-8").splitlines()) == len(told.splitlines()) + 6


def test_every_command_of_the_page_is_understood(tool: types.ModuleType, root: Path) -> None:
    claims = tool.read_claims((root / "docs" / "results.md").read_text(encoding="utf-8"))
    assert len(claims) >= 10
    assert all(table.rows for claim in claims for table in claim.tables)
