# %% [markdown]
# # 17 · Fast on a CPU: from loops to near the machine's limit
#
# **With the same arithmetic, a detector on a laptop can be fast or thousands of times slower. Climb
# that ladder rung by rung, and measure how far the top is on your own machine.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | convolution (lesson 02), IoU in NumPy (lesson 06) | 45 | 5 |
#
# Afterwards you can
#
# - say how fast a kernel could be at best, before you write it;
# - tell whether a kernel waits for its arithmetic or for memory;
# - turn a loop into one that a processor likes: order, vectors, registers, threads;
# - see when no loop helps, but only less work or fewer passes over memory.

# %% tags=["hide-input"]
import numpy as np
from numba import prange

from lessons.figures.architecture import architecture
from lessons.figures.plots import picture_row
from lessons.figures.show import show
from lessons.figures.speed import rate_bars, roofline
from lessons.peak import best_time, memory_rate, multiply_add_rate
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import maskrcnn_tiny, set_winograd, use
from tinymaskrcnn.autograd import no_grad
from tinymaskrcnn.functional import conv2d, linear
from tinymaskrcnn.jit import kernel, serial
from tinymaskrcnn.ops.conv2d.winograd import winograd_size
from tinymaskrcnn.ops.linear import cpu as linear_cpu
from tinymaskrcnn.ops.simd.emitter import LANES, TILE_ROWS
from tinymaskrcnn.tensor import Tensor

show(architecture("CPU"), "In Mask R-CNN: CPU")

# %% [markdown]
# ## Before you read
#
# So far: the model is complete, trained and measured. From here on it only gets faster.
#
# 1. How many products does one output value of a 3x3 convolution with 64 input channels take
#    (lesson 02)?
# 2. What does a padding of 1 do to the size of a 3x3 convolution's output (lesson 02)?
# 3. How do you compute the IoU of all pairs of boxes without a loop (lesson 06)?
#
# <details><summary>Answers</summary>
#
# 1. 9 * 64 = 576.
# 2. It keeps it equal to the input's size.
# 3. Give one set of boxes an extra axis, and let NumPy broadcast them against the other set.
#
# </details>
#
# ## The question
#
# Below is one 3x3 convolution with a single channel, applied to a photo: it finds edges. ResNet-50
# has fifty layers, most of them with hundreds of channels. Its paper counts 3.8 billion
# *multiply-adds* (one product, added to a sum) for an image of 224x224. (Lesson 04's 4.1 billion
# are torchvision's variant, which halves the feature map one layer later in each stage.) An image
# of 800x1066 has 17 times as many pixels, and a multiply-add is two operations: some 130 billion. A
# processor core does a few billion *clock ticks* per second. So if you want an answer within a
# second, each tick must do many operations.

