"""Capture changes nothing that is painted, and hears the right rows, in every kind of workflow.

Each test samples twice in one prompt, with LDZNetCapture and without it, and reads both latents bit
by bit. What capture heard is compared with a second record, which tells the prompt's rows by the
text that is in them rather than by the names that ComfyUI gives conditionings.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from .client import Client
from .graph import Node, Output
from .rig import Server
from .workflows import Setup, miniature, report_of

HEARD = "captured while sampling"
PROBED = "from one extra pass (probe)"
MISSED = "no pass at a timestep from 300 to 500"

Paint = Callable[[Output], Node]
"""Samples with a model; the node's first output is the latent."""


def check(
    client: Client,
    setup: Setup,
    paint: Paint,
    *,
    origin: str = HEARD,
    patch: Callable[[Output], Output] | None = None,
) -> None:
    """Paint with and without capture, and compare; tell what the masks were made from.

    Args:
        client: Whose host paints.
        setup: The graph's beginning.
        paint: Adds the sampler.
        origin: What the report is to say of where the features came from.
        patch: Puts another node's patch on the model, once before and once after capture.
    """
    with_oracle = _oracle(setup, setup.model)
    if patch is None:
        plain, captured = setup.model, [setup.capture(with_oracle)]
    else:
        plain = patch(setup.model)
        captured = [patch(setup.capture(with_oracle)), setup.capture(patch(with_oracle))]
    plain_latent = setup.read(paint(plain))
    answers = []
    for model in captured:
        painted = paint(model)
        verdicts = setup.graph.add("LDZTestCompareFeatures", samples=painted)
        answers.append((setup.read(painted), setup.segment(model, painted), verdicts))
    result = client.run(setup.graph)
    (expected,) = client.values(result, plain_latent)
    assert torch.isfinite(expected).all()
    for read, segment, verdicts in answers:
        (latent,) = client.values(result, read)
        assert torch.equal(latent, expected)
        report = report_of(result, segment)
        assert report.count(origin) == len(expected), report
        for verdict in result.outputs[verdicts.id]["verdicts"]:
            assert verdict.get("right", not verdict["oracle"]), (verdict, report)
    assert client.get_json("/ldztest/state")["hooks"] == []


def _oracle(setup: Setup, model: Output) -> Output:
    return setup.graph.add("LDZTestOracle", model=model, positive=setup.positive)[0]


def ksampler(setup: Setup, latent: Output, **settings: Any) -> Paint:
    return lambda model: setup.sample(model, latent, **settings)


def advanced(setup: Setup, latent: Output, sampler: str, cfg: float) -> Paint:
    return lambda model: setup.graph.add(
        "KSamplerAdvanced",
        model=model,
        positive=setup.positive,
        negative=setup.negative,
        latent_image=latent,
        add_noise="enable",
        noise_seed=7,
        steps=8,
        cfg=cfg,
        sampler_name=sampler,
        scheduler="normal",
        start_at_step=0,
        end_at_step=10000,
        return_with_leftover_noise="disable",
    )


def custom(setup: Setup, latent: Output, sampler: str, guider: Callable[[Output], Node]) -> Paint:
    """A SamplerCustomAdvanced with a guider of the model."""

    def paint(model: Output) -> Node:
        add = setup.graph.add
        return add(
            "SamplerCustomAdvanced",
            noise=add("RandomNoise", noise_seed=7),
            guider=guider(model),
            sampler=add("KSamplerSelect", sampler_name=sampler),
            sigmas=add("BasicScheduler", model=model, scheduler="normal", steps=8, denoise=1.0),
            latent_image=latent,
        )

    return paint


def cfg_guider(setup: Setup, cfg: float) -> Callable[[Output], Node]:
    return lambda model: setup.graph.add(
        "CFGGuider", model=model, positive=setup.positive, negative=setup.negative, cfg=cfg
    )


SAMPLERS = ("euler", "dpmpp_2m", "dpmpp_2m_sde", "heun", "lcm")
# Every sampler under every node, and every pair of guidance and batch several times.
TURNS = [
    (kind, sampler, *((1.0, 1), (7.0, 3), (7.0, 1), (1.0, 3))[(row + column) % 4])
    for row, kind in enumerate(("KSampler", "KSamplerAdvanced", "SamplerCustomAdvanced"))
    for column, sampler in enumerate(SAMPLERS)
]


