"""Why detections are wrong and objects are missed."""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from tinymaskrcnn.datasets import CocoDataset, ToyShapes
from tinymaskrcnn.evaluation import coco_annotations, coco_results, count_errors, image_errors
from tinymaskrcnn.evaluation.detection_errors import MISSED, WRONG
from tinymaskrcnn.evaluation.evaluator import evaluate

from .fakes import Answers, perfect
from .scenes import CLASSES, SCENES, entry, scene

ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests/golden/error_counts.json"
NUCLEI = ROOT / "data/nuclei/annotations.json"
IMAGES = [{"id": 1, "height": 100, "width": 100}]
OBJECT = [20, 20, 40, 40]


def truth(box=OBJECT, label=1, crowd=0):
    return entry(box, label, iscrowd=crowd)


def found(box=OBJECT, label=1, score=0.9):
    return entry(box, label, score=score)


def kinds(annotations, results, **settings):
    """(kinds of wrong detections, reasons of missed objects), the same for boxes and for masks."""
    answers = [image_errors(annotations, results, k, **settings) for k in ("bbox", "segm")]
    both = [([w.kind for w in e.wrong], [m.reason for m in e.missed]) for e in answers]
    assert both[0] == both[1]
    return both[0]


# by hand


@pytest.mark.parametrize(
    ("results", "wrong", "missed"),
    [
        ([found()], [], []),
        ([found([20, 20, 40, 20])], [], []),  # IoU 0.5 exactly
        ([], [], ["nothing"]),
        ([found([20, 20, 40, 19])], ["location"], ["location"]),
        ([found([20, 20, 40, 4])], ["location"], ["location"]),  # 0.1 exactly
        ([found([20, 20, 40, 3])], ["background"], ["nothing"]),
        ([found([80, 80, 9, 9])], ["background"], ["nothing"]),
        ([found(label=2)], ["class"], ["class"]),
        ([found([20, 20, 40, 19], label=2)], ["both"], ["both"]),
        ([found(), found(score=0.8)], ["duplicate"], []),
        ([found(score=0.8), found([20, 20, 40, 30])], ["duplicate"], []),
        ([found(score=0.49)], [], ["low score"]),
        ([found(label=2), found(score=0.1)], ["class"], ["low score"]),
        ([found(label=2), found([20, 20, 40, 10])], ["class", "location"], ["location"]),
    ],
)
def test_one_object(results, wrong, missed):
    assert kinds([truth()], results) == (wrong, missed)


def test_the_surest_takes_the_object_even_if_another_fits_better():
    errors = image_errors([truth()], [found(score=0.6), found([20, 20, 40, 30])], "segm")
    assert errors.found == {0: 1}
    (wrong,) = errors.wrong
    assert (wrong.detection, wrong.kind, wrong.truth, wrong.iou) == (0, "duplicate", 0, 1.0)


def test_two_objects_found_as_one_are_merged():
    """One detection over both is right for the first, and the reason why the second is missed."""
    two = [truth([20, 20, 40, 40]), truth([20, 24, 40, 40])]
    assert kinds(two, [found([20, 20, 40, 44])]) == ([], ["merged"])


def test_no_objects():
    assert kinds([], [found()]) == (["background"], [])
    assert kinds([], []) == ([], [])


def test_a_crowd_is_never_missed_and_what_lies_in_it_is_not_wrong():
    crowd = truth([0, 0, 60, 60], crowd=1)
    inside, outside = found([5, 5, 9, 9]), found([80, 80, 9, 9])
    errors = image_errors([crowd], [inside, outside, found([5, 5, 9, 9], label=2)], "segm")
    assert errors.ignored == [0]
    assert [w.kind for w in errors.wrong] == ["background", "background"]
    assert errors.missed == []


def test_the_score_decides_what_is_looked_at():
    assert kinds([truth()], [found(label=2, score=0.3)], score=0.3) == (["class"], ["class"])
    assert kinds([truth()], [found(label=2, score=0.3)], score=0.4) == ([], ["nothing"])


def test_boxes_and_masks_can_differ():
    half = found() | {"segmentation": found([20, 20, 40, 10])["segmentation"]}
    assert image_errors([truth()], [half], "bbox").wrong == []
    assert [w.kind for w in image_errors([truth()], [half], "segm").wrong] == ["location"]


# laws


@pytest.mark.parametrize("dataset", [ToyShapes(12), CocoDataset(NUCLEI)])
def test_the_truth_as_prediction_has_no_errors(dataset):
    answers = [perfect(dataset[i][1]) for i in range(len(dataset))]
    result = evaluate(Answers(answers), dataset)
    for kind in ("bbox", "segm"):
        assert result[kind]["AP"] == pytest.approx(1)
        for name, row in result["errors"][kind].items():
            assert row["objects"] == row["found"] == result["per_class"][name]["objects"] > 0
            assert row["missed"] == sum(row["missed_because"].values()) == 0
            assert sum(row["wrong"].values()) == 0


@pytest.mark.parametrize("seed", range(SCENES))
def test_every_object_and_every_detection_is_accounted_for(seed):
    annotations, results = scene(seed)
    errors = image_errors(annotations, results, "segm", 0.4)
    things = [g for g, one in enumerate(annotations) if not one["iscrowd"]]
    assert sorted([*errors.found, *(m.truth for m in errors.missed)]) == things
    looked_at = [d for d, one in enumerate(results) if one["score"] >= 0.4]
    kept = [*errors.found.values(), *errors.ignored, *(w.detection for w in errors.wrong)]
    assert sorted(kept) == looked_at
    assert {w.kind for w in errors.wrong} <= set(WRONG)
    assert {m.reason for m in errors.missed} <= set(MISSED)


# outside oracle


def test_counts_equal_tidecv():
    record = json.loads(GOLDEN.read_text())
    seen = Counter()
    for case in record:
        pair = scene(case["seed"], crowds=False)
        table = count_errors(IMAGES, *pair, CLASSES, case["score"])[case["kind"]]
        counts = Counter(missed=sum(row["missed"] for row in table.values()))
        for row in table.values():
            counts.update(row["wrong"])
        assert counts == case["counts"], case
        seen.update(counts)
    assert len(record) == 4 * SCENES
    assert min(seen[kind] for kind in (*WRONG, "missed")) > 20


# edges


def test_counts_are_by_class():
    annotations, results = [truth(), truth([70, 70, 20, 20], 2)], [found(label=2)]
    table = count_errors(IMAGES, annotations, results, CLASSES)["segm"]
    assert table["a"]["missed_because"]["class"] == 1
    assert table["b"]["missed_because"]["nothing"] == 1
    assert table["b"]["wrong"]["class"] == 1
    assert (table["a"]["objects"], table["b"]["objects"], table["c"]["objects"]) == (1, 1, 0)


def test_detections_of_the_package_can_be_taken():
    image, target = ToyShapes(1)[0]
    results = coco_results(perfect(target), 1)
    errors = image_errors(coco_annotations(target, 1), results, "segm")
    assert len(errors.found) == len(target["labels"])
    assert image.shape[1:] == target["masks"].shape[1:]
    assert np.all([results[d]["score"] == 1 for d in errors.found.values()])
