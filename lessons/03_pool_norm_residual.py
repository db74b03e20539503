# %% [markdown]
# # 03 · Pooling, normalisation, residual blocks
#
# **Three small things between the convolutions decide whether a deep network learns at all.**
#
# | needs | minutes | exercises |
# |---|---|---|
# | lessons 01 (gradients) and 02 (convolution) | 40 | 6 |
#
# Afterwards you can
#
# - say what a stack of plain convolutions does to a signal, and to the gradient on its way back;
# - normalise a channel on paper, and say which statistics are used in training and which later;
# - fold a norm into the convolution before it, so that it costs nothing;
# - tell where the gradient of a maximum and of a shortcut goes.

# %%
import numpy as np

from lessons.figures.diagrams import number_tables
from lessons.figures.plots import curves, picture_row
from lessons.figures.show import show
from lessons.plain_kernels import kernels_of
from lessons.samples import sample_set
from tinymaskrcnn import load_model
from tinymaskrcnn.functional import batch_norm, conv2d, max_pool2d, relu
from tinymaskrcnn.gradcheck import gradcheck
from tinymaskrcnn.nn.layers import conv_norm
from tinymaskrcnn.ops.batch_norm import cpu as norm_cpu
from tinymaskrcnn.ops.batch_norm import reference as norm_reference
from tinymaskrcnn.ops.max_pool2d import cpu as pool_cpu
from tinymaskrcnn.ops.max_pool2d import reference as pool_reference
from tinymaskrcnn.tensor import Tensor

# %% [markdown]
# ## The question
#
# More layers see more of the picture and can say more about it. So stack thirty 3x3 convolutions
# with random weights and a ReLU after each, send a picture of shapes through, and look at what
# comes out after 1, 5 and 30 of them. If the weights are a little too small, the signal dies; a
# little too large, it explodes. And the gradient, on its way back through the same weights,
# suffers the same. What must stand between the layers so that depth does no harm?

# %%
CHANNELS, DEPTH = 16, 30
image, _ = sample_set("shapes")[3]
picture = (image[:, ::2, ::2].transpose(1, 2, 0)[None] - 0.5) * 4  # (1, 64, 64, 3)
rng = np.random.default_rng(3)
entry = rng.normal(0, 0.3, (CHANNELS, 3, 3, 3)).astype(np.float32)


def stack(strength, normalised=False, shortcut=False):
    """The picture after each of DEPTH layers, and the size of the gradient there.

    strength 1 is the weights' size at which, in the mean, a layer keeps the signal (He et al.
    2015).
    """
    random = np.random.default_rng(0)
    x = Tensor(conv2d(picture, entry, padding=1).data, requires_grad=True)
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
normed, shortened = stack(1, True)[0], stack(1, True, True)[0]
kinds = {"small weights": plain_small, "large weights": plain_large, "with norm": normed}
panels = {
    f"{name}, layer {depth}": layers[depth][0].mean(axis=2)
    for name, layers in {**kinds, "norm, shortcut": shortened}.items()
    for depth in (1, 5, 30)
}
show(picture_row(panels, columns=3, side=2), "What is left of a picture after 1, 5 and 30 layers")
sizes = {name: [float(layer.std()) for layer in layers] for name, layers in kinds.items()}
numbers = np.arange(DEPTH + 1)
show(
    curves({name: (numbers, np.array(s)) for name, s in sizes.items()}, "layer", "size", log="y"),
    "The size of the signal: it dies, it explodes, or it stays",
)
assert sizes["small weights"][-1] < 1e-3 * sizes["small weights"][0]
assert sizes["large weights"][-1] > 1e3 * sizes["large weights"][0]
assert 0.3 < sizes["with norm"][-1] < 2

# %% [markdown]
# The norm keeps the size. But after thirty layers the *picture* is gone all the same: each layer
# has stirred it once more. Only the last row, with a shortcut around each layer, still knows
# where the shapes are.
#
# ## By hand
#
# **Max pooling** makes a map smaller by keeping the largest number of each window. Of the 4x4 map
# below, each 2x2 window leaves one number. That a feature is there survives; where exactly, to
# the pixel, does not.
#
# **Normalising** 1, 3, 5, 7: their mean is 4. The squared distances are 9, 1, 1, 9; their mean,
# the *variance*, is 5. Subtract the mean and divide by √5: -1.34, -0.45, 0.45, 1.34. These have
# mean 0 and variance 1, whatever they were before. Then each channel is stretched and shifted by
# two learnt numbers, so that nothing is lost for good.

