# %% [markdown]
# # 02 · Convolution
#
# **One small rule, applied at every place of an image: most of the model's work is this.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 01 (gradients, `Tensor`) and 01b (layers) | 45 | 6 |
#
# Afterwards you can
#
# - compute a convolution on paper, with padding, stride and dilation, and say how large the result
#   is;
# - read the vectorised form: one matrix product for each cell of the kernel;
# - derive both gradients, and see that they are convolutions again;
# - say what the first layer of the trained model looks for.

# %% tags=["hide-input"]
import numpy as np

from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import number_tables
from lessons.figures.plots import picture_row
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import sample_photo, sample_set
from lessons.timing import milliseconds
from tinymaskrcnn import load_model
from tinymaskrcnn.functional import conv2d
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.ops.conv2d import reference
from tinymaskrcnn.tensor import Tensor

show(architecture("convolution"), "In Mask R-CNN: convolution")

cpu = cpu_kernels("conv2d")

# %% [markdown]
# ## Before you read
#
# So far: gradients flow back through a graph, and a small network learned from crops with them.
#
# 1. An output is a sum of products w · x. What is its derivative with respect to one w?
# 2. Why is there a ReLU between two linear layers?
# 3. What does one step of gradient descent do to a weight?
#
# <details><summary>Answers</summary>
#
# 1. The x that this w is multiplied with.
# 2. Without it, the two layers together are only one linear layer.
# 3. It subtracts the learning rate times the weight's gradient.
#
# </details>
#
# ## The question: how do nine numbers see an edge?
#
# Where in this photo are edges, and which way do they run? We want a rule that looks at a few
# neighbouring pixels and answers with one number. And it should be *the same everywhere*: a wheel
# is a wheel on the left and on the right. Below are the photo in grey and the answers of three such
# rules. Each rule is just nine numbers.

# %%
RULES = {
    "left darker than right": [[-1, 0, 1], [-2, 0, 2], [-1, 0, 1]],
    "above darker than below": [[-1, -2, -1], [0, 0, 0], [1, 2, 1]],
    "brighter than its surroundings": [[-1, -1, -1], [-1, 8, -1], [-1, -1, -1]],
}
grey = sample_photo("bus").mean(axis=0)[90:330, 100:590]
rules = np.array(list(RULES.values()), np.float32)[:, None]  # (3, 1, 3, 3)
answers = conv2d(grey[None, :, :, None], rules, padding=1).data[0]  # (H, W, 3)

# %% tags=["hide-input"]
maps = {"the photo in grey": grey[None].repeat(3, axis=0)} | {
    name: np.clip(answers[:, :, k], -1, 1) for k, name in enumerate(RULES)
}
show(picture_row(maps, columns=2, side=3.8), "A bus in grey, and three maps of where edges are")
assert rules[0].size == 9 and len(RULES) == 3

# %% [markdown]
# ## By hand: one kernel, one edge
#
# The nine numbers are a *kernel* (or filter). Lay it on a 3x3 part of the image, multiply cell by
# cell, and add up: that is one number of the result. Move the kernel one pixel to the right and do
# it again. This is a *convolution*; its result, one number per position, is a feature map. A
# network built mostly of such layers is a *convolutional neural network* (CNN).
#
# The image below is dark (0) on the left and bright (2) from column 3 on. With the kernel's upper
# left corner at column 0, its right column still lies on dark pixels, so every product is 0. One
# step further its right column lies on 2s: 2·1 + 2·2 + 2·1 = 8. Two steps further its middle and
# right columns are both on bright pixels; but the middle column holds zeros, so again 8. The kernel
# answers where dark meets bright, and is silent where nothing changes.
#
# An image of 5 columns has room for 3 positions of a kernel of width 3, so the result is smaller:
# 3x3. *Padding* puts zeros around the image so that the kernel can hang over the edge. With one
# ring of zeros the result is 5x5 again.
#
# *Stride* 2 moves the kernel two pixels at a time. With padding, that keeps every second row and
# column of the 5x5 result. *Dilation* 2 pulls the kernel's cells apart, leaving one pixel between
# neighbours, so that it sees wider with as few numbers: its columns lie on columns 0, 2 and 4 of
# the image. There is room for one position only, and the answer is again 2·1 + 2·2 + 2·1 = 8.
#
# **Predict.** With padding, the middle row of the result has five numbers. The first four are 0, 0,
# 8, 8. What is the last one, where the image ends? And which three are left with stride 2?

