"""safetensors: a header of names, types and offsets, then the bytes of one tensor after another.

The library checks and writes the files. Their bytes are read straight into arrays here, because the
library maps the file and copies from the map, which takes its size twice, and because it cannot
give NumPy bfloat16.
"""

from __future__ import annotations

import contextlib
import json
import math
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import WeightsError
from ..files import replacing
from .tensors import check_shape, read_array, widen

try:
    from safetensors import SafetensorError, safe_open
    from safetensors.numpy import load, save, save_file
except ModuleNotFoundError:
    from .plain_safetensors import (  # type: ignore[assignment]
        SafetensorError,
        load,
        safe_open,
        save,
        save_file,
    )

__all__ = ["SafetensorError", "load", "save"]  # for checkpoints
METADATA = "tinymaskrcnn"  # all metadata as one JSON string: the library orders several at random
DTYPES = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "uint16",
    "I64": "int64",
    "I32": "int32",
    "I16": "int16",
    "I8": "int8",
    "U64": "uint64",
    "U32": "uint32",
    "U16": "uint16",
    "U8": "uint8",
    "BOOL": "bool",
}


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of this size that starts with these nine bytes can be safetensors: they are
    the header's length, which fits, and an opening brace.
    """
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Every tensor by name; bfloat16 becomes float32.

    Raises:
        WeightsError: the file is damaged, or a tensor has a type that NumPy lacks.
    """
    with _errors(), safe_open(path, framework="numpy") as header, path.open("rb") as file:
        file.seek(8 + int.from_bytes(file.read(8), "little"))
        return {name: _read(file, header, name) for name in header.offset_keys()}


def _read(file: BinaryIO, header: Any, name: str) -> np.ndarray:
    """The next tensor; tensors lie side by side in the order of `offset_keys`."""
    part = header.get_slice(name)
    kind, shape = part.get_dtype(), part.get_shape()
    if kind not in DTYPES:
        raise WeightsError(f"{name} has type {kind}: expected one of {', '.join(DTYPES)}")
    check_shape(shape)
    dtype = np.dtype(DTYPES[kind])
    flat = read_array(file, math.prod(shape) * dtype.itemsize).view(dtype)
    return (widen(flat) if kind == "BF16" else flat).reshape(shape)


def read_safetensors_metadata(path: Path) -> dict[str, str]:
    """What was stored beside the tensors; {} if nothing was.

    Raises:
        WeightsError: the file is damaged.
    """
    with _errors(), safe_open(path, framework="numpy") as header:
        metadata = header.metadata() or {}
    if METADATA not in metadata:
        return metadata
    try:
        texts = json.loads(metadata[METADATA])
    except (ValueError, RecursionError) as error:
        raise WeightsError(f"its metadata is not JSON: {error}") from error
    if not isinstance(texts, dict) or not all(isinstance(text, str) for text in texts.values()):
        raise WeightsError(f"its metadata is not a dict of strings: {metadata[METADATA][:60]!r}")
    return texts


def write_safetensors(
    path: Path, state: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None
) -> None:
    """Write a file, whole or not at all, whose bytes depend on the names and values alone."""
    arrays = {name: np.asarray(array, order="C") for name, array in state.items()}
    text = {METADATA: json.dumps(metadata, sort_keys=True)} if metadata else None
    with replacing(path) as partial, _errors("cannot be written"):
        mode = partial.stat().st_mode
        save_file(arrays, partial, text)
        partial.chmod(mode)  # the library makes files that only their owner may read


@contextlib.contextmanager
def _errors(what: str = "a damaged safetensors file") -> Iterator[None]:
    try:
        yield
    except SafetensorError as error:
        raise WeightsError(f"{what}: {error}") from error
