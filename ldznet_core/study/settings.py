"""What all cells of a study have in common, and where that is written down."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from ..errors import InputError
from ..whole_files import write_text

_FILE = "study.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How every head of a study is trained and judged."""

    world: str
    side: int
    """Of the pictures in pixels."""
    steps: int
    """Of the optimiser, before a design's pace."""
    batch: int
    """Pairs of a scene and a phrase in a step."""
    learning_rate: float
    """The peak of a cosine after a tenth of the steps, before a design's pace."""
    held_out: int
    """Scenes of each split that are measured, and of that which chooses the thresholds."""
    weights: str
    """Which miniature: the identity of its weights."""

    def keep_in(self, folder: Path) -> None:
        """Write them down in a new study's folder, or check them against those of an old one.

        Raises:
            InputError: The study that is there has others.
        """
        path = folder / _FILE
        if path.exists():
            self.check_against(folder)
            return
        write_text(path, json.dumps(asdict(self), indent=2))

    def check_against(self, folder: Path) -> None:
        """Make sure that the study in a folder has these settings.

        Raises:
            InputError: It has others, or there is none.
        """
        path = folder / _FILE
        if not path.exists():
            raise InputError(
                f"expected a study in {folder}, found none: begin one with --budget-minutes"
            )
        kept = json.loads(path.read_text("utf-8"))
        other = [name for name, value in asdict(self).items() if kept.get(name) != value]
        if other:
            there = ", ".join(f"{name} {kept.get(name)}" for name in other)
            raise InputError(
                f"expected the settings of the study in {folder} ({there}), got others: give the "
                "same, or choose another --folder"
            )
