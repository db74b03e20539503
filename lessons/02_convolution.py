# %% [markdown]
# # 02 · Convolution
#
# **One small rule, applied at every place of a picture; nine tenths of the model's work is
# this.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lesson 01: what a gradient is, and `Tensor` | 45 | 6 |
#
# Afterwards you can
#
# - compute a convolution on paper, with padding, stride and dilation, and say how large the
#   result is;
# - read the vectorised form: one matrix product for each cell of the kernel;
# - derive both gradients, and see that they are convolutions again;
# - say what the first layer of the trained model looks for.

# %%
import time

import numpy as np

from lessons.figures.diagrams import number_tables
from lessons.figures.plots import picture_row
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import sample_photo, sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.functional import conv2d
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.conv2d import cpu, reference
from tinymaskrcnn.tensor import Tensor

# %% [markdown]
# ## The question
#
# Where in this photo are edges, and which way do they run? We want a rule that looks at a few
# neighbouring pixels and answers with a number, and that is *the same everywhere*: a wheel is a
# wheel on the left and on the right. Below are the photo in grey and what three such rules
# answer. Each rule is nine numbers. How do nine numbers see an edge?

# %%
grey = sample_photo("bus").mean(axis=0)[90:330, 100:590]
RULES = {
    "left darker than right": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "above darker than below": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "brighter than its surroundings": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
}
rules = np.array(list(RULES.values()), np.float32)[:, None]  # (3, 1, 3, 3)
answers = conv2d(grey[None, :, :, None], rules, padding=1).data[0]  # (H, W, 3)
maps = {"the photo in grey": grey[None].repeat(3, axis=0)} | {
    name: np.clip(answers[:, :, k], -1, 1) for k, name in enumerate(RULES)
}
show(picture_row(maps, columns=2, side=3.8), "A bus in grey, and three maps of where edges are")

# %% [markdown]
# ## By hand
#
# Lay the 3x3 kernel on a 3x3 part of the picture, multiply cell by cell, and sum. That is one
# number of the result. Move the kernel one pixel on, and do it again.
#
# Below the picture is dark (0) on the left and bright (2) from column 3 on. With its upper left
# corner at column 0, the kernel's right column lies on dark pixels too: everything is 0. One step
# further its right column lies on 2s: 2·1 + 2·2 + 2·1 = 8. Two steps further both its middle and
# right columns are bright; the middle has zeros, so again 8. The kernel answers where dark meets
# bright, and is silent where nothing changes.
#
# A picture of 5 columns has room for 3 positions of a kernel of 3. So the result is smaller, 3x3.
# **Padding** puts zeros around the picture, so that the kernel can hang over the edge: with one
# ring of zeros the result is 5x5 again. (Its right column then answers -8: where the picture
# ends, bright meets the zeros.)
#
# **Stride** 2 moves the kernel two pixels at a time: with padding, every second row and column of
# that result is left, 3x3, and its middle row is 0, 8, -8. **Dilation** 2 pulls the kernel's cells
# apart, one pixel between neighbours, to see wider with as many numbers. Its columns then lie on
# columns 0, 2 and 4 of the picture. There is room for one position, and the answer is again 2·1 +
# 2·2 + 2·1 = 8.

# %%
step = np.zeros((5, 5), np.float32)
step[:, 3:] = 2
valid = conv2d(step[None, :, :, None], rules[:1]).data[0, :, :, 0]
padded = conv2d(step[None, :, :, None], rules[:1], padding=1).data[0, :, :, 0]
strided = conv2d(step[None, :, :, None], rules[:1], padding=1, stride=2).data[0, :, :, 0]
dilated = conv2d(step[None, :, :, None], rules[:1], dilation=2).data[0, :, :, 0]
by_hand = {"picture": step, "kernel": rules[0, 0], "result": valid, "with padding 1": padded}
by_hand |= {"and stride 2": strided, "dilation 2": dilated}
show(number_tables(by_hand, "{:.0f}"), "A picture with one edge, the kernel, and four results")
assert valid.tolist() == [[0, 8, 8]] * 3
assert padded.shape == (5, 5) and padded[2].tolist() == [0, 0, 8, 8, -8]
assert strided.shape == (3, 3) and strided[1].tolist() == [0, 8, -8]
assert dilated.tolist() == [[8]]

