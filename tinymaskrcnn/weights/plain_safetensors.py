"""What the package needs of the library `safetensors`, in NumPy, where that is not installed.

A file is the length of its header in eight bytes, the header as JSON (per tensor its type, its
shape, and where its bytes begin and end), and the bytes of all tensors, without gaps.

Source: https://github.com/huggingface/safetensors, section "Format".
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

LONGEST = 100_000_000  # bytes of a header that the library still reads
NAMES = {
    dtype: f"{letter}{8 * np.dtype(dtype).itemsize}"
    for letter, kinds in (
        ("F", ("float64", "float32", "float16")),
        ("I", ("int64", "int32", "int16", "int8")),
        ("U", ("uint64", "uint32", "uint16", "uint8")),
    )
    for dtype in kinds
} | {"bool": "BOOL"}
BYTES = {name: np.dtype(dtype).itemsize for dtype, name in NAMES.items()} | {"BF16": 2}


class SafetensorError(Exception):
    """A file is not safetensors, or cannot become it."""


class Slice:
    """The type and the shape of one tensor."""

    def __init__(self, entry: Mapping[str, Any]) -> None:
        self.entry = entry

    def get_dtype(self) -> str:
        return self.entry["dtype"]

    def get_shape(self) -> list[int]:
        return self.entry["shape"]


class safe_open:
    """The checked header of a file.

    Raises:
        SafetensorError: the header does not describe the bytes that follow it.
    """

    def __init__(self, path: str | Path, framework: str = "numpy") -> None:
        with open(path, "rb") as file:
            head = file.read(8)
            length = int.from_bytes(head, "little")
            if len(head) < 8 or length > LONGEST:
                raise SafetensorError("no header, or one that is too long")
            text = file.read(length)
        size = Path(path).stat().st_size - 8 - length
        self.header, self._metadata = checked(text, length, size)

    def __enter__(self) -> safe_open:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        pass

    def metadata(self) -> dict[str, str] | None:
        return self._metadata

    def offset_keys(self) -> list[str]:
        """The names in the order of the tensors' bytes."""
        return list(self.header)

    def get_slice(self, name: str) -> Slice:
        return Slice(self.header[name])


def checked(text: bytes, length: int, size: int) -> tuple[dict[str, Any], dict[str, str] | None]:
    """The tensors of a header in the order of their bytes, and the metadata.

    Args:
        length: that the header should have. size: bytes that follow it.
    """
    if len(text) < length:
        raise SafetensorError("the file ends within its header")
    try:
        header = json.loads(text)
        metadata = header.pop("__metadata__", None)
        entries = sorted(header.items(), key=lambda item: tuple(item[1]["data_offsets"]))
        place = 0
        for name, entry in entries:
            start, stop = entry["data_offsets"]
            shape, kind = entry["shape"], entry["dtype"]
            if not all(isinstance(side, int) and side >= 0 for side in shape) or start != place:
                raise SafetensorError(f"{name}: its shape or its place is wrong")
            if kind in BYTES and stop - start != math.prod(shape) * BYTES[kind]:
                raise SafetensorError(f"{name}: {stop - start} bytes for {kind} {shape}")
            place = stop
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
        raise SafetensorError(f"its header is wrong: {problem!r}") from problem
    if place != size:
        raise SafetensorError(f"{size} bytes follow the header, which describes {place}")
    return dict(entries), metadata


def load(content: bytes) -> dict[str, np.ndarray]:
    """The tensors by name."""
    length = int.from_bytes(content[:8], "little")
    data = memoryview(content)[8 + length :]
    header, _ = checked(content[8 : 8 + length], length, len(data))
    dtypes = {name: dtype for dtype, name in NAMES.items()}
    return {
        name: np.frombuffer(data[slice(*entry["data_offsets"])], dtypes[entry["dtype"]])
        .reshape(entry["shape"])
        .copy()
        for name, entry in header.items()
    }


def save(arrays: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None) -> bytes:
    """The bytes of a file; the widest types come first, which keeps every tensor aligned."""
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    order = sorted(arrays, key=lambda name: (-arrays[name].dtype.itemsize, name))
    place = 0
    for name in order:
        array = arrays[name]
        if str(array.dtype) not in NAMES:
            raise SafetensorError(f"{name} has type {array.dtype}")
        place, start = place + array.nbytes, place
        kind, shape = NAMES[str(array.dtype)], list(array.shape)
        header[name] = {"dtype": kind, "shape": shape, "data_offsets": [start, place]}
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    parts = [arrays[name].tobytes() for name in order]
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def save_file(
    arrays: Mapping[str, np.ndarray], path: str | Path, metadata: Mapping[str, str] | None = None
) -> None:
    Path(path).write_bytes(save(arrays, metadata))
