"""The table of settings, and what is read by it."""

from __future__ import annotations

from typing import Any

import pytest

from ldznet_core import InputError
from ldznet_webui.infotext import written
from ldznet_webui.settings import BY_NAME, FIELDS, MOST_PHRASES, Settings, json_schema


def test_the_table_and_the_class_name_the_same_settings_in_one_order() -> None:
    assert list(BY_NAME) == list(Settings.__dataclass_fields__)


def test_the_defaults_of_the_table_are_those_of_the_class() -> None:
    assert Settings(**{field.name: field.default for field in FIELDS}) == Settings()


def test_every_default_can_be_read() -> None:
    for field in FIELDS:
        assert field.read(field.default) == field.default


class TestArguments:
    def test_are_the_panels_values_in_its_order(self) -> None:
        settings = Settings.of_arguments([True, "owl\n red car ", "", 0.4, "probe"])
        assert settings.enabled
        assert settings.phrases == ("owl", "red car")
        assert settings.threshold == 0.4
        assert settings.source == "probe"
        assert settings.append  # what is left out has its default

    def test_may_be_one_mapping_which_switches_masks_on(self) -> None:
        settings = Settings.of_arguments([{"phrases": ["owl"], "grow": 3}])
        assert settings == Settings(enabled=True, phrases=("owl",), grow=3)

    def test_may_switch_masks_off_by_name(self) -> None:
        assert not Settings.of_arguments([{"phrases": "owl", "enabled": False}]).enabled

    def test_of_none_are_the_defaults(self) -> None:
        assert Settings.of_arguments([]) == Settings()

    def test_beyond_the_table_are_let_be(self) -> None:
        """A newer page may send more."""
        defaults = [field.default for field in FIELDS]
        assert Settings.of_arguments([*defaults, "more"]) == Settings()

    def test_numbers_may_come_as_words(self) -> None:
        assert Settings.of_mapping({"threshold": "0.25", "feather": "4"}).feather == 4


@pytest.mark.parametrize(
    ("values", "complaint"),
    [
        ({"treshold": 0.5}, "got 'treshold'"),
        ({"threshold": 0}, r"a number from 0\.01 to 0\.99 as threshold, got 0"),
        ({"threshold": float("nan")}, "got nan"),
        ({"threshold": True}, "got True"),
        ({"threshold": "high"}, "got high"),
        ({"grow": 1.5}, "a whole number as grow"),
        ({"grow": 10_000}, "from 0 to 256"),
        ({"feather": -1}, "from 0 to 256"),
        ({"source": "clip"}, "one of auto, sampling, probe as source, got clip"),
        ({"phrases": 7}, "phrases as a list"),
        ({"phrases": ["owl", 7]}, "got int as number 2"),
        ({"phrases": ["owl", " "]}, "an empty one as number 2"),
        ({"phrases": ["owl"] * (MOST_PHRASES + 1)}, "at most 64 phrases"),
        ({"phrases": ["o" * 2000]}, "at most 1000 characters"),
        ({"head": ""}, "a name as head"),
        ({"invert": "perhaps"}, "true or false"),
    ],
    ids=str,
)
def test_what_cannot_be_used_is_refused_in_a_sentence(
    values: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(InputError, match=complaint) as caught:
        Settings.of_mapping(values)
    assert len(str(caught.value)) < 300


def test_masks_of_nothing_are_refused_when_they_are_to_be_made() -> None:
    with pytest.raises(InputError, match="at least one phrase"):
        Settings(enabled=True).check()


def test_the_schema_names_every_setting_with_its_limits() -> None:
    schema = json_schema()["properties"]
    assert list(schema) == list(BY_NAME)
    assert schema["threshold"]["minimum"] == 0.01
    assert schema["source"]["enum"] == ["auto", "sampling", "probe"]
    assert schema["phrases"]["default"] == []


class TestInfotext:
    def test_says_what_was_asked_and_is_not_as_usual(self) -> None:
        said = written(Settings(enabled=True, phrases=("owl", "a car"), grow=2))
        assert said == {
            "LD-ZNet phrases": "owl\na car",
            "LD-ZNet threshold": "0.5",
            "LD-ZNet source": "auto",
            "LD-ZNet grow": "2",
        }

    def test_is_read_back_as_the_same_settings(self) -> None:
        asked = Settings(
            enabled=True, phrases=("owl, on the left",), threshold=0.3, invert=True, head="a.b"
        )
        said = written(asked)
        by_key = {field.infotext: field.name for field in FIELDS if field.infotext}
        read = Settings.of_mapping({by_key[key]: value for key, value in said.items()})
        assert read == Settings.of_mapping({**_fields(asked), "enabled": False})


def _fields(settings: Settings) -> dict[str, Any]:
    return {name: getattr(settings, name) for name in BY_NAME}
