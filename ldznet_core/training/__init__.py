"""Training of the miniature: a VAE, then an LDM on its latents, then a head on its features.

The same loop trains heads on real pictures: `training.data`.
"""

from .cache import SceneCache
from .loop import train
from .plan import Plan, Stage
from .setup import Setup, make_stage

__all__ = ["Plan", "SceneCache", "Setup", "Stage", "make_stage", "train"]
