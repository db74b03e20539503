"""RoIAlign: bilinear samples averaged over the bins of a region."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.jit import numba, set_threads
from tinymaskrcnn.ops.roi_align import cpu, reference
from tinymaskrcnn.ops.roi_align.op import roi_align
from tinymaskrcnn.tensor import Tensor

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "roi_ops.npz")
GOLDEN_CASES = [
    (size, s, aligned) for size in ((7, 7), (3, 5)) for s in (2, -1) for aligned in (False, True)
]


def random_rois(rng, count, images, height, width):
    """Rois inside the map and around it; a fifth of them have a negative size."""
    corners = rng.uniform(-0.3, 1.3, (count, 4)) * (width, height, width, height)
    proper = rng.random(count) < 0.8
    corners[proper] = np.hstack(
        (
            np.minimum(corners[proper, :2], corners[proper, 2:]),
            np.maximum(corners[proper, :2], corners[proper, 2:]),
        )
    )
    return np.column_stack((rng.integers(0, images, count), corners)).astype(np.float32)


# By hand


@pytest.mark.parametrize(
    ("aligned", "expected"), [(False, [5, 6.75, 12, 13.75]), (True, [2.5, 4.5, 10.5, 12.5])]
)
def test_a_ramp_gives_its_block_means_only_when_aligned(backend, aligned, expected):
    ramp = np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1)
    pooled = roi_align(ramp, [[[0, 0, 4, 4]]], 2, sampling_ratio=2, aligned=aligned)
    np.testing.assert_array_equal(pooled.data.ravel(), expected)


def test_samples_far_outside_count_as_zero_in_the_mean(backend):
    ones = np.ones((1, 4, 4, 1), np.float32)
    pooled = roi_align(ones, np.array([[0, -4, 0, 4, 4]]), (1, 4), sampling_ratio=1)
    # the samples' x: -3, -1, 1, 3; one pixel outside still counts
    np.testing.assert_array_equal(pooled.data.ravel(), [0, 1, 1, 1])


# Specification


align_one = lessons.load("roi_align").align_one


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("sampling", [1, 2, 3, -1])
def test_equals_the_one_sample_loops(backend, sampling, aligned):
    rng = np.random.default_rng(5)
    for channels, size, scale in ((1, (4, 3), 0.5), (6, (2, 5), 1.3), (33, (1, 1), 0.25)):
        features = rng.standard_normal((2, 7, 9, channels)).astype(np.float32)
        rois = random_rois(rng, 10, 2, 7 / scale, 9 / scale)
        got = roi_align(features, rois, size, scale, sampling, aligned).data
        for r, i, j in np.ndindex(len(rois), *size):
            image = features[int(rois[r, 0])].astype(np.float64)
            expected = align_one(image, rois[r, 1:], i, j, size, scale, sampling, aligned)
            np.testing.assert_allclose(got[r, i, j], expected, rtol=0, atol=2e-5)


@pytest.mark.parametrize("aligned", [False, True])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_regions_that_end_on_the_last_pixel(backend, aligned, dtype):
    """Some samples of the last bins lie beyond the last pixel's centre and are clipped to it."""
    rng = np.random.default_rng(11)
    features = rng.random((2, 10, 10, 3)).astype(dtype).transpose(0, 2, 1, 3)  # not contiguous
    rois = [[0, 0, 0, 9, 9], [0, 0, 5, 4, 9], [0, 5, 5, 9, 9], [1, 0, 0, 9, 9], [1, 9, 9, 10, 10]]
    got = roi_align(features, np.array(rois, dtype), 5, 1.0, -1, aligned).data
    assert got.dtype == dtype
    for r, i, j in np.ndindex(len(rois), 5, 5):
        image = features[rois[r][0]].astype(np.float64)
        expected = align_one(image, rois[r][1:], i, j, (5, 5), 1.0, -1, aligned)
        np.testing.assert_allclose(got[r, i, j], expected, rtol=0, atol=2e-6)


@pytest.mark.parametrize("sampling", [2, -1])
@pytest.mark.parametrize("shape", [(2, 9, 8, 1), (3, 9, 8, 5), (1, 20, 40, 64), (4, 12, 10, 32)])
def test_kernels_equal_the_reference(shape, sampling):
    rng = np.random.default_rng(6)
    rois = random_rois(rng, 23, shape[0], shape[1], shape[2])
    features = rng.standard_normal(shape).astype(np.float32)
    grad = rng.standard_normal((23, 7, 6, shape[3])).astype(np.float32)
    rest = (rois, (7, 6), 1.0, sampling, False)
    np.testing.assert_allclose(
        cpu.roi_align(features, *rest), reference.roi_align(features, *rest), atol=2e-6
    )
    np.testing.assert_allclose(
        cpu.roi_align_grad(grad, shape, *rest),
        reference.roi_align_grad(grad, shape, *rest),
        atol=1e-5,
    )
    for module in (reference, cpu):
        total = np.ones(shape, np.float32)
        assert module.roi_align_grad(grad, shape, *rest, total) is total
        gradient = module.roi_align_grad(grad, shape, *rest)
        np.testing.assert_allclose(total, gradient + 1, atol=1e-5)


