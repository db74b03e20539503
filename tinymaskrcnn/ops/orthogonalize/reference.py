"""Newton and Schulz's iteration in NumPy (Jordan et al. 2024, "Muon").

With matrix = U S V', the result is close to U V': every singular value that is not tiny beside the
largest comes to about 1 (0.68 to 1.14). An odd polynomial of a matrix is that polynomial of its
singular values, so five times x -> a x + b x^3 + c x^5 does it, from values below 1 and without
ever computing them. The three factors give up an exact 1 to lift small values fast.
"""

from collections.abc import Sequence

import numpy as np

FACTORS = ((3.4445, -4.7750, 2.0315),) * 5
# Of a smaller norm than this, a gradient is that of something long learnt, and its direction noise.
# Steps of full length along it never end: logits that were sure ran away until they overflowed.
SMALLEST_NORM = 1e-7


def orthogonalize(matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Of each matrix (m, n), of any scale, its rough U V' (m, n); one whose norm is far below
    SMALLEST_NORM stays small, and zeros stay zeros.
    """
    return [_orthogonalize(matrix) for matrix in matrices]


def _orthogonalize(matrix):
    wide = matrix if matrix.shape[0] <= matrix.shape[1] else matrix.T
    x = wide / max(np.linalg.norm(wide), SMALLEST_NORM)
    for a, b, c in FACTORS:
        gram = x @ x.T
        x = a * x + (b * gram + c * (gram @ gram)) @ x
    return x if wide is matrix else x.T
