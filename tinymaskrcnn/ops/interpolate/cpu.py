"""Stands in until the kernels are here."""

from .reference import nearest, nearest_grad, upsample_add, bilinear, bilinear_grad  # noqa: F401
