"""Exercises of lesson 18, the same kernels on a GPU. Replace each `raise NotImplementedError` and
ask `tinymaskrcnn learn NAME` whether it is right.
"""

import numpy as np

from lessons import load

run_grid = load("gpu_kernels").run_grid  # the GPU played in Python, for tree_sum


def cells_of_thread(block, thread, blocks, threads, cells):
    """Fill. Which numbers of a result does a thread compute when there are more numbers than
    threads in the whole grid? Each thread begins at its own index in the grid and goes on in steps
    as large as the grid, so that in every step neighbouring threads have neighbouring numbers.

    Budget: 3 lines.

    Args:
        block, thread: index of the block in the grid, and of the thread in its block. blocks,
            threads: how many blocks the grid has, and how many threads a block has. cells: how many
            numbers the result has, 0 or more.

    Returns:
        a list of ints, ascending, possibly empty.
    """
    raise NotImplementedError


def patch_pixel(m, k, shape, side, stride, padding):
    """Fill. What an implicit GEMM gathers: which number of the feature map is in row m and column k
    of the matrix of patches? The rows count the pixels of the *output*: image by image, row by row,
    column by column. The columns count the taps of the window, row by row, and within each tap the
    channels.

    Budget: 12 lines.

    Args:
        m, k: row and column of the matrix, inside it. shape: (N, H, W, C) of the feature map. side:
            of the window, in taps. stride, padding: of the convolution, the same along both axes.

    Returns:
        the index (n, h, w, c) into the feature map, or None where the window is on the padding.
    """
    raise NotImplementedError


def resident_blocks(threads, registers, shared, limits):
    """Fill. How many blocks of a kernel can one processor hold at the same time? The more there
    are, the more warps can compute while others wait for memory. Threads count in whole warps of
    32, both for the places they occupy and for the registers they take.

    Budget: 10 lines.

    Args:
        threads: per block. registers: per thread, at least 1. shared: bytes of shared memory per
            block, possibly 0. limits: what the processor has, as a tuple: the most threads, the
            registers, the bytes of shared memory, the most blocks. For an H100: (2048, 65536,
            233472, 32).

    Returns:
        an int; 0 if not even one block fits.
    """
    raise NotImplementedError


def bank_turns_loops(words):
    """What `bank_turns` should compute, with loops: right, but slow."""
    turns = np.zeros(32, int)
    for word in set(words):
        turns[word % 32] += 1
    return max(turns)


def bank_turns(words):
    """Vectorise. Shared memory has 32 banks: word w is in bank w % 32, and each bank serves one
    word per turn. A word that several threads want is served to all of them at once. How many turns
    does a warp's read take?

    Budget: 4 lines, no loops.

    Args:
        words: (32,) int64, the index of the 4-byte word that each thread of the warp reads.

    Returns:
        an int, 1 to 32.
    """
    raise NotImplementedError


def tree_sum(values):
    """Extend. Add up the numbers of a block, one per thread, in few steps. One thread on its own
    needs as many additions as there are numbers. A tree halves what is left: in each step some
    threads add one more number to their own. Write the kernel as a function inside this one. It
    takes (cuda, x, out). `yield` is the barrier, which all threads of the block must reach, whether
    they add or not. `cuda.shared.array(len(x), "float32")` gives an array that the block shares,
    and `cuda.threadIdx.x` is the index of the thread. At the end thread 0 writes the sum to out[0].

    Budget: 16 lines. Between two barriers a thread may touch shared memory three times.

    Args:
        values: (n,) float32, n at least 1, and not always a power of two.

    Returns:
        three things: out[0], and the two that `run_grid(kernel, (1,), (n,), values, out)` returns.
    """
    raise NotImplementedError
