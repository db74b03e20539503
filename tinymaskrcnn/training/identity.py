"""What identifies a run: hashes of its data, of its initial weights, and of its settings.

Not here: where they are stored and compared (run_folder.py, checkpoint.py).
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .. import __version__
from ..datasets import CocoDataset, ToyShapes
from ..files import naming
from ..nn import Module
from .recipes import Recipe, as_json

WHOLE = 1 << 30  # bytes: a data set no larger than this is hashed completely
SHAPES = ("count", "size", "seed", "classes", "min_objects", "max_objects", "split")
PIECE, PIECES = 1 << 12, 4  # per file of a larger set


def known_by(
    recipe: Recipe,
    model: Module,
    classes: Sequence[str],
    dataset: Any,
    val_dataset: Any | None,
    ranks: int,
) -> dict[str, Any]:
    """What settings.json records about a run before its first step."""
    return {
        "recipe": as_json(recipe),
        "model": getattr(model, "config", type(model).__name__),
        "classes": classes,
        "images": len(dataset),
        "data": fingerprint(dataset),
        "val_data": None if val_dataset is None else fingerprint(val_dataset),
        "start": hash_of_arrays(model.state_dict()),
        "ranks": ranks,
        "version": __version__,
    }


def fingerprint(dataset: Any) -> dict[str, str] | None:
    """Hashes of a data set, by what they cover. Equal data give equal hashes, wherever the files
    lie and whenever they were written.

    A `CocoDataset`: the annotation file and the contents of all images. Any change is found as long
    as the images have less than 1 GiB together. Reading a larger set would take too long: there
    each file's size and 16 KiB of it count, from its start, two places within and its end. A change
    that keeps the file's size can then be missed, though not in a PNG, which ends with a checksum
    of all pixels.

    `ToyShapes`: the settings. Any other data set: what its own method `fingerprint()` returns; None
    if it has no such method.
    """
    if isinstance(dataset, CocoDataset):
        images = {"images": _hash_of_files(dataset.files)}
        if dataset.path.is_file():  # a pipe can be read only once
            images["annotations"] = hash_of_file(dataset.path)
        return images
    if isinstance(dataset, ToyShapes):
        return {"settings": hash_of([getattr(dataset, name) for name in SHAPES])}
    own = getattr(dataset, "fingerprint", None)
    return None if own is None else {"fingerprint": hash_of(own())}


def hash_of(content: Any) -> str:
    """SHA-256 of anything that JSON can hold."""
    text = json.dumps(content, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


def hash_of_arrays(arrays: Mapping[str, np.ndarray]) -> str:
    """SHA-256 of names, types, shapes and values."""
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def hash_of_file(path: Path) -> str:
    """SHA-256 of a file, as `sha256sum` gives it. Raises OSError."""
    with naming(path), open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_of_files(paths: Iterable[Path]) -> str:
    """SHA-256 of the files' contents in order, or of samples of them (see `fingerprint`)."""
    paths = list(paths)
    whole = sum(os.path.getsize(path) for path in paths) <= WHOLE
    digest = hashlib.sha256()
    for path in paths:
        with naming(path), open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            digest.update(f"{size} ".encode())
            if whole or size <= PIECE * PIECES:
                digest.update(file.read())
                continue
            for place in np.linspace(0, size - PIECE, PIECES).astype(int).tolist():
                file.seek(place)
                digest.update(file.read(PIECE))
    return digest.hexdigest()
