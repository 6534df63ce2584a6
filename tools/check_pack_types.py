"""Checks the types of the ComfyUI pack, which has no name of its own: users name its folder.

Its modules reach the core by relative imports above ``nodes``. So they are checked through a link
under a name, as ComfyUI too imports the folder as a package.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from pathlib import Path

from mypy import api

ROOT = Path(__file__).resolve().parent.parent
NAME = "ldznet_pack"


def main() -> int:
    """Print mypy's findings and return its exit status."""
    with tempfile.TemporaryDirectory() as folder:
        place_pack(Path(folder) / NAME)
        options = ["--config-file", str(ROOT / "pyproject.toml")]
        options += ["--cache-dir", str(ROOT / ".mypy_cache" / NAME)]
        os.environ["MYPYPATH"] = folder
        findings, complaints, status = api.run([*options, "-p", f"{NAME}.nodes"])
    print(findings.replace(f"{folder}/{NAME}/", ""), complaints, sep="", end="")
    return status


def place_pack(target: Path) -> None:
    """Link the project under a name, or copy its code where links are not to be had."""
    try:
        target.symlink_to(ROOT, target_is_directory=True)
    except OSError:
        target.mkdir()
        shutil.copy(ROOT / "__init__.py", target)
        for package in ("nodes", "ldznet_core"):
            code = shutil.ignore_patterns("*.safetensors", "*.webp", "__pycache__")
            shutil.copytree(ROOT / package, target / package, ignore=code)


if __name__ == "__main__":
    sys.exit(main())
