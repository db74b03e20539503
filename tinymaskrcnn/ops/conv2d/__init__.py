"""Convolution over channels-last maps, with optional fused residual and ReLU.

README.md says in which order to read the files, and what each of them gains.
"""

from ...backend import Kernels

kernels = Kernels(__name__)
