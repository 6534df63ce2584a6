"""Stands in for modules/shared.py: the command line and the user's options."""

from __future__ import annotations

from types import SimpleNamespace

cmd_opts = SimpleNamespace(hide_ui_dir_config=False, disable_extension_access=False)
opts = SimpleNamespace(send_size=True)
