"""Scenes rendered once: pictures, label maps and latents as memory-mapped arrays."""

from __future__ import annotations

import multiprocessing
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from ..weights import read_id
from ..whole_files import drafted
from ..world import Layout, draw_layout, render

_CHUNK = 256


@dataclass(frozen=True, slots=True)
class SceneCache:
    """The first scenes of a split, in files that are filled on first use.

    Attributes:
        folder: where the files lie; one folder serves many caches.
        world: the world's name.
        split: the split's name.
        count: how many scenes.
        side: the pictures' side in pixels.
    """

    folder: Path
    world: str
    split: str
    count: int
    side: int

    def layout(self, index: int) -> Layout:
        """The layout of one scene; cheap, so it is drawn anew each time."""
        return draw_layout(self.world, self.split, index)

    def images(self) -> NDArray[np.uint8]:
        """``(N, S, S, 3)`` RGB pictures."""
        self._render()
        return _read(self._path("images"))

    def labels(self) -> NDArray[np.uint8]:
        """``(N, S, S)`` indices into each scene's regions."""
        self._render()
        return _read(self._path("labels"))

    def latents(self, name: str, encode: Callable[[Tensor], Tensor]) -> NDArray[np.float16]:
        """What ``encode`` makes of each picture, ``(N, 4, S/8, S/8)``.

        Args:
            name: names the encoder, so that another one's latents are not taken for its own.
            encode: from ``(B, 3, S, S)`` RGB in [-1, 1] to ``(B, 4, S/8, S/8)``.
        """
        path = self._path(f"latents-{name}")
        if not path.exists():
            images = self.images()
            shape = (self.count, 4, self.side // 8, self.side // 8)
            with _filling(path, shape, np.float16) as (latents, chunks):
                for chunk in tqdm(chunks, desc=f"latents of {self.split}", unit="chunk"):
                    latents[chunk] = encode(to_unit_range(images[chunk])).cpu().numpy()
        return _read(path)

    def _render(self) -> None:
        if self._path("labels").exists() and self._path("images").exists():
            return
        shape = (self.count, self.side, self.side)
        with (
            _filling(self._path("labels"), shape, np.uint8) as (labels, _),  # the last to appear
            _filling(self._path("images"), (*shape, 3), np.uint8) as (images, chunks),
            _mapping(len(chunks)) as mapping,
        ):
            jobs = ((self, range(chunk.start, chunk.stop)) for chunk in chunks)
            done = mapping(_render_chunk, jobs)
            progress = tqdm(done, desc=f"scenes of {self.split}", unit="chunk", total=len(chunks))
            for chunk, (chunk_images, chunk_labels) in zip(chunks, progress, strict=True):
                images[chunk], labels[chunk] = chunk_images, chunk_labels

    def _path(self, what: str) -> Path:
        return self.folder / f"{self.world}-{self.split}-{self.count}-{self.side}-{what}.npy"


def latents_name(weights: Path) -> str:
    """Names a VAE's latents after its weights, so that another one's are never taken for them."""
    return read_id(weights / "vae")[:12]


def unet_name(weights: Path) -> str:
    """Likewise names what a UNet gave, its features and what it painted."""
    return read_id(weights / "unet")[:12]


def to_unit_range(images: NDArray[np.uint8]) -> Tensor:
    """``(B, H, W, 3)`` uint8 RGB as a ``(B, 3, H, W)`` tensor in [-1, 1]."""
    return torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 127.5 - 1


def _render_chunk(
    job: tuple[SceneCache, range],
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    cache, indices = job
    scenes = [render(cache.layout(index), cache.side) for index in indices]
    images = np.stack([scene.image for scene in scenes])
    return images, np.stack([scene.labels for scene in scenes])


@contextmanager
def _mapping(chunks: int) -> Iterator[Callable[..., Iterator[Any]]]:
    """A `map` over that many chunks: by processes, unless they would take longer to start."""
    if chunks == 1:
        yield map
        return
    with multiprocessing.get_context("spawn").Pool(os.cpu_count()) as pool:
        yield pool.imap


@contextmanager
def _filling(
    path: Path, shape: tuple[int, ...], dtype: type[np.generic]
) -> Iterator[tuple[NDArray[Any], list[slice]]]:
    """A new array on disk and its chunks; it gets its name only once it is whole."""
    with drafted(path) as draft:
        array = np.lib.format.open_memmap(draft, mode="w+", dtype=dtype, shape=shape)
        starts = range(0, shape[0], _CHUNK)
        yield array, [slice(start, min(start + _CHUNK, shape[0])) for start in starts]
        array.flush()


def _read(path: Path) -> NDArray[Any]:
    array: NDArray[Any] = np.load(path, mmap_mode="r")
    return array
