"""Batch normalisation, with the batch's own statistics and with frozen ones."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.jit import numba, set_threads
from tinymaskrcnn.ops.batch_norm import cpu, kernels, reference
from tinymaskrcnn.ops.batch_norm.op import affine, batch_norm, frozen_batch_norm
from tinymaskrcnn.tensor import Tensor

normalise = lessons.load("pool_norm_residual").normalise


def column(*values):
    return np.array(values, np.float32).reshape(-1, 1, 1, 1)  # (N, 1, 1, 1)


def vector(*values):
    return np.array(values, np.float32)


@st.composite
def maps(draw, least=0):
    """x, grad, residual of one shape (or no residual), weight, bias, and whether ReLU."""
    shape = (
        *(draw(st.integers(least, n)) for n in (3, 9, 12)),
        draw(st.sampled_from([1, 3, 40, 600])),
    )
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x, grad, residual = rng.standard_normal((3, *shape)).astype(np.float32)
    weight, bias = rng.standard_normal((2, shape[3])).astype(np.float32)
    offset = np.float32(draw(st.sampled_from([0, 30])))
    return (
        x + offset,
        grad,
        draw(st.sampled_from([None, residual])),
        weight,
        bias,
        draw(st.booleans()),
    )


# By hand


def test_training_normalises_and_moves_the_running_statistics(backend):
    mean, var = vector(1), vector(2)
    y = batch_norm(column(1, 3, 5, 7), vector(2), vector(10), mean, var, True, eps=0)
    np.testing.assert_allclose(y.data, 10 + 2 * column(-3, -1, 1, 3) / np.sqrt(5), rtol=1e-6)
    np.testing.assert_allclose(mean, [0.9 * 1 + 0.1 * 4], rtol=1e-6)
    np.testing.assert_allclose(var, [0.9 * 2 + 0.1 * 20 / 3], rtol=1e-6)  # unbiased: over n - 1


def test_inference_uses_the_running_statistics(backend):
    mean, var = vector(1), vector(4)
    y = batch_norm(column(1, 3), vector(2), vector(10), mean, var, False, eps=0)
    np.testing.assert_array_equal(y.data, column(10, 12))
    np.testing.assert_array_equal([mean, var], [[1], [4]])


def test_frozen_with_residual_and_relu(backend):
    x, residual = Tensor(column(1, 3), True), Tensor(column(-11, 1), True)
    y = frozen_batch_norm(x, vector(2), vector(10), vector(1), vector(4), 0, residual, relu=True)
    np.testing.assert_array_equal(y.data, column(0, 13))
    y.backward(column(5, 6))
    np.testing.assert_array_equal(x.grad, column(0, 6))
    np.testing.assert_array_equal(residual.grad, column(0, 6))


def test_a_constant_gradient_reaches_only_the_bias(backend):
    x, weight, bias = (
        Tensor(column(1, 3, 5, 7), True),
        Tensor(vector(2), True),
        Tensor(vector(0), True),
    )
    batch_norm(x, weight, bias, vector(0), vector(1), True, eps=0).backward(column(1, 1, 1, 1))
    np.testing.assert_allclose(x.grad, column(0, 0, 0, 0), atol=1e-6)
    np.testing.assert_allclose(weight.grad, [0], atol=1e-6)
    np.testing.assert_array_equal(bias.grad, [4])


# Specification


def normalise_one_channel(values, residual, weight, bias, eps, relu):
    """One channel's values in float64: output, mean, biased variance."""
    normalised, mean, var = normalise(values, eps)
    y = [weight * v + bias + r for v, r in zip(normalised, residual, strict=True)]
    return [max(v, 0) for v in y] if relu else y, mean, var


