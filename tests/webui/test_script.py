"""A generation followed from its first callback to its last, with real networks."""

from __future__ import annotations

import gc
from collections.abc import Callable
from contextlib import suppress
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from ldznet_core import Features, Segmentation, Segmenter, load_head
from ldznet_core.auto_head import fitting_head
from ldznet_webui import heads
from ldznet_webui.generation import ATTRIBUTE
from ldznet_webui.script import Follower
from ldznet_webui.settings import BY_NAME
from ldznet_webui.telling import ERROR_KEY

from .conftest import Drawn
from .generating import (
    Processed,
    Processing,
    Sampler,
    Scripts,
    generate,
    hooks_at,
    hooks_on,
    process_images,
)
from .studio import Studio, pixels


@pytest.fixture
def studio(miniature: Any, drawings: list[Drawn], tmp_path: Path) -> Studio:
    return Studio(miniature, drawings, tmp_path)


class TestMasks:
    def test_follow_the_pictures_with_an_infotext_each(self, studio: Studio) -> None:
        p = Processing()
        done = studio.run(p, phrases="owl\nred car")
        assert len(done.images) == len(done.infotexts) == 3
        owl, car = done.infotexts[1:]
        assert owl.startswith("picture 0, LD-ZNet mask: owl, LD-ZNet found: found")
        assert "LD-ZNet features: sampling at t=20" in owl
        assert "LD-ZNet mask: red car, LD-ZNet found: not there" in car
        assert pixels(done.images[1]).any()
        assert not pixels(done.images[2]).any()
        assert done.images[1].size == done.images[0].size
        assert done.images[1].info["parameters"] == owl
        assert p.extra_generation_params["LD-ZNet phrases"] == "owl\nred car"
        assert "LD-ZNet: masks of picture 1: owl found" in done.comments

    def test_are_those_of_the_library(self, studio: Studio, miniature: Any) -> None:
        done = studio.run(Processing(), phrases="owl", source="probe")
        segmenter = Segmenter(miniature, load_head(fitting_head("miniature")))
        drawn = studio.drawings[0]
        expected = segmenter.segment_image(drawn.picture, ["owl"]).masks[0]
        assert np.array_equal(pixels(done.images[1]), (expected * 255).byte().numpy())
        assert "LD-ZNet features: probe at t=100, " in done.infotexts[1]

    @pytest.mark.parametrize(("head", "best"), [("miniature", 421), ("miniature-compact", 20)])
    def test_come_from_the_pass_of_the_run_that_their_head_wants(
        self, studio: Studio, head: str, best: int
    ) -> None:
        done = studio.run(Processing(), phrases="owl", head=head, source="sampling")
        assert f"LD-ZNet features: sampling at t={best}," in done.infotexts[1]
        assert pixels(done.images[1]).any()

    def test_of_a_batch_are_each_pictures_own(self, studio: Studio) -> None:
        p = Processing(batch_size=2)
        done = studio.run(p, phrases=["owl", "red car"])
        alone = studio.run(Processing(), phrases=["owl", "red car"])
        assert len(done.images) == 6
        assert [text.split(",")[0] for text in done.infotexts[2:]] == ["picture 0"] * 2 + [
            "picture 1"
        ] * 2
        assert np.array_equal(pixels(done.images[2]), pixels(alone.images[1]))
        assert pixels(done.images[5]).any()  # the car of the second
        assert not pixels(done.images[4]).any()  # its owl

    def test_of_several_batches_come_in_their_order(self, studio: Studio) -> None:
        done = studio.run(Processing(n_iter=2), phrases="red car")
        assert [bool(pixels(image).any()) for image in done.images[2:]] == [False, True]

    def test_keep_to_the_infotexts_where_the_host_shows_masks_of_its_own(
        self, studio: Studio
    ) -> None:
        """As with its option to return inpainting masks: they have no infotexts."""

        class Showing(Follower):
            def postprocess(self, p: Any, processed: Any) -> None:
                processed.images[:] = [each for one in processed.images for each in (one, one)]
                super().postprocess(p, processed)

        studio.follower = Showing(lambda: studio.host, lambda *_: None)
        done = studio.run(Processing(batch_size=2), phrases="owl")
        assert len(done.images) == len(done.infotexts) == 6
        assert [text.split(",")[0] for text in done.infotexts] == [
            "picture 0",
            "picture 1",
            "",
            "",
            "picture 0",
            "picture 1",
        ]

    def test_can_be_inverted_grown_and_feathered(self, studio: Studio) -> None:
        plain = pixels(studio.run(Processing(), phrases="owl").images[1])
        inverted = pixels(studio.run(Processing(), phrases="owl", invert=True).images[1])
        wider = pixels(studio.run(Processing(), phrases="owl", grow=4).images[1])
        soft = pixels(studio.run(Processing(), phrases="owl", feather=4).images[1])
        assert np.array_equal(inverted, 255 - plain)
        assert wider.sum() > plain.sum()
        assert ((soft > 0) & (soft < 255)).sum() > 0

    def test_are_saved_and_shown_on_wish(self, studio: Studio) -> None:
        done = studio.run(Processing(), phrases="red owl", append=False, save=True, overlay=True)
        assert len(done.images) == 2
        assert done.images[1].mode == "RGB"
        [(mask, text, number, suffix)] = studio.saved
        assert mask.mode == "L"
        assert "LD-ZNet mask: red owl" in text
        assert (number, suffix) == (0, "-mask-red-owl")

    @pytest.mark.parametrize(
        ("title", "images"), [("SD upscale", 1), ("Prompts from file or textbox", 3)]
    )
    def test_do_not_get_among_the_pictures_of_a_script_that_joins_them(
        self, studio: Studio, title: str, images: int
    ) -> None:
        p = Processing(script_args=(1,), scripts=Scripts([title]))
        done = studio.run(p, phrases="owl", overlay=True, save=True)
        assert len(done.images) == images
        assert ("not shown, because SD upscale would" in done.comments) == (images == 1)
        assert len(studio.saved) == 1

    def test_are_of_the_size_that_the_picture_got(self, studio: Studio) -> None:
        """As when a script enlarges it afterwards."""
        drawn = studio.drawings[0]
        studio.drawings = [drawn._replace(picture=drawn.picture.resize((256, 256)))]
        done = studio.run(Processing(), phrases="owl")
        assert done.images[1].size == (256, 256)
        assert "sampling at t=20" in done.infotexts[1]


