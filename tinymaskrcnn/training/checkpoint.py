"""Checkpoints that a crash cannot spoil.

A checkpoint is a safetensors file with all arrays, next to a file with its SHA-256 that `sha256sum
-c` can read too. Each is written under another name in the same folder, flushed to the disk, and
renamed. The checksum comes last, so a checkpoint counts only once it is complete. The previous
checkpoint is kept. A file that does not match its checksum is skipped, and so is a checkpoint of
another run: the metadata holds the step and the hash that identifies the run.

Not here: what a checkpoint holds (trainer.py).
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import write_atomic
from ..weights.safetensors_files import METADATA, SafetensorError, load, save

logger = logging.getLogger(__name__)
KEPT = 2


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint that was read back: arrays by name, steps done, and texts by name."""

    step: int
    arrays: dict[str, np.ndarray]
    texts: dict[str, str] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    step: int,
    arrays: Mapping[str, np.ndarray],
    texts: Mapping[str, str] | None = None,
) -> Path:
    """Write checkpoint number `step` and remove all but the newest two.

    Args:
        folder: made if missing.
        arrays: any float, integer or bool arrays by name.
        texts: by name; "run" is the hash that identifies the run.

    Returns:
        The path of the new file.
    """
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"step-{step:08d}.safetensors"
    metadata = {METADATA: json.dumps({"step": step, **(texts or {})}, sort_keys=True)}
    arrays = {name: np.ascontiguousarray(array) for name, array in arrays.items()}
    content = save(arrays, metadata)
    write_atomic(path, content)
    checksum = hashlib.sha256(content).hexdigest()
    write_atomic(_checksum_path(path), f"{checksum}  {path.name}\n".encode())
    _remove_others(folder, path)
    return path


def load_newest(folder: Path, run: str | None = None) -> Checkpoint | None:
    """The newest complete checkpoint; None if there never was one.

    Damaged checkpoints, those without a checksum and those of another run are logged and skipped.

    Args:
        run: the hash that identifies the run; None accepts a checkpoint of any run.

    Raises:
        InputError: there are checkpoints with a checksum, but none of them can be used.
    """
    for path in _files(folder):
        if not _checksum_path(path).exists():
            logger.warning("%s: ignored, it has no %s", path, _checksum_path(path).name)
    problems = []
    for path in reversed(_complete(folder)):
        try:
            return _read(path, run)
        except InputError as problem:
            logger.warning("%s; trying the previous one", problem)
            problems.append(str(problem).removeprefix(f"{folder}{os.sep}"))
    if problems:
        raise InputError(
            f"{folder}: no checkpoint can be used ({'; '.join(problems)}); without this folder "
            "the run starts over"
        )
    return None


def _read(path: Path, run: str | None) -> Checkpoint:
    """Read a checkpoint. Raises InputError unless it is, byte for byte, what this run wrote."""
    try:
        content = path.read_bytes()
        expected = _checksum_path(path).read_bytes().split()[:1]
    except OSError as problem:
        raise InputError(f"{path}: cannot be read ({problem.strerror})") from problem
    if [hashlib.sha256(content).hexdigest().encode()] != expected:
        raise InputError(f"{path}: damaged, its SHA-256 is not that of {_checksum_path(path).name}")
    try:
        arrays, texts = load(content), _texts(content)
        named = int(path.stem.removeprefix("step-"))
        step = int(texts.pop("step", named))
    except (SafetensorError, ValueError, TypeError, RecursionError) as problem:
        raise InputError(f"{path}: not a checkpoint ({problem})") from problem
    if run is not None and texts.get("run", run) != run:
        raise InputError(f"{path}: from another run, with other settings, data or initial weights")
    if "run" not in texts:
        logger.warning("%s: from an earlier version; its run and step cannot be checked", path)
    elif step != named:
        logger.warning("%s: renamed; it was written after step %d", path, step)
    return Checkpoint(step, arrays, texts)


def _texts(content: bytes) -> dict[str, Any]:
    """What a safetensors file's header holds beside the arrays."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    return dict(json.loads(header.get("__metadata__", {}).get(METADATA, "{}")))


def _files(folder: Path) -> list[Path]:
    """Checkpoints, oldest first."""
    return sorted(folder.glob("step-*.safetensors")) if folder.is_dir() else []


def _complete(folder: Path) -> list[Path]:
    """Checkpoints that have a checksum, oldest first."""
    return [file for file in _files(folder) if _checksum_path(file).exists()]


def _remove_others(folder: Path, newest: Path) -> None:
    """Remove all checkpoints but this and the one before it.

    That includes later ones, which were damaged, and what a crash left half written. The checksum
    goes first, so that no half counts.
    """
    kept = [file for file in _complete(folder) if file.name <= newest.name][-KEPT:]
    for file in _files(folder):
        if file not in kept:
            _checksum_path(file).unlink(missing_ok=True)
            file.unlink()
    for leftover in folder.glob("*.partial"):
        leftover.unlink()


def _checksum_path(path: Path) -> Path:
    return path.with_suffix(".sha256")
