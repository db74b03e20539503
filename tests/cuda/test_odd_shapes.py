"""Kernels on shapes that fill several tiles and parts, and on shapes that do not fit them.

The tests of the ops (tests/ops, the backend "cuda") say what is right; these compare every path of
the CUDA kernels with NumPy in float64. They need compiled kernels or a GPU: Numba's simulator would
take hours.
"""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.backend import use
from tinymaskrcnn.ops import (
    basic,
    batch_norm,
    box_iou,
    conv2d,
    conv_transpose2d,
    group_norm,
    interpolate,
    linear,
    max_pool2d,
    nms,
    orthogonalize,
    roi_align,
    sgd,
)

from .modes import mode

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(mode() == "simulator", reason="too large for the simulator"),
]
ONE, NONE = (1, 1), (0, 0)
FEW = settings(deadline=None, max_examples=15)


@pytest.fixture(autouse=True)
def _device(gpu):
    with use("cuda"):
        yield


def normal(shape, seed=0):
    return np.asarray(np.random.default_rng(seed).standard_normal(shape), np.float32)


def both(op, name, *arguments):
    """The results of the CUDA kernel and of the reference in float64, each as a list."""
    found = getattr(op.kernels(np.zeros(1, np.float32)), name)(*arguments)
    wide = [a.astype(np.float64) if _is_float(a) else a for a in arguments]
    expected = getattr(op.kernels(np.zeros(1)), name)(*wide)
    return [r if isinstance(r, tuple | list) else [r] for r in (found, expected)]


def _is_float(value):
    return isinstance(value, np.ndarray) and value.dtype == np.float32


def agree(op, name, *arguments, tolerance=3e-6):
    """Each result differs by at most a share of its largest value."""
    for actual, expected in zip(*both(op, name, *arguments), strict=True):
        if expected is None:
            assert actual is None
            continue
        assert actual.shape == expected.shape
        scale = max(np.abs(expected).max(initial=0), 1e-30)
        assert np.abs(actual - expected).max(initial=0) <= tolerance * scale


# Products


@pytest.mark.parametrize(
    "rows, ins, outs", [(64, 64, 64), (65, 17, 63), (17, 1, 130), (200, 300, 91), (3, 999, 200)]
)
def test_linear(rows, ins, outs):
    x, weight, grad = normal((rows, ins)), normal((outs, ins), 1), normal((rows, outs), 2)
    agree(linear, "linear", x, weight, normal(outs, 3), True)
    agree(linear, "linear_grad_input", grad, weight)
    agree(linear, "linear_grad_weight", grad, x)


@pytest.mark.parametrize(
    "a, b",
    [((3, 70, 20), (3, 20, 65)), ((5, 49, 32), (5, 32, 1)), ((2, 3, 8, 9), (9, 4)),
     ((1, 6, 7), (4, 7, 5)), ((3, 1, 4, 5), (2, 5, 4)), ((2, 4, 0), (2, 0, 3))],
)  # fmt: skip
def test_batches_of_matrices(a, b):
    agree(basic, "matmul", normal(a), normal(b, 1))


GEOMETRIES = [  # x, weight, stride, padding, dilation, groups
    ((2, 13, 17, 5), (70, 5, 3, 3), ONE, ONE, ONE, 1),
    ((1, 20, 19, 3), (16, 3, 7, 7), (2, 2), (3, 3), ONE, 1),
    ((3, 9, 8, 33), (65, 33, 1, 1), ONE, NONE, ONE, 1),
    ((1, 15, 14, 6), (8, 6, 3, 2), (3, 2), (0, 1), (2, 1), 1),
    ((2, 11, 10, 12), (18, 4, 3, 3), (2, 1), (2, 0), (1, 2), 3),
    ((1, 30, 31, 8), (8, 1, 3, 3), ONE, ONE, ONE, 8),
    ((0, 5, 5, 2), (3, 2, 3, 3), ONE, ONE, ONE, 1),
    ((2, 4, 4, 70), (90, 70, 3, 3), ONE, ONE, ONE, 1),
]


