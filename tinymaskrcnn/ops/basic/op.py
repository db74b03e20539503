"""The basic differentiable operations, of which Tensor's operators are made.

Operands broadcast as in NumPy. Numbers and plain arrays are constants and take the Tensor's dtype.

They stand below Tensor in the order of imports, so their types say Value: a Tensor without
operators. What they return is a Tensor.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np

from ...autograd import Function, Value
from ...backend import constant
from . import kernels

V = TypeVar("V", bound=Value)


def add(a: Any, b: Any) -> Any:
    """a + b."""
    return Add()(*_operands(a, b))


def subtract(a: Any, b: Any) -> Any:
    """a - b."""
    return Subtract()(*_operands(a, b))


def multiply(a: Any, b: Any) -> Any:
    """a * b."""
    return Multiply()(*_operands(a, b))


def divide(a: Any, b: Any) -> Any:
    """a / b."""
    return Divide()(*_operands(a, b))


def power(a: V, exponent: float) -> V:
    """a to the power of a Python number.

    Raises:
        TypeError: the exponent is not a number.
    """
    if not isinstance(exponent, (int, float)):
        raise TypeError(f"power: the exponent must be a number, got {type(exponent).__name__}")
    return Power(exponent)(a)


def exp(a: V) -> V:
    """e to the power a."""
    return Exp()(a)


def log(a: V) -> V:
    """The natural logarithm."""
    return Log()(a)


def matmul(a: Any, b: Any) -> Any:
    """Matrix product of arrays with at least two axes; leading axes broadcast.

    Raises:
        ValueError: an operand has fewer axes, or the inner sizes differ.
    """
    a, b = _operands(a, b)
    for name, x in (("left", a), ("right", b)):
        if len(x.shape) < 2:
            raise ValueError(
                f"matmul: the {name} operand needs at least two axes, got shape {x.shape}"
            )
    if a.shape[-1] != b.shape[-2]:
        raise ValueError(f"matmul: inner sizes differ: {a.shape} @ {b.shape}")
    return MatMul()(a, b)


def sum(a: V, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> V:
    """Sum over one axis, several, or all."""
    return Sum(axis, keepdims)(a)


def mean(a: V, axis: int | tuple[int, ...] | None = None, keepdims: bool = False) -> V:
    """Mean over one axis, several, or all.

    Raises:
        ValueError: a is empty.
    """
    total = sum(a, axis, keepdims)
    if a.size == 0:
        raise ValueError(f"mean of an empty Tensor of shape {a.shape}")
    return multiply(total, total.size / a.size)


def max(a: V, axis: int | None = None, keepdims: bool = False) -> V:
    """Maximum along one axis, or of all elements. The first of equal maxima gets the gradient."""
    if axis is None:
        flat = Max(0)(reshape(a, (-1,)))
        return reshape(flat, (1,) * a.ndim if keepdims else ())
    kept = Max(axis % a.ndim)(a)
    if keepdims:
        return kept
    return reshape(kept, tuple(n for i, n in enumerate(a.shape) if i != axis % a.ndim))


def index(a: V, where: Any) -> V:
    """a[where] with anything that indexes a NumPy array: slices, integers, arrays, masks."""
    return Index(where)(a)


def reshape(a: V, shape: Sequence[int]) -> V:
    """The same elements in another shape; one size may be -1."""
    return Reshape(tuple(shape))(a)


def transpose(a: V, axes: Sequence[int] | None = None) -> V:
    """The axes in another order, by default reversed. On the host the result is a view."""
    return Transpose(tuple(range(a.ndim))[::-1] if axes is None else tuple(axes))(a)


def put_rows(parts: Sequence[V], places: Sequence[np.ndarray]) -> V:
    """Put the rows of several Tensors into one: row i of a part becomes row place[i] of the result.

    Args:
        parts: Tensors (n, ...); only n may differ.
        places: for each part its place, (n,) integers; together they name each row of the result
            once.
    """
    return PutRows(places)(*parts)


def concat(tensors: Sequence[V], axis: int = 0) -> V:
    """Join Tensors along an axis; their other sizes are equal.

    Raises:
        ValueError: there are none.
    """
    if not tensors:
        raise ValueError("concat: expected at least one Tensor")
    return Concat(axis)(*tensors)


class Add(Function):
    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.shapes = a.shape, b.shape
        return kernels(a).add(a, b)

    def backward(self, grad: np.ndarray) -> Any:
        return tuple(
            _unbroadcast(grad, s) if need else None
            for s, need in zip(self.shapes, self.needs, strict=True)
        )


class Subtract(Function):
    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.shapes = a.shape, b.shape
        return kernels(a).subtract(a, b)

    def backward(self, grad: np.ndarray) -> Any:
        k = kernels(grad)
        return (
            _unbroadcast(grad, self.shapes[0]) if self.needs[0] else None,
            k.negative(_unbroadcast(grad, self.shapes[1])) if self.needs[1] else None,
        )


class Multiply(Function):
    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.save(a, b)
        return kernels(a).multiply(a, b)

    def backward(self, grad: np.ndarray) -> Any:
        a, b = self.saved
        k = kernels(grad)
        return (
            _unbroadcast(k.multiply(grad, b), a.shape) if self.needs[0] else None,
            _unbroadcast(k.multiply(grad, a), b.shape) if self.needs[1] else None,
        )


class Divide(Function):
    """d(a/b) = da/b - (a/b) db/b."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        quotient = kernels(a).divide(a, b)
        self.shapes = a.shape, b.shape
        self.save(b, quotient)
        return quotient

    def backward(self, grad: np.ndarray) -> Any:
        b, quotient = self.saved
        k = kernels(grad)
        da = k.divide(grad, b)
        db = _unbroadcast(k.multiply(da, quotient), self.shapes[1]) if self.needs[1] else None
        return (
            _unbroadcast(da, self.shapes[0]) if self.needs[0] else None,
            None if db is None else k.negative(db),
        )


