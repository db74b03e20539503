"""The basic operations on the GPU: elementwise arithmetic, copies in another order, gathers.

Memory bounds elementwise kernels: a GPU multiplies dozens of values in the time of one read. So a
few kernels with a switch inside are as fast as one kernel per operation. Operations that only move
values are in cuda_moves.py.
"""

import itertools
from collections.abc import Sequence
from math import prod
from typing import Any

import numpy as np
from numba import float32, int32, uint32

from ...gpu.array import GpuArray, empty, to_device
from ...gpu.launch import F1, F2, F3, I2, F, I, blocks, cuda, kernel, tuple_of
from ...gpu.scalars import divided
from ...gpu.scalars import exp as exponential
from ...gpu.scalars import log as logarithm
from ...gpu.scalars import power as power_of
from .. import cuda_gemm
from ..cuda_sums import sum_middle
from .cuda_moves import (
    AXES,
    arrange,
    give_back_rows,
    merged,
    put_columns,
    repeating_steps,
    steps_of,
    take_rows,
)

ADD, SUBTRACT, MULTIPLY, DIVIDE = range(4)
NEGATIVE, POWER, EXP, LOG = range(4)


def add(a: GpuArray, b: GpuArray) -> GpuArray:
    return _binary(ADD, a, b)


def subtract(a: GpuArray, b: GpuArray) -> GpuArray:
    return _binary(SUBTRACT, a, b)


def multiply(a: GpuArray, b: GpuArray) -> GpuArray:
    return _binary(MULTIPLY, a, b)


def divide(a: GpuArray, b: GpuArray) -> GpuArray:
    return _binary(DIVIDE, a, b)


def negative(a: GpuArray) -> GpuArray:
    return _unary(NEGATIVE, a, 0.0)


def power(a: GpuArray, exponent: float) -> GpuArray:
    return _unary(POWER, a, exponent)


def exp(a: GpuArray) -> GpuArray:
    return _unary(EXP, a, 0.0)


def log(a: GpuArray) -> GpuArray:
    return _unary(LOG, a, 0.0)


def accumulate(total: GpuArray, a: GpuArray) -> GpuArray:
    _accumulate[blocks(total.size)](total.flat, a.flat)
    return total


def copy(a: GpuArray) -> GpuArray:
    return arrange(a, a.shape, steps_of(a.shape), 0)


def matmul(a: GpuArray, b: GpuArray) -> GpuArray:
    leading = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    (m, depth), n = a.shape[-2:], b.shape[-1]
    a, a_step = _batch(a, leading)
    b, b_step = _batch(b, leading)
    steps = (a_step, depth, 1), (b_step, n, 1)
    c = cuda_gemm.product(a, b, (m, n, depth), *steps, batch=prod(leading))
    return c.reshape(*leading, m, n)


def sum(a: GpuArray, axis: int | tuple[int, ...] | None, keepdims: bool) -> GpuArray:
    summed = tuple(range(a.ndim)) if axis is None else tuple(np.atleast_1d(axis) % a.ndim)
    shape, total = list(a.shape), a
    for first, last in _runs(summed):
        outer, n = prod(shape[:first]), prod(shape[first : last + 1])
        total = sum_middle(total.reshape(outer, n, prod(shape[last + 1 :])))
        shape[first : last + 1] = [1] * (last + 1 - first)
    kept = [n for i, n in enumerate(shape) if keepdims or i not in summed]
    return total.reshape(tuple(kept))


def max_with_index(a: GpuArray, axis: int) -> tuple[GpuArray, GpuArray]:
    shape = (*a.shape[:axis], 1, *a.shape[axis + 1 :])
    y, where = empty(shape), empty(shape, np.int32)
    lines = prod(a.shape[:axis]), a.shape[axis], prod(a.shape[axis + 1 :])
    cells = lines[0], lines[2]
    _maximum[blocks(y.size)](a.reshape(lines), y.reshape(cells), where.reshape(cells))
    return y, where


