"""The parts that ablations put in place of the model's own, and the records of their runs."""

import json
from types import SimpleNamespace

import numpy as np
import pytest

import lessons
from lessons import ablations
from lessons.ablations.__main__ import MODEL
from lessons.ablations.variants import (
    VARIANTS,
    FullyConnectedMaskHead,
    FullyConnectedMaskPredictor,
    MultiScaleRoIPool,
    PyramidWithoutLaterals,
    SoftmaxMaskHeads,
)
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.models.fpn import FeaturePyramid
from tinymaskrcnn.models.roi_heads import ProposalSample
from tinymaskrcnn.tensor import Tensor

pool_one = lessons.load("roi_align").pool_one
cross_entropy_one = lessons.load("box_head").cross_entropy_one
nearest_pixel = lessons.load("feature_pyramid").nearest_pixel


@pytest.fixture(scope="module", params=VARIANTS)
def model(request):
    built = build({**MODEL, "seed": 0})
    VARIANTS[request.param](built)
    return built


def test_learns_and_detects(model):
    image, target = ToyShapes(1, min_objects=3)[0]
    losses = model.train()([image], [target], np.random.default_rng(0))
    sum(losses.values()).backward()
    assert all(np.isfinite(loss.item()) for loss in losses.values())
    weight = model.roi_heads.mask_predictor.mask_fcn_logits.weight
    assert np.abs(weight.grad).max() > 0
    (found,) = model.eval().detect([image])
    assert found.mask_probabilities.shape[1:] == (28, 28)


def test_crops_by_rounding_are_roi_pool_of_the_right_level():
    rng = np.random.default_rng(0)
    levels = [rng.standard_normal((1, 64 // 2**k, 64 // 2**k, 3)) for k in range(4)]
    boxes = np.float32([[8, 9, 30, 41], [3, 60, 150, 200], [20, 20, 31, 35]])
    pool = MultiScaleRoIPool(7, 2, canonical_scale=56)
    crops = pool([Tensor(f.astype(np.float32)) for f in levels], [boxes], [(256, 256)]).crops.data
    for r, level in enumerate((2, 5, 2)):  # of sides 27, 143 and 13, where 56 is level 4
        image = levels[level - 2][0].astype(np.float32)
        for i, j in np.ndindex(7, 7):
            expected = pool_one(image, boxes[r], i, j, (7, 7), 1 / 2**level)
            np.testing.assert_array_equal(crops[r, i, j], expected)


def test_the_softmax_loss_is_the_mean_over_pixels():
    logits = np.random.default_rng(1).standard_normal((2, 28, 28, 4)).astype(np.float32)
    heads = build({**MODEL, "seed": 0}).roi_heads
    changed = SoftmaxMaskHeads(
        heads.box_pool,
        heads.box_head,
        heads.box_predictor,
        lambda *_: SimpleNamespace(crops=None),
        lambda _: None,
        lambda _: Tensor(logits),
        heads.config,
    )
    boxes = np.float32([[0, 0, 28, 28], [0, 0, 28, 28], [1, 1, 9, 9]])
    labels, matches = np.array([2, 1, 0]), np.array([0, 1, -1])
    sample = ProposalSample(np.arange(3), boxes, labels, matches, np.zeros((3, 4)))
    masks = np.zeros((2, 28, 28), bool)
    masks[0, :14], masks[1, :, 7:] = True, True
    (loss,) = changed._mask_loss([], [sample], [(28, 28)], [{"masks": masks}]).values()
    # a goal is read half a pixel further: an edge on the left is one column earlier
    goals = np.zeros((2, 28, 28), int)
    goals[0, :14], goals[1, :, 6:] = 2, 1
    rows = zip(logits.reshape(-1, 4), goals.ravel(), strict=True)
    expected = np.mean([cross_entropy_one(row.tolist(), label) for row, label in rows])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


def test_without_laterals_every_level_is_the_coarsest_map_enlarged():
    rng = np.random.default_rng(2)
    maps = [rng.standard_normal((1, 8 // 2**k, 8 // 2**k, 3)).astype(np.float32) for k in range(3)]
    pyramid = FeaturePyramid((3, 3, 3), 2, rng=rng)
    weight = pyramid.inner_blocks[2].state_dict()["0.weight"][:, :, 0, 0]
    for layer in pyramid.layer_blocks:  # each only copies the middle of its window
        kernel = next(iter(layer.parameters()))
        kernel.data[:] = np.eye(2)[:, :, None, None] * (np.arange(9).reshape(3, 3) == 4)
    levels = PyramidWithoutLaterals(pyramid)([Tensor(m) for m in maps])
    coarsest = maps[2][0] @ weight.T
    for level, size in zip(levels, (8, 4, 2), strict=False):
        for i, j in np.ndindex(size, size):
            expected = nearest_pixel(coarsest, i, j, (size, size))
            np.testing.assert_allclose(level.data[0, i, j], expected, rtol=1e-5)
    assert [level.shape[1] for level in levels] == [8, 4, 2, 1]


def test_without_laterals_only_the_coarsest_one_learns():
    model = build({**MODEL, "seed": 0})
    inner = list(model.backbone.fpn.inner_blocks)
    VARIANTS["no_laterals"](model)
    kept = {id(p) for p in model.parameters()}
    assert [id(next(iter(block.parameters()))) in kept for block in inner] == [False] * 3 + [True]


def test_fully_connected_masks_are_three_products():
    rng = np.random.default_rng(3)
    head = FullyConnectedMaskHead(2, 5, rng=rng)
    predictor = FullyConnectedMaskPredictor(5, 3, rng=rng)
    crops = rng.standard_normal((2, 14, 14, 2)).astype(np.float32)
    logits = predictor.of_labels(head(Tensor(crops)), np.array([2, 0])).data
    for crop, label, found in zip(crops, (2, 0), logits, strict=True):
        hidden = crop.ravel()
        for layer in (head.fc1, head.fc2):
            hidden = np.maximum(layer.weight.data @ hidden + layer.bias.data, 0)
        last = predictor.mask_fcn_logits
        own = slice(784 * label, 784 * (label + 1))
        expected = last.weight.data[own] @ hidden + last.bias.data[own]
        np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4, atol=1e-6)
    of_all = predictor(head(Tensor(crops))).data
    np.testing.assert_array_equal(of_all[[0, 1], :, :, [2, 0]], logits)


@pytest.mark.parametrize("path", sorted(ablations.FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_records_are_of_the_present_settings(path):
    record = ablations.recorded(path.stem)
    assert record["settings"] == MODEL
    seeds = [str(run["seed"]) for run in record["runs"]]
    assert f"lessons.ablations {path.stem} " in record["command"]
    assert f"--seeds {' '.join(seeds)} " in record["command"]
    points = [100 * run["segm"]["AP"] for run in json.loads(path.read_text())["runs"]]
    assert ablations.of_runs(path.stem, "segm", "AP") == pytest.approx(points)
    expected = np.mean(points), min(points), max(points)
    assert ablations.with_span(path.stem, "segm", "AP") == pytest.approx(expected)
