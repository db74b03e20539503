"""Settings that may be one number for both axes or a (height, width) pair."""

from __future__ import annotations

from typing import Any

import numpy as np


def as_pair(value: Any, name: str, least: int | None = None) -> tuple[int, int]:
    """A height and a width, from a pair or from one number for both.

    Args:
        value: whole numbers, Python's or NumPy's. name: of the setting, for the message.
        least: the smallest number allowed; None where the caller checks the range.

    Raises:
        ValueError: not one or two whole numbers, or one is too small.
    """
    if type(value) is int and (least is None or value >= least):
        return value, value  # nearly always; below, a call takes ten times as long
    pair: tuple[Any, ...] = tuple(np.atleast_1d(value)) * (2 if np.ndim(value) == 0 else 1)
    whole = len(pair) == 2 and all(isinstance(v, int | np.integer | np.floating) for v in pair)
    if not whole or any(
        not float(v).is_integer() or (least is not None and v < least) for v in pair
    ):
        limit = "" if least is None else f" >= {least}"
        raise ValueError(f"{name}: expected a whole number{limit} or a pair (h, w), got {value!r}")
    return int(pair[0]), int(pair[1])
