"""Nouns of things that a world never draws: for phrases that are surely absent."""

from __future__ import annotations

_OUTSIDE = {
    "small": (
        "airplane", "anchor", "bench", "bicycle", "book", "bottle", "bridge", "camera", "candle",
        "chair", "clock", "computer", "cow", "crown", "dinosaur", "dog", "dragon", "drum", "fork",
        "giraffe", "guitar", "hammer", "hat", "helicopter", "horse", "house", "keyboard", "ladder",
        "lamp", "laptop", "lion", "motorcycle", "penguin", "person", "piano", "robot", "scissors",
        "shoe", "sofa", "spoon", "telephone", "tiger", "train", "truck", "violin",
        "watch", "zebra",
    ),
    "full": (
        "anchor", "ant", "basket", "bat", "bed", "bench", "bottle", "bridge", "broom", "brush",
        "carpet", "cherry", "coat", "coconut", "deer", "desk", "dragon", "eagle", "fork", "ghost",
        "glove", "goat", "grapes", "knife", "lobster", "monkey", "motorcycle", "mouse", "pencil",
        "person", "piano", "pillow", "pumpkin", "ring", "rope", "scissors", "shark", "sheep",
        "snake", "sofa", "spider", "spoon", "statue", "sword", "violin", "watch", "whale", "wolf",
        "zebra",
    ),
}  # fmt: skip


def outside_nouns(world: str) -> tuple[str, ...]:
    """The world's own list; no thing, group or stuff of it is named so."""
    return _OUTSIDE[world]
