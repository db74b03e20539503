"""The device that holds arrays and runs kernels: a GPU, through numba-cuda.

Allocations, copies and launches all go through one object, so that tests can replace it with an
interpreter of compiled kernels (`use_device`) and change nothing else. Everything is on one stream,
so it happens in order.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

import numpy as np

from . import toolkit


class Device(Protocol):
    """The methods needed to hold arrays and run kernels."""

    def allocate(self, size: int) -> Any:
        """Allocate a block of `size` bytes.

        Raises:
            MemoryError: there is no room.
        """

    def view(self, block: Any, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> Any:
        """The C-contiguous array that begins at byte `start` of a block."""

    def upload(self, view: Any, host: np.ndarray) -> None:
        """Copy a contiguous host array with one axis into a view.

        One axis only: an axis of length 1 may have stride 0, which numba-cuda takes for a repeated
        axis and drops.
        """

    def download(self, view: Any, host: np.ndarray) -> None:
        """Copy a view into a contiguous host array with one axis, after all earlier kernels."""

    def launch(self, kernel: Any, grid: tuple[int, ...], arguments: list[Any]) -> None:
        """Run a kernel. Arguments are views and NumPy scalars of the types that it declares."""


class NumbaDevice:
    """The current GPU, or Numba's simulator of one."""

    def __init__(self) -> None:
        self._cuda = toolkit.require_device()

    def allocate(self, size: int) -> Any:
        try:
            return self._cuda.device_array(size, np.uint8)
        except Exception as problem:
            if "OUT_OF_MEMORY" in str(problem).upper():
                raise MemoryError(f"the GPU has no room for {size} bytes") from problem
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
    """The device in use: the current GPU, unless `use_device` says otherwise.

    Raises:
        InputError: there is no GPU.
    """
    global _current
    if _current is None:
        _current = NumbaDevice()
    return _current


@contextmanager
def use_device(device: Device) -> Iterator[Device]:
    """Within this context, make arrays and run kernels on the given device."""
    global _current
    before, _current = _current, device
    try:
        yield device
    finally:
        _current = before
