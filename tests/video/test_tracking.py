"""Tracks of objects: by hand on a few boxes, then on clips whose truth is known."""

import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy.optimize import linear_sum_assignment

import tinymaskrcnn as tm
from tinymaskrcnn.datasets.moving_shapes import MovingShapes
from tinymaskrcnn.detection.boxes import paired_iou
from tinymaskrcnn.video.tracking import Tracker, assigned, touching

from .scoring import switches, trackeval_scores

SIZE = (100, 200)
NUCLEI = Path(__file__).parents[2] / "data/nuclei"


def box(x, y, side=10.0):
    return [x, y, x + side, y + side]


def numbers(frames, times=None, labels=None, **settings):
    """The numbers of the boxes of each frame, as lists."""
    tracker = Tracker(**settings)
    out = []
    for i, boxes in enumerate(frames):
        kinds = np.ones(len(boxes), int) if labels is None else np.array(labels[i])
        time = i / 25 if times is None else times[i]
        out.append(tracker.update(np.array(boxes).reshape(-1, 4), kinds, time, SIZE).tolist())
    return out


@pytest.mark.parametrize("spread", [30, 100, 2000])  # all in one group, some, few
def test_groups_give_the_pairs_that_all_together_give(spread):
    rng = np.random.default_rng(spread)
    low = rng.uniform(0, spread, (2, 60, 2))
    first, second = np.concatenate([low, low + rng.uniform(1, 40, (2, 60, 2))], axis=2)
    table = paired_iou(first[:, None], second)
    rows, columns = touching(first, second)
    assert {*zip(rows, columns, strict=True)} == {*zip(*np.nonzero(table), strict=True)}
    pairs = assigned(rows, columns, table[rows, columns], 0.15)
    best = np.column_stack(linear_sum_assignment(table, maximize=True))
    best = best[table[best[:, 0], best[:, 1]] >= 0.15]
    assert len(best) and np.array_equal(np.column_stack([rows[pairs], columns[pairs]]), best)


def test_3969_objects_need_no_table_of_all_pairs():
    low = np.stack(np.meshgrid(*[np.arange(0, 1260, 20)] * 2), axis=-1).reshape(-1, 2)
    boxes, labels = np.hstack([low, low + 18]), np.ones(len(low), int)
    tracker = Tracker()
    tracker.update(boxes[:1], labels[:1], 0.0, (2000, 2000))  # scipy is loaded
    tracemalloc.start()
    ids = [tracker.update(boxes + i, labels, i / 25, (2000, 2000)) for i in (1, 2)]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert np.array_equal(*ids) and peak < len(low) ** 2 * 8


# by hand


def test_two_objects_that_pass_each_other_keep_their_numbers():
    frames = [[box(10 + 4 * i, 20), box(90 - 4 * i, 24)] for i in range(20)]
    assert numbers(frames) == [[1, 2]] * 20
    turned = [frame[:: (-1) ** i] for i, frame in enumerate(frames)]
    assert numbers(turned) == [[1, 2][:: (-1) ** i] for i in range(20)]


@pytest.mark.parametrize(("hidden", "number"), [(3, 1), (6, 1), (7, 2)])
def test_a_hidden_object_is_expected_further_on_its_way(hidden, number):
    """It was seen six times, so it may be hidden for six frames; 9 is more than its size."""
    frames = [[box(10 + 9 * i, 20)] for i in range(6 + hidden + 1)]
    frames[6:-1] = [[]] * hidden
    assert numbers(frames)[-1] == [number]


def test_patience_ends():
    frames = [[box(10, 20)]] * 9 + [[]] * 3 + [[box(10, 20)]]
    assert numbers(frames, patience=3)[-1] == [1]
    assert numbers(frames, patience=2)[-1] == [2]


def test_what_was_seen_once_may_be_hidden_once():
    assert numbers([[box(10, 20)], [], [box(10, 20)]])[-1] == [1]
    assert numbers([[box(10, 20)], [], [], [box(10, 20)]])[-1] == [2]


def test_an_object_that_left_the_image_does_not_come_back():
    """Another one appears at the place where it was last seen."""
    out = [[box(150 + 9 * i, 20)] for i in range(6)]
    frames = [*out, [], [], [box(191, 20)]]
    assert numbers(frames)[-1] == [2]
    standing = [[box(189, 20)]] * 6
    assert numbers([*standing, [], [], [box(191, 20)]])[-1] == [1]


def test_the_class_decides_between_boxes_that_overlap_alike():
    frames = [[box(20, 20), box(26, 20)], [box(23, 20), box(23.5, 20)]]
    assert numbers(frames, labels=[[1, 2], [2, 1]])[-1] == [2, 1]
    assert numbers(frames, labels=[[1, 2], [1, 2]])[-1] == [1, 2]


def test_a_new_class_at_the_same_place_is_the_same_object_but_not_beside_it():
    assert numbers([[box(20, 20)], [box(21, 20)]], labels=[[1], [2]])[-1] == [1]
    beside = [[box(20, 20)], [box(32, 20)]]
    assert numbers(beside, labels=[[1], [2]])[-1] == [2]
    assert numbers(beside, labels=[[1], [1]])[-1] == [1]  # fast: it is the second attempt


def test_the_sum_of_overlaps_decides_not_the_first_that_fits():
    """The best pair is 1 with the first box, which would leave nothing for 2."""
    frames = [[box(20, 20), box(26, 20)], [box(22.5, 20), box(17, 20)]]
    assert numbers(frames)[-1] == [2, 1]


