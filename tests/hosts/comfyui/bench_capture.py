"""What capture costs in a real ComfyUI: ``python -m tests.hosts.comfyui.bench_capture``.

Runs come in pairs, one with and one without capture, in one process; the figure is the median of
the ratios of their CPU times.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from typing import Any

from .hosts import NO_HOST, Host, find_hosts
from .rig import found_inside


def main() -> None:
    """Print a table row for docs/benchmarks.md."""
    options = _options()
    hosts = find_hosts()
    if not hosts:
        sys.exit(NO_HOST)
    found = _measured(hosts[0], options)
    ratios = [ours / plain for ours, plain in zip(found["capture"], found["plain"], strict=True)]
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    listens = "features and attention" if options.attention else "features"
    cells = [
        hosts[0].version,
        options.model,
        listens,
        f"{options.side} px, {options.steps} steps",
        f"{statistics.median(found['plain']):.2f}",
        f"{statistics.median(ratios) - 1:+.1%}",
        f"{len(ratios)}, {quartiles[0] - 1:+.1%} to {quartiles[2] - 1:+.1%}",
        "yes" if found["identical"] else "NO",
    ]
    header = "ComfyUI, model, listens for, picture, plain CPU s, added, pairs and spread, identical"
    print("| " + " | ".join(header.split(", ")) + " |")
    print("|---" * len(cells) + "|")
    print("| " + " | ".join(cells) + " |")
    print(
        f"features at t = {found['timestep']}, {found['bytes'] / 2**10:.0f} KiB in the bank",
        file=sys.stderr,
    )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("miniature", "sd1"), default="miniature")
    parser.add_argument("--side", type=int, default=128, help="pixels of the square picture")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=15)
    parser.add_argument(
        "--attention",
        action="store_true",
        help="listen for masks without a trained head, too, as the node's switch does",
    )
    return parser.parse_args()


def _measured(host: Host, options: argparse.Namespace) -> Any:
    """What the script inside the host found."""
    listens = "attention" if options.attention else "features"
    sizes = options.side, options.steps, options.pairs
    return found_inside(host, "capture_cost.py", options.model, listens, *sizes)


if __name__ == "__main__":
    main()
