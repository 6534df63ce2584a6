"""What the nodes cannot serve is told in a sentence; what is merely odd is served."""

from __future__ import annotations

import pytest
import torch

from .client import Client
from .graph import Output
from .workflows import Setup, miniature, report_of

MANY = [f"the {colour} {thing}" for colour in ("red", "blue", "green", "yellow") for thing in (
    "car", "boat", "house", "tree", "ball", "apple", "dog", "cat", "bus", "chair"
)]  # fmt: skip

CAME = {
    "sdxl": "SDXL",
    "sd3": "SD3|MMDiT|OpenAISignatureMMDITWrapper",
    "flux": "Flux",
    "svd": "SVD|video|Video",
    "wan": "Wan|WAN",
}
"""How a message may call what came, by the support pack's name for it."""

KINDS = {"rejected", "CaptureError", "CheckpointError", "InputError", "UnsupportedModelError"}
"""What a user's mistake ends in: refused before the run, or one of our own errors."""


def sentence(client: Client, setup: Setup) -> str:
    """The message with which the graph is refused, which is one sentence and no traceback."""
    failure = client.run(setup.graph, may_fail=True).failure
    assert failure is not None, "nothing was refused"
    message = failure.message
    assert failure.kind.split(".")[-1] in KINDS, failure
    assert "\n" not in message, message
    assert 20 < len(message) < 400, message
    return message


class TestOtherFamilies:
    @pytest.mark.parametrize("family", [name for name in CAME if name != "sdxl"])
    def test_capture_names_what_is_supported_and_what_came(
        self, client: Client, family: str
    ) -> None:
        setup = miniature(client)
        captured = setup.capture(_foreign(setup, family))
        setup.graph.add("LDZTestWrappers", model=captured)
        message = sentence(client, setup)
        assert "SD 1" in message
        assert _names(message, CAME[family]), message

    def test_capture_takes_sdxl_for_what_needs_no_head(self, client: Client) -> None:
        setup = miniature(client)
        wrappers = setup.graph.add("LDZTestWrappers", model=setup.capture(_foreign(setup, "sdxl")))
        assert client.run(setup.graph).outputs[wrappers.id]

    @pytest.mark.parametrize("family", CAME)
    def test_segment_names_what_is_supported_and_what_came(
        self, client: Client, family: str
    ) -> None:
        setup = miniature(client)
        setup.segment(_foreign(setup, family), setup.empty())
        message = sentence(client, setup)
        assert "SD 1" in message
        assert _names(message, CAME[family]), message

    def test_a_model_of_sd1_does_not_fit_the_miniatures_head(self, client: Client) -> None:
        setup = miniature(client)
        setup.segment(_foreign(setup, "sd1"), setup.empty())
        message = sentence(client, setup)
        assert "miniature" in message
        assert "sd1" in message


class TestLatents:
    @pytest.mark.parametrize("source", ["auto", "probe"])
    def test_a_latent_that_is_no_number_is_refused(self, client: Client, source: str) -> None:
        setup = miniature(client)
        setup.segment(setup.capture(), setup.graph.add("LDZTestNaNLatent"), source=source)
        assert "NaN" in sentence(client, setup) or "finite" in sentence(client, setup)

    def test_a_sampled_latent_that_is_no_number_is_refused(self, client: Client) -> None:
        setup = miniature(client)
        captured = setup.capture()
        broken = setup.graph.add("LDZTestNaNLatent")[0]
        setup.segment(captured, setup.sample(captured, broken, denoise=0.6))
        assert "finite" in sentence(client, setup)

    def test_sampling_alone_was_asked_for_and_nothing_was_sampled(self, client: Client) -> None:
        setup = miniature(client)
        setup.segment(setup.capture(), setup.empty(), source="sampling")
        assert "captured" in sentence(client, setup)

    def test_a_run_of_no_steps_is_probed(self, client: Client) -> None:
        setup = miniature(client)
        captured = setup.capture()
        start = setup.graph.add("VAEEncode", pixels=setup.graph.add("LDZTestDot"), vae=setup.vae)
        none = setup.sample(captured, start[0], denoise=0.0)
        segment = setup.segment(captured, none)
        report = report_of(client.run(setup.graph), segment)
        assert "probe" in report
        assert "because" in report

    def test_a_part_of_a_schedule_without_steps_is_probed(self, client: Client) -> None:
        setup = miniature(client)
        captured = setup.capture()
        none = setup.graph.add(
            "KSamplerAdvanced",
            model=captured,
            positive=setup.positive,
            negative=setup.negative,
            latent_image=setup.empty(),
            steps=8,
            start_at_step=8,
            end_at_step=8,
        )
        segment = setup.segment(captured, none)
        assert "probe" in report_of(client.run(setup.graph), segment)

    def test_a_latent_changed_after_sampling_is_probed(self, client: Client) -> None:
        setup = miniature(client)
        captured = setup.capture()
        sampled = setup.sample(captured, setup.empty())
        flipped = setup.graph.add("LatentFlip", samples=sampled, flip_method="y-axis: horizontally")
        segment = setup.segment(captured, flipped)
        report = report_of(client.run(setup.graph), segment)
        assert "because no sampler returned these very latents" in report


