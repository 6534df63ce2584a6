"""Masks over HTTP: ``GET /ldznet/v1/info`` and ``POST /ldznet/v1/mask``."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import Depends, FastAPI, HTTPException
from fastapi.responses import JSONResponse

from ldznet_core import InputError, LDZNetError
from ldznet_core.preprocessing import MOST_STRETCH

from .answer import Answer
from .auth import guard
from .heads import list_heads
from .host import Host
from .mask_request import MOST_MASK_PIXELS, MaskRequest, read_request, request_schema
from .masking import mask_picture
from .routing import MOST_BYTES, SentenceRoute, read_body
from .settings import LONGEST_PHRASE, MOST_PHRASES, json_schema
from .wire import LONGEST_SIDE, MOST_PIXELS, text_of

PREFIX = "/ldznet/v1"


def add_routes(app: FastAPI, host: Callable[[], Host], credentials: str | None = None) -> None:
    """Add the routes to the host's server, unless it has them.

    Handlers are plain functions, which the server runs on threads of their own: the page goes on
    working while they wait for the model.

    Args:
        app: The server.
        host: Gives the host, to each request.
        credentials: The value of ``--api-auth``; without one the routes are as open as the host's.
    """
    if any(getattr(route, "name", "") == "ldznet_mask" for route in app.routes):
        return

    def info() -> dict[str, Any]:
        """What there is: host, model, heads, limits, and what `mask` and the script can be told."""
        return describe(host())

    def mask(body: bytes = Depends(read_body)) -> dict[str, Any]:
        """Masks of what the phrases name in a picture, one for each phrase, as PNG in base64.

        Replies with `masks`, all of them together as `mask`, how surely each thing is there as
        `scores`, whether it was `found`, and where the answer comes from: `source`, `timestep`,
        `model`, `head`, and `info` in words; with `overlay` if it was asked for.
        """
        asked = read_request(body)
        there = host()
        return there.exclusively(lambda: reply_to(asked, there))

    common: dict[str, Any] = {
        "tags": ["LD-ZNet"],
        "dependencies": [Depends(guard(credentials))] if credentials else [],
        "response_class": JSONResponse,
        "response_model": None,
        "route_class_override": SentenceRoute,
    }
    app.router.add_api_route(
        f"{PREFIX}/info", info, name="ldznet_info", summary="What there is", **common
    )
    app.router.add_api_route(
        f"{PREFIX}/mask",
        mask,
        name="ldznet_mask",
        summary="Masks of what phrases name",
        methods=["POST"],
        openapi_extra={
            "requestBody": {
                "required": True,
                "content": {"application/json": {"schema": request_schema()}},
            }
        },
        **common,
    )


def describe(host: Host) -> dict[str, Any]:
    """What ``/info`` says; no model is loaded for it, unless another than the page shows is there.

    ``settings`` are the fields of a request for masks, ``script_settings`` those of a mapping in
    the arguments of the script, for masks of what is generated.
    """
    family, sentence = None, "no model is loaded; the first request for masks loads it"
    if host.model_name():
        family, sentence = _family(host)
    return {
        "version": version(),
        "host": host.name,
        "model": host.model_name() or None,
        "family": family,
        "info": sentence,
        "heads": list_heads(host.heads_folder()),
        "settings": request_schema()["properties"],
        "script_settings": json_schema()["properties"],
        "limits": {
            "request_bytes": MOST_BYTES,
            "picture_pixels": MOST_PIXELS,
            "picture_side": LONGEST_SIDE,
            "picture_stretch": MOST_STRETCH,
            "phrases": MOST_PHRASES,
            "phrase_characters": LONGEST_PHRASE,
            "mask_pixels": MOST_MASK_PIXELS,
        },
    }


def reply_to(asked: MaskRequest, host: Host) -> dict[str, Any]:
    """The reply, in plain values; nothing else may use the models meanwhile.

    Raises:
        HTTPException: There is no model.
        LDZNetError: The picture, a phrase, the model or the head will not do.
    """
    try:
        host.backbone()
    except InputError as error:
        raise HTTPException(503, str(error)) from error
    answer = mask_picture(host, asked.picture, asked.settings)
    masks = answer.segmentation
    reply = {
        "masks": [text_of(mask) for mask in answer.masks()],
        "mask": text_of(answer.union()),
        "scores": [float(score) for score in masks.scores],
        "found": [bool(found) for found in masks.found],
        "source": masks.source,
        "timestep": None if masks.timestep is None else float(masks.timestep),
        "model": answer.model,
        "head": answer.head,
        "info": _in_words(answer),
    }
    if asked.settings.overlay:
        reply["overlay"] = text_of(answer.overlay(asked.picture))
    return reply


def version() -> str:
    """The extension's own, from the file that packages are built by."""
    project = Path(__file__).resolve().parent.parent / "pyproject.toml"
    found = re.search(r'^version = "(.+)"$', project.read_text(encoding="utf-8"), re.MULTILINE)
    return found.group(1) if found else "unknown"


def _family(host: Host) -> tuple[str | None, str]:
    try:
        family = host.exclusively(lambda: host.backbone().family)
    except LDZNetError as error:
        return None, str(error)
    return family, f"the model is of the family {family}"


def _in_words(answer: Answer) -> str:
    found, hint = answer.segmentation.found, answer.segmentation.hint()
    return (
        f"{sum(found)} of {len(found)} phrases found; features: {answer.features()}; "
        f"head: {answer.head}{f'; hint: {hint}' if hint else ''}"
    )
