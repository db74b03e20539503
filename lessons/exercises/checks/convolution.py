"""Checks of lesson 02: convolution."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.pictures import tables
from lessons.checking.strategies import arrays

conv_pixel = load("convolution").conv_pixel


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
    "ResNet. A 3x3 kernel with padding 1 keeps the size, which is why nearly all other layers "
    "look like that.",
    link="_output_shape in tinymaskrcnn/ops/conv2d/reference.py",
    hints=(
        "How many pixels does a kernel with gaps span from its first tap to its last?",
        "The span is dilation * (kernel - 1) + 1. On the padded side, count how many whole "
        "strides fit behind the first position; the first position itself counts, too.",
        "(padded size - span) // stride + 1, where padding is added at both ends.",
    ),
    wrong=mistakes("""
        stride + 1 => stride
            One position is missing. A kernel as large as the image fits once, not zero times.
        - reach) // stride + 1 => - reach + 1) // stride
            You divide the number of places by the stride. With stride 2, three places give two
            positions: count the steps from the first to the last, and add the first.
        + 2 * padding => - 2 * padding
            Padding makes the image larger. You subtract it.
        " + 2 * padding" =>
            The padding is missing. It makes the image larger before the kernel is applied.
        (size + 2 * padding - reach) // stride => round((size + 2 * padding - reach) / stride)
            You round to the nearest integer. A last step that does not fit in the image is not
            taken: round down.
        2 * padding => padding
            Padding goes on both sides of the image.
        dilation * (kernel - 1) + 1 => kernel
            Dilation pulls the kernel's cells apart: how far does the kernel reach then?
        (kernel - 1) + 1 => kernel
            Between k cells there are k - 1 gaps. A dilated kernel does not reach past its last
            cell.
        (size + 2 * padding - reach) // stride => -((reach - size - 2 * padding) // stride)
            You round up. A last step that does not fit in the image is not taken.
    """),
)


def receptive_field(layers):
    """Follow the first and the last pixel back through the layers."""
    first = last = 0
    for kernel, stride in reversed(layers):
        first, last = first * stride, last * stride + kernel - 1
    return last - first + 1


RECEPTIVE_FIELD = Task(
    name="receptive_field",
    kind="fill",
    specification=receptive_field,
    cases=st.tuples(
        st.lists(st.tuples(st.integers(1, 5), st.integers(1, 3)), min_size=0, max_size=4)
    ),
    examples=[([(3, 1)],), ([(3, 1), (3, 1)],)],
    after="Two 3x3 layers see 5 pixels and three see 7, with fewer weights than one 7x7 kernel: "
    "VGG's idea. Each stride of 2 doubles what all later layers add, so deep layers see the whole "
    "image.",
    link="Luo et al. 2016, https://arxiv.org/abs/1701.04128",
    hints=(
        "A kernel of size k adds k - 1 neighbours. How far apart are these neighbours in the "
        "image?",
        "Go through the layers in their order, with two numbers: the field so far, and the "
        "distance in the image between two neighbours of this layer's input.",
        "Both start at 1. For each layer, add (kernel - 1) * distance to the field; then "
        "multiply the distance by the stride.",
    ),
    wrong=mistakes(r"""
        " * distance" =>
            You leave out the strides. After a stride of 2, neighbouring elements lie two pixels
            apart, and a kernel on them reaches twice as far.
        field, distance = 1, 1 => field, distance = 0 if layers else 1, 1
        field += (kernel - 1) * distance => field += kernel
            Kernels overlap: a second one of size 3 adds only 2 pixels to what the first has seen.
        "field += (kernel - 1) * distance\n        distance *= stride"
            => "distance *= stride\n        field += (kernel - 1) * distance"
            A layer's stride moves its outputs apart; it does not widen its own kernel. Multiply the
            distance after you have counted the layer.
        field += (kernel - 1) * distance => field = field * stride + kernel - 1
            You let later strides widen what earlier layers have seen. Going forward, the field
            grows by (kernel - 1) times the distance between neighbours so far. Only backwards from
            the last layer would you multiply it.
        in layers => in reversed(layers)
        field += (kernel - 1) * distance => field = field * stride + kernel - 1
            Between n neighbouring elements there are n - 1 strides. You count n.
        (kernel - 1) => kernel
            You add a whole kernel per layer. One of its pixels was already there.
        field += (kernel - 1) * distance => field *= kernel
            You multiply the kernel sizes. Each kernel adds to the field.
        " * distance" => " * stride"
            You multiply by the layer's own stride. How far apart its inputs lie is the product of
            the strides of all layers before it.
    """),
)


def window_columns(x, kernel):
    height, width = x.shape[0] - kernel + 1, x.shape[1] - kernel + 1
    rows = [x[i : i + kernel, j : j + kernel].ravel() for i in range(height) for j in range(width)]
    return np.array(rows, x.dtype).reshape(height * width, kernel * kernel)


@st.composite
def image_and_kernel(draw):
    kernel = draw(st.integers(1, 3))
    shape = (draw(st.integers(kernel, 5)), draw(st.integers(kernel, 5)))
    return draw(arrays(shape)), kernel


WINDOW_COLUMNS = Task(
    name="window_columns",
    kind="vectorise",
    specification=window_columns,
    cases=image_and_kernel(),
    examples=[(np.arange(12, dtype=np.float32).reshape(3, 4), 2)],
    picture=tables,
    after="`window_columns(x, 3) @ kernel.ravel()` is a convolution. The view of all windows "
    "costs nothing, but the copy into rows does: for a 3x3 kernel, nine times the image's memory.",
    link="Chetlur et al. 2014 on how cuDNN avoids the copy: https://arxiv.org/abs/1410.0759",
    hints=(
        "There is a view that shows all windows without copying. What shape does it have?",
        "sliding_window_view gives four axes: two for where the window is, two for the place "
        "inside it. The result wants the first two as rows and the last two as columns.",
        "sliding_window_view(x, (kernel, kernel)) followed by a reshape to (-1, kernel * kernel).",
    ),
    wrong=mistakes("""
        windows.reshape => windows.swapaxes(0, 1).reshape
            Your windows come column by column. Position (0, 1) is the second row of the matrix.
        windows.reshape => windows.swapaxes(2, 3).reshape
            Each window is transposed: within a row of the matrix, a window's first row comes first.
        kernel * kernel) => kernel * kernel).T
            That is the transposed matrix: each window is a row, and its cells are the columns.
        kernel * kernel) => kernel * kernel).reshape(kernel * kernel, -1).T
            A reshape does not reorder numbers: put the axes of the windows first, then those of the
            kernel, and reshape without a transpose.
        kernel * kernel => kernel, kernel
            Each window is still a square. Put its rows one after the other.
        (kernel, kernel))  # => kernel)  #
        .reshape(-1, kernel * kernel) =>
            A window has two sides, and the view wants both. Then it gives four axes: two for the
            window's position, two for its cells.
        (kernel, kernel))  # => (kernel, kernel))[::kernel, ::kernel]  #
            Your windows do not overlap. They start at every pixel, not once per kernel width.
    """),
)


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
        "Pad rows and columns with one zero on each side, but not the channels. Take all the 3x3 "
        "windows, which is an array of five axes. Multiply by the weight and sum over the two tap "
        "axes.",
        "np.pad with ((1, 1), (1, 1), (0, 0)); sliding_window_view over axis=(0, 1) puts the "
        "taps last; then an einsum like 'ijcrs,crs->ijc'.",
    ),
    wrong=mistakes("""
        crs->ijc => crs->ij
        windows, weight) => windows, weight)[..., None].repeat(x.shape[2], axis=2)
            You sum over the channels. Channel c of the result comes from channel c alone.
        ->ijc => ->ij
            You sum over the channels, and their axis is gone. Channel c of the result comes from
            channel c alone.
        (0, 0) => (1, 1)
            You pad the channels, too: np.pad with a single number pads every axis. Only rows and
            columns get zeros around them.
        windows, weight => windows, weight[:, ::-1, ::-1]
            Your kernel is turned by 180 degrees. A network's convolution applies it as it is.
        windows, weight => windows, weight[:, ::-1]
            Your kernel stands on its head: its first row belongs on the pixels above.
        windows, weight => windows, weight.transpose(0, 2, 1)
            The kernel's rows and columns are swapped.
        (0, 0))) => (0, 0)), mode='edge')
            You repeat the edge pixels. Here the padding is zeros.
        windows, weight) => windows, weight)[1:-1, 1:-1]
            The padding is missing: the result must be as large as the image.
    """),
)


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
    after="Forward and backward are the same kernel with different numbers, and this package's "
    "CPU version runs both through the same code. With stride 2 the gradient has zeros between "
    "its elements; this is the transposed convolution, with which the mask head enlarges its "
    "feature maps.",
    link="backward in tinymaskrcnn/ops/conv2d/cpu/direct.py",
    hints=(
        "Pixel p was used by result q through tap p - q. Seen from the pixel, the kernel runs "
        "the other way.",
        "It is a convolution of the gradient with the kernel turned by 180 degrees, whose "
        "input and output channels are exchanged. Enough padding makes the result larger than "
        "the gradient.",
        "Reverse both tap axes with ::-1, transpose axes 0 and 1, padding = K - 1. Take .data "
        "of what conv2d returns.",
    ),
    wrong=mistakes("""
        [:, :, ::-1, ::-1] =>
            The kernel is not turned. A pixel above a result was multiplied by an upper cell of the
            kernel; seen from the pixel, that result lies below.
        .transpose(1, 0, 2, 3) =>
            The gradient has O channels, and the result C. This convolution goes the other way: what
            does that mean for the weight's first two axes?
        .transpose(1, 0, 2, 3) =>
        weight.shape[2] - 1 => weight.shape[2] // 2
            Two things. The gradient has O channels, and the result C: what does that mean for the
            weight's first two axes? And the image was larger than the result.
        [:, :, ::-1, ::-1].transpose(1, 0, 2, 3) =>
            Two things. The gradient has O channels, and the result C: what does that mean for the
            weight's first two axes? And the kernel must be turned.
        weight[: => weight.transpose(0, 1, 3, 2)[:
            You swap the kernel's rows and columns. A half turn reverses both axes instead.
        [:, :, ::-1, ::-1] => [:, :, :, ::-1]
            Only one of the kernel's two axes ends up reversed.
        weight.shape[2] - 1 => weight.shape[2] // 2
            The result is as large as the gradient. The image was larger: pixels at the border
            count, too. How much padding does that take?
        padding=weight.shape[2] - 1 => padding=0
            The result is too small: pixels at the border, which only some positions of the kernel
            touched, must receive their gradient. How much padding does that take?
        weight[:, :, ::-1, ::-1] => weight[::-1, ::-1]
            You reverse the channels. The kernel's rows and columns are the last two axes.
    """),
)


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
    after="Each tap is one matrix product over all positions: that is how libraries got fast. The "
    "model spends half of its time in this function.",
    link="conv2d in tinymaskrcnn/ops/conv2d/reference.py",
    hints=(
        "Do not go from pixel to pixel. Ask instead: what does one tap of the kernel add, to "
        "all the outputs at once?",
        "Pad the image with zeros. For each tap (r, s), cut out the part of the padded image that "
        "this tap meets, one pixel per output. Multiply its channels by the tap's weights and add "
        "it to the result. The bias comes once.",
        "The cut is x[:, r : ... : stride, s : ... : stride], with as many rows and columns "
        "as the output has. `cut @ weight[:, :, r, s].T` turns C channels into O.",
    ),
    wrong=mistakes("""
        weight[:, :, r, s] => weight[:, :, size - 1 - r, size - 1 - s]
            Your kernel is turned by 180 degrees. That is convolution in mathematics; networks apply
            the kernel as it is.
        " + bias" =>
            The bias is missing. Add it to every position of its channel.
        weight[:, :, r, s] => weight[:, :, s, r]
            Rows and columns of the kernel are swapped: weight[o, c, r, s] belongs r rows down and s
            columns to the right.
        size = weight => padding, size = 0, weight
            The padding is missing: put zeros around the image first.
        size = weight => stride, size = 1, weight
            The stride is missing. With stride 2 compute only every second row and column.
        + bias => + bias * weight[0].size
            You add the bias once per product. Add it once per output.
        r + stride * (height - 1) + 1 => r + height
        s + stride * (width - 1) + 1 => s + width
            Your cut is as long as the result, and then the stride leaves out part of it. Which
            pixel does the last output read?
    """),
)

TASKS = [CONVOLVE, OUTPUT_SIZE, RECEPTIVE_FIELD, WINDOW_COLUMNS, DEPTHWISE, INPUT_GRADIENT]