def max_grad(grad: GpuArray, where: GpuArray, shape: tuple[int, ...], axis: int) -> GpuArray:
    out = empty(shape)
    lines = prod(shape[:axis]), shape[axis], prod(shape[axis + 1 :])
    cells = lines[0], lines[2]
    where = to_device(where, np.int32)
    _maximum_grad[blocks(out.size)](grad.reshape(cells), where.reshape(cells), out.reshape(lines))
    return out


def index(a: GpuArray, where: Any) -> GpuArray:
    rows, width, shape = _selected(where, a.shape)
    return take_rows(a.reshape(-1, width), rows).reshape(shape)


def index_grad(grad: GpuArray, where: Any, shape: tuple[int, ...]) -> GpuArray:
    rows, width, _ = _selected(where, shape)
    count = prod(shape) // max(width, 1)
    return give_back_rows(grad.reshape(len(rows), width), rows, count).reshape(shape)


def concat(arrays: tuple[GpuArray, ...], axis: int) -> GpuArray:
    shape, axis = list(arrays[0].shape), axis % arrays[0].ndim
    shape[axis] = int(np.add.reduce([a.shape[axis] for a in arrays]))
    out, start, inner = empty(tuple(shape)), 0, prod(shape[axis + 1 :])
    for a in arrays:
        width = a.shape[axis] * inner
        lines = out.reshape(prod(shape[:axis]), shape[axis] * inner)
        put_columns(a.reshape(len(lines), width), lines, start)
        start += width
    return out


def split(a: GpuArray, ends: np.ndarray, axis: int) -> list[GpuArray]:
    axis, bounds = axis % a.ndim, [0, *(int(end) for end in ends), a.shape[axis]]
    steps, pieces = steps_of(a.shape), []
    for start, stop in itertools.pairwise(bounds):
        shape = (*a.shape[:axis], stop - start, *a.shape[axis + 1 :])
        pieces.append(arrange(a, shape, steps, start * steps[axis]))
    return pieces


def transpose(a: GpuArray, axes: tuple[int, ...]) -> GpuArray:
    steps = steps_of(a.shape)
    return arrange(a, tuple(a.shape[i] for i in axes), tuple(steps[i] for i in axes), 0)


def broadcast_to(a: GpuArray, shape: tuple[int, ...]) -> GpuArray:
    return arrange(a, shape, repeating_steps(a.shape, shape), 0)


def put_rows(parts: tuple[GpuArray, ...], places: Sequence[np.ndarray]) -> GpuArray:
    rows = concat(parts, 0)
    origin = np.argsort(np.concatenate(places), kind="stable")
    return index(rows, origin)


def _binary(operation: int, a: GpuArray, b: GpuArray) -> GpuArray:
    shape = np.broadcast_shapes(a.shape, b.shape)
    out = empty(shape)
    if a.shape == b.shape:
        _binary_flat[blocks(out.size)](operation, a.flat, b.flat, out.flat)
        return out
    steps = repeating_steps(a.shape, shape), repeating_steps(b.shape, shape)
    sizes, a_steps, b_steps = merged(shape, *steps)
    _binary_repeating[blocks(out.size)](
        operation, a.flat, b.flat, out.flat, sizes, a_steps, b_steps
    )
    return out


def _unary(operation: int, a: GpuArray, exponent: float) -> GpuArray:
    out = empty(a.shape)
    _unary_flat[blocks(out.size)](operation, a.flat, exponent, out.flat)
    return out


def _runs(axes: tuple[int, ...]) -> list[tuple[int, int]]:
    """Neighbouring axes together: first and last of each run."""
    runs: list[tuple[int, int]] = []
    for axis in sorted(int(a) for a in axes):
        if runs and runs[-1][1] == axis - 1:
            runs[-1] = runs[-1][0], axis
        else:
            runs.append((axis, axis))
    return runs


def _batch(a: GpuArray, leading: tuple[int, ...]) -> tuple[GpuArray, int]:
    """Matrices for these leading axes, and how far one is from the next: 0 for a single one."""
    matrix = a.shape[-2:]
    if prod(a.shape[:-2]) == 1:
        return a, 0
    if a.shape[:-2] != leading:
        a = broadcast_to(a, (*leading, *matrix))
    return a, prod(matrix)


