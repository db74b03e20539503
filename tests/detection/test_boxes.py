"""detection/boxes.py and box_coder.py."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lessons
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.detection.boxes import (
    box_area,
    boxes_to_rois,
    clip_boxes,
    covered_share,
    is_large_enough,
    paired_iou,
    scale_boxes,
)
from tinymaskrcnn.ops.box_iou.reference import box_iou

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "detection.npz")
WEIGHTS = {"plain": (1.0, 1.0, 1.0, 1.0), "weighted": (10.0, 10.0, 5.0, 5.0)}


def some_boxes(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-20, 80, (count, 2))
    return np.hstack([corners, corners + rng.uniform(0.5, 90, (count, 2))]).astype(np.float32)


# by hand


def test_area_clip_and_scale_by_hand():
    boxes = np.array([[-3, 2, 5, 8]], np.float32)
    assert box_area(boxes) == [48]
    assert clip_boxes(boxes, (6, 4)).tolist() == [[0, 2, 4, 6]]
    assert scale_boxes(boxes, (10, 10), (20, 5)).tolist() == [[-1.5, 4, 2.5, 16]]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_areas_of_large_small_and_empty_boxes(dtype):
    boxes = np.array(
        [[285.3538, 185.5758, 1193.511, 851.4551], [2.825, 1.8625, 3.9, 4.85], [7, 7, 7, 7]], dtype
    )
    assert box_area(boxes).dtype == dtype
    assert np.allclose(box_area(boxes), [604723.0806, 3.2115625, 0], rtol=1e-6)


def test_a_side_of_exactly_the_least_size_stays():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 1.999, 9], [1, 1, 3, 9]], np.float32)
    assert is_large_enough(boxes, 2.0).tolist() == [True, False, True]


def test_the_iou_of_boxes_that_only_touch_is_zero():
    a, b = np.array([[0.0, 0, 2, 2]]), np.array([[2.0, 0, 4, 2]])
    assert paired_iou(a, b).tolist() == [0]
    assert paired_iou(a, a).tolist() == [1]


def test_iou_of_pairs_is_that_of_all_pairs():
    a, b = some_boxes(0, 30).astype(float), some_boxes(1, 30).astype(float)
    np.testing.assert_allclose(paired_iou(a, b), np.diag(box_iou(a, b)), atol=1e-12)
    np.testing.assert_allclose(paired_iou(a[:, None], b), box_iou(a, b), atol=1e-12)


def test_covered_share_by_hand():
    boxes = np.array([[0, 0, 4, 4], [10, 10, 12, 12]], np.float32)
    regions = np.array([[2, 0, 40, 4], [0, 0, 1, 4]], np.float32)
    assert covered_share(boxes, regions).tolist() == [0.5, 0]


def test_rois_carry_the_image_index():
    first, second = some_boxes(0, 2), some_boxes(1, 1)
    rois = boxes_to_rois([first, np.zeros((0, 4), np.float32), second])
    assert rois.dtype == np.float32
    assert rois[:, 0].tolist() == [0, 0, 2]
    assert np.array_equal(rois[:, 1:], np.concatenate([first, second]))


def test_offsets_by_hand():
    box, goal = np.array([[0, 0, 10, 20]], np.float32), np.array([[10, 0, 30, 10]], np.float32)
    expected = [[1.5, -0.25, np.log(2), np.log(0.5)]]
    assert np.allclose(BoxCoder().encode(goal, box), expected)
    assert np.allclose(BoxCoder().decode(np.array(expected, np.float32), box), goal, atol=1e-5)


def test_growth_is_limited_and_shrinking_is_not():
    box = np.array([[0, 0, 16, 16]], np.float32)
    grown, shrunk = BoxCoder().decode(np.array([[0, 0, 50, 0, 0, 0, -50, 0]], np.float32), box)[0]
    assert grown[2] - grown[0] == pytest.approx(1000, rel=1e-5)
    assert shrunk[2] - shrunk[0] == 0


# specification


LESSON = lessons.load("matching")


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_encode_one_pair_at_a_time(weights):
    boxes, goals = some_boxes(0, 9), some_boxes(1, 9)
    pairs = zip(goals.astype(float), boxes.astype(float), strict=True)
    expected = [LESSON.encode_one(goal, box, weights) for goal, box in pairs]
    assert np.allclose(BoxCoder(weights).encode(goals, boxes), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("weights", WEIGHTS.values(), ids=WEIGHTS)
def test_decode_one_box_and_class_at_a_time(weights):
    boxes = some_boxes(2, 5)
    deltas = np.random.default_rng(3).normal(0, 2, (5, 12)).astype(np.float32)
    decoded = BoxCoder(weights).decode(deltas, boxes)
    expected = [
        [LESSON.decode_one(offsets, box, weights) for offsets in row.reshape(3, 4)]
        for row, box in zip(deltas, boxes, strict=True)
    ]
    assert decoded.shape == (5, 3, 4)
    assert np.allclose(decoded, expected, rtol=1e-5, atol=1e-3)


def test_covered_share_one_pair_at_a_time():
    boxes, regions = some_boxes(4, 9), some_boxes(5, 4)
    for box, share in zip(boxes, covered_share(boxes, regions), strict=True):
        overlaps = [
            max(min(box[2], r[2]) - max(box[0], r[0]), 0)
            * max(min(box[3], r[3]) - max(box[1], r[1]), 0)
            for r in regions
        ]
        assert share == pytest.approx(max(overlaps) / box_area(box), rel=1e-5)


# laws


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(0, 8), st.sampled_from(list(WEIGHTS.values())))
def test_decode_undoes_encode(seed, count, weights):
    boxes, goals = some_boxes(seed, count), some_boxes(seed + 1, count)
    coder = BoxCoder(weights)
    sides = (goals[:, 2:] - goals[:, :2]) / (boxes[:, 2:] - boxes[:, :2])
    goals = goals[(sides < 62).all(axis=1)]  # beyond the limit it cannot
    boxes = boxes[(sides < 62).all(axis=1)]
    back = coder.decode(coder.encode(goals, boxes), boxes)[:, 0]
    assert np.allclose(back, goals, atol=2e-3)


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 60))
def test_clipping_twice_is_clipping_once(seed, height, width):
    once = clip_boxes(some_boxes(seed, 6), (height, width))
    assert np.array_equal(clip_boxes(once, (height, width)), once)
    assert (once >= 0).all() and (once <= [width, height, width, height]).all()


# outside oracle


@pytest.mark.parametrize("name", WEIGHTS)
def test_coder_matches_torchvision(name):
    coder, boxes = BoxCoder(WEIGHTS[name]), GOLDEN["boxes"]
    encoded = coder.encode(GOLDEN["goals"], boxes)
    assert np.allclose(encoded, GOLDEN[f"encoded_{name}"], rtol=1e-6, atol=1e-6)
    decoded = coder.decode(GOLDEN["deltas"], boxes)
    assert decoded.dtype == np.float32
    limit = 2 * np.spacing(
        np.abs(decoded).max()
    )  # exp differs in the last bit, sides are thousands
    assert np.abs(decoded - GOLDEN[f"decoded_{name}"]).max() <= limit


def test_box_functions_match_torchvision_exactly():
    boxes = GOLDEN["boxes"]
    assert np.array_equal(clip_boxes(boxes, (60, 70)), GOLDEN["clipped"])
    assert np.array_equal(np.flatnonzero(is_large_enough(boxes, 30.0)), GOLDEN["large"])
    assert np.array_equal(scale_boxes(boxes, (480, 641), (800, 1068)), GOLDEN["resized"])


# edges


def test_no_boxes():
    none = np.zeros((0, 4), np.float32)
    assert BoxCoder().encode(none, none).shape == (0, 4)
    assert BoxCoder().decode(np.zeros((0, 8), np.float32), none).shape == (0, 2, 4)
    assert is_large_enough(none, 1.0).shape == (0,)
    assert boxes_to_rois([none, none]).shape == (0, 5)
    assert covered_share(none, some_boxes(0, 2)).shape == (0,)
    assert covered_share(some_boxes(0, 2), none).tolist() == [0, 0]
