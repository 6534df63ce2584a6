"""What literal logits say about phrases."""

from __future__ import annotations

import pytest
import torch

from ldznet_core.errors import InputError
from ldznet_core.segmentation import Request, Segmentation, read_logits

CAT = [[4.0, 4.0, -4.0, -4.0]]
DOG = [[-4.0, 4.0, 4.0, -4.0]]
NOTHING = [[-4.0, -4.0, -4.0, -3.0]]


def _read(
    logits: list[list[list[float]]],
    negatives: int = 0,
    threshold: float = 0.5,
    size: tuple[int, int] = (1, 4),
    keep_absent: bool = False,
) -> Segmentation:
    names = [f"thing {number}" for number in range(len(logits))]
    wanted = len(names) - negatives
    request = Request.checked(names[:wanted], names[wanted:], threshold, keep_absent)
    return read_logits(torch.tensor(logits), request, size, presence_threshold=0.5)


def test_each_phrase_has_the_mask_of_its_own_logits() -> None:
    read = _read([CAT, DOG])
    assert read.phrases == ("thing 0", "thing 1")
    assert read.masks.tolist() == [[[1.0, 1.0, 0.0, 0.0]], [[0.0, 1.0, 1.0, 0.0]]]
    assert read.found == [True, True]
    assert read.scores == pytest.approx([0.982, 0.982], abs=1e-3)
    assert torch.equal(read.probabilities, read.logits.sigmoid())


def test_what_is_absent_has_an_empty_mask_a_low_score_and_its_probabilities() -> None:
    read = _read([NOTHING], threshold=0.02)
    assert read.found == [False]
    assert read.masks.sum() == 0
    assert read.scores == pytest.approx([0.047], abs=1e-3)
    assert (read.probabilities > 0).all()


def test_negatives_are_taken_out_of_every_mask() -> None:
    read = _read([CAT, CAT, DOG, NOTHING], negatives=2)
    assert read.masks.tolist() == [[[1.0, 0.0, 0.0, 0.0]]] * 2
    assert read.phrases == ("thing 0", "thing 1")
    assert len(read.logits) == len(read.probabilities) == len(read.scores) == len(read.found) == 2


def test_probabilities_stay_those_of_the_phrase_whatever_the_negatives() -> None:
    assert torch.equal(_read([CAT, DOG], negatives=1).probabilities, _read([CAT]).probabilities)


def test_a_negative_that_is_absent_takes_nothing_away() -> None:
    """Below the presence threshold its mask is empty, even where it is above the mask threshold."""
    read = _read([CAT, NOTHING], negatives=1, threshold=0.01)
    assert read.masks.tolist() == _read([CAT], threshold=0.01).masks.tolist()


def test_what_a_negative_covers_whole_is_not_found() -> None:
    read = _read([CAT, CAT], negatives=1)
    assert read.found == [False]
    assert read.scores == pytest.approx([0.982], abs=1e-3)


def test_what_is_present_is_told_apart_from_what_is_found() -> None:
    """A thing may be there, and a negative or a high threshold leave nothing of its mask."""
    covered = _read([CAT, CAT], negatives=1)
    assert (covered.present, covered.found) == ([True], [False])
    strict = _read([CAT, NOTHING], threshold=0.99)
    assert (strict.present, strict.found) == ([True, False], [False, False])
    plain = _read([CAT, NOTHING])
    assert (plain.present, plain.found) == ([True, False], [True, False])


def test_a_score_at_the_presence_threshold_is_enough() -> None:
    read = _read([[[0.0, -9.0, -9.0, -9.0]]])
    assert read.scores == [0.5]
    assert read.present == [True]


def test_logits_are_resized_before_the_threshold() -> None:
    """Between 4 and -4 a bilinear doubling has 2 and -2: a sharp edge stays in the middle."""
    read = _read([CAT], size=(1, 8))
    assert read.logits[0, 0].tolist() == [4.0, 4.0, 4.0, 2.0, -2.0, -4.0, -4.0, -4.0]
    assert read.masks[0, 0].tolist() == [1.0] * 4 + [0.0] * 4


def test_a_score_does_not_depend_on_the_size_asked_for() -> None:
    single = [[9.0, -9.0, -9.0, -9.0]]
    assert _read([single], size=(1, 4)).scores == _read([single], size=(1, 3)).scores


@pytest.mark.parametrize("threshold", [0.0, 1.0, -0.1, 50.0, float("nan")])
def test_a_threshold_that_is_no_probability_is_refused(threshold: float) -> None:
    with pytest.raises(InputError, match="expected a threshold above 0 and below 1"):
        Request.checked(["cat"], [], threshold)


class TestKeepingWhatIsAbsent:
    """Logits may be above 0 nowhere, as doubt is in them: shape and presence come apart."""

    def test_a_mask_is_where_the_thing_would_be_and_the_verdict_stays(self) -> None:
        shape = torch.tensor([[6.0, 1.0, -1.0, -6.0]])
        doubted = (-torch.logaddexp(-shape, torch.tensor(3.0))).tolist()
        (strict, kept) = (_read([doubted], keep_absent=keep) for keep in (False, True))
        assert strict.masks.sum() == 0
        assert kept.masks.tolist() == [[[1.0, 1.0, 0.0, 0.0]]]
        for read, verdict in ((strict, "not there"), (kept, "not there (mask kept)")):
            assert (read.found, read.present, read.verdict(0)) == ([False], [False], verdict)
        assert kept.scores == strict.scores
        assert torch.equal(kept.probabilities, strict.probabilities)

    def test_what_is_there_has_the_same_mask(self) -> None:
        assert torch.equal(_read([CAT, DOG], keep_absent=True).masks, _read([CAT, DOG]).masks)

    def test_a_negative_that_is_absent_still_takes_nothing_away(self) -> None:
        kept = _read([CAT, NOTHING], negatives=1, keep_absent=True)
        assert torch.equal(kept.masks, _read([CAT]).masks)

    def test_negatives_are_taken_out_of_it(self) -> None:
        kept = _read([NOTHING, CAT], negatives=1, keep_absent=True)
        assert kept.masks.tolist() == [[[0.0, 0.0, 0.0, 1.0]]]


class TestEdges:
    def test_a_mask_does_not_grow_over_what_a_negative_takes_out(self) -> None:
        grown = _read([CAT, DOG], negatives=1).edged(1, 0)
        assert grown.masks.tolist() == [[[1.0, 0.0, 0.0, 0.0]]]
        assert _read([CAT]).edged(1, 0).masks.tolist() == [[[1.0, 1.0, 1.0, 0.0]]]

    def test_edges_fade_last(self) -> None:
        faded = _read([CAT, DOG], negatives=1, size=(1, 40)).edged(4, 2).masks[0, 0]
        assert ((faded > 0) & (faded < 1)).any()
        assert faded[14:].sum() == 0

    def test_no_pixels_change_nothing(self) -> None:
        read = _read([CAT])
        assert read.edged(0, 0) is read


def test_verdicts_tell_what_is_there_from_what_is_left_of_its_mask() -> None:
    covered = _read([CAT, NOTHING, DOG, CAT], negatives=1)
    assert [covered.verdict(index) for index in range(3)] == [
        "there, but nothing is left of its mask",
        "not there",
        "found",
    ]


def test_two_segmentations_can_be_compared_and_kept_in_a_set() -> None:
    one, other = _read([CAT]), _read([CAT])
    assert one != other
    assert len({one, other, one}) == 2
