"""detection/anchors.py."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import lessons
from tinymaskrcnn.detection.anchors import AnchorGenerator, cell_anchors

GOLDEN = np.load(Path(__file__).parents[1] / "golden" / "detection.npz")
MAPS = [(25, 34), (13, 17), (7, 9), (4, 5), (2, 3)]

# by hand


def test_the_table_of_half_sides():
    halves = [(23, 11), (16, 16), (11, 23)], [(45, 23), (32, 32), (23, 45)]
    for size, expected in zip((32, 64), halves, strict=True):
        assert cell_anchors([size], [0.5, 1, 2])[:, 2:].tolist() == [list(h) for h in expected]


def test_anchors_sit_on_the_corner_of_their_cell():
    (anchors,) = AnchorGenerator(((4,),), ((1.0,),))([(2, 3)], (20, 30))
    assert anchors.tolist() == [[x - 2, y - 2, x + 2, y + 2] for y in (0, 10) for x in (0, 10, 20)]


def test_nine_anchors_of_a_small_image():
    """Ten pixels square on a grid of five, half of the first ones outside."""
    (anchors,) = AnchorGenerator(((10,),), ((1.0,),))([(3, 3)], (15, 15))
    expected = [[x - 5, y - 5, x + 5, y + 5] for y in (0, 5, 10) for x in (0, 5, 10)]
    assert anchors.tolist() == expected and anchors.dtype == np.float32


def test_the_stride_is_a_whole_number():
    anchors = AnchorGenerator(((512,),), ((1.0,),))([(13, 17)], (800, 1088))[0]
    rows = anchors.reshape(13, 17, 4)
    assert rows[1, 0, 1] - rows[0, 0, 1] == 61
    assert rows[0, 1, 0] - rows[0, 0, 0] == 64


def test_count_at_full_size():
    maps = [(200, 272), (100, 136), (50, 68), (25, 34), (13, 17)]
    assert sum(len(level) for level in AnchorGenerator()(maps, (800, 1088))) == 217_413


# specification


anchor_one = lessons.load("anchors").anchor_one


@settings(deadline=None, max_examples=30)
@given(
    st.lists(st.sampled_from([8, 20, 33.5]), min_size=1, max_size=2),
    st.lists(st.sampled_from([0.5, 1.0, 2.0, 3.0]), min_size=1, max_size=3),
    st.tuples(st.integers(1, 4), st.integers(1, 4)),
    st.integers(4, 50),
)
def test_one_anchor_at_a_time(sizes, ratios, shape, image):
    (anchors,) = AnchorGenerator((sizes,), (ratios,))([shape], (image, 2 * image))
    stride = image // shape[0], 2 * image // shape[1]
    expected = [
        anchor_one(row, column, stride, size, ratio)
        for row in range(shape[0])
        for column in range(shape[1])
        for ratio in ratios
        for size in sizes
    ]
    assert np.array_equal(anchors, expected)


# outside oracle


def test_anchors_match_torchvision_exactly():
    levels = AnchorGenerator()(MAPS, (100, 136))
    assert [len(level) for level in levels] == [3 * h * w for h, w in MAPS]
    assert np.array_equal(np.concatenate(levels), GOLDEN["anchors"])
    cells = [
        cell_anchors(s, r)
        for s, r in zip(AnchorGenerator.sizes, AnchorGenerator.aspect_ratios, strict=True)
    ]
    assert np.array_equal(np.concatenate(cells), GOLDEN["cell_anchors"])


# edges


def test_anchors_are_kept_and_cannot_be_changed():
    generator = AnchorGenerator(((8,),), ((1.0,),))
    (anchors,) = generator([(2, 2)], (16, 16))
    assert generator([(2, 2)], (16, 16))[0] is anchors
    with pytest.raises(ValueError, match="read-only"):
        anchors[0] = 0


def test_lists_are_taken_as_from_json():
    assert AnchorGenerator([[8]], [[1.0]]) == AnchorGenerator(((8,),), ((1.0,),))


def test_wrong_numbers_of_levels():
    with pytest.raises(ValueError, match="1 levels, aspect_ratios for 2"):
        AnchorGenerator(((8,),), ((1.0,), (1.0,)))
    with pytest.raises(ValueError, match="2 feature maps for anchors of 5 levels"):
        AnchorGenerator()([(1, 1), (1, 1)], (32, 32))


def test_anchors_that_are_not_rounded_and_strides_that_are_given():
    plain = AnchorGenerator(((32,),), ((0.5,),), rounded=False, strides=(64,))
    (anchors,) = plain([(2, 1)], (100, 100))
    half = 32 * 2**0.5 / 2
    expected = np.array([-half, -half / 2, half, half / 2])
    np.testing.assert_allclose(anchors, [expected, expected + np.array([0, 64, 0, 64])], rtol=1e-6)
