"""Checks of lesson 02: convolution."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, Wrong
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays
from tinymaskrcnn.functional import conv2d

conv_pixel = load("convolution").conv_pixel

# output_size


def output_size(size, kernel, stride, padding, dilation):
    """Count the positions."""
    start, count = -padding, 0
    while start + dilation * (kernel - 1) < size + padding:
        start, count = start + stride, count + 1
    return count


@st.composite
def layers_of_a_size(draw):
    kernel, stride, padding, dilation = (
        draw(st.integers(low, high)) for low, high in ((1, 4), (1, 3), (0, 3), (1, 3))
    )
    least = max(1, dilation * (kernel - 1) + 1 - 2 * padding)
    return draw(st.integers(least, least + 8)), kernel, stride, padding, dilation


OUTPUT_SIZE = Task(
    name="output_size",
    kind="fill",
    specification=output_size,
    cases=layers_of_a_size(),
    examples=[(5, 3, 1, 0, 1), (224, 7, 2, 3, 1)],
    after="A 7x7 kernel with stride 2 and padding 3 halves 224 to 112: the first layer of a "
    "ResNet. Kernel 3 with padding 1 keeps the size, which is why nearly all others look like "
    "that.",
    link="_output_shape in tinymaskrcnn/ops/conv2d/reference.py",
    hints=(
        "How many pixels does a kernel with gaps span from its first tap to its last?",
        "The span is dilation * (kernel - 1) + 1. On the padded side, count how many whole "
        "strides fit behind the first position; the first position itself counts, too.",
        "(padded size - span) // stride + 1, where padding is added at both ends.",
    ),
    wrong=[
        Wrong(
            lambda size, k, s, p, d: (size + 2 * p - d * (k - 1) - 1) // s,
            "One position is missing. A kernel as large as the picture fits once, not zero times.",
        ),
        Wrong(
            lambda size, k, s, p, d: (size + 2 * p - d * (k - 1)) // s,
            "You divide the number of places by the stride. With a stride of 2 three places hold "
            "two positions: count the steps from the first to the last, and add the first.",
        ),
        Wrong(
            lambda size, k, s, p, d: (size - 2 * p - d * (k - 1) - 1) // s + 1,
            "Padding makes the picture larger. You take it off.",
        ),
        Wrong(
            lambda size, k, s, p, d: (size - d * (k - 1) - 1) // s + 1,
            "The padding is missing. It makes the picture larger before the kernel is laid on it.",
        ),
        Wrong(
            lambda size, k, s, p, d: round((size + 2 * p - d * (k - 1) - 1) / s) + 1,
            "You round to the nearest. A last step for which the picture has no room is not made: "
            "round down.",
        ),
        Wrong(
            lambda size, k, s, p, d: (size + p - d * (k - 1) - 1) // s + 1,
            "Padding is put on both sides of the picture.",
        ),
        Wrong(
            lambda size, k, s, p, d: (size + 2 * p - k) // s + 1,
            "Dilation pulls the kernel's cells apart: how far does it reach then?",
        ),
        Wrong(
            lambda size, k, s, p, d: (size + 2 * p - d * k) // s + 1,
            "Between k cells there are k - 1 gaps. A dilated kernel does not reach past its last "
            "cell.",
        ),
        Wrong(
            lambda size, k, s, p, d: -((d * (k - 1) + 1 - size - 2 * p) // s) + 1,
            "You round up. A last step for which the picture has no room is not made.",
        ),
    ],
)

# receptive_field


def receptive_field(layers):
    """Follow the first and the last pixel back through the layers."""
    first = last = 0
    for kernel, stride in reversed(layers):
        first, last = first * stride, last * stride + kernel - 1
    return last - first + 1


def forwards(layers):
    field = 1
    for kernel, stride in layers:
        field = field * stride + kernel - 1
    return field


def strides_of_all(layers):
    """Backwards, with as many strides as numbers."""
    field = 1
    for kernel, stride in reversed(layers):
        field = field * stride + kernel - 1
    return field


def spans(layers):
    """The sum of the distances between neighbours before each layer."""
    total, distance = 0, 1
    for _, stride in layers:
        total, distance = total + distance, distance * stride
    return total


RECEPTIVE_FIELD = Task(
    name="receptive_field",
    kind="fill",
    specification=receptive_field,
    cases=st.tuples(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=0, max_size=4)
    ),
    examples=[([(3, 1)],), ([(3, 1), (3, 1)],)],
    after="Two 3x3 layers see 5 pixels, three see 7, with fewer weights than one kernel of 7: "
    "VGG's idea. Each stride doubles what all later layers add, so deep layers see the whole "
    "picture.",
    link="Luo et al. 2016, https://arxiv.org/abs/1701.04128",
    hints=(
        "A kernel of size k adds k - 1 neighbours. How far apart are these neighbours in the "
        "image?",
        "Go through the layers in their order, with two numbers: the field so far, and the "
        "distance in the image between two neighbours of this layer's input.",
        "Both start at 1. For each layer, add (kernel - 1) * distance to the field; then "
        "multiply the distance by the stride.",
    ),
    wrong=[
        Wrong(
            lambda layers: 1 + sum(k - 1 for k, _ in layers),
            "You leave the strides out. After a stride of 2, neighbouring numbers lie two pixels "
            "apart, and a kernel on them reaches twice as far.",
        ),
        Wrong(
            lambda layers: sum(k for k, _ in layers) if layers else 1,
            "Kernels overlap: a second one of 3 adds only 2 pixels to what the first has seen.",
        ),
        Wrong(
            lambda layers: (
                1
                + sum(
                    (k - 1) * int(np.prod([s for _, s in layers[: i + 1]]))
                    for i, (k, _) in enumerate(layers)
                )
            ),
            "A layer's own stride moves its results apart; it does not widen its own kernel. "
            "Multiply the distance after the layer has been counted.",
        ),
        Wrong(
            forwards,
            "You let later strides widen what earlier layers have seen. Going forward, the "
            "field grows by (kernel - 1) times the distance of neighbours so far; only from the "
            "last layer backwards is it multiplied.",
        ),
        Wrong(
            strides_of_all,
            "Between n neighbouring numbers there are n - 1 strides. Yours counts n of them.",
        ),
        Wrong(
            lambda layers: receptive_field(layers) + spans(layers),
            "You add a whole kernel for each layer. One of its pixels was there already.",
        ),
        Wrong(
            lambda layers: int(np.prod([k for k, _ in layers])) if layers else 1,
            "You multiply the kernels. Each adds to the field.",
        ),
    ],
)

# window_columns


def window_columns(x, kernel):
    height, width = x.shape[0] - kernel + 1, x.shape[1] - kernel + 1
    rows = [x[i : i + kernel, j : j + kernel].ravel() for i in range(height) for j in range(width)]
    return np.array(rows, x.dtype).reshape(height * width, kernel * kernel)


@st.composite
def picture_and_kernel(draw):
    kernel = draw(st.integers(1, 3))
    shape = (draw(st.integers(kernel, 5)), draw(st.integers(kernel, 5)))
    return draw(arrays(shape)), kernel


def by_columns(x, kernel):
    """Windows column by column."""
    return np.concatenate(
        [
            x[i : i + kernel, j : j + kernel].reshape(1, -1)
            for j in range(x.shape[1] - kernel + 1)
            for i in range(x.shape[0] - kernel + 1)
        ]
    )


def tiles(x, kernel):
    """Windows that do not overlap."""
    h, w = x.shape[0] // kernel, x.shape[1] // kernel
    cut = x[: h * kernel, : w * kernel].reshape(h, kernel, w, kernel)
    return cut.transpose(0, 2, 1, 3).reshape(h * w, kernel * kernel)


WINDOW_COLUMNS = Task(
    name="window_columns",
    kind="vectorise",
    specification=window_columns,
    cases=picture_and_kernel(),
    examples=[(np.arange(12, dtype=np.float32).reshape(3, 4), 2)],
    picture=tables,
    after="`window_columns(x, 3) @ kernel.ravel()` is a convolution. The view of all windows costs "
    "nothing, the copy into rows does: for a 3x3 kernel nine times the picture's memory.",
    link="Chetlur et al. 2014 on how cuDNN avoids the copy: https://arxiv.org/abs/1410.0759",
    hints=(
        "There is a view that shows all windows without copying. What shape does it have?",
        "sliding_window_view gives four axes: two for where the window is, two for the place "
        "inside it. The result wants the first two as rows and the last two as columns.",
        "sliding_window_view(x, (kernel, kernel)) followed by a reshape to (-1, kernel * kernel).",
    ),
    wrong=[
        Wrong(
            by_columns,
            "Your windows come column by column. The position (0, 1) is the second row of the "
            "matrix.",
        ),
        Wrong(
            lambda x, kernel: np.concatenate(
                [w.reshape(kernel, kernel).T.reshape(1, -1) for w in window_columns(x, kernel)]
            ),
            "Each window is turned: within a row of the matrix, a window's first row comes first.",
        ),
        Wrong(
            lambda x, kernel: np.ascontiguousarray(window_columns(x, kernel).T),
            "That is the transposed matrix: windows are rows, the cells of a window its columns.",
        ),
        Wrong(
            lambda x, kernel: np.ascontiguousarray(
                window_columns(x, kernel).reshape(kernel * kernel, -1).T
            ),
            "A reshape does not reorder numbers: give the windows' axes first, then those of the "
            "kernel, and reshape without a transpose.",
        ),
        Wrong(
            lambda x, kernel: window_columns(x, kernel).reshape(-1, kernel, kernel),
            "Each window is still a square. Lay its rows one after the other.",
        ),
        Wrong(
            lambda x, kernel: np.lib.stride_tricks.sliding_window_view(x, kernel),
            "A window has two sides, and the view wants both. It gives four axes then: two of "
            "places, two of a window's cells.",
        ),
        Wrong(
            tiles,
            "Your windows do not overlap. They start at every pixel, not at every kernel's width.",
        ),
    ],
)

# depthwise


def depthwise(x, weight):
    height, width, channels = x.shape
    out = np.zeros(x.shape)
    for i, j, c in np.ndindex(height, width, channels):
        single = x[:, :, c : c + 1]
        out[i, j, c] = conv_pixel(single, weight[c][None, None], i, j, 0, padding=(1, 1))
    return out


@st.composite
def map_and_kernels(draw):
    height, width, channels = (draw(st.integers(1, n)) for n in (4, 4, 3))
    return draw(arrays((height, width, channels))), draw(arrays((channels, 3, 3), -4, 4))


def depthwise_of_edges(x, weight):
    """Padding repeats the edge."""
    padded = np.pad(x, ((1, 1), (1, 1), (0, 0)), mode="edge")
    return depthwise(padded, weight)[1:-1, 1:-1]


def windows_of(padded):
    """(H, W, C, 3, 3)"""
    return np.lib.stride_tricks.sliding_window_view(padded, (3, 3), axis=(0, 1))


def all_sides_padded(x, weight):
    """The channels get a ring of zeros, too."""
    return np.einsum("hwcrs,crs->hwc", windows_of(np.pad(x, 1)), weight)


def mixed(x, weight):
    """A convolution that sums over all channels."""
    return np.repeat(depthwise(x, weight).sum(axis=2, keepdims=True), x.shape[2], axis=2)


DEPTHWISE = Task(
    name="depthwise",
    kind="vectorise",
    specification=depthwise,
    cases=map_and_kernels(),
    examples=[(np.arange(8, dtype=np.float32).reshape(2, 2, 2), np.ones((2, 3, 3), np.float32))],
    after="MobileNet alternates this with 1x1 convolutions that mix the channels: an eighth of the "
    "work. This package has it as `groups`, though Mask R-CNN does not use it.",
    link="Howard et al. 2017, https://arxiv.org/abs/1704.04861",
    hints=(
        "Channels do not mix: the sum runs over the nine taps of a window and over nothing else.",
        "Pad rows and columns with one zero on each side, but not the channels. Take all the "
        "3x3 windows, which is an array of five axes. Multiply with the weight and sum over "
        "the two tap axes.",
        "np.pad with ((1, 1), (1, 1), (0, 0)); sliding_window_view over axis=(0, 1) puts the "
        "taps last; then an einsum like 'ijcrs,crs->ijc'.",
    ),
    wrong=[
        Wrong(
            mixed,
            "You sum over the channels. Channel c of the result is made of channel c alone.",
        ),
        Wrong(
            lambda x, weight: depthwise(x, weight).sum(axis=2),
            "You sum over the channels, and their axis is gone. Channel c of the result is made of "
            "channel c alone.",
        ),
        Wrong(
            all_sides_padded,
            "You pad the channels, too: np.pad with one number pads every axis. Rows and columns "
            "alone have zeros around them.",
        ),
        Wrong(
            lambda x, weight: depthwise(x, weight[:, ::-1, ::-1]),
            "Your kernel is turned by half a circle. In a network's convolution it is laid on "
            "as it is.",
        ),
        Wrong(
            lambda x, weight: depthwise(x, weight[:, ::-1]),
            "Your kernel stands on its head: its first row is laid on the pixels above.",
        ),
        Wrong(
            lambda x, weight: depthwise(x, weight.transpose(0, 2, 1)),
            "Rows and columns of the kernel are swapped.",
        ),
        Wrong(
            depthwise_of_edges,
            "You repeat the edge's pixels. Padding is zeros here.",
        ),
        Wrong(
            lambda x, weight: depthwise(x, weight)[1:-1, 1:-1],
            "The padding is missing: the result must be as large as the picture.",
        ),
    ],
)

# input_gradient


def input_gradient(grad, weight):
    _, height, width, outs = grad.shape
    _, ins, kernel, _ = weight.shape
    dx = np.zeros((1, height + kernel - 1, width + kernel - 1, ins))
    for i, j, o in np.ndindex(height, width, outs):
        for c, r, s in np.ndindex(ins, kernel, kernel):
            dx[0, i + r, j + s, c] += float(grad[0, i, j, o]) * float(weight[o, c, r, s])
    return dx


@st.composite
def gradient_and_weight(draw):
    height, width, outs, ins, kernel = (draw(st.integers(1, n)) for n in (3, 3, 2, 2, 3))
    return draw(arrays((1, height, width, outs))), draw(arrays((outs, ins, kernel, kernel), -4, 4))


def valid_only(grad, weight):
    """No padding: only where the turned kernel fits."""
    kernel = weight.shape[2]
    full = input_gradient(grad, weight)
    return full[:, kernel - 1 : full.shape[1] - kernel + 1, kernel - 1 : full.shape[2] - kernel + 1]


def whole_convolution(grad, weight, missing=0):
    """With the weight's first two axes as they are."""
    return conv2d(grad, weight, padding=weight.shape[2] - 1 - missing).data


