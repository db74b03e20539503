import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tinymaskrcnn.datasets import CocoDataset, ToyShapes
from tinymaskrcnn.datasets.named_dataset import NamedDataset
from tinymaskrcnn.datasets.targets import target_from_masks
from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.detection.detections import Detections
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.evaluation import FIGURES, coco_results, evaluate
from tinymaskrcnn.evaluation.evaluator import detect_all, figures
from tinymaskrcnn.evaluation.label_scores import label_figures

from .fakes import Answers, perfect, sloppy

NUCLEI = Path(__file__).parents[2] / "data" / "nuclei" / "annotations.json"


class Mixed:
    """Shapes of two sizes: 3 small images, 2 large ones."""

    classes = ("square", "circle", "triangle")

    def describe(self, index):
        return f"image {index}"

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return ToyShapes(5, size=64 if index < 3 else 96, min_objects=3)[index]


# laws


@pytest.mark.parametrize("dataset", [ToyShapes(12), CocoDataset(NUCLEI), Mixed()])
def test_the_truth_as_prediction_scores_one(dataset):
    answers = [perfect(dataset[i][1]) for i in range(len(dataset))]
    result = evaluate(Answers(answers), dataset)
    for kind in ("bbox", "segm"):
        for name in ("AP", "AP50", "AP75", "APs", "AR100"):
            assert result[kind][name] == pytest.approx(1), (kind, name)
    assert result["images"] == len(dataset)
    assert result["seconds"] > 0
    json.dumps(result)


class Crowded:
    """One image with 400 objects."""

    classes, size = ("cell",), (300, 400)

    def __init__(self):
        corners = np.stack(np.divmod(np.arange(400), 20), 1) * (15, 20) + 3
        self.masks = CroppedMasks([np.ones((9, 6), np.uint8)] * 400, corners, self.size)

    def __len__(self):
        return 1

    def __getitem__(self, index):
        image = np.zeros((3, *self.size), np.float32)
        return image, target_from_masks(self.masks, np.ones(400, np.int64), 0)


def test_whole_masks_are_never_made(monkeypatch):
    """Neither in the evaluation nor for the label images: masks stay crops and run lengths."""
    data = Crowded()
    for name in ("whole", "paint"):
        monkeypatch.delattr(CroppedMasks, name)
    for name in ("masks", "binary_masks"):
        monkeypatch.delattr(Detections, name)
    boxes, labels = data.masks.boxes(), np.ones(400, np.int64)
    scores, grids = np.linspace(0.9, 0.6, 400, dtype=np.float32), np.ones((400, 28, 28), np.float32)
    found = Detections(boxes, labels, scores, grids, data.size)
    findings = detect_all(Answers([found]), NamedDataset(data, 1))
    assert figures(findings, data.classes)["errors"]["segm"]["cell"]["found"] == 400
    assert label_figures(findings, 0.5)["pooled"]["0.5"] == 1
    assert all(isinstance(e["segmentation"]["counts"], str) for e in findings.results)


# outside oracle


def test_figures_equal_pycocotools_on_the_json_itself():
    dataset, rng = CocoDataset(NUCLEI), np.random.default_rng(0)
    targets = [dataset[i][1] for i in range(len(dataset))]
    answers = [sloppy(target, rng) for target in targets]
    result = evaluate(Answers(answers), dataset)
    results = [
        entry
        for answer, target in zip(answers, targets, strict=True)
        for entry in coco_results(answer, target["image_id"], dataset.category_ids)
    ]
    for kind, other in (("bbox", "segmentation"), ("segm", "bbox")):
        with contextlib.redirect_stdout(io.StringIO()):
            truth = COCO(NUCLEI)
            part = [{k: v for k, v in entry.items() if k != other} for entry in results]
            oracle = COCOeval(truth, truth.loadRes(part), kind)
            oracle.evaluate()
            oracle.accumulate()
            oracle.summarize()
        np.testing.assert_allclose(list(result[kind].values()), oracle.stats, atol=1e-12)
        assert 0.05 < result[kind]["AP"] < 0.95


# edges


def test_labels_outside_the_classes_are_refused():
    dataset = Mixed()
    answers = [perfect(dataset[i][1]) for i in range(5)]
    answers[1].labels[0] = 4
    with pytest.raises(InputError, match=r"the model found label 4.*3 classes: square, circle"):
        evaluate(Answers(answers), dataset)
    dataset.classes = ("square",)
    with pytest.raises(InputError, match=r"target of image 0 has label \d.*1 classes: square"):
        evaluate(Answers(answers), dataset)


def test_only_some_images():
    dataset = ToyShapes(9)
    model = Answers(perfect(dataset[i][1]) for i in range(4))
    assert evaluate(model, dataset, max_images=4)["images"] == 4
    assert model.batches == [1, 1, 1, 1]
    assert evaluate(Answers(model.answers), ToyShapes(4), max_images=100)["images"] == 4


def test_only_images_of_one_size_share_a_batch():
    dataset = Mixed()
    model = Answers(perfect(dataset[i][1]) for i in range(5))
    result = evaluate(model, dataset, batch_size=2)
    assert model.batches == [2, 1, 2]
    assert result["segm"]["AP"] == pytest.approx(1)


def test_the_mode_of_the_model_is_set_back():
    dataset = ToyShapes(1)
    model = Answers([perfect(dataset[0][1])])
    model.train()
    evaluate(model, dataset)
    assert model.training


def test_a_model_that_fails_is_set_back_too():
    model = Answers([])
    model.train()
    with pytest.raises(ValueError, match="shorter"):
        evaluate(model, ToyShapes(1))
    assert model.training


def test_a_model_that_finds_nothing_scores_zero():
    dataset = ToyShapes(3, min_objects=3)
    empty = perfect({**dataset[0][1], "iscrowd": np.ones(len(dataset[0][1]["labels"]), bool)})
    result = evaluate(Answers([empty] * 3), dataset)
    assert result["bbox"]["AP"] == result["segm"]["AP"] == 0
    assert set(result["bbox"]) == set(FIGURES)


def test_progress_goes_to_the_error_stream_and_nothing_to_the_output(capsys):
    dataset = ToyShapes(1)
    evaluate(Answers([perfect(dataset[0][1])]), dataset, progress=True)
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "1/1" in printed.err
