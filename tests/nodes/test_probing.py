"""A probe by the host's guider: the very features of the core's own probe."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from ldznet_core.noise import NoiseSchedule
from ldznet_core.probe import probe_features

from .loading import Pack
from .studio import PLACES, TEXTS, guider, hooks_of, run, tiny_model


@pytest.fixture(scope="module")
def model(pack: Pack) -> Any:
    return tiny_model()


@pytest.fixture
def unet(model: Any) -> Iterator[nn.Module]:
    """Its UNet, which bears no hook afterwards."""
    unet = model.model.diffusion_model
    yield unet
    assert hooks_of(unet) == 0


@pytest.fixture
def probe(pack: Pack) -> Any:
    return pack.module("nodes.probing").probe


def noise(*shape: int, seed: int = 3) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def assert_close(found: Any, expected: Any) -> None:
    """Equal but for the rounding of noise that goes through sigmas in the host."""
    assert list(found.blocks) == list(expected.blocks) == list(PLACES)
    for block, feature in expected.blocks.items():
        scale = float(feature.std())
        torch.testing.assert_close(found.blocks[block], feature, atol=1e-4 * scale, rtol=1e-4)
    assert (found.timestep, found.source) == (expected.timestep, expected.source)


def test_an_inpainting_unet_is_told_that_nothing_of_the_picture_is_masked(
    probe: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ComfyUI tells it of a blank picture, all of it masked (model_base.py, concat_cond)."""
    from comfy.samplers import CFGGuider

    model, latents, told = tiny_model(), noise(1, 4, 8, 16), []
    set_conds = CFGGuider.set_conds

    def watched(self: Any, positive: Any, negative: Any) -> None:
        told.append(positive[0][1])
        set_conds(self, positive, negative)

    monkeypatch.setattr(CFGGuider, "set_conds", watched)
    probe(model, latents, TEXTS.encode_text(["a cat"]), 400.0)
    model.model.concat_keys = ("mask", "masked_image")
    probe(model, latents, TEXTS.encode_text(["a cat"]), 400.0)
    plain, inpainting = told
    assert not plain
    assert torch.equal(inpainting["concat_mask"], torch.zeros(1, 1, 8, 16))
    seen = model.model.process_latent_in(inpainting["concat_latent_image"])
    torch.testing.assert_close(seen, latents)


@pytest.mark.parametrize("size", [(8, 16), (5, 9), (1, 1)])
@pytest.mark.parametrize("texts", [["a cat"], ["a cat", "a dog", "the sky"]])
@pytest.mark.parametrize("t", [400.0, 120.0])
def test_it_gives_what_the_core_gives(
    model: Any, unet: nn.Module, probe: Any, size: tuple[int, int], texts: list[str], t: float
) -> None:
    latents, context = noise(1, 4, *size), TEXTS.encode_text(texts)
    with torch.no_grad():
        expected = probe_features(unet, latents, context, NoiseSchedule(), t=t)
        assert_close(probe(model, latents, context, t), expected)


def test_it_takes_the_generator_s_noise(model: Any, unet: nn.Module, probe: Any) -> None:
    latents, context = noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"])
    ours, theirs = (torch.Generator().manual_seed(11) for _ in range(2))
    with torch.no_grad():
        expected = probe_features(unet, latents, context, NoiseSchedule(), generator=theirs)
        assert_close(probe(model, latents, context, 400.0, ours), expected)


def test_empty_latents_are_latents_too(model: Any, unet: nn.Module, probe: Any) -> None:
    """The host does not scale an empty latent image; zeros stay zeros either way."""
    latents, context = torch.zeros(1, 4, 8, 8), TEXTS.encode_text(["a cat"])
    with torch.no_grad():
        expected = probe_features(unet, latents, context, NoiseSchedule())
        assert_close(probe(model, latents, context, 400.0), expected)


def test_two_probes_are_equal_bit_for_bit(model: Any, probe: Any) -> None:
    latents, context = noise(1, 4, 8, 8), TEXTS.encode_text(["a cat", "a dog"])
    first = probe(model, latents, context, 400.0)
    torch.manual_seed(123)
    second = probe(model, latents, context, 400.0)
    assert all(torch.equal(first.blocks[block], second.blocks[block]) for block in PLACES)


def test_the_latents_stay_as_they_were(model: Any, probe: Any) -> None:
    latents = noise(1, 4, 8, 8)
    probe(model, latents, TEXTS.encode_text(["a cat", "a dog"]), 400.0)
    assert torch.equal(latents, noise(1, 4, 8, 8))


def test_it_works_within_the_host_s_inference_mode(model: Any, unet: nn.Module, probe: Any) -> None:
    with torch.inference_mode():
        latents, context = noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"])
        expected = probe_features(unet, latents, context, NoiseSchedule())
        assert_close(probe(model, latents, context, 400.0), expected)


def test_the_pass_ends_with_the_last_tap(model: Any, unet: nn.Module, probe: Any) -> None:
    reached: list[str] = []
    watch = [
        unet.get_submodule(name).register_forward_hook(
            lambda module, inputs, output, name=name: reached.append(name)
        )
        for name in ("output_blocks.5.1", "output_blocks.5.2", "output_blocks.6.0", "out")
    ]
    probe(model, noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"]), 400.0)
    for handle in watch:
        handle.remove()
    assert reached == ["output_blocks.5.1"]


class TestAModelThatIsListenedTo:
    def test_a_probe_is_no_run_for_the_bank(self, pack: Pack, model: Any, probe: Any) -> None:
        bank = pack.module("nodes.bank").Bank()
        heard = pack.module("nodes.sampling").with_capture(model, bank)
        probe(heard, noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"]), 400.0)
        assert len(bank) == 0
        assert bank.get(run(guider(heard), (410,))).timestep == 410  # it still listens

    def test_the_wrappers_of_other_packs_are_asked(self, model: Any, probe: Any) -> None:
        """They may be what makes the model what it is."""
        asked: list[str] = []

        def wrapper(executor: Any, *args: Any, **kwargs: Any) -> Any:
            asked.append(executor.class_obj.__class__.__name__)
            return executor(*args, **kwargs)

        other = model.clone()
        other.add_wrapper_with_key("apply_model", "theirs", wrapper)
        other.add_wrapper_with_key("outer_sample", "theirs", wrapper)
        probe(other, noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"]), 400.0)
        assert asked == ["CFGGuider", "BaseModel"]


def test_an_error_in_the_unet_goes_through_and_leaves_no_hook(
    model: Any, unet: nn.Module, probe: Any
) -> None:
    def fail(module: nn.Module, inputs: Any) -> None:
        raise RuntimeError("out of memory")

    failing = unet.output_blocks[4].register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="out of memory"):
        probe(model, noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"]), 400.0)
    assert hooks_of(unet) == 1
    failing.remove()
    probe(model, noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"]), 400.0)


def test_the_model_is_loaded_by_the_host(model: Any, unet: nn.Module, probe: Any) -> None:
    from comfy import model_management

    model_management.loads.clear()
    probe(model, noise(1, 4, 8, 8), TEXTS.encode_text(["a cat"]), 400.0)
    assert [load.models for load in model_management.loads] == [(model.model,)]
