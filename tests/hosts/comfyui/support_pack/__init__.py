"""Nodes and routes for the tests alone: what a workflow cannot show or do by itself."""

from __future__ import annotations

from comfy_api.latest import ComfyExtension, io

from . import state
from .compiling import TestCompile
from .control import TestControl
from .faults import TestFail, TestFailInUNet
from .foreign import TestForeignModel
from .latents import TestDot, TestNaNLatent, TestRegion
from .memory import TestHungry
from .oracle import TestCompareFeatures, TestOracle
from .reading import TestRead
from .wrappers import TestWrappers

NODES: list[type[io.ComfyNode]] = [
    TestCompareFeatures,
    TestCompile,
    TestControl,
    TestDot,
    TestFail,
    TestFailInUNet,
    TestForeignModel,
    TestHungry,
    TestNaNLatent,
    TestOracle,
    TestRead,
    TestRegion,
    TestWrappers,
]


class TestExtension(ComfyExtension):
    """The support pack as ComfyUI asks for it."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        """Return the nodes."""
        return NODES


async def comfy_entrypoint() -> TestExtension:
    """Return the support pack."""
    state.add_routes()
    return TestExtension()
