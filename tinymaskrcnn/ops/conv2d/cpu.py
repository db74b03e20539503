"""Convolution on the CPU."""

from .reference import conv2d, conv2d_grad_input, conv2d_grad_output, conv2d_grad_weight  # noqa: F401
