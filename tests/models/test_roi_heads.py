"""models/roi_heads.py, roi_pooling.py, box_head.py, mask_head.py."""

import json
from dataclasses import asdict, replace

import numpy as np
import pytest
from hypothesis import strategies as st

import lessons
from tests.properties import on_each_backend
from tinymaskrcnn import functional as F
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.detection.cropped_masks import CroppedMasks
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.models import roi_heads
from tinymaskrcnn.models.box_head import (
    ConvFCBoxHead,
    FastRCNNPredictor,
    TwoMLPHead,
    channels_last,
)
from tinymaskrcnn.models.mask_head import MaskHead, MaskPredictor
from tinymaskrcnn.models.resnet import norm_maker
from tinymaskrcnn.models.roi_heads import RoIConfig, RoIHeads, _with_objects, mask_goals
from tinymaskrcnn.models.roi_pooling import MultiScaleRoIAlign, map_scales
from tinymaskrcnn.tensor import Tensor

from .stages import (
    GOLDEN,
    IMAGE_SIZES,
    load_recorded,
    recorded_features,
    recorded_target,
    target_of,
)

EVERYTHING = RoIConfig(0.26, 0.5, 20, batch_size_per_image=1000, positive_fraction=0.5)
PROPOSALS = [GOLDEN["roi_proposals"][:35], GOLDEN["roi_proposals"][35:]]
LEVELS = [(16, 24), (8, 12), (4, 6), (2, 3)]


def heads(config: RoIConfig = EVERYTHING) -> RoIHeads:
    rng = np.random.default_rng(0)
    return RoIHeads(
        MultiScaleRoIAlign(7, 2, canonical_scale=40),
        TwoMLPHead(4, 12, rng=rng),
        FastRCNNPredictor(12, 4, rng=rng),
        MultiScaleRoIAlign(14, 2, canonical_scale=40),
        MaskHead(4, (6, 5), rng=rng),
        MaskPredictor(5, 5, 4, rng=rng),
        config,
    )


def select(logits, proposals, deltas=None, size=(40, 40), **settings):
    """One image's detections from logits (R, K) and still boxes."""
    logits, proposals = np.array(logits, np.float32), np.array(proposals, np.float32)
    if deltas is None:
        deltas = np.zeros((len(logits), 4 * logits.shape[1]), np.float32)
    scores = F.softmax(Tensor(logits)).data
    roi_heads = heads(replace(EVERYTHING, **settings))
    found = roi_heads._candidates(scores, deltas, proposals, size)
    kept = found.keep[: roi_heads.config.detections_per_img]
    return found.clipped[kept], found.labels[kept], found.scores[kept]


def sample_of(roi_heads, proposals, target):
    """The sample that the losses draw from one image's proposals."""
    candidates = _with_objects(proposals, target)
    matches = roi_heads.matcher.match_boxes(candidates, target["boxes"], target.get("iscrowd"))
    return roi_heads._sample_proposals(candidates, matches, target, np.random.default_rng(0))


# by hand


@pytest.mark.parametrize(
    ("side", "level"), [(0, 0), (111, 0), (112, 1), (223.9, 1), (224, 2), (448, 3), (9999, 3)]
)
def test_levels_of_square_boxes(side, level):
    scales = [1 / 4, 1 / 8, 1 / 16, 1 / 32]
    box = np.array([[5, 5, 5 + side, 5 + side]], np.float32)
    assert MultiScaleRoIAlign(7, 2).level_of(box, scales).tolist() == [level]


@pytest.mark.parametrize(("height", "finest"), [(64, 0.25), (46, 0.25), (45, 0.5), (33, 0.5)])
def test_scales_come_from_the_unpadded_height(height, finest):
    maps = [Tensor(np.zeros((1, h, w, 1), np.float32)) for h, w in LEVELS]
    expected = [finest / 2**i for i in range(4)]
    assert map_scales(maps, [(height, 96), (1, 96)]) == expected


def test_one_box_may_be_two_classes_and_background_is_none(backend):
    boxes, labels, scores = select(
        [[0.5, 2, 2, -9], [5, 0, 0, 0]], [[0, 0, 9, 9], [20, 20, 30, 30]]
    )
    assert labels.tolist() == [1, 2] and labels.dtype == np.int64
    assert boxes.tolist() == [[0, 0, 9, 9]] * 2
    assert scores[0] == scores[1] > 0.4


