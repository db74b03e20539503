"""Which anchors or proposals the losses look at: only few of the many negatives, which would drown
the positives.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Generators = np.random.Generator | Sequence[np.random.Generator]


@dataclass(frozen=True)
class BalancedSampler:
    """Draws a fixed number of boxes from one image (Faster R-CNN, section 3.1.3).

    Args:
        batch_size: boxes drawn per image, if it has that many.
        positive_fraction: the largest share of positives; negatives fill the rest.
    """

    batch_size: int
    positive_fraction: float

    def sample(self, labels: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw positives and negatives: the indices of each, ascending.

        Args:
            labels: (n,) 1 and above positive, 0 negative, below 0 never drawn.
        """
        positive, negative = np.flatnonzero(labels >= 1), np.flatnonzero(labels == 0)
        positives = min(len(positive), int(self.batch_size * self.positive_fraction))
        negatives = min(len(negative), self.batch_size - positives)
        return _draw(positive, positives, rng), _draw(negative, negatives, rng)


def per_image(rng: Generators, count: int) -> Sequence[np.random.Generator]:
    """One generator per image, so that what is drawn in one does not depend on the others.

    Args:
        rng: one generator, from which they are spawned; or one per image already.
    """
    return rng.spawn(count) if isinstance(rng, np.random.Generator) else rng


def _draw(indices: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """Draw this many of the indices, every set of them equally likely."""
    if count == len(indices):
        return indices
    return np.sort(rng.choice(indices, count, replace=False, shuffle=False))
