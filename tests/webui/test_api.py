"""The routes, on a real FastAPI and the miniature: masks, refusals, and what the host keeps."""

from __future__ import annotations

import base64
import inspect
import io
import json
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image

pytest.importorskip("fastapi", reason="the routes need FastAPI, which the hosts bring")
pytest.importorskip("diffusers", reason="the miniature's VAE needs the extra `cli`")

from fastapi import FastAPI
from fastapi.testclient import TestClient

from ldznet_core import Backbone, Segmentation, Segmenter, load_head
from ldznet_core.auto_head import fitting_head
from ldznet_core.world import draw_layout, render
from ldznet_webui import mask_request, routing
from ldznet_webui.api import add_routes, version
from ldznet_webui.mask_request import SETTINGS
from ldznet_webui.settings import Settings
from ldznet_webui.wire import text_of

from .miniature_host import MiniatureHost

INFO, MASK = "/ldznet/v1/info", "/ldznet/v1/mask"
PHRASES = ["red car", "hamburger"]
Post = Callable[..., Any]


@pytest.fixture(scope="module")
def picture() -> Image.Image:
    """A red car in a meadow, of 128x96 pixels."""
    scene = render(draw_layout("small", "iid", 3), 128)
    return Image.fromarray(scene.image).crop((0, 16, 128, 112))


@pytest.fixture(scope="module")
def expected(miniature: Backbone, picture: Image.Image) -> Segmentation:
    """What the library says of the picture."""
    segmenter = Segmenter(miniature, load_head(fitting_head("miniature")), phrases_per_pass=4)
    return segmenter.segment_image(picture, PHRASES)


@pytest.fixture
def host(miniature: Backbone, tmp_path: Path) -> MiniatureHost:
    return MiniatureHost(miniature, tmp_path / "heads")


@pytest.fixture
def client(host: MiniatureHost) -> TestClient:
    app = FastAPI()
    add_routes(app, lambda: host)
    return TestClient(app)


@pytest.fixture
def post(client: TestClient, picture: Image.Image) -> Post:
    """Asks for masks of the picture; names given replace those of a good request."""

    def posted(**values: Any) -> Any:
        request = {"image": text_of(picture), "phrases": PHRASES, **values}
        return client.post(MASK, json=request)

    return posted


@pytest.fixture
def post_text(client: TestClient) -> Post:
    """Sends a body as it stands, as JSON."""

    def posted(body: str | bytes, kind: str = "application/json") -> Any:
        return client.post(MASK, content=body, headers={"Content-Type": kind})

    return posted


def mask(text: str) -> npt.NDArray[np.uint8]:
    """A mask ``(H, W)`` of 0 to 255 out of a reply."""
    with Image.open(io.BytesIO(base64.b64decode(text, validate=True))) as opened:
        assert (opened.format, opened.mode) == ("PNG", "L")
        return np.asarray(opened)


def sentence(reply: Any) -> str:
    """The one sentence of a refusal."""
    (detail,) = reply.json().values()
    assert isinstance(detail, str)
    assert detail.startswith("expected ")
    assert len(detail) < 600
    return detail


