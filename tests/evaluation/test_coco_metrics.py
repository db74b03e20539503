import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tinymaskrcnn.evaluation import FIGURES, coco_annotations, coco_metrics, coco_results

from .fakes import Found

SIDE = 200
IMAGES = [{"id": 1, "height": SIDE, "width": SIDE}]


def filled(boxes):
    """Masks (N, SIDE, SIDE) that fill boxes."""
    masks = np.zeros((len(boxes), SIDE, SIDE), np.uint8)
    for mask, (x1, y1, x2, y2) in zip(masks, boxes, strict=True):
        mask[y1:y2, x1:x2] = 1
    return masks


def truth(boxes, **entries):
    target = {
        "boxes": np.float32(boxes).reshape(-1, 4),
        "labels": np.ones(len(boxes), np.int64),
        "masks": filled(boxes),
        **entries,
    }
    return coco_annotations(target, 1)


def found(boxes, scores, masks=None, labels=None):
    masks = filled(boxes) if masks is None else masks
    labels = np.ones(len(boxes)) if labels is None else labels
    return coco_results(Found(boxes, labels, scores, masks), 1)


def measure(annotations, results, classes=("thing",)):
    return coco_metrics(IMAGES, annotations, results, classes)


# by hand


def test_one_object_found_exactly():
    """Also the trap of annotation id 0, with which the first object could never be matched."""
    figures = measure(truth([[10, 10, 50, 60]]), found([[10, 10, 50, 60]], [0.3]))
    for kind in ("bbox", "segm"):
        assert list(figures[kind]) == list(FIGURES)
        assert figures[kind]["AP"] == pytest.approx(1)
        assert figures[kind]["APm"] == pytest.approx(1)
        assert figures[kind]["AR1"] == pytest.approx(1)


def test_one_of_two_found():
    """Precision 1 up to recall 0.5: 51 of the 101 recall points."""
    figures = measure(truth([[0, 0, 40, 40], [80, 80, 130, 130]]), found([[0, 0, 40, 40]], [1]))
    assert figures["bbox"]["AP"] == pytest.approx(51 / 101)
    assert figures["segm"]["AR100"] == pytest.approx(0.5)


def test_iou_decides_at_which_thresholds_it_counts():
    """IoU 0.625 is enough for 0.50, 0.55 and 0.60 of the ten thresholds."""
    figures = measure(truth([[0, 0, 80, 100]]), found([[0, 0, 50, 100]], [1]))
    for kind in ("bbox", "segm"):
        assert figures[kind]["AP"] == pytest.approx(0.3)
        assert figures[kind]["AP50"] == pytest.approx(1)
        assert figures[kind]["AP75"] == pytest.approx(0)


def test_boxes_and_masks_are_measured_apart():
    """A right box with a mask over a quarter of the object."""
    box = [[0, 0, 80, 80]]
    figures = measure(truth(box), found(box, [1], masks=filled([[0, 0, 40, 40]])))
    assert figures["bbox"]["AP"] == pytest.approx(1)
    assert figures["segm"]["AP"] == pytest.approx(0)


def test_classes_are_apart_and_one_without_objects_is_undefined():
    annotations = truth([[0, 0, 40, 40], [90, 90, 150, 150]], labels=np.array([1, 2]))
    results = found([[0, 0, 40, 40], [0, 100, 50, 150]], [0.9, 0.8], labels=[1, 2])
    classes = measure(annotations, results, ("one", "two", "three"))["per_class"]
    assert classes["one"] == pytest.approx(
        {"objects": 1, "bbox_AP": 1, "bbox_AP50": 1, "segm_AP": 1, "segm_AP50": 1}
    )
    assert classes["two"]["segm_AP"] == 0
    assert classes["three"]["objects"] == 0
    assert classes["three"]["bbox_AP"] == -1


def test_what_lies_in_a_crowd_is_neither_right_nor_wrong():
    annotations = truth([[0, 0, 40, 40], [60, 0, 200, 200]], iscrowd=np.array([False, True]))
    results = found([[70, 10, 90, 30], [120, 10, 150, 50], [0, 0, 40, 40]], [0.9, 0.8, 0.7])
    figures = measure(annotations, results)
    assert figures["bbox"]["AP"] == pytest.approx(1)
    assert figures["per_class"]["thing"]["objects"] == 1


def test_the_area_field_of_the_truth_decides_its_size_for_boxes_too():
    figures = measure(truth([[0, 0, 120, 120]], area=np.array([100])), [])
    assert figures["bbox"]["APs"] == 0
    assert figures["bbox"]["APl"] == -1


def test_a_wrong_detection_has_its_masks_area_in_the_mask_figures():
    """Its thin mask is not large, so it does not count among the large ones; its box does."""
    large, thin = [0, 0, 100, 100], [90, 90, 190, 190]
    masks = filled([large, [90, 90, 190, 92]])
    figures = measure(truth([large]), found([large, thin], [0.5, 0.9], masks=masks))
    assert figures["segm"]["APl"] == pytest.approx(1)
    assert figures["bbox"]["APl"] == pytest.approx(0.5)