# %%
small_map = np.array([[1, 3, 2, 0], [0, 5, 1, 1], [4, 0, 0, 2], [1, 1, 3, 7]], np.float32)
pooled = max_pool2d(small_map[None, :, :, None], 2).data[0, :, :, 0]
show(
    number_tables({"a map": small_map, "its 2x2 maxima": pooled}, "{:.0f}"), "A map and its maxima"
)
assert pooled.tolist() == [[5, 2], [4, 7]]
four = np.array([1.0, 3, 5, 7])
assert four.mean() == 4 and four.var() == 5
assert np.allclose((four - 4) / 5**0.5, [-1.34, -0.45, 0.45, 1.34], atol=5e-3)

# %% [markdown]
# ## The maths
#
# $$ y = \gamma\, \frac{x - \mu}{\sqrt{\sigma^2 + \epsilon}} + \beta \qquad\qquad
#    \text{block}(x) = \mathrm{ReLU}(f(x) + x) $$
#
# | symbol | variable | shape |
# |---|---|---|
# | μ, σ² | `mean`, `var` | (C,): over all pictures and pixels of a batch |
# | γ, β | `weight`, `bias` | (C,), learnt |
# | ε | `eps` | a number such as 1e-5: no division by 0 |
# | f | two or three convolutions with norms | same shape as x |
#
# In **training** μ and σ² are the batch's own, and running means of them are kept. In
# **inference** the running ones are used: a picture's result must not depend on which others are
# beside it. Where a batch is two pictures its statistics are noise, so detectors often *freeze*
# them, or use **group norm**: the statistics of one picture, over groups of channels.
#
# ## One item, in loops: one window, one channel


