"""LD-ZNet's own option on the command line of A1111, Forge and reForge."""

from __future__ import annotations

import argparse


def preload(parser: argparse.ArgumentParser) -> None:
    """Add the option; hosts call this on every start, before they read the command line."""
    parser.add_argument(
        "--ldznet-dir",
        type=str,
        default=None,
        help="folder of LD-ZNet's heads (.safetensors); by default models/ldznet",
    )
