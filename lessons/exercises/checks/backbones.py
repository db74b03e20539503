"""Checks of lesson 04: backbones."""

import numpy as np
from hypothesis import strategies as st

from lessons import load
from lessons.checking import Law, Task, mistakes
from lessons.checking.strategies import arrays

conv_pixel = load("convolution").conv_pixel


def stage_sizes(height, width):
    """Layer by layer, with the convolution's own formula."""
    sizes = [(height, width)]
    for kernel, padding in ((7, 3), (3, 1), (3, 1), (3, 1), (3, 1)):
        sizes.append(tuple((side + 2 * padding - kernel) // 2 + 1 for side in sizes[-1]))
    return sizes[2:]


STAGE_SIZES = Task(
    name="stage_sizes",
    kind="fill",
    specification=stage_sizes,
    cases=st.tuples(st.integers(1, 200), st.integers(1, 200)),
    examples=[(224, 224), (64, 96)],
    after="Images whose sides are not multiples of 32 give feature maps whose sizes are not exact "
    "halves. That is why a detector pads its batches to multiples of 32.",
    link="tinymaskrcnn/models/transform.py",
    hints=(
        "What does one of these layers make of an odd side, such as 7? Use the formula of "
        "lesson 02.",
        "With this padding each layer halves and rounds up. Two halvings lead to stage 1 (the "
        "stem and the pooling), and one more to each of the others: five in all, of which the "
        "first is not reported.",
        "Halving that rounds up is (side + 1) // 2. Repeat it five times for both sides and "
        "keep the last four pairs.",
    ),
    wrong=mistakes("""
        (height + 1) // 2, (width + 1) // 2 => height // 2, width // 2
            You round down. With padding, a kernel that starts on the last pixel still fits: what
            does a side of 5 become?
        range(1, 6) => range(1, 5)
        halvings > 1 => halvings > 0
            You count only the stem's halving. The pooling after it halves again before stage 1.
        range(1, 6) => range(1, 7)
        halvings > 1 => halvings > 2
            Stage 1 does not halve; it keeps the size that stem and pooling leave.
        return sizes => return sizes[::-1]
            The order is wrong: the largest map comes first.
        (height, width)) => (width, height))
            Height and width are swapped.
        (height + 1) // 2, (width + 1) // 2 => round(height / 2), round(width / 2)
            Python's `round` takes halves to the even neighbour: 3.5 becomes 4, but 2.5 becomes 2.
            These layers always round up.
    """),
)


def block_parameters(in_channels, width, stride):
    convolutions = [(in_channels, width, 3), (width, width, 3)]
    if stride != 1 or in_channels != width:
        convolutions.append((in_channels, width, 1))
    return sum(i * o * k * k + 2 * o for i, o, k in convolutions)


BLOCK_PARAMETERS = Task(
    name="block_parameters",
    kind="fill",
    specification=block_parameters,
    cases=st.tuples(st.sampled_from([1, 2, 3, 64]), st.sampled_from([1, 2, 64]), st.integers(1, 2)),
    examples=[(64, 64, 1), (64, 128, 2), (64, 64, 2), (64, 128, 1)],
    after="The second block of ResNet-18's first stage has 73 984: two convolutions and 256 "
    "parameters of normalisation layers. What those remember (means and variances) is saved with "
    "the weights, but not learnt.",
    link="BasicBlock in tinymaskrcnn/models/resnet.py",
    hints=(
        "Count layer by layer. A 3x3 convolution from a to b channels has 9 * a * b weights; a "
        "normalisation layer of b channels has 2 * b.",
        "The main path: in_channels to width, width to width, two normalisation layers. The "
        "shortcut has weights only if the stride is not 1 or the number of channels changes.",
        "That is 9 * in * width + 9 * width * width + 4 * width, and where the shape changes "
        "also in * width + 2 * width.",
    ),
    wrong=mistakes("""
        main + in_channels * width + 2 * width => main
            The shortcut is missing where the block changes the map's shape.
        "stride == 1 and " =>
            A block that halves the map needs a convolution in its shortcut even if the number of
            channels stays.
        " and in_channels == width" =>
            A block that changes the number of channels needs a convolution in its shortcut even if
            the size stays.
        " + 4 * width" =>
        " + 2 * width" =>
            The normalisation layers are missing: a scale and a shift per channel.
        " + 2 * width" =>
            The shortcut's convolution has a normalisation layer, too.
        main + in_channels => main + 9 * in_channels
            The shortcut's convolution is 1x1.
        + 4 * width => + 8 * width
        + 2 * width => + 4 * width
            Means and variances are measured, not learnt. They do not count.
    """),
)


def multiply_adds(layers, height, width):
    total = 0
    for ins, outs, kernel, stride in layers:
        height, width = (
            (side + 2 * (kernel // 2) - kernel) // stride + 1 for side in (height, width)
        )
        total += kernel * kernel * ins * outs * height * width
    return total


@st.composite
def stacks(draw):
    layers, channels = [], draw(st.integers(1, 3))
    for _ in range(draw(st.integers(1, 3))):
        outs = draw(st.integers(1, 3))
        layers.append((channels, outs, draw(st.sampled_from([1, 3])), draw(st.integers(1, 2))))
        channels = outs
    return layers, draw(st.integers(1, 9)), draw(st.integers(1, 9))


MULTIPLY_ADDS = Task(
    name="multiply_adds",
    kind="fill",
    specification=multiply_adds,
    cases=stacks(),
    examples=[([(3, 64, 7, 2)], 224, 224), ([(3, 4, 3, 2), (4, 4, 1, 2)], 7, 5)],
    after="Divided by what a processor can do per second, this gives the least time a network "
    "needs. This package's benchmarks print both, and how close they are.",
    link="tests/benchmarks/layers.py",
    hints=(
        "The work of one layer is the work of one output number times how many there are.",
        "Go through the layers and keep the size of the map. Each layer first changes the "
        "size; then every output pixel and output channel costs kernel * kernel * "
        "in_channels.",
        "With padding kernel // 2, the new side is (side - 1) // stride + 1. Sum kernel ** 2 "
        "* ins * outs * height * width.",
    ),
    wrong=mistakes(r"""
        height, width = (height - 1) // stride + 1, (width - 1) // stride + 1 => pass
        total += kernel * kernel * ins * outs * height * width
            => "total += kernel * kernel * ins * outs * height * width\n        height, width = \
            (height - 1) // stride + 1, (width - 1) // stride + 1"
            You count each layer at the size of its input. There is one sum per output element, and
            a stride makes those fewer.
        (height - 1) // stride + 1, (width - 1) // stride + 1 => height // stride, width // stride
            You round the size down. With this padding, a side of 5 becomes 3 at stride 2.
        " * ins" =>
            Each output element is a sum over all input channels.
        height, width = (height => high, wide = (height
        height * width => high * wide
            Each layer works on the output of the one before: strides multiply.
        += kernel => += 2 * kernel
            You count multiplications and additions separately. A multiply-add counts as one.
        kernel * kernel => kernel
            A kernel has rows and columns: how many taps are there in all?
    """),
)


def padded_shortcut(x, channels):
    count, height, width, before = x.shape
    out = np.zeros((count, (height + 1) // 2, (width + 1) // 2, channels), x.dtype)
    for n, i, j, c in np.ndindex(*out.shape[:3], before):
        out[n, i, j, c] = x[n, 2 * i, 2 * j, c]
    return out


@st.composite
def maps_to_widen(draw):
    count, height, width, channels = (draw(st.integers(1, n)) for n in (2, 4, 4, 2))
    return draw(arrays((count, height, width, channels))), channels + draw(st.integers(0, 3))


PADDED_SHORTCUT = Task(
    name="padded_shortcut",
    kind="vectorise",
    specification=padded_shortcut,
    cases=maps_to_widen(),
    examples=[(np.arange(1, 19, dtype=np.float32).reshape(1, 3, 3, 2), 4)],
    after="ResNets for CIFAR-10 use it and lose little: the shortcut is there for the gradient, "
    "not for its weights. Detectors use the 1x1 convolution.",
    link="He et al. 2015, section 3.3, https://arxiv.org/abs/1512.03385",
    hints=(
        "Two independent steps: fewer pixels, then more channels.",
        "A slice with a step takes every second row and column. Then put channels - C zeros at "
        "the end of the last axis, and none anywhere else.",
        "x[:, ::2, ::2], then np.pad with (0, 0) for the first three axes and (0, channels - "
        "C) for the last.",
    ),
    wrong=mistakes("""
        (0, channels - x.shape[3]) => (channels - x.shape[3], 0)
            Your zeros come before the channels. Put them after.
        (0, channels - x.shape[3])
            => ((channels - x.shape[3]) // 2, (channels - x.shape[3] + 1) // 2)
            Your zeros are on both sides of the channels. Put them all after.
        ::2, ::2 => 1::2, 1::2
            You start with the second row and column. Start with the first.
        [:, ::2, ::2] =>
            You do not halve the map.
        x = np.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, x.shape[2] % 2), (0, 0)), mode="edge")
        half = (x[:, ::2, ::2] + x[:, 1::2, ::2] + x[:, ::2, 1::2] + x[:, 1::2, 1::2]) / 4
        return np.pad(half, ((0, 0), (0, 0), (0, 0), (0, channels - x.shape[3])))
            You average each square. Take only one pixel of it.
        ::2, ::2] => ::2, ::2][:, : x.shape[1] // 2, : x.shape[2] // 2]
            Keep a last row or column without a partner: ceil, not floor.
    """),
)


def layer(x, weight, padding=0):
    out = np.zeros((*x.shape[:3], len(weight)))
    for _, i, j, o in np.ndindex(out.shape):
        out[0, i, j, o] = conv_pixel(x[0], weight, i, j, o, padding=(padding, padding))
    return out


def positive(x):
    return np.maximum(x, 0)


def bottleneck_block(x, down, middle, up):
    y = positive(layer(x, down))
    y = positive(layer(y, middle, 1))
    return positive(layer(y, up) + x)


@st.composite
def small_blocks(draw):
    height, width, channels, inner = (draw(st.integers(1, 2)) for _ in range(4))
    shapes = [(1, height, width, channels), (inner, channels, 1, 1), (inner, inner, 3, 3)]
    return tuple(draw(arrays(shape, -2, 2)) for shape in [*shapes, (channels, inner, 1, 1)])


ONE = np.ones((1, 1, 1, 1), np.float32)
CENTRE = np.zeros((1, 1, 3, 3), np.float32)
CENTRE[0, 0, 1, 1] = 1

BOTTLENECK = Task(
    name="bottleneck_block",
    kind="extend",
    specification=bottleneck_block,
    cases=small_blocks(),
    examples=[(ONE, ONE, CENTRE, ONE), (ONE, ONE, CENTRE, -ONE)],
    laws=[
        Law(
            "with `up` all zeros the block is just a ReLU: it starts out doing almost nothing",
            lambda f, x, d, m, u: np.allclose(
                getattr(f(x, d, m, 0 * u), "data", f(x, d, m, 0 * u)), positive(x)
            ),
        )
    ],
    max_cases=60,
    after="Sixteen of these, with normalisation layers, are ResNet-50. Training often starts the "
    "scale of each block's last one at 0, so that every block is the identity at first, as in the "
    "law that was checked.",
    link="Bottleneck in tinymaskrcnn/models/resnet.py",
    hints=(
        "The ReLU after the third convolution comes only when the input has been added.",
        "Three convolutions in a row: the first two are each followed by a ReLU, the last is "
        "not. Add x. Then one more ReLU.",
        "conv2d(x, weight, padding=...): only the 3x3 needs padding 1. The end is "
        "relu(conv2d(y, up) + x).",
    ),
    wrong=mistakes("""
        " + x" =>
            The shortcut is missing: add the input before the last ReLU.
        up) + x) => up)) + x
            Your last ReLU comes before the sum. Then a block can only ever add, never take away.
        relu(conv2d(y, up) + x) => conv2d(y, up) + x
            The last ReLU, after the sum, is missing.
        conv2d(y, up) + x => relu(conv2d(y, up)) + x
            You put a ReLU between `up` and the sum. A block must be able to subtract.
        relu(conv2d(x, down)) => conv2d(x, down)
            The ReLU between `down` and `middle` is missing. Without it the two are one linear map.
        relu(conv2d(y, middle, padding=1)) => conv2d(y, middle, padding=1)
            The ReLU between `middle` and `up` is missing. Without it the two are one linear map.
    """),
)

TASKS = [STAGE_SIZES, BLOCK_PARAMETERS, MULTIPLY_ADDS, PADDED_SHORTCUT, BOTTLENECK]
