"""The basic operations: values by hand, gradients, ties, empties, errors."""

import numpy as np
import pytest
from hypothesis import strategies as st

from tests.properties import on_each_backend
from tinymaskrcnn import functional as F
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.tensor import Tensor

A = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.5]])
B = np.array([[2.0], [-3.0]])


def test_by_hand(backend):
    a, b = Tensor(A.astype(np.float32)), Tensor(B.astype(np.float32))
    np.testing.assert_array_equal((a + b).data, [[3, 0, 5], [-2.5, 1, -4.5]])
    np.testing.assert_array_equal((a - b).data, [[-1, -4, 1], [3.5, 7, 1.5]])
    np.testing.assert_array_equal((a * b).data, [[2, -4, 6], [-1.5, -12, 4.5]])
    np.testing.assert_array_equal((a / 2).data, [[0.5, -1, 1.5], [0.25, 2, -0.75]])
    np.testing.assert_array_equal((1 - a).data, [[0, 3, -2], [0.5, -3, 2.5]])
    np.testing.assert_array_equal((6 / b).data, [[3], [-2]])
    np.testing.assert_array_equal((a**2).data, [[1, 4, 9], [0.25, 16, 2.25]])
    np.testing.assert_array_equal((a.transpose() @ a).shape, (3, 3))
    np.testing.assert_array_equal(a.max(1).data, [3, 4])
    np.testing.assert_array_equal(a.max().data, 4)
    np.testing.assert_array_equal(a.mean(0).data, [0.75, 1, 0.75])
    np.testing.assert_array_equal(F.concat([a, b], 1).data, [[1, -2, 3, 2], [0.5, 4, -1.5, -3]])


@pytest.mark.parametrize(
    "function",
    [
        lambda a, b: a + b,
        lambda a, b: a - b,
        lambda a, b: a * b,
        lambda a, b: a / b,
        lambda a, b: (a * a + 1).log() * b.exp(),
        lambda a, b: (a * a + 1).sqrt() - b**3,
        lambda a, b: a.transpose(1, 0) @ b,
        lambda a, b: b @ a[:1] + a[:, :1] @ (b.T @ a),
        lambda a, b: (a.sum(0) * b).mean(1, keepdims=True),
        lambda a, b: a.max(1, keepdims=True) * b + a.max(),
        lambda a, b: F.concat([a, b, a], 1)[:, 1:6],
        lambda a, b: a[[0, 1, 0, 0]] * b[np.array([1, 1, 0, 1])],
        lambda a, b: a[np.array([True, False])] * b[0] + a.reshape(3, 2)[1:].sum(),
        lambda a, b: a[..., 0] + b[np.array([0, 1]), np.array([0, 0])],
        lambda a, b: -a.T.reshape(-1)[::2] + (2.0 - b)[0],
    ],
)
def test_gradient(function):
    gradcheck(function, A.copy(), B.copy())


@on_each_backend(
    st.lists(st.integers(-5, 4), max_size=8),
    st.sampled_from(["list", "array", "mask", "pair"]),
    examples=60,
)
def test_index_gradient_adds_up_where_an_element_is_taken_twice(backend, where, kind):
    index = {
        "list": where,
        "array": np.array(where, int),
        "mask": np.isin(np.arange(5), where),
        "pair": (np.array(where, int), slice(1, 3)),
    }[kind]
    if kind == "list" and not where:
        index = np.array([], int)
    expected = np.zeros((5, 4), np.float32)
    np.add.at(expected, index, 1.0)
    x = Tensor(np.ones((5, 4), np.float32), requires_grad=True)
    x[index].sum().backward()
    np.testing.assert_array_equal(x.grad, expected)


def test_ties_give_the_gradient_to_the_first(backend):
    x = Tensor(np.array([[1.0, 2.0, 2.0]], np.float32), requires_grad=True)
    x.max(1).sum().backward()
    np.testing.assert_array_equal(x.grad, [[0, 1, 0]])


def test_empty(backend):
    x = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
    ((x * 2).sum() + x[np.array([], int)].sum()).backward()
    assert x.grad.shape == (0, 3)
    with pytest.raises(ValueError, match="empty"):
        x.mean()


def test_errors():
    with pytest.raises(TypeError, match="float32 and float64"):
        Tensor(np.ones(2, np.float32)) + Tensor(np.ones(2))
    with pytest.raises(ValueError, match="inner sizes"):
        Tensor(np.ones((2, 3))) @ Tensor(np.ones((2, 3)))
    with pytest.raises(ValueError, match="two axes"):
        Tensor(np.ones(3)) @ Tensor(np.ones((3, 1)))
    with pytest.raises(ValueError, match="at least one"):
        F.concat([])
    with pytest.raises(TypeError, match="at least one Tensor, got ndarray and float"):
        F.multiply(np.ones(2), 2.0)
    with pytest.raises(TypeError, match="exponent"):
        Tensor(np.ones(2)) ** Tensor(np.ones(2))


def test_numbers_keep_the_dtype():
    for dtype in (np.float32, np.float64):
        x = Tensor(np.ones(2, dtype))
        assert (x * 2 + np.float64(3) - np.ones(2)).dtype == dtype
