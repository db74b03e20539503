"""Newton and Schulz's iteration on the GPU: matrix products, and one pass that mixes them.

A step of the iteration is x (a + b G + c G^2) with G = x x', so with M = b G + c G G it is
a x + M x: three products, of which the first two are small.
"""

from collections.abc import Sequence
from math import sqrt

from ...gpu.array import GpuArray, empty
from ...gpu.launch import F1, F, blocks, cuda, kernel
from ..basic.cuda import transpose
from ..cuda_gemm import product
from ..sgd.cuda import sum_of_squares
from .reference import FACTORS, SMALLEST_NORM


def orthogonalize(matrices: Sequence[GpuArray]) -> list[GpuArray]:
    return [_orthogonalize(matrix) for matrix in matrices]


def _orthogonalize(matrix):
    tall = matrix.shape[0] > matrix.shape[1]
    wide = transpose(matrix, (1, 0)) if tall else matrix
    scale = 1 / max(sqrt(sum_of_squares(wide)), SMALLEST_NORM)
    x = _mixed(scale, wide, 0.0, wide)
    for a, b, c in FACTORS:
        gram = _product(x, x, transposed=True)
        x = _mixed(a, x, 1.0, _product(_mixed(b, gram, c, _product(gram, gram)), x))
    return transpose(x, (1, 0)) if tall else x


def _product(a, b, transposed=False):
    """a b, or a b'."""
    (m, depth), width = a.shape, b.shape[1]
    n, steps = (len(b), (0, 1, width)) if transposed else (width, (0, width, 1))
    return product(a, b, (m, n, depth), (0, depth, 1), steps)[0]


def _mixed(factor, x, other_factor, y):
    """factor * x + other_factor * y."""
    out = empty(x.shape)
    _mix[blocks(out.size)](factor, x.flat, other_factor, y.flat, out.flat)
    return out


@kernel(F, F1, F, F1, F1)
def _mix(a, x, b, y, out):
    """out[i] = a x[i] + b y[i]: thread i, i + all threads, ..."""
    for i in range(cuda.grid(1), out.size, cuda.gridsize(1)):
        out[i] = a * x[i] + b * y[i]
