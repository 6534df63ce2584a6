"""Pictures of unselected prompts, painted while a head listens."""

from __future__ import annotations

from collections.abc import Iterator

from tqdm import tqdm

from ...miniature import Generation, Miniature
from ...taps import TapsOf
from ...world import Layout, caption, draw_layout


def paint_prompts(
    miniature: Miniature,
    taps_of: TapsOf,
    world: str,
    count: int,
    *,
    steps: int,
    guidance: float,
    name: str,
    window: tuple[float, float],
) -> Iterator[tuple[Layout, str, Generation]]:
    """The first captions of the "iid" split, painted with their numbers as seeds.

    Args:
        miniature: What paints.
        taps_of: Says where to listen.
        world: The world's name.
        count: Pictures.
        steps: UNet passes of a picture.
        guidance: How strictly prompts are followed.
        name: Of the progress bar.
        window: The timesteps at which the head listens.

    Yields:
        The scene that the prompt is of, the prompt, and what was made of it.
    """
    for index in tqdm(range(count), desc=name, unit="picture", leave=False):
        layout = draw_layout(world, "iid", index)
        prompt = caption(layout, plain=True)
        made = miniature.generate(
            prompt,
            seed=index,
            steps=steps,
            guidance=guidance,
            taps_of=taps_of,
            window=window,
        )
        yield layout, prompt, made
