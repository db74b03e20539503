"""models/transform.py, models/inputs.py and ops/resize_normalize."""

import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.models.inputs import check_target
from tinymaskrcnn.models.transform import ImageBatch, Transform, TransformConfig, resize_target
from tinymaskrcnn.ops.resize_normalize.op import resize_normalize, window

from .stages import GOLDEN, recorded_target, target_of

PLAIN = {"image_mean": (0.0,), "image_std": (1.0,)}


def plain(min_size=4, max_size=100, **others) -> Transform:
    """One channel, as it is."""
    return Transform(TransformConfig(min_size, max_size, **(PLAIN | others)))


# by hand


def test_same_size_only_normalises_pads_and_turns_channels_last(backend):
    image = np.random.default_rng(0).random((3, 5, 7), np.float32)
    config = TransformConfig(5, 7, (0.5, 0.25, 0.0), (0.5, 0.25, 2.0), size_divisor=4)
    batch, targets = Transform(config)([image])
    assert targets is None
    assert batch.tensor.shape == (1, 8, 8, 3) and batch.tensor.dtype == np.float32
    expected = (image - np.array(config.image_mean)[:, None, None]).transpose(1, 2, 0)
    assert np.allclose(batch.tensor[0, :5, :7], expected / config.image_std, atol=1e-6)
    assert not batch.tensor[0, 5:].any() and not batch.tensor[0, :, 7:].any()


def test_doubling_by_hand(backend):
    out = np.empty((2, 4, 1), np.float32)
    resize_normalize(np.array([[[0.0, 4.0]]], np.float32), (2, 4), [0.0], [1.0], out)
    assert out[..., 0].tolist() == [[0, 1, 3, 4]] * 2


@pytest.mark.parametrize(
    ("size", "resized"),
    [
        ((385, 500), (799, 1038)),
        ((480, 640), (800, 1066)),
        ((427, 640), (800, 1199)),
        ((500, 375), (1066, 800)),
        ((100, 1000), (133, 1333)),
    ],
)
def test_resized_sizes_are_torchvisions(size, resized):
    assert Transform(TransformConfig()).resized_size(size) == resized


@pytest.mark.parametrize("dtype", [bool, np.uint8, np.int64])
def test_masks_by_hand(dtype):
    masks = np.array([[[0, 1], [2, 0]]]).astype(dtype)
    target = {"boxes": [[0, 0, 2, 2]], "labels": [1], "masks": masks}
    resized = resize_target(check_target(target, 0, (2, 2)), (2, 2), (3, 4))["masks"]
    a, b = masks[0, 0, 1], masks[0, 1, 0]
    assert resized.dtype == dtype
    assert resized.tolist() == [[[0, 0, a, a], [0, 0, a, a], [b, b, 0, 0]]]


def test_targets_move_along_and_the_given_ones_stay():
    target = target_of([[1, 2, 3, 4]], [1], (4, 8)) | {"image_id": 7}
    _, (moved,) = plain(8)([np.zeros((1, 4, 8), np.float32)], [target])
    assert moved["boxes"].tolist() == [[2, 4, 6, 8]]
    assert moved["masks"].shape == (1, 8, 16) and moved["masks"].dtype == np.uint8
    assert moved["image_id"] == 7
    assert target["boxes"].tolist() == [[1, 2, 3, 4]] and target["masks"].shape == (1, 4, 8)


def test_detections_come_back_in_the_images_pixels():
    batch = ImageBatch(np.zeros((1, 32, 32, 1), np.float32), [(20, 30)], [(10, 60)])
    boxes, masks = np.array([[3, 4, 30, 20]], np.float32), np.ones((1, 28, 28), np.float32)
    resized = Detections(boxes, np.array([2]), np.ones(1, np.float32), masks, (20, 30))
    (found,) = plain().restore([resized], batch)
    assert found.boxes.tolist() == [[6, 2, 60, 10]]
    assert found.image_size == (10, 60) and found.labels.tolist() == [2]


def test_a_scale_serves_images_of_any_size_and_wins_over_the_limits():
    transform = plain(4, 8, scale=2.0)
    assert transform.resized_size((3, 50)) == (6, 100)
    assert plain(scale=0.4).resized_size((9, 1)) == (4, 1)  # 3.6 and 0.4, never 0
    batch, (moved,) = transform(
        [np.zeros((1, 4, 8), np.float32)], [target_of([[1, 2, 3, 4]], [1], (4, 8))]
    )
    assert batch.sizes == [(8, 16)] and moved["boxes"].tolist() == [[2, 4, 6, 8]]


