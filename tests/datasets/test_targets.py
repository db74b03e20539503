import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from tinymaskrcnn.datasets.targets import (
    select_objects,
    target_from_masks,
    with_masks,
)
from tinymaskrcnn.detection.cropped_masks import CroppedMasks

masks_strategy = arrays(
    np.uint8,
    st.tuples(st.integers(0, 4), st.integers(1, 9), st.integers(1, 9)),
    elements=st.integers(0, 1),
)


def boxes_by_loops(masks):
    """The specification: look at every pixel."""
    boxes = np.zeros((len(masks), 4), np.float32)
    for number, mask in enumerate(masks):
        pixels = [(x, y) for y in range(len(mask)) for x in range(len(mask[0])) if mask[y][x]]
        if pixels:
            columns, rows = zip(*pixels, strict=True)
            boxes[number] = min(columns), min(rows), max(columns) + 1, max(rows) + 1
    return boxes


# by hand


def test_one_pixel_has_a_box_of_one_pixel():
    masks = np.zeros((1, 4, 5), np.uint8)
    masks[0, 2, 3] = 1
    np.testing.assert_array_equal(CroppedMasks.of(masks).boxes(), [[3, 2, 4, 3]])


def test_with_masks_drops_what_vanished_everywhere():
    masks = np.zeros((3, 4, 4), np.uint8)
    masks[0, :2], masks[2, 0, 0] = 1, 1
    before = target_from_masks(np.ones((3, 4, 4)), np.array([5, 6, 7]), image_id=9)
    before["iscrowd"][0] = True
    after = with_masks(before, masks, min_pixels=2)
    np.testing.assert_array_equal(after["labels"], [5])
    np.testing.assert_array_equal(after["boxes"], [[0, 0, 4, 2]])
    np.testing.assert_array_equal(after["area"], [8])
    np.testing.assert_array_equal(after["iscrowd"], [True])
    assert after["masks"].shape == (1, 4, 4)
    assert after["image_id"] == 9


def test_select_objects_reorders_every_entry():
    target = target_from_masks(np.eye(3).reshape(3, 1, 3), np.array([1, 2, 3]), image_id=0)
    chosen = select_objects(target, np.array([2, 0]))
    np.testing.assert_array_equal(chosen["labels"], [3, 1])
    np.testing.assert_array_equal(chosen["boxes"][:, 0], [2, 0])


# specification


@settings(deadline=None, max_examples=60)
@given(masks_strategy)
def test_boxes_equal_the_loops(masks):
    np.testing.assert_array_equal(CroppedMasks.of(masks).boxes(), boxes_by_loops(masks))


# edges


def test_without_objects_every_entry_is_empty():
    target = target_from_masks(np.zeros((0, 4, 6)), np.zeros(0), image_id=1)
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 4, 6)
    assert {name: target[name].dtype.name for name in ("boxes", "labels", "masks", "iscrowd")} == {
        "boxes": "float32",
        "labels": "int64",
        "masks": "uint8",
        "iscrowd": "bool",
    }
