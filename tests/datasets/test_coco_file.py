import copy
import json
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as rle_tools

from tinymaskrcnn.datasets.coco_file import CocoFile
from tinymaskrcnn.datasets.issues import INCOMPLETE, LEFT_OUT, ODD, REFUSED, by_kind, examples
from tinymaskrcnn.errors import InputError

SQUARE = {"segmentation": [[2, 2, 12, 2, 12, 12, 2, 12]], "bbox": [2, 2, 10, 10], "area": 100}
CONTENT = {
    "images": [
        {"id": 1, "file_name": "a.png", "height": 20, "width": 30},
        {"id": 2, "file_name": "b.png", "height": 20, "width": 30},
    ],
    "categories": [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}],
    "annotations": [
        {"id": 1, "image_id": 1, "category_id": 1, "iscrowd": 0, **SQUARE},
        {"id": 2, "image_id": 2, "category_id": 2, "iscrowd": 0, **SQUARE},
    ],
}


@pytest.fixture
def read(tmp_path):
    """What CocoFile makes of CONTENT after a change."""
    (tmp_path / "images").mkdir()
    for name in ("a.png", "b.png"):
        Image.new("L", (30, 20)).save(tmp_path / "images" / name)

    def read(change=lambda content: None, **settings):
        content = copy.deepcopy(CONTENT)
        change(SimpleNamespace(**content))
        (tmp_path / "set.json").write_text(json.dumps(content))
        return CocoFile(tmp_path / "set.json", **settings)

    return read


def found(file):
    """(level, kind, where) of every issue."""
    return [(issue.level, issue.kind, issue.where) for issue in file.issues]


def first(**fields):
    """A change to the first annotation."""
    return lambda content: content.annotations[0].update(fields)


def polygon(*numbers):
    return first(segmentation=[[2, 2, 12, 2, 12, 12, 2, 12], list(numbers)])


# by hand


@pytest.mark.parametrize(
    "name",
    [
        "..\\..\\media\\upload\\4\\b.png",
        "/home/someone/project/b.png",
        "C:\\work\\b.png",
        "/data/local-files/?d=project/b.png",
        "/data/local-files/?d=b.png",
        "/data/local-files/?d=project%2Fb.png",
        "https://example.org/upload/b.png?token=x",
        "/data/%62.png",
    ],
)
def test_an_image_with_another_machines_folders_is_found_by_its_bare_name(read, name, tmp_path):
    file = read(lambda content: content.images[1].update(file_name=name))
    assert file.files[2] == tmp_path / "images/b.png"
    assert found(file) == [(ODD, "images found by their bare name alone", f"image {name}")]


def test_a_bare_name_that_two_images_have_is_refused(read):
    for other in ("/home/x/a.png", "/home/y/a.png"):
        names = iter((other, "/home/z/a.png"))
        file = read(lambda c, names=names: [e.update(file_name=next(names)) for e in c.images])
        assert {issue[:2] for issue in found(file)} == {(REFUSED, "images with an ambiguous name")}
    file = read(lambda content: content.images[1].update(file_name="/home/x/a.png"))
    assert found(file) == [(REFUSED, "images with an ambiguous name", "image /home/x/a.png")]


def test_a_bare_name_in_two_folders_is_refused(read, tmp_path):
    Image.new("L", (30, 20), 9).save(tmp_path / "b.png")
    file = read(lambda content: content.images[1].update(file_name="/home/x/b.png"))
    assert found(file) == [(REFUSED, "images with an ambiguous name", "image /home/x/b.png")]


def test_a_good_file_has_no_issues(read):
    file = read()
    assert found(file) == []
    assert [thing["id"] for thing in file.objects[1]] == [1]
    assert file.objects[2][0]["label"] == 2
    assert set(file.files) == {1, 2} and file.annotations[2]["bbox"] == [2, 2, 10, 10]


