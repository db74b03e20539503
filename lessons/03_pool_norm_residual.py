# %% [markdown]
# # 03 · Pooling, normalisation, residual blocks
#
# **Three small things between the convolutions decide whether a deep network learns at all.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 01, 01b (gradients, layers) and 02 (convolution) | 40 | 6 |
#
# Afterwards you can
#
# - say what a stack of plain convolutions does to a signal, and to the gradient on its way back;
# - normalise a channel on paper, and say which statistics are used in training and which later;
# - fold a normalisation layer into the convolution before it, so that it costs nothing;
# - tell where the gradient of a maximum and of a shortcut goes.

# %% tags=["hide-input"]
import numpy as np

from lessons.compiled import cpu_kernels
from lessons.figures.architecture import architecture
from lessons.figures.diagrams import number_tables
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.functional import batch_norm, conv2d, max_pool2d, relu
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.nn.layers import conv_norm
from tinymaskrcnn.ops.batch_norm import reference as norm_reference
from tinymaskrcnn.ops.max_pool2d import reference as pool_reference
from tinymaskrcnn.tensor import Tensor

show(architecture("residual block"), "In Mask R-CNN: residual block")

norm_cpu, pool_cpu = cpu_kernels("batch_norm"), cpu_kernels("max_pool2d")

# %% [markdown]
# ## Before you read
#
# So far: a convolution slides a kernel over an image, and its gradients are convolutions too.
#
# 1. A 3x3 kernel slides over an image of 5x5, without padding. How large is the result?
# 2. Why does one kernel learn from every place of the image at once?
# 3. What does a ReLU pass back where its input was negative?
#
# <details><summary>Answers</summary>
#
# 1. 3x3: there is room for 3 positions each way.
# 2. A weight is used at every position, so its gradient is the sum over all of them.
# 3. Nothing: its output was 0 there, whatever the input did.
#
# </details>
#
# ## The question: why does depth do harm?
#
# More layers see more of the image and can say more about it. But only with a ReLU, or another
# *nonlinearity*, between them. Without one, two layers of 3x3 are just one layer of 5x5:

# %%
rng = np.random.default_rng(3)
one_kernel, other_kernel = rng.normal(size=(2, 1, 1, 3, 3)).astype(np.float32)
dot, noise = np.zeros((1, 9, 9, 1), np.float32), rng.normal(size=(1, 9, 9, 1)).astype(np.float32)
dot[0, 4, 4] = 1  # what both layers answer to a single dot is their common kernel, flipped
together = conv2d(conv2d(dot, one_kernel), other_kernel).data[:, ::-1, ::-1, 0].copy()  # (1, 5, 5)
both = conv2d(conv2d(noise, one_kernel), other_kernel).data
assert np.allclose(both, conv2d(noise, together[None]).data, atol=1e-4)
assert together.shape == (1, 5, 5)

# %% [markdown]
# So stack thirty 3x3 convolutions with random weights, put a ReLU after each, send an image of
# shapes through, and look at the activations (the numbers that a layer puts out) after 1, 5 and 30
# of them. The right size for the weights, at which a layer neither weakens nor amplifies the signal
# on average, is known: He et al. (2015) derived it.
#
# **Predict.** Make all weights 0.7 times that size. What is left after thirty layers: half the
# signal, a hundredth, or less than a thousandth? And with weights 1.4 times that size?

# %%
CHANNELS, DEPTH = 16, 30
image, _ = sample_set("shapes")[3]
pixels = (image[:, ::2, ::2].transpose(1, 2, 0)[None] - 0.5) * 4  # (1, 64, 64, 3)
entry = rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(np.float32)


def stack(strength, normalised=False, shortcut=False):
    """The activations after each of DEPTH layers, the input of the first, the output of the last.

    strength 1 is the size of the weights at which a layer keeps the signal on average.
    """
    random = np.random.default_rng(0)
    x = Tensor(conv2d(pixels, entry, padding=1).data, requires_grad=True)
    layers = [x * 1.0]
    one, zero = np.ones(CHANNELS, np.float32), np.zeros(CHANNELS, np.float32)
    for _ in range(DEPTH):
        deviation = strength * (2 / (9 * CHANNELS)) ** 0.5
        weight = random.normal(0, deviation, (CHANNELS, CHANNELS, 3, 3)).astype(np.float32)
        y = conv2d(layers[-1], weight, padding=1)
        y = batch_norm(y, one, zero, zero.copy(), one.copy(), True) if normalised else y
        layers.append(relu(y + layers[-1]) if shortcut else relu(y))
    return [layer.data for layer in layers], x, layers[-1]