class TestProbes:
    def test_are_announced_where_nothing_was_captured(self, studio: Studio) -> None:
        studio.sampler.schedule = (999.0, 450.0)
        done = studio.run(Processing(), phrases="owl")
        assert "probe at t=100, because sampling made no pass" in done.infotexts[1]
        assert pixels(done.images[1]).any()
        assert "because sampling made no pass at a timestep from 0 to 300" in done.comments

    def test_are_made_of_a_picture_of_which_a_part_was_sampled(self, studio: Studio) -> None:
        done = studio.run(Processing(paste_to=(0, 0, 64, 64)), phrases="owl")
        assert "because only a part of the picture was sampled" in done.infotexts[1]

    def test_are_made_of_a_picture_that_was_stretched(self, studio: Studio) -> None:
        drawn = studio.drawings[0]
        studio.drawings = [drawn._replace(picture=drawn.picture.resize((128, 96)))]
        done = studio.run(Processing(), phrases="owl")
        assert "because the picture has other proportions" in done.infotexts[1]

    def test_are_refused_where_only_captures_are_wanted(self, studio: Studio) -> None:
        studio.sampler.schedule = (999.0,)
        p = Processing()
        done = studio.run(p, phrases="owl", source="sampling")
        assert len(done.images) == 1
        assert "expected features captured while sampling" in p.extra_generation_params[ERROR_KEY]
        assert "LD-ZNet: expected features captured" in done.comments
        assert "set Features (source) to auto or probe" in done.comments
        assert BY_NAME["source"].label == "Features"

    def test_set_no_hook_while_sampling(self, studio: Studio) -> None:
        seen: list[int] = []
        studio.sampler.on_step = lambda _: seen.append(hooks_on(studio.sampler.unet))
        studio.run(Processing(), phrases="owl", source="probe")
        assert set(seen) == {0}