def same_size(grad, weight):
    """Padding kernel // 2."""
    cut = weight.shape[2] - 1 - weight.shape[2] // 2
    full = input_gradient(grad, weight)
    return full[:, cut : full.shape[1] - cut, cut : full.shape[2] - cut]


INPUT_GRADIENT = Task(
    name="input_gradient",
    kind="extend",
    specification=input_gradient,
    cases=gradient_and_weight(),
    laws=[
        Law(
            "doubling the gradient doubles the result",
            lambda f, g, w: np.allclose(f(2 * g, w), 2 * np.asarray(f(g, w)), atol=1e-3),
        ),
    ],
    after="Forward and backward are one kernel with other numbers, and this package's CPU form "
    "runs both through the same code. With stride 2 the gradient has holes of zeros, and is "
    "what the mask head uses to enlarge its maps: the transposed convolution.",
    link="backward in tinymaskrcnn/ops/conv2d/cpu_direct.py",
    hints=(
        "Pixel p was used by result q through tap p - q. Seen from the pixel, the kernel runs "
        "the other way.",
        "It is a convolution of the gradient with the kernel turned by 180 degrees, whose "
        "input and output channels are exchanged. Enough padding makes the result larger than "
        "the gradient.",
        "Reverse both tap axes with ::-1, transpose axes 0 and 1, padding = K - 1. Take .data "
        "of what conv2d returns.",
    ),
    wrong=[
        Wrong(
            lambda grad, weight: input_gradient(grad, weight[:, :, ::-1, ::-1]),
            "The kernel is not turned. A pixel above a result was multiplied with an upper cell of "
            "the kernel, and seen from the pixel that result lies below.",
        ),
        Wrong(
            lambda grad, weight: whole_convolution(grad, weight[:, :, ::-1, ::-1]),
            "The gradient has O channels, and the result C. This convolution goes the other way: "
            "what does that mean for the weight's first two axes?",
        ),
        Wrong(
            lambda grad, weight: whole_convolution(
                grad, weight[:, :, ::-1, ::-1], missing=(weight.shape[2] - 1) // 2
            ),
            "Two things. The gradient has O channels, and the result C: what does that mean for "
            "the weight's first two axes? And the picture was larger than the result.",
        ),
        Wrong(
            whole_convolution,
            "Two things. The gradient has O channels, and the result C: what does that mean for "
            "the weight's first two axes? And the kernel must be turned.",
        ),
        Wrong(
            lambda grad, weight: input_gradient(grad, weight.transpose(0, 1, 3, 2)),
            "You swap the kernel's rows and columns. Half a turn reverses both axes instead.",
        ),
        Wrong(
            lambda grad, weight: input_gradient(grad, weight[:, :, ::-1]),
            "Only one of the kernel's two axes ends up reversed.",
        ),
        Wrong(
            same_size,
            "The result is as large as the gradient. The picture was larger: pixels at the border "
            "count, too. How much padding does that take?",
        ),
        Wrong(
            valid_only,
            "The result is too small: pixels at the border, which only some positions of the "
            "kernel have touched, must receive theirs. How much padding does that take?",
        ),
    ],
)

