"""The paper's head: its layers against formulas, its names and sizes against the official ones."""

from __future__ import annotations

import copy
import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ldznet_core.capture import Features
from ldznet_core.errors import CheckpointError, InputError
from ldznet_core.frames import pad_to_multiple
from ldznet_core.head import (
    AttentionPool,
    FeatureBlock,
    HeadConfig,
    LDZNetHead,
    activation_bytes,
    block_sizes,
    mask_decoder,
)
from ldznet_core.unet import UNet, UNetConfig

from .live_bytes import LiveBytes
from .tiny import CONTEXT_DIM, HEAD_SIZES, LDM_SIZES, randomise, tiny_head, tiny_inputs


def _attention(query: Tensor, key: Tensor, value: Tensor, heads: int) -> Tensor:
    """Multi-head attention of ``(N, C)`` to ``(M, C)``, a number at a time."""
    width = query.shape[1] // heads
    out = torch.zeros_like(query)
    for head in range(heads):
        channels = range(head * width, (head + 1) * width)
        for n in range(len(query)):
            scores = [
                sum(float(query[n, c] * key[m, c]) for c in channels) / math.sqrt(width)
                for m in range(len(key))
            ]
            total = sum(math.exp(score) for score in scores)
            for c in channels:
                out[n, c] = sum(
                    math.exp(score) / total * float(value[m, c]) for m, score in enumerate(scores)
                )
    return out


def _layer_norm(x: Tensor) -> Tensor:
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


class TestAttentionPool:
    @torch.no_grad()
    def test_it_is_self_attention_over_the_mean_and_the_places(self) -> None:
        pool = AttentionPool(channels=6, heads=2, side=2)
        feature = torch.randn(1, 6, 2, 2)
        places = [feature[0, :, row, column] for row in range(2) for column in range(2)]
        tokens = torch.stack([torch.stack(places).mean(dim=0), *places])
        tokens = tokens + pool.positional_embedding.T
        projected = tokens @ pool.qkv_proj.weight[:, :, 0].T + pool.qkv_proj.bias
        query, key, value = projected[:, :6], projected[:, 6:12], projected[:, 12:]
        expected = _attention(query, key, value, heads=2) @ pool.c_proj.weight[:, :, 0].T
        expected = expected + pool.c_proj.bias
        torch.testing.assert_close(pool(feature)[0], expected, atol=1e-5, rtol=0)

    @pytest.mark.parametrize("size", [(4, 4), (2, 8), (8, 2), (3, 5), (1, 1)])
    def test_a_map_of_any_size_gives_a_token_for_each_place_and_one_for_the_mean(
        self, size: tuple[int, int]
    ) -> None:
        pool = AttentionPool(channels=8, heads=2, side=4)
        assert pool(torch.randn(3, 8, *size)).shape == (3, 1 + size[0] * size[1], 8)

    def test_the_table_is_resized_by_shape_and_not_by_the_count_of_tokens(self) -> None:
        """Of 16 places, 2x8 is not 4x4: a table that falls from left to right still does."""
        pool = AttentionPool(channels=4, heads=1, side=4)
        ramp = torch.arange(4.0).repeat(4)  # column numbers, row by row
        with torch.no_grad():
            pool.positional_embedding[:, 1:] = ramp
        positions = pool._positions(torch.zeros(1, 4, 2, 8))
        rows = positions[0, 1:].reshape(2, 8)
        assert (rows.diff(dim=1) > 0).all()
        torch.testing.assert_close(rows[0], rows[1])

    def test_the_mean_token_keeps_its_own_position_when_the_table_is_resized(self) -> None:
        pool = AttentionPool(channels=4, heads=1, side=4)
        positions = pool._positions(torch.zeros(1, 4, 3, 5))
        assert torch.equal(positions[:, 0], pool.positional_embedding[:, 0])


