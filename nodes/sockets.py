"""The wires that are ours alone."""

from __future__ import annotations

from comfy_api.latest import io

HeadSocket = io.Custom("LDZNET_HEAD")
"""Carries a `ManagedHead`, a `TrainingFree`, or an `AutoHead`, which becomes one of them."""
