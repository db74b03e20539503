"""The ladder of convolution: every rung is checked, then timed in its own way."""

from collections import Counter
from unittest.mock import patch

import pytest

import tinymaskrcnn as tm
from tinymaskrcnn.ops.conv2d import cpu
from tinymaskrcnn.ops.conv2d.cpu.geometry import Geometry

from .case import Mismatch
from .ladder import RUNGS, Layer, layers_of, show, times_of, way

SAME = (1, 1), (1, 1), (1, 1), 1
FIRST = Layer(Geometry.of((1, 16, 16, 3), (32, 3, 3, 3), (2, 2), *SAME[1:]), False, True)
WIDE = Layer(Geometry.of((1, 16, 16, 32), (32, 32, 3, 3), *SAME), True, True)


def test_a_layer_is_timed_once_for_each_way():
    def ways(which):
        return [len({way(layer, which, r) for r in RUNGS} - {None}) for layer in (FIRST, WIDE)]

    assert ways("forward") == [5, 6]  # loop, NumPy, direct, few channels or Winograd's two; kept
    assert ways("grad-input") == [2, 4]  # NumPy, direct, Winograd's two
    assert ways("grad-weight") == [3, 3]  # NumPy, direct, few channels or Winograd's 4x4


def test_the_ladder_has_a_line_for_each_rung(capsys):
    show("two layers", Counter({WIDE: 2, FIRST: 1}), 1, 1e11)
    title, _, *lines, empty = capsys.readouterr().out.splitlines()
    flops = 2 * 2 * 32 * 32 * 9 * 16 * 16 + 2 * 32 * 3 * 9 * 8 * 8
    assert title == f"two layers: 3 convolutions, {flops / 1e9:.1f} GFLOP each way"
    assert [line[:26].strip() for line in lines] == [rung.name for rung in RUNGS] and not empty
    assert [line.count("%") for line in lines] == [1, *[3] * (len(RUNGS) - 2), 1]


def test_a_wrong_result_is_not_timed():
    def wrong(*arguments):
        return 1.01 * right(*arguments)

    right = cpu.conv2d
    with patch.object(cpu, "conv2d", wrong), pytest.raises(Mismatch, match="forward"):
        times_of(WIDE, 1)


def test_layers_of_a_model():
    layers = layers_of(tm.maskrcnn_tiny().eval(), (1, 64, 64, 3))
    first = next(iter(layers))
    assert first.geometry.x == (1, 64, 64, 3) and first.relu and not first.residual
    assert any(layer.residual for layer in layers)
