"""Stands in until the kernels are here."""

from .reference import group_norm, group_norm_grad  # noqa: F401
