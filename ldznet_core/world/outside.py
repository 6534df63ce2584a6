"""Nouns of things that no world draws: for phrases that are surely absent."""

from __future__ import annotations

OUTSIDE_NOUNS = (
    "airplane", "anchor", "bench", "bicycle", "book", "bottle", "bridge", "camera", "candle",
    "chair", "clock", "computer", "cow", "crown", "dinosaur", "dog", "dragon", "drum", "fork",
    "giraffe", "guitar", "hammer", "hat", "helicopter", "horse", "house", "keyboard", "ladder",
    "lamp", "laptop", "lion", "motorcycle", "penguin", "person", "piano", "robot", "scissors",
    "shoe", "sofa", "spoon", "telephone", "tiger", "train", "truck", "violin",
    "watch", "zebra",
)  # fmt: skip
