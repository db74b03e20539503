"""Elementwise arithmetic, reductions, matmul, indexing, reshaping, joining."""

from ...backend import Kernels

kernels = Kernels(__name__)
