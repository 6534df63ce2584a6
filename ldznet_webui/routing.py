"""Routes that answer every fault with one sentence, and take no larger request than they can hold.

The replies are made here and not by the host's handlers, of which A1111's drops the headers of a
refusal (modules/api/api.py:api_middleware in 1.10.1) and Forge has none.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import HTTPException, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from starlette.requests import ClientDisconnect

from ldznet_core import InputError, LDZNetError

MOST_BYTES = 64 * 2**20

logger = logging.getLogger(__name__)


class SentenceRoute(APIRoute):
    """A route whose refusals are ``{"detail": a sentence}``, whatever was raised."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """FastAPI's handler, with an answer to every exception."""
        handle = super().get_route_handler()

        async def handle_or_refuse(request: Request) -> Response:
            try:
                return await handle(request)
            except Exception as error:
                return _refusal(error)

        return handle_or_refuse


async def read_body(request: Request) -> bytes:
    """A dependency: the JSON that a request brings, not yet parsed, so that a thread can do it.

    Another type of content is refused because web pages of strangers may send it unasked.

    Raises:
        HTTPException: It is not said to be JSON, or is more than `MOST_BYTES`.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise HTTPException(
            415, f"expected JSON, got {kind[:80] or 'no Content-Type'}: say application/json"
        )
    body = bytearray()
    try:
        async for chunk in request.stream():
            body += chunk
            if len(body) > MOST_BYTES:
                raise HTTPException(
                    413, f"expected at most {MOST_BYTES} bytes, got more: scale the picture down"
                )
    except ClientDisconnect as error:
        raise HTTPException(400, "expected a whole request, got its beginning") from error
    return bytes(body)


def _refusal(error: Exception) -> JSONResponse:
    headers = None
    if isinstance(error, HTTPException):
        status, sentence, headers = error.status_code, str(error.detail), error.headers
    elif isinstance(error, InputError):
        status, sentence = 422, str(error)
    elif isinstance(error, LDZNetError):  # a model or a head that will not do
        status, sentence = 409, str(error)
    else:
        logger.error("LD-ZNet could not answer a request", exc_info=error)
        status = 500
        sentence = f"expected an answer, got {type(error).__name__}: the host's log says where"
    sendable = sentence.encode("utf-8", "replace").decode()  # half a character may be in a message
    return JSONResponse({"detail": sendable}, status, headers)
