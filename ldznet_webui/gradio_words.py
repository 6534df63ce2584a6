"""What Gradio 3 (A1111, reForge) and Gradio 4 (Forge) call by different names."""

from __future__ import annotations

from typing import Any

import gradio as gr

_IS_GRADIO_3 = gr.__version__.startswith("3.")


def javascript(code: str) -> dict[str, str]:
    """The keyword that has an event run a function in the browser, before that in Python."""
    return {"_js" if _IS_GRADIO_3 else "js": code}


def lossless() -> dict[str, Any]:
    """The keyword with which pictures reach the browser as they are; Gradio 3 has no other way."""
    return {} if _IS_GRADIO_3 else {"format": "png"}


def one_of_gallery(index: str) -> str:
    """A browser function that reduces a gallery's value to one picture.

    Args:
        index: An expression in JavaScript; the first picture is taken where there is none at it.
    """
    picked = "[gallery[index] ?? gallery[0]]"
    answer = picked if _IS_GRADIO_3 else f"[{picked}]"
    return f"(gallery) => {{ const index = {index}; return gallery?.length ? {answer} : [null]; }}"