def test_an_image_that_its_loader_has_scaled_is_scaled_by_what_is_left():
    image, transform = np.zeros((1, 6, 6), np.float32), plain(4, scale=2.0)
    for scaled, side in ((2.0, 6), (1, 12), (4.0, 3)):
        target = target_of([[0, 0, 3, 3]], [1], (6, 6)) | {"scale": scaled}
        batch, (moved,) = transform([image], [target])
        assert batch.sizes == [(side, side)] and moved["boxes"][0, 2] == side / 2
        assert batch.original_sizes == [(6, 6)]
    limited, _ = plain(4)([image], [target])
    assert limited.sizes == [(4, 4)]  # min_size asks for nothing else


@pytest.mark.parametrize("scale", [0, -1.0, float("nan"), "2", None, 65])
def test_what_is_no_scale_of_a_target(scale):
    target = target_of([[0, 0, 3, 3]], [1], (6, 6)) | {"scale": scale}
    with pytest.raises(InputError, match=r"target 0: scale .*, expected a number from 0.015625 to"):
        plain(scale=2.0)([np.zeros((1, 6, 6), np.float32)], [target])


# specification


bilinear_pixel = lessons.load("feature_pyramid").bilinear_pixel


def resized_in_loops(image, size):
    pixels = image.transpose(1, 2, 0).astype(float)  # H, W, C
    rows = [[bilinear_pixel(pixels, i, j, size) for j in range(size[1])] for i in range(size[0])]
    return np.array(rows)


sides = st.integers(1, 40)


@on_each_backend(sides, sides, sides, sides, st.integers(1, 4), examples=25)
def test_one_pixel_at_a_time(backend, old_height, old_width, height, width, channels):
    rng = np.random.default_rng(old_height)
    image = rng.random((channels, old_height, old_width), np.float32)
    mean, std = rng.random(channels), rng.random(channels) + 0.5
    out = np.full((height + 3, width + 2, channels), np.nan, np.float32)
    resize_normalize(image, (height, width), mean, std, out)
    expected = (resized_in_loops(image, (height, width)) - mean) / std
    assert np.allclose(out[:height, :width], expected, atol=3e-5)
    assert not out[height:].any() and not out[:, width:].any()


# laws


@on_each_backend(st.integers(1, 60), st.integers(1, 90), st.data(), examples=40)
def test_a_window_equals_that_part_of_the_whole(backend, length, new_length, data):
    image = np.random.default_rng(length).random((1, length, 7), np.float32)
    whole = np.empty((new_length, new_length, 1), np.float32)
    resize_normalize(image, (new_length, new_length), [0.2], [0.5], whole)
    top, left = (data.draw(st.integers(0, new_length - 1)) for _ in range(2))
    height, width = (data.draw(st.integers(1, new_length - first)) for first in (top, left))
    rows, needed_rows = window(length, new_length, top, height)
    columns, needed_columns = window(7, new_length, left, width)
    part = np.empty((height, width, 1), np.float32)
    given = image[:, needed_rows, needed_columns]
    resize_normalize(given, (height, width), [0.2], [0.5], part, rows, columns)
    np.testing.assert_array_equal(part, whole[top : top + height, left : left + width])


@settings(deadline=None, max_examples=30)
@given(st.lists(st.tuples(st.integers(1, 30), st.integers(1, 30)), min_size=1, max_size=3))
def test_every_image_stands_in_its_corner_of_the_batch(shapes):
    transform = plain(12, 20)
    images = [np.full((1, *shape), i + 1, np.float32) for i, shape in enumerate(shapes)]
    batch, _ = transform(images)
    assert all(side % 32 == 0 for side in batch.tensor.shape[1:3])
    for i, (height, width) in enumerate(batch.sizes):
        assert np.allclose(batch.tensor[i, :height, :width], i + 1)
        assert batch.tensor[i].sum() == pytest.approx((i + 1) * height * width, rel=1e-5)


@settings(deadline=None, max_examples=50)
@given(st.integers(1, 5000), st.integers(1, 5000))
def test_sizes_keep_within_the_limits(height, width):
    resized = Transform(TransformConfig()).resized_size((height, width))
    assert max(resized) <= 1333 and min(resized) <= 800
    assert max(resized) >= 1332 or min(resized) >= 799  # cut off by less than a pixel


