import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from pycocotools import mask as rle_tools

from tinymaskrcnn.datasets.run_lengths import masks_from_rles, rles_from_masks
from tinymaskrcnn.detection.cropped_masks import CroppedMasks


def encoded(masks):
    """pycocotools' RLE of masks (G, H, W)."""
    return rle_tools.encode(np.asfortranarray(masks.transpose(1, 2, 0)))


# by hand


def test_a_square_is_its_crop():
    whole = np.zeros((1, 3000, 2000), np.uint8)
    whole[0, 700:730, 40:90] = 1
    masks = masks_from_rles(encoded(whole), (3000, 2000))
    assert masks.crops[0].shape == (30, 50) and masks.crops[0].all()
    assert masks.corners.tolist() == [[700, 40]]


def test_nothing_is_none():
    masks = masks_from_rles([], (5, 6))
    assert masks.shape == (0, 5, 6)
    assert rles_from_masks(masks) == []


# outside oracle


@given(
    arrays(np.uint8, array_shapes(min_dims=3, max_dims=3, max_side=9), elements=st.integers(0, 1))
)
def test_both_ways_as_pycocotools(whole):
    """Sides up to 9 give runs that cross the ends of columns, and full and empty masks."""
    rles = encoded(whole)
    masks = masks_from_rles(rles, whole.shape[1:])
    np.testing.assert_array_equal(np.asarray(masks), whole)
    assert rles_from_masks(masks) == rles
    assert rles_from_masks(CroppedMasks.of(whole)) == rles


def test_long_runs_and_counts_as_text():
    rng = np.random.default_rng(0)
    whole = np.zeros((3, 700, 900), np.uint8)
    whole[0, 100:650] = 1
    whole[1, :, 200:800] = 1
    whole[2] = rng.random((700, 900)) < 0.5
    rles = encoded(whole)
    texts = [{**rle, "counts": rle["counts"].decode()} for rle in rles]
    masks = masks_from_rles(texts, (700, 900))
    np.testing.assert_array_equal(np.asarray(masks), whole)
    assert rles_from_masks(masks) == rles
