"""Features of latents that no sampler is working on."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from ldznet_core.frames import pad_to_multiple, padded_side
from ldznet_core.probe import probe_features, probe_noise

from .tiny import CONTEXT_DIM, TinyBackbone


@pytest.fixture(scope="module")
def backbone() -> TinyBackbone:
    return TinyBackbone()


def test_a_probe_has_a_row_for_each_phrase_and_says_what_it_is(backbone: TinyBackbone) -> None:
    probed = backbone.probe(torch.randn(1, 4, 8, 16), ["cat", "dog"], t=300.0)
    assert (probed.source, probed.timestep) == ("probe", 300.0)
    assert {block: tuple(rows.shape) for block, rows in probed.blocks.items()} == {
        6: (2, 128, 2, 4),
        7: (2, 128, 1, 2),
        8: (2, 128, 2, 4),
        9: (2, 128, 2, 4),
        10: (2, 128, 2, 4),
    }


def test_a_phrase_has_the_same_features_in_any_company(backbone: TinyBackbone) -> None:
    latents = torch.randn(1, 4, 8, 8)
    both, alone = backbone.probe(latents, ["cat", "dog"]), backbone.probe(latents, ["dog"])
    for block, rows in both.blocks.items():
        scale = float(rows.std())  # rounding grows with the features
        torch.testing.assert_close(rows[1:], alone.blocks[block], atol=1e-5 * scale, rtol=1e-5)


def test_it_is_the_unet_on_noisy_latents(backbone: TinyBackbone) -> None:
    """With the noise and the pass written out, for the last ResBlock's input in the middle."""
    latents, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, CONTEXT_DIM)
    seeded = torch.Generator().manual_seed(5)
    alpha = backbone.schedule.alphas_cumprod[400]
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(5))
    seen: list[torch.Tensor] = []
    handle = backbone.unet.middle_block[2].register_forward_hook(
        lambda module, inputs, output: seen.append(inputs[0])
    )
    with torch.no_grad():
        noisy = alpha.sqrt() * latents + (1 - alpha).sqrt() * noise
        backbone.unet(noisy, torch.tensor([400.0]), context)
    handle.remove()
    probed = probe_features(backbone.unet, latents, context, backbone.schedule, generator=seeded)
    torch.testing.assert_close(probed.blocks[7], seen[0], atol=1e-5, rtol=0)


def test_half_precision_does_not_round_the_timestep(backbone: TinyBackbone) -> None:
    told: list[torch.Tensor] = []
    handle = backbone.unet.register_forward_pre_hook(lambda module, inputs: told.append(inputs[1]))
    latents, context = torch.randn(1, 4, 8, 8), torch.randn(2, 77, CONTEXT_DIM)
    unet = backbone.unet.bfloat16()
    try:
        half = (latents.bfloat16(), context.bfloat16(), backbone.schedule)
        probed = probe_features(unet, *half, t=333)
    finally:
        handle.remove()
        unet.float()
    assert told[0].tolist() == [333.0, 333.0]
    assert probed.timestep == 333


def test_two_probes_are_equal_bit_for_bit_and_another_seed_differs(backbone: TinyBackbone) -> None:
    latents = torch.randn(1, 4, 8, 8)
    first, second = backbone.probe(latents, ["cat"]), backbone.probe(latents, ["cat"])
    other = backbone.probe(latents, ["cat"], generator=torch.Generator().manual_seed(9))
    for block, feature in first.blocks.items():
        assert torch.equal(feature, second.blocks[block])
        assert not torch.allclose(feature, other.blocks[block])


def test_latents_of_any_size_are_probed_in_their_padded_frame(backbone: TinyBackbone) -> None:
    latents = torch.randn(1, 4, 5, 9)
    odd, padded = (backbone.probe(each, ["cat"]) for each in (latents, pad_to_multiple(latents)))
    assert odd.blocks[6].shape[-2:] == (2, 4)
    assert all(torch.equal(odd.blocks[block], padded.blocks[block]) for block in odd.blocks)


def test_features_may_be_trained_on(backbone: TinyBackbone) -> None:
    probed = backbone.probe(torch.randn(1, 4, 8, 8), ["cat"])
    layer = torch.nn.Conv2d(128, 1, 1)
    layer(probed.blocks[6]).sum().backward()
    assert layer.weight.grad is not None


def test_padding_repeats_the_edge_at_the_bottom_and_the_right() -> None:
    latents = torch.arange(6.0).reshape(1, 1, 2, 3)
    padded = pad_to_multiple(latents, 4)
    assert padded[0, 0].tolist() == [
        [0.0, 1.0, 2.0, 2.0],
        [3.0, 4.0, 5.0, 5.0],
        [3.0, 4.0, 5.0, 5.0],
        [3.0, 4.0, 5.0, 5.0],
    ]
    assert pad_to_multiple(padded, 4) is padded
    assert [padded_side(side, 8) for side in (1, 8, 9)] == [8, 8, 16]


class TestNoise:
    def test_it_is_the_noise_that_probes_are_made_with(self, backbone: TinyBackbone) -> None:
        latents, context = torch.randn(1, 4, 8, 8), torch.randn(1, 77, CONTEXT_DIM)
        noise = probe_noise(latents)
        given = backbone.schedule.add_noise(latents, noise, 400)
        seen: list[torch.Tensor] = []
        handle = backbone.unet.register_forward_pre_hook(
            lambda module, inputs: seen.append(inputs[0])
        )
        probe_features(backbone.unet, latents, context, backbone.schedule)
        handle.remove()
        assert torch.equal(seen[0], given)

    def test_it_is_the_same_whatever_else_is_random(self) -> None:
        latents = torch.zeros(1, 4, 16, 16)
        first = probe_noise(latents)
        torch.manual_seed(99)
        torch.randn(3)
        assert torch.equal(first, probe_noise(latents + 5))
        assert not torch.equal(first, probe_noise(latents, torch.Generator().manual_seed(1)))

    def test_it_leaves_the_generator_of_others_alone(self) -> None:
        torch.manual_seed(4)
        expected = torch.randn(2)
        torch.manual_seed(4)
        probe_noise(torch.zeros(1, 4, 8, 8))
        assert torch.equal(torch.randn(2), expected)

    def test_it_has_variance_1_and_the_latents_dtype(self) -> None:
        noise = probe_noise(torch.zeros(1, 4, 64, 64))
        assert abs(float(noise.mean())) < 0.03  # 16384 numbers: four deviations of the mean
        assert float(noise.std()) == pytest.approx(1, abs=0.03)
        half = probe_noise(torch.zeros(1, 4, 8, 8, dtype=torch.float16))
        assert half.dtype == torch.float16


def test_threads_that_probe_one_unet_do_not_hear_each_other() -> None:
    backbone = TinyBackbone()
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    words = ["a cat", "a dog", "a red car", "the sky"]
    alone = {text: backbone.probe(latents, [text]).blocks[10] for text in words}
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda text: backbone.probe(latents, [text]), words * 8))
    for text, features in zip(words * 8, together, strict=True):
        torch.testing.assert_close(features.blocks[10], alone[text])
