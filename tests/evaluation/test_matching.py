"""Matching of detections and objects: as pycocotools does it, with less work."""

import sys

import numpy as np
import pytest
from pycocotools.cocoeval import COCOeval

import tinymaskrcnn.evaluation  # noqa: F401

from .scenes import CLASSES, SIDE, entry, scene

module = sys.modules["tinymaskrcnn.evaluation.coco_metrics"]  # the package has a function so called


def crowded(seed):
    """Many objects and detections on top of each other, with equal scores and overlaps."""
    parts = [scene(100 * seed + k) for k in range(6)]
    annotations, results = ([one for part in parts for one in part[i]] for i in (0, 1))
    for one in results[::3]:
        one["score"] = 0.5
    return annotations, results + results[:5]


@pytest.mark.parametrize("most", [None, 5, 1000])
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("kind", ["bbox", "segm"])
def test_each_match_is_that_of_pycocotools(seed, kind, most, monkeypatch):
    annotations, results = crowded(seed)
    images = [{"id": 1, "height": SIDE, "width": SIDE}]
    matched = []
    for function in (module.match_image, COCOeval.evaluateImg):
        monkeypatch.setattr(module, "match_image", function)
        truth = module.index(images, annotations, CLASSES)
        matched.append(module.compare(truth, results, kind, most))
    ours, theirs = matched
    assert len(ours.evalImgs) == len(theirs.evalImgs) > 2
    for own, other in zip(ours.evalImgs, theirs.evalImgs, strict=True):
        assert own.keys() == other.keys()
        for name in own:
            np.testing.assert_array_equal(own[name], other[name], name)
    for name in ("precision", "recall", "scores"):
        np.testing.assert_array_equal(ours.eval[name], theirs.eval[name])


def test_detections_are_compared_with_objects_they_overlap_alone(monkeypatch):
    """Four times as many objects and detections: four times as many pairs, not sixteen times."""
    pairs, match = [], module._best_match
    monkeypatch.setattr(
        module, "_best_match", lambda row, *more: pairs.append(len(row)) or match(row, *more)
    )
    counts = []
    for count in (20, 80):
        pairs.clear()
        places = [divmod(k, 10) for k in range(count)]
        objects = [entry([10 * x, 10 * y, 8, 8], 1, iscrowd=0) for y, x in places]
        results = [{**one, "score": 0.9} for one in objects]
        truth = module.index([{"id": 1, "height": SIDE, "width": SIDE}], objects, "a")
        module.compare(truth, results, "segm", 100)
        counts.append(sum(pairs))
    assert counts == [20 * 10, 80 * 10]
