"""Group normalisation."""

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.jit import numba, set_threads
from tinymaskrcnn.ops.group_norm import cpu, kernels, reference
from tinymaskrcnn.ops.group_norm.op import group_norm
from tinymaskrcnn.tensor import Tensor

normalise = lessons.load("pool_norm_residual").normalise


def vector(*values):
    return np.array(values, np.float32)


@st.composite
def cases(draw, least=0):
    """x, grad, residual of one shape (or no residual), groups, weight, bias, and whether ReLU."""
    groups, size = draw(st.sampled_from([(1, 1), (1, 3), (2, 2), (8, 4), (3, 200)]))
    shape = (*(draw(st.integers(least, n)) for n in (3, 9, 12)), groups * size)
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, grad, residual = rng.standard_normal((3, *shape)).astype(np.float32)
    weight, bias = rng.standard_normal((2, shape[3])).astype(np.float32)
    return (
        x + 5,
        grad,
        draw(st.sampled_from([None, residual])),
        groups,
        weight,
        bias,
        draw(st.booleans()),
    )


# By hand


def test_each_image_and_group_by_itself(backend):
    x = np.array([[1, 3, 50, 70], [0, 8, 5, 5]], np.float32)[:, None, None]  # (2, 1, 1, 4)
    y = group_norm(x, 2, vector(1, 1, 2, 2), vector(0, 0, 10, 10), eps=1e-12).data
    np.testing.assert_allclose(y[:, 0, 0], [[-1, 1, 8, 12], [-1, 1, 10, 10]], rtol=1e-6)


def test_residual_and_relu(backend):
    x = Tensor(np.array([1, 3], np.float32).reshape(1, 2, 1, 1), True)
    residual = Tensor(np.array([0.5, 0.5], np.float32).reshape(1, 2, 1, 1), True)
    y = group_norm(x, 1, vector(1), vector(0), 0, residual, relu=True)
    y.backward(np.ones_like(y.data))
    np.testing.assert_allclose(y.data.ravel(), [0, 1.5], rtol=1e-6)
    np.testing.assert_array_equal(residual.grad.ravel(), [0, 1])
    np.testing.assert_allclose(x.grad.ravel(), [0, 0], atol=1e-6)


# Specification


