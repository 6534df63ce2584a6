"""The HTTP interface of A1111 and Forge, as much of it as the tests use."""

from __future__ import annotations

import base64
import contextlib
import io
import json
import re
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from PIL import Image

SECONDS_PER_REQUEST = 300
SCRIPT = "LD-ZNet"
SUPPORT_SCRIPT = "LD-ZNet tests"

_FIELD = re.compile(r'\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)')
"""How the hosts read an infotext (modules/infotext_utils.py)."""


@dataclass(frozen=True, slots=True)
class Reply:
    """What a host answered to a request."""

    status: int
    body: Any
    """Read as JSON where it is that, else text."""

    @property
    def sentence(self) -> str:
        """What the host says went wrong; as text, whatever its shape."""
        detail = self.body.get("detail") if isinstance(self.body, dict) else self.body
        if not detail and isinstance(self.body, dict):
            detail = self.body.get("errors") or self.body.get("error")
        return detail if isinstance(detail, str) else json.dumps(detail)


@dataclass(frozen=True, slots=True)
class Generated:
    """The pictures of a generation, what scripts have added behind them, and all infotexts."""

    images: Sequence[Image.Image]
    infotexts: Sequence[str]
    info: Mapping[str, Any]

    def fields(self, index: int = 0) -> dict[str, str]:
        """The last line of an infotext, by field."""
        return infotext_fields(self.infotexts[index])


class RequestError(Exception):
    """A request failed that was to succeed."""


class Client:
    """A user of one server."""

    def __init__(self, address: str, user: str | None = None) -> None:
        """Join a server; `user` is name and password with a colon between them."""
        self.address = address
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._headers = {"Content-Type": "application/json"}
        if user is not None:
            self._headers["Authorization"] = f"Basic {base64.b64encode(user.encode()).decode()}"

    def request(self, path: str, body: Any = None, method: str | None = None) -> Reply:
        """Send a request, a POST if there is a body; return the answer, whatever it is."""
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # the address is ours
            f"http://{self.address}{path}", data=data, headers=self._headers, method=method
        )
        try:
            with self._opener.open(request, timeout=SECONDS_PER_REQUEST) as answer:
                return Reply(answer.status, _read(answer.read()))
        except urllib.error.HTTPError as error:
            return Reply(error.code, _read(error.read()))

    def call(self, path: str, body: Any = None) -> Any:
        """Send a request that is to succeed; return the answer's body."""
        reply = self.request(path, body)
        if reply.status != 200:
            raise RequestError(f"{path} answered {reply.status}: {str(reply.body)[:2000]}")
        return reply.body

    def txt2img(self, **request: Any) -> Generated:
        """Make pictures from a prompt."""
        return _generated(self.call("/sdapi/v1/txt2img", request))

    def img2img(self, **request: Any) -> Generated:
        """Make pictures from pictures."""
        return _generated(self.call("/sdapi/v1/img2img", request))

    @contextlib.contextmanager
    def options(self, **options: Any) -> Iterator[None]:
        """Have the host's options set to something inside the block."""
        before = self.call("/sdapi/v1/options")
        self.call("/sdapi/v1/options", options)
        try:
            yield
        finally:
            self.call("/sdapi/v1/options", {name: before[name] for name in options})

    def state(self, *, is_thorough: bool = False) -> dict[str, Any]:
        """What the server's process holds; see the support extension.

        Args:
            is_thorough: Look for hooks on every module that is alive, not only on the checkpoint's.
        """
        state: dict[str, Any] = self.call(f"/ldztest/state?is_thorough={is_thorough}")
        return state

    def expected(
        self, phrases: Sequence[str], head: str, pictures: Sequence[Image.Image]
    ) -> list[dict[str, Any]]:
        """Masks of the pictures just made by the support script's own record; see there."""
        body = {"phrases": phrases, "head": head, "pictures": [encoded(each) for each in pictures]}
        answers: list[dict[str, Any]] = self.call("/ldztest/expected", body)
        return answers


def with_masks(phrases: str, **settings: Any) -> dict[str, Any]:
    """The part of a request that asks for masks."""
    return {SCRIPT: {"args": [{"phrases": phrases, **settings}]}}


def with_support(**orders: Any) -> dict[str, Any]:
    """The part of a request that asks the support script for something; see there."""
    return {SUPPORT_SCRIPT: {"args": [orders]}}


def encoded(picture: Image.Image) -> str:
    """A picture as requests carry it."""
    data = io.BytesIO()
    picture.save(data, format="PNG")
    return base64.b64encode(data.getvalue()).decode()


def decoded(text: str) -> Image.Image:
    """A picture as answers carry it."""
    picture = Image.open(io.BytesIO(base64.b64decode(text.partition(",")[2] or text)))
    picture.load()
    return picture


def infotext_fields(infotext: str) -> dict[str, str]:
    """The last line of an infotext, by field; quotes are taken off as the hosts do it."""
    lines = infotext.strip().splitlines()
    return {name: _unquoted(value) for name, value in _FIELD.findall(lines[-1] if lines else "")}


def _generated(body: Mapping[str, Any]) -> Generated:
    info = json.loads(body["info"])
    return Generated([decoded(image) for image in body["images"]], info["infotexts"], info)


def _unquoted(value: str) -> str:
    try:
        return str(json.loads(value)) if value.startswith('"') else value
    except ValueError:
        return value


def _read(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", errors="replace")
