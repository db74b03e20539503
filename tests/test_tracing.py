"""What a trace holds: every name, decisions, loss terms, gradients; and that it changes nothing."""

from contextlib import nullcontext
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest

import tinymaskrcnn as tm
from tinymaskrcnn import tracing
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign
from tinymaskrcnn.tensor import Tensor
from tinymaskrcnn.viz.derived import (
    Outcome,
    binary_cross_entropy_terms,
    cross_entropy_terms,
    outcomes,
    sampling_points,
    smooth_l1_terms,
    suppressors,
)

FILTERS = {"box_score_thresh": 0.26, "rpn_post_nms_top_n_test": 30, "box_detections_per_img": 5}


@pytest.fixture(scope="module")
def shapes():
    data = tm.ToyShapes(2, size=64, min_objects=2, max_objects=3)
    return [list(part) for part in zip(*(data[i] for i in range(2)), strict=True)]


@pytest.fixture(scope="module")
def model():
    return tm.maskrcnn_tiny(min_size=64, max_size=64, **FILTERS)


@pytest.fixture(scope="module")
def both(model, shapes):
    """The trace of losses and detections from one pass over two images."""
    with tm.trace() as t:
        model.eval().evaluate_losses(*shapes, rng=np.random.default_rng(0))
    return t


@pytest.fixture(scope="module")
def training(model, shapes):
    """The trace of one training step, with gradients."""
    model.train()
    with tm.trace(gradients=True) as t:
        sum(model(*shapes, rng=np.random.default_rng(0)).values()).backward()
    model.zero_grad()
    return t


def test_every_documented_name_is_recorded_and_no_other(both):
    assert set(both) == set(tracing.NAMES)


def test_inference_records_what_needs_no_targets(model, shapes):
    with tm.trace() as t:
        model.eval().detect(shapes[0])
    with_targets = ("losses", "transform.targets", "roi.", "rpn.match", "rpn.sample", "rpn.terms")
    assert set(t) == {name for name in tracing.NAMES if not name.startswith(with_targets)}


def test_a_trace_changes_nothing(shapes):
    results = []
    for traced in (False, True):
        model = tm.maskrcnn_tiny(min_size=64, max_size=64)
        with tm.trace(gradients=True) if traced else nullcontext():
            losses = model(*shapes, rng=np.random.default_rng(0))
            sum(losses.values()).backward()
        grads = [p.grad.tobytes() for p in model.parameters()]
        found = [d.boxes.tobytes() for d in model.eval().detect(shapes[0])]
        results.append(([loss.item() for loss in losses.values()], grads, found))
    assert results[0] == results[1]


def test_outside_a_trace_nothing_is_kept(model, shapes):
    assert not tracing.recording()
    tracing.record("name", lambda: pytest.fail("called without a trace"))
    with tm.trace() as t:
        pass
    model.eval().detect(shapes[0])
    assert len(t) == 0


def test_an_error_ends_the_trace():
    with pytest.raises(RuntimeError), tm.trace():
        raise RuntimeError
    assert not tracing.recording()


def test_only_the_innermost_trace_records():
    with tm.trace() as outer:
        with tm.trace() as inner:
            tracing.record("a", 1)
        tracing.record("b", 2)
    assert (dict(outer), dict(inner)) == ({"b": 2}, {"a": 1})


@dataclass(frozen=True)
class Stage:
    a: Any
    b: Any = None


def test_a_stage_is_recorded_field_by_field():
    with tm.trace() as t:
        for _ in range(2):  # the second round replaces the first
            tracing.record("one", Stage(Stage(Tensor([1.0]), 2), "c"))
            tracing.record("images", [Stage(3, Stage(5, 6)), Stage(4, Stage(7, 8))])
            tracing.record("x", called=lambda: 9, plain=[Tensor([1.0])], none=[])
    assert repr(t) == (
        "Trace(one.a.a: (1,), one.a.b: 2, one.b: c, images.a: [3, 4], images.b.a: [5, 7], "
        "images.b.b: [6, 8], x.called: 9, x.plain: [(1,)], x.none: [])"
    )
    assert isinstance(t["one.a.a"], np.ndarray) and isinstance(t["x.plain"][0], np.ndarray)


