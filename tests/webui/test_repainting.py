"""The mask of img2img, of what the phrases name in the picture that is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldznet_webui.repainting import MASK_KEY
from ldznet_webui.settings import FIELDS
from ldznet_webui.telling import ERROR_KEY

from .conftest import Drawn
from .generating import Processed, Processing, Scripts
from .studio import Studio, pixels

OWL_HALF = (0, 0, 64, 128)
"""Left, upper, right and lower edge of a part of the picture that cuts its owl."""


@pytest.fixture
def studio(miniature: Any, drawings: list[Drawn], tmp_path: Path) -> Studio:
    return Studio(miniature, drawings, tmp_path)


class TestInpainting:
    def test_repaints_what_is_named(self, studio: Studio) -> None:
        picture = studio.drawings[0].picture
        p = Processing(init_images=[picture])
        studio.run(p, phrases="owl", use_as_mask=True)
        assert p.image_mask is not None
        assert p.image_mask.size == picture.size
        assert pixels(p.image_mask).any()
        assert p.inpaint_full_res

    @pytest.mark.parametrize(
        "settings",
        [
            {"phrases": "red car"},
            {"phrases": "owl", "head": "gone"},
            {"phrases": ""},
            {"phrases": "owl", "threshold": 7},
            {"phrases": "owl", "thresh": 0.5},
            {"phrases": "owl", "use_as_mask": "please"},
        ],
    )
    def test_of_nothing_repaints_nothing(self, studio: Studio, settings: dict[str, Any]) -> None:
        """Not there, or refused: either way nobody said what to repaint."""
        p = Processing(init_images=[studio.drawings[0].picture], inpainting_mask_invert=1)
        studio.run(p, **{"use_as_mask": True, **settings})
        assert p.image_mask is not None
        assert not pixels(p.image_mask).any()
        assert not p.inpaint_full_res
        assert not p.inpainting_mask_invert
        assert p.comments

    @pytest.mark.parametrize(
        ("settings", "remedy"),
        [
            ({"phrases": "red car"}, "simpler words or another head, or tick Keep absent"),
            (
                {"phrases": "owl", "negative_phrases": "owl"},
                "lower the threshold, or check the negative phrases",
            ),
        ],
    )
    def test_of_nothing_tells_what_would_help(
        self, studio: Studio, settings: dict[str, Any], remedy: str
    ) -> None:
        """What is not there has an empty mask at any threshold."""
        p = Processing(init_images=[studio.drawings[0].picture])
        studio.run(p, use_as_mask=True, **settings)
        assert next(iter(p.comments)).endswith(remedy)

    def test_of_what_is_not_there_is_nothing_at_the_lowest_threshold(self, studio: Studio) -> None:
        p = Processing(init_images=[studio.drawings[0].picture])
        studio.run(p, use_as_mask=True, phrases="red car", threshold=0.01)
        assert not pixels(p.image_mask).any()

    def test_of_what_is_not_there_repaints_its_likeliest_place_if_it_is_kept(
        self, studio: Studio
    ) -> None:
        p = Processing(init_images=[studio.drawings[0].picture])
        studio.run(p, use_as_mask=True, phrases="red car", keep_absent=True)
        assert pixels(p.image_mask).any()
        assert p.inpaint_full_res

    def test_what_one_picture_of_several_came_to_is_its_own(self, studio: Studio) -> None:
        """As in img2img's batch, which gives the same object one picture after another."""
        owl, car = (each.picture for each in studio.drawings[:2])
        p = Processing(inpainting_mask_invert=1)
        told = []
        for picture in (owl, car, owl):
            p.init_images, p.closed = [picture], 0
            studio.run(p, phrases="owl", use_as_mask=True)
            told.append(
                (
                    pixels(p.image_mask).any() if p.image_mask else None,
                    p.inpaint_full_res,
                    p.inpainting_mask_invert,
                    "LD-ZNet error" in p.extra_generation_params,
                    any("nothing" in comment for comment in p.comments),
                )
            )
        assert told[0] == told[2] == (True, True, 1, False, False)
        assert told[1] == (False, False, 0, True, True)

    def test_that_is_refused_in_the_panel_repaints_nothing(self, studio: Studio) -> None:
        """It hands over a value for each setting, by their order."""
        p = Processing(init_images=[studio.drawings[0].picture])
        given = {"enabled": True, "phrases": "", "use_as_mask": True}
        values = [given.get(field.name, field.default) for field in FIELDS]
        studio.follower.process(p, values)
        assert p.image_mask is not None
        assert not pixels(p.image_mask).any()
        assert "at least one phrase" in next(iter(p.comments))

    @pytest.mark.parametrize(
        "settings",
        [{"phrases": ""}, {"phrases": "", "use_as_mask": True, "enabled": False}],
    )
    def test_that_is_not_asked_for_leaves_the_hosts_own_mask(
        self, studio: Studio, settings: dict[str, Any]
    ) -> None:
        p = Processing(init_images=[studio.drawings[0].picture])
        studio.run(p, **settings)
        assert p.image_mask is None
        assert p.inpaint_full_res

    @pytest.mark.parametrize("given", [[], [None]])
    def test_is_for_given_pictures_only(self, studio: Studio, given: list[Any]) -> None:
        p = Processing(init_images=given)
        studio.run(p, phrases="owl", use_as_mask=True)
        assert p.image_mask is None


