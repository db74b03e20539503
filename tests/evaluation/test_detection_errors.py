"""Which detections of an image are right, what kind of error a wrong one is, and AP of one image.
test_error_counts.py tests the judging further, with tidecv as oracle.
"""

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.evaluation import coco_annotations, coco_results, image_errors
from tinymaskrcnn.evaluation.coco_metrics import coco_metrics
from tinymaskrcnn.evaluation.detection_errors import (
    average_precision,
    judge_target,
    precision_recall,
)

from .fakes import sloppy

BOX, FAR = [0, 0, 10, 10], [50, 50, 60, 60]


def errors(boxes, labels, truth, truth_labels, scores=None, score=0.0, **more):
    target = {"boxes": np.array(truth, np.float32).reshape(-1, 4), "labels": np.array(truth_labels)}
    boxes = np.array(boxes, np.float32).reshape(-1, 4)
    scores = np.linspace(0.9, 0.8, len(boxes)) if scores is None else np.array(scores)
    return judge_target(boxes, np.array(labels), scores, target | more, score)


@pytest.mark.parametrize(
    ("box", "label", "kind"),
    [
        (BOX, 1, "right"),
        (BOX, 2, "class"),
        ([4, 0, 14, 10], 1, "location"),  # IoU 6 / 14
        ([4, 0, 14, 10], 2, "both"),
        (FAR, 1, "background"),
        ([9, 9, 30, 30], 1, "background"),
    ],
)
def test_kinds(box, label, kind):
    assert errors([box], [label], [BOX], [1]).verdicts() == {0: kind}


def test_the_second_of_an_object_is_a_duplicate():
    two = errors([BOX, BOX], [1, 1], [BOX, FAR], [1, 1])
    assert two.verdicts() == {0: "right", 1: "duplicate"}
    assert two.found == {0: 0}


def test_a_crowd_takes_any_number_and_counts_none():
    crowd = {"iscrowd": np.array([True])}
    two = errors([BOX, BOX], [1, 1], [[0, 0, 40, 40]], [1], **crowd)
    assert two.verdicts() == {0: "crowd", 1: "crowd"}
    assert two.found == {} and two.missed == []
    assert errors([BOX], [2], [[0, 0, 40, 40]], [1], **crowd).verdicts() == {0: "background"}


def test_nothing_found_and_nothing_there():
    assert errors([], [], [BOX], [1]).verdicts() == {}
    assert errors([BOX], [1], [], []).verdicts() == {0: "background"}
    assert np.isnan(average_precision(np.array([0.5]), np.array([False]), 0))


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize("score", [0.0, 0.5])
def test_arrays_and_coco_dicts_are_judged_alike(seed, score):
    """The overlaps come from box_iou here and from pycocotools there."""
    _, target = tm.ToyShapes(20, min_objects=2, max_objects=6)[seed]
    target = target | {"iscrowd": np.arange(len(target["labels"])) == 1}
    found = sloppy(target, np.random.default_rng(seed))
    here = judge_target(found.boxes, found.labels, found.scores, target, score)
    there = image_errors(coco_annotations(target, 1), coco_results(found, 1), "bbox", score)
    assert here.found == there.found and here.ignored == there.ignored
    assert here.missed == there.missed
    assert [(w.detection, w.kind, w.truth) for w in here.wrong] == [
        (w.detection, w.kind, w.truth) for w in there.wrong
    ]


@pytest.mark.parametrize("seed", range(20))
def test_the_less_sure_change_nothing_for_the_surer(seed):
    """The page's slider rests on this: a higher threshold gives the same verdicts, only fewer."""
    _, target = tm.ToyShapes(20, min_objects=3, max_objects=6)[seed]
    found = sloppy(target, np.random.default_rng(seed))
    everything, some = (
        judge_target(found.boxes, found.labels, found.scores, target, score).verdicts()
        for score in (0.0, 0.5)
    )
    assert some == {d: kind for d, kind in everything.items() if found.scores[d] >= 0.5}


def test_precision_recall_by_hand():
    recall, precision = precision_recall(np.array([0.5, 0.9]), np.array([True, False]), 2)
    assert recall.tolist() == [0, 0.5]
    assert precision.tolist() == [0, 0.5]
    assert average_precision(np.array([0.9, 0.8, 0.7]), np.array([True, False, True]), 2) == (
        pytest.approx(0.5 + 0.5 * 2 / 3)
    )


def test_average_precision_is_near_pycocotools():
    """COCO averages precision at 101 recalls, so the two differ by less than a hundredth."""
    rng = np.random.default_rng(0)
    truth = np.array([[20 * i, 0, 20 * i + 10, 10] for i in range(40)], np.float32)
    lower = np.array([0, 100, 0, 100])
    boxes = np.concatenate([truth[:30], truth[:10] + lower]).astype(np.float32)
    scores = rng.random(40)
    order = np.argsort(-scores)
    boxes, scores = boxes[order], scores[order]
    found = errors(boxes, np.ones(40, int), truth, np.ones(40, int), scores).found
    ours = average_precision(scores, np.isin(np.arange(40), list(found.values())), 40)

    def sized(b):
        return [float(b[0]), float(b[1]), float(b[2] - b[0]), float(b[3] - b[1])]

    empty = {"size": [200, 900], "counts": "PPd:"}
    figures = coco_metrics(
        [{"id": 1, "height": 200, "width": 900}],
        [
            {"image_id": 1, "category_id": 1, "bbox": sized(b), "area": 100.0, "iscrowd": 0}
            | {"segmentation": empty}
            for b in truth
        ],
        [
            {"image_id": 1, "category_id": 1, "bbox": sized(b), "score": float(s)}
            | {"segmentation": empty}
            for b, s in zip(boxes, scores, strict=True)
        ],
        ["thing"],
    )
    assert ours == pytest.approx(figures["bbox"]["AP50"], abs=0.01)
