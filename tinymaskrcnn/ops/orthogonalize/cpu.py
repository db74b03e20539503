"""The Newton-Schulz iteration on the small sides of all matrices at once.

Same names, arguments and results as reference.py, for float32. Every step multiplies x (m, n) from
the left by a polynomial of its Gram matrix x x' (m, m), and all these polynomials commute. So the
wide matrix is read only twice: for the Gram matrix, and for the product with the accumulated
polynomial.

The 17 products in between are small, a few thousand to a few million multiplications, so each goes
through all matrices in one parallel region. They are symmetric: only blocks on and above the
diagonal are computed, and each is stored twice. A matrix is stored as panels
(ceil(m/PANEL), m, PANEL); since it is symmetric, a panel also serves as a left operand.
"""

from collections import namedtuple
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numba import get_num_threads, prange

from ... import memory
from ...jit import kernel, serial
from ..conv2d.cpu.panels import pack_into
from ..simd.emitter import LANES, PANEL, address, copy_row
from ..simd.outer import SQUARE_ROWS, square_tile
from ..simd.transforms import transpose_block

FACTORS = ((3.4445, -4.7750, 2.0315),) * 5
STRETCH = 256  # of the inner axis: two panels of that depth stay in the L2 cache
GRAM, STEP, TOTAL, OTHER_TOTAL, PRODUCT = range(5)  # places for (m, m) matrices
SMALLEST_NORM = 1e-7  # reference.py gives the reason

Plan = namedtuple(
    "Plan",
    "sizes lengths "  # m and n of each matrix
    "starts pitches "  # where its five (m, m) matrices start, and the distance between them
    "panels "  # where its panels (ceil(m/PANEL), n, PANEL) start
    "blocks columns "  # (matrix, block row, block column) and (matrix, panel of the n columns)
    "room scratch "  # floats of all (m, m) matrices, and of all panels
    "turned",  # where transposed vectors go in a panel
)


def orthogonalize(matrices: Sequence[np.ndarray]) -> list[np.ndarray]:
    tall = [matrix.shape[0] > matrix.shape[1] for matrix in matrices]
    turned = [m.T if high else m for m, high in zip(matrices, tall, strict=True)]
    wide = [np.ascontiguousarray(m, np.float32) for m in turned if m.size]
    results = iter(_orthogonalize_wide(wide) if wide else [])
    out = [next(results) if m.size else np.empty_like(m) for m in turned]
    return [y.T if high else y for y, high in zip(out, tall, strict=True)]


def _orthogonalize_wide(matrices):
    plan = _plan(tuple(matrix.shape for matrix in matrices))
    panels, room = memory.empty((plan.scratch,)), memory.empty((plan.room,))
    for matrix, start in zip(matrices, plan.panels, strict=True):
        size, length = matrix.shape
        pack_into(matrix, panels[start : start + _panel_floats(size, length)])
    blocks = np.empty((get_num_threads(), PANEL * PANEL), np.float32)  # one for each thread
    _gram(plan, panels, room, blocks)
    norms = np.empty(len(matrices))
    _normalize(plan, room, norms)
    total = _polynomials(plan, room, blocks)
    results = [memory.empty(matrix.shape) for matrix in matrices]
    sources, targets = (np.array([a.ctypes.data for a in many]) for many in (matrices, results))
    panels = memory.empty((len(blocks), int(max(plan.sizes)) * PANEL))
    scales = (1 / norms).astype(np.float32)
    _apply(plan, room, total, scales, sources, targets, panels, blocks)
    return results


