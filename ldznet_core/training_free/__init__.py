"""Masks with no trained head, from the attention of the diffusion model itself.

A phrase's words are scored against what each place asks of the text (`words`), the scores walk
along what places see in each other (`links`), and what is left is read as a mask (`head`). `layers`
says for each family where attention is read; `noise` is the paper's own first experiment.
"""

from __future__ import annotations

from .attention import Attention, attend, glance
from .head import TRAINING_FREE, TrainingFree, TrainingFreeHead
from .layers import LAYERS, Layers
from .places import Place, find_places

__all__ = [
    "LAYERS",
    "TRAINING_FREE",
    "Attention",
    "Layers",
    "Place",
    "TrainingFree",
    "TrainingFreeHead",
    "attend",
    "find_places",
    "glance",
]
