"""The errors of an image. Somebody has looked at the sheet once; here are checks of its pixels."""

import numpy as np
import pytest

from tests.evaluation.scenes import SIDE, entry
from tinymaskrcnn.evaluation import image_errors
from tinymaskrcnn.viz.error_sheet import IGNORED, MISSED, RIGHT, WRONG, draw_errors

OBJECT, FAR = [20, 20, 40, 40], [70, 70, 20, 20]


def halves(annotations, results):
    """The colours in the ground truth's half and in the detections' half."""
    errors = image_errors(annotations, results, "segm")
    image = np.full((3, SIDE, SIDE), 0.5, np.float32)
    sheet = np.asarray(draw_errors(image, "a.png", errors, annotations, results, ("a", "b")))
    middle = sheet.shape[1] // 2
    return [
        {tuple(c) for c in half.reshape(-1, 3)} for half in (sheet[:, :middle], sheet[:, middle:])
    ]


def test_what_is_right_is_green_and_nothing_else_is_drawn():
    for colours in halves([entry(OBJECT, 1, iscrowd=0)], [entry(OBJECT, 1, score=0.9)]):
        assert RIGHT in colours
        assert not colours & {MISSED, IGNORED, *WRONG.values()}


@pytest.mark.parametrize(
    ("kind", "results"),
    [
        ("location", [entry([20, 20, 40, 10], 1, score=0.9)]),
        ("class", [entry(OBJECT, 2, score=0.9)]),
        ("background", [entry(FAR, 1, score=0.9)]),
        ("both", [entry([20, 20, 40, 10], 2, score=0.9)]),
    ],
)
def test_what_is_wrong_has_its_colour_and_what_is_missed_too(kind, results):
    left, right = halves([entry(OBJECT, 1, iscrowd=0)], results)
    assert MISSED in left
    assert WRONG[kind] in right
    assert RIGHT not in left | right


def test_a_duplicate_beside_what_is_right():
    results = [entry(OBJECT, 1, score=0.9), entry([20, 20, 40, 36], 1, score=0.8)]
    left, right = halves([entry(OBJECT, 1, iscrowd=0)], results)
    assert MISSED not in left
    assert {RIGHT, WRONG["duplicate"]} <= right


def test_crowds_and_what_lies_in_them_are_grey():
    left, right = halves([entry(OBJECT, 1, iscrowd=1)], [entry([25, 25, 9, 9], 1, score=0.9)])
    assert IGNORED in left and IGNORED in right
    assert RIGHT not in left | right


def test_nothing_at_all_can_be_drawn():
    left, right = halves([], [])
    assert not (left | right) & {RIGHT, MISSED, IGNORED}
