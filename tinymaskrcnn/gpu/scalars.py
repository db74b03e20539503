"""Functions of single float32 numbers that kernels call.

In the simulator, which runs kernels as Python, these are NumPy's: Python's own functions raise
errors where a GPU returns infinity, and compute in float64.
"""

import math

import numpy as np
from numba import float32, int32, uint32

from . import toolkit
from .launch import device_function

if toolkit.is_simulator():

    def exp(x):
        return np.exp(np.float32(x))

    def log(x):
        return np.log(np.float32(x))

    def log1p(x):
        return np.log1p(np.float32(x))

    def power(x, exponent):
        return np.power(np.float32(x), np.float32(exponent))

    def product(a, b):
        return np.float32(a) * np.float32(b)

    def divided(a, b):
        return np.float32(a) / np.float32(b)

    def square_root(x):
        return np.sqrt(np.float32(x))
else:
    from numba.cuda import libdevice

    @device_function
    def exp(x):
        return math.exp(x)

    @device_function
    def log(x):
        return math.log(x)

    @device_function
    def log1p(x):
        return math.log1p(x)

    @device_function
    def power(x, exponent):
        return math.pow(x, exponent)

    @device_function
    def product(a, b):
        """a * b, rounded: never fused with a following sum, which would decide ties differently."""
        return libdevice.fmul_rn(a, b)

    @device_function
    def divided(a, b):
        """a / b; infinity or NaN where b is zero."""
        return libdevice.fdiv_rn(a, b)

    @device_function
    def square_root(x):
        return libdevice.fsqrt_rn(x)


@device_function
def sigmoid(x):
    """1 / (1 + e^-x), with an exponent that is never positive, so that nothing overflows."""
    e = exp(-abs(x))
    return (float32(1) if x >= float32(0) else e) / (float32(1) + e)


@device_function
def place_of(cell, height, width, channels):
    """Image, row, column and channel of a cell of (N, height, width, channels), in 32 bits: a
    64-bit division takes three times as long.
    """
    rest, c = uint32(cell), uint32(channels)
    pixel = uint32(rest // c)
    channel = uint32(rest - uint32(pixel * c))
    row = uint32(pixel // uint32(width))
    column = uint32(pixel - uint32(row * uint32(width)))
    image = uint32(row // uint32(height))
    return (
        int32(image),
        int32(row - uint32(image * uint32(height))),
        int32(column),
        int32(channel),
    )


__all__ = [
    "divided",
    "exp",
    "log",
    "log1p",
    "place_of",
    "power",
    "product",
    "sigmoid",
    "square_root",
]
