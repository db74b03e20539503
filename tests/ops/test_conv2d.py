"""Convolution: both backends against loops over single numbers, and Winograd against float64."""

import hashlib
import os
import shutil
import subprocess
import sys

import llvmlite.binding as llvm
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn import kernel_cache
from tinymaskrcnn.files import write_atomic
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.conv2d import cpu, kernels, reference
from tinymaskrcnn.ops.conv2d.cpu.geometry import Geometry
from tinymaskrcnn.ops.conv2d.op import conv2d, conv2d_fused
from tinymaskrcnn.ops.conv2d.winograd import set_winograd, winograd, winograd_size
from tinymaskrcnn.tensor import Tensor

ONE = (1, 1)
NONE = (0, 0)
conv_pixel = lessons.load("convolution").conv_pixel
FAST = settings(deadline=None, max_examples=40)


def normal(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).standard_normal(shape).astype(dtype)


def specification(x, weight, stride, padding, dilation, groups):
    """Compute one output number at a time, in float64."""
    images, height, width, _ = x.shape
    outs, _, kernel_h, kernel_w = weight.shape
    out_h = (height + 2 * padding[0] - dilation[0] * (kernel_h - 1) - 1) // stride[0] + 1
    out_w = (width + 2 * padding[1] - dilation[1] * (kernel_w - 1) - 1) // stride[1] + 1
    y = np.zeros((images, out_h, out_w, outs))
    for n, i, j, o in np.ndindex(*y.shape):
        y[n, i, j, o] = conv_pixel(x[n], weight, i, j, o, stride, padding, dilation, groups)
    return y


def assert_near(actual, expected, tolerance=2e-6):
    """The largest difference is at most `tolerance` times the largest expected value."""
    assert actual.shape == expected.shape
    scale = max(np.abs(expected).max(initial=0), 1e-30)
    difference = np.abs(actual - expected).max(initial=0)
    assert difference <= tolerance * scale, f"off by {difference / scale:.2e} of the largest value"


def double(*arrays):
    return [array.astype(np.float64) for array in arrays]


# By hand


def test_one_pixel(backend):
    x, weight = np.full((1, 1, 1, 2), 3.0, np.float32), np.array([[[[2.0]], [[5.0]]]], np.float32)
    assert conv2d(x, weight, np.array([1.0], np.float32)).numpy() == 22.0


def test_sum_of_neighbours(backend):
    x = np.arange(9, dtype=np.float32).reshape(1, 3, 3, 1)
    y = conv2d(x, np.ones((1, 1, 3, 3), np.float32), padding=1).numpy()
    assert y[0, :, :, 0].tolist() == [[8, 15, 12], [21, 36, 27], [20, 33, 24]]


def test_residual_and_relu_come_after_the_bias(backend):
    x, weight = np.ones((1, 1, 2, 1), np.float32), np.array([[[[-1.0]]]], np.float32)
    residual = np.array([0.5, 4.0], np.float32).reshape(1, 1, 2, 1)
    y = conv2d_fused(x, weight, np.array([-2.0], np.float32), residual, relu=True).numpy()
    assert y.ravel().tolist() == [0.0, 1.0]


