"""Group normalisation."""

from ...backend import Kernels

kernels = Kernels(__name__)