@torch.no_grad()
def test_a_feature_block_attends_to_itself_to_the_text_and_then_to_the_features() -> None:
    block = FeatureBlock(channels=8, context_dim=6, heads=2)
    x, context, tokens = torch.randn(3, 8), torch.randn(4, 6), torch.randn(5, 8)

    def attend(attention: torch.nn.Module, asking: Tensor, answering: Tensor) -> Tensor:
        out = _attention(
            asking @ attention.to_q.weight.T,
            answering @ attention.to_k.weight.T,
            answering @ attention.to_v.weight.T,
            heads=2,
        )
        return out @ attention.to_out[0].weight.T + attention.to_out[0].bias

    expected = x + attend(block.attn1, _layer_norm(x), _layer_norm(x))
    expected = expected + attend(block.attn2, _layer_norm(expected), context)
    expected = expected + attend(block.attn3, _layer_norm(expected), tokens)
    wide = _layer_norm(expected) @ block.ff.net[0].proj.weight.T + block.ff.net[0].proj.bias
    gate = wide[:, 32:]
    gated = wide[:, :32] * gate * 0.5 * (1 + torch.erf(gate / math.sqrt(2)))
    expected = expected + gated @ block.ff.net[2].weight.T + block.ff.net[2].bias
    torch.testing.assert_close(
        block(x[None], context[None], tokens[None])[0], expected, atol=1e-5, rtol=0
    )


class TestMaskDecoder:
    def test_it_convolves_and_doubles_three_times_with_silu_between(self) -> None:
        decoder = mask_decoder()
        randomise(decoder, 0)
        x = expected = torch.randn(2, 1, 3, 4)
        weights = list(decoder.parameters())
        for step in range(3):
            kernel, bias, doubling, doubling_bias = weights[4 * step : 4 * step + 4]
            expected = F.conv2d(F.pad(expected, (1, 1, 1, 1)), kernel, bias)
            expected = expected * torch.sigmoid(expected)
            expected = torch.kron(expected, doubling[0, 0]) + doubling_bias
            expected = expected * torch.sigmoid(expected)
        expected = F.conv2d(F.pad(expected, (1, 1, 1, 1)), *weights[12:])
        torch.testing.assert_close(decoder(x), expected, atol=1e-5, rtol=1e-5)

    def test_it_starts_as_an_enlargement_through_which_gradients_flow(self) -> None:
        x = torch.linspace(-0.2, 3.0, 16).reshape(1, 1, 4, 4).requires_grad_()
        enlarged = mask_decoder()(x)
        middles = enlarged[0, 0, 4::8, 4::8]
        gains = (middles.flatten().diff() / x.detach().flatten().diff()).detach()
        assert gains.min() > 1
        assert gains.max() < 2
        enlarged[..., 4::8, 4::8].sum().backward()
        assert x.grad is not None
        assert x.grad.min() > 1


class TestActivationBytes:
    SD1 = HeadConfig(family="sd1", unet=UNetConfig(out_channels=1))

    def test_it_is_64_values_for_each_channel_and_latent(self) -> None:
        """A picture of 512 pixels has 64x64 latents; SD 1.x has 320 channels at that size."""
        single = 64 * 320 * 64 * 64 * 4
        assert activation_bytes(self.SD1, 1, (64, 64), 4) == single
        assert activation_bytes(self.SD1, 4, (64, 64), 4) == 4 * single
        assert activation_bytes(self.SD1, 1, (64, 64), 2) == single // 2
        assert activation_bytes(self.SD1, 1, (32, 64), 4) == single // 2

    def test_latents_count_with_their_padding(self) -> None:
        padded = activation_bytes(self.SD1, 1, (64, 72), 4)
        assert activation_bytes(self.SD1, 1, (57, 65), 4) == padded

    @pytest.mark.skipif(
        torch.__version__.startswith("2.1."), reason="storages of PyTorch 2.1 cannot be watched"
    )
    @torch.inference_mode()
    @pytest.mark.parametrize("rows", [1, 3])
    def test_a_pass_needs_no_more(self, rows: int) -> None:
        head = tiny_head()
        inputs = tiny_inputs(head, rows=rows, size=(32, 32))
        with LiveBytes() as live:
            head(*inputs)
        promised = activation_bytes(head.config, rows, (32, 32), 4)
        assert 0.3 * promised < live.peak <= promised


