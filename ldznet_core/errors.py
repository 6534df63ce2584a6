"""Every error that is meant for a user; each message says what to do next."""

from __future__ import annotations


class LDZNetError(Exception):
    """Root of the errors that a user can act on."""


class InputError(LDZNetError, ValueError):
    """A picture, phrase, tensor or option is not what was asked for."""


class UnsupportedModelError(LDZNetError):
    """A model has a layout or family in which the taps are not known."""


class CaptureError(LDZNetError):
    """A tap stayed silent, or fired more than once, within one capture."""


class CheckpointError(LDZNetError):
    """A weights file is missing, damaged, or does not fit its configuration."""


def first_line(error: Exception) -> str:
    """What another library's error says first, in at most 300 letters, or else its type."""
    return str(error).strip().partition("\n")[0][:300] or type(error).__name__
