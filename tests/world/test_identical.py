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
    ("small", "train"): ("c66c3bbdb91a5fb1", "35f1cd214ed2be95"),
    ("small", "validation"): ("d358bfd99b3f24e8", "ffd918360e0ddfaa"),
    ("small", "iid"): ("835c379a5d140d5a", "d6e465f8f0dd1788"),
    ("small", "comb"): ("cb2e9074fcfc4fa7", "3bcb93002f27c4b0"),
    ("small", "style"): ("6a5ad60a279906f4", "17c455ab575621bf"),
    ("full", "train"): ("991881c2edcd0290", "0bf6a947da4eb1d1"),
    ("full", "validation"): ("65e9325a2414e64f", "6422b7907fe415f3"),
    ("full", "iid"): ("92b1c28a600f7ee8", "843d99aa964cb270"),
    ("full", "comb"): ("14c5db274f413578", "0890c7af88c09ee7"),
    ("full", "style"): ("33a9643248197f0b", "1c515ac2405c0dfe"),
    ("full", "caption-only"): ("e137dea38d0d80ba", "60f9d77cf7cec427"),
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
