"""How well the free map of a whole prompt finds the things that the prompt names."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from ...metrics.overlap import overlap
from ...miniature import Miniature
from ...miniature.sampling import make_scheduler
from ...segmenter import Segmenter
from ...training_free.noise import clipped
from ...training_free.whole_prompt import THRESHOLD, WINDOW, PromptDifference, segment_prompt
from ...world import Phrase, caption
from ..cases import Case
from ..comparison.figures import THRESHOLDS, precision_and_ious, shares
from ..comparison.ways import Answer
from ..painted import paint_anew
from .controls import centre_map, distance_map, random_maps

Kind: TypeAlias = Literal["restored", "generated"]

KINDS: tuple[Kind, ...] = ("generated", "restored")

WINDOWS = (WINDOW, (300.0, 500.0), (300.0, 600.0), (500.0, 700.0), (0.0, 999.0))
"""The timesteps whose differences are compared, from and to."""

AS_SHIPPED = "**the prompt's mask**"

_START = 750.0
"""The timestep from which scenes are restored: layout stays, all else is painted anew."""


@dataclass(frozen=True, slots=True, eq=False)
class Painting:
    """A picture that was sampled for a caption, and where its things are."""

    prompt: str
    image: Image.Image
    latents: Tensor
    """``(1, C, h, w)``, clean."""
    differences: dict[tuple[float, float], Tensor]
    """``(h, w)`` by window."""
    things: NDArray[np.bool_]
    """``(H, W)``."""


@dataclass
class _Tally:
    precisions: list[float] = field(default_factory=list)
    ious: list[Sequence[float]] = field(default_factory=list)


def compare(
    miniature: Miniature,
    trained: Segmenter,
    kind: Kind,
    chosen_on: Iterable[Case],
    measured_on: Iterable[Case],
    steps: int = 20,
) -> dict[str, dict[str, float]]:
    """Figures in [0, 1] by map, with thresholds that the first cases choose.

    Pictures without things are left out.

    Args:
        miniature: What paints.
        trained: The miniature with a trained head, which says where generated things are.
        kind: Whether scenes are restored, or captions painted.
        chosen_on: Cases that choose each map's threshold.
        measured_on: Cases that are measured.
        steps: Of a whole sampling.
    """

    def paint(case: Case, seed: int) -> Painting:
        if kind == "restored":
            return restored(miniature, case, seed, steps)
        return generated(miniature, trained, case, seed, steps)

    first, second = (
        _tallies(paint(case, seed) for seed, case in enumerate(cases))
        for cases in (chosen_on, measured_on)
    )
    found = {}
    for name, tally in second.items():
        best = int(np.array(first[name].ious).mean(axis=0).argmax())
        found[name] = {
            "AP": float(np.mean(tally.precisions)),
            "mIoU": float(np.mean([each[best] for each in tally.ious])),
            "mask at": THRESHOLD if name == AS_SHIPPED else THRESHOLDS[best],
        }
    return found


def restored(miniature: Miniature, case: Case, seed: int, steps: int = 20) -> Painting:
    """A scene whose things are known, covered by noise and sampled anew for its caption.

    Args:
        miniature: What paints.
        case: The scene.
        seed: Of the noise.
        steps: Of a whole sampling, of which those from t = 750 on are made.
    """
    prompt = caption(case.scene.layout, plain=True)
    heard = [PromptDifference(window) for window in WINDOWS]
    start = max(t for t in make_scheduler(steps).timesteps.tolist() if t <= _START)
    latents = miniature.encode_image(Image.fromarray(case.scene.image))
    with _listening(miniature.unet, heard):
        painted = paint_anew(miniature, case, latents, seed, begins_at=start, steps=steps).latents
    return Painting(prompt, miniature.decode_image(painted), painted, _maps(heard), _things(case))


def generated(
    miniature: Miniature, trained: Segmenter, case: Case, seed: int, steps: int = 20
) -> Painting:
    """A picture painted from a scene's caption alone; a trained head says where its things are.

    Args:
        miniature: What paints.
        trained: The miniature with a trained head.
        case: The scene, whose picture is not looked at.
        seed: Of the picture.
        steps: UNet passes.
    """
    prompt = caption(case.scene.layout, plain=True)
    heard = [PromptDifference(window) for window in WINDOWS]
    with _listening(miniature.unet, heard):
        made = miniature.generate(
            prompt,
            seed=seed,
            steps=steps,
            taps_of=trained.head.taps_of,
            window=trained.aim.window,
        )
    names = [phrase.text for phrase in _thing_phrases(case)]
    features = trained.aim.nearest(made.captured)
    found = trained.segment_sampled(
        made.latents, features, names, threshold=None, picture=made.image
    )
    things = found.masks.amax(dim=0).numpy() > 0.5
    return Painting(prompt, made.image, made.latents, _maps(heard), things)


def maps_of(painting: Painting, seed: int = 0) -> dict[str, Answer]:
    """Every map that is measured, by its name; the seed is that of the random one."""
    size = (painting.latents.shape[-2], painting.latents.shape[-1])
    generator = torch.Generator().manual_seed(seed)
    return {
        **{
            f"difference, t from {low:.0f} to {high:.0f}": _answer(clipped(each[None]), True)
            for (low, high), each in painting.differences.items()
        },
        "control: random": _answer(random_maps(1, size, generator)),
        "control: everything": _answer(torch.ones(1, *size), is_share=True),
        "control: the middle": _answer(centre_map(size)[None]),
        "control: latents far from their mean": _answer(distance_map(painting.latents)[None]),
    }


@contextmanager
def _listening(unet: nn.Module, heard: list[PromptDifference]) -> Iterator[None]:
    """Hear passes of two halves, as the miniature makes them: rows without the prompt first."""

    def hear(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        reference, prompt = output.chunk(2)
        for each in heard:
            each.add(reference, "reference", float(inputs[1][0]))
            each.add(prompt, "prompt", float(inputs[1][0]))

    handle = unet.register_forward_hook(hear)
    try:
        yield
    finally:
        handle.remove()


def _maps(heard: list[PromptDifference]) -> dict[tuple[float, float], Tensor]:
    found = {each.window: each.maps() for each in heard}
    return {window: maps[0] for window, maps in found.items() if maps is not None}


def _thing_phrases(case: Case) -> list[Phrase]:
    return [phrase for phrase in case.phrases if not phrase.is_absent and not case.is_stuff(phrase)]


def _things(case: Case) -> NDArray[np.bool_]:
    union = np.zeros(case.scene.labels.shape, dtype=np.bool_)
    for phrase in _thing_phrases(case):
        union |= case.mask(phrase)
    return union


def _tallies(paintings: Iterable[Painting]) -> dict[str, _Tally]:
    tallies: dict[str, _Tally] = {AS_SHIPPED: _Tally()}
    for seed, painting in enumerate(paintings):
        if not painting.things.any():
            continue
        shipped = segment_prompt(painting.differences[WINDOW])
        iou = overlap(shipped.masks[0].numpy() > 0.5, painting.things).iou
        for name, answer in maps_of(painting, seed).items():
            share = shares(answer, painting.things.shape)[0].numpy()
            precision, ious = precision_and_ious(share, painting.things)
            tally = tallies.setdefault(name, _Tally())
            tally.precisions.append(precision)
            tally.ious.append(ious)
        precision, _ = precision_and_ious(shipped.probabilities[0].numpy(), painting.things)
        tallies[AS_SHIPPED].precisions.append(precision)
        tallies[AS_SHIPPED].ious.append([iou])
    return tallies


def _answer(maps: Tensor, is_share: bool = False) -> Answer:
    return Answer(maps, maps.amax(dim=(1, 2)), is_probability=is_share)
