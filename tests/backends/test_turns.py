"""Networks that take turns in memory, and the pairs that are made of them."""

from __future__ import annotations

import gc
import weakref
from pathlib import Path

import pytest
import torch
from torch import nn

from ldznet_core import CheckpointError, Segmenter, load_head, load_miniature
from ldznet_core.backends import Pair, load_backbone, load_pair
from ldznet_core.backends.heads import HeadOnUse
from ldznet_core.backends.turns import OnUse, Turns
from ldznet_core.unet import UNet

from ..core.tiny import picture, tiny_head


class TestHeadOnUse:
    @pytest.mark.parametrize("taps", [(), (6, 7)])
    def test_it_listens_where_its_head_does(self, taps: tuple[int, ...]) -> None:
        """A head without taps reads the latents alone."""
        head = tiny_head(taps=taps)
        on_use = HeadOnUse(head.config, lambda: head)
        unet = load_miniature().unet
        assert on_use.taps_of(unet) == head.taps_of(unet)


class TestOnUse:
    def test_nothing_is_loaded_before_it_is_used(self) -> None:
        loads: list[int] = []
        network = OnUse(lambda: loads.append(1) or nn.Identity())
        assert not loads
        assert network() is network()
        assert len(loads) == 1

    def test_only_one_of_several_is_in_memory(self) -> None:
        turns = Turns()
        first, second = (OnUse(lambda: nn.Linear(2, 2), turns) for _ in range(2))
        left = weakref.ref(first())
        second()
        gc.collect()
        assert left() is None
        assert first() is not None
        assert first() is first()

    def test_a_turn_may_begin_before_it_is_used(self) -> None:
        turns = Turns()
        first, second = (OnUse(lambda: nn.Linear(2, 2), turns) for _ in range(2))
        left = weakref.ref(first())
        second.begin()
        gc.collect()
        assert left() is None

    def test_what_could_not_be_loaded_is_tried_again(self) -> None:
        answers = iter([MemoryError("full"), nn.Identity()])

        def load() -> nn.Module:
            answer = next(answers)
            if isinstance(answer, MemoryError):
                raise answer
            return answer

        network = OnUse(load, Turns())
        with pytest.raises(MemoryError):
            network()
        assert isinstance(network(), nn.Identity)


class TestPair:
    @pytest.fixture
    def pair(self, checkpoint_file: Path, head_file: Path) -> Pair:
        return load_pair(checkpoint_file, head_file)

    def test_it_gives_the_masks_of_its_parts(
        self, pair: Pair, checkpoint_file: Path, head_file: Path
    ) -> None:
        assert pair.takes_turns
        image, phrases = picture(80, 56), ["cat", "dog"]
        apart = Segmenter(load_backbone(checkpoint_file), load_head(head_file))
        expected = apart.segment_image(image, phrases)
        shared = Segmenter(pair.backbone, pair.head)
        assert torch.equal(shared.segment_image(image, phrases).logits, expected.logits)
        probed = [shared.probe_image(image, phrases) for _ in range(2)]
        for each in probed:
            assert torch.equal(shared.segment_probed(each).logits, expected.logits)

    def test_unet_and_head_are_never_both_in_memory(self, pair: Pair) -> None:
        segmenter = Segmenter(pair.backbone, pair.head)
        probed = segmenter.probe_image(picture(64, 64), ["cat"])
        unet = weakref.ref(pair.backbone.unet)  # type: ignore[attr-defined]  # it is SD 1.x
        assert isinstance(unet(), UNet)
        segmenter.segment_probed(probed)
        gc.collect()
        assert unet() is None

    def test_the_miniature_stays_in_memory(self) -> None:
        pair = load_pair("miniature", "miniature")
        assert not pair.takes_turns
        head = pair.head._head()  # type: ignore[attr-defined]  # to see whether it stays
        Segmenter(pair.backbone, pair.head).segment_image(picture(64, 64), ["owl"])
        assert pair.head._head() is head  # type: ignore[attr-defined]

    def test_a_head_is_looked_for_at_once(self, checkpoint_file: Path) -> None:
        with pytest.raises(CheckpointError, match="gone"):
            load_pair(checkpoint_file, "gone.safetensors")

    def test_heads_and_models_of_two_families_do_not_meet(self, checkpoint_file: Path) -> None:
        pair = load_pair(checkpoint_file, "miniature")
        with pytest.raises(Exception, match="expected a head for 'sd1', got one for 'miniature'"):
            Segmenter(pair.backbone, pair.head)
