"""What callers and networks give the segmenter: of one picture, of fitting shapes, and finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Real
from typing import TYPE_CHECKING, Any

from torch import Tensor

from .errors import InputError
from .frames import STRIDE

if TYPE_CHECKING:
    from PIL.Image import Image

ANEW = "sample or encode the picture again, in float32 if it was in half precision"
"""What helps against numbers that are none, wherever a picture went through a network."""

SEEDS = range(2**63)

_CHANNELS = 4  # of the latents of all families that are known


def check_latents(latents: Tensor, channels: int, family: str) -> None:
    """Refuse what is not the latents ``(1, channels, h, w)`` of one picture, or not finite.

    Args:
        latents: Of a model.
        channels: That the head reads.
        family: Of the model, for the message.

    Raises:
        InputError: They cannot be used.
    """
    if latents.ndim != 4 or len(latents) != 1 or latents.shape[1] != channels:
        raise InputError(
            f"expected the latents of one picture, (1, {channels}, h, w), got "
            f"{tuple(latents.shape)}: pass pictures one by one, encoded for {family!r}"
        )
    check_finite(latents, "latents")


def checked_latents(latents: Tensor, like: Tensor, family: str) -> Tensor:
    """The latents ``(1, 4, h, w)`` of one picture, where a model's weight is and in its dtype.

    Raises:
        InputError: As `check_latents`.
    """
    check_latents(latents, _CHANNELS, family)
    return latents.to(like)


def check_sides(picture: Image) -> None:
    """Refuse a picture that has no whole number of latents.

    Raises:
        InputError: A side is no multiple of 8 pixels.
    """
    if picture.width % STRIDE or picture.height % STRIDE:
        raise InputError(
            f"expected a picture with sides in multiples of {STRIDE}, got "
            f"{picture.width}x{picture.height}: resize or pad it"
        )


def checked_features(
    given: Mapping[Any, Tensor], taps: Sequence[Any], rows: int
) -> dict[Any, Tensor]:
    """The features that a head reads; what is missing or misshapen is the head's to say.

    Args:
        given: By tap.
        taps: That the head reads.
        rows: How many are asked for, phrases and negatives.

    Raises:
        InputError: Some are not finite, or of neither one row nor as many.
    """
    read = {tap: given[tap] for tap in taps if tap in given}
    for tap, feature in read.items():
        place = f"block {tap}" if isinstance(tap, int) else str(tap)
        if len(feature) not in (1, rows):
            raise InputError(
                f"expected 1 or {rows} rows of features in {place}, got {len(feature)}: "
                "one for the picture, or one for each phrase and negative"
            )
        check_finite(feature, f"features of {place}")
    return read


def checked_threshold(threshold: float) -> float:
    """The threshold of masks.

    Raises:
        InputError: It is no probability, or one that everything or nothing reaches.
    """
    is_number = isinstance(threshold, Real)  # a caller without types may give a word
    if not is_number or not 0 < threshold < 1:
        raise InputError(
            f"expected a threshold between 0 and 1, got {threshold}: it is a probability"
        )
    return threshold


def checked_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The (height, width) of masks, if one is asked for.

    Raises:
        InputError: A side has no pixel.
    """
    if size is not None and min(size) < 1:
        raise InputError(f"expected masks of at least 1x1 pixels, got {size}: give both sides")
    return size


def check_seed(seed: int) -> None:
    """Refuse a seed that generators do not take.

    Raises:
        InputError: It is no whole number of `SEEDS`.
    """
    if seed not in SEEDS:
        raise InputError(f"expected a seed from 0 to 2^63 - 1, got {seed}: try 0")


def check_finite(tensor: Tensor, name: str, remedy: str = ANEW) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: With the remedy.
    """
    if not bool(tensor.isfinite().all()):
        raise InputError(f"expected finite numbers, got NaN or infinity in the {name}: {remedy}")
