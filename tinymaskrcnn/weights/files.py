"""Read and write weight files: recognise the kind of a file and find its state dict.

The kinds are the two formats of `torch.save` (torch_files.py) and safetensors
(safetensors_files.py). They are told apart by their first bytes, whatever the file's name.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import WeightsError
from ..files import file_problem
from .detectron2 import write_detectron2
from .safetensors_files import (
    looks_like_safetensors,
    read_safetensors,
    read_safetensors_metadata,
    write_safetensors,
)
from .tensors import PickledArray, StoredTensor
from .torch_files import read_stream, read_zip

WRAPPERS = ("state_dict", "model_state_dict", "model", "blobs")  # under which trainers put weights
DIALECTS = ("torchvision", "detectron2")


def load_weights(path: str | os.PathLike[str]) -> dict[str, np.ndarray]:
    """Read a state dict from PyTorch's .pth, .pt or .th, without torch, from safetensors, or from a
    .pkl of NumPy arrays, as detectron2's model zoo has.

    Nothing that a file asks for is run. It may hold tensors, plain containers, and the settings of
    torchvision's training scripts (`args`), and nothing else. A state dict under "state_dict",
    "model_state_dict" or "model" is found, and a "module." in front of every name is dropped;
    anything else in a checkpoint, such as "model_ema", is not read. Reading takes the memory of the
    arrays and no second copy.

    Args:
        path: the file; its content decides its kind.

    Returns:
        Arrays by name, as stored, except bfloat16, which becomes float32 (same values). Arrays may
        share memory where the tensors did.

    Raises:
        WeightsError: names the file and the reason: it is missing, truncated, of another kind, asks
            for something that is not allowed, or holds no tensors.
    """
    with _about(path) as path:
        _require_file(path)
        state = _read(path)
        if not state:
            raise WeightsError("it holds no tensors")
        return _without_prefix(state, "module.")


def save_weights(
    path: str | os.PathLike[str],
    state: Mapping[str, np.ndarray],
    metadata: Mapping[str, str] | None = None,
    dialect: str = "torchvision",
) -> None:
    """Write a state dict as safetensors, or for detectron2.

    The file appears whole or not at all, and equal contents give equal bytes. torchvision's model
    loads it: `model.load_state_dict(safetensors.torch.load_file(path))`.

    With dialect="detectron2" it is a .pkl with detectron2's names and layouts, which its
    DetectionCheckpointer loads. The background's rows of boxes and masks, which nothing ever uses,
    are left out. Names and arrays are all that such a file holds: detectron2 takes the mean, the
    sizes and the place of the stride from its own config.

    Args:
        path: the file; replaced if it exists.
        state: arrays by name.
        metadata: strings by name; see `read_metadata`. Not for detectron2.
        dialect: "torchvision" or "detectron2".

    Raises:
        WeightsError: the file cannot be written, or detectron2 has no place for an array; names the
            file and the reason.
    """
    with _about(path) as path:
        if dialect not in DIALECTS:
            raise WeightsError(f"no dialect {dialect!r}: expected one of {', '.join(DIALECTS)}")
        if dialect == "detectron2":
            write_detectron2(path, state, metadata)
        else:
            write_safetensors(path, state, metadata)


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The strings saved beside the weights; {} if there are none, as in PyTorch's files.

    Raises:
        WeightsError: the file cannot be read; names it and the reason.
    """
    with _about(path) as path:
        _require_file(path)
        return read_safetensors_metadata(path) if _is_safetensors(path) else {}


@contextlib.contextmanager
def _about(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Prefix every error with the file's name."""
    try:
        yield Path(path)
    except WeightsError as error:
        raise WeightsError(f"{path}: {error}") from error
    except OSError as error:
        raise WeightsError(f"{path}: {error.strerror or error}") from error


def _require_file(path: Path) -> None:
    if problem := file_problem(path):
        raise WeightsError(problem)


def _read(path: Path) -> dict[str, np.ndarray]:
    if _is_safetensors(path):
        return read_safetensors(path)
    head = _head(path, 512)
    if head.startswith(b"PK\x03\x04"):
        return read_zip(path, state_dict_in)
    if head.startswith(b"\x80"):
        return read_stream(path, state_dict_in)
    if head[257:262] == b"ustar":
        raise WeightsError(
            "a tar file, the format of PyTorch before 0.1.10, is not supported: load it in an old "
            "PyTorch and save it again"
        )
    raise WeightsError("not a weight file: expected one from torch.save, safetensors or detectron2")


def _is_safetensors(path: Path) -> bool:
    return looks_like_safetensors(_head(path, 9), path.stat().st_size)


def _head(path: Path, count: int) -> bytes:
    with path.open("rb") as file:
        return file.read(count)


def state_dict_in(saved: Any) -> dict[str, StoredTensor | PickledArray]:
    """The tensors or NumPy arrays by name in what was saved: the object itself, or the one in its
    wrapper.

    Entries of a state dict that are not tensors (a counter, a setting) are left out.

    Raises:
        WeightsError: it is not a dict, has no tensors, or a tensor's name is not a string.
    """
    if not isinstance(saved, dict):
        raise WeightsError(f"it holds a {type(saved).__name__}: expected a dict of tensors")
    for _ in WRAPPERS:  # one may lie within another
        inner = next((saved[k] for k in WRAPPERS if isinstance(saved.get(k), dict)), None)
        saved = saved if inner is None else inner
    tensors = {k: v for k, v in saved.items() if isinstance(v, StoredTensor | PickledArray)}
    if not tensors:
        found = f", but {', '.join(map(repr, list(saved)[:10]))}" if saved else ""
        raise WeightsError(f"it holds no tensors{found}; they may lie under {', '.join(WRAPPERS)}")
    for key in tensors:
        if not isinstance(key, str):
            raise WeightsError(f"a tensor is named {key!r}: expected a string")
    return tensors


def _without_prefix(state: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    """Drop a prefix that every name has (`DataParallel` adds one)."""
    if not all(key.startswith(prefix) for key in state):
        return state
    return {key.removeprefix(prefix): array for key, array in state.items()}
