"""The nodes that load: the miniature, and heads."""

from __future__ import annotations

from pathlib import Path

from comfy_api.latest import io

from ..ldznet_core.auto_head import AUTO_HEAD
from ..ldznet_core.checkpoint import BUILT_IN
from ..ldznet_core.training_free import TRAINING_FREE
from .auto_head import AutoHead, named_head
from .folders import head_files, head_names
from .miniature import load_clip, load_model, load_vae
from .schema import CATEGORY, described, output
from .sockets import HeadSocket


class LDZNetLoadMiniature(io.ComfyNode):
    """The small text-to-image model that comes with the pack."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetLoadMiniature",
            display_name="Load LD-ZNet Miniature",
            category=CATEGORY,
            description=(
                "A small text-to-image model that comes with the pack, so that you can try "
                "everything without a download. It paints simple scenes at 128x128 pixels, such as "
                '"a red car in a meadow". Use CFG 5.'
            ),
            search_aliases=["tiny model", "demo model", "ld-znet"],
            inputs=[],
            outputs=[
                output(io.Model, "model", "Works with any sampler, like an SD 1.x model."),
                output(io.Clip, "clip", "For CLIP Text Encode and the nodes that make masks."),
                output(io.Vae, "vae", "Turns pictures into latents and back."),
            ],
        )

    @classmethod
    def execute(cls) -> io.NodeOutput:
        """Build the three parts."""
        return io.NodeOutput(load_model(), load_clip(), load_vae())


class LDZNetLoadHead(io.ComfyNode):
    """The network that turns features into masks."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        """Return the node's interface."""
        return described(
            node_id="LDZNetLoadHead",
            display_name="Load LD-ZNet Head",
            category=CATEGORY,
            description=(
                "The network that turns a diffusion model's features into masks. A head works with "
                "one family of models: the built-in heads with the miniature, your own files in "
                "models/ldznet with the family they were trained on. training-free needs no "
                "network: it reads the attention of any SD 1.x, SD 2.x or SDXL model, or of the "
                "miniature. auto picks the first head that fits the model, or training-free if "
                "none does."
            ),
            search_aliases=["segmentation model", "mask model"],
            inputs=[
                io.Combo.Input(
                    "head_name",
                    options=_choices(),
                    default=AUTO_HEAD,
                    tooltip=(
                        "auto: the first head that fits your model. Or pick a built-in head, a "
                        ".safetensors file from models/ldznet, or training-free, which needs no "
                        "file and works with any SD 1.x, SD 2.x or SDXL model."
                    ),
                )
            ],
            outputs=[
                output(
                    HeadSocket,
                    "head",
                    "Connect it to LD-ZNet Capture and to Segment / Segment Image.",
                ),
            ],
        )

    @classmethod
    def fingerprint_inputs(cls, head_name: str) -> str:
        """Tell a changed file from the one that is loaded."""
        if head_name == TRAINING_FREE:
            return TRAINING_FREE
        names = head_names() if head_name == AUTO_HEAD else [head_name]
        files = [file for name in names for file in head_files(name)]
        return repr([(str(file), *_state(file)) for file in files])

    @classmethod
    def execute(cls, head_name: str) -> io.NodeOutput:
        """Load the head; it moves to its device when it is used."""
        return io.NodeOutput(AutoHead() if head_name == AUTO_HEAD else named_head(head_name))


def _choices() -> list[str]:
    """The best, the built-in heads, none at all, and then users' own."""
    names = head_names()
    return [AUTO_HEAD, *names[: len(BUILT_IN)], TRAINING_FREE, *names[len(BUILT_IN) :]]


def _state(file: Path) -> tuple[int, int]:
    """What changes when a file is replaced."""
    state = file.stat()
    return state.st_size, state.st_mtime_ns