class TestMasks:
    def test_they_are_those_of_the_library_at_the_pictures_size(
        self, post: Post, expected: Segmentation
    ) -> None:
        reply = post().json()
        for text, own in zip(reply["masks"], expected.masks, strict=True):
            assert np.array_equal(mask(text), (own * 255).byte().numpy())
        assert reply["scores"] == pytest.approx(expected.scores, abs=1e-5)

    def test_what_is_not_there_has_an_empty_mask_and_is_not_found(self, post: Post) -> None:
        reply = post().json()
        car, hamburger = map(mask, reply["masks"])
        assert 0.02 < (car / 255).mean() < 0.5
        assert not hamburger.any()
        assert reply["found"] == [True, False]
        assert reply["scores"][0] > 0.9 > 0.1 > reply["scores"][1]

    def test_it_has_one_if_it_is_kept_and_still_is_not_found(self, post: Post) -> None:
        plain, kept = (post(keep_absent=keep).json() for keep in (False, True))
        assert mask(kept["masks"][1]).any()
        assert kept["masks"][0] == plain["masks"][0]
        assert (kept["found"], kept["scores"]) == (plain["found"], plain["scores"])

    def test_commas_in_the_one_phrase_that_is_not_there_are_pointed_out(self, post: Post) -> None:
        reply = post(phrases="hamburger, owl").json()
        assert reply["found"] == [False]
        assert reply["info"].endswith(
            "hint: commas do not separate phrases: write one phrase per line"
        )

    def test_the_mask_is_all_of_them_together(self, post: Post) -> None:
        reply = post(phrases=["red car", "meadow"]).json()
        car, meadow = map(mask, reply["masks"])
        assert meadow.any()
        assert np.array_equal(mask(reply["mask"]), np.maximum(car, meadow))

    def test_the_reply_says_where_they_come_from(self, post: Post) -> None:
        reply = post().json()
        assert (reply["source"], reply["timestep"]) == ("probe", 100)
        assert (reply["model"], reply["head"]) == ("miniature-webui", "miniature-compact")
        assert reply["info"].startswith("1 of 2 phrases found")
        assert "overlay" not in reply

    def test_without_a_trained_head_they_are_the_librarys_too(
        self, post: Post, miniature: Backbone, picture: Image.Image
    ) -> None:
        segmenter = Segmenter(miniature, load_head("training-free"), phrases_per_pass=4)
        own = segmenter.segment_image(picture, PHRASES)
        reply = post(head="training-free").json()
        for text, expected in zip(reply["masks"], own.masks, strict=True):
            assert np.array_equal(mask(text), (expected * 255).byte().numpy())
        assert (reply["head"], reply["source"], reply["timestep"]) == (
            "training-free",
            "probe",
            100,
        )
        assert reply["info"].endswith("features: probe at t=100; head: training-free")

    def test_phrases_may_be_a_text_with_one_a_line(self, post: Post) -> None:
        assert post(phrases="red car\n\n hamburger ").json() == post().json()

    def test_a_picture_may_be_a_data_url(self, post: Post, picture: Image.Image) -> None:
        url = "data:image/png;base64," + text_of(picture)
        assert post(image=url).json() == post().json()

    def test_negative_phrases_are_taken_out(self, post: Post) -> None:
        reply = post(phrases=["red car"], negative_phrases=["red car"]).json()
        assert not mask(reply["mask"]).any()
        assert reply["found"] == [False]

    def test_a_higher_threshold_takes_in_less(self, post: Post) -> None:
        low, high = (mask(post(threshold=value).json()["mask"]) for value in (0.05, 0.95))
        assert (high <= low).all()
        assert high.sum() < low.sum()

    def test_edges_are_treated_as_asked(self, post: Post) -> None:
        plain = mask(post().json()["mask"])
        grown = mask(post(grow=3).json()["mask"])
        soft = mask(post(feather=4).json()["mask"])
        turned = mask(post(invert=True).json()["mask"])
        assert (grown >= plain).all()
        assert grown.sum() > plain.sum()
        assert set(np.unique(soft)) > {0, 255}
        assert np.array_equal(turned, 255 - plain)

    def test_an_overlay_comes_if_it_is_asked_for(self, post: Post) -> None:
        shown = base64.b64decode(post(overlay=True).json()["overlay"])
        with Image.open(io.BytesIO(shown)) as opened:
            assert (opened.format, opened.mode) == ("PNG", "RGB")

    def test_the_same_request_has_the_same_reply_after_others(self, post: Post) -> None:
        first = post().json()
        post(phrases=["tree"], threshold=0.2)
        assert post().json() == first

    def test_each_request_has_the_models_to_itself_once(
        self, post: Post, host: MiniatureHost
    ) -> None:
        post()
        assert host.turns == 1

    def test_they_come_from_a_server_that_answers_with_orjson_too(
        self, host: MiniatureHost, picture: Image.Image
    ) -> None:
        """As Gradio's does, which can write nothing but plain values."""
        pytest.importorskip("orjson", reason="ORJSONResponse needs it")
        from fastapi.responses import ORJSONResponse

        app = FastAPI(default_response_class=ORJSONResponse)
        add_routes(app, lambda: host)
        request = {"image": text_of(picture), "phrases": PHRASES}
        assert TestClient(app).post(MASK, json=request).status_code == 200
        assert TestClient(app).get(INFO).status_code == 200


