"""Which kernels run: "reference" (NumPy), "cpu" (Numba) or "cuda".

The rule is one function. Device arrays go to `cuda`. Host arrays go to `cpu` where they are
float32, and to `reference` where they are float64: compiled kernels are float32 only, and float64
is for checking. With NUMBA_DISABLE_JIT set, `reference` serves both. `with use("reference"):`
overrides for host arrays; within `use("cuda")` each
operation carries them to the device and back, which is slow and for checking.

What has gradients stays where it is: an operation on Tensors of the host and of the device at once
is an error. Labels, indices, rois and targets are made on the host and cross over when used.
"""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import Any

import numpy as np

from .errors import InputError
from .gpu.array import GpuArray, to_device

BACKENDS = ("reference", "cpu", "cuda")
DEVICES = ("cpu", "cuda")
# What serves float32 arrays of the host: nothing compiled where Numba is told not to compile
HOST = "cpu" if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") else "reference"
_forced: ContextVar[str | None] = ContextVar("forced", default=None)
_modules: dict[tuple[str, str], Any] = {}


@contextmanager
def use(name: str) -> Iterator[None]:
    """Within this context every operation of this thread runs on the named backend ("reference",
    "cpu" or "cuda").

    Raises:
        ValueError: there is no such backend.
        InputError: "cpu" where the environment variable NUMBA_DISABLE_JIT is set.
    """
    if name not in BACKENDS:
        raise ValueError(f"no backend {name!r}: expected one of {', '.join(BACKENDS)}")
    if name == "cpu" != HOST:
        raise InputError('use("cpu"): NUMBA_DISABLE_JIT is set, so nothing can be compiled')
    before = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(before)


def kernels(package: str, array: Any) -> Any:
    """The implementation of an op for this array: a module, or what stands for one.

    Args:
        package: the op's package, as in `kernels(__package__, x)` from its op.py.
        array: the array whose place and dtype decide.

    Raises:
        InputError: the array is on the device and another backend is forced, or numba-cuda is
            missing.
    """
    forced = _forced.get()
    name = forced or HOST
    if isinstance(array, GpuArray):
        if forced not in (None, "cuda"):
            raise InputError(f'{array!r} is on the device, but use("{forced}") is in force')
        return _implementation(package, "cuda")
    if isinstance(array, np.ndarray | np.generic) and array.dtype == np.float64:
        name = "reference"
    return _on_host_arrays(package) if name == "cuda" else _implementation(package, name)


def device_of(array: Any) -> str:
    """ "cuda" or "cpu"."""
    return "cuda" if isinstance(array, GpuArray) else "cpu"


def is_contiguous(array: Any) -> bool:
    """Whether an array lies in memory in C order; on the device all do."""
    return isinstance(array, GpuArray) or array.flags.c_contiguous


def constant(value: Any, beside: Any) -> Any:
    """A constant (host array or number) in the dtype of an array and where it is."""
    if isinstance(value, GpuArray):
        return value
    array = np.asarray(value, beside.dtype)
    return to_device(array) if isinstance(beside, GpuArray) else array


def check_device(device: str) -> str:
    """The device's name, if it is one of this machine.

    Raises:
        InputError: there is no such device, numba-cuda is missing, or there is no GPU.
    """
    if device not in DEVICES:
        raise InputError(f"device {device!r}: expected one of {', '.join(DEVICES)}")
    if device == "cuda":
        from .gpu.device import current

        current()
    return device


def _implementation(package: str, name: str) -> ModuleType:
    key = (package, name)
    if key not in _modules:
        _modules[key] = importlib.import_module(f"{package}.{name}")
    return _modules[key]


def _on_host_arrays(package: str) -> Any:
    from .gpu.on_host_arrays import OnHostArrays

    key = (package, "on host arrays")
    if key not in _modules:
        _modules[key] = OnHostArrays(_implementation(package, "cuda"))
    return _modules[key]