plain_small, plain_large = stack(0.7)[0], stack(1.4)[0]
normed, shortened = stack(1, normalised=True)[0], stack(1, normalised=True, shortcut=True)[0]

# %% tags=["hide-input"]
kinds = {"small weights": plain_small, "large weights": plain_large, "normalised": normed}
panels = {
    f"{name}, layer {depth}": layers[depth][0].mean(axis=2)
    for name, layers in {**kinds, "shortcuts too": shortened}.items()
    for depth in (1, 5, 30)
}
show(picture_row(panels, columns=3, side=2), "What is left of an image after 1, 5 and 30 layers")
sizes = {name: [float(layer.std()) for layer in layers] for name, layers in kinds.items()}
numbers = np.arange(DEPTH + 1)
show(
    curves({name: (numbers, np.array(s)) for name, s in sizes.items()}, "layer", "size", log="y"),
    "The size of the activations: it dies, it explodes, or it stays",
)
assert sizes["small weights"][-1] < 1e-3 * sizes["small weights"][0]
assert sizes["large weights"][-1] > 1e3 * sizes["large weights"][0]
assert 0.3 < sizes["normalised"][-1] < 2

# %% [markdown]
# With small weights less than a thousandth of the signal is left; with large ones it has grown more
# than a thousandfold. The gradient goes back through the same weights and suffers the same: that is
# a *vanishing gradient* or an *exploding gradient*. A *normalisation layer* after each convolution
# keeps the size. Even so, after thirty layers the *image* is gone: each layer has stirred it once
# more. Only the last row still knows where the shapes are. There, each layer has a *residual
# connection* (or shortcut): its input is added to its output.
#
# ## By hand: a maximum and a normalisation
#
# *Max pooling* makes a map smaller by keeping the largest number of each window. In the 4x4 map
# below, each 2x2 window leaves one number. We still know that a feature is there, but no longer
# exactly where.
#
# *Normalising* 1, 3, 5, 7: their mean is 4. The squared distances from it are 9, 1, 1, 9, and the
# mean of those, the *variance*, is 5. Subtract the mean and divide by √5: -1.34, -0.45, 0.45, 1.34.
# These have mean 0 and variance 1, whatever the numbers were before. Then each channel is scaled
# and shifted by two learnt numbers, so the network can undo the normalisation where it wants to.

# %%
small_map = np.array([[1, 3, 2, 0], [0, 5, 1, 1], [4, 0, 0, 2], [1, 1, 3, 7]], np.float32)
pooled = max_pool2d(small_map[None, :, :, None], 2).data[0, :, :, 0]
show(number_tables({"a map": small_map, "2x2 maxima": pooled}, "{:.0f}"), "A map and its maxima")
assert pooled.tolist() == [[5, 2], [4, 7]]
four = np.array([1.0, 3, 5, 7])
assert four.mean() == 4 and four.var() == 5 and ((four - 4) ** 2).tolist() == [9, 1, 1, 9]
assert np.allclose((four - 4) / 5**0.5, [-1.34, -0.45, 0.45, 1.34], atol=5e-3)

# %% [markdown]
# ## The maths
#
# $$ y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \qquad\qquad
#    \text{block}(x) = \mathrm{ReLU}(f(x) + x) $$
#
# | symbol | variable | shape or meaning |
# |---|---|---|
# | μ, σ² | `mean`, `var` | (C,): over all images and pixels of a batch |
# | γ, β | `weight`, `bias` | (C,), learnt |
# | ε | `eps` | a small number such as 1e-5, so that nothing is divided by 0 |
# | f | two or three convolutions, each with a normalisation layer | same shape as x |
#
# On the left is *batch normalisation*, on the right a *residual block*. In **training** μ and σ²
# are the batch's own, and a running mean of them is kept. At **inference** (using the trained
# model) the running means are used, because an image's result must not depend on the images beside
# it. Statistics of a batch of only two images are mostly noise, so detectors often *freeze* them at
# the running means, or use *group normalisation*: the statistics of a single image, over groups of
# channels.
#
# ## One item, in loops: one window, one channel


# %%
def pool_window(x, i, j, c, kernel, stride, padding):
    """Of channel c of an image x (H, W, C): the largest number of window (i, j), and where it is.

    Outside the image there is nothing; among equals the first wins.
    """
    best = None
    for r in range(kernel[0]):
        for s in range(kernel[1]):
            h, w = i * stride[0] - padding[0] + r, j * stride[1] - padding[1] + s
            inside = 0 <= h < x.shape[0] and 0 <= w < x.shape[1]
            if inside and (best is None or x[h, w, c] > x[best[0], best[1], c]):
                best = (h, w)
    return x[best[0], best[1], c], best


