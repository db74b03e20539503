"""Move values on the GPU: copies in another order, joins, and rows taken and given back.

Device arrays have no strides, so everything that NumPy does by strides (transpose, broadcast,
split) is a copy here. One thread writes each cell of a result, neighbours write neighbours; what
they read may lie apart.
"""

from math import prod

import numpy as np
from numba import float32, int32, uint32

from ...gpu.array import GpuArray, empty, to_device
from ...gpu.launch import F1, F2, I1, I, blocks, cuda, kernel, tuple_of

AXES = 5  # of a copy, neighbours that move together counted as one


def arrange(
    a: GpuArray,
    shape: tuple[int, ...],
    steps: tuple[int, ...],
    start: int,
    out: GpuArray | None = None,
) -> GpuArray:
    """A copy of `a` from `start` on, in which the next place along each axis is `steps` further in
    `a`; into `out` if given, of any shape.
    """
    out = empty(shape) if out is None else out
    sizes, steps = merged(shape, steps)
    _copy[blocks(out.size)](a.flat, out.flat, sizes, steps, start)
    return out


def steps_of(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The distance between neighbours along each axis of a C-contiguous array."""
    return tuple(prod(shape[i + 1 :]) for i in range(len(shape)))


def repeating_steps(shape: tuple[int, ...], wider: tuple[int, ...]) -> tuple[int, ...]:
    """`steps_of` an array that is broadcast to a wider shape: 0 along repeated axes."""
    steps = [0 if n == 1 else step for n, step in zip(shape, steps_of(shape), strict=True)]
    return (*(0,) * (len(wider) - len(shape)), *steps)


def merged(shape: tuple[int, ...], *steps: tuple[int, ...]) -> list[tuple[int, ...]]:
    """Sizes and steps of AXES axes, the last axis first. Axes that form one stretch are merged.

    Raises:
        ValueError: there are still more than AXES.
    """
    sizes, moves = [1], [[0] for _ in steps]
    for i in range(len(shape) - 1, -1, -1):
        if shape[i] == 1:
            continue
        one_stretch = all(s[i] == m[-1] * sizes[-1] for s, m in zip(steps, moves, strict=True))
        if sizes[-1] == 1 or one_stretch:
            if sizes[-1] == 1:
                for s, m in zip(steps, moves, strict=True):
                    m[-1] = s[i]
            sizes[-1] *= shape[i]
        else:
            sizes.append(shape[i])
            for s, m in zip(steps, moves, strict=True):
                m.append(s[i])
    if len(sizes) > AXES:
        raise ValueError(f"a device array of shape {shape}: more than {AXES} axes to move apart")
    rest = AXES - len(sizes)
    return [(*sizes, *(1,) * rest), *((*m, *(0,) * rest) for m in moves)]


def put_columns(a: GpuArray, out: GpuArray, start: int) -> None:
    """out[:, start : start + width] = a, for a (rows, width)."""
    _put_columns[blocks(a.size)](a, out, start)


def take_rows(a: GpuArray, rows: np.ndarray) -> GpuArray:
    """a[rows], for a (n, width) and row numbers (m,) of the host."""
    out = empty((len(rows), a.shape[1]))
    _gather[blocks(out.size)](a, to_device(rows), out)
    return out


def give_back_rows(grad: GpuArray, rows: np.ndarray, count: int) -> GpuArray:
    """The gradient (count, width) of what take_rows read: rows that were taken several times are
    found by sorting, on the host.
    """
    order = np.argsort(rows, kind="stable")
    starts = np.searchsorted(rows[order], np.arange(count + 1))
    out = empty((count, grad.shape[1]))
    _scatter[blocks(out.size)](grad, to_device(order), to_device(starts), out)
    return out


@kernel(F1, F1, tuple_of(AXES), tuple_of(AXES), I)
def _copy(a, out, sizes, steps, start):
    """out[i] = a[start + the places of i along the axes, times the steps], in a grid-stride loop.

    Neighbours write neighbours; they read neighbours if the last axis stays the last.
    """
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        rest, j = uint32(i), start
        for axis in range(AXES):
            size = uint32(sizes[axis])
            j += int32(rest % size) * steps[axis]
            rest = uint32(rest // size)
        out[i] = a[j]


@kernel(F2, F2, I)
def _put_columns(a, out, start):
    """out[r, start + c] = a[r, c]: one thread per cell of a."""
    for i in range(cuda.grid(1), a.size, cuda.gridsize(1)):
        r, c = i // a.shape[1], i % a.shape[1]
        out[r, start + c] = a[r, c]


@kernel(F2, I1, F2)
def _gather(a, rows, out):
    """out[i, c] = a[rows[i], c]: one thread per cell of out; neighbours in c read neighbours."""
    for cell in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        i, c = cell // out.shape[1], cell % out.shape[1]
        out[i, c] = a[rows[i], c]


@kernel(F2, I1, I1, F2)
def _scatter(grad, order, starts, out):
    """out[r, c] = the sum of grad[order[i], c] for i from starts[r] to before starts[r + 1], one
    thread per cell.

    The reverse of gather, seen by the receiver: a row that was selected twice adds up both, in
    order, and no two threads write the same cell.
    """
    for cell in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        r, c = cell // out.shape[1], cell % out.shape[1]
        total = float32(0)
        for i in range(starts[r], starts[r + 1]):
            total += grad[order[i], c]
        out[r, c] = total