# %%
def pool_window(x, i, j, c, kernel, stride, padding):
    """Of channel c of a picture x (H, W, C): the largest number of window (i, j), and where it
    lies.

    Outside the picture there is nothing; among equals the first wins.
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

# %%
show(norm_reference.batch_norm)
show(pool_reference.max_pool2d)

# %% [markdown]
# The norm sums over axes (0, 1, 2) of (N, H, W, C): everything but the channel. It sums in double
# precision, because a million pixels in single precision would lose five digits. Pooling loops
# over the cells of the window, as the convolution did, and remembers for each result which cell
# won.

# %%
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
assert np.allclose(norm_cpu.batch_norm(x, ones, zeros, None, 1e-5, False)[0], y, atol=1e-5)
assert (pool_cpu.max_pool2d(x, *window)[0] == z).all()

# %% [markdown]
# ## The CPU kernel
#
# A norm does little arithmetic and moves much memory. So the compiled form first makes two
# numbers a channel, a scale and a shift, and then passes over the map once, adding the shortcut
# and cutting at 0 in the same pass.

# %%
show(norm_cpu.batch_norm)
show(norm_cpu._apply)

# %% [markdown]
# In inference even that pass disappears. With fixed statistics the norm is `scale · y + shift`,
# and y is a convolution: multiply the convolution's weights by the scale, and the norm is
# *inside* it. The trained model does this for every one of its norms.

# %%
model = load_model("shapes")
body = model.backbone.body
conv, norm = body.conv1, body.bn1
scale = norm.weight.data / np.sqrt(norm.running_var + norm.eps)
shift = norm.bias.data - scale * norm.running_mean
folded = conv2d(picture, conv.weight.data * scale[:, None, None, None], shift, 2, 1).data
assert np.allclose(folded, norm(conv(Tensor(picture))).data, atol=1e-4)
assert np.allclose(folded, conv_norm(conv, norm, Tensor(picture)).data, atol=1e-4)

# %% [markdown]
# ## The GPU kernel
#
# A graphics card runs one function in thousands of threads at once. **Forwards a thread has a
# number of the result**: it walks through its window. Neighbouring threads have neighbouring
# channels of it, so what they read lies side by side. **Backwards a thread has a number of the
# input**, and asks the few windows that cover it whether it won them. If windows sent instead, two
# threads could add to one number. Lesson 18 has the rest.

# %%
pool_kernels = kernels_of("ops.max_pool2d.cuda")
show(pool_kernels._pool)
show(pool_kernels._pool_grad)

# %% [markdown]
# ## The gradient
#
# - **Maximum**: the winner of a window receives its whole gradient, the others nothing.
# - **Norm**: a value moves itself and, through the mean and the variance, all others of its
#   channel. If all results of a channel receive the same gradient, the value receives nothing: a
#   shift of all cannot be seen.
# - **Shortcut**: y = f(x) + x, so x receives what f passes back *plus the gradient itself*,
#   untouched. Through thirty blocks there is always a path on which nothing is multiplied at all.
#
# Which of them helps? Send a gradient back through the thirty layers, and compare its size at the
# first with that at the last. With norms alone it grows more than a hundred times: each norm
# divides by the spread that it has taken out. With a shortcut around each layer it stays within a
# factor of ten.

# %%
pool_input = Tensor(small_map[None, :, :, None], requires_grad=True)
max_pool2d(pool_input, 2).backward(np.float32([[10, 20], [30, 40]])[None, :, :, None])
received = {"received": np.float32([[10, 20], [30, 40]]), "passed on": pool_input.grad[0, :, :, 0]}
show(number_tables(received, "{:.0f}"), "Each maximum passes its gradient to the pixel that won")
assert pool_input.grad[0, :, :, 0][[1, 0, 2, 3], [1, 2, 0, 3]].tolist() == [10, 20, 30, 40]

constant = Tensor(x, requires_grad=True)
batch_norm(constant, ones, zeros, zeros.copy(), ones.copy(), True).sum().backward()
assert np.abs(constant.grad).max() < 1e-5


def reached(**settings):
    """The size of the gradient that reaches the first layer, in shares of what the last
    received."""
    _, first, last = stack(1, **settings)
    slope = np.random.default_rng(5).normal(size=last.shape).astype(np.float32)
    last.backward(slope)
    return float(first.grad.std() / slope.std())


shares = {"plain": reached(), "norm": reached(normalised=True)}
shares["norm and shortcut"] = reached(normalised=True, shortcut=True)
print({name: round(share, 3) for name, share in shares.items()})
assert shares["norm"] > 100 and 1 < shares["norm and shortcut"] < 10
gradcheck(
    lambda t: batch_norm(t, ones * 2.0, zeros + 0.0, zeros * 1.0, ones * 1.0, True),
    rng.normal(size=(2, 2, 2, 4)),
)

# %% [markdown]
# ## In the model
#
# One residual block of the trained model: what goes in, what its two convolutions add, and what
# comes out. The sum of the first two, cut at 0, is the third. The block does not make a new map;
# it *corrects* the one that it is given.

# %%
batch, _ = model.transform([image])
stem = relu(norm(conv(Tensor(batch.tensor))))
block = body.layer1[0]
inner = conv_norm(block.conv1, block.bn1, stem, relu=True)
added = conv_norm(block.conv2, block.bn2, inner)
kept = conv_norm(*block.downsample, stem)
out = block(stem)
strong = int(out.data.std(axis=(0, 1, 2)).argmax())
three = {"shortcut": kept, "what the block adds": added, "out, cut at 0": out}
show(
    picture_row({name: t.data[0, :, :, strong] for name, t in three.items()}, 3, 2.8),
    "Shortcut, addition and result of one channel of a trained block",
)
assert np.allclose(out.data, np.maximum(added.data + kept.data, 0), atol=1e-4)

# %% [markdown]
# This block halves the map, so its shortcut is a 1x1 convolution with stride 2; where shapes
# agree it is nothing at all.
#
# ## Exercises
#
# Write them in [lessons/exercises/03_pool_norm_residual.py](exercises/03_pool_norm_residual.py);
# `tinymaskrcnn learn 03` checks.
#
# | exercise | kind | what |
# |---|---|---|
# | `max_pool` | build | the lesson's max pooling, of whole pictures |
# | `fold_norm` | build | a norm moved into the convolution before it |
# | `running_statistics` | fill | what a norm remembers of a batch |
# | `max_pool_halves` | vectorise | 2x2 maxima by a reshape |
# | `group_normalise` | vectorise | the norm that does not look at other pictures |
# | `norm_gradient` | extend | the backward pass of the norm |
#
# ## Recap
#
# You now own everything that stands between convolutions. With it depth is affordable, and the
# next lesson builds a backbone of it.
#
# **Common mistakes.** Normalising over the wrong axes. Leaving a model in training mode for
# inference. Forgetting that the running variance is over n - 1. Applying ReLU before the shortcut
# is added. Freezing a norm whose epsilon the weights were not trained with: torchvision's Mask
# R-CNN weights want 0.
#
# **Read next.** Ioffe and Szegedy 2015, https://arxiv.org/abs/1502.03167; He et al. 2015,
# https://arxiv.org/abs/1512.03385; Wu and He 2018 on group norm,
# https://arxiv.org/abs/1803.08494; `conv_norm` in `tinymaskrcnn/nn/layers.py`. Then lesson 04.
