"""Stands in until the kernels are here."""

from .reference import max_pool2d, max_pool2d_grad  # noqa: F401
