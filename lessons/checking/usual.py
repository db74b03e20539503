"""The usual mistakes with NumPy, recognised whatever the task.

A mistake counts as recognised only if it explains every wrong result that the answer gave: on one
small input, where all is 0 or 1, almost anything explains it.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from .compare import difference

Pair = tuple[Any, Any]  # what the answer gave, and what is right
RAISED = {  # by a part of the error's text
    "truth value of an array": "`and`, `or`, `not`, `if`, `min` and `max` want one True or False, "
    "and you have an array of them; so does a chain such as a <= x < b. Use &, | and ~ (with "
    "brackets), np.where, np.minimum and np.maximum.",
    "ufunc 'bitwise_": "& and | bind more tightly than <, > and ==. Put each comparison in "
    "brackets: (a > 0) & (b > 0).",
    "converted to Python scalars": "float(...), int(...) and the functions of `math` take one "
    "number. For a whole array see .astype and the functions of NumPy.",
    "could not be broadcast": "Shapes are compared from the last axis: two sizes fit if they are "
    "equal or one of them is 1. To pair each row of one with each row of another, give the first a "
    "new axis: a[:, None]. If the two should be equal, print them: which one was cut, padded or "
    "flattened differently?",
    "output operand": "With +=, the result must have the shape of what stands on the left. Print "
    "both shapes.",
    "cannot reshape": "A reshape keeps every number: the new sizes multiplied must give as many as "
    "there were. What must be cut off or summed away first?",
    "window_shape": "sliding_window_view wants a size for each axis. Say which axes you mean: "
    "axis=(0, 1).",
    "all the input array": "np.concatenate joins arrays that are equal in all axes but one. Print "
    "their shapes; is axis= right?",
    "bounds for array of dimension": "The array has fewer axes than that; they are counted from "
    "0. Print its shape.",
    "too many indices": "You index more axes than the array has. Print its shape.",
    "is out of bounds": "The last index of an axis of size n is n - 1. Which element looks beyond "
    "the end, and what should it see there?",
    "index out of range": "The last index of a list of n is n - 1. Is it shorter than you think, "
    "or does a loop go one too far?",
    "values to unpack": "On the left there are more names, or fewer, than there are values on the "
    "right. Print what is on the right.",
    "raises KeyError": "The dict does not have this key. See dict.get, which gives something else "
    "then.",
    "interpreted as an integer": "A count must be a whole number, and / gives a float. Use //, or "
    "int(...).",
    "can only concatenate": "Between tuples or lists, + joins them. To add numbers to each "
    "element, make it an array with np.array(...).",
    "object is not reversible": "zip, map and enumerate give their values one by one, and only "
    "forwards. Turn round what goes in, with [::-1], or make a list(...) first.",
    "object is not callable": "Round brackets call a function. To index, use square ones.",
    "shape mismatch": "Arrays of indices that are used together must have shapes that fit. Print "
    "their shapes.",
    "mismatch in its core dimension": "In a @ b the last axis of a must be as long as the one "
    "before the last of b. Is one of them transposed?",
    "not aligned": "In a @ b the last axis of a must be as long as the one before the last of b. "
    "Is one of them transposed?",
    "arrays used as indices must be": "Indices are whole numbers, and these are floats. Use "
    ".astype(int), after rounding the way you mean to.",
    "only integer scalar arrays": "An array stands where one whole number is expected.",
    "only integers, slices": "Indices are whole numbers, and this one is not. Use int(...) or "
    ".astype(int); is the value perhaps a list, a tuple or a float?",
    "list indices must be": "A Python list takes one whole number or a slice. Make it an array "
    "with np.array(...) to index it with arrays, masks or several axes.",
    "boolean index did not match": "A mask must be as long as the axis that it picks from. Which "
    "axis do you index?",
    "zero-size array to reduction": "An empty array has no largest and no smallest element. What "
    "should the answer be when there is nothing? np.max takes `initial`.",
    "attempt to get argm": "An empty array has no largest and no smallest element. What should the "
    "answer be when there is nothing?",
    "Cannot cast ufunc": "The array holds whole numbers, so += cannot put fractions into it. Make "
    "it of floats first: .astype(float), or dtype=float where you create it.",
    "read-only": "This array is a view that must not be written to. Make a .copy() first.",
    "inhomogeneous shape": "These arrays have different shapes, so np.array cannot stack them. "
    "np.concatenate joins them end to end.",
    "array element with a sequence": "A single element takes one number, and you assign an array "
    "to it. Which axis have you not indexed?",
    "'list' object has no attribute": "A Python list is no array. np.array(...) makes one of it.",
    "'tuple' object has no attribute": "This is a tuple. np.where(mask) and np.nonzero(mask) give "
    "a tuple that holds one array for each axis: take [0], or use np.flatnonzero.",
    "'Tensor'": "This is a Tensor, as the package's functions give it. Its array is .data.",
    "'NoneType' object": "Something here is None. Some methods change their object and return "
    "nothing: list.sort, list.append, array.sort. And a function without `return` gives None.",
    "name 'np' is not defined": "Put `import numpy as np` at the top of the file.",
    "is not defined": "Python does not know this name here. Is it spelt differently above, or is "
    "an import missing at the top of the file?",
    "cannot access local variable": "On this path nothing was assigned to the name yet. Assign it "
    "before the loop or the `if`.",
    "Cannot interpret": "np.zeros, np.ones and np.full take the shape as one tuple: two pairs of "
    "brackets.",
    "division by zero": "Here the divisor is 0. Which inputs make it 0, and what should come out "
    "then?",
    "expected a sequence of integers": "A shape holds whole numbers, and / always gives a float. "
    "Use //, or int(...).",
    "numpy boolean subtract": "Booleans cannot be subtracted. Turn them into numbers with .astype, "
    "or use ~, & and |.",
}
CHANGES = (
    "A slice, reshape and .T are views: they show the same numbers, and so does a second name. "
    "Writing to one (a[...] = ..., +=, .sort()) changes the argument. Begin with .copy()."
)


def usual_mistake(reason: str, pairs: Sequence[Pair]) -> str:
    """A hint that fits the answer, whatever the task; "" if none does.

    Args:
        reason: what is wrong on the input that the learner sees.
        pairs: what the answer gave and what is right, for each input on which the answer is wrong;
            empty if it raised an error, or if there is no specification.
    """
    if reason.startswith("it changes its argument"):
        return CHANGES
    if "it raises " in reason:
        return next((hint for text, hint in RAISED.items() if text in reason), "")
    for explains, hint in USUAL:
        if pairs and all(_holds(explains, *pair) for pair in pairs):
            return hint
    return _factor(pairs)


def _holds(explains: Callable[[Any, Any], bool], got: Any, expected: Any) -> bool:
    try:
        with np.errstate(all="ignore"):
            return bool(explains(got, expected))
    except Exception:  # it does not apply to results of this form
        return False


def _same(got: Any, expected: Any) -> bool:
    return difference(got, expected) is None


def _is_bool(value: Any) -> bool:
    return np.asarray(value).dtype.kind == "b"


def _is_whole(value: Any) -> bool:
    return np.asarray(value).dtype.kind in "iu"


def _tuple_of_one(got: Any, expected: Any) -> bool:
    is_single = isinstance(got, tuple) and len(got) == 1 and isinstance(got[0], np.ndarray)
    return is_single and not (isinstance(expected, tuple) and len(expected) == 1)


def _mask_for_indices(got: Any, expected: Any) -> bool:
    same = np.array_equal(np.flatnonzero(got), np.sort(np.ravel(expected)))
    return _is_bool(got) and not _is_bool(expected) and np.ndim(got) == np.ndim(expected) and same


def _empty(got: Any, expected: Any) -> bool:
    """Nothing is left, and that in the wrong shape."""
    return np.size(got) == np.size(expected) == 0 and np.shape(got) != np.shape(expected)


def _indices_for_mask(got: Any, expected: Any) -> bool:
    return _is_bool(expected) and np.array_equal(np.sort(got), np.flatnonzero(expected))


def _same_but_bool(got: Any, expected: Any) -> bool:
    return _is_bool(expected) and not _is_bool(got) and np.array_equal(got, expected)


def _same_but_numbers(got: Any, expected: Any) -> bool:
    return _is_bool(got) and not _is_bool(expected) and np.array_equal(got, expected)


def _table_of_pairs(got: Any, expected: Any) -> bool:
    """(N, N) where (N,) is right, or (N, N, K) where (N, K) is."""
    got, shape = np.shape(got), np.shape(expected)
    return len(shape) > 0 and got == (shape[0], *shape)


def _kept_axes(got: Any, expected: Any) -> bool:
    differs = np.shape(got) != np.shape(expected)
    return differs and _same(np.squeeze(got), np.squeeze(expected))


def _flat(got: Any, expected: Any) -> bool:
    return np.ndim(got) == 1 < np.ndim(expected) and np.size(got) == np.size(expected)


def _longer(got: Any, expected: Any) -> bool:
    """Right as far as it goes, and then there is more."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.ndim != expected.ndim or got.shape == expected.shape:
        return False
    return expected.size > 0 and _same(got[tuple(map(slice, expected.shape))], expected)


