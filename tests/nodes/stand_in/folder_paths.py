"""Imitates folder_paths.py of ComfyUI 0.8.0: where models lie, and where previews go."""

from __future__ import annotations

import os

models_dir = ""
"""For the fixture to set; so is the next."""

temp_directory = ""

folder_names_and_paths: dict[str, tuple[list[str], set[str]]] = {}
"""By kind: the folders, the default first, and the endings of its files; none means any."""


def add_model_folder_path(
    folder_name: str, full_folder_path: str, is_default: bool = False
) -> None:
    """Make a folder known; a kind that is new has no filter."""
    paths, _ = folder_names_and_paths.setdefault(folder_name, ([], set()))
    if full_folder_path in paths:
        if not is_default:
            return
        paths.remove(full_folder_path)
    paths.insert(0 if is_default else len(paths), full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    return list(folder_names_and_paths[folder_name][0])


def get_filename_list(folder_name: str) -> list[str]:
    """The files of all folders, below them too, by their paths from there."""
    paths, endings = folder_names_and_paths[folder_name]
    found = {
        os.path.relpath(os.path.join(folder, name), path)
        for path in paths
        for folder, _, names in os.walk(path)
        for name in names
    }
    return sorted(
        name for name in found if not endings or os.path.splitext(name)[1].lower() in endings
    )


def get_temp_directory() -> str:
    return temp_directory
