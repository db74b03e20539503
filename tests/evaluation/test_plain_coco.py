"""COCO's comparison in NumPy against pycocotools, on random scenes."""

import numpy as np
import pytest
from pycocotools import coco, cocoeval
from pycocotools import mask as rle_tools

from tinymaskrcnn.evaluation import plain_coco
from tinymaskrcnn.evaluation.coco_metrics import KINDS, quiet

SIDE = 150


def entry(rng, image, **more):
    """An object of one of two classes; on a coarse grid, so that overlaps are often equal."""
    x, y = 10 * rng.integers(0, 12, 2)
    width, height = rng.choice([10, 20, 40, 110], 2)
    mask = np.zeros((SIDE, SIDE), np.uint8, order="F")
    mask[y : y + height, x : x + width] = 1
    box, rle = list(map(float, (x, y, width, height))), rle_tools.encode(mask)
    label = int(rng.integers(1, 3))
    return {"image_id": image, "category_id": label, "bbox": box, "segmentation": rle, **more}


def scene(rng, objects, found):
    """A ground truth with crowds, images without objects or detections, and equal scores."""
    images = [{"id": i, "height": SIDE, "width": SIDE} for i in (7, 3, 5)]
    truth = [
        entry(rng, rng.choice([3, 7]), id=i, iscrowd=int(rng.random() < 0.2))
        for i in range(1, objects + 1)
    ]
    for one in truth:
        one["area"] = float(rle_tools.area(one["segmentation"]))
    results = [
        entry(rng, rng.choice([5, 7]), score=float(rng.integers(20) / 20)) for _ in range(found)
    ]
    near = [{**truth[i], "score": float(rng.random())} for i in range(0, objects, 2)]
    categories = [{"id": id_, "name": str(id_)} for id_ in (1, 2, 3)]
    return {"images": images, "annotations": truth, "categories": categories}, results + near


def compared(dataset_class, evaluation_class, dataset, results, kind, limits=None):
    truth = dataset_class()
    truth.dataset = dataset
    fields = ("image_id", "category_id", "score", KINDS[kind])
    with quiet():
        truth.createIndex()
        loaded = truth.loadRes([{name: r[name] for name in fields} for r in results])
        evaluation = evaluation_class(truth, loaded, kind)
        if limits is not None:
            evaluation.params.maxDets = limits
        evaluation.evaluate()
        evaluation.accumulate()
        if limits is None:
            evaluation.summarize()
    return evaluation


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("objects", "found"), [(1, 1), (6, 20), (30, 15), (40, 260)])
def test_figures(kind, objects, found):
    rng = np.random.default_rng(objects)
    for _ in range(4):
        dataset, results = scene(rng, objects, found)
        theirs = compared(coco.COCO, cocoeval.COCOeval, dataset, results, kind)
        ours = compared(plain_coco.COCO, plain_coco.COCOeval, dataset, results, kind)
        for name in ("precision", "recall"):
            np.testing.assert_allclose(ours.eval[name], theirs.eval[name], rtol=0, atol=1e-12)
        np.testing.assert_allclose(ours.stats, theirs.stats, rtol=0, atol=1e-12)
        assert objects == 1 or ours.stats[0] > 0


@pytest.mark.parametrize("limits", [[3], [1, 5, 400]])
def test_other_limits(limits):
    dataset, results = scene(np.random.default_rng(0), 20, 300)
    theirs = compared(coco.COCO, cocoeval.COCOeval, dataset, results, "bbox", limits)
    ours = compared(plain_coco.COCO, plain_coco.COCOeval, dataset, results, "bbox", limits)
    np.testing.assert_allclose(ours.eval["precision"], theirs.eval["precision"], rtol=0, atol=1e-12)
    np.testing.assert_allclose(ours.eval["recall"], theirs.eval["recall"], rtol=0, atol=1e-12)
