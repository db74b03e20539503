"""Transposed convolution over channels-last maps, with optional fused ReLU."""

from ...backend import Kernels

kernels = Kernels(__name__)
