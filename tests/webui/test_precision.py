"""Heads in half precision, for which that may not be enough."""

from __future__ import annotations

import logging

import pytest
import torch
from torch import Tensor

from ldznet_core import Segmenter, load_head, load_miniature
from ldznet_core.head import AnyHead
from ldznet_webui.precision import CarefulHead

from ..core.tiny import needs_float16, picture

pytestmark = needs_float16

TOO_MUCH = 5e4
"""By how much a layer's outputs grow: beyond float16, which ends at 65504, and not float32."""


def head(growth: float = 1.0) -> AnyHead:
    """The built-in head of the paper's design in half precision, its first outputs grown."""
    loaded = load_head("miniature")
    with torch.no_grad():
        for parameter in loaded.input_blocks[0][0].parameters():
            parameter.mul_(growth)
    return loaded.half()


def logits_of(network: AnyHead) -> Tensor:
    found = Segmenter(load_miniature(), CarefulHead(network)).segment_image(
        picture(128, 128), ["a car"]
    )
    return found.logits


def dtype_of(network: AnyHead) -> torch.dtype:
    return next(network.parameters()).dtype


def test_one_that_fits_stays_in_half_precision() -> None:
    network = head()
    assert logits_of(network).isfinite().all()
    assert dtype_of(network) == torch.float16


def test_one_that_overflows_goes_over_to_float32_and_says_so_once(
    caplog: pytest.LogCaptureFixture,
) -> None:
    network = head(TOO_MUCH)
    with caplog.at_level(logging.WARNING):
        first, second = logits_of(network), logits_of(network)
    assert torch.equal(first, second)
    assert dtype_of(network) == torch.float32
    assert [each.message for each in caplog.records if "half precision" in each.message] == [
        "LD-ZNet: half precision is not enough for this head; from now on it runs in float32, in "
        "twice the memory"
    ]


def test_where_float32_does_not_help_either_it_stays_as_it_is() -> None:
    network = head()
    with torch.no_grad():
        next(network.parameters()).fill_(float("nan"))
    latents, context = (
        torch.zeros(1, 4, 16, 16),
        torch.zeros(1, 77, network.config.unet.context_dim),
    )
    features = load_miniature().probe(latents, ["a car"])
    with torch.inference_mode():
        assert CarefulHead(network)(latents, context, features).isnan().any()
    assert dtype_of(network) == torch.float16