# %%
step = np.zeros((5, 5), np.float32)
step[:, 3:] = 2
valid = conv2d(step[None, :, :, None], rules[:1]).data[0, :, :, 0]
padded = conv2d(step[None, :, :, None], rules[:1], padding=1).data[0, :, :, 0]
strided = conv2d(step[None, :, :, None], rules[:1], padding=1, stride=2).data[0, :, :, 0]
dilated = conv2d(step[None, :, :, None], rules[:1], dilation=2).data[0, :, :, 0]
by_hand = {"image": step, "kernel": rules[0, 0], "result": valid, "with padding 1": padded}
by_hand |= {"and stride 2": strided, "dilation 2": dilated}
show(number_tables(by_hand, "{:.0f}"), "An image with one edge, the kernel, and four results")
assert valid.tolist() == [[0, 8, 8]] * 3
assert padded.shape == (5, 5) and padded[2].tolist() == [0, 0, 8, 8, -8]
assert strided.shape == (3, 3) and strided[1].tolist() == [0, 8, -8]
assert dilated.tolist() == [[8]]

# %% [markdown]
# The last number is -8: to the kernel, the zeros beyond the border are an edge from bright to dark.
# With stride 2 the middle row is 0, 8, -8.
#
# ## The maths
#
# An image has several *channels*: red, green, blue, and after the first layer dozens. A layer has
# several kernels. Each is as deep as its input, and each makes one channel of the output:
#
# $$ y_{i,j,o} = b_o + \sum_{r,s,c} x_{\,i S + r D - P,\; j S + s D - P,\; c}\; w_{o,c,r,s} $$
#
# $$ H' = \left\lfloor \frac{H + 2P - D (K - 1) - 1}{S} \right\rfloor + 1 $$
#
# | symbol | variable | shape or meaning |
# |---|---|---|
# | x | `x` | (N, H, W, C): N images of H rows, W columns and C channels, channels last |
# | w | `weight` | (O, C, K, K): O kernels of K rows and K columns, as PyTorch stores them |
# | b | `bias` | (O,) |
# | y | `y` | (N, H', W', O): H' rows and W' columns are left |
# | i, j, o | `i`, `j`, `o` | row, column and channel of one output number |
# | r, s, c | `r`, `s`, `c` | row, column and channel inside the kernel |
# | S, P, D | `stride`, `padding`, `dilation` | (2,) each: for rows, for columns |
#
# Outside the image x is 0. Strictly this is a *cross-correlation*: a mathematician's convolution
# flips the kernel first. Since the weights are learnt, nobody bothers to flip.
#
# The code knows one thing more, *groups*: the channels are divided into parts, and each part of the
# output sees only its own part of the input. Mask R-CNN uses one group, which is all channels.
#
# ## One item, in loops: one output number


