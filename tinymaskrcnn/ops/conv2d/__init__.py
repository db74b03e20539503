"""Convolution over channels-last maps, with optional fused residual and ReLU."""

from ...backend import Kernels

kernels = Kernels(__name__)
