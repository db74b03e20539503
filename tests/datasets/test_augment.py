from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.datasets.augment import (
    Augmentation,
    crop_or_pad,
    flip,
    jitter_colour,
    jitter_scale,
    resize,
    transpose,
    vertical_flip,
)
from tinymaskrcnn.datasets.targets import boxes_from_masks, target_from_masks


def picture(height, width, objects, seed):
    """A random picture whose objects are rectangles, each with its own colour in channel 0.

    Later ones cover earlier ones; the background is 0 in every channel.
    """
    rng = np.random.default_rng(seed)
    owner = np.zeros((height, width), np.uint8)
    for number in range(1, objects + 1):
        top, left = rng.integers(0, height), rng.integers(0, width)
        owner[top : top + rng.integers(1, height + 1), left : left + rng.integers(1, width + 1)] = (
            number
        )
    masks = owner == np.arange(1, objects + 1)[:, None, None]
    masks = masks[masks.any(axis=(1, 2))]
    labels = rng.integers(1, 4, len(masks))
    image = np.zeros((3, height, width), np.float32)
    image[0] = owner / np.float32(8)
    return image, target_from_masks(masks, labels, image_id=5)


pictures = st.builds(
    picture, st.integers(1, 40), st.integers(1, 40), st.integers(0, 4), st.integers(0, 10**6)
)
law = settings(deadline=None, max_examples=50)


def assert_consistent(image, target):
    """Boxes and areas agree with the masks, every entry has one value an object."""
    masks = target["masks"]
    assert image.shape[1:] == masks.shape[1:]
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    assert masks.dtype == np.uint8
    assert target["boxes"].dtype == np.float32
    np.testing.assert_array_equal(target["boxes"], boxes_from_masks(masks))
    np.testing.assert_array_equal(target["area"], masks.sum(axis=(1, 2)))
    assert len(target["labels"]) == len(target["iscrowd"]) == len(masks)
    assert target["image_id"] == 5


def assert_equal_pairs(ours, theirs):
    np.testing.assert_array_equal(ours[0], theirs[0])
    assert ours[1].keys() == theirs[1].keys()
    for name, value in ours[1].items():
        np.testing.assert_array_equal(value, theirs[1][name])


# by hand


def test_a_flip_of_two_pixels():
    image = np.arange(6, dtype=np.float32).reshape(3, 1, 2)
    target = target_from_masks(np.array([[[1, 0]]]), np.array([1]), image_id=0)
    flipped, after = flip(image, target)
    np.testing.assert_array_equal(flipped, [[[1, 0]], [[3, 2]], [[5, 4]]])
    np.testing.assert_array_equal(after["boxes"], [[1, 0, 2, 1]])
    np.testing.assert_array_equal(after["masks"], [[[0, 1]]])
    np.testing.assert_array_equal(target["boxes"], [[0, 0, 1, 1]])


def test_a_flip_mirrors_boxes_that_are_not_tight():
    target = target_from_masks(np.ones((1, 4, 8)), np.array([1]), image_id=0)
    target["boxes"] = np.float32([[0.5, 1, 3, 4]])
    image = np.zeros((3, 4, 8), np.float32)
    np.testing.assert_array_equal(flip(image, target)[1]["boxes"], [[5, 1, 7.5, 4]])
    np.testing.assert_array_equal(vertical_flip(image, target)[1]["boxes"], [[0.5, 0, 3, 3]])
    np.testing.assert_array_equal(transpose(image, target)[1]["boxes"], [[1, 0.5, 4, 3]])


def test_doubling_makes_four_of_every_pixel():
    image, target = picture(12, 9, 3, seed=1)
    doubled, after = resize(image, target, 24, 18)
    assert doubled.shape == (3, 24, 18)
    np.testing.assert_array_equal(after["masks"], target["masks"].repeat(2, 1).repeat(2, 2))
    np.testing.assert_array_equal(after["boxes"], target["boxes"] * 2)


def test_a_window_partly_outside_is_filled_with_the_mean_colour():
    image = np.stack([np.full((4, 4), value, np.float32) for value in (0.25, 0.5, 1)])
    image[:, 0, 0] = 0
    target = target_from_masks(np.ones((1, 4, 4)), np.array([1]), image_id=5)
    window, after = crop_or_pad(image, target, -2, 1, 6, 5)
    np.testing.assert_array_equal(window[:, 2:, :3], image[:, :, 1:])
    np.testing.assert_allclose(window[:, 0, 4], image.mean(axis=(1, 2)))
    np.testing.assert_array_equal(after["boxes"], [[0, 2, 3, 6]])


