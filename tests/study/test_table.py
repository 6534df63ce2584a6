"""Tables and charts of cells that are made by hand."""

from dataclasses import replace
from pathlib import Path

import pytest

from ldznet_core.study.cells import Cell, CellFigures, SplitFigures, in_order
from ldznet_core.study.chart import draw_chart
from ldznet_core.study.held_out import splits_of
from ldznet_core.study.table import costs, on_split, over_seeds, tables


def cell(design: str, scenes: int, seed: int, miou: float) -> CellFigures:
    """A finished cell whose every figure on a split is this one."""
    figures = SplitFigures(miou, miou, miou, miou, miou, miou)
    splits = dict.fromkeys(splits_of("small"), figures)
    return CellFigures(Cell(design, scenes, seed), 1_840_000, 0.5, 0.5, splits, 120.0, 30.0)


DONE = [cell("znet", 2000, 0, 0.5), cell("znet", 2000, 1, 0.6), cell("znet", 2000, 2, 0.4)]


def test_a_mean_over_seeds_has_its_spread() -> None:
    found = over_seeds(DONE, "znet", 2000, on_split("iid", "things_miou"))
    assert found is not None
    assert (found.mean, found.lowest, found.highest, found.seeds) == (0.5, 0.4, 0.6, 3)
    assert str(found) == "0.500 (0.200)"


def test_one_seed_has_no_spread_and_none_has_no_figure() -> None:
    read = on_split("iid", "ap")
    assert str(over_seeds(DONE[:1], "znet", 2000, read)) == "0.500"
    assert over_seeds(DONE, "znet", 500, read) is None
    assert over_seeds(DONE, "rgbnet", 2000, read) is None


def test_a_figure_is_that_of_its_split_and_measure() -> None:
    splits = {**DONE[0].splits, "comb": replace(DONE[0].splits["comb"], ap=0.125)}
    given = replace(DONE[0], splits=splits)
    assert on_split("comb", "ap")(given) == 0.125
    assert on_split("comb", "best_miou")(given) == 0.5
    assert on_split("iid", "ap")(given) == 0.5


def test_a_table_has_lines_of_what_is_finished_alone() -> None:
    written = tables(
        [*DONE, cell("rgbnet", 20000, 0, 0.25)], ("rgbnet", "znet"), (500, 2000, 20000)
    )
    things = written.split("\n\n")[1].splitlines()
    assert things == [
        "| scenes | head | seeds | `iid` | `comb` | `style` | `gen` |",
        "|---|---|---|---|---|---|---|",
        "| 2,000 | ZNet | 3 |" + " 0.500 (0.200) |" * 4,
        "| 20,000 | RGBNet | 1 |" + " 0.250 |" * 4,
    ]


def test_costs_are_medians() -> None:
    slow = replace(DONE[0], train_seconds=600.0)
    assert "| ZNet | 1.84 M | 2.0 | 0.5 |" in costs([slow, *DONE[1:]], ("rgbnet", "znet"))


def test_figures_come_back_from_their_file(tmp_path: Path) -> None:
    DONE[0].write(tmp_path / "new" / "cell.json")
    assert CellFigures.read(tmp_path / "new" / "cell.json") == DONE[0]


def test_one_seed_at_the_middle_size_comes_first_then_the_other_seeds() -> None:
    cells = in_order(("a", "b"), (20000, 500, 2000), 2)
    assert [each.name for each in cells[:4]] == ["a-2000-0", "b-2000-0", "a-2000-1", "b-2000-1"]
    assert [each.name for each in cells[4:8]] == ["a-500-0", "b-500-0", "a-20000-0", "b-20000-0"]
    assert len(set(cells)) == 12


@pytest.mark.parametrize("sizes", [(2000,), (500, 2000, 20000)])
def test_a_chart_shows_better_heads_higher(sizes: tuple[int, ...]) -> None:
    done = [cell("rgbnet", 2000, 0, 0.2), cell("znet", 2000, 0, 0.8)]
    chart = draw_chart(done, ("rgbnet", "znet"), sizes).convert("RGB")
    panel = chart.crop((0, 0, chart.width // 2, 360))
    rows = {
        name: [
            y
            for y in range(panel.height)
            for x in range(panel.width)
            if panel.getpixel((x, y)) == colour
        ]
        for name, colour in (("rgbnet", (27, 108, 168)), ("znet", (200, 85, 61)))
    }
    assert min(rows["rgbnet"]) > max(rows["znet"])
