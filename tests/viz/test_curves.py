"""The plot of a training run."""

import numpy as np
from PIL import Image

from tinymaskrcnn.viz.curves import TERMS, smoothed, training_curve


def rows(count):
    return [{"step": i + 1, "lr": 0.1, **dict.fromkeys(TERMS, 1.0 / (i + 1))} for i in range(count)]


def test_smoothing_by_hand():
    np.testing.assert_allclose(smoothed(np.array([2.0, 4.0, 6.0, 8.0]), 2), [2, 3, 5, 7])
    np.testing.assert_allclose(smoothed(np.array([2.0, 4.0]), 9), [2, 3])


def test_an_image_is_written(tmp_path):
    training_curve(rows(30), tmp_path / "plain.png")
    with Image.open(tmp_path / "plain.png") as plain:
        assert plain.size == (990, 605)


def test_evaluations_get_their_own_axis(tmp_path):
    found = [{"step": 10, "bbox": {"AP": 0.1}, "segm": {"AP": 0.2}}]
    training_curve(rows(30), tmp_path / "curve.png", found)
    with Image.open(tmp_path / "curve.png") as curve:
        assert curve.size == (990, 770)


def test_one_step_and_a_loss_of_zero(tmp_path):
    training_curve([{"step": 1, "lr": 0.0, **dict.fromkeys(TERMS, 0.0)}], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size > 0
