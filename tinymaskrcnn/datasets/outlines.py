"""From a mask to polygons, exactly: filling the polygons gives the mask's pixels again.

Outlines run along the edges of pixels, so their corners are whole numbers: the pixel in column 0
reaches from x = 0 to 1. Pixels that only touch at a corner are different parts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from .. import rle_tools

MARGIN = 0.15  # pixels between a simpler outline and the centre of any pixel; less confuses COCO's
TRIED = 50  # corners of an outline from which to look for the nearest of another


class Part(NamedTuple):
    """A connected part of a mask: its outer outline, and one for each hole.

    Every outline is an array (n, 2) of x, y in pixels, not closed. The outer ones run clockwise on
    the screen, holes the other way.
    """

    outer: np.ndarray
    holes: list[np.ndarray]


def parts_of(mask: np.ndarray, corner: tuple[int, int], simple: bool = False) -> list[Part]:
    """The parts of a mask, largest first.

    Args:
        mask: (h, w), a crop; every value but 0 is inside.
        corner: the row and column of its first pixel in the image.
        simple: leave out a third of the corners, for people who edit them, where COCO's tools still
            fill the same pixels. Corners are then in the middle of pixel edges.
    """
    if not np.any(mask):
        return []
    from scipy import ndimage  # late: it is slow to load

    labelled, _ = ndimage.label(mask)
    found = []
    for number, window in enumerate(ndimage.find_objects(labelled), start=1):
        inside = labelled[window] == number
        origin = corner[1] + window[1].start, corner[0] + window[0].start
        rings = _rings(inside)
        outlines = [_simpler(ring) for ring in rings] if simple else []
        if not simple or not _fills(outlines, inside):
            outlines = [_corners(ring) for ring in rings]
        outer, *holes = (ring + origin for ring in outlines)
        found.append((int(inside.sum()), Part(outer, holes)))
    return [part for _, part in sorted(found, key=lambda pair: -pair[0])]


def joined(rings: Sequence[np.ndarray]) -> np.ndarray:
    """One polygon for several outlines: lines there and back join them to the first. These have no
    width, so the even-odd rule fills what it would fill of the outlines.
    """
    first, *others = rings
    detours: dict[int, list[np.ndarray]] = {}  # by the corner of the first where they begin
    for ring in others:
        step = len(ring) // TRIED + 1
        away = ((ring[::step, None] - first) ** 2).sum(axis=2)
        from_ring, here = map(int, np.unravel_index(away.argmin(), away.shape))
        there = from_ring * step
        detour = np.concatenate([ring[there:], ring[: there + 1], first[here : here + 1]])
        detours.setdefault(here, []).append(detour)
    path: list[np.ndarray] = []
    last = 0
    for here in sorted(detours):
        path += [first[last : here + 1], *detours[here]]
        last = here + 1
    return np.concatenate([*path, first[last:]])


def _fills(rings: Sequence[np.ndarray], inside: np.ndarray) -> bool:
    """Whether the pixels that COCO's tools see in these outlines are those of the mask."""
    polygon = joined(rings).reshape(-1).tolist()
    rle = rle_tools.merge(rle_tools.frPyObjects([polygon], *inside.shape))
    return bool((rle_tools.decode(rle) == inside).all())


def _rings(inside: np.ndarray) -> list[np.ndarray]:
    """The outlines of one part, the outer one first: every corner of a pixel edge along them.

    Walks from corner to corner with the inside on the right. Where four edges meet, it turns right:
    pixels that touch there are not connected on the inside, those of holes are.
    """
    padded = np.pad(inside, 1).astype(np.int8)
    down = np.diff(padded[:, 1:-1], axis=0)  # (h + 1, w): 1 where the inside begins below
    right = np.diff(padded[1:-1], axis=1)  # (h, w + 1): 1 where it begins to the right
    ahead: dict[tuple[int, int], list[tuple[int, int]]] = {}  # from a corner, the ways to go
    for edges, steps in ((down, ((1, 0), (-1, 0))), (right, ((0, -1), (0, 1)))):
        for value, (dx, dy) in zip((1, -1), steps, strict=True):
            rows, columns = np.nonzero(edges == value)
            starts = zip((columns + (dx < 0)).tolist(), (rows + (dy < 0)).tolist(), strict=True)
            for start in starts:
                ahead.setdefault(start, []).append((dx, dy))
    first = int(np.argmax(inside[0])), 0  # the top row's first corner lies on the outer outline
    rings = [_walk(first, ahead)]
    while ahead:
        rings.append(_walk(next(iter(ahead)), ahead))
    return rings


def _walk(
    start: tuple[int, int], ahead: dict[tuple[int, int], list[tuple[int, int]]]
) -> np.ndarray:
    """The corners from `start` back to it; the steps taken are removed from `ahead`."""
    path, (x, y), (dx, dy) = [], start, (0, 0)
    while True:
        ways = ahead[x, y]
        turn = max(ways, key=lambda way: dx * way[1] - dy * way[0])
        ways.remove(turn)
        if not ways:
            del ahead[x, y]
        path.append((x, y))
        dx, dy = turn
        x, y = x + dx, y + dy
        if (x, y) == start:
            return np.array(path)


def _corners(ring: np.ndarray) -> np.ndarray:
    """An outline without the corners at which it goes straight on."""
    arriving, leaving = ring - np.roll(ring, 1, axis=0), np.roll(ring, -1, axis=0) - ring
    return ring[(arriving != leaving).any(axis=1)]


def _simpler(ring: np.ndarray) -> np.ndarray:
    """The outline through the middles of some of its pixel edges, such that the centre of every
    pixel stays on its side; only its corners, if they are not more.

    Douglas and Peucker 1973, with another rule of what is near: each edge parts two centres, and a
    line is near if it passes between them, `MARGIN` away from both.
    """
    steps = np.roll(ring, -1, axis=0) - ring
    middles = ring + steps / 2
    inward = np.stack([-steps[:, 1], steps[:, 0]], axis=1) / 2  # the inside is on the right
    count = len(ring)
    corners = _corners(ring)
    if count < 8:
        return corners
    far = int(((middles - middles[0]) ** 2).sum(axis=1).argmax())
    kept, spans = {0, far}, [(0, far), (far, count)]
    while spans:
        first, last = spans.pop()
        between = np.arange(first + 1, last)
        if len(between) == 0:
            continue
        origin, end = middles[first], middles[last % count]
        along = end - origin
        length = float(np.hypot(*along))
        normal = np.array([-along[1], along[0]]) / max(length, 1e-9)  # to the right of the line
        offsets = (middles[between] - origin) @ normal
        room = np.abs(inward[between] @ normal) - MARGIN
        if length == 0 or (np.abs(offsets) > room).any():
            middle = first + 1 + int((np.abs(offsets) - room).argmax())
            kept.add(middle)
            spans += [(first, middle), (middle, last)]
    return middles[sorted(kept)] if 2 < len(kept) < len(corners) else corners
