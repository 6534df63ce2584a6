"""A training's figures as lines of JSON, and drawn as curves."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

_SIZE = (640, 240)
_FRAME = (70, 20, 620, 210)  # left, top, right, bottom
_UNDRAWN = ("step", "seconds", "steps_per_second")
_INK, _FAINT, _RAW = (30, 30, 30), (220, 220, 220), (170, 190, 220)


class TrainingLog:
    """The log in a stage's folder: ``log.jsonl``, and ``log.png`` once plotted."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lines, self._picture = folder / "log.jsonl", folder / "log.png"

    def add(
        self, step: int, seconds: float, figures: Mapping[str, float], *, steps_per_second: float
    ) -> None:
        """Append one line."""
        rate = round(steps_per_second, 3)
        self.add_figures(step, seconds, {**figures, "steps_per_second": rate})

    def add_figures(self, step: int, seconds: float, figures: Mapping[str, float]) -> None:
        """Append a line of what was measured at a saving point."""
        line = {"step": step, "seconds": round(seconds, 1), **figures}
        with self._lines.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def rewind(self, step: int) -> None:
        """Drop the lines of later steps, which a run did after it had last saved."""
        kept = [json.dumps(line) + "\n" for line in self._read() if line["step"] <= step]
        self._lines.write_text("".join(kept), encoding="utf-8")

    def plot(self) -> None:
        """Draw a panel of each figure over the steps."""
        lines = self._read()
        if not lines:
            return
        names = list(dict.fromkeys(name for line in lines for name in line if name not in _UNDRAWN))
        panels = [_panel(name, *_curve(name, lines)) for name in names]
        picture = Image.new("RGB", (_SIZE[0], _SIZE[1] * len(panels)), "white")
        for row, panel in enumerate(panels):
            picture.paste(panel, (0, row * _SIZE[1]))
        picture.save(self._picture)

    def _read(self) -> list[dict[str, float]]:
        if not self._lines.exists():
            return []
        return [json.loads(line) for line in self._lines.read_text("utf-8").splitlines()]


def _curve(
    name: str, lines: Sequence[Mapping[str, float]]
) -> tuple[Sequence[float], Sequence[float]]:
    """The steps of the lines that have a figure, and the figure there."""
    points = [(line["step"], line[name]) for line in lines if name in line]
    return [step for step, _ in points], [value for _, value in points]


def _panel(name: str, steps: Sequence[float], values: Sequence[float]) -> Image.Image:
    """One curve: raw values faint, their running mean in ink, on a linear scale."""
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    y = np.asarray(values, float)
    window = max(1, len(y) // 40)
    smooth = np.convolve(np.pad(y, (window - 1, 0), "edge"), np.ones(window) / window, "valid")
    low, high = float(np.percentile(y, 1)), float(np.percentile(y, 98))
    high = high if high > low else low + 1e-6
    left, top, right, bottom = _FRAME
    draw.rectangle(_FRAME, outline=_FAINT)
    draw.text((left, 4), name, fill=_INK)
    for share in (0, 0.5, 1):
        draw.text(
            (4, bottom - share * (bottom - top) - 6), f"{low + share * (high - low):.4g}", fill=_INK
        )
    draw.text((left, bottom + 6), f"{steps[0]:g}", fill=_INK)
    draw.text((right - 50, bottom + 6), f"{steps[-1]:g} steps", fill=_INK)
    x = left + (np.asarray(steps, float) - steps[0]) / max(steps[-1] - steps[0], 1) * (right - left)
    for curve, colour in ((y, _RAW), (smooth, _INK)):
        heights = bottom - np.clip((curve - low) / (high - low), 0, 1) * (bottom - top)
        draw.line([*zip(x.tolist(), heights.tolist(), strict=True)], fill=colour, width=1)
    return picture
