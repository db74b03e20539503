"""lessons/figures/training.py."""

import numpy as np

from lessons.figures.diagrams import DETECTION, GROUND_TRUTH
from lessons.figures.training import boxes_over_steps, loss_curves
from tinymaskrcnn.viz.colours import LOSSES


def has(picture, colour):
    return bool((np.abs(np.asarray(picture, int) - colour).max(axis=2) <= 2).any())


def test_each_loss_has_its_colour():
    picture = loss_curves({name: np.full(30, 0.1 * (i + 1)) for i, name in enumerate(LOSSES)})
    for colour in LOSSES.values():
        assert has(picture, [int(colour[i : i + 2], 16) for i in (1, 3, 5)])


def test_a_step_shows_its_own_boxes_and_the_true_ones():
    boxes = [np.zeros((0, 4)), np.float32([[20, 20, 50, 60]])]
    image, truth = np.zeros((3, 64, 64), np.float32), np.float32([[2, 3, 15, 16]])
    panels = boxes_over_steps(image, boxes, [0, 10], truth, DETECTION)
    assert list(panels) == ["step 0", "step 10"]
    assert all(has(panel, GROUND_TRUTH) for panel in panels.values())
    assert [has(panel, DETECTION) for panel in panels.values()] == [False, True]
