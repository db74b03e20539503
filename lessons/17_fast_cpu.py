# %% [markdown]
# # 17 · Fast on a CPU: from loops to near the machine's limit
#
# **A detector on a laptop is slow or fast by a factor of thousands, with the same arithmetic. You
# climb that ladder rung by rung, and measure how far the top is on your own machine.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | convolution (lesson 02); to have seen a kernel, as in lesson 06 | 45 | 5 |
#
# Afterwards you can
#
# - say how fast a kernel could be at best, before you write it;
# - tell whether one waits for its arithmetic or for the memory;
# - turn a loop into one that a processor likes: order, vectors, registers, threads;
# - see when no loop helps, and only less work or fewer passes over memory do.

# %%
import numpy as np
from numba import prange

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
from tinymaskrcnn.ops.simd import LANES, TILE_ROWS
from tinymaskrcnn.tensor import Tensor

# %% [markdown]
# ## The question
#
# One 3x3 convolution with a single channel, over a photo: it finds edges. ResNet-50 has fifty
# layers, most with hundreds of channels. Its paper counts 3.8 billion multiply-adds for a picture
# of 224x224 (lesson 04's 4.1 are torchvision's variant, which halves the map one layer later in
# each stage). One of 800x1066 has 17 times as many pixels, and a multiply-add is two operations:
# some 130 billion. A processor core does a few billion *clock ticks* a second. So who wants an
# answer within a second has to get many operations out of every tick.

# %%
photo = sample_photo("portrait").mean(axis=0)[None, :, :, None]
edges_across = np.float32([[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]])[None, None]
found = conv2d(Tensor(photo), Tensor(edges_across), padding=1).data
both = {"a photo": photo[0, ..., 0], "one filter over it": np.abs(found[0, ..., 0])}
show(picture_row(both, side=3.4), "A photo in grey, and where its brightness changes sideways")
assert found.shape == photo.shape
assert round(800 * 1066 / 224**2) == 17 and round(2 * 3.8 * 17, -1) == 130

# %% [markdown]
# ## By hand
#
# Before any loop is written, two numbers say how fast it can be: what it *computes* and what it
# *moves*. Take a machine that does 100 operations in a nanosecond, and whose memory moves 20 bytes
# in that time. The two keep pace where a kernel does 5 operations for each byte.
#
# **ReLU** reads a number of 4 bytes, compares it with zero, and writes 4 bytes: 1 operation for 8
# bytes. In a nanosecond 20 bytes move, and 2.5 operations happen. The processor idles 97.5 % of the
# time, and no cleverness inside the loop changes that.
#
# **A 3x3 convolution** with 64 channels in and out: at each pixel 64 sums of 9 * 64 products, two
# operations each, makes 73 728. It reads 64 numbers and writes 64, that is 512 bytes. 144
# operations for each byte: the memory can lean back, if the loop is good enough to use every number
# often while it is near.

# %%
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
# | W | `work` | operations |
# | Q | | bytes to and from memory |
# | π | `peak` | operations a second that the processor can do |
# | β | `bandwidth` | bytes a second that the memory can move |
#
# Drawn over W / Q it looks like a roof: rising where memory decides, flat where the processor does.
# Here is yours. The peak is measured with multiply-adds that touch nothing but registers, the
# bandwidth by copying an array too large for any cache. A GFLOP/s is a billion operations a second.

# %%
peak, bandwidth = multiply_add_rate(), memory_rate()
print(f"peak {peak / 1e9:.0f} GFLOP/s, memory {bandwidth / 1e9:.1f} GB/s")
show(
    roofline(peak, bandwidth, {"ReLU": 1 / 8, "3x3 convolution, 64 channels": 144}),
    "The roofline of this machine, with two kernels at the best that they can reach",
)

# %% [markdown]
# ## One item, in loops
#
# The work horse of a network is the product of two matrices: a fully connected layer is one, a 1x1
# convolution is one for all pixels, a 3x3 convolution is nine that are added. One number of it:


# %%
def product_one(a, b, i, j):
    """Number (i, j) of the product of a (M, K) and b (K, N)."""
    total = 0.0
    for k in range(a.shape[1]):
        total += a[i, k] * b[k, j]
    return total


rng = np.random.default_rng(17)
a, b = (rng.standard_normal((384, 384)).astype(np.float32) for _ in range(2))
right, work = a @ b, 2 * 384**3
assert np.isclose(product_one(a, b, 3, 5), right[3, 5], atol=1e-3)

# %% [markdown]
# The ladder starts here. Each rung is measured in operations a second, and must give the same
# numbers.

# %%
rungs = {"Python's loop": 2 * 384 / best_time(lambda: product_one(a, b, 3, 5))}

# %% [markdown]
# ## All items, in NumPy
#
# A row of the result at once: Python runs 384 times less often, and the sums happen in compiled
# code. `a @ b` itself goes to a library that stands near the top; it is what we compare with, not
# what we use, for its threads and ours would fight for the same cores.


