# %% [markdown]
# # 18 · The same kernels on a GPU
#
# **A GPU runs one small function for every number of a result. Write that function, find out what
# it reads twice, and learn what a thousand threads must not do to each other.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | the roofline (lesson 17), convolution (lesson 02); no GPU and no CUDA package | 45 | 5 |
#
# Afterwards you can
#
# - say which thread of which block writes which number, and what the other threads do;
# - count the pieces of memory that a warp asks for, and keep them few;
# - put a tile into shared memory, and say what each of its two barriers prevents;
# - tell on paper whether a GPU will compute, wait for memory, or wait for Python.

# %% tags=["hide-input"]
from math import ceil, prod

import numpy as np

from lessons.card import Block, Memory, races, run_grid
from lessons.figures import gpu as gpu_figures
from lessons.figures.architecture import architecture
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from tinymaskrcnn.ops.conv2d import reference as conv_reference

show(architecture("GPU"), "In Mask R-CNN: GPU")

# %% [markdown]
# ## Before you read
#
# So far: on a CPU, order, registers and threads took a product from Python's speed to near the
# peak.
#
# 1. What limits a kernel of low arithmetic intensity (lesson 17)?
# 2. Why is it faster to walk along a row of a matrix than down a column (lesson 17)?
# 3. Why may `prange` share out the rows of a product without harm (lesson 17)?
#
# <details><summary>Answers</summary>
#
# 1. The bandwidth of the memory.
# 2. Memory comes in lines of neighbouring numbers. Along a row every number of a line is used.
# 3. No thread writes what another one reads.
#
# </details>
#
# ## The question
#
# NVIDIA's H100 has 132 processors, and each starts 128 multiply-adds per tick. That makes 16 896 at
# a time and, at 1.98 billion ticks per second, 67 trillion operations per second (a multiply-add is
# two). Nobody writes a program for 16 896 workers. You write what *one* of them does, for one
# number of the result: a kernel. Then you say how many of them there should be.
#
# A *thread* runs the function once. 32 threads form a *warp*, and execute the same instruction at
# the same time. Several warps form a *block*: they live on one processor and share a small, fast
# memory there. All blocks form the grid; the GPU decides which of them runs when.
#
# You need no GPU for this lesson: a page of Python plays one. We have had none either. **No GPU has
# run the kernels of this package**; the end of the lesson says what is known about them even so.

# %% tags=["hide-input"]
PROCESSORS, PEAK, BANDWIDTH = 132, 67e12, 3.35e12  # H100 SXM, float32 without tensor cores
assert PROCESSORS * 128 == 16896 and round(16896 * 2 * 1.98e9 / 1e12) == PEAK / 1e12

# %% [markdown]
# ## By hand
#
# A result has 7 rows and 10 columns. Blocks of 4 by 4 threads cover it: 3 across, 2 down. Thread
# (3, 1) of block (1, 0), x before y, is responsible for column 1 * 4 + 3 = 7 and row 0 * 4 + 1 = 1.
#
# The grid has 6 * 16 = 96 threads for 70 numbers. The other 26 stick out over the edge and must do
# nothing, so every kernel begins by asking whether it has a cell at all. Without this guard,
# threads write into memory that belongs to something else.

# %% tags=["hide-input"]
covered = gpu_figures.thread_grid((7, 10), (4, 4), block=(1, 0), thread=(3, 1))
show(covered, "A result of 7 by 10 numbers under six blocks; dashed threads have no number")
assert (ceil(10 / 4), ceil(7 / 4)) == (3, 2) and (1 * 4 + 3, 0 * 4 + 1) == (7, 1)
assert 3 * 2 * 16 == 96 and 96 - 7 * 10 == 26

