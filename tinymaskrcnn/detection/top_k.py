"""The best k of many scores, in an order that does not depend on the machine."""

from __future__ import annotations

import numpy as np


def top_k(scores: np.ndarray, k: int) -> np.ndarray:
    """Find the k largest scores of each row: their column indices, largest first, the lower index
    first among equals.

    Score and index are packed into one integer, so that all keys differ and a partition finds the k
    smallest exactly. Sorting whole rows would take ten times as long.

    Args:
        scores: (N, n) float32. NaN counts as the largest.
        k: how many; all n if there are fewer.

    Returns:
        (N, min(k, n)) int64.
    """
    count = scores.shape[1]
    keys = (_falling(scores) << np.uint64(32)) | np.arange(count, dtype=np.uint64)
    if k < count:
        keys = np.partition(keys, k, axis=1)[:, :k]
    return (np.sort(keys, axis=1) & np.uint64(0xFFFFFFFF)).astype(np.int64)


def _falling(scores: np.ndarray) -> np.ndarray:
    """Integers in the reverse order of the scores: the largest score gets the smallest.

    The bits of an IEEE float order like its magnitude. Flipping all but the sign bit of the
    positive ones reverses these, and the negative ones, whose sign bit is set, come after them.
    """
    bits = (scores + np.float32(0)).view(np.uint32)  # -0 + 0 is 0: the two zeros are equal scores
    return np.where(bits >> 31 == 0, 0x7FFFFFFF - bits, bits).astype(np.uint64)
