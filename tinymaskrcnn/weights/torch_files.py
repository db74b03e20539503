"""The two formats of `torch.save`, and plain pickles of NumPy arrays, read without torch.

Zip (since PyTorch 1.6): one folder with `data.pkl`, `byteorder` and a record `data/KEY` for each
storage, uncompressed. Stream (before): a magic number, the protocol, the system, the object and the
list of storage keys, each a pickle; then, for each storage, its element count and its bytes.

Not here: TorchScript archives, and the tar format of PyTorch before 0.1.10; the error names them.
"""

from __future__ import annotations

import contextlib
import io
import mmap
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from .tensors import ArrayMaker, PickledArray, Storage, StoredTensor, read_array
from .unpickle import unpickle

MAGIC, PROTOCOL = 0x1950A86A20F9469CFC6C, 1001

Place = tuple[int, int]
Select = Callable[[Any], dict[str, Any]]


def read_zip(path: Path, select: Select) -> dict[str, np.ndarray]:
    """Read a zip file written by `torch.save`.

    Args:
        path: the file.
        select: picks the wanted tensors, by name, from what was saved; only these are read.

    Raises:
        WeightsError: the file is damaged, or not of this format.
    """
    with _open_zip(path) as archive:
        names = set(archive.namelist())
        pickles = [name for name in names if name.count("/") == 1 and name.endswith("/data.pkl")]
        if len(pickles) != 1:
            raise WeightsError(
                "a zip archive, but not one from torch.save: it has no single data.pkl"
            )
        folder = pickles[0].removesuffix("data.pkl")
        if folder + "constants.pkl" in names:
            raise WeightsError("a TorchScript archive: expected a state dict saved by torch.save")
        tensors = select(unpickle(_record(archive, pickles[0]).tobytes()))
        byte_order = "little"
        if folder + "byteorder" in names:
            byte_order = _record(archive, folder + "byteorder").tobytes().decode("ascii", "replace")

        def read(key: str, first: int, count: int) -> np.ndarray:
            if first:  # PyTorch refuses it too; each view would be reached through all before it
                raise WeightsError("a damaged file: a view of a storage, unknown to this format")
            return _record(archive, f"{folder}data/{key}", count)

        maker = ArrayMaker(read, byte_order, path.stat().st_size)
        return _arrays(maker, tensors)


def _arrays(maker: ArrayMaker, tensors: dict[str, Any]) -> dict[str, np.ndarray]:
    """Arrays of all tensors; NumPy's arrays may stand among them."""
    return {
        name: tensor.array() if isinstance(tensor, PickledArray) else maker.array(tensor)
        for name, tensor in tensors.items()
    }


def _open_zip(path: Path) -> zipfile.ZipFile:
    with _zip_errors():
        return zipfile.ZipFile(path)


@contextlib.contextmanager
def _zip_errors() -> Iterator[None]:
    """Turn what `zipfile` raises on damaged archives into one kind of error."""
    try:
        yield
    except WeightsError:
        raise
    except (zipfile.BadZipFile, zlib.error, EOFError, struct.error, ValueError, OSError) as error:
        raise WeightsError(f"a damaged zip archive: {error}") from error
    except (NotImplementedError, RuntimeError) as error:  # encrypted or of an unknown kind
        raise WeightsError(f"an unusual zip archive: {error}") from error


def _record(archive: zipfile.ZipFile, name: str, count: int | None = None) -> np.ndarray:
    """The first `count` bytes of a record, by default all of it, as a uint8 array."""
    try:
        info = archive.getinfo(name)
    except KeyError:
        raise WeightsError(f"a damaged file: the record {name!r} is missing") from None
    if info.compress_type != zipfile.ZIP_STORED:
        raise WeightsError(f"the record {name!r} is compressed, which torch.save never does")
    count = info.file_size if count is None else count
    if not count <= info.file_size <= _size(archive):
        raise WeightsError(f"a damaged file: the record {name!r} is too short")
    with _zip_errors(), archive.open(info) as stream:
        return read_array(stream, count)


def _size(archive: zipfile.ZipFile) -> int:
    """The size of the whole archive: no uncompressed record is larger, whatever it claims."""
    assert archive.fp is not None
    position = archive.fp.tell()
    size = archive.fp.seek(0, io.SEEK_END)
    archive.fp.seek(position)
    return size


def read_stream(path: Path, select: Select) -> dict[str, np.ndarray]:
    """Read a file in the older format, or a plain pickle of NumPy arrays, as detectron2's model zoo
    has; arguments and errors as for `read_zip`.
    """
    size = path.stat().st_size
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as stream:
        first = unpickle(stream)
        if isinstance(first, dict):
            return {name: _pickled(name, value) for name, value in select(first).items()}
        if first != MAGIC:
            raise WeightsError("a pickle, but neither one from torch.save nor a dict of arrays")
        if unpickle(stream) != PROTOCOL:
            raise WeightsError("written by an unknown version of torch.save")
        unpickle(stream)  # the system that wrote it; the bytes below are little-endian on all
        storages: dict[str, Storage] = {}
        tensors = select(unpickle(stream, storages))
        places = _places(stream, unpickle(stream), storages)

        def read(key: str, first: int, count: int) -> np.ndarray:
            start, length = places.get(key, (0, 0))
            if first + count > length:
                raise WeightsError(f"a damaged file: the storage {key!r} is too short")
            file.seek(start + first)
            return read_array(file, count)

        return _arrays(ArrayMaker(read, "little", size), tensors)


def _pickled(name: str, value: StoredTensor | PickledArray) -> np.ndarray:
    if isinstance(value, StoredTensor):
        raise WeightsError(f"{name} is a tensor, in a pickle that is not from torch.save")
    return value.array()


def _places(stream: mmap.mmap, keys: Any, storages: dict[str, Storage]) -> dict[str, Place]:
    """Where each storage's bytes lie: (first byte, number of bytes).

    The storages follow in the order of `keys`, each behind its element count.
    """
    if not isinstance(keys, list) or not all(isinstance(key, str) for key in keys):
        raise WeightsError("a damaged file: its list of storages is not a list")
    places = {}
    for key in keys:
        if key not in storages:
            raise WeightsError(f"a damaged file: the storage {key!r} belongs to no tensor")
        head = stream.read(8)
        length = int.from_bytes(head, "little") * storages[key].itemsize
        start = stream.tell()
        if len(head) < 8 or start + length > stream.size():
            raise WeightsError("a truncated file: it ends within a tensor")
        places[key] = (start, length)
        stream.seek(start + length)
    return places
