"""Initial values. Each takes the parameter's shape and a generator, so that a seed gives the same
weights everywhere.

Shapes are those of weights: (out, in, kh, kw) or (out, in). He et al. 2015 derive the Kaiming
gains.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod, sqrt

import numpy as np

Initializer = Callable[[tuple[int, ...], np.random.Generator], np.ndarray]


def zeros(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    return np.zeros(shape, np.float32)


def normal(std: float) -> Initializer:
    """Gaussian with mean 0."""

    def draw(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return rng.standard_normal(shape, np.float32) * np.float32(std)

    return draw


def uniform(bound: float) -> Initializer:
    """Uniform in -bound..bound."""

    def draw(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
        return (rng.random(shape, np.float32) * 2 - 1) * np.float32(bound)

    return draw


def kaiming_normal_fan_out(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Gaussian that keeps the gradient's variance through conv + ReLU: variance 2 / (out * kh *
    kw).
    """
    return normal(sqrt(2 / (shape[0] * prod(shape[2:]))))(shape, rng)


def kaiming_uniform_fan_in(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Uniform that keeps the variance through a linear layer: variance 1 / (in * kh * kw)."""
    return uniform(sqrt(3 / prod(shape[1:])))(shape, rng)


def torch_default(shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """PyTorch's default for conv and linear weights: uniform, bound 1 / sqrt(fan in)."""
    return uniform(1 / sqrt(max(prod(shape[1:]), 1)))(shape, rng)


def torch_default_bias(fan_in: int) -> Initializer:
    """PyTorch's default for the bias of a conv or linear layer: uniform, bound 1 / sqrt(fan in)."""
    return uniform(1 / sqrt(max(fan_in, 1)))
