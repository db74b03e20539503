import math
from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.datasets import polygons
from tinymaskrcnn.datasets.polygons import area, clipped, crosses_itself, ellipse, rectangle

law = settings(deadline=None, max_examples=150)
points_strategy = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), min_size=1, max_size=9)

# by hand


def test_a_bow_tie_crosses_itself_and_a_square_does_not():
    assert crosses_itself(np.array([[0, 0], [2, 2], [2, 0], [0, 2]], float))
    assert not crosses_itself(rectangle(0, 0, 2, 2))


@pytest.mark.parametrize(
    "touching",
    [
        [[0, 0], [4, 0], [4, 4], [2, 0], [0, 4]],  # a corner on an edge
        [[0, 0], [4, 0], [4, 0], [4, 4]],  # a corner twice
        [[0, 0], [4, 0], [4, 2], [4, 0], [2, 3]],  # there and back
        [[1, 1]],
        [[1, 1], [2, 2]],
    ],
)
def test_touching_is_no_crossing(touching):
    assert not crosses_itself(np.array(touching, float))


def test_areas():
    assert area(rectangle(1, 2, 4, 8)) == 18
    assert area(rectangle(1, 2, 4, 8)[::-1]) == 18
    assert area(np.array([[0, 0], [5, 5], [9, 9]], float)) == 0


def test_a_turned_ellipse():
    points = ellipse(10, 20, 8, 2, math.pi / 2)
    low, high = points.min(axis=0), points.max(axis=0)
    np.testing.assert_allclose([*low, *high], [8, 12, 12, 28], atol=polygons.ROUNDNESS)


# specification


def sides(a, b, point):
    return (b[0] - a[0]) * (point[1] - a[1]) - (b[1] - a[1]) * (point[0] - a[0])


def crosses_in_loops(points):
    """In integers, so exactly."""
    edges = list(zip(points, points[1:] + points[:1], strict=True))
    return any(
        sides(a, b, c) * sides(a, b, d) < 0 and sides(c, d, a) * sides(c, d, b) < 0
        for (a, b), (c, d) in combinations(edges, 2)
    )


@law
@given(points_strategy, st.sampled_from([2, 1 << 20]))
def test_every_pair_of_edges(points, pairs):
    original, polygons.PAIRS = polygons.PAIRS, pairs
    try:
        assert crosses_itself(np.array(points, float)) == crosses_in_loops(points)
    finally:
        polygons.PAIRS = original


# laws


@law
@given(points_strategy, st.integers(0, 8), st.floats(0, 7))
def test_neither_start_nor_rotation_nor_direction_matters(points, start, angle):
    points = np.array(points, float)
    turn = np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])
    moved = np.roll(points, start, axis=0)
    assert area(moved @ turn) == pytest.approx(area(points), abs=1e-9)
    assert crosses_itself(moved) == crosses_itself(points[::-1]) == crosses_itself(points)


@law
@given(st.floats(0.5, 500), st.floats(0.5, 500), st.floats(-7, 7))
def test_an_ellipse_lies_on_its_curve_and_has_its_area(rx, ry, angle):
    points = ellipse(3, 4, rx, ry, angle) - (3, 4)
    turn = np.array([[math.cos(angle), -math.sin(angle)], [math.sin(angle), math.cos(angle)]])
    x, y = (points @ turn).T
    np.testing.assert_allclose((x / rx) ** 2 + (y / ry) ** 2, 1, rtol=1e-9)
    full = math.pi * rx * ry
    rim = 2 * math.pi * max(rx, ry) * polygons.ROUNDNESS
    assert full - rim <= area(points) <= full
    assert not crosses_itself(points)


# edges


def test_many_corners_take_no_time_or_memory_of_their_square():
    turns = np.arange(200_000) * (2 * math.pi / 200_000)
    assert not crosses_itself(np.stack([9e4 * np.cos(turns), 9e4 * np.sin(turns)], axis=1))


def is_inside(points, x, y):
    """Whether a ray to the right crosses the outline an odd number of times."""
    odd = False
    for (x1, y1), (x2, y2) in zip(points, [*points[1:], *points[:1]], strict=True):
        if (y1 > y) != (y2 > y) and x < x1 + (y - y1) * (x2 - x1) / (y2 - y1):
            odd = not odd
    return odd


@law
@given(st.lists(st.tuples(st.integers(-40, 40), st.integers(-40, 40)), min_size=3, max_size=9))
def test_clipping_changes_nothing_within_the_window(points):
    kept = clipped(np.array(points, float), 8, 6)
    assert ((kept >= 0) & (kept <= (8, 6))).all()
    for x in range(8):
        for y in range(6):
            at = x + 0.4871, y + 0.5123  # on no edge between whole numbers
            assert is_inside(kept.tolist(), *at) == is_inside(points, *at)
