"""``ldznet evaluate`` of ways to masks: each with its own thresholds, side by side in a table."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal, TypeAlias, get_args

from tqdm import tqdm

from ..checkpoint import load_head
from ..evaluation.cases import Case, cases
from ..evaluation.comparison.figures import (
    Chosen,
    Figures,
    Tally,
    choose,
    cost_of,
    figures,
    table,
    tally,
)
from ..evaluation.comparison.gains import Compared, Gain, gains, table_with_gains
from ..evaluation.comparison.spread import Several, spreads, table_of_spreads
from ..evaluation.comparison.ways import Way, ways_named
from ..evaluation.edges import evaluate_edges, find_snaps
from ..evaluation.looks import looks_to_compare
from ..evaluation.painted import PAINTED, scenes_of
from ..evaluation.tables import as_table
from ..evaluation.training_free import whole_prompt
from ..evaluation.training_free.ways import ways_to_compare
from ..miniature import Miniature
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from .held_out import shown

Comparison: TypeAlias = Literal["training-free", "looks", "whole-prompt", "edges"]
"""Ways without a trained head, what trained ones are shown, maps of prompts, filters at edges."""

COMPARISONS: tuple[Comparison, ...] = get_args(Comparison)

Report: TypeAlias = dict[str, dict[str, Any]]
"""Figures by way, by what was compared."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ComparedAsk:
    """With what, and on which scenes ways are compared."""

    miniature: Miniature
    trained: Segmenter
    """The miniature with the head that is named first."""
    head: str
    """That head's name."""
    other_heads: tuple[str, ...]
    world: str
    split: str
    """The one that is measured; "gen" is painted anew."""
    count: int
    validation: int
    """Scenes that choose thresholds."""
    steps: int
    """Of a whole sampling."""
    words: tuple[str, ...] = ()
    """Parts of the names of the ways that are compared; none for all."""

    @property
    def are_painted(self) -> bool:
        """Whether the miniature paints the scenes anew."""
        return self.split == PAINTED

    @property
    def heads(self) -> dict[str, Segmenter]:
        """The miniature with each of the heads, by name."""
        others = {name: Segmenter(self.miniature, load_head(name)) for name in self.other_heads}
        return {self.head: self.trained, **others}

    def shown(self, split: str, count: int, name: str) -> Iterable[Case]:
        """The first cases of a split of scenes."""
        return shown(self.world, split, count, self.miniature.image_side, name)


def compare(which: Comparison, ask: ComparedAsk) -> Report:
    """Measure the ways of a comparison."""
    comparisons: dict[Comparison, Callable[[ComparedAsk], Report]] = {
        "training-free": _compare_training_free,
        "looks": _compare_looks,
        "whole-prompt": _compare_prompt_maps,
        "edges": _compare_edges,
    }
    return comparisons[which](ask)


def describe(measured: Mapping[str, Mapping[str, Any]]) -> str:
    """The figures of what was compared as a table."""
    first = next(iter(measured.values()))
    if "heads" in first:
        return table_of_spreads({way: Several.from_json(each) for way, each in measured.items()})
    if "gains" in first:
        return table_with_gains({name: _as_compared(each) for name, each in measured.items()})
    if "cost" in first:
        return table({name: Figures(**each) for name, each in measured.items()})
    return as_table("way", {name: _headed(each) for name, each in measured.items()})


def _headed(figures: Mapping[str, float]) -> dict[str, float]:
    """Figures by the headings of their columns: "things mIoU" of "things_miou"."""
    return {
        name.replace("_", " ").replace("miou", "mIoU"): value for name, value in figures.items()
    }


def _compare_training_free(ask: ComparedAsk) -> Report:
    """Every way's figures on the split, with thresholds that the validation split chose."""
    default = Segmenter(ask.miniature, load_head(TRAINING_FREE))
    ways = ways_to_compare(default, ask.heads, are_painted=ask.are_painted)
    judged = _judge(ask, ways)
    measured = {name: asdict(each.figures) for name, each in judged.items()}
    return {f"ways without a trained head on {ask.split}, {ask.count} scenes": measured}


def _compare_looks(ask: ComparedAsk) -> Report:
    """The same of all that a trained head can be shown, and its gains over what users get.

    Of several heads with the same ways also what they have in common.
    """
    scenes = f"on {ask.split}, {ask.count} scenes"
    found = {head: _looks_of(segmenter, ask) for head, segmenter in ask.heads.items()}
    report = {f"looks of `{head}` {scenes}": _as_json(each) for head, each in found.items()}
    if len(found) > 1:
        report[f"looks of {len(found)} heads {scenes}"] = _as_json(spreads(list(found.values())))
    return {name: each for name, each in report.items() if each}


def _looks_of(segmenter: Segmenter, ask: ComparedAsk) -> dict[str, Compared]:
    judged = _judge(ask, looks_to_compare(segmenter, are_painted=ask.are_painted))
    default = next(iter(judged.values()))
    found = {}
    for name, each in judged.items():
        gained = gains(each.tally, each.chosen, default.tally, default.chosen)
        found[name] = Compared(each.figures, {} if each is default else gained)
    return found


def _as_json(measured: Mapping[str, Compared | Several]) -> dict[str, Any]:
    return {way: asdict(each) for way, each in measured.items()}


@dataclass(frozen=True, slots=True, eq=False)
class _Judged:
    """A way on the split."""

    tally: Tally
    chosen: Chosen
    figures: Figures


def _judge(ask: ComparedAsk, ways: Mapping[str, Way]) -> dict[str, _Judged]:
    """Each way on the split, with thresholds that the validation split chose.

    Scenes of "gen" and those that choose its thresholds are painted anew.
    """
    ways = ways_named(ways, ask.words)
    are_painted, miniature = ask.are_painted, ask.miniature
    measured = scenes_of(ask.split)
    chosen_on, measured_on = (
        tally(ways, miniature, ask.shown(split, count, split), are_painted=are_painted)
        for split, count in (("validation", ask.validation), (measured, ask.count))
    )
    example = next(cases(ask.world, measured, 1, miniature.image_side))
    judged = {}
    for name, way in tqdm(ways.items(), desc="cost", unit="way", leave=False):
        chosen = choose(chosen_on[name])
        cost = cost_of(way, miniature, example, is_painted=are_painted)
        found = figures(measured_on[name], chosen, cost)
        judged[name] = _Judged(measured_on[name], chosen, found)
    return judged


def _compare_prompt_maps(ask: ComparedAsk) -> Report:
    """On scenes that are painted anew, and on pictures painted from their captions."""
    report = {}
    for kind in whole_prompt.KINDS:
        chosen_on, measured_on = (
            ask.shown(split, count, f"{kind}, {split}")
            for split, count in (("validation", ask.validation), (ask.split, ask.count))
        )
        report[f"whole prompts, {kind} pictures of {ask.split}"] = whole_prompt.compare(
            ask.miniature, ask.trained, kind, chosen_on, measured_on, ask.steps
        )
    return report


def _compare_edges(ask: ComparedAsk) -> Report:
    """Every filter that is installed; the others with the reason."""
    snaps = find_snaps()
    found = evaluate_edges(ask.trained, ask.shown(ask.split, ask.count, "edges"), snaps.ways)
    report: Report = {f"edges, {ask.split}": {name: each.summary() for name, each in found.items()}}
    return report | ({"left out": dict(snaps.left_out)} if snaps.left_out else {})


def _as_compared(each: Mapping[str, Any]) -> Compared:
    """As it was before JSON."""
    gained = {name: Gain(**values) if values else None for name, values in each["gains"].items()}
    return Compared(Figures(**each["figures"]), gained)
