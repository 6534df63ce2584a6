"""Data sets in the formats of their authors, written small, and a segmenter measured on them."""

from __future__ import annotations

import copyreg
import json
import pickle
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ldznet_core import InputError, Segmenter, load_head, load_miniature
from ldznet_core.data_sets import Format, Row, check_rows, read_data
from ldznet_core.data_sets.plain_pickle import read_plain_pickle
from ldznet_core.data_sets.shapes import (
    MaskFile,
    OutlinedPolygons,
    Polygons,
    RunLengths,
    read_polygons,
)
from ldznet_core.evaluation.cases import Case, cases
from ldznet_core.evaluation.data.figures import squashed, squashed_mask
from ldznet_core.evaluation.data.measure import measure_cases, measure_data
from ldznet_core.evaluation.masks import segmented
from ldznet_core.metrics.clipseg import THRESHOLDS, ClipSegTally

SIZE = (40, 60)
SQUARE = [[10.0, 5.0], [20.0, 5.0], [20.0, 15.0], [10.0, 15.0]]


def paint(path: Path, size: tuple[int, int] = SIZE) -> Path:
    """A picture that nobody looks at."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (size[1], size[0]), "teal").save(path)
    return path


def write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def write_mask(path: Path, mask: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(mask.astype(np.uint8) * 255).save(path)


def square_mask() -> np.ndarray:
    mask = np.zeros(SIZE, dtype=bool)
    mask[5:15, 10:20] = True
    return mask


def asked(rows: list[Row]) -> list[tuple[str, str, bool]]:
    return [(row.picture.name, row.phrase, row.is_absent) for row in rows]


class TestShapes:
    def test_a_square_holds_the_pixels_whose_centre_it_holds(self) -> None:
        assert (Polygons([np.array(SQUARE)]).mask(SIZE) == square_mask()).all()

    def test_an_outlined_square_holds_its_border_too(self) -> None:
        mask = OutlinedPolygons([np.array(SQUARE)]).mask(SIZE)
        assert mask[5:16, 10:21].all()
        assert mask.sum() == 11 * 11

    def test_a_polygon_of_any_form_agrees_with_a_test_of_each_pixel(self) -> None:
        draw = np.random.default_rng(0)
        for _ in range(10):
            corners = draw.uniform(-10, 70, (7, 2))  # crossing itself and the border
            outline = corners.tolist()
            expected = [
                [is_inside(column + 0.5, row + 0.5, outline) for column in range(SIZE[1])]
                for row in range(SIZE[0])
            ]
            assert (Polygons([corners]).mask(SIZE) == np.array(expected)).all()

    def test_several_polygons_are_one_mask_where_they_overlap_too(self) -> None:
        square = np.array(SQUARE)
        moved = square + np.array([5, 0])
        assert Polygons([square, moved]).mask(SIZE)[5:15, 10:25].all()

    def test_fewer_than_three_corners_hold_nothing(self) -> None:
        polygons = read_polygons([[], [[1, 1]], [[1, 1], [9, 9]]], "x")
        assert not Polygons(polygons).mask(SIZE).any()

    def test_polygons_come_as_pairs_or_as_one_list_of_numbers(self) -> None:
        flat = [value for corner in SQUARE for value in corner]
        for stored in (flat, SQUARE):
            (corners,) = read_polygons([stored], "x")
            assert corners.tolist() == SQUARE

    @pytest.mark.parametrize(
        "stored",
        [
            None,
            {},
            "abc",
            [3],
            [[1, 2, 3]],
            [[[1, 2, 3]]],
            [[["1", "2"]]],
            [[[float("nan"), 1]]],
            [[[1e99, 1]]],
            [[[1, 2], [3]]],
            [[True, False]],
            [[[[1, 2]]]],
        ],
    )
    def test_anything_else_is_refused(self, stored: object) -> None:
        with pytest.raises(InputError, match="expected polygons in here"):
            read_polygons(stored, "here")

    def test_run_lengths_go_down_the_columns(self) -> None:
        lengths = RunLengths.of_coco({"size": [2, 3], "counts": [1, 2, 3]}, "x")
        expected = np.array([[False, True, False], [True, False, False]])
        assert (lengths.mask((2, 3)) == expected).all()

    def test_compressed_run_lengths_are_the_same(self) -> None:
        # A string that COCO's own tools wrote, and what its letters mean by hand.
        lengths = RunLengths.of_coco({"size": [9, 10], "counts": "61X13mN000`0"}, "x")
        assert lengths.counts == (6, 1, 40, 4, 5, 4, 5, 4, 21)
        assert lengths.mask((9, 10)).sum() == 1 + 4 + 4 + 4

    @pytest.mark.parametrize(
        "stored",
        [
            None,
            {"size": [2, 3], "counts": [1, 2]},
            {"size": [2, 3], "counts": [-1, 7]},
            {"size": [6], "counts": [6]},
            {"size": [2, 3], "counts": {"a": 1}},
            {"size": [2, 3], "counts": "zzz"},
        ],
    )
    def test_run_lengths_that_do_not_fill_their_size_are_refused(self, stored: object) -> None:
        with pytest.raises(InputError, match="run lengths that fill their size in here"):
            RunLengths.of_coco(stored, "here")

    def test_a_mask_of_another_size_than_the_picture_is_refused(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "mask.png", square_mask())
        with pytest.raises(InputError, match=r"mask\.png of 60x40"):
            MaskFile(tmp_path / "mask.png").mask((40, 61))
        with pytest.raises(InputError, match="run lengths of 3x2"):
            RunLengths((6,), (2, 3)).mask((3, 2))

    @pytest.mark.parametrize("form", ["white", "ones", "bits", "16 bits", "palette", "alpha"])
    def test_a_file_is_a_mask_in_any_form(self, tmp_path: Path, form: str) -> None:
        ones = square_mask().astype(np.uint8)
        pictures = {
            "white": Image.fromarray(ones * 255),
            "ones": Image.fromarray(ones),
            "bits": Image.fromarray(square_mask()),
            "16 bits": Image.fromarray(ones.astype(np.uint16) * 65535),
            "palette": Image.fromarray(ones).convert("P"),
            "alpha": Image.fromarray(np.full((*SIZE, 3), 255, dtype=np.uint8)),
        }
        pictures["palette"].putpalette([0, 0, 0, 128, 0, 0])  # dark red, as in PASCAL VOC
        pictures["alpha"].putalpha(pictures["white"])
        pictures[form].save(tmp_path / "mask.png")
        assert (MaskFile(tmp_path / "mask.png").mask(SIZE) == square_mask()).all()

    def test_a_black_file_is_an_empty_mask(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "mask.png", np.zeros(SIZE, dtype=bool))
        assert not MaskFile(tmp_path / "mask.png").mask(SIZE).any()

    def test_a_damaged_mask_is_a_sentence(self, tmp_path: Path) -> None:
        write_mask(tmp_path / "mask.png", np.random.default_rng(0).random(SIZE) < 0.5)
        whole = (tmp_path / "mask.png").read_bytes()
        (tmp_path / "mask.png").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(InputError, match="expected a mask in"):
            MaskFile(tmp_path / "mask.png").mask(SIZE)


def is_inside(x: float, y: float, corners: list[list[float]]) -> bool:
    """Whether a ray to the right meets the outline an odd number of times."""
    crossings = 0
    for (x0, y0), (x1, y1) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (y0 <= y) != (y1 <= y):
            crossings += x0 + (y - y0) * (x1 - x0) / (y1 - y0) <= x
    return crossings % 2 == 1


@pytest.fixture
def phrasecut(tmp_path: Path) -> Path:
    """Two pictures and three phrases, one of several instances."""
    moved = [[x + 20, y] for x, y in SQUARE]
    write_json(
        tmp_path / "refer_test.json",
        [
            phrasecut_task(7, 0, "red cars", [[SQUARE], [moved]]),
            phrasecut_task(9, 0, "sky", [[SQUARE]]),
            phrasecut_task(7, 1, "road", [[SQUARE, moved]]),
        ],
    )
    write_json(
        tmp_path / "image_data_split.json",
        [
            {"image_id": number, "coco_id": None, "height": 40, "width": 60, "split": split}
            for number, split in ((7, "test"), (9, "test"), (11, "miniv"))
        ],
    )
    write_json(tmp_path / "refer_miniv.json", [phrasecut_task(11, 0, "tree", [[SQUARE]])])
    for number in (7, 9, 11):
        paint(tmp_path / "images" / f"{number}.jpg")
    return tmp_path


def phrasecut_task(image: int, number: int, phrase: str, polygons: list) -> dict[str, Any]:
    return {
        "task_id": f"{image}__{number}",
        "image_id": image,
        "ann_ids": [1],
        "instance_boxes": [[10, 5, 10, 10]],
        "Polygons": polygons,
        "phrase": phrase,
        "phrase_structure": {"name": phrase, "attributes": [], "relation_descriptions": []},
    }


class TestPhraseCut:
    def test_phrases_of_a_picture_come_together(self, phrasecut: Path) -> None:
        rows = read_data(phrasecut, "phrasecut", "test")
        expected = [("7.jpg", "red cars"), ("7.jpg", "road"), ("9.jpg", "sky")]
        assert [(row.picture.name, row.phrase) for row in rows] == expected
        assert all(row.size == SIZE for row in rows)

    def test_every_instance_is_in_the_mask(self, phrasecut: Path) -> None:
        mask = read_data(phrasecut, "phrasecut")[0].truth.mask(SIZE)
        assert mask[5:16, 10:21].all()
        assert mask[5:16, 30:41].all()
        assert mask.sum() == 2 * 11 * 11

    def test_splits_are_joined_as_the_authors_do(self, phrasecut: Path) -> None:
        assert len(read_data(phrasecut, "phrasecut", "test_miniv")) == 4

    def test_it_is_found_in_a_clone_of_the_authors_repository(self, phrasecut: Path) -> None:
        nested = phrasecut / "clone" / "data" / "VGPhraseCut_v0"
        nested.mkdir(parents=True)
        for name in ("refer_test.json", "image_data_split.json", "images"):
            (phrasecut / name).rename(nested / name)
        assert len(read_data(phrasecut / "clone", "phrasecut")) == 3

    def test_the_name_that_the_readme_gives_the_sizes_does_as_well(self, phrasecut: Path) -> None:
        info = phrasecut / "image_data_split.json"
        info.rename(phrasecut / "image_data_split3000.json")
        assert len(read_data(phrasecut, "phrasecut")) == 3

    def test_what_annotators_did_not_find_counts_as_absent(self, phrasecut: Path) -> None:
        reasons = {"dog": "Not in Image", "cat": "Ambiguous Region", "owl": "Not in Image"}
        pictures = {"dog": 7, "cat": 7, "owl": 11}  # of which the last is in another split
        write_json(
            phrasecut / "skip.json",
            [
                {"task_id": "x", "image_id": pictures[name], "phrase": name, "reason": reason}
                for name, reason in reasons.items()
            ],
        )
        rows = read_data(phrasecut, "phrasecut")
        absent = [row for row in rows if row.is_absent]
        assert asked(absent) == [("7.jpg", "dog", True)]
        assert not absent[0].truth.mask(SIZE).any()
        assert [row.picture.name for row in rows] == ["7.jpg"] * 3 + ["9.jpg"]

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("refer_test.json", "expected PhraseCut's phrases in .*refer_test.json"),
            ("image_data_split.json", "expected the sizes of PhraseCut's pictures"),
            ("images", "expected the pictures of Visual Genome in .*images"),
        ],
    )
    def test_what_is_missing_is_named(self, phrasecut: Path, missing: str, message: str) -> None:
        (phrasecut / missing).rename(phrasecut / "elsewhere")
        with pytest.raises(InputError, match=message):
            read_data(phrasecut, "phrasecut")

    def test_a_split_that_is_none_is_refused(self, phrasecut: Path) -> None:
        with pytest.raises(InputError, match="train, val, test, miniv"):
            read_data(phrasecut, "phrasecut", "testA")

    def test_the_file_without_answers_is_not_enough(self, phrasecut: Path) -> None:
        tasks = json.loads((phrasecut / "refer_test.json").read_text("utf-8"))
        for task in tasks:
            del task["Polygons"]
        write_json(phrasecut / "refer_test.json", tasks)
        with pytest.raises(InputError, match='expected "Polygons"'):
            read_data(phrasecut, "phrasecut")

    def test_a_picture_of_no_known_size_is_an_error(self, phrasecut: Path) -> None:
        write_json(phrasecut / "image_data_split.json", [])
        with pytest.raises(InputError, match=r"picture 7 of .* among the sizes"):
            read_data(phrasecut, "phrasecut")


REFERENCES = [
    {
        "ref_id": number,
        "ann_id": annotation,
        "category_id": 1,
        "image_id": image,
        "file_name": f"COCO_train2014_{image:012}_{annotation}.jpg",
        "split": split,
        "sent_ids": [10 * number],
        "sentences": [
            {"sent_id": 10 * number, "sent": text, "raw": text, "tokens": text.split()}
            for text in texts
        ],
    }
    for number, annotation, image, split, texts in [
        (0, 100, 1, "testA", ["man left", "guy in red"]),
        (1, 101, 2, "testB", ["big bus"]),
        (2, 102, 1, "testA", ["right man"]),
        (3, 101, 2, "val", ["the bus"]),
    ]
]


def write_refer(folder: Path, data: str, partition: str) -> None:
    instances = {
        "images": [
            {"id": number, "file_name": f"COCO_train2014_{number:012}.jpg", "height": 40}
            | {"width": 60}
            for number in (1, 2)
        ],
        "annotations": [
            {"id": 100, "image_id": 1, "segmentation": [[x for at in SQUARE for x in at]]},
            {"id": 101, "image_id": 2, "segmentation": {"size": [40, 60], "counts": [0, 80, 2320]}},
            {"id": 102, "image_id": 1, "segmentation": {"size": [40, 60], "counts": "0X1hY2"}},
        ],
        "categories": [{"id": 1, "name": "thing"}],
    }
    write_json(folder / data / "instances.json", instances)
    # As Python 2 wrote them, with the protocol of its `cPickle`.
    (folder / data / f"refs({partition}).p").write_bytes(pickle.dumps(REFERENCES, protocol=2))
    for number in (1, 2):
        name = f"COCO_train2014_{number:012}.jpg"
        paint(folder / "images" / "mscoco" / "images" / "train2014" / name)


@pytest.fixture
def refer(tmp_path: Path) -> Path:
    write_refer(tmp_path, "refcoco", "unc")
    return tmp_path


class TestRefer:
    @pytest.mark.parametrize(
        ("data", "partition"), [("refcoco", "unc"), ("refcoco+", "unc"), ("refcocog", "umd")]
    )
    def test_each_set_has_its_usual_partition(
        self, tmp_path: Path, data: Format, partition: str
    ) -> None:
        write_refer(tmp_path, data, partition)
        assert [row.phrase for row in read_data(tmp_path, data)] == ["the bus"]

    def test_another_partition_can_be_named(self, tmp_path: Path) -> None:
        write_refer(tmp_path, "refcocog", "google")
        assert len(read_data(tmp_path, "refcocog", "val", "google")) == 1
        with pytest.raises(InputError, match=r"refs\(umd\)\.p"):
            read_data(tmp_path, "refcocog", "val")

    def test_every_sentence_is_a_row(self, refer: Path) -> None:
        rows = read_data(refer, "refcoco", "testA")
        assert [row.phrase for row in rows] == ["man left", "guy in red", "right man"]
        assert {row.picture.name for row in rows} == {"COCO_train2014_000000000001.jpg"}

    @pytest.mark.parametrize(("split", "count"), [("testB", 1), ("test", 4), ("val", 1)])
    def test_splits_are_those_of_the_authors(self, refer: Path, split: str, count: int) -> None:
        assert len(read_data(refer, "refcoco", split)) == count

    def test_a_split_that_is_none_is_refused(self, refer: Path) -> None:
        with pytest.raises(InputError, match=r"testA, testB, val .*got 'train'"):
            read_data(refer, "refcoco", "train")

    def test_masks_are_polygons_or_run_lengths(self, refer: Path) -> None:
        rows = {row.phrase: row.truth.mask(SIZE) for row in read_data(refer, "refcoco", "test")}
        assert (rows["man left"] == square_mask()).all()
        assert rows["big bus"][:, :2].all()
        assert rows["big bus"].sum() == 80
        assert rows["right man"][:, 0].all()
        assert rows["right man"].sum() == 40

    def test_the_same_as_json_does_as_well(self, refer: Path) -> None:
        (refer / "refcoco" / "refs(unc).p").unlink()
        write_json(refer / "refcoco" / "refs(unc).json", REFERENCES)
        assert len(read_data(refer, "refcoco", "testA")) == 3

    @pytest.mark.parametrize(
        ("missing", "message"),
        [
            ("refcoco/refs(unc).p", "expected the sentences of refcoco"),
            ("refcoco/instances.json", "expected the masks of refcoco"),
            ("images/mscoco/images/train2014", "expected COCO's pictures"),
        ],
    )
    def test_what_is_missing_is_named(self, refer: Path, missing: str, message: str) -> None:
        (refer / missing).rename(refer / "elsewhere")
        with pytest.raises(InputError, match=message):
            read_data(refer, "refcoco")

    def test_sentences_about_no_known_object_are_an_error(self, refer: Path) -> None:
        write_json(refer / "refcoco" / "instances.json", {"images": [], "annotations": []})
        with pytest.raises(InputError, match="expected the picture 2 in"):
            read_data(refer, "refcoco")


class Harmful:
    """What makes a pickle call a function."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return Path.touch, (Path("harm.txt"),)