def test_suppression_is_within_a_class_and_the_best_come_first(backend):
    proposals = [[0, 0, 10, 10], [0, 0, 10, 11], [0, 0, 10, 12]]
    boxes, labels, scores = select([[0, 3, 0, 0], [0, 4, 0, 0], [0, 0, 2, 0]], proposals)
    assert boxes[:, 3].tolist() == [11, 12] and labels.tolist() == [1, 2]
    assert scores[0] > scores[1]
    assert len(select([[0, 3, 0, 0], [0, 0, 3, 0]], proposals[:2], detections_per_img=1)[0]) == 1


def test_suppression_across_classes_is_a_setting(backend):
    proposals = [[0, 0, 10, 10], [0, 0, 10, 11], [0, 20, 10, 30]]
    given = [[0, 3, 0, 0], [0, 0, 4, 0], [0, 0, 2, 0]], proposals
    assert select(*given)[1].tolist() == [2, 1, 2]
    boxes, labels, _ = select(*given, class_agnostic_nms=True)
    assert boxes[:, 3].tolist() == [11, 30] and labels.tolist() == [2, 2]


def test_a_score_at_the_threshold_is_not_above_it(backend):
    assert len(select([[0, 0]], [[0, 0, 9, 9]], score_thresh=0.5)[0]) == 0
    assert len(select([[0, 0]], [[0, 0, 9, 9]], score_thresh=0.4999)[0]) == 1


def test_boxes_are_clipped_and_slivers_dropped(backend):
    boxes, *_ = select([[0, 5], [0, 5]], [[-4, 30, 50, 60], [40, 0, 50, 9]])
    assert boxes.tolist() == [[0, 30, 40, 40]]


def test_every_class_has_its_own_offsets(backend):
    deltas = np.zeros((1, 12), np.float32)
    deltas[0, 8] = 10  # dx of class 2: one width, for the weight is 10
    boxes, labels, _ = select([[-9, 1, 1]], [[0, 0, 10, 10]], deltas)
    assert dict(zip(labels.tolist(), boxes[:, 0].tolist(), strict=True)) == {1: 0, 2: 10}


def test_a_mask_goal_is_the_covered_share(backend):
    mask = np.zeros((2, 8, 8), np.uint8)
    mask[1, :, 4:] = 1
    goals = mask_goals(mask, np.array([[0, 0, 8, 8]], np.float32), np.array([1]), 4)
    # unaligned samples stand at 0.5, 1.5, ... of pixels whose centres are whole: half a pixel late
    assert goals[0].tolist() == [[0, 0.25, 1, 1]] * 4


@pytest.mark.parametrize("pixels", [1, 2 * 41 * 37, 1 << 23])
def test_mask_goals_are_those_of_whole_masks_however_many_at_a_time(monkeypatch, pixels):
    monkeypatch.setattr(roi_heads, "MASK_PIXELS", pixels)
    rng = np.random.default_rng(0)
    corners = rng.uniform(-3, 20, (12, 2))
    boxes = np.hstack([corners, corners + rng.uniform(1, 22, (12, 2))]).astype(np.float32)
    whole = rng.random((7, 41, 37)) < 0.5
    whole[3, :30], whole[5] = 0, 0
    matches = rng.integers(0, 7, 12)
    rois = np.column_stack([matches, boxes]).astype(np.float32)
    expected = F.roi_align(whole[..., None].astype(np.float32), rois, 14).data[..., 0]
    for masks in (whole, CroppedMasks.of(whole)):
        goals = mask_goals(masks, boxes, matches, 14)
        assert goals.tobytes() == expected.tobytes()
    assert mask_goals(whole, boxes[:0], matches[:0], 14).shape == (0, 14, 14)


def test_ground_truth_is_among_the_proposals_but_crowds_are_not():
    target = target_of([[0, 0, 8, 8], [10, 10, 20, 20]], [1, 3], (40, 40))
    target["iscrowd"] = np.array([True, False])
    proposals = np.array([[1, 1, 7, 7], [30, 30, 35, 35]], np.float32)
    sample = sample_of(heads(), proposals, target)
    assert sample.boxes.tolist() == [[30, 30, 35, 35], [10, 10, 20, 20]]
    assert sample.labels.tolist() == [0, 3]
    assert sample.matches[1] == 1 and not sample.goals.any()


# specification


