import copy
import json
import logging
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pycocotools.coco import COCO

from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.datasets.coco_objects import BAD_BOX
from tinymaskrcnn.errors import InputError

SHIPPED = Path(__file__).parents[2] / "data"
MASK = [[0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 1, 1], [0] * 6, [0] * 6]  # 4 rows, 6 columns
RUNS = [16, 2, 2, 2, 2]  # MASK's runs, down the columns

CONTENT = {
    "images": [
        {"id": 30, "file_name": "a.png", "height": 4, "width": 6},
        {"id": 10, "file_name": "b.png", "height": 5, "width": 3},
    ],
    "categories": [{"id": 7, "name": "seven"}, {"id": 3, "name": "three"}],
    "annotations": [
        {
            "id": 1,
            "image_id": 30,
            "category_id": 7,
            "segmentation": [[1, 1, 3, 1, 3, 4, 1, 4]],
            "bbox": [1, 1, 2, 3],
            "area": 6,
            "iscrowd": 0,
        },
        {
            "id": 2,
            "image_id": 30,
            "category_id": 3,
            "segmentation": {"size": [4, 6], "counts": RUNS},
            "bbox": [3.5, -1, 9, 3],
            "area": 5.5,
            "iscrowd": 1,
        },
    ],
}


def write_images(folder):
    folder.mkdir(exist_ok=True)
    for name, size in (("a.png", (6, 4)), ("b.png", (3, 5))):
        Image.new("L", size, 128).save(folder / name)


@pytest.fixture
def write(tmp_path):
    """Write a json (CONTENT after a change) with its images; returns its path."""

    def write(change=lambda content: None, folder="images"):
        content = copy.deepcopy(CONTENT)
        change(content)
        write_images(tmp_path / folder)
        path = tmp_path / "set.json"
        path.write_text(json.dumps(content))
        return path

    return write


# by hand


def test_images_objects_and_classes(write):
    dataset = CocoDataset(write())
    assert len(dataset) == 2
    assert dataset.classes == ["three", "seven"]
    assert dataset.category_ids == [3, 7]
    assert dataset.describe(1).endswith("images/b.png")
    image, target = dataset[0]
    np.testing.assert_array_equal(image, np.full((3, 4, 6), np.float32(128) / np.float32(255)))
    np.testing.assert_array_equal(target["labels"], [2, 1])
    np.testing.assert_array_equal(target["boxes"], [[1, 1, 3, 4], [3.5, 0, 6, 2]])
    np.testing.assert_array_equal(target["area"], [6, 5.5])
    np.testing.assert_array_equal(target["iscrowd"], [False, True])
    np.testing.assert_array_equal(target["masks"][1], MASK)
    assert target["masks"][0].sum() == 6
    assert target["masks"].dtype == np.uint8
    assert target["image_id"] == 30


def test_an_image_without_objects_is_kept(write):
    image, target = CocoDataset(write(), channels=1)[1]
    assert image.shape == (1, 5, 3)
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 5, 3)


def test_images_may_lie_beside_the_json_or_where_it_is_said(write, tmp_path):
    assert len(CocoDataset(write(folder="."))) == 2
    assert CocoDataset(write(folder="elsewhere"), tmp_path / "elsewhere")[0][0].shape == (3, 4, 6)


def test_labels_can_follow_another_set(write):
    dataset = CocoDataset(write(), classes=["seven", "eight", "three"])
    np.testing.assert_array_equal(dataset[0][1]["labels"], [1, 3])
    assert dataset.category_ids == [7, None, 3]
    with pytest.raises(
        InputError, match=r"category 3: 'three' is not among the classes \['seven'\]"
    ):
        CocoDataset(write(), classes=["seven"])


def test_area_and_box_come_from_the_mask_where_they_are_missing(write):
    def change(content):
        for field in ("area", "bbox", "iscrowd"):
            del content["annotations"][0][field]

    target = CocoDataset(write(change))[0][1]
    np.testing.assert_array_equal(target["boxes"][0], [1, 1, 3, 4])
    assert target["area"][0] == 6
    assert not target["iscrowd"][0]


# outside oracle


@pytest.mark.parametrize("name", ["nuclei", "shapes"])
def test_masks_and_boxes_are_those_of_pycocotools(name, capsys):
    path = SHIPPED / name / "annotations.json"
    oracle, dataset = COCO(path), CocoDataset(path)
    for index in range(len(dataset)):
        image, target = dataset[index]
        truth = oracle.loadAnns(oracle.getAnnIds(target["image_id"]))
        boxes = [[x, y, x + w, y + h] for x, y, w, h in (entry["bbox"] for entry in truth)]
        np.testing.assert_array_equal(target["boxes"], boxes)
        np.testing.assert_array_equal(target["masks"], [oracle.annToMask(e) for e in truth])
        assert image.shape == (3, 128, 128)


# edges


def unusable(content):
    first = content["annotations"][0]
    for id_, segmentation in ((3, []), (4, [[1, 1, 1, 1, 1, 1]]), (5, None), (6, [[1, 2, 3, 4]])):
        content["annotations"].append({**first, "id": id_, "segmentation": segmentation})


def test_objects_without_a_mask_are_left_out_and_counted(write, caplog):
    with caplog.at_level(logging.WARNING):
        dataset = CocoDataset(write(unusable))
    assert dataset.skipped == {
        "no segmentation": [3, 5],
        "a segmentation that covers no pixel": [4],
        "a polygon with fewer than three points": [6],
    }
    assert len(dataset[0][1]["labels"]) == 2
    assert "left out 2 object(s), no segmentation: annotation 3, annotation 5" in caplog.text


def set_field(kind, field, value):
    def change(content):
        content[kind][0][field] = value

    return change


