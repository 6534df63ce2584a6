"""Stands in for torchvision, which ComfyUI imports at its start and never calls for SD 1.x.

PyPI's wheel does not load beside a CPU build of torch, and the tests need no picture transforms.
"""

from . import models, transforms

__version__ = "0.0"
__all__ = ["models", "transforms"]
