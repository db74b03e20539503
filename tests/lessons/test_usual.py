"""The usual NumPy mistakes: planted in answers to tasks that know no mistakes of their own."""

import math

import numpy as np
import pytest
from hypothesis import strategies as st
from numpy.lib.stride_tricks import sliding_window_view

from lessons.checking import Task
from lessons.checking.examine import examine
from lessons.checking.strategies import arrays
from tinymaskrcnn.tensor import Tensor

TABLE = st.tuples(arrays(st.tuples(st.integers(1, 4), st.integers(1, 4))))
ROW = st.tuples(arrays(st.tuples(st.integers(1, 5))))
BOX = st.tuples(arrays(st.tuples(st.integers(1, 3), st.just(4))))
CUBE = st.tuples(arrays(st.tuples(*[st.integers(1, 3)] * 3)))


def hint(specification, answer, cases=ROW):
    task = Task(
        name="task",
        kind="fill",
        cases=cases,
        specification=specification,
        after="",
        link="",
        hints=("", "", ""),
        wrong=[],
        max_cases=30,
    )
    verdict = examine(task, answer)
    assert verdict.fault is not None
    assert verdict.certain
    return verdict.hint


def positive(x):
    return np.flatnonzero(x > 0)


def half(x):
    return x / 2


def rows(x):
    return x.sum(axis=1)


def square(x):
    return x[:, None] * x


def above_two(x):
    return x[x[:, 0] > 2] > 0


def whole(function):
    """On whole numbers of a byte, as images have them."""
    return lambda x: function(np.abs(x * 20).astype(np.uint8))


def forgets(x):
    x + x


def into_ints(x):
    out = np.zeros_like(x.astype(int))
    out[:] = x / 2
    return out


def adds_into(x):
    x += x
    return x


def after_a_view(x):
    y = x.reshape(-1)
    y[:] = y * 2
    return y.reshape(x.shape)