class TestDrawnMasks:
    """Where users have drawn one, no more is repainted than it lets be."""

    @staticmethod
    def drawn(studio: Studio, *box: int, mode: str = "L") -> Image.Image:
        """A box as a mask: "L", opaque "RGBA", or only the alpha of one."""
        mask = Image.new("L", studio.drawings[0].picture.size)
        mask.paste(255, box or OWL_HALF)
        if mode == "L":
            return mask
        alpha = mask if mode == "alpha" else Image.new("L", mask.size, 255)
        return Image.merge("RGBA", (mask, mask, mask, alpha))

    @staticmethod
    def repaint(studio: Studio, p: Processing, **settings: Any) -> Processed:
        p.init_images = p.init_images or [studio.drawings[0].picture]
        return studio.run(p, **{"phrases": "owl", "use_as_mask": True, **settings})

    @pytest.fixture
    def named(self, studio: Studio) -> np.ndarray[Any, Any]:
        """What is repainted if nothing is drawn."""
        p = Processing()
        self.repaint(studio, p)
        return pixels(p.image_mask)

    @pytest.mark.parametrize("mode", ["L", "RGBA", "alpha"])
    def test_only_what_is_inside_both_is_repainted(
        self, studio: Studio, named: np.ndarray[Any, Any], mode: str
    ) -> None:
        p = Processing(image_mask=self.drawn(studio, mode=mode))
        self.repaint(studio, p)
        both = np.minimum(named, pixels(self.drawn(studio)))
        assert both.any()
        assert not np.array_equal(both, named)
        assert np.array_equal(pixels(p.image_mask), both)
        words = p.extra_generation_params[MASK_KEY]
        assert words.startswith("owl found (1.00); features: probe at t=100")
        assert words.endswith("only inside the drawn mask")
        assert f"{MASK_KEY}: {words}" in p.comments

    def test_where_hosts_repaint_what_is_not_masked_neither_is_repainted(
        self, studio: Studio, named: np.ndarray[Any, Any]
    ) -> None:
        p = Processing(image_mask=self.drawn(studio), inpainting_mask_invert=1)
        self.repaint(studio, p)
        assert np.array_equal(pixels(p.image_mask), np.maximum(named, pixels(self.drawn(studio))))
        assert p.inpainting_mask_invert
        assert p.extra_generation_params[MASK_KEY].endswith("what was drawn is kept too")

    @pytest.mark.parametrize("mode", ["L", "alpha"])
    def test_one_with_nothing_drawn_on_it_is_none(
        self, studio: Studio, named: np.ndarray[Any, Any], mode: str
    ) -> None:
        """The tab "Inpaint" hands one over, whatever is drawn."""
        p = Processing(image_mask=self.drawn(studio, 0, 0, 0, 0, mode=mode))
        self.repaint(studio, p)
        assert np.array_equal(pixels(p.image_mask), named)
        assert "drawn" not in p.extra_generation_params[MASK_KEY]

    def test_one_of_another_size_is_laid_over_the_picture(
        self, studio: Studio, named: np.ndarray[Any, Any]
    ) -> None:
        p = Processing(image_mask=self.drawn(studio).resize((64, 64)))
        self.repaint(studio, p)
        both = np.minimum(named, pixels(self.drawn(studio)))
        assert pixels(p.image_mask).shape == named.shape
        assert np.abs(pixels(p.image_mask).astype(float) - both).mean() < 3

    @pytest.mark.parametrize("is_inverted", [0, 1])
    def test_with_nothing_left_of_both_nothing_is_repainted(
        self, studio: Studio, named: np.ndarray[Any, Any], is_inverted: int
    ) -> None:
        outside = Image.fromarray(np.where(named > 0, 0, 255).astype(np.uint8))
        p = Processing(image_mask=outside, inpainting_mask_invert=is_inverted)
        done = self.repaint(studio, p)
        assert len(done.images) == 1
        assert not pixels(p.image_mask).any()
        assert (p.inpaint_full_res, p.inpainting_mask_invert) == (False, 0)
        problem = p.extra_generation_params[ERROR_KEY]
        assert problem.startswith("expected something to repaint in the picture, got ")
        assert ("nothing in common" in problem) == (not is_inverted)
        assert MASK_KEY not in p.extra_generation_params

    def test_one_is_there_again_for_the_next_picture(self, studio: Studio) -> None:
        """As loops over a picture want it."""
        drawn = self.drawn(studio)
        p = Processing(image_mask=drawn)
        self.repaint(studio, p)
        first, p.closed = p.image_mask, 0
        self.repaint(studio, p)
        assert first is not None
        assert np.array_equal(pixels(p.image_mask), pixels(first))
        p.closed = 0
        self.repaint(studio, p, enabled=False)
        assert p.image_mask is drawn
        assert MASK_KEY not in p.extra_generation_params
        assert not p.comments

    def test_what_was_named_in_the_last_picture_is_not_taken_for_one(self, studio: Studio) -> None:
        """As in img2img's batch, which may bring a mask for each picture, or none."""
        owl, car = (each.picture for each in studio.drawings[:2])
        p = Processing(init_images=[owl])
        self.repaint(studio, p)
        p.init_images, p.closed = [car], 0
        self.repaint(studio, p, phrases="red car")
        assert pixels(p.image_mask).any()
        assert "drawn" not in p.extra_generation_params[MASK_KEY]
        p.image_mask, p.closed = self.drawn(studio, 0, 0, 128, 128), 0
        self.repaint(studio, p, phrases="red car")
        assert "drawn" in p.extra_generation_params[MASK_KEY]


