"""The oracle of every method is the same change to the whole array."""

import copy
import pickle
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinymaskrcnn.detection.cropped_masks import CroppedMasks

SEEDS = st.integers(0, 2**32 - 1)


def whole_masks(rng):
    """(G, H, W) of random shape, dtype and filling, with zeros at two sides of each; some empty."""
    count, height, width = rng.integers((0, 1, 1), (5, 8, 8))
    masks = (rng.random((count, height, width)) < rng.choice([0.1, 0.5, 1])).astype(
        rng.choice([np.bool_, np.uint8, np.float32])
    )
    for mask in masks:
        mask[: rng.integers(height + 1)] = 0
        mask[:, rng.integers(width + 1) :] = 0
    return masks


def assert_stands_for(masks, whole):
    assert isinstance(masks, CroppedMasks)
    assert masks.shape == whole.shape
    assert masks.dtype == whole.dtype
    np.testing.assert_array_equal(np.asarray(masks), whole)


# by hand


def test_only_the_part_with_pixels_is_kept():
    whole = np.zeros((1, 900, 800), np.uint8)
    whole[0, 500:503, 20:24] = 1
    masks = CroppedMasks.of(whole)
    assert masks.crops[0].tolist() == [[1] * 4] * 3
    assert masks.crops[0].base is None  # not a view that holds the whole
    assert masks.corners.tolist() == [[500, 20]]
    assert masks.boxes().tolist() == [[20, 500, 24, 503]]
    assert CroppedMasks.of(masks) is masks


def test_a_mask_without_pixels_is_one_all_the_same():
    masks = CroppedMasks.of(np.zeros((2, 3, 4)))
    assert masks.boxes().tolist() == [[0] * 4] * 2
    assert masks[0].tolist() == [[0] * 4] * 3
    assert masks.window(1, 1, 2, 2).shape == (2, 2, 2)


def test_a_thousand_objects_take_the_memory_of_their_pixels():
    """As an array (G, H, W) these would be 4 GB."""
    tracemalloc.start()
    crops, corners = [np.ones((5, 6), np.uint8)] * 1000, np.arange(2000).reshape(-1, 2)
    masks = CroppedMasks(crops, corners, (2048, 2048))
    moved = masks.flipped(1).transposed().flipped(2).window(-5, 7, 2048, 2048).enlarged(2)
    assert moved.areas()[500] == 4 * 30
    moved.boxes(), moved[np.arange(10, 900)], CroppedMasks.joined(moved, moved)
    assert tracemalloc.get_traced_memory()[1] < 8 << 20
    tracemalloc.stop()


# laws


@given(SEEDS)
def test_masks_move_as_the_whole_array_does(seed):
    rng = np.random.default_rng(seed)
    whole = whole_masks(rng)
    masks = CroppedMasks.of(whole)
    height, width = whole.shape[1:]
    assert_stands_for(masks, whole)
    assert_stands_for(masks.flipped(1), whole[:, ::-1])
    assert_stands_for(masks.flipped(2), whole[:, :, ::-1])
    assert_stands_for(masks.transposed(), whole.transpose(0, 2, 1))
    assert_stands_for(masks.enlarged(3), whole.repeat(3, 1).repeat(3, 2))
    assert_stands_for(masks.astype(np.int32), whole.astype(np.int32))
    rows, columns = (np.sort(rng.integers(0, side, 5)) for side in (height, width))
    assert_stands_for(masks.resampled(rows, columns), whole[:, rows][:, :, columns])
    top, left, h, w = rng.integers((-9, -9, 1, 1), (10, 10, 13, 13))
    far = np.pad(whole, ((0, 0), (9, 30), (9, 30)))[:, top + 9 :, left + 9 :]
    assert_stands_for(masks.window(top, left, h, w), far[:, :h, :w])
    covered = rng.random((height, width)) < 0.5
    assert_stands_for(masks.without(covered), whole * ~covered)
    assert_stands_for(CroppedMasks.joined(masks, whole), np.concatenate([whole, whole]))
    np.testing.assert_array_equal(masks.union(), (whole != 0).any(axis=0))
    np.testing.assert_allclose(masks.areas(), whole.sum(axis=(1, 2), dtype=np.float64), rtol=1e-6)


@given(SEEDS)
def test_a_border_shows_what_is_around_a_crop(seed):
    whole = whole_masks(np.random.default_rng(seed))
    masks = CroppedMasks.of(whole)
    for (part, top, left), mask in zip(masks.with_border(), whole, strict=True):
        rows, columns = slice(top, top + part.shape[0]), slice(left, left + part.shape[1])
        np.testing.assert_array_equal(mask[rows, columns], part)
        assert part.sum(dtype=np.float64) == pytest.approx(mask.sum(dtype=np.float64))
        for edge, at_border in (
            (part[0], top == 0),
            (part[-1], rows.stop == whole.shape[1]),
            (part[:, 0], left == 0),
            (part[:, -1], columns.stop == whole.shape[2]),
        ):
            assert at_border or not edge.any()


@given(SEEDS)
def test_indices_choose_objects_as_in_the_array(seed):
    rng = np.random.default_rng(seed)
    whole = whole_masks(rng)
    masks, count = CroppedMasks.of(whole), len(whole)
    keep = rng.random(count) < 0.5
    for index in (keep, np.flatnonzero(keep), slice(1, None, 2), slice(None, None, -1)):
        assert_stands_for(masks[index], whole[index])
    for mask, expected in zip(masks, whole, strict=True):
        np.testing.assert_array_equal(mask, expected)
    for i in range(-count, count):
        np.testing.assert_array_equal(masks[i], whole[i])
    for index in (count, -count - 1):
        with pytest.raises(IndexError):
            masks[index]


@given(SEEDS)
def test_whatever_an_array_can_do_works(seed):
    whole = whole_masks(np.random.default_rng(seed))
    masks = CroppedMasks.of(whole)
    assert len(masks) == len(whole) and masks.size == whole.size and masks.ndim == 3
    np.testing.assert_array_equal(masks > 0, whole > 0)
    np.testing.assert_array_equal(masks.sum(axis=(1, 2)), whole.sum(axis=(1, 2)))
    np.testing.assert_array_equal(whole[:, None] * masks, whole[:, None] * whole)
    np.testing.assert_array_equal(masks[:, ::2, 0], whole[:, ::2, 0])
    np.testing.assert_array_equal(np.concatenate([masks, whole]), np.concatenate([whole, whole]))
    np.testing.assert_array_equal(masks.transpose(1, 2, 0), whole.transpose(1, 2, 0))
    for again in (copy.deepcopy(masks), pickle.loads(pickle.dumps(masks))):
        assert_stands_for(again, whole)
    with pytest.raises(AttributeError, match="no 'nothing_like_it'"):
        masks.nothing_like_it  # noqa: B018
