"""The Newton-Schulz iteration in NumPy (Jordan et al. 2024, "Muon").

With matrix = U S V', the result is close to U V': every singular value that is not tiny compared
with the largest becomes about 1 (0.68 to 1.14). An odd polynomial of a matrix applies that
polynomial to its singular values. So five rounds of x -> a x + b x^3 + c x^5 do it, starting from
singular values below 1, without ever computing them. The three factors lift small values fast; in
exchange, values do not reach exactly 1.
"""

from collections.abc import Sequence

import numpy as np

FACTORS = ((3.4445, -4.7750, 2.0315),) * 5
# A gradient with a smaller norm belongs to something learnt long ago; its direction is noise.
# Full-length steps along it never stop: logits that were certain grew until they overflowed.
SMALLEST_NORM = 1e-7


def orthogonalize(matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """An approximate U V' (m, n) for each matrix (m, n), whatever its scale. A matrix whose norm is
    far below SMALLEST_NORM stays small; zeros stay zeros.
    """
    return [_orthogonalize(matrix) for matrix in matrices]


def _orthogonalize(matrix):
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / max(np.linalg.norm(wide), SMALLEST_NORM)
    for a, b, c in FACTORS:
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide is matrix else x.T