class TestAgainstTheOfficialNetwork:
    """Counts and names of koutilya-pnvr/LD-ZNet@3d28f76, of its network built at full size."""

    def test_it_has_as_many_weights(self) -> None:
        with torch.device("meta"):
            head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1)))
        state = head.state_dict()
        assert len(state) == 760
        assert sum(tensor.numel() for tensor in state.values()) == 925_882_936

    def test_plain_znet_has_the_ldm_s_weights_and_a_decoder(self) -> None:
        with torch.device("meta"):
            head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1), taps=()))
            ldm = UNet(UNetConfig())
        added = set(head.state_dict()) - set(ldm.state_dict())
        assert len(added) == 14
        assert all(name.startswith("final.") for name in added)
        assert set(ldm.state_dict()) < set(head.state_dict())

    def test_what_the_paper_adds_bears_the_official_names_and_shapes(self) -> None:
        with torch.device("meta"):
            head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1)))
            ldm = UNet(UNetConfig())
        state = head.state_dict()
        places = [
            "input_blocks.8.1",
            "middle_block.1",
            "output_blocks.3.1",
            "output_blocks.4.1",
            "output_blocks.5.1",
        ]
        expected: dict[str, tuple[int, ...]] = {}
        for place in places:
            columns = 37 if place == "middle_block.1" else 145
            expected |= {
                f"{place}.attentionpool2D.positional_embedding": (1280, columns),
                f"{place}.attentionpool2D.qkv_proj.weight": (3840, 1280, 1),
                f"{place}.attentionpool2D.qkv_proj.bias": (3840,),
                f"{place}.attentionpool2D.c_proj.weight": (1280, 1280, 1),
                f"{place}.attentionpool2D.c_proj.bias": (1280,),
                f"{place}.transformer_blocks.0.attn3.to_q.weight": (1280, 1280),
                f"{place}.transformer_blocks.0.attn3.to_k.weight": (1280, 1280),
                f"{place}.transformer_blocks.0.attn3.to_v.weight": (1280, 1280),
                f"{place}.transformer_blocks.0.attn3.to_out.0.weight": (1280, 1280),
                f"{place}.transformer_blocks.0.attn3.to_out.0.bias": (1280,),
                f"{place}.transformer_blocks.0.norm_sd.weight": (1280,),
                f"{place}.transformer_blocks.0.norm_sd.bias": (1280,),
            }
        for index in range(0, 14, 2):
            side = 2 if index in (2, 6, 10) else 3
            expected |= {f"final.{index}.weight": (1, 1, side, side), f"final.{index}.bias": (1,)}
        added = set(state) - set(ldm.state_dict())
        assert {name: tuple(state[name].shape) for name in added} == expected
        assert state["out.2.weight"].shape == (1, 320, 3, 3)


def test_the_blocks_have_the_sizes_of_stable_diffusion() -> None:
    sizes = block_sizes(UNetConfig())
    assert [sizes[block].channels for block in range(1, 17)] == [
        *(320, 320, 640, 640, 1280, 1280, 1280),
        *(1280, 1280, 1280, 640, 640, 640, 320, 320, 320),
    ]
    assert [sizes[block].downscale for block in range(1, 17)] == [
        *(1, 1, 2, 2, 4, 4, 8),
        *(4, 4, 4, 2, 2, 2, 1, 1, 1),
    ]