class TestSeveralBatches:
    """Masks are made as soon as they can be, and what they were made from is let go."""

    @staticmethod
    def at_the_second(studio: Studio, act: Callable[[], object]) -> None:
        """Have something happen when the second batch begins to be sampled."""
        steps: list[int] = []

        def step(number: int) -> None:
            steps.append(number)
            if len(steps) == 1 + len(studio.sampler.schedule):
                act()

        studio.sampler.on_step = step

    def test_the_first_is_masked_before_the_second_begins(self, studio: Studio) -> None:
        self.at_the_second(studio, lambda: setattr(studio.host, "loaded", None))
        studio.follower = Follower(lambda: studio.host, lambda *_: None)
        studio.host.unet = lambda: studio.sampler.unet  # type: ignore[method-assign]
        done = studio.run(Processing(n_iter=2), phrases="owl")
        assert [text.split(",")[0] for text in done.infotexts[2:]] == ["picture 0"]
        assert pixels(done.images[2]).any()
        assert "LD-ZNet: picture 2: expected a checkpoint, got none" in done.comments

    def test_a_failure_in_the_first_leaves_the_second_its_masks(
        self, studio: Studio, miniature: Any
    ) -> None:
        studio.host.unet = lambda: studio.sampler.unet  # type: ignore[method-assign]

        class Failing(Follower):
            def keep_picture(self, p: Any, picture: Image.Image) -> None:
                studio.host.loaded = RuntimeError("no memory") if p.iteration == 0 else miniature
                super().keep_picture(p, picture)

        studio.follower = Failing(lambda: studio.host, lambda *_: None)
        p = Processing(n_iter=2)
        done = studio.run(p, phrases="red car")
        assert [text.split(",")[0] for text in done.infotexts[2:]] == ["picture 1"]
        assert pixels(done.images[2]).any()
        assert p.extra_generation_params[ERROR_KEY].startswith("picture 1: it failed")

    def test_probes_wait_for_the_end(self, studio: Studio, monkeypatch: pytest.MonkeyPatch) -> None:
        """Before that the UNet may be held by others, as by ControlNet."""
        probed: list[bool] = []
        probe, postprocess = studio.host.loaded.probe, studio.follower.postprocess

        def note(*asked: Any, **named: Any) -> Any:
            probed.append(is_over)
            return probe(*asked, **named)

        def end(p: Any, processed: Any) -> None:
            nonlocal is_over
            is_over = True
            postprocess(p, processed)

        is_over = False
        monkeypatch.setattr(studio.host.loaded, "probe", note)
        monkeypatch.setattr(studio.follower, "postprocess", end)
        drawn = studio.drawings[0]
        stretched = drawn._replace(picture=drawn.picture.resize((128, 96)))
        studio.drawings = [stretched, studio.drawings[1]]
        done = studio.run(Processing(n_iter=2), phrases="owl")
        assert len(done.images) == 4
        assert probed == [True]

    def test_a_probe_that_fails_leaves_the_others(
        self, studio: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probes: list[int] = []
        probe = studio.host.loaded.probe

        def fail_first(*asked: Any, **named: Any) -> Any:
            probes.append(len(probes))
            if len(probes) == 1:
                raise RuntimeError("no memory")
            return probe(*asked, **named)

        monkeypatch.setattr(studio.host.loaded, "probe", fail_first)
        p = Processing(n_iter=2)
        done = studio.run(p, phrases="owl", source="probe")
        assert [text.split(",")[0] for text in done.infotexts[2:]] == ["picture 1"]

    def test_a_mask_that_cannot_be_saved_leaves_the_others(self, studio: Studio) -> None:
        saved: list[int] = []

        def save(p: Any, picture: Image.Image, text: str, number: int, suffix: str) -> None:
            if number == 0:
                raise OSError("the disk is full")
            saved.append(number)

        studio.follower = Follower(lambda: studio.host, save)
        done = studio.run(Processing(n_iter=2), phrases="owl", save=True)
        assert saved == [1]
        assert "picture 1: it failed (OSError: the disk is full)" in done.comments

    def test_features_and_latents_of_a_batch_do_not_outlive_it(self, studio: Studio) -> None:
        def kept() -> int:
            gc.collect()
            return sum(type(each) in (Features, Segmentation) for each in gc.get_objects())

        before, during = kept(), []
        self.at_the_second(studio, lambda: during.append(kept()))
        done = studio.run(Processing(n_iter=2), phrases="owl", overlay=True)
        assert len(done.images) == 6
        assert during == [before]

    def test_what_befell_all_is_said_once(self, studio: Studio) -> None:
        studio.sampler.schedule = (999.0,)
        done = studio.run(Processing(n_iter=2), phrases="owl", source="sampling")
        assert done.comments.count("expected features captured while sampling") == 1

    def test_a_head_that_is_loaded_while_the_host_paints_can_be_changed_later(
        self, studio: Studio
    ) -> None:
        """Forge paints in inference mode, in which what is made stays as it is."""
        heads.KEEPER.forget()
        with torch.inference_mode():
            done = studio.run(Processing(), phrases="owl")
        assert len(done.images) == 2
        name, folder = "miniature-compact", studio.host.heads_folder()
        with heads.KEEPER.at_work(name, folder, torch.device("cpu"), torch.float32) as head:
            assert isinstance(head, nn.Module)
            assert not any(each.is_inference() for each in head.parameters())


class TestWithoutATrainedHead:
    def test_masks_come_from_the_attention_of_the_run(self, studio: Studio) -> None:
        p = Processing(batch_size=2)
        done = studio.run(p, phrases="owl", head="training-free", source="sampling")
        assert len(done.images) == 4
        for text in done.infotexts[2:]:
            assert "LD-ZNet features: sampling at t=20, LD-ZNet used head: training-free" in text
        assert "LD-ZNet found: found" in done.infotexts[2]
        assert pixels(done.images[2]).any()
        assert (pixels(done.images[2]) != pixels(done.images[3])).any()

    def test_a_probe_will_do_as_well(self, studio: Studio) -> None:
        done = studio.run(Processing(), phrases="owl", head="training-free", source="probe")
        assert "probe at t=100, LD-ZNet used head: training-free" in done.infotexts[1]

    def test_auto_does_without_where_no_head_fits(
        self, studio: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(heads, "BUILT_IN", {})
        done = studio.run(Processing(), phrases="owl")
        assert "sampling at t=20, LD-ZNet used head: training-free" in done.infotexts[1]
        assert "LD-ZNet head" not in done.infotexts[1]

    def test_only_attention_is_listened_to(self, studio: Studio, miniature: Any) -> None:
        listened: set[str] = set()

        def look(module: nn.Module, inputs: object) -> None:
            listened.update(name for name, part in miniature.unet.named_modules() if hooks_at(part))

        with miniature.unet.output_blocks[-1].register_forward_pre_hook(look):
            done = generate(
                Processing(),
                studio.follower,
                studio.sampler,
                [(studio.drawings[0].latents, studio.drawings[0].picture)],
                [{"phrases": "owl", "head": "training-free"}],
            )
        assert len(done.images) == 2
        inside = {name for name in listened if "attn" in name or "transformer" in name}
        assert inside
        assert all(name.endswith(("to_q", "to_k")) for name in inside)

    def test_a_head_that_comes_during_the_run_is_not_taken(
        self, studio: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(heads, "BUILT_IN", {})
        studio.sampler.on_step = lambda _: monkeypatch.undo()
        done = studio.run(Processing(), phrases="owl")
        assert "LD-ZNet used head: training-free" in done.infotexts[1]


class TestTrouble:
    """Whatever it is, the pictures come."""

    @pytest.mark.parametrize(
        ("settings", "sentence"),
        [
            ({"phrases": ""}, "at least one phrase"),
            ({"phrases": "owl", "thresh": 1}, "got 'thresh'"),
            (
                {"phrases": "owl", "head": "../secret"},
                "expected one of the heads auto, mini",
            ),
            ({"phrases": "owl " * 100}, "at most 77 tokens"),
        ],
    )
    def test_is_a_sentence_beside_them(
        self, studio: Studio, settings: dict[str, Any], sentence: str
    ) -> None:
        p = Processing()
        done = studio.run(p, **settings)
        assert len(done.images) == 1
        assert sentence in p.extra_generation_params[ERROR_KEY]
        assert any(sentence in said for said in [*p.comments, done.comments])

    @pytest.mark.parametrize("loaded", [None, "flux"])
    def test_with_the_model_is_told_before_anything_is_made(
        self, studio: Studio, loaded: Any
    ) -> None:
        studio.host.loaded = loaded
        p = Processing()
        done = studio.run(p, phrases="owl")
        assert len(done.images) == 1
        assert "expected a checkpoint" in next(iter(p.comments))

    def test_of_our_own_making_is_a_sentence_too(self, studio: Studio) -> None:
        studio.host.loaded = RuntimeError("out of memory\nwith a long tail")
        p = Processing()
        assert len(studio.run(p, phrases="owl").images) == 1
        assert list(p.comments) == ["LD-ZNet: it failed (RuntimeError: out of memory); see the log"]

    def test_nothing_happens_unless_masks_are_asked_for(self, studio: Studio) -> None:
        p = Processing()
        done = studio.run(p, enabled=False, phrases="owl")
        assert len(done.images) == 1
        assert not p.extra_generation_params

    def test_an_interrupted_run_is_masked_by_what_it_showed(self, studio: Studio) -> None:
        studio.host.was_interrupted = True
        assert len(studio.run(Processing(), phrases="owl").images) == 2

    def test_an_interrupted_run_is_not_probed(self, studio: Studio) -> None:
        studio.host.was_interrupted = True
        studio.sampler.schedule = (999.0,)
        done = studio.run(Processing(), phrases="owl")
        assert len(done.images) == 1
        assert "interrupted" in done.comments

    def test_only_the_picture_that_was_cut_short_is_not_probed(self, studio: Studio) -> None:
        """What was finished before has its masks."""
        studio.sampler.schedule = (999.0,)
        steps: list[int] = []

        def interrupt_in_the_second(number: int) -> None:
            steps.append(number)
            studio.host.was_interrupted = len(steps) == 2

        studio.sampler.on_step = interrupt_in_the_second
        done = studio.run(Processing(n_iter=2), phrases="owl")
        assert [text.split(",")[0] for text in done.infotexts[2:]] == ["picture 0"]
        assert "probe at t=100" in done.infotexts[2]
        assert "interrupted before it showed any" in done.comments

    def test_a_probe_that_is_asked_for_is_made_of_an_interrupted_run(self, studio: Studio) -> None:
        studio.host.was_interrupted = True
        done = studio.run(Processing(), phrases="owl", source="probe")
        assert len(done.images) == 2
        assert "interrupted" not in done.comments

    def test_an_interrupt_while_masks_are_made_ends_them(
        self, studio: Studio, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        probe = studio.host.loaded.probe

        def interrupt(*asked: Any, **named: Any) -> Any:
            studio.host.was_interrupted = True
            return probe(*asked, **named)

        monkeypatch.setattr(studio.host.loaded, "probe", interrupt)
        done = studio.run(Processing(n_iter=2), phrases="owl", source="probe")
        assert len(done.images) == 3
        assert "picture 2: expected time for all masks, got interrupted" in done.comments

    def test_a_failure_of_the_host_leaves_no_hook(self, studio: Studio) -> None:
        def fail(number: int) -> None:
            if number == 2:
                raise RuntimeError("the host fell over")

        studio.sampler.on_step = fail
        p = Processing()
        with pytest.raises(RuntimeError, match="fell over"):
            studio.run(p, phrases="owl")
        assert hooks_on(studio.sampler.unet) == 0
        assert p.closed == 1
        assert len(_again(studio)) == 2

    def test_unloading_the_script_takes_all_hooks(self, studio: Studio) -> None:
        studio.sampler.on_step = lambda number: studio.follower.forget() if number == 1 else None
        assert len(studio.run(Processing(), phrases="owl").images) == 1

    def test_a_generation_within_one_is_let_be(self, studio: Studio) -> None:
        """As detailers make them, with the same scripts."""
        inner: list[Processed] = []
        pictures = [(each.latents, each.picture) for each in studio.drawings]
        quiet = Sampler(studio.sampler.unet, studio.sampler.context)

        def nest(number: int) -> None:
            if number == 1:
                asked = [{"phrases": "red car"}]
                inner.append(generate(Processing(), studio.follower, quiet, pictures[1:], asked))

        studio.sampler.on_step = nest
        outer = studio.run(Processing(), phrases="owl")
        assert len(inner[0].images) == 1
        assert len(outer.images) == 2
        assert "LD-ZNet mask: owl" in outer.infotexts[1]
        assert "sampling at t=20" in outer.infotexts[1]

    def test_a_copy_that_failed_and_was_not_closed_is_not_waited_for(self, studio: Studio) -> None:
        """As cells of an X/Y/Z plot are, whose failures the host prints and passes over."""
        pictures = [(each.latents, each.picture) for each in studio.drawings]
        p, done = Processing(), []

        def fail_in_the_second(number: int) -> None:
            if number == 2 and len(done) == 1:
                raise MemoryError

        studio.sampler.on_step = fail_in_the_second
        for _ in range(3):
            with suppress(MemoryError):
                asked = [{"phrases": "owl"}]
                done.append(
                    process_images(copy(p), studio.follower, studio.sampler, pictures, asked)
                )
                continue
            done.append(Processed([], []))
        assert [len(each.images) for each in done] == [2, 0, 2]
        assert hooks_on(studio.sampler.unet) == 0

    def test_no_hook_outlives_an_object_that_nobody_closed(self, studio: Studio) -> None:
        def fail(number: int) -> None:
            if number == 2:
                raise MemoryError

        studio.sampler.on_step = fail
        pictures = [(each.latents, each.picture) for each in studio.drawings]
        with suppress(MemoryError):
            asked = [{"phrases": "owl"}]
            process_images(Processing(), studio.follower, studio.sampler, pictures, asked)
        gc.collect()
        assert hooks_on(studio.sampler.unet) == 0

    def test_the_same_object_may_be_processed_again(self, studio: Studio) -> None:
        """As loops over a picture do."""
        p = Processing()
        assert len(studio.run(p, phrases="owl").images) == 2
        p.closed = 0
        assert len(studio.run(p, phrases="owl").images) == 2

    def test_a_generation_is_let_go_with_its_object(self, studio: Studio) -> None:
        p = Processing()
        studio.run(p, phrases="owl")
        assert getattr(p, ATTRIBUTE).is_over


def _again(studio: Studio) -> list[Image.Image]:
    studio.sampler.on_step = _nothing
    return studio.run(Processing(), phrases="owl").images


_nothing: Callable[[int], None] = lambda _: None  # noqa: E731 (a callback that does nothing)


def test_latents_that_are_decoded_already_are_encoded_again(studio: Studio) -> None:
    """As those of a high-resolution fix."""

    class Decoded(list[torch.Tensor]):
        already_decoded = True

    class Fixing(Follower):
        def end_sampling(self, p: Any, samples: Any) -> None:
            super().end_sampling(p, Decoded(samples))

    studio.follower = Fixing(lambda: studio.host, lambda *_: None)
    done = studio.run(Processing(), phrases="owl")
    assert "sampling at t=20" in done.infotexts[1]
    assert pixels(done.images[1]).any()
