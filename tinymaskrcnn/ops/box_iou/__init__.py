"""Intersection over union of boxes."""

from ...backend import Kernels

kernels = Kernels(__name__)
