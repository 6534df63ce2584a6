"""What is said of the masks of a split."""

import json

from ldznet_core.evaluation.masks import MaskFigures
from ldznet_core.metrics.overlap import Overlap


def test_figures_of_nothing_are_left_out_so_that_any_json_reader_takes_them() -> None:
    summary = MaskFigures(things=[Overlap(1, 2)], found_present=[True]).summary()
    assert summary["things_miou"] == 0.5
    assert "small_things_miou" not in summary
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
