"""Muon in loops: the specification that lesson 14 shows and the package's tests use.

Matrices are lists of rows of Python numbers (64 bits).
"""

from __future__ import annotations

from collections.abc import Sequence
from math import sqrt

Matrix = Sequence[Sequence[float]]
FACTORS = 3.4445, -4.7750, 2.0315  # for x, its cube and its fifth power: Jordan et al. 2024
SMALLEST_NORM = 1e-7


def product(p: Matrix, q: Matrix) -> list[list[float]]:
    """Row i of p (m, k) times column j of q (k, n)."""
    columns = list(zip(*q, strict=True))
    return [[sum(a * b for a, b in zip(row, c, strict=True)) for c in columns] for row in p]


def orthogonal_in_loops(matrix: Matrix) -> list[list[float]]:
    """The matrix (m, n) with all its singular values changed to about 1.

    Divided by its norm, it has no singular value above 1. X X' X has the directions of X and the
    cubes of its singular values, X X' X X' X their fifth powers. So five times each singular value
    x becomes a x + b x^3 + c x^5. A norm below SMALLEST_NORM means noise, not a gradient: then the
    result stays small, and zeros stay zero.
    """
    norm = sqrt(sum(float(value) ** 2 for row in matrix for value in row))
    x = [[float(value) / max(norm, SMALLEST_NORM) for value in row] for row in matrix]
    a, b, c = FACTORS
    for _ in range(5):
        gram = product(x, list(zip(*x, strict=True)))
        cubes = product(gram, x)
        fifths = product(gram, cubes)
        for i, row in enumerate(x):
            for j, value in enumerate(row):
                row[j] = a * value + b * cubes[i][j] + c * fifths[i][j]
    return x


def muon_in_loops(
    weight: Matrix,
    grads: Sequence[Matrix],
    lr: float,
    momentum: float,
    decay: float = 0.0,
    scale: float = 1.0,
) -> list[list[float]]:
    """A weight (M, N) after one step per gradient; clipping multiplies the gradients by `scale`."""
    w = [[float(value) for value in row] for row in weight]
    places = [(i, j) for i, row in enumerate(w) for j in range(len(row))]
    velocity = [[0.0] * len(row) for row in w]
    ahead = [[0.0] * len(row) for row in w]  # the velocity, one step ahead
    for grad in grads:
        for i, j in places:
            g = scale * float(grad[i][j])
            velocity[i][j] = momentum * velocity[i][j] + g
            ahead[i][j] = momentum * velocity[i][j] + g
        step, length = orthogonal_in_loops(ahead), sqrt(len(w) / len(w[0]))
        for i, j in places:
            w[i][j] -= lr * (length * step[i][j] + decay * w[i][j])
    return w
