"""Hypothesis strategies that several checks share; all shrink to small whole numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp


@st.composite
def box(draw: Any, extent: int = 9, min_side: int = 1) -> list[float]:
    """x1 y1 x2 y2 in 0..extent, at whole or half pixels, sides at least `min_side`."""
    step = draw(st.sampled_from([1.0, 0.5]))
    x1, y1 = (draw(st.integers(0, extent - min_side)) for _ in range(2))
    x2, y2 = (draw(st.integers(start + min_side, extent)) for start in (x1, y1))
    return [x1 * step, y1 * step, x2 * step, y2 * step]


def boxes(
    min_count: int = 1, max_count: int = 4, extent: int = 9, min_side: int = 1
) -> st.SearchStrategy[np.ndarray]:
    """(N, 4) float32."""
    several = st.lists(box(extent, min_side), min_size=min_count, max_size=max_count)
    return several.map(lambda rows: np.array(rows, np.float32).reshape(-1, 4))


def arrays(
    shape: Any, low: int = -9, high: int = 9, divisor: float = 1.0
) -> st.SearchStrategy[np.ndarray]:
    """float32 of this shape (or strategy of shapes): whole numbers low..high / `divisor`."""
    whole = hnp.arrays(np.int64, shape, elements=st.integers(low, high))
    return whole.map(lambda a: (a / divisor).astype(np.float32))


def masks(max_count: int = 3, side: int = 5, min_count: int = 1) -> st.SearchStrategy[np.ndarray]:
    """(N, H, W) bool."""
    shape = st.tuples(st.integers(min_count, max_count), st.integers(1, side), st.integers(1, side))
    return shape.flatmap(lambda s: hnp.arrays(bool, s))


def seeds() -> st.SearchStrategy[int]:
    """For inputs whose numbers do not matter: np.random.default_rng(seed)."""
    return st.integers(0, 1000)