@lru_cache(maxsize=64)
def _plan(shapes):
    """Where everything is stored, and the tasks of one pass, for wide matrices of these shapes."""
    sizes, lengths = np.array(shapes).T.copy()
    pitches = np.array([_panel_floats(m, m) for m in sizes.tolist()])
    panels = np.array([_panel_floats(*shape) for shape in shapes])
    blocks, columns = [], []
    for matrix, (size, length) in enumerate(shapes):
        count = -(-size // PANEL)
        blocks += [(matrix, row, column) for column in range(count) for row in range(column + 1)]
        columns += [(matrix, panel) for panel in range(-(-length // PANEL))]
    room = 5 * np.cumsum(pitches)
    ends = np.cumsum(panels)
    return Plan(
        sizes, lengths, room - 5 * pitches, pitches, ends - panels,
        np.array(blocks), np.array(columns), int(room[-1]), int(ends[-1]),
        np.arange(LANES) * PANEL,
    )  # fmt: skip


def _panel_floats(size, length):
    return -(-size // PANEL) * length * PANEL


def _polynomials(plan, room, blocks):
    """Compute the matrix P for which P x is the result; return its place.

    Each step, with s = a + b g + c g^2 for the Gram matrix g, is P <- P s and g <- (s g) s. In this
    order rounding hardly touches the small singular values; g <- (g s) s would cost two digits.
    """
    zero, one = np.float32(0), np.float32(1)
    total, spare = TOTAL, OTHER_TOTAL
    for number, (a, b, c) in enumerate(np.array(FACTORS, np.float32)):
        step = STEP if number else total
        _multiply(plan, room, GRAM, GRAM, step, c, b, a, blocks)
        if number:
            _multiply(plan, room, total, step, spare, one, zero, zero, blocks)
            total, spare = spare, total
        if number < len(FACTORS) - 1:
            _multiply(plan, room, GRAM, step, PRODUCT, one, zero, zero, blocks)
            _multiply(plan, room, PRODUCT, step, GRAM, one, zero, zero, blocks)
    return total


@kernel
def _gram(plan, panels, room, blocks):
    """x x' for every matrix, in blocks of PANEL x PANEL, from the panels of x'."""
    workers = len(blocks)
    for worker in prange(workers):
        block = blocks[worker]
        for item in range(worker, len(plan.blocks), workers):
            matrix, row, column = plan.blocks[item]
            length, start = plan.lengths[matrix], plan.panels[matrix]
            left, right = start + row * length * PANEL, start + column * length * PANEL
            _block(length, panels, left, panels, right, block)
            _store(plan, block, plan.sizes[matrix], row, column, room, plan.starts[matrix])


@kernel
def _multiply(plan, room, left, right, out, scale, slope, shift, blocks):
    """out = scale * left' @ right + slope * GRAM + shift * identity, for every matrix."""
    workers = len(blocks)
    for worker in prange(workers):
        block = blocks[worker]
        for item in range(worker, len(plan.blocks), workers):
            matrix, row, column = plan.blocks[item]
            size, start, pitch = plan.sizes[matrix], plan.starts[matrix], plan.pitches[matrix]
            first, second = start + left * pitch, start + right * pitch
            _block(
                size, room, first + row * size * PANEL, room, second + column * size * PANEL, block
            )
            gram_at = start + (column * size + row * PANEL) * PANEL
            gram = room[gram_at : gram_at + min(PANEL, size - row * PANEL) * PANEL]
            for i in range(len(gram)):
                block[i] = scale * block[i] + slope * gram[i]
            if row == column:
                for i in range(PANEL):
                    block[i * PANEL + i] += shift
            _store(plan, block, size, row, column, room, start + out * pitch)


@kernel
def _apply(plan, room, total, scales, sources, targets, panels, blocks):
    """scale * P x for every matrix: take a panel of x's columns, then pass all of P over it."""
    workers = len(blocks)
    for worker in prange(workers):
        panel, block = panels[worker], blocks[worker]
        for item in range(worker, len(plan.columns), workers):
            matrix, column = plan.columns[item]
            size, length = plan.sizes[matrix], plan.lengths[matrix]
            width, first = min(PANEL, length - column * PANEL), 4 * column * PANEL
            for k in range(size):
                source = sources[matrix] + first + 4 * k * length
                copy_row(source, address(panel) + 4 * k * PANEL, width)
            start, scale = plan.starts[matrix] + total * plan.pitches[matrix], scales[matrix]
            for row in range(0, size, PANEL):
                _block(size, room, start + row * size, panel, 0, block)
                for i in range(len(block)):
                    block[i] *= scale
                for i in range(min(PANEL, size - row)):
                    target = targets[matrix] + first + 4 * (row + i) * length
                    copy_row(address(block) + 4 * i * PANEL, target, width)


@serial
def _normalize(plan, room, norms):
    """Divide every x x' by its trace, the square of x's Frobenius norm: all singular values of
    x / norm are at most 1."""
    for matrix in range(len(norms)):
        size, start, trace = plan.sizes[matrix], plan.starts[matrix], 0.0
        for i in range(size):
            trace += room[start + i // PANEL * size * PANEL + i * PANEL + i % PANEL]
        norms[matrix] = max(np.sqrt(trace), SMALLEST_NORM)
        scale = np.float32(1 / norms[matrix] ** 2)
        for i in range(plan.pitches[matrix]):
            room[start + i] *= scale


@serial
def _block(depth, left, left_at, right, right_at, block):
    """block[i, j] = sum over k < depth of left[left_at + k*PANEL + i] * right[right_at + ... + j],
    for i, j < PANEL."""
    for start in range(0, depth, STRETCH):
        stretch, shift = min(STRETCH, depth - start), start * PANEL
        for i in range(0, PANEL, SQUARE_ROWS):
            square_tile(
                stretch, left, left_at + shift + i, right, right_at + shift, PANEL,
                block, i * PANEL, start > 0,
            )  # fmt: skip


@serial
def _store(plan, block, size, row, column, room, start):
    """Store a block of a symmetric matrix, and its mirror image, in the panels at `start`."""
    place = start + (column * size + row * PANEL) * PANEL
    if row == column:
        for i in range(PANEL):
            for j in range(i):
                block[i * PANEL + j] = block[j * PANEL + i]
    whole = room[place : place + min(PANEL, size - row * PANEL) * PANEL]
    for i in range(len(whole)):
        whole[i] = block[i]
    if row != column:
        mirrored = start + (row * size + column * PANEL) * PANEL
        for j in range(0, min(PANEL, size - column * PANEL), LANES):
            for i in range(0, PANEL, LANES):
                transpose_block(
                    block, i * PANEL + j, PANEL, LANES, size - column * PANEL - j,
                    room, mirrored + j * PANEL + i, plan.turned, 0,
                )  # fmt: skip
