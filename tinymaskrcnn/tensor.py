"""Tensor: an array that remembers how it was computed, with the usual operators.

A Tensor wraps a NumPy array of float32 or float64, or an array on the device (gpu/array.py).
Labels, indices and masks, which have other dtypes, stay plain arrays. Numbers in expressions take
the Tensor's dtype.

Not here: the graph and the walk through it (autograd.py), and what the operators do
(ops/basic/op.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from . import autograd
from .autograd import Function, Value
from .backend import check_device, constant, device_of
from .gpu.array import GpuArray, to_device, to_host
from .ops.basic import op as basic


class Tensor(Value):
    """An n-dimensional float array with an optional gradient.

    Args:
        data: anything np.asarray takes; data that is not float32 or float64 becomes float32.
        requires_grad: whether backward shall leave d(output)/d(self) in `.grad`.

    Attributes:
        data: the array.
        grad: an array of the same shape, or None.
        requires_grad: as given; for the result of an operation, whether an input requires one.
    """

    __array_priority__ = 1000  # numpy_array * tensor calls Tensor.__rmul__
    __slots__ = ()

    def __init__(self, data: Any, requires_grad: bool = False) -> None:
        if isinstance(data, Tensor):
            data = data.data
        array: Any = data if isinstance(data, GpuArray) else np.asarray(data)
        if array.dtype not in (np.float32, np.float64):
            array = array.astype(np.float32)
        super().__init__(array, requires_grad)

    def __len__(self) -> int:
        return len(self.data)

    def __repr__(self) -> str:
        suffix = ", requires_grad=True" if self.requires_grad else ""
        values = np.array2string(to_host(self.data), threshold=20, precision=4)
        return f"Tensor({values}, shape={self.shape}{suffix})"

    def numpy(self) -> np.ndarray:
        """The array itself, not a copy; for a Tensor on the device, a copy on the host."""
        return to_host(self.data)

    @property
    def device(self) -> str:
        """ "cpu" or "cuda"."""
        return device_of(self.data)

    def to(self, device: str) -> Tensor:
        """The same values on another device, detached from the graph; itself if already there.

        Args:
            device: "cpu" or "cuda".

        Raises:
            InputError: this machine has no such device.
        """
        if device == self.device:
            return self
        on_device = check_device(device) == "cuda"
        return Tensor(to_device(self.data, np.float32) if on_device else to_host(self.data))

    def item(self) -> float:
        """The only element, as a Python float.

        Raises:
            ValueError: there is not exactly one.
        """
        if self.data.size != 1:
            raise ValueError(
                f"item() needs exactly one element, this Tensor has shape {self.shape}"
            )
        return float(to_host(self.data).reshape(()))

    def __float__(self) -> float:
        return self.item()

    def detach(self) -> Tensor:
        """The same array, detached from the graph."""
        return Tensor(self.data)

    def backward(self, grad: Any = None, on_leaf: Callable[[Tensor], None] | None = None) -> None:
        """Add the gradient of this Tensor to `.grad` of every leaf that requires one (Paszke et al.
        2017, section 3).

        Args:
            grad: the gradient of what was computed from this Tensor, of its shape; by default 1,
                for a Tensor of one element.
            on_leaf: called with each leaf as soon as its gradient is complete.

        Raises:
            RuntimeError: nothing here requires a gradient, or an earlier backward has freed a part
                of the graph.
            ValueError: grad is missing or has another shape.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward() on a Tensor that does not require a gradient: no input requires one"
            )
        if grad is None:
            if self.data.size != 1:
                raise ValueError(
                    f"backward() without a gradient needs one element, not shape {self.shape}"
                )
            grad = np.ones(self.shape)
        grad = constant(grad.data if isinstance(grad, Tensor) else grad, self.data)
        if grad.shape != self.shape:
            raise ValueError(
                f"backward() got a gradient of shape {grad.shape}, expected {self.shape}"
            )
        autograd.backward(self, grad, on_leaf)

    def __add__(self, other: Any) -> Tensor:
        return basic.add(self, other)

    def __mul__(self, other: Any) -> Tensor:
        return basic.multiply(self, other)

    def __sub__(self, other: Any) -> Tensor:
        return basic.subtract(self, other)

    def __truediv__(self, other: Any) -> Tensor:
        return basic.divide(self, other)

    def __rsub__(self, other: Any) -> Tensor:
        return basic.subtract(other, self)

    def __rtruediv__(self, other: Any) -> Tensor:
        return basic.divide(other, self)

    def __matmul__(self, other: Any) -> Tensor:
        return basic.matmul(self, other)

    def __rmatmul__(self, other: Any) -> Tensor:
        return basic.matmul(other, self)

    __radd__ = __add__
    __rmul__ = __mul__

    def __neg__(self) -> Tensor:
        return basic.multiply(self, -1.0)

    def __pow__(self, exponent: float) -> Tensor:
        return basic.power(self, exponent)

    def __getitem__(self, index: Any) -> Tensor:
        return basic.index(self, index)

    def exp(self) -> Tensor:
        return basic.exp(self)

    def log(self) -> Tensor:
        return basic.log(self)

    def sqrt(self) -> Tensor:
        return basic.power(self, 0.5)

    def sum(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return basic.sum(self, axis, keepdims)

    def mean(self, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> Tensor:
        return basic.mean(self, axis, keepdims)

    def max(self, axis: int | None = None, keepdims: bool = False) -> Tensor:
        return basic.max(self, axis, keepdims)

    def reshape(self, *shape: Any) -> Tensor:
        return basic.reshape(
            self, shape[0] if len(shape) == 1 and isinstance(shape[0], Sequence) else shape
        )

    def transpose(self, *axes: int) -> Tensor:
        return basic.transpose(self, axes or None)

    @property
    def T(self) -> Tensor:
        return self.transpose()


Function.output_type = Tensor  # operations return Tensors, whose operators are operations