def _selected(where: Any, shape: tuple[int, ...]) -> tuple[np.ndarray, int, tuple[int, ...]]:
    """What an index selects: row numbers of the array as (rows, width), and the result's shape.

    Whole rows for integers along the first axis; for anything else every element on its own, from
    an array of their numbers, indexed by NumPy.
    """
    plain = isinstance(where, list | np.ndarray) and np.ndim(where) == 1 and len(shape) > 0
    if plain and np.asarray(where).dtype.kind in "iu" and len(where):
        rows = _checked_rows(np.asarray(where), shape[0])
        return rows, prod(shape[1:]), (len(rows), *shape[1:])
    numbers = np.arange(prod(shape)).reshape(shape)[where]
    return numbers.reshape(-1), 1, numbers.shape


def _checked_rows(rows: np.ndarray, count: int) -> np.ndarray:
    if rows.min() < -count or rows.max() >= count:
        raise IndexError(f"rows {rows.min()} to {rows.max()} of an array with {count}")
    return np.where(rows < 0, rows + count, rows)


@kernel(I, F1, F1, F1)
def _binary_flat(operation, a, b, out):
    """out[i] = a[i] (operation) b[i], in a grid-stride loop."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        if operation == ADD:
            out[i] = a[i] + b[i]
        elif operation == SUBTRACT:
            out[i] = a[i] - b[i]
        elif operation == MULTIPLY:
            out[i] = a[i] * b[i]
        else:
            out[i] = divided(a[i], b[i])


@kernel(I, F1, F1, F1, *(tuple_of(AXES),) * 3, registers=64)
def _binary_repeating(operation, a, b, out, sizes, a_steps, b_steps):
    """As binary_flat; an operand is repeated along the axes in which its step is 0.

    Take the number of a cell apart into its places along the axes, the last axis first, in 32 bits:
    a 64-bit division takes three times as long.
    """
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        rest, j, k = uint32(i), 0, 0
        for axis in range(AXES):
            size = uint32(sizes[axis])
            place = uint32(rest % size)
            rest = uint32(rest // size)
            j += int32(place) * a_steps[axis]
            k += int32(place) * b_steps[axis]
        if operation == ADD:
            out[i] = a[j] + b[k]
        elif operation == SUBTRACT:
            out[i] = a[j] - b[k]
        elif operation == MULTIPLY:
            out[i] = a[j] * b[k]
        else:
            out[i] = divided(a[j], b[k])


@kernel(I, F1, F, F1)
def _unary_flat(operation, a, exponent, out):
    """out[i] = (operation) a[i], in a grid-stride loop."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        if operation == NEGATIVE:
            out[i] = -a[i]
        elif operation == POWER:
            out[i] = power_of(a[i], exponent)
        elif operation == EXP:
            out[i] = exponential(a[i])
        else:
            out[i] = logarithm(a[i])


@kernel(F1, F1)
def _accumulate(total, a):
    """total[i] += a[i], in a grid-stride loop."""
    for i in range(cuda.grid(1), total.size, cuda.gridsize(1)):
        total[i] += a[i]


@kernel(F3, F2, I2, registers=64)
def _maximum(a, y, where):
    """y[o, i] = the largest of a[o, :, i], where = its first place: one thread per (o, i). NaN
    counts as largest."""
    for cell in range(cuda.grid(1), y.size, cuda.gridsize(1)):
        o, i = cell // y.shape[1], cell % y.shape[1]
        best, place = a[o, 0, i], 0
        for n in range(1, a.shape[1]):
            value = a[o, n, i]
            if not value <= best and best == best:
                best, place = value, n
        y[o, i] = best
        where[o, i] = place


@kernel(F2, I2, F3, registers=64)
def _maximum_grad(grad, where, out):
    """out[o, n, i] = grad[o, i] where n was the largest, else 0: one thread per cell of out."""
    n_count, inner = out.shape[1], out.shape[2]
    for cell in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        o, n, i = cell // (n_count * inner), cell // inner % n_count, cell % inner
        out[o, n, i] = grad[o, i] if where[o, i] == n else float32(0)
