"""Max pooling."""

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.jit import numba, set_threads
from tinymaskrcnn.ops.max_pool2d import cpu, kernels, reference
from tinymaskrcnn.ops.max_pool2d.op import max_pool2d
from tinymaskrcnn.tensor import Tensor

pool_window = lessons.load("pool_norm_residual").pool_window


def feature_map(rows):
    return np.array(rows, np.float32)[None, :, :, None]  # (1, H, W, 1)


@st.composite
def cases(draw):
    """A small map with many ties, and settings with a window that fits."""
    kernel = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    stride = draw(st.tuples(st.integers(1, 4), st.integers(1, 4)))
    padding = tuple(draw(st.integers(0, k // 2)) for k in kernel)
    height, width = (
        draw(st.integers(max(1, k - 2 * p), 9)) for k, p in zip(kernel, padding, strict=True)
    )
    shape = (draw(st.integers(0, 2)), height, width, draw(st.sampled_from([1, 3, 17])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.integers(-3, 3, shape).astype(np.float32), kernel, stride, padding


# By hand


def test_windows_of_two(backend):
    x = Tensor(feature_map([[1, 5, 2, 0], [3, 4, 8, 7]]), requires_grad=True)
    y = max_pool2d(x, 2)
    np.testing.assert_array_equal(y.data, feature_map([[5, 8]]))
    y.backward(feature_map([[10, 20]]))
    np.testing.assert_array_equal(x.grad, feature_map([[0, 10, 0, 0], [0, 0, 20, 0]]))


def test_overlapping_windows_add_their_gradients(backend):
    x = Tensor(feature_map([[0, 9, 0, 1]]), requires_grad=True)
    y = max_pool2d(x, (1, 3), stride=1)
    y.backward(feature_map([[1, 2]]))
    np.testing.assert_array_equal(y.data, feature_map([[9, 9]]))
    np.testing.assert_array_equal(x.grad, feature_map([[0, 3, 0, 0]]))


def test_the_first_of_equals_gets_the_gradient(backend):
    x = Tensor(feature_map([[7, 7], [7, 7]]), requires_grad=True)
    max_pool2d(x, 2).backward(feature_map([[1]]))
    np.testing.assert_array_equal(x.grad, feature_map([[1, 0], [0, 0]]))


def test_padding_never_wins(backend):
    x = Tensor(feature_map([[-5, -np.inf], [-6, -np.inf]]), requires_grad=True)
    y = max_pool2d(x, 3, 2, 1)
    np.testing.assert_array_equal(y.data, feature_map([[-5]]))
    y.backward(feature_map([[1]]))
    np.testing.assert_array_equal(x.grad, feature_map([[1, 0], [0, 0]]))
    lowest = Tensor(feature_map([[-np.inf]]), requires_grad=True)
    y = max_pool2d(lowest, 3, 2, 1)
    y.backward(feature_map([[4]]))
    np.testing.assert_array_equal(y.data, feature_map([[-np.inf]]))
    np.testing.assert_array_equal(lowest.grad, feature_map([[4]]))


# Specification


def pool_one_by_one(x, grad, kernel, stride, padding):
    """Value and gradient, one window at a time."""
    y, dx = np.zeros(grad.shape, x.dtype), np.zeros_like(x)
    for n, i, j, c in np.ndindex(y.shape):
        y[n, i, j, c], best = pool_window(x[n], i, j, c, kernel, stride, padding)
        dx[n, best[0], best[1], c] += grad[n, i, j, c]
    return y, dx


@on_each_backend(cases(), examples=40)
def test_one_window_at_a_time(backend, case):
    (x, *window), module = case, implementation(kernels)
    y, tap = module.max_pool2d(x, *window)
    grad = np.arange(y.size, dtype=np.float32).reshape(y.shape)
    expected = pool_one_by_one(x, grad, *window)
    np.testing.assert_array_equal(y, expected[0])
    np.testing.assert_array_equal(module.max_pool2d_grad(grad, tap, x.shape, *window), expected[1])


# Gradient


@pytest.mark.parametrize("window", [(2, 2, 0), (3, 2, 1), ((3, 1), (1, 2), (1, 0))])
def test_gradient(window):
    x = np.random.default_rng(0).permutation(2 * 6 * 5 * 2).reshape(2, 6, 5, 2) / 10.0
    gradcheck(lambda x: max_pool2d(x, *window), x)


# Laws


@on_each_backend(cases(), st.integers(-5, 5), examples=20)
def test_a_constant_passes_through(backend, case, constant):
    (x, *window), module = case, implementation(kernels)
    moved, _ = module.max_pool2d(x + np.float32(constant), *window)
    np.testing.assert_array_equal(moved, module.max_pool2d(x, *window)[0] + constant)


# Edges


def test_not_a_number_wins(backend):
    nan = np.nan
    x = feature_map([[1, nan, 3, 4], [nan, 5, 6, 7]])
    y = max_pool2d(x, 2).data
    np.testing.assert_array_equal(y, feature_map([[nan, 7]]))


def test_kernel_one_stride_two_picks_every_second_pixel(backend):
    x = np.random.default_rng(0).standard_normal((2, 5, 4, 3)).astype(np.float32)
    np.testing.assert_array_equal(max_pool2d(x, 1, 2).data, x[:, ::2, ::2])


def test_errors():
    x = np.zeros((1, 4, 4, 1), np.float32)
    with pytest.raises(ValueError, match=r"\(N, H, W, C\).*\(4, 4\)"):
        max_pool2d(x[0, :, :, 0], 2)
    with pytest.raises(ValueError, match=r"padding \(2, 2\)"):
        max_pool2d(x, 2, 2, 2)
    with pytest.raises(ValueError, match=r"\(5, 5\) does not fit into \(4, 4\)"):
        max_pool2d(x, 5)
    with pytest.raises(ValueError, match="must be positive"):
        max_pool2d(x, 2, 0)


def test_parallel_loops_give_the_same_at_any_number_of_threads():
    x = np.random.default_rng(0).standard_normal((3, 41, 37, 33)).astype(np.float32)
    window = ((3, 3), (2, 2), (1, 1))
    y, tap = reference.max_pool2d(x, *window)
    dx = reference.max_pool2d_grad(y, tap, x.shape, *window)
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        set_threads(threads)
        results = cpu.max_pool2d(x, *window)
        np.testing.assert_array_equal(results[0], y)
        np.testing.assert_array_equal(results[1], tap)
        got = cpu.max_pool2d_grad(y, tap, x.shape, *window)
        np.testing.assert_allclose(got, dx, rtol=1e-6, atol=1e-6)
