"""The tab, on stand-ins for Gradio and the host, with the miniature as the host's model."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldznet_core import load_head, save_head

from .miniature_host import MiniatureHost
from .page import by_id, page_modules

SETTINGS = ("red car\nowl", "", 0.5, 0, 0, "auto", False, False)
"""Phrases, negatives, threshold, grow, feather, head, invert."""


@pytest.fixture(scope="module")
def host(miniature: Any, tmp_path_factory: pytest.TempPathFactory) -> MiniatureHost:
    return MiniatureHost(miniature, tmp_path_factory.mktemp("heads"))


@pytest.fixture(params=["3.41.2", "4.40.0"])
def page(request: pytest.FixtureRequest, host: MiniatureHost) -> Iterator[dict[str, ModuleType]]:
    with page_modules(host, request.param) as modules:
        yield modules


@pytest.fixture
def actions(page: dict[str, ModuleType]) -> Any:
    """What its buttons do, on Gradio 3 and on Gradio 4."""
    return page["actions"]


@pytest.fixture(scope="module")
def car(drawings: list[Any]) -> Image.Image:
    picture: Image.Image = drawings[1].picture
    return picture


def built(page: dict[str, ModuleType], *seen: str) -> dict[str, Any]:
    """The tab's components by their ids, in a host that has made some of its own before."""
    tab = page["tab"].Tab()
    for element in seen:
        kind = page["gradio"].Slider if "img2img_" in element else page["gradio"].Component
        tab.see(kind(elem_id=element, minimum=64, maximum=2048, step=8), elem_id=element)
    ((_, title, element),) = tab.build()
    assert (title, element) == ("LD-ZNet", "ldznet_tab")
    return by_id(page["gradio"])


def found_in(page: dict[str, ModuleType], picture: Any, *settings: Any) -> tuple[Any, ...]:
    outputs: tuple[Any, ...] = page["actions"].find(picture, *(settings or SETTINGS))
    return outputs


def test_commas_in_the_one_phrase_that_is_not_there_are_pointed_out(
    page: dict[str, ModuleType], car: Image.Image
) -> None:
    *_, report = found_in(page, car, "hamburger, owl", *SETTINGS[1:])
    assert "Hint: commas do not separate phrases: write one phrase per line." in report


def test_masks_are_found_and_named(page: dict[str, ModuleType], car: Image.Image) -> None:
    found, overlay, gallery, mask, send, report = found_in(page, car)
    assert [name.partition(" ")[0] for _, name in gallery] == ["all", "red", "owl:"]
    assert all(each.size == car.size and each.mode == "L" for each, _ in gallery)
    assert overlay.mode == "RGB"
    assert mask is gallery[0][0]
    assert np.asarray(mask).mean() > 10
    assert send["interactive"]
    assert found.picture.size == car.size
    assert "red car" in report
    assert "not there" in report


def test_an_empty_mask_cannot_be_sent(page: dict[str, ModuleType], car: Image.Image) -> None:
    found, *_ = found_in(page, car)
    chosen = page["actions"].choose(found, page["gradio"].SelectData(2))
    assert chosen[0].getbbox() is None
    assert not chosen[1]["interactive"]


def test_a_click_on_a_thumbnail_shows_its_mask(
    page: dict[str, ModuleType], car: Image.Image
) -> None:
    found, _, gallery, *_ = found_in(page, car)
    mask, send = page["actions"].choose(found, page["gradio"].SelectData(1))
    assert mask is gallery[1][0]
    assert send["interactive"]


def test_what_is_sent_is_the_picture_that_was_masked(actions: Any, car: Image.Image) -> None:
    found = actions.Found(car, [])
    chosen = Image.new("RGB", car.size, "white")
    picture, mask = actions.package(found, chosen)
    assert picture is car
    assert mask.mode == "L"


def test_without_a_mask_nothing_is_sent_but_a_word(page: dict[str, ModuleType]) -> None:
    assert page["actions"].package(None, None) is None
    assert len(page["gradio"].TOASTS) == 1


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        (("", *SETTINGS[1:]), "at least one phrase"),
        (("sky", "", 7, *SETTINGS[3:]), "a number from 0.01 to 0.99"),
        ((*SETTINGS[:5], "nobody's", False, False), "expected one of the heads"),
    ],
)
def test_what_cannot_be_done_is_a_sentence(
    page: dict[str, ModuleType], car: Image.Image, settings: tuple[Any, ...], sentence: str
) -> None:
    *nothing, send, report = found_in(page, car, *settings)
    assert nothing == [None] * 4
    assert not send["interactive"]
    assert sentence in report
    assert report.startswith("<div class='error'>")


def test_no_picture_is_a_sentence(page: dict[str, ModuleType]) -> None:
    assert "expected a picture, got none" in found_in(page, None)[-1]


def test_words_of_users_stay_words_in_the_page(
    page: dict[str, ModuleType], car: Image.Image
) -> None:
    report = found_in(page, car, "<img src=x>", *SETTINGS[1:])[-1]
    assert "<img" not in report
    assert "&lt;img" in report


