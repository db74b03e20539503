"""Resize an image, normalise its colours and make it channels-last, in one pass."""

from ...backend import Kernels

kernels = Kernels(__name__)
