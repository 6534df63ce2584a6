"""What to install where a command lacks packages."""

from __future__ import annotations

from ..errors import InputError

INSTALL = "in LD-ZNet's folder, pip install"
"""Before the name of an extra, such as ``'.[cli]'``."""


def lacks_train(work: str, error: ImportError) -> InputError:
    """What to raise where a package of the extra `train` is missing.

    Args:
        work: Which needs them, with its article, such as "a study".
        error: Which names the package.
    """
    return InputError(
        f"{work} needs the packages of the extra `train`, {error.name} is missing: {INSTALL} "
        "'.[train]'"
    )