# %% tags=["hide-input"]
photo = sample_photo("portrait").mean(axis=0)[None, :, :, None]
edges_across = np.float32([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
found = conv2d(Tensor(photo), Tensor(edges_across), padding=1).data
both = {"a photo": photo[0, ..., 0], "one filter over it": np.abs(found[0, ..., 0])}
show(picture_row(both, side=3.4), "A photo in grey, and where its brightness changes sideways")
assert found.shape == photo.shape and 9 * 64 == 576
assert round(800 * 1066 / 224**2) == 17 and round(2 * 3.8 * 17, -1) == 130

# %% [markdown]
# ## By hand
#
# Before you write a loop, two numbers say how fast it can be: how much it *computes* and how much
# it *moves*. Take a machine that does 100 operations per nanosecond, and whose memory moves 20
# bytes in that time. The two keep pace if a kernel does 5 operations per byte. The operations per
# byte are called its *arithmetic intensity*.
#
# **ReLU** reads a number of 4 bytes, compares it with zero, and writes 4 bytes: 1 operation per 8
# bytes. In a nanosecond 20 bytes move, and 2.5 operations happen. The processor idles 97.5 % of the
# time, and no cleverness inside the loop changes that.
#
# **A 3x3 convolution** with 64 channels in and out needs, at each pixel, 64 sums of 9 * 64
# products, with two operations each: 73 728. It reads 64 numbers and writes 64, which is 512 bytes.
# That makes 144 operations per byte. Memory is not the bottleneck, provided the loop reuses each
# number while it is in the *cache*, the small fast memory beside the processor.

# %% tags=["hide-input"]
peak_by_hand, bytes_by_hand = 100, 20
assert peak_by_hand / bytes_by_hand == 5
assert 1 / 8 * bytes_by_hand == 2.5 and 1 - 2.5 / peak_by_hand == 0.975
assert 2 * 9 * 64 * 64 == 73728 and (64 + 64) * 4 == 512 and 73728 / 512 == 144

# %% [markdown]
# ## The maths
#
# $$ t \ \ge\ \max\left(\frac{W}{\pi},\ \frac{Q}{\beta}\right) \qquad
#    \text{rate} \ \le\ \min\left(\pi,\ \beta \cdot \frac{W}{Q}\right) $$
#
# | symbol | variable | meaning |
# |---|---|---|
# | t | | seconds |
# | W | `work` | operations |
# | Q | | bytes to and from memory |
# | π | `peak` | operations per second that the processor can do |
# | β | `bandwidth` | bytes per second that the memory can move |
#
# Plotted against W / Q this looks like a roof, the *roofline*: it rises where memory is the limit,
# and is flat where the processor is. Here is yours. We measure the peak with multiply-adds that
# touch nothing but registers, and the bandwidth by copying an array too large for any cache. One
# GFLOP/s is a billion floating-point operations (FLOP) per second.

# %%
peak, bandwidth = multiply_add_rate(), memory_rate()
print(f"peak {peak / 1e9:.0f} GFLOP/s, memory {bandwidth / 1e9:.1f} GB/s")
show(
    roofline(peak, bandwidth, {"ReLU": 1 / 8, "3x3 convolution, 64 channels": 144}),
    "The roofline of this machine, and the most that two kernels can reach",
)

# %% [markdown]
# ## One item, in loops
#
# The workhorse of a network is *matrix multiplication* (GEMM, for general matrix multiply): a fully
# connected layer is one, a 1x1 convolution is one over all pixels, and a 3x3 convolution is nine of
# them, added up. This is one number of the product:


# %%
def product_one(a, b, i, j):
    """Element (i, j) of the product of a (M, K) and b (K, N)."""
    total = 0.0
    for k in range(a.shape[1]):
        total += a[i, k] * b[k, j]
    return total


rng = np.random.default_rng(17)
a, b = (rng.standard_normal((384, 384)).astype(np.float32) for _ in range(2))
right, work = a @ b, 2 * 384**3
assert np.isclose(product_one(a, b, 3, 5), right[3, 5], atol=1e-3)

# %% [markdown]
# The ladder starts here. For each rung we measure the operations per second, and check that it
# gives the same numbers.
#
# **Predict.** There are seven rungs: Python's loop, NumPy row by row, three compiled loops,
# register tiles, and NumPy's own library. How many times faster than the first is the last?

# %%
rungs = {"Python's loop": 2 * 384 / best_time(lambda: product_one(a, b, 3, 5))}

# %% [markdown]
# ## All items, in NumPy
#
# Compute one row of the result at a time: Python runs 384 times less often, and the sums happen in
# compiled code. `a @ b` itself calls a library that is near the top. We compare with it but do not
# use it, because its threads and ours would fight for the same cores.


# %%
def by_numpy_rows(a, b):
    """The product, one row at a time."""
    return np.stack([(row[:, None] * b).sum(axis=0) for row in a])


np.testing.assert_allclose(by_numpy_rows(a, b), right, atol=1e-3)
rungs["NumPy, row by row"] = work / best_time(lambda: by_numpy_rows(a, b), 2)

# %% [markdown]
# ## The CPU kernel: four rungs
#
# **Compiled, in the order of the formula.** Numba turns the same three loops into machine code. The
# innermost loop walks down a *column* of `b`: each step lands 384 numbers further on, in another
# line of the cache, and uses one of the sixteen numbers in that line.
#
# **Another order.** Swap the two inner loops. Now the innermost walks along a row of `b` and a row
# of the result, which are neighbours in memory. The compiler handles a whole vector of them with
# one instruction (*SIMD*: single instruction, multiple data). It saves no operation: these are the
# same sums in the same order.
#
# **All threads.** The rows of the result are independent: `prange` shares them out, and no thread
# writes what another reads.


# %%
@serial
def by_formula(a, b, out):
    """i, j, k: the innermost loop jumps through b."""
    for i in range(a.shape[0]):
        for j in range(b.shape[1]):
            total = np.float32(0)
            for k in range(a.shape[1]):
                total += a[i, k] * b[k, j]
            out[i, j] = total


@serial
def along_rows(a, b, out):
    """i, k, j: the innermost loop walks along rows."""
    out[:] = 0
    for i in range(a.shape[0]):
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[i, j] += a[i, k] * b[k, j]


@kernel
def with_threads(a, b, out):
    """Like along_rows, with the rows shared among the threads."""
    for i in prange(a.shape[0]):
        out[i] = 0
        for k in range(a.shape[1]):
            for j in range(b.shape[1]):
                out[i, j] += a[i, k] * b[k, j]


out = np.empty_like(right)
compiled = {"formula's order": by_formula, "along rows": along_rows, "threads": with_threads}
for name, function in compiled.items():
    function(a, b, out)
    np.testing.assert_allclose(out, right, atol=1e-3)
    rungs[name] = work / best_time(lambda f=function: f(a, b, out))

# %% [markdown]
# **Registers.** For *every* product, the last loop still loads `out[i, j]`, adds to it, and stores
# it: with the load of `b`, three trips to the cache for one multiply-add. The cure is a tile: a
# block of the result, a few rows high and two vectors wide, that stays in registers while `k` runs
# from end to end. A step of `k` then loads two vectors of `b` and one number per row of `a`, and
# does one multiply-add per vector of the tile.
#
# Compilers do not find this on their own. So the package writes it out, instruction by instruction,
# for the width of your machine's vectors (`row_tile` in `tinymaskrcnn/ops/simd/row_tile.py`).
# Around it is an ordinary kernel, which cuts the matrices so that whatever is needed next is near.

# %%
show(linear_cpu._multiply)
print(f"a step of k: {2 + TILE_ROWS} loads, {2 * TILE_ROWS} multiply-adds of {LANES} numbers")
x, weight = Tensor(a), Tensor(np.ascontiguousarray(b.T))
with no_grad():
    np.testing.assert_allclose(linear(x, weight).data, right, atol=1e-3)
    rungs["register tiles"] = work / best_time(lambda: linear(x, weight), 20)
rungs["NumPy's library"] = work / best_time(lambda: a @ b, 20)
for name, rate in rungs.items():
    print(f"{name:<18} {rate / 1e9:9.3f} GFLOP/s, {100 * rate / peak:8.4f} % of the peak")
show(rate_bars(rungs, peak), "Seven ways to multiply two matrices, and this machine's peak")

# %% [markdown]
# All rungs agree to a thousandth. The additions happen in different orders, so the last digits
# differ. If a bar goes beyond the peak, something else was running while the peak was measured; run
# the lesson again when the machine is idle.
#
# ## In the model: fewer passes, and less work
#
# (The stages that all this speeds up: <a href="explain_shapes.html">the page of every stage</a>.)
#
# **Fewer passes.** After a convolution comes a normalisation layer (times a number, plus a number)
# and a ReLU. Each is a pass over memory, on the slope of the roof. NumPy needs three passes, each
# with a temporary array. A single pass reads each number once and writes it once.


# %%
@kernel
def fused(x, scale, shift, out):
    """max(x * scale + shift, 0) in one pass."""
    for i in prange(x.size):
        out[i] = max(x[i] * scale + shift, np.float32(0))


values = rng.standard_normal(1 << 22).astype(np.float32)
scale, shift, once = np.float32(0.7), np.float32(0.1), np.empty_like(values)
fused(values, scale, shift, once)
np.testing.assert_allclose(once, np.maximum(values * scale + shift, 0), atol=1e-6)
three = best_time(lambda: np.maximum(values * scale + shift, 0))
one = best_time(lambda: fused(values, scale, shift, once))
print(f"three passes {1e3 * three:.2f} ms, one pass {1e3 * one:.2f} ms")
print(f"the one pass moves {2 * values.nbytes / one / 1e9:.0f} GB/s of {bandwidth / 1e9:.0f}")

# %% [markdown]
# In the package, the bias, normalisation, addition and ReLU are done by the convolution that
# produces the numbers, while these are still in registers: see the arguments `bias`, `add_residual`
# and `relu` of `row_tile`.
#
# **Less work.** Under the flat part of the roof, only fewer operations help. Winograd's algorithm
# computes four neighbouring outputs of a 3x3 filter with 16 products where the plain sum has 36:
# 2.25 times fewer. For sixteen outputs it takes 36 instead of 144, a quarter. The price is more
# additions, and a few digits of precision.

# %%
assert 4 * 9 / 16 == 2.25 and 16 * 9 / 36 == 4
maps = Tensor(rng.standard_normal((1, 64, 64, 64)).astype(np.float32))
filters = Tensor((rng.standard_normal((64, 64, 3, 3)) / 24).astype(np.float32))
before, results, conv_work = winograd_size(), {}, 2 * 64 * 64 * 64 * 64 * 9
with no_grad():
    for size in (0, 2, 4):
        set_winograd(size)
        results[size] = conv2d(maps, filters, padding=1).data.copy()
        rate = conv_work / best_time(lambda: conv2d(maps, filters, padding=1), 20)
        kind = f"Winograd for {size}x{size} outputs" if size else "direct sums"
        print(f"{kind:<26} {rate / 1e9:6.0f} GFLOP/s, counted as direct sums")
set_winograd(before)
np.testing.assert_allclose(results[2], results[0], atol=1e-4)
np.testing.assert_allclose(results[4], results[0], atol=1e-3)

# %% [markdown]
# A rate above the peak is no mistake here: the operations are counted as if none had been saved.
#
# Last, all of this in the whole model, on one image, compared with its plain NumPy form.

# %%
model = maskrcnn_tiny(num_classes=4, seed=0).eval()
image, _ = sample_set("shapes")[0]
quick = best_time(lambda: model.detect([image]), 3)
with use("reference"):
    plain = best_time(lambda: model.detect([image]), 1)
print(f"plain NumPy {1e3 * plain:.0f} ms, kernels {1e3 * quick:.0f} ms: {plain / quick:.1f}x")

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/17_fast_cpu.py](exercises/17_fast_cpu.py), in any order.
# `tinymaskrcnn learn 17` says which one is next and, for a wrong answer, shows the smallest input
# on which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `conv_operations` | fill | how much arithmetic a convolution takes |
# | `attainable` | fill | the roof over one kernel |
# | `thread_ranges` | fill | rows shared fairly among threads |
# | `box_means` | vectorise | the mean of a window, at a cost that does not depend on its size |
# | `winograd_pair` | extend | six products from four |
#
# ## Recap
#
# You now own the ladder: count, find the roof, order the loops along memory, keep a tile in
# registers, share the rows among threads. Where memory is the limit, fuse passes; where arithmetic
# is, look for a better algorithm.
#
# **Common mistakes.** Timing the first call, which compiles. Timing once: take the fastest of
# several runs, because whatever else is running only adds time. Optimising a hundredth of the
# whole. Not comparing the result. Starting threads for microseconds of work. Trusting a rate that
# counts other operations than were done.
#
# **Read next.** `tinymaskrcnn/ops/conv2d/README.md`: convolution's own ladder, with what each rung
# gains. `tinymaskrcnn/ops/conv2d/cpu/direct.py`: the same tile, with pixels from anywhere.
# `tinymaskrcnn/jit.py`: how kernels are compiled and kept. Williams, Waterman and Patterson 2009,
# "Roofline". Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication". Then
# lesson 18: the same on a GPU.
