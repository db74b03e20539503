"""Box IoU."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from pycocotools import mask as coco

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn.ops.box_iou import cpu, reference
from tinymaskrcnn.ops.box_iou.op import box_iou

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "roi_ops.npz")


def random_boxes(rng, count, whole=False):
    start, sides = rng.uniform(-20, 60, (count, 2)), rng.uniform(0, 40, (count, 2))
    boxes = np.hstack((start, start + sides)).astype(np.float32)
    return np.round(boxes) if whole else boxes


# By hand


def test_known_overlaps(backend):
    a = [[0, 0, 2, 2]]
    b = [[0, 0, 2, 2], [1, 1, 3, 3], [1, 0, 2, 2], [2, 0, 4, 2], [5, 5, 6, 6], [1, 1, 1, 1]]
    np.testing.assert_array_equal(box_iou(a, b), np.float32([[1, 1 / 7, 0.5, 0, 0, 0]]))


@pytest.mark.parametrize("dtype", [np.int16, np.int32, np.int64, np.float32, np.float64])
def test_boxes_of_whole_numbers(backend, dtype):
    a = np.array([[0, 0, 100, 100], [0, 0, 50, 50], [200, 200, 300, 300], [0, 0, 25, 25]], dtype)
    expected = [[1, 0.25, 0], [0.25, 1, 0], [0, 0, 1], [0.0625, 0.25, 0]]
    np.testing.assert_array_equal(box_iou(a, a[:3]), expected)


def test_large_boxes_that_are_nearly_equal(backend):
    boxes = [
        [285.3538, 185.5758, 1193.5110, 851.4551],
        [285.1472, 188.7374, 1192.4984, 851.0669],
        [279.2440, 197.9812, 1189.4746, 849.2019],
    ]
    expected = [[1, 0.9933, 0.9673], [0.9933, 1, 0.9737], [0.9673, 0.9737, 1]]
    np.testing.assert_allclose(box_iou(boxes, boxes), expected, atol=1e-4)


# Specification


iou_one = lessons.load("boxes_iou").iou_one


def test_equals_the_one_pair_loops(backend):
    rng = np.random.default_rng(0)
    a, b = random_boxes(rng, 13), random_boxes(rng, 21)
    expected = [[iou_one(p, q) for q in b.astype(np.float64)] for p in a.astype(np.float64)]
    np.testing.assert_allclose(box_iou(a, b), expected, rtol=1e-5)


@pytest.mark.parametrize(("rows", "columns"), [(3, 10_000), (500, 7), (1, 1)])
def test_kernels_equal_the_reference_bit_for_bit(rows, columns):
    rng = np.random.default_rng(1)
    for whole in (False, True):
        a, b = random_boxes(rng, rows, whole), random_boxes(rng, columns, whole)
        np.testing.assert_array_equal(cpu.box_iou(a, b), reference.box_iou(a, b))


# Laws


@on_each_backend(st.integers(0, 2**31), st.booleans(), examples=25)
def test_symmetric_bounded_and_blind_to_shift_and_scale(backend, seed, whole):
    rng = np.random.default_rng(seed)
    a, b = random_boxes(rng, 9, whole), random_boxes(rng, 6, whole)
    iou = box_iou(a, b)
    np.testing.assert_array_equal(iou, box_iou(b, a).T)
    np.testing.assert_array_equal(iou, box_iou(4 * a, 4 * b))
    np.testing.assert_allclose(iou, box_iou(a + 8, b + 8), atol=1e-4)
    own = np.diagonal(box_iou(a, a))
    assert ((iou >= 0) & (iou <= 1)).all()
    np.testing.assert_array_equal(own, (a[:, 2:] > a[:, :2]).all(axis=1))


# Outside oracles


def test_torchvision_bit_for_bit(backend):
    boxes = GOLDEN["boxes"]
    np.testing.assert_array_equal(box_iou(boxes[:20], boxes[130:]), GOLDEN["iou"])


def test_pycocotools(backend):
    rng = np.random.default_rng(2)
    a, b = random_boxes(rng, 8), random_boxes(rng, 8)
    x, y = (np.hstack((c[:, :2], c[:, 2:] - c[:, :2])).astype(np.float64) for c in (a, b))
    np.testing.assert_allclose(box_iou(a, b), coco.iou(x, y, [0] * 8), atol=1e-5)


# Edges


@pytest.mark.parametrize(("rows", "columns"), [(0, 3), (3, 0), (0, 0)])
def test_no_boxes(backend, rows, columns):
    assert box_iou(np.zeros((rows, 4)), np.zeros((columns, 4))).shape == (rows, columns)


def test_boxes_without_area_overlap_nothing_and_nan_stays_visible(backend):
    flat = np.array([[1, 1, 1, 5], [2, 2, 2, 2]], np.float32)
    np.testing.assert_array_equal(box_iou(flat, flat), np.zeros((2, 2)))
    assert np.isnan(box_iou(np.float32([[0, 0, np.nan, 1]]), np.float32([[0, 0, 1, 1]]))).all()


def test_a_wrong_shape_is_named(backend):
    with pytest.raises(ValueError, match=r"b: expected shape \(N, 4\).*got \(3, 5\)"):
        box_iou(np.zeros((2, 4)), np.zeros((3, 5)))