def test_what_is_derived_is_of_one_pass(model, shapes):
    """Losses of one batch, detections of another of other size, then losses again."""
    images, targets = shapes
    with tm.trace() as t:
        model.eval().evaluate_losses(images, targets, np.random.default_rng(0))
        terms, overlaps = t["rpn.terms.objectness"], t["rpn.match.iou"]
        model.detect([image[:, :32] for image in images])
        assert all(map(np.array_equal, t["rpn.terms.objectness"], terms))
        assert all(map(np.array_equal, t["rpn.match.iou"], overlaps))
        kept = [np.flatnonzero(found == Outcome.KEPT) for found in t["detect.candidates.outcomes"]]
        assert all(map(np.array_equal, map(np.sort, t["detect.kept"]), kept))
        model.evaluate_losses(images[::-1], targets[::-1], np.random.default_rng(0))
        assert all(map(np.array_equal, t["rpn.match.iou"], overlaps[::-1]))
    assert sum(map(np.sum, t["rpn.terms.objectness"])) == pytest.approx(
        t["losses"]["loss_objectness"], rel=1e-5
    )
    assert t["rpn.match.iou"][0].shape[1] == len(t["rpn.anchors"])


def test_the_thresholds_are_those_of_the_pass(shapes):
    """Settings that change after a pass do not change what became of its boxes."""
    model = tm.maskrcnn_tiny(min_size=64, max_size=64, rpn_score_thresh=0.5).eval()
    with tm.trace() as t:
        model.detect(shapes[0])
    model.rpn.config = replace(model.rpn.config, score_thresh=0.0)
    low = [found == Outcome.LOW_SCORE for found in t["rpn.outcomes"]]
    assert any(map(np.any, low))
    assert all(map(np.array_equal, low, t["rpn.scores"] < 0.5))


def test_an_unknown_name_is_told(both):
    with pytest.raises(KeyError, match=r"'rpn.proposal' was not recorded; did you mean rpn.prop"):
        both["rpn.proposal"]


# ---- decisions


def test_outcomes_by_hand():
    best, close, small, far = [0, 0, 10, 10], [1, 0, 11, 10], [5, 5, 5, 9], [50, 0, 60, 9]
    boxes = np.array([best, close, close, small, far, best], np.float32)
    groups = np.array([0, 0, 1, 0, 0, 0])
    large, confident = np.arange(6) != 3, np.arange(6) != 5
    keep = np.array([0, 2, 4])
    found = outcomes(large, confident, keep, 2)
    assert found.tolist() == [
        Outcome.KEPT,
        Outcome.OVERLAP,
        Outcome.KEPT,
        Outcome.SMALL,
        Outcome.BEYOND_LIMIT,
        Outcome.LOW_SCORE,
    ]
    assert suppressors(boxes, groups, found, keep, 0.5).tolist() == [-1, 0, -1, -1, -1, -1]


def test_every_top_anchor_has_an_outcome_with_its_reason(both, model):
    config = model.rpn.config
    for i in range(2):
        boxes, found = both["rpn.clipped"][i], both["rpn.outcomes"][i]
        kept = both["rpn.proposal_rows"][i]
        assert sorted(kept) == np.flatnonzero(found == Outcome.KEPT).tolist()
        np.testing.assert_array_equal(both["rpn.proposals"][i], boxes[kept])
        losers = np.flatnonzero(found == Outcome.OVERLAP)
        winners = both["rpn.suppressors"][i][losers]
        assert len(losers)
        for loser, winner in zip(losers, winners, strict=True):
            assert found[winner] in (Outcome.KEPT, Outcome.BEYOND_LIMIT)
            assert both["rpn.top_k_levels"][loser] == both["rpn.top_k_levels"][winner]
            assert both["rpn.scores"][i][winner] >= both["rpn.scores"][i][loser]
            assert overlap(boxes[loser], boxes[winner]) > config.nms_thresh


