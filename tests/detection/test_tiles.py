"""detection/tiles.py: every place is in one tile, and every object comes out once and whole."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.detection.tiles import LOOK, SLACK, STEP, cut, detect_in_tiles, suppression

SUPPRESS = suppression(0.5, False)


def objects(boxes, size, labels=None) -> Detections:
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    count = len(boxes)
    labels = np.ones(count, np.int64) if labels is None else np.array(labels, np.int64)
    scores = np.linspace(0.99, 0.6, count, dtype=np.float32)
    return Detections(boxes, labels, scores, np.ones((count, 28, 28), np.float32), size)


def camera(everything: Detections, looks: list | None = None):
    """A perfect detector: of each object it finds the part that lies in the window."""

    def look(window, shrink=1):
        x1, y1, x2, y2 = window
        assert max(x2 - x1, y2 - y1) <= (LOOK + 2 * STEP) * shrink
        if looks is not None:
            looks.append((window, shrink))
        boxes = np.clip(everything.boxes - (x1, y1, x1, y1), 0, [x2 - x1, y2 - y1] * 2)
        seen = ((boxes[:, 2:] - boxes[:, :2]) > 3).all(axis=1)
        part = everything[np.flatnonzero(seen)]
        return Detections(
            boxes[seen].astype(np.float32),
            part.labels,
            part.scores,
            part.mask_probabilities,
            (y2 - y1, x2 - x1),
        )

    return look


def found_in_tiles(everything, side=384, margin=64, looks=None):
    size = everything.image_size
    tiles = cut(size, side, margin)
    assert len(tiles) > 1
    return detect_in_tiles(camera(everything, looks), size, tiles, SUPPRESS)


# laws


@settings(deadline=None, max_examples=80)
@given(st.integers(1, 3000), st.integers(1, 700), st.integers(64, 1500), st.integers(0, 300))
def test_every_pixel_belongs_to_the_core_of_one_tile(height, width, side, margin):
    covered = np.zeros((height, width), np.uint8)
    for window, core in cut((height, width), side, margin):
        covered[core[1] : core[3], core[0] : core[2]] += 1
        assert window[0] % STEP == window[1] % STEP == 0
        for i in (0, 1):
            limit = (width, height)[i]
            assert window[i] <= max(core[i] - margin, 0)
            assert window[i + 2] >= min(core[i + 2] + margin, limit)
        assert max(window[2] - window[0], window[3] - window[1]) <= max(side, 3 * STEP) + (
            2 * STEP + 2 * margin
        )
    assert (covered == 1).all()


@settings(deadline=None, max_examples=100)
@given(st.data())
def test_each_of_many_objects_comes_out_once_and_whole(data):
    """Small and large ones, on borders and corners of the tiles, none on top of another."""
    size = (1100, 900)
    boxes = []
    for _ in range(data.draw(st.integers(1, 12))):
        width, height = (data.draw(st.sampled_from([6, 30, 100, 260, 420])) for _ in range(2))
        x = data.draw(st.integers(0, size[1] - width))
        y = data.draw(st.integers(0, size[0] - height))
        box = (x, y, x + width, y + height)
        if all(
            box[0] >= other[2] or other[0] >= box[2] or box[1] >= other[3] or other[1] >= box[3]
            for other in boxes
        ):
            boxes.append(box)
    found = found_in_tiles(objects(boxes, size))
    assert sorted(map(tuple, found.boxes.tolist())) == sorted(boxes)
    assert (np.diff(found.scores) <= 0).all()


# by hand


@pytest.mark.parametrize("shift", [-SLACK - 1, -1, 0, 1, SLACK + 1])
@pytest.mark.parametrize("half", [4, 20, 63, 90])
def test_an_object_on_the_corner_of_four_tiles(shift, half):
    size = (768, 768)
    corner = cut(size, 384, 64)[0].core[2]
    middle = corner + shift
    box = [middle - half, middle - half, middle + half, middle + half]
    found = found_in_tiles(objects([box], size))
    assert found.boxes.tolist() == [box] and found.image_size == size


def test_an_object_across_the_whole_image_is_looked_at_again_once():
    looks = []
    found = found_in_tiles(objects([[0, 400, 900, 460]], (1100, 900)), looks=looks)
    assert found.boxes.tolist() == [[0, 400, 900, 460]]
    assert len(looks) == len(cut((1100, 900), 384, 64)) + 1


@pytest.mark.parametrize("length, shrink", [(900, 1), (1100, 2), (2500, 4), (3700, 4)])
def test_an_object_larger_than_a_window_is_looked_at_in_a_shrunken_one(length, shrink):
    looks, size, box = [], (400, 4500), [300, 100, 300 + length, 160]
    found = found_in_tiles(objects([box], size), looks=looks)
    assert found.boxes.tolist() == [box]
    assert [s for _, s in looks[len(cut(size, 384, 64)) :]] == [shrink]


def test_objects_too_large_for_any_window_are_not_dropped_but_named():
    size, pieces = (400, 9000), []
    everything = objects([[200, 100, 8000, 160], [30, 30, 60, 60]], size)
    tiles = cut(size, 384, 64)
    found = detect_in_tiles(camera(everything), size, tiles, SUPPRESS, pieces)
    assert len(found) > 2 and found.boxes[:, 2].max() == 8000
    assert pieces == [pytest.approx(0.99)]
    pieces.clear()
    detect_in_tiles(camera(everything[1:]), size, tiles, SUPPRESS, pieces)
    assert pieces == []


def test_two_classes_in_one_place_both_stay():
    box = [200, 200, 230, 240]
    found = found_in_tiles(objects([box, box], (800, 800), labels=[1, 2]))
    assert sorted(found.labels.tolist()) == [1, 2]


def test_nothing_anywhere():
    assert len(found_in_tiles(objects([], (800, 800)))) == 0
