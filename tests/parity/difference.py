"""How far a stage's results are from torchvision's, in the unit that the result has."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

UNITS = {  # result: unit, and the difference that is allowed
    "batch": ("relative", 1e-5),
    "sizes": ("different", 0),
    "body": ("relative", 1e-4),
    "features": ("relative", 1e-4),
    "anchors": ("px", 0),
    "level_sizes": ("different", 0),
    "objectness": ("relative", 1e-4),
    "deltas": ("relative", 1e-4),
    "best": ("different", 0),
    "moved": ("px", 1e-3),
    "proposals": ("px", 1e-3),
    "levels": ("different", 0),
    "crops": ("relative", 1e-4),
    "class_logits": ("relative", 1e-4),
    "box_deltas": ("relative", 1e-4),
    "boxes": ("px", 1e-3),
    "labels": ("different", 0),
    "scores": ("score", 1e-5),
    "mask_crops": ("relative", 1e-4),
    "mask_logits": ("relative", 1e-4),
    "own_mask_probabilities": ("score", 1e-4),
    "final_boxes": ("px", 1e-3),
    "masks": ("score", 1e-5),
}


class Difference(NamedTuple):
    """A difference, its unit ("relative": to the largest value of the map; "different": how many
    choices differ; "px"; "score"), and the limit.
    """

    value: float
    unit: str
    limit: float

    @property
    def within(self) -> bool:
        return self.value <= self.limit


def difference(name: str, actual: Any, expected: Any) -> Difference:
    """The largest difference of a result; inf where shapes differ.

    Of a map, `expected` may hold every n-th channel only; of proposals, NaN where any box will do.
    """
    unit, limit = UNITS[name]
    if isinstance(expected, list):
        parts = [difference(name, a, e).value for a, e in zip(actual, expected, strict=True)]
        return Difference(max(parts, default=0.0), unit, limit)
    actual = thin(actual, expected.shape[-1]) if unit == "relative" else np.asarray(actual)
    if actual.shape != expected.shape:
        return Difference(np.inf, unit, limit)
    if name == "best":  # the order of equal scores is not declared
        actual, expected = np.sort(actual, axis=-1), np.sort(expected, axis=-1)
    if name in ("proposals", "boxes"):  # likewise
        actual = nearest_rows(actual, expected)
    if unit == "different":
        return Difference(float((actual != expected).sum()), unit, limit)
    if name == "proposals":
        actual = np.where(np.isnan(expected), 0, actual)
        expected = np.nan_to_num(expected)
    largest = np.abs(actual.astype(np.float64) - expected).max(initial=0)
    scale = np.abs(expected).max(initial=1e-12) if unit == "relative" else 1
    return Difference(float(largest / scale), unit, limit)


def thin(maps: np.ndarray, channels: int) -> np.ndarray:
    """Every n-th channel, so many that `channels` remain."""
    return maps[..., :: max(maps.shape[-1] // max(channels, 1), 1)]


def nearest_rows(boxes: np.ndarray, to: np.ndarray) -> np.ndarray:
    """The boxes in the order in which they are nearest to their counterparts, all taken together:
    several may be equal. A counterpart of NaN is equally near to all.
    """
    apart = np.abs(boxes[None] - to[:, None]).max(axis=2)  # counterpart, box
    apart[np.isnan(apart)] = 0
    return boxes[linear_sum_assignment(apart)[1]]
