"""The gradient of a convolution's weight: both backends against loops over single numbers, in every
form that the CPU has (Winograd, 1x1, blocks of taps), with the same bits at any thread count."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.conv2d import cpu, kernels, reference
from tinymaskrcnn.ops.conv2d.op import conv2d
from tinymaskrcnn.ops.conv2d.winograd import winograd

conv_weight_gradient = lessons.load("convolution").conv_weight_gradient
ONE = (1, 1)
NONE = (0, 0)
SAME = (ONE, (1, 1), ONE, 1)
FAST = settings(deadline=None, max_examples=40)


def conv2d_grad_weight(grad, *arguments):
    """The function of the backend in use."""
    return kernels(grad).conv2d_grad_weight(grad, *arguments)


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def grad_shape(x_shape, weight_shape, stride, padding, dilation):
    size = [
        (x_shape[1 + a] + 2 * padding[a] - dilation[a] * (weight_shape[2 + a] - 1) - 1) // stride[a]
        + 1
        for a in (0, 1)
    ]
    return (x_shape[0], *size, weight_shape[0])


def specification(grad, x, weight_shape, stride, padding, dilation, groups):
    """Compute one product of numbers at a time, in float64."""
    dw = np.zeros(weight_shape)
    geometry = (weight_shape[0], stride, padding, dilation, groups)
    for o, c, r, s in np.ndindex(*weight_shape):
        for n in range(len(x)):
            dw[o, c, r, s] += conv_weight_gradient(grad[n], x[n], o, c, r, s, *geometry)
    return dw


def in_float64(grad, x, *settings):
    return reference.conv2d_grad_weight(grad.astype(float), x.astype(float), *settings)


def assert_near(actual, expected, tolerance=2e-6):
    """The largest difference is at most `tolerance` times the largest expected value."""
    assert actual.shape == expected.shape
    scale = max(np.abs(expected).max(initial=0), 1e-30)
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= tolerance * scale, f"off by {difference / scale:.2e} of the largest value"


# By hand


def test_one_pixel(backend):
    x, grad = np.array([[[[2.0, 3.0]]]], np.float32), np.array([[[[5.0]]]], np.float32)
    dw = conv2d_grad_weight(grad, x, (1, 2, 1, 1), ONE, NONE, ONE, 1)
    assert dw.ravel().tolist() == [10.0, 15.0]


def test_every_tap_sums_what_it_read(backend):
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    grad = np.ones((1, 3, 3, 1), np.float32)
    dw = conv2d_grad_weight(grad, x, (1, 1, 3, 3), *SAME)
    assert dw[0, 0].tolist() == [[8, 15, 12], [21, 36, 27], [20, 33, 24]]


# Specification

GEOMETRIES = [  # x, weight, stride, padding, dilation, groups
    ((2, 7, 6, 3), (8, 3, 3, 3), (2, 2), (1, 1), ONE, 1),
    ((1, 9, 9, 3), (4, 3, 7, 7), (2, 2), (3, 3), ONE, 1),
    ((1, 5, 4, 12), (91, 12, 1, 1), ONE, NONE, ONE, 1),
    ((2, 5, 6, 4), (5, 4, 1, 1), (2, 3), NONE, ONE, 1),
    ((2, 3, 4, 4), (5, 4, 1, 1), ONE, ONE, ONE, 1),
    ((1, 9, 8, 5), (6, 5, 3, 2), (2, 1), (2, 0), (2, 3), 1),
    ((2, 5, 5, 6), (4, 3, 3, 3), ONE, (1, 1), ONE, 2),
    ((2, 4, 5, 6), (4, 3, 1, 1), ONE, NONE, ONE, 2),
    ((4, 6, 9, 16), (16, 16, 3, 3), ONE, (1, 1), ONE, 1),
]


@pytest.mark.parametrize("x_shape, weight_shape, stride, padding, dilation, groups", GEOMETRIES)
def test_loops(backend, x_shape, weight_shape, stride, padding, dilation, groups):
    grad = normal(grad_shape(x_shape, weight_shape, stride, padding, dilation), 1)
    arguments = grad, normal(x_shape), weight_shape, stride, padding, dilation, groups
    dw = conv2d_grad_weight(*arguments)
    assert dw.dtype == np.float32
    tolerance = 2e-5 if weight_shape[1] == 16 else 2e-6  # 16 channels go through Winograd
    assert_near(dw, specification(*arguments), tolerance)


@st.composite
def problems(draw):
    """Matching (grad, x, weight shape, stride, padding, dilation, groups)."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    stride, dilation, kernel = draw(pair), draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    groups = draw(st.integers(1, 3))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    size = [draw(st.integers(low, low + 15)) for low in least]
    ins = draw(st.sampled_from([1, 2, 3, 5, 12, 16, 31, 257]))
    outs = draw(st.sampled_from([1, 3, 8, 12, 32, 33, 91]))
    x_shape = (draw(st.integers(0, 3)), *size, ins * groups)
    weight_shape = (outs * groups, ins, *kernel)
    seed = draw(st.integers(0, 999))
    grad = normal(grad_shape(x_shape, weight_shape, stride, padding, dilation), seed + 1)
    return grad, normal(x_shape, seed), weight_shape, stride, padding, dilation, groups


