"""The arithmetic of instructions on plain values: comparisons, roundings, divisions, bits."""

import numpy as np

_TOWARDS = {"rz": 0.0, "rm": -np.inf, "rp": np.inf}


def _unordered(x, y):
    return np.isnan(x) | np.isnan(y)


_COMPARISONS = {
    "lt": np.less,
    "le": np.less_equal,
    "gt": np.greater,
    "ge": np.greater_equal,
    "eq": np.equal,
    "ne": np.not_equal,
    "lo": np.less,
    "ls": np.less_equal,
    "hi": np.greater,
    "hs": np.greater_equal,
    "num": lambda x, y: ~_unordered(x, y),
    "nan": _unordered,
}


def kind(dtype):
    return "u" if dtype.kind == "b" else dtype.kind


def wider(dtype):
    return np.dtype(f"{dtype.kind}{2 * dtype.itemsize}")


def comparison(name, is_float):
    """PTX's comparison: with a NaN an ordered one is false, one whose name ends in u is true."""
    if is_float and name[-1] == "u":
        ordered = _COMPARISONS[name[:-1]]
        return lambda x, y: ordered(x, y) | _unordered(x, y)
    if is_float and name == "ne":
        return lambda x, y: (x != y) & ~_unordered(x, y)
    return _COMPARISONS[name]


def rounded(exact, dtype, fields):
    """Round a float64 to a narrower float, in the direction that the instruction names."""
    value = np.asarray(exact).astype(dtype)
    for name, goal in _TOWARDS.items():
        if name in fields:
            back = value.astype("f8")
            beyond = np.abs(back) > np.abs(exact) if goal == 0 else (back - exact) * goal < 0
            beyond &= np.isfinite(value)
            value = np.where(beyond, np.nextafter(value, dtype.type(goal)), value)
    return saturated(value) if "sat" in fields else value


def saturated(value):
    """Clip to 0 .. 1; NaN becomes 0."""
    return np.clip(np.nan_to_num(value, nan=0.0, posinf=1.0, neginf=0.0), 0, 1)


def to_whole(values, target):
    """Convert to integers as PTX does: saturating, with 0 for NaN."""
    limits = np.iinfo(target)
    values = np.nan_to_num(values, nan=0.0, posinf=np.inf, neginf=-np.inf)
    inside = np.clip(values, -(2.0**62), 2.0**62).astype("i8").astype(target)
    return np.where(
        values >= limits.max, limits.max, np.where(values <= limits.min, limits.min, inside)
    )


def quotient(x, y):
    """Divide, rounding towards zero; the result of a division by zero is undefined."""
    y = np.where(y == 0, 1, y).astype(y.dtype)
    return (x - np.fmod(x, y)) // y


def remainder(x, y):
    return np.fmod(x, np.where(y == 0, 1, y).astype(y.dtype))


def high_product(a, b, dtype):
    """The upper half of the double-width product."""
    if dtype.itemsize == 4:
        wide = np.dtype(f"{dtype.kind}8")
        product = np.asarray(a).astype(wide) * np.asarray(b).astype(wide)
        return (product >> wide.type(32)).astype(dtype)
    exact = np.asarray(a).astype(object) * np.asarray(b).astype(object)
    return (exact >> 64).astype(dtype)


def bits_of(x):
    """Each value's bits, highest first: (n, width)."""
    x = np.atleast_1d(np.asarray(x))
    raw = np.dtype(f">u{x.itemsize}")
    return np.unpackbits(x.astype(raw).view(np.uint8).reshape(len(x), -1), axis=1)
