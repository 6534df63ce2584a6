from __future__ import annotations

import pytest

from ldznet_core import read_config
from ldznet_core.auto_head import fitting_head

FAMILIES = {"first": "sd2", "second": "sd1", "third": "sd1"}


def test_the_miniature_s_own_is_the_compact_one() -> None:
    assert read_config(fitting_head("miniature")).kind == "compact"


def test_the_first_that_fits_is_taken() -> None:
    assert fitting_head("sd1", FAMILIES, FAMILIES.__getitem__) == "second"


@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_without_one_attention_is_read(family: str) -> None:
    assert fitting_head(family) == "training-free"
