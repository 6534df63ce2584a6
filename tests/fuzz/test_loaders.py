"""A small share of the fuzzing, and whether it would notice what it looks for."""

from __future__ import annotations

import pickle
import time
from pathlib import Path

import pytest
import torch

pytest.importorskip("diffusers", reason="SD 1.x models need the extra `cli`")

from . import cases, loaders, trial
from .damage_archives import packed
from .hostile_pickles import hostile_pickles
from .seeds import write_seeds


@pytest.fixture(scope="module")
def valid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("valid")
    write_seeds(folder)
    return folder


@pytest.mark.parametrize("files", [24, pytest.param(60, marks=pytest.mark.slow)])
def test_damaged_files_are_loaded_or_refused_in_a_sentence(files: int, valid: Path) -> None:
    """``python -m tests.fuzz.loaders`` tries a thousand."""
    started = time.perf_counter()
    results = loaders.run(range(files), seed=7, valid=valid, workers=1)
    told = loaders.report(results, time.perf_counter() - started)
    assert len(results) == files
    assert {result.kind for result in results} == set(cases.KINDS)
    assert [result.number for result in results if result.failures] == [], told
    outcomes = [outcome for result in results for outcome in result.outcomes.values()]
    assert "loaded" in outcomes  # some damages are harmless
    assert sum(outcome != "loaded" for outcome in outcomes) > files


@pytest.mark.parametrize("kind", cases.KINDS)
def test_undamaged_files_are_loaded(
    valid: Path, kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a refusal is the damage's doing."""
    untouched = ("nothing", b"")
    for function in ("damage_safetensors", "damage_archive"):
        monkeypatch.setattr(cases, function, lambda data, *_: (untouched[0], data))
    monkeypatch.setattr(cases, "KINDS", {kind: 1.0})
    numbers = [n for n in range(40) if _damage(n, valid, tmp_path / str(n)) == "nothing"]
    result = trial.try_file(numbers[0], 0, valid)
    assert result.failures == []
    assert "loaded" in result.outcomes.values()


def _damage(number: int, valid: Path, folder: Path) -> str:
    folder.mkdir()
    return cases.make_case(number, 0, valid, folder, "").damage


def test_the_same_number_makes_the_same_file(valid: Path, tmp_path: Path) -> None:
    made = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        made.append(cases.make_case(5, 0, valid, tmp_path / name, ""))
    files = [
        [path for path in sorted(each.path.parent.rglob("*")) if path.is_file()] for each in made
    ]
    assert [path.name for path in files[0]] == [path.name for path in files[1]]
    for one, two in zip(*files, strict=True):
        assert one.read_bytes() == two.read_bytes()


def test_pickles_with_code_run_it_where_nobody_prevents_it(tmp_path: Path) -> None:
    ran = []
    for name, pickled in hostile_pickles(f'echo sung > "{tmp_path / "canary"}"').items():
        if name.startswith(("code: os", "code: posix", "code: protocol", "code: old", "code: new")):
            try:
                pickle.loads(pickled)  # noqa: S301 (it is what others would do)
            except Exception as error:
                print(name, error)
            if (tmp_path / "canary").exists():
                ran.append(name)
                (tmp_path / "canary").unlink()
    assert len(ran) >= 8


def test_an_executed_payload_is_noticed(valid: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        cases, "convert_checkpoint", lambda path, target: torch.load(path, weights_only=False)
    )
    monkeypatch.setattr(cases, "KINDS", {"checkpoint": 1.0})

    def damage(data: bytes, random: cases.Random, command: str) -> tuple[str, bytes]:
        name = "code: os, as a weight"
        return name, packed({"a/data.pkl": hostile_pickles(command)[name], "a/version": b"3"})

    monkeypatch.setattr(cases, "damage_archive", damage)
    assert "executed its payload" in trial.try_file(0, 0, valid).failures


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("misdeed", "failure"),
    [
        (lambda path, target: _raise(KeyError("weight")), "KeyError: 'weight'"),
        (lambda path, target: _raise(SystemExit(3)), "SystemExit: 3"),
        (lambda path, target: bytearray(600 * trial.MIB) and None, "took 6"),
    ],
    ids=["another error", "an exit", "memory"],
)
def test_other_misdeeds_are_noticed(
    valid: Path, misdeed: object, failure: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if failure.startswith("took") and not trial._memory("VmHWM"):
        pytest.skip("memory is read from /proc")
    monkeypatch.setattr(cases, "convert_checkpoint", misdeed)
    monkeypatch.setattr(cases, "KINDS", {"checkpoint": 1.0})
    assert failure in "".join(trial.try_file(0, 0, valid).failures)