def test_every_candidate_has_an_outcome_with_its_reason(both, model):
    config = model.roi_heads.config
    for i in range(2):
        rows, labels = both["detect.candidates.rows"][i], both["detect.candidates.labels"][i]
        scores = both["detect.scores"][i][rows, labels]
        assert (scores > config.score_thresh).all()
        assert len(rows) == (both["detect.scores"][i][:, 1:] > config.score_thresh).sum()
        found = both["detect.candidates.outcomes"][i]
        assert (found == Outcome.KEPT).sum() == len(both["detections.boxes"][i])
        assert sorted(both["detect.kept"][i]) == np.flatnonzero(found == Outcome.KEPT).tolist()
        boxes = both["detect.candidates.clipped"][i]
        for loser in np.flatnonzero(found == Outcome.OVERLAP):
            winner = both["detect.candidates.suppressors"][i][loser]
            assert labels[winner] == labels[loser]
            assert overlap(boxes[loser], boxes[winner]) > config.nms_thresh


def test_across_classes_too_where_nms_compares_them(shapes):
    model = tm.maskrcnn_tiny(min_size=64, max_size=64, box_class_agnostic_nms=True, **FILTERS)
    with tm.trace() as t:
        model.eval().detect(shapes[0])
    pairs = []
    for i in range(2):
        boxes, labels = (t[f"detect.candidates.{name}"][i] for name in ("clipped", "labels"))
        winners = t["detect.candidates.suppressors"][i]
        losers = np.flatnonzero(winners >= 0)
        assert all(overlap(boxes[k], boxes[winners[k]]) > 0.5 for k in losers)
        pairs += zip(labels[losers], labels[winners[losers]], strict=True)
    assert any(loser != winner for loser, winner in pairs)


def overlap(a, b):
    """IoU of two boxes, in double."""
    a, b = a.astype(float), b.astype(float)
    sides = np.maximum(np.minimum(a[2:], b[2:]) - np.maximum(a[:2], b[:2]), 0)
    area = sum(np.prod(box[2:] - box[:2]) for box in (a, b))
    return np.prod(sides) / (area - np.prod(sides))


def test_matching_and_sampling_are_of_the_targets(both):
    for i in range(2):
        target = both["transform.targets"][i]
        iou, decisions = both["rpn.match.iou"][i], both["rpn.match.decisions"][i]
        assert iou.shape == (len(target["boxes"]), len(both["rpn.anchors"]))
        matched = np.flatnonzero(decisions >= 0)
        np.testing.assert_array_equal(decisions[matched], iou.argmax(axis=0)[matched])
        indices, is_object = both["rpn.sample.indices"][i], both["rpn.sample.is_object"][i]
        np.testing.assert_array_equal(decisions[indices] >= 0, is_object)
        drawn = both["roi.sample.indices"][i]
        np.testing.assert_array_equal(both["roi.candidates"][i][drawn], both["roi.sample.boxes"][i])


def test_masks_of_all_classes_hold_that_of_the_detection(both):
    labels = np.concatenate(
        [
            both["detect.candidates.labels"][i][both["detect.kept"][i]]
            for i in range(len(both["detect.kept"]))
        ]
    )
    own = both["detect.mask_logits"][np.arange(len(labels)), :, :, labels]
    np.testing.assert_allclose(1 / (1 + np.exp(-own)), both["detect.mask_probabilities"], atol=1e-5)


def test_sampling_points_are_where_roi_align_looks():
    """On a map whose value is its column (row), a crop is the mean of where its samples lie."""
    rng = np.random.default_rng(0)
    boxes = rng.uniform(8, 120, (20, 2, 2))
    boxes = np.sort(boxes, axis=1).reshape(20, 4).astype(np.float32)
    y, x = np.mgrid[:40, :40].astype(np.float32)
    pool = MultiScaleRoIAlign(7, 2)
    with tm.trace() as t:
        pooled = pool([Tensor(np.stack([x, y], axis=2)[None])], [boxes], [(160, 160)])
        tracing.record("roi.box_pool", pooled)
    means_x = t["roi.box_pool.points_x"].reshape(20, 7, 2).mean(axis=2) / 4
    means_y = t["roi.box_pool.points_y"].reshape(20, 7, 2).mean(axis=2) / 4
    expected = np.broadcast_arrays(means_x[:, None, :], means_y[:, :, None])
    np.testing.assert_allclose(pooled.crops.data, np.stack(expected, axis=3), atol=1e-4)


