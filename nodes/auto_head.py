"""A head that is chosen when a workflow tells for which model."""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

from ..ldznet_core.auto_head import fitting_head
from ..ldznet_core.training_free import TRAINING_FREE, TrainingFree
from .folders import head_files, head_names
from .managed_head import ManagedHead

FittedHead: TypeAlias = ManagedHead | TrainingFree
"""What makes masks of a model."""


class AutoHead:
    """What travels over an LDZNET_HEAD wire where no head was named."""

    def __init__(self) -> None:
        """Choose none yet."""
        self._chosen: dict[str, FittedHead] = {}

    def for_family(self, family: str) -> FittedHead:
        """The best head for a family: built in, of the user's own, or none that was trained."""
        if family not in self._chosen:
            self._chosen[family] = named_head(fitting_head(family, head_names(), _first_file))
        return self._chosen[family]

    def get_ram_usage(self) -> int:
        """Bytes of the weights, as ComfyUI's RAM-bounded cache asks for them."""
        heads = self._chosen.values()
        return sum(head.get_ram_usage() for head in heads if isinstance(head, ManagedHead))


def named_head(name: str) -> FittedHead:
    """A head by a name from `head_names`, or "training-free".

    Raises:
        CheckpointError: There is none of this name, or its file is damaged.
    """
    return TrainingFree() if name == TRAINING_FREE else ManagedHead(_first_file(name))


def fitted(head: AutoHead | FittedHead, family: str) -> FittedHead:
    """What came over the wire, now that the model's family is known."""
    return head.for_family(family) if isinstance(head, AutoHead) else head


def _first_file(name: str) -> Path:
    return head_files(name)[0]
