"""lessons/figures/proposals.py."""

import numpy as np

from lessons.figures.proposals import (
    best_of_cells,
    filter_panels,
    score_maps,
    suppression_panels,
)

MAPS = [(2, 3), (1, 2)]
LOGITS = np.float32([0, -9] * 6 + [-9, 0] * 2)  # two anchors a cell
TRACE = {
    "rpn.anchors": np.float32([[0, 0, 8, 8], [2, 2, 9, 9], [20, 0, 30, 8]]),
    "rpn.scores": np.float32([[0.9, 0.8, 0.7]]),
    "rpn.top_k": np.array([[0, 1, 2]]),
    "rpn.moved": np.float32([[[0, 0, 8, 8], [1, 1, 9, 9], [20, 0, 30, 8]]]),
    "rpn.clipped": [np.float32([[0, 0, 8, 8], [1, 1, 9, 9], [16, 0, 16, 8]])],
    "rpn.outcomes": [np.array([0, 3, 1])],
    "rpn.proposals": [np.float32([[0, 0, 8, 8]])],
}
IMAGE, TRUTH = {"a": np.zeros((3, 16, 16), np.float32)}, {"a": np.float32([[0, 0, 8, 8]])}


def test_the_best_anchor_of_each_cell():
    first, second = best_of_cells(LOGITS, MAPS)
    assert first.shape == (2, 3) and second.shape == (1, 2)
    np.testing.assert_array_equal(np.concatenate([first.ravel(), second.ravel()]), 0.5)


def test_a_row_for_each_image():
    one = {"a": (IMAGE["a"], LOGITS)}
    single, double = score_maps(one, MAPS), score_maps(one | {"b": one["a"]}, MAPS)
    assert double.size[1] > 1.8 * single.size[1]


def test_filters_and_suppression_of_a_trace():
    for figure in (filter_panels, suppression_panels):
        width, height = figure(IMAGE, {"a": TRACE}, TRUTH, best=2).size
        assert width > 3 * height
