"""Exercises of lesson 18, the same kernels on a GPU. Replace each `raise NotImplementedError` and
ask `tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np

from lessons import load

run_grid = load("gpu_kernels").run_grid  # the lesson's card, for tree_sum


def cells_of_thread(block, thread, blocks, threads, cells):
    """Fill. Which numbers of a result does a thread compute, if there are more numbers than threads
    in the whole grid? Each thread begins at its own place in the grid and goes on in steps as large
    as the grid, so that in every step neighbouring threads have neighbouring numbers.

    Budget: 3 lines.

    Args:
        block, thread: index of the block in the grid, of the thread in its block. blocks, threads:
            of the grid, of a block. cells: how many numbers the result has, 0 or more.

    Returns:
        a list of ints, rising, maybe empty.
    """
    raise NotImplementedError


def patch_pixel(m, k, shape, side, stride, padding):
    """Fill. What an implicit GEMM gathers: which number of the map stands in row m and column k of
    the matrix of patches? Rows count the pixels of the *output*: pictures first, then rows, then
    columns. Columns count the taps of the window, row by row, and within a tap the channels.

    Budget: 12 lines.

    Args:
        m, k: row and column of the matrix, inside it. shape: (N, H, W, C) of the map. side: of the
            window, in taps. stride, padding: of the convolution, the same along both axes.

    Returns:
        the index (n, h, w, c) into the map, or None where the window lies on the padding.
    """
    raise NotImplementedError


def resident_blocks(threads, registers, shared, limits):
    """Fill. How many blocks of a kernel can one processor hold at the same time? The more there
    are, the more warps can compute while others wait for memory. Threads are counted in whole
    warps of 32, in what they occupy and in what they take of the registers.

    Budget: 10 lines.

    Args:
        threads: of a block. registers: that each thread takes, at least 1. shared: bytes that a
            block takes of shared memory, maybe 0. limits: what the processor has, as a tuple: most
            threads, registers, bytes of shared memory, most blocks. An H100's: (2048, 65536,
            233472, 32).

    Returns:
        an int; 0 where not even one block fits.
    """
    raise NotImplementedError


def bank_turns_loops(words):
    """What `bank_turns` shall compute, with loops: it is right, and slow."""
    turns = np.zeros(32, int)
    for word in set(words):
        turns[word % 32] += 1
    return max(turns)


def bank_turns(words):
    """Vectorise. Shared memory has 32 banks: word w lies in bank w % 32, and each bank serves one
    word in a turn. A word that several threads want is served to all of them at once. How many
    turns does a warp's read take?

    Budget: 4 lines, no loops.

    Args:
        words: (32,) int64, which word of 4 bytes each thread of the warp reads; 0 or more.

    Returns:
        an int, 1 to 32.
    """
    raise NotImplementedError


def tree_sum(values):
    """Extend. Add up the numbers of a block, one a thread, in few steps. One thread alone takes as
    many additions as there are numbers. A tree halves them: in each step some threads add one more
    number to their own, and half as many numbers are left. Write the kernel as a function inside
    this one. It takes (cuda, x, out); `yield` is the barrier, which all threads of the block have
    to reach, whether they add or not. It gets an array that the block shares by
    `cuda.shared.array(len(x), "float32")`, its thread's number is `cuda.threadIdx.x`, and at the
    end thread 0 writes the sum into out[0].

    Budget: 16 lines. Between two barriers a thread may touch shared memory three times.

    Args:
        values: (n,) float32, n at least 1, and not always a power of two.

    Returns:
        three things: out[0], and the two that `run_grid(kernel, (1,), (n,), values, out)` gives.
    """
    raise NotImplementedError
