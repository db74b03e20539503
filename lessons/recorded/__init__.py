"""Runs that take too long for a lesson: their results, in NAME.npz, and their programs.

`python -m lessons.recorded.NAME` makes NAME.npz again; NAME.py says what is in it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from tinymaskrcnn.errors import InputError

FOLDER = Path(__file__).resolve().parent


def recording(name: str) -> dict[str, np.ndarray]:
    """The arrays of NAME.npz, by name.

    Raises:
        InputError: there is no such recording.
    """
    path = FOLDER / f"{name}.npz"
    if not path.is_file():
        raise InputError(f"{path}: no such file; `python -m lessons.recorded.{name}` makes it")
    with np.load(path) as arrays:
        return {key: arrays[key] for key in arrays.files}


def write_recording(name: str, arrays: dict[str, np.ndarray]) -> Path:
    """Write NAME.npz; returns its path."""
    path = FOLDER / f"{name}.npz"
    np.savez_compressed(path, **arrays)  # type: ignore[arg-type]
    return path
