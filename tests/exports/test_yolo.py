import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis.extra.numpy import array_shapes, arrays

from tests.datasets.test_outlines import filled
from tinymaskrcnn.exports import yolo

from .tools import boxed, predicted, ring, two_parts


def lines(found):
    return yolo.content(found, None).decode().splitlines()


def polygon(line, size):
    """(class, corners (n, 2) in pixels), as Ultralytics reads a line."""
    kind, *shares = line.split()
    return int(kind), np.array(shares, float).reshape(-1, 2) * size[::-1]


def test_classes_count_from_0_and_corners_are_shares():
    assert lines(predicted([boxed(5, 3, 10, 15)], [2])) == ["1 0.1 0.25 0.5 0.25 0.5 0.5 0.1 0.5"]


def test_one_line_per_object_and_none_for_what_has_no_pixel():
    found = predicted([boxed(1, 1, 1, 1), ring(), two_parts()], [1, 2, 1])
    assert [line.split()[0] for line in lines(found)] == ["1", "0"]
    ((kind, detail),) = found.lost
    assert "parts or holes" in kind and detail == "2 objects"


def test_nothing_found_is_an_empty_file():
    found = predicted(np.zeros((0, 20, 30)))
    assert lines(found) == [] and found.lost == []


def test_the_classes_are_in_a_file_of_their_own():
    assert yolo.class_names(["cat", "a\nb"]) == ("classes.txt", b"cat\na b\n")


@settings(max_examples=50, deadline=None)
@given(arrays(bool, array_shapes(min_dims=3, max_dims=3, max_side=9)))
def test_the_even_odd_rule_fills_the_masks(masks):
    size = masks.shape[1:]
    kept = [mask for mask in masks if mask.any()]
    for line, mask in zip(lines(predicted(masks)), kept, strict=True):
        _, points = polygon(line, size)
        assert points == pytest.approx(np.round(points), abs=1e-6)
        np.testing.assert_array_equal(filled([np.round(points)], size), mask)
