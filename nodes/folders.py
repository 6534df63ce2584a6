"""``models/ldznet``, where users put heads."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import folder_paths

from ..ldznet_core import CheckpointError
from ..ldznet_core.checkpoint import BUILT_IN
from ..ldznet_core.shards import files_of, name_of, stem_of

FOLDER = "ldznet"


def register() -> None:
    """Make the folder, and make it known to ComfyUI for safetensors only.

    ComfyUI gives a folder that is added no filter (folder_paths.add_model_folder_path), and
    extra_model_paths.yaml may have named it first.
    """
    folder = Path(folder_paths.models_dir) / FOLDER
    with suppress(OSError):  # on a read-only disk it is merely not there
        folder.mkdir(parents=True, exist_ok=True)
    folder_paths.add_model_folder_path(FOLDER, str(folder), is_default=True)
    folder_paths.folder_names_and_paths[FOLDER][1].update({".safetensors"})


def head_names() -> list[str]:
    """The built-in heads, then those in the folder; a head in several files has one name."""
    files = [name for name in folder_paths.get_filename_list(FOLDER) if name_of(Path(name))]
    return [*BUILT_IN, *dict.fromkeys(stem_of(name).as_posix() + ".safetensors" for name in files)]


def head_files(name: str) -> list[Path]:
    """The files of a head, by a name from `head_names`.

    Raises:
        CheckpointError: There is none of this name.
    """
    if name in BUILT_IN:
        return files_of(BUILT_IN[name])
    for folder in folder_paths.get_folder_paths(FOLDER):
        if found := files_of(stem_of(Path(folder) / name)):
            return found
    raise CheckpointError(
        f"expected one of the heads {', '.join(head_names())}, got {name!r}: put the file into "
        f"models/{FOLDER} and press R to see it in the list"
    )
