"""A head read from its file in the least memory: its own size and a little."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from ..capture import Features
from ..checkpoint import BUILT_IN, read_config
from ..head import Head, HeadConfig, LDZNetHead
from ..shards import find_files
from ..stored import check_fit, list_tensors, read_tensors


def load_head_leanly(
    source: str | os.PathLike[str], *, device: torch.device, dtype: torch.dtype
) -> LDZNetHead:
    """What `checkpoint.load_head` gives, without a second copy of the weights on the way.

    Raises:
        CheckpointError: The files are missing or damaged, or do not fit their configuration.
    """
    with torch.device("meta"):
        head = LDZNetHead(read_config(source))
    files = find_files(BUILT_IN.get(str(source), source))
    stored = {name: each for file in files for name, each in list_tensors(file).items()}
    shapes = {name: tensor.shape for name, tensor in head.state_dict().items()}
    check_fit(shapes, stored, f"the configured head in {source}")
    head.load_state_dict(read_tensors(stored, device=device, dtype=dtype), assign=True)
    return head.eval()


class HeadOnUse:
    """A head that is in memory while it works; to the segmenter it is a head like any other."""

    def __init__(self, config: HeadConfig, head: Callable[[], Head]) -> None:
        """Join a head's configuration with what gives the head."""
        self.config = config
        self._head = head

    def __call__(
        self,
        latents: Tensor,
        context: Tensor,
        features: Features | Mapping[int, Tensor] | None = None,
    ) -> Tensor:
        """Logits ``(P, 1, 8h, 8w)``; the arguments as in `Head`."""
        return self._head()(latents, context, features)
