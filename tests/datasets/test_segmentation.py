import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as rle_tools

from tinymaskrcnn.datasets.segmentation import UnusableObject, decode_runs, read_segmentation
from tinymaskrcnn.errors import InputError

masks_strategy = arrays(
    np.uint8, st.tuples(st.integers(1, 12), st.integers(1, 12)), elements=st.integers(0, 1)
).filter(np.any)


def runs_of(mask):
    """The specification: count down the columns, background first."""
    runs, value = [0], 0
    for pixel in mask.T.ravel().tolist():
        if pixel != value:
            runs.append(0)
            value = pixel
        runs[-1] += 1
    return runs


def decode(segmentation, height, width):
    return rle_tools.decode(read_segmentation("x.json: annotation 7", segmentation, height, width))


# by hand


def test_a_polygon_of_whole_pixels():
    mask = decode([[1, 1, 4, 1, 4, 3, 1, 3]], 5, 6)
    expected = np.zeros((5, 6))
    expected[1:3, 1:4] = 1
    np.testing.assert_array_equal(mask, expected)


def test_polygons_of_one_object_are_united():
    mask = decode([[0, 0, 2, 0, 2, 2, 0, 2], [3, 0, 5, 0, 5, 2, 3, 2]], 4, 6)
    assert mask.sum() == 8


# laws


@settings(deadline=None, max_examples=60)
@given(masks_strategy)
def test_compressed_and_uncompressed_rle_round_trip(mask):
    height, width = mask.shape
    packed = rle_tools.encode(np.asfortranarray(mask))
    compressed = {"size": [height, width], "counts": packed["counts"].decode()}
    plain = {"size": [height, width], "counts": runs_of(mask)}
    np.testing.assert_array_equal(decode(compressed, height, width), mask)
    np.testing.assert_array_equal(decode(plain, height, width), mask)


@settings(deadline=None, max_examples=60)
@given(st.lists(st.integers(0, 2**20), min_size=1, max_size=12))
def test_runs_of_any_length_are_decoded(runs):
    packed = rle_tools.frPyObjects({"size": [1, max(1, sum(runs))], "counts": runs}, 1, sum(runs))
    assert decode_runs(packed["counts"].decode()) == runs


@settings(deadline=None, max_examples=100)
@given(st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=12))
def test_any_string_is_a_mask_of_the_right_size_or_refused(counts):
    try:
        mask = decode({"size": [4, 5], "counts": counts}, 4, 5)
    except (InputError, UnusableObject):
        return
    assert mask.shape == (4, 5)


# outside oracle


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.integers(30, 200))
def test_very_many_polygons_are_united_as_pycocotools_does(seed, count):
    """More polygons than are merged at once."""
    corners = np.random.default_rng(seed).uniform(-2, 60, (count, 1, 2))
    triangle = np.array([[0, 0], [5, 1], [3, 6]])
    polygons = (corners + triangle).reshape(count, 6).tolist()
    expected = rle_tools.merge(rle_tools.frPyObjects(polygons, 50, 60))
    assert read_segmentation("x", polygons, 50, 60) == expected


@settings(deadline=None, max_examples=40)
@given(
    st.lists(
        st.lists(st.floats(-3, 15), min_size=6, max_size=12).filter(lambda p: len(p) % 2 == 0),
        min_size=1,
        max_size=3,
    )
)
def test_polygons_are_rasterised_as_pycocotools_does(polygons):
    rle = rle_tools.merge(rle_tools.frPyObjects(polygons, 12, 10))
    if rle_tools.area(rle) == 0:
        with pytest.raises(UnusableObject):
            decode(polygons, 12, 10)
    else:
        np.testing.assert_array_equal(decode(polygons, 12, 10), rle_tools.decode(rle))


# edges


@pytest.mark.parametrize(
    ("polygon", "size"),
    [
        ([0, 0, 64e6, 0, 64e6, 1, 0, 1], (1, 64_000_000)),
        ([v for i in range(100_000) for v in (1270 * (-1) ** i, i / 1000)], (128, 128)),
        ([v for i in range(40_000) for v in (128 * (i % 2), i / 400)], (128, 128)),
    ],
)
def test_polygons_that_are_long_rather_than_far_are_unusable(polygon, size):
    """pycocotools takes memory by their length, without checking that it gets it."""
    with pytest.raises(UnusableObject, match="polygons longer than 4194304 pixels"):
        read_segmentation("x", [polygon], *size)
    ends = range(0, min(len(polygon) - 3, 40_000), 2)
    parts = [[*polygon[k : k + 4], *polygon[k : k + 2]] for k in ends]
    if len(parts) > 10:  # in the same way in many polygons
        with pytest.raises(UnusableObject, match="longer than"):
            read_segmentation("x", parts, *size)


def test_the_longest_polygon_that_is_read():
    """Half the longest polygon, there and back: its middle is filled."""
    points = [v for i in range(16_000) for v in (127 * (i % 2), i / 125)]
    mask = decode([[*points, 0, 128]], 128, 128)
    assert 0.4 < mask.mean() < 0.6


def test_of_a_polygon_that_is_too_long_only_what_is_in_the_image_counts():
    band = [-1e6, 20, 1e6, 20, 1e6, 30, -1e6, 30]
    mask = decode([band, [-9e5, -9e5, -8e5, -9e5, -9e5, -8e5]], 100, 120_000)
    assert mask[20:30].all()
    assert mask.sum() == 10 * 120_000


def test_numbers_beyond_what_pycocotools_counts_are_far():
    with pytest.raises(UnusableObject, match="far outside"):
        read_segmentation("x", [[4.2e8, 0, 4.4e8, 0, 4.3e8, 1]], 1, 64_000_000)
    assert decode([[0, 0, 100, 0, 100, 1, 0, 1]], 1, 64_000_000).sum() == 100


@pytest.mark.parametrize(
    ("segmentation", "reason"),
    [
        (None, "no segmentation"),
        ([], "no segmentation"),
        ({}, "no segmentation"),
        ([[1, 1, 2, 2]], "fewer than three points"),
        ([[1, 1, 2, 2, 3, 3, 4]], "fewer than three points"),
        ([[1, 1, 1, 1, 1, 1]], "covers no pixel"),
        ([[20, 20, 30, 20, 30, 30]], "covers no pixel"),
        ([[0, 0, 1e9, 0, 1e9, 1e9]], "far outside"),
        ({"size": [5, 6], "counts": [30]}, "covers no pixel"),
    ],
)
def test_what_describes_no_mask_is_unusable(segmentation, reason):
    with pytest.raises(UnusableObject, match=reason):
        read_segmentation("x.json: annotation 7", segmentation, 5, 6)


@pytest.mark.parametrize(
    "segmentation",
    [
        "text",
        7,
        [1, 1, 2, 2, 3, 3],
        [["a"] * 6],
        [[float("nan")] * 6],
        {"size": [6, 5], "counts": [30]},
        {"counts": [30]},
        {"size": [5, 6]},
        {"size": [5, 6], "counts": [10, -5, 25]},
        {"size": [5, 6], "counts": [10, 5]},
        {"size": [5, 6], "counts": "04"},
        {"size": [5, 6], "counts": "n"},
        {"size": [5, 6], "counts": [10.5, 19.5]},
    ],
)
def test_what_has_the_wrong_form_is_refused_with_its_place(segmentation):
    with pytest.raises(InputError, match=r"^x\.json: annotation 7: "):
        read_segmentation("x.json: annotation 7", segmentation, 5, 6)
