"""Stands in until the kernels are here."""

from .reference import batch_norm, batch_norm_grad, affine, affine_grad  # noqa: F401
