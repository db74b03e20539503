"""COCO's masks in NumPy: what the package needs of `pycocotools.mask`, where that is missing.

The functions have the names, the arguments and, to the last pixel, the results of pycocotools.
A mask (H, W) is kept as the lengths of its runs of zeros and ones in turn, zeros first, down its
columns; in compressed RLE they are text. Polygons are drawn as pycocotools draws them: each edge
on a grid five times finer, then the column's pixels between two crossings.

Source: the COCO API (https://github.com/cocodataset/cocoapi).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Rle = dict[str, Any]  # size [H, W], counts as bytes or text
FINER = 5  # the grid of polygons' edges


def encode(masks: np.ndarray) -> Any:
    """The compressed RLE of a mask (H, W) uint8, or a list for masks (H, W, N)."""
    if masks.ndim == 3:
        return [encode(masks[..., k]) for k in range(masks.shape[2])]
    flat = np.asarray(masks != 0).ravel(order="F")
    changes = np.flatnonzero(np.diff(flat, prepend=False))
    runs = np.diff(changes, prepend=0, append=flat.size)
    return {"size": list(masks.shape), "counts": compressed(runs.tolist())}


def decode(rles: Any) -> np.ndarray:
    """The mask (H, W) uint8 of a compressed RLE, or masks (H, W, N) of a list."""
    if not isinstance(rles, dict):
        return np.stack([decode(rle) for rle in rles], axis=2)
    runs = runs_of(rles["counts"]).astype(np.intp)  # which has 32 bits in a browser
    values = (np.arange(len(runs)) % 2).astype(np.uint8)
    return np.repeat(values, runs).reshape(rles["size"], order="F")


def area(rles: Any) -> Any:
    """The pixels of a mask, uint32, or (N,) of a list."""
    if not isinstance(rles, dict):
        return np.array([area(rle) for rle in rles], np.uint32)
    return np.uint32(runs_of(rles["counts"])[1::2].sum())


def toBbox(rles: Any) -> np.ndarray:
    """The box (4,) around a mask as x, y, width, height, float64, or (N, 4) of a list."""
    if not isinstance(rles, dict):
        return np.array([toBbox(rle) for rle in rles]).reshape(-1, 4)
    rows, columns = np.nonzero(decode(rles))
    if len(rows) == 0:
        return np.zeros(4)
    corner = columns.min(), rows.min()
    return np.array([*corner, np.ptp(columns) + 1, np.ptp(rows) + 1], float)


def merge(rles: Sequence[Rle], intersect: bool = False) -> Rle:
    """The union of masks, or what all of them share."""
    join = np.logical_and if intersect else np.logical_or
    return encode(join.reduce([decode(rle) for rle in rles]))


def iou(found: Any, truth: Any, crowd: Sequence[int]) -> Any:
    """IoU (D, G) of masks as RLE, or of boxes as x, y, width, height; [] if there are none.

    Args:
        crowd: (G,), 1 where the share of the detection that lies inside counts instead.
    """
    if len(found) == 0 or len(truth) == 0:
        return []
    if isinstance(found[0], dict):
        first, second = (
            np.array([decode(rle).ravel() for rle in rles], float) for rles in (found, truth)
        )
        shared = first @ second.T
        sizes = first.sum(1)[:, None], second.sum(1)[None]
    else:
        first, second = (np.asarray(boxes, float).reshape(-1, 4) for boxes in (found, truth))
        shared = np.ones((len(first), len(second)))
        for axis in range(2):
            start = np.maximum(first[:, None, axis], second[None, :, axis])
            ends = (b[:, axis] + b[:, axis + 2] for b in (first, second))
            stop = np.minimum(*np.meshgrid(*ends, indexing="ij"))
            shared *= np.maximum(stop - start, 0)
        sizes = (first[:, 2:].prod(1))[:, None], (second[:, 2:].prod(1))[None]
    union = np.where(np.array(crowd, bool)[None], sizes[0], sizes[0] + sizes[1] - shared)
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def frPyObjects(objects: Any, height: int, width: int) -> Any:
    """Compressed RLE of one {"size", "counts": runs}, or a list of RLE for a list of polygons, each
    x, y, x, y, ...
    """
    if isinstance(objects, dict):
        return {"size": objects["size"], "counts": compressed(objects["counts"])}
    if len(objects) and isinstance(objects[0], dict):
        return [frPyObjects(each, height, width) for each in objects]
    return [polygon_rle(polygon, height, width) for polygon in objects]


def polygon_rle(polygon: Sequence[float], height: int, width: int) -> Rle:
    """One polygon as compressed RLE."""
    corners = (FINER * np.asarray(polygon, float).reshape(-1, 2) + 0.5).astype(int)
    edges = [edge(*pair) for pair in zip(corners, np.roll(corners, -1, axis=0), strict=True)]
    x, y = np.concatenate(edges).T
    moved = np.flatnonzero(x[1:] != x[:-1])  # from one fine column to the next
    column = (np.minimum(x[moved], x[moved + 1]) + 0.5) / FINER - 0.5
    upper = (np.minimum(y[moved], y[moved + 1]) + 0.5) / FINER - 0.5
    kept = (column == np.floor(column)) & (column >= 0) & (column <= width - 1)
    rows = np.ceil(np.clip(upper[kept], 0, height)).astype(int)
    crossings = np.sort(column[kept].astype(int) * height + rows)
    # two crossings in one place are an empty run; the runs beside it join
    places, times = np.unique(crossings, return_counts=True)
    runs = np.diff(places[times % 2 == 1], prepend=0, append=height * width).tolist()
    return {"size": [height, width], "counts": compressed(runs if runs[-1] else runs[:-1])}


def edge(start: np.ndarray, stop: np.ndarray) -> np.ndarray:
    """The points (N, 2) of a polygon's edge from corner to corner, on the fine grid."""
    across, down = np.abs(stop - start)
    long = 0 if across >= down else 1  # the axis along which a point is set per step
    turned = start[long] > stop[long]
    if turned:
        start, stop = stop, start
    steps = np.arange(stop[long] - start[long] + 1)
    slope = (stop[1 - long] - start[1 - long]) / max(stop[long] - start[long], 1)
    points = np.empty((len(steps), 2), int)
    points[:, long] = start[long] + steps
    points[:, 1 - long] = (start[1 - long] + slope * steps + 0.5).astype(int)
    return points[::-1] if turned else points


def compressed(runs: Sequence[int]) -> bytes:
    """Run lengths as COCO's text: five bits per character, low ones first, the sixth says that more
    follow; from the fourth on, runs are differences to the run two places before.
    """
    text = bytearray()
    for place, run in enumerate(runs):
        value = run - runs[place - 2] if place > 2 else run
        more = True
        while more:
            bits, value = value & 31, value >> 5
            more = value != (-1 if bits & 16 else 0)
            text.append((bits | 32 * more) + ord("0"))
    return bytes(text)


def runs_of(counts: bytes | str) -> np.ndarray:
    """The run lengths of compressed RLE, which is taken to be right."""
    text = counts.encode("ascii") if isinstance(counts, str) else counts
    codes = np.frombuffer(text, np.uint8).astype(np.int64) - ord("0")
    last = np.flatnonzero(codes < 32)  # the last character of each number
    first = np.concatenate([[0], last[:-1] + 1])
    lengths = last + 1 - first
    shifts = 5 * (np.arange(len(codes)) - np.repeat(first, lengths))
    values = np.add.reduceat((codes & 31) << shifts, first)
    values -= (codes[last] >> 4 & 1) << 5 * lengths
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
