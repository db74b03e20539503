"""The segmentation field of COCO json as one compressed RLE, checked before pycocotools sees it.

pycocotools trusts its input: it reads past the end of a truncated RLE string, and it takes about
fifty bytes for each pixel of a polygon's length without checking that it gets them. Anything that
does not describe a mask of the image's size stops here.
"""

from typing import Any

import numpy as np

from .. import rle_tools
from ..errors import InputError
from .polygons import clipped, length

LARGEST = 1e38
FAR = 10.0  # a polygon may reach this many times the image's longer side,
FURTHEST = 2**28  # and this many pixels: pycocotools counts fifths of them in 32 bits
AT_ONCE = 32  # masks merged at once
LONGEST = 2**22  # pixels along the polygons of one object, all edges together


class UnusableObject(Exception):
    """An object that cannot be trained on; the message is the kind of issue, without its place."""


def read_segmentation(where: str, segmentation: Any, height: int, width: int) -> dict:
    """Polygons, uncompressed RLE or compressed RLE as one compressed RLE of (height, width).

    Raises:
        InputError: the field has the wrong form; the message starts with `where`.
        UnusableObject: the form is right, but it describes no mask.
    """
    if not segmentation:
        raise UnusableObject("no segmentation")
    if isinstance(segmentation, dict):
        rle = read_rle(where, segmentation, height, width)
    else:
        rle = read_polygons(where, segmentation, height, width)
    if rle_tools.area(rle) == 0:
        raise UnusableObject("a segmentation that covers no pixel")
    return rle


def read_polygons(where: str, polygons: Any, height: int, width: int) -> dict:
    """The union of polygons, each a list x, y, x, y, ..."""
    if not isinstance(polygons, list) or not all(is_numbers(polygon) for polygon in polygons):
        raise InputError(
            f"{where}: segmentation is neither RLE nor a list of lists x, y, x, y, ..."
        )
    if any(len(polygon) < 6 or len(polygon) % 2 for polygon in polygons):
        raise UnusableObject("a polygon with fewer than three points")
    outlines = [np.array(polygon, float).reshape(-1, 2) for polygon in polygons]
    if max(np.abs(points).max() for points in outlines) > min(FAR * max(height, width), FURTHEST):
        raise UnusableObject("a polygon far outside its image")
    if sum(map(length, outlines)) > LONGEST:
        # a pixel beyond the image's border, so that no border pixel is drawn
        outlines = [clipped(points + 1, width + 2, height + 2) - 1 for points in outlines]
        polygons = [points.reshape(-1).tolist() for points in outlines if len(points) > 2]
        if sum(length(points) for points in outlines if len(points)) > LONGEST:
            raise UnusableObject(f"polygons longer than {LONGEST} pixels")
        if not polygons:
            raise UnusableObject("a segmentation that covers no pixel")
    masks = rle_tools.frPyObjects(polygons, height, width)
    while len(masks) > AT_ONCE:  # merging one by one would lay each over all before it
        masks = [rle_tools.merge(masks[k : k + AT_ONCE]) for k in range(0, len(masks), AT_ONCE)]
    return rle_tools.merge(masks)


def read_rle(where: str, rle: dict, height: int, width: int) -> dict:
    """RLE whose counts are a list of runs or a compressed string."""
    counts, size = rle.get("counts"), rle.get("size")
    if size != [height, width]:
        raise InputError(f"{where}: RLE size is {size!r}, expected [{height}, {width}]")
    if isinstance(counts, str):
        runs = decode_runs(counts)
    elif isinstance(counts, list) and all(isinstance(run, int) for run in counts):
        runs = counts
    else:
        raise InputError(f"{where}: RLE counts are neither a string nor a list of whole numbers")
    if sum(runs) != height * width or min(runs) < 0:
        raise InputError(f"{where}: the runs of its RLE do not fill {width} x {height} pixels")
    return rle_tools.frPyObjects({"size": size, "counts": runs}, height, width)


def decode_runs(counts: str) -> list[int]:
    """The runs of a compressed RLE string; an empty list if it is not one.

    A character holds five bits, low ones first, offset by "0"; its sixth bit says that more follow.
    Values are signed, and from the fourth on they are differences to the run two places before.
    """
    runs: list[int] = []
    value = shift = 0
    for character in counts:
        code = ord(character) - ord("0")
        if not 0 <= code < 64 or shift > 60:
            return []
        value |= (code & 31) << shift
        shift += 5
        if code < 32:
            sign = (value >> (shift - 1) & 1) << shift
            runs.append(value - sign + (runs[-2] if len(runs) > 2 else 0))
            value = shift = 0
    return runs if shift == 0 else []


def is_numbers(values: Any) -> bool:
    """Whether `values` is a list of numbers that float32 can hold."""
    return isinstance(values, list) and all(
        isinstance(value, int | float) and abs(value) < LARGEST for value in values
    )