class TestForward:
    def test_plain_znet_is_the_unet_at_timestep_0_behind_a_decoder(self) -> None:
        head = tiny_head(taps=())
        unet = UNet(HEAD_SIZES)
        state = head.state_dict()
        unet.load_state_dict({name: state[name] for name in unet.state_dict()})
        latents, context, _ = tiny_inputs(head, rows=2)
        hidden = unet(latents, torch.zeros(2), context)
        expected = head.final(hidden * torch.sigmoid(hidden))
        torch.testing.assert_close(head(latents, context), expected, atol=1e-5, rtol=1e-5)

    @pytest.mark.parametrize("size", [(8, 8), (16, 8), (8, 24)])
    def test_logits_have_eight_times_the_sides_of_the_latents(self, size: tuple[int, int]) -> None:
        head = tiny_head()
        assert head(*tiny_inputs(head, rows=2, size=size)).shape == (2, 1, 8 * size[0], 8 * size[1])

    @torch.no_grad()
    def test_one_row_of_latents_and_features_serves_every_phrase(self) -> None:
        head = tiny_head()
        latents, _, features = tiny_inputs(head)
        context = torch.randn(3, 77, CONTEXT_DIM)
        repeated = {block: feature.repeat(3, 1, 1, 1) for block, feature in features.items()}
        torch.testing.assert_close(
            head(latents, context, features),
            head(latents.repeat(3, 1, 1, 1), context, repeated),
            atol=1e-5,
            rtol=0,
        )

    @pytest.mark.parametrize("block", [6, 7, 8, 9, 10])
    @torch.no_grad()
    def test_every_tap_has_its_say(self, block: int) -> None:
        head = tiny_head()
        latents, context, features = tiny_inputs(head)
        changed = {**features, block: features[block].flip(1)}
        difference = head(latents, context, features) - head(latents, context, changed)
        assert difference.abs().max() > 1e-3

    @torch.no_grad()
    def test_features_may_come_as_they_were_captured_with_more_blocks_than_are_read(self) -> None:
        head = tiny_head()
        latents, context, features = tiny_inputs(head)
        captured = Features({**features, 11: torch.randn(1, 64, 4, 4)}, 400.0, "sampling")
        expected = head(latents, context, features)
        assert torch.equal(head(latents, context, captured), expected)

    @torch.no_grad()
    def test_nothing_that_is_passed_in_is_written_to(self) -> None:
        head = tiny_head()
        latents, context, features = tiny_inputs(head, size=(7, 5))
        kept = copy.deepcopy((latents, context, features))
        head(latents, context, features)
        torch.testing.assert_close((latents, context, features), kept, atol=0, rtol=0)

    @torch.no_grad()
    def test_inputs_follow_the_head_to_its_dtype(self) -> None:
        head = tiny_head()
        inputs = tiny_inputs(head)
        exact = head(*inputs)
        rounded = head.to(torch.bfloat16)(*inputs)
        assert rounded.dtype == torch.bfloat16
        # 8 bits of mantissa through some 60 layers: of the logits' deviation of 2, a tenth
        assert (rounded.float() - exact).abs().mean() < 0.2

    def test_a_copy_runs_its_own_weights(self) -> None:
        head = tiny_head()
        inputs = tiny_inputs(head)
        twin = copy.deepcopy(head)
        before = head(*inputs)
        randomise(twin, 9)
        assert torch.equal(head(*inputs), before)
        assert not torch.allclose(twin(*inputs), before)

    def test_every_weight_gets_a_gradient(self) -> None:
        head = tiny_head()
        head(*tiny_inputs(head)).square().mean().backward()
        silent = [name for name, weight in head.named_parameters() if weight.grad is None]
        assert not silent


class TestSizesThatAreNoMultipleOfEight:
    @pytest.mark.parametrize("size", [(5, 7), (9, 16), (1, 1), (17, 3)])
    @torch.no_grad()
    def test_logits_are_those_of_the_padded_latents_cut_back(self, size: tuple[int, int]) -> None:
        head = tiny_head()
        latents, context, features = tiny_inputs(head, size=size)
        padded = pad_to_multiple(latents)
        logits = head(latents, context, features)
        assert logits.shape[-2:] == (8 * size[0], 8 * size[1])
        expected = head(padded, context, features)[..., : 8 * size[0], : 8 * size[1]]
        torch.testing.assert_close(logits, expected, atol=0, rtol=0)

    @torch.no_grad()
    def test_features_of_a_host_that_did_not_pad_are_grown_to_the_frame(self) -> None:
        """A strided convolution rounds up: 36x60 latents leave 9x15, and 5x8 in the middle."""
        head = tiny_head()
        latents, context, features = tiny_inputs(head, size=(36, 60))
        for block, feature in features.items():
            height, width = (5, 8) if block == 7 else (9, 15)
            features[block] = feature[..., :height, :width]
        grown = {
            block: F.pad(
                feature, (0, 0 if block == 7 else 1, 0, 0 if block == 7 else 1), "replicate"
            )
            for block, feature in features.items()
        }
        torch.testing.assert_close(
            head(latents, context, features), head(latents, context, grown), atol=0, rtol=0
        )