@on_each_backend(problems(), examples=40)
def test_near_the_reference(backend, problem):
    assert_near(implementation(kernels).conv2d_grad_weight(*problem), in_float64(*problem))


@FAST
@given(
    st.tuples(st.integers(1, 5), st.integers(1, 21), st.integers(1, 21)),
    st.sampled_from([16, 32, 48, 96]),
    st.sampled_from([16, 48, 112]),
    st.tuples(st.integers(0, 3), st.integers(0, 3)),
)
def test_winograd_is_reference(images, ins, outs, padding):
    x_shape, weight_shape = (*images, ins), (outs, ins, 3, 3)
    shape = grad_shape(x_shape, weight_shape, ONE, padding, ONE)
    if min(shape) < 1:
        return
    arguments = normal(shape, 1), normal(x_shape), weight_shape, ONE, padding, ONE, 1
    assert_near(cpu.conv2d_grad_weight(*arguments), in_float64(*arguments), 2e-5)


@pytest.mark.parametrize(
    "x_shape, weight_shape, stride, padding, tolerance",
    [
        ((2, 30, 40, 64), (64, 64, 3, 3), ONE, ONE, 2e-5),  # chunks of tiles
        ((2, 30, 40, 96), (128, 96, 3, 3), ONE, ONE, 2e-5),  # tiles shared by threads
        ((2, 30, 40, 128), (112, 128, 3, 3), ONE, ONE, 2e-5),  # rows that do not fill whole tiles
        ((1, 14, 14, 256), (256, 256, 3, 3), ONE, ONE, 2e-5),  # a single block of tiles
        ((2, 31, 40, 300), (40, 300, 3, 3), (2, 2), ONE, 2e-6),  # several blocks of channels
        ((2, 30, 40, 520), (270, 520, 1, 1), ONE, NONE, 2e-6),
        ((2, 64, 64, 3), (32, 3, 3, 3), (2, 2), ONE, 2e-6),
        ((1, 37, 300, 3), (48, 3, 7, 7), (2, 2), (3, 3), 2e-6),  # a line longer than a block
        ((3, 20, 5, 1), (16, 1, 5, 9), ONE, (2, 4), 2e-6),
    ],
)
def test_larger_shapes(x_shape, weight_shape, stride, padding, tolerance):
    grad = normal(grad_shape(x_shape, weight_shape, stride, padding, ONE), 1)
    arguments = grad, normal(x_shape), weight_shape, stride, padding, ONE, 1
    assert_near(cpu.conv2d_grad_weight(*arguments), in_float64(*arguments), tolerance)


# Gradient


@pytest.mark.parametrize("geometry", GEOMETRIES[3:8])
def test_central_differences(geometry):
    x_shape, weight_shape, *settings = geometry
    x, weight = normal(x_shape, 0, np.float64), normal(weight_shape, 1, np.float64)
    gradcheck(lambda weight: conv2d(x, weight, None, *settings), weight)


# Laws


@FAST
@given(problems())
def test_adjoint_of_the_convolution(problem):
    """<conv(x, w), g> = <w, grad_weight(g, x)>."""
    grad, x, weight_shape, *geometry = problem
    grad, x, weight = grad.astype(float), x.astype(float), normal(weight_shape, 5, np.float64)
    y = reference.conv2d(x, weight, None, None, *geometry, False)
    dw = reference.conv2d_grad_weight(grad, x, weight_shape, *geometry)
    assert np.isclose((y * grad).sum(), (weight * dw).sum(), rtol=1e-9, atol=1e-7)


