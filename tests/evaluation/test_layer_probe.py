"""The probe of layers: its ridge against least squares, its figures against loops over cells."""

import weakref
from collections.abc import Mapping
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from ldznet_core import load_miniature
from ldznet_core.evaluation.layers.heat_map import draw_heat_map
from ldznet_core.evaluation.layers.probe import (
    THRESHOLDS,
    Cell,
    count_rows,
    object_ious,
    probe_layers,
    probe_miniature,
    split,
)
from ldznet_core.evaluation.layers.readers import (
    ALL_BLOCKS,
    Key,
    read_encoder,
    read_latents,
    read_truth,
    read_unet,
    untrained,
)
from ldznet_core.evaluation.layers.ridge import (
    PENALTIES,
    choose_penalties,
    fit,
    moments,
    squared_error,
)
from ldznet_core.evaluation.layers.scenes import (
    FOREGROUND,
    GRID,
    ProbeScenes,
    Rows,
    load_scenes,
    truths_of,
)
from ldznet_core.evaluation.layers.table import best_cells, block_lines, control_lines, table
from ldznet_core.miniature import Miniature
from ldznet_core.noise import NoiseSchedule
from ldznet_core.probe import probe_features
from ldznet_core.taps import find_taps
from ldznet_core.world import caption, draw_layout, render, thing_names

SIZE = (7, 5)


@pytest.fixture(scope="module")
def miniature() -> Miniature:
    return load_miniature()


@pytest.fixture(scope="module")
def scenes(miniature: Miniature) -> ProbeScenes:
    return load_scenes(miniature, "small", "iid", range(5), noises=2, seed=3)