class TestPlainPickle:
    def test_texts_of_python_2_are_read_whatever_their_letters(self, tmp_path: Path) -> None:
        path = tmp_path / "refs.p"
        path.write_bytes(b"(lp0\nS'caf\\xc3\\xa9'\np1\naV\\u00e9\np2\naI7\na.")
        assert read_plain_pickle(path) == ["café", "é", 7]

    @pytest.mark.parametrize("protocol", [0, 2, 4])
    def test_nothing_is_called(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, protocol: int
    ) -> None:
        monkeypatch.chdir(tmp_path)
        Path("refs.p").write_bytes(pickle.dumps([Harmful()], protocol=protocol))
        with pytest.raises(InputError, match="which might do harm"):
            read_plain_pickle(Path("refs.p"))
        assert not Path("harm.txt").exists()

    def test_a_function_known_by_number_is_not_called_either(self, tmp_path: Path) -> None:
        path = tmp_path / "refs.p"
        path.write_bytes(b"\x80\x02\x82\x7b.")  # the extension 123
        copyreg.add_extension("os", "getcwd", 0x7B)
        try:
            with pytest.raises(InputError, match=r"os\.getcwd|which might do harm"):
                read_plain_pickle(path)
        finally:
            copyreg.remove_extension("os", "getcwd", 0x7B)

    @pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps([1, 2])[:-3]])
    def test_damage_is_a_sentence(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "refs.p").write_bytes(content)
        with pytest.raises(InputError, match="fetch the file again"):
            read_plain_pickle(tmp_path / "refs.p")


