"""Max pooling as a differentiable operation."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...in_place import InPlaceFunction
from ...tensor import Tensor
from ..arguments import as_pair
from . import kernels

_MOST_TAPS = 1 << 16  # the maximum's position in its window is kept as uint16


class MaxPool2d(InPlaceFunction):
    def __init__(
        self, kernel_size: tuple[int, int], stride: tuple[int, int], padding: tuple[int, int]
    ) -> None:
        self.settings = (kernel_size, stride, padding)

    def forward(self, x: np.ndarray) -> np.ndarray:
        y, tap = kernels(x).max_pool2d(x, *self.settings)
        self.save(tap, x.shape)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        tap, input_shape = self.saved
        return kernels(grad).max_pool2d_grad(grad, tap, input_shape, *self.settings)


def max_pool2d(
    x: Any,
    kernel_size: int | tuple[int, int],
    stride: int | tuple[int, int] | None = None,
    padding: int | tuple[int, int] = 0,
) -> Tensor:
    """The maximum of each sliding window; the output size is rounded down, as in torch.

    Padding is never the maximum, even beside -inf. The first of equal maxima in row-major order
    gets the gradient. NaN counts as larger than all numbers.

    Args:
        x: (N, H, W, C) feature maps.
        kernel_size, stride, padding: in pixels, one number or (vertical, horizontal); the
            stride defaults to the kernel.

    Returns:
        (N, (H + 2 padding - kernel) // stride + 1, likewise for W, C).

    Raises:
        ValueError: x is not 4-dimensional, a setting is out of range, or the window does not
            fit into the padded image.
    """
    kernel = as_pair(kernel_size, "max_pool2d: kernel_size")
    steps = kernel if stride is None else as_pair(stride, "max_pool2d: stride")
    pad = as_pair(padding, "max_pool2d: padding")
    _check(x.shape, kernel, steps, pad)
    return MaxPool2d(kernel, steps, pad)(x)


def _check(
    shape: tuple[int, ...],
    kernel: tuple[int, int],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    if len(shape) != 4:
        raise ValueError(f"max_pool2d: expected feature maps (N, H, W, C), got shape {shape}")
    if min(kernel) < 1 or min(stride) < 1 or kernel[0] * kernel[1] > _MOST_TAPS:
        raise ValueError(
            f"max_pool2d: kernel {kernel} and stride {stride} must be positive, "
            f"the kernel at most {_MOST_TAPS} taps"
        )
    if any(not 0 <= 2 * p <= k for p, k in zip(padding, kernel, strict=True)):
        raise ValueError(
            f"max_pool2d: padding {padding} must be between 0 and half the kernel {kernel}"
        )
    if any(size + 2 * p < k for size, p, k in zip(shape[1:3], padding, kernel, strict=True)):
        raise ValueError(
            f"max_pool2d: a window of {kernel} does not fit into {shape[1:3]} "
            f"with padding {padding}"
        )