def test_objects_move_for_as_long_as_the_times_say():
    """Two rows of boxes in step: whoever takes frames for time takes each for its neighbour."""
    steps = np.array([1] * 8 + [4, 1, 1, 4, 1])
    times = np.cumsum(steps) / 25
    frames = [[box(10 + 5 * 25 * t + 20 * k, 20) for k in (0, 1)] for t in times]
    assert numbers(frames, times) == [[1, 2]] * len(times)


def test_times_may_be_wrong():
    """The same, but the boxes move per frame."""
    times = np.cumsum([1] * 8 + [4, 1, 1, 4, 1]) / 25
    frames = [[box(10 + 5 * i + 20 * k, 20) for k in (0, 1)] for i in range(len(times))]
    assert numbers(frames, times) == [[1, 2]] * len(times)


def test_frames_without_objects_and_times_that_stand_still():
    assert numbers([[], [box(5, 5)], [], []]) == [[], [1], [], []]
    assert numbers([[box(5, 5)]] * 3, times=[2.0, 2.0, 1.0]) == [[1]] * 3


# clips whose truth is known


def test_switches_are_counted():
    truth = [([box(0, 0), box(50, 0)], [7, 8])] * 4
    found = [
        ([box(0, 0), box(50, 0)], [1, 2]),
        ([box(0, 0)], [1]),
        ([box(50, 0), box(0, 0)], [1, 2]),  # both
        ([box(0, 0), box(50, 0)], [2, 3]),  # one
    ]
    assert switches(truth, found) == (3, 2, 7)
    hota, idf1, idsw = trackeval_scores(truth, found)
    # of 8 true and 7 found boxes, 2 + 1 agree if 7 is called 1, and 8 is called 2
    assert idf1 == pytest.approx(2 * 3 / (8 + 7)) and idsw == 3 and 0 < hota < 1


def moving_shapes(seed, missing=0.1, jitter=1.0):
    """Truth, and tracks of the true boxes of which some are missing and all are a little off."""
    rng, tracker = np.random.default_rng(seed), Tracker()
    truth, found = [], []
    for i, (_, target) in enumerate(MovingShapes(120, seed=seed)):
        kept = rng.random(len(target["boxes"])) >= missing
        boxes = (target["boxes"] + rng.normal(0, jitter, target["boxes"].shape))[kept]
        ids = tracker.update(boxes, target["labels"][kept], i / 25, (128, 128))
        truth.append((target["boxes"], target["track_ids"]))
        found.append((boxes, ids))
    return truth, found


def test_moving_shapes_are_followed_behind_one_another():
    counts = [switches(*moving_shapes(seed)) for seed in range(3)]
    assert sum(count for count, *_ in counts) <= 6
    assert sum(objects for _, objects, _ in counts) == 36


def test_moving_shapes_by_trackeval():
    scores = np.array([trackeval_scores(*moving_shapes(seed)) for seed in range(3)])
    hota, idf1, _ = scores.mean(axis=0)
    assert hota >= 0.74 and idf1 >= 0.9
    exact = trackeval_scores(*moving_shapes(1, missing=0.0, jitter=0.0))
    assert exact[1] >= 0.95


@pytest.fixture(scope="module")
def nuclei():
    """What the shipped model finds in a window that pans and zooms over six images, and the truth:
    (true boxes, boxes, labels) per frame.
    """
    content = json.loads((NUCLEI / "annotations.json").read_text())
    mosaic, boxes = Image.new("RGB", (384, 256)), []
    for k, image in enumerate(content["images"]):
        x, y = 128 * (k % 3), 128 * (k // 3)
        mosaic.paste(Image.open(NUCLEI / image["file_name"]).convert("RGB"), (x, y))
        mine = [a["bbox"] for a in content["annotations"] if a["image_id"] == image["id"]]
        boxes += [[x + left, y + top, x + left + w, y + top + h] for left, top, w, h in mine]
    model, frames = tm.load_model("nuclei", box_score_thresh=0.5), []
    for share in np.linspace(0, 1, 60):
        side = 150 * (1 + 0.35 * np.sin(2 * np.pi * share)) / 1.35
        left = (384 - side) * (0.5 - 0.5 * np.cos(np.pi * share))
        top = (256 - side) * share
        affine = (side / 192, 0, left, 0, side / 192, top)
        view = mosaic.transform(
            (192, 192), Image.Transform.AFFINE, affine, Image.Resampling.BILINEAR
        )
        found = model.detect([np.asarray(view, np.float32).transpose(2, 0, 1) / 255])[0]
        true = (np.array(boxes) - [left, top, left, top]) * 192 / side
        inside = (true[:, :2] > 2).all(axis=1) & (true[:, 2:] < 190).all(axis=1)
        frames.append(((true[inside], np.flatnonzero(inside)), found.boxes, found.labels))
    return frames


@pytest.mark.parametrize("long", [1, 3])
def test_nuclei_under_a_window_that_pans_and_zooms(nuclei, long):
    """Also if every seventh frame is shown longer, though the window moves as before."""
    times = np.cumsum([0.04 * (long if i % 7 == 0 else 1) for i in range(len(nuclei))])
    tracker, found = Tracker(), []
    for (_, boxes, labels), time in zip(nuclei, times, strict=True):
        found.append((boxes, tracker.update(boxes, labels, time, (192, 192))))
    count, objects, sightings = switches([truth for truth, *_ in nuclei], found)
    assert count <= 2 and objects >= 15 and sightings >= 150
