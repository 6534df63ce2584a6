"""What masks become: pictures and words."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ldznet_core.segmentation import Request, Segmentation, read_logits
from ldznet_webui.answer import Answer, extended
from ldznet_webui.settings import Settings


def segmentation(source: str | None = "sampling") -> Segmentation:
    """Of a thing on the left half, one on the top quarter, and one that is not there."""
    logits = torch.full((3, 16, 16), -9.0)
    logits[0, :, :8] = 9.0
    logits[1, :4] = 9.0
    request = Request.checked(["left", "top, and wide", "gone"], [], 0.5)
    return read_logits(logits, request, (16, 16), 0.5, source, source and 421.05)  # type: ignore[arg-type]


@pytest.fixture
def answer() -> Answer:
    return Answer(segmentation(), Settings(), "miniature", "model")


def pixels(image: Image.Image) -> np.ndarray[Any, Any]:
    assert image.mode == "L"
    return np.asarray(image)


def test_masks_are_white_inside(answer: Answer) -> None:
    left, top, gone = (pixels(mask) for mask in answer.masks())
    assert left[:, :8].min() == 255
    assert left[:, 8:].max() == 0
    assert top[:4].min() == 255
    assert not gone.any()


def test_their_union_holds_all_of_them(answer: Answer) -> None:
    whole = pixels(answer.union())
    assert whole[:4].min() == whole[:, :8].min() == 255
    assert whole[4:, 8:].max() == 0


def test_inverted_they_are_black_inside_and_their_union_is_inverted_as_a_whole() -> None:
    answer = Answer(segmentation(), Settings(invert=True), "miniature", "model")
    assert pixels(answer.masks()[2]).min() == 255
    assert pixels(answer.union())[0, 0] == 0
    assert pixels(answer.union())[15, 15] == 255


def test_grown_and_feathered_masks_reach_further(answer: Answer) -> None:
    wide = replace(answer, settings=Settings(grow=2))
    soft = replace(answer, settings=Settings(feather=2))
    assert pixels(wide.masks()[0])[8, 9] == 255
    assert 0 < pixels(soft.masks()[0])[8, 8] < 255


def test_grown_masks_leave_out_what_negatives_take_out() -> None:
    logits = torch.full((2, 16, 16), -9.0)
    logits[0, :, :8] = 9.0
    logits[1, :, 8:] = 9.0
    found = read_logits(logits, Request.checked(["left"], ["right"], 0.5), (16, 16), 0.5)
    (left,) = Answer(found, Settings(grow=3), "miniature", "model").masks()
    assert pixels(left)[:, :8].min() == 255
    assert not pixels(left)[:, 8:].any()


def test_the_summary_says_of_each_what_became_of_it(answer: Answer) -> None:
    assert answer.summary() == (
        "left found (1.00), top, and wide found (1.00), gone not there (0.00); features: sampling "
        "at t=421"
    )


def test_commas_in_the_one_phrase_that_is_not_there_are_pointed_out() -> None:
    request = Request.checked(["car, sky"], [], 0.5)
    found = read_logits(torch.full((1, 16, 16), -9.0), request, (16, 16), 0.5)
    answer = Answer(found, Settings(), "miniature", "model")
    assert answer.summary().endswith(
        "; hint: commas do not separate phrases: write one phrase per line"
    )
    assert (
        answer.infotext(0)["LD-ZNet hint"]
        == "commas do not separate phrases: write one phrase per line"
    )
    assert answer.infotext(0)["LD-ZNet found"] == "not there"


def test_a_probe_says_why_it_was_made() -> None:
    answer = Answer(segmentation("probe"), Settings(), "miniature", "model", "nothing was heard")
    assert answer.features() == "probe at t=421, because nothing was heard"


def test_a_head_without_taps_says_so() -> None:
    answer = Answer(segmentation(None), Settings(), "miniature", "model")
    assert answer.features() == "none, this head reads the latents alone"


def test_an_infotext_is_extended_as_hosts_read_it(answer: Answer) -> None:
    text = extended("a cat\nSteps: 20, Seed: 1", answer.infotext(1))
    last = text.splitlines()[-1]
    reads = re.compile(r'(\w[^:,]*): ("(?:[^"\\]|\\.)*"|[^,]*)')
    assert dict(reads.findall(last)) == {
        "Steps": "20",
        "Seed": "1",
        "LD-ZNet mask": '"top, and wide"',
        "LD-ZNet found": "found",
        "LD-ZNet score": "1.000",
        "LD-ZNet features": "sampling at t=421",
        "LD-ZNet used head": "miniature",
    }


def test_an_infotext_may_be_empty() -> None:
    assert extended("", {"LD-ZNet mask": "owl"}) == "LD-ZNet mask: owl"
