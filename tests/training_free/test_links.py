"""Links between positions: the formulas written out agree, also where rows come in portions."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from ldznet_core.training_free import links as links_module
from ldznet_core.training_free.links import Link, Linked, Links, link_matrix, refine

from . import literal
from .small import UNETS, attention_for, noise, random_link


def walk(scores: Tensor, matrix: Tensor, steps: int) -> Tensor:
    """Scores ``(P, N)``, of positions in a row, after some steps."""
    row = 1, len(matrix)
    return Linked(row, row, matrix).walk(scores[:, None], steps)[:, 0]


class TestMatrix:
    @pytest.mark.parametrize("blocks", [1, 3])
    def test_the_formula_written_out_gives_the_same(self, blocks: int) -> None:
        links = [random_link(seed=10 * index) for index in range(blocks)]
        literal.assert_near(link_matrix(links), literal.mean_matrix(links))

    @pytest.mark.parametrize("name", UNETS)
    def test_so_it_does_on_what_a_unet_sees(self, name: str) -> None:
        links = list(attention_for(name, (3,), size=(8, 16)).links.values())
        literal.assert_near(link_matrix(links), literal.mean_matrix(links))

    @pytest.mark.parametrize("rows_at_once", [1, 5, 12, 13])
    def test_portions_of_rows_give_what_all_at_once_give(
        self, rows_at_once: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        links = [random_link(), random_link(seed=4)]
        whole = link_matrix(links)
        monkeypatch.setattr(links_module, "ROWS_AT_ONCE", rows_at_once)
        torch.testing.assert_close(link_matrix(links), whole, atol=1e-6, rtol=0)

    def test_more_rows_than_a_portion_give_what_the_whole_softmax_gives(self) -> None:
        link = random_link(positions=links_module.ROWS_AT_ONCE + 9)
        products = link.queries @ link.keys.transpose(1, 2) / 5**0.5
        torch.testing.assert_close(
            link_matrix([link]), products.softmax(dim=-1).mean(dim=0), atol=1e-6, rtol=0
        )

    @given(st.integers(0, 999), st.integers(1, 3), st.integers(1, 20), st.floats(0.1, 50))
    def test_rows_sum_to_1_and_nothing_is_below_0(
        self, seed: int, blocks: int, positions: int, length: float
    ) -> None:
        links = [random_link(positions=positions, seed=seed + index) for index in range(blocks)]
        matrix = link_matrix([Link(each.queries * length, each.keys) for each in links])
        assert matrix.shape == (positions, positions)
        assert matrix.min() >= 0
        torch.testing.assert_close(matrix.sum(dim=1), torch.ones(positions))

    def test_it_is_made_once_of_the_links_of_a_picture(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        links = Links({12: random_link(), 13: random_link(seed=4)})
        linked = links.on((3, 4))
        monkeypatch.setattr(links_module, "link_matrix", None)
        assert links.on((3, 4)) is linked
        monkeypatch.undo()
        assert linked.grid == linked.seen == (3, 4)
        assert torch.equal(linked.matrix, link_matrix(links.values()))

    @pytest.mark.parametrize(
        ("most", "seen"), [(45 * 45, (5, 9)), (45 * 45 - 1, (3, 5)), (45 * 14, (2, 3)), (1, (1, 1))]
    )
    def test_beyond_so_many_links_neighbours_are_seen_as_one(
        self, most: int, seen: tuple[int, int], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(links_module, "MOST_LINKS", most)
        links = Links({12: random_link(positions=5 * 9), 13: random_link(positions=5 * 9, seed=4)})
        linked = links.on((5, 9))
        assert (linked.grid, linked.seen) == ((5, 9), seen)
        merged = [
            Link(each.queries, literal.merged(each.keys, (5, 9), seen)) for each in links.values()
        ]
        literal.assert_near(linked.matrix, literal.mean_matrix(merged))
        scores = noise(2, 5, 9)
        seen_scores = literal.merged(scores.flatten(1)[..., None], (5, 9), seen)[..., 0]
        expected = seen_scores @ linked.matrix.double().T
        literal.assert_near(linked.walk(scores, 1).flatten(1), expected)

    def test_an_iterator_of_links_will_do(self) -> None:
        links = [random_link(), random_link(seed=4)]
        assert torch.equal(link_matrix(iter(links)), link_matrix(links))


class TestWalk:
    @pytest.mark.parametrize("steps", [0, 1, 4])
    def test_steps_written_out_give_the_same(self, steps: int) -> None:
        scores, matrix = noise(2, 12), link_matrix([random_link()])
        expected = literal.walked(scores, matrix, steps)
        literal.assert_near(walk(scores, matrix, steps), expected)

    def test_many_steps_are_a_power_of_the_matrix(self) -> None:
        scores, matrix = noise(2, 12), link_matrix([random_link()])
        power = torch.linalg.matrix_power(matrix, 4)
        torch.testing.assert_close(walk(scores, matrix, 4), (power @ scores.T).T)

    def test_equal_scores_stay_and_others_do_not_leave_their_range(self) -> None:
        matrix = link_matrix([random_link()])
        torch.testing.assert_close(walk(torch.ones(1, 12), matrix, 3), torch.ones(1, 12))
        scores = noise(1, 12)
        assert scores.min() <= walk(scores, matrix, 3).min()
        assert walk(scores, matrix, 3).max() <= scores.max()

    def test_a_position_takes_what_it_sees_not_what_sees_it(self) -> None:
        matrix = torch.tensor([[0.0, 1.0], [0.0, 1.0]])  # both see the second
        assert walk(torch.tensor([[5.0, 7.0]]), matrix, 1).tolist() == [[7.0, 7.0]]


class TestRefinement:
    @pytest.mark.parametrize(("iterations", "sharpening"), [(1, 0.015), (8, 0.015), (10, 0.2)])
    def test_the_rule_written_out_gives_the_same(self, iterations: int, sharpening: float) -> None:
        scores, matrix = noise(2, 12), link_matrix([random_link()])
        expected = literal.refined(scores, matrix, iterations, sharpening)
        refined = refine(scores, matrix, iterations=iterations, sharpening=sharpening)
        literal.assert_near(refined, expected)

    def test_a_weak_link_is_cut_so_that_scores_stay_on_their_island(self) -> None:
        refined = refine(scores_on_the_first(), two_islands(bridge=0.01), iterations=1)
        assert refined[0, 3:].tolist() == [0.0, 0.0, 0.0]
        uncut = refine(scores_on_the_first(), two_islands(bridge=0.01), iterations=1, sharpening=0)
        assert uncut[0, 3] > 0

    def test_a_strong_link_is_not_cut(self) -> None:
        refined = refine(scores_on_the_first(), two_islands(bridge=0.5), iterations=1)
        assert refined[0, 3] > 0

    def test_rows_begin_at_0_and_sum_to_1(self) -> None:
        refined = refine(noise(3, 12), link_matrix([random_link()]))
        assert refined.min(dim=1).values.tolist() == [0.0, 0.0, 0.0]
        torch.testing.assert_close(refined.sum(dim=1), torch.ones(3))

    def test_equal_scores_stay_finite(self) -> None:
        assert refine(torch.zeros(1, 12), link_matrix([random_link()])).isfinite().all()


def test_nothing_given_is_written_to() -> None:
    scores, matrix, link = noise(2, 12), link_matrix([random_link()]), random_link()
    before = [each.clone() for each in (scores, matrix, *link)]
    walk(scores, matrix, 2)
    refine(scores, matrix)
    link_matrix([link, link])
    after = (scores, matrix, *link)
    assert all(torch.equal(old, new) for old, new in zip(before, after, strict=True))


def two_islands(bridge: float) -> Tensor:
    """Three positions and three more, each seeing its own alike; the fourth sees the first too."""
    matrix = torch.zeros(6, 6)
    matrix[:3, :3] = matrix[3:, 3:] = 1
    matrix[3, :3] = bridge
    return matrix / matrix.sum(dim=1, keepdim=True)


def scores_on_the_first() -> Tensor:
    return torch.tensor([[1.0, 0.5, 0.2, 0.0, 0.0, 0.0]])
