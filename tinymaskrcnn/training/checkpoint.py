"""Checkpoints that a crash cannot spoil.

A checkpoint is a safetensors file of all arrays, and beside it a file with its SHA-256 that
`sha256sum -c` can read too. Each is written under another name in the same folder, flushed to the
disk, and renamed; the checksum comes last, so a checkpoint counts only once it is complete. The one
before it is kept. What does not match its checksum is passed over.

Not here: what a checkpoint holds (trainer.py).
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from ..errors import InputError
from ..files import write_atomic

logger = logging.getLogger(__name__)
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """What was read back: the arrays by name, and the number of steps behind them."""

    step: int
    arrays: dict[str, np.ndarray]


def save_checkpoint(folder: Path, step: int, arrays: Mapping[str, np.ndarray]) -> Path:
    """Write checkpoint number `step` and remove all but the newest two.

    Args:
        folder: made if missing. arrays: any float, integer or bool arrays by name.

    Returns:
        The path of the new file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    content = save({name: np.ascontiguousarray(array) for name, array in arrays.items()})
    write_atomic(path, content)
    checksum = hashlib.sha256(content).hexdigest()
    write_atomic(_checksum_path(path), f"{checksum}  {path.name}\n".encode())
    _remove_others(folder, path)
    return path


def load_newest(folder: Path) -> Checkpoint | None:
    """The newest checkpoint that is whole, or None where there never was one. Damaged ones are
    logged and passed over.

    Raises:
        InputError: there are checkpoints, and all of them are damaged.
    """
    damaged = []
    for path in reversed(_complete(folder)):
        try:
            return _read(path)
        except InputError as problem:
            logger.warning("%s; trying the one before", problem)
            damaged.append(path.name)
    if damaged:
        raise InputError(
            f"{folder}: every checkpoint is damaged ({', '.join(damaged)}); without this folder "
            "the run starts over"
        )
    return None


def _read(path: Path) -> Checkpoint:
    """Raises InputError unless the file is, byte for byte, what was written."""
    try:
        content = path.read_bytes()
        expected = _checksum_path(path).read_bytes().split()[:1]
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror})") from problem
    if [hashlib.sha256(content).hexdigest().encode()] != expected:
        raise InputError(f"{path}: damaged, its SHA-256 is not that of {_checksum_path(path).name}")
    try:
        return Checkpoint(int(path.stem.removeprefix("step-")), load(content))
    except SafetensorError as problem:
        raise InputError(f"{path}: not a safetensors file ({problem})") from problem


def _complete(folder: Path) -> list[Path]:
    """Checkpoints that have a checksum, oldest first."""
    files = sorted(folder.glob("step-*.safetensors")) if folder.is_dir() else []
    return [file for file in files if _checksum_path(file).exists()]


def _remove_others(folder: Path, newest: Path) -> None:
    """All but this and the one before it; also later ones, which were damaged, and what a crash
    left half written. The checksum goes first, so that no half counts.
    """
    kept = [file for file in _complete(folder) if file.name <= newest.name][-KEPT:]
    for file in sorted(folder.glob("step-*.safetensors")):
        if file not in kept:
            _checksum_path(file).unlink(missing_ok=True)
            file.unlink()
    for leftover in folder.glob("step-*.partial"):
        leftover.unlink()


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