@pytest.mark.parametrize(
    ("change", "level", "kind"),
    [
        (first(segmentation=[]), LEFT_OUT, "no segmentation"),
        (first(segmentation=[[1, 1, 2, 2]]), LEFT_OUT, "a polygon with fewer than three points"),
        (first(segmentation=[[1] * 6]), LEFT_OUT, "a segmentation that covers no pixel"),
        (first(segmentation="all"), REFUSED, "a segmentation of the wrong form"),
        (first(bbox=[2, 2, 0, 10]), LEFT_OUT, "a box without area inside its image"),
        (first(bbox=[12, 12, 10, 8]), LEFT_OUT, "a box far from its mask"),
        (first(bbox=[2, 2, 13, 10]), ODD, "a box that disagrees with its mask"),
        (first(bbox=[2, 2]), REFUSED, "a wrong bbox"),
        (first(area=40), ODD, "an area that disagrees with its mask"),
        (first(area=None), REFUSED, "a wrong area"),
        (first(iscrowd=2), REFUSED, "a wrong iscrowd"),
        (first(image_id=3), REFUSED, "unknown images"),
        (first(category_id=8), REFUSED, "unknown categories"),
        (lambda c: c.annotations[0].pop("area"), INCOMPLETE, "no area, which evaluation needs"),
        (lambda c: c.annotations[0].pop("bbox"), INCOMPLETE, "no bbox, which evaluation needs"),
        (polygon(3, 3, 9, 9, 9, 3, 3, 9), ODD, "a polygon that crosses itself"),
        (polygon(3, 3, 5, 5, 7, 7), ODD, "a polygon without area beside others"),
        (polygon(3, 3, 5, 5, 5, 23), ODD, "a polygon that reaches outside its image"),
        (polygon(3, 3, 5, 5, -2, 4), ODD, "a polygon that reaches outside its image"),
    ],
)
def test_every_issue_of_an_object(read, change, level, kind):
    file = read(change)
    assert (level, kind, "annotation 1") in found(file)
    assert all(d.annotation == 1 for d in file.issues if d.kind == kind)
    used = level in (ODD, INCOMPLETE)
    assert [thing["id"] for thing in file.objects[1]] == ([1] if used else [])


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda c: c.images[0].pop("width"), (REFUSED, "images with a missing or wrong width")),
        (lambda c: c.images[0].update(file_name="c"), (REFUSED, "missing images")),
        (lambda c: c.images.append(c.images[0]), (REFUSED, "two images with the same id")),
        (lambda c: c.images[0].pop("id"), (REFUSED, "images without an id")),
        (lambda c: c.annotations.pop(0), (ODD, "images without objects")),
        (lambda c: c.images[1].update(file_name="a.png"), (ODD, "image files listed t")),
        (lambda c: c.categories[0].update(name="two"), (REFUSED, "categories with the same nam")),
        (lambda c: c.categories.append({"id": 2}), (REFUSED, "two categories with the same id")),
        (lambda c: c.categories.clear(), (REFUSED, "no categories")),
        (
            lambda c: c.annotations.append({**c.annotations[0], "id": 9}),
            (ODD, "objects listed twice"),
        ),
    ],
)
def test_every_issue_of_images_and_categories(read, change, expected):
    assert any(
        level == expected[0] and kind.startswith(expected[1])
        for level, kind, _ in found(read(change))
    )


def test_a_box_of_corners_is_recognised(read):
    file = read(first(segmentation=[[10, 8, 16, 8, 16, 14, 10, 14]], bbox=[10, 8, 16, 14], area=36))
    issue = file.issues[0]
    assert issue.kind == "a box far from its mask"
    assert "it fits if read as x1, y1, x2, y2" in str(issue)


def shift(by):
    def change(content):
        for annotation in content.annotations:
            annotation["category_id"] += by

    return change


@pytest.mark.parametrize(("by", "word"), [(-1, "more"), (1, "less")])
def test_labels_off_by_one(read, by, word):
    (issue, *others) = read(shift(by)).issues
    assert issue.kind == "labels off by one: category ids of annotations"
    assert f"but the categories are 1 to 2; all would fit if they were one {word}" in str(issue)
    assert {other.kind for other in others} == {"unknown categories", "images without objects"}


def test_a_class_called_background_and_ids_from_zero(read):
    def change(content):
        content.categories.insert(0, {"id": 0, "name": "Background"})

    assert [kind for _, kind, _ in found(read(change))] == [
        "labels off by one: a class called background",
        "labels off by one: category ids from 0",
    ]


def test_what_is_wrong_with_an_image_is_not_said_again_of_its_objects(read):
    file = read(lambda content: content.images[0].update(height="20"))
    assert found(file) == [(REFUSED, "images with a missing or wrong height", "image 1")]
    file = read(classes=["one"])
    kinds = [kind for _, kind, _ in found(file)]
    assert kinds == ["categories that are not among the classes", "images without objects"]


def test_images_above_the_limit(read):
    file = read(max_pixels=500)
    assert [kind for _, kind, _ in found(file)] == ["images larger than the limit"] * 2
    assert "30 x 20 = 600 pixels, more than the limit of 500" in file.issues[0].detail


# laws


@pytest.mark.parametrize("seed", range(5))
def test_boxes_and_areas_of_the_masks_are_never_a_issue(read, seed):
    """For blobs of any size, down to single pixels."""
    rng = np.random.default_rng(seed)
    things = []
    for number in range(20):
        mask = np.zeros((20, 30), np.uint8, order="F")
        y, x = rng.integers(0, 19), rng.integers(0, 29)
        mask[y : y + rng.integers(1, 9), x : x + rng.integers(1, 9)] = 1
        rle = rle_tools.encode(mask)
        things.append(
            {
                "id": number,
                "image_id": 1 + number % 2,
                "category_id": 1,
                "iscrowd": 0,
                "bbox": rle_tools.toBbox(rle).tolist(),
                "area": int(rle_tools.area(rle)),
                "segmentation": {"size": [20, 30], "counts": rle["counts"].decode()},
            }
        )
    file = read(lambda content: content.annotations.__setitem__(slice(None), things))
    assert {kind for _, kind, _ in found(file)} <= {"objects listed twice"}
    assert sum(map(len, file.objects.values())) == 20


# edges


def test_examples_are_few_and_details_that_all_share_are_said_once(read):
    file = read(shift(5))
    some = by_kind(file.issues)["unknown categories"]
    assert examples(some) == "annotation 1, annotation 2"
    assert examples(some, with_details=True) == (
        "annotation 1 (category_id is 6, which the file does not define), "
        "annotation 2 (category_id is 7, which the file does not define)"
    )
    assert examples(some[:1] * 7, with_details=True) == (
        ", ".join(["annotation 1"] * 5) + ", ... (category_id is 6, which the file does not define)"
    )


def test_another_kind_of_json_is_told_from_coco(tmp_path):
    (tmp_path / "via.json").write_text('{"_via_settings": {}}')
    with pytest.raises(InputError, match=r"via\.json: not COCO json: .*tinymaskrcnn convert"):
        CocoFile(tmp_path / "via.json")