class TestTheMaskThatWasUsed:
    def test_is_shown_once_after_the_masks_of_the_results(self, studio: Studio) -> None:
        p = Processing(batch_size=2, init_images=[studio.drawings[0].picture])
        done = studio.run(p, phrases="owl\nhamburger", use_as_mask=True)
        assert len(done.images) == len(done.infotexts) == 2 + 4 + 1
        *others, text = done.infotexts
        assert not any("LD-ZNet mask of" in other for other in others)
        assert text.startswith("picture 0, LD-ZNet mask of: ")
        assert "for inpainting" in text
        assert 'LD-ZNet mask: "owl, hamburger", LD-ZNet found: "found, not there"' in text
        assert 'LD-ZNet score: "0.999, 0.' in text
        assert np.array_equal(pixels(done.images[-1]), pixels(p.image_mask))
        assert "the last picture is the mask for inpainting" in done.comments

    def test_is_shown_and_saved_as_masks_are(self, studio: Studio) -> None:
        p = Processing(init_images=[studio.drawings[0].picture])
        done = studio.run(p, phrases="owl", use_as_mask=True, append=False, save=True)
        assert len(done.images) == 1
        assert [suffix for *_, suffix in studio.saved] == ["-mask-owl", "-inpaint-mask"]

    def test_is_not_shown_to_a_script_that_joins_pictures(self, studio: Studio) -> None:
        p = Processing(script_args=(1,), scripts=Scripts(["SD upscale"]))
        p.init_images = [studio.drawings[0].picture]
        assert len(studio.run(p, phrases="owl", use_as_mask=True).images) == 1


class TestSeveralPictures:
    def test_that_differ_are_refused_as_hosts_have_one_mask_for_all(self, studio: Studio) -> None:
        p = Processing(batch_size=2, init_images=[each.picture for each in studio.drawings[:2]])
        studio.run(p, phrases="owl", use_as_mask=True)
        assert not pixels(p.image_mask).any()
        assert "got 2 different ones" in p.extra_generation_params[ERROR_KEY]

    def test_that_are_the_same_have_one_mask(self, studio: Studio) -> None:
        picture = studio.drawings[0].picture
        p = Processing(batch_size=3, init_images=[picture, picture, picture.copy()])
        studio.run(p, phrases="owl", use_as_mask=True)
        assert pixels(p.image_mask).any()
