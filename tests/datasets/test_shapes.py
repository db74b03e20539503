import math

import numpy as np
import pytest

from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.datasets.contours import CONTOURS, coverage
from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.errors import InputError

# by hand


def test_an_upright_square_covers_its_pixels():
    # a square with circumradius 2 * sqrt(2), turned by 45 degrees, has upright sides of length 4
    patch, left, top = coverage("square", 2 * math.sqrt(2), math.pi / 4, (10.0, 20.0))
    rows, columns = np.nonzero(patch >= 0.5)
    assert (left + columns.min(), left + columns.max()) == (8, 11)
    assert (top + rows.min(), top + rows.max()) == (18, 21)
    assert len(rows) == 16


# the area of each shape with circumradius 1, by geometry
AREAS = {
    "square": 2,
    "circle": math.pi,
    "triangle": 3 * math.sqrt(3) / 4,
    "pentagon": 2.5 * math.sin(2 * math.pi / 5),
    "hexagon": 3 * math.sqrt(3) / 2,
    "star": 10 * 0.5 * 0.45 * math.sin(math.pi / 5),
    "cross": 0.6**2 + 4 * 0.6 * (math.sqrt(1 - 0.3**2) - 0.3),
    "ellipse": math.pi / 2,
    "ring": math.pi * (1 - 0.55**2),
}


@pytest.mark.parametrize("shape", CONTOURS)
def test_area_and_centre_of_every_shape(shape):
    patch, left, top = coverage(shape, 30.0, 0.7, (50.3, 40.6))
    rows, columns = np.mgrid[: len(patch), : len(patch)] + 0.5
    assert patch.sum() == pytest.approx(AREAS[shape] * 30**2, rel=0.02)
    assert (patch * columns).sum() / patch.sum() + left == pytest.approx(50.3, abs=0.2)
    assert (patch * rows).sum() / patch.sum() + top == pytest.approx(40.6, abs=0.2)


# specification


def inside_triangle(x, y, corners):
    """The specification: on the same side of all three edges."""
    signs = []
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        signs.append((bx - ax) * (y - ay) - (by - ay) * (x - ax) > 0)
    return all(signs) or not any(signs)


@pytest.mark.parametrize("angle", [0.0, 0.4, 2.0, 5.5])
def test_a_triangle_covers_the_pixels_between_its_edges(angle):
    def corners(radius):
        return [
            (30 + radius * math.cos(angle + turn), 30 + radius * math.sin(angle + turn))
            for turn in (0, 2 * math.pi / 3, 4 * math.pi / 3)
        ]

    patch, left, top = coverage("triangle", 20.0, angle, (30.0, 30.0))
    for row in range(len(patch)):
        for column in range(len(patch)):
            x, y = left + column + 0.5, top + row + 0.5
            if inside_triangle(x, y, corners(18.5)):  # well inside: the sides are 0.75 away
                assert patch[row, column] == 1
            if not inside_triangle(x, y, corners(21.8)):  # well outside, by 0.9
                assert patch[row, column] == 0


# laws


def test_an_image_depends_on_split_seed_and_index_alone():
    image, target = ToyShapes(10, seed=3)[7]
    again, same = ToyShapes(1000, seed=3)[7]
    np.testing.assert_array_equal(image, again)
    for name, value in target.items():
        np.testing.assert_array_equal(value, same[name])


@pytest.mark.parametrize("other", [{"seed": 4}, {"split": "val"}, {"seed": 0, "split": "val"}])
def test_seeds_and_splits_share_no_image(other):
    ours = {ToyShapes(8, seed=3)[i][0].tobytes() for i in range(8)}
    theirs = {ToyShapes(8, **{"seed": 3, **other})[i][0].tobytes() for i in range(8)}
    assert len(ours | theirs) == 16


def test_targets_are_visible_parts_with_tight_boxes():
    for _, target in (ToyShapes(40)[i] for i in range(40)):
        masks = target["masks"]
        assert masks.sum(axis=0).max(initial=0) <= 1  # no pixel is counted twice
        np.testing.assert_array_equal(target["boxes"], CroppedMasks.of(masks).boxes())
        np.testing.assert_array_equal(target["area"], masks.sum(axis=(1, 2)))
        assert (target["area"] > 30).all()
        assert len(target["labels"]) <= 6


def test_images_are_in_range_and_all_classes_and_counts_occur():
    dataset = ToyShapes(120, seed=1)
    images = [dataset[i] for i in range(len(dataset))]
    for image, _ in images:
        assert image.dtype == np.float32
        assert image.shape == (3, 128, 128)
        assert 0 <= image.min() < image.max() <= 1
    assert {len(target["labels"]) for _, target in images} == set(range(7))
    labels = np.concatenate([target["labels"] for _, target in images])
    assert np.bincount(labels, minlength=4)[1:].min() > len(labels) / 5


def test_noise_is_everywhere():
    image, _ = ToyShapes(1, min_objects=0, max_objects=0)[0]
    differences = np.diff(image[:, :, :], axis=2)
    assert np.median(np.abs(differences)) > 8 / 255


def test_further_classes_keep_their_order():
    dataset = ToyShapes(60, classes=tuple(CONTOURS))
    seen = set(np.concatenate([dataset[i][1]["labels"] for i in range(60)]).tolist())
    assert dataset.classes == list(CONTOURS)
    assert seen == set(range(1, len(CONTOURS) + 1))


# edges


def test_sizes_other_than_128():
    image, target = ToyShapes(3, size=200, min_objects=6)[2]
    assert image.shape == (3, 200, 200)
    assert target["masks"].shape[1:] == (200, 200)


def test_no_objects_at_all():
    _, target = ToyShapes(1, max_objects=0)[0]
    assert target["boxes"].shape == (0, 4)
    assert target["masks"].shape == (0, 128, 128)


def test_past_the_end_is_an_index_error_so_that_loops_end():
    assert len(list(ToyShapes(3))) == 3
    with pytest.raises(IndexError):
        ToyShapes(3)[3]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"classes": ("square", "blob")}, "blob"),
        ({"classes": ()}, "expected different names"),
        ({"classes": ("ring", "ring")}, "expected different names"),
        ({"min_objects": 4, "max_objects": 2}, "4..2"),
        ({"split": "test"}, "test"),
        ({"size": 16}, "size 16"),
        ({"seed": -1}, "seed -1"),
    ],
)
def test_impossible_settings_are_refused(wrong, message):
    with pytest.raises(InputError, match=message):
        ToyShapes(3, **wrong)
