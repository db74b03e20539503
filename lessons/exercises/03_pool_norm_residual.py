"""Exercises of lesson 03: pooling, normalisation, residual blocks. Replace each
`raise NotImplementedError` and ask `tinymaskrcnn learn NAME` whether it is right.
"""


def max_pool(x, size, stride, padding):
    """Build. The largest number of each window, for all images and channels at once. Outside the
    image there is nothing, which is not the same as zero. You may loop over the cells of a window.

    Budget: 8 lines.

    Args:
        x: (N, H, W, C) float32. size: of the window, the same in both directions. stride: from one
            window to the next. padding: how far windows reach over each edge, at most size / 2.

    Returns:
        (N, H', W', C) float32.
    """
    raise NotImplementedError


def fold_norm(weight, gamma, beta, mean, var, eps):
    """Build. A convolution without bias, followed by batch normalisation with fixed statistics, is
    the same as one convolution with other weights and a bias. Which?

    Budget: 4 lines.

    Args:
        weight: (O, C, K, K). gamma, beta, mean, var: (O,), scale, shift and statistics of the
            normalisation. eps: a number.

    Returns:
        (weight (O, C, K, K), bias (O,)).
    """
    raise NotImplementedError


def running_statistics(mean, var, batch, momentum):
    """Fill. What batch normalisation remembers after a batch: the old statistics, moved towards the
    batch's by `momentum`. The remembered variance is the one over n - 1, because it has to stand
    for images that are not in the batch.

    Budget: 5 lines. Do not change the arrays mean and var themselves.

    Args:
        mean, var: (C,), what is remembered so far. batch: (N, H, W, C), more than one value per
            channel. momentum: 0 to 1, the weight of the batch.

    Returns:
        (new mean, new var), (C,) each.
    """
    raise NotImplementedError


def max_pool_halves(x):
    """Vectorise. The largest of each 2x2 window, windows side by side.

    Budget: 4 lines, no loops. Leave out a last row or column that has no partner. What shape does a
    map have once its axes are cut into pairs?

    Args:
        x: (H, W, C) float32, H and W at least 2.

    Returns:
        (H // 2, W // 2, C) float32.
    """
    raise NotImplementedError


def group_normalise(x, groups, eps):
    """Vectorise. Group normalisation: bring each image and each group of neighbouring channels to
    mean 0 and variance 1. The first C / groups channels are the first group, and so on.

    Budget: 5 lines, no loops.

    Args:
        x: (N, H, W, C). groups: an int that divides C. eps: added to the variance.

    Returns:
        (N, H, W, C).
    """
    raise NotImplementedError


def norm_gradient(x, grad, eps):
    """Extend. The gradient of x, where y = (x - mean) / sqrt(variance + eps) along the first axis.
    A value changes its own output and, through mean and variance, all others of its channel.

    Budget: 8 lines. Derive it on paper; two means are subtracted.

    Args:
        x: (n, C) float64, n values per channel. grad: (n, C), the gradient of y. eps: above 0.

    Returns:
        (n, C).
    """
    raise NotImplementedError
