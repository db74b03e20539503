"""From the description of a tensor in a file (storage, offset, sizes, strides) to an array.

A storage is read once, straight into the array that all its tensors share. bfloat16, which NumPy
lacks, becomes float32, exactly.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import WeightsError

DTYPES = {  # PyTorch's storage classes
    "Float": "float32",
    "Double": "float64",
    "Half": "float16",
    "BFloat16": "bfloat16",
    "Long": "int64",
    "Int": "int32",
    "Short": "int16",
    "Char": "int8",
    "Byte": "uint8",
    "Bool": "bool",
}
UNSIGNED = ("uint16", "uint32", "uint64")  # types without a storage class of their own
PICKLED_TYPES = ("b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8")
CHUNK = 2**20  # bytes read at once, to avoid a second copy of a tensor
SPARE = 64 * 2**20  # bytes that strided views may take beyond what the file's size explains
MAX_AXES, MAX_ELEMENTS = 64, 2**48  # NumPy's own limit, and more than fits any memory


@dataclass(frozen=True)
class Storage:
    """A run of elements in a file, starting at element `first` of the record `key`."""

    key: str
    dtype: str
    first: int
    elements: int

    @property
    def itemsize(self) -> int:
        return _item(self.dtype).itemsize

    def as_type(self, dtype: str) -> Storage:
        """The same bytes as elements of another type; only for storages that count bytes."""
        return replace(self, dtype=dtype, elements=self.elements // _item(dtype).itemsize)


@dataclass(frozen=True)
class StoredTensor:
    """A tensor as the file describes it; offset and strides count elements."""

    storage: Storage
    offset: int
    sizes: tuple[Any, ...]
    strides: tuple[Any, ...]


@dataclass
class PickledType:
    """The type of a pickled array's elements; its state gives the byte order."""

    text: str
    order: str = ""

    def set_state(self, state: Any) -> None:
        match state:
            case (_, ("<" | ">" | "=" | "|") as order, *_):
                self.order = order
            case _:
                raise WeightsError("its pickle is damaged: an invalid type")

    def dtype(self) -> np.dtype:
        text = self.order + self.text.lstrip("<>=|") if self.order else self.text
        if text.lstrip("<>=|") not in PICKLED_TYPES:
            raise WeightsError(f"it holds an array of type {self.text[:20]!r}: expected numbers")
        return np.dtype(text)


@dataclass
class PickledArray:
    """A NumPy array as a pickle describes it; `raw` is text if Python 2 has written it."""

    shape: tuple[Any, ...] | None = None
    type: PickledType | None = None
    fortran: bool = False
    raw: bytes | bytearray | str = b""

    def set_state(self, state: Any) -> None:
        match state:
            case (_, tuple(shape), PickledType() as kind, (bool() | 0 | 1) as fortran, raw):
                if isinstance(raw, bytes | bytearray | str):
                    self.shape, self.type, self.fortran, self.raw = shape, kind, bool(fortran), raw
                    return
        raise WeightsError("its pickle is damaged: an invalid array")

    def array(self) -> np.ndarray:
        """The array, in the machine's byte order.

        Raises:
            WeightsError: its bytes are not as many as its shape says, or no numbers.
        """
        if self.shape is None or self.type is None or not all(map(_is_count, self.shape)):
            raise WeightsError("its pickle is damaged: an array without a valid shape")
        check_shape(self.shape)
        try:
            raw = self.raw.encode("latin-1") if isinstance(self.raw, str) else self.raw
        except UnicodeEncodeError:
            raise WeightsError("its pickle is damaged: an array's bytes are text") from None
        dtype = self.type.dtype()
        if len(raw) != math.prod(self.shape) * dtype.itemsize:
            raise WeightsError("its pickle is damaged: an array has too few bytes, or too many")
        array = np.frombuffer(raw, dtype).reshape(self.shape, order="F" if self.fortran else "C")
        return np.array(array, dtype.newbyteorder("="), order="C")


