"""The fully connected layer: both backends against loops over single numbers."""

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.linear import cpu, kernels, reference
from tinymaskrcnn.ops.linear.op import linear, linear_fused
from tinymaskrcnn.tensor import Tensor

neuron = lessons.load("box_head").neuron
Scalar = lessons.load("gradients").Scalar


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def specification(x, weight, bias, relu):
    """Compute one output number at a time, in float64."""
    y = np.zeros((len(x), len(weight)))
    for m, o in np.ndindex(*y.shape):
        y[m, o] = neuron(x[m], weight[o], 0 if bias is None else bias[o])
        if relu:
            y[m, o] = Scalar(y[m, o]).relu().value
    return y


def assert_near(actual, expected, tolerance=2e-6, scale=None):
    """The largest difference is at most `tolerance` * (`scale`, or the largest expected value)."""
    assert actual.shape == expected.shape
    scale = max(np.abs(expected if scale is None else scale).max(initial=0), 1e-30)
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= tolerance * scale, f"off by {difference / scale:.2e} of the largest value"


# By hand


def test_two_features(backend):
    x, weight = np.array([[2.0, 3.0]], np.float32), np.array([[5.0, 7.0], [-1, 0]], np.float32)
    assert linear(x, weight, np.array([1.0, 0.5], np.float32)).numpy().tolist() == [[32.0, -1.5]]
    assert linear_fused(x, weight, None, relu=True).numpy().tolist() == [[31.0, 0.0]]


# Specification


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("rows, ins, outs", [(1, 1, 1), (3, 12, 5), (13, 9, 91), (25, 70, 33)])
def test_loops(backend, rows, ins, outs, relu):
    x, weight, bias = normal((rows, ins)), normal((outs, ins), 1), normal(outs, 2)
    y = linear_fused(x, weight, bias, relu).numpy()
    assert y.dtype == np.float32
    assert_near(y, specification(x, weight, bias, relu))
    assert_near(linear(x, weight).numpy(), specification(x, weight, None, False))


SIZES = st.tuples(
    st.sampled_from([0, 1, 2, 11, 12, 13, 64, 200]),
    st.sampled_from([1, 4, 5, 31, 64, 512, 513, 1100]),
    st.sampled_from([1, 2, 5, 32, 33, 91, 256]),
)


@on_each_backend(SIZES, st.booleans(), st.booleans(), st.integers(0, 999), examples=40)
def test_near_the_reference(backend, sizes, with_bias, relu, seed):
    module = implementation(kernels)
    rows, ins, outs = sizes
    x, weight, grad = normal((rows, ins), seed), normal((outs, ins), 1), normal((rows, outs), 2)
    bias = normal(outs, 3) if with_bias else None
    wide = [array.astype(np.float64) for array in (x, weight, grad)]
    y = module.linear(x, weight, bias, relu)
    sizes = [np.abs(array) for array in wide]  # terms may cancel; their rounding errors do not
    assert_near(
        y, reference.linear(*wide[:2], bias, relu), scale=reference.linear(*sizes[:2], None, False)
    )
    assert_near(
        module.linear_grad_input(grad, weight),
        reference.linear_grad_input(wide[2], wide[1]),
        scale=reference.linear_grad_input(sizes[2], sizes[1]),
    )
    assert_near(
        module.linear_grad_weight(grad, x),
        reference.linear_grad_weight(wide[2], wide[0]),
        scale=reference.linear_grad_weight(sizes[2], sizes[0]),
    )
    masked, dbias = module.linear_grad_output(grad, y, relu)
    expected = reference.linear_grad_output(wide[2], y, relu)
    assert np.array_equal(masked, expected[0])
    assert_near(dbias, expected[1])


def test_first_layer_of_a_box_head():
    x, weight, grad = normal((70, 12544)), normal((128, 12544), 1), normal((70, 128), 2)
    wide = [array.astype(np.float64) for array in (x, weight, grad)]
    assert_near(cpu.linear(x, weight, None, True), reference.linear(*wide[:2], None, True))
    assert_near(cpu.linear_grad_input(grad, weight), reference.linear_grad_input(wide[2], wide[1]))
    assert_near(cpu.linear_grad_weight(grad, x), reference.linear_grad_weight(wide[2], wide[0]))


# Gradient