class TestPhrases:
    @pytest.mark.parametrize("phrases", ["", " \n\t\n"])
    @pytest.mark.parametrize("node", ["LDZNetSegment", "LDZNetSegmentImage"])
    def test_none_is_refused_before_anything_runs(
        self, client: Client, node: str, phrases: str
    ) -> None:
        setup = miniature(client)
        if node == "LDZNetSegment":
            setup.segment(setup.model, setup.empty(), phrases=phrases)
        else:
            setup.segment_image(setup.graph.add("LDZTestDot"), phrases=phrases)
        assert "phrase" in sentence(client, setup)
        assert client.run(setup.graph, may_fail=True).executed == set()

    def test_none_that_came_over_a_wire_is_refused(self, client: Client) -> None:
        setup = miniature(client)
        text = setup.graph.add("PrimitiveStringMultiline", value="  ")
        setup.segment(setup.model, setup.empty(), phrases=text)
        assert "phrase" in sentence(client, setup)

    def test_one_that_is_too_long_is_refused(self, client: Client) -> None:
        setup = miniature(client)
        setup.segment(setup.model, setup.empty(), phrases="the car " * 60)
        assert "77" in sentence(client, setup)

    def test_forty_give_forty_masks(self, client: Client) -> None:
        setup = miniature(client)
        captured = setup.capture()
        sampled = setup.sample(captured, setup.empty(), steps=20)
        together = setup.segment(captured, sampled, phrases="\n".join(MANY))
        masks, scores = setup.read(together["masks"]), setup.read(together["scores"])
        soft = setup.read(together["probabilities"])
        alone = {
            place: setup.read(
                setup.segment(captured, sampled, phrases=MANY[place])["probabilities"]
            )
            for place in (0, 17, 39)
        }
        result = client.run(setup.graph)
        assert [mask.shape for mask in client.values(result, masks)] == [(1, 128, 128)] * 40
        assert all(0 <= score <= 1 for score in client.values(result, scores))
        probabilities = client.values(result, soft)
        for place, read in alone.items():
            (expected,) = client.values(result, read)
            # the kernels sum in another order for another number of rows
            torch.testing.assert_close(probabilities[place], expected, atol=1e-4, rtol=0)
        assert report_of(result, together).count("score") == 40


class TestPictures:
    @pytest.mark.parametrize(
        ("width", "height", "batch"), [(1, 1, 1), (1, 300, 1), (131, 70, 2), (8, 8, 1)]
    )
    def test_masks_are_of_the_pictures_size(
        self, every_client: Client, width: int, height: int, batch: int
    ) -> None:
        _check_size(every_client, width, height, batch)

    def test_a_panorama(self, client: Client) -> None:
        _check_size(client, 4096, 512, 1)


def _check_size(client: Client, width: int, height: int, batch: int) -> None:
    setup = miniature(client)
    dot = setup.graph.add("LDZTestDot", width=width, height=height, batch_size=batch)
    segment = setup.segment_image(dot, phrases="the ball\nthe car", grow=3, feather=2)
    names = ("mask", "masks", "heatmap", "probabilities")
    reads = {name: setup.read(segment[name]) for name in names}
    result = client.run(setup.graph)
    for name, read in reads.items():
        values = client.values(result, read)
        assert len(values) == (2 if name in ("masks", "probabilities") else 1)
        for value in values:
            assert value.shape[:3] == (batch, height, width)
            assert torch.isfinite(value).all()
            assert value.min() >= 0
            assert value.max() <= 1


def _foreign(setup: Setup, family: str) -> Output:
    return setup.graph.add("LDZTestForeignModel", family=family)[0]


def _names(message: str, names: str) -> bool:
    return any(name in message for name in names.split("|"))