def test_a_box_below_one_map_pixel_is_sampled_over_one():
    scale = np.array([0.25], np.float32)
    points = sampling_points(np.float32([8]), np.float32([9]), scale, 2, 1)
    assert points.tolist() == [[9.0, 11.0]]


def test_paste_boxes_by_hand():
    boxes = np.array([[10, 20, 38, 48], [-5.5, 0, 50.5, 28]], np.float32)
    with tm.trace() as t:
        masks = np.ones((2, 28, 28), np.float32)
        tracing.record("detections", boxes=[boxes], mask_probabilities=[masks])
    assert t["detections.paste_boxes"][0].tolist() == [[9, 19, 39, 49], [-7, -1, 52, 29]]


# ---- loss terms


def test_terms_sum_to_the_losses(both):
    terms = {
        "loss_objectness": both["rpn.terms.objectness"],
        "loss_rpn_box_reg": both["rpn.terms.box"],
        "loss_classifier": [both["roi.terms.classifier"]],
        "loss_box_reg": [both["roi.terms.box"]],
        "loss_mask": [both["roi.terms.mask"]],
    }
    assert set(terms) == set(both["losses"])
    for name, parts in terms.items():
        assert sum(part.sum() for part in parts) == pytest.approx(both["losses"][name], rel=1e-5)
        assert all(np.all(part >= 0) for part in parts)


def test_terms_by_hand():
    logits = np.array([[0.0, 0.0], [0.0, np.log(3)]])
    np.testing.assert_allclose(
        cross_entropy_terms(logits, np.array([0, 1])), [np.log(2) / 2, np.log(4 / 3) / 2]
    )
    np.testing.assert_allclose(
        binary_cross_entropy_terms(np.zeros(4), np.array([0, 1, 1, 0])), np.log(2) / 4
    )
    deltas = np.array([[0.5, 0, 0, 3]])
    np.testing.assert_allclose(smooth_l1_terms(deltas, np.zeros((1, 4)), 1.0), [0.125 + 2.5])


def test_terms_of_nothing():
    assert cross_entropy_terms(np.zeros((0, 3)), np.zeros(0, int)).shape == (0,)
    assert smooth_l1_terms(np.zeros((0, 4)), np.zeros((0, 4)), 1.0).shape == (0,)


# ---- gradients


def test_gradients_of_the_logits_by_the_formula(training):
    """d loss_objectness / d logit is (probability - truth) / count at the sampled anchors."""
    gradient = training.gradient("rpn.objectness")
    expected = np.zeros_like(gradient)
    count = sum(map(len, training["rpn.sample.indices"]))
    for i, (indices, truth) in enumerate(
        zip(training["rpn.sample.indices"], training["rpn.sample.is_object"], strict=True)
    ):
        probability = 1 / (1 + np.exp(-training["rpn.objectness"][i, indices]))
        expected[i, indices] = (probability - truth) / count
    np.testing.assert_allclose(gradient, expected, atol=1e-7)


def test_gradients_reach_every_map(training):
    for name in ("backbone.body", "backbone.laterals", "backbone.pyramid", "rpn.hidden"):
        values, gradients = training[name], training.gradient(name)
        assert [g.shape for g in gradients] == [v.shape for v in values], name
        assert all(np.abs(g).max() > 0 for g in gradients[:3]), name
    assert training.gradient("roi.box_pool.crops").shape == training["roi.box_pool.crops"].shape


def test_gradient_of_a_sum_over_two_uses():
    x = Tensor([1.0, 2.0], requires_grad=True)
    with tm.trace(gradients=True) as t:
        middle = x * 3.0
        tracing.record("middle", middle)
        tracing.record("unused", x * 2.0)
        (middle * middle + middle).sum().backward()
    np.testing.assert_allclose(t.gradient("middle"), 2 * t["middle"] + 1)
    assert t.gradient("unused") is None


def test_gradients_have_to_be_asked_for(both):
    with pytest.raises(ValueError, match="gradients=True"):
        both.gradient("rpn.objectness")
