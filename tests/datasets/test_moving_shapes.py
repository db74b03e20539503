from itertools import pairwise

import numpy as np
import pytest

from tinymaskrcnn.datasets.moving_shapes import MovingShapes
from tinymaskrcnn.errors import InputError


@pytest.fixture(scope="module")
def clip():
    return MovingShapes(80, seed=4)


@pytest.fixture(scope="module")
def targets(clip):
    return [target for _, target in clip]


def test_a_frame_depends_on_its_number_alone(clip):
    again = MovingShapes(80, seed=4)
    image, target = again[37]
    np.testing.assert_array_equal(image, clip[37][0])
    np.testing.assert_array_equal(target["boxes"], clip[37][1]["boxes"])
    assert len(clip) == 80 and image.shape == (3, 128, 128) and image.dtype == np.float32
    assert image.min() >= 0 and image.max() <= 1
    assert not np.array_equal(MovingShapes(80, seed=5)[37][0], image)
    with pytest.raises(IndexError):
        clip[80]


def test_a_target_is_that_of_an_image_with_numbers(targets):
    for target in targets[::9]:
        count = len(target["track_ids"])
        assert {len(v) for v in target.values() if not isinstance(v, int)} == {count}
        assert len(set(target["track_ids"].tolist())) == count
        masks = np.asarray(target["masks"])
        assert (masks.sum(axis=0) <= 1).all()  # what is covered belongs to what covers it
        for mask, (x1, y1, x2, y2) in zip(masks, target["boxes"], strict=True):
            rows, columns = np.nonzero(mask)
            assert (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1) == (
                x1,
                y1,
                x2,
                y2,
            )


def test_the_brightness_of_an_object_moves_with_its_mask(clip):
    """Two frames apart, the same object's pixels have the same mean colour, so the truth is that of
    the image."""
    seen = 0
    for i in range(0, 78, 6):
        (image, target), (later, after) = clip[i], clip[i + 2]
        numbers = after["track_ids"].tolist()
        for k, number in enumerate(target["track_ids"].tolist()):
            masks = np.asarray(target["masks"])
            if number in numbers and masks[k].sum() > 300:
                other = np.asarray(after["masks"])[numbers.index(number)]
                if other.sum() > 300:
                    means = image[:, masks[k] > 0].mean(axis=1), later[:, other > 0].mean(axis=1)
                    assert np.abs(means[0] - means[1]).max() < 0.06
                    seen += 1
    assert seen > 20


def test_objects_come_in_move_hide_and_go_out(targets):
    frames = {}
    for i, target in enumerate(targets):
        for k, number in enumerate(target["track_ids"].tolist()):
            row = i, target["boxes"][k], target["labels"][k], target["area"][k]
            frames.setdefault(number, []).append(row)
    assert len(frames) >= 10
    steps, entered, left, covered = [], 0, 0, 0
    for rows in frames.values():
        assert len({label for _, _, label, _ in rows}) == 1
        for (i, a, *_), (j, b, *_) in pairwise(rows):
            steps += [np.abs(a - b).max()] if j == i + 1 else []
        entered += rows[0][0] > 0 and at_the_side(rows[0][1])
        left += rows[-1][0] < 79 and at_the_side(rows[-1][1])
        inside = [area for _, box, _, area in rows if not at_the_side(box)]
        covered += min(inside, default=1) < 0.5 * max(inside, default=1)
    assert 0.5 < np.median(steps) < 6 and entered >= 3 and left >= 3 and covered >= 3


def at_the_side(box):
    return box[:2].min() == 0 or box[2:].max() == 128


def test_impossible_settings_are_refused():
    with pytest.raises(InputError, match="shape classes"):
        MovingShapes(10, classes=["blob"])