@on_each_backend(problems(), st.sampled_from([0.5, -2.0, 1024.0]), examples=40)
def test_scales_with_the_gradient(backend, problem, factor):
    grad, x, *settings = problem
    grad_weight = implementation(kernels).conv2d_grad_weight
    scaled = grad_weight(np.float32(factor) * grad, x, *settings)
    assert np.array_equal(scaled, np.float32(factor) * grad_weight(*problem))


@pytest.mark.parametrize(
    "x_shape, weight_shape, stride, padding",
    [
        ((3, 30, 34, 64), (64, 64, 3, 3), ONE, ONE),
        ((3, 30, 34, 128), (64, 128, 3, 3), ONE, ONE),
        ((3, 30, 34, 32), (64, 32, 3, 3), (2, 2), ONE),
        ((3, 30, 34, 32), (96, 32, 1, 1), ONE, NONE),
        ((3, 30, 34, 3), (16, 3, 3, 3), (2, 2), ONE),
    ],
)
def test_same_bits_at_any_thread_count(x_shape, weight_shape, stride, padding):
    numba = pytest.importorskip("numba")
    most = numba.config.NUMBA_NUM_THREADS
    if most == 1:
        pytest.skip("one processor")
    grad = normal(grad_shape(x_shape, weight_shape, stride, padding, ONE), 1)
    arguments = grad, normal(x_shape), weight_shape, stride, padding, ONE, 1
    before, results = numba.get_num_threads(), []
    for count in (1, 2, most):
        numba.set_num_threads(count)
        results.append(cpu.conv2d_grad_weight(*arguments).copy())
    numba.set_num_threads(before)
    assert np.array_equal(results[0], results[1])
    assert np.array_equal(results[0], results[2])


def test_winograd_switch():
    grad, x = normal((2, 16, 16, 32), 1), normal((2, 16, 16, 32))
    results = {}
    for size in (4, 2, 0):
        with winograd(size):
            results[size] = cpu.conv2d_grad_weight(grad, x, (32, 32, 3, 3), *SAME).copy()
    assert not np.array_equal(results[4], results[0])
    assert_near(results[2], in_float64(grad, x, (32, 32, 3, 3), *SAME))


# Edges


@pytest.mark.parametrize("kernel, padding", [(1, NONE), (3, ONE)])
def test_no_images(backend, kernel, padding):
    grad, x = np.zeros((0, 8, 8, 16), np.float32), np.zeros((0, 8, 8, 32), np.float32)
    shape = (16, 32, kernel, kernel)
    dw = conv2d_grad_weight(grad, x, shape, ONE, padding, ONE, 1)
    assert dw.shape == shape
    assert not dw.any()


@pytest.mark.parametrize("kernel, padding", [(1, NONE), (3, ONE)])
def test_views_and_read_only_arrays(backend, kernel, padding):
    x = normal((2, 18, 24, 20))[:, ::2, ::2, 3:19]
    grad = normal((2, 9, 12, 16, 2), 1)[..., 1]
    x.flags.writeable = grad.flags.writeable = False
    arguments = grad, x, (16, 16, kernel, kernel), ONE, padding, ONE, 1
    dw = conv2d_grad_weight(*arguments)
    assert_near(dw, in_float64(*arguments), 2e-5)


@pytest.mark.parametrize("kernel, padding", [(1, NONE), (3, ONE), (5, (2, 2))])
def test_one_nan_reaches_its_channel_only(backend, kernel, padding):
    grad, x = normal((2, 12, 12, 16), 1), normal((2, 12, 12, 16))
    grad[1, 6, 6, 5] = np.nan
    shape = (16, 16, kernel, kernel)
    dw = conv2d_grad_weight(grad, x, shape, ONE, padding, ONE, 1)
    assert np.isnan(dw[5]).all()
    assert np.isfinite(np.delete(dw, 5, 0)).all()


def test_neither_input_is_written_to(backend):
    grad, x = normal((2, 9, 9, 16), 1), normal((2, 9, 9, 16))
    before = grad.copy(), x.copy()
    conv2d_grad_weight(grad, x, (16, 16, 3, 3), *SAME)
    assert np.array_equal(grad, before[0])
    assert np.array_equal(x, before[1])
