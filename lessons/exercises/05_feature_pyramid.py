"""Exercises of lesson 05: the feature pyramid. Replace each `raise NotImplementedError` and ask
`tinymaskrcnn learn NAME` whether it is right.
"""


def top_down(laterals):
    """Build. The top-down path: each level is its lateral plus the next coarser level, enlarged.
    `np.repeat` enlarges along one axis.

    Budget: 7 lines.

    Args:
        laterals: a list of (H, W) arrays, finest first; each has twice the height and width
            of the next.

    Returns:
        a list of arrays of the same sizes, finest first.
    """
    raise NotImplementedError


def nearest_index(in_size, out_size):
    """Fill. Which old pixel each pixel of a resized row copies: the one where its left edge is.

    Budget: 2 lines. It has to work for shrinking as well as for enlarging.

    Args:
        in_size, out_size: ints, at least 1: pixels of the old row and of the new one.

    Returns:
        a list of out_size ints.
    """
    raise NotImplementedError


def double(x):
    """Vectorise. A map enlarged to twice its size: each number fills a square of four cells.

    Budget: 2 lines, no loops.

    Args:
        x: (H, W, C).

    Returns:
        (2 * H, 2 * W, C).
    """
    raise NotImplementedError


def double_gradient(grad):
    """Vectorise. The gradient that the small map of `double` receives.

    Budget: 3 lines, no loops.

    Args:
        grad: (2 * H, 2 * W, C), the gradient of the large map.

    Returns:
        (H, W, C).
    """
    raise NotImplementedError


def bilinear_resize(image, height, width):
    """Extend. An image resized by blending. The centre of each new pixel lies between four old
    centres; pixel centres are at half numbers. Beyond the outermost centres their value counts.

    Budget: 12 lines. Do the rows first and then the columns; you need no loops.

    Args:
        image: (H, W) float. height, width: the new size.

    Returns:
        (height, width) float.
    """
    raise NotImplementedError