@pytest.mark.parametrize("relu", [False, True])
def test_central_differences(relu):
    x, weight, bias = (normal(shape, 3, np.float64) for shape in ((4, 6), (5, 6), (5,)))
    gradcheck(lambda *tensors: linear_fused(*tensors, relu), x, weight, bias)
    gradcheck(linear, x, weight)


def test_only_what_is_needed_gets_a_gradient(backend):
    x, weight = Tensor(normal((3, 4)), requires_grad=True), Tensor(normal((5, 4)))
    linear(x, weight, Tensor(normal(5))).sum().backward()
    assert x.grad.shape == x.shape
    assert weight.grad is None


# Laws


@on_each_backend(SIZES, examples=40)
def test_rows_are_independent(backend, sizes):
    rows, ins, outs = sizes
    x, weight = normal((rows, ins)), normal((outs, ins), 1)
    module = implementation(kernels)
    y, turned = (module.linear(rows, weight, None, False) for rows in (x, x[::-1]))
    # with NumPy's BLAS a row's sum depends on its place; with compiled kernels it does not
    assert_near(turned, y[::-1], 2e-6 if backend == "reference" else 0)


def test_same_bits_at_any_thread_count():
    numba = pytest.importorskip("numba")
    most = numba.config.NUMBA_NUM_THREADS
    if most == 1:
        pytest.skip("one processor")
    x, weight, grad = normal((300, 1030)), normal((200, 1030), 1), normal((300, 200), 2)
    before, results = numba.get_num_threads(), []
    for count in (1, most):
        numba.set_num_threads(count)
        results.append(cpu.linear(x, weight, None, True).copy())
        results.append(cpu.linear_grad_input(grad, weight).copy())
        results.append(cpu.linear_grad_weight(grad, x).copy())
    numba.set_num_threads(before)
    for first, second in zip(results[:3], results[3:], strict=True):
        assert np.array_equal(first, second)


def test_a_changed_weight_is_packed_anew():
    x, weight = normal((5, 16)), normal((7, 16), 1)
    before = linear(x, weight).numpy().copy()
    weight *= 2
    assert np.array_equal(linear(x, weight).numpy(), 2 * before)
    weight.flags.writeable = False
    for _ in range(2):
        assert np.array_equal(linear(x, weight).numpy(), 2 * before)


# Edges


def test_no_rois(backend):
    tensors = [
        Tensor(normal(shape), requires_grad=True) for shape in ((0, 12544), (32, 12544), (32,))
    ]
    y = linear_fused(*tensors, relu=True)
    assert y.shape == (0, 32)
    y.sum().backward()
    for tensor in tensors:
        assert tensor.grad.shape == tensor.shape
        assert not tensor.grad.any()


def test_views_and_read_only_arrays(backend):
    x, weight = normal((20, 30))[::2, 1::2], normal((15, 8), 1).T
    x.flags.writeable = weight.flags.writeable = False
    assert_near(linear(x, weight).numpy(), specification(x, weight, None, False))
    grad = normal((10, 16), 2)[:, ::2]
    module = kernels(grad)
    assert_near(module.linear_grad_input(grad, weight), grad.astype(float) @ weight)
    assert_near(module.linear_grad_weight(grad, x), grad.T.astype(float) @ x)


def test_nan_survives_relu(backend):
    x = normal((3, 700))
    x[1, 600] = np.nan
    y = linear_fused(x, normal((40, 700), 1), relu=True).numpy()
    assert np.isnan(y[1]).all()
    assert np.isfinite(y[[0, 2]]).all()


@pytest.mark.parametrize(
    "x_shape, weight_shape, bias_shape, message",
    [
        ((3, 4), (5, 6), None, r"x has shape \(3, 4\), so 4 features, but weight \(5, 6\)"),
        ((3, 4, 4), (5, 4), None, r"expected x \(M, In\).*\(3, 4, 4\)"),
        ((3, 4), (5, 4, 1, 1), None, r"weight \(Out, In\).*\(5, 4, 1, 1\)"),
        ((3, 4), (5, 4), (4,), r"bias has shape \(4,\), expected \(5,\)"),
    ],
)
def test_shapes_that_do_not_fit(x_shape, weight_shape, bias_shape, message):
    bias = None if bias_shape is None else np.zeros(bias_shape, np.float32)
    with pytest.raises(ValueError, match=message):
        linear(np.zeros(x_shape, np.float32), np.zeros(weight_shape, np.float32), bias)
