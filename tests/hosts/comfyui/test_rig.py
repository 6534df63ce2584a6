"""The rig itself, on stock nodes: what the other tests here rely on."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from .client import Client, RunError
from .rig import Server


class TestServer:
    def test_lives_in_a_folder_of_its_own(self, every_server: Server) -> None:
        every_server.check_alive()
        assert every_server.host.folder not in every_server.base.parents
        assert (every_server.base / "custom_nodes").is_dir()

    def test_is_the_version_that_was_asked_for(
        self, every_server: Server, every_client: Client
    ) -> None:
        stats = every_client.get_json("/system_stats")
        assert stats["system"]["comfyui_version"] == every_server.host.version

    def test_has_the_support_pack(self, every_client: Client) -> None:
        assert "LDZTestRead" in every_client.object_info()
        assert every_client.get_json("/ldztest/state")["hooks"] == []


class TestClient:
    def test_reads_a_saved_latent(self, every_client: Client) -> None:
        graph = every_client.graph()
        empty = graph.add("EmptyLatentImage", width=64, height=32, batch_size=2)
        saved = graph.add("SaveLatent", samples=empty)
        result = every_client.run(graph)
        assert result.executed == {empty.id, saved.id}
        assert torch.equal(every_client.latent(result, saved), torch.zeros(2, 4, 4, 8))

    def test_tells_what_ran_from_what_was_cached(self, every_client: Client) -> None:
        graph = every_client.graph()
        mask = graph.add("LDZTestRegion", width=8, height=4, part=0.25)
        inverted = graph.add("InvertMask", mask=mask)
        read = graph.add("LDZTestRead", value=inverted)
        first = every_client.run(graph)
        graph.set(mask, part=0.75)
        second = every_client.run(graph)
        third = every_client.run(graph)
        graph.set(read, value=mask)
        fourth = every_client.run(graph)
        assert first.executed == second.executed == {mask.id, inverted.id, read.id}
        assert (third.executed, third.cached) == (set(), first.executed)
        assert (fourth.executed, fourth.cached) == ({read.id}, {mask.id, inverted.id})
        (values,) = every_client.values(third, read)
        assert torch.equal(values[0, 0], torch.tensor([0.0] * 6 + [1.0] * 2))

    def test_sends_a_picture_and_gets_it_back(self, every_client: Client) -> None:
        picture = Image.new("RGB", (24, 16), (10, 200, 30))
        graph = every_client.graph()
        loaded = graph.add("LoadImage", image=every_client.upload(picture, "green.png"))
        shown = graph.add("PreviewImage", images=loaded)
        result = every_client.run(graph)
        back = every_client.image(result.outputs[shown.id]["images"][0])
        assert back.convert("RGB").tobytes() == picture.tobytes()

    def test_raises_what_a_node_raised(self, every_client: Client) -> None:
        graph = every_client.graph()
        failing = graph.add("LDZTestFail", value=graph.add("EmptyLatentImage"))
        graph.add("LDZTestRead", value=failing)
        with pytest.raises(RunError, match="failed on purpose") as raised:
            every_client.run(graph)
        assert raised.value.failure.node == failing.id
        assert raised.value.failure.kind == "RuntimeError"

    def test_tells_why_a_graph_is_refused(self, every_client: Client) -> None:
        graph = every_client.graph()
        empty = graph.add("EmptyLatentImage", width=8)
        graph.add("SaveLatent", samples=empty)
        result = every_client.run(graph, may_fail=True)
        assert result.failure is not None
        assert result.failure.kind == "rejected"
        assert "width" in result.failure.message


class TestGraph:
    def test_refuses_what_the_host_does_not_know(self, client: Client) -> None:
        graph = client.graph()
        with pytest.raises(KeyError, match="no node Nothing"):
            graph.add("Nothing")
        with pytest.raises(TypeError, match="no input"):
            graph.add("EmptyLatentImage", size=64)
        with pytest.raises(KeyError, match="no output"):
            graph.add("EmptyLatentImage")["IMAGE"]

    def test_passes_outputs_by_name_and_by_number(self, client: Client) -> None:
        graph = client.graph()
        loaded = graph.add("LoadImage", image="a.png")
        for output in ("MASK", 1):
            inverted = graph.add("InvertMask", mask=loaded[output])
            assert graph.api()[inverted.id]["inputs"] == {"mask": [loaded.id, 1]}
