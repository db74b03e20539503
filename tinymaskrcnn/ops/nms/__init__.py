"""Non-maximum suppression, for one class or for many."""

from ...backend import Kernels

kernels = Kernels(__name__)