def normalise(values, eps):
    """Values with mean 0 and variance 1, their mean, their variance (over n, not n - 1)."""
    values = [float(v) for v in values]
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    return [(v - mean) / (variance + eps) ** 0.5 for v in values], mean, variance


assert pool_window(small_map[:, :, None], 1, 1, 0, (2, 2), (2, 2), (0, 0)) == (7, (3, 3))
assert np.allclose(normalise(four, 0)[0], (four - 4) / 5**0.5)

# %% [markdown]
# ## All items, in NumPy
#
# Batch normalisation averages over axes (0, 1, 2) of (N, H, W, C): over everything but the channel.
# It sums in double precision, because sums of a million numbers lose digits in single precision.
# Pooling loops over the cells of the window, as the convolution did, and remembers which cell won.

# %%
show(norm_reference.batch_norm)
show(pool_reference.max_pool2d)

# %% tags=["hide-input"]
x = rng.normal(2, 3, (2, 6, 5, 4)).astype(np.float32)
ones, zeros = np.ones(4, np.float32), np.zeros(4, np.float32)
y, mean, var = norm_reference.batch_norm(x, ones, zeros, None, 1e-5, False)
for c in range(4):
    values, its_mean, its_variance = normalise(x[..., c].ravel(), 1e-5)
    assert np.allclose(y[..., c].ravel(), values, atol=1e-5)
    assert np.allclose([mean[c], var[c]], [its_mean, its_variance], atol=1e-5)
window = ((3, 3), (2, 2), (1, 1))
z, _ = pool_reference.max_pool2d(x, *window)
for n, i, j, c in np.ndindex(z.shape):
    assert z[n, i, j, c] == pool_window(x[n], i, j, c, *window)[0]

# %% [markdown]
# ## The gradient: which of them helps?
#
# - **Maximum**: the winner of a window receives its whole gradient, the others nothing.
# - **Normalisation**: a value moves its own output and, through the mean and the variance, all
#   others of its channel. If every output of a channel has the same gradient, the inputs receive
#   none: a constant shift is removed anyway, so shifting the inputs cannot change the loss.
# - **Shortcut**: y = f(x) + x, so x receives what f passes back *plus the gradient itself*,
#   untouched. Through thirty blocks there is always a path on which nothing is multiplied at all.
#
# **Predict.** Send a gradient back through the thirty layers and compare its size at the first with
# its size at the last. Normalisation kept the activations at one size. Does it keep the gradient's?

# %%
pool_input = Tensor(small_map[None, :, :, None], requires_grad=True)
max_pool2d(pool_input, 2).backward(np.float32([[10, 20], [30, 40]])[None, :, :, None])
constant = Tensor(x, requires_grad=True)
batch_norm(constant, ones, zeros, zeros.copy(), ones.copy(), True).sum().backward()
assert np.abs(constant.grad).max() < 1e-5


def reached(**settings):
    """Size of the gradient that reaches the first layer, relative to what the last received."""
    _, first, last = stack(1, **settings)
    slope = np.random.default_rng(5).normal(size=last.shape).astype(np.float32)
    last.backward(slope)
    return float(first.grad.std() / slope.std())


shares = {"plain": reached(), "normalised": reached(normalised=True)}
shares["normalised, with shortcuts"] = reached(normalised=True, shortcut=True)
print({name: round(share, 3) for name, share in shares.items()})

# %% tags=["hide-input"]
received = {"received": np.float32([[10, 20], [30, 40]]), "passed on": pool_input.grad[0, :, :, 0]}
show(number_tables(received, "{:.0f}"), "Each maximum passes its gradient to the pixel that won")
assert pool_input.grad[0, :, :, 0][[1, 0, 2, 3], [1, 2, 0, 3]].tolist() == [10, 20, 30, 40]
assert shares["normalised"] > 100 and 1 < shares["normalised, with shortcuts"] < 10
gradcheck(
    lambda t: batch_norm(t, ones * 2.0, zeros + 0.0, zeros * 1.0, ones * 1.0, True),
    rng.normal(size=(2, 2, 2, 4)),
)

# %% [markdown]
# It does not. With normalisation alone the gradient grows more than a hundred times: each layer
# divides it by the standard deviation of its input, and over thirty layers these factors multiply.
# With a shortcut around each layer it stays within a factor of ten.
#
# ## In the model: a block corrects
#
# Here is one residual block of the trained model: what goes in, what its two convolutions add, and
# what comes out. Add the first two, cut off below 0, and you have the third. The block does not
# make a new map; it *corrects* the one that it is given. (All blocks are on
# <a href="explain_shapes.html">the page of every stage</a>.)

