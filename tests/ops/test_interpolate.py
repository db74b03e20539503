"""Resizing and the pyramid's upsample-and-add."""

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.jit import numba, set_threads
from tinymaskrcnn.ops.interpolate import cpu, kernels, reference
from tinymaskrcnn.ops.interpolate.op import interpolate, upsample_add
from tinymaskrcnn.tensor import Tensor

LESSON = lessons.load("feature_pyramid")
SIZES = st.tuples(st.integers(1, 9), st.integers(1, 9))


def row(*values):
    return np.array(values, np.float32)[None, None, :, None]  # (1, 1, W, 1)


@st.composite
def maps(draw):
    shape = (draw(st.integers(0, 2)), *draw(SIZES), draw(st.sampled_from([1, 3, 17])))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    return rng.standard_normal(shape).astype(np.float32)


# By hand


def test_nearest(backend):
    x = Tensor(row(1, 2, 3), requires_grad=True)
    np.testing.assert_array_equal(interpolate(x, (1, 2)).data, row(1, 2))
    y = interpolate(x, (2, 5))
    np.testing.assert_array_equal(y.data[:, :1], row(1, 1, 2, 2, 3))
    y.backward(np.ones_like(y.data))
    np.testing.assert_array_equal(x.grad, row(4, 4, 2))


def test_bilinear(backend):
    x = Tensor(row(0, 4), requires_grad=True)
    y = interpolate(x, (1, 4), "bilinear")
    np.testing.assert_array_equal(y.data, row(0, 1, 3, 4))
    y.backward(row(1, 1, 1, 1))
    np.testing.assert_array_equal(x.grad, row(2, 2))
    np.testing.assert_array_equal(interpolate(row(0, 4, 8, 2), (1, 2), "bilinear").data, row(2, 5))


def test_upsample_add(backend):
    top, lateral = Tensor(row(1, 2), True), Tensor(row(10, 20, 30), True)
    y = upsample_add(top, lateral)
    np.testing.assert_array_equal(y.data, row(11, 21, 32))
    y.backward(row(1, 2, 4))
    np.testing.assert_array_equal(top.grad, row(3, 4))
    np.testing.assert_array_equal(lateral.grad, row(1, 2, 4))


# Specification


@on_each_backend(maps(), SIZES, examples=40)
def test_one_pixel_at_a_time(backend, x, size):
    for name, pixel in (("nearest", LESSON.nearest_pixel), ("bilinear", LESSON.bilinear_pixel)):
        y = getattr(implementation(kernels), name)(x, size)
        assert y.shape == (len(x), *size, x.shape[3])
        for n, i, j in np.ndindex(y.shape[:3]):
            np.testing.assert_allclose(y[n, i, j], pixel(x[n], i, j, size), atol=3e-6)


# Gradient


@pytest.mark.parametrize("size", [(7, 3), (2, 10), (4, 5), (1, 1)])
@pytest.mark.parametrize("mode", ["nearest", "bilinear"])
def test_gradient(mode, size):
    x = np.random.default_rng(0).standard_normal((2, 4, 5, 2))
    gradcheck(lambda x: interpolate(x, size, mode), x)


def test_gradient_of_upsample_add():
    rng = np.random.default_rng(0)
    gradcheck(upsample_add, rng.standard_normal((2, 2, 3, 2)), rng.standard_normal((2, 3, 6, 2)))


# Laws


@on_each_backend(maps(), SIZES, examples=40)
def test_the_gradient_is_the_transpose(backend, x, size):
    """<resize(x), g> = <x, resize_grad(g)>, for both modes."""
    grad = np.cos(np.arange(len(x) * size[0] * size[1] * x.shape[3], dtype=np.float32))
    grad = grad.reshape(len(x), *size, x.shape[3])
    module = implementation(kernels)
    for name in ("nearest", "bilinear"):
        y, dx = (
            getattr(module, name)(x, size),
            getattr(module, f"{name}_grad")(grad, x.shape[1:3]),
        )
        np.testing.assert_allclose((y * grad).sum(), (x * dx).sum(), rtol=1e-4, atol=1e-4)


@on_each_backend(maps(), examples=20)
def test_the_same_size_changes_nothing(backend, x):
    module = implementation(kernels)
    for resize in (module.nearest, module.bilinear):
        np.testing.assert_array_equal(resize(x, x.shape[1:3]), x)


@on_each_backend(maps(), SIZES, examples=20)
def test_upsample_add_is_the_sum_of_its_parts(backend, top, size):
    lateral = np.ones((len(top), *size, top.shape[3]), np.float32)
    module = implementation(kernels)
    expected = module.nearest(top, size) + lateral
    np.testing.assert_array_equal(module.upsample_add(top, lateral), expected)


# Outside oracle: torch.nn.functional.interpolate, 2.14


def test_bilinear_as_torch():
    ours = interpolate(row(1, 5, 2, 8, 3), (1, 3), "bilinear").data
    np.testing.assert_allclose(ours, row(2.3333333, 2.0, 4.6666665), rtol=1e-6)


# Edges


def test_infinity_and_not_a_number_stay_where_they_are(backend):
    y = interpolate(row(np.inf, 1, np.nan), (2, 6)).data[:, :1]
    np.testing.assert_array_equal(y, row(np.inf, np.inf, 1, 1, np.nan, np.nan))


def test_errors():
    x = np.zeros((1, 4, 4, 2), np.float32)
    with pytest.raises(ValueError, match="mode 'cubic', expected one of nearest, bilinear"):
        interpolate(x, 2, "cubic")
    with pytest.raises(ValueError, match=r"size \(0, 3\)"):
        interpolate(x, (0, 3))
    with pytest.raises(ValueError, match=r"at least one pixel, got shape \(1, 0, 4, 2\)"):
        interpolate(x[:, :0], 2)
    with pytest.raises(ValueError, match="differ in N or C"):
        upsample_add(x, x[..., :1])


def test_parallel_loops_give_the_same_at_any_number_of_threads():
    rng = np.random.default_rng(0)
    top = rng.standard_normal((2, 19, 23, 33)).astype(np.float32)
    lateral = rng.standard_normal((2, 38, 45, 33)).astype(np.float32)
    runs = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        set_threads(threads)
        runs.append(
            [
                cpu.upsample_add(top, lateral),
                cpu.nearest_grad(lateral, (19, 23)),
                cpu.bilinear(top, (38, 45)),
                cpu.bilinear_grad(lateral, (19, 23)),
            ]
        )
    expected = [
        reference.upsample_add(top, lateral),
        reference.nearest_grad(lateral, (19, 23)),
        reference.bilinear(top, (38, 45)),
        reference.bilinear_grad(lateral, (19, 23)),
    ]
    for one, two, reference_result in zip(*runs, expected, strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, reference_result, rtol=1e-5, atol=2e-5)
