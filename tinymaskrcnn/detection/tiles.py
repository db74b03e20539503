"""Cut a large image into overlapping tiles, and join what is found in them.

Every place of the image belongs to the core of one tile, and a tile reaches beyond its core by a
margin. A tile answers for the objects whose centre lies in its core: with the margin around them it
sees them as the whole image would show them. An object too large for that touches the border of its
tile; it is looked at again in a window around it, which is shrunk if the object is larger than
`LOOK` pixels. So every object comes out once, and whole.

Pixels are those of the resized image. Tiles begin at multiples of `STEP`, the stride of the
coarsest map, so that anchors and the cells of all maps lie where they would lie in the whole image.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from ..ops.nms.op import batched_nms
from .boxes import Size, box_area, intersection_area, paired_iou
from .detections import Detections

STEP = 64
SLACK = 8  # pixels beyond its core in which a tile still answers: centres move a little
EDGE = 16  # a box this near to the border of its tile may have been cut by it
LOOK = 1024  # pixels; the side that a window around a large object may have, or that of a tile
SHRINK = 4  # how much a window around a still larger object may be shrunk
SAME = 0.5  # overlap from which two boxes show the same object


Look = Callable[..., Detections]  # of a window x1, y1, x2, y2, and how many times it is shrunk


class Tile(NamedTuple):
    """A window of the image and the core within it, each x1, y1, x2, y2 in whole pixels."""

    window: tuple[int, int, int, int]
    core: tuple[int, int, int, int]


def cut(size: Size, side: int, margin: int) -> list[Tile]:
    """Tiles for an image of this height and width, row by row.

    Args:
        side: about how long the sides of a tile are, margins included. margin: how far a tile
            reaches beyond its core, except at the border of the image; rounded up to STEP.
    """
    margin = -(-margin // STEP) * STEP
    rows, columns = (_parts(length, max(side - 2 * margin, STEP)) for length in size)
    tiles = []
    for top, bottom in rows:
        for left, right in columns:
            core = np.array([left, top, right, bottom])
            window = core + np.array([-1, -1, 1, 1]) * margin
            tiles.append(Tile(_inside(window, size), _inside(core, size)))
    return tiles


def _parts(length: int, most: int) -> list[tuple[int, int]]:
    """Cut a length into parts of about the same size, near `most` or less, at multiples of STEP."""
    count = min(-(-length // most), max(length // STEP, 1))
    bounds = [round(length * i / count / STEP) * STEP for i in range(count)] + [length]
    return list(pairwise(bounds))


def _inside(box: np.ndarray, size: Size) -> tuple[int, int, int, int]:
    x1, y1, x2, y2 = np.clip(box, 0, [size[1], size[0], size[1], size[0]]).tolist()
    return x1, y1, x2, y2


def detect_in_tiles(
    look: Look,
    size: Size,
    tiles: Sequence[Tile],
    suppress: Callable[[Detections], np.ndarray],
    in_pieces: list[float] | None = None,
) -> Detections:
    """The objects of the whole image, best first.

    Args:
        look: finds the objects in a window x1, y1, x2, y2, in pixels of that window; with a second
            argument, in the window shrunk so many times.
        size: height and width of the image. tiles: from `cut`.
        suppress: which of many detections stay: indices, best first, as NMS gives them.
        in_pieces: gets the best score of each object that is too large for any window.
    """
    found, cut_off = [], []
    for window, core in tiles:
        seen = look(window).moved(window[:2], size)
        x, y = ((seen.boxes[:, :2] + seen.boxes[:, 2:]) / 2).T
        own = (x >= core[0] - SLACK) & (x < core[2] + SLACK)
        own &= (y >= core[1] - SLACK) & (y < core[3] + SLACK)
        whole = ~touches(seen.boxes, window, size)
        found.append(seen[own & whole])
        cut_off += [(seen[i], window) for i in np.flatnonzero(own & ~whole)]
    found += second_looks(look, size, cut_off, max(LOOK, _longest_side(tiles)), in_pieces)
    everything = Detections.joined(found, size)
    return everything[suppress(everything)]


def suppression(threshold: float, class_agnostic: bool) -> Callable[[Detections], np.ndarray]:
    """NMS as the model's own."""

    def suppress(found: Detections) -> np.ndarray:
        groups = np.zeros_like(found.labels) if class_agnostic else found.labels
        return batched_nms(found.boxes, found.scores, groups, threshold)

    return suppress


