"""RoIAlign: the features of a region, sampled without rounding its coordinates."""

from ...backend import Kernels

kernels = Kernels(__name__)