@pytest.mark.parametrize("x, weight, stride, padding, dilation, groups", GEOMETRIES)
def test_convolution(x, weight, stride, padding, dilation, groups):
    x, weight = normal(x), normal(weight, 1)
    geometry = stride, padding, dilation, groups
    bias = normal(len(weight), 2)
    (y,), _ = both(conv2d, "conv2d", x, weight, bias, None, *geometry, False)
    residual, grad = normal(y.shape, 3), normal(y.shape, 4)
    agree(conv2d, "conv2d", x, weight, bias, residual, *geometry, True)
    agree(conv2d, "conv2d_grad_input", grad, weight, x.shape, *geometry)
    agree(conv2d, "conv2d_grad_weight", grad, x, weight.shape, *geometry)
    if len(x):
        agree(conv2d, "conv2d_grad_output", grad, y, True)


@pytest.mark.parametrize(
    "x, weight, stride, padding",
    [((2, 7, 7, 10), (10, 20, 2, 2), (2, 2), NONE), ((1, 6, 5, 70), (70, 3, 4, 3), (3, 2), (1, 1))],
)
def test_transposed_convolution(x, weight, stride, padding):
    x, weight = normal(x), normal(weight, 1)
    bias = normal(weight.shape[1], 2)
    (y,), _ = both(conv_transpose2d, "conv_transpose2d", x, weight, bias, stride, padding, False)
    grad = normal(y.shape, 3)
    agree(conv_transpose2d, "conv_transpose2d", x, weight, bias, stride, padding, True)
    agree(conv_transpose2d, "conv_transpose2d_grad_input", grad, weight, x.shape, stride, padding)
    agree(conv_transpose2d, "conv_transpose2d_grad_weight", grad, x, weight.shape, stride, padding)


def test_the_weights_gradient_is_summed_in_parts():
    """The parts are summed in order: every run gives the same bits."""
    from tinymaskrcnn.ops.conv2d.cuda import _parts

    grad, x = normal((2, 40, 30, 4)), normal((2, 40, 30, 3), 1)
    assert _parts(2 * 40 * 30, 1) == (37, 65)
    arguments = grad, x, (4, 3, 3, 3), ONE, ONE, ONE, 1
    agree(conv2d, "conv2d_grad_weight", *arguments)
    run = conv2d.kernels(x).conv2d_grad_weight
    assert np.array_equal(run(*arguments), run(*arguments))


# Sums and moves


@pytest.mark.parametrize(
    "shape, axis",
    [((5000,), None), ((3, 3000), 1), ((700, 40), 0), ((2, 300, 5), 1), ((4, 5, 6), (0, 2)),
     ((33, 2, 70), 2), ((0, 3), 0), ((3, 0), 1), ((2, 2, 2, 2), (0, 1, 2)), ((2, 30000), 0)],
)  # fmt: skip
def test_sums(shape, axis):
    for keepdims in (False, True):
        agree(basic, "sum", normal(shape) + 1, axis, keepdims)


@FEW
@given(st.permutations(range(5)), st.lists(st.integers(1, 4), min_size=5, max_size=5))
def test_transpose(axes, shape):
    agree(basic, "transpose", normal(shape), tuple(axes), tolerance=0)


@FEW
@given(st.lists(st.tuples(st.integers(1, 4), st.booleans(), st.booleans()), max_size=5))
def test_broadcasting(axes):
    a, b = ([1 if repeat[i] else repeat[0] for repeat in axes] for i in (1, 2))
    for name in ("add", "subtract", "multiply", "divide"):
        agree(basic, name, normal(a), np.asarray(normal(b[1:], 1) + 3), tolerance=1e-6)


def test_more_axes_than_a_copy_takes():
    with pytest.raises(ValueError, match="more than 5 axes"):
        agree(basic, "transpose", normal((2,) * 8), (0, 2, 4, 6, 1, 3, 5, 7))


@FEW
@given(st.lists(st.integers(0, 6), min_size=1, max_size=40))
def test_rows_that_are_taken_several_times(rows):
    grad, where = normal((len(rows), 9)), np.array(rows)
    agree(basic, "index", normal((7, 9)), where, tolerance=0)
    agree(basic, "index_grad", grad, where, (7, 9))


# Norms


