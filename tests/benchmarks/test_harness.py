"""The harness: sides must agree before they are timed; bounds decide whether figures are good."""

import importlib.util
import sys

import numpy as np
import pytest

from tinymaskrcnn.ops.conv2d import cpu

from . import CASES
from .__main__ import PEAK_ROW, _chosen
from .case import Bound, Case, Mismatch, largest_difference, require_close
from .flops import count_flops
from .harness import Settings, Sides, judged, measure
from .models import detections_differ
from .table import line
from .worker import Worker

ONE = np.ones((1, 2), np.float32)


def test_differences():
    assert largest_difference([ONE], [ONE]) == 0
    assert largest_difference([ONE * 3], [ONE * 4]) == 0.25
    for wrong in (ONE[:, :1], ONE * np.nan):
        assert largest_difference([wrong], [ONE]) == np.inf
    with pytest.raises(Mismatch, match="conv: off by"):
        require_close("conv", ONE, ONE * 2, 0.1)


def test_detections_are_compared_by_boxes_and_scores():
    boxes, scores, masks = np.eye(4, dtype=np.float32) * 50, np.linspace(1, 0, 4), ONE
    ours = boxes, scores, masks
    assert detections_differ(ours, (boxes[::-1], scores, masks)) == 0
    assert detections_differ(ours, (boxes + np.diag([9, 0, 0, 0]), scores, masks)) == 0.25
    assert detections_differ(ours, (boxes, scores + 0.5, masks)) == 0.5
    assert detections_differ(ours, (boxes[:3], scores[:3], masks)) == np.inf
    assert detections_differ((boxes * np.nan, scores, masks), ours) == 1
    assert np.isnan(detections_differ((boxes, scores * np.nan, masks), ours))


def test_flops_of_a_convolution():
    x, weight = np.ones((2, 5, 6, 3), np.float32), np.ones((4, 3, 3, 3), np.float32)
    geometry = (1, 1), (1, 1), (1, 1), 1
    run = lambda: cpu.conv2d(x, weight, None, None, *geometry, False)  # noqa: E731
    y, flops = count_flops(run)
    assert flops == 2 * 2 * 5 * 6 * 4 * 27
    assert y.shape == (2, 5, 6, 4)


def test_bounds():
    assert judged(2.4, Bound(2.5, 3)) == {"must": 2.5, "aim": 3, "met": False, "aim_met": False}
    assert judged(0.9, Bound(1.0, 0.7), smaller=True)["met"]
    row = {"name": "inference", "peer": "torch", "ours_ms": 2.0, "theirs_ms": 3.0, "ratio": 1.5}
    assert "BELOW MUST" in line(row | judged(1.5, Bound(2, 3)))
    assert "aim met" in line(row | judged(1.5, Bound(1, 1.5)))


def test_rows_are_chosen_by_parts_of_names_and_by_sections():
    assert _chosen(["peak"])[0] == PEAK_ROW
    assert _chosen(["operators"])[0] == "RoIAlign 1000x7x7x256"
    assert _chosen(["NMS 6000"]) == ["NMS 6000"]
    assert set(CASES) < set(_chosen([]))


def test_a_wrong_result_is_never_timed(monkeypatch, tmp_path):
    def wrong():
        require_close("case", ONE, 2 * ONE, 0)

    monkeypatch.setitem(CASES, "case", Case({"ours": lambda: pytest.fail("timed")}, check=wrong))
    with pytest.raises(Mismatch):
        Worker("ours", 1).prepare("case", str(tmp_path / "ours.npz"))


def test_a_row_without_and_with_a_peer():
    settings = Settings(sys.executable, rounds=2, seconds=0.01, threads=1, patience=0)
    name = "NMS 1000"
    sides = Sides(settings)
    try:
        first, *rest = measure(name, CASES[name], settings, sides)
    finally:
        sides.close()
    assert first["name"] == name and first["ours_ms"] > 0 and first["peak_gflops"] > 0
    if importlib.util.find_spec("torch"):
        assert first["ratio"] > 0
    else:
        assert rest == [
            {"name": name, "peer": "torch", "skipped": f"skipped: {sys.executable} has no torch"}
        ]