def test_a_failure_of_ours_is_a_sentence_and_a_line_in_the_log(
    page: dict[str, ModuleType],
    car: Image.Image,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("out of <memory>")

    monkeypatch.setattr(page["actions"], "mask_picture", fail)
    report = found_in(page, car)[-1]
    assert "RuntimeError: out of &lt;memory&gt;" in report
    assert "Traceback" not in report
    assert "out of <memory>" in caplog.text


def test_a_picture_that_is_transparent_is_laid_on_white(
    page: dict[str, ModuleType], car: Image.Image
) -> None:
    found, *_ = found_in(page, Image.new("RGBA", car.size, (0, 0, 0, 0)))
    assert found.picture.getpixel((5, 5)) == (255, 255, 255)


def test_a_door_stands_under_each_gallery(page: dict[str, ModuleType]) -> None:
    made = built(
        page, "txt2img_gallery", "txt2img_send_to_extras", "img2img_gallery", "img2img_width"
    )
    assert "img2img_send_to_ldznet" not in made
    (brought,) = made["txt2img_send_to_ldznet"].wires
    assert brought.inputs == [made["txt2img_gallery"]]
    assert brought.outputs == [made["ldznet_picture"]]
    assert len(brought.followers) == 1
    assert made["ldznet_from_txt2img"].visible


def test_a_gallery_that_was_not_seen_is_not_offered(page: dict[str, ModuleType]) -> None:
    made = built(page)
    assert not made["ldznet_from_txt2img"].visible
    assert not made["ldznet_send_to_inpaint"].visible


def test_an_empty_gallery_leaves_the_picture(page: dict[str, ModuleType], actions: Any) -> None:
    assert actions.take(None) == page["gradio"].update()
    assert actions.take(["a picture"]) == "a picture"
    assert len(page["gradio"].TOASTS) == 1


@pytest.mark.parametrize("option", ["hide_ui_dir_config", "disable_extension_access"])
def test_strangers_name_no_folders(page: dict[str, ModuleType], option: str) -> None:
    setattr(page["shared"].cmd_opts, option, True)
    made = built(page)
    assert "ldznet_folder_refused" in made
    assert "ldznet_start" not in made


def test_a_folder_is_masked_step_by_step(
    page: dict[str, ModuleType], car: Image.Image, tmp_path: Path
) -> None:
    car.save(tmp_path / "car.png")
    (tmp_path / "broken.png").write_bytes(b"nothing")
    out = tmp_path / "masks"
    steps = list(page["actions"].mask_folder(f' "{tmp_path}" ', str(out), *SETTINGS))
    assert len({id(step[0]) for step in steps}) == 1
    assert "1 of 2 pictures" in steps[1][2]
    assert steps[2][1].mode == "RGB"
    assert "1 of 2 pictures are masked" in steps[-1][2]
    assert "expected a picture" in steps[-1][2]
    assert (out / "car" / "mask-red-car.png").is_file()


def test_a_folder_is_masked_anew_by_a_head_that_was_trained_anew(
    page: dict[str, ModuleType], host: MiniatureHost, car: Image.Image, tmp_path: Path
) -> None:
    car.save(tmp_path / "car.png")
    head = load_head("miniature-compact")
    words = (*SETTINGS[:5], "mine.safetensors", False, False)

    def write_times() -> set[int]:
        list(page["actions"].mask_folder(str(tmp_path), str(tmp_path / "masks"), *words))
        masks = (tmp_path / "masks" / "car").glob("mask-*.png")
        return {mask.stat().st_mtime_ns for mask in masks}

    save_head(head, host.heads / "mine")
    first = write_times()
    assert first
    assert write_times() == first
    save_head(head, host.heads / "mine")
    assert write_times().isdisjoint(first)
    (host.heads / "mine.safetensors").unlink()


def test_interrupt_ends_a_run_after_the_picture_that_is_under_way(
    page: dict[str, ModuleType], car: Image.Image, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        car.save(tmp_path / f"{name}.png")
    run = page["actions"].mask_folder(str(tmp_path), str(tmp_path / "masks"), *SETTINGS)
    stop, *_ = next(run)
    next(run)
    page["actions"].interrupt(stop)
    page["actions"].interrupt(None)
    rest = list(run)
    assert "1 of 3 pictures are masked" in rest[-1][2]
    assert not (tmp_path / "masks" / "b").exists()
    assert (tmp_path / "masks" / "report.json").is_file()


@pytest.mark.parametrize(("folder", "out"), [("", "masks"), ("pictures", " "), ("missing", "out")])
def test_folders_that_cannot_be_used_are_a_sentence(
    page: dict[str, ModuleType], tmp_path: Path, folder: str, out: str
) -> None:
    named = [str(tmp_path / each) if each.strip() else each for each in (folder, out)]
    assert "expected a folder" in list(page["actions"].mask_folder(*named, *SETTINGS))[-1][2]


def test_a_host_without_a_model_says_so(
    page: dict[str, ModuleType], host: MiniatureHost, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "loaded", None)
    assert "expected a checkpoint" in found_in(page, Image.new("RGB", (64, 64)))[-1]
    assert "expected a checkpoint" in list(page["actions"].mask_folder("a", "b", *SETTINGS))[-1][2]