class Power(Function):
    def __init__(self, exponent: float) -> None:
        self.exponent = exponent

    def forward(self, a: np.ndarray) -> np.ndarray:
        self.save(a)
        return kernels(a).power(a, self.exponent)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (a,) = self.saved
        k = kernels(grad)
        slope = k.multiply(k.power(a, self.exponent - 1), constant(self.exponent, a))
        return k.multiply(grad, slope)


class Exp(Function):
    def forward(self, a: np.ndarray) -> np.ndarray:
        y = kernels(a).exp(a)
        self.save(y)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (y,) = self.saved
        return kernels(grad).multiply(grad, y)


class Log(Function):
    def forward(self, a: np.ndarray) -> np.ndarray:
        self.save(a)
        return kernels(a).log(a)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (a,) = self.saved
        return kernels(grad).divide(grad, a)


class MatMul(Function):
    """dA = dC B^T, dB = A^T dC."""

    def forward(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        self.save(a, b)
        return kernels(a).matmul(a, b)

    def backward(self, grad: np.ndarray) -> Any:
        a, b = self.saved
        k = kernels(grad)
        return (
            _unbroadcast(k.matmul(grad, _turned(k, b)), a.shape) if self.needs[0] else None,
            _unbroadcast(k.matmul(_turned(k, a), grad), b.shape) if self.needs[1] else None,
        )


class Sum(Function):
    def __init__(self, axis: int | tuple[int, ...] | None, keepdims: bool) -> None:
        self.axis, self.keepdims = axis, keepdims

    def forward(self, a: np.ndarray) -> np.ndarray:
        self.shape = a.shape
        return kernels(a).sum(a, self.axis, self.keepdims)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        summed = range(len(self.shape)) if self.axis is None else np.atleast_1d(self.axis)
        kept = list(self.shape)
        for axis in summed:
            kept[axis] = 1
        return kernels(grad).broadcast_to(grad.reshape(tuple(kept)), self.shape)


class Max(Function):
    """Along one axis, which keeps length 1."""

    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, a: np.ndarray) -> np.ndarray:
        self.shape = a.shape
        y, where = kernels(a).max_with_index(a, self.axis)
        self.save(where)
        return y

    def backward(self, grad: np.ndarray) -> np.ndarray:
        (where,) = self.saved
        return kernels(grad).max_grad(grad, where, self.shape, self.axis)


class Index(Function):
    def __init__(self, where: Any) -> None:
        self.where = where

    def forward(self, a: np.ndarray) -> np.ndarray:
        self.shape = a.shape
        return kernels(a).index(a, self.where)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return kernels(grad).index_grad(grad, self.where, self.shape)


class Reshape(Function):
    def __init__(self, shape: tuple[int, ...]) -> None:
        self.target = shape

    def forward(self, a: np.ndarray) -> np.ndarray:
        self.shape = a.shape
        return a.reshape(self.target)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        return grad.reshape(self.shape)


class Transpose(Function):
    def __init__(self, axes: tuple[int, ...]) -> None:
        self.axes = axes

    def forward(self, a: np.ndarray) -> np.ndarray:
        return kernels(a).transpose(a, self.axes)

    def backward(self, grad: np.ndarray) -> np.ndarray:
        back = tuple(int(i) for i in np.argsort(self.axes))
        return kernels(grad).transpose(grad, back)


class Concat(Function):
    def __init__(self, axis: int) -> None:
        self.axis = axis

    def forward(self, *arrays: np.ndarray) -> np.ndarray:
        self.ends = np.cumsum([a.shape[self.axis] for a in arrays])[:-1]
        return kernels(arrays[0]).concat(arrays, self.axis)

    def backward(self, grad: np.ndarray) -> Any:
        return tuple(kernels(grad).split(grad, self.ends, self.axis))


class PutRows(Function):
    def __init__(self, places: Sequence[np.ndarray]) -> None:
        self.places = places

    def forward(self, *parts: np.ndarray) -> np.ndarray:
        return kernels(parts[0]).put_rows(parts, self.places)

    def backward(self, grad: np.ndarray) -> tuple[np.ndarray, ...]:
        k = kernels(grad)
        return tuple(k.index(grad, place) for place in self.places)


def _operands(a: Any, b: Any) -> tuple[Any, Any]:
    """Both operands, a constant among them in the Tensor's dtype and on its device.

    Raises:
        TypeError: two Tensors of different dtypes, or none.
    """
    if isinstance(a, Value) and isinstance(b, Value):
        if a.dtype != b.dtype:
            raise TypeError(f"operands of different dtypes: {a.dtype} and {b.dtype}")
        return a, b
    if isinstance(a, Value):
        return a, constant(b, a.data)
    if isinstance(b, Value):
        return constant(a, b.data), b
    raise TypeError(f"expected at least one Tensor, got {type(a).__name__} and {type(b).__name__}")


def _turned(k: Any, a: np.ndarray) -> np.ndarray:
    """a with its last two axes exchanged."""
    *leading, rows, columns = range(a.ndim)
    return k.transpose(a, (*leading, columns, rows))


def _unbroadcast(grad: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Sum a gradient over the axes along which an operand of this shape was repeated."""
    if grad.shape == shape:
        return grad
    k = kernels(grad)
    if grad.ndim > len(shape):
        grad = k.sum(grad, tuple(range(grad.ndim - len(shape))), False)
    repeated = tuple(i for i, n in enumerate(shape) if n == 1 and grad.shape[i] != 1)
    return k.sum(grad, repeated, True) if repeated else grad
