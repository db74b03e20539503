"""The parts that ablations put in place of the model's own, and the records of their runs."""

import json

import numpy as np
import pytest

import lessons
from lessons import ablations
from lessons.ablations.__main__ import MODEL
from lessons.ablations.variants import VARIANTS, MultiScaleRoIPool, SoftmaxMaskHeads
from tinymaskrcnn.datasets import ToyShapes
from tinymaskrcnn.models.builders import build
from tinymaskrcnn.models.roi_heads import ProposalSample
from tinymaskrcnn.tensor import Tensor

pool_one = lessons.load("roi_align").pool_one
cross_entropy_one = lessons.load("box_head").cross_entropy_one


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
    crops = pool([Tensor(f.astype(np.float32)) for f in levels], [boxes], [(256, 256)]).data
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
        lambda *_: None,
        lambda _: None,
        lambda _: Tensor(logits),
        heads.config,
    )
    boxes = np.float32([[0, 0, 28, 28], [0, 0, 28, 28], [1, 1, 9, 9]])
    sample = ProposalSample(boxes, np.array([2, 1, 0]), np.array([0, 1, -1]), np.zeros((3, 4)))
    masks = np.zeros((2, 28, 28), bool)
    masks[0, :14], masks[1, :, 7:] = True, True
    (loss,) = changed._mask_loss([], [sample], [(28, 28)], [{"masks": masks}]).values()
    # a goal is read half a pixel further: an edge on the left is one column earlier
    goals = np.zeros((2, 28, 28), int)
    goals[0, :14], goals[1, :, 6:] = 2, 1
    rows = zip(logits.reshape(-1, 4), goals.ravel(), strict=True)
    expected = np.mean([cross_entropy_one(row.tolist(), label) for row, label in rows])
    assert loss.item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("path", sorted(ablations.FOLDER.glob("*.json")), ids=lambda p: p.stem)
def test_records_are_of_the_present_settings(path):
    record = ablations.recorded(path.stem)
    assert record["settings"] == MODEL
    seeds = [str(run["seed"]) for run in record["runs"]]
    assert f"lessons.ablations {path.stem} " in record["command"]
    assert f"--seeds {' '.join(seeds)} " in record["command"]
    mean = np.mean([run["segm"]["AP"] for run in json.loads(path.read_text())["runs"]])
    assert ablations.average(path.stem, "segm", "AP") == pytest.approx(100 * mean)
