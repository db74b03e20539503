"""Checks of lesson 03: pooling, normalisation, residual blocks."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays

LESSON = load("pool_norm_residual")
Scalar = load("gradients").Scalar


def running_statistics(mean, var, batch, momentum):
    new_mean, new_var = [], []
    for c in range(len(mean)):
        values = batch[..., c].ravel()
        _, its_mean, biased = LESSON.normalise(values, 1.0)
        unbiased = biased * len(values) / (len(values) - 1)
        new_mean.append((1 - momentum) * mean[c] + momentum * its_mean)
        new_var.append((1 - momentum) * var[c] + momentum * unbiased)
    return np.array(new_mean), np.array(new_var)


@st.composite
def batches(draw):
    count, height, width, channels = (draw(st.integers(1, 2)) for _ in range(4))
    height += count * height * width == 1
    c = (channels,)
    batch = draw(arrays((count, height, width, channels)))
    return draw(arrays(c)), draw(arrays(c, 0)), batch, draw(st.sampled_from([0.5, 0.1, 0.25]))


RUNNING = Task(
    name="running_statistics",
    kind="fill",
    specification=running_statistics,
    cases=batches(),
    examples=[
        (np.float32([1]), np.float32([2]), np.float32([1, 3, 5, 7]).reshape(4, 1, 1, 1), 0.1)
    ],
    after="With momentum 0.1, a batch's share has halved after about seven more batches. These "
    "two arrays are saved with the weights; forgetting them is a classic reason why a reloaded "
    "model performs badly.",
    link="batch_norm in tinymaskrcnn/ops/batch_norm/op.py",
    hints=(
        "The batch's mean and variance are taken over everything except the channels.",
        "Compute the mean and the variance per channel, the variance over n - 1. Then go from "
        "the old value a share `momentum` of the way to the new one. Make new arrays.",
        "batch.reshape(-1, C), .mean(axis=0), .var(axis=0, ddof=1); then old + momentum * "
        "(new - old).",
    ),
    wrong=mistakes("""
        , ddof=1 =>
            Your variance divides by n. The one to remember divides the sum of squares by n - 1.
        mean + momentum => mean + (1 - momentum)
        var + momentum => var + (1 - momentum)
            The weights are swapped: momentum is the weight of the new batch (as in PyTorch;
            elsewhere it is the weight of the old value).
        values.var => values.std
            That is the standard deviation. Remember the variance, without a root.
        mean + momentum * (its_mean - mean), var + momentum * (its_var - var) => its_mean, its_var
            You forget the old values. The batch moves them only part of the way.
        its = batch.astype(float)
        spread = its.var(axis=(1, 2), ddof=1).mean(axis=0) if its[0, ..., 0].size > 1 else 0 * var
        return mean + momentum * (its.mean((0, 1, 2)) - mean), var + momentum * (spread - var)
            You average one variance per image. All values of a channel, over all images and pixels,
            form one set.
        var(axis=0, ddof=1) => var(axis=0) * (len(values) - 1) / len(values)
            Your correction goes the wrong way: divided by n - 1, a variance is larger than divided
            by n.
    """),
)


def fold_norm(weight, gamma, beta, mean, var, eps):
    folded, bias = np.zeros(weight.shape), np.zeros(len(weight))
    for o in range(len(weight)):
        deviation = (float(var[o]) + eps) ** 0.5
        for c, r, s in np.ndindex(weight.shape[1:]):
            folded[o, c, r, s] = gamma[o] * float(weight[o, c, r, s]) / deviation
        bias[o] = beta[o] - gamma[o] * float(mean[o]) / deviation
    return folded, bias


@st.composite
def convolutions_and_norms(draw):
    outs, ins, size = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    o = (outs,)
    weight = draw(arrays((outs, ins, size, size), -4, 4))
    parts = [draw(arrays(o, low, high)) for low, high in ((-3, 3), (-3, 3), (-3, 3), (1, 5))]
    return weight, *parts, draw(st.sampled_from([1.0, 0.0, 0.25]))


SQUARE = np.arange(1, 9, dtype=np.float32).reshape(2, 2, 2, 1)[:, :, :, [0, 0]]
TWO = [np.float32(v) for v in ([1, 2], [0, 1], [3, 1], [3, 8])]

FOLD = Task(
    name="fold_norm",
    kind="build",
    specification=fold_norm,
    cases=convolutions_and_norms(),
    examples=[(SQUARE, *TWO, 1.0)],
    after="This makes the normalisation layers of a trained network free. A frozen one can be "
    "folded during training, too: the gradient then flows through the multiplied weights.",
    link="conv_norm in tinymaskrcnn/nn/layers.py",
    hints=(
        "Write the normalisation as: scale times what comes in, plus a shift. Both are fixed, one "
        "number per channel.",
        "The normalisation is gamma * (y - mean) / sqrt(var + eps) + beta. Multiplying y is the "
        "same as multiplying the weights that made it. All that does not contain y is the bias.",
        "scale = gamma / sqrt(var + eps). It multiplies the weight along its first axis, so "
        "it needs three more axes; the bias is beta - scale * mean.",
    ),
    wrong=mistakes("""
        " - scale * mean" =>
            Your bias lacks the mean: it was subtracted before the scale, so it arrives multiplied
            by the scale.
        scale * mean => mean
            The mean was subtracted before the scale: multiply it by the scale, too.
        np.sqrt(var + eps) => (var + eps)
            You divide by the variance. The normalisation layer divides by its square root.
        " + eps" =>
            eps is missing.
        np.sqrt(var + eps) => (np.sqrt(var) + eps)
            Add eps to the variance, inside the root.
        [:, None, None, None] =>
            Your scale runs along the last axis of the weight, the kernel's columns. It belongs to
            the output channels, the first axis.
    """),
)


def max_pool_halves(x):
    out = np.zeros((x.shape[0] // 2, x.shape[1] // 2, x.shape[2]), x.dtype)
    for i, j, c in np.ndindex(out.shape):
        out[i, j, c] = LESSON.pool_window(x, i, j, c, (2, 2), (2, 2), (0, 0))[0]
    return out


MAX_POOL = Task(
    name="max_pool_halves",
    kind="vectorise",
    specification=max_pool_halves,
    cases=st.tuples(
        st.tuples(st.integers(2, 5), st.integers(2, 5), st.integers(1, 2)).flatmap(arrays)
    ),
    examples=[(np.arange(16, dtype=np.float32).reshape(4, 4, 1),)],
    picture=lambda arguments, expected, got: tables(
        arguments, expected[..., 0], np.asarray(got)[..., 0]
    ),
    after="VGG halves its feature maps like this five times. ResNets let a stride do it, and keep "
    "one pooling layer, with overlapping 3x3 windows.",
    link="tinymaskrcnn/ops/max_pool2d/reference.py, which takes any window",
    hints=(
        "Cut each of the two axes into pairs: H rows are H // 2 pairs of rows.",
        "Leave out a last row or column that has no partner. Reshape to five axes: pair of "
        "rows, row in the pair, pair of columns, column in the pair, channel. Take the "
        "maximum over the two 'in the pair' axes.",
        "x[: 2 * h, : 2 * w].reshape(h, 2, w, 2, -1).max over axes 1 and 3.",
    ),
    wrong=mistakes("""
        height, 2, width, 2, -1 => height, width, 4, -1
        axis=(1, 3) => axis=2
            Your reshape takes four elements that follow one another in memory: one row, not a
            square. Cut each of the two axes into pairs.
        return np.maximum(np.maximum(x[:-1, :-1], x[1:, :-1]), np.maximum(x[:-1, 1:], x[1:, 1:]))
            Your windows overlap. The next one starts two pixels further on.
        return max_pool_halves(x[::2, ::2].repeat(2, 0).repeat(2, 1)[: len(x)])
            You take every second pixel. That one may not be the largest of its window.
        sides = (0, x.shape[0] % 2), (0, x.shape[1] % 2), (0, 0)
        return max_pool_halves(np.pad(x, sides, constant_values=-np.inf))
            You keep a last row or column without a partner. Leave it out.
    """),
)


def group_normalise(x, groups, eps):
    out = np.zeros(x.shape)
    size = x.shape[3] // groups
    for n, g in np.ndindex(len(x), groups):
        part = x[n, :, :, g * size : (g + 1) * size]
        values, _, _ = LESSON.normalise(part.ravel(), eps)
        out[n, :, :, g * size : (g + 1) * size] = np.reshape(values, part.shape)
    return out


@st.composite
def grouped_maps(draw):
    groups, size = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    count, height, width = (draw(st.integers(1, 2)) for _ in range(3))
    return draw(arrays((count, height, width, groups * size), -4, 4)), groups, 0.5


GROUP = Task(
    name="group_normalise",
    kind="vectorise",
    specification=group_normalise,
    cases=grouped_maps(),
    examples=[(np.arange(16, dtype=np.float32).reshape(2, 1, 2, 4) ** 2, 2, 0.5)],
    after="One group is layer norm, as many groups as channels is instance norm. An image's "
    "result no longer depends on what else is in the batch, not even in training.",
    link="Wu and He 2018, https://arxiv.org/abs/1803.08494",
    hints=(
        "A group is a stretch of the channel axis. Cut that axis in two: group, and channel "
        "in the group.",
        "Each image and each group has its own mean and variance, taken over all pixels and "
        "over the channels of that group. Normalise, and go back to the old shape.",
        "reshape to (N, H * W, groups, C // groups); mean and var over axes (1, 3) with "
        "keepdims=True; eps goes under the root; reshape to x.shape.",
    ),
    wrong=mistakes(r"""
        len(x), -1, groups => 1, -1, groups
            Your statistics run over all images. Each image has its own.
        len(x), -1, groups => x.size // x.shape[3], 1, groups
            You take statistics per pixel. They run over all pixels of the image.
        groups, x.shape[3] // groups) => x.shape[3] // groups, groups)
        mean(axis=(1, 3) => mean(axis=(1, 2)
        var(axis=(1, 3) => var(axis=(1, 2)
            Your groups take every n-th channel. A group consists of neighbouring channels: which of
            the two parts of a reshaped channel axis comes first?
        "grouped = " => "groups = x.shape[3]\n    grouped = "
            You normalise each channel alone (instance norm). The channels of a group share one mean
            and one variance.
        "grouped = " => "groups = 1\n    grouped = "
            You put all channels into one group (layer norm).
        np.sqrt(var + eps) => (np.sqrt(var) + eps)
            Add eps to the variance, inside the root.
    """),
)


def norm_gradient(x, grad, eps):
    """With lesson 01's engine, one number at a time."""
    out = np.zeros(x.shape)
    for c in range(x.shape[1]):
        values = [Scalar(float(v)) for v in x[:, c]]
        mean = sum(values) * (1 / len(values))
        variance = sum((v + mean * -1.0) ** 2 for v in values) * (1 / len(values))
        inverse = (variance + eps) ** -0.5
        end = sum(
            (v + mean * -1.0) * inverse * float(g) for v, g in zip(values, grad[:, c], strict=True)
        )
        end.backward()
        out[:, c] = [v.grad for v in values]
    return out


def parts(x, eps):
    deviation = np.sqrt(x.var(axis=0) + eps)
    return (x - x.mean(axis=0)) / deviation, deviation


@st.composite
def channels_and_gradients(draw):
    shape = (draw(st.integers(2, 4)), draw(st.integers(1, 2)))
    x, grad = (draw(arrays(shape, -3, 3)).astype(np.float64) for _ in range(2))
    return x, grad, draw(st.sampled_from([1.0, 0.25]))


NORM_GRADIENT = Task(
    name="norm_gradient",
    kind="extend",
    specification=norm_gradient,
    cases=channels_and_gradients(),
    laws=[
        Law(
            "what a channel receives sums to 0, since shifting all values changes nothing",
            lambda f, x, grad, eps: np.allclose(f(x, grad, eps).sum(axis=0), 0, atol=1e-6),
        )
    ],
    picture=tables,
    after="The two means are why batch norm couples the images of a batch in the backward pass, "
    "and why distributed training has to exchange them. With frozen statistics, both terms vanish.",
    link="batch_norm_grad in tinymaskrcnn/ops/batch_norm/reference.py",
    hints=(
        "x reaches y in three ways: directly, through the mean, and through the variance. Each "
        "gives one term.",
        "All three are divided by the deviation. The direct term is grad itself. The mean "
        "takes away the mean of grad. The variance takes away y times the mean of grad * y.",
        "(grad - mean of grad - y * mean of (grad * y)) / sqrt(var + eps), all means along "
        "axis 0; y is the normalised x.",
    ),
    wrong=mistakes("""
        (grad - grad.mean(axis=0) - y * (grad * y).mean(axis=0)) => grad
            You treat mean and variance as constants. They depend on x, too.
        " - y * (grad * y).mean(axis=0)" =>
            You have dealt with the mean. The variance depends on x as well: each value also moves
            the common divisor.
        " - grad.mean(axis=0)" =>
            You have dealt with the variance. The mean depends on x as well.
        grad.mean( => grad.sum(
        y).mean( => y).sum(
            You subtract sums. Each value has a share of 1/n in mean and variance, so take means.
        y).mean(axis=0)) / deviation => y).mean(axis=0))
            The final division by the standard deviation is missing.
        - y * (grad => - (grad
            The last term lacks a factor: a value far from the mean moves the variance more than one
            near it.
    """),
)


def max_pool(x, size, stride, padding):
    height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((len(x), height, width, x.shape[3]), np.float32)
    for n, i, j, c in np.ndindex(y.shape):
        window = (size, size), (stride, stride), (padding, padding)
        y[n, i, j, c] = LESSON.pool_window(x[n], i, j, c, *window)[0]
    return y


@st.composite
def pools(draw):
    size, stride = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    shape = [draw(st.integers(1, 2)), *(draw(st.integers(size, 4)) for _ in range(2))]
    x = draw(arrays((*shape, draw(st.integers(1, 2)))))
    return x, size, stride, draw(st.integers(0, size // 2))


MAX_POOL_WHOLE = Task(
    name="max_pool",
    kind="build",
    specification=max_pool,
    cases=pools(),
    after="With size 1 and stride 2 it only skips rows and columns: that is how the feature "
    "pyramid gets its coarsest level. Between the stem and the first stage it halves the feature "
    "map.",
    link="max_pool2d in tinymaskrcnn/ops/max_pool2d/reference.py",
    hints=(
        "Outside the image there must be a value that never wins a maximum.",
        "Pad with minus infinity. For each place (r, s) in a window, cut out the array of the "
        "elements that stand there, one per window. The result is the largest of these "
        "arrays, element by element.",
        "np.pad(..., constant_values=-np.inf); slices x[:, r : r + high : stride, s : s + "
        "wide : stride]; np.max of the list with axis=0.",
    ),
    wrong=mistakes(r"""
        , constant_values=-np.inf =>
            Where all values of a window at the edge are negative, your zeros win. Pad the image
            with something that never wins.
        -np.inf => np.nan
        np.max( => np.nanmean(
            You take the mean of each window. Take its largest value.
        "around = " => "stride = size\n    around = "
            Your windows lie side by side. The stride says how far it is from one to the next.
        "around = " => "padding = 0\n    around = "
            The padding is missing: windows may reach over the edge.
    """),
)

TASKS = [MAX_POOL_WHOLE, FOLD, RUNNING, MAX_POOL, GROUP, NORM_GRADIENT]
