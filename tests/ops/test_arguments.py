"""Settings that are one number or a pair: what every operation accepts, and what it refuses."""

import numpy as np
import pytest

from tinymaskrcnn import functional as F
from tinymaskrcnn.ops.arguments import as_pair

X, WEIGHT = np.ones((1, 6, 6, 2), np.float32), np.ones((2, 2, 2, 2), np.float32)
ROIS = np.array([[0, 0, 0, 4, 4]], np.float32)


@pytest.mark.parametrize("value", [2, np.int64(2), 2.0, (2, 2), [2, np.int32(2)], np.array([2, 2])])
def test_whole_numbers_of_any_kind(value):
    assert as_pair(value, "size") == (2, 2)


OPERATIONS = [
    lambda v: F.conv2d(X, WEIGHT, stride=v),
    lambda v: F.conv2d(X, WEIGHT, padding=v),
    lambda v: F.conv2d(X, WEIGHT, dilation=v),
    lambda v: F.conv_transpose2d(X, WEIGHT, stride=v),
    lambda v: F.max_pool2d(X, v),
    lambda v: F.max_pool2d(X, 2, stride=v),
    lambda v: F.interpolate(X, v),
    lambda v: F.roi_align(X, ROIS, v),
    lambda v: F.roi_pool(X, ROIS, v),
]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize("value", [1.5, (1, 2, 3), "2", (2, None), float("nan"), float("inf")])
def test_anything_else_is_named(operation, value):
    with pytest.raises(ValueError, match="whole number"):
        operation(value)


@pytest.mark.parametrize("operation", OPERATIONS)
def test_numpy_integers_are_numbers(operation):
    np.testing.assert_array_equal(operation(np.int64(2)).data, operation(2).data)