def _shorter(got: Any, expected: Any) -> bool:
    return _longer(expected, got)


def _transposed(got: Any, expected: Any) -> bool:
    return np.ndim(got) == 2 and _same(np.transpose(got), expected)


def _diagonal(got: Any, expected: Any) -> bool:
    """The entries (i, i) alone of what should be a table."""
    return np.ndim(got) == np.ndim(expected) - 1 and _same(got, np.diagonal(expected))


def _axes_exchanged(got: Any, expected: Any) -> bool:
    dimensions = np.ndim(expected)
    if not 2 < dimensions == np.ndim(got) < 6:
        return False
    orders = itertools.permutations(range(dimensions))
    return any(_same(np.transpose(got, order), expected) for order in orders)


def _wrong_order_of_axes(got: Any, expected: Any) -> bool:
    """The right numbers of the right shape, but cut into rows the other way."""
    got, expected = np.asarray(got), np.asarray(expected)
    if got.ndim < 2 or got.shape != expected.shape:
        return False
    return _same(got.ravel(), expected.ravel(order="F")) or _same(
        got.ravel(order="F"), expected.ravel()
    )


def _x_and_y(got: Any, expected: Any) -> bool:
    got, expected = np.asarray(got), np.asarray(expected)
    orders = {2: [1, 0], 4: [1, 0, 3, 2]}
    return _same(got[..., orders[expected.shape[-1]]], expected)


