"""SD 1.5 at its true size with random weights: the whole way of a real checkpoint.

Run by name: ``python run.py test tests/hosts/comfyui/test_true_size.py -m slow``. It takes some
minutes, 4 GB of disk and 16 GB of memory.
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from .client import Client
from .conftest import Start
from .hosts import PROJECT, Host, find_python
from .rig import Server, host_environment
from .workflows import Setup, report_of

pytestmark = pytest.mark.slow
INSIDE = Path(__file__).parent / "inside"


@pytest.fixture(scope="module")
def sd1(server: Server, start: Start) -> Iterator[tuple[Server, Client]]:
    """A server of its own with the checkpoint and a head."""
    own = start(server.host, "--cache-classic")
    models = own.base / "models"
    checkpoint = models / "checkpoints" / "random-sd1.safetensors"
    head = models / "ldznet" / "random-sd1.safetensors"
    for file in (checkpoint, head):
        file.parent.mkdir(parents=True, exist_ok=True)
    write_random_sd1(own.host, checkpoint, head)
    with contextlib.closing(own.client()) as client:
        yield own, client
    checkpoint.unlink()
    head.unlink()


def write_random_sd1(host: Host, checkpoint: Path, head: Path) -> None:
    python = find_python(host)
    script = [str(python.path), str(INSIDE / "random_sd1.py")]
    paths = [str(host.folder), str(PROJECT), str(checkpoint), str(head)]
    subprocess.run([*script, *paths], env=host_environment(python), check=True)


def load(client: Client) -> Setup:
    graph = client.graph()
    loaded = graph.add("CheckpointLoaderSimple", ckpt_name="random-sd1.safetensors")
    model, clip, vae = (loaded[index] for index in range(3))
    head = graph.add("LDZNetLoadHead", head_name="random-sd1.safetensors")[0]
    prompts = [graph.add("CLIPTextEncode", clip=clip, text=text)[0] for text in ("a cat", "")]
    return Setup(graph, model, clip, vae, head, *prompts)


def test_capture_probe_and_picture_on_a_checkpoint(sd1: tuple[Server, Client]) -> None:
    server, client = sd1
    setup = load(client)
    captured = setup.capture()
    sampled = setup.sample(captured, setup.empty(256, 320), steps=8)
    heard = setup.segment(captured, sampled, phrases="cat\nsofa\na red ball\nthe sky\nfloor")
    probed = setup.segment(captured, sampled, phrases="cat", source="probe")
    picture = setup.graph.add("VAEDecode", samples=sampled, vae=setup.vae)
    looked = setup.segment_image(picture, phrases="cat")
    result = client.run(setup.graph)
    assert "captured while sampling at t = 428" in report_of(result, heard)
    for node in (probed, looked):
        assert "from one extra pass (probe) at t = 400" in report_of(result, node)
    for node in (heard, probed, looked):
        assert client.image(result.outputs[node.id]["images"][0]).size == (256, 320)
    print(f"peak memory of the server: {peak_gib(server):.1f} GiB")


def peak_gib(server: Server) -> float:
    """The most memory that the server has held, as Linux tells it; elsewhere not a number."""
    status = Path(f"/proc/{server.process_id}/status")
    lines = status.read_text().splitlines() if status.exists() else []
    peaks = [int(line.split()[1]) for line in lines if line.startswith("VmHWM")]
    return peaks[0] / 2**20 if peaks else float("nan")
