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
from typing import Any

import numpy as np

from .errors import InputError
from .gpu.array import GpuArray, to_device
from .gpu.on_host_arrays import OnHostArrays

BACKENDS = ("reference", "cpu", "cuda")
DEVICES = ("cpu", "cuda")
# What serves float32 arrays of the host: nothing compiled where Numba is told not to compile
HOST = "cpu" if os.environ.get("NUMBA_DISABLE_JIT", "0") in ("", "0") else "reference"
_forced: ContextVar[str | None] = ContextVar("forced", default=None)


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


class Kernels:
    """The kernels of one op: its modules reference.py, cpu.py and cuda.py, which have the same
    functions. Each op's package has one of these, called `kernels`: `kernels(x).relu(x)` runs the
    function that suits the array x.

    Args:
        package: the op's package, where the modules are; a module is imported on first use.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._modules: dict[str, Any] = {}

    def __call__(self, array: Any) -> Any:
        """The module for this array, by its device and dtype.

        Raises:
            InputError: the array is on the device and another backend is forced, or numba-cuda is
                missing.
        """
        forced = _forced.get()
        if isinstance(array, GpuArray):
            if forced not in (None, "cuda"):
                raise InputError(f'{array!r} is on the device, but use("{forced}") is in force')
            return self._module("cuda")
        if isinstance(array, np.ndarray | np.generic) and array.dtype == np.float64:
            return self._module("reference")
        return self._on_host_arrays() if forced == "cuda" else self._module(forced or HOST)

    def _module(self, name: str) -> Any:
        if name not in self._modules:
            self._modules[name] = importlib.import_module(f"{self._package}.{name}")
        return self._modules[name]

    def _on_host_arrays(self) -> Any:
        if "on host arrays" not in self._modules:
            self._modules["on host arrays"] = OnHostArrays(self._module("cuda"))
        return self._modules["on host arrays"]


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