def test_nan_survives_relu(backend):
    x = np.full((1, 8, 8, 16), np.nan, np.float32)
    for kernel in (1, 3):
        y = conv2d_fused(x, normal((16, 16, kernel, kernel)), padding=kernel // 2, relu=True)
        assert np.isnan(y.numpy()).all()


# Specification

GEOMETRIES = [  # x, weight, stride, padding, dilation, groups
    ((2, 5, 4, 3), (12, 3, 3, 3), (2, 2), (1, 1), ONE, 1),
    ((1, 7, 7, 1), (3, 1, 7, 7), (2, 2), (3, 3), ONE, 1),
    ((1, 6, 5, 4), (91, 4, 1, 1), ONE, NONE, ONE, 1),
    ((1, 9, 8, 5), (6, 5, 3, 2), (2, 1), (2, 0), (2, 3), 1),
    ((2, 5, 5, 6), (4, 3, 3, 3), ONE, (1, 1), ONE, 2),
    ((1, 4, 4, 3), (3, 1, 2, 2), (2, 2), NONE, ONE, 3),
    ((1, 6, 5, 16), (16, 16, 3, 3), ONE, (1, 1), ONE, 1),
    ((2, 3, 9, 20), (35, 20, 1, 3), (1, 3), (0, 2), ONE, 1),
]


@pytest.mark.parametrize("x_shape, weight_shape, stride, padding, dilation, groups", GEOMETRIES)
def test_loops(backend, x_shape, weight_shape, stride, padding, dilation, groups):
    x, weight = normal(x_shape), normal(weight_shape, 1)
    y = conv2d(x, weight, None, stride, padding, dilation, groups).numpy()
    assert y.dtype == np.float32
    assert_near(y, specification(x, weight, stride, padding, dilation, groups))


@st.composite
def problems(draw):
    """Matching (x, weight, bias, stride, padding, dilation, groups)."""
    pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
    stride, dilation, kernel = draw(pair), draw(pair), draw(pair)
    padding = draw(st.tuples(st.integers(0, 3), st.integers(0, 3)))
    groups = draw(st.integers(1, 3))
    least = [
        max(1, d * (k - 1) + 1 - 2 * p) for d, k, p in zip(dilation, kernel, padding, strict=True)
    ]
    size = [draw(st.integers(low, low + 9)) for low in least]
    ins = draw(st.sampled_from([1, 2, 3, 4, 5, 15, 16, 17, 32]))
    outs = draw(st.sampled_from([1, 3, 8, 12, 16, 31, 33]))
    images, seed = draw(st.integers(0, 3)), draw(st.integers(0, 999))
    x = normal((images, *size, ins * groups), seed)
    weight = normal((outs * groups, ins, *kernel), seed + 1)
    bias = draw(st.sampled_from([None, normal(outs * groups, seed + 2)]))
    return x, weight, bias, stride, padding, dilation, groups


@on_each_backend(problems(), st.booleans(), st.booleans(), st.sampled_from([0, 2, 4]), examples=40)
def test_near_the_reference(backend, problem, relu, with_residual, size):
    module = implementation(kernels)
    x, weight, bias, *geometry = problem
    wide = double(x, weight)
    wide_bias = None if bias is None else bias.astype(np.float64)
    tolerance = 5e-5 if size == 4 else 2e-6
    clean = reference.conv2d(*wide, wide_bias, None, *geometry, False)
    residual = normal(clean.shape, 7) if with_residual else None
    expected = reference.conv2d(*wide, wide_bias, residual, *geometry, relu)
    grad = normal(clean.shape, 8)
    with winograd(size):
        y = module.conv2d(x, weight, bias, residual, *geometry, relu)
        dx = module.conv2d_grad_input(grad, weight, x.shape, *geometry)
    assert_near(y, expected, tolerance)
    expected = reference.conv2d_grad_input(*double(grad, weight), x.shape, *geometry)
    assert_near(dx, expected, tolerance)
    total = normal(x.shape, 9)
    expected = expected + total
    with winograd(size):
        assert module.conv2d_grad_input(grad, weight, x.shape, *geometry, total) is total
    assert_near(total, expected, tolerance)
    masked, dbias = module.conv2d_grad_output(grad, y, relu)
    assert np.array_equal(masked, grad * (y > 0) if relu else grad)
    assert_near(dbias, masked.astype(np.float64).sum(axis=(0, 1, 2)))


# Gradients


@pytest.mark.parametrize(
    "x_shape, weight_shape, stride, padding, dilation, groups", GEOMETRIES[3:6]
)
def test_gradients(x_shape, weight_shape, stride, padding, dilation, groups):
    x, weight, bias = (normal(s, i, np.float64) for i, s in enumerate((x_shape, weight_shape, 6)))
    bias = bias[: weight_shape[0]]
    gradcheck(lambda *t: conv2d(*t, stride, padding, dilation, groups), x, weight, bias)


def test_gradients_of_everything_fused():
    x, weight = normal((2, 4, 3, 2), 1, np.float64), normal((3, 2, 3, 3), 2, np.float64)
    bias, residual = normal(3, 3, np.float64), normal((2, 4, 3, 3), 4, np.float64)
    gradcheck(
        lambda *tensors: conv2d_fused(*tensors, padding=1, relu=True), x, weight, bias, residual
    )


def test_only_what_is_needed_gets_a_gradient(backend):
    x = Tensor(normal((1, 4, 4, 3)))
    weight = Tensor(normal((5, 3, 3, 3)), requires_grad=True)
    conv2d(x, weight).sum().backward()
    assert x.grad is None
    assert weight.grad.shape == weight.shape


# Laws


@on_each_backend(problems(), examples=40)
def test_linear_in_x(backend, problem):
    (x, weight, _, *geometry), module = problem, implementation(kernels)
    y = module.conv2d(x, weight, None, None, *geometry, False)
    twice = module.conv2d(2 * x, weight, None, None, *geometry, False)
    assert np.array_equal(twice, 2 * y)


@FAST
@given(problems())
def test_grad_input_is_the_adjoint(problem):
    """<conv(x), g> = <x, conv_grad_input(g)>."""
    x, weight, _, *geometry = [*double(*problem[:2]), None, *problem[3:]]
    y = reference.conv2d(x, weight, None, None, *geometry, False)
    g = normal(y.shape, 5, np.float64)
    dx = reference.conv2d_grad_input(g, weight, x.shape, *geometry)
    assert np.isclose((y * g).sum(), (x * dx).sum(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("threads", [1, 2])
def test_same_bits_at_any_thread_count(threads):
    numba = pytest.importorskip("numba")
    if threads > numba.config.NUMBA_NUM_THREADS:
        pytest.skip("one processor")
    x, grad = normal((3, 30, 34, 32)), normal((3, 30, 34, 64), 2)
    weight = normal((64, 32, 3, 3), 1)
    geometry = (ONE, (1, 1), ONE, 1)
    before = numba.get_num_threads()
    few, few_grad, large = normal((2, 15, 20, 80)), normal((2, 15, 20, 96)), normal((96, 80, 3, 3))
    results = []
    for count in (numba.config.NUMBA_NUM_THREADS, threads):
        numba.set_num_threads(count)
        for size in (0, 4):
            with winograd(size):
                results.append(cpu.conv2d(x, weight, None, None, *geometry, True).copy())
                results.append(cpu.conv2d_grad_input(grad, weight, x.shape, *geometry).copy())
                results.append(cpu.conv2d(few, large, None, None, *geometry, True).copy())
                results.append(cpu.conv2d_grad_input(few_grad, large, few.shape, *geometry).copy())
        results.append(cpu.conv2d_grad_output(grad, grad, True)[1])
    numba.set_num_threads(before)
    for first, second in zip(results[:9], results[9:], strict=True):
        assert np.array_equal(first, second)


@pytest.mark.parametrize("channels, outs, kernel, stride", [(3, 40, 7, 2), (1, 16, 3, 1)])
def test_images_of_few_channels(channels, outs, kernel, stride):
    """Several tiles per line and several lines per thread, with one thread and with two."""
    numba = pytest.importorskip("numba")
    x, weight = normal((3, 37, 61, channels)), normal((outs, channels, kernel, kernel), 1)
    geometry = (stride, stride), (kernel // 2, kernel // 2), ONE, 1
    residual = normal((3, -(-37 // stride), -(-61 // stride), outs), 2)
    expected = reference.conv2d(*double(x, weight, normal(outs), residual), *geometry, True)
    before, results = numba.get_num_threads(), []
    for count in {1, before}:
        numba.set_num_threads(count)
        results.append(cpu.conv2d(x, weight, normal(outs), residual, *geometry, True))
    assert_near(results[0], expected)
    assert all(np.array_equal(results[0], other) for other in results)


# Winograd


@pytest.mark.parametrize("size, tolerance", [(4, 5e-5), (2, 2e-6), (0, 4e-6)])
@pytest.mark.parametrize("shape, outs", [((1, 20, 23, 256), 256), ((3, 9, 14, 48), 80)])
def test_winograd_is_near_float64(size, tolerance, shape, outs):
    x, weight, grad = (
        normal(shape),
        normal((outs, shape[3], 3, 3), 1),
        normal((*shape[:3], outs), 2),
    )
    geometry = (ONE, (1, 1), ONE, 1)
    with winograd(size):
        y = cpu.conv2d(x, weight, None, None, *geometry, False)
        dx = cpu.conv2d_grad_input(grad, weight, x.shape, *geometry)
    assert_near(y, reference.conv2d(*double(x, weight), None, None, *geometry, False), tolerance)
    expected = reference.conv2d_grad_input(*double(grad, weight), x.shape, *geometry)
    assert_near(dx, expected, tolerance)


def test_winograd_switch_changes_the_path_and_comes_back():
    x, weight = normal((1, 16, 16, 32)), normal((32, 32, 3, 3), 1)
    assert winograd_size() == 4
    results = {}
    for size in (4, 2, 0):
        with winograd(size):
            results[size] = conv2d(x, weight, padding=1).numpy()
    assert winograd_size() == 4
    assert not np.array_equal(results[4], results[0])
    assert not np.array_equal(results[2], results[0])
    with pytest.raises(ValueError, match="must be 4, 2 or 0, got 3"):
        set_winograd(3)


@pytest.mark.parametrize("shape, outs", [((2, 15, 20, 144), 112), ((1, 17, 14, 80), 64)])
def test_a_last_panel_that_is_not_full(shape, outs):
    x, weight, grad = (
        normal(shape),
        normal((outs, shape[3], 3, 3), 1),
        normal((*shape[:3], outs), 2),
    )
    bias, residual, geometry = normal(outs, 3), grad, (ONE, (1, 1), ONE, 1)
    expected = reference.conv2d(*double(x, weight, bias, residual), *geometry, True)
    y = cpu.conv2d(x, weight, bias, residual, *geometry, True)
    assert_near(y, expected, 5e-5)
    assert np.array_equal(y, cpu.conv2d(x, weight, bias, residual, *geometry, True, {}))
    expected = reference.conv2d_grad_input(*double(grad, weight), x.shape, *geometry)
    assert_near(cpu.conv2d_grad_input(grad, weight, x.shape, *geometry), expected, 5e-5)
    total = x.copy()
    assert_near(cpu.conv2d_grad_input(grad, weight, x.shape, *geometry, total), x + expected, 5e-5)


@pytest.mark.parametrize("padding, dilation", [(NONE, ONE), ((1, 2), ONE), ((2, 0), (2, 1))])
def test_the_turned_convolution_is_the_gradient_of_the_input(padding, dilation):
    x_shape, weight = (2, 9, 11, 3), normal((5, 3, 3, 3), 1, np.float64)
    g = Geometry.of(x_shape, weight.shape, ONE, padding, dilation, 1)
    grad = normal(g.y, 2, np.float64)
    turned, around = weight.transpose(1, 0, 2, 3)[:, :, ::-1, ::-1], g.turned().padding
    dx = reference.conv2d(grad, turned, None, None, ONE, around, dilation, 1, False)
    assert dx.shape == g.turned().y == x_shape and turned.shape == g.turned().weight
    assert_near(reference.conv2d_grad_input(grad, weight, x_shape, *g[3:]), dx, 1e-12)


# Packed weights


@pytest.mark.parametrize("kernel", [1, 3])
def test_a_changed_weight_is_packed_anew(kernel):
    x, weight = normal((1, 16, 16, 16)), normal((16, 16, kernel, kernel), 1)
    before = conv2d(x, weight, padding=kernel // 2).numpy().copy()
    weight *= 2
    assert np.array_equal(conv2d(x, weight, padding=kernel // 2).numpy(), 2 * before)


@pytest.mark.parametrize(
    "x_shape, weight_shape, groups",
    [
        ((1, 16, 16, 16), (16, 16, 3, 3), 1),  # Winograd
        ((1, 4, 4, 16), (16, 16, 3, 3), 1),  # direct
        ((1, 8, 8, 3), (16, 3, 3, 3), 1),  # few channels
        ((1, 8, 8, 32), (32, 16, 3, 3), 2),
        ((1, 8, 8, 16), (40, 16, 1, 1), 1),
    ],
)
def test_a_weight_is_packed_once_where_there_is_a_table(backend, x_shape, weight_shape, groups):
    """In each of the forms, and what the table holds serves again."""
    x, weight, kept = normal(x_shape), normal(weight_shape, 1), {}
    expected = conv2d(x, weight, padding=1, groups=groups).numpy()
    for _ in range(2):
        y = conv2d_fused(x, weight, padding=1, groups=groups, kept=kept).numpy()
        assert_near(y, expected, 5e-5)
        assert len(kept) == (0 if backend == "reference" else 1 if backend == "cuda" else groups)
    form = {key: id(value) for key, (_, value) in kept.items()}
    conv2d_fused(2 * x, weight, padding=1, groups=groups, kept=kept)
    assert {key: id(value) for key, (_, value) in kept.items()} == form


# Edges


@pytest.mark.parametrize("kernel, padding", [(1, 0), (3, 1)])
def test_no_images(backend, kernel, padding):
    x = Tensor(np.zeros((0, 8, 8, 16), np.float32), requires_grad=True)
    weight = Tensor(normal((16, 16, kernel, kernel)), requires_grad=True)
    bias = Tensor(normal(16), requires_grad=True)
    y = conv2d_fused(x, weight, bias, padding=padding, relu=True)
    assert y.shape == (0, 8, 8, 16)
    y.sum().backward()
    assert x.grad.shape == x.shape
    assert not weight.grad.any()
    assert not bias.grad.any()


def test_views_and_read_only_arrays(backend):
    big = normal((2, 9, 12, 20))
    x = big[:, ::2, 1:, 3:19]
    x.flags.writeable = False
    bias = normal(16, 2)
    bias.flags.writeable = False
    weight = normal((3, 3, 16, 16), 1).transpose(3, 2, 0, 1)
    y = conv2d(x, weight, bias, padding=1).numpy()
    expected = specification(x, weight, ONE, (1, 1), ONE, 1) + bias
    assert_near(y, expected, 2e-5)


def test_grad_is_not_written_to(backend):
    grad, y = normal((1, 4, 4, 8)), normal((1, 4, 4, 8), 1)
    before = grad.copy()
    module = kernels(grad)
    module.conv2d_grad_output(grad, y, True)
    assert np.array_equal(grad, before)


@pytest.mark.parametrize(
    "x_shape, weight_shape, settings, message",
    [
        ((2, 3, 64, 64), (8, 3, 3, 3), {}, r"looks channels-first.*transpose\(0, 2, 3, 1\)"),
        ((2, 64, 64, 4), (8, 3, 3, 3), {}, r"\(2, 64, 64, 4\).*4 channels.*expects 3"),
        ((64, 64, 3), (8, 3, 3, 3), {}, r"expected x \(N, H, W, C\).*\(64, 64, 3\)"),
        ((1, 2, 2, 3), (8, 3, 3, 3), {}, "3x3 kernel.*does not fit into maps of 2x2"),
        ((1, 8, 8, 6), (8, 2, 3, 3), {"groups": 3}, "8 output channels.*3 groups"),
        ((1, 8, 8, 3), (8, 3, 3, 3), {"stride": 0}, r"stride=\(0, 0\)"),
        ((1, 8, 8, 3), (8, 3, 3, 3), {"bias": (7,)}, r"bias has shape \(7,\), expected \(8,\)"),
        ((1, 8, 8, 3), (8, 3, 1, 1), {"residual": (1, 8, 8, 3)}, r"residual.*\(1, 8, 8, 8\)"),
    ],
)
def test_shapes_that_do_not_fit(x_shape, weight_shape, settings, message):
    arrays = {
        k: np.zeros(v, np.float32) if isinstance(v, tuple) else v for k, v in settings.items()
    }
    with pytest.raises(ValueError, match=message):
        conv2d_fused(np.zeros(x_shape, np.float32), np.zeros(weight_shape, np.float32), **arrays)


ONE_RUN = """
import hashlib
import numpy as np
from tinymaskrcnn.ops.conv2d import cpu
from tinymaskrcnn.ops.conv2d.winograd import winograd
rng = np.random.default_rng(0)
x, weight, residual = (
    rng.standard_normal(shape).astype(np.float32)
    for shape in ((2, 32, 32, 32), (32, 32, 3, 3), (2, 32, 32, 32))
)
digest = hashlib.sha256()
for size in (0, 2, 4):
    with winograd(size):
        y = cpu.conv2d(x, weight, weight[:, 0, 0, 0], residual, (1, 1), (1, 1), (1, 1), 1, True)
        digest.update(y.tobytes())
x, weight = (rng.standard_normal(s).astype(np.float32) for s in ((2, 15, 20, 96), (64, 96, 3, 3)))
digest.update(cpu.conv2d(x, weight, None, None, (1, 1), (1, 1), (1, 1), 1, False).tobytes())
print(digest.hexdigest())
"""


def test_the_run_that_compiles_gives_the_bits_of_later_ones():
    """Compiling takes long, so the first run's bits are kept with its kernels, in a cache of their
    own, until a source changes.
    """
    machine = llvm.get_host_cpu_name(), llvm.get_host_cpu_features().flatten()
    run = hashlib.sha256(repr((ONE_RUN, machine)).encode()).hexdigest()[:12]
    place = kernel_cache.FOLDER.parent / "first_runs" / kernel_cache.FOLDER.name / run
    first = place / "bits.txt"
    if not first.exists():
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        write_atomic(first, one_run(place).encode())
    bits = first.read_text()
    assert len(bits) == 65
    assert one_run(place) == bits


def one_run(cache):
    environment = os.environ | {"TINYMASKRCNN_CACHE": str(cache)}
    command = [sys.executable, "-c", ONE_RUN]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, check=True
    ).stdout
