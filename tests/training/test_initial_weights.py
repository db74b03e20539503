"""The weights that training starts from."""

import numpy as np
import pytest

from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.errors import InputError
from tinymaskrcnn.models.box_head import FastRCNNPredictor
from tinymaskrcnn.models.pretrained import load_model
from tinymaskrcnn.nn import Conv2d, Linear, Module
from tinymaskrcnn.training.initial_weights import initial_model, load_for_fine_tuning
from tinymaskrcnn.training.recipes import named

CLASSES = ["square", "circle", "triangle"]


class Heads(Module):
    """The heads of a Mask R-CNN, as far as classes matter."""

    def __init__(self, classes: int, seed: int) -> None:
        rng = np.random.default_rng(seed)
        self.roi_heads = Module()
        self.roi_heads.box_head = Linear(4, 8, rng=rng)
        self.roi_heads.box_predictor = FastRCNNPredictor(8, classes, rng=rng)
        self.roi_heads.mask_predictor = Module()
        self.roi_heads.mask_predictor.mask_fcn_logits = Conv2d(5, classes, 1, rng=rng)


def load(classes, known, count=None):
    """A model for these classes, its former state, what was loaded, and the message."""
    source = Heads(len(known or range(count)) + 1, seed=1).state_dict()
    model = Heads(len(classes) + 1, seed=0)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    said = load_for_fine_tuning(model, source, "w", classes, known)
    return model.state_dict(), before, source, said


def rows_of(state, label):
    """Everything in the heads that belongs to one label."""
    box, mask = "roi_heads.box_predictor.", "roi_heads.mask_predictor.mask_fcn_logits."
    return np.concatenate(
        [
            *(state[f"{box}cls_score.{part}"][label].ravel() for part in ("weight", "bias")),
            *(
                state[f"{box}bbox_pred.{part}"][4 * label : 4 * label + 4].ravel()
                for part in ("weight", "bias")
            ),
            *(state[f"{mask}{part}"][label].ravel() for part in ("weight", "bias")),
        ]
    )


def test_everything_is_loaded_where_the_classes_agree():
    state, _, source, said = load(CLASSES, CLASSES)
    for name, array in source.items():
        np.testing.assert_array_equal(state[name], array)
    assert said == "class heads: kept square, circle, triangle"


@pytest.mark.parametrize(
    ("classes", "sources", "said"),
    [
        (["circle", "triangle", "square"], [0, 2, 3, 1], "moved by name circle, triangle, square"),
        (["square", "triangle"], [0, 1, 3], "kept square; moved by name triangle"),
        (
            ["star", "circle", "square", "cross"],
            [0, None, 2, 1, None],
            "kept circle; moved by name square; made anew star, cross",
        ),
        (["polyp", "ulcer", "bleeding"], [None] * 4, "made anew polyp, ulcer, bleeding"),
        (["Square"], [None] * 2, "made anew Square"),
    ],
)
def test_rows_of_the_heads_follow_the_names_of_their_classes(classes, sources, said):
    state, before, source, told = load(classes, CLASSES)
    assert told == f"class heads: {said}"
    for label, place in enumerate(sources):
        expected = rows_of(before, label) if place is None else rows_of(source, place)
        np.testing.assert_array_equal(rows_of(state, label), expected)
    np.testing.assert_array_equal(
        state["roi_heads.box_head.weight"], source["roi_heads.box_head.weight"]
    )


def test_predictions_stay_with_the_names_of_their_classes(tmp_path):
    """The shipped model for its classes in another order, before the first step."""
    order = ["triangle", "square", "circle"]
    source = load_model("shapes")
    known = source.classes
    tuned = initial_model("shapes", named("small"), order).eval()
    image, _ = ToyShapes(1, seed=5, min_objects=4)[0]
    found = []
    for model, classes in ((source, known), (tuned, order)):
        (detections,) = model.detect([image])
        names = [classes[label - 1] for label in detections.labels]
        found.append((names, detections))
    (names, ours), (others, theirs) = found
    assert names == others and len(names) >= 3
    np.testing.assert_allclose(theirs.boxes, ours.boxes, atol=1e-3)
    np.testing.assert_allclose(theirs.scores, ours.scores, atol=1e-5)
    np.testing.assert_allclose(theirs.mask_probabilities, ours.mask_probabilities, atol=1e-5)


def test_weights_without_names_are_kept_label_by_label_where_the_count_is_right():
    state, _, source, said = load(["a", "b"], None, count=2)
    for name, array in source.items():
        np.testing.assert_array_equal(state[name], array)
    assert said == "it names no classes, so its class heads are kept as they are, label by label"
    state, before, _, said = load(["a", "b"], None, count=3)
    for label in range(3):
        np.testing.assert_array_equal(rows_of(state, label), rows_of(before, label))
    assert said == "class heads: made anew a, b"


def test_heads_that_do_not_fit_their_own_classes_are_refused():
    model, source = Heads(4, seed=0), dict(Heads(4, seed=1).state_dict())
    source["roi_heads.box_predictor.bbox_pred.bias"] = np.zeros(15, np.float32)
    with pytest.raises(InputError, match=r"w: .*bbox_pred.bias is \(15,\), expected \(16,\) for 3"):
        load_for_fine_tuning(model, source, "w", CLASSES, CLASSES)
    source = Heads(5, seed=1).state_dict()
    with pytest.raises(InputError, match=r"w: .* for 3 classes"):
        load_for_fine_tuning(model, source, "w", CLASSES, CLASSES)
    scores = "roi_heads.box_predictor.cls_score.weight"
    with pytest.raises(InputError, match=rf"w: {scores} is \(\), expected \(1, 8\) for 0 classes"):
        load_for_fine_tuning(model, {**source, scores: np.float32(1)}, "w", CLASSES)


def test_weights_of_another_model_are_refused_and_nothing_is_changed():
    model, source = Heads(3, seed=0), Heads(3, seed=1)
    state = dict(source.state_dict())
    state["roi_heads.box_head.weight"] = np.zeros((9, 9), np.float32)
    before = {name: array.copy() for name, array in model.state_dict().items()}
    with pytest.raises(InputError, match=r"w\.pth: .*roi_heads\.box_head\.weight \(9, 9\)"):
        load_for_fine_tuning(model, state, "w.pth", ["a", "b"])
    for name, array in model.state_dict().items():
        np.testing.assert_array_equal(array, before[name])
