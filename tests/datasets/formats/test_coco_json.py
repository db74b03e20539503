import copy
import json
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn.datasets import CocoDataset
from tinymaskrcnn.datasets.formats import Options, as_coco_json, read
from tinymaskrcnn.errors import InputError

from ..test_segmentation import runs_of
from .tools import Converted, box_mask, image_file, write

SHIPPED = Path(__file__).parents[3] / "data"
MASK = box_mask(3, 4, 9, 11)
CONTENT = {
    "info": {"year": 2017},
    "images": [{"id": 7, "file_name": "a.png", "license": 3}],
    "categories": [{"id": 3, "name": "cat", "supercategory": "animal"}, {"id": 1, "name": "dog"}],
    "annotations": [
        {"id": 5, "image_id": 7, "category_id": 3, "segmentation": [[2, 2, 12, 2, 12, 12, 2, 12]]},
        {
            "id": 9,
            "image_id": 7,
            "category_id": 1,
            "iscrowd": 1,
            "bbox": [0, 0, 1, 1],
            "area": -1,
            "segmentation": {"size": [20, 30], "counts": runs_of(MASK)},
            "tag": "x",
        },
    ],
}


@pytest.fixture
def convert(tmp_path):
    image_file(tmp_path / "images/a.png")
    return lambda content: Converted(write(tmp_path / "set.json", content))


def test_what_is_missing_is_completed_and_boxes_are_those_of_the_masks(convert):
    converted = convert(CONTENT)
    assert converted.content["images"] == [
        {"id": 7, "file_name": "images/a.png", "license": 3, "height": 20, "width": 30}
    ]
    first, second = converted.content["annotations"]
    assert (first["id"], first["bbox"], first["area"], first["iscrowd"]) == (
        5,
        [2, 2, 10, 10],
        100,
        0,
    )
    assert (second["id"], second["iscrowd"], second["tag"]) == (9, 1, "x")
    assert second["bbox"] == [3, 4, 6, 7]
    assert isinstance(second["segmentation"]["counts"], str)
    assert converted.content["categories"] == CONTENT["categories"]
    assert converted.content["info"] == {"year": 2017}
    np.testing.assert_array_equal(converted.masks["images/a.png", "dog"], [MASK])


@pytest.mark.parametrize("name", ["nuclei", "shapes"])
def test_a_round_trip_changes_nothing(tmp_path, name):
    source = SHIPPED / name / "annotations.json"
    content = as_coco_json(read(source, None, Options()), tmp_path)
    write(tmp_path / "again.json", content)
    before, after = CocoDataset(source), CocoDataset(tmp_path / "again.json")
    assert before.classes == after.classes and before.category_ids == after.category_ids
    for index in range(len(before)):
        (image, target), (again, same) = before[index], after[index]
        np.testing.assert_array_equal(image, again)
        for entry, value in target.items():
            np.testing.assert_array_equal(value, same[entry])


def test_unusable_objects_are_left_out(convert):
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["segmentation"] = []
    converted = convert(content)
    assert converted.left_out == {"no segmentation": ["annotation 5"]}


def test_a_file_that_contradicts_itself_is_refused(convert):
    content = copy.deepcopy(CONTENT)
    content["annotations"][0]["category_id"] = 99
    with pytest.raises(InputError, match=r"set\.json: annotation 5: category_id is 99"):
        convert(content)


def test_an_image_that_would_be_mistaken_is_refused(tmp_path):
    """A reader of the result looks in `images/` first."""
    image_file(tmp_path / "a.png")
    content = {**CONTENT, "images": [{"id": 7, "file_name": "a.png", "height": 20, "width": 30}]}
    source = write(tmp_path / "set.json", content)
    assert Converted(source).files == {7: "a.png"}
    image_file(tmp_path / "out/images/a.png")
    image_file(tmp_path / "out/a.png")
    with pytest.raises(InputError, match=r"readers would take .*images/a\.png for it"):
        Converted(source, folder=tmp_path / "out", images_dir=tmp_path / "out")


def test_json_that_is_not_coco(tmp_path):
    for content in ([], {"images": []}, 7):
        with pytest.raises(InputError, match="neither COCO, VIA"):
            Converted(write(tmp_path / "x.json", content))
    (tmp_path / "y.json").write_text("{")
    with pytest.raises(InputError, match="not a json file"):
        Converted(tmp_path / "y.json")


def test_a_folder_with_one_json_or_several(tmp_path):
    image_file(tmp_path / "images/a.png")
    write(tmp_path / "one.json", CONTENT)
    write(tmp_path / "settings.json", {"a": 1})
    assert Converted(tmp_path).classes == ["cat", "dog"]
    (tmp_path / "two.json").write_text(json.dumps(CONTENT))
    with pytest.raises(InputError, match=r"several json files \(one\.json, two\.json\)"):
        Converted(tmp_path)
    with pytest.raises(InputError, match="2 json files of the format coco, expected one"):
        Converted(tmp_path, format="coco")