# %% [markdown]
# ## The maths
#
# Take the product of two matrices again, M by K times K by N. A thread for each number of the
# result reads K numbers of each matrix: two numbers of 4 bytes per multiply-add. If T by T threads
# fetch what they need together, each number that is read serves T of them:
#
# $$ \frac{W}{Q} = \frac{2 M N K}{4 \cdot 2 M N K / T} = \frac{T}{4} $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | W, Q | | operations, and bytes from the card's memory, as in lesson 17 |
# | M, N, K | `a.shape`, `b.shape` | rows, columns, and length of the sums |
# | T | `TILE` | side of the tile that a block computes; 1 for threads on their own |
#
# The H100's roof has its edge at 20 operations per byte. Threads on their own do a quarter of one,
# a tile of 16 does 4, a tile of 64 does 16. A cache helps all of them, and the first one most.

# %% tags=["hide-input"]
assert PEAK / BANDWIDTH == 20 and [tile / 4 for tile in (1, 16, 64)] == [0.25, 4, 16]

# %% [markdown]
# ## One item, in loops: a thread, and the block it lives in
#
# This is the simplest kernel for a product. `cuda` is the object through which a thread learns
# where it is; `grid(2)` does what you just did by hand.


# %%
def product_naive(cuda, a, b, c):
    """c = a b: thread (j, i) sums c[i, j]."""
    j, i = cuda.grid(2)
    if i < c.shape[0] and j < c.shape[1]:
        total = 0.0
        for k in range(a.shape[1]):
            total += a[i, k] * b[k, j]
        c[i, j] = total


# %% [markdown]
# To run it we need a GPU. Ours runs blocks, and the threads of a block, one after another; a
# correct kernel cannot tell the difference. At a **barrier** each thread waits for all others of
# its block. Numba writes `cuda.syncthreads()`; our kernels say `yield`: the thread stops there, and
# the next one has its turn. The memory notes who touched it; you will soon see why.

# %%
show(Block)
show(run_grid)
rng = np.random.default_rng(18)
a, b = (rng.standard_normal((32, 32)).astype(np.float32) for _ in range(2))
naive, read_naively = np.full((32, 32), np.nan, np.float32), []
of_a, of_b = Memory(a, "a", read_naively), Memory(b, "b", read_naively)
assert run_grid(product_naive, (2, 2), (16, 16), of_a, of_b, naive)[0] == []
np.testing.assert_allclose(naive, a @ b, atol=1e-5)
assert len(read_naively) == 65536 == 32 * (a.size + b.size)

# %% [markdown]
# The product is right, and it took 65 536 reads: every number of both matrices was fetched 32
# times.
#
# ## All items, in NumPy: a warp
#
# To a warp, an instruction is what an expression with 32 elements is to NumPy. A branch that half
# of the threads take costs both sides, as in `np.where`. A read is 32 addresses at once. Memory
# hands out pieces of 32 bytes, no less. How many of them does a warp need?


