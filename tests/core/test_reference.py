"""Our head against the authors' network in plain arithmetic, computed in float64."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ldznet_core.head import AttentionPool, HeadConfig, LDZNetHead
from ldznet_core.noise import NoiseSchedule
from ldznet_core.probe import probe_features
from ldznet_core.unet import CrossAttention, GroupNorm32, UNet, UNetConfig

from .official import network
from .official.checkpoint import random_weights
from .official.layout import READERS, unet_shapes
from .tiny import needs_float16

TOLERANCE = 2e-4
"""Allowed on logits at this size; the differences seen are below 2e-5, of a deviation near 5."""

WIDTH, CONTEXT = 32, 64
SIZES = UNetConfig(model_channels=WIDTH, context_dim=CONTEXT)
HEAD_SIZES = UNetConfig(out_channels=1, model_channels=WIDTH, context_dim=CONTEXT)
MAPS = ((1, 1), (1, 1), (2, 2), (2, 2), (4, 4), (4, 4), (4, 8), *[(4, 4)] * 3, *[(2, 2)] * 3)
"""Channels (in widths) and latents to a position, of the features of blocks 1 to 13."""
HALVES = [pytest.param(torch.float16, marks=needs_float16), torch.bfloat16]


def weights_of(*, is_head: bool, table_scale: int = 1) -> dict[str, Tensor]:
    shapes = unet_shapes(WIDTH, CONTEXT, is_head=is_head, table_scale=table_scale)
    return random_weights(shapes, torch.Generator().manual_seed(int(is_head)))


def head_of(weights: Mapping[str, Tensor], image_side: int = 384, **fields: str) -> LDZNetHead:
    config = HeadConfig(family="sd1", unet=HEAD_SIZES, image_side=image_side, **fields)
    head = LDZNetHead(config).eval()
    head.load_state_dict(weights, strict=True)
    return head


def exact(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.double() for name, tensor in weights.items()}


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def inputs_of(rows: int, height: int, width: int) -> tuple[Tensor, Tensor, dict[int, Tensor]]:
    """Latents, text features and the features of 13 blocks, all random."""
    features = {
        block: noise(rows, times * WIDTH, height // scale, width // scale, seed=block)
        for block, (times, scale) in enumerate(MAPS, start=1)
    }
    return noise(rows, 4, height, width, seed=21), noise(rows, 77, CONTEXT, seed=22), features


def official_logits(
    weights: Mapping[str, Tensor], latents: Tensor, context: Tensor, features: Mapping[int, Tensor]
) -> Tensor:
    """The reference's; the last blocks' features are popped and never read, as in the original."""
    listed = [features[block].double() for block in sorted(features)]
    listed += [torch.empty(0)] * (16 - len(listed))
    return network.logits_of(exact(weights), latents.double(), context.double(), listed)


def largest_difference(ours: Tensor, theirs: Tensor) -> float:
    assert ours.shape == theirs.shape
    assert theirs.std() > 0.5  # logits that say nothing would agree with anything
    return float((ours.double() - theirs).abs().max())


@pytest.fixture(scope="module")
def weights() -> dict[str, Tensor]:
    return weights_of(is_head=True)


@pytest.fixture(scope="module")
def head(weights: dict[str, Tensor]) -> LDZNetHead:
    return head_of(weights)


class TestFloat32:
    @pytest.mark.parametrize(
        ("rows", "height", "width"),
        [(1, 8, 8), (1, 16, 16), (2, 16, 24), (3, 32, 8), (1, 8, 40)],
        ids=["smallest", "square", "wide and two", "high and three", "very wide"],
    )
    @torch.no_grad()
    def test_the_logits_are_the_official_ones(
        self, head: LDZNetHead, weights: dict[str, Tensor], rows: int, height: int, width: int
    ) -> None:
        inputs = inputs_of(rows, height, width)
        assert largest_difference(head(*inputs), official_logits(weights, *inputs)) < TOLERANCE

    @torch.no_grad()
    def test_on_the_maps_of_training_the_tables_are_read_as_they_are(
        self, weights: dict[str, Tensor], head: LDZNetHead
    ) -> None:
        """Those of 48x48 latents, 12x12 and 6x6; all other tests of the logits resize them."""
        for name, side in READERS.items():
            feature = noise(1, 4 * WIDTH, side, side)
            ours = head.get_submodule(f"{name}.attentionpool2D")(feature)
            expected = network.pool(exact(weights), name, feature.double())
            assert (ours.double() - expected).abs().max() < 1e-5

    @torch.no_grad()
    def test_several_phrases_share_one_row_of_latents(
        self, head: LDZNetHead, weights: dict[str, Tensor]
    ) -> None:
        latents, _, features = inputs_of(1, 16, 8)
        context = noise(3, 77, CONTEXT, seed=5)
        repeated = {block: feature.expand(3, -1, -1, -1) for block, feature in features.items()}
        expected = official_logits(weights, latents.expand(3, -1, -1, -1), context, repeated)
        assert largest_difference(head(latents, context, features), expected) < TOLERANCE

    @pytest.mark.parametrize(("height", "width"), [(5, 7), (9, 16), (17, 23), (1, 1)])
    @torch.no_grad()
    def test_sides_off_the_multiples_of_8_are_those_of_latents_whose_edge_is_repeated(
        self, head: LDZNetHead, weights: dict[str, Tensor], height: int, width: int
    ) -> None:
        """The published code refuses such sides: it is fed the padded latents, its logits cut."""
        latents = noise(1, 4, height, width, seed=3)
        down, across = (-(-side // 8) * 8 for side in (height, width))
        rows = [min(row, height - 1) for row in range(down)]
        columns = [min(column, width - 1) for column in range(across)]
        padded = latents[:, :, rows][:, :, :, columns]
        _, context, features = inputs_of(1, down, across)
        expected = official_logits(weights, padded, context, features)
        ours = head(latents, context, features)
        cut = expected[..., : 8 * height, : 8 * width]
        assert (ours.double() - cut).abs().max() < TOLERANCE
        assert expected.std() > 0.5

    @torch.no_grad()
    def test_the_features_that_we_probe_are_the_official_ones(self) -> None:
        """Noise, timestep, the frozen UNet and its taps: the way into the head."""
        frozen = weights_of(is_head=False)
        unet = UNet(SIZES).eval()
        unet.load_state_dict(frozen, strict=True)
        latents, context, _ = inputs_of(2, 16, 24)
        drawn = torch.randn((1, 4, 16, 24), generator=torch.Generator().manual_seed(8))
        betas = torch.linspace(0.00085**0.5, 0.012**0.5, 1000, dtype=torch.float64) ** 2
        kept = (1 - betas).cumprod(0)[400]
        noisy = kept.sqrt() * latents[:1].double() + (1 - kept).sqrt() * drawn.double()
        expected = network.features_of(
            exact(frozen), noisy.expand(2, -1, -1, -1), 400, context.double()
        )
        probed = probe_features(
            unet,
            latents[:1],
            context,
            NoiseSchedule(),
            t=400,
            generator=torch.Generator().manual_seed(8),
        )
        assert set(probed.blocks) >= {6, 7, 8, 9, 10}
        for block, feature in probed.blocks.items():
            difference = (feature.double() - expected[block - 1]).abs().max()
            assert difference < 1e-4, f"block {block}"

    @pytest.mark.slow
    @torch.no_grad()
    def test_the_logits_at_full_size_are_the_official_ones(self) -> None:
        """925,882,936 weights, a 384x384 picture; the reference in float32 too, for memory."""
        shapes = unet_shapes(is_head=True)
        weights = random_weights(shapes, torch.Generator().manual_seed(0))
        with torch.device("meta"):
            head = LDZNetHead(HeadConfig(family="sd1", unet=UNetConfig(out_channels=1))).eval()
        head.load_state_dict(weights, assign=True)
        features = {
            block: noise(1, times * 320, 48 // scale, 48 // scale, seed=block)
            for block, (times, scale) in enumerate(MAPS, start=1)
        }
        latents, context = noise(1, 4, 48, 48, seed=21), noise(1, 77, 768, seed=22)
        listed = [*features.values(), *[torch.empty(0)] * 3]
        expected = network.logits_of(weights, latents, context, listed).double()
        assert largest_difference(head(latents, context, features), expected) < 1e-3


class TestPositionalTables:
    """On maps of as many positions as a table, but of another shape, the published code errs."""

    @pytest.mark.parametrize(("height", "width"), [(8, 32), (32, 8)])
    @torch.no_grad()
    def test_by_count_they_are_added_flat_as_the_authors_do(self, height: int, width: int) -> None:
        """A third of the published size: tables of 4x4 and 2x2 on maps of 2x8 and 1x4."""
        weights = weights_of(is_head=True, table_scale=3)
        inputs = inputs_of(1, height, width)
        expected = official_logits(weights, *inputs)
        by_count = head_of(weights, 128, positional_tables="count")
        assert largest_difference(by_count(*inputs), expected) < TOLERANCE
        by_shape = head_of(weights, 128)
        assert largest_difference(by_shape(*inputs), expected) > 10 * TOLERANCE

    @pytest.mark.parametrize("positional_tables", ["count", "shape"])
    @torch.no_grad()
    def test_on_all_other_maps_there_is_no_difference(self, positional_tables: str) -> None:
        weights = weights_of(is_head=True, table_scale=3)
        inputs = inputs_of(1, 16, 24)
        head = head_of(weights, 128, positional_tables=positional_tables)
        assert largest_difference(head(*inputs), official_logits(weights, *inputs)) < TOLERANCE

    @torch.no_grad()
    def test_at_the_published_size_24x96_latents_tell_them_apart(
        self, weights: dict[str, Tensor]
    ) -> None:
        """A picture of 768x192 pixels: 6x24 positions are 12x12, and 3x12 are 6x6."""
        inputs = inputs_of(1, 24, 96)
        by_count = head_of(weights, positional_tables="count")(*inputs)
        by_shape = head_of(weights, positional_tables="shape")(*inputs)
        listed = [*inputs[2].values(), *[torch.empty(0)] * 3]
        expected = network.logits_of(weights, *inputs[:2], listed).double()  # 3 times as fast
        assert largest_difference(by_count, expected) < TOLERANCE
        assert largest_difference(by_shape, expected) > 10 * TOLERANCE

    @torch.no_grad()
    def test_by_shape_the_table_is_resized_wherever_the_shape_differs(self) -> None:
        """Ours on 2x8 positions is the formula's on 2x8, as it is on any other number of them."""
        pool = AttentionPool(8, 8, 4)
        table = pool.positional_embedding.double()
        grid = table[:, 1:].unflatten(1, (4, 4))
        resized = torch.einsum(
            "yj,xi,cji->cyx", network.bicubic(4, 2), network.bicubic(4, 8), grid
        ).flatten(1)
        added = pool._positions(torch.empty(1, 8, 2, 8)).double()
        assert (added[:, 1:] - resized).abs().max() < 1e-5
        assert torch.equal(added[:, 0], table[:, 0])


