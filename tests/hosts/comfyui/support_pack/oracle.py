"""A second record of a run's features, made otherwise than the pack makes its own.

The pack tells conditionings apart by the names that ComfyUI gives them; this one by their content:
rows of the pass whose text features are those of the positive prompt.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.latest import io
from torch import Tensor

from .state import find_bank

_KEY = "ldztest-oracle"
_WINDOW, _BEST = (300.0, 500.0), 400.0
_PAPER = {6, 7, 8, 9, 10}
_RUNS: OrderedDict[bytes, list[dict[int, Tensor]]] = OrderedDict()
"""By the bytes of a picture's latents: for each positive prompt, its features by block number."""


class TestOracle(io.ComfyNode):
    """A model whose samplers also leave features here."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestOracle",
            category="LD-ZNet tests",
            inputs=[io.Model.Input("model"), io.Conditioning.Input("positive")],
            outputs=[io.Model.Output(display_name="model")],
        )

    @classmethod
    def execute(cls, model: Any, positive: list[Any]) -> io.NodeOutput:
        watched = model.clone()
        oracle = _Oracle([text for text, _ in positive])
        watched.add_wrapper_with_key(WrappersMP.OUTER_SAMPLE, _KEY, oracle.around_run)
        watched.add_wrapper_with_key(WrappersMP.APPLY_MODEL, _KEY, oracle.around_pass)
        return io.NodeOutput(watched)


class TestCompareFeatures(io.ComfyNode):
    """Compare what the pack's bank and the oracle hold of each picture of a batch."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="LDZTestCompareFeatures",
            category="LD-ZNet tests",
            inputs=[io.Latent.Input("samples")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, samples: dict[str, Tensor]) -> io.NodeOutput:
        verdicts = [_verdict(picture[None]) for picture in samples["samples"]]
        return io.NodeOutput(ui={"verdicts": verdicts})


class _Oracle:
    def __init__(self, texts: list[Tensor]) -> None:
        self._texts = texts
        self._seen: dict[tuple[int, float], dict[int, Tensor]] = {}
        self._shape: tuple[int, ...] = ()

    def around_run(
        self, executor: Any, noise: Tensor, start: Tensor, *args: Any, **kwargs: Any
    ) -> Tensor:
        self._seen, self._shape = {}, tuple(noise.shape)
        sampled: Tensor = executor(noise, start, *args, **kwargs)
        for index, picture in enumerate(sampled):
            found = self._nearest(index)
            if not found and not noise.any():  # the second stage of a run
                found = _RUNS.get(_key(start[index]), [])
            _RUNS[_key(picture)] = found
        while len(_RUNS) > 64:
            _RUNS.popitem(last=False)
        return sampled

    def around_pass(
        self, executor: Any, x: Tensor, t: Tensor, concat: Any = None, text: Any = None,
        *args: Any, **kwargs: Any,
    ) -> Tensor:  # fmt: skip
        timestep = float(executor.class_obj.model_sampling.timestep(t[:1]))
        if not _WINDOW[0] <= timestep <= _WINDOW[1] or x.shape[2:] != self._shape[2:]:
            output: Tensor = executor(x, t, concat, text, *args, **kwargs)
            return output
        heard: dict[int, Tensor] = {}
        handles = [
            module.register_forward_hook(_keep(heard, block))
            for block, module in _taps(executor.class_obj.diffusion_model).items()
        ]
        try:
            output = executor(x, t, concat, text, *args, **kwargs)
        finally:
            for handle in handles:
                handle.remove()
        self._sort(heard, text, timestep)
        return output

    def _sort(self, heard: dict[int, Tensor], text: Tensor, timestep: float) -> None:
        batch = self._shape[0]
        for start in range(0, len(text), batch):
            for number, wanted in enumerate(self._texts):
                if torch.equal(text[start], wanted[0].to(text)):
                    rows = {block: value[start : start + batch] for block, value in heard.items()}
                    self._seen.setdefault((number, timestep), rows)

    def _nearest(self, index: int) -> list[dict[int, Tensor]]:
        found = []
        for number in range(len(self._texts)):
            times = [t for other, t in self._seen if other == number]
            if times:
                best = min(times, key=lambda t: abs(t - _BEST))
                rows = self._seen[number, best]
                found.append({block: value[index : index + 1] for block, value in rows.items()})
        return found


def _taps(unet: Any) -> dict[int, torch.nn.Module]:
    """The places by the numbers of the paper: its five, and three more that our own head reads."""
    return {
        6: unet.input_blocks[8][1],
        7: unet.middle_block[1],
        8: unet.output_blocks[3][1],
        9: unet.output_blocks[4][1],
        10: unet.output_blocks[5][1],
        11: unet.output_blocks[6][1],
        12: unet.output_blocks[7][1],
        13: unet.output_blocks[8][1],
    }


def _keep(heard: dict[int, Tensor], block: int) -> Any:
    def hook(module: torch.nn.Module, inputs: Any, output: Tensor) -> None:
        heard[block] = output.detach().clone()

    return hook


def _verdict(latents: Tensor) -> dict[str, Any]:
    kept = find_bank().get(latents)
    expected = _RUNS.get(_key(latents[0]), [])
    blocks = getattr(kept, "blocks", None)
    if blocks is None:
        return {"source": "none", "reason": kept.reason, "oracle": len(expected)}
    return {
        "source": kept.source,
        "timestep": kept.timestep,
        "oracle": len(expected),
        "right": any(_same(blocks, each) for each in expected),
    }


def _same(blocks: Any, expected: dict[int, Tensor]) -> bool:
    """Tell whether the features agree, up to half precision if that is how they are kept.

    Those of the paper's head must be there; which others are depends on the heads of a family.
    """
    return _PAPER <= blocks.keys() <= expected.keys() and all(
        value.shape == expected[number].shape
        and torch.equal(value.cpu(), expected[number].cpu().to(value.dtype))
        for number, value in blocks.items()
    )


def _key(picture: Tensor) -> bytes:
    values = picture.detach().cpu().float().contiguous()
    content: bytes = values.numpy().tobytes()
    return str(tuple(values.shape)).encode() + content
