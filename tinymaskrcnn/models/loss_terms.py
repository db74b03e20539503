"""What each anchor, region or pixel adds to a loss: for traces. The terms of a loss sum to it.

The losses themselves, which only know their sums, are ops/losses.
"""

from __future__ import annotations

import numpy as np

from ..ops.losses import reference


def cross_entropy_terms(logits: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """(R,) from logits (R, K) and labels (R,): -log softmax(logits)[label] / R."""
    losses = np.logaddexp.reduce(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return losses / max(len(labels), 1)


def binary_cross_entropy_terms(logits: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Of the logits' shape: each one's share of the mean."""
    targets = np.asarray(targets, logits.dtype)
    return reference.binary_cross_entropy(logits, targets, "none") / max(logits.size, 1)


def smooth_l1_terms(deltas: np.ndarray, goals: np.ndarray, beta: float) -> np.ndarray:
    """(n,) from offsets (n, 4): the four distances of each box together, undivided."""
    return reference.smooth_l1(deltas, goals, beta, "none").sum(axis=1)