class TestRefusals:
    def test_a_missing_tap_is_named(self) -> None:
        head = tiny_head()
        latents, context, features = tiny_inputs(head)
        del features[8]
        with pytest.raises(InputError, match="capture block 8 too"):
            head(latents, context, features)

    def test_no_features_at_all_are_missed(self) -> None:
        head = tiny_head()
        latents, context, _ = tiny_inputs(head)
        with pytest.raises(InputError, match="capture block 6 too"):
            head(latents, context)

    @pytest.mark.parametrize(
        "shape", [(2, 4, 8, 8), (1, 9, 8, 8), (4, 8, 8), (1, 4, 0, 8), (0, 4, 8, 8)]
    )
    def test_latents_of_a_wrong_shape(self, shape: tuple[int, ...]) -> None:
        head = tiny_head()
        _, context, features = tiny_inputs(head)
        with pytest.raises(InputError, match="expected latents"):
            head(torch.zeros(shape), context, features)

    @pytest.mark.parametrize("shape", [(1, 77, 768), (77, CONTEXT_DIM), (0, 77, CONTEXT_DIM)])
    def test_text_features_of_another_encoder(self, shape: tuple[int, ...]) -> None:
        head = tiny_head()
        latents, _, features = tiny_inputs(head)
        with pytest.raises(InputError, match=rf"expected text features \(P, T, {CONTEXT_DIM}\)"):
            head(latents, torch.zeros(shape), features)

    @pytest.mark.parametrize("shape", [(1, 64, 2, 2), (2, 128, 2, 2), (1, 128, 4, 4), (128, 2, 2)])
    def test_features_of_another_pass(self, shape: tuple[int, ...]) -> None:
        head = tiny_head()
        latents, context, features = tiny_inputs(head)
        with pytest.raises(InputError, match="features of block 9"):
            head(latents, context, {**features, 9: torch.zeros(shape)})


class TestFromUNet:
    def test_it_starts_from_the_ldm_with_the_first_output_channel(self) -> None:
        unet = UNet(LDM_SIZES)
        randomise(unet, 0)
        given = unet.state_dict()
        state = LDZNetHead.from_unet(given, HeadConfig(family="tiny", unet=HEAD_SIZES)).state_dict()
        assert torch.equal(state["out.2.weight"], given["out.2.weight"][:1])
        assert torch.equal(state["out.2.bias"], given["out.2.bias"][:1])
        shared = set(given) - {"out.2.weight", "out.2.bias"}
        assert all(torch.equal(state[name], given[name]) for name in shared)

    def test_the_ldm_s_own_weights_stay_its_own(self) -> None:
        unet = UNet(LDM_SIZES)
        before = copy.deepcopy(unet.state_dict())
        head = LDZNetHead.from_unet(unet.state_dict(), HeadConfig(family="tiny", unet=HEAD_SIZES))
        randomise(head, 5)
        assert all(torch.equal(before[name], now) for name, now in unet.state_dict().items())

    def test_weights_of_another_size_are_refused_by_name(self) -> None:
        unet = UNet(UNetConfig(model_channels=32, context_dim=32, num_heads=4))
        with pytest.raises(CheckpointError, match=r"attn2\.to_k\.weight of shape \(32, 64\)"):
            LDZNetHead.from_unet(unet.state_dict(), HeadConfig(family="tiny", unet=HEAD_SIZES))

    def test_weights_that_are_none_of_a_unet_are_refused(self) -> None:
        with pytest.raises(CheckpointError, match="got none"):
            LDZNetHead.from_unet({}, HeadConfig(family="tiny", unet=HEAD_SIZES))


class TestConfig:
    def test_positional_tables_have_the_sides_of_the_maps_in_training(self) -> None:
        config = HeadConfig(family="sd1", unet=UNetConfig(out_channels=1), image_side=384)
        assert config.pool_sides == {6: 12, 7: 6, 8: 12, 9: 12, 10: 12}

    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("kind", "compact"),
            ("taps", (0,)),
            ("taps", (17,)),
            ("image_side", 7),
            ("timestep", 1000.0),
            ("timestep", 12.5),
            ("template", "a photo"),
            ("mask_threshold", 0.0),
            ("presence_threshold", float("nan")),
            ("unet", LDM_SIZES),
        ],
    )
    def test_values_that_build_no_head_are_refused(self, field: str, value: object) -> None:
        fields = {"family": "tiny", "unet": HEAD_SIZES, field: value}
        with pytest.raises(InputError, match="a head's configuration expects"):
            HeadConfig(**fields)  # type: ignore[arg-type]  # wrong on purpose