# %%
def conv_pixel(x, weight, i, j, o, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1):
    """Channel o of the result at row i, column j.

    x is one image (H, W, C), weight (O, C / groups, kH, kW). With groups, output channels are
    divided into as many parts as input channels, and each part sees only its own.
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
# ## All items, in NumPy: nine shifted images
#
# Over i, j, o, r, s and c that makes six loops around one product. Which of them can NumPy take
# over? Look at a single cell (r, s) of the kernel, a *tap*. Over all output pixels it reads the
# image shifted by (r, s), and multiplies each pixel's C channels by a matrix of C by O weights.
# That is one matrix product for the whole image. So nine taps are nine shifted images, nine matrix
# products, and their sum. Only two loops are left, over the kernel, and the kernel is small.

# %%
show(reference.conv2d)
show(reference._taps)

# %% tags=["hide-input"]
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

# %% [markdown]
# Here are the shifted photos of the first rule. Three of its nine taps are 0; the other six copies
# add up to the first map at the top of this page.

# %%
ringed = np.pad(grey, 1)
shifted = {
    f"tap ({r}, {s}) times {rules[0, 0, r, s]:.0f}": ringed[r : r + 240, s : s + 490]
    * rules[0, 0, r, s]
    for r, s in ((0, 0), (0, 2), (1, 0), (1, 2), (2, 0), (2, 2))
}
show(picture_row(shifted, columns=3), "Six shifted copies of the photo; those on the left negative")
assert np.allclose(sum(shifted.values()), answers[:, :, 0], atol=1e-5)
assert rules[0, 0].size == 9 and (rules[0, 0] == 0).sum() == 3 and len(shifted) == 6

# %% [markdown]
# ## The gradient: who receives what?
#
# A number y[i, j] is a sum of the pixels under the kernel, each times its weight. So, by lesson
# 01's rule for products:
#
# - Each **pixel** receives, from each output that it helped to make, that output's gradient times
#   the weight between the two. Summed over all taps, this is a convolution of the gradient with the
#   kernel turned by 180 degrees.
# - Each **weight** receives, from each position of the kernel, the gradient there times the pixel
#   below the weight. One number per weight, summed over the whole image: this is why a kernel
#   learns from every place at once.


# %%
def conv_weight_gradient(
    grad, x, o, c, r, s, outs=1, stride=(1, 1), padding=(0, 0), dilation=(1, 1), groups=1
):
    """Gradient of weight[o, c, r, s], from one image x (H, W, C) and the gradient of its result
    (H', W', O).

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


pixels = Tensor(step[None, :, :, None], requires_grad=True)
kernel = Tensor(rules[:1], requires_grad=True)
only_one = np.zeros((1, 5, 5, 1), np.float32)
only_one[0, 2, 2] = 1
conv2d(pixels, kernel, padding=1).backward(only_one)

# %% tags=["hide-input"]
received = {"pixels receive": pixels.grad[0, :, :, 0], "weights receive": kernel.grad[0, 0]}
show(number_tables(received, "{:.0f}"), "The gradient of the one output number at row 2, column 2")
assert pixels.grad[0, 1:4, 1:4, 0].tolist() == RULES["left darker than right"]
assert kernel.grad[0, 0].tolist() == [[0, 0, 2]] * 3
assert conv_weight_gradient(only_one[0], step[:, :, None], 0, 0, 1, 2, padding=(1, 1)) == 2

# %% [markdown]
# Both rules can be seen for one output number: the pixels receive the kernel, the weights receive
# the pixels. `gradcheck` compares the package's derivatives with finite differences:

# %%
gradcheck(
    lambda a, b: conv2d(a, b, stride=2, padding=1), np.float64(x[:1, :, :, :2]), np.float64(weight)
)

# %% [markdown]
# ## In the model: what did it learn to look for?
#
# The first layer of the trained shapes model has 16 kernels of 3x3 over red, green and blue, with
# stride 2. Nobody designed them: they started as random numbers. Below they are drawn as small
# images. The convolutions of all later layers are on <a href="explain_shapes.html">the page of
# every stage</a>.
#
# **Predict.** Will any of them look like the edge rules at the top of this page?

# %% tags=["hide-input"]
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
answered = {"image": image}
answered |= {f"kernel {o}, like an edge rule": responses[:, :, o] for o in edges}
answered |= {f"kernel {o}, varies most": responses[:, :, o] for o in strongest}
show(
    picture_row(answered, columns=5, side=2.4),
    "An image of shapes and the answers of four kernels",
)
assert alike[edges[0]] > 0.6
assert responses.shape == (64, 64, 16) and image.shape == (3, 128, 128)