def _reversed(got: Any, expected: Any) -> bool:
    return np.ndim(expected) == 1 and _same(np.asarray(got)[::-1], expected)


def _other_order(got: Any, expected: Any) -> bool:
    return np.ndim(expected) == 1 and _same(np.sort(got), np.sort(expected))


def _rows_in_other_order(got: Any, expected: Any) -> bool:
    got, expected = np.asarray(got), np.asarray(expected)
    if got.ndim != 2 or got.shape != expected.shape or got.shape[1] < 2:
        return False
    return _same(got[np.lexsort(got.T)], expected[np.lexsort(expected.T)])


def _negated(got: Any, expected: Any) -> bool:
    if _is_bool(expected):
        return _is_bool(got) and np.array_equal(~np.asarray(got), expected)
    return _same(-np.asarray(got), expected)


def _unsigned(got: Any, expected: Any) -> bool:
    got, right = np.asarray(got), np.asarray(expected)
    if (
        got.dtype.kind not in "iu"
        or got.dtype.itemsize > 2
        or not _is_whole(np.round(right).astype(int))
    ):
        return False
    return np.array_equal(got, np.trunc(right).astype(np.int64).astype(got.dtype))


def _cut_off(got: Any, expected: Any) -> bool:
    got, right = np.asarray(got), np.asarray(expected, float)
    whole = (got == np.trunc(right)) | (got == np.floor(right))
    return bool(whole.all()) and bool((right != np.floor(right)).any())


def _rounded(got: Any, expected: Any) -> bool:
    right = np.asarray(expected, float)
    return np.array_equal(got, np.round(right)) and bool((right != np.floor(right)).any())


def _not_numbers(got: Any, expected: Any) -> bool:
    got, right = np.asarray(got, float), np.asarray(expected, float)
    return got.shape == right.shape and bool((~np.isfinite(got) & np.isfinite(right)).any())


def _joined(got: Any, expected: Any) -> bool:
    return isinstance(got, (list, tuple)) and _same(np.concatenate(got), expected)


def _lazy(got: Any, expected: Any) -> bool:
    is_recipe = hasattr(got, "__next__") or isinstance(got, range)
    return is_recipe and isinstance(expected, (list, tuple, np.ndarray))


def _one_more(got: Any, expected: Any) -> bool:
    return _is_whole(expected) and np.array_equal(got, np.asarray(expected) + 1)


def _one_less(got: Any, expected: Any) -> bool:
    return _is_whole(expected) and np.array_equal(got, np.asarray(expected) - 1)