def test_training_draws_a_size_and_evaluation_takes_the_last():
    transform = plain((4, 6, 8))
    rng = np.random.default_rng(0)
    drawn = {transform.resized_size((10, 10), rng) for _ in range(40)}
    assert drawn == {(4, 4), (6, 6), (8, 8)}
    assert transform.resized_size((10, 10)) == (8, 8)


def test_the_config_survives_json():
    config = TransformConfig((1, 2), image_mean=[0.5], scale=2.0, object_sizes=[1, 2.5, 9])
    assert TransformConfig(**json.loads(json.dumps(asdict(config)))) == config


# outside oracle


def test_a_batch_equals_torchvisions(backend):
    images = [GOLDEN[f"transform_image_{i}"] for i in range(2)]
    targets = [recorded_target("transform_given", i) for i in range(2)]
    batch, moved = Transform(TransformConfig(48, 70))(images, targets)
    assert batch.sizes == [tuple(size) for size in GOLDEN["transform_sizes"].tolist()]
    assert batch.original_sizes == [(37, 50), (61, 40)]
    assert np.abs(batch.tensor - GOLDEN["transform_batch"]).max() < 2e-6
    for i, target in enumerate(moved):
        expected = recorded_target("transform", i)
        assert np.array_equal(target["boxes"], expected["boxes"])
        assert np.array_equal(target["masks"], expected["masks"])


# edges


def test_an_image_of_one_pixel(backend):
    batch, _ = plain(3, 10)([np.full((1, 1, 1), 0.5, np.float32)])
    assert batch.sizes == [(3, 3)]
    assert (batch.tensor[0, :3, :3] == 0.5).all()


def test_an_image_far_too_wide_keeps_a_row(backend):
    batch, _ = plain(800, 1333)([np.ones((1, 1, 5000), np.float32)])
    assert batch.sizes == [(1, 1333)]


def test_a_strided_image(backend):
    image = np.random.default_rng(0).random((4, 4, 1), np.float32).transpose(2, 0, 1)[:, ::-1]
    batch, _ = plain(4)([image])
    assert np.allclose(batch.tensor[0, :4, :4, 0], image[0])


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (np.zeros((1, 4, 4), np.uint8), "image 0: expected floats in 0..1, got uint8"),
        (np.zeros((4, 4, 1), np.float32), r"image 0: expected shape \(1, H, W\), got \(4, 4, 1\)"),
        (np.zeros((1, 0, 4), np.float32), r"got \(1, 0, 4\)"),
    ],
)
def test_unusable_images(image, message):
    with pytest.raises(InputError, match=message):
        plain()([image])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"boxes": [[1, 1, 1, 3]]}, r"target 0: box \[1.0, 1.0, 1.0, 3.0\], expected x1 < x2"),
        ({"boxes": [[1, 1, np.nan, 3]]}, "target 0: box"),
        ({"boxes": [[2, 0, 3, 3], [3, 3, 1, 4]]}, r"target 0: box \[3.0, 3.0, 1.0, 4.0\]"),
        ({"boxes": 0.0}, r"target 0: expected boxes \(G, 4\), .* got shape \(\)"),
        ({"boxes": [1, 1, 3, 3]}, r"got shape \(4,\)"),
        ({"boxes": [[1, 1, 3, 3, 3]]}, r"got shape \(1, 5\)"),
        ({"boxes": np.ones((4, 5))}, r"got shape \(4, 5\)"),
        ({"boxes": "x"}, "target 0: boxes are not numbers"),
        ({"boxes": [[1, 2, 3], [1]]}, "target 0: boxes are not numbers"),
        ({"boxes": np.zeros((0, 4))}, r"for 0 boxes expected labels \(0,\)"),
        ({"labels": [1.5]}, "target 0: expected whole numbers as labels, got float64"),
        ({"labels": [[1]]}, r"expected labels \(1,\)"),
        ({"masks": None}, r"and masks \(1, 4, 4\), got .*\(\)"),
        ({"iscrowd": [True, False]}, r"for 1 boxes expected iscrowd \(1,\), got \(2,\)"),
        ({"labels": [0]}, "target 0: label 0, expected 1 or above"),
        ({"labels": [1, 2]}, r"for 1 boxes expected labels \(1,\)"),
        ({"masks": np.zeros((1, 3, 4), np.uint8)}, r"and masks \(1, 4, 4\), got .*\(1, 3, 4\)"),
    ],
)
def test_unusable_targets(change, message):
    target = target_of([[1, 1, 3, 3]], [1], (4, 4)) | change
    with pytest.raises(InputError, match=message):
        plain()([np.zeros((1, 4, 4), np.float32)], [target])


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, "expected a list of images, got NoneType"),
        ("photo.jpg", "expected a list of images, got str"),
        (np.zeros((1, 4, 4), np.float32), r"expected a list of images .*, got one array \(1, 4"),
        (np.zeros((0, 1, 4, 4), np.float32), "at least one image"),
        ([np.full((1, 4, 4), np.nan, np.float32)], "image 0: expected finite numbers"),
    ],
)
def test_what_is_not_a_list_of_images(images, message):
    with pytest.raises(InputError, match=message):
        plain()(images)


