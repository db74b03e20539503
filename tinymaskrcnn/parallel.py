"""Values that all processes of a batch must agree on: loss weights, padding, norm statistics.

Each process (a rank) has some of the batch's images. A loss is a mean over the items of the whole
batch, images are padded to the largest of all, and norms may share their statistics. The code for
these asks here. With one process, the usual case, each answer is the process's own value.

Not here: how processes communicate (training/distributed.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .tensor import Tensor


class Group:
    """A group of one process. A group of several has the same methods, and all its processes must
    call them in the same order.

    Attributes:
        rank: this process's number, from 0.
        size: how many processes there are.
        shares_norms: whether batch norms use statistics over the images of all processes.
        seconds: time spent so far waiting for other processes.
    """

    rank, size = 0, 1
    shares_norms = False
    seconds = 0.0

    @property
    def leads(self) -> bool:
        """Whether this is the process that reads and writes the run folder and prints."""
        return self.rank == 0

    def total(self, values: np.ndarray) -> np.ndarray:
        """The elementwise sum over all processes: the same bits on each."""
        return values

    def largest(self, values: np.ndarray) -> np.ndarray:
        """The elementwise maximum over all processes."""
        return values

    def agreed(self, value: Any) -> Any:
        """The first process's value."""
        return value

    def gathered(self, value: Any) -> list[Any]:
        """Every process's value, by rank; all processes get the whole list."""
        return [value]

    def copy_first(self, arrays: Iterable[np.ndarray]) -> None:
        """Overwrite contiguous arrays with the first process's."""

    @contextmanager
    def together(self) -> Iterator[None]:
        """If any process raises an error within this context, all of them raise it."""
        yield


_group: ContextVar[Group] = ContextVar("group", default=Group())  # noqa: B039 - has no state


def group() -> Group:
    """The processes that share the current batch."""
    return _group.get()


@contextmanager
def shared_by(others: Group) -> Iterator[None]:
    """Within this context, the given group shares the batch."""
    before = _group.set(others)
    try:
        yield
    finally:
        _group.reset(before)


def share(count: int) -> range:
    """This process's part of `count` items: consecutive ones; parts differ by at most one item."""
    rank, size = group().rank, group().size
    return range(count * rank // size, count * (rank + 1) // size)


def weighted(means: dict[str, Tensor], count: int) -> dict[str, Tensor]:
    """Scale means over this process's items so that the sum over all processes is the mean over
    all items.

    Args:
        means: means over this process's items.
        count: how many items it has.
    """
    if group().size == 1:
        return means
    total = float(group().total(np.array([count], np.float64))[0])
    return {name: mean * (count / max(total, 1.0)) for name, mean in means.items()}


def norms_total() -> Callable[[np.ndarray], np.ndarray] | None:
    """The function that sums batch norms' arrays over all processes; None if they share nothing."""
    return group().total if group().shares_norms else None


def largest_size(sizes: Sequence[tuple[int, int]]) -> tuple[int, int]:
    """The largest height and the largest width among all processes' (height, width) pairs."""
    height, width = group().largest(np.max(sizes, axis=0))
    return int(height), int(width)
