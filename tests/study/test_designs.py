"""What the heads of a study read: features, latents or pictures."""

import pytest
import torch

pytest.importorskip("accelerate", reason="a study needs the extra `train`")

from ldznet_core.errors import InputError
from ldznet_core.head import AnyHead, block_sizes
from ldznet_core.miniature import Miniature, load_miniature
from ldznet_core.study.designs import DESIGNS, TABLES, make_head
from ldznet_core.study.rgbnet import CHANNELS, fold
from tests.core.tiny import randomise

SIDE = 64


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


def head_of(name: str, miniature: Miniature) -> AnyHead:
    """A design's head, none of whose weights is zero."""
    head = make_head(DESIGNS[name], miniature, SIDE).eval()
    randomise(head, 1)
    return head


def noise(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def features(miniature: Miniature, seed: int = 0) -> dict[int, torch.Tensor]:
    """Random features of every block."""
    grid = SIDE // 8
    return {
        block: noise(1, size.channels, grid // size.downscale, grid // size.downscale, seed=seed)
        for block, size in block_sizes(miniature.unet.config).items()
    }


def test_each_table_has_designs_that_exist() -> None:
    assert {name for names in TABLES.values() for name in names} == set(DESIGNS)


@pytest.mark.parametrize("name", ["ld-znet", "concatenation", "compact-best"])
def test_every_tapped_block_is_read_and_no_other(name: str, miniature: Miniature) -> None:
    head, taps = head_of(name, miniature), DESIGNS[name].taps
    latents, context = noise(1, 4, 8, 8), miniature.encode_text(["a dog"])
    given, others = features(miniature), features(miniature, seed=1)
    with torch.no_grad():
        logits = head(latents, context, given)
        for block in given:
            changed = head(latents, context, {**given, block: others[block]})
            assert torch.equal(changed, logits) == (block not in taps), block


@pytest.mark.parametrize("name", ["rgbnet", "znet", "compact-none"])
def test_designs_without_taps_read_no_features(name: str, miniature: Miniature) -> None:
    head = head_of(name, miniature)
    latents, context = noise(1, head.config.in_channels, 8, 8), miniature.encode_text(["a dog"])
    assert head.taps_of(miniature.unet) == {}
    with torch.no_grad():
        without = head(latents, context)
        assert torch.equal(head(latents, context, features(miniature)), without)


def test_a_missing_block_is_named(miniature: Miniature) -> None:
    given = {block: each for block, each in features(miniature).items() if block != 8}
    with pytest.raises(InputError, match="block 8"):
        head_of("concatenation", miniature)(
            noise(1, 4, 8, 8), miniature.encode_text(["a dog"]), given
        )


def test_concatenation_starts_as_a_znet(miniature: Miniature) -> None:
    latents, context = noise(1, 4, 8, 8), miniature.encode_text(["a dog"])
    heads = [make_head(DESIGNS[name], miniature, SIDE).eval() for name in ("concatenation", "znet")]
    with torch.no_grad():
        joined, plain = (head(latents, context, features(miniature)) for head in heads)
    assert torch.allclose(joined, plain, atol=1e-4)  # passing on by a product rounds


def test_concatenation_can_learn_from_what_it_leaves_out(miniature: Miniature) -> None:
    head = make_head(DESIGNS["concatenation"], miniature, SIDE)
    context = miniature.encode_text(["a dog"]).clone()
    head(noise(1, 4, 8, 8), context, features(miniature)).sum().backward()
    mixes = [each for name, each in head.named_parameters() if name.endswith("mix.weight")]
    assert len(mixes) == len(DESIGNS["concatenation"].taps)
    assert all(each.grad is not None for each in mixes)
    assert all(each.grad[:, each.shape[0] :].abs().sum() > 0 for each in mixes)


def test_rgbnet_sees_single_pixels_of_the_picture(miniature: Miniature) -> None:
    head, context = head_of("rgbnet", miniature), miniature.encode_text(["a dog"])
    picture = noise(1, 3, SIDE, SIDE)
    changed = picture.clone()
    changed[0, 1, 13, 42] += 1
    with torch.no_grad():
        before, after = (head(fold(each), context) for each in (picture, changed))
    assert before.shape == (1, 1, SIDE, SIDE)
    assert not torch.equal(before, after)


def test_rgbnet_refuses_latents(miniature: Miniature) -> None:
    with pytest.raises(InputError, match=str(CHANNELS)):
        head_of("rgbnet", miniature)(noise(1, 4, 8, 8), miniature.encode_text(["a dog"]))


def test_the_paper_s_designs_start_from_the_miniature_s_unet(miniature: Miniature) -> None:
    unet = miniature.unet.state_dict()
    middle = "middle_block.1.proj_in.weight"
    for name in ("rgbnet", "znet", "ld-znet", "concatenation"):
        state = make_head(DESIGNS[name], miniature, SIDE).state_dict()
        assert torch.equal(state[middle], unet[middle]), name
