"""Our own head: its promises on sizes, rows, presence and cost."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from ldznet_core.errors import InputError
from ldznet_core.head import (
    CompactHead,
    HeadConfig,
    activation_bytes,
    block_sizes,
    build_head,
)
from ldznet_core.head.compact import bounded
from ldznet_core.head.compact_layers import unfolding
from ldznet_core.unet import UNet, UNetConfig

from .live_bytes import LiveBytes
from .tiny import (
    COMPACT_TAPS,
    CONTEXT_DIM,
    FAMILY,
    LDM_SIZES,
    compact_inputs,
    needs_float16,
    tiny_compact_head,
)

SD1 = HeadConfig(
    family="sd1", unet=UNetConfig(), kind="compact", widths=(128, 256, 384), taps=COMPACT_TAPS
)


@pytest.fixture(autouse=True)
def _no_gradients(request: pytest.FixtureRequest) -> Iterator[None]:
    """Only the test of learning wants them."""
    with torch.set_grad_enabled("learns" in request.node.name):
        yield


class TestForward:
    @pytest.mark.parametrize("size", [(8, 8), (8, 16), (7, 9), (1, 3)])
    @pytest.mark.parametrize("multiple", [1, 8])
    def test_logits_cover_pictures_of_any_size(self, size: tuple[int, int], multiple: int) -> None:
        """Features of a probe lie in a padded frame, those of a sampler in the latents' own."""
        logits = tiny_compact_head()(*compact_inputs(phrases=2, size=size, multiple=multiple))
        assert logits.shape == (2, 1, 8 * size[0], 8 * size[1])
        assert logits.isfinite().all()

    def test_a_phrase_does_not_depend_on_its_company(self) -> None:
        head = tiny_compact_head()
        latents, context, features = compact_inputs(phrases=3)
        together = head(latents, context, features)
        for index in range(3):
            alone = head(latents, context[index : index + 1], features)
            torch.testing.assert_close(alone[0], together[index], atol=1e-4, rtol=1e-4)

    def test_a_row_for_all_phrases_is_as_good_as_one_for_each(self) -> None:
        head = tiny_compact_head()
        latents, context, features = compact_inputs(phrases=3)
        each = {block: feature.expand(3, -1, -1, -1) for block, feature in features.items()}
        torch.testing.assert_close(
            head(latents, context, each), head(latents, context, features), atol=1e-4, rtol=1e-4
        )

    def test_several_pictures_share_the_phrases_among_them_in_their_order(self) -> None:
        head = tiny_compact_head()
        latents, context, features = compact_inputs(rows=2, phrases=4)
        together = head(latents, context, features)
        for row, of_row in enumerate((slice(0, 2), slice(2, 4))):
            own = {block: feature[row : row + 1] for block, feature in features.items()}
            alone = head(latents[row : row + 1], context[of_row], own)
            torch.testing.assert_close(alone, together[of_row], atol=1e-4, rtol=1e-4)

    @pytest.mark.parametrize("block", COMPACT_TAPS)
    def test_every_tap_has_a_say(self, block: int) -> None:
        head = tiny_compact_head()
        latents, context, features = compact_inputs()
        before = head(latents, context, features)
        features[block] = -features[block]
        assert (head(latents, context, features) - before).abs().max() > 1e-3

    def test_latents_and_phrase_have_a_say_too(self) -> None:
        head = tiny_compact_head()
        latents, context, features = compact_inputs()
        before = head(latents, context, features)
        assert (head(-latents, context, features) - before).abs().max() > 1e-3
        assert (head(latents, -context, features) - before).abs().max() > 1e-3

    def test_blocks_that_it_does_not_tap_are_not_read(self) -> None:
        head = tiny_compact_head(taps=(7, 12))
        latents, context, features = compact_inputs()
        few = {block: features[block] for block in (7, 12)}
        assert torch.equal(head(latents, context, features), head(latents, context, few))

    def test_without_taps_the_latents_alone_will_do(self) -> None:
        latents, context, _ = compact_inputs(phrases=2)
        assert tiny_compact_head(taps=())(latents, context).shape == (2, 1, 64, 64)

    @pytest.mark.parametrize(
        "dtype", [torch.bfloat16, pytest.param(torch.float16, marks=needs_float16)]
    )
    def test_half_precision_gives_about_the_same(self, dtype: torch.dtype) -> None:
        arguments = compact_inputs(phrases=2)
        exact = tiny_compact_head()(*arguments)
        rounded = tiny_compact_head().to(dtype)(*arguments)
        assert rounded.dtype == dtype
        assert (rounded.float() - exact).abs().mean() < 0.1 * exact.std()


class TestPresence:
    def test_no_pixel_is_surer_than_the_thing_s_presence(self) -> None:
        head = tiny_compact_head()
        arguments = compact_inputs(phrases=3)
        _, presence = head.parts(*arguments)
        assert (head(*arguments).amax(dim=(1, 2, 3)) <= presence + 1e-5).all()

    def test_what_is_surely_absent_has_an_empty_mask(self) -> None:
        head = tiny_compact_head()
        head.presence.verdict[-1].weight.zero_()
        head.presence.verdict[-1].bias.fill_(-10.0)
        assert head(*compact_inputs()).max() <= -10

    def test_it_is_softly_the_lower_of_the_two(self) -> None:
        mask = torch.tensor([-20.0, 0.0, 20.0]).reshape(3, 1, 1, 1)
        given = bounded(mask, torch.tensor([0.0, 20.0, 5.0])).flatten()
        torch.testing.assert_close(given, torch.tensor([-20.0, 0.0, 5.0]), atol=1e-4, rtol=0)