@pytest.mark.parametrize("shape", [(2, 20, 19, 33), (3, 1, 1, 70), (1, 50, 40, 4)])
@pytest.mark.parametrize("relu", [False, True])
def test_norms(shape, relu):
    x, residual, grad = normal(shape) * 3 + 50, normal(shape, 1), normal(shape, 2)
    weight, bias = normal(shape[3], 3), normal(shape[3], 4)
    for op, name, groups in ((batch_norm, "batch_norm", ()), (group_norm, "group_norm", (1,))):
        arguments = x, *groups, weight, bias, residual, 1e-5, relu
        found, expected = both(op, name, *arguments)
        # float32 has seven digits; the mean uses up two
        for actual, right in zip(found, expected, strict=True):
            np.testing.assert_allclose(actual, right, rtol=1e-4, atol=1e-4 * np.abs(right).max())
        if shape[1] > 1:
            y, mean, var = found
            backward = grad, x, y, weight, mean, var, 1e-5, relu, True
            agree(op, f"{name}_grad", *backward, tolerance=1e-4)


# Regions


def boxes(count, size, seed=0):
    rng = np.random.default_rng(seed)
    corners = rng.random((count, 2)) * size - size / 8
    sides = rng.random((count, 2)) * size / 2
    return np.concatenate([corners, corners + sides], axis=1).astype(np.float32)


@pytest.mark.parametrize("ratio", [2, 0])
@pytest.mark.parametrize("aligned", [False, True])
def test_roi_align(ratio, aligned):
    features, rois = normal((2, 23, 31, 35)), boxes(9, 130)
    rois = np.column_stack([np.arange(9) % 2, rois]).astype(np.float32)
    rois[3, 3:] = rois[3, 1:3]  # without area
    settings = (7, 5), 0.25, ratio, aligned
    agree(roi_align, "roi_align", features, rois, *settings, tolerance=2e-5)
    grad = normal((9, 7, 5, 35), 1)
    agree(roi_align, "roi_align_grad", grad, features.shape, rois, *settings, tolerance=2e-5)


@pytest.mark.parametrize("count", [1, 31, 32, 33, 200])
@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.7, 1.0])
def test_nms_keeps_exactly_what_the_reference_keeps(count, threshold):
    from tinymaskrcnn.ops.nms import reference

    some = np.round(boxes(count, 40, count))  # whole pixels: many ties
    scores = np.round(np.random.default_rng(1).random(count) * 20).astype(np.float32)
    found = nms.kernels(some).nms(some, scores, threshold)
    assert np.array_equal(found, reference.nms(some, scores, threshold))


def test_iou_is_the_cpus_bit_for_bit():
    from tinymaskrcnn.ops.box_iou import cpu

    a, b = boxes(70, 50), boxes(45, 50, 1)
    found = box_iou.kernels(a).box_iou(a, b)
    assert np.array_equal(found, cpu.box_iou(a, b))


# Maps


@pytest.mark.parametrize("sizes", [((5, 9), (13, 7)), ((8, 8), (16, 16)), ((7, 6), (3, 1))])
def test_interpolation(sizes):
    small, large = sizes
    x, grad = normal((2, *small, 11)), normal((2, *large, 11), 1)
    for mode_ in ("nearest", "bilinear"):
        agree(interpolate, mode_, x, large, tolerance=1e-5)
        agree(interpolate, f"{mode_}_grad", grad, small, tolerance=1e-5)


@pytest.mark.parametrize(
    "kernel, stride, padding", [((3, 3), (2, 2), ONE), ((2, 4), (3, 1), (1, 2))]
)
def test_pooling(kernel, stride, padding):
    x = np.round(normal((2, 17, 14, 19)) * 2)  # ties
    settings = kernel, stride, padding
    (y, tap), _ = both(max_pool2d, "max_pool2d", x, *settings)
    agree(max_pool2d, "max_pool2d", x, *settings, tolerance=0)
    agree(max_pool2d, "max_pool2d_grad", normal(y.shape, 1), tap, x.shape, *settings)


@pytest.mark.parametrize("shape", [(70, 30), (5, 200), (1, 1)])
def test_orthogonalize(shape):
    found, expected = both(orthogonalize, "orthogonalize", [normal(shape)])
    np.testing.assert_allclose(found[0], expected[0], atol=2e-4)


def test_squares_beyond_float32():
    run = sgd.kernels(np.zeros(1, np.float32)).sum_of_squares
    assert run(np.array([3e30, 4e30], np.float32)) == pytest.approx(25e60, rel=1e-6)
    assert run(normal(9000)) == pytest.approx(float((normal(9000).astype(float) ** 2).sum()), 1e-6)
    assert np.isnan(run(np.array([np.nan], np.float32)))
    assert run(np.zeros(0, np.float32)) == 0