@pytest.fixture
def aigi(tmp_path: Path) -> Path:
    """Two pictures with three masks, without a table."""
    for name in ("a_castle.png", "a_castle_at night.jpg"):
        paint(tmp_path / "images" / name)
    for name in ("a_castle_red flag", "a_castle_at night_moon", "a_castle_at night_tower"):
        write_mask(tmp_path / "masks" / f"{name}.png", square_mask())
    return tmp_path


class TestAigi:
    def test_masks_may_be_named_after_picture_and_phrase(self, aigi: Path) -> None:
        assert asked(read_data(aigi, "aigi")) == [
            ("a_castle_at night.jpg", "moon", False),
            ("a_castle_at night.jpg", "tower", False),
            ("a_castle.png", "red flag", False),
        ]

    @pytest.mark.parametrize("suffix", ["json", "csv"])
    def test_a_table_names_them_else(self, aigi: Path, suffix: str) -> None:
        rows = [
            ("a_castle.png", "a_castle_red flag.png", "banner"),
            ("a_castle.png", "a_castle_at night_moon.png", "light, pale"),
        ]
        table = aigi / f"prompts.{suffix}"
        if suffix == "json":
            keys = ("file_name", "mask", "caption")
            write_json(table, [dict(zip(keys, row, strict=True)) for row in rows])
        else:
            lines = [f'{image},{mask},"{prompt}"' for image, mask, prompt in rows]
            table.write_text("\n".join(["image,mask,prompt", *lines]), encoding="utf-8-sig")
        found = read_data(aigi, "aigi")
        assert [(row.picture.name, row.phrase) for row in found] == [
            ("a_castle.png", "banner"),
            ("a_castle.png", "light, pale"),
        ]
        assert (found[0].truth.mask(SIZE) == square_mask()).all()

    def test_objects_of_one_name_are_one_mask(self, aigi: Path) -> None:
        other = np.roll(square_mask(), 20, axis=1)
        write_mask(aigi / "masks" / "second.png", other)
        keys = ("image", "mask", "prompt")
        names = ("a_castle_red flag.png", "second.png")
        rows = [dict(zip(keys, ("a_castle.png", name, "flag"), strict=True)) for name in names]
        write_json(aigi / "prompts.json", rows)
        (row,) = read_data(aigi, "aigi")
        assert (row.truth.mask(SIZE) == (square_mask() | other)).all()

    def test_a_table_that_names_a_missing_file_is_an_error(self, aigi: Path) -> None:
        record = {"image": "a_castle.png", "mask": "gone.png", "prompt": "flag"}
        write_json(aigi / "prompts.json", [record])
        with pytest.raises(InputError, match=r"gone\.png, which prompts\.json names"):
            read_data(aigi, "aigi")

    def test_a_table_without_prompts_says_what_it_needs(self, aigi: Path) -> None:
        write_json(aigi / "prompts.json", [{"image": "a_castle.png", "mask": "x.png", "id": 3}])
        with pytest.raises(InputError, match=r"prompt or phrase or .* got image, mask, id"):
            read_data(aigi, "aigi")

    def test_two_tables_are_one_too_many(self, aigi: Path) -> None:
        for name in ("one.json", "two.csv"):
            (aigi / name).write_text("[]", encoding="utf-8")
        with pytest.raises(InputError, match="expected one table"):
            read_data(aigi, "aigi")

    def test_a_folder_of_pictures_alone_is_an_error(self, tmp_path: Path) -> None:
        paint(tmp_path / "a.png")
        with pytest.raises(InputError, match=r"prompts\.json or prompts\.csv"):
            read_data(tmp_path, "aigi")


