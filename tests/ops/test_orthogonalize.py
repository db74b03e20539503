"""The rough orthogonalisation of Muon: five polynomial steps on the singular values."""

import numba
import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import implementation, on_each_backend
from tinymaskrcnn import jit
from tinymaskrcnn.gpu.array import empty
from tinymaskrcnn.gpu.device import use_device
from tinymaskrcnn.ops.orthogonalize import cpu, kernels

SIZES = st.integers(1, 70)


@pytest.fixture
def module(backend):
    return implementation(kernels)


def orthogonalize(module, matrix):
    return module.orthogonalize([matrix])[0]


def random(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


# By hand


def test_one_number_goes_through_the_polynomial(module):
    value = 1.0
    for _ in range(5):
        value = 3.4445 * value - 4.7750 * value**3 + 2.0315 * value**5
    np.testing.assert_allclose(orthogonalize(module, np.array([[7.0]], np.float32)), value, 1e-5)


# Specification: on the singular values, one at a time; and the lesson's, on the matrix in loops


def specification(matrix):
    u, values, v = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    values = values / max(np.sqrt((values**2).sum()), 1e-7)
    for i, x in enumerate(values):
        for _ in range(5):
            x = 3.4445 * x - 4.7750 * x**3 + 2.0315 * x**5
        values[i] = x
    return u * values @ v


@on_each_backend(
    SIZES, SIZES, st.integers(0, 99), st.sampled_from([1e-30, 1e-12, 1e-9, 1.0, 1e12]), examples=40
)
def test_specification(backend, rows, columns, seed, scale):
    matrix = random((rows, columns), seed) * np.float32(scale)
    module = implementation(kernels)
    result = orthogonalize(module, matrix)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, specification(matrix), atol=2e-4)


orthogonal_in_loops = lessons.load("training").orthogonal_in_loops


@on_each_backend(
    st.tuples(st.integers(1, 7), st.integers(1, 7)),
    st.integers(0, 99),
    st.sampled_from([1e-30, 1e-9, 1e-7, 1.0, 1e12]),
    examples=40,
)
def test_loops(backend, shape, seed, scale):
    matrix = random(shape, seed) * np.float32(scale)
    result = orthogonalize(implementation(kernels), matrix)
    np.testing.assert_allclose(result, orthogonal_in_loops(matrix), atol=2e-4)


def test_deep_and_wide(module):
    for shape in ((130, 600), (40, 3136), (300, 7)):
        matrix = random(shape)
        np.testing.assert_allclose(orthogonalize(module, matrix), specification(matrix), atol=1e-4)


# Laws


def test_singular_values_come_to_about_one(module):
    values = np.linalg.svd(orthogonalize(module, random((64, 576))), compute_uv=False)
    assert values.min() > 0.66 and values.max() < 1.16


def test_one_strong_direction_does_not_hide_the_others(module):
    matrix = random((32, 100)) + 50 * random((32, 1)) @ random((1, 100), 1)
    before, after = (
        np.linalg.svd(x, compute_uv=False) for x in (matrix, orthogonalize(module, matrix))
    )
    assert before[0] / before[1] > 100 and after.max() / after.min() < 4


@on_each_backend(st.lists(st.tuples(SIZES, SIZES), max_size=5), examples=20)
def test_matrices_do_not_meet(backend, shapes):
    matrices = [random(shape, seed) for seed, shape in enumerate(shapes)]
    module = implementation(kernels)
    together = module.orthogonalize(matrices)
    assert len(together) == len(matrices)
    for matrix, result in zip(matrices, together, strict=True):
        np.testing.assert_array_equal(result, orthogonalize(module, matrix))


@on_each_backend(SIZES, SIZES, st.integers(0, 99), examples=20)
def test_transposing_commutes(backend, rows, columns, seed):
    matrix = random((rows, columns), seed)
    module = implementation(kernels)
    turned = orthogonalize(module, np.ascontiguousarray(matrix.T)).T
    np.testing.assert_allclose(orthogonalize(module, matrix), turned, atol=1e-4)


def test_any_number_of_threads_gives_the_same_bits():
    matrices, results = [random((130, 600)), random((64, 64)), random((300, 40))], []
    for threads in (1, 2):
        jit.set_threads(min(threads, numba.config.NUMBA_NUM_THREADS))
        results.append(b"".join(x.tobytes() for x in cpu.orthogonalize(matrices)))
    assert results[0] == results[1]


@pytest.mark.cuda
def test_on_a_gpu_all_matrices_share_their_launches(gpu):
    """One copy in and out per matrix; for all matrices together 16 products and one scaling."""
    from tests.benchmarks.gpu_estimate import PaperDevice
    from tinymaskrcnn.ops.orthogonalize.cuda import orthogonalize as together

    device = PaperDevice()
    with use_device(device):
        matrices = [empty(shape) for shape in [(70, 300), (8, 9)] * 10 + [(20, 3)]]
        together(matrices)
    launches = {name: cost.launches for name, cost in device.by_kernel.items()}
    assert launches == {
        "basic.copy": 21 + 1,
        "orthogonalize.products": 16,
        "orthogonalize.normalise": 1,
    }


# Edges


def test_zeros_stay_zeros(module):
    matrix = random((20, 40))
    matrix[3] = 0
    assert not orthogonalize(module, matrix)[3].any()
    assert not orthogonalize(module, np.zeros((5, 9), np.float32)).any()


@pytest.mark.parametrize("scale", [1e-44, 1e-30, 1e-20, 1e-13])
def test_noise_is_not_made_a_step(module, scale):
    matrix = random((64, 100)) * np.float32(scale)
    assert np.abs(orthogonalize(module, matrix)).max() < 0.01


def test_the_matrix_is_left_alone(module):
    matrix = random((9, 5))
    before = matrix.copy()
    orthogonalize(module, matrix)
    np.testing.assert_array_equal(matrix, before)