def test_every_weight_learns() -> None:
    head = tiny_compact_head().train()
    head(*compact_inputs(rows=2, phrases=4)).square().sum().backward()
    silent = [name for name, each in head.named_parameters() if not bool(each.grad.abs().sum())]
    assert not silent


def test_a_place_is_unfolded_into_its_own_64_pixels() -> None:
    """With the reach of its convolutions: 1 + 1/2 + 1/4 + 1/8 places to every side."""
    layers = unfolding(32)
    x = torch.zeros(1, 32, 5, 5)
    with torch.no_grad():
        before = layers(x)
        x[0, :, 2, 2] = 1
        changed = (layers(x) != before)[0, 0]
    rows, columns = changed.nonzero().T
    assert before.shape == (1, 1, 40, 40)
    for touched in (rows, columns):
        assert 16 - 15 <= touched.min() < 16
        assert 24 <= touched.max() + 1 <= 24 + 15


class TestSize:
    def test_the_miniature_s_has_at_most_two_million_weights(self) -> None:
        unet = UNetConfig(model_channels=32, context_dim=128, num_heads=2)
        config = HeadConfig(
            family="miniature", unet=unet, kind="compact", widths=(64, 96, 128), taps=COMPACT_TAPS
        )
        with torch.device("meta"):
            weights = sum(each.numel() for each in CompactHead(config).parameters())
        assert weights <= 2_000_000

    def test_that_of_sd_1_has_at_most_twenty_million(self) -> None:
        with torch.device("meta"):
            weights = sum(each.numel() for each in CompactHead(SD1).parameters())
        assert weights <= 20_000_000

    def test_that_of_sd_1_computes_at_most_15_percent_of_a_unet_pass(self) -> None:
        side = 64
        with torch.device("meta"):
            head, unet = CompactHead(SD1).requires_grad_(False), UNet(UNetConfig())
            latents, context = torch.zeros(1, 4, side, side), torch.zeros(1, 77, 768)
            features = {
                block: torch.zeros(1, size.channels, side // size.downscale, side // size.downscale)
                for block, size in block_sizes(SD1.unet).items()
            }
            with torch.no_grad(), FlopCounterMode(display=False) as ours:
                head(latents, context, features)
            with torch.no_grad(), FlopCounterMode(display=False) as theirs:
                unet(latents, torch.zeros(1), context)
        assert ours.get_total_flops() <= 0.15 * theirs.get_total_flops()

    @pytest.mark.skipif(
        torch.__version__.startswith("2.1."), reason="storages of PyTorch 2.1 cannot be watched"
    )
    @torch.inference_mode()
    @pytest.mark.parametrize("phrases", [1, 3])
    def test_a_pass_needs_no_more_memory_than_hosts_are_told(self, phrases: int) -> None:
        head = tiny_compact_head(widths=(64, 96, 128))
        arguments = compact_inputs(phrases=phrases, size=(32, 32))
        with LiveBytes() as live:
            head(*arguments)
        promised = activation_bytes(head.config, phrases, (32, 32), 4)
        assert 0.3 * promised < live.peak <= promised


class TestRefusals:
    def test_features_that_are_missing(self) -> None:
        latents, context, features = compact_inputs()
        del features[12]
        with pytest.raises(InputError, match="none of block 12: capture it too"):
            tiny_compact_head()(latents, context, features)

    def test_features_of_other_latents(self) -> None:
        latents, context, features = compact_inputs()
        _, _, larger = compact_inputs(size=(16, 16))
        with pytest.raises(InputError, match="capture them on these very latents"):
            tiny_compact_head()(latents, context, features | {6: larger[6]})

    def test_features_of_another_model(self) -> None:
        latents, context, features = compact_inputs()
        with pytest.raises(InputError, match="got \\(1, 5, 2, 2\\)"):
            tiny_compact_head()(latents, context, features | {6: torch.zeros(1, 5, 2, 2)})

    def test_rows_that_fit_no_phrases(self) -> None:
        latents, context, features = compact_inputs(rows=2, phrases=4)
        features[6] = features[6].repeat(2, 1, 1, 1)
        with pytest.raises(InputError, match="1 or 4 rows, got \\[2, 4\\]"):
            tiny_compact_head()(latents, context, features)

    @pytest.mark.parametrize("shape", [(1, 3, 8, 8), (2, 4, 8, 8), (1, 4, 0, 8), (4, 8, 8)])
    def test_latents_of_another_shape(self, shape: tuple[int, ...]) -> None:
        _, context, features = compact_inputs(phrases=3)
        with pytest.raises(InputError, match="take them from the VAE of 'tiny'"):
            tiny_compact_head()(torch.zeros(shape), context, features)

    @pytest.mark.parametrize("shape", [(1, 77, 5), (0, 77, CONTEXT_DIM), (77, CONTEXT_DIM)])
    def test_text_of_another_encoder(self, shape: tuple[int, ...]) -> None:
        latents, _, features = compact_inputs()
        with pytest.raises(InputError, match="encode the phrases with the text encoder of 'tiny'"):
            tiny_compact_head()(latents, torch.zeros(shape), features)

    @pytest.mark.parametrize("widths", [(), (32, 64), (32, 32, 40), (0, 32, 32)])
    def test_widths_that_cannot_be_built(self, widths: tuple[int, ...]) -> None:
        with pytest.raises(InputError, match="three widths in multiples of 32"):
            HeadConfig(family=FAMILY, unet=LDM_SIZES, kind="compact", widths=widths)

    def test_widths_of_the_paper_s_head(self) -> None:
        with pytest.raises(InputError, match="no widths of kind ldznet"):
            HeadConfig(family=FAMILY, unet=UNetConfig(out_channels=1), widths=(32, 32, 32))


def test_a_head_is_built_by_its_kind() -> None:
    assert isinstance(build_head(tiny_compact_head().config), CompactHead)