@on_each_backend(maps(least=1), examples=25)
def test_one_channel_at_a_time(backend, case):
    x, _, residual, weight, bias, relu = case
    added = np.zeros_like(x) if residual is None else residual
    module = implementation(kernels)
    y, mean, var = module.batch_norm(x, weight, bias, residual, 1e-3, relu)
    for c in {0, x.shape[3] - 1, x.shape[3] // 2}:
        channel = (x[..., c].ravel(), added[..., c].ravel(), float(weight[c]), float(bias[c]))
        expected = normalise_one_channel(*channel, 1e-3, relu)
        np.testing.assert_allclose(y[..., c].ravel(), expected[0], rtol=1e-5, atol=2e-4)
        np.testing.assert_allclose(mean[c], expected[1], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(var[c], expected[2], rtol=1e-5, atol=1e-6)


@on_each_backend(maps(), examples=25)
def test_near_the_reference(backend, case):
    own = implementation(kernels)
    x, grad, residual, weight, bias, relu = case
    with_residual = residual is not None
    y, mean, var = reference.batch_norm(x, weight, bias, residual, 1e-3, relu)
    z = reference.affine(x, weight, bias, residual, relu)
    np.testing.assert_allclose(own.affine(x, weight, bias, residual, relu), z, rtol=1e-5, atol=1e-5)
    norm = (grad, x, y, weight, mean, var, 1e-3, relu, with_residual)
    scaled = (grad, x, z, weight, relu, True, with_residual)
    for name, arguments in (("batch_norm_grad", norm), ("affine_grad", scaled)):
        expected, got = (getattr(module, name)(*arguments) for module in (reference, own))
        assert (got[3] is None) == (expected[3] is None)
        for one, other in zip(got, expected, strict=True):
            if other is not None:
                assert one.dtype == np.float32
                np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


@settings(deadline=None, max_examples=25)
@given(maps(least=1))
def test_of_several_processes_it_is_one_batch(case):
    """Two processes with the same images: sums are twice as large."""
    x, grad, residual, weight, bias, relu = case
    twice = None if residual is None else np.concatenate([residual, residual])
    for module in (reference, cpu):
        share = module.batch_norm(x, weight, bias, residual, 1e-3, relu, lambda sums: 2 * sums)
        whole = module.batch_norm(np.concatenate([x, x]), weight, bias, twice, 1e-3, relu)
        grads = module.batch_norm_grad(
            grad, x, share[0], weight, *share[1:], 1e-3, relu, False, lambda sums: 2 * sums
        )
        both, doubled = np.concatenate([grad, grad]), np.concatenate([x, x])
        expected = module.batch_norm_grad(
            both, doubled, whole[0], weight, *whole[1:], 1e-3, relu, False
        )
        count = len(x)
        pairs = [(share[0], whole[0][:count]), (share[1], whole[1]), (share[2], whole[2])]
        pairs += [(grads[0], expected[0][:count])]
        pairs += [(2 * grads[i], expected[i]) for i in (1, 2)]  # each process has its own half
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=2e-4, atol=2e-4)


# Gradient


@pytest.mark.parametrize("relu", [False, True])
@pytest.mark.parametrize("training", [False, True])
def test_gradient(training, relu):
    rng = np.random.default_rng(1)
    x, residual = rng.standard_normal((2, 2, 3, 2, 3))
    mean, var = rng.standard_normal(3), rng.random(3) + 0.5

    def norm(x, weight, bias, residual):
        statistics = (mean.copy(), var.copy(), training)
        return batch_norm(x, weight, bias, *statistics, residual=residual, relu=relu)

    gradcheck(norm, x, rng.standard_normal(3), rng.standard_normal(3), residual)
    gradcheck(lambda x, weight, bias: norm(x, weight, bias, None), x, *rng.standard_normal((2, 3)))


# Laws


@on_each_backend(maps(least=2), examples=25)
def test_the_output_has_the_moments_that_weight_and_bias_say(backend, case):
    x, _, _, weight, bias, _ = case
    module = implementation(kernels)
    y = module.batch_norm(x, weight, bias, None, 1e-12, False)[0].astype(np.float64)
    np.testing.assert_allclose(y.mean((0, 1, 2)), bias, atol=2e-4)
    np.testing.assert_allclose(y.std((0, 1, 2)), np.abs(weight), rtol=1e-4, atol=1e-4)


def test_a_large_mean_costs_no_digits_of_the_variance():
    x = np.random.default_rng(0).standard_normal((2, 64, 64, 8)).astype(np.float32) + np.float32(
        1000
    )
    _, mean, var = cpu.batch_norm(
        x, np.ones(8, np.float32), np.zeros(8, np.float32), None, 0, False
    )
    np.testing.assert_allclose(mean, x.mean((0, 1, 2), dtype=np.float64), rtol=1e-7)
    np.testing.assert_allclose(var, x.var((0, 1, 2), dtype=np.float64), rtol=1e-6)


# Outside oracle: torch.nn.functional.batch_norm, 2.14


def test_as_torch(backend):
    x, weight, bias = (
        Tensor(column(1, 2, 4), True),
        Tensor(vector(3), True),
        Tensor(vector(1), True),
    )
    y = batch_norm(x, weight, bias, vector(0), vector(1), True)
    y.backward(column(1, -2, 4))
    np.testing.assert_allclose(y.data, column(-2.207124, 0.1982193, 5.0089059), rtol=1e-5)
    np.testing.assert_allclose(x.grad, column(4.1234188, -6.1851754, 2.0617564), rtol=1e-4)
    np.testing.assert_allclose(weight.grad, [4.8106866], rtol=1e-5)


# Edges


def test_an_empty_batch_moves_nothing(backend):
    weight, bias = vector(1, 1), vector(0, 0)
    x = Tensor(np.zeros((0, 4, 4, 2), np.float32), True)
    mean, var = vector(3, 4), vector(5, 6)
    y = batch_norm(x, weight, bias, mean, var, True, residual=x, relu=True)
    y.backward(y.data)
    assert y.shape == x.grad.shape == (0, 4, 4, 2)
    np.testing.assert_array_equal([mean, var], [[3, 4], [5, 6]])


def test_what_is_not_a_number_shows_in_its_own_channel(backend):
    x = np.random.default_rng(0).standard_normal((2, 5, 5, 3)).astype(np.float32)
    x[1, 2, 3, 1] = np.nan
    ones = np.ones(3, np.float32)
    y = batch_norm(x, ones, ones, ones.copy(), ones.copy(), True, relu=True).data
    np.testing.assert_array_equal(np.isnan(y).any((0, 1, 2)), [False, True, False])
    frozen = frozen_batch_norm(x, ones, ones, ones, ones, 1e-5, relu=True).data
    np.testing.assert_array_equal(np.isnan(frozen), np.isnan(x))


def test_errors():
    x, two, three = np.zeros((1, 1, 1, 2), np.float32), vector(1, 1), vector(1, 1, 1)
    with pytest.raises(ValueError, match="more than one value per channel"):
        batch_norm(x, two, two, two, two, True)
    with pytest.raises(ValueError, match=r"bias has shape \(3,\)"):
        batch_norm(x, two, three, two, two, True)
    with pytest.raises(ValueError, match=r"the residual has shape \(2, 1, 1, 2\)"):
        affine(x, two, two, np.zeros((2, 1, 1, 2), np.float32))
    with pytest.raises(ValueError, match=r"\(N, H, W, C\), got shape \(1, 1, 2\)"):
        affine(x[0], two, two)


def test_parallel_loops_give_the_same_at_any_number_of_threads():
    rng = np.random.default_rng(0)
    x, residual, grad = rng.standard_normal((3, 2, 61, 53, 40)).astype(np.float32)
    weight, bias = rng.standard_normal((2, 40)).astype(np.float32)

    def run(module):
        y, mean, var = module.batch_norm(x, weight, bias, residual, 1e-5, True)
        grads = module.batch_norm_grad(grad, x, y, weight, mean, var, 1e-5, True, True)
        masked = module.batch_norm_grad(grad, x, y, weight, mean, var, 1e-5, True, False)[:3]
        return [y, mean, var, *grads, *masked, module.affine(x, weight, bias, residual, True)]

    runs = []
    for threads in (1, numba.config.NUMBA_NUM_THREADS):
        set_threads(threads)
        runs.append(run(cpu))
    for one, two, expected in zip(*runs, run(reference), strict=True):
        np.testing.assert_array_equal(one, two)
        np.testing.assert_allclose(one, expected, rtol=1e-4, atol=1e-4)