class TestHalfPrecision:
    """How far half a head is from a whole one, in deviations of the logits.

    Seen over six sets of weights and two sizes: float16 0.3 % on average and 1.5 % at worst,
    bfloat16 2.3 % and 13 %. The bounds are twice that: other CPUs sum in another order.
    """

    @pytest.mark.parametrize(
        ("dtype", "average", "worst"),
        [
            pytest.param(torch.float16, 0.006, 0.03, marks=needs_float16),
            (torch.bfloat16, 0.045, 0.26),
        ],
        ids=["float16", "bfloat16"],
    )
    @torch.no_grad()
    def test_it_runs_and_stays_close(
        self, weights: dict[str, Tensor], dtype: torch.dtype, average: float, worst: float
    ) -> None:
        inputs = inputs_of(2, 16, 24)
        expected = official_logits(weights, *inputs)
        logits = head_of(weights).to(dtype)(*inputs)
        assert logits.dtype == dtype
        distance = (logits.double() - expected).abs() / expected.std()
        assert distance.mean() < average
        assert distance.max() < worst

    @pytest.mark.parametrize("dtype", HALVES)
    @torch.no_grad()
    def test_norms_are_computed_in_float32(self, dtype: torch.dtype) -> None:
        """On values whose squares float16 cannot hold and whose sums bfloat16 cannot count."""
        rough = (1000 * noise(1, 64, 32, 32) + 3000).to(dtype)
        for norm in (GroupNorm32(64), torch.nn.LayerNorm(32)):
            expected = norm(rough.float())
            given = norm.to(dtype)(rough)
            assert given.dtype == dtype
            rounding = expected.abs() * torch.finfo(dtype).eps / 2
            assert ((given.float() - expected).abs() <= rounding + 1e-5).all()

    @pytest.mark.parametrize("dtype", HALVES)
    @pytest.mark.parametrize("layer", ["attention", "pool"])
    @torch.no_grad()
    def test_softmax_is_computed_in_float32(self, layer: str, dtype: torch.dtype) -> None:
        """Of scores near 256 that differ by less than half precision tells apart there."""
        step = 32 * torch.finfo(dtype).eps  # of the softened scores; of 256, a fraction of a step
        keys = torch.tensor([[4.0, 0.0] * 8, [4.0, 2**0.5 * step] * 8])[None]  # (1, 2, 16)
        query = torch.tensor([64.0, 1.0] * 8)
        values = torch.block_diag(*[torch.tensor([[0, 0.7 / step], [0, 0]])] * 8)
        if layer == "attention":
            ours: Tensor = attended(query, keys, values, dtype)
        else:
            ours = pooled(query, keys, values, dtype)
        shares = torch.softmax(torch.tensor([0.0, step]), dim=0)
        if layer == "pool":  # the mean of both keys is a third one
            shares = torch.softmax(torch.tensor([0.0, step, step / 2]), dim=0)
            shares = torch.tensor([shares[0], shares[1] + shares[2] / 2])
        expected = float(shares[1]) * 0.7 * 2**0.5
        equal_shares = 0.5 * 0.7 * 2**0.5
        assert abs(expected - equal_shares) > 4 * torch.finfo(dtype).eps
        assert abs(float(ours) - expected) < 2 * torch.finfo(dtype).eps

    @pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
    @torch.no_grad()
    def test_positional_tables_are_resized_in_float32(self, dtype: torch.dtype) -> None:
        pool = AttentionPool(8, 8, 4).to(dtype)
        table = pool.positional_embedding.float()
        grid = F.interpolate(table[:, 1:].reshape(1, 8, 4, 4), (6, 10), mode="bicubic")
        added = pool._positions(torch.empty(1, 8, 6, 10, dtype=dtype))
        assert torch.equal(added[:, 1:], grid[0].flatten(1).to(dtype))


