"""Masks of detections, pasted into images."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import strategies as st
from scipy.interpolate import RegularGridInterpolator

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn.ops.paste_masks import cpu, reference
from tinymaskrcnn.ops.paste_masks.op import paste_masks, paste_masks_binary

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "roi_ops.npz")


# By hand


def test_a_solid_mask_fades_over_its_padding(backend):
    pasted = paste_masks(np.ones((1, 2, 2), np.float32), [[2, 2, 6, 6]], 9, 9)[0]
    # enlarged by 4/2 about (4, 4): 0 .. 8, 9 pixels from 4 mask values 0 1 1 0
    edge = np.float32([0, 1 / 6, 11 / 18, 1, 1, 1, 11 / 18, 1 / 6, 0])
    np.testing.assert_allclose(pasted, np.outer(edge, edge), atol=1e-6)


def test_corners_are_truncated_toward_zero(backend):
    masks = np.random.default_rng(0).random((2, 28, 28)).astype(np.float32)
    masks[1] = masks[0]
    # enlarged by 30/28: -0.6 .. 3.1 and 0.1 .. 3.3, both four pixels from 0
    left, right = paste_masks(masks, [[-0.5, -0.5, 3, 3], [0.2, 0.2, 3.2, 3.2]], 8, 8)
    np.testing.assert_array_equal(left, right)
    np.testing.assert_array_equal(np.flatnonzero(left.any(axis=0)), [0, 1, 2, 3])


# Specification


paste_one = lessons.load("mask_head").paste_one


def random_boxes(rng, count, height, width):
    corners = rng.uniform(-0.4, 1.4, (count, 4)) * (width, height, width, height)
    return corners.astype(np.float32)


@pytest.mark.parametrize("size", [1, 2, 7, 28])
def test_equals_the_one_pixel_loop(backend, size):
    rng = np.random.default_rng(size)
    masks = rng.random((8, size, size)).astype(np.float32)
    boxes = random_boxes(rng, 8, 13, 17)
    pasted = paste_masks(masks, boxes, 13, 17)
    for n, y, x in np.ndindex(8, 13, 17):
        assert pasted[n, y, x] == pytest.approx(paste_one(masks[n], boxes[n], y, x), abs=2e-5)


def exact_one(mask, box, y, x):
    """The probability at the centre of pixel (y, x), looked up in the mask; zero around that."""
    size, (x1, y1, x2, y2) = len(mask), box.astype(np.float64)
    if not (np.floor(x1) - 1 <= x <= np.ceil(x2) and np.floor(y1) - 1 <= y <= np.ceil(y2)):
        return 0.0
    if x2 <= x1 or y2 <= y1:
        return 0.0
    u, v = (x + 0.5 - x1) / (x2 - x1) * size - 0.5, (y + 0.5 - y1) / (y2 - y1) * size - 0.5
    left, top = int(np.floor(u)), int(np.floor(v))
    total = 0.0
    for row, column in ((top, left), (top, left + 1), (top + 1, left), (top + 1, left + 1)):
        if 0 <= row < size and 0 <= column < size:
            total += mask[row, column] * (1 - abs(v - row)) * (1 - abs(u - column))
    return total


@pytest.mark.parametrize("size", [1, 2, 28])
def test_exact_equals_the_one_pixel_lookup(backend, size):
    rng = np.random.default_rng(size)
    masks = rng.random((10, size, size)).astype(np.float32)
    boxes = random_boxes(rng, 10, 13, 17)
    boxes[8:] = [[3, 4, 3, 9], [1e-3, 2, 5e-3, 8]]  # without an area, and nearly so
    pasted = paste_masks(masks, boxes, 13, 17, "exact")
    above = paste_masks_binary(masks, boxes, 13, 17, 0.4, "exact")
    for n, y, x in np.ndindex(10, 13, 17):
        expected = exact_one(masks[n], boxes[n], y, x)
        assert pasted[n, y, x] == pytest.approx(expected, abs=2e-5)
        assert abs(expected - 0.4) < 2e-5 or above[n, y, x] == (expected > 0.4)


def test_exact_includes_the_threshold_itself(backend):
    mask = np.full((1, 2, 2), 0.5, np.float32)
    inside = np.zeros((6, 6), bool)
    inside[2:4, 2:4] = True  # a mask pixel each; around them the mask has half its value
    found = paste_masks_binary(mask, [[2, 2, 4, 4]], 6, 6, 0.5, "exact")[0]
    np.testing.assert_array_equal(found, inside)
    assert not paste_masks_binary(mask, [[2, 2, 4, 4]], 6, 6, 0.5).any()
    assert not paste_masks_binary(mask, [[3, 2, 3, 4]], 6, 6, 0.5, "exact").any()


def test_another_mode_is_refused():
    with pytest.raises(ValueError, match="mode: expected one of pixels, exact, got 'round'"):
        paste_masks(np.ones((1, 2, 2)), [[0, 0, 1, 1]], 3, 3, "round")


# Laws


@on_each_backend(st.integers(0, 2**31), st.integers(1, 30), examples=15)
def test_bounded_binary_agrees_and_a_window_is_a_window(backend, seed, size):
    rng = np.random.default_rng(seed)
    masks = rng.random((4, size, size)).astype(np.float32)
    boxes = random_boxes(rng, 4, 90, 70)
    whole = paste_masks(masks, boxes, 90, 70)
    window = paste_masks(masks, boxes, 31, 45)
    binary = paste_masks_binary(masks, boxes, 90, 70, 0.4)
    assert whole.min() >= 0
    assert whole.max() <= masks.max() * (1 + 1e-6)
    np.testing.assert_allclose(window, whole[:, :31, :45], atol=1e-6)
    np.testing.assert_array_equal(binary, whole > np.float32(0.4))


def test_kernels_equal_the_reference():
    rng = np.random.default_rng(0)
    masks, boxes = rng.random((30, 14, 14)).astype(np.float32), random_boxes(rng, 30, 200, 150)
    ours, expected = (m.paste_masks(masks, boxes, 200, 150) for m in (cpu, reference))
    np.testing.assert_allclose(ours, expected, atol=5e-6)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (130, 3), (65, 16), (64, 31), (200, 1)])
def test_rows_of_any_width_and_bands_of_any_height(height, width):
    rng = np.random.default_rng(width)
    masks, boxes = rng.random((9, 3, 3)).astype(np.float32), random_boxes(rng, 9, height, width)
    for threshold in (-1.0, 0.3):
        binary, expected = (
            m.paste_masks_binary(masks, boxes, height, width, threshold) for m in (cpu, reference)
        )
        np.testing.assert_array_equal(binary, expected)
    ours, expected = (m.paste_masks(masks, boxes, height, width) for m in (cpu, reference))
    np.testing.assert_allclose(ours, expected, atol=5e-6)


# Outside oracles


@pytest.mark.parametrize("size", [28, 5])
def test_torchvision(backend, size):
    pasted = paste_masks(GOLDEN[f"masks_{size}"], GOLDEN["mask_boxes"], 36, 45)
    np.testing.assert_allclose(pasted, GOLDEN[f"pasted_{size}"], atol=2e-6)


def test_scipy_between_pixel_centres(backend):
    mask = np.random.default_rng(1).random((1, 4, 4)).astype(np.float32)
    pasted = paste_masks(mask, [[4, 4, 20, 20]], 24, 24)[0]  # 0 .. 24, 25 pixels
    centres = (np.arange(24) + 0.5) * 6 / 25 - 0.5
    spline = RegularGridInterpolator((np.arange(6),) * 2, np.pad(mask[0], 1), method="linear")
    points = np.stack(np.meshgrid(centres, centres, indexing="ij"), axis=2).clip(0, 5)
    np.testing.assert_allclose(pasted, spline(points), atol=1e-5)


# Edges


def test_no_masks_and_no_image(backend):
    masks, boxes = np.zeros((0, 28, 28), np.float32), np.zeros((0, 4), np.float32)
    assert paste_masks(masks, boxes, 5, 6).shape == (0, 5, 6)
    binary = paste_masks_binary(masks, boxes, 5, 6)
    assert binary.shape == (0, 5, 6)
    assert binary.dtype == bool
    assert paste_masks(np.ones((1, 3, 3)), [[0, 0, 1, 1]], 0, 6).shape == (1, 0, 6)


def test_boxes_off_the_image_inverted_or_huge(backend):
    boxes = np.float32([[90, 5, 99, 9], [-99, 5, -90, 9], [6, 6, 2, 2], [-1e30, -1e30, 1e30, 1e30]])
    pasted = paste_masks(np.ones((4, 3, 3), np.float32), boxes, 10, 12)
    assert not pasted[:3].any()
    np.testing.assert_array_equal(pasted[3], np.ones((10, 12)))


@pytest.mark.parametrize(
    ("masks", "boxes", "message"),
    [
        (np.zeros((1, 1, 28, 28)), np.zeros((1, 4)), r"expected shape \(N, M, M\)"),
        (np.zeros((1, 28, 27)), np.zeros((1, 4)), r"expected shape \(N, M, M\)"),
        (np.zeros((2, 28, 28)), np.zeros((1, 4)), "2 masks, but 1 boxes"),
        (np.zeros((1, 28, 28)), np.full((1, 4), np.nan), r"boxes\[0\]: expected finite"),
    ],
)
def test_errors_say_what_is_wrong(masks, boxes, message):
    with pytest.raises(ValueError, match=message):
        paste_masks(masks, boxes, 10, 10)