# %% [markdown]
# ## The maths
#
# A picture has several channels (red, green, blue; later dozens), and a layer has several
# kernels, each as deep as the picture and each with a result of its own:
#
# $$ y_{i,j,o} = b_o + \sum_{r,s,c} x_{\,i S + r D - P,\; j S + s D - P,\; c}\; w_{o,c,r,s} $$
#
# $$ H' = \left\lfloor \frac{H + 2P - D (K - 1) - 1}{S} \right\rfloor + 1 $$
#
# | symbol | variable | shape |
# |---|---|---|
# | x | `x` | (N, H, W, C): channels last, one after the other in memory |
# | w | `weight` | (O, C, K, K): as in PyTorch, so that its files fit |
# | b | `bias` | (O,) |
# | y | `y` | (N, H', W', O) |
# | S, P, D | `stride`, `padding`, `dilation` | (2,) each: rows, columns |
#
# Outside the picture x is 0. Strictly this is a *cross-correlation*: a mathematician's
# convolution flips the kernel first. Since the numbers are learnt, nobody flips.
#
# One thing the formula leaves out: with **groups**, channels are cut into parts, and each part of
# the result is made of its own part of the picture. Mask R-CNN has one group, all channels.
#
# ## One item, in loops: one number of the result


# %%
def conv_pixel(x, weight, i, j, o, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Channel o of the result at row i, column j.

    x is one picture (H, W, C), weight (O, C / groups, kH, kW). With groups, output channels are cut
    into as many parts as input channels, and each part sees only its own.
    """
    height, width, _ = x.shape
    outs, ins, kernel_height, kernel_width = weight.shape
    first = o // (outs // groups) * ins
    total = 0.0
    for r in range(kernel_height):
        for s in range(kernel_width):
            h = i * stride[0] + r * dilation[0] - padding[0]
            w = j * stride[1] + s * dilation[1] - padding[1]
            if 0 <= h < height and 0 <= w < width:
                for c in range(ins):
                    total += float(x[h, w, first + c]) * float(weight[o, c, r, s])
    return total


assert [conv_pixel(step[:, :, None], rules, 2, j, 0) for j in range(3)] == [0, 8, 8]
assert conv_pixel(step[:, :, None], rules, 2, 4, 0, padding=(1, 1)) == -8

# %% [markdown]
# ## All items, in NumPy
#
# Six loops around a product. Which can NumPy take over? Look at one cell (r, s) of the kernel, a
# *tap*. Over all output pixels it reads the picture shifted by (r, s), and multiplies each
# pixel's C channels with an O by C matrix. That is a matrix product over the whole picture. So
# nine taps are nine shifted pictures, nine matrix products, and their sum: two loops are left,
# over the kernel, which is small.

# %%
show(reference.conv2d)
show(reference._taps)

# %%
rng = np.random.default_rng(2)
x = rng.standard_normal((2, 7, 6, 4)).astype(np.float32)
weight = rng.standard_normal((6, 2, 3, 3)).astype(np.float32)
settings = ((2, 1), (1, 1), (1, 2), 2)  # stride, padding, dilation, groups
y = reference.conv2d(x, weight, None, None, *settings, False)  # no bias, nothing added, no ReLU
loops = np.zeros(y.shape)
for n, i, j, o in np.ndindex(y.shape):
    loops[n, i, j, o] = conv_pixel(x[n], weight, i, j, o, *settings)
np.testing.assert_allclose(y, loops, atol=1e-5)
assert y.shape == (2, 4, 4, 6)

ringed = np.pad(grey, 1)
shifted = {
    f"tap ({r}, {s}) times {rules[0, 0, r, s]:.0f}": ringed[r : r + 240, s : s + 490]
    * rules[0, 0, r, s]
    for r, s in ((0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2))
}
show(picture_row(shifted, columns=3), "Six shifted copies of the photo, the left ones negative")
np.testing.assert_allclose(sum(shifted.values()), answers[:, :, 0], atol=1e-5)

# %% [markdown]
# The six copies whose factor is not 0 sum to the first map at the top of this page.
#
# ## The CPU kernel
#
# The products above read and write the whole result nine times. The compiled form keeps a *tile*
# of the result, some pixels by some channels, in the processor's registers, runs through all taps
# and channels, and writes each number once. Nothing is copied: a table says for each tap where
# its pixels lie, and a tap outside the picture reads a row of zeros. That is in
# `tinymaskrcnn/ops/conv2d/cpu_direct.py` and in lesson 17. What the package calls comes first, and
# only chooses among three such kernels.

# %%
show(cpu.conv2d)

# %% [markdown]
# **Which loop is split.** Blocks of output pixels go to the threads; each writes its own pixels
# and only reads what is shared. The order of every sum is fixed, so the result is the same for
# any number of threads.
#
# **Winograd.** A 3x3 kernel with stride 1 takes 9 products for each output number. Winograd's
# form transforms tiles of the picture and the kernel by additions, multiplies there, and
# transforms back: a 4x4 tile of the result for 36 products instead of 144. It trades exactness
# for speed, a few units in the sixth digit; `tm.set_winograd(0)` turns it off. Printed are billions
# of products and sums a second, as the plain form would need them.

# %%
assert 16 * 9 == 144 and (4 + 3 - 1) ** 2 == 36
wide = rng.standard_normal((1, 80, 80, 64)).astype(np.float32)
deep = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
same = ((1, 1), (1, 1), (1, 1), 1)
results = {}
for implementation in (reference, cpu):
    seconds = []
    for _ in range(4):  # the first may compile
        start = time.perf_counter()
        results[implementation] = implementation.conv2d(wide, deep, None, None, *same, False)
        seconds.append(time.perf_counter() - start)
    rate = 2 * 80 * 80 * 64 * 64 * 9 / min(seconds[1:]) / 1e9
    print(f"{implementation.__name__:<40} {rate:7.1f} GFLOP/s")
off = np.abs(results[cpu] - results[reference]).max() / np.abs(results[reference]).max()
assert off < 1e-5

# %% [markdown]
# ## The GPU kernel
#
# A graphics card runs one function in thousands of *threads* at once. Here a *block* of 256 threads
# has a tile of the result, 64 pixels by 64 channels, which is 16 numbers a thread: thread (tx, ty)
# has every 16th pixel from ty on, by every 16th channel from tx on. Each number is written by one
# thread. They wait for each other only when the block brings the next pixels and weights into the
# memory that it shares. Lesson 18 tells how, and runs this function without a card.

# %%
gather = kernels_of("ops.conv2d.cuda")._gather
show(gather)
assert gather.threads == (16, 16) and 64 * 64 // (16 * 16) == 16

# %% [markdown]
# ## The gradient
#
# A number y[i, j] was made of the pixels under the kernel, each times its weight. So, by lesson
# 01's rule for products:
#
# - a **pixel** receives, from each result it helped to make, that result's gradient times the
#   weight it was multiplied with. Collected over all taps, this is a convolution of the gradient
#   with the kernel turned by half a circle;
# - a **weight** receives, from each place it was laid on, the gradient there times the pixel
#   below it. One number for each weight, summed over the whole picture: that is why weights learn
#   from every place at once.


# %%
def conv_weight_gradient(
    grad, x, o, c, r, s, outs=1, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
):
    """Gradient of weight[o, c, r, s], from one picture x (H, W, C) and its result's gradient (H',
    W', O).

    outs is O, of which there are O / groups in each group.
    """
    channel = o // (outs // groups) * (x.shape[2] // groups) + c
    total = 0.0
    for i in range(grad.shape[0]):
        for j in range(grad.shape[1]):
            h = i * stride[0] + r * dilation[0] - padding[0]
            w = j * stride[1] + s * dilation[1] - padding[1]
            if 0 <= h < x.shape[0] and 0 <= w < x.shape[1]:
                total += float(grad[i, j, o]) * float(x[h, w, channel])
    return total


picture = Tensor(step[None, :, :, None], requires_grad=True)
kernel = Tensor(rules[:1], requires_grad=True)
only_one = np.zeros((1, 5, 5, 1), np.float32)
only_one[0, 2, 2] = 1
conv2d(picture, kernel, padding=1).backward(only_one)
received = {"pixels receive": picture.grad[0, :, :, 0], "weights receive": kernel.grad[0, 0]}
show(number_tables(received, "{:.0f}"), "The gradient of the one output number at row 2, column 2")
assert picture.grad[0, 1:4, 1:4, 0].tolist() == RULES["left darker than right"]
assert kernel.grad[0, 0].tolist() == [[0, 0, 2]] * 3
assert conv_weight_gradient(only_one[0], step[:, :, None], 0, 0, 1, 2, padding=(1, 1)) == 2

gradcheck(
    lambda a, b: conv2d(a, b, stride=2, padding=1), np.float64(x[:1, :, :, :2]), np.float64(weight)
)

# %% [markdown]
# The picture shows both rules for one output number: the pixels receive the kernel, the weights
# receive the pixels. `gradcheck` compares the package's derivatives with differences of the
# function itself.
#
# ## In the model
#
# The first layer of the trained shapes model has 16 kernels of 3x3 over red, green and blue, with
# stride 2. Nobody wrote them: they started as random numbers. Here they are as small pictures,
# and what four of them answer.

# %%
model = load_model("shapes")
first = model.backbone.body.conv1
assert first.weight.shape == (16, 3, 3, 3)
looks = first.weight.data / (2 * np.abs(first.weight.data).max(axis=(1, 2, 3), keepdims=True)) + 0.5
show(
    picture_row({str(o): looks[o] for o in range(16)}, columns=8, side=1.1),
    "Sixteen 3x3 colour kernels: edges, and contrasts of colours",
)
image, _ = sample_set("shapes")[4]
responses = conv2d(image.transpose(1, 2, 0)[None], first.weight.data, None, 2, 1).data[0]
kernels = first.weight.data.reshape(16, 27)
edge_rules = rules[:2].repeat(3, axis=1).reshape(2, 27)  # this page's first two, on every colour
alike = np.abs(kernels @ edge_rules.T).max(axis=1) / np.linalg.norm(kernels, axis=1)
alike /= np.linalg.norm(edge_rules[0])  # cosines
edges = np.argsort(alike)[::-1][:2]
strongest = [o for o in np.argsort(responses.std(axis=(0, 1)))[::-1] if o not in edges][:2]
answered = {"picture": image}
answered |= {f"kernel {o}, like an edge rule": responses[:, :, o] for o in edges}
answered |= {f"kernel {o}, varies most": responses[:, :, o] for o in strongest}
show(
    picture_row(answered, columns=5, side=2.4),
    "A picture of shapes and the answers of four kernels",
)
assert alike[edges[0]] > 0.6
assert responses.shape == (64, 64, 16)

# %% [markdown]
# Some are edge finders much like ours at the top (the first two shown), some react to a colour.
# From 128x128 pixels with 3 channels came 64x64 places with 16: less place, more meaning. The rest
# of the network does that again and again.
#
# ## Exercises
#
# Write them in [lessons/exercises/02_convolution.py](exercises/02_convolution.py); `tinymaskrcnn
# learn 02` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `convolve` | build | the lesson's convolution, of whole pictures |
# | `output_size` | fill | how large a convolution's result is |
# | `receptive_field` | fill | how much of the picture one number of a deep layer has seen |
# | `window_columns` | vectorise | all windows of a picture as rows of one matrix ("im2col") |
# | `depthwise` | vectorise | a convolution in which channels do not mix |
# | `input_gradient` | extend | the gradient of the picture, as a convolution again |
#
# ## Recap
#
# You now own the layer that everything else is made of: a kernel, slid over a picture, and its
# two gradients. All convolutions of the model run through `tinymaskrcnn.functional.conv2d`.
#
# **Common mistakes.** Forgetting that the result shrinks without padding. Reading (N, C, H, W)
# where (N, H, W, C) is meant: the package says so when the channels cannot be right. Dividing the
# stride's size without rounding down. Turning the kernel in the forward pass. Not turning it in
# the gradient.
#
# **Read next.** Dumoulin and Visin 2016, "A guide to convolution arithmetic",
# https://arxiv.org/abs/1603.07285; Lavin and Gray 2016 on Winograd's form,
# https://arxiv.org/abs/1509.09308; `tinymaskrcnn/ops/conv2d/op.py` and `cpu_direct.py`. Then
# lesson 03: what stands between two convolutions.