def write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("\n".join(map(json.dumps, records)) + "\n\n", encoding="utf-8")


class TestLines:
    def test_each_line_is_a_row(self, tmp_path: Path) -> None:
        paint(tmp_path / "a.png")
        write_mask(tmp_path / "m.png", square_mask())
        flat = [value for corner in SQUARE for value in corner]
        lengths = {"size": list(SIZE), "counts": [0, 40, 2360]}
        write_lines(
            tmp_path / "test.jsonl",
            [
                {"image": "a.png", "phrase": "file", "mask": "m.png"},
                {"image": "a.png", "phrase": "polygon", "polygons": [flat]},
                {"image": "a.png", "phrase": "lengths", "rle": lengths},
                {"image": "a.png", "phrase": "nothing", "absent": True},
            ],
        )
        rows = read_data(tmp_path, "jsonl")
        masks = {row.phrase: row.truth.mask(SIZE) for row in rows}
        assert (masks["file"] == square_mask()).all()
        assert (masks["polygon"] == square_mask()).all()
        assert masks["lengths"].sum() == 40
        assert not masks["nothing"].any()
        assert [row.is_absent for row in rows] == [False, False, False, True]

    def test_a_file_may_be_named_itself(self, tmp_path: Path) -> None:
        record = {"image": "a.png", "phrase": "x", "absent": True}
        write_lines(tmp_path / "mine.jsonl", [record])
        assert len(read_data(tmp_path / "mine.jsonl", "jsonl")) == 1
        assert len(read_data(tmp_path, "jsonl", "mine")) == 1
        with pytest.raises(InputError, match="name a split of mine"):
            read_data(tmp_path, "jsonl", "test")

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("{", "expected JSON in line 1"),
            ("[1]", "expected a record in line 1"),
            ('{"phrase": "x", "absent": true}', 'expected "image"'),
            ('{"image": "a.png", "phrase": 3, "absent": true}', 'expected "phrase"'),
            ('{"image": "a.png", "phrase": "x"}', 'expected "mask"'),
            ('{"image": "a.png", "phrase": "x", "mask": "gone.png"}', "gone.png, found none"),
        ],
    )
    def test_a_bad_line_is_named(self, tmp_path: Path, line: str, message: str) -> None:
        (tmp_path / "test.jsonl").write_text(line, encoding="utf-8")
        with pytest.raises(InputError, match=message):
            read_data(tmp_path, "jsonl")

    @pytest.mark.parametrize("encoding", ["cp1252", "utf-16"])
    def test_text_in_another_encoding_is_a_sentence(self, tmp_path: Path, encoding: str) -> None:
        line = json.dumps({"image": "a.png", "phrase": "café", "absent": True}, ensure_ascii=False)
        (tmp_path / "test.jsonl").write_text(line, encoding=encoding)
        with pytest.raises(InputError, match="save it as UTF-8"):
            read_data(tmp_path, "jsonl")