class TestRequestsThatAreRefused:
    @pytest.mark.parametrize(
        ("values", "why"),
        [
            ({"image": None}, "picture in base64 as image, got NoneType"),
            ({"image": "/etc/passwd"}, "paths and addresses are not opened"),
            ({"image": "file:///etc/passwd"}, "paths and addresses are not opened"),
            ({"image": "http://127.0.0.1/a.png"}, "paths and addresses are not opened"),
            ({"image": ["AAAA"]}, "got list"),
            ({"phrases": []}, "at least one phrase"),
            ({"phrases": " \n "}, "at least one phrase"),
            ({"phrases": ["cat", ""]}, "an empty one as number 2"),
            ({"phrases": ["cat", 3]}, "got int as number 2"),
            ({"phrases": {"a": "cat"}}, "phrases"),
            ({"phrases": None}, "phrases"),
            ({"phrases": 7}, "phrases"),
            ({"phrases": ["cat"] * 10_000}, "at most 64 phrases"),
            ({"phrases": ["cat"] * 40, "negative_phrases": ["dog"] * 30}, "together, got 70"),
            ({"phrases": ["cat " * 1000]}, "at most 1000 characters"),
            ({"phrases": ["cat " * 200]}, "at most 77 tokens"),
            ({"threshold": 2}, "threshold"),
            ({"threshold": 0}, "threshold"),
            ({"threshold": -1}, "threshold"),
            ({"threshold": True}, "threshold"),
            ({"threshold": "high"}, "threshold"),
            ({"threshold": None}, "threshold"),
            ({"threshold": [0.5]}, "threshold"),
            ({"grow": 1e9}, "grow"),
            ({"grow": 10**400}, "grow"),
            ({"grow": 1.5}, "whole number as grow"),
            ({"feather": -1}, "feather"),
            ({"invert": "maybe"}, "invert"),
            ({"overlay": 1}, "overlay"),
            ({"head": "../miniature"}, "one of the heads"),
            ({"head": "/etc/passwd"}, "one of the heads"),
            ({"head": "no such"}, "one of the heads"),
            ({"head": 5}, "head"),
            ({"head": None}, "head"),
            ({"save": True}, "got 'save'"),
            ({"source": "sampling"}, "got 'source'"),
            ({"treshold": 0.5}, "got 'treshold'"),
            ({"x" * 5000: 0.5}, "got 'xxx"),
        ],
    )
    def test_values_that_cannot_be_used(
        self, post: Post, host: MiniatureHost, values: dict[str, Any], why: str
    ) -> None:
        reply = post(**values)
        assert reply.status_code == 422
        assert why in sentence(reply)
        host.exclusively(lambda: None)  # nobody keeps the models

    @pytest.mark.parametrize(
        "body",
        [
            "",
            "{",
            "nonsense",
            "[]",
            "null",
            '"text"',
            "[" * 100_000,
            '{"a":' * 100_000,
            b"\xff\xfe\xfd",
            '{"threshold": ' + "9" * 10_000 + "}",
        ],
        ids=lambda body: repr(body[:12]),
    )
    def test_bodies_that_are_no_object_of_json(self, post_text: Post, body: str | bytes) -> None:
        reply = post_text(body)
        assert reply.status_code == 422
        assert "JSON" in sentence(reply)

    @pytest.mark.parametrize("value", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
    def test_numbers_that_are_none(self, post_text: Post, picture: Image.Image, value: str) -> None:
        body = json.dumps({"image": text_of(picture), "phrases": PHRASES, "threshold": 123})
        reply = post_text(body.replace("123", value))
        assert reply.status_code == 422
        assert sentence(reply)

    def test_half_a_character_in_a_phrase(self, post_text: Post, picture: Image.Image) -> None:
        body = json.dumps({"image": text_of(picture), "phrases": ["a \ud800 cat"]})
        reply = post_text(body)
        assert reply.status_code == 422
        assert "whole characters" in sentence(reply)

    def test_half_a_character_elsewhere(self, post_text: Post) -> None:
        for name in ("image", "head", "\udfff"):
            reply = post_text(json.dumps({"phrases": "cat", name: "\ud800"}))
            assert reply.status_code == 422
            assert sentence(reply)

    @pytest.mark.parametrize("kind", ["text/plain", "", "multipart/form-data", "x" * 5000])
    def test_bodies_that_pages_of_strangers_could_send(self, post_text: Post, kind: str) -> None:
        reply = post_text("{}", kind)
        assert reply.status_code == 415
        assert "say application/json" in sentence(reply)

    def test_a_body_that_is_too_large(
        self, post: Post, host: MiniatureHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routing, "MOST_BYTES", 1000)
        reply = post()
        assert reply.status_code == 413
        assert "at most 1000 bytes" in sentence(reply)
        assert host.turns == 0

    def test_a_body_without_an_end_is_read_no_further_than_that(
        self, client: TestClient, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(routing, "MOST_BYTES", 1000)
        parts = (b"x" * 400 for _ in range(10))
        headers = {"Content-Type": "application/json"}
        reply = client.post(MASK, content=parts, headers=headers)
        assert reply.status_code == 413

    def test_more_masks_than_memory_would_hold(
        self, post: Post, host: MiniatureHost, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(mask_request, "MOST_MASK_PIXELS", 2 * 128 * 96)
        assert post().status_code == 200
        reply = post(negative_phrases=["tree"])
        assert reply.status_code == 422
        assert "ask for fewer phrases" in sentence(reply)

    def test_other_methods(self, client: TestClient) -> None:
        assert client.get(MASK).status_code == 405
        assert client.post(INFO).status_code == 405


class TestHostsThatCannotAnswer:
    def test_without_a_model_the_answer_is_503(self, post: Post, host: MiniatureHost) -> None:
        host.loaded = None
        reply = post()
        assert reply.status_code == 503
        assert "expected a checkpoint, got none" in sentence(reply)

    def test_with_a_model_of_another_kind_it_is_409(self, post: Post, host: MiniatureHost) -> None:
        host.loaded = "flux"
        reply = post()
        assert reply.status_code == 409
        assert "got Flux" in sentence(reply)

    def test_a_head_that_is_damaged_is_409(self, post: Post, host: MiniatureHost) -> None:
        host.heads.mkdir()
        (host.heads / "mine.safetensors").write_bytes(b"no weights")
        reply = post(head="mine.safetensors")
        assert reply.status_code == 409
        assert sentence(reply)

    def test_what_nobody_thought_of_is_500_and_its_trace_in_the_log_alone(
        self, post: Post, host: MiniatureHost, caplog: pytest.LogCaptureFixture
    ) -> None:
        backbone, host.loaded = host.loaded, RuntimeError("CUDA: a secret of the server")
        with caplog.at_level(logging.ERROR):
            reply = post()
        assert reply.status_code == 500
        assert "got RuntimeError" in sentence(reply)
        assert "secret" not in reply.text
        assert "a secret of the server" in caplog.text
        assert "Traceback" in caplog.text
        host.loaded = backbone
        assert post().status_code == 200


class TestInfo:
    def test_it_says_what_there_is(self, client: TestClient, host: MiniatureHost) -> None:
        host.heads.mkdir()
        (host.heads / "mine.safetensors").touch()
        reply = client.get(INFO).json()
        assert (reply["host"], reply["version"]) == ("A1111", version())
        assert (reply["model"], reply["family"]) == ("miniature-webui", "miniature")
        own, built_in = "mine.safetensors", ["miniature-compact", "miniature"]
        assert reply["heads"] == [*built_in, "training-free", own]

    def test_its_settings_are_those_that_a_request_may_say(
        self, client: TestClient, post: Post
    ) -> None:
        settings = client.get(INFO).json()["settings"]
        assert list(settings) == ["image", *SETTINGS]
        defaults = {name: each["default"] for name, each in settings.items() if "default" in each}
        assert set(defaults) == set(SETTINGS)
        defaults.pop("phrases")
        assert post(**defaults).json() == post().json()

    def test_its_script_settings_are_those_that_a_mapping_in_args_may_say(
        self, client: TestClient
    ) -> None:
        settings = client.get(INFO).json()["script_settings"]
        defaults = {name: each["default"] for name, each in settings.items()}
        asked = {**defaults, "phrases": ["owl"], "enabled": True}
        assert Settings.of_arguments([asked]) == Settings(enabled=True, phrases=("owl",))
        assert list(settings) == list(Settings.__dataclass_fields__)
        assert settings["source"]["enum"] == ["auto", "sampling", "probe"]

    def test_its_limits_are_those_that_are_held(self, client: TestClient) -> None:
        limits = client.get(INFO).json()["limits"]
        assert limits["phrases"] == 64
        assert limits["picture_pixels"] == 4096 * 4096
        assert limits["request_bytes"] == routing.MOST_BYTES

    def test_without_a_model_it_loads_none_and_says_so(
        self, client: TestClient, host: MiniatureHost
    ) -> None:
        host.loaded = None
        reply = client.get(INFO)
        assert reply.status_code == 200
        assert (reply.json()["model"], reply.json()["family"]) == (None, None)
        assert "no model is loaded" in reply.json()["info"]
        assert host.turns == 0

    def test_of_a_model_of_another_kind_it_says_that(
        self, client: TestClient, host: MiniatureHost
    ) -> None:
        host.loaded = "flux"
        reply = client.get(INFO)
        assert reply.status_code == 200
        assert (reply.json()["model"], reply.json()["family"]) == ("miniature-webui", None)
        assert "got Flux" in reply.json()["info"]


class TestRoutes:
    def test_they_are_added_once(self, host: MiniatureHost) -> None:
        app = FastAPI()
        add_routes(app, lambda: host)
        before = len(app.routes)
        add_routes(app, lambda: host)
        assert len(app.routes) == before

    def test_the_loop_is_not_held_up_by_a_model_at_work(self) -> None:
        """Plain functions run on threads; an ``async def`` would stop the page."""
        app = FastAPI()
        before = len(app.routes)
        add_routes(app, lambda: pytest.fail("nobody asked"))
        routes: list[Any] = list(app.routes)[before:]
        assert not any(inspect.iscoroutinefunction(route.endpoint) for route in routes)

    def test_the_servers_own_description_names_them_and_what_they_take(
        self, client: TestClient
    ) -> None:
        assert client.get("/docs").status_code == 200
        paths = client.get("/openapi.json").json()["paths"]
        operation = paths[MASK]["post"]
        schema = operation["requestBody"]["content"]["application/json"]["schema"]
        assert list(schema["properties"]) == ["image", *SETTINGS]
        assert schema["required"] == ["image", "phrases"]
        assert "Masks of what the phrases name" in operation["description"]
        assert set(paths[INFO]) == {"get"}

    def test_what_else_is_on_the_server_is_described_as_before(self, host: MiniatureHost) -> None:
        app = FastAPI()

        @app.get("/own")
        def own(count: int = 1) -> int:
            return count

        before = app.openapi()["paths"]["/own"]
        app.openapi_schema = None
        add_routes(app, lambda: host)
        assert TestClient(app).get("/openapi.json").json()["paths"]["/own"] == before

    def test_they_ask_for_the_hosts_credentials(
        self, host: MiniatureHost, picture: Image.Image
    ) -> None:
        app = FastAPI()
        add_routes(app, lambda: host, "ann:one,bob:two")
        guarded = TestClient(app)
        request = {"image": text_of(picture), "phrases": PHRASES}
        for pair in (None, ("ann", "two")):
            for reply in (
                guarded.get(INFO, auth=pair),
                guarded.post(MASK, json=request, auth=pair),
                guarded.post(MASK, content="nonsense", auth=pair),
            ):
                assert reply.status_code == 401
                assert reply.headers["WWW-Authenticate"] == "Basic"
        assert host.turns == 0
        assert guarded.get(INFO, auth=("bob", "two")).status_code == 200
        assert guarded.post(MASK, json=request, auth=("ann", "one")).status_code == 200

    def test_empty_credentials_are_none(self, host: MiniatureHost) -> None:
        """As the host, which takes ``--api-auth ""`` for none."""
        app = FastAPI()
        add_routes(app, lambda: host, "")
        assert TestClient(app).get(INFO).status_code == 200


def test_the_version_is_the_projects(root: Path) -> None:
    assert f'version = "{version()}"' in (root / "pyproject.toml").read_text(encoding="utf-8")
