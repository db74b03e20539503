"""Maximum over sliding windows of a feature map, with its gradient."""

from ...backend import Kernels

kernels = Kernels(__name__)
