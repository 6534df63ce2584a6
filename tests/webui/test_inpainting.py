"""What inpainting checkpoints are given besides noisy latents."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ldznet_core import UnsupportedModelError
from ldznet_webui.inpainting import seen_besides

LATENTS = torch.randn(1, 4, 6, 5, generator=torch.Generator().manual_seed(0))


class ReadsChannels(nn.Module):
    """As much of a UNet as is looked at."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.input_blocks = nn.ModuleList([nn.Sequential(nn.Conv2d(channels, 8, 3))])


def test_plain_checkpoints_get_nothing() -> None:
    assert seen_besides(ReadsChannels(4), LATENTS, 3) is None


def test_inpainting_checkpoints_see_the_picture_with_nothing_masked() -> None:
    seen = seen_besides(ReadsChannels(9), LATENTS, 3)
    assert seen is not None
    assert torch.equal(seen[:, :1], torch.zeros(3, 1, 6, 5))
    assert torch.equal(seen[:, 1:], LATENTS.expand(3, -1, -1, -1))


def test_checkpoints_that_edit_by_instructions_are_refused() -> None:
    with pytest.raises(UnsupportedModelError, match="expected a checkpoint that reads 4 channels"):
        seen_besides(ReadsChannels(8), LATENTS, 3)