USUAL: list[tuple[Callable[[Any, Any], bool], str]] = [
    (
        lambda got, expected: got is None,
        "A function that reaches its end without `return` gives None, whatever it has computed.",
    ),
    (
        _tuple_of_one,
        "This is a tuple that holds one array. np.where(mask) and np.nonzero(mask) give one array "
        "for each axis: take the first with [0], or use np.flatnonzero(mask).",
    ),
    (_lazy, "This is a recipe for values, not the values. list(...) makes them."),
    (
        _mask_for_indices,
        "This is a mask, one True or False for each element. Indices are asked for: where is it "
        "True? See np.flatnonzero.",
    ),
    (
        _empty,
        "Nothing is left here, and np.array([]) has the shape (0,), whatever it was to hold. Which "
        "shape belongs to no results at all? reshape or np.zeros gives it.",
    ),
    (
        _indices_for_mask,
        "These are indices. A mask is asked for: one True or False for each element, as a "
        "comparison gives it.",
    ),
    (
        _same_but_bool,
        "The values are right, but they are numbers, and True and False are asked for. A "
        "comparison gives those.",
    ),
    (
        _same_but_numbers,
        "These are True and False, and numbers are asked for. .astype turns one into the other.",
    ),
    (
        _table_of_pairs,
        "This is a table of all pairs. Somewhere an array of shape (N, 1) meets one of shape (N,), "
        "and broadcasting pairs each with each. Print the shapes, and watch keepdims and None.",
    ),
    (
        _kept_axes,
        "The numbers are right, the shape is not: an axis of size 1 is too many or missing. "
        "keepdims=True and None add one; [0], reshape and squeeze take one away.",
    ),
    (
        _flat,
        "The result is flat, a single row. np.repeat, np.append, np.sum and np.cumsum go through "
        "all numbers in one row unless you give them an axis.",
    ),
    (
        _longer,
        "What should be there is there, but it does not end: there is more than was asked for.",
    ),
    (_shorter, "What is there is right, but it ends too early: something is missing at the end."),
    (_transposed, "This is the right table, transposed: rows and columns are exchanged."),
    (
        _diagonal,
        "This is only the diagonal of the table: two arrays of indices, as in a[rows, columns], "
        "are taken pair by pair. For each row with each column, give the rows a new axis.",
    ),
    (
        _axes_exchanged,
        "The numbers are right, but the axes are in another order. See np.transpose.",
    ),
    (
        _wrong_order_of_axes,
        "The numbers are right, but they are laid out along the wrong axis first. reshape fills "
        "row by row: does a transpose belong before it or after it?",
    ),
    (_x_and_y, "x and y are exchanged. x counts columns, y counts rows; an index takes [y, x]."),
    (
        _reversed,
        "The right ones in the opposite order. np.argsort and np.sort rise; sort by the negative, "
        "or turn round with [::-1], to begin with the largest.",
    ),
    (_other_order, "The right ones in another order. Which order is asked for?"),
    (_rows_in_other_order, "The right rows in another order. Which one comes first?"),
    (
        _negated,
        "The opposite of what is asked for: a sign (or a True and a False) is the wrong way.",
    ),
    (
        _unsigned,
        "These numbers wrapped round: uint8 holds 0 to 255, and 250 + 10 is 4. Convert first, with "
        ".astype(int) or .astype(float), then compute.",
    ),
    (
        _cut_off,
        "The fractions are gone. Look for //, int(...), .astype(int), or an array of whole numbers "
        "that results are written into: np.zeros_like of ints holds ints.",
    ),
    (_rounded, "The numbers are rounded. Nothing should be rounded here."),
    (
        _not_numbers,
        "There are NaN or infinite numbers in it: 0 / 0, a division by 0, the logarithm of 0, or "
        "an exp that is too large. Which input leads there? Deal with it before you divide.",
    ),
    (
        _joined,
        "This is a list of arrays, and one array is asked for. np.concatenate joins them end to "
        "end.",
    ),
    (_one_more, "All are one too large. Indices start at 0."),
    (_one_less, "All are one too small. Does a range end one early?"),
]


def _factor(pairs: Sequence[Pair]) -> str:
    """A hint if all that was given is the same multiple of what is right."""
    factors = set()
    for got, expected in pairs:
        try:
            mine, right = np.asarray(got, float), np.asarray(expected, float)
        except (TypeError, ValueError):
            return ""
        if mine.shape != right.shape or not right.any() or not np.isfinite(mine).all():
            return ""
        place = np.unravel_index(np.abs(right).argmax(), right.shape)
        factor = float(mine[place] / right[place])
        if factor == 0 or not np.allclose(mine, factor * right, rtol=1e-4, atol=1e-5):
            return ""
        factors.add(round(factor, 3))
    if len(pairs) < 3 or len(factors) != 1:
        return ""
    times = f"{factors.pop():g} times"
    return f"Everything is {times} what it should be: one factor is too many or missing."
