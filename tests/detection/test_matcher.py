"""detection/matcher.py."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as rle_tools

import lessons
from tinymaskrcnn.detection.matcher import BELOW, BETWEEN, Matcher

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "detection.npz")

# by hand


def test_the_three_outcomes_with_thresholds_included_above():
    iou = np.array([[0.1, 0.3, 0.5, 0.7, 0.2], [0.0, 0.1, 0.6, 0.9, 0.29]], np.float32)
    assert Matcher(0.7, 0.3).match(iou).tolist() == [BELOW, BETWEEN, BETWEEN, 1, BELOW]


def test_the_first_of_equal_ground_truths_wins():
    assert Matcher(0.5, 0.5).match(np.full((3, 2), 0.8, np.float32)).tolist() == [0, 0]


def test_every_tie_for_a_ground_truths_best_is_restored():
    iou = np.array([[0.2, 0.1, 0.2, 0.0]], np.float32)
    assert Matcher(0.7, 0.3, True).match(iou).tolist() == [0, BELOW, 0, BELOW]


def test_a_restored_box_takes_its_own_best_ground_truth():
    iou = np.array([[0.6, 0.1], [0.5, 0.2]], np.float32)  # box 0 is the best of both
    assert Matcher(0.7, 0.3, True).match(iou).tolist() == [0, BELOW]


def test_crowds_are_not_matched_and_silence_what_they_cover(backend):
    ground_truth = np.array([[0, 0, 100, 100], [200, 0, 210, 10]], np.float32)
    boxes = np.array(
        [[10, 10, 20, 20], [200, 0, 210, 10], [95, 95, 105, 105], [0, 0, 100, 100]], np.float32
    )
    crowd = np.array([True, False])
    matches = Matcher(0.5, 0.5).match_boxes(boxes, ground_truth, crowd)
    assert matches.tolist() == [BETWEEN, 1, BELOW, BETWEEN]


# specification


match_in_loops = lessons.load("matching").match_in_loops
few_values = st.sampled_from([0.0, 0.1, 0.25, 0.5, 0.75, 1.0])


@settings(deadline=None, max_examples=100)
@given(
    arrays(np.float32, st.tuples(st.integers(1, 4), st.integers(1, 6)), elements=few_values),
    st.sampled_from([(0.5, 0.5), (0.75, 0.25)]),
    st.booleans(),
)
def test_one_box_at_a_time(iou, thresholds, allow_low_quality):
    matches = Matcher(*thresholds, allow_low_quality).match(iou)
    assert matches.dtype == np.int64
    assert matches.tolist() == match_in_loops(iou, *thresholds, allow_low_quality)


# laws


@pytest.mark.parametrize("allow_low_quality", [False, True])
def test_many_ground_truths_are_matched_some_at_a_time(monkeypatch, allow_low_quality):
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 20, (90, 2))
    boxes = np.hstack([corners, corners + rng.integers(4, 9, (90, 2))]).astype(np.float32)
    truth, boxes, matcher = boxes[:30], boxes[30:], Matcher(0.5, 0.3, allow_low_quality)
    whole = matcher.match_boxes(boxes, truth)
    assert (whole >= 0).any() and (whole == BELOW).any()
    for pairs in (1, 7 * len(boxes)):
        monkeypatch.setattr("tinymaskrcnn.detection.matcher.PAIRS", pairs)
        assert matcher.match_boxes(boxes, truth).tolist() == whole.tolist()


@settings(deadline=None, max_examples=50)
@given(arrays(np.float32, (3, 7), elements=st.floats(0.015625, 1, width=32)))
def test_no_ground_truth_goes_without(iou):
    matches = Matcher(0.9, 0.9, True).match(iou)
    assert all(matches[row == row.max()].min() >= 0 for row in iou)


@st.composite
def crowds_with_an_object_inside(draw):
    """A crowd, an object in it, and boxes anywhere; whole coordinates, so that ties are met."""
    x1, y1 = draw(st.integers(0, 20)), draw(st.integers(0, 20))
    x2, y2 = draw(st.integers(x1 + 1, 40)), draw(st.integers(y1 + 1, 40))
    left, top = draw(st.integers(x1, x2 - 1)), draw(st.integers(y1, y2 - 1))
    inside = [left, top, draw(st.integers(left + 1, x2)), draw(st.integers(top + 1, y2))]
    corner = st.tuples(
        st.integers(0, 30), st.integers(0, 30), st.integers(1, 20), st.integers(1, 20)
    )
    boxes = [[x, y, x + w, y + h] for x, y, w, h in draw(st.lists(corner, min_size=1, max_size=8))]
    return tuple(np.array(b, np.float32) for b in ([[x1, y1, x2, y2]], [inside], boxes))


@settings(deadline=None, max_examples=200)
@given(crowds_with_an_object_inside(), st.sampled_from([(0.7, 0.3), (0.5, 0.5)]), st.booleans())
def test_background_is_never_an_object_of_a_crowd(drawn, thresholds, allow_low_quality):
    """Were the crowd's objects known, none of what is background now would be matched to one, or
    be left out for being near one.
    """
    crowd, inside, boxes = drawn
    matcher = Matcher(*thresholds, allow_low_quality)
    matches = matcher.match_boxes(boxes, crowd, np.array([True]))
    assert set(matches.tolist()) <= {BELOW, BETWEEN}
    known = Matcher(*thresholds).match_boxes(boxes, inside)
    assert (known[matches == BELOW] == BELOW).all()


# outside oracle


@settings(deadline=None, max_examples=100)
@given(crowds_with_an_object_inside(), st.sampled_from([(0.7, 0.3), (0.5, 0.5), (0.75, 0.75)]))
def test_crowds_silence_what_pycocotools_matches_to_them(drawn, thresholds):
    crowd, _, boxes = drawn
    sized = [np.hstack([b[:, :2], b[:, 2:] - b[:, :2]]).astype(float) for b in (boxes, crowd)]
    overlap = rle_tools.iou(*sized, [1])[:, 0]
    matches = Matcher(*thresholds).match_boxes(boxes, crowd, np.array([True]))
    clear = abs(overlap - thresholds[1]) > 1e-6  # a tie may fall either way in single precision
    assert ((matches == BETWEEN) == (overlap >= thresholds[1]))[clear].all()


def test_matches_equal_torchvisions(backend):
    anchors, ground_truth = GOLDEN["anchors"], GOLDEN["ground_truth"]
    low_quality = Matcher(0.7, 0.3, True).match_boxes(anchors, ground_truth)
    assert np.array_equal(low_quality, GOLDEN["matches_low_quality"])
    plain = Matcher(0.5, 0.5).match_boxes(anchors, ground_truth)
    assert np.array_equal(plain, GOLDEN["matches"])


# edges


def test_no_ground_truth_is_all_background(backend):
    boxes, none = np.ones((3, 4), np.float32), np.zeros((0, 4), np.float32)
    assert Matcher(0.7, 0.3, True).match_boxes(boxes, none).tolist() == [BELOW] * 3
    only_crowd = Matcher(0.7, 0.3, True).match_boxes(
        np.array([[0, 0, 2, 2], [8, 8, 9, 9]], np.float32),
        np.array([[0, 0, 4, 4]], np.float32),
        np.array([True]),
    )
    assert only_crowd.tolist() == [BETWEEN, BELOW]


def test_no_boxes(backend):
    none, ground_truth = np.zeros((0, 4), np.float32), np.ones((2, 4), np.float32)
    assert Matcher(0.5, 0.5).match_boxes(none, ground_truth).shape == (0,)


def test_thresholds_in_the_wrong_order():
    with pytest.raises(ValueError, match=r"background below 0\.7 is above objects from 0\.3"):
        Matcher(0.3, 0.7)