class ArrayMaker:
    """Makes arrays from stored tensors.

    Args:
        read: `read(key, first, count)` returns these bytes of the record with this key as a new
            flat uint8 array; it raises WeightsError if the record is shorter.
        byte_order: of the file, "little" or "big".
        file_size: bytes of the file. It bounds the memory: a few bytes can claim to be a tensor of
            any size, by strides of 0 or by many views of one storage.
    """

    def __init__(
        self, read: Callable[[str, int, int], np.ndarray], byte_order: str, file_size: int
    ) -> None:
        self.read, self.byte_order = read, byte_order
        self.budget = 4 * file_size + SPARE  # read, widened, copied if strided
        self.read_before: dict[Storage, np.ndarray] = {}

    def array(self, tensor: StoredTensor) -> np.ndarray:
        """The tensor as a contiguous array; tensors of one storage share memory where possible.

        Raises:
            WeightsError: the tensor reaches beyond its storage, or the file is damaged.
        """
        _check(tensor)
        flat = self.storage(tensor.storage)
        if 0 in tensor.sizes:
            return np.empty(tensor.sizes, flat.dtype)
        steps = zip(tensor.sizes, tensor.strides, strict=True)
        strides = [stride * flat.itemsize if size > 1 else 0 for size, stride in steps]
        view = np.ndarray(tensor.sizes, flat.dtype, flat, tensor.offset * flat.itemsize, strides)
        if view.flags.c_contiguous:
            return view
        self.spend(math.prod(view.shape) * view.itemsize)
        return np.ascontiguousarray(view)

    def spend(self, count: int) -> None:
        """Take bytes from the budget."""
        self.budget -= count
        if self.budget < 0:
            raise WeightsError("its tensors are larger than the file can account for")

    def storage(self, storage: Storage) -> np.ndarray:
        if storage not in self.read_before:
            self.read_before[storage] = self._read(storage)
        return self.read_before[storage]

    def _read(self, storage: Storage) -> np.ndarray:
        item = _item(storage.dtype)
        if not _is_count(storage.first) or not _is_count(storage.elements):
            raise WeightsError("a storage has an invalid size")
        first, count = storage.first * item.itemsize, storage.elements * item.itemsize
        self.spend(count)
        raw = self.read(storage.key, first, count)
        flat = raw.view(item)
        if self.byte_order != "little":
            flat = flat.byteswap(inplace=True)
        return widen(flat) if storage.dtype == "bfloat16" else flat


def _check(tensor: StoredTensor) -> None:
    """Check, before allocating anything, that the numbers are valid and lie within the storage."""
    numbers = (tensor.offset, *tensor.sizes, *tensor.strides)
    if len(tensor.sizes) != len(tensor.strides) or not all(map(_is_count, numbers)):
        raise WeightsError("a tensor has invalid sizes or strides")
    check_shape(tensor.sizes)
    steps = zip(tensor.sizes, tensor.strides, strict=True)
    last = tensor.offset + sum((size - 1) * stride for size, stride in steps)
    if 0 not in tensor.sizes and last >= tensor.storage.elements:
        raise WeightsError("a tensor reaches beyond its storage")


def check_shape(sizes: Sequence[int]) -> None:
    """Refuse shapes that NumPy cannot make; an axis of 0 does not make up for a huge one."""
    if len(sizes) > MAX_AXES or math.prod(size or 1 for size in sizes) >= MAX_ELEMENTS:
        raise WeightsError("a tensor has too many axes or elements")


def read_array(stream: Any, count: int) -> np.ndarray:
    """The next `count` bytes, read piece by piece into one new array."""
    array = np.empty(count, np.uint8)
    for start in range(0, count, CHUNK):
        piece = array.data[start : start + CHUNK]
        while piece:
            got = stream.readinto(piece)
            if not got:
                raise WeightsError("a truncated file: it ends within a tensor")
            piece = piece[got:]
    return array


def widen(bits: np.ndarray) -> np.ndarray:
    """bfloat16, given as uint16 bit patterns, to float32: the upper half of its bits."""
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)


def _item(dtype: str) -> np.dtype:
    return np.dtype(np.uint16 if dtype == "bfloat16" else dtype)


def _is_count(value: Any) -> bool:
    return type(value) is int and value >= 0
