"""Resizing of feature maps, nearest and bilinear, and the feature pyramid's upsample-and-add."""

from ...backend import Kernels

kernels = Kernels(__name__)