# %%
def by_numpy_rows(a, b):
    """The product, a row at a time."""
    return np.stack([(row[:, None] * b).sum(axis=0) for row in a])


np.testing.assert_allclose(by_numpy_rows(a, b), right, atol=1e-3)
rungs["NumPy, row by row"] = work / best_time(lambda: by_numpy_rows(a, b), 2)

# %% [markdown]
# ## The CPU kernel: four rungs
#
# **Compiled, in the order of the formula.** Numba makes machine code of the same three loops. The
# innermost walks down a *column* of `b`: each step lands 384 numbers further on, in another line of
# the cache, of which it uses one number out of sixteen.
#
# **Another order.** Swap the two inner loops. Now the innermost walks along a row of `b` and a row
# of the result: neighbours in memory. The compiler handles a whole vector of them with one
# instruction. Not one operation less, the same sums in the same order.
#
# **All threads.** Rows of the result are independent: `prange` hands them out, no thread writes
# what another reads.


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
    """As along_rows, the rows shared among the threads."""
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
# **Registers.** The last loop still loads `out[i, j]`, adds to it, and stores it again, for *every*
# product: three trips to the cache for one multiply-add. The cure is a tile: a block of the result,
# some rows high and two vectors wide, that stays in registers while `k` runs from end to end. A
# step of `k` then loads two vectors of `b` and one number for each row, and does a multiply-add for
# every vector of the tile.
#
# Compilers do not find that by themselves. So the package writes it out, instruction by
# instruction, for the width of your machine's vectors (`row_tile` in `tinymaskrcnn/ops/simd.py`).
# Around it stands an ordinary kernel, which cuts the matrices so that what is needed next is near.

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
show(rate_bars(rungs, peak), "Seven ways to multiply two matrices, and the peak of this machine")

# %% [markdown]
# Every rung computed the same numbers to a thousandth: the additions happen in another order, so
# the last digits differ. Where a bar goes beyond the peak, something else was running on this
# machine while the peak was measured; run the lesson again when it is idle.
#
# ## In the model: fewer passes, and less work
#
# **Fewer passes.** After a convolution comes a norm (times a number, plus a number) and a ReLU.
# Each is a pass over memory, on the slope of the roof. In one pass, it is read once and written
# once. NumPy needs three, with a temporary array for each.


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
# In the package, bias, norm, addition and ReLU ride along with the convolution that makes the
# numbers, while they are still in registers: the arguments `bias`, `add_residual` and `relu` of
# `row_tile`.
#
# **Less work.** At the flat part of the roof only fewer operations help. Winograd's algorithm
# computes four neighbouring outputs of a 3x3 filter from 16 products where the plain sum has 36:
# 2.25 times fewer. For sixteen outputs it takes 36 instead of 144, a fourth. It pays with additions
# and a few digits.

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
# A rate above the peak is no mistake here: the operations are counted as if nobody had saved any.
#
# Last, all of it in the whole model, beside its own plain NumPy form, on one picture.

# %%
model = maskrcnn_tiny(num_classes=4, seed=0).eval()
picture, _ = sample_set("shapes")[0]
quick = best_time(lambda: model.detect([picture]), 3)
with use("reference"):
    plain = best_time(lambda: model.detect([picture]), 1)
print(f"plain NumPy {1e3 * plain:.0f} ms, kernels {1e3 * quick:.0f} ms: {plain / quick:.1f} times")

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/17_fast_cpu.py](exercises/17_fast_cpu.py), in any order.
# `tinymaskrcnn learn 17` tells which one is next and, for a wrong answer, the smallest input on
# which it fails.
#
# | exercise | kind | what |
# |---|---|---|
# | `conv_operations` | fill | how much arithmetic a convolution is |
# | `attainable` | fill | the roof over one kernel |
# | `thread_ranges` | fill | rows for threads, fairly |
# | `box_means` | vectorise | windows whose size costs nothing |
# | `winograd_pair` | extend | six products made of four |
#
# ## Recap
#
# You now own the ladder: count, find the roof, order the loops along memory, keep a tile in
# registers, share rows among threads; and where memory is the wall, fuse; where arithmetic is, look
# for an algorithm.
#
# **Common mistakes.** Timing the first call, which compiles. Timing once: take the fastest of
# several, for everything else that runs only adds time. Optimising what is a hundredth of the
# whole. Forgetting to compare the result. Starting threads for work of microseconds. Trusting a
# rate that was counted with other operations than were done.
#
# **Read next.** `tinymaskrcnn/ops/conv2d/cpu_direct.py`, the same tile with pixels from anywhere;
# `tinymaskrcnn/jit.py`, how kernels are compiled and kept. Williams, Waterman and Patterson 2009,
# "Roofline". Goto and van de Geijn 2008, "Anatomy of high-performance matrix multiplication". Then
# lesson 18: the same on a GPU.
