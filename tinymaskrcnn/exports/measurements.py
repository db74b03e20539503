"""measurements.csv: one row per object, each measure as scikit-image's `regionprops` defines it.

area                pixels
centroid_x, _y      mean column and row of the pixels, where the first pixel is 0
axis_major_length, axis_minor_length
                    of the ellipse with the same second central moments: four times the root of the
                    larger and the smaller eigenvalue of the pixels' covariance
eccentricity        of that ellipse: 0 for a circle, 1 for a line
perimeter           length of the line through the centres of the border pixels, where each pixel
                    counts 1, √2 or (1 + √2) / 2 by its neighbours (Benkrid and Crookes)
intensity_mean      mean value of the pixels in the file's own units; of colours, the mean of red,
                    green and blue
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence

import numpy as np

from ..datasets.images import read_values
from ..errors import one_line
from .predicted import PredictedImage, Source

FOUND = ("image", "page", "object", "class", "score")
MEASURES = (
    "area",
    "centroid_x",
    "centroid_y",
    "axis_major_length",
    "axis_minor_length",
    "eccentricity",
    "perimeter",
    "intensity_mean",
)
HEADER = ",".join((*FOUND, *MEASURES))
NEIGHBOURS = np.array([[10, 2, 10], [2, 1, 2], [10, 2, 10]])  # 2 for an edge, 10 for a corner
LENGTHS = np.zeros(50)  # of a border pixel, by the sum over its neighbours
LENGTHS[[5, 7, 15, 17, 25, 27]] = 1
LENGTHS[[21, 33]] = np.sqrt(2)
LENGTHS[[13, 23]] = (1 + np.sqrt(2)) / 2


def rows(found: PredictedImage) -> bytes:
    """The rows of one image."""
    path, page = found.source
    values = read_values(path, found.max_pixels, page or 1)
    masks, text = found.masks, io.StringIO()
    write = csv.writer(text, lineterminator="\n").writerow
    scores = found.detections.scores.tolist()
    for k, window in enumerate(masks.windows()):
        measured = measures(masks.crops[k] != 0, masks.corners[k], values[window])
        name = one_line(path.as_posix()), page or "", k + 1, one_line(found.names[k])
        write([*name, f"{scores[k]:.4f}", *map(number, measured)])
    return text.getvalue().encode()


def number(value: float) -> str:
    """With eight digits; nothing for NaN."""
    return "" if np.isnan(value) else f"{value:.8g}"


def table(
    inputs: Iterable[Source], parts: Iterable[bytes | None], classes: Sequence[str]
) -> Iterator[bytes]:
    """The pieces of the file."""
    yield f"{HEADER}\n".encode()
    yield from (part for part in parts if part)


def measures(mask: np.ndarray, corner: Sequence[int], values: np.ndarray) -> list[float]:
    """The `MEASURES` of one object; all but the area are NaN if it has no pixel.

    Args:
        mask: (h, w) bool, its crop.
        corner: the row and column of the crop's first pixel.
        values: (h, w) or (h, w, C), the image's values there.
    """
    places = np.argwhere(mask)
    if len(places) == 0:
        return [0, *[np.nan] * (len(MEASURES) - 1)]
    row, column = places.mean(axis=0)
    small, large = np.clip(np.linalg.eigvalsh(np.cov(places.T, bias=True)), 0, None)
    return [
        len(places),
        column + corner[1],
        row + corner[0],
        4 * np.sqrt(large),
        4 * np.sqrt(small),
        np.sqrt(1 - small / large) if large else 0,
        perimeter(mask),
        values[mask].mean(dtype=np.float64),
    ]


def perimeter(mask: np.ndarray) -> float:
    """The length of a mask's border."""
    from scipy import ndimage  # late: it is slow to load

    padded = np.pad(mask, 1)
    border = padded & ~ndimage.binary_erosion(padded)
    sums = ndimage.convolve(border.astype(np.uint8), NEIGHBOURS.astype(np.uint8), mode="constant")
    return float(np.bincount(sums.ravel(), minlength=len(LENGTHS)) @ LENGTHS)
