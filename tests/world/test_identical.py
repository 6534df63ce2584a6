"""The first scenes of each split are the same on every machine: label maps, captions, phrases.

Labels are compared exactly. A float's last digit does not decide them in these scenes: they stay
when all edges of backgrounds move by four steps of float32 (2.4e-7 of the picture) either way,
and are the same with Pillow 9.5 and NumPy 1.24 as with 13.0 and 2.4. Colours are not compared
here: powers of float32 and Pillow's resampling of floats may round otherwise elsewhere, and
colours are cut to whole levels. test_scenes.py holds them to a tolerance.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import product

import pytest

from ldznet_core.evaluation.cases import cases
from ldznet_core.world import SPLITS, WORLDS, caption

COUNT = 8
SIDES = {"small": 128, "full": 256}

# Of the labels, and of the captions and phrases. A change here changes what every trained network
# was trained on and measured by.
FIRST_SCENES: dict[tuple[str, str], tuple[str, str]] = {
    ("small", "train"): ("c66c3bbdb91a5fb1", "ab16d31b83a4458c"),
    ("small", "validation"): ("d358bfd99b3f24e8", "eef63c5bf5f4acad"),
    ("small", "iid"): ("835c379a5d140d5a", "d51947906ca729fb"),
    ("small", "comb"): ("cb2e9074fcfc4fa7", "72f5cbd4828d5212"),
    ("small", "style"): ("6a5ad60a279906f4", "6cfcf0b54c8063e3"),
    ("full", "train"): ("991881c2edcd0290", "3239cc1c85e6b4d1"),
    ("full", "validation"): ("65e9325a2414e64f", "a6eb2d7b48814f33"),
    ("full", "iid"): ("92b1c28a600f7ee8", "e67c54d742c9fec1"),
    ("full", "comb"): ("14c5db274f413578", "fcddd0839e2fdea6"),
    ("full", "style"): ("33a9643248197f0b", "1c515ac2405c0dfe"),
    ("full", "caption-only"): ("e137dea38d0d80ba", "b38b26b521a9d637"),
}


def digest(parts: Iterable[bytes]) -> str:
    return hashlib.blake2b(b"\x1f".join(parts), digest_size=8).hexdigest()


def digests(world: str, split: str) -> tuple[str, str]:
    """Of the first scenes of a split: their label maps' hash, and that of what is said of them."""
    shown = list(cases(world, split, COUNT, SIDES[world]))
    words = []
    for case in shown:
        words += [caption(case.scene.layout), caption(case.scene.layout, plain=True)]
        words += [f"{phrase.text} {list(phrase.regions)}" for phrase in case.phrases]
    labels = digest(case.scene.labels.tobytes() for case in shown)
    return labels, digest(text.encode() for text in words)


@pytest.mark.parametrize(("world", "split"), FIRST_SCENES)
def test_label_maps_captions_and_phrases_never_change(world: str, split: str) -> None:
    assert digests(world, split) == FIRST_SCENES[world, split]


def test_every_split_of_every_world_is_held_to_its_hashes() -> None:
    assert {*FIRST_SCENES} == {*product(WORLDS, SPLITS)} - {("small", "caption-only")}
