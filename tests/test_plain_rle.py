"""COCO's masks in NumPy against pycocotools, to the byte."""

import numpy as np
import pytest
from pycocotools import mask as theirs

from tinymaskrcnn import plain_rle as ours

SIZES = [(1, 1), (1, 7), (9, 1), (13, 17), (40, 31)]


def mask_of(rng, size):
    """Random pixels, blobs, nothing or everything."""
    kind = rng.integers(4)
    share = (0.5, 0.05, -1, 2)[kind]
    return np.asfortranarray(rng.random(size) < share, np.uint8)


def polygon_of(rng, size):
    """Three to nine corners, some of them outside the image, some on whole or half pixels."""
    points = rng.uniform(-0.5, 1.5, (rng.integers(3, 10), 2)) * np.array(size[::-1])
    if rng.random() < 0.5:
        points = np.round(2 * points) / 2
    return points.ravel().tolist()


@pytest.mark.parametrize("size", SIZES)
def test_masks(size):
    rng = np.random.default_rng(sum(size))
    masks = [mask_of(rng, size) for _ in range(40)]
    rles = [theirs.encode(mask) for mask in masks]
    assert [ours.encode(mask) for mask in masks] == rles
    assert ours.encode(np.stack(masks, 2)) == rles
    for rle, mask in zip(rles, masks, strict=True):
        assert (ours.decode(rle) == mask).all() and ours.area(rle) == theirs.area(rle)
        assert ours.toBbox(rle).tolist() == theirs.toBbox(rle).tolist()
        text = rle | {"counts": rle["counts"].decode()}
        assert (ours.decode(text) == mask).all()
    assert ours.toBbox(rles).tolist() == theirs.toBbox(rles).tolist()
    assert (ours.decode(rles) == theirs.decode(rles)).all()
    for some in (rles[:1], rles[:2], rles[3:9]):
        for intersect in (False, True):
            assert ours.merge(some, intersect) == theirs.merge(some, intersect)


@pytest.mark.parametrize("size", SIZES)
def test_polygons(size):
    rng = np.random.default_rng(sum(size))
    polygons = [polygon_of(rng, size) for _ in range(200)]
    assert ours.frPyObjects(polygons, *size) == theirs.frPyObjects(polygons, *size)


def test_runs():
    runs = {"size": [3, 4], "counts": [0, 5, 1, 6]}
    assert ours.frPyObjects(runs, 3, 4) == theirs.frPyObjects(runs, 3, 4)
    assert ours.frPyObjects([runs], 3, 4) == theirs.frPyObjects([runs], 3, 4)
    rng = np.random.default_rng(0)
    long = rng.integers(0, 2**20, 50).tolist()
    assert ours.runs_of(ours.compressed(long)).tolist() == long


def test_overlaps():
    rng = np.random.default_rng(0)
    crowd = rng.integers(0, 2, 6).tolist()
    rles = [theirs.encode(mask_of(rng, (9, 11))) for _ in range(11)]
    boxes = rng.integers(0, 9, (11, 4)).astype(float)
    for some, others in ((rles[:5], rles[5:]), (boxes[:5], boxes[5:])):
        expected = theirs.iou(some, others, crowd)
        assert np.allclose(ours.iou(some, others, crowd), expected, rtol=0, atol=1e-15)
    listed = boxes.tolist()
    assert (ours.iou(listed[:5], listed[5:], crowd) == ours.iou(boxes[:5], boxes[5:], crowd)).all()
    assert ours.iou([], rles, [0] * 11) == theirs.iou([], rles, [0] * 11) == []
