"""The machine that holds device arrays and runs kernels: a GPU by way of numba-cuda.

Allocation, copies and launches go through one object, so that tests can put an interpreter of
compiled kernels in its place (`use_device`) and every line above it stays as it is. Everything is
on one stream, hence in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from . import toolkit


class Device(Protocol):
    """What it takes to hold arrays and run kernels."""

    def allocate(self, size: int) -> Any:
        """A block of `size` bytes. Raises MemoryError where there is no room."""

    def view(self, block: Any, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        """The C-contiguous array that begins at byte `start` of a block."""

    def upload(self, view: Any, host: np.ndarray) -> None:
        """Copy a contiguous host array with one axis into such a view.

        With one axis, because numba-cuda takes axes of length 1, whose stride may be 0, for
        repeated ones and drops them.
        """

    def download(self, view: Any, host: np.ndarray) -> None:
        """Copy such a view into such a host array; waits for all kernels before it."""

    def launch(self, kernel: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        """Run a kernel; the arguments are views and NumPy scalars of the types it declares."""


class NumbaDevice:
    """The current GPU, or Numba's simulator of one."""

    def __init__(self) -> None:
        self._cuda = toolkit.require_device()

    def allocate(self, size: int) -> Any:
        try:
            return self._cuda.device_array(size, np.uint8)
        except Exception as problem:
            if "OUT_OF_MEMORY" in str(problem).upper():
                raise MemoryError(f"no room for {size} bytes on the GPU") from problem
            raise

    def view(self, block: Any, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        size = int(np.prod(shape)) * dtype.itemsize
        if size == 0:
            return self._cuda.device_array(shape, dtype)
        return block[start : start + size].view(dtype).reshape(shape)

    def upload(self, view: Any, host: np.ndarray) -> None:
        view.copy_to_device(host)

    def download(self, view: Any, host: np.ndarray) -> None:
        view.copy_to_host(host)

    def launch(self, kernel: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        kernel.dispatcher[grid, kernel.threads](*arguments)


_current: Device | None = None


def current() -> Device:
    """The device in use; at first the current GPU. Raises InputError where there is none."""
    global _current
    if _current is None:
        _current = NumbaDevice()
    return _current


@contextmanager
def use_device(device: Device) -> Iterator[Device]:
    """Within this context device arrays are made and kernels run on the given device."""
    global _current
    before, _current = _current, device
    try:
        yield device
    finally:
        _current = before