def grid(count, left=0):
    """Boxes of 4 x 4 pixels in rows of 40, starting at a column."""
    return [
        [left + x, y, left + x + 4, y + 4] for y in range(0, SIDE, 5) for x in range(0, 100, 5)
    ][:count]


def test_perfect_results_for_more_than_100_objects():
    """COCO counts 100 detections per class and image: with 250 objects the best is 100 / 250."""
    boxes = grid(250)
    figures = measure(truth(boxes), found(boxes, [1] * 250))
    assert figures["bbox"]["AP"] == pytest.approx(41 / 101)
    uncapped = figures["uncapped"]
    assert uncapped["images"] == 1
    assert uncapped["AP_at_most"] == pytest.approx(41 / 101)
    for kind in ("bbox", "segm"):
        assert uncapped[kind] == pytest.approx({"AP": 1, "AP50": 1, "AP75": 1, "AR": 1})


def test_the_limit_is_of_each_class():
    """100 of one class are no more than COCO counts, beside 150 of another."""
    boxes, labels = grid(100) + grid(150, left=100), np.repeat([1, 2], [100, 150])
    annotations = truth(boxes, labels=labels)
    results = found(boxes, [1] * 250, labels=labels)
    figures = measure(annotations, results, ("few", "many"))
    assert figures["uncapped"]["AP_at_most"] == pytest.approx((1 + 67 / 101) / 2)
    assert figures["segm"]["AP"] == pytest.approx((1 + 67 / 101) / 2)
    assert figures["uncapped"]["segm"]["AP"] == pytest.approx(1)


def test_without_the_limit_figures_equal_pycocotools_with_a_higher_one():
    rng = np.random.default_rng(0)
    boxes = grid(180)
    moved = np.clip(boxes + rng.integers(-1, 2, (180, 1)), 0, SIDE).tolist()
    annotations, results = truth(boxes), found(moved, rng.random(180))
    uncapped = measure(annotations, results)["uncapped"]
    oracle = COCO()
    oracle.dataset = {
        "images": IMAGES,
        "annotations": [a | {"id": i} for i, a in enumerate(annotations, start=1)],
        "categories": [{"id": 1, "name": "thing"}],
    }
    oracle.createIndex()
    for kind in ("bbox", "segm"):
        drop = {"bbox": "segmentation", "segm": "bbox"}[kind]
        loaded = oracle.loadRes([{k: v for k, v in r.items() if k != drop} for r in results])
        evaluation = COCOeval(oracle, loaded, kind)
        evaluation.params.maxDets = [1, 10, 1000]
        evaluation.evaluate()
        evaluation.accumulate()
        precision = evaluation.eval["precision"][:, :, 0, 0, 2]
        assert 0.05 < uncapped[kind]["AP"] < 0.95
        assert uncapped[kind]["AP"] == pytest.approx(precision.mean())
        assert uncapped[kind]["AP75"] == pytest.approx(precision[5].mean())
        assert uncapped[kind]["AR"] == pytest.approx(evaluation.eval["recall"][:, 0, 0, 2].mean())


def test_where_nothing_is_cut_both_are_the_same():
    boxes = grid(100)
    figures = measure(truth(boxes), found(boxes[:75], [1] * 75))
    assert figures["uncapped"]["images"] == 0
    assert figures["uncapped"]["AP_at_most"] == 1
    for kind in ("bbox", "segm"):
        assert figures["uncapped"][kind]["AP"] == figures[kind]["AP"] == pytest.approx(76 / 101)
        assert figures["uncapped"][kind]["AR"] == figures[kind]["AR100"]
    assert measure([], [])["uncapped"]["AP_at_most"] == -1


# edges


def test_every_undefined_figure_has_a_reason():
    figures = measure(truth([[0, 0, 20, 20]]), [])
    undefined = {name for name in FIGURES if figures["bbox"][name] == -1}
    assert undefined == {"APm", "APl", "ARm", "ARl"} == set(figures["undefined"])
    assert figures["undefined"]["APl"] == "no ground truth with an area of 9216 pixels or more"
    assert figures["bbox"]["AP"] == 0


def test_without_any_truth_everything_is_undefined():
    figures = measure([], found([[0, 0, 5, 5]], [0.5]))
    assert set(figures["segm"].values()) == {-1.0}
    assert figures["undefined"] == dict.fromkeys(FIGURES, "no ground truth at all")


def test_only_a_crowd_is_no_truth():
    figures = measure(truth([[0, 0, 50, 50]], iscrowd=np.array([True])), [])
    assert figures["bbox"]["AP"] == -1
    assert "AP" in figures["undefined"]


def test_nothing_is_printed(capsys):
    measure(truth([[0, 0, 50, 50]]), found([[0, 0, 50, 50]], [1]))
    assert capsys.readouterr() == ("", "")
