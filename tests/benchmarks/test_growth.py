"""The command that measures how cost grows, in small."""

import json

import numpy as np
import pytest

from tests.benchmarks import growth
from tinymaskrcnn.datasets import CocoDataset


def test_a_set_has_the_form_of_coco(tmp_path):
    path = growth.write_set(tmp_path, 6, (48, 64))
    content = json.loads(path.read_text())
    assert len(content["images"]) == 6 and len(content["categories"]) == growth.CLASSES
    data = CocoDataset(path)
    assert data.skipped == {} or set(data.skipped) <= {"a segmentation that covers no pixel"}
    assert sum(len(data.target(i)["boxes"]) for i in range(6)) == int(6 * growth.PER_IMAGE)
    assert data[5][0].shape == (3, 48, 64)


@pytest.mark.parametrize("name", growth.CURVES)
def test_each_curve_can_be_measured(name, tmp_path, monkeypatch):
    curve = growth.CURVES[name]
    assert list(curve.amounts) == sorted(curve.amounts)
    if name.startswith("image side") or "training step" in name:
        pytest.skip("runs a model")
    if name.startswith("images"):
        growth.write_set(tmp_path, 12)
    seconds, memory = growth.one(curve, 12, tmp_path)
    assert seconds >= 0 and memory > 1


@pytest.mark.parametrize("power", [0, 1, 2])
def test_the_slope_is_that_of_time_over_work(power):
    curve = growth.Curve((10, 100, 1000), None, power)
    seconds = [(amount / 10) ** (2 * power) for amount in curve.amounts]
    assert growth.slope(curve, curve.amounts, seconds) == ("2.00" if power else "0.00")


def test_boxes_of_a_grid_do_not_touch():
    boxes = growth.grid(20)
    assert boxes.shape == (20, 4) and (boxes >= 0).all() and (boxes <= 1024).all()
    low, high = (
        np.maximum(boxes[:, None, :2], boxes[:, :2]),
        np.minimum(boxes[:, None, 2:], boxes[:, 2:]),
    )
    assert ((high > low).all(axis=2) == np.eye(20, dtype=bool)).all()
