"""Damaged files by number: the same number and seed make the same file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ldznet_core import convert_checkpoint, load_head, load_miniature, read_config
from ldznet_core.backends import load_backbone
from ldznet_core.weights import read_weights, write_weights

from . import seeds
from .damage_archives import damage_archive
from .damage_safetensors import Random, damage_safetensors, flip_bits, odd_value

Loaders = dict[str, Callable[[], object]]

KINDS = {
    "checkpoint": 0.32,
    "head": 0.2,
    "shards": 0.08,
    "official safetensors": 0.08,
    "SD checkpoint": 0.12,
    "pipeline": 0.1,
    "miniature": 0.1,
}
"""What is damaged, and how large a share of the files each has."""


@dataclass(frozen=True, slots=True)
class Case:
    """A damaged file, or a folder with one, and everything that shall be tried on it."""

    number: int
    kind: str
    damage: str
    path: Path
    loaders: Loaders
    target: Path
    """Where conversions write: nothing is there after a refusal."""


def make_case(number: int, seed: int, valid: Path, folder: Path, command: str) -> Case:
    """Write a damaged file.

    Args:
        number: Of the case.
        seed: Of all cases.
        valid: The folder of `seeds.write_seeds`.
        folder: Empty, for the file.
        command: What pickles with code shall run.
    """
    random = np.random.default_rng([seed, number])
    kind = str(random.choice(list(KINDS), p=list(KINDS.values())))
    target = folder / "converted" / "head.safetensors"
    damage, path, loaders = _MAKERS[kind](random, valid, folder, target, command)
    return Case(number, kind, damage, path, loaders, target)


Made = tuple[str, Path, Loaders]


def _checkpoint(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    path = folder / seeds.CHECKPOINT
    damage, data = damage_archive((valid / path.name).read_bytes(), random, command)
    path.write_bytes(data)
    return damage, path, {"convert_checkpoint": lambda: convert_checkpoint(path, target)}


def _head(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    path = folder / seeds.HEAD
    damage, data = damage_safetensors((valid / path.name).read_bytes(), random)
    path.write_bytes(data)
    return damage, path, _head_loaders(path) | {"load_backbone": lambda: _backbone(path)}


def _shards(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    shutil.copytree(valid / seeds.SHARDS, folder / seeds.SHARDS)
    files = sorted((folder / seeds.SHARDS).iterdir())
    one, other = (_any_of(files, random) for _ in range(2))
    way = int(random.integers(6))
    if way == 0:
        damage = "a shard lost"
        one.unlink()
    elif way == 1:
        damage = "a shard renamed"
        names = (
            "head-0of3",
            "head-4of3",
            "head-1of2",
            "head",
            "head-1of99999999999999",
            "head-1of0",
        )
        one.rename(one.with_stem(names[int(random.integers(len(names)))]))
    elif way == 2:
        damage = "a shard for another"
        one.write_bytes(other.read_bytes())
    else:
        damage, data = damage_safetensors(one.read_bytes(), random)
        one.write_bytes(data)
    return damage, folder / seeds.SHARDS, _head_loaders(folder / seeds.SHARDS / "head")


def _official(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    path = folder / seeds.OFFICIAL
    damage, data = damage_safetensors((valid / path.name).read_bytes(), random)
    path.write_bytes(data)
    loaders: Loaders = {
        "convert_checkpoint": lambda: convert_checkpoint(path, target),
        "load_head": lambda: load_head(path),
    }
    return damage, path, loaders


def _sd_checkpoint(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    path = folder / seeds.SD
    damage, data = damage_safetensors((valid / path.name).read_bytes(), random)
    path.write_bytes(data)
    loaders: Loaders = {
        "load_backbone": lambda: _backbone(path),
        "convert_checkpoint": lambda: convert_checkpoint(path, target),
    }
    return damage, path, loaders


def _pipeline(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    path = folder / seeds.PIPELINE
    shutil.copytree(valid / seeds.PIPELINE, path)
    files = sorted(path.rglob("*.*"))
    file = _any_of(files, random)
    data = file.read_bytes()
    if random.random() < 0.1:
        damage = "a file lost"
        file.unlink()
    elif file.suffix == ".json":
        damage = "settings"
        file.write_bytes(_damaged_settings(data, random))
    else:
        damage, data = damage_safetensors(data, random)
        file.write_bytes(data)
    return damage, path, {"load_backbone": lambda: _backbone(path)}


def _miniature(random: Random, valid: Path, folder: Path, target: Path, command: str) -> Made:
    path = folder / seeds.MINIATURE
    shutil.copytree(valid / seeds.MINIATURE, path)
    files = sorted(path.iterdir())
    one, other = (_any_of(files, random) for _ in range(2))
    way = int(random.integers(8))
    if way == 0:
        damage = "a part lost"
        one.unlink()
    elif way == 1:
        damage = "a part for another"
        one.write_bytes(other.read_bytes())
    elif way < 4:
        damage = "settings"
        state, metadata = read_weights(one)
        settings = _damaged_settings(metadata[seeds.SETTINGS].encode(), random)
        told = settings.decode(errors="replace")
        write_weights(state, one, {**metadata, seeds.SETTINGS: told})
    else:
        damage, data = damage_safetensors(one.read_bytes(), random)
        one.write_bytes(data)
    return damage, path, {"load_miniature": lambda: load_miniature(folder=path)}


def _any_of(files: list[Path], random: Random) -> Path:
    return files[int(random.integers(len(files)))]


def _damaged_settings(data: bytes, random: Random) -> bytes:
    if random.random() < 0.3:
        return flip_bits(data, random)
    settings = json.loads(data)
    if random.random() < 0.1:
        return json.dumps(odd_value(random)).encode()
    for _ in range(int(random.integers(1, 4))):
        settings[str(random.choice(list(settings)))] = odd_value(random)
    return json.dumps(settings).encode()


def _head_loaders(path: Path) -> Loaders:
    return {
        "load_head": lambda: load_head(path),
        "read_config": lambda: read_config(path),
        "read_weights": lambda: read_weights(path),
    }


def _backbone(path: Path) -> object:
    """All of it: the UNet is read when it is first used."""
    return getattr(load_backbone(path), "unet", None)


_MAKERS: dict[str, Callable[[Random, Path, Path, Path, str], Made]] = {
    "checkpoint": _checkpoint,
    "head": _head,
    "shards": _shards,
    "official safetensors": _official,
    "SD checkpoint": _sd_checkpoint,
    "pipeline": _pipeline,
    "miniature": _miniature,
}