def maps(seed: int, count: int = 6) -> tuple[Tensor, Tensor]:
    """Features (B, 4, 3, 2) far from the mean 0, and targets (B, 3, 7, 5) that lean on them."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn((count, 4, 3, 2), generator=generator, dtype=torch.float64)
    noise = torch.randn((count, 3, *SIZE), generator=generator, dtype=torch.float64)
    spread = torch.tensor([0.1, 1.0, 30.0, 1.0], dtype=torch.float64).reshape(-1, 1, 1)
    return features * spread + 5, enlarged(features)[:, :3] + 0.5 * noise


def enlarged(features: Tensor, size: tuple[int, int] = SIZE) -> Tensor:
    return F.interpolate(features, size, mode="bilinear", align_corners=False)


def samples(values: Tensor) -> np.ndarray:
    """(B, C, H, W) as (B H W, C)."""
    return values.permute(0, 2, 3, 1).reshape(-1, values.shape[1]).double().numpy()


def least_squares(inputs: np.ndarray, target: np.ndarray, penalty: float) -> tuple:
    """A ridge on standardised inputs (N, C) of one target: least squares with a row per weight."""
    mean, deviation = inputs.mean(axis=0), inputs.std(axis=0)
    deviation[deviation < 1e-9] = np.inf
    rows = np.concatenate(
        [(inputs - mean) / deviation, np.sqrt(penalty * len(inputs)) * np.eye(inputs.shape[1])]
    )
    answers = np.concatenate([target - target.mean(), np.zeros(inputs.shape[1])])
    weights = np.linalg.lstsq(rows, answers, rcond=None)[0] / deviation
    return weights, target.mean() - mean @ weights


class TestRidge:
    @pytest.mark.parametrize("penalty", [1e-6, 1e-2, 3.0])
    def test_it_is_what_least_squares_finds_with_a_row_for_each_weight(
        self, penalty: float
    ) -> None:
        features, targets = maps(0)
        found = fit(moments(features, targets), torch.full((3,), penalty, dtype=torch.float64))
        inputs, answers = samples(enlarged(features)), samples(targets)
        for column in range(3):
            weights, offset = least_squares(inputs, answers[:, column], penalty)
            np.testing.assert_allclose(found.weights[:, column], weights, rtol=1e-7, atol=1e-10)
            assert float(found.offsets[column]) == pytest.approx(offset, rel=1e-8)

    def test_each_target_may_have_a_penalty_of_its_own(self) -> None:
        given = moments(*maps(0))
        penalties = torch.tensor([1e-3, 1.0, 0.1], dtype=torch.float64)
        together = fit(given, penalties).weights
        for column, penalty in enumerate(penalties):
            alone = fit(given, penalty.expand(3)).weights
            torch.testing.assert_close(together[:, column], alone[:, column])

    def test_a_constant_channel_has_no_weight_and_changes_nothing(self) -> None:
        features, targets = maps(1)
        plain = fit(moments(features, targets), torch.tensor([0.01]))
        constant = torch.cat([features, torch.full_like(features[:, :1], 12.3)], dim=1)
        found = fit(moments(constant, targets), torch.tensor([0.01]))
        assert found.weights[-1].tolist() == [0, 0, 0]
        torch.testing.assert_close(found.weights[:-1], plain.weights)

    def test_sums_of_parts_are_the_sums_of_the_whole(self) -> None:
        features, targets = maps(2)
        parts = moments(features[:2], targets[:2]) + moments(features[2:], targets[2:])
        penalty = torch.tensor([0.1])
        whole = fit(moments(features, targets), penalty)
        torch.testing.assert_close(fit(parts, penalty).weights, whole.weights)

    def test_it_predicts_on_the_enlarged_features(self) -> None:
        features, targets = maps(3)
        found = fit(moments(features, targets), torch.tensor([0.1]))
        expected = samples(enlarged(features)) @ found.weights.numpy() + found.offsets.numpy()
        np.testing.assert_allclose(samples(found.predict(features, SIZE)), expected, atol=1e-10)

    def test_its_error_is_told_from_sums_alone(self) -> None:
        found = fit(moments(*maps(4)), torch.tensor([0.1]))
        features, targets = maps(5)
        expected = (found.predict(features, SIZE) - targets).square().sum(dim=(0, 2, 3))
        torch.testing.assert_close(squared_error(found, moments(features, targets)), expected)

    def test_the_chosen_penalty_errs_least_on_the_folds_left_out(self) -> None:
        folds = [maps(seed, count=1) for seed in (6, 7, 8)]
        chosen = choose_penalties([moments(*fold) for fold in folds])
        pixels = [(samples(enlarged(features)), samples(targets)) for features, targets in folds]
        for column in range(3):
            errors = []
            for penalty in PENALTIES:
                error = 0.0
                for left_out, (inputs, answers) in enumerate(pixels):
                    rest = [fold for number, fold in enumerate(pixels) if number != left_out]
                    weights, offset = least_squares(
                        np.concatenate([each for each, _ in rest]),
                        np.concatenate([each[:, column] for _, each in rest]),
                        penalty,
                    )
                    error += np.square(inputs @ weights + offset - answers[:, column]).sum()
                errors.append(error)
            assert float(chosen[column]) == PENALTIES[int(np.argmin(errors))]


def synthetic(seed: int, count: int, noises: int = 1) -> ProbeScenes:
    """Scenes with two classes of rectangles, and "encoded" features that tell a part of them."""
    draw = np.random.default_rng(seed)
    truths = np.zeros((count, 3, GRID, GRID), bool)
    for number in range(count):
        for which in (1, 2) if number % 3 == 0 else (1 + number % 2,):
            top, left = draw.integers(0, 20, 2)
            height, width = draw.integers(6, 12, 2)
            truths[number, which, top : top + height, left : left + width] = True
        truths[number, FOREGROUND] = truths[number, 1:].any(axis=0)
    shown = torch.from_numpy(truths)
    clean = F.adaptive_avg_pool2d(shown[:, 1:].float(), 16)
    generator = torch.Generator().manual_seed(seed)
    fuzzy = clean + 0.4 * torch.randn(clean.shape, generator=generator)
    nothing = torch.zeros(count, 1, 1)
    latents = torch.zeros(count, 4, 16, 16)
    return ProbeScenes(latents, nothing, latents.expand(noises, -1, -1, -1, -1), fuzzy, shown)


def literal_precision(scores: np.ndarray, truth: np.ndarray) -> float:
    """The mean, over the cells that are true, of the precision among the cells scored as high."""
    scores, truth = scores.ravel(), truth.ravel()
    values = []
    for score in scores[truth]:
        taken = scores >= score
        values.append(truth[taken].mean())
    return float(np.mean(values))


def literal_miou(predicted: np.ndarray, truths: np.ndarray, threshold: float) -> float:
    ious = []
    for scene_maps, scene_truths in zip(predicted, truths, strict=True):
        for one, truth in zip(scene_maps, scene_truths, strict=True):
            if truth.any():
                mask = one > threshold
                ious.append((mask & truth).sum() / (mask | truth).sum())
    return float(np.mean(ious))


class TestProbe:
    def test_its_figures_are_those_of_least_squares_and_loops(self) -> None:
        fitting, judging = synthetic(0, 15), synthetic(1, 4)
        (cell,) = probe_layers(read_encoder, fitting, judging, 0)

        def predicted(fitted: range, shown: ProbeScenes, which: range) -> np.ndarray:
            inputs = samples(enlarged(fitting.encoded[fitted.start : fitted.stop], (GRID, GRID)))
            answers = samples(fitting.truths[fitted.start : fitted.stop])
            seen = samples(enlarged(shown.encoded[which.start : which.stop], (GRID, GRID)))
            columns = []
            for column in range(3):
                weights, offset = least_squares(inputs, answers[:, column], penalties[column])
                columns.append((seen @ weights + offset).reshape(len(which), GRID, GRID))
            return np.stack(columns, axis=1)

        folds = split(15)
        penalties = choose_penalties(
            [
                moments(
                    fitting.encoded[fold.start : fold.stop], fitting.truths[fold.start : fold.stop]
                )
                for fold in folds[:-1]
            ]
        ).tolist()
        last = folds[-1]
        tried = predicted(range(last.start), fitting, last)[:, 1:]
        shown = fitting.truths[last.start : last.stop, 1:].numpy()
        mious = [literal_miou(tried, shown, threshold) for threshold in THRESHOLDS]
        assert cell.threshold == THRESHOLDS[int(np.argmax(mious))]
        assert cell.penalty == penalties[FOREGROUND]

        final = predicted(range(15), judging, range(4))
        truths = judging.truths.numpy()
        expected = literal_precision(final[:, FOREGROUND], truths[:, FOREGROUND])
        assert cell.precision == pytest.approx(expected, abs=1e-3)  # the ranking has steps
        assert cell.miou == pytest.approx(
            literal_miou(final[:, 1:], truths[:, 1:], cell.threshold), abs=1e-4
        )
        assert 0.3 < cell.precision < 0.99  # the case is neither trivial nor hopeless
        assert (cell.channels, cell.side) == (2, 16)

    def test_features_that_hold_the_answer_are_found_to_know_it(self) -> None:
        def read(rows: Rows, timestep: int) -> Mapping[Key, Tensor]:
            return {("latents", None): rows.truths.float()}

        (cell,) = probe_layers(read, synthetic(0, 10), synthetic(1, 4), 0)
        assert cell.precision == pytest.approx(1, abs=1e-6)
        assert cell.miou == pytest.approx(1, abs=1e-6)

    def test_features_that_hold_nothing_are_no_better_than_chance(self) -> None:
        def read(rows: Rows, timestep: int) -> Mapping[Key, Tensor]:
            return {("latents", None): torch.randn((len(rows.truths), 4, 16, 16))}

        judging = synthetic(1, 8)
        torch.manual_seed(0)
        (cell,) = probe_layers(read, synthetic(0, 10), judging, 0)
        chance = float(judging.truths[:, FOREGROUND].float().mean())
        assert cell.precision == pytest.approx(chance, abs=0.05)

    def test_every_noise_is_judged_alone_and_their_spread_told(self) -> None:
        def read(rows: Rows, timestep: int) -> Mapping[Key, Tensor]:
            fuzz = torch.randn(rows.encoded.shape, generator=torch.Generator().manual_seed(0))
            return {("latents", None): rows.encoded + rows.noises.mean() * fuzz}

        fitting, judging = synthetic(0, 10), synthetic(1, 4)
        noises = torch.stack([torch.zeros(4, 4, 16, 16), torch.ones(4, 4, 16, 16)])
        cells = [
            probe_layers(read, fitting, replace(judging, noises=some), 0)[0]
            for some in (noises, noises[:1], noises[1:])
        ]
        together, clear, noisy = cells
        assert clear.precision - noisy.precision > 0.02
        for measure in ("precision", "miou"):
            alone = [getattr(clear, measure), getattr(noisy, measure)]
            assert getattr(together, measure) == pytest.approx(np.mean(alone))
            spread = getattr(together, f"{measure}_spread")
            assert spread == pytest.approx(np.std(alone, ddof=1))
            assert getattr(clear, f"{measure}_spread") is None

    def test_of_features_only_sums_are_kept(self) -> None:
        alive: list[weakref.ref[Tensor]] = []

        def read(rows: Rows, timestep: int) -> Mapping[Key, Tensor]:
            assert sum(each() is not None for each in alive) <= 1  # the batch before this one
            features = rows.encoded.clone()
            alive.append(weakref.ref(features))
            return {("latents", None): features}

        probe_layers(read, synthetic(0, 10, noises=2), synthetic(1, 4, noises=2), 0)
        assert len(alive) > 8

    def test_object_ious_are_those_of_a_loop(self) -> None:
        shown = synthetic(2, 6).truths[:, 1:]
        given = torch.rand(shown.shape, generator=torch.Generator().manual_seed(0))
        found = object_ious(given + shown, shown, (0.5, 0.9))
        assert found.shape == (int(shown.flatten(2).any(dim=2).sum()), 2)
        for column, threshold in enumerate((0.5, 0.9)):
            expected = literal_miou((given + shown).numpy(), shown.numpy(), threshold)
            assert float(found[:, column].mean()) == pytest.approx(expected, abs=1e-6)

    def test_folds_hold_every_scene_once(self) -> None:
        numbers = [number for fold in split(23) for number in fold]
        assert numbers == list(range(23))
        assert {len(fold) for fold in split(23)} == {4, 5}


class TestScenes:
    def test_a_cell_is_of_what_fills_half_of_it(self) -> None:
        layouts = [draw_layout("small", "iid", index) for index in range(50)]
        layout = next(each for each in layouts if len({thing.name for thing in each.things}) > 1)
        scene = render(layout, 128)
        found = truths_of(scene)
        names = thing_names("small")
        assert found.shape == (1 + len(names), GRID, GRID)
        kinds = [region.kind == "thing" for region in scene.regions]
        for row, column in np.ndindex(GRID, GRID):
            cell = scene.labels[4 * row : 4 * row + 4, 4 * column : 4 * column + 4].ravel()
            assert found[FOREGROUND, row, column] == (sum(kinds[label] for label in cell) >= 8)
        for number, name in enumerate(names, start=1):
            assert bool(found[number].any()) == (name in {thing.name for thing in layout.things})

    def test_each_scene_has_noises_of_its_own_that_stay(
        self, miniature: Miniature, scenes: ProbeScenes
    ) -> None:
        again = load_scenes(miniature, "small", "iid", range(5), noises=2, seed=3)
        other = load_scenes(miniature, "small", "iid", range(5), noises=2, seed=4)
        assert torch.equal(scenes.noises, again.noises)
        assert not torch.equal(scenes.noises, other.noises)
        assert len({float(noise.sum()) for noise in scenes.noises.flatten(0, 1)}) == 10

    def test_batches_show_each_scene_under_each_noise(self, scenes: ProbeScenes) -> None:
        seen = [
            (rows.noise, float(latents.sum()), float(noise.sum()))
            for rows in scenes.batches(range(1, 5))
            for latents, noise in zip(rows.latents, rows.noises, strict=True)
        ]
        expected = [
            (number, float(scenes.latents[scene].sum()), float(scenes.noises[number, scene].sum()))
            for number in range(2)
            for scene in range(1, 5)
        ]
        assert seen == expected


class TestReaders:
    def test_every_block_is_read_under_the_caption(
        self, miniature: Miniature, scenes: ProbeScenes
    ) -> None:
        rows = next(scenes.batches(range(1)))
        found = read_unet(miniature.unet, "unet", miniature.schedule)(rows, 300)
        assert list(found) == [("unet", block) for block in ALL_BLOCKS]
        text = caption(draw_layout("small", "iid", 0), plain=True)
        expected = probe_features(
            miniature.unet,
            rows.latents,
            miniature.encode_text([text]),
            _FixedNoise(rows.noises),
            t=300,
            taps_of=lambda unet: find_taps(unet, ALL_BLOCKS),
        )
        for block in ALL_BLOCKS:
            torch.testing.assert_close(found["unet", block], expected.blocks[block])

    def test_latents_are_read_as_noisy_as_the_unet_sees_them(self, scenes: ProbeScenes) -> None:
        rows = next(scenes.batches(range(2)))
        schedule = NoiseSchedule()
        (found,) = read_latents(schedule)(rows, 500).values()
        share = schedule.alphas_cumprod[500]
        expected = share.sqrt() * rows.latents + (1 - share).sqrt() * rows.noises
        torch.testing.assert_close(found, expected)

    def test_the_encoders_last_features_make_the_latents(
        self, miniature: Miniature, scenes: ProbeScenes
    ) -> None:
        rows = next(scenes.batches(range(5)))
        (found,) = read_encoder(rows, 0).values()
        vae = miniature.vae
        with torch.inference_mode():
            mode = vae.quant_conv(vae.encoder.conv_out(found))[:, :4]
        torch.testing.assert_close(mode * vae.config.scaling_factor, rows.latents)

    def test_the_truth_on_a_coarse_grid_is_the_share_of_each_cell(
        self, scenes: ProbeScenes
    ) -> None:
        rows = next(scenes.batches(range(2)))
        for level, side in enumerate((16, 8, 4, 2)):
            (found,) = read_truth(level)(rows, 0).values()
            cells = GRID // side
            expected = rows.truths[1, FOREGROUND, -cells:, :cells].float().mean()
            assert found.shape == (2, rows.truths.shape[1], side, side)
            assert float(found[1, FOREGROUND, -1, 0]) == pytest.approx(float(expected))

    def test_an_untrained_unet_is_random_everywhere_and_the_same_for_a_seed(
        self, miniature: Miniature
    ) -> None:
        state = torch.random.get_rng_state()
        drawn, again, other = (untrained(miniature.unet, seed).state_dict() for seed in (1, 1, 2))
        assert torch.equal(torch.random.get_rng_state(), state)
        matrices = [name for name, value in drawn.items() if value.ndim > 1]
        assert {name: value.shape for name, value in drawn.items()} == {
            name: value.shape for name, value in miniature.unet.state_dict().items()
        }
        for name in matrices:
            assert float(drawn[name].std()) > 0, name
            assert torch.equal(drawn[name], again[name]), name
            assert not torch.equal(drawn[name], other[name]), name


def cell(source: str, block: int | None, timestep: int | None, value: float) -> Cell:
    return Cell(
        source=source,  # type: ignore[arg-type]
        block=block,
        timestep=timestep,
        channels=32,
        side=16,
        precision=value,
        miou=value / 2,
        precision_spread=None,
        miou_spread=None,
        threshold=0.5,
        penalty=0.1,
    )


@pytest.fixture
def cells() -> list[Cell]:
    """Blocks 12 to 16 are best, block 12 at t = 400, the others at t = 1; 1 to 5 at t = 900."""
    made = [
        cell("encoder", None, None, 0.3),
        cell("truth", None, None, 0.9),
        replace(cell("truth", None, None, 0.8), side=8),
    ]
    for timestep in (900, 1, 400):
        made.append(cell("latents", None, timestep, timestep / 10000))
        for block in ALL_BLOCKS:
            value = block / 20 + 0.1 * (timestep == 1) * (block > 12) if timestep < 900 else 0.25
            value += 0.2 * ((block, timestep) == (12, 400)) + 0.01 * (6 - block) * (
                timestep == 900 and block < 6
            )
            made.append(cell("unet", block, timestep, value))
            made.append(cell("untrained", block, timestep, 0.01 * (17 - block)))
    return made


class TestTable:
    def test_the_best_blocks_come_at_their_best_timestep(self, cells: list[Cell]) -> None:
        found = [(each.block, each.timestep) for each in best_cells(cells, "precision")]
        assert found == [(16, 1), (15, 1), (12, 400), (14, 1), (13, 1)]

    def test_or_at_the_timesteps_that_count(self, cells: list[Cell]) -> None:
        assert [each.block for each in best_cells(cells, "miou", [900])] == [1, 2, 3, 4, 5]

    def test_lines_are_in_the_order_of_blocks_and_of_timesteps(self, cells: list[Cell]) -> None:
        lines = block_lines(cells, "precision")
        assert [line.block for line in lines] == list(ALL_BLOCKS)
        assert lines[0].values == pytest.approx((0.05, 0.05, 0.3))

    def test_controls_are_at_their_best(self, cells: list[Cell]) -> None:
        drawn, latents, encoder, *truths = control_lines(cells, "precision")
        assert drawn.values == pytest.approx((0.16, 0.16, 0.16))
        assert latents.values == pytest.approx((0.0001, 0.04, 0.09))
        assert encoder.values == (0.3, 0.3, 0.3)
        assert [(line.name, line.values[2]) for line in truths] == [
            ("truth on 16x16", 0.9),
            ("truth on 8x8", 0.8),
        ]

    def test_the_table_is_markdown_with_the_best_in_bold(self, cells: list[Cell]) -> None:
        lines = table(cells, "precision").splitlines()
        assert len(lines) == 2 + 16 + 5
        assert len({line.count("|") for line in lines}) == 1
        assert lines[0] == "| block, t = | 1 | 400 | 900 |"
        assert lines[13] == "| 12 (16x16, 32 ch) | 0.600 | **0.800** | 0.250 |"
        assert sum(line.count("**") for line in lines) == 2 * 5

    def test_the_heat_map_frames_the_best_and_the_papers_choice(self, cells: list[Cell]) -> None:
        picture = draw_heat_map(cells)
        pixels = np.asarray(picture)
        black = (pixels[:, : picture.width // 2] == 0).all(axis=2)
        red = (pixels[:, : picture.width // 2] == (216, 32, 32)).all(axis=2)
        rows, columns = np.nonzero(red)
        # The paper's blocks 6 to 10 are five rows of 20 pixels, from the sixth one on; t = 400 is
        # the second column of 40 pixels.
        assert (rows.min(), rows.max()) == (44 + 5 * 20, 44 + 10 * 20 - 1)
        assert (columns.min(), columns.max()) == (170 + 40, 170 + 80 - 1)
        for block, column in ((16, 0), (15, 0), (12, 1), (14, 0), (13, 0)):
            top, left = 44 + 20 * (block - 1), 170 + 40 * column
            assert black[top, left : left + 40].all(), block
        assert not black[44 + 20 * 10, 170:210].any()

    def test_without_timesteps_of_the_papers_nothing_is_red(self, cells: list[Cell]) -> None:
        kept = [each for each in cells if each.timestep != 400]
        pixels = np.asarray(draw_heat_map(kept))
        assert not (pixels == (216, 32, 32)).all(axis=2).any()


class _FixedNoise(NoiseSchedule):
    """A schedule whose noise is given."""

    def __init__(self, noise: Tensor) -> None:
        super().__init__()
        self._noise = noise

    def add_noise(self, latents: Tensor, noise: Tensor, timestep: float | Tensor) -> Tensor:
        return super().add_noise(latents, self._noise, timestep)


def test_all_of_the_miniature_is_probed_and_every_row_told(
    miniature: Miniature, scenes: ProbeScenes
) -> None:
    alone = replace(scenes, noises=scenes.noises[:1])
    told: list[int] = []
    found = probe_miniature(miniature, alone, alone, (400,), 0, told.append)
    assert sum(told) == count_rows(10, noises=1, timesteps=1)
    named = {(each.source, each.block, each.timestep, each.side) for each in found}
    assert len(found) == 1 + 4 + 1 + 16 + 16
    assert len(named) == len(found)
    still = {each.source for each in found if each.timestep is None}
    assert still == {"encoder", "truth"}
    assert all(0 <= each.precision <= 1 and 0 <= each.miou <= 1 for each in found)
