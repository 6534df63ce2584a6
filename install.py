"""What A1111, Forge, reForge and ComfyUI-Manager run after they have fetched the extension.

Every host brings the packages that LD-ZNet needs. Should one be missing all the same, it is
installed without its dependencies, so that nothing which the host has pinned can move. When all are
there, as on every start but the first, this script says nothing and takes a few milliseconds.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys

PACKAGES = {"einops": "einops", "safetensors": "safetensors", "numpy": "numpy", "PIL": "Pillow"}


def main() -> None:
    """Install what is missing; tell in one sentence what could not be had."""
    for package in missing_packages():
        try:
            install(package)
        except Exception as error:  # a host's own failure class; the host must start all the same
            print(f"LD-ZNet: could not install {package}; install it by hand: {error}")


def missing_packages() -> list[str]:
    """Return the needed packages, by their names on PyPI, that this Python does not find."""
    return [package for module, package in PACKAGES.items() if not is_importable(module)]


def is_importable(module: str) -> bool:
    """Tell whether a module can be found, without importing it."""
    return importlib.util.find_spec(module) is not None


def install(package: str) -> None:
    """Install one package by the WebUI's own installer where there is one, else by pip."""
    try:
        from launch import run_pip  # A1111, Forge and reForge; absent elsewhere
    except Exception:  # not under a WebUI, or under one too old or too new to have it
        command = [sys.executable, "-m", "pip", "install", "--no-deps", package]
        subprocess.run(command, check=True)
    else:
        run_pip(f"install --no-deps {package}", f"{package} for LD-ZNet")


if __name__ == "__main__":
    main()