# Gradient


@pytest.mark.parametrize(("sampling", "aligned"), [(2, False), (-1, False), (2, True), (-1, True)])
def test_gradient(sampling, aligned):
    rng = np.random.default_rng(7)
    rois = random_rois(rng, 6, 2, 8, 10)
    gradcheck(
        lambda x: roi_align(x, rois, (3, 2), 0.5, sampling, aligned), rng.random((2, 4, 5, 2))
    )


# Laws

SEEDS = st.integers(0, 2**31)


@on_each_backend(SEEDS, st.sampled_from([1, 2, -1]), st.booleans(), examples=15)
def test_linear_in_the_features_and_its_gradient_is_the_transpose(backend, seed, sampling, aligned):
    rng = np.random.default_rng(seed)
    a, b = rng.standard_normal((2, 2, 5, 6, 3)).astype(np.float32)
    rois = random_rois(rng, 5, 2, 5, 6)
    pool = lambda x: roi_align(x, rois, (2, 3), 1.0, sampling, aligned)  # noqa: E731
    mixed = pool(2 * a - b).data
    np.testing.assert_allclose(mixed, 2 * pool(a).data - pool(b).data, atol=1e-5)
    x = Tensor(a, requires_grad=True)
    slope = rng.standard_normal(mixed.shape).astype(np.float32)
    pool(x).backward(slope)
    there, back = (slope * pool(b).data).sum(), (x.grad * b).sum()
    assert there == pytest.approx(back, rel=1e-4, abs=1e-4)


@on_each_backend(SEEDS, st.sampled_from([2, -1]), examples=15)
def test_constants_inside_the_map_stay_and_rois_do_not_mix(backend, seed, sampling):
    rng = np.random.default_rng(seed)
    start = rng.uniform(0, 4, (8, 2))
    rois = np.column_stack((rng.integers(0, 3, 8), start, start + rng.uniform(0, 4, (8, 2))))
    constants = np.broadcast_to([[[[3.0, -2.0]]]], (3, 9, 9, 2)).astype(np.float32)
    features = rng.standard_normal((3, 9, 9, 2)).astype(np.float32)
    order = rng.permutation(8)
    flat = roi_align(constants, rois, 3, sampling_ratio=sampling).data
    pooled = roi_align(features, rois, 3, sampling_ratio=sampling).data
    shuffled = roi_align(features, rois[order], 3, sampling_ratio=sampling).data
    np.testing.assert_allclose(flat, np.broadcast_to([3.0, -2.0], flat.shape), rtol=1e-6)
    np.testing.assert_array_equal(pooled[order], shuffled)
    assert pooled.min() >= features.min() - 1e-6
    assert pooled.max() <= features.max() + 1e-6


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="one processor")
@pytest.mark.parametrize("images", [1, 2, 3])
def test_bitwise_equal_for_any_number_of_threads(images):
    rng = np.random.default_rng(8)
    shape = (images, 12, 14, 40)
    features = rng.standard_normal(shape).astype(np.float32)
    rois = random_rois(rng, 60, images, 12, 14)
    grad = rng.standard_normal((60, 5, 5, 40)).astype(np.float32)
    results = []
    for threads in (1, 2):
        set_threads(threads)
        rest = (rois, (5, 5), 1.0, 2, False)
        results.append((cpu.roi_align(features, *rest), cpu.roi_align_grad(grad, shape, *rest)))
    for one, two in zip(*results, strict=True):
        np.testing.assert_array_equal(one, two)


# Outside oracle


@pytest.mark.parametrize("case", range(len(GOLDEN_CASES)))
def test_torchvision(backend, case):
    size, sampling, aligned = GOLDEN_CASES[case]
    x = Tensor(GOLDEN["features"], requires_grad=True)
    rois = GOLDEN["rois"][: 15 if sampling < 0 else None]  # torchvision: no adaptive negative sizes
    y = roi_align(x, rois, size, 0.25, sampling, aligned)
    np.testing.assert_allclose(y.data, GOLDEN[f"align_{case}"], atol=1e-6)
    (y**2).sum().backward()
    # at the map's edge some pixels sum hundreds of samples, in a different order
    np.testing.assert_allclose(x.grad, GOLDEN[f"align_grad_{case}"], rtol=1e-5, atol=1e-5)


# Edges


