"""Masks while generating in Forge, on SD 1.5 of the true size with random weights.

Run by name: ``python run.py test tests/hosts/webui/test_forge.py -m slow``. It takes some minutes,
4 GB of disk and 12 GB of memory.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image

from .cases import LONG, OTHERS, PROMPT, UNHEARD_BY_THE_PAPERS, Case, check
from .client import Client, decoded, encoded, with_masks, with_support
from .conftest import Start
from .hosts import PROJECT
from .rig import Server

pytestmark = pytest.mark.slow

INSIDE = Path(__file__).parent / "inside"
TINY = {"width": 128, "height": 128, "steps": 3}
"""One of the three steps is at a timestep that is listened to."""
HEAD = "random-sd1.safetensors"

CASES = [
    Case("a batch", {"batch_size": 2}, orders={"prompts": [PROMPT, OTHERS[0]]}, pictures=2),
    Case("two batches", {"n_iter": 2}, orders={"prompts": [PROMPT, OTHERS[0]]}, pictures=2),
    Case("cfg 1", {"cfg_scale": 1}),
    Case("a prompt of two windows", {"prompt": LONG}),
    Case("AND", {"prompt": f"{PROMPT} AND a blue boat"}),
    Case("1 step", {"steps": 1}, reason=UNHEARD_BY_THE_PAPERS),
]


@pytest.fixture(scope="module")
def server(start: Start, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Forge with a checkpoint and a head."""
    checkpoint = tmp_path_factory.mktemp("true-size") / "random-sd1.safetensors"
    head = checkpoint.with_name("heads") / HEAD
    head.parent.mkdir()
    script = [sys.executable, str(INSIDE / "random_sd1.py"), str(PROJECT)]
    subprocess.run([*script, str(checkpoint), str(head)], check=True)
    server = start("forge", checkpoint, "--ldznet-dir", str(head.parent))
    yield server
    server.stop()
    for file in (checkpoint, head):
        file.unlink()


@pytest.fixture(scope="module")
def client(server: Server) -> Client:
    """A user of that server."""
    return server.client()


def test_the_routes_load_the_model_that_nothing_has_loaded_yet(client: Client) -> None:
    assert client.call("/ldznet/v1/info")["host"] == "Forge"
    picture = encoded(Image.new("RGB", (128, 128), "red"))
    reply = client.call("/ldznet/v1/mask", {"image": picture, "phrases": ["the car", "a boat"]})
    assert [decoded(mask).size for mask in reply["masks"]] == [(128, 128)] * 2
    assert (reply["source"], reply["head"]) == ("probe", HEAD)
    assert client.call("/ldznet/v1/info")["family"] == "sd1"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_txt2img(client: Client, case: Case) -> None:
    check(client, case, "txt2img", TINY)


def test_a_unet_that_fails_leaves_no_hook(client: Client) -> None:
    scripts = with_masks("the car") | with_support(fail_in_pass=2)
    reply = client.request(
        "/sdapi/v1/txt2img", {"prompt": PROMPT, **TINY, "alwayson_scripts": scripts}
    )
    assert "on purpose" in str(reply.body) or reply.status == 500
    assert client.state(is_thorough=True)["hooks"] == []


def test_reloading_leaves_one_of_each(server: Server, client: Client) -> None:
    before = client.state()["callbacks"]
    server.reload_ui()
    after = client.state(is_thorough=True)
    assert (after["hooks"], after["callbacks"]) == ([], before)
    assert [path for path in after["routes"] if path.startswith("/ldznet/")] == [
        "/ldznet/v1/info",
        "/ldznet/v1/mask",
    ]
