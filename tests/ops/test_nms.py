"""Non-maximum suppression, for one class and for many."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.ops.box_iou.reference import box_iou
from tinymaskrcnn.ops.nms import kernels, reference
from tinymaskrcnn.ops.nms.op import batched_nms, nms

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "roi_ops.npz")


def random_boxes(rng, count, whole=True):
    """Clustered boxes: many overlap; those with whole coordinates often at exactly 0.5."""
    start, sides = rng.uniform(0, 40, (count, 2)), rng.uniform(1, 25, (count, 2))
    boxes = np.hstack((start, start + sides))
    return (np.round(boxes) if whole else boxes).astype(np.float32)


# By hand


def test_a_box_is_dropped_for_a_better_one_it_overlaps(backend):
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [20, 20, 30, 30], [0, 0, 10, 4]]
    np.testing.assert_array_equal(nms(boxes, [0.8, 0.9, 0.7, 0.6], 0.5), [1, 2, 3])


def test_an_iou_exactly_at_the_threshold_is_kept(backend):
    boxes = [[0, 0, 2, 2], [0, 0, 2, 1]]  # IoU 0.5
    np.testing.assert_array_equal(nms(boxes, [2, 1], 0.5), [0, 1])
    np.testing.assert_array_equal(nms(boxes, [2, 1], 0.4999999), [0])


@pytest.mark.parametrize("threshold", [0.3, 0.7])
def test_the_threshold_is_not_rounded_to_float32(backend, threshold):
    boxes = [[0, 0, 10, 1], [0, 0, 10 * threshold, 1]]  # IoU: the threshold in float32
    kept = [0] if np.float32(threshold) > np.float64(threshold) else [0, 1]
    np.testing.assert_array_equal(nms(boxes, [2, 1], threshold), kept)


def test_equal_scores_keep_input_order(backend):
    boxes = [[i, 0, i + 10, 10] for i in range(4)] + [[50, 0, 60, 10], [51, 0, 61, 10]]
    np.testing.assert_array_equal(nms(boxes, [1] * 6, 0.5), [0, 4])
    np.testing.assert_array_equal(nms(boxes, [0.0, -0.0, 0.0, 0.0, -0.0, 0.0], 0.5), [0, 4])


def test_boxes_of_different_labels_do_not_compete(backend):
    boxes = [[0, 0, 10, 10]] * 4
    np.testing.assert_array_equal(batched_nms(boxes, [1, 2, 3, 4], [0, 1, 0, 7], 0.5), [3, 2, 1])


# Specification


greedy = lessons.load("suppression").suppress_in_loops


@pytest.mark.parametrize("count", [1, 7, 150])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_equals_the_greedy_loop(backend, count, threshold):
    rng = np.random.default_rng(count)
    for whole in (False, True):
        boxes = random_boxes(rng, count, whole)
        scores = np.round(rng.standard_normal(count), 1).astype(np.float32)
        np.testing.assert_array_equal(
            nms(boxes, scores, threshold), greedy(boxes, scores, threshold)
        )


@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
@pytest.mark.parametrize("above", [1e-5, -1e-5])
def test_an_overlap_barely_beside_the_threshold_among_a_thousand(backend, threshold, above):
    """The last box is the first, widened until their overlap just misses the threshold."""
    rng = np.random.default_rng(7)
    boxes = rng.uniform(0, 100, (1000, 4)).astype(np.float32)
    boxes[:, 2:] += boxes[:, :2]
    boxes[-1] = boxes[0]
    overlap = threshold + above
    boxes[-1, 2] += (boxes[0, 2] - boxes[0, 0]) * (1 - overlap) / overlap
    scores = rng.random(1000).astype(np.float32)
    scores[[0, -1]] = 3, 2
    kept = nms(boxes, scores, threshold)
    assert kept[0] == 0 and (999 in kept) == (above < 0)
    np.testing.assert_array_equal(kept, greedy(boxes, scores, threshold))


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_large_boxes_that_are_nearly_equal(backend, dtype):
    boxes = np.array(
        [
            [285.3538, 185.5758, 1193.5110, 851.4551],
            [285.1472, 188.7374, 1192.4984, 851.0669],
            [279.2440, 197.9812, 1189.4746, 849.2019],
        ],
        dtype,
    )
    np.testing.assert_array_equal(nms(boxes, [0.6370, 0.7569, 0.3966], 0.2), [1])


@pytest.mark.parametrize("count", [999, 1000, 1001])
def test_both_ways_to_part_labels_agree_where_rounding_does_not_matter(backend, count):
    """Up to 1000 boxes are shifted apart, more are grouped by label; here all overlap."""
    rng = np.random.default_rng(count)
    boxes = np.hstack((rng.random((count, 2)), 10 + rng.random((count, 2)))).astype(np.float32)
    scores, labels = rng.random(count).astype(np.float32), rng.integers(0, 4, count)
    expected = [
        int(i)
        for label in range(4)
        for members in [np.flatnonzero(labels == label)]
        for i in members[greedy(boxes[members], scores[members], 0.9)]
    ]
    expected.sort(key=lambda i: -scores[i])
    np.testing.assert_array_equal(batched_nms(boxes, scores, labels, 0.9), expected)


def test_many_boxes_are_suppressed_label_by_label(backend):
    rng = np.random.default_rng(3)
    boxes = np.tile(random_boxes(rng, 101), (10, 1))
    scores = np.round(rng.random(1010), 2).astype(np.float32)
    labels = rng.integers(-2, 9, 1010)
    expected = [
        int(i)
        for label in range(-2, 9)
        for members in [np.flatnonzero(labels == label)]
        for i in members[greedy(boxes[members], scores[members], 0.5)]
    ]
    expected.sort(key=lambda i: (-scores[i], i))
    np.testing.assert_array_equal(batched_nms(boxes, scores, labels, 0.5), expected)


def test_few_boxes_are_shifted_apart_in_float32(backend):
    boxes = np.float32([[0, 0, 2, 1], [0, 0, 1.0000005, 1], [0, 0, 1000, 1000]])
    alone = nms(boxes[:2], [2, 1], 0.5)
    together = batched_nms(boxes, [2, 1, 3], [5, 5, 0], 0.5)
    shifted = boxes + np.float32(5 * 1001) * np.float32([[1], [1], [0]])
    np.testing.assert_array_equal(alone, [0])
    np.testing.assert_array_equal(together, greedy(shifted, [2, 1, 3], 0.5))
    np.testing.assert_array_equal(together, [2, 0, 1])


def test_boxes_left_of_zero_may_meet_the_next_label_as_in_torchvision(backend):
    boxes = np.float32([[0, 0, 9, 9], [-10, -10, -1, -1]])
    np.testing.assert_array_equal(batched_nms(boxes, [2, 1], [0, 1], 0.5), [0])


# Laws


@on_each_backend(st.integers(0, 2**31), st.sampled_from([0.0, 0.3, 0.5, 1.0]), examples=25)
def test_kept_boxes_are_apart_and_each_dropped_one_has_a_better_neighbour(backend, seed, threshold):
    rng = np.random.default_rng(seed)
    boxes, scores = random_boxes(rng, 90), rng.permutation(90).astype(np.float32)
    kept = nms(boxes, scores, threshold)
    again = nms(boxes[kept], scores[kept], threshold)
    order = rng.permutation(90)
    shuffled = order[nms(boxes[order], scores[order], threshold)]
    overlap = box_iou(boxes, boxes).astype(np.float64) > threshold
    assert not np.triu(overlap[np.ix_(kept, kept)], 1).any()
    assert (np.diff(scores[kept]) < 0).all()
    dropped = np.setdiff1d(np.arange(90), kept)
    better = overlap[np.ix_(dropped, kept)] & (scores[kept] > scores[dropped, None])
    assert better.any(axis=1).all()
    np.testing.assert_array_equal(again, np.arange(len(kept)))
    np.testing.assert_array_equal(shuffled, kept)


@pytest.mark.parametrize(
    "backend", ["cpu", pytest.param("cuda", marks=pytest.mark.cuda)], indirect=True
)
@on_each_backend(
    st.integers(0, 2**31), st.sampled_from([400, 1000, 1001, 1500]), examples=20, on_cuda=2
)
def test_decides_as_the_reference(backend, seed, count):
    module = implementation(kernels)
    rng = np.random.default_rng(seed)
    boxes = random_boxes(rng, count, bool(seed % 2))
    scores = np.round(rng.standard_normal(count), 2).astype(np.float32)
    scores[rng.random(count) < 0.02] = rng.choice(np.float32([np.nan, np.inf, -np.inf, -np.nan]))
    labels = rng.integers(0, 5, count)
    for threshold in (0.3, 0.5, 0.7):
        rest = (scores, threshold)
        np.testing.assert_array_equal(module.nms(boxes, *rest), reference.nms(boxes, *rest))
        rest = (scores, labels, threshold)
        np.testing.assert_array_equal(
            module.batched_nms(boxes, *rest), reference.batched_nms(boxes, *rest)
        )


# Outside oracle


@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.7])
def test_torchvision(backend, threshold):
    boxes, scores, labels = (GOLDEN[k] for k in ("boxes", "scores", "labels"))
    np.testing.assert_array_equal(nms(boxes, scores, threshold), GOLDEN[f"nms_{threshold}"])
    np.testing.assert_array_equal(
        batched_nms(boxes, scores, labels, threshold), GOLDEN[f"batched_nms_{threshold}"]
    )


def test_torchvision_with_more_than_a_thousand_boxes(backend):
    boxes = np.concatenate([GOLDEN["boxes"] + np.float32(k) for k in range(4)])
    labels = np.tile(GOLDEN["labels"], 4)
    kept = batched_nms(boxes, GOLDEN["many_scores"], labels, 0.5)
    np.testing.assert_array_equal(kept, GOLDEN["batched_nms_many"])


# Edges


def test_no_boxes(backend):
    nothing = np.zeros((0, 4), np.float32)
    for kept in (nms(nothing, [], 0.5), batched_nms(nothing, [], np.zeros(0, np.int64), 0.5)):
        assert kept.shape == (0,)
        assert kept.dtype == np.int64


def test_nan_scores_come_first_and_nan_boxes_suppress_nothing(backend):
    boxes = np.float32([[0, 0, 9, 9], [0, 0, 9, 8], [0, np.nan, 9, 9], [50, 0, 60, 9]])
    scores = np.float32([3, np.nan, 5, 4])
    np.testing.assert_array_equal(nms(boxes, scores, 0.5), [1, 2, 3])
    np.testing.assert_array_equal(nms(np.full((3, 4), np.nan), [1, 2, 3], 0.5), [2, 1, 0])


def test_boxes_without_area_and_infinite_boxes_are_kept(backend):
    boxes = np.float32([[1, 1, 1, 1]] * 2 + [[-np.inf, -np.inf, np.inf, np.inf]])
    with np.errstate(invalid="ignore"):
        np.testing.assert_array_equal(nms(boxes, [1, 2, 3], 0.5), [2, 1, 0])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros((2, 5)), [1, 2], 0.5), r"boxes: expected shape \(N, 4\)"),
        ((np.zeros(4), [1, 2, 3], 0.5), r"boxes: expected shape \(N, 4\).*got \(4,\)"),
        ((np.zeros((3, 4)), np.zeros((3, 2)), 0.5), r"scores: .* got \(3, 2\)"),
        ((np.zeros((2, 4)), [1], 0.5), r"scores: expected one per box, shape \(2,\), got \(1,\)"),
        ((np.zeros((2, 4)), [1, 2], 1.5), "iou_threshold: expected a number in 0 .. 1, got 1.5"),
        ((np.zeros((2, 4)), [1, 2], float("nan")), "got nan"),
        ((np.zeros((2, 4)), [1, 2], [0.5, 1], 0.5), "labels: expected integers"),
        ((np.zeros((2, 4)), [1, 2], [1], 0.5), "labels: expected one per box"),
    ],
)
def test_errors_say_what_is_wrong(arguments, message):
    with pytest.raises(ValueError, match=message):
        (nms if len(arguments) == 3 else batched_nms)(*arguments)
