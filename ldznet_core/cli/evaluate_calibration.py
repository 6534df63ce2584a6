"""``ldznet evaluate --what calibration``: a head's thresholds, chosen and stored with it."""

from __future__ import annotations

from dataclasses import replace

from ..auto_head import AUTO_HEAD
from ..checkpoint import read_config, save_config
from ..errors import InputError
from ..evaluation.calibration import Calibration, calibrate
from ..segmenter import Segmenter
from ..training_free import TRAINING_FREE
from .evaluate_options import Options
from .held_out import shown


def check_head(options: Options) -> None:
    """Refuse a head whose thresholds cannot be stored: one that is not named, or none.

    Raises:
        InputError: With what to do.
    """
    if options.head in (AUTO_HEAD, TRAINING_FREE):
        got = "none" if options.head == TRAINING_FREE else f'"{options.head}"'
        raise InputError(
            f"expected the head whose thresholds are chosen and stored, got {got}: name a trained "
            "one with --head"
        )


def calibrated(options: Options, segmenter: Segmenter) -> Calibration:
    """Choose the thresholds on the validation split, and store them with the head."""
    side = segmenter.head.config.image_side
    asked = shown(options.world, "validation", options.count, side, "calibration")
    found = calibrate(segmenter, asked)
    config = replace(
        read_config(options.head),
        mask_threshold=found.mask_threshold,
        presence_threshold=found.presence_threshold,
    )
    save_config(config, options.head)
    return found
