"""ComfyUI's HTTP and websocket interface, as much of it as the tests use."""

from __future__ import annotations

import io
import json
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import safetensors.torch
import websocket
from PIL import Image
from torch import Tensor

from .graph import Graph, Node, ObjectInfo

SECONDS_PER_RUN = 120

OnProgress = Callable[[str, int, int], None]
"""Called with a node's id, how far it is, and how far it will go."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a run ended early."""

    node: str
    """Id of the node that failed; empty if the host refused the graph as a whole."""
    kind: str
    """The exception's class, ``"rejected"`` or ``"interrupted"``."""
    message: str
    traceback: str = ""


class RunError(Exception):
    """A run failed that was to succeed."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(f"node {failure.node}: {failure.message}\n{failure.traceback}")
        self.failure = failure


@dataclass(slots=True)
class Result:
    """What one queued graph did."""

    outputs: dict[str, dict[str, Any]] = field(default_factory=dict)
    """What output nodes showed, by node id: files, texts."""
    executed: set[str] = field(default_factory=set)
    """Ids of the nodes that ran."""
    cached: set[str] = field(default_factory=set)
    """Ids of the nodes whose outputs the host still had."""
    progress: dict[str, list[tuple[int, int]]] = field(default_factory=dict)
    """Steps done and to do, by node id, in the order of the messages."""
    failure: Failure | None = None

    def has_run(self, node: Node) -> bool:
        """Tell whether a node ran, as opposed to being served from the cache."""
        return node.id in self.executed


class Client:
    """A user of one server, with a websocket of its own."""

    def __init__(self, address: str, object_info: ObjectInfo | None = None) -> None:
        """Join a server; what it says of its nodes need not be asked again if it is known."""
        self._address = address
        self._id = uuid.uuid4().hex
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._socket = websocket.create_connection(
            f"ws://{address}/ws?clientId={self._id}", timeout=30, http_no_proxy=["127.0.0.1"]
        )
        self._object_info = object_info

    def close(self) -> None:
        """Leave the server."""
        self._socket.close()

    def object_info(self, *, anew: bool = False) -> ObjectInfo:
        """Return what the host says of every node it has; `anew` if files were added."""
        if self._object_info is None or anew:
            self._object_info = self.get_json("/object_info")
        return self._object_info

    def graph(self) -> Graph:
        """Return an empty graph of this host's nodes."""
        return Graph(self.object_info())

    def run(
        self,
        graph: Graph,
        *,
        on_progress: OnProgress | None = None,
        may_fail: bool = False,
        seconds: float = SECONDS_PER_RUN,
    ) -> Result:
        """Queue a graph and wait for its end.

        Args:
            graph: What to run.
            on_progress: Called as the host tells of progress; it may interrupt.
            may_fail: Whether a failure is part of the result rather than an exception.
            seconds: How long to wait at most.

        Raises:
            RunError: The run failed, and `may_fail` is false.
        """
        prompt_id, failure = self._queue(graph)
        result = Result(failure=failure)
        if prompt_id is not None:
            self._follow(prompt_id, result, on_progress, time.monotonic() + seconds)
            history = self.get_json(f"/history/{prompt_id}")
            result.outputs = history.get(prompt_id, {}).get("outputs", {})
        if result.failure is not None and not may_fail:
            raise RunError(result.failure)
        return result

    def interrupt(self) -> None:
        """Ask the host to stop what it is doing."""
        self._request("/interrupt", b"{}")

    def free(self) -> None:
        """Ask the host to unload every model and forget every output, once it is idle."""
        self._request("/free", json.dumps({"unload_models": True, "free_memory": True}).encode())

    def get(self, path: str, **query: str) -> bytes:
        """Return what the host answers to a GET request."""
        return self._request(path + ("?" + urllib.parse.urlencode(query) if query else ""))

    def get_json(self, path: str, **query: str) -> Any:
        """Return what the host answers to a GET request, read as JSON."""
        return json.loads(self.get(path, **query))

    def image(self, file: Mapping[str, str]) -> Image.Image:
        """Return a picture that a node has shown or saved."""
        picture = Image.open(io.BytesIO(self.get("/view", **file)))
        picture.load()
        return picture

    def tensors(self, file: Mapping[str, str]) -> dict[str, Tensor]:
        """Return the tensors of a safetensors file that a node has saved."""
        return safetensors.torch.load(self.get("/view", **file))

    def latent(self, result: Result, node: Node) -> Tensor:
        """Return what a SaveLatent node has saved."""
        return self.tensors(result.outputs[node.id]["latents"][0])["latent_tensor"]

    def values(self, result: Result, node: Node) -> list[Any]:
        """Return what an LDZTestRead node has read: tensors, numbers and texts."""
        shown = result.outputs[node.id]
        tensors = self.tensors(shown["files"][0]) if shown["files"] else {}
        return [
            tensors[item["tensor"]] if "tensor" in item else item["value"]
            for item in shown["values"]
        ]

    def upload(self, picture: Image.Image, name: str) -> str:
        """Put a picture into the host's input folder; return the name that LoadImage takes."""
        data = io.BytesIO()
        picture.save(data, format="PNG")
        boundary = uuid.uuid4().hex
        head = (
            f'--{boundary}\r\nContent-Disposition: form-data; name="overwrite"\r\n\r\ntrue\r\n'
            f'--{boundary}\r\nContent-Disposition: form-data; name="image"; filename="{name}"\r\n'
            "Content-Type: image/png\r\n\r\n"
        )
        body = head.encode() + data.getvalue() + f"\r\n--{boundary}--\r\n".encode()
        kind = f"multipart/form-data; boundary={boundary}"
        stored: str = json.loads(self._request("/upload/image", body, kind))["name"]
        return stored

    def _queue(self, graph: Graph) -> tuple[str | None, Failure | None]:
        body = json.dumps({"prompt": graph.api(), "client_id": self._id}).encode()
        try:
            return json.loads(self._request("/prompt", body))["prompt_id"], None
        except urllib.error.HTTPError as error:
            if error.code != 400:
                raise
            return None, _rejection(json.loads(error.read()))

    def _follow(
        self, prompt_id: str, result: Result, on_progress: OnProgress | None, give_up: float
    ) -> None:
        while True:
            left = give_up - time.monotonic()
            if left <= 0:
                raise TimeoutError("the run did not end in time")
            self._socket.settimeout(left)
            message = self._socket.recv()
            if not isinstance(message, str) or not message:
                continue  # a preview picture
            kind, data = (json.loads(message)[key] for key in ("type", "data"))
            if data.get("prompt_id") != prompt_id:
                continue
            if kind == "executing" and data["node"] is None:
                return
            _note(result, kind, data)
            if kind == "progress" and on_progress is not None:
                on_progress(data["node"], data["value"], data["max"])

    def _request(
        self, path: str, body: bytes | None = None, kind: str = "application/json"
    ) -> bytes:
        request = urllib.request.Request(  # the address is ours
            f"http://{self._address}{path}", data=body, headers={"Content-Type": kind}
        )
        with self._opener.open(request, timeout=60) as answer:
            content: bytes = answer.read()
            return content


def _note(result: Result, kind: str, data: Mapping[str, Any]) -> None:
    """Write one message of the websocket into a result."""
    if kind == "executing":
        result.executed.add(data["node"])
    elif kind == "execution_cached":
        result.cached.update(data["nodes"])
    elif kind == "progress":
        result.progress.setdefault(data["node"], []).append((data["value"], data["max"]))
    elif kind == "execution_interrupted":
        result.failure = Failure(data["node_id"], "interrupted", "interrupted")
    elif kind == "execution_error":
        result.failure = Failure(
            data["node_id"],
            data["exception_type"],
            data["exception_message"].strip(),
            "".join(data["traceback"]),
        )


def _rejection(answer: Mapping[str, Any]) -> Failure:
    """Return why the host refused a graph: each node's complaint, or its general one."""
    complaints = [
        f"{error['message']}: {error['details']}"
        for node in answer.get("node_errors", {}).values()
        for error in node["errors"]
    ]
    nodes = list(answer.get("node_errors", {}))
    message = "; ".join(complaints) or answer["error"]["message"]
    return Failure(nodes[0] if len(nodes) == 1 else "", "rejected", message)
