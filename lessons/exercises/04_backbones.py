"""Exercises of lesson 04: backbones. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""


def stage_sizes(height, width):
    """Fill. The sizes of the four maps that a ResNet makes of a picture. Stem and pooling halve it
    to stage 1, and stages 2, 3 and 4 halve again. Each of these layers has kernel 7 and padding 3,
    or kernel 3 and padding 1, with stride 2.

    Budget: 6 lines.

    Args:
        height, width: ints, at least 1.

    Returns:
        a list of four (height, width) pairs, the largest first.
    """
    raise NotImplementedError


def block_parameters(in_channels, width, stride):
    """Fill. How many numbers a basic block has to learn: two 3x3 convolutions without bias, a norm
    after each (a scale and a shift for each channel), and where the block changes the map's shape
    a 1x1 convolution in the shortcut, with a norm.

    Budget: 6 lines.

    Args:
        in_channels: of what comes in. width: channels inside and of what comes out. stride: of the
            first convolution, 1 or 2.

    Returns:
        an int.
    """
    raise NotImplementedError


def multiply_adds(layers, height, width):
    """Fill. The work of a stack of convolutions, one after the other, each with padding
    kernel // 2.

    Budget: 8 lines.

    Args:
        layers: a list of (in_channels, out_channels, kernel, stride), ints; kernels are odd.
        height, width: of the picture.

    Returns:
        an int: multiplications over all layers. What falls on the padding counts, too.
    """
    raise NotImplementedError


def padded_shortcut(x, channels):
    """Vectorise. The shortcut of He et al.'s option A, which has nothing to learn: take every
    second row and column, beginning with the first, and put zeros behind the channels.

    Budget: 4 lines, no loops.

    Args:
        x: (N, H, W, C) float32. channels: an int, at least C.

    Returns:
        (N, ceil(H / 2), ceil(W / 2), channels) float32.
    """
    raise NotImplementedError


def bottleneck_block(x, down, middle, up):
    """Extend. A bottleneck without norms, on a shortcut that changes nothing: 1x1 down, ReLU, 3x3,
    ReLU, 1x1 up, plus what came in, ReLU.

    Budget: 7 lines. `tinymaskrcnn.functional.conv2d` and `relu` may be used.

    Args:
        x: (1, H, W, C) float32. down: (M, C, 1, 1). middle: (M, M, 3, 3), with padding 1.
        up: (C, M, 1, 1).

    Returns:
        (1, H, W, C) float32: an array or a Tensor.
    """
    raise NotImplementedError