@on_each_backend(cases(least=1), examples=25)
def test_one_group_at_a_time(backend, case):
    x, _, residual, groups, weight, bias, relu = case
    size = x.shape[3] // groups
    module = implementation(kernels)
    y, mean, var = module.group_norm(x, groups, weight, bias, residual, 1e-3, relu)
    for n, g in np.ndindex(len(x), groups):
        channels = slice(g * size, (g + 1) * size)
        values = x[n, :, :, channels]
        flat, middle, spread = normalise(values.ravel(), 1e-3)
        expected = np.reshape(flat, values.shape) * weight[channels] + bias[channels]
        expected = expected + (0 if residual is None else residual[n, :, :, channels])
        expected = np.maximum(expected, 0) if relu else expected
        np.testing.assert_allclose(y[n, :, :, channels], expected, rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose([mean[n, g], var[n, g]], [middle, spread], rtol=1e-5, atol=1e-6)


@on_each_backend(cases(), examples=25)
def test_gradients_are_the_references(backend, case):
    own = implementation(kernels)
    x, grad, residual, groups, weight, bias, relu = case
    y, mean, var = reference.group_norm(x, groups, weight, bias, residual, 1e-3, relu)
    arguments = (grad, x, y, weight, mean, var, 1e-3, relu, residual is not None)
    expected, got = (module.group_norm_grad(*arguments) for module in (reference, own))
    assert (got[3] is None) == (expected[3] is None)
    for one, other in zip(got, expected, strict=True):
        if other is not None:
            assert one.dtype == np.float32
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


# Gradient


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("groups", [1, 2, 4])
def test_gradient(groups, relu):
    rng = np.random.default_rng(2)
    x, residual = rng.standard_normal((2, 2, 3, 2, 4))
    weight, bias = rng.standard_normal((2, 4))
    gradcheck(
        lambda x, w, b, r: group_norm(x, groups, w, b, 1e-5, r, relu), x, weight, bias, residual
    )


# Laws


@on_each_backend(
    cases(least=1), st.sampled_from([0.5, 2, 8]), st.sampled_from([-4, 0, 4]), examples=20
)
def test_scale_and_shift_of_the_input_change_nothing(backend, case, scale, shift):
    x, _, _, groups, weight, bias, _ = case
    if x[0].size // groups < 8:  # too few values: the variance may not be far above eps
        return
    module = implementation(kernels)
    y, moved = (
        module.group_norm(v, groups, weight, bias, None, 1e-12, False)[0]
        for v in (x, x * np.float32(scale) + np.float32(shift))
    )
    np.testing.assert_allclose(moved, y, rtol=1e-3, atol=1e-3)


# Outside oracle: torch.nn.functional.group_norm, 2.14


EXPECTED = [0.12169147, 0.5855391, 5.3915424, -1.7566171, 3.6349256, -2.9276953]
EXPECTED_GRAD = [0.63015, -4.3385644, 3.2901788, -0.25652635, -1.1097316, 1.7844926]


def test_as_torch(backend):
    x = Tensor(np.array([1, 2, 4, 0, 3, -1], np.float32).reshape(1, 3, 1, 2), True)
    y = group_norm(x, 1, vector(3, 2), vector(1, 0))
    y.backward(np.array([1, -2, 4, 0, 1, 1], np.float32).reshape(1, 3, 1, 2))
    np.testing.assert_allclose(y.data.ravel(), EXPECTED, rtol=1e-5)
    np.testing.assert_allclose(x.grad.ravel(), EXPECTED_GRAD, rtol=1e-4)


# Edges


def test_empty(backend):
    for shape in ((0, 4, 4, 2), (2, 0, 4, 2)):
        x = Tensor(np.zeros(shape, np.float32), True)
        y = group_norm(x, 2, vector(1, 1), vector(0, 0), relu=True)
        y.backward(y.data)
        assert y.shape == x.grad.shape == shape


def test_what_is_not_a_number_stays_in_its_group(backend):
    x = np.random.default_rng(0).standard_normal((2, 3, 3, 4)).astype(np.float32)
    x[1, 2, 2, 3] = np.nan
    y = group_norm(x, 2, np.ones(4, np.float32), np.zeros(4, np.float32), relu=True).data
    assert np.isnan(y[1, :, :, 2:]).all()
    assert not np.isnan(y[0]).any() and not np.isnan(y[1, :, :, :2]).any()


def test_errors():
    x, ones = np.zeros((1, 2, 2, 4), np.float32), np.ones(4, np.float32)
    with pytest.raises(ValueError, match="3 groups do not divide 4 channels"):
        group_norm(x, 3, ones, ones)
    with pytest.raises(ValueError, match=r"bias has shape \(2,\), expected \(4,\)"):
        group_norm(x, 2, ones, ones[:2])
    with pytest.raises(ValueError, match=r"got shape \(2, 2, 4\)"):
        group_norm(x[0], 2, ones, ones)


def test_parallel_loops_give_the_same_at_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, grad = rng.standard_normal((2, 3, 31, 27, 32)).astype(np.float32)
    weight, bias = rng.standard_normal((2, 32)).astype(np.float32)

    def run(module):
        y, mean, var = module.group_norm(x, 8, weight, bias, None, 1e-5, True)
        grads = module.group_norm_grad(grad, x, y, weight, mean, var, 1e-5, True, False)
        return [y, mean, var, *grads[:3]]

    runs = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        set_threads(threads)
        runs.append(run(cpu))
    for one, two, expected in zip(*runs, run(reference), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)
