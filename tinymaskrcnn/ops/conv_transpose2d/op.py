"""Transposed convolution as a differentiable operation, plain and fused with a ReLU.

Users call `conv_transpose2d`, `nn` calls `conv_transpose2d_fused`. The arithmetic is in
reference.py, cpu.py and cuda.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...in_place import InPlaceFunction
from ...tensor import Tensor
from ..arguments import as_pair
from . import kernels


class ConvTranspose2d(InPlaceFunction):
    """relu?(transposed convolution(x, weight) + bias) as one node."""

    def __init__(
        self, stride: tuple[int, int], padding: tuple[int, int], relu: bool = False
    ) -> None:
        self.geometry = (stride, padding)
        self.relu = relu

    def forward(self, x: np.ndarray, weight: np.ndarray, bias: np.ndarray | None) -> np.ndarray:
        run = kernels(x)
        y = run.conv_transpose2d(x, weight, bias, *self.geometry, self.relu)
        self.save(x, weight, y if self.relu else None)
        return y

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray | None, ...]:
        x, weight, y = self.saved
        needs_x, needs_weight, needs_bias = self.needs
        run = kernels(grad)
        dx = dw = dbias = None
        if self.relu or needs_bias:
            grad, dbias = run.conv_transpose2d_grad_output(grad, y, self.relu)
        if needs_x:
            dx = run.conv_transpose2d_grad_input(grad, weight, x.shape, *self.geometry)
        if needs_weight:
            dw = run.conv_transpose2d_grad_weight(grad, x, weight.shape, *self.geometry)
        return dx, dw, dbias if needs_bias else None


def conv_transpose2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
) -> Tensor:
    """Transposed convolution of channels-last maps: what `conv2d` does to gradients on the way
    back to its input.

    Args:
        x: (N, H, W, C) float32 or float64.
        weight: (C, O, kH, kW), as in torchvision.
        bias: (O,) or None.
        stride, padding: an int or an (h, w) pair, in output pixels; padding removes that many
            pixels at each border.

    Returns:
        (N, outH, outW, O), outH = (H - 1)*stride - 2*padding + kH.

    Raises:
        ValueError: shapes do not fit; in particular, x is channels-first.
    """
    return conv_transpose2d_fused(x, weight, bias, stride, padding, relu=False)


def conv_transpose2d_fused(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    relu: bool = False,
) -> Tensor:
    """`conv_transpose2d`, then a ReLU if `relu`, in one pass over the output.

    Other arguments, the result and errors are those of `conv_transpose2d`.
    """
    stride = as_pair(stride, "conv_transpose2d: stride")
    padding = as_pair(padding, "conv_transpose2d: padding")
    _check(x.shape, weight.shape, stride, padding)
    if bias is not None and bias.shape != (weight.shape[1],):
        raise ValueError(
            f"conv_transpose2d: bias has shape {bias.shape}, expected ({weight.shape[1]},)"
        )
    return ConvTranspose2d(stride, padding, relu)(x, weight, bias)


def _check(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> None:
    if len(x_shape) != 4 or len(weight_shape) != 4:
        raise ValueError(
            "conv_transpose2d: expected x (N, H, W, C) and weight (C, O, kH, kW), "
            f"got shapes {x_shape} and {weight_shape}"
        )
    _, height, width, channels = x_shape
    expected, _, kernel_h, kernel_w = weight_shape
    if channels != expected:
        hint = "; x looks channels-first: pass x.transpose(0, 2, 3, 1)"
        raise ValueError(
            f"conv_transpose2d: x has shape {x_shape} (N, H, W, C), so {channels} channels, but "
            f"weight {weight_shape} expects {expected}" + (hint if x_shape[1] == expected else "")
        )
    if min(stride) < 1 or min(padding) < 0:
        raise ValueError(
            "conv_transpose2d: stride must be at least 1 and padding at least 0, "
            f"got stride={stride}, padding={padding}"
        )
    out_h = (height - 1) * stride[0] - 2 * padding[0] + kernel_h
    out_w = (width - 1) * stride[1] - 2 * padding[1] + kernel_w
    if min(height, width) < 1 or min(out_h, out_w) < 1:
        raise ValueError(
            f"conv_transpose2d: maps of {height}x{width} pixels with a {kernel_h}x{kernel_w} "
            f"kernel, stride={stride} and padding={padding} leave no output"
        )
