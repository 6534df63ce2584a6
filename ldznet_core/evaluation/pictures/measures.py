"""The miniature's pictures: how true its VAE is, and whether a judge knows what it painted."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image
from tqdm import tqdm

from ...miniature import Miniature
from ...world import draw_layout, render
from ...world.objects import with_article
from .judge import Judge


def reconstruction_psnr(miniature: Miniature, world: str, split: str, count: int) -> float:
    """The mean over scenes of the VAE's PSNR, in decibels."""
    values = []
    for index in range(count):
        image = render(draw_layout(world, split, index), miniature.image_side).image
        picture = Image.fromarray(image)
        restored = np.asarray(miniature.decode_image(miniature.encode_image(picture)), np.float64)
        error = np.mean((restored - image) ** 2) / 255**2
        values.append(-10 * np.log10(error))
    return float(np.mean(values))


@dataclass(frozen=True, slots=True)
class Recognition:
    """What the judge said of pictures of one thing each."""

    samples: int
    recognised: float
    """Share whose thing the judge named, of all things of the world, as the likeliest."""
    by_name: dict[str, float]


def recognise(
    miniature: Miniature, judge: Judge, samples: int, steps: int, guidance: float
) -> Recognition:
    """Paint each thing of the world in turn, by its name alone, and ask the judge."""
    right: dict[str, list[bool]] = {name: [] for name in judge.names}
    for index in tqdm(range(samples), desc="recognition", unit="picture", leave=False):
        name = judge.names[index % len(judge.names)]
        made = miniature.generate(
            with_article(name), seed=index, steps=steps, guidance=guidance, captures=False
        )
        right[name].append(judge.best_name(made.image) == name)
    everything = [each for answers in right.values() for each in answers]
    by_name = {name: float(np.mean(answers)) for name, answers in right.items() if answers}
    return Recognition(samples, float(np.mean(everything)), by_name)
