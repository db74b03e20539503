"""Resizing as a differentiable operation, and the pyramid's upsample-and-add in one pass."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...autograd import Function
from ...in_place import InPlaceFunction
from ...tensor import Tensor
from ..arguments import as_pair
from . import kernels


class Nearest(Function):
    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.input_size = x.shape[1:3]
        return kernels(x).nearest(x, self.size)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return kernels(grad).nearest_grad(grad, self.input_size)


class Bilinear(Function):
    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size

    def forward(self, x: np.ndarray) -> np.ndarray:
        self.input_size = x.shape[1:3]
        return kernels(x).bilinear(x, self.size)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return kernels(grad).bilinear_grad(grad, self.input_size)


class UpsampleAdd(InPlaceFunction):
    def forward(self, top: np.ndarray, lateral: np.ndarray) -> np.ndarray:
        self.top_size = top.shape[1:3]
        return kernels(lateral).upsample_add(top, lateral)

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray | None, np.ndarray]:
        dtop = kernels(grad).nearest_grad(grad, self.top_size) if self.needs[0] else None
        return dtop, grad


_MODES = {"nearest": Nearest, "bilinear": Bilinear}


def interpolate(x: Any, size: int | tuple[int, int], mode: str = "nearest") -> Tensor:
    """Resize feature maps, as torch does with align_corners=False and antialias=False.

    Args:
        x: (N, H, W, C) feature maps, H and W at least 1.
        size: height and width of the result, or one number for both; at least 1.
        mode: "nearest" takes pixel floor(i * in / out); "bilinear" interpolates between the two
            nearest pixel centres along each axis.

    Returns:
        (N, *size, C).

    Raises:
        ValueError: an unknown mode, a size below 1, or x is not 4-dimensional or has no pixels.
    """
    height, width = as_pair(size, "interpolate: size")
    if mode not in _MODES:
        raise ValueError(f"interpolate: mode {mode!r}, expected one of {', '.join(_MODES)}")
    if min(height, width) < 1:
        raise ValueError(f"interpolate: size ({height}, {width}) must be at least 1")
    _check_maps("interpolate: x", x.shape)
    return _MODES[mode]((height, width))(x)


def upsample_add(top: Any, lateral: Any) -> Tensor:
    """lateral + interpolate(top, lateral's size, "nearest"), in one pass.

    The top-down step of a feature pyramid (Lin et al. 2017, section 3).

    Args:
        top: (N, h, w, C) the coarser level, h and w at least 1.
        lateral: (N, H, W, C) the finer level.

    Returns:
        (N, H, W, C).

    Raises:
        ValueError: the two are not 4-dimensional or differ in N or C.
    """
    _check_maps("upsample_add: top", top.shape)
    _check_maps("upsample_add: lateral", lateral.shape)
    if (top.shape[0], top.shape[3]) != (lateral.shape[0], lateral.shape[3]):
        raise ValueError(
            f"upsample_add: top {top.shape} and lateral {lateral.shape} differ in N or C"
        )
    return UpsampleAdd()(top, lateral)


def _check_maps(name: str, shape: tuple[int, ...]) -> None:
    if len(shape) != 4 or min(shape[1:3]) < 1:
        raise ValueError(f"{name} must be (N, H, W, C) with at least one pixel, got shape {shape}")
