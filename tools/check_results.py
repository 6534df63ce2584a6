"""Whether the tables of docs/results.md come out again: runs their commands and compares cells.

    python tools/check_results.py --list               # the tables, and the command of each
    python tools/check_results.py --only "split comb"  # those below headings with these words
    python tools/check_results.py                      # all: about three hours of one slow core
    python tools/check_results.py --write              # put what they print on the page

A table belongs to the command in the section above it, alone in its block. What commands print is
kept in --folder, so that a run that was stopped goes on; --again does everything anew. Every line
of a table must be among those that the command prints, under the same headings. Numbers may differ
by --tolerance, as other processors and other numbers of threads round otherwise (in tables in per
cent by a hundred times as much); times may differ at will.
"""

from __future__ import annotations

import argparse
import itertools
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path("docs/results.md")
TIMES = ("passes",)
"""Headings of columns that hold times."""
PER_CENT = ("mean-IoU", "AP of all pixels", "pixels' ECE")
"""Headings that only tables in per cent have."""

_COMMAND = re.compile(r"python -m (ldznet_core evaluate [^\n#]*?) *(?:#[^\n]*)?\n?")
_BLOCK = re.compile(r"^```(?s:.*?)^```|^#+ .*$|(?:^(?!#|```).+\n?)+", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_ROUNDING = 1e-9
_NO_LINE = "no such line is made"


@dataclass(slots=True)
class Table:
    """A table of a page or of what a command prints."""

    headings: tuple[str, ...]
    rows: list[tuple[str, ...]] = field(default_factory=list)
    """The cells of each line; several lines may begin alike."""
    text: str = ""
    """As it stands on the page."""


@dataclass(slots=True)
class Claim:
    """A command of a page and the tables that it is said to make."""

    section: str
    """The headings above, from the largest to the smallest."""
    command: str
    """What stands behind ``python -m``."""
    tables: list[Table] = field(default_factory=list)


def read_claims(page: str) -> list[Claim]:
    """The commands of a Markdown page that have a table in the same section."""
    claims: list[Claim] = []
    above: list[str] = []
    current: Claim | None = None
    for block in _blocks(page):
        heading = re.match(r"(#+) (.*)", block)
        if heading:
            depth = len(heading[1])
            above = [*above[: depth - 1], heading[2]]
            current = None
        elif block.startswith("```"):
            whole = _COMMAND.fullmatch(block.removeprefix("```sh\n").removesuffix("```"))
            current = Claim(", ".join(above[1:]), whole[1]) if whole else None
        elif block.startswith("|") and current:
            current.tables.append(_table(block))
            if len(current.tables) == 1:
                claims.append(current)
    return claims


def tables_of(printed: str) -> list[Table]:
    """The tables in a Markdown text."""
    return [_table(block) for block in _blocks(printed) if block.startswith("|")]


def differences(told: Table, made: Sequence[Table], tolerance: float) -> Iterator[str]:
    """What a table of the page says otherwise than those that were made, a sentence each."""
    alike = [table for table in made if table.headings == told.headings]
    if not alike:
        yield _no_table(told)
        return
    if any(heading in PER_CENT for heading in told.headings):
        tolerance *= 100
    for name, *cells in told.rows:
        rows = [row[1:] for table in alike for row in table.rows if row[0] == name]
        found = [list(_unlike(told.headings[1:], cells, row, tolerance)) for row in rows]
        nearest = min(found, key=len, default=[_NO_LINE])
        yield from (f"{name}: {each}" for each in nearest)


def renewed(told: Sequence[Table], made: Sequence[Table]) -> Iterator[tuple[str, str]]:
    """Tables of the page as they stand, each with its lines as they were made now.

    The first table of some headings is the first that was made with these, whatever the numbers in
    them, and so on. Which of its lines the page shows stays as it is.

    Raises:
        LookupError: A table or one of its lines was not made; the message says which.
    """
    unused = list(made)
    for table in told:
        found = next((each for each in unused if _words(each) == _words(table)), None)
        if found is None:
            raise LookupError(_no_table(table))
        unused.remove(found)
        lines = {_name(row): row for row in found.rows}
        if missing := [row[0] for row in table.rows if _name(row) not in lines]:
            raise LookupError(f"{_NO_LINE}: {missing[0]}")
        _, rule, *_ = table.text.splitlines()
        rows = [found.headings, *(lines[_name(row)] for row in table.rows)]
        first, *others = (f"| {' | '.join(row)} |" for row in rows)
        yield table.text, "\n".join([first, rule, *others])


def main() -> int:
    """Check or change the page; the exit status is 1 if a table differs, or was not made."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--page", type=Path, default=PAGE, help="the page that is checked")
    parser.add_argument("--only", action="append", help="words of a heading; may be repeated")
    parser.add_argument("--list", action="store_true", help="name the tables and run nothing")
    parser.add_argument("--write", action="store_true", help="change the page's tables instead")
    parser.add_argument("--again", action="store_true", help="run also what was run before")
    parser.add_argument("--tolerance", type=float, default=0.01, help="between numbers")
    parser.add_argument("--folder", type=Path, default=Path("runs/results"), help="what is kept")
    asked = parser.parse_args()
    claims = [
        claim
        for claim in read_claims(asked.page.read_text(encoding="utf-8"))
        if not asked.only or any(words in claim.section for words in asked.only)
    ]
    is_right = bool(claims)
    for claim in claims:
        print(f"{claim.section}\n  python -m {claim.command}", flush=True)
        if asked.list:
            continue
        made = tables_of(_printed(claim, asked.folder, again=asked.again))
        if asked.write:
            found, right = list(_written(asked.page, claim, made)), "written"
        else:
            found, right = list(_compared(claim, made, asked.tolerance)), "as told"
        print("\n".join(f"  {each}" for each in found) or f"  {right}", flush=True)
        is_right = is_right and not found
    return 0 if is_right else 1


def _compared(claim: Claim, made: Sequence[Table], tolerance: float) -> Iterator[str]:
    """What the page says otherwise than what was made."""
    for table in claim.tables:
        yield from differences(table, made, tolerance)


def _written(path: Path, claim: Claim, made: Sequence[Table]) -> Iterator[str]:
    """Put what was made on the page; say what was not, and then leave the page as it is."""
    page = path.read_text(encoding="utf-8")
    try:
        for told, now in renewed(claim.tables, made):
            page = page.replace(told, now, 1)
    except LookupError as error:
        yield str(error)
    else:
        path.write_text(page, encoding="utf-8")


def _blocks(text: str) -> Iterator[str]:
    """Headings, fenced blocks and runs of lines, in their order."""
    for found in _BLOCK.finditer(text):
        yield found[0].strip()


def _table(block: str) -> Table:
    first, _, *others = (
        tuple(cell.strip() for cell in line.strip().strip("|").split("|"))
        for line in block.splitlines()
    )
    return Table(first, others, block)


def _no_table(told: Table) -> str:
    return f"no table is made with the headings {' | '.join(told.headings)}"


def _words(table: Table) -> list[str]:
    """The headings without their numbers, such as a threshold."""
    return [_NUMBER.sub("", heading) for heading in table.headings]


def _name(row: Sequence[str]) -> tuple[str, ...]:
    """What tells a line from the others: its first cell and the words in those that follow."""
    first, *others = row
    return first, *itertools.takewhile(lambda cell: re.fullmatch(r"[^\d-]+", cell), others)


def _unlike(
    headings: Sequence[str], told: Sequence[str], made: Sequence[str], tolerance: float
) -> Iterator[str]:
    for heading, one, other in zip(headings, told, made, strict=True):
        if heading in TIMES:
            continue
        numbers, others = ([float(each) for each in _NUMBER.findall(cell)] for cell in (one, other))
        words, other_words = (_NUMBER.sub("", cell).replace("*", "") for cell in (one, other))
        is_close = (
            words == other_words
            and len(numbers) == len(others)
            and all(
                abs(number - each) <= tolerance + _ROUNDING
                for number, each in zip(numbers, others, strict=True)
            )
        )
        if not is_close:
            yield f"{heading} is told as {one} and made as {other}"


def _printed(claim: Claim, folder: Path, *, again: bool) -> str:
    """What the command prints, now or when it was run before."""
    kept = folder / (re.sub(r"\W+", "-", claim.command.partition("--what ")[2]) + ".md")
    if again or not kept.exists():
        command = [sys.executable, "-m", *shlex.split(claim.command)]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)  # noqa: S603
        folder.mkdir(parents=True, exist_ok=True)
        kept.write_text(done.stdout, encoding="utf-8")
    return kept.read_text(encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
