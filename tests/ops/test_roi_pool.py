"""RoIPool: maxima over the rounded bins of a region."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.roi_pool import cpu, reference
from tinymaskrcnn.ops.roi_pool.op import roi_pool
from tinymaskrcnn.tensor import Tensor

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "roi_ops.npz")


def random_rois(rng, count, images, height, width):
    corners = rng.uniform(-0.4, 1.4, (count, 4)) * (width, height, width, height)
    return np.column_stack((rng.integers(0, images, count), corners)).astype(np.float32)


# By hand


def test_bins_of_a_ramp_and_the_pixels_that_get_the_gradient(backend):
    x = Tensor(np.arange(16, dtype=np.float32).reshape(1, 4, 4, 1), requires_grad=True)
    y = roi_pool(x, [[[0, 0, 3, 3]]], 2)
    np.testing.assert_array_equal(y.data.ravel(), [5, 7, 13, 15])
    y.backward(np.array([1, 2, 3, 4], np.float32).reshape(1, 2, 2, 1))
    expected = np.zeros(16)
    expected[[5, 7, 13, 15]] = [1, 2, 3, 4]
    np.testing.assert_array_equal(x.grad.ravel(), expected)


def test_halves_are_rounded_away_from_zero(backend):
    ramp = np.arange(9, dtype=np.float32).reshape(1, 1, 9, 1)
    pooled = roi_pool(ramp, [[[0.5, 0, 2.5, 0], [-0.5, 0, 2.4, 0], [3.5, 0, 3.4, 0]]], 1)
    np.testing.assert_array_equal(pooled.data.ravel(), [3, 2, 4])


def test_the_first_of_equal_maxima_gets_the_gradient(backend):
    x = Tensor(np.ones((1, 3, 3, 1), np.float32), requires_grad=True)
    roi_pool(x, [[[0, 0, 2, 2]]], 1).sum().backward()
    np.testing.assert_array_equal(x.grad.ravel(), [1, 0, 0, 0, 0, 0, 0, 0, 0])


# Specification


pool_one = lessons.load("roi_align").pool_one


def test_equals_the_one_bin_loops(backend):
    rng = np.random.default_rng(0)
    for channels, size, scale in ((1, (4, 2), 0.5), (5, (2, 8), 1.0), (19, (1, 1), 0.25)):
        features = rng.standard_normal((2, 7, 9, channels)).astype(np.float32)
        rois = random_rois(rng, 12, 2, 7 / scale, 9 / scale)
        got = roi_pool(features, rois, size, scale).data
        for r, i, j in np.ndindex(len(rois), *size):
            expected = pool_one(features[int(rois[r, 0])], rois[r, 1:], i, j, size, scale)
            np.testing.assert_array_equal(got[r, i, j], expected)


def test_regions_that_end_on_the_last_pixel(backend):
    rng = np.random.default_rng(4)
    features = rng.random((2, 10, 10, 3)).astype(np.float32).transpose(0, 2, 1, 3)
    rois = [[0, 0, 0, 9, 9], [0, 0, 5, 4, 9], [0, 5, 5, 9, 9], [1, 0, 0, 9, 9], [1, 9, 9, 10, 10]]
    got = roi_pool(features, np.array(rois, np.float32), 5).data
    for r, i, j in np.ndindex(len(rois), 5, 5):
        expected = pool_one(features[rois[r][0]], rois[r][1:], i, j, (5, 5), 1.0)
        np.testing.assert_array_equal(got[r, i, j], expected)


# Gradient


def test_gradient():
    rng = np.random.default_rng(1)
    features = rng.permutation(2 * 5 * 6 * 2).reshape(2, 5, 6, 2) / 7.0  # no near-ties
    gradcheck(lambda x: roi_pool(x, random_rois(np.random.default_rng(2), 6, 2, 5, 6), 3), features)


# Laws


@on_each_backend(st.integers(0, 2**31), examples=15)
def test_commutes_with_rising_functions_and_keeps_the_sum_of_the_gradient(backend, seed):
    rng = np.random.default_rng(seed)
    features = rng.random((2, 6, 5, 3)).astype(np.float32) + 1
    rois = random_rois(rng, 6, 2, 6, 5)
    x = Tensor(features, requires_grad=True)
    y = roi_pool(x, rois, (2, 3))
    np.testing.assert_array_equal(roi_pool(3 * features, rois, (2, 3)).data, 3 * y.data)
    y.sum().backward()
    assert x.grad.sum() == (y.data > 0).sum()


def test_kernels_equal_the_reference():
    rng = np.random.default_rng(3)
    features = np.round(rng.standard_normal((3, 9, 11, 17)), 1).astype(np.float32)  # ties
    rois = random_rois(rng, 40, 3, 9, 11)
    ours, expected = (m.roi_pool(features, rois, (4, 5), 1.0) for m in (cpu, reference))
    for a, b in zip(ours, expected, strict=True):
        np.testing.assert_array_equal(a, b)
    grad = rng.standard_normal(ours[0].shape).astype(np.float32)
    a, b = (m.roi_pool_grad(grad, ours[1], rois, features.shape) for m in (cpu, reference))
    np.testing.assert_allclose(a, b, atol=1e-5)


# Outside oracle


def test_torchvision(backend):
    x = Tensor(GOLDEN["features"], requires_grad=True)
    y = roi_pool(x, GOLDEN["rois"], (3, 5), 0.25)
    np.testing.assert_array_equal(y.data, GOLDEN["pool"])
    (y**2).sum().backward()
    np.testing.assert_allclose(x.grad, GOLDEN["pool_grad"], atol=1e-5)


# Edges


@pytest.mark.parametrize("images", [0, 2])
def test_no_rois(backend, images):
    x = Tensor(np.ones((images, 4, 4, 3), np.float32), requires_grad=True)
    y = roi_pool(x, np.zeros((0, 5), np.float32), 7)
    assert y.shape == (0, 7, 7, 3)
    y.sum().backward()
    np.testing.assert_array_equal(x.grad, np.zeros(x.shape))


def test_lists_and_tuples_of_boxes_are_the_same_as_indexed_rois(backend):
    rng = np.random.default_rng(5)
    features = rng.standard_normal((2, 6, 6, 2)).astype(np.float32)
    rois = random_rois(rng, 7, 2, 6, 6)
    rois = rois[np.argsort(rois[:, 0], kind="stable")]
    boxes = [rois[rois[:, 0] == n, 1:] for n in range(2)]
    expected = roi_pool(features, rois, (2, 3)).data
    for form in (boxes, tuple(boxes)):
        np.testing.assert_array_equal(roi_pool(features, form, (2, 3)).data, expected)


@pytest.mark.parametrize("dtype", [np.float16, np.int32])
def test_features_of_other_numbers(backend, dtype):
    features = np.random.default_rng(6).integers(0, 99, (1, 6, 6, 2)).astype(dtype)
    rois = [np.array([[0.6, 1.5, 4.4, 4.6]])]
    pooled = roi_pool(features, rois, 2)
    assert pooled.dtype == np.float32
    expected = roi_pool(features.astype(np.float32), rois, 2).data
    np.testing.assert_array_equal(pooled.data, expected)


@pytest.mark.parametrize(
    ("rois", "message"),
    [
        (np.zeros((1, 4)), r"shape \(R, 5\)"),
        ([np.zeros((1, 3))], r"rois\[0\]: expected shape \(N, 4\)"),
        ([np.zeros((1, 4))] * 2, "one array of boxes per image, 1"),
    ],
)
def test_rois_of_another_shape_are_named(backend, rois, message):
    with pytest.raises(ValueError, match=message):
        roi_pool(np.zeros((1, 8, 8, 1), np.float32), rois, 2)


def test_an_image_index_out_of_range_is_named(backend):
    with pytest.raises(ValueError, match="image index 3, expected 0 to 1"):
        roi_pool(np.zeros((2, 4, 4, 1), np.float32), np.array([[3, 0, 0, 1, 1]]), 2)
