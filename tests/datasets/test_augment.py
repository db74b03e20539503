from itertools import islice
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.datasets.augment import (
    Augmentation,
    copy_paste,
    crop_or_pad,
    cut,
    flip,
    free_offset,
    jitter_colour,
    jitter_scale,
    random_crop,
    resize,
    transpose,
    vertical_flip,
)
from tinymaskrcnn.datasets.loader import Loader
from tinymaskrcnn.datasets.targets import target_from_masks
from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.errors import InputError


def example(height, width, objects, seed):
    """A random image whose objects are rectangles, each with its own colour in channel 0.

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


class Images:
    """A data set of such images, of different sizes; image `broken` cannot be read."""

    def __init__(self, count, broken=None):
        self.count, self.broken = count, broken

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        if index == self.broken:
            raise InputError(f"example {index} is broken")
        return example(24 + 5 * index, 40 - 3 * index, 1 + index % 4, seed=index)

    def describe(self, index):
        return f"number {index}"


examples = st.builds(
    example, st.integers(1, 40), st.integers(1, 40), st.integers(0, 4), st.integers(0, 10**6)
)
law = settings(deadline=None, max_examples=50)


def assert_consistent(image, target):
    """Boxes and areas agree with the masks, and every entry has one value per object."""
    masks = target["masks"]
    assert image.shape[1:] == masks.shape[1:]
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    assert masks.dtype == np.uint8
    assert target["boxes"].dtype == np.float32
    np.testing.assert_array_equal(target["boxes"], CroppedMasks.of(masks).boxes())
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
    image, target = example(12, 9, 3, seed=1)
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
    assert len(crop_or_pad(image, target, 2, 0, 4, 4)[1]["labels"]) == 0  # 8 pixels remain
    assert len(crop_or_pad(image, target, 1, 0, 4, 4)[1]["labels"]) == 1  # 12 pixels


def test_a_pasted_object_covers_what_is_below():
    masks = np.zeros((2, 8, 20))
    masks[0, :, :10] = masks[1, :, 10:] = 1
    target = target_from_masks(masks, np.array([1, 2]), image_id=5)
    image = np.zeros((3, 8, 20), np.float32)
    square = np.zeros((1, 8, 20))
    square[0, :, 4:12] = 1
    other = target_from_masks(square, np.array([3]), image_id=7)
    for seed in range(20):
        rng = np.random.default_rng(seed)
        pasted, after = copy_paste(image, target, np.ones_like(image), other, rng)
        place = np.flatnonzero(pasted[0, 0])
        assert len(place) == 8 and (pasted == pasted[0, 0]).all()
        left, right = np.arange(10), np.arange(10, 20)
        visible = [len(np.setdiff1d(part, place)) * 8 for part in (left, right)]
        kept = [label for label, pixels in zip((1, 2), visible, strict=True) if pixels >= 10]
        np.testing.assert_array_equal(after["labels"], [*kept, 3])
        np.testing.assert_array_equal(after["area"], [v for v in visible if v >= 10] + [64])
        assert after["image_id"] == 5


def test_crowds_are_never_pasted_and_stay_below():
    image, target = example(20, 30, 2, seed=3)
    crowd = target | {"iscrowd": np.ones(len(target["labels"]), bool)}
    rng = np.random.default_rng(0)
    assert_equal_pairs(copy_paste(image, target, image + 1, crowd, rng), (image, target))
    _, after = copy_paste(image, crowd, image + 1, target, rng)
    assert after["iscrowd"][0] and not after["iscrowd"][-1]


# laws


@law
@given(examples)
@pytest.mark.parametrize("change", [flip, vertical_flip, transpose])
def test_flips_twice_are_the_identity_and_lose_nothing(change, pair):
    once = change(*pair)
    assert_consistent(*once)
    assert_equal_pairs(change(*once), pair)
    np.testing.assert_array_equal(once[1]["labels"], pair[1]["labels"])


@law
@given(examples)
@pytest.mark.parametrize("change", [flip, vertical_flip, transpose])
def test_masks_move_with_their_pixels(change, pair):
    image, target = change(*pair)
    for mask in target["masks"].astype(bool):
        assert len(np.unique(image[0][mask])) == 1  # an object's own colour and no other


@law
@given(examples, st.integers(0, 10**6), st.floats(0.05, 0.7))
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
@given(examples, st.integers(0, 10**6), st.floats(0, 1))
def test_colour_jitter_keeps_range_and_grey(pair, seed, strength):
    image = jitter_colour(pair[0], np.random.default_rng(seed), strength)
    assert image.dtype == np.float32
    assert 0 <= image.min() <= image.max() <= 1
    grey = np.repeat(pair[0][:1], 3, axis=0)
    jittered = jitter_colour(grey, np.random.default_rng(seed), strength)
    np.testing.assert_allclose(jittered, jittered[:1].repeat(3, 0), atol=1e-6)


def test_colour_jitter_of_strength_zero_changes_nothing():
    image, _ = example(9, 9, 3, seed=0)
    np.testing.assert_allclose(
        jitter_colour(image, np.random.default_rng(0), 0.0), image, atol=1e-6
    )


@law
@given(examples, st.integers(0, 10**6), st.floats(0.01, 0.9))
def test_crops_are_windows_of_image_and_masks(pair, seed, strength):
    image, target = pair
    height, width = image.shape[1:]
    image = image.copy()
    image[1], image[2] = np.mgrid[:height, :width]  # where each pixel came from
    cropped, after = random_crop(image, target, np.random.default_rng(seed), strength)
    assert_consistent(cropped, after)
    rows, columns = cropped[1, :, 0].astype(int), cropped[2, 0].astype(int)
    for kept, side in ((rows, height), (columns, width)):
        assert kept.tolist() == list(range(kept[0], kept[0] + len(kept)))
        assert round(side * (1 - strength)) <= max(len(kept), 1) <= side
    window = image[:, rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    np.testing.assert_array_equal(cropped, window)
    masks = target["masks"][:, rows][:, :, columns]
    large = masks.sum(axis=(1, 2)) >= 10
    np.testing.assert_array_equal(after["masks"], masks[large])
    np.testing.assert_array_equal(after["labels"], target["labels"][large])


def painted(pair, values):
    """The image with each object in a value of its own in channel 1, and -1 elsewhere."""
    image, target = pair
    image = image.copy()
    image[1] = -1
    for value, mask in zip(values, target["masks"].astype(bool), strict=True):
        image[1][mask] = value
    return image, target


@law
@given(examples, examples, st.integers(0, 10**6))
def test_pasting_keeps_boxes_and_masks_right(pair, other, seed):
    """Every mask covers exactly the pixels of its own object. Pasted objects lie on top, and are
    whole wherever there is room.
    """
    own, pasted = 10 + np.arange(len(pair[1]["labels"])), 50 + np.arange(len(other[1]["labels"]))
    pair, other = painted(pair, own), painted(other, pasted)
    image, target = copy_paste(*pair, *other, np.random.default_rng(seed))
    if len(pasted) == 0:
        assert_equal_pairs((image, target), pair)
        return
    assert_consistent(image, target)
    assert image.shape == pair[0].shape
    assert target["masks"].sum(axis=0).max(initial=0) <= 1
    kept, values = [], image[1]
    for label, mask in zip(target["labels"], target["masks"].astype(bool), strict=True):
        (value,) = np.unique(values[mask])
        np.testing.assert_array_equal(mask, values == value)
        source, first = (pair, 10) if value < 50 else (other, 50)
        assert label == source[1]["labels"][int(value) - first]
        kept.append(value)
    for value in np.setdiff1d(np.unique(values), [-1, *kept]):
        assert (values == value).sum() < 10  # too little was left
    fits = all(a >= b for a, b in zip(pair[0].shape[1:], other[0].shape[1:], strict=True))
    for value in kept:
        if value >= 50 and fits:
            assert (values == value).sum() == (other[0][1] == value).sum()


@law
@given(st.sets(st.integers(0, 30), min_size=1), st.integers(1, 40), st.integers(0, 10**6))
def test_offsets_show_as_much_as_there_is_room_for(used, side, seed):
    places = np.array(sorted(used))
    start = free_offset(places, side, np.random.default_rng(seed))
    extent = places[-1] - places[0] + 1
    first, last = places[0] - start, places[-1] - start
    if extent <= side:
        assert first >= 0 and last < side
    else:
        assert first <= 0 and last >= side - 1


@law
@given(examples, st.integers(0, 10**6))
def test_the_whole_chain_is_consistent_and_repeatable(pair, seed):
    augmentation = Augmentation(0.5, 0.5, 0.5, 0.3, 0.2, 0.4, 0.7, Images(4))
    before = [pair[0].copy(), {name: np.copy(value) for name, value in pair[1].items()}]
    once = augmentation(*pair, np.random.default_rng(seed))
    assert_consistent(*once)
    assert_equal_pairs(augmentation(*pair, np.random.default_rng(seed)), once)
    assert_equal_pairs(pair, before)


@pytest.mark.parametrize("settings", [{"crop": 0.5}, {"copy_paste": 0.8}, {"flip": 0.5}])
def test_what_a_step_sees_depends_on_seed_and_step_alone(settings):
    dataset = Images(7)
    partners = {"partners": dataset} if "copy_paste" in settings else {}
    augment = Augmentation(**{"flip": 0.0, **settings, **partners})

    def batches(seed, start, count):
        return list(islice(Loader(dataset, 3, seed, augment, start_step=start), count))

    whole, rest = batches(5, 0, 6), batches(5, 4, 2)
    for ours, theirs in zip(whole[4:], rest, strict=True):
        for pair in zip(zip(ours.images, ours.targets), zip(theirs.images, theirs.targets)):  # noqa: B905
            assert_equal_pairs(*pair)
    other = batches(6, 0, 6)
    shapes = [[image.sum() for batch in b for image in batch.images] for b in (whole, other)]
    assert shapes[0] != shapes[1]


def test_new_settings_take_no_chances_from_the_old_ones():
    """Recipes from before the new settings still give the same images."""
    pair = example(20, 30, 3, seed=2)
    once = Augmentation(0.5, scale_jitter=0.3, colour_jitter=0.3)(*pair, np.random.default_rng(1))
    rng = np.random.default_rng(1)
    image, target = pair
    for change, chance in ((flip, 0.5), (vertical_flip, 0), (transpose, 0)):
        if rng.random() < chance:
            image, target = change(image, target)
    image, target = jitter_scale(image, target, rng, 0.3)
    assert_equal_pairs(once, (jitter_colour(image, rng, 0.3), target))


# edges


def test_pasting_needs_images_to_paste_from():
    with pytest.raises(InputError, match="copy_paste needs partners"):
        Augmentation(copy_paste=0.5)


def test_a_broken_partner_is_named():
    augmentation = Augmentation(copy_paste=1.0, partners=Images(1, broken=0))
    with pytest.raises(InputError, match="example 0 is broken") as caught:
        augmentation(*example(20, 30, 3, seed=2), np.random.default_rng(0))
    assert caught.value.__notes__ == ["while pasting from number 0"]


def test_without_any_setting_nothing_changes():
    pair = example(20, 30, 3, seed=2)
    assert_equal_pairs(Augmentation(flip=0.0)(*pair, np.random.default_rng(0)), pair)


def test_probability_one_always_flips():
    pair = example(20, 30, 3, seed=2)
    always = Augmentation(flip=1.0)
    assert_equal_pairs(always(*pair, np.random.default_rng(0)), flip(*pair))


def test_a_target_without_optional_entries():
    image, target = example(20, 30, 3, seed=2)
    bare = {name: target[name] for name in ("boxes", "labels", "masks")}
    augmentation = Augmentation(1.0, 1.0, 1.0, 0.3, 0.2)
    after = SimpleNamespace(**augmentation(image, bare, np.random.default_rng(0))[1])
    np.testing.assert_array_equal(after.boxes, CroppedMasks.of(after.masks).boxes())


# crops of a fixed size


def windows(draw_from):
    """A window inside an image: top, left, height, width."""

    def window(height, width):
        tall, wide = draw_from(st.integers(1, height)), draw_from(st.integers(1, width))
        top = draw_from(st.integers(0, height - tall))
        return top, draw_from(st.integers(0, width - wide)), tall, wide

    return window


@law
@given(examples, st.data())
def test_a_crop_shows_the_whole_masks_through_its_window(pair, data):
    """Its objects are those of which enough is left, each as the window shows it; no copies."""
    image, target = pair
    before = target["masks"].whole()
    top, left, height, width = windows(data.draw)(*image.shape[1:])
    after, inside = cut(image, target, top, left, height, width)
    shown = before[:, top : top + height, left : left + width]
    left_over, whole = shown.sum(axis=(1, 2)), before.sum(axis=(1, 2))
    stays = (left_over == whole) | ((left_over >= 10) & (left_over >= 0.1 * whole))
    np.testing.assert_array_equal(inside["masks"].whole(), shown[stays])
    np.testing.assert_array_equal(inside["labels"], target["labels"][stays])
    np.testing.assert_array_equal(after, image[:, top : top + height, left : left + width])
    assert_consistent(np.ascontiguousarray(after), inside)
    assert np.shares_memory(after, image)
    owners = [crop for crop, kept in zip(target["masks"].crops, stays, strict=True) if kept]
    assert all(map(np.shares_memory, inside["masks"].crops, owners))


class Untouchable(np.ndarray):
    """A crop that nobody may read."""

    def __array_ufunc__(self, *args, **kwargs):
        raise AssertionError("looked at")

    def __array_function__(self, *args, **kwargs):
        raise AssertionError("looked at")

    def __getitem__(self, index):
        raise AssertionError("looked at")


@pytest.mark.parametrize("change", [cut, crop_or_pad])
def test_objects_outside_the_window_are_not_touched(change):
    crops = [np.ones((4, 4), np.uint8), np.ones((4, 4), np.uint8).view(Untouchable)]
    masks = CroppedMasks(crops, [(2, 2), (30, 30)], (40, 40))
    target = {
        "boxes": np.float32([[2, 2, 6, 6], [30, 30, 34, 34]]),
        "labels": np.array([1, 2]),
        "masks": masks,
    }
    _, inside = change(np.zeros((3, 40, 40), np.float32), target, 0, 0, 20, 20)
    np.testing.assert_array_equal(inside["labels"], [1])


@pytest.mark.parametrize(("height", "width"), [(100, 130), (100, 20), (7, 9)])
@pytest.mark.parametrize("jitter", [0.0, 0.3])
def test_every_crop_has_the_size_that_was_asked_for_or_the_image_has(height, width, jitter):
    image, target = example(height, width, 3, seed=1)
    augment = Augmentation(crop_size=32, scale_jitter=jitter)
    for seed in range(20):
        cropped, inside = augment(image, target, np.random.default_rng(seed))
        assert_consistent(cropped, inside)
        for side, full in zip(cropped.shape[1:], (height, width), strict=True):
            if full * (1 - jitter) >= 32 or not jitter:
                assert side == min(32, full)
            assert 0 < side <= 32


def test_crops_meet_objects_as_often_as_asked():
    """A single object of 12 x 12 pixels in a large image, at a corner or in the middle."""
    for top, left in [(0, 0), (188, 188), (100, 90)]:
        mask = np.zeros((1, 200, 200), np.uint8)
        mask[0, top : top + 12, left : left + 12] = 1
        pair = np.zeros((3, 200, 200), np.float32), target_from_masks(mask, [1], 0)
        counts = {}
        for share in (0.0, 0.7, 1.0):
            augment = Augmentation(crop_size=20, crop_on_object=share)
            found = [augment(*pair, np.random.default_rng(i))[1] for i in range(200)]
            counts[share] = sum(len(target["labels"]) for target in found)
        assert counts[1.0] == 200
        assert counts[0.0] < 20
        assert 120 <= counts[0.7] <= 165


def test_an_image_without_objects_is_cropped_too():
    image = np.zeros((3, 50, 50), np.float32)
    target = target_from_masks(np.zeros((0, 50, 50), np.uint8), np.zeros(0), 0)
    cropped, inside = Augmentation(crop_size=16)(image, target, np.random.default_rng(0))
    assert cropped.shape == (3, 16, 16)
    assert inside["masks"].shape == (0, 16, 16)


@law
@given(examples, st.integers(0, 2**32))
def test_images_of_8_bits_go_the_same_way(pair, seed):
    """The same changes are drawn, objects are the same, and the colours, up to rounding."""
    image, target = pair
    kept = np.rint(image * 255).astype(np.uint8)
    settings = {"vertical_flip": 0.5, "transpose": 0.5, "scale_jitter": 0.3, "crop": 0.3}
    for augment in (Augmentation(**settings), Augmentation(crop_size=16, **settings)):
        ours = augment(kept, target, np.random.default_rng(seed))
        theirs = augment(image, target, np.random.default_rng(seed))
        assert_consistent(*ours)
        np.testing.assert_array_equal(ours[1]["masks"], theirs[1]["masks"])
        if not (ours[0].shape[1] % 32 == 0 == ours[0].shape[2] % 32):  # nothing was padded
            np.testing.assert_allclose(ours[0], theirs[0], atol=2.1 / 255)