# convolve


def convolve(x, weight, bias, stride, padding):
    count, size = len(x), weight.shape[2]
    height, width = ((side + 2 * padding - size) // stride + 1 for side in x.shape[1:3])
    y = np.zeros((count, height, width, len(weight)))
    for n, i, j, o in np.ndindex(y.shape):
        pixel = conv_pixel(x[n], weight, i, j, o, (stride, stride), (padding, padding))
        y[n, i, j, o] = pixel + bias[o]
    return y


@st.composite
def convolutions(draw):
    n, c, o, size, stride = (draw(st.integers(1, most)) for most in (2, 2, 2, 3, 2))
    height, width = draw(st.integers(size, 4)), draw(st.integers(size, 4))
    x, weight = draw(arrays((n, height, width, c))), draw(arrays((o, c, size, size)))
    return x, weight, draw(arrays((o,))), stride, draw(st.integers(0, 1))


CONVOLVE = Task(
    name="convolve",
    kind="build",
    specification=convolve,
    cases=convolutions(),
    max_cases=60,
    after="Each tap is one matrix product over all positions: that is how libraries got fast. Half "
    "of the model's time is spent in this function.",
    link="conv2d in tinymaskrcnn/ops/conv2d/reference.py",
    hints=(
        "Do not go from pixel to pixel. Ask instead: what does one tap of the kernel add, to "
        "all the outputs at once?",
        "Pad the image with zeros. For each tap (r, s), cut out the part of the padded image "
        "that this tap meets, one pixel per output. Multiply its channels with the tap's "
        "weights and add it to the result. The bias comes once.",
        "The cut is x[:, r : ... : stride, s : ... : stride], with as many rows and columns "
        "as the output has. `cut @ weight[:, :, r, s].T` turns C channels into O.",
    ),
    wrong=[
        Wrong(
            lambda x, w, b, stride, padding: convolve(x, w[:, :, ::-1, ::-1], b, stride, padding),
            "Your kernel is turned by 180 degrees. That is the convolution of mathematics; "
            "networks lay the kernel on the picture as it is.",
        ),
        Wrong(
            lambda x, w, b, stride, padding: convolve(x, w, 0 * b, stride, padding),
            "The bias is missing. It is added to every position of its channel.",
        ),
        Wrong(
            lambda x, w, b, stride, padding: convolve(x, w.swapaxes(2, 3), b, stride, padding),
            "Rows and columns of the kernel are swapped: weight[o, c, r, s] belongs r rows down "
            "and s columns to the right.",
        ),
        Wrong(
            lambda x, w, b, stride, padding: convolve(x, w, b, stride, 0),
            "The padding is missing: put zeros around the picture first.",
        ),
        Wrong(
            lambda x, w, b, stride, padding: convolve(x, w, b, 1, padding),
            "The stride is missing. With stride 2 only every second row and column is computed.",
        ),
        Wrong(
            lambda x, w, b, stride, padding: convolve(x, w, b * w[0].size, stride, padding),
            "The bias is added once for each product. It belongs to each result once.",
        ),
    ],
)

TASKS = [CONVOLVE, OUTPUT_SIZE, RECEPTIVE_FIELD, WINDOW_COLUMNS, DEPTHWISE, INPUT_GRADIENT]
