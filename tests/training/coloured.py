"""Data sets of coloured squares on grey, in the formats that training reads."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

from ldznet_core.data_sets import Row, read_data

COLOURS = {
    "red ball": (220, 30, 30),
    "green frog": (30, 200, 30),
    "blue car": (40, 40, 230),
    "yellow duck": (230, 220, 30),
    "white ghost": (250, 250, 250),
    "black cats": (5, 5, 5),
}
"""What phrases name, and how it is painted."""

SIZE = (64, 96)
"""(height, width) of every picture."""

SQUARE = 24
"""Side of every square; two of them in a picture, side by side."""

TOP = 20
LEFTS = (8, 60)


def phrases_of(number: int) -> tuple[str, str]:
    """What a picture shows on the left and on the right; no two neighbours show the same."""
    names = list(COLOURS)
    return names[number % len(names)], names[(number + 1) % len(names)]


def paint(number: int) -> Image.Image:
    pixels = np.full((*SIZE, 3), 128, dtype=np.uint8)
    for left, phrase in zip(LEFTS, phrases_of(number), strict=True):
        pixels[TOP : TOP + SQUARE, left : left + SQUARE] = COLOURS[phrase]
    return Image.fromarray(pixels)


def corners(left: int) -> list[list[int]]:
    right, bottom = left + SQUARE, TOP + SQUARE
    return [[left, TOP], [right, TOP], [right, bottom], [left, bottom]]


def write_jsonl(folder: Path, pictures: int = 6, split: str = "train") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(pictures):
        name = f"{split}-{number}.png"
        paint(number).save(folder / name)
        lines += [
            {"image": name, "phrase": phrase, "polygons": [corners(left)]}
            for left, phrase in zip(LEFTS, phrases_of(number), strict=True)
        ]
    (folder / f"{split}.jsonl").write_text("\n".join(map(json.dumps, lines)), encoding="utf-8")
    return folder


def write_phrasecut(folder: Path, pictures: int = 6) -> Path:
    (folder / "images").mkdir(parents=True)
    tasks, infos = [], []
    for number in range(pictures):
        split = "val" if number < 2 else "train"
        paint(number).save(folder / "images" / f"{number}.jpg", quality=95)
        height, width = SIZE
        infos.append({"image_id": number, "height": height, "width": width, "split": split})
        tasks += [
            {"image_id": number, "phrase": phrase, "Polygons": [[corners(left)]], "split": split}
            for left, phrase in zip(LEFTS, phrases_of(number), strict=True)
        ]
    (folder / "image_data_split.json").write_text(json.dumps(infos), encoding="utf-8")
    for split in ("train", "val"):
        own = [task for task in tasks if task["split"] == split]
        (folder / f"refer_{split}.json").write_text(json.dumps(own), encoding="utf-8")
    return folder


def read_jsonl(folder: Path, pictures: int = 6) -> list[Row]:
    return read_data(write_jsonl(folder, pictures), "jsonl", "train")
