"""ReLU, sigmoid, softmax."""

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.jit import numba, set_threads
from tinymaskrcnn.ops.activations import cpu, kernels, reference
from tinymaskrcnn.ops.activations.op import relu, sigmoid, softmax
from tinymaskrcnn.tensor import Tensor

sigmoid_one = lessons.load("region_proposals").sigmoid_one
probability_one = lessons.load("box_head").probability_one
NUMBERS = arrays(
    np.float32, array_shapes(min_dims=1, max_dims=4), elements=st.floats(-50, 50, width=32)
)


def array(*values):
    return np.array(values, np.float32)


# By hand


def test_relu(backend):
    x = Tensor(array(-2, 0, 3), requires_grad=True)
    y = relu(x)
    y.backward(array(5, 6, 7))
    np.testing.assert_array_equal(y.data, [0, 0, 3])
    np.testing.assert_array_equal(x.grad, [0, 0, 7])


def test_sigmoid(backend):
    x = Tensor(array(0, np.log(3), -np.log(3)), requires_grad=True)
    y = sigmoid(x)
    y.backward(array(4, 16, 16))
    np.testing.assert_allclose(y.data, [0.5, 0.75, 0.25], rtol=1e-6)
    np.testing.assert_allclose(x.grad, [1, 3, 3], rtol=1e-6)


def test_softmax(backend):
    x = Tensor(np.log(array(1, 2, 5))[None], requires_grad=True)
    y = softmax(x)
    y.backward(array(8, 0, 0)[None])
    np.testing.assert_allclose(y.data, [[0.125, 0.25, 0.625]], rtol=1e-6)
    np.testing.assert_allclose(x.grad, [[0.875, -0.25, -0.625]], rtol=1e-6)


# Specification


@on_each_backend(NUMBERS, examples=30)
def test_one_number_at_a_time(backend, x):
    module = implementation(kernels)
    np.testing.assert_array_equal(module.relu(x), one_by_one(relu_one, x))
    expected = one_by_one(sigmoid_one, x)
    np.testing.assert_allclose(module.sigmoid(x), expected, rtol=1e-6, atol=1e-30)


def relu_one(v):
    return lessons.load("gradients").Scalar(v).relu().value


def one_by_one(function, x):
    return np.array([function(float(v)) for v in x.flat]).reshape(x.shape)


@on_each_backend(NUMBERS, st.data(), examples=30)
def test_softmax_one_line_at_a_time(backend, x, data):
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    expected = np.apply_along_axis(_softmax_of_a_line, axis, x)
    y = implementation(kernels).softmax(x, axis)
    np.testing.assert_allclose(y, expected, rtol=3e-6, atol=1e-30)


def _softmax_of_a_line(line):
    return [probability_one(line.tolist(), k) for k in range(len(line))]


# Gradient


@pytest.mark.parametrize(
    "function", [relu, sigmoid, softmax, lambda x: softmax(x, 0), lambda x: softmax(x, 1)]
)
def test_gradient(function):
    x = np.random.default_rng(0).standard_normal((3, 4, 5))
    gradcheck(function, np.where(np.abs(x) < 1e-3, 1, x))


@on_each_backend(NUMBERS, examples=20)
def test_gradients_are_the_references(backend, x):
    module = implementation(kernels)
    grad = np.cos(np.arange(x.size, dtype=np.float32)).reshape(x.shape)
    for name, axis in (("relu", ()), ("sigmoid", ()), ("softmax", (0,)), ("softmax", (-1,))):
        y = getattr(reference, name)(x, *axis)
        expected, got = (getattr(m, f"{name}_grad")(grad, y, *axis) for m in (reference, module))
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-7)


# Laws


@on_each_backend(NUMBERS, st.floats(-50, 50, width=32), examples=30)
def test_laws(backend, x, c):
    module = implementation(kernels)
    np.testing.assert_array_equal(module.relu(x) - module.relu(-x), x)
    np.testing.assert_allclose(module.sigmoid(x) + module.sigmoid(-x), 1, rtol=1e-6)
    np.testing.assert_allclose(module.softmax(x, -1).sum(-1), 1, rtol=1e-6)
    shifted = module.softmax(x + np.float32(c), -1)
    np.testing.assert_allclose(shifted, module.softmax(x, -1), rtol=5e-5, atol=1e-30)


# Edges


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_single_number(backend, dtype):
    for function, value, slope in ((relu, 3.0, 1.0), (sigmoid, 0.5, 0.25)):
        x = Tensor(dtype(3.0 if function is relu else 0.0), requires_grad=True)
        y = function(x * 1.0)
        y.backward()
        assert (y.shape, float(y), float(x.grad)) == ((), value, slope)


def test_what_is_not_a_number_shows(backend):
    assert np.isnan(relu(array(np.nan)).data)
    assert np.isnan(sigmoid(array(np.nan)).data)
    assert np.isnan(softmax(array(1, np.nan)).data).all()
    np.testing.assert_array_equal(relu(array(np.inf, -np.inf)).data, [np.inf, 0])


def test_large_numbers_do_not_overflow(backend):
    np.testing.assert_array_equal(sigmoid(array(-1e4, 1e4)).data, [0, 1])
    np.testing.assert_array_equal(softmax(array(-1e4, 3e4, 0)).data, [0, 1, 0])


def test_empty(backend):
    for function in (relu, sigmoid, softmax):
        x = Tensor(np.zeros((0, 3), np.float32), requires_grad=True)
        function(x).backward(np.zeros((0, 3), np.float32))
        assert x.grad.shape == (0, 3)


def test_transposed_input(backend):
    x = np.random.default_rng(0).standard_normal((3, 4)).astype(np.float32)
    for function in (relu, sigmoid, softmax):
        np.testing.assert_array_equal(function(x.T).data, function(x.T.copy()).data)


def test_errors():
    with pytest.raises(ValueError, match=r"no axis 2 .*\(3, 4\)"):
        softmax(np.zeros((3, 4), np.float32), 2)
    with pytest.raises(ValueError, match=r"axis 1 .* is empty"):
        softmax(np.zeros((3, 0), np.float32), 1)


def test_large_arrays_take_the_parallel_loops_with_the_same_result():
    x = np.random.default_rng(0).standard_normal((3, 251, 257)).astype(np.float32)
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        set_threads(threads)
        y = cpu.relu(x)
        np.testing.assert_array_equal(y, reference.relu(x))
        np.testing.assert_array_equal(cpu.relu_grad(x, y), reference.relu_grad(x, y))