@pytest.mark.parametrize("bbox", [[1, 1, 0, 3], [1, 1, 2, -3], [6, 1, 2, 2], [-5, 0, 5, 2]])
def test_a_box_without_area_is_refused_or_left_out(write, bbox):
    path = write(set_field("annotations", "bbox", bbox))
    with pytest.raises(InputError, match=r"set.json: annotation 1: bbox .* has no area"):
        CocoDataset(path)
    assert CocoDataset(path, skip_bad_boxes=True).skipped == {BAD_BOX: [1]}


def drop(kind, field):
    return lambda content: content[kind][0].pop(field)


def duplicate(kind):
    return lambda content: content[kind].append(content[kind][0])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda content: content.pop("images"), "no list of objects named 'images'"),
        (lambda content: content.update(annotations={}), "no list of objects named 'annotations'"),
        (lambda content: content.update(categories=[3]), "no list of objects named 'categories'"),
        (lambda content: content.update(categories=[]), "there are none that can be used"),
        (duplicate("images"), "image 30: two images with the same id"),
        (duplicate("annotations"), "annotation 1: two annotations with the same id"),
        (duplicate("categories"), "category 7: two categories with the same id"),
        (drop("images", "id"), "images\\[0\\]: it has no id"),
        (drop("images", "file_name"), "image 30: file_name is missing"),
        (set_field("images", "width", "6"), "width is '6', expected a whole number"),
        (set_field("images", "height", 0), "height is 0"),
        (set_field("images", "file_name", "c.png"), "image c.png: not in"),
        (drop("categories", "name"), "category 7: name is missing"),
        (drop("annotations", "id"), "annotations\\[0\\]: it has no id"),
        (drop("annotations", "category_id"), "annotation 1: category_id is missing"),
        (set_field("annotations", "category_id", 91), "annotation 1: category_id is 91"),
        (set_field("annotations", "image_id", 5), "annotation 1: image_id is 5"),
        (set_field("annotations", "image_id", [5]), "annotation 1: image_id is"),
        (set_field("annotations", "bbox", [1, 2, 3]), "annotation 1: bbox is"),
        (set_field("annotations", "bbox", "1 2 3 4"), "annotation 1: bbox is"),
        (set_field("annotations", "bbox", [1, 2, 3, float("nan")]), "annotation 1: bbox is"),
        (set_field("annotations", "area", "large"), "annotation 1: area is 'large'"),
        (set_field("annotations", "iscrowd", "0"), "annotation 1: iscrowd is '0', expected 0 or 1"),
        (set_field("annotations", "segmentation", "m"), "annotation 1: segmentation is neither"),
    ],
)
def test_a_json_that_contradicts_itself_is_refused(write, change, reason):
    with pytest.raises(InputError, match=reason) as caught:
        CocoDataset(write(change))
    assert "set.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"", "the file is empty"), (b"{", "not a json file"), (b"[1]", "no list"), (b"\xff", "json")],
)
def test_other_files_are_refused(tmp_path, content, reason):
    (tmp_path / "x.json").write_bytes(content)
    with pytest.raises(InputError, match=reason):
        CocoDataset(tmp_path / "x.json")


def test_a_missing_json_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.json: no such file"):
        CocoDataset(tmp_path / "none.json")


def test_an_image_of_another_size_is_refused(write):
    def change(content):
        content["images"][0]["height"] = 40
        content["annotations"] = []

    dataset = CocoDataset(write(change))
    with pytest.raises(InputError, match=r"a.png: the image is 6 x 4, but .* says 6 x 40"):
        dataset[0]


def test_what_the_files_hold_besides_is_said_once_for_each_kind(write, tmp_path, caplog):
    """As training does it, before its first step."""
    path = write()
    frames = [Image.new("LA", (6, 4), (128, 255)) for _ in range(3)]
    frames[2].putpixel((0, 0), (128, 0))
    frames[0].save(tmp_path / "a.tif", save_all=True, append_images=frames[1:])
    (tmp_path / "a.tif").replace(tmp_path / "images/a.png")
    with caplog.at_level(logging.WARNING):
        CocoDataset(path).check_images()
    kind = "files with several pages or frames, of which only the first is read"
    assert caplog.messages[-1] == f"{path}: {kind} (1): {tmp_path / 'images/a.png'}"


@pytest.fixture(scope="module")
def images_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    write_images(folder / "images")
    return folder


ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, -1, 3, 10**400, 2**31, 1e308, float("inf"), float("nan"), 0.5]),
    st.sampled_from(["", "a.png", "7", "\0", "x" * 300, "ÿ"]),
    st.sampled_from([[], {}, [[]], [[1, 2, 3]], [None], {"counts": "1"}]),
)


def places(value, path=()):
    """The paths to all parts of a json value."""
    children = {list: enumerate, dict: dict.items}.get(type(value), lambda _: ())(value)
    return [path] + [place for key, child in children for place in places(child, (*path, key))]


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_any_damage_is_refused_or_survived(images_folder, data):
    content = copy.deepcopy(CONTENT)
    for _ in range(data.draw(st.integers(1, 3))):
        *way, last = data.draw(st.sampled_from([place for place in places(content) if place]))
        parent = content
        for key in way:
            parent = parent[key]
        parent[last] = copy.deepcopy(data.draw(ODD))
    path = images_folder / "set.json"
    path.write_text(json.dumps(content))
    try:
        dataset = CocoDataset(path)
        targets = [dataset[i][1] for i in range(len(dataset))]
    except InputError as error:
        assert "\n" not in str(error)
    else:
        for target in targets:
            assert (target["boxes"][:, 2:] > target["boxes"][:, :2]).all()
            assert np.isfinite(target["area"]).all()
