"""models/rpn.py."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn.detection.anchors import AnchorGenerator
from tinymaskrcnn.detection.box_coder import BoxCoder
from tinymaskrcnn.models.rpn import RegionProposalNetwork, RPNConfig, RPNHead, RPNOutput
from tinymaskrcnn.models.transform import ImageBatch
from tinymaskrcnn.tensor import Tensor

from .stages import (
    GOLDEN,
    IMAGE_SIZES,
    load_recorded,
    recorded_features,
    recorded_target,
    target_of,
)

ANCHORS = AnchorGenerator([[8], [16], [32], [64], [128]], [[0.5, 1.0, 2.0]] * 5)
EVERYTHING = RPNConfig(60, 40, 50, 30, batch_size_per_image=4000)  # as recorded
BATCH = ImageBatch(np.zeros((2, 64, 96, 3), np.float32), IMAGE_SIZES, IMAGE_SIZES)


def network(config: RPNConfig = EVERYTHING, depth: int = 1) -> RegionProposalNetwork:
    return RegionProposalNetwork(
        RPNHead(4, 3, depth, rng=np.random.default_rng(0)), ANCHORS, config
    )


def output_of(logits, deltas, anchors, level_sizes, image_size=(40, 40)) -> RPNOutput:
    """One image's output from plain lists."""
    return RPNOutput(
        Tensor(np.array([logits], np.float32), requires_grad=True),
        Tensor(np.array([deltas], np.float32), requires_grad=True),
        np.array(anchors, np.float32),
        level_sizes,
        [image_size],
    )


THREE = ([[0, 0, 10, 10], [0, 0, 10, 11], [20, 20, 30, 30]], [2, 1])  # anchors, level sizes
STILL = [[0, 0, 0, 0]] * 3

# by hand


def test_the_better_of_two_overlapping_boxes_stays(backend):
    output = output_of([1, 2, 0], STILL, *THREE)
    (boxes,) = network().proposals(output)
    assert boxes.tolist() == [[0, 0, 10, 11], [20, 20, 30, 30]]


def test_boxes_of_different_levels_do_not_compete(backend):
    (boxes,) = network().proposals(output_of([1, 2, 0], STILL, THREE[0], [1, 2]))
    assert len(boxes) == 3


def test_boxes_are_clipped_and_slivers_dropped(backend):
    anchors = [[-5, -5, 5, 5], [35, 10, 60, 20], [50, 0, 60, 10]]
    (boxes,) = network().proposals(output_of([3, 2, 1], STILL, anchors, [3]))
    assert boxes.tolist() == [[0, 0, 5, 5], [35, 10, 40, 20]]


def test_the_limits_before_and_after_suppression_depend_on_the_mode(backend):
    anchors = [[4 * i, 0, 4 * i + 3, 3] for i in range(8)]
    output = output_of(range(8), [[0, 0, 0, 0]] * 8, anchors, [5, 3])
    rpn = network(RPNConfig(3, 2, 4, 3))
    assert rpn.train().proposals(output)[0][:, 0].tolist() == [28, 24, 20, 16]
    assert rpn.eval().proposals(output)[0][:, 0].tolist() == [28, 24, 16]


def test_equal_scores_keep_the_order_of_anchors(backend):
    anchors = [[4 * i, 0, 4 * i + 3, 3] for i in range(6)]
    output = output_of([1] * 6, [[0, 0, 0, 0]] * 6, anchors, [6])
    (boxes,) = network(RPNConfig(pre_nms_top_n_train=4)).proposals(output)
    assert boxes[:, 0].tolist() == [0, 4, 8, 12]


def test_losses_by_hand(backend):
    """One object, one background; the third anchor is between the thresholds and not judged."""
    anchors = [[0, 0, 10, 10], [20, 20, 30, 30], [0, 0, 10, 20]]
    output = output_of([2, 1, 5], [[0, 0, 0, 0.5]] * 3, anchors, [3])
    target = target_of([[0, 0, 10, 10]], [1], (40, 40))
    losses = network().losses(output, [target], np.random.default_rng(0))
    objectness = (np.log1p(np.exp(-2)) + np.log1p(np.exp(1))) / 2
    assert losses["loss_objectness"].item() == pytest.approx(objectness, rel=1e-5)
    assert losses["loss_rpn_box_reg"].item() == pytest.approx((0.5 - 0.5 / 9) / 2, rel=1e-5)
    sum(losses.values()).backward()
    assert (output.objectness.grad[0] != 0).tolist() == [True, True, False]
    assert (output.deltas.grad[0, :, 3] != 0).tolist() == [True, False, False]


def test_a_crowd_is_neither_object_nor_background(backend):
    output = output_of([0, 0, 0], STILL, *THREE)
    target = target_of([[0, 0, 12, 12], [20, 20, 30, 30]], [1, 1], (40, 40))
    target["iscrowd"] = np.array([True, False])
    losses = network().losses(output, [target], np.random.default_rng(0))
    losses["loss_objectness"].backward()
    assert output.objectness.grad[0].tolist() == [0, 0, -0.5]


# specification


LESSON = lessons.load("region_proposals")


