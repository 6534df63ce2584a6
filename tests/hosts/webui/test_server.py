"""The extension as A1111 finds it: installed, reloaded, asked for nonsense; the host stays well."""

from __future__ import annotations

import base64
import io
import struct
import zlib
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from .client import Client, decoded, encoded, with_masks
from .conftest import SECOND, Start
from .rig import EXTENSION, Server

MIB = 2**20
ROUTES = ["/ldznet/v1/info", "/ldznet/v1/mask"]
REQUEST = {"prompt": "a red car in a meadow", "seed": 5, "steps": 4, "width": 128, "height": 128}
USER = "ann:a secret"


def our_routes(client: Client) -> list[str]:
    return sorted(path for path in client.state()["routes"] if path.startswith("/ldznet/"))


def mask_once(client: Client) -> None:
    """Generate with a mask, and make sure that there is one."""
    made = client.txt2img(**REQUEST, alwayson_scripts=with_masks("the car"))
    assert "LD-ZNet error" not in made.info["extra_generation_params"], made.infotexts
    assert len(made.images) == 2


class TestStart:
    def test_says_nothing_of_trouble_with_the_extension(self, server: Server) -> None:
        start, is_complete, _ = server.log.partition("Startup time")
        assert is_complete
        assert "Traceback" not in start
        assert "*** Error" not in start

    def test_installs_nothing(self, server: Server) -> None:
        start, is_complete, _ = server.log.partition("Startup time")
        assert is_complete
        assert "nstalling" not in start
        assert EXTENSION not in start.partition("Launching Web UI")[0]

    def test_the_script_and_the_routes_are_there_once(self, client: Client) -> None:
        scripts = client.call("/sdapi/v1/scripts")
        assert scripts["txt2img"].count("ld-znet") == scripts["img2img"].count("ld-znet") == 1
        assert our_routes(client) == ROUTES

    def test_the_checkout_is_left_as_found(self, server: Server) -> None:
        assert not (server.host.folder / "extensions" / EXTENSION).exists()
        assert not (server.host.folder / "models" / "ldznet").exists()

    @pytest.mark.slow
    def test_without_installation(self, start: Start, miniature: Path) -> None:
        server = start("webui", miniature, "--skip-install")
        mask_once(server.client())
        assert "Traceback" not in server.log

    @pytest.mark.slow
    def test_without_a_page(self, start: Start, miniature: Path) -> None:
        client = start("webui", miniature, "--nowebui").client()
        mask_once(client)
        assert our_routes(client) == ROUTES


class TestOtherScripts:
    """The API finds scripts by asking every one for its title."""

    def test_a_request_that_names_another_script(self, client: Client) -> None:
        scripts = {"Hypertile": {"args": []}, "Seed": {"args": []}}
        named = {name: scripts[name] for name in scripts if name.lower() in _scripts(client)}
        assert named
        made = client.txt2img(**REQUEST, alwayson_scripts=named)
        assert len(made.images) == 1

    def test_a_request_that_runs_another_script(self, client: Client) -> None:
        made = client.txt2img(
            **REQUEST,
            script_name="Prompts from file or textbox",
            script_args=[False, False, "start", "a red car\na blue boat"],
            alwayson_scripts=with_masks("the car"),
        )
        assert len([image for image in made.images if image.mode == "RGB"]) == 2


