"""Choose the kernels that run: "reference" (NumPy), "cpu" (Numba) or "cuda".

Arrays on the device go to `cuda`, float32 arrays on the host to `cpu`, and float64 arrays to
`reference`: compiled kernels are float32 only, and float64 is for checking. Without Numba, or with
NUMBA_DISABLE_JIT set, `reference` serves both. `with use("reference"):` overrides this for host
arrays. Within `use("cuda")` each operation copies them to the device and back, which is slow and
for checking.

Nothing with a gradient moves by itself: an operation on Tensors of both host and device is an
error. Labels, indices, rois and targets are made on the host and copied to the device when used.
"""

from __future__ import annotations

import importlib
import importlib.util
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import numpy as np

from .errors import InputError
from .gpu.array import GpuArray, to_device
from .gpu.device import current
from .gpu.on_host_arrays import OnHostArrays

BACKENDS = ("reference", "cpu", "cuda")
DEVICES = ("cpu", "cuda")
# Why nothing can be compiled; "" if it can
NOT_COMPILED = ""
if importlib.util.find_spec("numba") is None:
    NOT_COMPILED = "Numba is not installed"
elif os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
    NOT_COMPILED = "NUMBA_DISABLE_JIT is set"
HOST = "reference" if NOT_COMPILED else "cpu"  # the backend of float32 arrays on the host
if NOT_COMPILED:
    logging.getLogger(__name__).warning("%s: NumPy does all the work, slowly", NOT_COMPILED)
_forced: ContextVar[str | None] = ContextVar("forced", default=None)


@contextmanager
def use(name: str) -> Iterator[None]:
    """Within this context this thread runs every operation on one backend.

    Args:
        name: "reference", "cpu" or "cuda".

    Raises:
        ValueError: there is no such backend.
        InputError: it is "cpu", and nothing can be compiled.
    """
    if name not in BACKENDS:
        raise ValueError(f"no backend {name!r}: expected one of {', '.join(BACKENDS)}")
    if name == "cpu" != HOST:
        raise InputError(f'use("cpu"): {NOT_COMPILED}, so nothing can be compiled')
    before = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(before)


class Kernels:
    """The kernels of one op: its modules reference, cpu and cuda, which have the same
    functions. Each op's package has one of these, called `kernels`; `kernels(x).relu(x)` runs the
    function for the array x.

    Args:
        package: the op's package. Its modules are imported on first use: cpu loads Numba.
    """

    def __init__(self, package: str) -> None:
        self._package = package
        self._modules: dict[str, Any] = {}

    def __call__(self, array: Any) -> Any:
        """Choose the module by the device and dtype of an array.

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
    """Whether an array is in C order in memory; device arrays always are."""
    return isinstance(array, GpuArray) or array.flags.c_contiguous


def constant(value: Any, beside: Any) -> Any:
    """A constant (host array or number) with the dtype and on the device of another array."""
    if isinstance(value, GpuArray):
        return value
    array = np.asarray(value, beside.dtype)
    return to_device(array) if isinstance(beside, GpuArray) else array


def check_device(device: str) -> str:
    """The device's name, if this machine has it.

    Raises:
        InputError: there is no such device, numba-cuda is missing, or there is no GPU.
    """
    if device not in DEVICES:
        raise InputError(f"device {device!r}: expected one of {', '.join(DEVICES)}")
    if device == "cuda":
        current()
    return device