def test_a_folder_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="found nothing: check the path"):
        read_data(tmp_path / "gone", "phrasecut")


def test_pictures_that_are_missing_are_counted_before_any_work(phrasecut: Path) -> None:
    (phrasecut / "images" / "9.jpg").unlink()
    with pytest.raises(InputError, match=r"expected 2 pictures, got 1: put .*9\.jpg"):
        check_rows(read_data(phrasecut, "phrasecut"))


@pytest.mark.parametrize(
    ("phrase", "message"), [(" ", "expected words"), ("cat " * 80, "77 tokens")]
)
def test_a_phrase_that_cannot_be_asked_is_told_before_any_work(
    phrasecut: Path, phrase: str, message: str
) -> None:
    rows = read_data(phrasecut, "phrasecut")
    with pytest.raises(InputError, match=rf"{message}.*\(of .*\.jpg\)"):
        check_rows([*rows, replace(rows[-1], phrase=phrase)])


def test_no_rows_are_refused() -> None:
    with pytest.raises(InputError, match="at least one phrase"):
        check_rows([])


class TestSquashing:
    def test_corners_stay_on_corners(self) -> None:
        steps = np.arange(0, 210, 70, dtype=np.uint8)  # 0, 70, 140
        picture = Image.fromarray(np.repeat(steps[None, :, None], 3, axis=2).repeat(2, axis=0))
        columns = np.asarray(squashed(picture, 5))[0, :, 0]
        assert columns.tolist() == [0, 35, 70, 105, 140]

    def test_a_mask_takes_the_nearest_pixel(self) -> None:
        mask = np.array([[True, False, False, True]])
        assert squashed_mask(mask, 2).tolist() == [[True, False], [True, False]]

    def test_what_is_square_already_stays(self) -> None:
        draw = np.random.default_rng(0)
        pixels = draw.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        assert (np.asarray(squashed(Image.fromarray(pixels), 8)) == pixels).all()


