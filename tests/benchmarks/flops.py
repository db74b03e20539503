"""Count the multiplications and additions that a computation needs from our kernels.

Convolutions count as direct sums; so a share of the peak above one is due to Winograd.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from math import prod
from typing import Any

import numpy as np


def _per_pixel(weight: tuple[int, ...], maps: np.ndarray) -> int:
    """FLOPs of a convolution with this shape of weight: each output pixel uses the whole weight."""
    return 2 * prod(weight) * (maps.size // maps.shape[-1])


COUNTED: dict[tuple[str, str], Callable[..., int]] = {
    ("conv2d", "conv2d"): lambda out, x, weight, *_: _per_pixel(weight.shape, out),
    ("conv2d", "conv2d_grad_input"): lambda out, grad, weight, *_: _per_pixel(weight.shape, grad),
    ("conv2d", "conv2d_grad_weight"): lambda out, grad, *_: _per_pixel(out.shape, grad),
    ("conv_transpose2d", "conv_transpose2d"): lambda out, x, weight, *_: _per_pixel(
        weight.shape, x
    ),
    ("conv_transpose2d", "conv_transpose2d_grad_input"): lambda out, grad, weight, *_: _per_pixel(
        weight.shape, out
    ),
    ("conv_transpose2d", "conv_transpose2d_grad_weight"): lambda out, grad, x, *_: _per_pixel(
        out.shape, x
    ),
    ("linear", "linear"): lambda out, x, weight, *_: 2 * len(x) * weight.size,
    ("linear", "linear_grad_input"): lambda out, grad, weight: 2 * len(grad) * weight.size,
    ("linear", "linear_grad_weight"): lambda out, grad, x: 2 * len(x) * out.size,
}


def count_flops(run: Callable[[], Any]) -> tuple[Any, float]:
    """`run`'s result, and the FLOPs of its convolutions and fully connected layers."""
    total, inside, originals = 0, 0, []

    def counting(function: Callable[..., Any], flops: Callable[..., int]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            nonlocal total, inside
            inside += 1  # count kernels that call other kernels only once
            try:
                out = function(*arguments)
            finally:
                inside -= 1
            total += flops(out, *arguments) if not inside else 0
            return out

        return counted

    for (package, name), flops in COUNTED.items():
        module = importlib.import_module(f"tinymaskrcnn.ops.{package}.cpu")
        originals.append((module, name, getattr(module, name)))
        setattr(module, name, counting(originals[-1][-1], flops))
    try:
        return run(), float(total)
    finally:
        for module, name, function in originals:
            setattr(module, name, function)
