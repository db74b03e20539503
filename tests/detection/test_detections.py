"""detection/detections.py."""

from dataclasses import replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from tinymaskrcnn.detection.detections import Detections


def some_detections(count: int, size: tuple[int, int] = (37, 53), seed: int = 0) -> Detections:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(-5, 30, (count, 2))
    boxes = np.hstack([corners, corners + rng.uniform(3, 25, (count, 2))]).astype(np.float32)
    return Detections(
        boxes,
        rng.integers(1, 5, count),
        np.sort(rng.random(count).astype(np.float32))[::-1],
        rng.random((count, 28, 28), np.float32),
        size,
    )


# by hand


def test_a_sure_mask_fills_its_box(backend):
    box = np.array([[10, 4, 30, 20]], np.float32)
    found = Detections(
        box, np.array([1]), np.ones(1, np.float32), np.ones((1, 28, 28), np.float32), (24, 40)
    )
    mask = found.binary_masks()[0]
    assert mask.dtype == bool and mask.shape == (24, 40)
    assert mask[5:19, 11:29].all()
    assert not mask[:3].any() and not mask[:, 32:].any()
    assert found.masks().shape == (1, 1, 24, 40)


def test_selection_keeps_the_arrays_together():
    found = some_detections(5)
    best = found.above(float(found.scores[2]))
    assert len(best) == 2
    assert np.array_equal(best.boxes, found.boxes[:2])
    assert np.array_equal(best.mask_probabilities, found.mask_probabilities[:2])
    assert len(found[3]) == len(found[-1]) == 1
    assert found[-1].labels[0] == found.labels[4]


def test_as_dict_has_torchvisions_keys(backend):
    found = some_detections(2).as_dict()
    assert list(found) == ["boxes", "labels", "scores", "masks"]
    assert found["masks"].shape == (2, 1, 37, 53) and found["masks"].dtype == np.float32


# laws


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 10**6), st.integers(0, 4), st.floats(0.2, 0.8))
def test_binary_masks_are_the_thresholded_masks(seed, count, threshold):
    found = some_detections(count, seed=seed)
    assert np.array_equal(
        found.binary_masks(threshold), found.masks()[:, 0] > np.float32(threshold)
    )


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 3))
def test_cropped_masks_are_the_masks(seed, enlarge):
    found = some_detections(4, seed=seed)
    height, width = found.image_size
    larger = replace(
        found,
        boxes=found.boxes * np.float32(enlarge),
        image_size=(height * enlarge, width * enlarge),
    )
    cropped = found.cropped_masks(enlarge=enlarge)
    assert np.array_equal(cropped.whole(), larger.binary_masks())


# outside oracle


def test_rles_decode_to_the_binary_masks(backend):
    found = some_detections(6)
    rles = found.rles()
    assert [rle["size"] for rle in rles] == [[37, 53]] * 6
    assert np.array_equal(coco_mask.decode(rles).transpose(2, 0, 1), found.binary_masks())


# edges


def test_nothing_found(backend):
    none = some_detections(0)
    assert len(none) == 0 and none.rles() == []
    assert none.masks().shape == (0, 1, 37, 53)
    assert none.binary_masks().shape == (0, 37, 53)