@pytest.mark.parametrize(("kind", "sampler", "cfg", "batch"), TURNS)
def test_samplers(client: Client, kind: str, sampler: str, cfg: float, batch: int) -> None:
    setup = miniature(client)
    latent = setup.empty(batch_size=batch)
    paint = {
        "KSampler": ksampler(setup, latent, sampler_name=sampler, cfg=cfg),
        "KSamplerAdvanced": advanced(setup, latent, sampler, cfg),
        "SamplerCustomAdvanced": custom(setup, latent, sampler, cfg_guider(setup, cfg)),
    }[kind]
    check(client, setup, paint)


@pytest.mark.parametrize("cfg", [1.0, 7.0])
@pytest.mark.parametrize("batch", [1, 3])
def test_on_every_version(every_client: Client, cfg: float, batch: int) -> None:
    setup = miniature(every_client)
    check(every_client, setup, ksampler(setup, setup.empty(batch_size=batch), cfg=cfg))


def test_a_picture_that_is_not_square(client: Client) -> None:
    setup = miniature(client)
    check(client, setup, ksampler(setup, setup.empty(width=200, height=72)))


class TestPatches:
    """Other nodes that have a hand in the UNet; each once before and once after ours."""

    def test_a_control_that_adds_in_place(self, client: Client) -> None:
        setup = miniature(client)
        both = setup.graph.add("LDZTestControl", positive=setup.positive, negative=setup.negative)
        controlled = replace(setup, positive=both[0], negative=both[1])
        check(client, setup, ksampler(controlled, setup.empty()))

    @pytest.mark.parametrize(
        ("node", "settings"),
        [
            ("FreeU_V2", {}),
            ("PerturbedAttentionGuidance", {}),
            ("SelfAttentionGuidance", {}),
            ("TomePatchModel", {"ratio": 0.5}),
            ("HyperTile", {}),
            ("RescaleCFG", {}),
            ("ModelSamplingDiscrete", {"sampling": "eps", "zsnr": True}),
            ("LDZTestHungry", {}),
        ],
    )
    def test_a_node_of_the_host(self, client: Client, node: str, settings: dict[str, Any]) -> None:
        setup = miniature(client)

        def patch(model: Output) -> Output:
            return setup.graph.add(node, model=model, **settings)[0]

        check(client, setup, ksampler(setup, setup.empty()), patch=patch)

    def test_a_lora(self, client: Client, server: Server) -> None:
        write_lora(server.base / "models" / "loras" / "test.safetensors")
        setup = miniature(client)

        def patch(model: Output) -> Output:
            return setup.graph.add(
                "LoraLoaderModelOnly", model=model, lora_name="test.safetensors", strength_model=1.0
            )[0]

        check(client, setup, ksampler(setup, setup.empty()), patch=patch)

    def test_a_lora_that_hangs_on_the_prompt(self, client: Client, server: Server) -> None:
        write_lora(server.base / "models" / "loras" / "test.safetensors")
        setup = miniature(client)
        hooks = setup.graph.add(
            "CreateHookLora", lora_name="test.safetensors", strength_model=1.0, strength_clip=0.0
        )
        both = setup.graph.add(
            "PairConditioningSetProperties",
            positive_NEW=setup.positive,
            negative_NEW=setup.negative,
            hooks=hooks,
        )
        for hooked in (replace(setup, positive=both[0]), replace(setup, negative=both[1])):
            check(client, hooked, ksampler(hooked, setup.empty()))

    @pytest.mark.slow
    def test_a_compiled_model(self, client: Client) -> None:
        setup = miniature(client)

        def patch(model: Output) -> Output:
            return setup.graph.add("LDZTestCompile", model=model)[0]

        check(client, setup, ksampler(setup, setup.empty()), patch=patch)


class TestRegions:
    def test_inpainting_under_a_noise_mask(self, client: Client) -> None:
        setup = miniature(client)
        first = setup.sample(setup.model, setup.empty(), seed=1)
        masked = setup.graph.add(
            "SetLatentNoiseMask", samples=first, mask=setup.graph.add("LDZTestRegion")
        )
        check(client, setup, ksampler(setup, masked[0]))

    def test_a_second_prompt_for_an_area(self, client: Client) -> None:
        setup = miniature(client)
        area = setup.graph.add(
            "ConditioningSetArea",
            conditioning=setup.text("a boat"), width=64, height=64, x=0, y=64, strength=1.0,
        )  # fmt: skip
        both = setup.graph.add(
            "ConditioningCombine", conditioning_1=setup.positive, conditioning_2=area
        )
        check(client, setup, ksampler(replace(setup, positive=both[0]), setup.empty()))

    def test_a_prompt_for_the_first_steps_alone(self, client: Client) -> None:
        setup = miniature(client)
        early = setup.graph.add(
            "ConditioningSetTimestepRange", conditioning=setup.positive, start=0.0, end=0.2
        )
        only = replace(setup, positive=early[0])
        check(client, only, ksampler(only, setup.empty()), origin=PROBED)

    def test_a_prompt_for_an_area_alone(self, client: Client) -> None:
        setup = miniature(client)
        area = setup.graph.add(
            "ConditioningSetArea",
            conditioning=setup.positive, width=64, height=64, x=0, y=64, strength=1.0,
        )  # fmt: skip
        only = replace(setup, positive=area[0])
        check(client, only, ksampler(only, setup.empty()), origin="regions only")


