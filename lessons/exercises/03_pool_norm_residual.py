"""Exercises of lesson 03: pooling, normalisation, residual blocks. Replace each
`raise NotImplementedError` and ask `tinymaskrcnn learn NAME` whether it is right.
"""


def max_pool(x, size, stride, padding):
    """Build. The largest number of each window, for all pictures and channels at once. Outside the
    picture there is nothing, which is not the same as zero. Loops over the places in a window are
    fine.

    Budget: 8 lines.

    Args:
        x: (N, H, W, C) float32. size: of the window, the same both ways. stride: from one window
            to the next. padding: how far windows reach over each edge, at most size / 2.

    Returns:
        (N, H', W', C) float32.
    """
    raise NotImplementedError


def fold_norm(weight, gamma, beta, mean, var, eps):
    """Build. A convolution without bias, followed by a norm with fixed statistics, is a convolution
    with other weights and a bias. Which?

    Budget: 4 lines.

    Args:
        weight: (O, C, K, K). gamma, beta, mean, var: (O,), the norm's scale, shift and statistics.
        eps: a number.

    Returns:
        (weight (O, C, K, K), bias (O,)).
    """
    raise NotImplementedError


def running_statistics(mean, var, batch, momentum):
    """Fill. What a norm remembers after a batch: the old statistics moved towards the batch's by
    `momentum`. The variance that is remembered is the one over n - 1, because it stands for
    pictures that are not in the batch.

    Budget: 5 lines. Leave mean and var as they are.

    Args:
        mean, var: (C,), what is remembered so far. batch: (N, H, W, C), more than one value a
            channel. momentum: 0 to 1, the weight of the batch.

    Returns:
        (new mean, new var), (C,) each.
    """
    raise NotImplementedError


def max_pool_halves(x):
    """Vectorise. The largest of each 2x2 window, windows side by side.

    Budget: 4 lines, no loops. A last row or column without a partner is left out. What shape has a
    map whose axes are cut into pairs?

    Args:
        x: (H, W, C) float32, H and W at least 2.

    Returns:
        (H // 2, W // 2, C) float32.
    """
    raise NotImplementedError


def group_normalise(x, groups, eps):
    """Vectorise. Each picture and each group of neighbouring channels to mean 0 and variance 1:
    the first C / groups channels are the first group, and so on.

    Budget: 5 lines, no loops.

    Args:
        x: (N, H, W, C). groups: an int that divides C. eps: added to the variance.

    Returns:
        (N, H, W, C).
    """
    raise NotImplementedError


def norm_gradient(x, grad, eps):
    """Extend. What x receives where y = (x - mean) / sqrt(variance + eps) along the first axis. A
    value moves its own result, and through the mean and the variance all others of its channel.

    Budget: 8 lines. Derive it on paper; two means are subtracted.

    Args:
        x: (n, C) float64, n values a channel. grad: (n, C), what y receives. eps: above 0.

    Returns:
        (n, C).
    """
    raise NotImplementedError
