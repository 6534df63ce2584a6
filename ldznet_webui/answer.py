"""What masks become in a WebUI: pictures, and words in infotexts."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor

from ldznet_core import Segmentation
from ldznet_core.masks import union
from ldznet_core.overlay import overlay
from ldznet_core.pictures import to_picture
from ldznet_core.segmentation import NOTHING_READ

from .settings import Settings

if TYPE_CHECKING:
    from PIL.Image import Image


@dataclass(frozen=True, slots=True)
class Answer:
    """The masks of one picture, and how they came about."""

    segmentation: Segmentation
    settings: Settings
    head: str
    """The name of the head that drew them."""
    model: str
    """The name of the checkpoint that looked."""
    reason: str = ""
    """Why a probe was made where captured features were hoped for."""

    def masks(self) -> list[Image]:
        """A picture "L" for each phrase: 255 is inside."""
        return [_picture(mask) for mask in self.treated().masks]

    def treated(self) -> Segmentation:
        """The segmentation with its masks grown, feathered and inverted as the settings say."""
        masks = self._edged()
        return replace(self.segmentation, masks=1 - masks if self.settings.invert else masks)

    def union(self) -> Image:
        """All phrases as one picture "L"."""
        masks = self._edged()
        whole = union(masks)
        return _picture(1 - whole if self.settings.invert else whole)

    def overlay(self, picture: Image) -> Image:
        """The picture, of the masks' size, under its masks in colour, with a legend."""
        return overlay(to_picture(picture), self.treated())

    @property
    def found_anything(self) -> bool:
        """Whether any mask has something in it, before it is inverted."""
        return bool(self.segmentation.masks.any())

    def features(self) -> str:
        """Where the features came from, in words."""
        source, timestep = self.segmentation.source, self.segmentation.timestep
        if source is None or timestep is None:
            return NOTHING_READ
        because = f", because {self.reason}" if self.reason else ""
        return f"{source} at t={timestep:.0f}{because}"

    def verdict(self, index: int) -> str:
        """What became of a phrase, in words."""
        return self.segmentation.verdict(index)

    def summary(self) -> str:
        """What became of each phrase, and how, on one line; with a hint if there is one."""
        found = self.segmentation
        verdicts = [
            f"{phrase} {self.verdict(index)} ({found.scores[index]:.2f})"
            for index, phrase in enumerate(found.phrases)
        ]
        hint = f"; hint: {found.hint()}" if found.hint() else ""
        return f"{', '.join(verdicts)}; features: {self.features()}{hint}"

    def infotext(self, index: int) -> dict[str, Any]:
        """What the infotext of a mask says besides its picture's own."""
        found = self.segmentation
        return {
            "LD-ZNet mask": found.phrases[index],
            "LD-ZNet found": self.verdict(index),
            "LD-ZNet score": f"{found.scores[index]:.3f}",
            **({"LD-ZNet hint": found.hint()} if found.hint() else {}),
            **self.origin(),
        }

    def origin(self) -> dict[str, str]:
        """What infotexts say of how masks came about."""
        return {"LD-ZNet features": self.features(), "LD-ZNet used head": self.head}

    def _edged(self) -> Tensor:
        return self.segmentation.edged(self.settings.grow, self.settings.feather).masks


def extended(infotext: str, more: dict[str, Any]) -> str:
    """An infotext with more parameters at its end, quoted as A1111 reads them."""
    added = ", ".join(f"{key}: {_quoted(str(value))}" for key, value in more.items())
    return f"{infotext}, {added}" if infotext.strip() else added


def _quoted(value: str) -> str:
    return json.dumps(value, ensure_ascii=False) if set(value) & set(',:\n"') else value


def _picture(mask: Tensor) -> Image:
    from PIL import Image

    return Image.fromarray((mask * 255).round().cpu().numpy().astype(np.uint8))