class TestReload:
    def test_reloading_leaves_one_of_each(self, server: Server, client: Client) -> None:
        before = client.state()
        server.reload_ui()
        mask_once(client)
        after = client.state(is_thorough=True)
        assert our_routes(client) == ROUTES
        assert (after["hooks"], after["callbacks"]) == ([], before["callbacks"])

    @pytest.mark.slow
    def test_ten_times_takes_no_more_memory(self, server: Server, client: Client) -> None:
        resident = []
        callbacks = client.state()["callbacks"]
        for _ in range(10):
            server.reload_ui()
            mask_once(client)
            state = client.state(is_thorough=True)
            assert our_routes(client) == ROUTES
            assert (state["hooks"], state["callbacks"]) == ([], callbacks)
            resident.append(state["resident_bytes"])
        grown = resident[-1] - resident[2]
        assert grown < 100 * MIB, [size // MIB for size in resident]


@pytest.fixture(scope="module")
def guarded(start: Start, miniature: Path) -> Server:
    """A server of which not everybody may ask."""
    return start("webui", miniature, "--api-auth", USER)


@pytest.mark.slow
class TestGuard:
    @pytest.mark.parametrize("user", [None, "ann:wrong", "bob:a secret", "ann:"])
    def test_strangers_are_refused(self, guarded: Server, user: str | None) -> None:
        client = guarded.client(user)
        for path, body in (("info", None), ("mask", _mask_request())):
            assert client.request(f"/ldznet/v1/{path}", body).status == 401
        assert client.request("/sdapi/v1/samplers").status == 401

    def test_users_are_served(self, guarded: Server) -> None:
        client = guarded.client(USER)
        assert client.request("/ldznet/v1/info").status == 200
        assert client.request("/ldznet/v1/mask", _mask_request()).status == 200


class TestRoutes:
    def test_info(self, client: Client) -> None:
        info = client.call("/ldznet/v1/info")
        assert (info["host"], info["family"]) == ("A1111", "miniature")
        assert {"miniature", "miniature-compact"} <= {*info["heads"]}

    def test_masks_of_a_picture(self, client: Client) -> None:
        made = client.txt2img(**{**REQUEST, "steps": 10})
        reply = client.call(
            "/ldznet/v1/mask", {"image": encoded(made.images[0]), "phrases": ["the car", "a boat"]}
        )
        assert [decoded(mask).size for mask in reply["masks"]] == [(128, 128)] * 2
        assert (len(reply["scores"]), len(reply["found"])) == (2, 2)
        assert (reply["source"], reply["timestep"]) == ("probe", 100.0)
        assert reply["model"].startswith("ldznet-miniature")

    def test_a_refiner_that_stayed_behind_does_not_look(self, client: Client) -> None:
        """As the page shows another, and so does /info."""
        refined = {"steps": 10, "refiner_checkpoint": SECOND, "refiner_switch_at": 0.5}
        made = client.txt2img(**{**REQUEST, **refined})
        assert "Refiner" in made.fields()
        reply = client.call("/ldznet/v1/mask", _mask_request())
        assert reply["model"].startswith("ldznet-miniature")
        client.txt2img(**{**REQUEST, **refined})
        assert client.call("/ldznet/v1/info")["model"] == reply["model"]

    def test_the_script_gives_the_masks_of_the_route_when_it_probes(self, client: Client) -> None:
        scripts = with_masks("the car\nthe meadow", source="probe")
        made = client.txt2img(**REQUEST, alwayson_scripts=scripts)
        picture, *masks = made.images
        reply = client.call(
            "/ldznet/v1/mask", {"image": encoded(picture), "phrases": ["the car", "the meadow"]}
        )
        assert [decoded(mask).tobytes() for mask in reply["masks"]] == [
            mask.tobytes() for mask in masks
        ]


def bomb(width: int = 20000, height: int = 10000) -> str:
    """A PNG of 200 megapixels in a few hundred kilobytes."""
    rows = zlib.compressobj(9)
    data = b"".join(rows.compress(bytes(1 + width // 8)) for _ in range(height)) + rows.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)), (b"IDAT", data)]
    chunks = [
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in [*parts, (b"IEND", b"")]
    ]
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + b"".join(chunks)).decode()


def small() -> str:
    return encoded(Image.new("RGB", (64, 64), "red"))


BAD = {
    "a head outside the folder": {"image": small, "phrases": ["x"], "head": "../../config.json"},
    "a head by its whole path": {"image": small, "phrases": ["x"], "head": "/etc/passwd"},
    "a head that is not there": {"image": small, "phrases": ["x"], "head": "none.safetensors"},
    "a file for a picture": {"image": "file:///etc/passwd", "phrases": ["x"]},
    "a path for a picture": {"image": "/etc/passwd", "phrases": ["x"]},
    "an address for a picture": {"image": "http://127.0.0.1:1/a.png", "phrases": ["x"]},
    "200 megapixels": {"image": bomb, "phrases": ["x"]},
    "10,000 phrases": {"image": small, "phrases": [f"thing {n}" for n in range(10000)]},
    "a phrase of 10,000 words": {"image": small, "phrases": ["car " * 10000]},
    "no phrase": {"image": small, "phrases": []},
    "an empty phrase": {"image": small, "phrases": [" "]},
    "no picture": {"phrases": ["x"]},
    "a number for a picture": {"image": 5, "phrases": ["x"]},
    "a number for phrases": {"image": small, "phrases": 5},
    "numbers as phrases": {"image": small, "phrases": [1, 2]},
    "a threshold in words": {"image": small, "phrases": ["x"], "threshold": "much"},
    "a threshold of 2": {"image": small, "phrases": ["x"], "threshold": 2},
    "an unknown setting": {"image": small, "phrases": ["x"], "treshold": 0.5},
    "a list": [1, 2, 3],
    "no JSON": b"{",
    "endless brackets": b"[" * 100000,
    "not a number": b'{"image": "", "phrases": ["x"], "threshold": NaN}',
}


class TestNonsense:
    @pytest.mark.parametrize("name", BAD)
    def test_is_refused_in_a_sentence(self, server: Server, client: Client, name: str) -> None:
        reply = client.request("/ldznet/v1/mask", _filled(BAD[name]))
        assert 400 <= reply.status < 500, reply
        assert reply.sentence.startswith("expected "), reply
        assert len(reply.sentence) < 1000
        assert "root:" not in reply.sentence
        server.check_alive()

    def test_a_picture_that_is_cut_off(self, client: Client) -> None:
        data = io.BytesIO()
        Image.effect_noise((256, 256), 50).save(data, "PNG")
        text = base64.b64encode(data.getvalue()[:5000]).decode()
        reply = client.request("/ldznet/v1/mask", {"image": text, "phrases": ["x"]})
        assert (reply.status, reply.sentence[:9]) == (422, "expected ")

    @pytest.mark.parametrize(
        ("settings", "words"),
        [
            ({"head": "none.safetensors"}, "expected one of the heads"),
            ({"threshold": 7}, "threshold"),
            ({"unknown": 7}, "unknown"),
            ({"phrases": ""}, "phrase"),
            ({"phrases": ["x"] * 10000}, "at most"),
        ],
    )
    def test_a_generation_goes_on_and_says_why_there_are_no_masks(
        self, client: Client, settings: dict[str, Any], words: str
    ) -> None:
        plain = client.txt2img(**REQUEST)
        scripts = {"LD-ZNet": {"args": [{"phrases": "the car", **settings}]}}
        made = client.txt2img(**REQUEST, alwayson_scripts=scripts)
        assert [image.tobytes() for image in made.images] == [plain.images[0].tobytes()]
        assert words in str(made.info["extra_generation_params"].get("LD-ZNet error"))
        assert client.state()["hooks"] == []


@pytest.mark.slow
class TestWithoutModel:
    def test_the_routes_say_so(self, start: Start) -> None:
        empty = start("webui", None)
        client = empty.client()
        assert client.call("/ldznet/v1/info")["model"] is None
        reply = client.request("/ldznet/v1/mask", _mask_request())
        assert 400 <= reply.status < 600
        assert reply.sentence.startswith("expected ")
        empty.check_alive()


def _mask_request() -> dict[str, Any]:
    return {"image": small(), "phrases": ["the car"]}


def _filled(body: Any) -> Any:
    """A body whose pictures are made now."""
    if not isinstance(body, dict):
        return body
    return {name: value() if callable(value) else value for name, value in body.items()}


def _scripts(client: Client) -> list[str]:
    listed: list[str] = client.call("/sdapi/v1/scripts")["txt2img"]
    return listed