def losses_in_loops(output, targets):
    """The losses look at every anchor of every image."""
    cross_entropies, offsets = [], 0.0
    for i, target in enumerate(targets):
        overlaps = np.array([[iou(g, a) for a in output.anchors] for g in target["boxes"]])
        for n, anchor in enumerate(output.anchors):
            own = overlaps[:, n] if len(overlaps) else np.zeros(1)
            restored = any(row[n] == row.max() for row in overlaps)
            if own.max() < 0.7 and not restored and own.max() >= 0.3:
                continue
            is_object = len(overlaps) > 0 and (own.max() >= 0.7 or restored)
            logit = float(output.objectness.data[i, n])
            cross_entropies.append(LESSON.binary_cross_entropy_one(logit, int(is_object)))
            if is_object:
                box = target["boxes"][own.argmax()][None]
                goal = BoxCoder().encode(box.astype(float), anchor[None].astype(float))[0]
                for d in output.deltas.data[i, n] - goal:
                    offsets += LESSON.smooth_l1_one(d, 1 / 9)
    return np.mean(cross_entropies), offsets / len(cross_entropies)


def iou(a, b):
    width, height = min(a[2], b[2]) - max(a[0], b[0]), min(a[3], b[3]) - max(a[1], b[1])
    both = np.float32(max(width, 0)) * np.float32(max(height, 0))
    return both / ((a[2] - a[0]) * (a[3] - a[1]) + (b[2] - b[0]) * (b[3] - b[1]) - both)


@on_each_backend(st.integers(0, 10**6), st.integers(0, 3), examples=8)
def test_losses_one_anchor_at_a_time(backend, seed, objects):
    rng = np.random.default_rng(seed)
    anchors = np.concatenate(ANCHORS([(4, 6), (2, 3), (1, 2), (1, 1), (1, 1)], (32, 48)))
    corners = rng.integers(0, 20, (objects, 2))
    boxes = np.hstack([corners, corners + rng.integers(2, 28, (objects, 2))])
    targets = [target_of(boxes, [1] * objects, (48, 48)), target_of([], [], (48, 48))]
    output = RPNOutput(
        Tensor(rng.standard_normal((2, len(anchors)), np.float32)),
        Tensor(rng.normal(0, 0.3, (2, len(anchors), 4)).astype(np.float32)),
        anchors,
        [len(anchors)],
        [(48, 48)] * 2,
    )
    losses = network().losses(output, targets, rng)
    objectness, box = losses_in_loops(output, targets)
    assert losses["loss_objectness"].item() == pytest.approx(objectness, rel=1e-4)
    assert losses["loss_rpn_box_reg"].item() == pytest.approx(box, rel=1e-4)


# laws


@pytest.mark.parametrize("depth", [1, 2])
def test_names_and_initial_values(depth):
    state = RPNHead(8, 3, depth, rng=np.random.default_rng(0)).state_dict()
    expected = {f"conv.{i}.0.weight": (8, 8, 3, 3) for i in range(depth)}
    expected |= {"cls_logits.weight": (3, 8, 1, 1), "bbox_pred.weight": (12, 8, 1, 1)}
    biases = {key.replace("weight", "bias"): shape[:1] for key, shape in expected.items()}
    assert {key: value.shape for key, value in state.items()} == expected | biases
    assert not any(state[key].any() for key in biases)
    assert state["conv.0.0.weight"].std() == pytest.approx(0.01, rel=0.15)


def test_the_same_generator_state_draws_the_same_sample():
    output = network()(BATCH, recorded_features("rpn", 5))
    targets = [recorded_target("rpn", i) for i in range(2)]
    rpn = network(replace(EVERYTHING, batch_size_per_image=16))
    first, second, other = (
        rpn.losses(output, targets, np.random.default_rng(seed))["loss_objectness"].item()
        for seed in (3, 3, 4)
    )
    assert first == second != other


def test_the_config_survives_json():
    assert RPNConfig(**json.loads(json.dumps(asdict(RPNConfig())))) == RPNConfig()


# outside oracle


def test_proposals_and_losses_equal_torchvisions(backend):
    rpn = network()
    load_recorded(rpn.head, "rpn.head")
    features = recorded_features("rpn", 5)
    output = rpn(BATCH, features)
    for i, boxes in enumerate(rpn.train().proposals(output)):
        assert np.allclose(boxes, GOLDEN[f"rpn_proposals_train_{i}"], atol=1e-4)
    for i, boxes in enumerate(rpn.eval().proposals(output)):
        assert np.allclose(boxes, GOLDEN[f"rpn_proposals_test_{i}"], atol=1e-4)
    targets = [recorded_target("rpn", i) for i in range(2)]
    losses = rpn.losses(output, targets, np.random.default_rng(0))
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(float(GOLDEN[f"rpn_{name}"]), rel=1e-5)


# edges


def test_no_objects_anywhere_trains(backend):
    rpn = network()
    output = rpn(BATCH, recorded_features("rpn", 5))
    losses = rpn.losses(output, [target_of([], [], (64, 96))] * 2, np.random.default_rng(0))
    assert losses["loss_rpn_box_reg"].item() == 0
    sum(losses.values()).backward()
    assert all(np.isfinite(parameter.grad).all() for parameter in rpn.parameters())


def test_everything_ignored_is_a_loss_of_zero(backend):
    output = output_of([0, 0, 0], STILL, *THREE)
    target = target_of([[0, 0, 40, 40]], [1], (40, 40)) | {"iscrowd": np.array([True])}
    losses = network().losses(output, [target], np.random.default_rng(0))
    assert [loss.item() for loss in losses.values()] == [0, 0]
    sum(losses.values()).backward()
    assert not output.objectness.grad.any()


def test_numbers_gone_wrong_leave_no_proposals(backend):
    nan = np.nan
    output = output_of([nan, 1, 2], [[nan] * 4, [0, 0, 0, np.inf], [nan] * 4], *THREE)
    (boxes,) = network().proposals(output)
    assert np.isfinite(boxes).all() and len(boxes) <= 1
