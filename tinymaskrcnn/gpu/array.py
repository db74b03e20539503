"""GpuArray: an array in device memory.

It has a shape and a dtype. It can be reshaped, or sliced along its first axis; the result shares
its memory. Every computation is an explicit kernel. There are no operators: each would hide a
launch, and the simulator would allow what a GPU does not.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import prod
from sys import getrefcount
from typing import Any

import numpy as np
from numpy.typing import DTypeLike

from ..errors import InputError
from .pool import Block

MOST_CELLS = 2**31 - 1
DTYPES = tuple(np.dtype(t) for t in (np.float32, np.int32, np.uint8, np.bool_))


class GpuArray:
    """A C-contiguous array of float32, int32, uint8 or bool on the device. `empty` and `to_device`
    make one.

    Attributes:
        shape, dtype, ndim, size: as in a NumPy array.
    """

    __slots__ = ("__weakref__", "_block", "_start", "_view", "dtype", "shape", "size")
    __array_ufunc__ = None  # NumPy's operators refuse it instead of treating it as an object
    __hash__ = None  # type: ignore[assignment]

    def __init__(self, block: Block, start: int, dtype: np.dtype, shape: tuple[int, ...]) -> None:
        self._block, self._start, self._view = block, start, None
        self.dtype, self.shape, self.size = dtype, shape, prod(shape)

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def view(self) -> Any:
        """The device's own array object, which kernels take."""
        if self._view is None:
            block = self._block
            self._view = block.owner.view(block.memory, self._start, self.dtype, self.shape)
        return self._view

    @property
    def flat(self) -> GpuArray:
        """The same memory with one axis."""
        return self.reshape(self.size)

    def reshape(self, *shape: Any) -> GpuArray:
        """The same memory in another shape; one size may be -1.

        Raises:
            ValueError: the product of the sizes is not this array's size.
        """
        wanted = tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], int) else shape
        known = prod(n for n in wanted if n != -1)
        full = tuple(int(self.size // max(known, 1) if n == -1 else n) for n in wanted)
        if prod(full) != self.size or wanted.count(-1) > 1:
            raise ValueError(f"cannot reshape a device array of shape {self.shape} into {wanted}")
        return GpuArray(self._block, self._start, self.dtype, full)

    @property
    def shared(self) -> bool:
        """Whether another array lies in the same memory."""
        return self._references() > _ALONE._references()  # Pythons count their own ones differently

    def _references(self) -> int:
        return getrefcount(self._block)

    def numpy(self) -> np.ndarray:
        """A copy on the host; waits until the device has computed the values."""
        host = np.empty(self.shape, self.dtype)
        if self.size:
            self._block.owner.download(self.flat.view, host.reshape(-1))
        return host

    def fill_from(self, host: np.ndarray) -> None:
        """Copy a host array of the same shape into this one, converted to its dtype."""
        if np.shape(host) != self.shape:
            raise ValueError(f"a device array of shape {self.shape} cannot take {np.shape(host)}")
        if self.size:
            values = np.ascontiguousarray(host, self.dtype).reshape(-1)
            self._block.owner.upload(self.flat.view, values)

    def __array__(self, *arguments: Any, **settings: Any) -> np.ndarray:
        raise TypeError(f"{self!r} is on the device: copy it to the host with .numpy()")

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, index: int | slice) -> GpuArray:
        """An index or slice (step 1) along the first axis, sharing the memory."""
        first = slice(index, index + 1 or None) if isinstance(index, int) else index
        start, stop, step = first.indices(self.shape[0])
        if step != 1 or (isinstance(index, int) and stop - start != 1):
            raise IndexError(f"cannot take {index} of a device array of shape {self.shape}")
        inner = self.shape[1:]
        shape = inner if isinstance(index, int) else (max(stop - start, 0), *inner)
        offset = self._start + start * prod(inner) * self.dtype.itemsize
        return GpuArray(self._block, offset, self.dtype, shape)

    def __iter__(self) -> Iterator[GpuArray]:
        return (self[i] for i in range(len(self)))

    def __repr__(self) -> str:
        return f"GpuArray(shape={self.shape}, dtype={self.dtype})"


_ALONE = GpuArray(object(), 0, np.dtype(np.float32), ())  # type: ignore[arg-type]  # nobody shares it


def empty(shape: int | tuple[int, ...], dtype: DTypeLike = np.float32) -> GpuArray:
    """A device array with arbitrary content.

    Raises:
        InputError: there is no GPU, or the array has more cells than int32 can count.
        TypeError: kernels do not take this dtype.
        MemoryError: the GPU has too little memory free.
    """
    shape = (shape,) if isinstance(shape, int) else tuple(int(n) for n in shape)
    dtype = np.dtype(dtype)
    if dtype not in DTYPES:
        raise TypeError(f"a device array of {dtype}: expected one of {', '.join(map(str, DTYPES))}")
    if prod(shape) > MOST_CELLS:
        raise InputError(f"a device array of shape {shape}: kernels count up to {MOST_CELLS} cells")
    return GpuArray(Block(prod(shape) * dtype.itemsize), 0, dtype, shape)


def to_device(host: Any, dtype: DTypeLike | None = None) -> GpuArray:
    """Copy a host array (or number) to the device; return a device array of that dtype as it is.

    Args:
        host: floats become float32 and integers int32; uint8 and bool stay.
        dtype: convert to this instead.

    Raises:
        TypeError: a device array has another dtype than asked for.
        OverflowError: an integer does not fit in int32.
    """
    if isinstance(host, GpuArray):
        if dtype is not None and host.dtype != dtype:
            raise TypeError(f"a device array of {host.dtype}: expected {np.dtype(dtype)}")
        return host
    host = np.asarray(host)
    target = np.dtype(dtype) if dtype is not None else _kernel_dtype(host.dtype)
    if target == np.int32 and host.dtype != np.int32 and host.size:
        _check_range(host)
    array = empty(host.shape, target)
    array.fill_from(host)
    return array


def to_host(array: Any) -> np.ndarray:
    """Return a host array as it is, or a copy of a device array."""
    return array.numpy() if isinstance(array, GpuArray) else np.asarray(array)


def assign(array: Any, values: Any) -> None:
    """array[...] = values, wherever each of them is."""
    if isinstance(array, GpuArray):
        array.fill_from(to_host(values))
    else:
        array[...] = to_host(values)


def zeros_like(array: Any) -> Any:
    """Zeros with the array's shape and dtype, on the same device."""
    zeros = np.zeros(array.shape, array.dtype)
    return to_device(zeros) if isinstance(array, GpuArray) else zeros


def shares_memory(a: Any, b: Any) -> bool:
    """Whether two arrays may lie in the same memory, as an array and a view of it do."""
    if isinstance(a, GpuArray) or isinstance(b, GpuArray):
        return isinstance(a, GpuArray) and isinstance(b, GpuArray) and a._block is b._block
    return np.may_share_memory(a, b)


def _kernel_dtype(dtype: np.dtype) -> np.dtype:
    if dtype in DTYPES:
        return dtype
    return np.dtype(np.int32 if dtype.kind in "iu" else np.float32)


def _check_range(host: np.ndarray) -> None:
    limits = np.iinfo(np.int32)
    if host.min() < limits.min or host.max() > limits.max:
        raise OverflowError(f"whole numbers from {host.min()} to {host.max()} do not fit in int32")