def attended(query: Tensor, keys: Tensor, values: Tensor, dtype: torch.dtype) -> Tensor:
    """The first channel of our attention for a query, keys, and a matrix from keys to values."""
    attend = CrossAttention(16, 16, 8)
    for part, weight in (("q", torch.eye(16)), ("k", torch.eye(16)), ("v", values)):
        attend.get_parameter(f"to_{part}.weight").copy_(weight)
    attend.to_out[0].weight.copy_(torch.eye(16))
    torch.nn.init.zeros_(attend.to_out[0].bias)
    out: Tensor = attend.to(dtype)(query[None, None].to(dtype), keys.to(dtype))
    return out[0, 0, 0]


def pooled(query: Tensor, keys: Tensor, values: Tensor, dtype: torch.dtype) -> Tensor:
    """The same of our pool, over two positions and their mean; the query is its bias."""
    pool = AttentionPool(16, 8, 1)
    torch.nn.init.zeros_(pool.positional_embedding)
    pool.qkv_proj.weight.copy_(torch.cat([torch.zeros(16, 16), torch.eye(16), values])[..., None])
    pool.qkv_proj.bias.copy_(torch.cat([query, torch.zeros(32)]))
    pool.c_proj.weight.copy_(torch.eye(16)[..., None])
    torch.nn.init.zeros_(pool.c_proj.bias)
    out: Tensor = pool.to(dtype)(keys.mT[:, :, None].to(dtype))
    return out[0, 0, 0]
