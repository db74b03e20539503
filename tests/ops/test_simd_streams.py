"""Rows made of straight lines, and rows written past the caches."""

import numpy as np
import pytest

from tinymaskrcnn.jit import serial
from tinymaskrcnn.ops.simd.emitter import LANES
from tinymaskrcnn.ops.simd.streams import VECTOR, finish_streams, ramp, stream_row


@serial
def call_ramp(value, slope, fraction, count, out):
    ramp(value, slope, fraction, 0, count, out, 1)


@serial
def stream_rows(rows, target, at):
    """target[at:] = the bytes of rows (count, width), one after the other."""
    count, width = rows.shape
    line, kept = np.zeros(VECTOR + width, np.uint8), 0
    for y in range(count):
        line[VECTOR:] = rows[y]
        kept = stream_row(line, kept, target, at + y * width, y == count - 1)
    finish_streams()
    return kept


@pytest.mark.parametrize("width", [1, 5, VECTOR - 1, VECTOR, VECTOR + 1, 3 * VECTOR + 7])
@pytest.mark.parametrize("count", [1, 2, 9])
@pytest.mark.parametrize("at", [0, 1, VECTOR - 3])
def test_streamed_rows_arrive_and_nothing_else_is_touched(width, count, at):
    rows = np.random.default_rng(width).integers(0, 256, (count, width), np.uint8)
    target = np.full(at + count * width + 9, 77, np.uint8)
    assert stream_rows(rows, target, at) == 0
    np.testing.assert_array_equal(target[at:-9].reshape(count, width), rows)
    assert (target[:at] == 77).all()
    assert (target[-9:] == 77).all()


@pytest.mark.parametrize("count", [0, 1, LANES, LANES + 1])
def test_ramp(count):
    fraction = np.random.default_rng(0).random(2 * LANES).astype(np.float32)
    out = np.full(2 * LANES + 2, 7, np.float32)
    call_ramp(np.float32(0.25), np.float32(-3), fraction, count, out)
    written = -(-count // LANES) * LANES
    np.testing.assert_allclose(out[1 : 1 + written], 0.25 - 3 * fraction[:written], atol=1e-6)
    assert out[0] == 7
    assert (out[1 + written :] == 7).all()