@pytest.fixture(scope="module")
def segmenter() -> Segmenter:
    return Segmenter(load_miniature(), load_head("miniature"))


@pytest.fixture(scope="module")
def scenes() -> list[Case]:
    return list(cases("small", "iid", 3, 128))


def write_scenes(folder: Path, scenes: list[Case], size: tuple[int, int] = (128, 128)) -> Path:
    """Scenes, cut to a size, as lines of our own format."""
    height, width = size
    records: list[dict[str, Any]] = []
    for number, case in enumerate(scenes):
        image = f"{number}.png"
        Image.fromarray(case.scene.image[:height, :width]).save(folder / image)
        for index, phrase in enumerate(case.phrases):
            record: dict[str, Any] = {"image": image, "phrase": phrase.text}
            if phrase.is_absent:
                record["absent"] = True
            else:
                record["mask"] = f"{number}-{index}.png"
                write_mask(folder / record["mask"], case.mask(phrase)[:height, :width])
            records.append(record)
    write_lines(folder / "test.jsonl", records)
    return folder


class TestMeasuring:
    def test_figures_are_those_of_users_masks(
        self, segmenter: Segmenter, scenes: list[Case], tmp_path: Path
    ) -> None:
        rows = read_data(write_scenes(tmp_path, scenes), "jsonl")
        done: list[int] = []
        found = measure_data(segmenter, rows, on_phrases=done.append)
        ious, gated, rejected, tally = (
            [],
            [],
            [],
            ClipSegTally(segmenter.head.config.mask_threshold),
        )
        for case in scenes:
            texts = [phrase.text for phrase in case.phrases]
            given = segmenter.segment_image(
                Image.fromarray(case.scene.image), texts, threshold=None
            )
            for index, phrase in enumerate(case.phrases):
                if phrase.is_absent:
                    rejected.append(not given.found[index])
                    continue
                truth, probabilities = case.mask(phrase), given.probabilities[index].numpy()
                tally.add(probabilities, truth)
                mask = probabilities > np.float32(given.threshold)
                ious.append((mask & truth).sum() / (mask | truth).sum())
                gated.append(ious[-1] if given.found[index] else 0.0)
        assert found.every_mask.mean_iou == pytest.approx(np.mean(ious))
        assert found.found_masks.mean_iou == pytest.approx(np.mean(gated))
        assert found.clipseg == tally.figures()
        assert found.absent == len(rejected)
        assert found.absent_rejected == np.mean(rejected)
        assert (found.pictures, found.left_out) == (3, 0)
        assert sum(done) == len(rows)
        assert found.clipseg.best_miou.value > 0.3  # the miniature knows its world

    def test_pictures_of_another_form_are_squashed_for_one_protocol_alone(
        self, segmenter: Segmenter, scenes: list[Case], tmp_path: Path
    ) -> None:
        rows = read_data(write_scenes(tmp_path, scenes[:1], (99, 121)), "jsonl")
        found = measure_data(segmenter, rows)
        side = segmenter.head.config.image_side
        assert found.side == side
        assert found.pixels is not None
        present = [row for row in rows if not row.is_absent]
        assert found.pixels.count == len(present) * side * side
        picture = Image.fromarray(scenes[0].scene.image[:99, :121])
        given = segmenter.segment_image(
            squashed(picture, side), [row.phrase for row in present], threshold=None
        )
        tally = ClipSegTally(segmenter.head.config.mask_threshold)
        for index, row in enumerate(present):
            truth = squashed_mask(row.truth.mask((99, 121)), side)
            tally.add(given.probabilities[index].numpy(), truth)
        assert found.clipseg == tally.figures()

    def test_a_threshold_that_is_given_is_the_one_that_is_reported(
        self, segmenter: Segmenter, scenes: list[Case], tmp_path: Path
    ) -> None:
        rows = read_data(write_scenes(tmp_path, scenes[:1]), "jsonl")
        found = measure_data(segmenter, rows, threshold=0.3)
        assert found.clipseg.threshold == 0.3
        at = THRESHOLDS.index(0.3)
        assert found.clipseg.fixed.miou == found.clipseg.curve.miou[at]

    def test_pictures_of_another_size_than_their_masks_are_left_out_and_counted(
        self, segmenter: Segmenter, phrasecut: Path
    ) -> None:
        paint(phrasecut / "images" / "7.jpg", (40, 61))
        found = measure_data(segmenter, read_data(phrasecut, "phrasecut"))
        assert (found.left_out, found.pictures, found.every_mask.phrases) == (2, 1, 1)
        assert found.scores is None
        assert found.absent_rejected is None

    def test_damaged_pictures_are_left_out_and_told(
        self, segmenter: Segmenter, phrasecut: Path
    ) -> None:
        file = phrasecut / "images" / "7.jpg"
        whole = file.read_bytes()
        file.write_bytes(whole[: len(whole) // 2])
        found = measure_data(segmenter, read_data(phrasecut, "phrasecut"))
        assert (found.left_out, found.pictures, found.every_mask.phrases) == (2, 1, 1)
        (told,) = found.damaged
        assert f"expected a picture in {file}" in told

    def test_scenes_are_measured_as_their_files_would_be(
        self, segmenter: Segmenter, scenes: list[Case], tmp_path: Path
    ) -> None:
        rows = read_data(write_scenes(tmp_path, scenes), "jsonl")
        assert measure_cases(segmenter, scenes) == measure_data(segmenter, rows)

    def test_what_is_painted_anew_is_read_from_the_run_that_painted_it(
        self, segmenter: Segmenter, scenes: list[Case]
    ) -> None:
        found = measure_cases(segmenter, scenes[:2], threshold=0.5, painter=load_miniature())
        tally, ious = ClipSegTally(0.5), []
        for case, given, _ in segmented(segmenter, scenes[:2], 0.5, load_miniature()):
            assert given.source == "sampling"
            for index, phrase in enumerate(case.phrases):
                if not phrase.is_absent:
                    tally.add(given.probabilities[index].numpy(), case.mask(phrase))
                    mask, truth = given.probabilities[index].numpy() > 0.5, case.mask(phrase)
                    ious.append((mask & truth).sum() / (mask | truth).sum())
        assert found.clipseg == tally.figures()
        assert found.every_mask.mean_iou == pytest.approx(np.mean(ious))
        assert found != measure_cases(segmenter, scenes[:2], threshold=0.5)

    def test_what_is_painted_in_another_size_than_the_head_s_is_refused(
        self, segmenter: Segmenter
    ) -> None:
        larger = cases("small", "iid", 1, 192)
        with pytest.raises(InputError, match="of 192x192, as they are painted, got one of 128"):
            measure_cases(segmenter, larger, painter=load_miniature())

    def test_pictures_that_are_all_of_another_size_are_an_error(
        self, segmenter: Segmenter, phrasecut: Path
    ) -> None:
        for name in ("7.jpg", "9.jpg"):
            paint(phrasecut / "images" / name, (40, 61))
        with pytest.raises(InputError, match="3 of pictures that are damaged or of another size"):
            measure_data(segmenter, read_data(phrasecut, "phrasecut"))
