"""Winograd's minimal filtering for 3x3 kernels: its matrices, and the switch that chooses it.

F(m x m, 3 x 3) computes a square of m x m outputs from n x n inputs, n = m + 2, as
A' [(G g G') * (B' d B)] A. It needs n*n products where the direct sum needs 9*m*m: 4 times fewer
for m = 4, 2.25 times fewer for m = 2. The price is rounding: compared with float64, F(4x4) errs by
about 1e-5 of a layer's largest value, F(2x2) by less than the direct float32 sum. So 4 is in use,
and 2 is for comparisons in which digits count more than time.
Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks" (2016), section 4.

The kernels are in cpu/winograd_blocks.py and cpu/grad_weight_winograd.py.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

INPUT = {  # B'
    2: ((1, 0, -1, 0), (0, 1, 1, 0), (0, -1, 1, 0), (0, 1, 0, -1)),
    4: (
        (4, 0, -5, 0, 1, 0),
        (0, -4, -4, 1, 1, 0),
        (0, 4, -4, -1, 1, 0),
        (0, -2, -1, 2, 1, 0),
        (0, 2, -1, -2, 1, 0),
        (0, 4, 0, -5, 0, 1),
    ),
}
WEIGHT = {  # G
    2: ((1, 0, 0), (1 / 2, 1 / 2, 1 / 2), (1 / 2, -1 / 2, 1 / 2), (0, 0, 1)),
    4: (
        (1 / 4, 0, 0),
        (-1 / 6, -1 / 6, -1 / 6),
        (-1 / 6, 1 / 6, -1 / 6),
        (1 / 24, 1 / 12, 1 / 6),
        (1 / 24, -1 / 12, 1 / 6),
        (0, 0, 1),
    ),
}
OUTPUT = {  # A'
    2: ((1, 1, 1, 0), (0, 1, -1, -1)),
    4: ((1, 1, 1, 1, 1, 0), (0, 1, -1, 2, -2, 0), (0, 1, 1, 4, 4, 0), (0, 1, -1, 8, -8, 1)),
}

_size = 4  # for the whole process, except where a thread is inside `winograd`
_in_context: ContextVar[int | None] = ContextVar("winograd", default=None)


def winograd_size() -> int:
    """The m of F(m x m, 3 x 3) in use: 4, 2, or 0 for direct sums."""
    size = _in_context.get()
    return _size if size is None else size


def set_winograd(size: int) -> None:
    """Choose how the CPU computes 3x3 convolutions of stride 1.

    Args:
        size: the m of F(m x m, 3 x 3): 4 or 2; or 0 for direct sums.

    Raises:
        ValueError: any other size.
    """
    global _size
    _size = _checked(size)


@contextmanager
def winograd(size: int) -> Iterator[None]:
    """`set_winograd` for this thread within this context.

    Raises:
        ValueError: a size other than 4, 2 or 0.
    """
    before = _in_context.set(_checked(size))
    try:
        yield
    finally:
        _in_context.reset(before)


def _checked(size: int) -> int:
    if size not in (0, 2, 4):
        raise ValueError(f"winograd size must be 4, 2 or 0, got {size!r}")
    return size
