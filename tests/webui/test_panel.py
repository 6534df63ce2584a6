"""The panel in txt2img and img2img, on stand-ins for Gradio and the host."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from ldznet_webui.infotext import written
from ldznet_webui.settings import FIELDS, Settings

from .miniature_host import MiniatureHost
from .page import by_id, page_modules


@pytest.fixture
def page(tmp_path: Path) -> Iterator[dict[str, ModuleType]]:
    (tmp_path / "mine.safetensors").touch()
    with page_modules(MiniatureHost(None, tmp_path)) as modules:
        yield modules


@pytest.fixture
def panel(page: dict[str, ModuleType]) -> Any:
    return page["panel"]


def pasted(panel: Any, components: list[Any], parameters: dict[str, Any]) -> Settings:
    """The settings of a panel after a paste, as connect_paste of A1111 1.10.1 fills it in."""
    panel.complete_infotext("", parameters)
    values = {each: each.value for each in components}
    for component, target in panel.infotext_fields(components):
        value = target(parameters) if callable(target) else parameters.get(target)
        if value is None:
            continue
        kind = type(component.value)
        is_false = kind is bool and value == "False"
        values[component] = False if is_false else float(value) if kind is int else kind(value)
    return Settings.of_arguments([values[each] for each in components])


@pytest.mark.parametrize("is_img2img", [False, True])
def test_untouched_the_panel_says_the_defaults(panel: Any, is_img2img: bool) -> None:
    components = panel.build_panel(is_img2img)
    assert len(components) == len(FIELDS)
    assert Settings.of_arguments([each.value for each in components]) == Settings()


def test_ids_differ_between_the_tabs(page: dict[str, ModuleType], panel: Any) -> None:
    panel.build_panel(False)
    panel.build_panel(True)
    assert {"ldznet_txt2img_phrases", "ldznet_img2img_phrases"} <= by_id(page["gradio"]).keys()


def test_sliders_go_as_far_as_the_table(page: dict[str, ModuleType], panel: Any) -> None:
    panel.build_panel(False)
    threshold = by_id(page["gradio"])["ldznet_txt2img_threshold"]
    assert (threshold.minimum, threshold.maximum, threshold.step) == (0.01, 0.99, 0.01)


def test_inpainting_is_offered_in_img2img_alone(panel: Any) -> None:
    place = [field.name for field in FIELDS].index("use_as_mask")
    assert not panel.build_panel(False)[place].visible
    assert panel.build_panel(True)[place].visible


def test_heads_are_listed_anew_on_request(
    page: dict[str, ModuleType], panel: Any, tmp_path: Path
) -> None:
    panel.build_panel(False)
    made = by_id(page["gradio"])
    assert made["ldznet_txt2img_head"].choices == [
        "auto",
        "miniature-compact",
        "miniature",
        "training-free",
        "mine.safetensors",
    ]
    (tmp_path / "more.safetensors").touch()
    refresh = made["ldznet_txt2img_head_refresh"].wires[0].fn
    assert refresh()["choices"][-1] == "more.safetensors"


def test_a_host_without_folding_switches_gets_one_inside(
    page: dict[str, ModuleType], panel: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(panel.ui_components, "InputAccordion")
    switch = panel.build_panel(False)[0]
    assert type(switch) is page["gradio"].Checkbox
    assert switch.value is False


def test_what_was_written_is_pasted_back(panel: Any) -> None:
    asked = Settings(
        enabled=True,
        phrases=("red car", "sky"),
        negative_phrases=("wheel",),
        threshold=0.35,
        source="probe",
        head="mine.safetensors",
        grow=8,
        feather=3,
        invert=True,
        use_as_mask=True,
    )
    assert pasted(panel, panel.build_panel(True), dict(written(asked))) == asked


def test_what_an_infotext_leaves_unsaid_is_as_usual(panel: Any) -> None:
    components = panel.build_panel(False)
    for component in components[1:]:
        if isinstance(component.value, int) and not isinstance(component.value, bool):
            component.value = 99
    asked = Settings(enabled=True, phrases=("sky",))
    assert pasted(panel, components, dict(written(asked))) == asked


def test_an_infotext_without_masks_switches_off_and_leaves_the_rest(panel: Any) -> None:
    components = panel.build_panel(False)
    components[0].value = True
    components[1].value = "sky"
    assert pasted(panel, components, {"Steps": "20"}) == Settings(phrases=("sky",))


def test_a_head_that_is_not_here_is_not_chosen(panel: Any) -> None:
    theirs = dict(written(Settings(enabled=True, phrases=("sky",), head="theirs.safetensors")))
    assert pasted(panel, panel.build_panel(False), theirs).head == "auto"


def test_both_tabs_carry_over_the_same_fields(panel: Any) -> None:
    names = panel.paste_field_names()
    ordered = [
        [name for _, name in panel.infotext_fields(panel.build_panel(tab)) if name in names]
        for tab in (False, True)
    ]
    assert ordered[0] == ordered[1] == names
    assert "LD-ZNet phrases" in names