@on_each_backend(st.integers(0, 10**6), st.integers(0, 12), examples=8)
def test_pooling_one_box_at_a_time(backend, seed, count):
    rng = np.random.default_rng(seed)
    maps = [rng.standard_normal((2, h, w, 3), np.float32) for h, w in LEVELS]
    corners = rng.uniform(0, 60, (count, 2))
    boxes = np.hstack([corners, corners + 4 ** rng.uniform(-1, 3.3, (count, 2))]).astype(np.float32)
    boxes = np.minimum(boxes, (96, 64) * 2).astype(np.float32)  # inside the map, as proposals are
    split = [boxes[: count // 3], boxes[count // 3 :]]
    crops = MultiScaleRoIAlign(5, 2)([Tensor(m) for m in maps], split, IMAGE_SIZES).crops.data
    assert crops.shape == (count, 5, 5, 3)
    for r, box in enumerate(boxes):
        side = np.sqrt((box[2] - box[0]) * (box[3] - box[1]))
        level = int(np.clip(np.floor(4 + np.log2(side / 224) + 1e-6), 2, 5)) - 2
        roi = np.array([[float(r >= count // 3), *box]], np.float32)
        expected = F.roi_align(maps[level], roi, 5, 0.25 / 2**level, 2).data
        assert np.array_equal(crops[r], expected[0])


cross_entropy_one = lessons.load("box_head").cross_entropy_one
smooth_l1_one = lessons.load("region_proposals").smooth_l1_one


def losses_in_loops(logits, deltas, samples):
    """One proposal at a time, from logits (R, K) and offsets (R, 4K) of both images together."""
    classification, offsets, r = 0.0, 0.0, 0
    for sample in samples:
        for label, goal in zip(sample.labels, sample.goals, strict=True):
            classification += cross_entropy_one(logits[r].tolist(), label)
            if label:
                for d in deltas[r, 4 * label : 4 * label + 4] - goal:
                    offsets += smooth_l1_one(d, 1 / 9)
            r += 1
    return classification / r, offsets / r


def test_box_losses_one_proposal_at_a_time(backend):
    roi_heads, features = heads(), recorded_features("roi", 4)
    load_recorded(roi_heads, "roi_heads")
    targets = [recorded_target("roi", i) for i in range(2)]
    samples = [sample_of(roi_heads, p, t) for p, t in zip(PROPOSALS, targets, strict=True)]
    boxes = [s.boxes for s in samples]
    logits, deltas = roi_heads._predict_boxes("roi", features, boxes, IMAGE_SIZES)
    losses = roi_heads._box_losses(features, samples, IMAGE_SIZES)
    classification, offsets = losses_in_loops(logits.data, deltas.data, samples)
    assert losses["loss_classifier"].item() == pytest.approx(classification, rel=1e-5)
    assert losses["loss_box_reg"].item() == pytest.approx(offsets, rel=1e-5)


def test_the_fully_connected_layer_flattens_channels_first(backend):
    head = TwoMLPHead(3, 6, rng=np.random.default_rng(0))
    crops = np.random.default_rng(1).standard_normal((2, 7, 7, 3), np.float32)
    flat = crops.transpose(0, 3, 1, 2).reshape(2, -1)
    state = head.state_dict()
    hidden = np.maximum(flat @ state["fc6.weight"].T + state["fc6.bias"], 0)
    expected = np.maximum(hidden @ state["fc7.weight"].T + state["fc7.bias"], 0)
    assert np.allclose(head(Tensor(crops)).data, expected, atol=1e-5)
    with no_grad():
        assert np.allclose(head(Tensor(crops)).data, expected, atol=1e-5)


def test_the_masks_of_labels_are_channels_of_all_masks(backend):
    predictor = MaskPredictor(3, 4, 5, rng=np.random.default_rng(0))
    crops = Tensor(np.random.default_rng(1).standard_normal((6, 2, 3, 3), np.float32))
    labels = np.array([1, 4, 1, 0, 2, 3])
    expected = predictor(crops).data[np.arange(6), :, :, labels]
    assert expected.shape == (6, 4, 6)
    assert np.allclose(predictor.of_labels(crops, labels).data, expected, atol=1e-6)


# gradient


def test_pooling_sends_every_gradient_to_its_level():
    rng = np.random.default_rng(0)
    maps = [rng.standard_normal((2, h, w, 1)) for h, w in [(8, 10), (4, 5), (2, 3), (1, 2)]]
    boxes = [np.array([[3, 4, 30, 20], [0, 0, 38, 30]]), np.array([[10, 5, 14, 8]])]
    pool = MultiScaleRoIAlign(2, 1, canonical_scale=40)
    gradcheck(lambda *levels: pool(levels, boxes, [(32, 40), (30, 38)]).crops, *maps)


def test_gradients_of_reordered_and_chosen_weights():
    rng = np.random.default_rng(0)
    predictor = MaskPredictor(2, 2, 3, rng=rng)
    labels = np.array([2, 0, 2])

    def draw(crops, weight, bias):
        last = predictor.mask_fcn_logits
        last.weight, last.bias = weight, bias
        predictor.conv5_mask = lambda x, relu: x
        return predictor.of_labels(crops, labels)

    gradcheck(lambda weight: channels_last(weight, 2), rng.standard_normal((3, 98)))
    gradcheck(draw, *(rng.standard_normal(s) for s in ((3, 2, 2, 2), (3, 2, 1, 1), (3,))))


# laws


def test_names_and_shapes_of_the_second_version():
    rng, norm = np.random.default_rng(0), norm_maker("batch", 1e-5)
    state = ConvFCBoxHead(8, (4, 4), 5, norm, rng=rng).state_dict()
    names = {key for key in state if "running" not in key}
    blocks = {f"{i}.{part}" for i in range(2) for part in ("0.weight", "1.weight", "1.bias")}
    assert names == blocks | {"3.weight", "3.bias"}
    assert state["3.weight"].shape == (5, 4 * 49)
    masks = MaskHead(8, (4, 4), norm, rng=rng).state_dict()
    assert {key for key in masks if "running" not in key} == blocks


def test_the_config_survives_json():
    loaded = RoIConfig(**json.loads(json.dumps(asdict(RoIConfig()))))
    assert loaded == RoIConfig()
    assert heads(loaded).box_coder.weights == (10, 10, 5, 5)


# outside oracle


def test_losses_and_gradients_equal_torchvisions(backend):
    roi_heads, features = heads(), recorded_features("roi", 4)
    load_recorded(roi_heads, "roi_heads")
    targets = [recorded_target("roi", i) for i in range(2)]
    losses = roi_heads.losses(features, PROPOSALS, IMAGE_SIZES, targets, np.random.default_rng(0))
    assert list(losses) == ["loss_classifier", "loss_box_reg", "loss_mask"]
    for name, loss in losses.items():
        assert loss.item() == pytest.approx(float(GOLDEN[f"roi_{name}"]), rel=1e-5)
    sum(losses.values()).backward()
    for i, feature in enumerate(features):
        assert np.allclose(feature.grad, GOLDEN[f"roi_gradient_feature_{i}"], atol=2e-6)
    fc6, last = roi_heads.box_head.fc6, roi_heads.mask_predictor.mask_fcn_logits
    assert np.allclose(fc6.weight.grad, GOLDEN["roi_gradient_fc6"], atol=2e-6)
    assert np.allclose(last.weight.grad, GOLDEN["roi_gradient_mask_logits"], atol=2e-6)


def test_detections_equal_torchvisions(backend):
    roi_heads, features = heads(), recorded_features("roi", 4)
    load_recorded(roi_heads, "roi_heads")
    with no_grad():
        found = roi_heads.detect(features, PROPOSALS, IMAGE_SIZES)
    for i, one in enumerate(found):
        assert np.array_equal(one.labels, GOLDEN[f"roi_found_labels_{i}"])
        assert np.allclose(one.boxes, GOLDEN[f"roi_found_boxes_{i}"], atol=1e-4)
        assert np.allclose(one.scores, GOLDEN[f"roi_found_scores_{i}"], atol=1e-6)
        assert np.allclose(one.mask_probabilities, GOLDEN[f"roi_found_masks_{i}"][:, 0], atol=1e-5)
        assert one.image_size == IMAGE_SIZES[i]


# edges


def test_no_objects_and_no_proposals_train(backend):
    roi_heads, features = heads(), recorded_features("roi", 4)
    none, targets = np.zeros((0, 4), np.float32), [target_of([], [], (64, 96))] * 2
    for proposals in ([PROPOSALS[0], none], [none, none]):
        losses = roi_heads.losses(
            features, proposals, IMAGE_SIZES, targets, np.random.default_rng(0)
        )
        assert losses["loss_mask"].item() == losses["loss_box_reg"].item() == 0
        sum(losses.values()).backward()
        assert all(np.isfinite(p.grad).all() for p in roi_heads.parameters())


def test_nothing_to_detect(backend):
    none = np.zeros((0, 4), np.float32)
    with no_grad():
        found = heads().detect(recorded_features("roi", 4), [none, none], IMAGE_SIZES)
    for one in found:
        assert one.boxes.shape == (0, 4) and one.labels.shape == one.scores.shape == (0,)
        assert one.mask_probabilities.shape == (0, 28, 28)
