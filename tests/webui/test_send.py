"""The way into "Inpaint upload", on stand-ins for Gradio and the host."""

from __future__ import annotations

import doctest
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from PIL import Image

from .miniature_host import MiniatureHost
from .page import page_modules

PLACES = ("img_inpaint_base", "img_inpaint_mask", "img2img_width", "img2img_height")


@pytest.fixture(params=["3.41.2", "4.40.0"])
def page(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    with page_modules(MiniatureHost(None, tmp_path), request.param) as modules:
        yield modules


def places_of(gradio: Any) -> dict[str, Any]:
    """What the host has, see modules/ui.py of A1111 1.10.1."""
    sliders = {
        name: gradio.Slider(value=512, minimum=64, maximum=2048, step=8) for name in PLACES[2:]
    }
    return {name: gradio.Image() for name in PLACES[:2]} | sliders


def sent(page: dict[str, ModuleType], packed: Any) -> tuple[Any, ...]:
    """What a click brings to the host's components, in the order of `PLACES`."""
    button = page["gradio"].Button("Send")
    page["send"].connect(button, [], lambda: packed, places_of(page["gradio"]))
    outputs: tuple[Any, ...] = button.wires[0].fn()
    return outputs


def test_picture_mask_and_size_arrive(page: dict[str, ModuleType]) -> None:
    mask = Image.new("L", (320, 240), 255)
    picture, arrived, width, height = sent(page, (Image.new("RGB", (320, 240)), mask))
    assert (picture.mode, picture.size) == ("RGB", (320, 240))
    assert (arrived.mode, arrived.getpixel((0, 0))) == ("RGB", (255, 255, 255))
    assert (width, height) == (320, 240)


def test_afterwards_the_host_shows_inpaint_upload(page: dict[str, ModuleType]) -> None:
    button = page["gradio"].Button("Send")
    places = places_of(page["gradio"])
    page["send"].connect(button, [], lambda: None, places)
    assert button.wires[0].outputs == [places[name] for name in PLACES]
    (follower,) = button.wires[0].followers
    keyword = "_js" if page["gradio"].__version__.startswith("3") else "js"
    assert follower.fn is None
    assert follower.options == {keyword: "() => { switch_to_img2img_tab(4); }"}


def test_without_a_mask_all_stays_as_it_is(page: dict[str, ModuleType]) -> None:
    assert sent(page, None) == (page["gradio"].update(),) * 4


def test_who_does_not_send_sizes_keeps_his_own(page: dict[str, ModuleType]) -> None:
    page["shared"].opts.send_size = False
    packed = (Image.new("RGB", (320, 240)), Image.new("L", (320, 240)))
    assert sent(page, packed)[2:] == (page["gradio"].update(),) * 2


@pytest.mark.parametrize("absent", PLACES)
def test_a_host_without_such_places_gets_no_button(
    page: dict[str, ModuleType], absent: str
) -> None:
    button = page["gradio"].Button("Send")
    places = places_of(page["gradio"])
    del places[absent]
    page["send"].connect(button, [], lambda: None, places)
    assert not button.visible
    assert button.wires == []


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((512, 512), (512, 512)),
        ((317, 243), (320, 240)),
        ((4096, 4096), (2048, 2048)),
        ((1000, 4000), (512, 2048)),
        ((30, 90), (64, 88)),
    ],
)
def test_sizes_are_what_the_sliders_can_be_set_to(
    page: dict[str, ModuleType], size: tuple[int, int], expected: tuple[int, int]
) -> None:
    side = page["send"].Range(64, 2048, 8)
    assert page["send"].size_for(size, side, side) == expected


def test_the_examples_hold(page: dict[str, ModuleType]) -> None:
    assert doctest.testmod(page["send"]).failed == 0
