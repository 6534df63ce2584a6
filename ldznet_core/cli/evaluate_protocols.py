"""``ldznet evaluate --what protocols``: a head on our own splits, as others measure data sets."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

from ..evaluation.data.measure import measure_cases
from ..evaluation.data.report import DataReport
from ..evaluation.painted import OF_PAINTED, PAINTED
from ..miniature import Miniature
from ..segmenter import Segmenter
from ..world import draw_layout
from .evaluate_data import KEY, write
from .held_out import shown_or_painted


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolsAsk:
    """What is measured, on which scenes, and where the figures go."""

    world: str
    splits: str
    """One or several with commas between them; "gen" is painted anew."""
    count: int
    """Scenes of each split, the first ones."""
    model: str
    head: str
    threshold: float | None
    out: Path | None

    @property
    def split_names(self) -> list[str]:
        """The splits, each once."""
        return list(dict.fromkeys(name.strip() for name in self.splits.split(",")))


def check(ask: ProtocolsAsk) -> None:
    """Refuse splits that there are not, before work.

    Raises:
        InputError: With what to choose.
    """
    for name in ask.split_names:
        draw_layout(ask.world, OF_PAINTED if name == PAINTED else name, 0)


def run(ask: ProtocolsAsk, miniature: Miniature, segmenter: Segmenter) -> dict[str, DataReport]:
    """Measure, and write the figures as JSON, Markdown and a picture where asked."""
    data = f"the first {ask.count} scenes of a split of `{ask.world}`"
    report = DataReport(data=data, model=ask.model, head=ask.head, splits={})
    for name in ask.split_names:
        cases, painter = shown_or_painted(miniature, ask.world, name, ask.count, name)
        measured = measure_cases(segmenter, cases, ask.threshold, painter)
        report["splits"][name] = asdict(measured)
        if ask.out:  # each split when it is done: another may take long
            write(report, ask.out)
    return {KEY: report}
