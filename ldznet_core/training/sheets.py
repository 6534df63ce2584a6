"""Pictures that show a training's state, and the one figure that they are judged by."""

from __future__ import annotations

import numpy as np
import torch
from PIL import Image
from torch import Tensor


def grid(images: Tensor, columns: int) -> Image.Image:
    """``(B, 3, H, W)`` RGB in [-1, 1] laid out in rows of ``columns`` pictures."""
    count, _, height, width = images.shape
    pixels = ((images.float().clamp(-1, 1) + 1) * 127.5).round().to(torch.uint8)
    array = pixels.permute(0, 2, 3, 1).cpu().numpy()
    rows = -(-count // columns)
    canvas = np.full((rows * height, columns * width, 3), 255, np.uint8)
    for index, picture in enumerate(array):
        top, left = index // columns * height, index % columns * width
        canvas[top : top + height, left : left + width] = picture
    return Image.fromarray(canvas)


def tinted(images: Tensor, masks: Tensor, channel: int) -> Tensor:
    """Greyish pictures ``(B, 3, H, W)`` with the ``(B, H, W)`` masks in one of the colours."""
    tinted = images.mean(dim=1, keepdim=True).repeat(1, 3, 1, 1) * 0.5
    tinted[:, channel] += masks
    return tinted.clamp(-1, 1)


def psnr(squared_error: Tensor) -> Tensor:
    """Decibels of a mean squared error between pictures in [-1, 1]."""
    return -10 * torch.log10(squared_error / 4)
