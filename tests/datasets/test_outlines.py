import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as rle_tools
from scipy import ndimage

from tinymaskrcnn.datasets.outlines import joined, parts_of
from tinymaskrcnn.datasets.polygons import area, crosses_itself

MASKS = arrays(bool, array_shapes(min_dims=2, max_dims=2, max_side=12))
RING = np.array([[1, 1, 1, 1], [1, 0, 0, 1], [1, 1, 1, 1]], bool)


def filled(polygons, size):
    """The pixels whose centres lie in an odd number of polygons: no library, no rounding."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    inside = np.zeros(size, bool)
    for points in polygons:
        for (x1, y1), (x2, y2) in zip(points, np.roll(points, -1, axis=0), strict=True):
            if y1 != y2:
                crossed = (y >= min(y1, y2)) & (y < max(y1, y2))
                inside ^= crossed & (x1 + (y - y1) * (x2 - x1) / (y2 - y1) > x)
    return inside


# by hand


def test_a_rectangle_has_its_four_corners_clockwise():
    ((outer, holes),) = parts_of(np.ones((2, 3)), (10, 20))
    assert outer.tolist() == [[20, 10], [23, 10], [23, 12], [20, 12]]
    assert holes == []


def test_a_hole_runs_the_other_way():
    ((outer, (hole,)),) = parts_of(RING, (0, 0))
    assert outer.tolist() == [[0, 0], [4, 0], [4, 3], [0, 3]]
    assert sorted(hole.tolist()) == [[1, 1], [1, 2], [3, 1], [3, 2]]
    x, y = hole.T
    assert x @ np.roll(y, -1) - y @ np.roll(x, -1) == -2 * 2  # twice its area, backwards


def test_pixels_that_touch_at_a_corner_are_two_parts_the_largest_first():
    first, second = parts_of(np.array([[1, 0, 0], [0, 1, 1]]), (0, 0))
    assert first.outer.tolist() == [[1, 1], [3, 1], [3, 2], [1, 2]]
    assert second.outer.tolist() == [[0, 0], [1, 0], [1, 1], [0, 1]]


def test_holes_that_touch_at_a_corner_do_not_split_their_part():
    mask = np.ones((4, 4), bool)
    mask[1, 1] = mask[2, 2] = False
    (part,) = parts_of(mask, (0, 0))
    assert sum(map(area, part.holes)) == 2


def test_nothing_has_no_parts():
    assert parts_of(np.zeros((0, 0)), (0, 0)) == parts_of(np.zeros((3, 2)), (0, 0)) == []


def test_a_joined_hole_is_cut_out_by_the_even_odd_rule():
    ((outer, holes),) = parts_of(RING, (0, 0))
    path = joined([outer, *holes])
    assert len(path) == 4 + 4 + 2  # there and back
    np.testing.assert_array_equal(filled([path], RING.shape), RING)
    assert not crosses_itself(path)


# laws


@settings(deadline=None)
@given(MASKS)
def test_filling_the_outlines_gives_the_mask(mask):
    parts = parts_of(mask, (0, 0))
    rings = [ring for part in parts for ring in (part.outer, *part.holes)]
    np.testing.assert_array_equal(filled(rings, mask.shape), mask)
    assert len(parts) == ndimage.label(mask)[1]
    for ring in rings:
        assert not crosses_itself(ring)
        assert (np.abs(np.diff(ring, axis=0, append=ring[:1])).min(axis=1) == 0).all()  # on edges
    if rings:
        np.testing.assert_array_equal(filled([joined(rings)], mask.shape), mask)


@settings(max_examples=50, deadline=None)
@given(MASKS, st.integers(0, 5), st.integers(0, 5))
def test_coco_fills_what_was_outlined_even_with_fewer_corners(mask, top, left):
    size = mask.shape[0] + top + 2, mask.shape[1] + left + 1
    whole = np.zeros(size, bool)
    whole[top : size[0] - 2, left : size[1] - 1] = mask
    for simple in (False, True):
        parts = parts_of(mask, (top, left), simple)
        polygons = [joined([p.outer, *p.holes]).reshape(-1).astype(float).tolist() for p in parts]
        if polygons:
            rle = rle_tools.merge(rle_tools.frPyObjects(polygons, *size))
            np.testing.assert_array_equal(rle_tools.decode(rle), whole)


@pytest.mark.parametrize("radius", [4, 9.3, 30, 200])
def test_a_disc_has_fewer_corners_and_the_same_pixels(radius):
    rows, columns = np.mgrid[-radius - 1 : radius + 2, -radius - 1 : radius + 2]
    disc = rows**2 + columns**2 <= radius**2
    ((exact, _),) = parts_of(disc, (0, 0))
    ((simple, _),) = parts_of(disc, (0, 0), simple=True)
    np.testing.assert_array_equal(filled([simple], disc.shape), disc)
    assert len(simple) < 0.8 * len(exact)
