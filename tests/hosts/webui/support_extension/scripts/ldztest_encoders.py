"""Makes small text encoders known to this host's OpenCLIP, of SD 2.x's and SDXL's widths."""

import importlib.util
from pathlib import Path

import ldztest

if importlib.util.find_spec("open_clip") is not None:
    import open_clip

    open_clip.add_model_config(Path(ldztest.__file__).parent / "open_clip")
