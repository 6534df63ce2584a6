"""What callers and networks give the segmenter: of one picture, of fitting shapes, and finite."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from numbers import Integral, Real
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
    is_tensor = isinstance(latents, Tensor)
    fits = is_tensor and latents.ndim == 4 and latents.shape[:2] == (1, channels)
    if not fits or 0 in latents.shape:
        got = tuple(latents.shape) if is_tensor else type(latents).__name__
        raise InputError(
            f"expected the latents of one picture, (1, {channels}, h, w), got {got}: pass "
            f"pictures one by one, encoded for {family!r}"
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
                f"expected {one_or(rows)} rows of features in {place}, got {len(feature)}: "
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
            f"expected a threshold above 0 and below 1, got {threshold}: it is a probability"
        )
    return threshold


def checked_size(size: tuple[int, int] | None) -> tuple[int, int] | None:
    """The (height, width) of masks, if one is asked for.

    Raises:
        InputError: They are no two whole sides, or one has no pixel.
    """
    if size is not None and not (are_sides(size) and min(size) >= 1):
        raise InputError(f"expected masks of at least 1x1 pixels, got {size}: give both sides")
    return size


def is_whole(value: object) -> bool:
    """Whether something is a whole number, of Python or NumPy.

    >>> is_whole(3), is_whole(3.0), is_whole(True)
    (True, False, False)
    """
    return isinstance(value, Integral) and not isinstance(value, bool)


def are_sides(size: object) -> bool:
    """Whether something is two whole numbers, such as (height, width).

    >>> are_sides((64, 128)), are_sides((64,)), are_sides((64.0, 64.0)), are_sides(64)
    (True, False, False, False)
    """
    return isinstance(size, Sequence) and len(size) == 2 and all(map(is_whole, size))


def one_or(rows: int) -> str:
    """How many rows there may be, in words.

    >>> one_or(3), one_or(1)
    ('1 or 3', '1')
    """
    return f"1 or {rows}" if rows != 1 else "1"


def checked_seed(seed: int) -> int:
    """A seed as generators take it: NumPy's whole numbers will do, too.

    Raises:
        InputError: It is no whole number of `SEEDS`.
    """
    if not is_whole(seed) or int(seed) not in SEEDS:
        raise InputError(f"expected a whole seed from 0 to 2^63 - 1, got {seed!r}: try 0")
    return int(seed)


def check_finite(tensor: Tensor, name: str, remedy: str = ANEW) -> None:
    """Refuse NaN and infinity.

    Raises:
        InputError: With the remedy.
    """
    if not bool(tensor.isfinite().all()):
        raise InputError(f"expected finite numbers, got NaN or infinity in the {name}: {remedy}")
