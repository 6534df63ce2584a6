"""A generation with masks and without: made twice, and compared.

The pictures are compared byte by byte. What the masks were made from is compared with a second
record, which tells the prompt's rows by the text that is in them and knows nothing of the order in
which a host puts them (support_extension/ldztest/listening.py).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageChops

from .client import Client, Generated, decoded, with_masks, with_support

PHRASES = ("the car", "the meadow")
PROMPT = "a red car in a meadow"
OTHERS = ("a blue boat on a beach", "a yellow car in a meadow", "a red car on a beach")
NEGATIVE = "a green tree"
LONG = "a red car in a meadow, " + ", ".join(["very green grass under a bright blue sky"] * 10)
"""More than 75 tokens, so it takes two of CLIP's windows."""

SMALL = {"width": 128, "height": 128, "steps": 8}
"""Some of the eight steps are at timesteps that are listened to."""

UNHEARD = "no pass at a timestep from 0 to 300"
UNHEARD_BY_THE_PAPERS = "no pass at a timestep from 300 to 500"
"""Why a run that is too short or too weak is followed by a probe."""

SAMPLING, PROBE = "sampling at t=", "probe at t="


@dataclass(frozen=True)
class Case:
    """A kind of run, and where its masks are to come from."""

    name: str
    request: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, Any] = field(default_factory=dict)
    orders: Mapping[str, Any] = field(default_factory=dict)
    """What the support script is to do; see there."""
    mark: str = ""
    """What the host writes into an infotext when the run was really of this kind."""
    reason: str = ""
    """Why there is a probe, as the infotext is to say it; empty where the run was listened to."""
    pictures: int = 1
    size: tuple[int, int] = (128, 128)


def two(**request: Any) -> dict[str, Any]:
    """A batch of two pictures whose prompts differ."""
    return {"request": {"batch_size": 2, **request}, "orders": {"prompts": [PROMPT, OTHERS[0]]}}


def pixels(pictures: Sequence[Image.Image]) -> list[str]:
    """Each picture's pixels, in a form that is short to print."""
    return [hashlib.sha256(each.tobytes()).hexdigest()[:16] for each in pictures]


def check(client: Client, case: Case, kind: str, request: Mapping[str, Any]) -> None:
    """Generate with the script and without it, and compare; look at the masks and infotexts."""
    generate = client.txt2img if kind == "txt2img" else client.img2img
    common = {"prompt": PROMPT, "negative_prompt": NEGATIVE, "seed": 5, "sampler_name": "Euler"}
    common |= {**request, **case.request}
    with client.options(**case.options):
        plain = generate(**common, alwayson_scripts=with_support(**case.orders))
        before = client.state()
        scripts = with_masks("\n".join(PHRASES)) | with_support(**case.orders, listen=True)
        masked = generate(**common, alwayson_scripts=scripts)
        after = client.state()
        assert (after["hooks"], after["randomness"]) == (before["hooks"], before["randomness"])
        assert pixels(masked.images[: case.pictures]) == pixels(plain.images)
        assert len(plain.images) == case.pictures
        check_masks(masked, case)
        if not case.reason:
            check_rows(client, masked, case)


def check_masks(masked: Generated, case: Case) -> None:
    """Look at the number and the form of the masks, and at what infotexts say of them."""
    assert len(masked.images) == case.pictures * (1 + len(PHRASES)) == len(masked.infotexts)
    for index, mask in enumerate(masked.images[case.pictures :]):
        fields = masked.fields(case.pictures + index)
        assert fields["LD-ZNet mask"] == PHRASES[index % len(PHRASES)]
        assert fields["Seed"] == masked.fields(index // len(PHRASES))["Seed"]
        assert 0 <= float(fields["LD-ZNet score"]) <= 1
        assert (mask.mode, mask.size) == ("L", case.size)
        assert set(mask.tobytes()) <= {0, 255}
        origin = fields["LD-ZNet features"]
        assert origin.startswith(PROBE if case.reason else SAMPLING), origin
        assert case.reason in origin
    for index in range(case.pictures):
        fields = masked.fields(index)
        assert not case.mark or case.mark in fields
        assert fields["LD-ZNet phrases"] == "\n".join(PHRASES)
        assert fields["LD-ZNet threshold"] == "0.5"


def check_rows(client: Client, masked: Generated, case: Case) -> None:
    """Compare each picture's masks with those made from the rows that bear its prompt."""
    pictures, masks = masked.images[: case.pictures], masked.images[case.pictures :]
    head = masked.fields(case.pictures)["LD-ZNet used head"]
    expected = client.expected(PHRASES, head, pictures)
    assert len(expected) == case.pictures
    for picture, answer in enumerate(expected):
        for index, mask in enumerate(answer["masks"]):
            place = picture * len(PHRASES) + index
            fields = masked.fields(case.pictures + place)
            assert f"t={answer['timestep']:.0f}" in fields["LD-ZNet features"]
            assert fields["LD-ZNet score"] == f"{answer['scores'][index]:.3f}"
            assert ImageChops.difference(masks[place], decoded(mask)).getbbox() is None
