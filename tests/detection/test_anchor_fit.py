"""detection/anchor_fit.py."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.detection.anchor_fit import (
    best_overlaps,
    coverage,
    level_shapes,
    rising,
    suggested_sizes,
)
from tinymaskrcnn.detection.anchors import AnchorGenerator
from tinymaskrcnn.models.builders import maskrcnn_tiny, maskrcnn_vgg16_fpn
from tinymaskrcnn.ops.box_iou.reference import box_iou
from tinymaskrcnn.tensor import Tensor

SMALL = AnchorGenerator(((12,), (24,), (48,), (96,), (192,)), ((0.5, 1.0, 2.0),) * 5)


def boxes_of(count, size, seed):
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 0.9, (count, 2))
    ends = np.minimum(corners + rng.uniform(0.02, 0.8, (count, 2)), 1)
    return np.hstack([corners, ends]) * np.tile(size[::-1], 2)


# by hand


def test_a_box_that_is_an_anchor_is_covered_wholly():
    boxes = np.array([[26, 26, 38, 38], [26, 28, 38, 40], [40, 40, 88, 88]])
    overlaps = best_overlaps(boxes, np.full((3, 2), 128), SMALL)
    assert overlaps == pytest.approx([1, 12 * 10 / (12 * 14), 1])


def test_coverage_is_mean_and_share():
    assert coverage(np.array([0.2, 0.5, 0.8])) == pytest.approx(0.5 + 2 / 3)


def test_sizes_rise():
    assert rising([30.4, 2.0, 7.0, 7.2, 7.4]) == (4, 7, 8, 9, 30)


# specification


@settings(deadline=None, max_examples=40)
@given(
    st.integers(1, 6),
    st.integers(1, 6),
    st.integers(0, 10**6),
    st.sampled_from([SMALL, AnchorGenerator()]),
)
def test_every_anchor_of_the_grid(rows, columns, seed, anchors):
    shape = (32 * rows, 32 * columns)
    boxes = boxes_of(12, shape, seed)
    shapes = np.tile(shape, (12, 1))
    maps = [tuple(level_shapes(shapes, level)[0]) for level in range(5)]
    grid = np.concatenate(anchors(maps, shape)).astype(np.float64)
    np.testing.assert_allclose(
        best_overlaps(boxes, shapes, anchors), box_iou(boxes, grid).max(axis=1), atol=1e-9
    )


@pytest.mark.parametrize("build", [maskrcnn_tiny, maskrcnn_vgg16_fpn])
def test_levels_are_those_of_the_models(build):
    model = build(2)
    image = Tensor(np.zeros((1, 96, 160, 3), np.float32))
    shapes = [tuple(m.shape[1:3]) for m in model.backbone(image)]
    assert shapes == [tuple(level_shapes(np.array([[96, 160]]), k)[0]) for k in range(5)]


# laws


@settings(deadline=None, max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 40), st.sampled_from([(128, 128), (64, 256)]))
def test_suggested_sizes_never_cover_less(seed, count, shape):
    boxes, shapes = boxes_of(count, shape, seed), np.tile(shape, (count, 1))
    sizes = suggested_sizes(boxes, shapes, SMALL)
    assert len(sizes) == 5 and list(sizes) == sorted(set(sizes))
    better = AnchorGenerator(tuple((s,) for s in sizes), SMALL.aspect_ratios)
    before, after = (coverage(best_overlaps(boxes, shapes, a)) for a in (SMALL, better))
    assert after >= before - 1e-9


def test_sizes_find_the_boxes():
    """Squares of two sizes that the anchors lack."""
    rng = np.random.default_rng(0)
    sides = np.repeat([6, 70], 40)
    corners = rng.uniform(0, 250, (80, 2))
    boxes = np.hstack([corners, corners + sides[:, None]])
    shapes = np.tile((320, 320), (80, 1))
    sizes = suggested_sizes(boxes, shapes, SMALL)
    better = AnchorGenerator(tuple((s,) for s in sizes), SMALL.aspect_ratios)
    assert (
        best_overlaps(boxes, shapes, better).mean()
        > 0.1 + best_overlaps(boxes, shapes, SMALL).mean()
    )
    assert min(abs(np.array(sizes) - 6)) <= 1 and min(abs(np.array(sizes) - 70)) <= 7


# edges


def test_very_many_boxes_are_sampled():
    boxes, shapes = boxes_of(9001, (128, 128), 0), np.tile((128, 128), (9001, 1))
    assert suggested_sizes(boxes, shapes, SMALL) == suggested_sizes(boxes[::3], shapes[::3], SMALL)
