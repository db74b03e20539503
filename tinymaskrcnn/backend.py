"""Which kernels run: "reference" (NumPy), "cpu" (Numba) or "cuda".

The rule is one function. Host arrays go to `cpu` where they are float32, and to `reference` where
they are float64: compiled kernels are float32 only, and float64 is for checking. `with
use("reference"):` overrides.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any

import numpy as np

BACKENDS = ("reference", "cpu")
_forced: str | None = None
_modules: dict[tuple[str, str], ModuleType] = {}


@contextmanager
def use(name: str) -> Iterator[None]:
    """Within this context every operation runs on the named backend ("reference" or "cpu").

    Raises:
        ValueError: there is no such backend.
    """
    global _forced
    if name not in BACKENDS:
        raise ValueError(f"no backend {name!r}: expected one of {', '.join(BACKENDS)}")
    before, _forced = _forced, name
    try:
        yield
    finally:
        _forced = before


def kernels(package: str, array: Any) -> ModuleType:
    """The implementation module of an op for this array.

    Args:
        package: the op's package, as in `kernels(__package__, x)` from its op.py.
        array: the array whose dtype decides.
    """
    name = _forced or "cpu"
    if isinstance(array, np.ndarray | np.generic) and array.dtype == np.float64:
        name = "reference"
    key = (package, name)
    if key not in _modules:
        _modules[key] = importlib.import_module(f"{package}.{name}")
    return _modules[key]