def touches(boxes: np.ndarray, window: Sequence[int], size: Size) -> np.ndarray:
    """Which boxes (N, 4) lie at a border of the window that is not one of the image: (N,) bool."""
    edge = np.array(window, np.float32)
    inner = edge != (0, 0, size[1], size[0])
    return ((np.abs(boxes - edge) < EDGE) & inner).any(axis=1)


def second_looks(
    look: Look,
    size: Size,
    pieces: Sequence[tuple[Detections, tuple[int, int, int, int]]],
    side: int,
    in_pieces: list[float] | None = None,
) -> list[Detections]:
    """Look again at objects that the borders of their tiles may have cut.

    Args:
        pieces: single detections, each with the window it was found in.
        side: of the largest window, after shrinking.
        in_pieces: see `detect_in_tiles`.

    Returns:
        what the new windows show whole in place of the pieces; or the pieces, where they show
        nothing there.
    """
    found = []
    for group in _groups(pieces):
        parts = Detections.joined([pieces[i][0] for i in group], size)
        window, shrink = _window_around(parts.boxes, size, side)
        seen = look(window, shrink) if shrink > 1 else look(window)
        seen = seen.moved(window[:2], size)
        seen = seen[~touches(seen.boxes, window, size)]
        covered = intersection_area(seen.boxes[:, None], parts.boxes[None])
        covered /= np.maximum(box_area(parts.boxes), 1e-6)
        shown = covered > SAME  # N, pieces
        found += [seen[shown.any(axis=1)], parts[~shown.any(axis=0)]]
        if in_pieces is not None and shrink > 1 and not shown.any():
            in_pieces.append(float(parts.scores.max()))
    return found


def _groups(
    pieces: Sequence[tuple[Detections, tuple[int, int, int, int]]],
) -> list[list[int]]:
    """Indices of the pieces that belong together: where both their windows see, they agree."""
    boxes = np.array([piece.boxes[0] for piece, _ in pieces], np.float32).reshape(-1, 4)
    windows = np.array([window for _, window in pieces], np.float32).reshape(-1, 4)
    group_of = np.arange(len(pieces))
    for i in range(len(pieces)):
        low = np.maximum(windows[i, :2], windows[:, :2])
        high = np.minimum(windows[i, 2:], windows[:, 2:])
        common = np.concatenate([low, np.maximum(high, low)], axis=1)
        mine, theirs = _clip(boxes[i], common), _clip(boxes, common)
        for j in np.flatnonzero(paired_iou(mine, theirs) > SAME):
            group_of[group_of == group_of[j]] = group_of[i]
    return [np.flatnonzero(group_of == group).tolist() for group in np.unique(group_of)]


def _clip(boxes: np.ndarray, to: np.ndarray) -> np.ndarray:
    low, high = to[:, [0, 1, 0, 1]], to[:, [2, 3, 2, 3]]
    return np.minimum(np.maximum(boxes, low), high)


def _window_around(
    boxes: np.ndarray, size: Size, side: int
) -> tuple[tuple[int, int, int, int], int]:
    """A window with the boxes in its middle and room around them, no longer than `side` once it is
    shrunk, and how many times that is: 1, or 2 or 4 if the boxes would reach its borders.
    """
    low, high = boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)
    shrink = 1
    while shrink < SHRINK and (high - low).max() > (side - 2 * EDGE) * shrink:
        shrink *= 2
    half = np.minimum((high - low) * 0.75 + 2 * STEP, side / 2 * shrink)
    step = STEP * shrink
    start = np.floor(((low + high) / 2 - half) / step) * step
    stop = np.ceil(((low + high) / 2 + half) / step) * step
    return _inside(np.concatenate([start, stop]).astype(np.int64), size), shrink


def _longest_side(tiles: Sequence[Tile]) -> int:
    return max(max(x2 - x1, y2 - y1) for (x1, y1, x2, y2), _ in tiles)
