"""Transposed convolution: both backends against loops over single numbers."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.conv2d.op import conv2d
from tinymaskrcnn.ops.conv_transpose2d import cpu, kernels, reference
from tinymaskrcnn.ops.conv_transpose2d.op import conv_transpose2d, conv_transpose2d_fused
from tinymaskrcnn.tensor import Tensor

FAST = settings(deadline=None, max_examples=40)
paint_pixel = lessons.load("mask_head").paint_pixel


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def output_size(x_shape, weight_shape, stride, padding):
    return [(x_shape[1 + a] - 1) * stride[a] - 2 * padding[a] + weight_shape[2 + a] for a in (0, 1)]


def specification(x, weight, stride, padding):
    """Every pixel paints its kernel, in float64."""
    size = output_size(x.shape, weight.shape, stride, padding)
    y = np.zeros((len(x), *size, weight.shape[1]))
    for n, i, j in np.ndindex(*x.shape[:3]):
        paint_pixel(y[n], x[n], weight, i, j, stride, padding)
    return y


def assert_near(actual, expected, tolerance=2e-6):
    """The largest difference is at most `tolerance` times the largest expected value."""
    assert actual.shape == expected.shape
    scale = max(np.abs(expected).max(initial=0), 1e-30)
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= tolerance * scale, f"off by {difference / scale:.2e} of the largest value"


# By hand


def test_every_pixel_paints_its_square(backend):
    x = np.array([1.0, 10.0], np.float32).reshape(1, 1, 2, 1)
    weight = np.array([[1.0, 2.0], [3.0, -4.0]], np.float32).reshape(1, 1, 2, 2)
    y = conv_transpose2d(x, weight, np.array([0.5], np.float32), stride=2).numpy()
    assert y[0, :, :, 0].tolist() == [[1.5, 2.5, 10.5, 20.5], [3.5, -3.5, 30.5, -39.5]]
    y = conv_transpose2d_fused(x, weight, None, stride=2, relu=True).numpy()
    assert y[0, 1, :, 0].tolist() == [3.0, 0.0, 30.0, 0.0]


def test_kernels_that_overlap_add_up(backend):
    x, weight = np.ones((1, 1, 3, 1), np.float32), np.ones((1, 1, 1, 3), np.float32)
    y = conv_transpose2d(x, weight, padding=(0, 1)).numpy()
    assert y[0, 0, :, 0].tolist() == [2.0, 3.0, 2.0]


# Specification

GEOMETRIES = [  # x, weight, stride, padding
    ((2, 3, 4, 5), (5, 7, 2, 2), (2, 2), (0, 0)),
    ((1, 4, 3, 16), (16, 33, 2, 2), (2, 2), (0, 0)),
    ((2, 3, 4, 3), (3, 4, 3, 3), (2, 1), (1, 0)),
    ((1, 4, 4, 2), (2, 3, 4, 5), (3, 2), (1, 2)),
    ((1, 2, 3, 2), (2, 3, 1, 1), (2, 3), (0, 0)),  # pixels that no kernel paints
]


@pytest.mark.parametrize("x_shape, weight_shape, stride, padding", GEOMETRIES)
def test_loops(backend, x_shape, weight_shape, stride, padding):
    x, weight = normal(x_shape), normal(weight_shape, 1)
    y = conv_transpose2d(x, weight, None, stride, padding).numpy()
    assert y.dtype == np.float32
    assert_near(y, specification(x, weight, stride, padding))


@st.composite
def problems(draw):
    """Matching (x, weight, bias, stride, padding)."""
    kernel, stride = (draw(st.tuples(st.integers(1, 4), st.integers(1, 4))) for _ in range(2))
    padding = draw(st.tuples(st.integers(0, 2), st.integers(0, 2)))
    ins, outs = draw(st.sampled_from([1, 5, 16, 40])), draw(st.sampled_from([1, 3, 12, 33]))
    x_shape = (draw(st.integers(0, 3)), draw(st.integers(1, 9)), draw(st.integers(1, 9)), ins)
    assume(min(output_size(x_shape, (ins, outs, *kernel), stride, padding)) > 0)
    seed = draw(st.integers(0, 999))
    bias = draw(st.sampled_from([None, normal(outs, 2)]))
    return normal(x_shape, seed), normal((ins, outs, *kernel), 1), bias, stride, padding


@on_each_backend(problems(), st.booleans(), examples=40)
def test_near_the_reference(backend, problem, relu):
    own = implementation(kernels)
    x, weight, bias, *geometry = problem
    wide = x.astype(np.float64), weight.astype(np.float64)
    y = own.conv_transpose2d(x, weight, bias, *geometry, relu)
    assert_near(y, reference.conv_transpose2d(*wide, bias, *geometry, relu))
    grad = normal(y.shape, 3)
    results = [
        module.conv_transpose2d_grad_input(g, w, x.shape, *geometry)
        for module, g, w in ((own, grad, weight), (reference, grad.astype(float), wide[1]))
    ]
    assert_near(*results, 2e-5)  # a 3x3 kernel of stride 1 goes through Winograd
    results = [
        module.conv_transpose2d_grad_weight(g, a, weight.shape, *geometry)
        for module, g, a in ((own, grad, x), (reference, grad.astype(float), wide[0]))
    ]
    assert_near(*results, 2e-5)
    masked, dbias = own.conv_transpose2d_grad_output(grad, y, relu)
    expected = reference.conv_transpose2d_grad_output(grad.astype(float), y, relu)
    assert np.array_equal(masked, expected[0])
    assert_near(dbias, expected[1])


# Gradient


@pytest.mark.parametrize("x_shape, weight_shape, stride, padding", GEOMETRIES[2:])
def test_central_differences(x_shape, weight_shape, stride, padding):
    x, weight = normal(x_shape, 0, np.float64), normal(weight_shape, 1, np.float64)
    bias = normal(weight_shape[1], 2, np.float64)
    gradcheck(lambda *tensors: conv_transpose2d(*tensors, stride, padding), x, weight, bias)


def test_central_differences_of_the_fused_form():
    x, weight = normal((2, 2, 3, 3), 4, np.float64), normal((3, 2, 2, 2), 5, np.float64)
    bias = normal(2, 6, np.float64)
    gradcheck(lambda *tensors: conv_transpose2d_fused(*tensors, 2, 0, True), x, weight, bias)


def test_only_what_is_needed_gets_a_gradient(backend):
    x, weight = Tensor(normal((1, 2, 2, 3))), Tensor(normal((3, 4, 2, 2)), requires_grad=True)
    conv_transpose2d(x, weight, stride=2).sum().backward()
    assert x.grad is None
    assert weight.grad.shape == weight.shape


# Laws


@FAST
@given(problems())
def test_adjoint_of_the_convolution(problem):
    """<conv_transpose(x), g> = <x, conv(g)>, with the same weight."""
    x, weight, _, *geometry = problem
    x, weight = x.astype(np.float64), weight.astype(np.float64)
    y = conv_transpose2d(x, weight, None, *geometry).numpy()
    g = normal(y.shape, 7, np.float64)
    assert np.isclose((y * g).sum(), (x * conv2d(g, weight, None, *geometry).numpy()).sum())


def test_same_bits_at_any_thread_count():
    numba = pytest.importorskip("numba")
    most = numba.config.NUMBA_NUM_THREADS
    if most == 1:
        pytest.skip("one processor")
    x, weight, grad = normal((6, 14, 14, 32)), normal((32, 48, 2, 2), 1), normal((6, 28, 28, 48), 2)
    before, results = numba.get_num_threads(), []
    for count in (1, most):
        numba.set_num_threads(count)
        results.append(cpu.conv_transpose2d(x, weight, None, (2, 2), (0, 0), True).copy())
        results.append(
            cpu.conv_transpose2d_grad_input(grad, weight, x.shape, (2, 2), (0, 0)).copy()
        )
        results.append(
            cpu.conv_transpose2d_grad_weight(grad, x, weight.shape, (2, 2), (0, 0)).copy()
        )
    numba.set_num_threads(before)
    for first, second in zip(results[:3], results[3:], strict=True):
        assert np.array_equal(first, second)


# Edges


def test_no_rois(backend):
    tensors = [
        Tensor(normal(shape), requires_grad=True) for shape in ((0, 14, 14, 8), (8, 5, 2, 2), (5,))
    ]
    y = conv_transpose2d_fused(*tensors, stride=2, relu=True)
    assert y.shape == (0, 28, 28, 5)
    y.sum().backward()
    for tensor in tensors:
        assert tensor.grad.shape == tensor.shape
        assert not tensor.grad.any()


def test_views_and_read_only_arrays(backend):
    x, weight = normal((2, 6, 8, 9))[:, ::2, ::2, 1:], normal((2, 2, 5, 8), 1).transpose(3, 2, 0, 1)
    x.flags.writeable = weight.flags.writeable = False
    y = conv_transpose2d(x, weight, stride=2).numpy()
    assert_near(y, specification(x, weight, (2, 2), (0, 0)))


@pytest.mark.parametrize(
    "x_shape, weight_shape, settings, message",
    [
        ((2, 3, 8, 8), (3, 4, 2, 2), {}, r"looks channels-first.*transpose\(0, 2, 3, 1\)"),
        ((2, 8, 8, 4), (3, 4, 2, 2), {}, r"\(2, 8, 8, 4\).*4 channels.*expects 3"),
        ((8, 8, 3), (3, 4, 2, 2), {}, r"expected x \(N, H, W, C\).*\(8, 8, 3\)"),
        ((1, 8, 8, 3), (3, 4, 2, 2), {"stride": 0}, r"stride=\(0, 0\)"),
        ((1, 2, 2, 3), (3, 4, 2, 2), {"padding": 2}, "2x2 pixels.*leave no output"),
        ((1, 2, 2, 3), (3, 4, 2, 2), {"bias": (3,)}, r"bias has shape \(3,\), expected \(4,\)"),
    ],
)
def test_shapes_that_do_not_fit(x_shape, weight_shape, settings, message):
    arrays = {
        k: np.zeros(v, np.float32) if isinstance(v, tuple) else v for k, v in settings.items()
    }
    with pytest.raises(ValueError, match=message):
        conv_transpose2d(
            np.zeros(x_shape, np.float32), np.zeros(weight_shape, np.float32), **arrays
        )