# %% tags=["hide-input"]
model = load_model("shapes")
body = model.backbone.body
conv, norm = body.conv1, body.bn1
batch, _ = model.transform([image])
stem = relu(norm(conv(Tensor(batch.tensor))))
block = body.layer1[0]
inner = conv_norm(block.conv1, block.bn1, stem, relu=True)
added = conv_norm(block.conv2, block.bn2, inner)
kept = conv_norm(*block.downsample, stem)
out = block(stem)
strong = int(out.data.std(axis=(0, 1, 2)).argmax())
three = {"shortcut": kept, "what the block adds": added, "out, cut off at 0": out}
show(
    picture_row({name: t.data[0, :, :, strong] for name, t in three.items()}, 3, 2.8),
    "Shortcut, addition and result of one channel of a trained block",
)
assert np.allclose(out.data, np.maximum(added.data + kept.data, 0), atol=1e-4)

# %% [markdown]
# This block halves the map, so its shortcut is a 1x1 convolution with stride 2. Where the shapes
# agree, the shortcut is the input itself.
#
# At inference normalisation is free. With fixed statistics it is `scale · y + shift`, and y is a
# convolution. So multiply the convolution's weights by the scale, use the shift as its bias, and
# the normalisation is *folded* into it. The trained model does this for each of its normalisation
# layers:

# %%
scale = norm.weight.data / np.sqrt(norm.running_var + norm.eps)
shift = norm.bias.data - scale * norm.running_mean
folded = conv2d(pixels, conv.weight.data * scale[:, None, None, None], shift, 2, 1).data
assert np.allclose(folded, norm(conv(Tensor(pixels))).data, atol=1e-4)
assert np.allclose(folded, conv_norm(conv, norm, Tensor(pixels)).data, atol=1e-4)

# %% [markdown]
# ## Going deeper: the compiled kernels
#
# Skip this at first reading: nothing later needs it.
#
# **On a CPU.** Normalisation does little arithmetic and moves a lot of memory. So the compiled form
# first reduces everything to two numbers per channel, a scale and a shift. Then it passes over the
# map once, and adds the shortcut and applies the ReLU in the same pass.

# %% tags=["hide-input"]
show(norm_cpu.batch_norm)
show(norm_cpu._apply)
assert np.allclose(norm_cpu.batch_norm(x, ones, zeros, None, 1e-5, False)[0], y, atol=1e-5)
assert (pool_cpu.max_pool2d(x, *window)[0] == z).all()

# %% [markdown]
# **On a GPU.** In the forward pass each thread computes one output of the pooling by looping over
# its window; neighbouring threads take neighbouring channels, so what they read is adjacent in
# memory. In the backward pass each thread owns one *input* and asks the few windows that cover it
# whether it won them. If each window sent its gradient instead, two threads could write to the same
# number at once.

# %% tags=["hide-input"]
pool_kernels = kernels_of("ops.max_pool2d.cuda")
show(pool_kernels._pool)
show(pool_kernels._pool_grad)

# %% [markdown]
# ## Exercises
#
# Write them in [lessons/exercises/03_pool_norm_residual.py](exercises/03_pool_norm_residual.py);
# `tinymaskrcnn learn 03` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `max_pool` | build | the lesson's max pooling, of whole images |
# | `fold_norm` | build | a normalisation layer folded into the convolution before it |
# | `running_statistics` | fill | what a normalisation layer remembers of a batch |
# | `max_pool_halves` | vectorise | 2x2 maxima by a reshape |
# | `group_normalise` | vectorise | normalisation that does not look at other images |
# | `norm_gradient` | extend | the backward pass of a normalisation layer |
#
# ## Recap
#
# You now own everything that comes between convolutions. It makes depth affordable, and the next
# lesson builds a backbone from it.
#
# **Common mistakes.** Normalising over the wrong axes. Leaving a model in training mode at
# inference. Forgetting that the running variance is over n - 1. Applying the ReLU before the
# shortcut is added. Freezing a normalisation layer with another epsilon than the weights were
# trained with: torchvision's Mask R-CNN weights need 0.
#
# **Read next.** Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167; He et al. 2015,
# https://arxiv.org/abs/1512.03385; Wu and He 2018 on group normalisation,
# https://arxiv.org/abs/1803.08494; `conv_norm` in `tinymaskrcnn/nn/layers.py`. Then lesson 04.
