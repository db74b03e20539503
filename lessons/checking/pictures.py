"""Pictures of faults that several checks share."""

from __future__ import annotations

from typing import Any

import numpy as np
from PIL import Image

from lessons.figures.diagrams import DETECTION, GROUND_TRUTH, boxes_on_grid, number_tables

from .examine import Arguments


def tables(arguments: Arguments, expected: Any, got: Any) -> Image.Image | None:
    """Expected, got and their difference, for results that are arrays of up to two axes."""
    right, mine = np.asarray(expected, float), np.asarray(got, float)
    if right.ndim > 2 or max(right.shape, default=0) > 16 or mine.ndim > 2:
        return None
    shown = {"expected": right, "got": mine}
    if right.shape == mine.shape:
        shown["got - expected"] = mine - right
    return number_tables(shown, "{:.3g}")


def two_boxes(arguments: Arguments, expected: Any, got: Any) -> Image.Image:
    """The first box of the first argument and of the second, with expected and got."""
    a, b = (np.reshape(part, (-1, 4))[0].tolist() for part in arguments[:2])
    first = np.ravel(expected)[0], np.ravel(got)[0]
    title = f"expected {first[0]:.3g}, got {first[1]:.3g}"
    return boxes_on_grid([{"a": (a, GROUND_TRUTH), "b": (b, DETECTION)}], [title])
