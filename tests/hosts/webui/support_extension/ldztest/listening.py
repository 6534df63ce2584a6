"""A second record of what a UNet gave, whose rows are told by the text that conditions them.

It knows nothing of the order of rows that the extension under test relies on: a row is a picture's
if its context is that of the picture's prompt. So the prompts of a batch and the negative one have
to differ.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Sequence
from typing import Any

import torch
from modules import shared
from PIL import Image
from torch import Tensor, nn

TAPS = {
    6: "input_blocks.8.1",
    7: "middle_block.1",
    8: "output_blocks.3.1",
    9: "output_blocks.4.1",
    10: "output_blocks.5.1",
    11: "output_blocks.6.1",
    12: "output_blocks.7.1",
    13: "output_blocks.8.1",
}
WINDOWS = {400.0: (300.0, 500.0), 100.0: (0.0, 300.0)}
"""By the timestep where a head likes to look, those that will do."""


class Record:
    """What was heard of one batch: of each picture the passes that heads like best, its latents."""

    def __init__(self, pictures: int) -> None:
        self.pictures = pictures
        self.timesteps: dict[tuple[float, int], float] = {}
        self.features: dict[tuple[float, int], dict[int, Tensor]] = {}
        self.latents: Tensor | None = None
        self.is_ambiguous = False


class Listener:
    """Hooks on the UNet of the batch under way."""

    def __init__(self, prompts: Sequence[Tensor]) -> None:
        """Listen for a text's features ``(T, D)`` for each picture; its first if it has several."""
        self.record = Record(len(prompts))
        self._prompts = prompts
        self._unet: nn.Module | None = None
        self._handles: list[Any] = []
        self._blocks: dict[int, Tensor] = {}

    def start(self, network: nn.Module) -> None:
        """Listen to a UNet instead of the one before."""
        if network is self._unet:
            return
        self.stop()
        self._unet = network
        for block, name in TAPS.items():
            module = network.get_submodule(name)
            self._handles.append(module.register_forward_hook(self._tap(block)))
        self._handles.append(network.register_forward_hook(self._pass, with_kwargs=True))

    def stop(self) -> None:
        """Take the hooks away."""
        for handle in self._handles:
            handle.remove()
        self._handles, self._unet = [], None

    def _tap(self, block: int) -> Callable[..., None]:
        def keep(module: nn.Module, inputs: object, output: Tensor) -> None:
            self._blocks[block] = output.detach().float().cpu().clone()

        return keep

    def _pass(
        self, network: nn.Module, inputs: Sequence[Any], named: dict[str, Any], output: object
    ) -> None:
        times: Tensor = named["timesteps"] if "timesteps" in named else inputs[1]
        time = float(times.flatten()[0])
        context = named["context"].detach().float().cpu()
        bests = [best for best, (first, last) in WINDOWS.items() if first <= time <= last]
        for picture, prompt in enumerate(self._prompts if bests else ()):
            rows = [n for n, row in enumerate(context) if _is_same(row, prompt)]
            self.record.is_ambiguous |= len(rows) > 1
            for best in bests:
                before = self.record.timesteps.get((best, picture), 1e9)
                if rows and abs(time - best) < abs(before - best):
                    self.record.timesteps[best, picture] = time
                    self.record.features[best, picture] = {
                        block: value[rows[0] : rows[0] + 1] for block, value in self._blocks.items()
                    }


RECORDS: list[Record] = []
"""Of the batches of the last generation that was listened to."""


def unet() -> nn.Module:
    """The UNet that is loaded, under any of the hosts."""
    model = shared.sd_model
    objects = getattr(model, "forge_objects", None)
    network: nn.Module = (objects.unet.model if objects else model.model).diffusion_model
    return network


def first_prompts(conditioning: Any) -> list[Tensor]:
    """The text features of each picture's first prompt, from the hosts' own description."""
    texts = [parts[0].schedules[0].cond for parts in conditioning.batch]
    plain = [text["crossattn"] if isinstance(text, dict) else text for text in texts]
    return [text.detach().float().cpu() for text in plain]


def expected(body: dict[str, Any]) -> list[dict[str, Any]]:
    """The masks of every picture of the last generation, by this record.

    Args:
        body: The ``phrases`` as a list, the ``head`` by name, and the ``pictures``, whose latents
            are taken where the host's are not at hand.
    """
    from ldznet_core import Segmenter
    from ldznet_webui.heads import KEEPER
    from ldznet_webui.host import find_host

    host = find_host()

    def work() -> list[dict[str, Any]]:
        backbone, where = host.backbone(), (host.heads_folder(), host.device(), host.head_dtype())
        answers: list[dict[str, Any]] = []
        with KEEPER.at_work(body["head"], *where) as head:
            segmenter = Segmenter(backbone, head)
            for record in RECORDS:
                if record.is_ambiguous:
                    raise ValueError("two rows of a pass had the same text: use different prompts")
                for picture in range(record.pictures):
                    shown = _decoded(body["pictures"][len(answers)])
                    answers.append(_answer(segmenter, record, picture, shown, body["phrases"]))
        return answers

    return host.exclusively(work)


def _answer(
    segmenter: Any, record: Record, picture: int, shown: Image.Image, phrases: list[str]
) -> dict[str, Any]:
    heard = 100.0 if segmenter.head.config.timestep < 300 else 400.0, picture
    if heard not in record.features:
        return {"timestep": None, "scores": [], "masks": []}
    if record.latents is None or segmenter.reads_latents:
        latents = segmenter.backbone.encode_image(shown)
    else:
        latents = record.latents[picture : picture + 1]
    size = (shown.height, shown.width)
    found = segmenter.segment_features(latents, record.features[heard], phrases, size=size)
    return {
        "timestep": record.timesteps[heard],
        "scores": [float(score) for score in found.scores],
        "masks": [_encoded(mask) for mask in found.masks],
    }


def _decoded(text: str) -> Image.Image:
    return Image.open(io.BytesIO(base64.b64decode(text))).convert("RGB")


def _encoded(mask: Tensor) -> str:
    data = io.BytesIO()
    Image.fromarray((mask * 255).to(torch.uint8).cpu().numpy()).save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode()


def _is_same(row: Tensor, prompt: Tensor) -> bool:
    """Whether a row of context is a prompt; hosts may have lengthened it to fit its company."""
    return len(row) >= len(prompt) and torch.equal(row[: len(prompt)], prompt)
