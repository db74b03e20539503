"""The moving average of weights."""

import numpy as np
import pytest

from tinymaskrcnn.errors import InputError
from tinymaskrcnn.training.ema import MovingAverage

from .stub import StubModel


def test_early_updates_by_hand(backend):
    model = StubModel()
    average = MovingAverage(model, 0.9)
    start = model.head.weight.data.copy()
    model.head.weight.data += 1
    average.update()  # decay 1/10
    np.testing.assert_allclose(average.averages["head.weight"], start + 0.9, rtol=1e-6)
    average.update()  # decay 2/11
    np.testing.assert_allclose(average.averages["head.weight"], start + 1 - 0.1 * 2 / 11, rtol=1e-5)


def test_decay_reaches_its_limit():
    model = StubModel()
    average = MovingAverage(model, 0.5)
    average.updates = 1000
    model.seen += 8
    average.update()
    assert average.averages["seen"][0] == 4


def test_applied_is_undone_bit_for_bit():
    model = StubModel()
    average = MovingAverage(model, 0.9)
    model.head.weight.data *= np.float32(1.1)
    own = model.head.weight.data.tobytes()
    version = model.head.weight.version
    with average.applied():
        assert model.head.weight.data.tobytes() == average.averages["head.weight"].tobytes() != own
        assert model.head.weight.version > version
    assert model.head.weight.data.tobytes() == own


def test_applied_is_undone_after_an_error():
    model = StubModel()
    average = MovingAverage(model, 0.9)
    model.head.weight.data += 1
    own = model.head.weight.data.copy()
    with pytest.raises(RuntimeError), average.applied():
        raise RuntimeError
    np.testing.assert_array_equal(model.head.weight.data, own)


def test_averages_of_another_model_are_refused():
    with pytest.raises(InputError, match="belong to another model"):
        MovingAverage(StubModel(), 0.9).load({"other": np.zeros(1)}, 3)