def test_one_array_of_images_of_one_size():
    batch, _ = plain(4)(np.ones((2, 1, 4, 4), np.float32))
    assert batch.sizes == [(4, 4)] * 2


def test_no_objects_in_any_form():
    image = np.zeros((1, 4, 4), np.float32)
    for masks in ([], np.zeros((0, 4, 4)), np.zeros((0, 9, 9))):
        target = {"boxes": [], "labels": [], "masks": masks}
        _, (moved,) = plain(8)([image], [target])
        assert moved["boxes"].shape == (0, 4) and moved["masks"].shape == (0, 8, 8)
        assert moved["labels"].shape == (0,) and moved["labels"].dtype == np.int64


def test_missing_targets():
    image = np.zeros((1, 4, 4), np.float32)
    with pytest.raises(InputError, match="target 0: no labels, masks"):
        plain()([image], [{"boxes": np.zeros((0, 4))}])
    with pytest.raises(InputError, match="1 images, but 0 targets"):
        plain()([image], [])
    with pytest.raises(InputError, match="target 0: expected a dict, got NoneType"):
        plain()([image], [None])
    with pytest.raises(InputError, match="at least one image"):
        plain()([])


def test_an_image_that_does_not_fit():
    image, out = np.zeros((2, 3, 4), np.float32), np.empty((8, 8, 2), np.float32)
    with pytest.raises(ValueError, match=r"\(9, 8\) with 2 channels does not fit in \(8, 8, 2\)"):
        resize_normalize(image, (9, 8), [0, 0], [1, 1], out)
    with pytest.raises(ValueError, match=r"an image .* of 1 channels"):
        resize_normalize(image, (8, 8), [0], [1], out)


# detectron2's rules


@pytest.mark.parametrize(
    "size, resized",
    [  # by detectron2's ResizeShortestEdge(800, 1333)
        ((586, 640), (800, 874)),
        ((480, 640), (800, 1067)),
        ((427, 640), (800, 1199)),
        ((640, 359), (1333, 748)),
        ((333, 500), (800, 1201)),
        ((100, 1000), (133, 1333)),
    ],
)
def test_sides_are_rounded_as_detectron2s(size, resized):
    assert Transform(TransformConfig(round_sides=True)).resized_size(size) == resized


def test_pillow_averages_whole_grey_values():
    """A checkerboard shrunk by two is grey; linear would keep some of it."""
    board = np.indices((16, 16)).sum(axis=0) % 2 * np.ones((3, 1, 1), np.float32)
    config = {"image_mean": (0.0,) * 3, "image_std": (1.0,) * 3, "min_size": 8, "max_size": 8}
    transform = Transform(TransformConfig(resize="pillow", **config))
    (inner,) = {*np.round(255 * transform([board])[0].tensor[0, 1:7, 1:7]).ravel().tolist()}
    assert inner in (127, 128)


def test_boxes_outside_the_image_are_clipped_and_empty_ones_dropped():
    boxes = np.float32([[10, 10, 30, 20], [40, 5, 40, 9], [-4, 0, 5, 5]])
    found = Detections(
        boxes,
        np.array([1, 2, 3]),
        np.ones(3, np.float32),
        np.ones((3, 28, 28), np.float32),
        (20, 40),
    )
    transform = Transform(TransformConfig(clip_detections=True, paste="exact"))
    moved = transform.to_image(found, (10, 10))
    np.testing.assert_allclose(moved.boxes, [[2.5, 5, 7.5, 10], [0, 0, 1.25, 2.5]])
    assert moved.labels.tolist() == [1, 3]
    assert moved.paste == "exact"
    assert len(Transform(TransformConfig()).to_image(found, (10, 10))) == 3
