"""Compare two results, and say in one sentence where they differ."""

from __future__ import annotations

from typing import Any

import numpy as np

TOLERANCE = 1e-5


def difference(got: Any, expected: Any, tolerance: float = TOLERANCE) -> str | None:
    """How `got` differs from `expected`, or None if it does not.

    Arrays must have the same shape, and both hold numbers or both booleans. Elements may differ by
    `tolerance` * max(1, |expected|). Lists, tuples and dicts are compared part by part, a Tensor by
    its array.
    """
    got, expected = _plain(got), _plain(expected)
    if got is None and expected is not None:
        return "it returns None: is a `return` missing?"
    if isinstance(expected, dict):
        return _differing_dict(got, expected, tolerance)
    if isinstance(expected, (tuple, list)):
        return _differing_sequence(got, expected, tolerance)
    if expected is None or isinstance(expected, str):
        return None if got == expected else f"it returns {got!r}, expected {expected!r}"
    return _differing_array(got, expected, tolerance)


def _plain(value: Any) -> Any:
    is_tensor = hasattr(value, "data") and hasattr(value, "requires_grad")
    return value.data if is_tensor else value


def _differing_dict(got: Any, expected: dict[Any, Any], tolerance: float) -> str | None:
    if not isinstance(got, dict) or set(got) != set(expected):
        keys = sorted(map(str, got)) if isinstance(got, dict) else type(got).__name__
        return f"it returns {keys}, expected a dict of {sorted(map(str, expected))}"
    for key, value in expected.items():
        if reason := difference(got[key], value, tolerance):
            return f"[{key!r}]: {reason}"
    return None


def _differing_sequence(got: Any, expected: Any, tolerance: float) -> str | None:
    if not isinstance(got, (tuple, list, np.ndarray)) or len(got) != len(expected):
        kind = type(got).__name__
        count = f"a {kind} of {len(got)}" if hasattr(got, "__len__") else f"one {kind}"
        return f"it returns {count}, expected {len(expected)} values"
    for i, pair in enumerate(zip(got, expected, strict=True)):
        if reason := difference(*pair, tolerance):
            return f"index {i}{', ' if reason.startswith('index') else ': '}{reason}"
    return None


def _differing_array(got: Any, expected: Any, tolerance: float) -> str | None:
    try:
        mine, right = np.asarray(got), np.asarray(expected)
        mine.astype(float)
    except (TypeError, ValueError):
        return f"it returns a {type(got).__name__}, expected numbers"
    if mine.shape != right.shape:
        return f"its shape is {mine.shape}, expected {right.shape}"
    if (mine.dtype.kind == "b") != (right.dtype.kind == "b"):
        return f"its dtype is {mine.dtype}, expected {right.dtype}"
    mine, right = mine.astype(float), right.astype(float)
    close = np.isclose(mine, right, rtol=tolerance, atol=tolerance, equal_nan=True)
    if close.all():
        return None
    if not mine.shape:
        return f"{_number(mine)}, expected {_number(right)}"
    place = tuple(int(i) for i in np.argwhere(~close)[0])
    where = ", ".join(map(str, place))
    return f"at [{where}] it has {_number(mine[place])}, expected {_number(right[place])}"


def _number(value: Any) -> str:
    is_whole = np.isfinite(value) and value == round(float(value)) and abs(value) < 1e15
    return f"{value:.0f}" if is_whole else f"{value:.6g}"