@pytest.mark.parametrize(
    ("specification", "answer", "cases", "text"),
    [
        (half, forgets, ROW, "without `return`"),
        (positive, lambda x: np.where(x > 0), ROW, "a tuple that holds one array"),
        (positive, lambda x: x > 0, ROW, "This is a mask"),
        (lambda x: list(positive(x)), lambda x: x > 0, ROW, "This is a mask"),
        (lambda x: x > 0, positive, ROW, "A mask is asked for"),
        (lambda x: x > 0, lambda x: (x > 0) * 1, ROW, "True and False are asked for"),
        (lambda x: (x > 0) * 1, lambda x: x > 0, ROW, "numbers are asked for"),
        (half, lambda x: x // 2, ROW, "The fractions are gone"),
        (half, into_ints, ROW, "The fractions are gone"),
        (half, lambda x: np.round(x / 2), ROW, "The numbers are rounded"),
        (whole(lambda x: x.astype(int) * 2), whole(lambda x: x * 2), ROW, "wrapped round"),
        (whole(lambda x: x.astype(int) - 9), whole(lambda x: x - np.uint8(9)), ROW, "wrapped"),
        (rows, lambda x: x.sum(axis=1, keepdims=True), TABLE, "the shape is not"),
        (rows, lambda x: rows(x) + 0 * rows(x)[:, None], TABLE, "a table of all pairs"),
        (square, lambda x: np.multiply(x, x), ROW, "the diagonal of the table"),
        (above_two, lambda x: np.array([row > 0 for row in x if row[0] > 2]), BOX, "Nothing is"),
        (lambda x: list(range(len(x))), lambda x: range(len(x)), ROW, "not the values"),
        (half, lambda x: np.zeros(len(x) / 1), ROW, "/ always gives a float"),
        (
            lambda x: x - x.mean(axis=1, keepdims=True),
            lambda x: x[:, None] - x.mean(axis=1)[None, :, None],
            TABLE,
            "a table of all pairs",
        ),
        (lambda x: 2 * x, lambda x: 2 * x.T, TABLE, "rows and columns are exchanged"),
        (lambda x: 2 * x, lambda x: 2 * x.transpose(0, 2, 1), CUBE, "axes are in another order"),
        (lambda x: x.T, lambda x: x.reshape(x.T.shape), TABLE, "along the wrong axis first"),
        (lambda x: 2 * x, lambda x: 2 * x[:, [1, 0, 3, 2]], BOX, "x and y are exchanged"),
        (lambda x: np.sort(x)[::-1], np.sort, ROW, "opposite order"),
        (lambda x: np.sort(x)[::-1], lambda x: x, ROW, "another order"),
        (lambda x: x[np.lexsort(x.T)], lambda x: x, BOX, "right rows in another order"),
        (half, lambda x: -x / 2, ROW, "the wrong way"),
        (lambda x: x > 0, lambda x: x <= 0, ROW, "the wrong way"),
        (lambda x: x / np.where(x == 0, 1, x), lambda x: x / x, ROW, "NaN or infinite"),
        (lambda x: np.concatenate([x, x]), lambda x: [x, x], ROW, "np.concatenate joins"),
        (lambda x: [2 * v for v in x], lambda x: map(float, x), ROW, "not the values"),
        (lambda x: np.argsort(x), lambda x: np.argsort(x) + 1, ROW, "one too large"),
        (half, lambda x: x / 4, ROW, "Everything is 0.5 times"),
        (lambda x: 2 * x, adds_into, ROW, "Begin with .copy()"),
        (lambda x: 2 * x, after_a_view, TABLE, "Begin with .copy()"),
        (half, lambda x: x / 2 if x > -99 and len(x) else x, TABLE, "one True or False"),
        (rows, lambda x: rows(x) + (np.zeros(2) + np.zeros(3)), TABLE, "Shapes are compared"),
        (half, lambda x: x[x / 2], ROW, "Indices are whole numbers"),
        (half, lambda x: x.tolist().shape, ROW, "A Python list is no array"),
        (half, lambda x: np.where(x > 0).astype(int), ROW, "This is a tuple"),
        (half, lambda x: np.zeros(3, 4), ROW, "the shape as one tuple"),
        (rows, lambda x: x[x > 99].max(axis=0), TABLE, "no largest and no smallest"),
        (half, lambda x: eval("np.abs(x)", {"x": x}), ROW, "import numpy as np"),
        (half, lambda x: eval("hlaf(x)", {"x": x}), ROW, "does not know this name"),
        (half, lambda x: x / 2 if (0 < x < 99) else x, TABLE, "a chain such as a <= x < b"),
        (lambda x: (x > 0) & (x < 2), lambda x: x > 0 & x < 2, ROW, "Put each comparison in"),
        (half, lambda x: math.sqrt(x), TABLE, "take one number"),
        (half, lambda x: np.zeros(9).__iadd__(np.ones((2, 9))), ROW, "what stands on the left"),
        (half, lambda x: x.reshape(5, -1, 7), ROW, "A reshape keeps every number"),
        (half, lambda x: sliding_window_view(x, (1,)), TABLE, "a size for each axis"),
        (half, lambda x: np.concatenate([x, x[:1, 1:]]), TABLE, "equal in all axes but one"),
        (half, lambda x: np.zeros(9).__setitem__(0, np.zeros(3)), ROW, "takes one number, and you"),
        (half, lambda x: x.sum(axis=2), TABLE, "counted from 0"),
        (half, lambda x: x[0, 0], ROW, "more axes than the array has"),
        (half, lambda x: x[len(x)], ROW, "The last index of an axis"),
        (half, lambda x: x.tolist()[len(x)], ROW, "The last index of a list"),
        (half, lambda x: next(a for a, b, c in [(1, 2)]), ROW, "On the left there are more names"),
        (half, lambda x: {}[len(x)], ROW, "See dict.get"),
        (half, lambda x: list(range(len(x) / 2)), ROW, "/ gives a float"),
        (half, lambda x: x + (x.shape + 1), ROW, "+ joins them"),
        (half, lambda x: list(reversed(zip(x, x, strict=True))), ROW, "only forwards"),
        (half, lambda x: x(0), ROW, "use square ones"),
        (half, lambda x: abs(Tensor(x)), ROW, "Its array is .data"),
        (lambda x: x.repeat(2, axis=0), lambda x: x.repeat(2), TABLE, "The result is flat"),
        (half, lambda x: np.append(x / 2, 0), ROW, "more than was asked for"),
        (half, lambda x: x[:1] / 2, TABLE, "missing at the end"),
    ],
)
def test_a_usual_mistake_is_named(specification, answer, cases, text):
    assert text in hint(specification, answer, cases)


@pytest.mark.parametrize(
    "answer", [lambda x: 0 * x, lambda x: x**2, lambda x: np.where(x > 3, 0, x / 2)]
)
def test_other_mistakes_get_no_name(answer):
    assert hint(half, answer) == ""


def test_what_it_raises_for_other_inputs_explains_a_wrong_result():
    def answer(x):
        return x + x.sum(axis=1)

    text = hint(lambda x: x + x.sum(axis=1, keepdims=True), answer, TABLE)
    assert text.startswith("For other inputs it raises ValueError (operands could not be broadcast")
    assert "Shapes are compared" in text


def test_one_input_that_it_explains_is_not_enough():
    assert hint(half, lambda x: -x / 2 if len(x) == 1 else 3 * x) == ""
