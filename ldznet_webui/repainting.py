"""The mask of img2img: what the phrases name in the picture that the host was given."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from PIL import Image, ImageChops

from ldznet_core import InputError

from .answer import Answer
from .host import Host
from .masking import mask_picture
from .outcome import Labelled
from .settings import Settings

MASK_KEY = "LD-ZNet inpaint mask"
"""In an infotext, what the mask for inpainting was made of."""

_MEANT = "_ldznet_meant"
"""Of `p`, under which its own values are kept of what was changed for a picture."""

_CAREFUL = {"inpaint_full_res": False, "inpainting_mask_invert": 0}
"""Values of `p` under which an empty mask repaints nothing, and not the whole picture."""


@dataclass(slots=True)
class _Meant:
    """What `p` had before."""

    mask: Image.Image | None
    """As it was drawn, or None."""
    ours: Image.Image
    """What was put in its place; where the host has since taken another, that stays."""
    values: dict[str, Any] = field(default_factory=dict)


def is_given_a_picture(p: Any) -> bool:
    """Whether the host is to change a picture; where users chose none, pages hand over None."""
    return bool(_given(p))


def repaint_what_is_named(p: Any, host: Host, settings: Settings) -> Labelled:
    """Have the host repaint what the phrases name in the picture that it was given.

    Where users have drawn a mask too, only what lies inside both is repainted. With "Inpaint not
    masked" the host repaints what is outside of its mask: then that is what lies outside both, what
    is drawn and what is named. Either way no more is repainted than either mask alone would let be.
    A mask without anything drawn on it is none, as the tab "Inpaint" always hands one over.

    Args:
        p: Of the host; its mask is replaced, until `restore`.
        host: Whose model looks.
        settings: What is asked.

    Returns:
        The mask as the host is given it, before it blurs or inverts it.

    Raises:
        LDZNetError: Nothing is to be repainted; the message says why.
    """
    answer = mask_picture(host, _only_picture(p), settings)
    named, drawn = answer.union(), _drawn_mask(p)
    is_inverted = bool(getattr(p, "inpainting_mask_invert", 0))
    _check_found(answer)
    mask = named
    if drawn is not None:
        join = ImageChops.lighter if is_inverted else ImageChops.darker
        mask = join(named, drawn.resize(named.size))
    repainted = ImageChops.invert(mask) if is_inverted else mask
    if repainted.getbbox() is None:
        raise InputError(_why_nothing(answer, drawn is not None, is_inverted))
    _put(p, mask)
    within = "" if drawn is None else f"; {_joined(is_inverted)}"
    p.extra_generation_params[MASK_KEY] = words = f"{answer.summary()}{within}"
    p.comment(_comment(words))
    return Labelled(mask, _parameters(answer), "-inpaint-mask")


def repaint_nothing(p: Any) -> None:
    """Have the host leave the picture that it was given as it is."""
    _unsay(p)
    meant = _put(p, Image.new("L", _given(p)[0].size))
    for name, value in _CAREFUL.items():
        if hasattr(p, name):
            meant.values[name] = getattr(p, name)
            setattr(p, name, value)


def restore(p: Any) -> None:
    """Give an object that is processed again, or its copy, back what was changed in it."""
    _unsay(p)
    meant = vars(p).pop(_MEANT, None)
    if meant is None:
        return
    for name, value in meant.values.items():
        setattr(p, name, value)
    if p.image_mask is meant.ours:
        p.image_mask = meant.mask


def _put(p: Any, mask: Image.Image) -> _Meant:
    """Replace the mask of `p`, and remember what it had at first."""
    earlier = vars(p).get(_MEANT)
    meant = _Meant(p.image_mask if earlier is None else earlier.mask, mask)
    setattr(p, _MEANT, meant)
    p.image_mask = mask
    return meant


def _given(p: Any) -> list[Image.Image]:
    return [each for each in getattr(p, "init_images", None) or () if each is not None]


def _only_picture(p: Any) -> Image.Image:
    """The picture that is given, once or for each of a batch.

    Raises:
        InputError: There are several, for which hosts have but one mask.
    """
    first, *others = _given(p)
    different = sum(not _are_same(first, other) for other in others)
    if different:
        raise InputError(
            f"expected one picture to repaint, got {1 + different} different ones, for which the "
            "host takes but one mask: give one at a time"
        )
    return first


def _are_same(one: Image.Image, other: Image.Image) -> bool:
    return one is other or (
        (one.mode, one.size) == (other.mode, other.size) and one.tobytes() == other.tobytes()
    )


def _drawn_mask(p: Any) -> Image.Image | None:
    """What users have drawn as a picture "L", read as hosts do; None if that is nothing.

    Of RGBA only the alpha counts, unless it is opaque (modules/processing.py:create_binary_mask).
    """
    mask = p.image_mask
    if mask is None:
        return None
    if mask.mode == "RGBA" and mask.getextrema()[-1] != (255, 255):
        mask = mask.getchannel("A")
        if getattr(p, "mask_round", True):
            mask = mask.point([0] * 129 + [255] * 127)
    mask = mask.convert("L")
    return mask if mask.getbbox() else None


def _check_found(answer: Answer) -> None:
    """Refuse an answer without anything in it.

    Raises:
        InputError: Nothing is there, or it cannot be found.
    """
    if answer.found_anything or answer.settings.invert:
        return
    is_there = any(answer.segmentation.present)  # else no threshold helps
    remedy = (
        "lower the threshold, or check the negative phrases"
        if is_there
        else "try simpler words or another head, or tick Keep absent"
    )
    raise InputError(
        f"expected something to repaint in the picture, found nothing ({answer.summary()}): "
        f"{remedy}"
    )


def _why_nothing(answer: Answer, is_drawn: bool, is_inverted: bool) -> str:
    if not is_drawn:
        cause, remedy = "a mask that leaves nothing", "check Invert and Inpaint not masked"
    elif is_inverted:
        cause = "nothing outside of both the drawn mask and what is named"
        remedy = "draw less, or choose Inpaint masked"
    else:
        cause = "a drawn mask and a named thing with nothing in common"
        remedy = "draw over what is named, or draw nothing"
    return (
        f"expected something to repaint in the picture, got {cause} ({answer.summary()}): {remedy}"
    )


def _joined(is_inverted: bool) -> str:
    """What became of a drawn mask, in words."""
    if is_inverted:
        return "what was drawn is kept too"
    return "only inside the drawn mask"


def _parameters(answer: Answer) -> dict[str, Any]:
    """What the infotext of the mask says: whose it is, and what those of results say too."""
    found = answer.segmentation
    phrases = range(len(found.phrases))
    return {
        "LD-ZNet mask of": "the given picture, for inpainting",
        "LD-ZNet mask": ", ".join(found.phrases),
        "LD-ZNet found": ", ".join(answer.verdict(index) for index in phrases),
        "LD-ZNet score": ", ".join(f"{score:.3f}" for score in found.scores),
        **answer.origin(),
    }


def _unsay(p: Any) -> None:
    words = p.extra_generation_params.pop(MASK_KEY, None)
    if words is not None:
        p.comments.pop(_comment(words), None)


def _comment(words: str) -> str:
    return f"{MASK_KEY}: {words}"