@pytest.mark.parametrize("shape", [(2, 4, 4, 3), (0, 4, 4, 3), (2, 4, 4, 0)])
def test_no_rois_no_images_no_channels(backend, shape):
    x = Tensor(np.ones(shape, np.float32), requires_grad=True)
    rois = [np.zeros((0, 4), np.float32)] * shape[0]
    y = roi_align(x, rois, 7)
    assert y.shape == (0, 7, 7, shape[3])
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.zeros(shape))


def test_a_map_of_one_pixel_and_rois_off_the_map(backend):
    x = Tensor(np.full((1, 1, 1, 2), 5, np.float32), requires_grad=True)
    y = roi_align(x, np.array([[0, 0, 0, 1, 1], [0, 9, 9, 12, 12]]), 2, sampling_ratio=2)
    np.testing.assert_array_equal(
        y.data, np.array([5, 0], np.float32).reshape(2, 1, 1, 1) + y.data * 0
    )
    y.sum().backward()
    np.testing.assert_allclose(x.grad, np.full((1, 1, 1, 2), 4), rtol=1e-6)


def test_a_list_of_boxes_is_the_same_as_indexed_rois(backend):
    rng = np.random.default_rng(9)
    features = rng.standard_normal((3, 6, 6, 2)).astype(np.float32)
    rois = random_rois(rng, 7, 3, 6, 6)
    rois = rois[np.argsort(rois[:, 0], kind="stable")]
    boxes = [rois[rois[:, 0] == n, 1:] for n in range(3)]
    np.testing.assert_array_equal(
        roi_align(features, boxes, 2).data, roi_align(features, rois, 2).data
    )
    np.testing.assert_array_equal(
        roi_align(features, tuple(boxes), 2).data, roi_align(features, rois, 2).data
    )


def test_features_and_gradients_need_not_be_contiguous(backend):
    rng = np.random.default_rng(10)
    features = rng.standard_normal((2, 3, 6, 5)).astype(np.float32).transpose(0, 2, 3, 1)
    rois = random_rois(rng, 4, 2, 6, 5)
    slope = rng.standard_normal((3, 2, 2, 4)).astype(np.float32).T
    x, copy = (Tensor(f, requires_grad=True) for f in (features, features.copy(order="C")))
    roi_align(x, rois, 2).backward(slope)
    roi_align(copy, rois, 2).backward(slope.copy(order="C"))
    np.testing.assert_array_equal(x.grad, copy.grad)


@pytest.mark.parametrize("dtype", [np.float16, np.int32, np.uint8])
def test_features_of_other_numbers(backend, dtype):
    rng = np.random.default_rng(12)
    features = rng.integers(0, 99, (1, 6, 6, 2)).astype(dtype)
    rois = [np.array([[0.3, 0.6, 4.9, 5.2]])]
    pooled = roi_align(features, rois, 2)
    assert pooled.dtype == np.float32
    expected = roi_align(features.astype(np.float32), rois, 2).data
    np.testing.assert_array_equal(pooled.data, expected)


MAP = np.zeros((2, 8, 8, 3), np.float32)


@pytest.mark.parametrize(
    ("features", "rois", "size", "message"),
    [
        (MAP[0], np.zeros((1, 5)), 2, "shape \\(N, H, W, C\\)"),
        (MAP, np.zeros((1, 4)), 2, "shape \\(R, 5\\)"),
        (MAP, [np.zeros((1, 3))] * 2, 2, "rois\\[0\\].*shape \\(N, 4\\)"),
        (MAP, [np.zeros((1, 4))], 2, "one array of boxes per image, 2"),
        (MAP, [np.zeros((1, 4)), np.zeros((1, 5))], 2, "rois\\[1\\].*shape \\(N, 4\\)"),
        (MAP, [[2, 0, 0, 4, 4]] * np.ones((1, 5)), 2, "image index 2, expected 0 to 1"),
        (MAP, [[-1, 0, 0, 4, 4]] * np.ones((1, 5)), 2, "image index -1"),
        (MAP, [[0.5, 0, 0, 4, 4]] * np.ones((1, 5)), 2, "image index 0.5"),
        (MAP, [[0, 0, 0, 4, np.nan]] * np.ones((1, 5)), 2, "finite"),
        (MAP, [[0, 0, 0, np.inf, 4]] * np.ones((1, 5)), 2, "finite"),
        (MAP, np.zeros((1, 5)), 0, "output_size"),
        (MAP, np.zeros((1, 5)), (7, 7, 7), "output_size"),
        (
            np.zeros((1, 3, 20, 30), np.float32),
            [[0, 2, 3, 28, 19], [0, 5, 6, 14, 17]] * np.ones((2, 5)),
            2,
            "channels-first",
        ),
    ],
)
def test_errors_say_what_is_wrong(features, rois, size, message):
    with pytest.raises(ValueError, match=message):
        roi_align(features, rois, size)
