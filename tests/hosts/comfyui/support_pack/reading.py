"""Whatever comes out of a node, made readable over HTTP without loss."""

from __future__ import annotations

import os
import uuid
from typing import Any

import folder_paths
import safetensors.torch
import torch
from comfy_api.latest import io

_FOLDER = "ldztest"


class TestRead(io.ComfyNode):
    """Show numbers and texts as they are; save tensors in full precision."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestRead",
            category="LD-ZNet tests",
            inputs=[io.AnyType.Input("value")],
            is_input_list=True,
            is_output_node=True,
        )

    @classmethod
    def execute(cls, value: list[Any]) -> io.NodeOutput:
        shown: list[dict[str, Any]] = []
        tensors: dict[str, torch.Tensor] = {}
        for item in value:
            content = item["samples"] if isinstance(item, dict) and "samples" in item else item
            if isinstance(content, torch.Tensor):
                tensors[str(len(tensors))] = content.clone().contiguous()
                shown.append({"tensor": str(len(tensors) - 1)})
            elif isinstance(content, (bool, int, float, str)):
                shown.append({"value": content})
            else:
                shown.append({"value": repr(content)})
        return io.NodeOutput(ui={"values": shown, "files": _save(tensors)})


def _save(tensors: dict[str, torch.Tensor]) -> list[dict[str, str]]:
    if not tensors:
        return []
    folder = os.path.join(folder_paths.get_output_directory(), _FOLDER)
    os.makedirs(folder, exist_ok=True)
    name = uuid.uuid4().hex + ".safetensors"
    safetensors.torch.save_file(tensors, os.path.join(folder, name))
    return [{"filename": name, "subfolder": _FOLDER, "type": "output"}]
