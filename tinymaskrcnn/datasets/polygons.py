"""Small geometry of polygons: arrays (n, 2) of x, y in continuous pixels, closed."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np

ROUNDNESS = 0.1  # pixels by which a round outline may differ from its polygon
PAIRS = 1 << 20  # pairs of edges compared at a time


def rectangle(x1: float, y1: float, x2: float, y2: float) -> np.ndarray:
    """The four corners of a box."""
    return np.array([[x1, y1], [x2, y1], [x2, y2], [x1, y2]], float)


def ellipse(x: float, y: float, rx: float, ry: float, angle: float = 0.0) -> np.ndarray:
    """An ellipse about (x, y), with enough corners to stay within `ROUNDNESS` of the curve.

    Args:
        angle: the turn of the axis rx from x towards y, in radians.
    """
    radius = max(abs(rx), abs(ry), ROUNDNESS)
    half_step = math.acos(max(1 - ROUNDNESS / radius, -1.0))
    corners = min(max(12, math.ceil(math.pi / max(half_step, 1e-3))), 1000)
    turns = np.arange(corners) * (2 * math.pi / corners)
    along, across = rx * np.cos(turns), ry * np.sin(turns)
    cosine, sine = math.cos(angle), math.sin(angle)
    return np.stack([x + along * cosine - across * sine, y + along * sine + across * cosine], 1)


def area(points: np.ndarray) -> float:
    """The area enclosed, by the shoelace formula; loops that run in opposite directions cancel."""
    x, y = points.T
    return abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2


def length(points: np.ndarray) -> float:
    """The outline's length in pixels: the sum of each edge's longer side."""
    return float(np.abs(points - np.roll(points, 1, axis=0)).max(axis=1).sum())


def clipped(points: np.ndarray, width: float, height: float) -> np.ndarray:
    """The polygon clipped to 0..width and 0..height; (0, 2) if nothing is left.

    Sutherland and Hodgman 1974: clip at one side after the other; each edge that crosses the side
    gets a corner there.
    """
    for axis, sign, limit in ((0, -1, 0), (0, 1, width), (1, -1, 0), (1, 1, height)):
        after = np.roll(points, -1, axis=0)
        here, there = (sign * ends[:, axis] - limit for ends in (points, after))
        crosses = (here > 0) != (there > 0)
        share = here / np.where(crosses, here - there, 1)
        corners = points + share[:, None] * (after - points)
        corners[:, axis] = sign * limit
        both = np.stack([points, corners], axis=1).reshape(-1, 2)  # (n, 2, 2) -> (2n, 2)
        points = both[np.stack([here <= 0, crosses], axis=1).reshape(-1)]
    return points


def crosses_itself(points: np.ndarray) -> bool:
    """Whether two edges cross in a point inside both.

    Edges that only touch do not count: outlines rounded to whole pixels touch themselves all the
    time.
    """
    starts, ends = points, np.roll(points, -1, axis=0)
    return any(
        _cross(starts[i], ends[i], starts[j], ends[j]).any() for i, j in _near_pairs(starts, ends)
    )


def _cross(a: np.ndarray, b: np.ndarray, c: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Whether edges a-b and c-d, each (m, 2), cross: each separates the ends of the other."""
    with np.errstate(over="ignore", invalid="ignore"):
        sides_of_ab = _side(a, b, c) * _side(a, b, d)
        return (sides_of_ab < 0) & (_side(c, d, a) * _side(c, d, b) < 0)


def _side(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
    """1, 0 or -1: left of the line from a to b, on it, or right of it."""
    along, to = b - a, point - a
    return np.sign(along[:, 0] * to[:, 1] - along[:, 1] * to[:, 0])


def _near_pairs(starts: np.ndarray, ends: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """All pairs of edges that overlap on the axis with fewer such pairs, in blocks.

    With the edges sorted by their start, those that overlap edge k are the ones after it that start
    before it ends.
    """
    low, high = np.minimum(starts, ends), np.maximum(starts, ends)
    orders = np.argsort(low, axis=0)
    counts = []
    for axis in (0, 1):
        begin = low[orders[:, axis], axis]
        last = np.searchsorted(begin, high[orders[:, axis], axis], side="right")
        counts.append(last - np.arange(1, len(low) + 1))
    axis = int(np.argmin([count.sum() for count in counts]))
    order, count = orders[:, axis], counts[axis]
    cuts = np.searchsorted(np.cumsum(count), np.arange(PAIRS, count.sum(), PAIRS))
    for block in np.split(np.arange(len(order)), np.unique(cuts)):
        first = np.repeat(block, count[block])
        begin = np.cumsum(count[block]) - count[block]
        second = first + 1 + np.arange(len(first)) - np.repeat(begin, count[block])
        yield order[first], order[second]
