"""Passes of a UNet that torch.compile may have compiled, run so that its hooks are heard."""

from __future__ import annotations

import sys
from contextlib import AbstractContextManager, nullcontext

import torch


def uncompiled() -> AbstractContextManager[object]:
    """A context in which compiled modules run as they were written.

    A compiled UNet passes forward hooks by in silence (torch skips their guards), so the few
    passes that are listened to run uncompiled. Where nothing can be compiled, because the compiler
    was never imported, it is not imported here either: that takes seconds.
    """
    set_stance = getattr(torch.compiler, "set_stance", None)  # new in torch 2.6
    if set_stance is None or "torch._dynamo" not in sys.modules:
        return nullcontext()
    context: AbstractContextManager[object] = set_stance("force_eager")
    return context
