"""What capture costs in a real ComfyUI: ``python -m tests.hosts.comfyui.bench_capture``.

Runs come in pairs, one with and one without capture, in one process; the figure is the median of
the ratios of their CPU times.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from pathlib import Path

from .hosts import NO_HOST, PROJECT, find_hosts, find_python
from .rig import host_environment

_INSIDE = Path(__file__).parent / "inside" / "capture_cost.py"


def main() -> None:
    """Print a table row for docs/benchmarks.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("miniature", "sd1"), default="miniature")
    parser.add_argument("--side", type=int, default=128, help="pixels of the square picture")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--pairs", type=int, default=15)
    options = parser.parse_args()
    hosts = find_hosts()
    if not hosts:
        sys.exit(NO_HOST)
    host = hosts[0]
    python = find_python(host)
    sizes = [str(options.side), str(options.steps), str(options.pairs)]
    done = subprocess.run(
        [str(python.path), str(_INSIDE), str(host.folder), str(PROJECT), options.model, *sizes],
        env=host_environment(python),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    found = json.loads(done.stdout.splitlines()[-1])
    ratios = [ours / plain for ours, plain in zip(found["capture"], found["plain"], strict=True)]
    print("| ComfyUI | model | picture | plain, CPU s | added | pairs, spread | identical |")
    print("|---|---|---|---|---|---|---|")
    quartiles = statistics.quantiles(ratios, n=4) if len(ratios) > 1 else [ratios[0]] * 3
    print(
        f"| {host.version} | {options.model} | {options.side} px, {options.steps} steps | "
        f"{statistics.median(found['plain']):.2f} | {statistics.median(ratios) - 1:+.1%} | "
        f"{len(ratios)}, {quartiles[0] - 1:+.1%} to {quartiles[2] - 1:+.1%} | "
        f"{'yes' if found['identical'] else 'NO'} |"
    )
    print(
        f"features at t = {found['timestep']}, {found['bytes'] / 2**10:.0f} KiB in the bank",
        file=sys.stderr,
    )


if __name__ == "__main__":
    main()