def test_objects_of_too_few_pixels_are_dropped():
    target = target_from_masks(np.ones((1, 4, 4)), np.array([1]), image_id=5)
    image = np.zeros((3, 4, 4), np.float32)
    assert len(crop_or_pad(image, target, 2, 0, 4, 4)[1]["labels"]) == 0  # 8 pixels are left
    assert len(crop_or_pad(image, target, 1, 0, 4, 4)[1]["labels"]) == 1  # 12 pixels


# laws


@law
@given(pictures)
@pytest.mark.parametrize("change", [flip, vertical_flip, transpose])
def test_flips_twice_are_the_identity_and_lose_nothing(change, pair):
    once = change(*pair)
    assert_consistent(*once)
    assert_equal_pairs(change(*once), pair)
    np.testing.assert_array_equal(once[1]["labels"], pair[1]["labels"])


@law
@given(pictures)
@pytest.mark.parametrize("change", [flip, vertical_flip, transpose])
def test_masks_move_with_their_pixels(change, pair):
    image, target = change(*pair)
    for mask in target["masks"].astype(bool):
        assert len(np.unique(image[0][mask])) == 1  # an object's own colour and no other


@law
@given(pictures, st.integers(0, 10**6), st.floats(0.05, 0.7))
def test_scale_jitter_keeps_target_and_canvas(pair, seed, strength):
    image, target = jitter_scale(*pair, np.random.default_rng(seed), strength)
    assert_consistent(image, target)
    assert image.shape[1:] == tuple(-(-side // 32) * 32 for side in pair[0].shape[1:])
    assert (target["area"] >= 10).all()
    assert target["masks"].sum(axis=0).max(initial=0) <= 1
    assert set(target["labels"]) <= set(pair[1]["labels"])


def test_scaled_masks_lie_on_their_objects():
    background, colour = 0.0, 1.0
    mask = np.zeros((1, 64, 64))
    mask[0, 20:44, 10:50] = 1
    image = np.where(mask, colour, background).astype(np.float32).repeat(3, 0)
    target = target_from_masks(mask, np.array([1]), image_id=5)
    for seed in range(20):
        scaled, after = jitter_scale(image, target, np.random.default_rng(seed), 0.4)
        inside = after["masks"][0].astype(bool)
        assert scaled[0][inside].mean() > 0.95
        assert (scaled[0][~inside] > 0.6).mean() < 0.02


@law
@given(pictures, st.integers(0, 10**6), st.floats(0, 1))
def test_colour_jitter_keeps_range_and_grey(pair, seed, strength):
    image = jitter_colour(pair[0], np.random.default_rng(seed), strength)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    grey = np.repeat(pair[0][:1], 3, axis=0)
    jittered = jitter_colour(grey, np.random.default_rng(seed), strength)
    np.testing.assert_allclose(jittered, jittered[:1].repeat(3, 0), atol=1e-6)


def test_colour_jitter_of_strength_zero_changes_nothing():
    image, _ = picture(9, 9, 3, seed=0)
    np.testing.assert_allclose(
        jitter_colour(image, np.random.default_rng(0), 0.0), image, atol=1e-6
    )


@law
@given(pictures, st.integers(0, 10**6))
def test_the_whole_chain_is_consistent_and_repeatable(pair, seed):
    augmentation = Augmentation(0.5, 0.5, 0.5, scale_jitter=0.3, colour_jitter=0.2)
    before = [pair[0].copy(), {name: np.copy(value) for name, value in pair[1].items()}]
    once = augmentation(*pair, np.random.default_rng(seed))
    assert_consistent(*once)
    assert_equal_pairs(augmentation(*pair, np.random.default_rng(seed)), once)
    assert_equal_pairs(pair, before)


# edges


def test_without_any_setting_nothing_changes():
    pair = picture(20, 30, 3, seed=2)
    assert_equal_pairs(Augmentation(flip=0.0)(*pair, np.random.default_rng(0)), pair)


def test_probability_one_always_flips():
    pair = picture(20, 30, 3, seed=2)
    always = Augmentation(flip=1.0)
    assert_equal_pairs(always(*pair, np.random.default_rng(0)), flip(*pair))


def test_a_target_without_optional_entries():
    image, target = picture(20, 30, 3, seed=2)
    bare = {name: target[name] for name in ("boxes", "labels", "masks")}
    augmentation = Augmentation(1.0, 1.0, 1.0, 0.3, 0.2)
    after = SimpleNamespace(**augmentation(image, bare, np.random.default_rng(0))[1])
    np.testing.assert_array_equal(after.boxes, boxes_from_masks(after.masks))
