"""Transposed convolution on the CPU."""

from .reference import (  # noqa: F401
    conv_transpose2d,
    conv_transpose2d_grad_input,
    conv_transpose2d_grad_output,
    conv_transpose2d_grad_weight,
)
