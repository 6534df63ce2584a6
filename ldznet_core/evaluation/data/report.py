"""Figures of a data set for the eye: tables as Markdown, and curves as a picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, TypedDict

from PIL import Image, ImageDraw

from ...metrics.phrasecut import ACCURACIES
from ..tables import markdown

_PANEL, _LEFT, _RIGHT, _TOP, _BOTTOM = 300, 44, 16, 40, 34
_PANEL_WIDTH = _PANEL + _LEFT + _RIGHT
_PANEL_HEIGHT = _PANEL + _TOP + _BOTTOM
_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
_FINE = 4  # curves are drawn so many times larger, and shrunk to smooth edges
_COLOURS = ("#1b6ca8", "#c8553d", "#3a7d44")
_GREY = "#b0b0b0"

Splits: TypeAlias = dict[str, dict[str, Any]]
"""Of each split its `DataFigures`, as a dictionary."""

Points: TypeAlias = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class _Line:
    """Points in the unit square, and how much each counts for; none are not marked."""

    points: Points
    weights: Sequence[int] = ()


class DataReport(TypedDict):
    """What was measured, as JSON keeps it."""

    data: str
    model: str
    head: str
    splits: Splits


def as_markdown(report: DataReport) -> str:
    """The report as Markdown, in per cent as papers have it, a line for each split."""
    title = f"{report['data']}, model `{report['model']}`, head `{report['head']}`; in %"
    splits = report["splits"]
    parts = (_clipseg_part(splits), _phrasecut_part(splits), _presence_part(splits))
    return "\n\n".join([title, *(f"{text}\n\n{table}" for text, table in parts)])


def draw_curves(report: DataReport) -> Image.Image:
    """For each split the IoUs over the threshold, and what probabilities and scores are worth."""
    splits = report["splits"]
    sheet = Image.new("RGB", (2 * _PANEL_WIDTH, len(splits) * _PANEL_HEIGHT), "white")
    for row, (name, figures) in enumerate(splits.items()):
        clipseg = figures["clipseg"]
        curve, threshold = clipseg["curve"], clipseg["threshold"]
        ious = {
            label: _Line(list(zip(curve["thresholds"], curve[key], strict=True)))
            for label, key in (("mIoU", "miou"), ("IoU_FG", "iou_fg"), ("IoU_BIN", "iou_bin"))
        }
        left = _panel(f"{name}: IoU over threshold", ious, [(threshold, 0), (threshold, 1)])
        kinds = {"pixels": figures["pixels"], "scores": figures["scores"]}
        true = {label: _reliability(each) for label, each in kinds.items() if each}
        right = _panel(f"{name}: share that is true, over stated", true, [(0, 0), (1, 1)])
        sheet.paste(left, (0, row * _PANEL_HEIGHT))
        sheet.paste(right, (_PANEL_WIDTH, row * _PANEL_HEIGHT))
    return sheet


def _clipseg_part(splits: Splits) -> tuple[str, str]:
    first = next(iter(splits.values()))
    side, threshold = first["side"], first["clipseg"]["threshold"]
    lines = []
    for name, figures in splits.items():
        clipseg = figures["clipseg"]
        fixed = [clipseg["fixed"][key] for key in ("miou", "iou_fg", "iou_bin")]
        best = [clipseg[key] for key in ("best_miou", "best_iou_fg", "best_iou_bin")]
        lines.append(
            [
                name,
                str(clipseg["phrases"]),
                *map(_per_cent, fixed),
                *(f"{_per_cent(each['value'])} ({each['threshold']:.2f})" for each in best),
                _per_cent(clipseg["ap"]),
                _reach(clipseg["curve"]),
                _per_cent(figures["pixel_ap"]),
            ]
        )
    heads = ["split", "phrases", f"mIoU at {threshold:g}", "IoU_FG", "IoU_BIN", "best mIoU"]
    heads += ["best IoU_FG", "best IoU_BIN", "AP", "over recalls", "AP of all pixels"]
    return (
        f"CLIPSeg's protocol: pictures squashed to {side}x{side}, masks at t = {threshold:g}; "
        '"best" has the threshold in brackets, which the split itself chose; its AP is an integral '
        "over the recalls of 49 thresholds alone, so that it falls where these lie close together",
        markdown(heads, lines),
    )


def _phrasecut_part(splits: Splits) -> tuple[str, str]:
    first = next(iter(splits.values()))
    lines = []
    for name, figures in splits.items():
        for masks, key in (("every", "every_mask"), ("of what is found", "found_masks")):
            each = figures[key]
            shares = (each["mean_iou"], each["cumulative_iou"], *each["accuracy"])
            counts = (str(each["phrases"]), str(each["missing"]))
            lines.append([name, masks, *counts, *map(_per_cent, shares)])
    heads = ["split", "masks", "phrases", "missing", "mean-IoU", "cum-IoU"]
    heads += [f"acc@{share:g}" for share in ACCURACIES]
    return (
        "PhraseCut's protocol: masks of the pictures' own size at "
        f"t = {first['clipseg']['threshold']:g}; found is what scores at least "
        f"{first['presence_threshold']:g} and has a mask",
        markdown(heads, lines),
    )


def _presence_part(splits: Splits) -> tuple[str, str]:
    lines = []
    for name, figures in splits.items():
        errors = [each and each["error"] for each in (figures["pixels"], figures["scores"])]
        counts = [str(figures[key]) for key in ("absent", "pictures", "left_out")]
        shares = (*errors, figures["present_found"], figures["absent_rejected"])
        lines.append([name, *map(_per_cent, shares), *counts])
    heads = ["split", "pixels' ECE", "scores' ECE", "present found", "absent rejected"]
    heads += ["absent phrases", "pictures", "phrases left out"]
    return (
        "Calibration and presence: ECE is the expected calibration error, of squashed pictures' "
        "pixels and of scores",
        markdown(heads, lines),
    )


def _per_cent(share: float | None) -> str:
    return "-" if share is None else f"{100 * share:.1f}"


def _reach(curve: dict[str, Any]) -> str:
    """The recalls from the highest threshold that takes a pixel to the lowest."""
    both = zip(curve["recall"], curve["precision"], strict=True)
    recalls = [recall for recall, precision in both if precision is not None]
    return f"{_per_cent(min(recalls))} to {_per_cent(max(recalls))}" if recalls else "-"


def _reliability(figures: dict[str, Any]) -> _Line:
    bins = figures["bins"]
    points = [(each["stated"], each["true"]) for each in bins]
    return _Line(points, [each["count"] for each in bins])


def _panel(title: str, lines: Mapping[str, _Line], guide: Points) -> Image.Image:
    """Lines with their names above, and a grey one behind."""
    panel = Image.new("RGB", (_PANEL_WIDTH, _PANEL_HEIGHT), "white")
    panel.paste(_plot(list(lines.values()), guide), (_LEFT, _TOP))
    draw = ImageDraw.Draw(panel)
    draw.rectangle((_LEFT, _TOP, _LEFT + _PANEL, _TOP + _PANEL), outline="black")
    draw.text((_LEFT, 6), title, fill="black")
    x = _LEFT
    for label, colour in zip(lines, _COLOURS, strict=False):
        draw.line((x, 29, x + 14, 29), fill=colour, width=3)
        draw.text((x + 18, 23), label, fill="black")
        x += 80
    for tick in _TICKS:
        across, up = _LEFT + tick * _PANEL, _TOP + (1 - tick) * _PANEL
        draw.line((across, _TOP + _PANEL, across, _TOP + _PANEL + 4), fill="black")
        draw.text((across - 8, _TOP + _PANEL + 8), f"{tick:.1f}", fill="black")
        draw.line((_LEFT - 4, up, _LEFT, up), fill="black")
        draw.text((_LEFT - 26, up - 6), f"{tick:.1f}", fill="black")
    return panel


def _plot(lines: Sequence[_Line], guide: Points) -> Image.Image:
    side = _PANEL * _FINE
    canvas = Image.new("RGB", (side, side), "white")
    draw = ImageDraw.Draw(canvas)
    draw.line(_placed(guide, side), fill=_GREY, width=_FINE)
    for line, colour in zip(lines, _COLOURS, strict=False):
        placed = _placed(line.points, side)
        if len(placed) > 1:
            draw.line(placed, fill=colour, width=(1 if line.weights else 2) * _FINE, joint="curve")
        for (x, y), weight in zip(placed, line.weights, strict=False):
            reach = (2 + 5 * (weight / max(line.weights)) ** 0.5) * _FINE
            draw.ellipse((x - reach, y - reach, x + reach, y + reach), fill=colour)
    return canvas.resize((_PANEL, _PANEL), Image.Resampling.LANCZOS)


def _placed(points: Points, side: int) -> list[tuple[float, float]]:
    return [(x * side, (1 - y) * side) for x, y in points]
