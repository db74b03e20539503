"""The fully connected layer, with optional fused ReLU."""

from ...backend import Kernels

kernels = Kernels(__name__)