# %% [markdown]
# Some are edge detectors much like ours (the first two maps); others react to a colour. An image of
# 128x128 pixels with 3 channels became a feature map of 64x64 with 16: lower resolution, more
# channels. The rest of the network does that again and again. A number in a deep layer then depends
# on many pixels; the part of the image that it can see is its *receptive field*.
#
# ## Going deeper: the compiled kernels
#
# Skip this at first reading: nothing later needs it.
#
# **On a CPU.** The nine products read and write the whole result nine times. The compiled form
# keeps a *tile* of the result, some pixels by some channels, in the processor's registers, runs
# through all taps and channels, and writes each number once. That is in
# `tinymaskrcnn/ops/conv2d/cpu/direct.py` and in lesson 17; the function shown here only chooses
# between several such kernels. Blocks of output pixels go to the threads. Each thread writes only
# its own pixels, and the order of every sum is fixed, so the result is the same for any number of
# threads.
#
# *Winograd*'s form of a 3x3 convolution with stride 1 makes a 4x4 tile of the result with 36
# products instead of 144: it transforms image and kernel by additions, multiplies, and transforms
# back. The price is a few units in the sixth digit; `tm.set_winograd(0)` turns it off. The rates
# printed below are in GFLOP/s, billions of floating-point operations (FLOP) per second. They count
# the operations of the plain form, so Winograd can exceed the processor's peak.

# %% tags=["hide-input"]
show(cpu.conv2d)
assert 16 * 9 == 144 and (4 + 3 - 1) ** 2 == 36
wide = rng.standard_normal((1, 80, 80, 64)).astype(np.float32)
deep = rng.standard_normal((64, 64, 3, 3)).astype(np.float32)
same = ((1, 1), (1, 1), (1, 1), 1)
arguments = (wide, deep, None, None, *same, False)
for implementation in (reference, cpu):
    taken = milliseconds(implementation.conv2d, *arguments)
    print(f"{implementation.__name__:<40} {2 * 80 * 80 * 64 * 64 * 9 / taken / 1e6:7.1f} GFLOP/s")
fast, plain = (implementation.conv2d(*arguments) for implementation in (cpu, reference))
assert np.abs(fast - plain).max() < 1e-5 * np.abs(plain).max()

# %% [markdown]
# **On a GPU.** A graphics card runs one function in thousands of *threads* at once. Here a *block*
# of 256 threads computes a tile of 64 pixels by 64 channels, so each thread has 16 numbers. No two
# threads write the same number. They wait for each other only when the block loads the next pixels
# and weights into the memory that it shares. Lesson 18 explains how, and runs this function without
# a card.

# %% tags=["hide-input"]
gather = kernels_of("ops.conv2d.cuda")._gather
show(gather)
assert gather.threads == (16, 16) and 64 * 64 // (16 * 16) == 16

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/02_convolution.py](exercises/02_convolution.py); `tinymaskrcnn
# learn 02` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `convolve` | build | the lesson's convolution, of whole images |
# | `output_size` | fill | how large a convolution's result is |
# | `receptive_field` | fill | how much of the image one number of a deep layer can see |
# | `window_columns` | vectorise | all windows of an image as rows of one matrix ("im2col") |
# | `depthwise` | vectorise | a convolution in which channels do not mix |
# | `input_gradient` | extend | the gradient of the input, as a convolution again |
#
# ## Recap
#
# You now own the layer that everything else is made of: a kernel that slides over an image, and its
# two gradients. All convolutions of the model run through `tinymaskrcnn.functional.conv2d`.
#
# **Common mistakes.** Forgetting that the result shrinks without padding. Passing (N, C, H, W)
# where (N, H, W, C) is expected: the package tells you when the channels cannot be right. Not
# rounding down when you divide by the stride. Flipping the kernel in the forward pass. Not flipping
# it in the gradient.
#
# **Read next.** Dumoulin and Visin 2016, "A guide to convolution arithmetic",
# https://arxiv.org/abs/1603.07285; Lavin and Gray 2016 on Winograd's form,
# https://arxiv.org/abs/1509.09308; `tinymaskrcnn/ops/conv2d/op.py` and `cpu/direct.py`. Then lesson
# 03: what comes between two convolutions.
