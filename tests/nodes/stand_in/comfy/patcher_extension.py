"""Imitates comfy/patcher_extension.py of ComfyUI 0.8.0: wrappers around the host's functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

Wrapper: TypeAlias = Callable[..., Any]
"""Called with the executor of what it surrounds, then with the arguments of the call."""

Wrappers: TypeAlias = dict[str, dict[str, list[Wrapper]]]
"""By place, then by key; both in the order in which they were added."""


class WrappersMP:
    """The places where a MODEL may be wrapped."""

    OUTER_SAMPLE = "outer_sample"
    APPLY_MODEL = "apply_model"


class WrapperExecutor:
    """What a wrapper calls to go on: the next wrapper, or at last the host's own function."""

    def __init__(
        self, original: Wrapper, class_obj: object, wrappers: list[Wrapper], idx: int = 0
    ) -> None:
        self.original, self.class_obj = original, class_obj
        self.wrappers, self.idx = list(wrappers), idx

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        following = WrapperExecutor(self.original, self.class_obj, self.wrappers, self.idx + 1)
        return following.execute(*args, **kwargs)

    def execute(self, *args: Any, **kwargs: Any) -> Any:
        if self.idx == len(self.wrappers):
            return self.original(*args, **kwargs)
        return self.wrappers[self.idx](self, *args, **kwargs)


def get_all_wrappers(place: str, transformer_options: Mapping[str, Any]) -> list[Wrapper]:
    """The wrappers of a place, the outermost first."""
    by_key: Mapping[str, list[Wrapper]] = transformer_options.get("wrappers", {}).get(place, {})
    return [wrapper for wrappers in by_key.values() for wrapper in wrappers]
