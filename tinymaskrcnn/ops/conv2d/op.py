"""Convolution as a differentiable operation, plain and fused with a sum and a ReLU.

Users call `conv2d`; `nn` and `models` call `conv2d_fused`. The arithmetic is in reference.py,
cpu and cuda.py.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ...in_place import InPlaceFunction
from ...tensor import Tensor
from ..arguments import as_pair, output_size
from ..derive import Kept
from . import kernels


class Conv2d(InPlaceFunction):
    """relu?(convolution(x, weight) + bias + residual) as one node.

    Backward reads the ReLU's mask from the output. So a block of convolution, shortcut and ReLU
    keeps its input and its output, and nothing between them.
    """

    def __init__(
        self,
        stride: tuple[int, int],
        padding: tuple[int, int],
        dilation: tuple[int, int],
        groups: int,
        relu: bool = False,
        kept: Kept | None = None,
    ) -> None:
        self.geometry = (stride, padding, dilation, groups)
        self.relu, self.kept = relu, kept

    def forward(
        self,
        x: np.ndarray,
        weight: np.ndarray,
        bias: np.ndarray | None,
        residual: np.ndarray | None,
    ) -> np.ndarray:
        run = kernels(x)
        y = run.conv2d(x, weight, bias, residual, *self.geometry, self.relu, self.kept)
        self.save(x, weight, y if self.relu else None)
        return y

    def backward(
        self, grad: np.ndarray, total: np.ndarray | None = None
    ) -> tuple[np.ndarray | None, ...]:
        x, weight, y = self.saved
        needs_x, needs_weight, needs_bias, needs_residual = self.needs
        run = kernels(grad)
        dx = dw = dbias = None
        if self.relu or needs_bias:
            grad, dbias = run.conv2d_grad_output(grad, y, self.relu)
        if needs_x:
            dx = run.conv2d_grad_input(grad, weight, x.shape, *self.geometry, total)
        if needs_weight:
            dw = run.conv2d_grad_weight(grad, x, weight.shape, *self.geometry)
        return dx, dw, dbias if needs_bias else None, grad if needs_residual else None

    def backward_into(self, grads: list[Any], totals: tuple[Any, ...]) -> Any:
        return self.backward(grads[0], totals[0])


def conv2d(
    x: Any,
    weight: Any,
    bias: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
) -> Tensor:
    """Two-dimensional convolution (cross-correlation) of channels-last maps.

    Args:
        x: (N, H, W, C) float32 or float64.
        weight: (O, C/groups, kH, kW), as in torchvision.
        bias: (O,) or None.
        stride, padding, dilation: an int or an (h, w) pair, in pixels; padding is with zeros.
        groups: number of groups of channels that are convolved separately; divides C and O.

    Returns:
        (N, outH, outW, O), outH = (H + 2*padding - dilation*(kH-1) - 1) // stride + 1.

    Raises:
        ValueError: shapes do not fit; in particular, x is channels-first.
    """
    return conv2d_fused(x, weight, bias, None, stride, padding, dilation, groups, relu=False)


def conv2d_fused(
    x: Any,
    weight: Any,
    bias: Any = None,
    residual: Any = None,
    stride: int | tuple[int, int] = 1,
    padding: int | tuple[int, int] = 0,
    dilation: int | tuple[int, int] = 1,
    groups: int = 1,
    relu: bool = False,
    kept: Kept | None = None,
) -> Tensor:
    """`conv2d`, then the sum with a residual and a ReLU, in one pass over the output.

    Other arguments, the result and errors are those of `conv2d`.

    Args:
        residual: (N, outH, outW, O), or None.
        relu: whether max(., 0) follows.
        kept: table in which kernels keep what they derive from the weight; None to keep nothing.
    """
    stride = as_pair(stride, "conv2d: stride")
    padding = as_pair(padding, "conv2d: padding")
    dilation = as_pair(dilation, "conv2d: dilation")
    output_shape = _check(x.shape, weight.shape, stride, padding, dilation, groups)
    if bias is not None and bias.shape != (weight.shape[0],):
        raise ValueError(f"conv2d: bias has shape {bias.shape}, expected ({weight.shape[0]},)")
    if residual is not None and residual.shape != output_shape:
        raise ValueError(
            f"conv2d: residual has shape {residual.shape}, the output has {output_shape}"
        )
    return Conv2d(stride, padding, dilation, groups, relu, kept)(x, weight, bias, residual)


def _check(
    x_shape: tuple[int, ...],
    weight_shape: tuple[int, ...],
    stride: tuple[int, int],
    padding: tuple[int, int],
    dilation: tuple[int, int],
    groups: int,
) -> tuple[int, int, int, int]:
    """The output's shape. Raises ValueError for arguments that do not fit."""
    if len(x_shape) != 4 or len(weight_shape) != 4:
        raise ValueError(
            "conv2d: expected x (N, H, W, C) and weight (O, C/groups, kH, kW), "
            f"got shapes {x_shape} and {weight_shape}"
        )
    n, height, width, channels = x_shape
    out, in_group, kernel_h, kernel_w = weight_shape
    if min(stride) < 1 or min(dilation) < 1 or min(padding) < 0 or groups < 1:
        raise ValueError(
            "conv2d: stride, dilation and groups must be at least 1 and padding at least 0, "
            f"got stride={stride}, dilation={dilation}, groups={groups}, padding={padding}"
        )
    if channels != in_group * groups:
        wanted = in_group * groups
        hint = "; x looks channels-first: pass x.transpose(0, 2, 3, 1)"
        raise ValueError(
            f"conv2d: x has shape {x_shape} (N, H, W, C), so {channels} channels, but weight "
            f"{weight_shape} with groups={groups} expects {wanted}"
            + (hint if x_shape[1] == wanted else "")
        )
    if out % groups:
        raise ValueError(f"conv2d: {out} output channels cannot be cut into {groups} groups")
    out_h, out_w = output_size((height, width), (kernel_h, kernel_w), stride, padding, dilation)
    if out_h < 1 or out_w < 1:
        raise ValueError(
            f"conv2d: a {kernel_h}x{kernel_w} kernel with dilation={dilation}, padding={padding} "
            f"does not fit into maps of {height}x{width} pixels"
        )
    return n, out_h, out_w, out
