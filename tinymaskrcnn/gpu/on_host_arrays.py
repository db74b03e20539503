"""An op's CUDA functions for host arrays: copy the arguments to the device, and the results back.

`use("cuda")` does this for host arrays. It is slow, but one test body can then compare a kernel
with the other backends.
"""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np

from .array import GpuArray, to_device


class OnHostArrays:
    """The functions of a cuda.py, taking and returning host arrays. A function that changes or
    returns one of its arguments does the same with the host's array.
    """

    def __init__(self, module: ModuleType) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._module, name)

        def call(*arguments: Any) -> Any:
            passed = [_over(argument) for argument in arguments]
            result = function(*passed)
            for host, there in zip(arguments, passed, strict=True):
                if isinstance(host, np.ndarray) and host.dtype == np.float32:
                    _write_back(host, there)
                    if result is there:
                        return host
            return _back(result)

        return call


def _over(value: Any) -> Any:
    if isinstance(value, np.ndarray) and value.dtype == np.float32:
        return to_device(value)
    return _each(_over, value) if isinstance(value, tuple | list) else value


def _back(value: Any) -> Any:
    if isinstance(value, GpuArray):
        return value.numpy()
    return _each(_back, value) if isinstance(value, tuple | list) else value


def _each(change: Callable[[Any], Any], parts: Any) -> Any:
    """A list, tuple or named tuple of the changed parts."""
    changed = map(change, parts)
    return type(parts)(*changed) if hasattr(parts, "_fields") else type(parts)(changed)


def _write_back(host: np.ndarray, there: GpuArray) -> None:
    after = there.numpy()
    if host.flags.writeable and not np.array_equal(host, after, equal_nan=True):
        host[...] = after
