"""RoIPool: the features of a region, by the maximum over rounded bins."""

from ...backend import Kernels

kernels = Kernels(__name__)
