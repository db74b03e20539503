"""Several processes that work on one batch: what is asked of all of them together.

Each process (a rank) has some of the pictures. A loss is a mean over all that is judged in the
whole batch, pictures are padded to the largest of all, and norms may share their statistics. Those
places ask here; with one process, which is the rule, the answers are its own.

Not here: how processes talk (training/distributed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .tensor import Tensor


class Group:
    """A group of one process. A group of several has the same methods; all its processes call the
    same ones in the same order.

    Attributes:
        rank: which of the processes this one is. size: how many there are.
        shares_norms: whether batch norms take the statistics of all processes' pictures.
        seconds: spent in waiting for others so far.
    """

    rank, size = 0, 1
    shares_norms = False
    seconds = 0.0

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes the run folder and speaks."""
        return self.rank == 0

    def total(self, values: np.ndarray) -> np.ndarray:
        """The sum over all processes, element by element: the same bits on each."""
        return values

    def largest(self, values: np.ndarray) -> np.ndarray:
        """The maximum over all processes, element by element."""
        return values

    def agreed(self, value: Any) -> Any:
        """What the first process has for a value."""
        return value

    def gathered(self, value: Any) -> list[Any]:
        """What each process has for a value, by rank: on all processes."""
        return [value]

    def copy_first(self, arrays: Iterable[np.ndarray]) -> None:
        """Overwrite contiguous arrays by the first process's."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """An error within this context, on whichever process, is raised on all of them."""
        yield


_group: ContextVar[Group] = ContextVar("group", default=Group())  # noqa: B039 - has no state


def group() -> Group:
    """The processes that share the present batch."""
    return _group.get()


@contextmanager
def shared_by(others: Group) -> Iterator[None]:
    """Within this context the batch is shared by this group."""
    before = _group.set(others)
    try:
        yield
    finally:
        _group.reset(before)


def share(count: int) -> range:
    """Which of `count` items are this process's: neighbours, as many as others have or one more."""
    rank, size = group().rank, group().size
    return range(count * rank // size, count * (rank + 1) // size)


def weighted(means: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """This process's parts of means over all processes' items: the parts add up to them.

    Args:
        means: over this process's items. count: how many these are.
    """
    if group().size == 1:
        return means
    total = float(group().total(np.array([count], np.float64))[0])
    return {name: mean * (count / max(total, 1.0)) for name, mean in means.items()}


def norms_total() -> Callable[[np.ndarray], np.ndarray] | None:
    """What adds up arrays of batch norms over all processes; None where they do not share them."""
    return group().total if group().shares_norms else None


def largest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The largest height and the largest width among all processes' (height, width)."""
    height, width = group().largest(np.max(sizes, axis=0))
    return int(height), int(width)
