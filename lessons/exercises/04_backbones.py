"""Exercises of lesson 04: backbones. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""


def stage_sizes(height, width):
    """Fill. The sizes of the four maps that a ResNet makes of an image. The stem halves the image,
    the pooling halves it again (that is stage 1), and stages 2, 3 and 4 halve it once each. Each
    of these layers has kernel 7 and padding 3, or kernel 3 and padding 1, with stride 2.

    Budget: 6 lines.

    Args:
        height, width: ints, at least 1.

    Returns:
        a list of four (height, width) pairs, the largest first.
    """
    raise NotImplementedError


def block_parameters(in_channels, width, stride):
    """Fill. How many parameters a basic block has: two 3x3 convolutions without bias, each followed
    by a normalisation layer (a scale and a shift per channel). Where the block changes the map's
    shape there is also a 1x1 convolution in the shortcut, with a normalisation layer of its own.

    Budget: 6 lines.

    Args:
        in_channels: channels of the input. width: channels inside the block and of its output.
            stride: of the first convolution, 1 or 2.

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
        height, width: of the image.

    Returns:
        an int: the multiplications of all layers. Those that fall on the padding count, too.
    """
    raise NotImplementedError


def padded_shortcut(x, channels):
    """Vectorise. A shortcut without parameters (option A in He et al.): take every second row and
    column, beginning with the first, and append channels of zeros.

    Budget: 4 lines, no loops.

    Args:
        x: (N, H, W, C) float32. channels: an int, at least C.

    Returns:
        (N, ceil(H / 2), ceil(W / 2), channels) float32.
    """
    raise NotImplementedError


def bottleneck_block(x, down, middle, up):
    """Extend. A bottleneck without normalisation, whose shortcut is the input itself: 1x1 down,
    ReLU, 3x3, ReLU, 1x1 up, plus the input, ReLU.

    Budget: 7 lines. You may use `tinymaskrcnn.functional.conv2d` and `relu`.

    Args:
        x: (1, H, W, C) float32. down: (M, C, 1, 1). middle: (M, M, 3, 3), with padding 1.
        up: (C, M, 1, 1).

    Returns:
        (1, H, W, C) float32: an array or a Tensor.
    """
    raise NotImplementedError
