"""Compressed RLE, as pycocotools writes it, to crops of masks and back, without whole masks.

Run lengths count down columns: H x W pixels from the top of the first column to the bottom of the
last, zeros and ones in turn, zeros first.

Not here: RLE from a file, which must be checked first (segmentation.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..detection.boxes import Size
from ..detection.cropped_masks import CroppedMasks
from ..plain_rle import runs_of

Rle = dict[str, Any]  # size [H, W], counts as bytes or text


def masks_from_rles(rles: Sequence[Rle], image_size: Size) -> CroppedMasks:
    """The masks of G compressed RLE, all from images of this height and width."""
    pairs = [_crop(runs_of(rle["counts"]), image_size[0]) for rle in rles]
    return CroppedMasks([crop for crop, _ in pairs], [corner for _, corner in pairs], image_size)


def rles_from_masks(masks: CroppedMasks) -> list[Rle]:
    """The non-zero pixels of each mask as compressed RLE, with counts as bytes."""
    return masks.rles()


def as_text(rle: Rle) -> Rle:
    """The RLE with its counts as text, which JSON can hold."""
    counts = rle["counts"]
    text = counts.decode("ascii") if isinstance(counts, bytes) else counts
    return {"size": [int(side) for side in rle["size"]], "counts": text}


def _crop(runs: np.ndarray, height: int) -> tuple[np.ndarray, tuple[int, int]]:
    """The smallest crop that holds all ones, uint8, and the row and column of its corner."""
    ends = np.cumsum(runs)
    start, stop = ends[:-1:2], ends[1::2]
    start, stop = start[start < stop], stop[start < stop]
    if len(start) == 0:
        return np.zeros((0, 0), np.uint8), (0, 0)
    column, row = np.divmod(start, height)
    last_column, last_row = np.divmod(stop - 1, height)
    top, rows = int(row.min()), int(last_row.max()) + 1
    if (column < last_column).any():  # a run that continues at the top of the next column
        top, rows = 0, height
    left, size = int(column[0]), rows - top
    place = (column - left) * size + row - top
    changes = np.zeros((int(last_column[-1]) + 1 - left) * size + 1, np.uint8)
    changes[place] += 1
    changes[place + stop - start] -= 1
    return np.cumsum(changes[:-1], dtype=np.uint8).reshape(-1, size).T, (top, left)