class TestGuiders:
    def test_two_prompts_and_a_negative_one(self, client: Client) -> None:
        setup = miniature(client)
        middle = setup.text("a yellow sun above a boat")

        def guider(model: Output) -> Node:
            return setup.graph.add(
                "DualCFGGuider",
                model=model,
                cond1=setup.positive,
                cond2=middle,
                negative=setup.negative,
                cfg_conds=5.0,
                cfg_cond2_negative=5.0,
            )

        check(client, setup, custom(setup, setup.empty(), "euler", guider))

    def test_one_prompt_and_no_negative(self, client: Client) -> None:
        setup = miniature(client)

        def guider(model: Output) -> Node:
            return setup.graph.add("BasicGuider", model=model, conditioning=setup.positive)

        check(client, setup, custom(setup, setup.empty(), "euler", guider))

    def test_the_same_words_as_prompt_and_negative(self, client: Client) -> None:
        setup = miniature(client)
        alike = replace(setup, negative=setup.positive)
        check(client, alike, ksampler(alike, setup.empty()))


class TestPicturesAsStart:
    @pytest.mark.parametrize(("denoise", "origin"), [(0.3, PROBED), (0.3, MISSED), (0.75, HEARD)])
    def test_image_to_image(self, client: Client, denoise: float, origin: str) -> None:
        setup = miniature(client)
        start = setup.graph.add("VAEEncode", pixels=setup.graph.add("LDZTestDot"), vae=setup.vae)
        check(client, setup, ksampler(setup, start[0], denoise=denoise), origin=origin)

    def test_a_second_pass_in_larger(self, client: Client) -> None:
        setup = miniature(client)

        def paint(model: Output) -> Node:
            first = setup.sample(model, setup.empty())
            larger = setup.graph.add(
                "LatentUpscaleBy", samples=first, upscale_method="nearest-exact", scale_by=1.5
            )
            return setup.sample(model, larger[0], denoise=0.75)

        check(client, setup, paint)


class TestTwoStages:
    @pytest.mark.parametrize("split", [3, 5])
    def test_the_stage_that_is_listened_to_may_be_either(self, client: Client, split: int) -> None:
        setup = miniature(client)

        def stage(model: Output, latent: Output, **settings: Any) -> Node:
            return setup.graph.add(
                "KSamplerAdvanced",
                model=model,
                positive=setup.positive,
                negative=setup.negative,
                latent_image=latent,
                noise_seed=7,
                steps=8,
                cfg=5.0,
                sampler_name="euler",
                scheduler="normal",
                **settings,
            )

        def paint(model: Output) -> Node:
            first = stage(
                model, setup.empty(), end_at_step=split, return_with_leftover_noise="enable"
            )
            return stage(model, first[0], add_noise="disable", start_at_step=split)

        check(client, setup, paint)


class TestFewSteps:
    def test_a_run_that_is_too_short_is_probed(self, client: Client) -> None:
        setup = miniature(client)
        paint = ksampler(setup, setup.empty(), steps=1)
        check(client, setup, paint, origin=MISSED)


def write_lora(path: Path) -> None:
    """Save a small LoRA for two attention layers of the miniature's UNet."""
    generator = torch.Generator().manual_seed(0)
    weights = {}
    for place, channels in (("input_blocks.8.1", 128), ("output_blocks.5.1", 128)):
        name = f"diffusion_model.{place}.transformer_blocks.0.attn1.to_q"
        weights[f"{name}.lora_down.weight"] = torch.randn(4, channels, generator=generator) / 4
        weights[f"{name}.lora_up.weight"] = torch.randn(channels, 4, generator=generator) / 4
        weights[f"{name}.alpha"] = torch.tensor(4.0)
    path.parent.mkdir(exist_ok=True)
    safetensors.torch.save_file(weights, path)