# %%
def pieces(places, size=4):
    """Number of 32-byte pieces that hold the numbers at these indices."""
    return len(np.unique(np.asarray(places) * size // 32))


lane = np.arange(32)
along_a_row, down_a_column = 5 * 32 + lane, lane * 32 + 5
assert pieces(along_a_row) == 4 and pieces(down_a_column) == 32 == 8 * pieces(along_a_row)
assert pieces(along_a_row + 1) == 5 and pieces(0 * lane) == 1
warps = {"along a row: 4 pieces": along_a_row, "down a column: 32 pieces": down_a_column}
both = gpu_figures.fetched(warps, (32, 32))
show(both, "A matrix in memory: dark is what a warp wants, light is what comes with it")

# %% [markdown]
# In `product_naive`, threads with neighbouring `j` read neighbours in a row of `b`: 4 pieces, all
# of them used. Such a read is called *coalesced*. Swap the roles of `i` and `j`, and the same
# program fetches eight times as much. So ask of every kernel what *neighbouring threads* read; on a
# CPU you asked what the *next iteration* reads. Our feature maps end in the channel axis, and the
# kernels give neighbouring threads neighbouring channels.
#
# ## The GPU kernel: a tile, two barriers, and a race
#
# **The tile.** 16 by 16 threads compute a tile of the result. Each fetches one number of `a` and
# one of `b` into *shared memory*, which belongs to its block. Then all threads use all these
# numbers, and so on along k.

# %%
walk = gpu_figures.tile_walk(tiles=4, row=1, column=2, step=1)
show(walk, "A tile of the result, and the pairs of tiles that it needs, one pair at a time")
gemm = kernels_of("ops.cuda_gemm")
show(gemm._teaching)

# %% [markdown]
# This is the package's kernel. `kernels_of` reads it from its file and turns each `syncthreads`
# into a `yield`, so that our GPU can run it.


# %%
def tiled_product(kernel):
    """The product a b by a kernel of the package: faults, result, number of reads."""
    reads, result = [], np.full(32 * 32, np.nan, np.float32)
    flat = [Memory(matrix.ravel(), name, reads) for matrix, name in ((a, "a"), (b, "b"))]
    settings = (32, 32, 32), (0, 32, 1), (0, 32, 1), False, False
    faults, _ = run_grid(kernel, (2, 2, 1), kernel.threads, *flat, result, result, *settings)
    return faults, result.reshape(32, 32), len(reads)


faults_of_tiles, by_tiles, read_by_tiles = tiled_product(gemm._teaching)
assert faults_of_tiles == []
np.testing.assert_allclose(by_tiles, a @ b, atol=1e-5)
assert read_by_tiles == 65536 / 16 == 4096

# %% [markdown]
# 4096 reads instead of 65 536: a sixteenth, as the maths said.
#
# **The barrier.** Here is the smallest kernel that needs one. Eight threads each put a number into
# shared memory; then each adds its neighbour's number to its own. The second function is the same
# without the barrier. **Predict.** Is its result always wrong?


# %%
def with_neighbour(cuda, x, out):
    """out[t] = x[t] + x[t + 1]; the last thread adds the first number."""
    shared, t = cuda.shared.array(8, "float32"), cuda.threadIdx.x
    shared[t] = x[t]
    yield
    out[t] = shared[t] + shared[(t + 1) % 8]


def racing(cuda, x, out):
    """The same, and nobody waits."""
    shared, t = cuda.shared.array(8, "float32"), cuda.threadIdx.x
    shared[t] = x[t]
    out[t] = shared[t] + shared[(t + 1) % 8]


x, forwards, backwards, waited = (np.float32([3, 1, 4, 1, 5, 9, 2, 6]) for _ in range(4))
found, hurried = run_grid(racing, (1,), (8,), x, forwards)
print(f"forwards  {forwards}, {found[0]}")
found_again, _ = run_grid(racing, (1,), (8,), x, backwards, order=range(7, -1, -1))
print(f"backwards {backwards}, {found_again[0]}")
nothing, in_turn = run_grid(with_neighbour, (1,), (8,), x, waited)
assert nothing == [] and (waited == x + np.roll(x, -1)).all()
assert np.isnan(forwards).sum() == 7 and (backwards == waited).sum() == 7
assert len(found) == len(found_again) == 8
compared = gpu_figures.touches({"with a barrier": in_turn, "without": hurried})
show(compared, "Who touches which cell, and when; without the barrier every cell has a race")

# %% [markdown]
# Without the barrier the result depends on who comes first: forwards seven sums are wrong,
# backwards seven are *right*. On a GPU one of the orders happens, and tomorrow perhaps the other.
# So do not look for races in the results. `races` looks at who touched what between two barriers:
# **one writes, another touches, nobody waited**. It finds all eight in either order. (It does not
# look for two threads that write the same number of the *result*.)
#
# The package's kernel has two barriers per step. Without the first, threads add up numbers that are
# not there yet. Without the second, a fast thread fetches the next tile while a slow one still
# adds.

# %%
show(races)
for which in (0, 1):
    hasty = kernels_of("ops.cuda_gemm", without_barrier=which)._teaching
    found_here, wrong_product, _ = tiled_product(hasty)
    assert found_here and not np.allclose(wrong_product, a @ b, atol=1e-2)
    print(f"without barrier {which}: {len(found_here)} races, such as {found_here[0]}")

# %% [markdown]
# **A convolution is a product, too.** For each pixel of the result, write down the numbers under
# its window: this is a matrix of patches, with one row per pixel, and one column per tap and
# channel. Times the weights, it is the convolution. The matrix would be nine times as large as the
# feature map, so nobody stores it. A block works out which corner of it it needs, gathers those
# numbers from the feature map into its tile, and multiplies. This is an **implicit GEMM**.

# %%
patches = gpu_figures.patch_matrix(map_size=(4, 4), kernel=3, tile=(2, 7, 3, 6))
show(patches, "A feature map with one window; the matrix of all windows, with one block's corner")
conv = kernels_of("ops.conv2d.cuda")
show(conv._gather)
pixels, y = rng.standard_normal((1, 5, 5, 2)), np.full((1, 5, 5, 3), np.nan)
weight, bias = rng.standard_normal((3, 2, 3, 3)), rng.standard_normal(3)
packed = weight.transpose(2, 3, 1, 0).reshape(1, 18, 3)  # a row for each tap and channel
once = (1, 1)
reading = tuple(conv.forward_reading(3, stride=once, padding=once, dilation=once))
given = pixels, packed, bias, y, y, reading, True, False, True  # bias, no residual, ReLU
assert run_grid(conv._gather, (1, 1, 1), conv._gather.threads, *given)[0] == []
expected = conv_reference.conv2d(pixels, weight, bias, None, once, once, once, 1, True)
np.testing.assert_allclose(y, expected, atol=1e-5)

# %% [markdown]
# You have just run the kernel that every convolution of the model uses on a GPU, and it agrees with
# NumPy. (It gives each thread 4 by 4 cells: the register tile of lesson 17.)
#
# ## The gradient: no sum depends on who comes first
#
# A gradient adds up what many threads send. The short way is an *atomic* addition: each thread adds
# to the cell when it gets there, and the hardware lets one through at a time. But who gets there
# first differs from run to run, and with rounding, the order of a sum matters:

# %%
terms = rng.standard_normal(1000).astype(np.float32)
in_orders = {float(np.cumsum(rng.permutation(terms))[-1]) for _ in range(20)}
print(f"the same 1000 numbers in 20 orders: {len(in_orders)} different sums")
assert len(in_orders) > 1 and max(in_orders) - min(in_orders) < 1e-3

# %% [markdown]
# A run that cannot be repeated cannot be debugged. So our kernels turn the question round: no
# thread sends, each thread *asks*. In the gradient of RoIAlign, each thread has one number of the
# feature map and asks every region what it contributes. For a convolution's weights, blocks add up
# parts, and a second kernel adds the parts in order. That costs some reads; equal inputs give equal
# bits.

# %%
show(kernels_of("ops.roi_align.cuda")._pool_grad)

# %% [markdown]
# ## In the model: what a GPU would wait for
#
# A kernel takes the longest of three times: its arithmetic, shared among the processors that have a
# block; its bytes; and Python's time to launch it, for which we *assume* 50 microseconds. Unused
# cells of a tile cost as much as the others. Reads of shared memory limit the kernel to about half
# of the peak: a thread with 4 by 4 cells reads 8 numbers per 16 multiply-adds. Copies reach perhaps
# 0.8 of the bandwidth. (The layers: <a href="explain_shapes.html">the page of every stage</a>.)

# %%
LAUNCH, TILE, DEPTH = 50e-6, 64, 16
LAYERS = {  # pixels of the result, outputs, taps, inputs
    "tiny model, 3x3 at 1/4": (32 * 32, 64, 9, 64),
    "ResNet-50, 1x1 in layer1": (200 * 272, 64, 1, 256),
    "pyramid, 3x3 on P2": (200 * 272, 256, 9, 256),
    "proposals, 3x3 on P6": (13 * 17, 256, 9, 256),
    "box head, 1000 regions": (1000, 1024, 1, 49 * 256),
}


def card_seconds(places, outs, taps, ins):
    """Seconds that a convolution should take on an H100, on paper."""
    blocks, depth = ceil(places / TILE) * ceil(outs / TILE), ceil(taps * ins / DEPTH) * DEPTH
    at_once = PEAK / 2 * min(1, blocks / PROCESSORS)
    moved = 4 * (places * ins + places * outs + taps * ins * outs)
    return max(2 * blocks * TILE**2 * depth / at_once, moved / (0.8 * BANDWIDTH))


seconds = {name: card_seconds(*sizes) for name, sizes in LAYERS.items()}
show(gpu_figures.waits(seconds, LAUNCH), "Expected time of five layers, and of one launch")
assert [name for name, time in seconds.items() if time < LAUNCH] == list(LAYERS)[:1]
largest = seconds["pyramid, 3x3 on P2"]
assert round(1e3 * largest, 1) == 1.9
assert round(2 * prod(LAYERS["pyramid, 3x3 on P2"]) / largest / PEAK, 2) == 0.5
assert ceil(13 * 17 / TILE) * ceil(256 / TILE) == 16 == PROCESSORS - 116

# %% [markdown]
# The largest convolution takes 1.9 ms, at half the peak. The smallest level of the RPN has 16
# blocks, so 116 of the 132 processors are idle. And a layer of the tiny model is done before Python
# has launched the next one: fewer and larger kernels would help there, and faster ones would not.
#
# **None of this is a measurement.** What can be known without a GPU is in the tests. With `pip
# install -e '.[cuda]'`, `pytest -m cuda` compiles every kernel and runs the *compiled* form in an
# interpreter that reports races, stray reads and missed barriers, as ours did; `python -m
# tests.benchmarks.gpu_estimate` does the arithmetic above for every launch of the model. If you
# have a GPU, run `pytest -m cuda` and `tinymaskrcnn bench --device cuda` on it, and you will know
# more than we do.
#
# ## Exercises
#
# Write them in [lessons/exercises/18_gpu_kernels.py](exercises/18_gpu_kernels.py), in any order.
# `tinymaskrcnn learn 18` says which one is next and, for a wrong answer, shows the smallest input
# on which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `cells_of_thread` | fill | more numbers than threads: each thread takes several |
# | `patch_pixel` | fill | which number of the feature map is where in the matrix of patches |
# | `resident_blocks` | fill | how many blocks a processor holds at once |
# | `bank_turns` | vectorise | when shared memory makes a warp queue |
# | `tree_sum` | extend | the sum of a block's numbers, in few steps and without a race |
#
# ## Recap
#
# You now own the other machine: one thread per number, neighbours that read neighbours, a tile that
# is fetched once and used often, and barriers where one thread needs what another wrote.
#
# **Common mistakes.** No guard. Returning before a barrier that others wait at. One barrier where
# two are needed: after writing the tile, and after reading it. Trusting a right result: a race is
# in who touched what. Adding with atomics, and wondering why no run repeats. Many small launches.
#
# **Read next.** `tinymaskrcnn/ops/cuda_gemm.py` and `tinymaskrcnn/ops/conv2d/cuda.py`, then
# `tests/cuda/interpreter`. NVIDIA's CUDA C++ Programming Guide:
# https://docs.nvidia.com/cuda/cuda-c-programming-guide. From the naive kernel to the library's
# speed: https://siboehm.com/articles/22/CUDA-MMM. Then lesson 19: everything in one file.
