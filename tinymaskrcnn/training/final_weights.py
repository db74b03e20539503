"""model.safetensors: written at the end of a run, and checked when a finished run is read back."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..models.pretrained import FINAL
from ..weights import WeightsError, load_weights, save_weights
from .identity import hash_of_file

logger = logging.getLogger(__name__)


def write_weights(path: Path, model: Any, classes: Sequence[str], dtype: str = "float32") -> None:
    """Write the model's present weights, with metadata that describes them. Raises OSError."""
    metadata = {"config": json.dumps(model.config), "classes": json.dumps(classes)}
    try:
        with np.errstate(over="ignore"):  # float16 has no large numbers
            state = {
                name: array.astype(dtype, copy=False) if array.dtype == np.float32 else array
                for name, array in model.state_dict().items()
            }
        save_weights(path, state, metadata)
    except WeightsError as problem:  # not the user's input: the disk is full, or the like
        raise OSError(str(problem)) from problem


def check_weights(
    folder: Path, result: Mapping[str, Any], write_anew: Callable[[Path], bool]
) -> None:
    """Check that the weights of a finished run are there, byte for byte.

    If they are not, but the last checkpoint gives the same bytes, they are restored; another file
    in their place is kept beside them.

    Args:
        folder: of the run.
        result: of the run.
        write_anew: writes a file with the weights from the last checkpoint; returns False if there
            is no such checkpoint.

    Raises:
        InputError: they are not there, and the checkpoint does not give them.
    """
    path, anew = folder / FINAL, folder / f"{FINAL}.partial"
    expected = result.get("weights_sha256")  # an earlier version stored none
    found = hash_of_file(path) if path.is_file() else None
    if found is not None and found == expected:
        return
    state = "missing" if found is None else "changed since it was written"
    made = hash_of_file(anew) if write_anew(anew) else None
    if made is not None and made in (expected or made, found):
        _put_back(path, anew, found, made, state)
    elif expected is None and found is not None:
        load_weights(path)
        logger.warning("%s: no checkpoint is left to check it with", path)
    else:
        anew.unlink(missing_ok=True)
        raise InputError(
            f"{path}: {state}, and the last checkpoint does not give the same bytes; put back a "
            "copy of it, or train in another folder"
        )


def _put_back(path: Path, anew: Path, found: str | None, made: str, state: str) -> None:
    """Move `anew` into the file's place, unless the two are equal."""
    if found == made:
        anew.unlink()
        return
    if found is not None:
        path.replace(kept := path.with_name(f"{path.name}.{found[:8]}"))
        state += f" (kept as {kept.name})"
    anew.replace(path)
    logger.warning("%s: %s, restored from the last checkpoint", path, state)
