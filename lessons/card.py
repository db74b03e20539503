"""A GPU played in Python: the object that a kernel's threads call `cuda`, memory that records who
touches it, and a run of all threads that finds their races.

It replaces Numba's `cuda` in kernels that have `yield` in place of `cuda.syncthreads()`
(lessons/plain_kernels.py). Lesson 18 explains it. Not here: warps, and anything about speed.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from math import prod
from types import SimpleNamespace
from typing import Any

import numpy as np

Touch = tuple[int, str, tuple[Any, Any]]  # thread, "reads" or "writes", (name of memory, place)


class Memory:
    """An array that records who touches it: it appends (thread, "reads" or "writes", (name, place))
    to a log.

    Args:
        values: the array.
        name: this memory's name in the log.
        log: a list, which several memories may share.
    """

    running: int | None = None  # the thread whose turn it is

    def __init__(self, values: np.ndarray, name: Any, log: list[Touch]) -> None:
        self.values, self.name, self.log = values, name, log
        self.shape, self.size = values.shape, values.size

    def __getitem__(self, place: Any) -> Any:
        self.log.append((Memory.running, "reads", (self.name, place)))
        return self.values[place]

    def __setitem__(self, place: Any, value: Any) -> None:
        self.log.append((Memory.running, "writes", (self.name, place)))
        self.values[place] = value


class Block:
    """The object that a thread calls `cuda`: it knows where the thread is, and holds the memory
    that the thread's block shares.

    All arguments are (x, y, z), where y and z may be missing.

    Args:
        grid: the grid's size in blocks.
        index: this block's index.
        threads: a block's size in threads.

    Attributes:
        log: the log of the block's shared memory.
    """

    def __init__(self, grid: Sequence[int], index: Sequence[int], threads: Sequence[int]) -> None:
        self.gridDim, self.blockDim = _xyz(grid, 1), _xyz(threads, 1)
        self.blockIdx, self.threadIdx = _xyz(index, 0), _xyz((), 0)
        self.log: list[Touch] = []
        self._arrays: list[Memory] = []
        self._taken: dict[int, int] = defaultdict(int)
        self.shared = SimpleNamespace(array=self._shared_array)
        self.local = SimpleNamespace(array=lambda shape, dtype: np.zeros(shape, str(dtype)))

    def enter(self, thread: int) -> None:
        """Give this thread its turn; threads are counted along x first."""
        width, height = self.blockDim.x, self.blockDim.y
        Memory.running = thread
        self.threadIdx = _xyz((thread % width, thread // width % height, thread // width // height))

    def grid(self, axes: int) -> Any:
        """The thread's place in the whole grid: x, or (x, y)."""
        x = self.blockIdx.x * self.blockDim.x + self.threadIdx.x
        return x if axes == 1 else (x, self.blockIdx.y * self.blockDim.y + self.threadIdx.y)

    def gridsize(self, axes: int) -> int:
        """The number of threads in the whole grid along x."""
        assert axes == 1, "only along x"
        return self.gridDim.x * self.blockDim.x

    def take_log(self) -> list[Touch]:
        """Who touched the block's shared memory since the last call."""
        taken = self.log[:]
        self.log.clear()
        return taken

    def _shared_array(self, shape: Any, dtype: Any) -> Memory:
        """The block's next array, the same for all its threads; NaN until a thread writes."""
        number = self._taken[self._thread]
        self._taken[self._thread] += 1
        if number == len(self._arrays):
            fresh = np.full(shape, np.nan, str(dtype))
            self._arrays.append(Memory(fresh, f"shared {number}", self.log))
        return self._arrays[number]

    @property
    def _thread(self) -> int:
        assert Memory.running is not None
        return Memory.running


def until_barrier(kernel: Callable[..., Any], block: Block, *arguments: Any) -> Iterator[None]:
    """Run one thread, stopping at every barrier; a kernel without barriers runs in one go."""
    course = kernel(block, *arguments)
    if course is not None:
        yield from course


def run_grid(
    kernel: Callable[..., Any],
    grid: Sequence[int],
    threads: Sequence[int],
    *arguments: Any,
    order: Iterable[int] | None = None,
) -> tuple[list[str], list[list[Touch]]]:
    """Run the blocks one by one, and the threads of each one by one from barrier to barrier. Return
    what went wrong, in words, and for each stretch between barriers who touched which cell.
    """
    faults, stretches = [], []
    for index in np.ndindex(*grid):
        block, turns = Block(grid, index, threads), order or range(prod(threads))
        courses = {t: until_barrier(kernel, block, *arguments) for t in turns}
        while courses:
            waiting = {}
            for thread, course in courses.items():
                block.enter(thread)
                if next(course, "left") != "left":
                    waiting[thread] = course
            stretches.append(block.take_log())
            faults += races(stretches[-1])
            if 0 < len(waiting) < len(courses):
                faults.append(f"{len(waiting)} threads wait at a barrier that others never reach")
                break
            courses = waiting
    return faults, stretches


def races(stretch: Iterable[Touch]) -> list[str]:
    """Cells that one thread writes and another touches, with no barrier in between."""
    touching, writing = defaultdict(set), defaultdict(set)
    for thread, what, cell in stretch:
        touching[cell].add(thread)
        if what == "writes":
            writing[cell].add(thread)
    return [
        f"race for {cell[0]}[{cell[1]}]: threads {sorted(threads)[:4]}, and one of them writes"
        for cell, threads in touching.items()
        if writing[cell] and len(threads) > 1
    ]


def _xyz(numbers: Sequence[int], missing: int = 0) -> SimpleNamespace:
    return SimpleNamespace(**dict(zip("xyz", (*numbers, *[missing] * 3), strict=False)))
