"""How every CPU kernel is compiled: one decorator, one cache folder, one threading layer.

Compiled code is kept in $TINYMASKRCNN_CACHE, else $NUMBA_CACHE_DIR, else ~/.cache/tinymaskrcnn, in
a folder named after the emitted primitives' sources: Numba recompiles a kernel when its own file
changes, not when a file it calls into does.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

_FAST_MATH = {
    "contract",
    "reassoc",
    "arcp",
    "nsz",
}  # without nnan and ninf: NaN and infinity must stay visible


def _cache_folder() -> Path:
    given = os.environ.get("TINYMASKRCNN_CACHE") or os.environ.get("NUMBA_CACHE_DIR")
    base = (
        Path(given)
        if given
        else Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinymaskrcnn"
    )
    shared = sorted((Path(__file__).parent / "ops").glob("simd*.py"))
    digest = hashlib.sha256(b"".join(file.read_bytes() for file in shared)).hexdigest()[:12]
    return base if base.name == digest else base / digest


CACHE_FOLDER = _cache_folder()
os.environ["NUMBA_CACHE_DIR"] = str(
    CACHE_FOLDER
)  # read by Numba when it is imported, hence before the next line

# Idle threads sleep instead of spinning: a region then costs a few microseconds more, and where
# another process has one of the cores, a step takes a tenth of the time (measured: 0.5 s, not 6 s).
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numba  # noqa: E402

numba.config.CACHE_DIR = str(CACHE_FOLDER)
numba.config.THREADING_LAYER_PRIORITY = [
    "omp",
    "tbb",
    "workqueue",
]  # a region costs 3 us with omp, 65 with workqueue

_OPTIONS: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "boundscheck": False,
    "error_model": "numpy",
    "fastmath": _FAST_MATH,
}


def kernel(function: Callable) -> Any:
    """Compile for all threads: loops over `prange` are split among them."""
    return numba.njit(parallel=True, **_OPTIONS)(function)


def serial(function: Callable) -> Any:
    """Compile for one thread: for small work, and for helpers called inside a kernel."""
    return numba.njit(**_OPTIONS)(function)


def set_threads(count: int) -> None:
    """Use this many threads. Raises ValueError below one or above what the machine has."""
    if not 1 <= count <= numba.config.NUMBA_NUM_THREADS:
        raise ValueError(f"threads: expected 1 to {numba.config.NUMBA_NUM_THREADS}, got {count}")
    numba.set_num_threads(count)


def cache_is_cold() -> bool:
    """Whether nothing has been compiled yet on this machine for this version."""
    return not CACHE_FOLDER.exists() or not any(CACHE_FOLDER.rglob("*.nbc"))
