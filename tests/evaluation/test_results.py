import json

import numpy as np
from pycocotools import mask as rle_tools

from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.datasets.targets import target_from_masks
from tinymaskrcnn.evaluation import coco_annotations, coco_results

from .fakes import Found, perfect

# by hand


def test_one_detection_as_a_result():
    mask = np.zeros((1, 3, 4))
    mask[0, 1, 1:3] = 1
    (result,) = coco_results(Found([[1, 1, 3, 2]], [2], [0.5], mask), 17, [10, 20])
    assert json.loads(json.dumps(result)) == result
    np.testing.assert_array_equal(rle_tools.decode(result.pop("segmentation")), mask[0])
    assert result == {"image_id": 17, "category_id": 20, "score": 0.5, "bbox": [1, 1, 2, 1]}


def test_without_ids_the_label_is_written():
    (result,) = coco_results(Found([[0, 0, 1, 1]], [3], [1], np.ones((1, 1, 1))), 1)
    assert result["category_id"] == 3


def test_a_target_without_optional_entries():
    target = {
        "boxes": np.float32([[0, 0, 2, 1]]),
        "labels": np.array([1]),
        "masks": np.ones((1, 1, 2), np.uint8),
    }
    (annotation,) = coco_annotations(target, 4)
    assert annotation["area"] == 2
    assert annotation["iscrowd"] == 0
    assert annotation["image_id"] == 4


# laws


def test_masks_and_boxes_survive():
    _, target = ToyShapes(1, min_objects=6)[0]
    results = coco_results(perfect(target), 1)
    annotations = coco_annotations(target, 1)
    for entries in (results, annotations):
        masks = [rle_tools.decode(entry["segmentation"]) for entry in entries]
        np.testing.assert_array_equal(masks, target["masks"])
        corners = np.array([entry["bbox"] for entry in entries])
        corners[:, 2:] += corners[:, :2]
        np.testing.assert_array_equal(corners, target["boxes"])
    assert [entry["area"] for entry in annotations] == target["area"].tolist()
    json.dumps(annotations)


# edges


def test_nothing_found_and_nothing_there():
    empty = target_from_masks(np.zeros((0, 5, 6)), np.zeros(0), image_id=1)
    assert coco_annotations(empty, 1) == []
    assert coco_results(perfect(empty), 1) == []
