"""lessons/figures/anchors.py."""

import numpy as np

from lessons.figures.anchors import decision_columns, decision_table, matching_panels
from tinymaskrcnn.detection.matcher import BELOW, BETWEEN

IOU = np.float32([[0.8, 0.1, 0.4, 0.9, 0.2, 0.7], [0.1, 0.6, 0.2, 0.0, 0.1, 0.0]])
DECISIONS = np.array([0, 1, BETWEEN, 0, BELOW, 0])


def test_the_best_of_each_kind_in_order():
    assert decision_columns(IOU, DECISIONS).tolist() == [3, 0, 1, 2, 4]
    assert decision_columns(IOU, DECISIONS, learning=1).tolist() == [3, 1, 2, 4]


def test_a_column_for_each_chosen_anchor():
    one = decision_table(IOU[:, [0, 2]], np.array([0, BETWEEN]))
    assert decision_table(IOU, DECISIONS).size[0] > one.size[0]


def test_a_row_for_each_image():
    image, box = np.zeros((3, 16, 16), np.float32), np.float32([[2, 2, 9, 9]])
    anchors, decisions = box.repeat(3, 0) + np.float32([[0], [1], [2]]), np.array([0, BETWEEN, -1])

    def panels(*names):
        every = (dict.fromkeys(names, value) for value in (image, box, decisions, [2]))
        images, truths, matches, drawn = every
        return matching_panels(images, truths, anchors, matches, drawn)

    assert panels("a", "b").size[1] > 1.8 * panels("a").size[1]
